//! A value with its content type, as it is sealed.
//!
//! ```text
//! layout, 1 byte ‖ length, 1 byte ‖ content type ‖ value
//! ```

use bytes::Bytes;
use zeroize::Zeroizing;

use crate::Error;

/// Says how it is laid out.
const LAYOUT: u8 = 1;

/// Bytes of a content type, at most.
pub(crate) const TYPE_MAX: usize = 255;

/// How many bytes more than the value it takes.
pub(crate) const fn overhead(content_type: &str) -> usize {
    2 + content_type.len()
}

/// Lays out a value, behind `head`. The content type goes into a header some day: visible ASCII
/// and inner spaces only.
pub(crate) fn encode(
    head: &[u8],
    content_type: &str,
    value: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let visible = content_type.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if content_type.is_empty() || !visible || content_type.trim() != content_type {
        return Err(Error::Invalid("a content type is visible ASCII"));
    }
    let Ok(length) = u8::try_from(content_type.len()) else {
        let size = content_type.len();
        return Err(Error::TooLarge { what: "a content type", size, bound: TYPE_MAX });
    };
    let size = head.len() + overhead(content_type) + value.len();
    let mut plain = Zeroizing::new(Vec::with_capacity(size));
    plain.extend_from_slice(head);
    plain.extend_from_slice(&[LAYOUT, length]);
    plain.extend_from_slice(content_type.as_bytes());
    plain.extend_from_slice(value);
    Ok(plain)
}

/// The content type and the value, if they are laid out so.
pub(crate) fn decode(plain: &Bytes) -> Option<(String, Bytes)> {
    let [LAYOUT, length, ..] = plain[..] else { return None };
    let end = 2 + usize::from(length);
    let content_type = std::str::from_utf8(plain.get(2..end)?).ok()?;
    Some((content_type.to_owned(), plain.slice(end..)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_as_it_was() {
        let long = "t".repeat(TYPE_MAX);
        for content_type in ["application/json; charset=utf-8", "a", &long] {
            for value in [&b""[..], b"value", b"\0\x01"] {
                let plain = encode(b"head", content_type, value).unwrap();
                assert_eq!(plain.len(), 4 + overhead(content_type) + value.len());
                let plain = Bytes::copy_from_slice(&plain[4..]);
                let (of, back) = decode(&plain).unwrap();
                assert_eq!((of.as_str(), &back[..]), (content_type, value));
            }
        }
    }

    #[test]
    fn refuses_what_no_header_could_carry() {
        for bad in ["", " a", "a ", "a\r\nx: y", "text/plain\0", "täxt/plain"] {
            assert_eq!(encode(b"", bad, b"").unwrap_err().code(), "request.malformed", "{bad:?}");
        }
        let long = "t".repeat(TYPE_MAX + 1);
        assert_eq!(encode(b"", &long, b"").unwrap_err().code(), "request.too_large");
    }

    #[test]
    fn what_is_not_laid_out_so_is_nothing() {
        for bad in [&b""[..], &[LAYOUT], &[2, 0], &[LAYOUT, 2, b'a'], &[LAYOUT, 1, 0xff]] {
            assert!(decode(&Bytes::copy_from_slice(bad)).is_none(), "{bad:?}");
        }
    }
}
