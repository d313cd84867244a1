//! How far a write goes: the strictest of the tool's, the workflow's and the tenant's.

use scope::{Access, Scope, Write};

use crate::{
    Error, Mode, contract,
    hop::{Inner, Prepared},
    write::MODES,
};

/// The one row of a tenant's environment.
const ROW: &[u8] = b"mode";

impl Inner {
    /// How far writes of the scope's tenant and environment go at most, if an operator said.
    pub(crate) async fn tenant_mode<A: Access>(
        &self,
        scope: &Scope<A>,
    ) -> Result<Option<Mode>, Error> {
        let Some(row) = self.parts.store.of(scope).get(MODES, ROW).await? else { return Ok(None) };
        // What cannot be read is no leave to go further.
        Ok(Some(serde_json::from_slice(&row).unwrap_or(Mode::Suggest)))
    }

    /// Sets it; `None` is: as tools and workflows have it.
    pub(crate) async fn set_tenant_mode(
        &self,
        scope: &Scope<Write>,
        mode: Option<Mode>,
    ) -> Result<(), Error> {
        let view = self.parts.store.of(scope);
        match mode {
            Some(mode) => {
                let row = serde_json::to_vec(&mode).map_err(|_| Error::Internal("a mode"))?;
                view.put(MODES, ROW, &row).await?;
            }
            None => {
                view.delete(MODES, ROW).await?;
            }
        }
        Ok(())
    }

    /// How far this write goes.
    pub(crate) async fn mode_of(
        &self,
        scope: &Scope<Write>,
        prepared: &Prepared,
    ) -> Result<Mode, Error> {
        let tenant = self.tenant_mode(scope).await?;
        let (tool, amount) = (&prepared.tool, prepared.call.amount);
        Ok(contract::mode(tool, &self.settings.workflows, scope.workflow(), tenant, amount))
    }
}
