//! What a text is in a URL, and what it would be read as further on.

/// Percent-encodes everything but what RFC 3986 calls unreserved.
pub(crate) fn encode(text: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(text.len() + 8);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
    out
}

/// Decodes every escape, once. `None` if one is broken, or what comes out is not UTF-8.
pub(crate) fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'%' {
            let (digits, after) = after.split_at_checked(2)?;
            let digit = |d: u8| char::from(d).to_digit(16).and_then(|d| u8::try_from(d).ok());
            out.push(digit(digits[0])? << 4 | digit(digits[1])?);
            rest = after;
        } else {
            out.push(byte);
            rest = after;
        }
    }
    String::from_utf8(out).ok()
}

/// Characters that some servers take for a dot, for a slash or a backslash (`\u{2100}` is `a/c`), or for
/// the end of a path.
const LIKE_DOTS: &[char] =
    &['.', '\u{2024}', '\u{2025}', '\u{2026}', '\u{3002}', '\u{ff0e}', '\u{ff61}'];
const LIKE_SLASHES: &[char] = &[
    '/', '\\', '\u{2044}', '\u{2215}', '\u{2216}', '\u{29f8}', '\u{ff0f}', '\u{ff3c}', '\u{fe68}',
    '\u{2100}', '\u{2101}', '\u{2105}', '\u{2106}',
];
const LIKE_ENDS: &[char] = &[
    '?', '#', '\u{2047}', '\u{2048}', '\u{2049}', '\u{fe16}', '\u{fe56}', '\u{ff1f}', '\u{fe5f}',
    '\u{ff03}',
];

/// Whether a decoded segment is one segment, and a plain one, to everybody who may read it, also to
/// servers that decode twice, cut off at `;`, strip spaces, or fold look-alikes.
pub(crate) fn stays(segment: &str) -> bool {
    let escape = segment
        .as_bytes()
        .windows(3)
        .any(|three| three[0] == b'%' && three[1..].iter().all(u8::is_ascii_hexdigit));
    let cut = segment.split(';').next().unwrap_or_default().trim();
    let dots = !cut.is_empty() && cut.chars().all(|c| LIKE_DOTS.contains(&c));
    !escape
        && !dots
        && !cut.is_empty()
        && !segment
            .chars()
            .any(|c| c.is_control() || LIKE_SLASHES.contains(&c) || LIKE_ENDS.contains(&c))
}
