//! Handles: ids of what a provider keeps for its account.
//!
//! On a credential that tenants share, whoever names another's handle goes on with another's
//! conversation. So what a tenant's call made is recorded as that tenant's, and a call that
//! names a handle which is not is refused like one that does not exist.

use serde::{Deserialize, Serialize};

/// What kind of thing a handle names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HandleKind {
    /// A response that the provider keeps.
    Response,
    /// A conversation.
    Conversation,
    /// An item of a response or a conversation: a message, a call, a piece of reasoning.
    Item,
    /// A file.
    File,
    /// A batch.
    Batch,
    /// A container that code runs in.
    Container,
    /// A vector store.
    VectorStore,
    /// A prompt template.
    Prompt,
    /// Sound from an earlier answer.
    Audio,
    /// A skill, a connector, or whatever else an account keeps that we make none of.
    Other,
}

impl HandleKind {
    /// How it stands in keys of stored rows; never given to another kind.
    pub(crate) const fn byte(self) -> u8 {
        match self {
            Self::Response => 1,
            Self::Conversation => 2,
            Self::Item => 3,
            Self::File => 4,
            Self::Batch => 5,
            Self::Container => 6,
            Self::VectorStore => 7,
            Self::Prompt => 8,
            Self::Audio => 9,
            Self::Other => 10,
        }
    }

    /// Whether servers that keep none of this kind may give the same id to everybody (`msg_0`).
    /// Only the first whom it was given can name it.
    pub(crate) const fn may_repeat(self) -> bool {
        matches!(self, Self::Item | Self::Audio | Self::Other)
    }

    /// Whether it is there until it is deleted. Of the others providers keep most for a month.
    pub(crate) const fn lasts(self) -> bool {
        matches!(
            self,
            Self::Conversation | Self::File | Self::Batch | Self::VectorStore | Self::Prompt
        )
    }
}

/// A handle that a request names, and where.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cited {
    /// What kind.
    pub kind: HandleKind,
    /// As the provider knows it.
    pub id: String,
    /// The field that names it: `previous_response_id`.
    pub place: &'static str,
}

/// A handle that an answer says was made.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Made {
    /// What kind.
    pub kind: HandleKind,
    /// As the provider knows it.
    pub id: String,
}

/// The longest id that is taken for one, in bytes. Gateways seal what they need to know into the
/// ids that they give out: `LiteLLM`'s of responses are some 450 bytes long.
pub const MAX_HANDLE: usize = 1_024;

/// Whether this can be an id: 1 to [`MAX_HANDLE`] bytes, visible ASCII, and no part of it leads
/// elsewhere where it stands in a path. Servers resolve `..` even where it is encoded.
pub(crate) fn is_id(id: &str) -> bool {
    (1..=MAX_HANDLE).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_graphic())
        && !id.split(['/', '\\']).any(|part| matches!(part, "." | ".."))
}
