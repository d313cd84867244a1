//! The operator's desk: credentials that a check needs besides those of the target file, and what
//! operators see. All of it by the admin API, and none without an operator's credential.

use http::Method;
use serde_json::{Value, json};

use super::Known;
use crate::{
    canary::Side,
    lab::{Caller, Lab},
    target::Credential,
    verdict::Halt,
    wire::{Exchange, Request},
};

/// Why, in the audit logs.
pub(super) const REASON: &str = "bulkhead probe";
/// What tokens grant.
const GRANTS: &str = "model:* cache:* state:* memory:* audit:read records:read";
/// How long they live, in seconds.
const LIFE: u64 = 900;

/// Whose token, and for what.
#[derive(Clone, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) side: Side,
    pub(super) environment: &'a str,
    pub(super) workflow: &'a str,
    pub(super) run: &'a str,
    /// In the report.
    pub(super) label: &'a str,
}

/// An operator, if the target file has one.
pub(super) struct Desk<'l> {
    operator: Result<Option<Caller>, Halt>,
    pub(super) control: Option<&'l str>,
}

impl<'l> Desk<'l> {
    pub(super) fn of(lab: &Lab, known: &Known<'l>) -> Self {
        Self { operator: lab.target.operator(), control: known.control }
    }

    /// The operator, or what to add to the file.
    pub(super) fn operator(&self) -> Result<&Caller, Halt> {
        match &self.operator {
            Ok(Some(operator)) => Ok(operator),
            Ok(None) => Err(Halt::Lacking("name an operator: operator = \"env:…\"".into())),
            Err(halt) => Err(halt.clone()),
        }
    }

    /// An address on the control plane.
    pub(super) fn at(&self, path: &str) -> Result<String, Halt> {
        let lacking = || Halt::Lacking("say where it is: control = \"http://…\"".into());
        let base = self.control.ok_or_else(lacking)?;
        Ok(format!("{}{path}", base.trim_end_matches('/')))
    }

    /// What the operator sees.
    pub(super) async fn sees(&self, lab: &Lab, path: &str) -> Result<Exchange, Halt> {
        let request = Request::get(self.at(path)?).header("x-bulkhead-reason", REASON);
        lab.patiently(self.operator()?, request).await
    }

    /// What the operator does, which has to be done.
    pub(super) async fn does(
        &self,
        lab: &Lab,
        path: &str,
        body: &Value,
        example: Value,
    ) -> Result<Value, Halt> {
        let request = Request::new(Method::POST, self.at(path)?).json(body).example(example);
        let exchange = lab.patiently(self.operator()?, request).await?;
        match exchange.accepted() {
            true => Ok(exchange.json()),
            false => Err(Halt::Failed(format!("{path} was answered {}", exchange.status()))),
        }
    }

    /// A token that lives as long as a run.
    pub(super) async fn token(&self, lab: &Lab, wanted: &Wanted<'_>) -> Result<Caller, Halt> {
        let Wanted { side, environment, workflow, run, label } = wanted;
        let ask = json!({
            "tenant": name(lab, *side)?, "environment": environment, "workflow": workflow,
            "run": run, "scope": GRANTS, "ttl_seconds": LIFE, "reason": REASON,
        });
        let minted = self.does(lab, "/admin/v1/tokens", &ask, json!({ "token": label })).await?;
        let Some(secret) = minted["token"].as_str() else {
            return Err(Halt::Failed("a minted token is not in the answer".into()));
        };
        let shown = format!("$TOKEN({label})");
        let credential = Some(Credential::shown_as(secret.to_owned(), shown));
        let caller =
            Caller { side: Some(*side), label: (*label).into(), credential, headers: Vec::new() };
        lab.wire.knows(&caller);
        Ok(caller)
    }
}

/// What a tenant is called at the deployment.
pub(super) fn name(lab: &Lab, side: Side) -> Result<&str, Halt> {
    let names = lab.target.known(side).map(|tenant| &tenant.names);
    let first = names.and_then(|names| names.first()).map(String::as_str);
    let side = side.name();
    first.ok_or_else(|| Halt::Lacking(format!("name tenant {side}: names = [\"acme\"]")))
}
