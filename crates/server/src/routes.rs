//! The one table of all routes: both routers, the OpenAPI document and the tests that hold
//! every route against every wrong credential are made from it.
//!
//! What a route needs stands in the type of its handler: a handler for tenants takes a
//! [`Scope`], one for operators a proven [`Operator`]. None can be called without.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{RawPathParams, State, rejection::RawPathParamsRejection},
    response::Response,
    routing::{MethodFilter, MethodRouter, on},
};
use http::Request;
use ids::{BoxFuture, RequestId};
use scope::{Operator, Right, Scope, Service, Write};

use crate::{
    App,
    ask::Ask,
    control, data, dispatch,
    fault::{Fault, Shape},
    fields::fields,
};

/// One of the two listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Plane {
    /// Where agents come.
    Data,
    /// Where operators and services come.
    Control,
}

impl Plane {
    /// As figures and the log have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Control => "control",
        }
    }
}

/// What a route needs of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing: it says nothing of anybody.
    Nothing,
    /// A tenant's credential with this grant.
    Tenant(&'static str),
    /// A service credential.
    Service,
    /// An operator with this right.
    Operator(Right),
    /// An operator who may read, or a service.
    Watcher,
}

/// Who looks at figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watching {
    /// An operator, who may know which tenants there are.
    Operator,
    /// A service, which need not be for all of them.
    Service,
}

pub(crate) type Reply = BoxFuture<'static, Result<Response, Fault>>;

/// How a route is served, by what it needs.
#[derive(Clone, Copy)]
pub(crate) enum Serve {
    Public(fn(Arc<App>, Ask) -> Reply),
    Tenant(&'static str, fn(Arc<App>, Scope<Write>, Ask) -> Reply),
    Service(fn(Arc<App>, Service, Ask) -> Reply),
    Operator(Right, fn(Arc<App>, Operator, Ask) -> Reply),
    Watcher(fn(Arc<App>, Watching, Ask) -> Reply),
}

/// A route.
#[derive(Clone, Copy)]
pub struct Route {
    /// `GET`, `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: &'static str,
    /// The path, with `{name}` for what varies and `{*name}` for a rest that may hold `/`.
    pub path: &'static str,
    /// On which listener.
    pub plane: Plane,
    /// What it does, in a few words.
    pub summary: &'static str,
    pub(crate) serve: Serve,
    /// The fields of its body, if it takes one that is ours.
    pub(crate) body: Option<fn() -> &'static [&'static str]>,
}

impl Route {
    /// What it needs.
    #[must_use]
    pub const fn need(&self) -> Need {
        match self.serve {
            Serve::Public(_) => Need::Nothing,
            Serve::Tenant(grant, _) => Need::Tenant(grant),
            Serve::Service(_) => Need::Service,
            Serve::Operator(right, _) => Need::Operator(right),
            Serve::Watcher(_) => Need::Watcher,
        }
    }

    /// In which form it answers errors.
    #[must_use]
    pub fn shape(&self) -> Shape {
        Shape::of(self.path)
    }
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} ({}, {:?})", self.method, self.path, self.plane.name(), self.need())
    }
}

macro_rules! route {
    ($plane:ident $method:ident $path:literal, $serve:expr, $summary:literal) => {
        route!(@ $plane $method $path, $serve, $summary, None)
    };
    ($plane:ident $method:ident $path:literal, $serve:expr, $summary:literal, $body:ty) => {
        route!(@ $plane $method $path, $serve, $summary, Some(fields::<$body>))
    };
    (@ $plane:ident $method:ident $path:literal, $serve:expr, $summary:literal, $body:expr) => {
        Route {
            method: stringify!($method),
            path: $path,
            plane: Plane::$plane,
            summary: $summary,
            serve: $serve,
            body: $body,
        }
    };
}

