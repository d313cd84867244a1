//! Receipts: what proves a write.

use ids::{Millis, RandomId};
use scope::{Access, Scope, Write};
use serde::{Deserialize, Serialize};
use store::Range;
use vault::{Place, Sealed};

use crate::{
    Effect, Error,
    hop::Inner,
    write::{
        RECEIPTS,
        intent::{Intent, Kept, State},
    },
};

/// The `typ` of the signed statement.
pub(crate) const TYP: &str = "bulkhead-receipt+jwt";

/// What proves a write: a JWS (EdDSA) that the tenant can verify by our JWKS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The intent that it is of.
    pub intent: RandomId,
    /// When the write was confirmed.
    pub at: Millis,
    /// The signed statement: tool, external account, digests of arguments and answer, how it was confirmed.
    pub signed: String,
}

/// By what a write is known to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ConfirmedBy {
    /// The upstream's answer to it.
    Answer,
    /// The declared read.
    Read,
    /// A person.
    Person,
}

impl ConfirmedBy {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Read => "read",
            Self::Person => "person",
        }
    }
}

/// What is signed.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    /// The intent.
    jti: RandomId,
    iat: u64,
    tenant: &'a str,
    environment: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    workflow: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<&'a str>,
    tool: &'a str,
    upstream: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<&'a str>,
    effect: Effect,
    /// BLAKE3 of the final arguments in their canonical form.
    arguments: String,
    /// BLAKE3 of the answer.
    answer: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    review: Option<RandomId>,
    policy: &'a str,
    /// Milliseconds since the Unix epoch.
    at: Millis,
    confirmed_by: ConfirmedBy,
}

fn order(at: Millis, id: &RandomId) -> Vec<u8> {
    [&at.0.to_be_bytes()[..], id.as_bytes()].concat()
}

const fn place(order: &[u8]) -> Place<'_> {
    Place { surface: "tool-receipt", key: order, version: 0 }
}

impl Inner {
    /// Signs that a write was done.
    pub(crate) fn receipt_of(
        &self,
        scope: &Scope<Write>,
        intent: &Intent,
        answer: &Kept,
        confirmed_by: ConfirmedBy,
    ) -> Result<Receipt, Error> {
        let at = self.parts.clock.now();
        let claims = Claims {
            iss: &self.parts.issuer,
            jti: intent.id,
            iat: at.secs(),
            tenant: scope.tenant().as_str(),
            environment: scope.environment().as_str(),
            workflow: scope.workflow().map(|id| id.as_str()),
            run: scope.run().map(|id| id.as_str()),
            tool: &intent.tool,
            upstream: intent.upstream.as_str(),
            account: intent.account.as_ref().map(|id| id.as_str()),
            effect: intent.effect,
            arguments: format!("b3:{}", intent.digest),
            answer: answer.digest()?,
            review: intent.review,
            policy: &intent.policy,
            at,
            confirmed_by,
        };
        let signed = self.parts.keys.sign(TYP, &claims)?;
        Ok(Receipt { intent: intent.id, at, signed })
    }

    /// The row of a confirmed intent's receipt.
    pub(crate) async fn sealed_receipt(
        &self,
        scope: &Scope<Write>,
        intent: &Intent,
    ) -> Result<Option<(Vec<u8>, Vec<u8>)>, Error> {
        let State::Confirmed { receipt, .. } = &intent.state else { return Ok(None) };
        let order = order(receipt.at, &receipt.intent);
        let sealer = self.parts.vault.of(scope);
        let sealed = Sealed::seal(&sealer, &place(&order), receipt).await?;
        Ok(Some((order.clone(), sealed.as_bytes().to_vec())))
    }

    /// The receipt of one intent.
    pub(crate) async fn receipt_by_id(
        &self,
        scope: &Scope<Write>,
        id: &RandomId,
    ) -> Result<Option<Receipt>, Error> {
        let row = self.row_of(scope, id).await?;
        Ok(row.and_then(|row| match row.intent?.state {
            State::Confirmed { receipt, .. } => Some(receipt),
            _ => None,
        }))
    }

    /// Receipts, the newest first.
    pub(crate) async fn receipts_after<A: Access>(
        &self,
        scope: &Scope<A>,
        after: Option<&Receipt>,
        limit: usize,
    ) -> Result<Vec<Receipt>, Error> {
        let mut range = Range::all().reverse().limit(limit);
        if let Some(after) = after {
            range = range.after(order(after.at, &after.intent));
        }
        let rows = self.parts.store.of(scope).scan(RECEIPTS, range).await?;
        let sealer = self.parts.vault.of(scope);
        let mut receipts = Vec::with_capacity(rows.len());
        for (order, row) in rows {
            receipts.push(Sealed::from_bytes(row.to_vec()).open(&sealer, &place(&order)).await?);
        }
        Ok(receipts)
    }
}
