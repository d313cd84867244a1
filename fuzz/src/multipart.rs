//! Uploads: what goes on is written anew, holds the file to the byte, and has no part, name or header of the caller's
//! choosing.

use bytes::Bytes;
use model::fuzzing;

/// What forms are made of.
pub const WORDS: &[&str] = &[
    "\r\n",
    "\n",
    "--b",
    "--b--",
    "--b\r\n",
    "\r\n--b\r\n",
    "multipart/form-data; boundary=b\n",
    "multipart/form-data; boundary=\"b\"\n",
    "Content-Disposition: form-data; name=\"purpose\"\r\n\r\nuser_data\r\n",
    "Content-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\nx\r\n",
    "Content-Disposition: form-data; name=\"expires_after[anchor]\"\r\n\r\ncreated_at\r\n",
    "Content-Disposition: form-data; name=\"expires_after[seconds]\"\r\n\r\n3600\r\n",
    "filename*=UTF-8''a%22b",
    "filename=\"a\\\"; name=\\\"purpose\"",
    "Content-Type: text/plain; x=\"\r\n",
    "Content-Transfer-Encoding: base64\r\n",
    "--bulkhead-",
    "name=\"user\"",
    "\u{0}",
    "\u{e9}",
    "../",
];

const MOST: usize = 1 << 20;

/// The first line is the content type, the rest the body.
pub fn run(input: &[u8]) {
    let Some(at) = input.iter().position(|byte| *byte == b'\n') else {
        return;
    };
    let Ok(content_type) = std::str::from_utf8(&input[..at]) else {
        return;
    };
    let body = Bytes::copy_from_slice(&input[at + 1..]);
    let Ok((kind, sent, file)) = fuzzing::uploaded(content_type, body.clone(), MOST) else {
        return;
    };
    let stands = |part: &[u8], whole: &[u8]| {
        part.is_empty() || whole.windows(part.len()).any(|window| window == part)
    };
    assert!(stands(&file, &body), "a file was made up");
    let Some(boundary) = kind.strip_prefix("multipart/form-data; boundary=") else {
        panic!("{kind} is no form");
    };
    let parts = parts(&sent, boundary);
    let Some(((head, held), fields)) = parts.split_last() else {
        panic!("there is no part");
    };
    assert_eq!(*held, &file[..], "the file changed on its way");
    plain(head);
    for (at, (head, value)) in fields.iter().enumerate() {
        let name = ["purpose", "expires_after[anchor]", "expires_after[seconds]"].get(at);
        let expected = name.map(|name| format!("content-disposition: form-data; name=\"{name}\""));
        assert_eq!(Some(*head), expected.as_deref(), "a field of the caller's choosing");
        let sound = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
        assert!(value.iter().all(sound), "a value of the caller's choosing");
    }
    assert!(fields.len() == 1 || fields.len() == 3);
    // Read again it is the same, to the byte.
    let again = fuzzing::uploaded(&kind, sent.clone(), MOST).map(|(_, again, _)| again);
    assert!(again.is_ok_and(|again| again == sent), "what was written means something else");
}

/// The head and the body of each part (RFC 2046, 5.1), of a form that ends in order.
fn parts<'a>(form: &'a [u8], boundary: &str) -> Vec<(&'a str, &'a [u8])> {
    let first = format!("--{boundary}\r\n");
    let next = format!("\r\n--{boundary}");
    let mut rest = form.strip_prefix(first.as_bytes());
    let mut parts = Vec::new();
    while let Some(form) = rest {
        let (Some(head), Some(end)) = (find(form, b"\r\n\r\n"), find(form, next.as_bytes())) else {
            panic!("a part does not end");
        };
        let Ok(text) = std::str::from_utf8(&form[..head]) else {
            panic!("a head is no text");
        };
        parts.push((text, form.get(head + 4..end).unwrap_or_default()));
        let behind = &form[end + next.len()..];
        assert!(behind.starts_with(b"\r\n") || behind == b"--\r\n", "the form ends in between");
        rest = behind.strip_prefix(b"\r\n");
    }
    parts
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// The head of the file's part: two lines, and nothing in them that a header would understand.
fn plain(head: &str) {
    let lines: Vec<_> = head.split("\r\n").collect();
    let [disposition, kind] = lines[..] else {
        panic!("headers of the caller's choosing: {head:?}");
    };
    let name = disposition
        .strip_prefix("content-disposition: form-data; name=\"file\"; filename=\"")
        .and_then(|rest| rest.strip_suffix('"'));
    let Some(name) = name else {
        panic!("another part's name: {disposition}");
    };
    let sound = |c: char| c.is_ascii_alphanumeric() || "._- ()".contains(c);
    assert!(!name.is_empty() && name.len() <= 128 && name.chars().all(sound), "{name:?}");
    assert!(kind.starts_with("content-type: ") && kind.contains('/'), "{kind:?}");
}
