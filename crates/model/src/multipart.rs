//! A file as it is uploaded: read from the caller's `multipart/form-data`, and written anew, so
//! that nothing but what was understood goes on.

use bytes::Bytes;
use futures_util::FutureExt as _;
use multer::{Constraints, Field, Multipart, SizeLimit};

use crate::Error;

/// Purposes that a file may be uploaded for.
pub(crate) const PURPOSES: &[&str] =
    &["assistants", "batch", "evals", "fine-tune", "user_data", "vision"];

/// The longest name of a file, in bytes.
const MAX_NAME: usize = 128;
/// The longest field besides the file, in bytes.
const MAX_FIELD: u64 = 256;
/// An hour and thirty days, in seconds.
pub(crate) const EXPIRES_AFTER: std::ops::RangeInclusive<u64> = 3_600..=2_592_000;

/// A file to be uploaded.
#[derive(Clone)]
pub(crate) struct Upload {
    /// One of [`PURPOSES`].
    pub(crate) purpose: String,
    /// Its name, harmless.
    pub(crate) name: String,
    /// Its type, without parameters.
    pub(crate) content_type: String,
    /// What it holds.
    pub(crate) bytes: Bytes,
    /// How long it is kept, in seconds.
    pub(crate) expires_after: Option<u64>,
}

/// Reads an upload of at most so many bytes, which is all here.
pub(crate) fn read(content_type: &str, body: Bytes, most: usize) -> Result<Upload, Error> {
    const FORM: Error = Error::Malformed { field: "body", must: "multipart/form-data" };
    if body.len() > most {
        return Err(Error::TooLarge { bytes: body.len(), most });
    }
    let boundary = multer::parse_boundary(content_type).map_err(|_| FORM)?;
    // RFC 2046, 5.1.1.
    if !(1..=70).contains(&boundary.len()) {
        return Err(FORM);
    }
    let sizes = SizeLimit::new().per_field(MAX_FIELD).for_field("file", most as u64);
    let whole = futures_util::stream::iter([Ok::<_, std::io::Error>(body)]);
    let constraints = Constraints::new().size_limit(sizes);
    let mut form = Multipart::with_constraints(whole, boundary, constraints);
    let (mut purpose, mut file, mut seconds, mut anchor) = (None, None, None, None);
    // All of it is here, so that nothing is ever waited for.
    while let Some(field) = form.next_field().now_or_never().ok_or(FORM)?.map_err(|_| FORM)? {
        let Some(name) = field.name().map(str::to_owned) else { return Err(FORM) };
        let twice = match name.as_str() {
            "file" => {
                let (name, kind) = (name_of(&field), type_of(&field));
                let bytes = field.bytes().now_or_never().ok_or(FORM)?.map_err(|_| FORM)?;
                file.replace((name, kind, bytes)).is_some()
            }
            "purpose" => purpose.replace(text(field, "purpose")?).is_some(),
            "expires_after[anchor]" => anchor.replace(text(field, "expires_after")?).is_some(),
            "expires_after[seconds]" => seconds.replace(text(field, "expires_after")?).is_some(),
            other => return Err(Error::unknown_field(other)),
        };
        if twice {
            return Err(Error::Duplicate);
        }
    }
    let known = |purpose: &String| PURPOSES.contains(&purpose.as_str());
    let purpose = purpose.filter(known).ok_or(Error::Malformed {
        field: "purpose",
        must: "one of assistants, batch, evals, fine-tune, user_data, vision",
    })?;
    let (name, content_type, bytes) =
        file.ok_or(Error::Malformed { field: "file", must: "a file" })?;
    let expires_after = expiry(anchor.as_deref(), seconds.as_deref())?;
    Ok(Upload { purpose, name, content_type, bytes, expires_after })
}

fn expiry(anchor: Option<&str>, seconds: Option<&str>) -> Result<Option<u64>, Error> {
    let wrong = Error::Malformed {
        field: "expires_after",
        must: "an anchor `created_at` and 3,600 to 2,592,000 seconds",
    };
    match (anchor, seconds.map(str::parse)) {
        (None, None) => Ok(None),
        (Some("created_at"), Some(Ok(seconds))) if EXPIRES_AFTER.contains(&seconds) => {
            Ok(Some(seconds))
        }
        _ => Err(wrong),
    }
}

fn text(field: Field<'_>, name: &'static str) -> Result<String, Error> {
    let wrong = Error::Malformed { field: name, must: "a short text" };
    match field.bytes().now_or_never() {
        Some(Ok(bytes)) => String::from_utf8(bytes.to_vec()).map_err(|_| wrong),
        _ => Err(wrong),
    }
}

/// The file's name without what a path or a header would understand.
fn name_of(field: &Field<'_>) -> String {
    let name = field.file_name().unwrap_or_default();
    // As some clients send it, with the path of where it came from.
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "._- ()".contains(c) { c } else { '_' }
    };
    let name: String = name.chars().map(plain).collect();
    let name = name.trim_start_matches(['.', ' ']).trim_end();
    // Its end says what it is.
    let name = &name[name.len().saturating_sub(MAX_NAME)..];
    if name.is_empty() { "file".to_owned() } else { name.to_owned() }
}

fn type_of(field: &Field<'_>) -> String {
    let token = |b: u8| b.is_ascii_alphanumeric() || b".+-/".contains(&b);
    let kind = field.content_type().map(|kind| kind.essence_str().to_owned());
    let kind = kind.filter(|kind| kind.len() <= 100 && kind.bytes().all(token));
    kind.unwrap_or_else(|| "application/octet-stream".to_owned())
}

