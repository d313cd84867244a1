//! Receipts: what proves a write.

use ids::{Millis, RandomId, planted};
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConfirmedBy<'a> {
    /// The upstream's answer to it.
    Answer,
    /// The declared read.
    Read,
    /// A person.
    Person {
        /// Who, as of a review's decision.
        who: &'a str,
        /// The review by which they were asked.
        review: RandomId,
        /// Whether the upstream's answer was heard: else what is handed on stands for none.
        heard: bool,
    },
}

impl ConfirmedBy<'_> {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Read => "read",
            Self::Person { .. } => "person",
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
    /// BLAKE3 of the answer, where there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    review: Option<RandomId>,
    policy: &'a str,
    /// Milliseconds since the Unix epoch.
    at: Millis,
    confirmed_by: &'static str,
    /// The person who says so: an operator, or one of the tenant's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    settled_by: Option<&'a str>,
    /// The review by which they said it.
    #[serde(skip_serializing_if = "Option::is_none")]
    settled_in: Option<RandomId>,
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
        confirmed_by: ConfirmedBy<'_>,
    ) -> Result<Receipt, Error> {
        let at = self.parts.clock.now();
        let (settled_by, settled_in, heard) = match confirmed_by {
            ConfirmedBy::Answer | ConfirmedBy::Read => (None, None, true),
            ConfirmedBy::Person { who, review, heard } => (Some(who), Some(review), heard),
        };
        let heard = heard || planted::is("tools-receipt-of-no-answer");
        let claims = Claims {
            iss: &self.parts.issuer,
            jti: intent.id,
            iat: at.secs(),
            tenant: scope.tenant().as_str(),
            environment: scope.environment().as_str(),
            workflow: intent.workflow.as_ref().map(|id| id.as_str()),
            run: intent.run.as_ref().map(|id| id.as_str()),
            tool: &intent.tool,
            upstream: intent.upstream.as_str(),
            account: intent.account.as_ref().map(|id| id.as_str()),
            effect: intent.effect,
            arguments: format!("b3:{}", intent.digest),
            answer: heard.then(|| answer.digest()).transpose()?,
            review: intent.review,
            policy: &intent.policy,
            at,
            confirmed_by: confirmed_by.as_str(),
            settled_by,
            settled_in,
        };
        let signed = self.parts.receipt_keys.sign(&claims)?;
        Ok(Receipt { intent: intent.id, at, signed })
    }

    /// A receipt that was kept, as it is handed out: signed by a key that is published. What lies here
    /// is sealed, and by nobody but us, so that a key that was retired is not needed to believe it.
    pub(crate) fn handed_out(&self, kept: Receipt) -> Result<Receipt, Error> {
        Ok(Receipt { signed: self.parts.receipt_keys.renewed(kept.signed)?, ..kept })
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
        let kept = row.and_then(|row| match row.intent?.state {
            State::Confirmed { receipt, .. } => Some(receipt),
            _ => None,
        });
        kept.map(|kept| self.handed_out(kept)).transpose()
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
            let kept = Sealed::from_bytes(row.to_vec()).open(&sealer, &place(&order)).await?;
            receipts.push(self.handed_out(kept)?);
        }
        Ok(receipts)
    }
}