macro_rules! public {
    ($($handler:ident)::+) => { Serve::Public(|app, ask| Box::pin($($handler)::+(app, ask))) };
}
macro_rules! watcher {
    ($($handler:ident)::+) => {
        Serve::Watcher(|app, who, ask| Box::pin($($handler)::+(app, who, ask)))
    };
}
macro_rules! tenant {
    ($grant:literal, $($handler:ident)::+) => {
        Serve::Tenant($grant, |app, scope, ask| Box::pin($($handler)::+(app, scope, ask)))
    };
}
macro_rules! service {
    ($($handler:ident)::+) => {
        Serve::Service(|app, service, ask| Box::pin($($handler)::+(app, service, ask)))
    };
}
macro_rules! operator {
    ($right:ident, $($handler:ident)::+) => {
        Serve::Operator(Right::$right, |app, operator, ask| {
            Box::pin($($handler)::+(app, operator, ask))
        })
    };
}

use data::qdrant::{collections, points, query};

use control::{credentials, deployment, keys, models, probe, reading, staff, tenants, token};

/// Every route of both listeners.
#[rustfmt::skip]
pub static ROUTES: &[Route] = &[
    route!(Data POST "/v1/chat/completions", tenant!("model:chat", data::model::chat), "A chat completion, whole or as a stream"),
    route!(Data POST "/v1/responses", tenant!("model:responses", data::model::responses), "A response, whole or as a stream"),
    route!(Data GET "/v1/responses/{id}", tenant!("model:responses", data::resources::response), "A response that was kept"),
    route!(Data DELETE "/v1/responses/{id}", tenant!("model:responses", data::resources::delete_response), "Deletes a response"),
    route!(Data POST "/v1/responses/{id}/cancel", tenant!("model:responses", data::resources::cancel_response), "Cancels a response that is made in the background"),
    route!(Data GET "/v1/responses/{id}/input_items", tenant!("model:responses", data::resources::response_items), "What a response was made from"),
    route!(Data POST "/v1/conversations", tenant!("model:responses", data::resources::create_conversation), "Begins a conversation"),
    route!(Data GET "/v1/conversations/{id}", tenant!("model:responses", data::resources::conversation), "What a conversation is"),
    route!(Data POST "/v1/conversations/{id}", tenant!("model:responses", data::resources::update_conversation), "Changes what is noted of a conversation"),
    route!(Data DELETE "/v1/conversations/{id}", tenant!("model:responses", data::resources::delete_conversation), "Deletes a conversation"),
    route!(Data GET "/v1/conversations/{id}/items", tenant!("model:responses", data::resources::conversation_items), "What was said in a conversation"),
    route!(Data POST "/v1/conversations/{id}/items", tenant!("model:responses", data::resources::add_items), "Adds to a conversation"),
    route!(Data GET "/v1/conversations/{id}/items/{item}", tenant!("model:responses", data::resources::item), "One item of a conversation"),
    route!(Data DELETE "/v1/conversations/{id}/items/{item}", tenant!("model:responses", data::resources::delete_item), "Removes an item from a conversation"),
    route!(Data POST "/v1/embeddings", tenant!("model:embeddings", data::model::embeddings), "Embeddings of texts"),
    route!(Data POST "/v1/messages", tenant!("model:messages", data::model::messages), "A message, whole or as a stream"),
    route!(Data POST "/v1/messages/count_tokens", tenant!("model:messages", data::model::count_tokens), "How many tokens a message would have"),
    route!(Data POST "/v1/files", tenant!("model:files", data::resources::create_file), "Uploads a file"),
    route!(Data GET "/v1/files", tenant!("model:files", data::resources::list_files), "The tenant's own files"),
    route!(Data GET "/v1/files/{id}", tenant!("model:files", data::resources::file), "What a file is"),
    route!(Data GET "/v1/files/{id}/content", tenant!("model:files", data::resources::file_content), "What a file holds"),
    route!(Data DELETE "/v1/files/{id}", tenant!("model:files", data::resources::delete_file), "Deletes a file"),
    route!(Data POST "/v1/batches", tenant!("model:batches", data::resources::create_batch), "Begins a batch"),
    route!(Data GET "/v1/batches", tenant!("model:batches", data::resources::list_batches), "The tenant's own batches"),
    route!(Data GET "/v1/batches/{id}", tenant!("model:batches", data::resources::batch), "How a batch stands"),
    route!(Data POST "/v1/batches/{id}/cancel", tenant!("model:batches", data::resources::cancel_batch), "Cancels a batch"),
    route!(Data GET "/v1/models", tenant!("model:models", data::model::list), "The models that the caller may use"),
    route!(Data GET "/v1/models/{*model}", tenant!("model:models", data::model::one), "One model"),
    route!(Data GET "/v1/cache/{entity}/{*key}", tenant!("cache:read", data::cache::get), "A result that the workflow's agents kept"),
    route!(Data PUT "/v1/cache/{entity}/{*key}", tenant!("cache:write", data::cache::put), "Keeps a result for the workflow's agents, for a while"),
    route!(Data DELETE "/v1/cache/{entity}/{*key}", tenant!("cache:write", data::cache::delete), "Forgets a result"),
    route!(Data GET "/v1/state/{run}", tenant!("state:read", data::state::list), "The keys of a run's state, by prefix"),
    route!(Data DELETE "/v1/state/{run}", tenant!("state:write", data::state::clear), "Removes the state of a run"),
    route!(Data GET "/v1/state/{run}/{*key}", tenant!("state:read", data::state::get), "A value of a run's state, an earlier version of it, or its history"),
    route!(Data PUT "/v1/state/{run}/{*key}", tenant!("state:write", data::state::put), "Keeps a value of a run's state; If-Match and If-None-Match: * compare and set"),
    route!(Data DELETE "/v1/state/{run}/{*key}", tenant!("state:write", data::state::delete), "Removes a key of a run's state"),
    route!(Data GET "/qdrant", tenant!("memory:read", data::qdrant::root), "Who answers here, for clients of Qdrant"),
    route!(Data GET "/qdrant/", tenant!("memory:read", data::qdrant::root), "The same"),
    route!(Data GET "/qdrant/collections", tenant!("memory:read", collections::list), "The tenant's own collections"),
    route!(Data GET "/qdrant/collections/{collection}", tenant!("memory:read", collections::info), "What a collection is"),
    route!(Data PUT "/qdrant/collections/{collection}", tenant!("memory:collections", collections::create), "Makes a collection"),
    route!(Data PATCH "/qdrant/collections/{collection}", tenant!("memory:collections", collections::change), "Changes a collection"),
    route!(Data DELETE "/qdrant/collections/{collection}", tenant!("memory:collections", collections::delete), "Removes a collection with its points"),
    route!(Data POST "/qdrant/collections/{collection}", tenant!("memory:read", data::qdrant::other), "Refuses aliases, of which there are none here"),
    route!(Data GET "/qdrant/collections/{collection}/exists", tenant!("memory:read", collections::exists), "Whether there is such a collection"),
    route!(Data PUT "/qdrant/collections/{collection}/index", tenant!("memory:collections", collections::create_index), "Indexes a field of payloads"),
    route!(Data DELETE "/qdrant/collections/{collection}/index/{field}", tenant!("memory:collections", collections::delete_index), "Removes the index of a field"),
    route!(Data PUT "/qdrant/collections/{collection}/points", tenant!("memory:write", points::upsert), "Puts points"),
    route!(Data POST "/qdrant/collections/{collection}/points", tenant!("memory:read", points::retrieve), "Points by their ids"),
    route!(Data GET "/qdrant/collections/{collection}/points/{id}", tenant!("memory:read", points::one), "One point"),
    route!(Data POST "/qdrant/collections/{collection}/points/{id}", tenant!("memory:read", data::qdrant::other), "Refuses what queries replaced: search, recommend, discover"),
    route!(Data POST "/qdrant/collections/{collection}/points/delete", tenant!("memory:write", points::delete), "Removes points, by ids or by a filter"),
    route!(Data POST "/qdrant/collections/{collection}/points/payload", tenant!("memory:write", points::set_payload), "Sets fields of payloads"),
    route!(Data PUT "/qdrant/collections/{collection}/points/payload", tenant!("memory:write", points::overwrite_payload), "Puts payloads in place of what there was"),
    route!(Data POST "/qdrant/collections/{collection}/points/payload/delete", tenant!("memory:write", points::delete_payload), "Removes fields of payloads"),
    route!(Data POST "/qdrant/collections/{collection}/points/payload/clear", tenant!("memory:write", points::clear_payload), "Removes all fields of payloads"),
    route!(Data PUT "/qdrant/collections/{collection}/points/vectors", tenant!("memory:write", points::update_vectors), "Puts vectors of points"),
    route!(Data POST "/qdrant/collections/{collection}/points/vectors/delete", tenant!("memory:write", points::delete_vectors), "Removes vectors of points"),
    route!(Data POST "/qdrant/collections/{collection}/points/batch", tenant!("memory:write", points::batch), "Several writes, one after the other"),
    route!(Data POST "/qdrant/collections/{collection}/points/query", tenant!("memory:read", query::query), "What is nearest, in the tenant's own points"),
    route!(Data POST "/qdrant/collections/{collection}/points/query/batch", tenant!("memory:read", query::batch), "Several queries at once"),
    route!(Data POST "/qdrant/collections/{collection}/points/query/groups", tenant!("memory:read", query::groups), "What is nearest, by the value of a field"),
    route!(Data POST "/qdrant/collections/{collection}/points/scroll", tenant!("memory:read", query::scroll), "Points page by page"),
    route!(Data POST "/qdrant/collections/{collection}/points/count", tenant!("memory:read", query::count), "How many points match"),
    route!(Data POST "/qdrant/collections/{collection}/facet", tenant!("memory:read", query::facet), "Values of a field, and how many points have them"),
    route!(Data GET "/qdrant/{*rest}", tenant!("memory:read", data::qdrant::other), "Refuses by name what Qdrant has and this has not"),
    route!(Data POST "/qdrant/{*rest}", tenant!("memory:read", data::qdrant::other), "The same"),
    route!(Data PUT "/qdrant/{*rest}", tenant!("memory:read", data::qdrant::other), "The same"),
    route!(Data PATCH "/qdrant/{*rest}", tenant!("memory:read", data::qdrant::other), "The same"),
    route!(Data DELETE "/qdrant/{*rest}", tenant!("memory:read", data::qdrant::other), "The same"),

    route!(Data POST "/v1/memory/{collection}", tenant!("memory:write", data::memory::remember), "Remembers a text", data::memory::NewMemory),
    route!(Data POST "/v1/memory/{collection}/search", tenant!("memory:read", data::memory::search), "What is remembered, most alike first", data::memory::Search),
    route!(Data DELETE "/v1/memory/{collection}/{id}", tenant!("memory:write", data::memory::forget), "Forgets one memory"),
    route!(Data POST "/mcp", tenant!("tools:list", data::mcp::post), "The tenant's own tools, as an MCP server without sessions"),
    route!(Data GET "/mcp", tenant!("tools:list", data::mcp::other), "Refused: there is no stream to open"),
    route!(Data DELETE "/mcp", tenant!("tools:list", data::mcp::other), "Refused: there is no session to end"),
    route!(Data GET "/tools/{upstream}/{*rest}", tenant!("tools:read", data::tools::get), "An HTTP upstream, with the tenant's own credential"),
    route!(Data POST "/tools/{upstream}/{*rest}", tenant!("tools:write", data::tools::change), "The same"),
    route!(Data PUT "/tools/{upstream}/{*rest}", tenant!("tools:write", data::tools::change), "The same"),
    route!(Data PATCH "/tools/{upstream}/{*rest}", tenant!("tools:write", data::tools::change), "The same"),
    route!(Data DELETE "/tools/{upstream}/{*rest}", tenant!("tools:write", data::tools::change), "The same"),
    route!(Data GET "/v1/audit", tenant!("audit:read", data::own::audit), "The tenant's own audit log: who did what, and who looked"),
    route!(Data GET "/v1/audit/head", tenant!("audit:read", data::own::audit_head), "The signed head of the tenant's own audit log"),
    route!(Data GET "/v1/audit/export", tenant!("audit:read", data::own::audit_export), "The tenant's own audit log, for somebody else to verify"),
    route!(Data GET "/v1/reviews", tenant!("reviews:read", data::reviews::list), "What the tenant's own people have to decide, newest first"),
    route!(Data GET "/v1/reviews/{id}", tenant!("reviews:read", data::reviews::one), "One review, with all that is to be decided on; with `wait`, as soon as it is decided"),
    route!(Data POST "/v1/reviews/{id}/decide", tenant!("reviews:decide", data::reviews::decide), "Allows or refuses what is asked", data::reviews::Decide),
    route!(Data POST "/v1/reviews/{id}/settle", tenant!("reviews:decide", data::reviews::settle), "Says of a write whose outcome is not known whether it was done", data::reviews::Settle),
    route!(Data POST "/v1/reviews/{id}/edit", tenant!("reviews:decide", data::reviews::edit), "Puts other arguments in place of those that were asked for", data::reviews::Edit),
    route!(Data GET "/v1/runs/{run}/events", tenant!("records:read", data::own::run_events), "What happened in a run of the tenant's own"),
    route!(Data GET "/v1/receipts", tenant!("records:read", data::receipts::list), "What proves the tenant's own writes, newest first"),
    route!(Data GET "/v1/receipts/{id}", tenant!("records:read", data::receipts::one), "What proves one write"),
    route!(Data GET "/.well-known/jwks.json", public!(data::public::jwks), "The keys of our tokens"),
    route!(Data GET "/.well-known/oauth-protected-resource", public!(data::public::resource), "Whose tokens are accepted (RFC 9728)"),
    route!(Data GET "/.well-known/oauth-protected-resource/mcp", public!(data::public::mcp_resource), "The same of `/mcp`"),
    route!(Data GET "/health/live", public!(data::public::live), "Whether the process runs"),
    route!(Data GET "/health/ready", public!(data::public::ready), "Whether it takes requests"),

    route!(Control GET "/health/live", public!(data::public::live), "Whether the process runs"),
    route!(Control GET "/health/ready", public!(data::public::ready), "Whether it takes requests"),
    route!(Control GET "/metrics", watcher!(deployment::metrics), "Figures for Prometheus"),
    route!(Control POST "/oauth/token", service!(token::exchange), "A tenant token or run grant for a service (RFC 8693)", token::Form),

    route!(Control GET "/admin/v1/openapi.json", operator!(Read, deployment::openapi), "This API as OpenAPI 3.1"),
    route!(Control GET "/admin/v1/status", operator!(Read, deployment::status), "How the deployment is"),
    route!(Control POST "/admin/v1/backup", operator!(Write, deployment::backup), "Copies the data files to a directory of the server, without the keystore", deployment::Backup),
    route!(Control GET "/admin/v1/probe", operator!(Read, probe::show), "How the deployment stood when it was last probed from outside, and whether it is being probed"),
    route!(Control POST "/admin/v1/probe", operator!(Write, probe::start), "Probes the deployment from outside, as two tenants of its own", probe::Start),
    route!(Control GET "/admin/v1/policy", operator!(Read, deployment::policy), "The policies in force"),
    route!(Control POST "/admin/v1/policy/reload", operator!(Write, deployment::reload_policy), "Reads the policy file again; a bad one leaves the last good one in force"),
    route!(Control POST "/admin/v1/keys/root/rotate", operator!(Write, deployment::rotate_root), "Wraps every key under the newest root key", deployment::RotateRoot),
    route!(Control POST "/admin/v1/signing-keys/rotate", operator!(Write, deployment::rotate_signing), "Signs tokens, assertions or receipts with a new key from now on", deployment::RotateSigning),
    route!(Control GET "/admin/v1/audit", operator!(Read, reading::deployment_audit), "The deployment's own audit log"),
    route!(Control GET "/admin/v1/audit/head", operator!(Read, reading::deployment_head), "The signed head of the deployment's own audit log"),
    route!(Control GET "/admin/v1/audit/export", operator!(Read, reading::deployment_export), "The deployment's own audit log, for somebody else to verify"),
    route!(Control GET "/admin/v1/audit/verify", operator!(Read, reading::deployment_verify), "Whether the deployment's own audit log is whole"),

    route!(Control GET "/admin/v1/reviews", operator!(Read, control::reviews::index), "Reviews of all tenants that wait for a decision, without what is in them"),
    route!(Control GET "/admin/v1/quarantine", operator!(Enter, control::reviews::quarantined), "What is in quarantine; looking is in the deployment's audit log"),
    route!(Control GET "/admin/v1/quarantine/{id}", operator!(Enter, control::reviews::doubtful), "One thing in quarantine, with all of it; looking is in the deployment's audit log"),
    route!(Control POST "/admin/v1/quarantine/{id}/settle", operator!(Write, control::reviews::dismiss), "Settles a thing in quarantine: it goes, and its record stays for a while", control::Why),
    route!(Control GET "/admin/v1/tools", operator!(Read, control::tools::list), "Tools: their contracts, where they are, which definitions are pinned"),
    route!(Control POST "/admin/v1/tools/{tool}/pin", operator!(Write, control::tools::pin), "Accepts a tool's definition, by its hash, for everybody", control::tools::Pin),

    route!(Control GET "/admin/v1/tenants", operator!(Read, tenants::list), "Tenants in the order of their ids"),
    route!(Control POST "/admin/v1/tenants", operator!(Write, tenants::create), "A new tenant", tenants::Create),
    route!(Control PUT "/admin/v1/tenants", operator!(Write, tenants::apply), "Brings tenants to what a document says, wholly or not at all", directory::Document),
    route!(Control GET "/admin/v1/tenants/{tenant}", operator!(Read, tenants::one), "A tenant's record"),
    route!(Control PATCH "/admin/v1/tenants/{tenant}", operator!(Write, tenants::change), "Changes a tenant", tenants::Patch),
    route!(Control DELETE "/admin/v1/tenants/{tenant}", operator!(Write, tenants::erase), "Erases a tenant: its credentials, its data, its keys"),
    route!(Control POST "/admin/v1/tenants/{tenant}/suspend", operator!(Write, tenants::suspend), "Stops serving a tenant, at once"),
    route!(Control POST "/admin/v1/tenants/{tenant}/resume", operator!(Write, tenants::resume), "Serves a tenant again"),
    route!(Control POST "/admin/v1/tenants/{tenant}/revoke", operator!(Write, tenants::revoke), "Voids every credential of a tenant, at once"),
    route!(Control GET "/admin/v1/tenants/{tenant}/run-grants", operator!(Read, keys::run_grants), "A tenant's run grants, without their secrets"),

    route!(Control GET "/admin/v1/tenants/{tenant}/environments/{environment}/keys", operator!(Read, keys::list), "API keys, without their secrets"),
    route!(Control POST "/admin/v1/tenants/{tenant}/environments/{environment}/keys", operator!(Write, keys::create), "A new API key; its secret is in this answer and nowhere else", keys::Create),
    route!(Control POST "/admin/v1/keys/{id}/rotate", operator!(Write, keys::rotate), "Replaces an API key", keys::Rotate),
    route!(Control DELETE "/admin/v1/keys/{id}", operator!(Write, keys::remove), "Revokes an API key, at once"),
    route!(Control POST "/admin/v1/tokens", operator!(Write, keys::mint), "A tenant token to try something out", keys::Mint),
    route!(Control POST "/admin/v1/revocations", operator!(Write, keys::revoke), "Revokes a token, a run grant or a lineage, at once", keys::Revoke),

    route!(Control GET "/admin/v1/services", operator!(Read, staff::services), "Services, without their secrets"),
    route!(Control POST "/admin/v1/services", operator!(Write, staff::create_service), "A new service credential; its secret is in this answer and nowhere else", staff::NewService),
    route!(Control DELETE "/admin/v1/services/{name}", operator!(Write, staff::remove_service), "Ends a service credential"),
    route!(Control GET "/admin/v1/operators", operator!(Read, staff::operators), "Operators, without their secrets"),
    route!(Control POST "/admin/v1/operators", operator!(Write, staff::create_operator), "A new operator; the secret is in this answer and nowhere else", staff::NewOperator),
    route!(Control DELETE "/admin/v1/operators/{name}", operator!(Write, staff::remove_operator), "Ends an operator's credential"),

    route!(Control GET "/admin/v1/tenants/{tenant}/environments/{environment}/credentials", operator!(Enter, credentials::list), "Provider credentials, without their secrets"),
    route!(Control PUT "/admin/v1/tenants/{tenant}/environments/{environment}/credentials/{provider}", operator!(Write, credentials::set), "Sets the credential for a provider", credentials::Set),
    route!(Control DELETE "/admin/v1/tenants/{tenant}/environments/{environment}/credentials/{provider}", operator!(Write, credentials::remove), "Removes the credential for a provider"),
    route!(Control GET "/admin/v1/tenants/{tenant}/environments/{environment}/models", operator!(Enter, models::list), "How the environment stands with each model: providers, credentials, isolation"),
    route!(Control POST "/admin/v1/tenants/{tenant}/environments/{environment}/models/test", operator!(Write, models::test), "One tiny call for each model, with the environment's own credentials", models::Test),
    route!(Control GET "/admin/v1/tenants/{tenant}/environments/{environment}/tools/mode", operator!(Enter, control::tools::mode), "How far writes of an environment go at most"),
    route!(Control PUT "/admin/v1/tenants/{tenant}/environments/{environment}/tools/mode", operator!(Write, control::tools::set_mode), "Sets how far writes of an environment go at most", control::tools::SetMode),
    route!(Control POST "/admin/v1/tenants/{tenant}/environments/{environment}/tools/{tool}/call", operator!(Write, control::tools::call), "Calls a tool that reads, as the tenant's own agents do", control::tools::Call),
    route!(Control POST "/admin/v1/tenants/{tenant}/environments/{environment}/tools/{tool}/test", operator!(Write, control::tools::test), "What a contract would bind, refuse, send and withhold", control::tools::Test),
    route!(Control POST "/admin/v1/tenants/{tenant}/environments/{environment}/data-key/rotate", operator!(Write, credentials::rotate_data_key), "Seals under a new data key from now on"),
    route!(Control GET "/admin/v1/tenants/{tenant}/environments/{environment}/audit", operator!(Enter, reading::audit), "A tenant's audit log; reading it is in it"),
    route!(Control GET "/admin/v1/tenants/{tenant}/environments/{environment}/audit/head", operator!(Enter, reading::audit_head), "The signed head of a tenant's audit log"),
    route!(Control GET "/admin/v1/tenants/{tenant}/environments/{environment}/audit/export", operator!(Enter, reading::audit_export), "A tenant's audit log, for somebody else to verify"),
    route!(Control GET "/admin/v1/tenants/{tenant}/environments/{environment}/audit/verify", operator!(Enter, reading::audit_verify), "Whether a tenant's audit log is whole"),
    route!(Control GET "/admin/v1/tenants/{tenant}/environments/{environment}/reviews", operator!(Enter, control::reviews::list), "A tenant's reviews, newest first; reading them is in its audit log"),
    route!(Control GET "/admin/v1/tenants/{tenant}/environments/{environment}/reviews/{id}", operator!(Enter, control::reviews::one), "A tenant's review, with all that is to be decided on"),
    route!(Control POST "/admin/v1/tenants/{tenant}/environments/{environment}/reviews/{id}/decide", operator!(Write, control::reviews::decide), "Allows or refuses what a tenant's agent asks", control::reviews::Decision),
    route!(Control POST "/admin/v1/tenants/{tenant}/environments/{environment}/reviews/{id}/settle", operator!(Write, control::reviews::settle), "Says of a tenant's write whose outcome is not known whether it was done", data::reviews::Settle),
    route!(Control POST "/admin/v1/tenants/{tenant}/environments/{environment}/reviews/{id}/edit", operator!(Write, control::reviews::edit), "Puts other arguments in place of those that a tenant's agent asks for", data::reviews::Edit),
    route!(Control GET "/admin/v1/tenants/{tenant}/environments/{environment}/events", operator!(Enter, reading::events), "A tenant's events; reading them is in its audit log"),
    route!(Control GET "/admin/v1/tenants/{tenant}/environments/{environment}/collections", operator!(Enter, control::collections::list), "A tenant's collections"),
    route!(Control GET "/admin/v1/tenants/{tenant}/environments/{environment}/collections/{collection}", operator!(Enter, control::collections::one), "What a collection is, and what it takes"),
    route!(Control PUT "/admin/v1/tenants/{tenant}/environments/{environment}/collections/{collection}", operator!(Write, control::collections::create), "Makes a collection if there is none of this name; the body is Qdrant's"),
    route!(Control GET "/admin/v1/tenants/{tenant}/environments/{environment}/collections/{collection}/verify", operator!(Enter, control::collections::verify), "Holds a collection's index against its rows"),
    route!(Control POST "/admin/v1/tenants/{tenant}/environments/{environment}/collections/{collection}/rebuild", operator!(Write, control::collections::rebuild), "Makes a collection's index again", control::Why),
    route!(Control POST "/admin/v1/tenants/{tenant}/environments/{environment}/collections/{collection}/erase", operator!(Write, control::collections::erase), "Erases points or a whole collection, and every trace of them in its index", control::collections::Erase),
    route!(Control PUT "/admin/v1/tenants/{tenant}/environments/{environment}/collections/{collection}/index", operator!(Write, control::collections::index), "Indexes a field of payloads; the body is Qdrant's"),
    route!(Control PUT "/admin/v1/tenants/{tenant}/environments/{environment}/collections/{collection}/points", operator!(Write, control::collections::put), "Puts points, as an adoption does; the body is Qdrant's"),
];

