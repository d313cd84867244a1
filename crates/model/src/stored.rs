//! An answer as the cache keeps it: what it is, then its bytes.

use bytes::Bytes;

/// Counts up when the layout changes.
const LAYOUT: u8 = 1;

/// What was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// One JSON document.
    Json = 1,
    /// A whole event stream.
    Events = 2,
}

/// The bytes that go under the seal.
pub(crate) fn encode(form: Form, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 + body.len());
    out.extend_from_slice(&[LAYOUT, form as u8]);
    out.extend_from_slice(body);
    out
}

/// The body, if it was kept in this form.
pub(crate) fn decode(value: &Bytes, form: Form) -> Option<Bytes> {
    value.starts_with(&[LAYOUT, form as u8]).then(|| value.slice(2..))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_in_its_own_form_only() {
        let value = Bytes::from(encode(Form::Json, b"{}"));
        assert_eq!(decode(&value, Form::Json).unwrap(), "{}");
        assert_eq!(decode(&value, Form::Events), None);
        for bad in [&b""[..], &[1], &[2, 1, 3]] {
            assert_eq!(decode(&Bytes::copy_from_slice(bad), Form::Json), None);
        }
    }
}
