//! Errors of providers, rebuilt: what they say, without anything that looks like a credential.
//!
//! Providers quote credentials in their errors, whole ("Incorrect API key provided: sk-…") or
//! in part. Nothing of an error is passed on but its four known fields, as text, cut to size,
//! and with every such word struck out.

use std::collections::HashSet;

use http::StatusCode;
use serde_json::{Value, json};

use vault::Forms;

use crate::{Api, Dialect};

/// What stands in the place of a word that was struck out.
const STRUCK: &str = "[redacted]";

/// The longest text that is passed on, in bytes.
const LONGEST: usize = 2_048;

/// Begins what is a credential in all likelihood.
const PREFIXES: &[&str] = &[
    "sk-", "sk_", "rk-", "rk_", "pk-", "pk_", "xai-", "gsk_", "aiza", "eyj", "ghp_", "hf_",
    "nvapi-", "bk_", "bs_", "bo_", "bg_",
];

/// Stands before one.
const SCHEMES: &[&str] = &["bearer", "basic"];

/// A part of the credential this long gives it away.
const PART: usize = 8;

/// The bytes that credentials are made of.
const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'+' | b'/' | b'*' | b'~')
}

/// Strikes out the credential, its parts, and whatever else looks like one.
pub(crate) fn scrub(text: &str, secret: &str) -> String {
    if ids::planted::is("upstream-error-unscrubbed") {
        return text.to_owned();
    }
    // Of a longer text the rest would be cut off in the end.
    let text = &text[..text.floor_char_boundary(8 * LONGEST)];
    let mut whole = if secret.is_empty() { text.to_owned() } else { text.replace(secret, STRUCK) };
    let forms = Forms::of(secret);
    for form in forms.each().filter_map(|form| std::str::from_utf8(form).ok()) {
        whole = whole.replace(form, STRUCK);
    }
    let mut parts: HashSet<&[u8]> = secret.as_bytes().windows(PART).collect();
    parts.extend(forms.each().flat_map(|form| form.windows(PART)));
    let mut out = String::with_capacity(whole.len().min(LONGEST));
    let mut after_scheme = false;
    let mut rest = whole.as_str();
    while !rest.is_empty() && out.len() < LONGEST {
        let word = rest.bytes().take_while(|byte| is_word(*byte)).count();
        if word == 0 {
            let between = rest.bytes().take_while(|byte| !is_word(*byte)).count();
            out.push_str(&rest[..between]);
            rest = &rest[between..];
            continue;
        }
        let (this, after) = rest.split_at(word);
        rest = after;
        let lower = this.to_ascii_lowercase();
        let looks = this.len() >= PART
            && (after_scheme || PREFIXES.iter().any(|prefix| lower.starts_with(prefix)));
        let gives_away = this.as_bytes().windows(PART).any(|window| parts.contains(window));
        out.push_str(if looks || gives_away { STRUCK } else { this });
        after_scheme = SCHEMES.contains(&lower.as_str());
    }
    if out.len() > LONGEST {
        let cut = (0..=LONGEST).rev().find(|at| out.is_char_boundary(*at)).unwrap_or(0);
        out.truncate(cut);
    }
    out
}

/// The body for the caller, in the shape that the SDK reads, from what the provider sent.
pub(crate) fn error_body(
    dialect: Dialect,
    status: StatusCode,
    body: &[u8],
    secret: &str,
) -> Vec<u8> {
    let says = serde_json::from_slice::<Value>(body).ok();
    // Some servers leave the envelope out.
    let says = says.as_ref().map(|body| body.get("error").unwrap_or(body));
    let says = Says::of(says, secret);
    let generic = format!("the provider answered {}", status.as_u16());
    says.body(dialect, generic).to_string().into_bytes()
}

/// An answer that holds an error although its status is none: the error rebuilt, and of a
/// response the rest as it was.
pub(crate) fn answer(api: Api, status: StatusCode, body: &[u8], secret: &str) -> Vec<u8> {
    if api == Api::Responses
        && let Ok(mut response) = serde_json::from_slice::<Value>(body)
        && response.get("object").and_then(Value::as_str) == Some("response")
    {
        failed(&mut response, secret);
        return response.to_string().into_bytes();
    }
    error_body(api.dialect(), status, body, secret)
}

