//! What a request is refused with, and the forms in which protocols say so.

use axum::{body::Body, response::Response};
use http::{HeaderValue, StatusCode, header};
use ids::RequestId;
use serde_json::json;

/// A refusal: a stable code and a message for the caller, never with an internal cause or
/// anything of another tenant in it.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// Seconds after which asking again may help.
    pub(crate) retry_after: Option<u64>,
}

/// In which form a route answers errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// OpenAI's: `{"error":{"message","type","param","code"}}`.
    OpenAi,
    /// Anthropic's: `{"type":"error","error":{"type","message","code"},"request_id"}`.
    Anthropic,
    /// Qdrant's: `{"status":{"error"},"result","time"}`, with our code beside the message.
    Qdrant,
    /// JSON-RPC's, as MCP has it: `{"jsonrpc","error":{"code","message","data":{"code"}}}`.
    Mcp,
    /// RFC 9457.
    Native,
    /// RFC 6749, section 5.2.
    OAuth,
}

impl Shape {
    /// The form for a path, known or not.
    pub(crate) fn of(path: &str) -> Self {
        const NATIVE: [&str; 7] = [
            "/v1/cache/",
            "/v1/state/",
            "/v1/memory/",
            "/v1/audit",
            "/v1/runs/",
            "/v1/receipts",
            "/v1/reviews",
        ];
        let below = path.strip_prefix("/qdrant");
        if below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            Self::Qdrant
        } else if path == "/mcp" {
            Self::Mcp
        } else if path.starts_with("/v1/messages") {
            Self::Anthropic
        } else if path.starts_with("/v1/") && !NATIVE.iter().any(|own| path.starts_with(own)) {
            // What we do not serve, too: OpenAI's SDKs ask for it.
            Self::OpenAi
        } else if path.starts_with("/oauth/") {
            Self::OAuth
        } else {
            Self::Native
        }
    }
}

/// The code of an answer, for the log and the figures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Coded(pub(crate) &'static str);

impl Fault {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after: None }
    }

    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::new("request.malformed", message)
    }

    /// What there is not, and what is not the caller's: one answer for both.
    pub(crate) fn not_found() -> Self {
        Self::new("not_found", "there is no such thing here")
    }

    pub(crate) fn method() -> Self {
        Self::new("request.method", "this path does not take this method")
    }

    /// A failure of ours: the cause goes to the log, the code to the caller.
    pub(crate) fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(error = %cause, "internal error");
        Self::new("internal", "something failed on our side; the request id names it")
    }

    pub(crate) const fn after(mut self, seconds: Option<u64>) -> Self {
        self.retry_after = seconds;
        self
    }

    /// The answer in a protocol's form, to the request of this id.
    pub(crate) fn into_response(
        self,
        shape: Shape,
        request: RequestId,
        challenge: Option<&HeaderValue>,
    ) -> Response {
        let Self { code, message, retry_after } = self;
        let status = status_of(code);
        let (kind, json) = match shape {
            Shape::OpenAi => ("application/json", openai(status, code, &message)),
            Shape::Anthropic => ("application/json", anthropic(status, code, &message, request)),
            Shape::Qdrant => ("application/json", qdrant(code, &message)),
            Shape::Mcp => ("application/json", mcp(status, code, &message)),
            Shape::Native => ("application/problem+json", problem(status, code, &message)),
            Shape::OAuth => ("application/json", oauth(status, code, &message)),
        };
        let mut response = Response::new(Body::from(json.to_string()));
        *response.status_mut() = status;
        response.extensions_mut().insert(Coded(code));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if shape == Shape::Mcp && status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
        }
        if status == StatusCode::UNAUTHORIZED {
            let plain = HeaderValue::from_static("Bearer");
            headers.insert(header::WWW_AUTHENTICATE, challenge.cloned().unwrap_or(plain));
        }
        response
    }
}

fn openai(status: StatusCode, code: &str, message: &str) -> serde_json::Value {
    let kind = match status.as_u16() {
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    };
    json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
}

fn anthropic(
    status: StatusCode,
    code: &str,
    message: &str,
    request: RequestId,
) -> serde_json::Value {
    let kind = match status.as_u16() {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    };
    json!({
        "type": "error",
        "error": {"type": kind, "message": message, "code": code},
        "request_id": request.to_string(),
    })
}