/// The body for the provider, and its `Content-Type`. What the file holds is `bytes`: it may
/// have been rewritten.
pub(crate) fn write(upload: &Upload, bytes: &[u8]) -> (String, Bytes) {
    // It cannot be within what it is a digest of.
    let boundary = format!("bulkhead-{}", &blake3::hash(bytes).to_hex()[..32]);
    let mut body = Vec::with_capacity(bytes.len() + 1_024);
    let mut field = |name: &str, value: &str| {
        let head = format!("--{boundary}\r\ncontent-disposition: form-data; name=\"{name}\"");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(b"\r\n\r\n");
        body.extend_from_slice(value.as_bytes());
        body.extend_from_slice(b"\r\n");
    };
    field("purpose", &upload.purpose);
    if let Some(seconds) = upload.expires_after {
        field("expires_after[anchor]", "created_at");
        field("expires_after[seconds]", &seconds.to_string());
    }
    let head = format!(
        "--{boundary}\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{}\"\r\n\
         content-type: {}\r\n\r\n",
        upload.name, upload.content_type
    );
    body.extend_from_slice(head.as_bytes());
    body.extend_from_slice(bytes);
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={boundary}"), body.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=b";

    /// Fields as they stand after the name, and what is in them.
    fn form(fields: &[(&str, &str)]) -> Bytes {
        let mut body = String::new();
        for (name, value) in fields {
            let head = format!("--b\r\nContent-Disposition: form-data; name={name}\r\n\r\n");
            body.push_str(&head);
            body.push_str(value);
            body.push_str("\r\n");
        }
        body.push_str("--b--\r\n");
        body.into()
    }

    fn upload(fields: &[(&str, &str)]) -> Result<Upload, Error> {
        read(TYPE, form(fields), 1 << 20)
    }

    #[test]
    fn what_is_read_is_written_again_and_nothing_else() {
        let file = ("\"file\"; filename=\"a.jsonl\"\r\nContent-Type: text/x; q=1", "one\r\ntwo");
        let seconds = ("\"expires_after[seconds]\"", "3600");
        let anchor = ("\"expires_after[anchor]\"", "created_at");
        let read_one = upload(&[("\"purpose\"", "user_data"), file, anchor, seconds]).unwrap();
        let (kind, body) = write(&read_one, &read_one.bytes);
        let again = read(&kind, body, 1 << 20).unwrap();
        for one in [&read_one, &again] {
            assert_eq!(one.purpose, "user_data");
            assert_eq!(one.name, "a.jsonl");
            assert_eq!(one.content_type, "text/x");
            assert_eq!(one.bytes, "one\r\ntwo");
            assert_eq!(one.expires_after, Some(3_600));
        }
    }

    #[test]
    fn names_are_harmless() {
        for (sent, name) in [
            ("a.jsonl", "a.jsonl"),
            ("../../etc/passwd", "passwd"),
            ("C:\\\\a.txt", "a.txt"),
            (".hidden", "hidden"),
            ("a;b&c.txt", "a_b_c.txt"),
            ("gr\u{f6}\u{df}e.pdf", "gr__e.pdf"),
            ("", "file"),
        ] {
            let field = format!("\"file\"; filename=\"{sent}\"");
            let read = upload(&[("\"purpose\"", "batch"), (&field, "x")]).unwrap();
            assert_eq!(read.name, name, "{sent}");
        }
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        let (purpose, file) = (("\"purpose\"", "batch"), ("\"file\"; filename=\"f\"", "x"));
        for (fields, code) in [
            (vec![purpose], "request.malformed"),
            (vec![file], "request.malformed"),
            (vec![file, ("\"purpose\"", "assistants_output")], "request.malformed"),
            (vec![file, purpose, purpose], "scope.mismatch"),
            (vec![file, file, purpose], "scope.mismatch"),
            (vec![file, purpose, ("\"user\"", "x")], "request.unsupported"),
            (vec![file, purpose, ("\"tenant\"", "x")], "request.unsupported"),
            (vec![file, purpose, ("\"expires_after\"", "x")], "request.unsupported"),
            (vec![file, purpose, ("\"expires_after[seconds]\"", "3600")], "request.malformed"),
        ] {
            let error = upload(&fields).err().map(|error| error.code());
            assert_eq!(error, Some(code), "{fields:?}");
        }
        let long = "x".repeat(300);
        assert!(upload(&[file, ("\"purpose\"", &long)]).is_err());
        for kind in
            ["", "application/json", "multipart/form-data", "multipart/form-data; boundary="]
        {
            assert!(read(kind, form(&[file, purpose]), 1 << 20).is_err(), "{kind}");
        }
        assert!(read(TYPE, form(&[file, purpose]), 10).is_err());
        // One that breaks off.
        let whole = form(&[purpose, file]);
        assert!(read(TYPE, whole.slice(..whole.len() - 9), 1 << 20).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_come_through(bytes: Vec<u8>) {
            let upload = Upload {
                purpose: "vision".into(),
                name: "f".into(),
                content_type: "image/png".into(),
                bytes: bytes.into(),
                expires_after: None,
            };
            let (kind, body) = write(&upload, &upload.bytes);
            prop_assert_eq!(read(&kind, body, 1 << 20).unwrap().bytes, upload.bytes);
        }

        #[test]
        fn never_panics(body: Vec<u8>, kind in "\\PC{0,40}") {
            let _ = read(&kind, body.clone().into(), 1 << 20);
            let _ = read(TYPE, body.into(), 1 << 20);
        }
    }
}
