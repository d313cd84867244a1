//! Errors of providers, rebuilt: what they say, without anything that looks like a credential.
//!
//! Providers quote credentials in their errors, whole ("Incorrect API key provided: sk-…") or
//! in part. Nothing of an error body is passed on but its four known fields, as text, cut to
//! size, and with every such word struck out.

use std::collections::HashSet;

use http::StatusCode;
use serde_json::{Value, json};

use crate::leak::Forms;

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
pub(crate) fn error_body(status: StatusCode, body: &[u8], secret: &str) -> Vec<u8> {
    let says = serde_json::from_slice::<Value>(body).ok();
    // Some servers leave the envelope out.
    let says = says.as_ref().map(|body| body.get("error").unwrap_or(body));
    let generic = format!("the provider answered {}", status.as_u16());
    envelope(says, &generic, secret).to_string().into_bytes()
}

/// An event of a stream for what the provider said in the midst of it.
pub(crate) fn error_event(says: Option<&Value>, secret: &str) -> Vec<u8> {
    let body = envelope(says, "the provider broke off with an error", secret);
    format!("data: {body}\n\n").into_bytes()
}

fn envelope(says: Option<&Value>, generic: &str, secret: &str) -> Value {
    let field = |name: &str| match says?.get(name)? {
        Value::String(text) => Some(scrub(text, secret)),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let bare = says.and_then(Value::as_str).map(|text| scrub(text, secret));
    let message = field("message").or(bare).filter(|text| !text.is_empty());
    json!({"error": {
        "message": message.unwrap_or_else(|| generic.to_owned()),
        "type": field("type").unwrap_or_else(|| "upstream_error".to_owned()),
        "param": field("param"),
        "code": field("code").unwrap_or_else(|| "upstream.error".to_owned()),
    }})
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
            serde_json::from_slice(&error_body(StatusCode::BAD_REQUEST, body.as_bytes(), SECRET))
                .unwrap()
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