/// Clients show what stands in `error`, and nothing else.
fn qdrant(code: &str, message: &str) -> serde_json::Value {
    json!({"status": {"error": message, "code": code}, "result": null, "time": 0.0})
}

/// What was not read as a message has no id to answer to.
fn mcp(status: StatusCode, code: &str, message: &str) -> serde_json::Value {
    let rpc = match status.as_u16() {
        400 | 405 | 413 => -32600,
        500 => -32603,
        _ => -32000,
    };
    json!({"jsonrpc": "2.0", "error": {"code": rpc, "message": message, "data": {"code": code}}})
}

/// A refusal of one message of MCP, under the id that its caller gave it.
pub(crate) struct McpError {
    /// JSON-RPC's code.
    pub(crate) rpc: i32,
    /// Ours.
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) id: Option<serde_json::Value>,
}

impl McpError {
    pub(crate) fn into_response(self) -> Result<Response, Fault> {
        let Self { rpc, code, message, id } = self;
        let mut told = mcp(status_of(code), code, &message);
        told["error"]["code"] = rpc.into();
        if let Some(id) = id {
            told["id"] = id;
        }
        let mut response = crate::ask::json_answer(status_of(code), &told)?;
        response.extensions_mut().insert(Coded(code));
        Ok(response)
    }
}

fn problem(status: StatusCode, code: &str, message: &str) -> serde_json::Value {
    json!({
        "type": format!("urn:bulkhead:error:{code}"),
        "title": message,
        "status": status.as_u16(),
        "code": code,
    })
}

fn oauth(status: StatusCode, code: &str, message: &str) -> serde_json::Value {
    let error = match (status.as_u16(), code) {
        (401, "scope.missing" | "scope.unknown") => "invalid_client",
        (_, "request.unsupported") => "unsupported_grant_type",
        (_, "scope.grant") => "invalid_scope",
        (400 | 404 | 405 | 408 | 413 | 421, _) => "invalid_request",
        (500.., _) => "server_error",
        _ => "invalid_grant",
    };
    json!({"error": error, "error_description": message, "code": code})
}

/// The status of each code.
pub(crate) fn status_of(code: &str) -> StatusCode {
    let status: u16 = match code {
        "request.malformed"
        | "request.unsupported"
        | "config.invalid"
        | "policy.invalid"
        | "directory.invalid"
        | "memory.unsupported"
        | "memory.content_field"
        | "memory.no_embedder"
        | "vault.secret"
        | "store.not_empty" => 400,
        "scope.missing" | "scope.malformed" | "scope.unknown_key" | "scope.signature"
        | "scope.algorithm" | "scope.expired" | "scope.clock_skew" | "scope.audience"
        | "scope.issuer" | "scope.revoked" | "scope.unknown" => 401,
        "scope.tenant"
        | "scope.environment"
        | "scope.suspended"
        | "scope.mismatch"
        | "scope.grant"
        | "policy.denied"
        | "policy.error"
        | "model.no_credential"
        | "model.tool"
        | "model.handles_full"
        | "tool.argument_bound"
        | "tool.argument_refused"
        | "tool.no_account"
        | "tool.no_credential"
        | "tool.drifted"
        | "approval.refused"
        | "review.same_person"
        | "request.origin"
        | "memory.out_of_reach" => 403,
        "not_found"
        | "model.unknown"
        | "model.handle"
        | "tool.unknown"
        | "tool.handle"
        | "tool.no_record"
        | "review.missing"
        | "memory.no_collection"
        | "memory.no_point"
        | "directory.missing"
        | "vault.no_such_key" => 404,
        "request.method" => 405,
        "request.timeout" | "memory.timeout" => 408,
        "directory.exists"
        | "directory.alias_taken"
        | "directory.full"
        | "tool.suggested"
        | "tool.in_flight"
        | "tool.input_required"
        | "tool.undeclared"
        | "tool.outcome_unknown"
        | "review.settled"
        | "review.other"
        | "review.kind"
        | "memory.exists"
        | "vault.duplicate"
        | "vault.in_use"
        | "vault.too_many" => 409,
        "vault.shredded" | "store.erased" => 410,
        "probe.running" => 409,
        "state.conflict" => 412,
        "request.too_large" | "store.too_large" => 413,
        "request.host" => 421,
        "limit.concurrency" | "memory.busy" | "review.waiting" => 429,
        "upstream.redirect"
        | "upstream.unreachable"
        | "upstream.malformed"
        | "upstream.too_large"
        | "upstream.credential"
        | "upstream.refused"
        | "tool.credential"
        | "tool.result_out_of_scope"
        | "upstream.error" => 502,
        "scope.unavailable" | "limit.connections" | "server.draining" | "store.read_only"
        | "store.busy" | "store.closed" => 503,
        "upstream.timeout" => 504,
        "approval.required" => 202,
        "store.full" | "state.full" | "memory.full" | "tool.intents_full" | "review.full" => 507,
        "review.quarantine_full" => 503,
        _ => 500,
    };
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

impl From<scope::Error> for Fault {
    fn from(error: scope::Error) -> Self {
        if let scope::Error::Unavailable(why) = &error {
            tracing::error!(error = %why, "identity cannot be checked");
        }
        let retry = matches!(error, scope::Error::Unavailable(_)).then_some(1);
        Self::new(error.code(), error.to_string()).after(retry)
    }
}

impl From<scope::Unavailable> for Fault {
    fn from(error: scope::Unavailable) -> Self {
        scope::Error::from(error).into()
    }
}

/// Errors of lower floors whose message may name paths or causes: the code goes out, and the
/// message only where it concerns what the caller sent.
fn lower(code: &'static str, error: &(dyn std::error::Error + 'static)) -> Fault {
    match status_of(code).as_u16() {
        status @ (500 | 503 | 507) => {
            let cause = error.source().map(ToString::to_string);
            tracing::error!(code, %error, cause, "a request failed");
            let message = match code {
                "store.busy" => "too much is waiting to be written; try again",
                "store.full" => "the disk is full; reads go on",
                "store.read_only" => "the disk cannot be written; reads go on",
                "vault.root" | "vault.no_root" => {
                    "the root key cannot be read where it is kept; the server's log says why"
                }
                "server.draining" | "store.closed" => "the server is stopping",
                _ => "something failed on our side; the request id names it",
            };
            Fault::new(code, message).after((status == 503).then_some(1))
        }
        _ => Fault::new(code, error.to_string()),
    }
}

