//! Tokens that are made here for a company's own tools: a JWT for one call, which says for whom it
//! is. Whoever gets one verifies it by our JWKS, and needs no secret of a tenant's.

use std::time::Duration;

use ids::{
    AccountId, AgentId, Entropy, Environment, Millis, RandomId, RunId, Subject, TenantId,
    WorkflowId,
};
use scope::{Scope, Write};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::{Error, ToolKeys};

/// The longest life of an assertion.
pub const MAX_ASSERTION_LIFE: Duration = Duration::from_secs(300);

/// What an assertion says. Nothing of it comes from a caller.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    /// The end user, or else the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'a str>,
    iat: u64,
    exp: u64,
    jti: RandomId,
    tenant: &'a TenantId,
    environment: &'a Environment,
    #[serde(skip_serializing_if = "Option::is_none")]
    workflow: Option<&'a WorkflowId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<&'a RunId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<&'a AgentId>,
    /// The external account that the call is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<&'a AccountId>,
}

/// For whom an assertion is made.
pub(super) struct Made<'a> {
    pub(super) issuer: &'a str,
    pub(super) audience: &'a str,
    pub(super) seconds: u64,
    pub(super) account: Option<&'a AccountId>,
}

impl ToolKeys {
    /// Makes an assertion for one call of the scope's.
    pub(super) fn assert(
        &self,
        scope: &Scope<Write>,
        made: Made<'_>,
        now: Millis,
        entropy: &dyn Entropy,
    ) -> Result<Zeroizing<String>, Error> {
        let claims = Claims {
            iss: made.issuer,
            aud: made.audience,
            sub: scope.subject().map(Subject::as_str).or(scope.agent().map(AgentId::as_str)),
            iat: now.secs(),
            exp: now.secs().saturating_add(made.seconds.clamp(1, MAX_ASSERTION_LIFE.as_secs())),
            jti: RandomId::draw(entropy),
            tenant: scope.tenant(),
            environment: scope.environment(),
            workflow: scope.workflow(),
            run: scope.run(),
            agent: scope.agent(),
            account: made.account,
        };
        self.sign(&claims).map(Zeroizing::new)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ids::{ManualClock, OsEntropy, text};
    use serde_json::{Value, json};
    use testkit::Kit;

    use super::*;

    const NOW: Millis = Millis::from_secs(1_795_000_000);
    const SEED: [u8; 32] = [11; 32];

    async fn kit() -> Kit {
        Kit::new(Arc::new(ManualClock::at(NOW))).await
    }

    fn parts(token: &str) -> (Value, Value) {
        let mut parts = token.split('.').map(|part| text::unbase64url(part).unwrap());
        let mut next = || serde_json::from_slice(&parts.next().unwrap()).unwrap();
        (next(), next())
    }

    #[tokio::test]
    async fn it_says_for_whom_it_is_and_not_for_long() {
        let kit = kit().await;
        let keys = ToolKeys::assertions([&SEED, &[12; 32]]);
        let ask = scope::Exchange {
            agent: Some("planner".parse().unwrap()),
            run: Some("run_1".parse().unwrap()),
            ..Kit::ask("acme", "live", "support")
        };
        let minted = kit.doors.exchange(&kit.service().await, ask).await.unwrap();
        let scope = kit.authenticate(&minted.secret).await.unwrap();
        let account: AccountId = "acct_42".parse().unwrap();
        let made = |seconds| Made {
            issuer: "https://bulkhead.test",
            audience: "https://crm.internal",
            seconds,
            account: Some(&account),
        };
        let token = keys.assert(&scope, made(60), NOW, &OsEntropy).unwrap();
        let (header, mut claims) = parts(&token);
        assert_eq!(header["kid"], keys.jwks()["keys"][0]["kid"]);
        let jti = claims.as_object_mut().unwrap().remove("jti").unwrap();
        assert_eq!(
            claims,
            json!({
                "iss": "https://bulkhead.test", "aud": "https://crm.internal", "sub": "planner",
                "iat": NOW.secs(), "exp": NOW.secs() + 60, "tenant": "acme",
                "environment": "live", "workflow": "support", "run": "run_1",
                "agent": "planner", "account": "acct_42",
            })
        );
        // The signature is over what was said, by the key that is published.
        let (message, signature) = token.rsplit_once('.').unwrap();
        let signature: [u8; 64] = text::unbase64url(signature).unwrap().try_into().unwrap();
        let x = text::unbase64url(keys.jwks()["keys"][0]["x"].as_str().unwrap()).unwrap();
        let public = ed25519_dalek::VerifyingKey::from_bytes(&x.try_into().unwrap()).unwrap();
        public.verify_strict(message.as_bytes(), &signature.into()).unwrap();

        let again = parts(&keys.assert(&scope, made(100_000), NOW, &OsEntropy).unwrap()).1;
        assert_ne!(again["jti"], jti);
        assert_eq!(again["exp"], NOW.secs() + 300);
        assert_eq!(
            parts(&keys.assert(&scope, made(0), NOW, &OsEntropy).unwrap()).1["exp"],
            NOW.secs() + 1
        );
    }
}