/// An event of a stream for what the provider said in the midst of it.
pub(crate) fn error_event(api: Api, says: Option<&Value>, secret: &str) -> Vec<u8> {
    let generic = "the provider broke off with an error".to_owned();
    Says::of(says, secret).event(api, generic)
}

/// The event that ends a response which failed, with its error rebuilt.
pub(crate) fn failed_event(mut says: Value, secret: &str) -> Vec<u8> {
    if let Some(response) = says.get_mut("response") {
        failed(response, secret);
    }
    if let Some(event) = says.as_object_mut() {
        event.insert("type".to_owned(), "response.failed".into());
    }
    format!("event: response.failed\ndata: {says}\n\n").into_bytes()
}

fn failed(response: &mut Value, secret: &str) {
    let says = Says::of(response.get("error").filter(|error| !error.is_null()), secret);
    let error = json!({
        "code": says.code.unwrap_or_else(|| "server_error".to_owned()),
        "message": says.message.unwrap_or_else(|| "the provider failed to answer".to_owned()),
    });
    if let Some(response) = response.as_object_mut() {
        response.insert("error".to_owned(), error);
        response.insert("status".to_owned(), "failed".into());
    }
}

/// What of an error is passed on.
#[derive(Default)]
pub(crate) struct Says {
    pub(crate) message: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) param: Option<String>,
    pub(crate) code: Option<String>,
}

