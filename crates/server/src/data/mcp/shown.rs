//! What came of a call, in the words of the protocol.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::StatusCode;
use ids::{
    Millis, RandomId,
    json::{Json, Limits},
};
use rmcp::model::{
    CallToolResult, ContentBlock, JsonObject, MetaObject, ResourceContents, Tool, ToolAnnotations,
};
use serde_json::{Map, Value, json};
use tools::{Answer, Content, Described, Effect, Error};

use crate::fault::Fault;

/// A tool, as a model sees it.
pub(super) fn tool(described: Described) -> Tool {
    let Described { name, title, description, input, output, effect } = described;
    let mut input = object(input);
    input.entry("type").or_insert_with(|| "object".into());
    let mut tool = Tool::new_with_raw(name, description.map(Into::into), Arc::new(input));
    tool.title = title;
    tool.output_schema = output.map(|output| Arc::new(object(output)));
    let (reads, loses) = (effect == Effect::Read, effect == Effect::Destructive);
    // By the contract, whatever the upstream says of it.
    tool.annotations =
        Some(ToolAnnotations::from_raw(None, Some(reads), Some(loses), None, Some(true)));
    tool
}

fn object(json: Json) -> JsonObject {
    match value(json) {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

/// The same value, for the SDK.
pub(crate) fn value(json: Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => value.into(),
        Json::Number(number) => Value::Number(number),
        Json::String(text) => text.into(),
        Json::Array(items) => items.into_iter().map(value).collect(),
        Json::Object(entries) => {
            Value::Object(entries.into_iter().map(|(key, json)| (key, value(json))).collect())
        }
    }
}

/// An answer that was held against its owner.
pub(super) fn answer(answer: Answer) -> Result<CallToolResult, Fault> {
    let Answer { content, receipt, duplicate, observed } = answer;
    let mut result = match content {
        Content::Mcp(result) => serde_json::from_value(value(result)).map_err(|_| {
            Fault::new("upstream.malformed", "the upstream's answer makes no sense in its protocol")
        })?,
        Content::Http { status, content_type, body } => fetched(status, content_type, &body),
        Content::Rows(rows) => {
            let structured = json!({"rows": value(rows)});
            let mut result =
                CallToolResult::success(vec![ContentBlock::text(structured.to_string())]);
            result.structured_content = Some(structured);
            result
        }
    };
    result.result_type = CallToolResult::default().result_type;
    let mut meta = Map::new();
    if let Some(receipt) = receipt {
        let told = json!({"intent": receipt.intent.to_string(), "at": receipt.at.to_string(),
            "signed": receipt.signed});
        meta.insert("bulkhead/receipt".to_owned(), told);
    }
    if duplicate {
        meta.insert("bulkhead/duplicate".to_owned(), true.into());
    }
    if !observed.is_empty() {
        meta.insert("bulkhead/observed".to_owned(), observed.into());
    }
    result.meta = (!meta.is_empty()).then_some(MetaObject(meta));
    Ok(result)
}

/// What an HTTP API answered.
fn fetched(status: StatusCode, content_type: Option<String>, body: &Bytes) -> CallToolResult {
    let kind = content_type.unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let mut structured = None;
    let block = match std::str::from_utf8(body) {
        Ok(text) => {
            if essence == "application/json" || essence.ends_with("+json") {
                let parsed = Json::parse(body, &Limits::default()).ok();
                structured = parsed.filter(|json| matches!(json, Json::Object(_))).map(value);
            }
            ContentBlock::text(text)
        }
        Err(_) => {
            let data = STANDARD.encode(body);
            match essence.split('/').next() {
                Some("image") => ContentBlock::image(data, essence),
                Some("audio") => ContentBlock::audio(data, essence),
                _ => ContentBlock::resource(
                    ResourceContents::blob(data, "bulkhead:answer").with_mime_type(essence),
                ),
            }
        }
    };
    let mut result = match status.is_success() {
        true => CallToolResult::success(vec![block]),
        false => CallToolResult::error(vec![block]),
    };
    result.structured_content = structured;
    result
}

/// What a call waits for.
pub(super) struct Waiting {
    review: RandomId,
    expires: Option<Millis>,
}

pub(super) fn waiting(error: &Error) -> Option<Waiting> {
    match error {
        Error::ApprovalRequired { review, expires } => {
            Some(Waiting { review: *review, expires: Some(*expires) })
        }
        Error::Suggested { review } => Some(Waiting { review: *review, expires: None }),
        _ => None,
    }
}

/// A failure that a model can read and act on. Its code is in `_meta`: what is structured is the
/// upstream's, by its schema.
pub(super) fn failure(code: &str, message: &str, waiting: Option<Waiting>) -> CallToolResult {
    let mut meta = Map::new();
    meta.insert("bulkhead/code".to_owned(), code.into());
    let mut text = format!("{message} [{code}]");
    if let Some(Waiting { review, expires }) = waiting {
        text.push_str(&format!(" Review: {review}"));
        meta.insert("bulkhead/review".to_owned(), review.to_string().into());
        if let Some(expires) = expires {
            text.push_str(&format!(", to be decided until {expires}"));
            meta.insert("bulkhead/expires".to_owned(), expires.to_string().into());
        }
        text.push('.');
    }
    let mut result = CallToolResult::error(vec![ContentBlock::text(text)]);
    result.meta = Some(MetaObject(meta));
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(status: u16, kind: &str, body: &'static [u8]) -> Value {
        let status = StatusCode::from_u16(status).unwrap();
        let body = Bytes::from_static(body);
        serde_json::to_value(fetched(status, Some(kind.to_owned()), &body)).unwrap()
    }

    #[test]
    fn an_apis_answer_is_content() {
        let found = http(200, "application/json; charset=utf-8", br#"{"id":1}"#);
        assert_eq!(found["structuredContent"], json!({"id": 1}));
        assert_eq!(found["content"][0]["text"], r#"{"id":1}"#);
        assert_eq!(found["isError"], false);
        // Two readers may read two things there, so it is text and nothing else.
        let twice = http(200, "application/json", br#"{"id":1,"id":2}"#);
        assert!(twice.get("structuredContent").is_none(), "{twice}");
        let list = http(200, "application/json", b"[1]");
        assert!(list.get("structuredContent").is_none(), "{list}");
        let failed = http(404, "text/plain", b"no such contact");
        assert_eq!(
            (&failed["isError"], &failed["content"][0]["type"]),
            (&json!(true), &json!("text"))
        );
        assert_eq!(http(200, "image/png", b"\xff\xd8")["content"][0]["type"], "image");
        assert_eq!(http(200, "x/y", b"\xff\xd8")["content"][0]["resource"]["blob"], "/9g=");
    }

    #[test]
    fn a_failure_says_its_code_where_no_schema_is() {
        let waiting = Waiting { review: RandomId::from_bytes([7; 16]), expires: Some(Millis(0)) };
        let told = serde_json::to_value(failure("approval.required", "m", Some(waiting))).unwrap();
        assert_eq!(told["isError"], true);
        assert_eq!(told["_meta"]["bulkhead/code"], "approval.required");
        assert_eq!(told["_meta"]["bulkhead/review"], RandomId::from_bytes([7; 16]).to_string());
        assert!(told.get("structuredContent").is_none());
    }
}
