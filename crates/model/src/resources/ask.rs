//! What is asked about something that a provider keeps, as the server read it.

use std::fmt;

use bytes::Bytes;
use http::Method;
use ids::json::{self, Json};
use scope::{Access, Claim, Scope};

use super::{
    body::{self, BatchAsk, Items},
    query::{Allowed, Query},
};
use crate::{
    Error, HandleKind, Limits,
    batch::{self, Survey},
    handle::is_id,
    multipart::{self, Upload},
    request::{self, Stated},
};

/// An endpoint of something that a provider keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// Uploads a file.
    CreateFile,
    /// The scope's files.
    ListFiles,
    /// What a file is.
    File,
    /// What a file holds.
    FileContent,
    /// Deletes a file.
    DeleteFile,
    /// Begins a batch.
    CreateBatch,
    /// The scope's batches.
    ListBatches,
    /// How a batch stands.
    Batch,
    /// Cancels a batch.
    CancelBatch,
    /// A response that was kept.
    Response,
    /// Deletes a response.
    DeleteResponse,
    /// Cancels a response that is made in the background.
    CancelResponse,
    /// What a response was made from.
    ResponseItems,
    /// Begins a conversation.
    CreateConversation,
    /// What a conversation is.
    Conversation,
    /// Changes what is noted of a conversation.
    UpdateConversation,
    /// Deletes a conversation.
    DeleteConversation,
    /// What was said in a conversation.
    ConversationItems,
    /// Adds to a conversation.
    AddItems,
    /// One item of a conversation.
    Item,
    /// Removes an item from a conversation.
    DeleteItem,
}

impl Resource {
    /// Every one.
    pub const ALL: [Self; 21] = [
        Self::CreateFile,
        Self::ListFiles,
        Self::File,
        Self::FileContent,
        Self::DeleteFile,
        Self::CreateBatch,
        Self::ListBatches,
        Self::Batch,
        Self::CancelBatch,
        Self::Response,
        Self::DeleteResponse,
        Self::CancelResponse,
        Self::ResponseItems,
        Self::CreateConversation,
        Self::Conversation,
        Self::UpdateConversation,
        Self::DeleteConversation,
        Self::ConversationItems,
        Self::AddItems,
        Self::Item,
        Self::DeleteItem,
    ];

    /// Its path here; `{id}` and `{item}` stand for ids.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::CreateFile | Self::ListFiles => "/v1/files",
            Self::File | Self::DeleteFile => "/v1/files/{id}",
            Self::FileContent => "/v1/files/{id}/content",
            Self::CreateBatch | Self::ListBatches => "/v1/batches",
            Self::Batch => "/v1/batches/{id}",
            Self::CancelBatch => "/v1/batches/{id}/cancel",
            Self::Response | Self::DeleteResponse => "/v1/responses/{id}",
            Self::CancelResponse => "/v1/responses/{id}/cancel",
            Self::ResponseItems => "/v1/responses/{id}/input_items",
            Self::CreateConversation => "/v1/conversations",
            Self::Conversation | Self::UpdateConversation | Self::DeleteConversation => {
                "/v1/conversations/{id}"
            }
            Self::ConversationItems | Self::AddItems => "/v1/conversations/{id}/items",
            Self::Item | Self::DeleteItem => "/v1/conversations/{id}/items/{item}",
        }
    }

    /// Its method, here and at the provider.
    #[must_use]
    pub const fn method(self) -> Method {
        match self {
            Self::CreateFile
            | Self::CreateBatch
            | Self::CancelBatch
            | Self::CancelResponse
            | Self::CreateConversation
            | Self::UpdateConversation
            | Self::AddItems => Method::POST,
            Self::DeleteFile
            | Self::DeleteResponse
            | Self::DeleteConversation
            | Self::DeleteItem => Method::DELETE,
            _ => Method::GET,
        }
    }

    /// The grant that it takes.
    #[must_use]
    pub const fn grant(self) -> &'static str {
        match self.kind() {
            HandleKind::File => "model:files",
            HandleKind::Batch => "model:batches",
            _ => "model:responses",
        }
    }

    /// Whether what it answers with is a file's bytes, which a browser must save and never
    /// show: `content-disposition: attachment`, `x-content-type-options: nosniff`.
    #[must_use]
    pub const fn is_download(self) -> bool {
        matches!(self, Self::FileContent)
    }

    /// What the first id in its path names.
    pub(crate) const fn kind(self) -> HandleKind {
        match self {
            Self::CreateFile
            | Self::ListFiles
            | Self::File
            | Self::FileContent
            | Self::DeleteFile => HandleKind::File,
            Self::CreateBatch | Self::ListBatches | Self::Batch | Self::CancelBatch => {
                HandleKind::Batch
            }
            Self::Response | Self::DeleteResponse | Self::CancelResponse | Self::ResponseItems => {
                HandleKind::Response
            }
            _ => HandleKind::Conversation,
        }
    }

    const fn allowed(self) -> Allowed {
        const PAGE: &[&str] = &["after", "limit", "order", "include"];
        match self {
            Self::ListFiles => {
                Allowed { names: &["purpose", "limit", "order", "after"], limit: 10_000 }
            }
            Self::ListBatches => Allowed { names: &["limit", "after"], limit: 100 },
            Self::Response => Allowed { names: &["include", "stream"], limit: 100 },
            Self::ResponseItems | Self::ConversationItems => Allowed { names: PAGE, limit: 100 },
            Self::AddItems | Self::Item => Allowed { names: &["include"], limit: 100 },
            _ => Allowed { names: &[], limit: 100 },
        }
    }
}

