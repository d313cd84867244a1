//! An answer as the cache keeps it: what it is, which requests it may answer, then its bytes.

use bytes::Bytes;
use ids::planted;
use memchr::memmem;

/// Counts up when the layout changes.
const LAYOUT: u8 = 2;

/// What was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// One JSON document.
    Json = 1,
    /// A whole event stream.
    Events = 2,
}

/// The layout, the form, and the digest of the partition within which a similar request may
/// be answered with it; zeros if only the same one may.
const HEAD: usize = 2 + 32;

fn head(form: Form, partition: Option<&[u8; 32]>) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[0] = LAYOUT;
    head[1] = form as u8;
    head[2..].copy_from_slice(partition.unwrap_or(&[0; 32]));
    head
}

/// The bytes that go under the seal.
pub(crate) fn encode(form: Form, partition: Option<&[u8; 32]>, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD + body.len());
    out.extend_from_slice(&head(form, partition));
    out.extend_from_slice(body);
    out
}

/// The body, if it was kept in this form and for this partition.
pub(crate) fn decode(value: &Bytes, form: Form, partition: Option<&[u8; 32]>) -> Option<Bytes> {
    value.starts_with(&head(form, partition)).then(|| value.slice(HEAD..))
}

/// Whether an answer calls a tool. What it calls it with came from the words of one question;
/// for another, however near, it would do the wrong thing.
pub(crate) fn acts(body: &[u8]) -> bool {
    if planted::is("semantic-answers-act") {
        return false;
    }
    // In text of a model, quotation marks are escaped.
    let lists = [&b"\"tool_calls\""[..], b"\"function_call\""];
    let names = [&b"\"function_call\""[..], b"_call\"", b"tool_use\""];
    let follows = |needle: &'static [u8]| {
        memmem::find_iter(body, needle).map(move |at| body[at + needle.len()..].trim_ascii_start())
    };
    let calls = |rest: &[u8]| match rest.strip_prefix(b":").map(<[u8]>::trim_ascii_start) {
        Some(value) => {
            let none = value.starts_with(b"null");
            let empty = value
                .strip_prefix(b"[")
                .is_some_and(|list| list.trim_ascii_start().starts_with(b"]"));
            !none && !empty
        }
        None => false,
    };
    // A key with something in it, or the type of something.
    lists.into_iter().any(|key| follows(key).any(calls))
        || names.into_iter().any(|kind| follows(kind).any(|rest| !rest.starts_with(b":")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_calls_a_tool_is_known() {
        for (body, expected) in [
            (r#"{"choices":[{"message":{"content":"x"}}]}"#, false),
            (r#"{"choices":[{"message":{"content":"x","tool_calls":null}}]}"#, false),
            (r#"{"choices":[{"message":{"content":"x","tool_calls": [ ]}}]}"#, false),
            (r#"{"choices":[{"message":{"content":"x","function_call":null}}]}"#, false),
            (r#"{"choices":[{"message":{"tool_calls":[{"id":"c"}]}}]}"#, true),
            (r#"{"choices":[{"message":{"tool_calls" : [ {"id":"c"}]}}]}"#, true),
            (r#"{"choices":[{"message":{"function_call":{"name":"f"}}}]}"#, true),
            ("data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0}]}}]}\n\n", true),
            (r#"{"output":[{"type":"message"}],"tools":[{"type":"function"}]}"#, false),
            (r#"{"output":[{"type":"function_call","name":"f"}]}"#, true),
            (r#"{"output":[{"type": "custom_tool_call" }]}"#, true),
            (r#"{"output":[{"type":"mcp_call"}]}"#, true),
            (r#"{"content":[{"type":"tool_use","name":"f"}]}"#, true),
            (r#"{"content":[{"type":"server_tool_use"}]}"#, true),
            (r#"{"content":[{"type":"text","text":"x"}]}"#, false),
            (r#"{"content":[{"type":"text","text":"{\"type\":\"tool_use\"}"}]}"#, false),
            (r#"{"usage":{"server_tool_use":null}}"#, false),
        ] {
            assert_eq!(acts(body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn comes_back_in_its_own_form_and_partition_only() {
        let partitions = [None, Some([1; 32]), Some([2; 32])];
        for (at, kept) in partitions.iter().enumerate() {
            let value = Bytes::from(encode(Form::Json, kept.as_ref(), b"{}"));
            for (other, asked) in partitions.iter().enumerate() {
                let body = decode(&value, Form::Json, asked.as_ref());
                assert_eq!(body.is_some(), at == other);
                assert!(body.is_none_or(|body| body == "{}"));
            }
            assert_eq!(decode(&value, Form::Events, kept.as_ref()), None);
            for cut in 0..HEAD {
                assert_eq!(decode(&value.slice(..cut), Form::Json, kept.as_ref()), None);
            }
        }
        // What the layout before this one kept.
        assert_eq!(decode(&Bytes::from_static(b"\x01\x01{}"), Form::Json, None), None);
    }
}
