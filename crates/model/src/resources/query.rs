//! Query parameters: those that an endpoint has, each checked, and written anew.

use std::fmt::Write as _;

use crate::{Error, handle::is_id};

/// What parameters say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query {
    /// The id that the page before ended with.
    pub(crate) after: Option<String>,
    /// How many.
    pub(crate) limit: Option<usize>,
    /// The oldest first.
    pub(crate) ascending: Option<bool>,
    /// Files that were uploaded for this alone.
    pub(crate) purpose: Option<String>,
    /// What is to be in the answer, too.
    include: Vec<String>,
}

/// Which parameters an endpoint has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowed {
    /// Any of `after`, `limit`, `order`, `purpose`, `include`, `stream`.
    pub(crate) names: &'static [&'static str],
    /// The greatest `limit`.
    pub(crate) limit: usize,
}

impl Query {
    /// Reads decoded parameters.
    pub(crate) fn read(pairs: &[(String, String)], allowed: Allowed) -> Result<Self, Error> {
        let mut query = Self::default();
        for (name, value) in pairs {
            let plain = name.strip_suffix("[]").filter(|plain| *plain == "include");
            let plain = plain.unwrap_or(name);
            if !allowed.names.contains(&plain) {
                return Err(Error::parameter(name));
            }
            query.take(plain, value, allowed.limit)?;
        }
        Ok(query)
    }

    fn take(&mut self, name: &str, value: &str, most: usize) -> Result<(), Error> {
        let wrong = |field, must| Err(Error::Malformed { field, must });
        let twice = match name {
            "after" if is_id(value) => self.after.replace(value.to_owned()).is_some(),
            // What can be no id is none of this tenant's either.
            "after" => return Err(Error::Missing("after")),
            "limit" => match value.parse() {
                Ok(limit) if (1..=most).contains(&limit) => self.limit.replace(limit).is_some(),
                _ if most == 10_000 => return wrong("limit", "1 to 10,000"),
                _ => return wrong("limit", "1 to 100"),
            },
            "order" => match value {
                "asc" => self.ascending.replace(true).is_some(),
                "desc" => self.ascending.replace(false).is_some(),
                _ => return wrong("order", "asc or desc"),
            },
            "purpose" if value.len() <= 64 => self.purpose.replace(value.to_owned()).is_some(),
            "purpose" => return wrong("purpose", "a purpose"),
            "include" => {
                let part =
                    |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._".contains(&b);
                if self.include.len() == 16 || value.len() > 64 || !value.bytes().all(part) {
                    return wrong("include", "at most 16 names of parts");
                }
                self.include.push(value.to_owned());
                false
            }
            // A stream can be had when a response is made, and not again.
            _ if value == "false" => false,
            _ => return Err(Error::parameter("stream=true")),
        };
        if twice { Err(Error::Duplicate) } else { Ok(()) }
    }

    /// For the provider.
    pub(crate) fn write(&self) -> Option<String> {
        let mut out = String::new();
        let mut add = |name: &str, value: &str| {
            let and = if out.is_empty() { "" } else { "&" };
            out.push_str(and);
            out.push_str(name);
            out.push('=');
            out.push_str(&escaped(value));
        };
        if let Some(after) = &self.after {
            add("after", after);
        }
        if let Some(limit) = self.limit {
            add("limit", &limit.to_string());
        }
        if let Some(ascending) = self.ascending {
            add("order", if ascending { "asc" } else { "desc" });
        }
        for part in &self.include {
            add("include[]", part);
        }
        Some(out).filter(|out| !out.is_empty())
    }
}

/// A segment of a path, or a value of a query, percent-encoded (RFC 3986, 2.3).
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_~".contains(&byte) {
            out.push(char::from(byte));
        } else if byte == b'.' && !matches!(text, "." | "..") {
            out.push('.');
        } else {
            // A `String` takes all that is written to it.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Allowed =
        Allowed { names: &["after", "limit", "order", "include", "stream"], limit: 100 };

    fn read(pairs: &[(&str, &str)]) -> Result<Query, Error> {
        let owned: Vec<_> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Query::read(&owned, ALL)
    }

    #[test]
    fn what_is_known_is_written_again() {
        for (pairs, written) in [
            (vec![], None),
            (vec![("stream", "false")], None),
            (vec![("after", "msg_1"), ("order", "asc")], Some("after=msg_1&order=asc")),
            (vec![("limit", "7"), ("after", "a&b=c")], Some("after=a%26b%3Dc&limit=7")),
            (
                vec![("include", "reasoning.encrypted_content"), ("include[]", "x")],
                Some("include[]=reasoning.encrypted_content&include[]=x"),
            ),
        ] {
            assert_eq!(read(&pairs).unwrap().write().as_deref(), written, "{pairs:?}");
        }
    }

    #[test]
    fn the_rest_is_refused() {
        for (pair, code) in [
            (("purpose", "batch"), "request.unsupported"),
            (("before", "x"), "request.unsupported"),
            (("api-version", "x"), "request.unsupported"),
            (("starting_after", "1"), "request.unsupported"),
            (("After", "x"), "request.unsupported"),
            (("after[]", "x"), "request.unsupported"),
            (("stream", "true"), "request.unsupported"),
            (("after", "a b"), "model.handle"),
            (("after", ""), "model.handle"),
            (("limit", "0"), "request.malformed"),
            (("limit", "101"), "request.malformed"),
            (("order", "up"), "request.malformed"),
            (("include", "a&b"), "request.malformed"),
        ] {
            assert_eq!(read(&[pair]).unwrap_err().code(), code, "{pair:?}");
        }
        assert!(read(&[("limit", "1"), ("limit", "2")]).is_err());
        assert!(read(&[("include", "a"); 17]).is_err());
    }

    #[test]
    fn segments_stay_segments() {
        for (text, segment) in [
            ("file-abc_1.x", "file-abc_1.x"),
            ("..", "%2E%2E"),
            (".", "%2E"),
            ("a/../b", "a%2F..%2Fb"),
            ("a?b#c%", "a%3Fb%23c%25"),
        ] {
            assert_eq!(escaped(text), segment);
        }
    }
}