impl Says {
    fn of(says: Option<&Value>, secret: &str) -> Self {
        let field = |name: &str| match says?.get(name)? {
            Value::String(text) => Some(scrub(text, secret)),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let bare = says.and_then(Value::as_str).map(|text| scrub(text, secret));
        Self {
            message: field("message").or(bare).filter(|text| !text.is_empty()),
            // `error` is what its envelope is called.
            kind: field("type").filter(|kind| kind != "error"),
            param: field("param"),
            code: field("code"),
        }
    }

    /// The whole body, in the shape of a dialect.
    pub(crate) fn body(self, dialect: Dialect, generic: String) -> Value {
        let message = self.message.unwrap_or(generic);
        let code = self.code.unwrap_or_else(|| "upstream.error".to_owned());
        match dialect {
            Dialect::OpenAi => json!({"error": {
                "message": message,
                "type": self.kind.unwrap_or_else(|| "upstream_error".to_owned()),
                "param": self.param,
                "code": code,
            }}),
            Dialect::Anthropic => json!({"type": "error", "error": {
                "type": self.kind.unwrap_or_else(|| "api_error".to_owned()),
                "message": message,
                "code": code,
            }}),
        }
    }

    /// An event, in the shape of an endpoint's streams.
    pub(crate) fn event(self, api: Api, generic: String) -> Vec<u8> {
        let mut body = self.body(api.dialect(), generic);
        match api {
            Api::Chat | Api::Embeddings | Api::CountTokens => format!("data: {body}\n\n"),
            Api::Messages => format!("event: error\ndata: {body}\n\n"),
            Api::Responses => {
                // The reference has these at the top; SDKs raise what stands in `error`.
                for name in ["message", "param", "code"] {
                    body[name] = body["error"][name].clone();
                }
                body["type"] = "error".into();
                body["sequence_number"] = 0.into();
                format!("event: error\ndata: {body}\n\n")
            }
        }
        .into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "sk-proj-AbCdEfGh1234567890";

    #[test]
    fn strikes_out_credentials_and_leaves_the_rest() {
        for (text, expected) in [
            ("all is well", "all is well"),
            (
                "Incorrect API key provided: sk-proj-AbCdEfGh1234567890.",
                "Incorrect API key provided: [redacted].",
            ),
            ("key (sk-proj-AbC***7890) is bad", "key ([redacted]) is bad"),
            ("key AbCdEfGh12 is bad", "key [redacted] is bad"),
            ("begins with CdEfGh123", "begins with [redacted]"),
            ("Authorization: Bearer xyz.abcdef", "Authorization: Bearer [redacted]"),
            ("authorization=Basic dXNlcjpwYXNz", "authorization=Basic [redacted]"),
            ("Bearer token", "Bearer token"),
            ("sk-other-tenants-key", "[redacted]"),
            ("bk_live_1234abcd_xyz eyJhbGciOi.J9.x", "[redacted] [redacted]"),
            ("model gpt-5.2 does not exist", "model gpt-5.2 does not exist"),
            (
                "see https://platform.openai.com/account/api-keys.",
                "see https://platform.openai.com/account/api-keys.",
            ),
            ("Größe überschritten – 8192", "Größe überschritten – 8192"),
            ("task-list", "task-list"),
        ] {
            assert_eq!(scrub(text, SECRET), expected, "{text}");
        }
    }

    #[test]
    fn encoded_it_is_struck_out_too() {
        let encode = |text: &str| STANDARD.encode(text);
        for said in [
            encode(SECRET),
            encode(&format!("user:{SECRET}")),
            encode(&SECRET[5..20]),
            format!("x={}&", encode(&format!("Bearer {SECRET}"))),
        ] {
            let out = scrub(&format!("key {said} is bad"), SECRET);
            assert!(out.contains(STRUCK), "{said}: {out}");
            let longest = said.trim_matches(['x', '=', '&']);
            assert!(!out.contains(&longest[8..20.min(longest.len())]), "{said}: {out}");
        }
        let out = scrub("key a%2Fb%2Bc%3Fd%26e0 is bad", "a/b+c?d&e0");
        assert_eq!(out, "key [redacted] is bad");
    }

    #[test]
    fn a_short_secret_is_struck_out_too() {
        assert_eq!(scrub("key abc is bad", "abc"), "key [redacted] is bad");
        assert_eq!(scrub("Basic dXNlcjpw", "Basic dXNlcjpw"), "[redacted]");
        assert_eq!(scrub("anything", ""), "anything");
    }

    #[test]
    fn rebuilds_errors() {
        let of = |body: &str| -> Value {
            let status = StatusCode::BAD_REQUEST;
            let body = error_body(Dialect::OpenAi, status, body.as_bytes(), SECRET);
            serde_json::from_slice(&body).unwrap()
        };
        for (body, message, code) in [
            (r#"{"error":{"message":"m","type":"t","param":"p","code":"c"}}"#, "m", "c"),
            (r#"{"error":{"message":"m","code":429,"headers":{"authorization":"x"}}}"#, "m", "429"),
            (r#"{"error":"m"}"#, "m", "upstream.error"),
            (r#"{"object":"error","message":"m","code":null}"#, "m", "upstream.error"),
            (
                "<html>sk-proj-AbCdEfGh1234567890</html>",
                "the provider answered 400",
                "upstream.error",
            ),
            ("", "the provider answered 400", "upstream.error"),
            (
                r#"{"error":{"message":"sk-proj-AbCdEfGh1234567890"}}"#,
                "[redacted]",
                "upstream.error",
            ),
            (
                r#"{"error":{"message":"m","code":"sk\u002dproj-AbCdEfGh1234567890"}}"#,
                "m",
                "[redacted]",
            ),
        ] {
            let got = of(body);
            assert_eq!(got["error"]["message"], message, "{body}");
            assert_eq!(got["error"]["code"], code, "{body}");
            assert_eq!(got.as_object().unwrap().len(), 1);
            assert_eq!(got["error"].as_object().unwrap().len(), 4);
        }
    }

    #[test]
    fn each_dialect_has_its_shape() {
        let said = br#"{"type":"error","request_id":"req_1","headers":{"x":"y"},"error":
            {"type":"overloaded_error","message":"key sk-proj-AbCdEfGh1234567890","more":"x"}}"#;
        let of = |dialect, body: &[u8]| -> Value {
            let body = error_body(dialect, StatusCode::BAD_REQUEST, body, SECRET);
            serde_json::from_slice(&body).unwrap()
        };
        assert_eq!(
            of(Dialect::Anthropic, said),
            json!({"type": "error", "error": {"type": "overloaded_error",
                "message": "key [redacted]", "code": "upstream.error"}})
        );
        assert_eq!(
            of(Dialect::Anthropic, b"<html>"),
            json!({"type": "error", "error": {"type": "api_error",
                "message": "the provider answered 400", "code": "upstream.error"}})
        );
        assert_eq!(of(Dialect::OpenAi, said)["error"]["type"], "overloaded_error");
    }

    #[test]
    fn each_endpoint_has_its_event() {
        let said = json!({"message": "key sk-proj-AbCdEfGh1234567890", "code": "c", "x": "y"});
        for (api, start) in [
            (Api::Chat, "data: "),
            (Api::Messages, "event: error\ndata: "),
            (Api::Responses, "event: error\ndata: "),
        ] {
            let event = String::from_utf8(error_event(api, Some(&said), SECRET)).unwrap();
            let data = event.strip_prefix(start).and_then(|e| e.strip_suffix("\n\n")).unwrap();
            let body: Value = serde_json::from_str(data).unwrap();
            assert_eq!(body["error"]["message"], "key [redacted]", "{event}");
            assert_eq!(body["error"]["code"], "c");
            assert!(!event.contains("AbCdEf") && !data.contains('\n'));
            let newer = api != Api::Chat;
            assert_eq!(body["type"] == "error", newer);
            if api == Api::Responses {
                assert_eq!(body["message"], "key [redacted]");
                assert_eq!((&body["code"], &body["param"]), (&json!("c"), &Value::Null));
                assert_eq!(body["sequence_number"], 0);
            }
        }
        // Without words of its own, an event is one still.
        for api in Api::ALL {
            let event = String::from_utf8(error_event(api, None, SECRET)).unwrap();
            assert!(event.contains("broke off") && event.contains("upstream.error"), "{event}");
        }
    }

    #[test]
    fn of_a_response_that_failed_the_error_is_rebuilt() {
        let response = |error: Value| {
            json!({"id": "resp_1", "object": "response", "status": "completed", "error": error,
                "output": [{"id": "msg_1"}]})
        };
        for (error, code, message) in [
            (
                json!({"code": "c", "message": "key sk-proj-AbCdEfGh1234567890"}),
                "c",
                "key [redacted]",
            ),
            (json!({"message": "m", "header": "x"}), "server_error", "m"),
            (json!("m"), "server_error", "m"),
            (json!(7), "server_error", "the provider failed to answer"),
            (Value::Null, "server_error", "the provider failed to answer"),
        ] {
            let expected = json!({"code": code, "message": message});
            let event = json!({"type": "response.completed", "sequence_number": 7,
                "response": response(error.clone())});
            let event = String::from_utf8(failed_event(event, SECRET)).unwrap();
            let data = event.strip_prefix("event: response.failed\ndata: ").unwrap();
            let event: Value = serde_json::from_str(data.trim()).unwrap();
            assert_eq!(
                (&event["type"], &event["sequence_number"]),
                (&json!("response.failed"), &json!(7))
            );
            let body = response(error).to_string();
            let whole = answer(Api::Responses, StatusCode::OK, body.as_bytes(), SECRET);
            let whole: Value = serde_json::from_slice(&whole).unwrap();
            for response in [&event["response"], &whole] {
                assert_eq!(response["error"], expected);
                assert_eq!(response["status"], "failed");
                assert_eq!(response["output"][0]["id"], "msg_1");
            }
        }
        // Elsewhere, nothing of the answer is left.
        let body = br#"{"choices":[{"x":"y"}],"error":{"message":"m"}}"#;
        let whole = answer(Api::Chat, StatusCode::OK, body, SECRET);
        let whole: Value = serde_json::from_slice(&whole).unwrap();
        assert_eq!((&whole["error"]["message"], &whole["choices"]), (&json!("m"), &Value::Null));
    }

    proptest! {
        // A planted bug must fail here and leave no file behind.
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn never_lets_a_part_through(before in "\\PC{0,30}", from in 0..18_usize, len in 8..26_usize, after in "\\PC{0,30}") {
            let part = &SECRET[from..(from + len).min(SECRET.len())];
            let out = scrub(&format!("{before}{part}{after}"), SECRET);
            prop_assert!(!out.contains(part), "{}", out);
        }

        #[test]
        fn is_bounded(text in "\\PC{0,6000}") {
            prop_assert!(scrub(&text, SECRET).len() <= LONGEST);
        }
    }
}
