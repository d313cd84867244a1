//! Fields of a tool's arguments that name a tenant or an environment: they may agree with the
//! credential, and choose nothing.

use ids::json::Json;
use model::ClaimPath;
use scope::{Claim, Error, Scope, Write};

use crate::extract::same;

/// Holds whatever there names somebody against the credential.
pub(super) fn concur(
    scope: &Scope<Write>,
    claims: &[ClaimPath],
    part: &str,
    json: &Json,
) -> Result<(), Error> {
    if ids::planted::is("tools-argument-names-tenant") {
        return Ok(());
    }
    for claim in claims {
        let mut found = Vec::new();
        named(json, &claim.path, &mut found);
        for value in found {
            let place = format!("{part} {}", claim.path);
            scope.concur(&Claim { place: &place, names: claim.names.into(), value: &value })?;
        }
    }
    Ok(())
}

/// What stands at a dotted path, in any spelling: `tenant_id` is `tenantId` and `Tenant-ID`.
fn named(json: &Json, path: &str, found: &mut Vec<String>) {
    let (first, rest) = path.split_once('.').map_or((path, None), |(f, r)| (f, Some(r)));
    let Json::Object(entries) = json else { return };
    for (_, value) in entries.iter().filter(|(key, _)| same(key, first)) {
        match (rest, value) {
            (Some(rest), value) => named(value, rest, found),
            (None, Json::Null) => {}
            (None, Json::String(text)) => found.push(text.clone()),
            (None, other) => found.push(String::from_utf8_lossy(&other.to_vec()).into_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use ids::json::Limits;

    use super::*;

    #[test]
    fn names_of_tenants_are_found_in_any_spelling() {
        let json = r#"{"tenantId":"a","TENANT-ID":7,"metadata":{"tenant_id":"b"},"other":"c"}"#;
        let json = Json::parse(json.as_bytes(), &Limits::default()).unwrap();
        let mut found = Vec::new();
        named(&json, "tenant_id", &mut found);
        named(&json, "metadata.tenant_id", &mut found);
        assert_eq!(found, ["a", "7", "b"]);
    }
}