macro_rules! lower {
    ($($error:ty),*) => {$(
        impl From<$error> for Fault {
            fn from(error: $error) -> Self {
                lower(error.code(), &error)
            }
        }
    )*};
}
lower!(store::Error, vault::Error, directory::Error, records::Error, crate::Error);

impl From<cache::Error> for Fault {
    fn from(error: cache::Error) -> Self {
        match error {
            cache::Error::Scope(error) => error.into(),
            // The tenant's own bound, and nothing of ours that failed.
            cache::Error::Full(_) => Self::new(error.code(), error.to_string()),
            error => lower(error.code(), &error),
        }
    }
}

impl From<memory::Error> for Fault {
    fn from(error: memory::Error) -> Self {
        match error {
            memory::Error::Store(error) => error.into(),
            memory::Error::Vault(error) => error.into(),
            memory::Error::Scope(error) => error.into(),
            memory::Error::Embedder(error) => {
                Self::new(error.code, error.message).after(error.retry_after)
            }
            memory::Error::Engine(why) => Self::internal(&why),
            error @ (memory::Error::Damaged | memory::Error::Settings(_)) => Self::internal(&error),
            error @ memory::Error::Busy => {
                Self::new(error.code(), error.to_string()).after(Some(1))
            }
            error => Self::new(error.code(), error.to_string()),
        }
    }
}

impl gate::Coded for Fault {
    fn code(&self) -> &'static str {
        self.code
    }
}

impl From<gate::Error> for Fault {
    fn from(error: gate::Error) -> Self {
        let retry = error.retry_after().map(|after| after.as_secs().max(1));
        match error {
            gate::Error::Scope(error) => error.into(),
            error => Self::new(error.code(), error.to_string()).after(retry),
        }
    }
}

impl From<model::Error> for Fault {
    fn from(error: model::Error) -> Self {
        match error {
            model::Error::Scope(error) => error.into(),
            model::Error::Gate(error) => error.into(),
            model::Error::Vault(error) => error.into(),
            model::Error::Store(error) => error.into(),
            error => Self::new(error.code(), error.to_string()),
        }
    }
}

