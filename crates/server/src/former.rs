//! Environments that tenants had and lost. Their data stays, sealed, and comes back if they are
//! added again; so when the tenant is erased, it has to be known that they were.

use ids::{Environment, TenantId};
use store::{File, Range, Table};

use crate::{App, Error};

/// tenant, NUL, environment → nothing
pub(crate) const FORMER: Table = Table { file: File::Core, id: 801, name: "server.former" };

/// A greatest number that is looked at. A tenant has 32 environments at a time.
const MOST: usize = 1_000;

fn rows(tenant: &TenantId) -> Vec<u8> {
    [tenant.as_str().as_bytes(), b"\0"].concat()
}

/// Remembers environments that a tenant is about to lose.
pub(crate) async fn remember<'a>(
    app: &App,
    tenant: &TenantId,
    lost: impl Iterator<Item = &'a Environment>,
) -> Result<(), Error> {
    let view = app.store.system(&app.system);
    for environment in lost {
        let row = [&rows(tenant), environment.as_str().as_bytes()].concat();
        view.put(FORMER, &row, b"").await?;
    }
    Ok(())
}

/// What is remembered of a tenant, those that it has again among them.
pub(crate) async fn of(app: &App, tenant: &TenantId) -> Result<Vec<Environment>, Error> {
    let prefix = rows(tenant);
    let range = Range::prefix(prefix.clone()).limit(MOST);
    let found = app.store.system(&app.system).scan(FORMER, range).await?;
    let name =
        |row: &[u8]| Environment::parse(std::str::from_utf8(row.get(prefix.len()..)?).ok()?).ok();
    Ok(found.iter().filter_map(|(row, _)| name(row)).collect())
}

/// Forgets a tenant that is erased.
pub(crate) async fn forget(app: &App, tenant: &TenantId) -> Result<(), Error> {
    let view = app.store.system(&app.system);
    for (row, _) in view.scan(FORMER, Range::prefix(rows(tenant)).limit(MOST)).await? {
        view.delete(FORMER, &row).await?;
    }
    Ok(())
}
