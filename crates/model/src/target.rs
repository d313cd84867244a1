//! Where a provider is.

use std::net::IpAddr;

use http::{HeaderValue, Uri, uri::PathAndQuery};
use rustls::pki_types::ServerName;

/// A provider's address, taken apart once.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// A name or an address, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The name that its certificate has to have; nothing for plain HTTP.
    pub(crate) tls: Option<ServerName<'static>>,
    /// The value of `Host`.
    pub(crate) authority: HeaderValue,
    /// The request target of a chat completion.
    pub(crate) chat: Uri,
}

impl Target {
    /// Parses a base URL, refusing what would send a credential elsewhere or in the open.
    pub(crate) fn parse(base_url: &str, allow_plain_http: bool) -> Result<Self, String> {
        let url: Uri = base_url.parse().map_err(|_| "base_url is not a URL".to_owned())?;
        let authority = url.authority().ok_or("base_url names no host")?;
        if authority.as_str().contains('@') {
            return Err("base_url holds a user: credentials come from the vault".to_owned());
        }
        if url.query().is_some() || base_url.contains('#') {
            return Err("base_url has a query or a fragment".to_owned());
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let (tls, port) = match url.scheme_str() {
            Some("https") => {
                let name = ServerName::try_from(host.clone())
                    .map_err(|_| "base_url names no host that a certificate can have".to_owned())?;
                (Some(name), 443)
            }
            Some("http") if allow_plain_http || is_this_machine(&host) => (None, 80),
            Some("http") => {
                return Err(
                    "base_url is http: to another machine; use https:, or set allow_plain_http"
                        .to_owned(),
                );
            }
            _ => return Err("base_url begins with neither https: nor http:".to_owned()),
        };
        let path = format!("{}/chat/completions", url.path().trim_end_matches('/'));
        let path = PathAndQuery::try_from(path).map_err(|_| "base_url has a bad path")?;
        Ok(Self {
            port: authority.port_u16().unwrap_or(port),
            authority: HeaderValue::from_str(authority.as_str())
                .map_err(|_| "base_url has a bad host")?,
            chat: Uri::from(path),
            host,
            tls,
        })
    }
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (url, plain, expected) in [
            (
                "https://api.openai.com/v1",
                false,
                Ok(("api.openai.com", 443, "/v1/chat/completions")),
            ),
            ("https://h:8443/", false, Ok(("h", 8443, "/chat/completions"))),
            ("http://127.0.0.1:9/v1/", false, Ok(("127.0.0.1", 9, "/v1/chat/completions"))),
            ("http://[::1]:9", false, Ok(("::1", 9, "/chat/completions"))),
            ("http://localhost/v1", false, Ok(("localhost", 80, "/v1/chat/completions"))),
            ("http://vllm:8000/v1", true, Ok(("vllm", 8000, "/v1/chat/completions"))),
            ("http://vllm:8000/v1", false, Err("another machine")),
            ("http://127.0.0.1.evil.example/", false, Err("another machine")),
            ("https://user:pw@h/v1", false, Err("a user")),
            ("https://h/v1?key=1", false, Err("a query")),
            ("https://h/v1#x", false, Err("fragment")),
            ("ftp://h/v1", false, Err("neither")),
            ("api.openai.com/v1", false, Err("base_url")),
            ("/v1", false, Err("no host")),
        ] {
            let got = Target::parse(url, plain);
            match (&got, expected) {
                (Ok(t), Ok(want)) => {
                    assert_eq!((t.host.as_str(), t.port, t.chat.path()), want, "{url}");
                    assert_eq!(t.tls.is_some(), url.starts_with("https"), "{url}");
                }
                (Err(why), Err(part)) => assert!(why.contains(part), "{url}: {why}"),
                _ => panic!("{url}: {got:?}"),
            }
        }
    }
}