impl From<reviews::Error> for Fault {
    fn from(error: reviews::Error) -> Self {
        match error {
            reviews::Error::Store(error) => error.into(),
            reviews::Error::Vault(error) => error.into(),
            reviews::Error::Scope(error) => error.into(),
            error @ reviews::Error::Waiting(_) => {
                Self::new(error.code(), error.to_string()).after(Some(1))
            }
            error => Self::new(error.code(), error.to_string()),
        }
    }
}

impl From<tools::Error> for Fault {
    fn from(error: tools::Error) -> Self {
        match error {
            tools::Error::Scope(error) => error.into(),
            tools::Error::Gate(error) => error.into(),
            tools::Error::Vault(error) => error.into(),
            tools::Error::Store(error) => error.into(),
            tools::Error::Reviews(error) => error.into(),
            tools::Error::Internal(why) => Self::internal(&std::io::Error::other(why)),
            error => Self::new(error.code(), error.to_string()),
        }
    }
}

impl From<ids::Error> for Fault {
    fn from(error: ids::Error) -> Self {
        Self::malformed(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: RequestId = RequestId(ids::RandomId::from_bytes([7; 16]));

    #[test]
    fn the_types_of_anthropic_are_by_status() {
        for (code, kind) in [
            ("request.malformed", "invalid_request_error"),
            ("scope.missing", "authentication_error"),
            ("scope.grant", "permission_error"),
            ("model.unknown", "not_found_error"),
            ("request.too_large", "request_too_large"),
            ("limit.concurrency", "rate_limit_error"),
            ("server.draining", "overloaded_error"),
            ("upstream.timeout", "api_error"),
            ("internal", "api_error"),
        ] {
            assert_eq!(anthropic(status_of(code), code, "m", ID)["error"]["type"], kind, "{code}");
        }
    }

    #[test]
    fn each_protocol_says_it_in_its_own_form() {
        for (path, shape) in [
            ("/v1/chat/completions", Shape::OpenAi),
            ("/v1/models/x", Shape::OpenAi),
            ("/v1/responses/resp_1/cancel", Shape::OpenAi),
            ("/v1/conversations", Shape::OpenAi),
            ("/v1/files/file-1/content", Shape::OpenAi),
            ("/v1/batches", Shape::OpenAi),
            ("/v1/embeddings", Shape::OpenAi),
            ("/v1/messages", Shape::Anthropic),
            ("/v1/messages/count_tokens", Shape::Anthropic),
            ("/v1/cache/prices/a", Shape::Native),
            ("/v1/state/run_1/a", Shape::Native),
            ("/v1/memory/notes", Shape::Native),
            ("/v1/memory/notes/search", Shape::Native),
            ("/v1/audit", Shape::Native),
            ("/qdrant", Shape::Qdrant),
            ("/qdrant/", Shape::Qdrant),
            ("/qdrant/collections/c/points/query", Shape::Qdrant),
            ("/qdrants", Shape::Native),
            ("/mcp", Shape::Mcp),
            ("/mcp/x", Shape::Native),
            ("/tools/crm/contacts", Shape::Native),
            ("/v1/receipts", Shape::Native),
            ("/oauth/token", Shape::OAuth),
            ("/admin/v1/tenants", Shape::Native),
            ("/", Shape::Native),
        ] {
            assert_eq!(Shape::of(path), shape, "{path}");
        }
        assert_eq!(
            openai(StatusCode::UNAUTHORIZED, "scope.missing", "m")["error"]["code"],
            "scope.missing"
        );
        let told = anthropic(StatusCode::NOT_FOUND, "not_found", "m", ID);
        let id = ID.to_string();
        assert_eq!(
            told,
            json!({"type": "error", "request_id": id,
                "error": {"type": "not_found_error", "message": "m", "code": "not_found"}})
        );
        assert_eq!(
            qdrant("memory.exists", "m"),
            json!({"status": {"error": "m", "code": "memory.exists"}, "result": null, "time": 0.0})
        );
        assert_eq!(oauth(StatusCode::FORBIDDEN, "scope.grant", "m")["error"], "invalid_scope");
        assert_eq!(problem(StatusCode::NOT_FOUND, "not_found", "m")["status"], 404);
    }

    #[test]
    fn a_refusal_to_identify_asks_for_a_credential() {
        let fault = Fault::new("scope.missing", "m");
        let response = fault.into_response(Shape::Native, ID, None);
        assert_eq!(response.status(), 401);
        assert!(response.headers().contains_key(header::WWW_AUTHENTICATE));
    }
}
