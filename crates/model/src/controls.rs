//! What a caller may say in headers: about caching, less and never more; and of Anthropic's
//! protocol, its version and betas.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{Error, settings::is_beta};

/// The version of Anthropic's protocol.
pub(crate) const ANTHROPIC_VERSION: HeaderName = HeaderName::from_static("anthropic-version");
/// Betas of Anthropic's, by name.
pub(crate) const ANTHROPIC_BETA: HeaderName = HeaderName::from_static("anthropic-beta");
/// The most betas of one call.
const BETAS: usize = 16;

/// What a caller says in the headers of a call. Nothing else of them goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// About the cache.
    pub cache: CallerCache,
    /// `anthropic-version`, if it is a date.
    pub anthropic_version: Option<HeaderValue>,
    /// `anthropic-beta`: each name once, as they came.
    pub anthropic_beta: Vec<String>,
}

impl Caller {
    /// Reads the caller's headers.
    ///
    /// # Errors
    /// As [`CallerCache::from_headers`]; a beta that cannot be the name of one, or more than
    /// 16 of them.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, Error> {
        let mut versions = headers.get_all(ANTHROPIC_VERSION).into_iter();
        let version = versions.next().filter(|value| is_date(value.as_bytes()));
        let anthropic_version = version.filter(|_| versions.next().is_none()).cloned();
        let mut anthropic_beta = Vec::new();
        for value in headers.get_all(ANTHROPIC_BETA) {
            let names = value.to_str().unwrap_or("?").split(',').map(str::trim);
            for name in names.filter(|name| !name.is_empty()) {
                if !is_beta(name) || anthropic_beta.len() >= BETAS {
                    return Err(Error::Malformed {
                        field: "anthropic-beta",
                        must: "at most 16 names of 1 to 64 a-z, 0-9 and -",
                    });
                }
                if !anthropic_beta.iter().any(|known| known == name) {
                    anthropic_beta.push(name.to_owned());
                }
            }
        }
        let cache = CallerCache::from_headers(headers)?;
        Ok(Self { cache, anthropic_version, anthropic_beta })
    }
}

/// Whether this looks like `2023-06-01`.
fn is_date(bytes: &[u8]) -> bool {
    const FORM: &[u8] = b"0000-00-00";
    bytes.len() == FORM.len()
        && bytes.iter().zip(FORM).all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            _ => byte == form,
        })
}

/// The header by which a caller tells versions of its own prompts apart.
const VERSION_HEADER: &str = "x-bulkhead-cache-version";

/// A caller's own wishes about the cache. Each can only make the cache answer less often;
/// none names whose answers it may see. Other gateways' headers for that (`x-bf-cache-key`,
/// `helicone-cache-seed`, …) are not read at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallerCache {
    /// `Cache-Control: no-store`: neither reads nor keeps.
    pub no_store: bool,
    /// `Cache-Control: no-cache`, or `Pragma: no-cache`: asks the provider, and keeps what it
    /// answers.
    pub no_cache: bool,
    /// `Cache-Control: max-age=N`: nothing older than this will do.
    pub max_age: Option<Duration>,
    /// `x-bulkhead-cache-version`: tells the caller's own answers apart.
    pub version: Option<String>,
}