/// The router of one listener.
pub(crate) fn router(app: Arc<App>, plane: Plane) -> Router {
    let mut router = Router::new();
    for (index, route) in ROUTES.iter().enumerate().filter(|(_, route)| route.plane == plane) {
        router = router.route(route.path, served(index));
    }
    router
        .fallback(|State(app): State<Arc<App>>, request: Request<Body>| async move {
            astray(&app, Fault::not_found(), &request)
        })
        .method_not_allowed_fallback(
            |State(app): State<Arc<App>>, request: Request<Body>| async move {
                astray(&app, Fault::method(), &request)
            },
        )
        .with_state(app)
}

/// To a request that no route takes.
fn astray(app: &App, fault: Fault, request: &Request<Body>) -> Response {
    let id = request.extensions().get::<RequestId>().copied();
    let id = id.unwrap_or_else(|| RequestId::draw(&*app.entropy));
    fault.into_response(Shape::of(request.uri().path()), id, None)
}

fn served(index: usize) -> MethodRouter<Arc<App>> {
    let filter = match ROUTES[index].method {
        "GET" => MethodFilter::GET,
        "PUT" => MethodFilter::PUT,
        "PATCH" => MethodFilter::PATCH,
        "DELETE" => MethodFilter::DELETE,
        _ => MethodFilter::POST,
    };
    on(
        filter,
        move |State(app): State<Arc<App>>,
              params: Result<RawPathParams, RawPathParamsRejection>,
              request: Request<Body>| async move {
            dispatch::dispatch(app, index, params, request).await
        },
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_table_is_sound() {
        let mut seen = BTreeSet::new();
        for route in ROUTES {
            assert!(seen.insert((route.plane, route.method, route.path)), "{route:?} twice");
            assert!(["GET", "POST", "PUT", "PATCH", "DELETE"].contains(&route.method));
            match route.plane {
                Plane::Data => assert!(!route.path.starts_with("/admin/"), "{route:?}"),
                Plane::Control => {
                    assert!(!matches!(route.need(), Need::Tenant(_)), "{route:?}");
                    let admin = route.path.starts_with("/admin/");
                    assert_eq!(admin, matches!(route.need(), Need::Operator(_)), "{route:?}");
                }
            }
            if route.method == "GET" {
                assert!(route.body.is_none(), "{route:?}");
            }
        }
    }
}
