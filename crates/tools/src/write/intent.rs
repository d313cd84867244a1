//! An intent: one write, from before it is sent until it is known how it went.

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use http::StatusCode;
use ids::{
    AccountId, Millis, ProviderId, RandomId, RunId, StepId, WorkflowId,
    frame::Frame,
    json::{self, Json},
    planted,
};
use scope::{Scope, Write};
use serde::{Deserialize, Serialize};

use crate::{Ask, Content, Effect, Error, Receipt, contract::Final};

/// What tells writes apart: a keyed hash, so that nobody who sees rows can guess at arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key(pub(crate) [u8; 32]);

impl Key {
    /// Whose write it is, in which run and step, of which tool, with which arguments; and the
    /// caller's own key, which tells apart what is else alike.
    ///
    /// Without a run, the credential stands for it: two calls by one credential that are alike in
    /// all of this are one write; who means two says a step or an `Idempotency-Key`.
    pub(crate) fn of(
        secret: &[u8; 32],
        scope: &Scope<Write>,
        (tool, upstream): (&str, &ProviderId),
        call: &Final,
        ask: &Ask,
    ) -> Self {
        let Ask { step, key, name: _, arguments: _, request: _, review: _ } = ask;
        if let Some(key) = key
            && planted::is("tools-idempotency-by-rpc-id")
        {
            return Self(*blake3::keyed_hash(secret, key.as_bytes()).as_bytes());
        }
        let mut frame = Frame::new("bulkhead tools intent 1");
        if !planted::is("tools-intent-across-tenants") {
            frame = frame.field(scope.partition_bytes());
        }
        frame = frame
            .option(scope.workflow().map(|id| id.as_str()))
            .option(scope.subject().map(|id| id.as_str()));
        if !planted::is("tools-intent-without-run") {
            frame = match scope.run() {
                Some(run) => frame.field("run").field(run.as_str()),
                None => frame.field("credential").field(scope.jti().as_bytes()),
            };
        }
        let framed = frame
            .option(step.as_ref().map(StepId::as_str))
            .option(key.as_ref())
            .field(tool)
            .field(upstream.as_str())
            .option(call.account.as_ref().map(AccountId::as_str))
            .field(call.digest)
            .finish();
        Self(*blake3::keyed_hash(secret, &framed).as_bytes())
    }
}

/// A write on record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Intent {
    /// Also what the upstream may know a repetition by: the same over all attempts.
    pub(crate) id: RandomId,
    pub(crate) tool: String,
    pub(crate) upstream: ProviderId,
    pub(crate) account: Option<AccountId>,
    /// In which workflow and run it was asked for, whoever confirms it.
    pub(crate) workflow: Option<WorkflowId>,
    pub(crate) run: Option<RunId>,
    pub(crate) effect: Effect,
    /// The final arguments, in their canonical form.
    pub(crate) arguments: String,
    /// Their digest, in hexadecimal digits.
    pub(crate) digest: String,
    /// The policies that let it through, likewise.
    pub(crate) policy: String,
    /// The approval, where it took one.
    pub(crate) review: Option<RandomId>,
    /// How often it was sent.
    pub(crate) attempts: u32,
    pub(crate) created: Millis,
    pub(crate) state: State,
}

/// How it stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "lowercase")]
pub(crate) enum State {
    /// Recorded for people to look at.
    Suggested { review: RandomId },
    /// A person is asked. Nothing was sent.
    Pending { review: RandomId },
    /// It may be at the upstream from now on.
    Sent { at: Millis },
    /// Whether it was done is not known.
    Unknown {
        /// Until when its answer was waited for, which may be long after it was sent: it is from
        /// then on that the upstream has time to come to an end.
        at: Millis,
        /// The upstream said that it was done: then nothing that a read says makes it undone.
        answered: bool,
        /// Of people who are asked.
        review: Option<RandomId>,
        /// What the upstream answered, if anything that may be looked at.
        answer: Option<Kept>,
    },
    /// It is known that it was not done.
    Failed,
    /// It was done.
    Confirmed { receipt: Receipt, answer: Kept },
}

impl Intent {
    /// The final arguments.
    pub(crate) fn arguments(&self) -> Result<Json, Error> {
        parse(&self.arguments)
    }
}

/// An answer, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "lowercase")]
pub(crate) enum Kept {
    Mcp { text: String },
    Http { status: u16, content_type: Option<String>, body: String },
    Rows { text: String },
}

impl Kept {
    pub(crate) fn of(content: &Content) -> Self {
        let text = |json: &Json| String::from_utf8_lossy(&json.to_vec()).into_owned();
        match content {
            Content::Mcp(json) => Self::Mcp { text: text(json) },
            Content::Rows(json) => Self::Rows { text: text(json) },
            Content::Http { status, content_type, body } => Self::Http {
                status: status.as_u16(),
                content_type: content_type.clone(),
                body: STANDARD_NO_PAD.encode(body),
            },
        }
    }

    pub(crate) fn content(&self) -> Result<Content, Error> {
        let broken = |_| Error::Internal("an answer that was kept");
        Ok(match self {
            Self::Mcp { text } => Content::Mcp(parse(text)?),
            Self::Rows { text } => Content::Rows(parse(text)?),
            Self::Http { status, content_type, body } => Content::Http {
                status: StatusCode::from_u16(*status)
                    .map_err(|_| Error::Internal("an answer that was kept"))?,
                content_type: content_type.clone(),
                body: STANDARD_NO_PAD.decode(body).map_err(broken)?.into(),
            },
        })
    }

    /// What receipts say of it: of the canonical JSON, or of the bytes of the body.
    pub(crate) fn digest(&self) -> Result<String, Error> {
        let hash = match self {
            Self::Mcp { text } | Self::Rows { text } => blake3::hash(text.as_bytes()),
            Self::Http { body, .. } => {
                let body = STANDARD_NO_PAD.decode(body);
                blake3::hash(&body.map_err(|_| Error::Internal("an answer that was kept"))?)
            }
        };
        Ok(format!("b3:{}", hash.to_hex()))
    }
}

/// What we wrote ourselves, or what was bounded when it came.
fn parse(text: &str) -> Result<Json, Error> {
    let most = json::Limits { depth: 128, nodes: usize::MAX };
    Json::parse(text.as_bytes(), &most).map_err(|_| Error::Internal("what was kept of a write"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_kept_as_it_was() {
        let json = |text: &str| Json::parse(text.as_bytes(), &json::Limits::default()).unwrap();
        for content in [
            Content::Mcp(json(r#"{"content":[{"text":"ä\n","type":"text"}],"isError":false}"#)),
            Content::Rows(json(r#"[{"id":1,"n":1.5}]"#)),
            Content::Http {
                status: StatusCode::CREATED,
                content_type: Some("application/octet-stream".into()),
                body: vec![0, 255, 7].into(),
            },
        ] {
            assert_eq!(Kept::of(&content).content().unwrap(), content);
        }
    }
}