impl CallerCache {
    /// Reads the caller's headers (RFC 9111, 5.2.1). Directives that would widen
    /// (`max-stale`) or that we do not know are ignored; an age that cannot be read is 0.
    ///
    /// # Errors
    /// A version that is not 1 to 128 visible ASCII characters.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, Error> {
        let mut wishes = Self::default();
        for value in headers.get_all(header::CACHE_CONTROL) {
            // What is no text narrows as far as it can.
            let value = value.to_str().unwrap_or("no-store");
            for directive in value.split(',').map(str::trim) {
                wishes.narrow(directive);
            }
        }
        let pragma = headers.get_all(header::PRAGMA).into_iter();
        wishes.no_cache |=
            pragma.filter_map(|v| v.to_str().ok()).any(|v| v.eq_ignore_ascii_case("no-cache"));
        let mut versions = headers.get_all(VERSION_HEADER).into_iter();
        if let Some(version) = versions.next() {
            let version = version.to_str().ok().filter(|v| {
                (1..=128).contains(&v.len()) && v.bytes().all(|b| b.is_ascii_graphic())
            });
            match (version, versions.next()) {
                (Some(version), None) => wishes.version = Some(version.to_owned()),
                _ => {
                    return Err(Error::Malformed {
                        field: VERSION_HEADER,
                        must: "1 to 128 visible ASCII characters, once",
                    });
                }
            }
        }
        Ok(wishes)
    }

    fn narrow(&mut self, directive: &str) {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "no-store" => self.no_store = true,
            "no-cache" => self.no_cache = true,
            "max-age" => {
                let seconds = value.trim().trim_matches('"').parse().unwrap_or(0);
                let age = Duration::from_secs(seconds);
                self.max_age = Some(self.max_age.map_or(age, |other| other.min(age)));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn read(headers: &[(&str, &str)]) -> Result<CallerCache, Error> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            map.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        CallerCache::from_headers(&map)
    }

    #[test]
    fn wishes_narrow() {
        let none = CallerCache::default();
        let age = |s| Some(Duration::from_secs(s));
        for (headers, expected) in [
            (vec![], none.clone()),
            (vec![("cache-control", "no-store")], CallerCache { no_store: true, ..none.clone() }),
            (
                vec![("cache-control", "No-Cache, max-age=60")],
                CallerCache { no_cache: true, max_age: age(60), ..none.clone() },
            ),
            (
                vec![("cache-control", "max-age=60"), ("cache-control", "max-age=5")],
                CallerCache { max_age: age(5), ..none.clone() },
            ),
            (
                vec![("cache-control", "max-age=old")],
                CallerCache { max_age: age(0), ..none.clone() },
            ),
            (
                vec![("cache-control", "max-age=-1")],
                CallerCache { max_age: age(0), ..none.clone() },
            ),
            (
                vec![("cache-control", "max-stale=9, public, s-maxage=9, only-if-cached")],
                none.clone(),
            ),
            (vec![("cache-control", "\u{e9}")], CallerCache { no_store: true, ..none.clone() }),
            (vec![("pragma", "no-cache")], CallerCache { no_cache: true, ..none.clone() }),
            (
                vec![("x-bulkhead-cache-version", "prompts-7")],
                CallerCache { version: Some("prompts-7".into()), ..none },
            ),
        ] {
            assert_eq!(read(&headers).unwrap(), expected, "{headers:?}");
        }
    }

    /// Incident `caller-namespace`: names of partitions that other gateways take from callers.
    #[test]
    fn no_header_names_a_partition() {
        for name in [
            "x-bf-cache-key",
            "helicone-cache-seed",
            "x-portkey-cache-namespace",
            "cf-aig-cache-key",
            "x-tenant-id",
            "x-cache-namespace",
            "x-request-id",
            "idempotency-key",
            "baggage",
            "x-portkey-cache-force-refresh",
            "x-session-id",
            "openai-organization",
        ] {
            assert_eq!(read(&[(name, "acme")]).unwrap(), CallerCache::default(), "{name}");
        }
    }

    #[test]
    fn of_anthropics_headers_a_date_and_names_are_read() {
        let read = |headers: &[(&'static str, &str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            Caller::from_headers(&map)
        };
        for (value, taken) in [
            ("2023-06-01", true),
            ("2099-12-31", true),
            ("2023-6-1", false),
            ("latest", false),
            ("2023-06-01 ", false),
            ("", false),
        ] {
            let got = read(&[("anthropic-version", value)]).unwrap();
            assert_eq!(got.anthropic_version.is_some(), taken, "{value}");
        }
        let twice = [("anthropic-version", "2023-06-01"), ("anthropic-version", "2024-01-01")];
        assert_eq!(read(&twice).unwrap().anthropic_version, None);
        for (values, expected) in [
            (vec!["a-1, b-2", "c-3,a-1", ""], Some(vec!["a-1", "b-2", "c-3"])),
            (vec!["A"], None),
            (vec!["a b"], None),
            (vec!["a_b"], None),
            (vec!["\u{e9}"], None),
            (
                vec!["a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p"],
                Some("abcdefghijklmnop".split("").filter(|t| !t.is_empty()).collect()),
            ),
            (vec!["a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q"], None),
        ] {
            let headers: Vec<_> = values.iter().map(|value| ("anthropic-beta", *value)).collect();
            let got = read(&headers);
            let got = got.as_ref().map(|caller| caller.anthropic_beta.clone());
            assert_eq!(got.ok().unwrap_or_default(), expected.unwrap_or_default(), "{values:?}");
        }
    }

    #[test]
    fn versions_are_bounded() {
        let long = "v".repeat(129);
        for bad in ["", "a b", "\u{e9}", &long] {
            let error = read(&[(VERSION_HEADER, bad)]).unwrap_err();
            assert_eq!(error.code(), "request.malformed", "{bad:?}");
        }
        assert!(read(&[(VERSION_HEADER, "a"), (VERSION_HEADER, "b")]).is_err());
    }
}
