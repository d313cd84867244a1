//! Where a provider is.

use std::net::IpAddr;

use http::{HeaderValue, Uri, uri::PathAndQuery};
use rustls::pki_types::ServerName;

use crate::Api;

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
    /// The path that every other one stands behind, without a slash at its end.
    base: String,
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
        let base = url.path().trim_end_matches('/').to_owned();
        if let Some(api) = Api::ALL.into_iter().find(|api| base.ends_with(api.path())) {
            return Err(format!("base_url goes on too far: leave out `{}`", api.path()));
        }
        Ok(Self {
            port: authority.port_u16().unwrap_or(port),
            authority: HeaderValue::from_str(authority.as_str())
                .map_err(|_| "base_url has a bad host")?,
            base,
            host,
            tls,
        })
    }

    /// The request target of a path behind the base. Nothing that could lead out of it.
    pub(crate) fn uri(&self, path: &str, query: &str) -> Option<Uri> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-._~%:@".contains(&b);
        let leads_out = path.split('/').skip(1).any(|part| matches!(part, "" | "." | ".."));
        if !path.starts_with('/') || !path.bytes().all(plain) || leads_out {
            return None;
        }
        let mut whole = String::with_capacity(self.base.len() + path.len() + query.len() + 1);
        whole.push_str(&self.base);
        whole.push_str(path);
        if !query.is_empty() {
            whole.push('?');
            whole.push_str(query);
        }
        PathAndQuery::try_from(whole).ok().map(Uri::from)
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
            ("https://h/v1/chat/completions/", false, Err("leave out `/chat/completions`")),
            ("https://h/v1/messages", false, Err("leave out `/messages`")),
            ("ftp://h/v1", false, Err("neither")),
            ("api.openai.com/v1", false, Err("base_url")),
            ("/v1", false, Err("no host")),
        ] {
            let got = Target::parse(url, plain);
            match (&got, expected) {
                (Ok(t), Ok(want)) => {
                    let chat = t.uri("/chat/completions", "").unwrap();
                    assert_eq!((t.host.as_str(), t.port, chat.path()), want, "{url}");
                    assert_eq!(t.tls.is_some(), url.starts_with("https"), "{url}");
                }
                (Err(why), Err(part)) => assert!(why.contains(part), "{url}: {why}"),
                _ => panic!("{url}: {got:?}"),
            }
        }
    }

    #[test]
    fn nothing_leads_out_of_the_base() {
        let target = Target::parse("https://h/openai/v1", false).unwrap();
        for (path, query, expected) in [
            ("/files/file-1/content", "", Some("/openai/v1/files/file-1/content")),
            ("/files", "limit=2&after=x", Some("/openai/v1/files?limit=2&after=x")),
            ("/files/..", "", None),
            ("/files/../../admin", "", None),
            ("/files/./x", "", None),
            ("/files//x", "", None),
            ("/files/", "", None),
            ("files", "", None),
            ("", "", None),
            ("/files?x=1", "", None),
            ("/files#x", "", None),
            ("/files/a b", "", None),
            ("/files/a\r\nx: y", "", None),
            ("/files", "a b", None),
        ] {
            let got = target.uri(path, query).map(|uri| uri.to_string());
            assert_eq!(got.as_deref(), expected, "{path}?{query}");
        }
    }
}