/// A request about something that a provider keeps. Nothing in it is unknown.
#[derive(Clone)]
pub struct ResourceAsk {
    pub(crate) resource: Resource,
    /// Of its path, in order.
    pub(crate) ids: Vec<String>,
    pub(crate) query: Query,
    pub(crate) content: Content,
    bytes: u64,
    claims: Vec<Stated>,
}

/// What a body says.
#[derive(Clone)]
pub(crate) enum Content {
    Nothing,
    /// With what a batch asks for, if it is one.
    File {
        upload: Upload,
        survey: Option<Survey>,
    },
    Batch(BatchAsk),
    /// A new conversation, or more of one.
    Items {
        items: Option<Box<Items>>,
        metadata: Option<Json>,
    },
}

impl fmt::Debug for ResourceAsk {
    /// What it asks for, and nothing that it says.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResourceAsk({:?}, {} bytes)", self.resource, self.bytes)
    }
}

impl ResourceAsk {
    /// Reads a request: the ids of its path and the parameters of its query, both decoded, and
    /// its body. For a large body that takes a while.
    ///
    /// # Errors
    /// A parameter or a field that is not known, or is not what it must be; an id that can be
    /// none, which is answered like one that is not there.
    pub fn parse<'a>(
        resource: Resource,
        ids: impl IntoIterator<Item = &'a str>,
        query: &[(String, String)],
        content_type: Option<&str>,
        body: Bytes,
        limits: &Limits,
    ) -> Result<Self, Error> {
        let ids: Vec<_> = ids.into_iter().map(str::to_owned).collect();
        if ids.len() != resource.path().matches('{').count() || !ids.iter().all(|id| is_id(id)) {
            return Err(Error::Missing("id"));
        }
        let query = Query::read(query, resource.allowed())?;
        let bytes = body.len() as u64;
        let (content, claims) = content(resource, content_type, body, limits)?;
        Ok(Self { resource, ids, query, content, bytes, claims })
    }

    /// Which endpoint.
    #[must_use]
    pub const fn resource(&self) -> Resource {
        self.resource
    }

    /// The size of its body in bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Holds every name of a tenant or an environment in the body against the scope.
    ///
    /// # Errors
    /// The first one that names somebody else.
    pub fn concur<A: Access>(&self, scope: &Scope<A>) -> Result<(), Error> {
        for stated in &self.claims {
            let Stated { place, names, value } = stated;
            scope.concur(&Claim { place, names: *names, value })?;
        }
        if let Content::Items { items: Some(items), .. } = &self.content {
            items.request.concur(scope)?;
        }
        Ok(())
    }

    /// The first id of the path. There is one for every endpoint that asks for it.
    pub(crate) fn id(&self) -> &str {
        self.ids.first().map_or("", String::as_str)
    }
}

fn content(
    resource: Resource,
    content_type: Option<&str>,
    body: Bytes,
    limits: &Limits,
) -> Result<(Content, Vec<Stated>), Error> {
    if body.len() > limits.body_bytes {
        return Err(Error::TooLarge { bytes: body.len(), most: limits.body_bytes });
    }
    if resource == Resource::CreateFile {
        let upload = multipart::read(content_type.unwrap_or_default(), body, limits.body_bytes)?;
        let batch = upload.purpose == "batch";
        let survey = batch.then(|| batch::survey(&upload.bytes)).transpose()?;
        return Ok((Content::File { upload, survey }, Vec::new()));
    }
    let bounds = json::Limits { depth: limits.depth, nodes: limits.nodes };
    let blank = body.iter().all(u8::is_ascii_whitespace);
    let json = if blank { Json::Object(Vec::new()) } else { Json::parse(&body, &bounds)? };
    let Json::Object(fields) = &json else {
        return Err(Error::Malformed { field: "body", must: "an object" });
    };
    let claims = request::stated(&json, limits)?;
    let unclaimed = |name: &str| !limits.claims.iter().any(|claim| claim.path == name);
    let fields = fields.iter().filter(|(name, _)| unclaimed(name));
    let content = match resource {
        Resource::CreateBatch => Content::Batch(body::batch(fields)?),
        Resource::CreateConversation => body::conversation(fields, &["items", "metadata"], limits)?,
        Resource::UpdateConversation => body::conversation(fields, &["metadata"], limits)?,
        Resource::AddItems => body::conversation(fields, &["items"], limits)?,
        _ => {
            let mut fields = fields;
            if let Some((name, _)) = fields.next() {
                return Err(Error::unknown_field(name));
            }
            Content::Nothing
        }
    };
    Ok((content, claims))
}
