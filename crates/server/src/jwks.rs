//! Where the keys of trusted issuers are read: a file, or a URL.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use ids::BoxFuture;
use reqwest::{Url, redirect::Policy};
use scope::{Issuer, KeySource, Unavailable};
use tokio::io::AsyncReadExt as _;

use crate::{
    Error,
    settings::{Jwks, TrustedIssuer},
};

/// The largest JWK Set that is read, in bytes.
const MOST: u64 = 64 << 10;
/// How long fetching one may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A trusted issuer as the doors want it.
pub(crate) fn issuer(settings: &TrustedIssuer) -> Result<Issuer, Error> {
    let TrustedIssuer {
        name,
        issuer,
        audience,
        algorithms,
        tenant,
        environment,
        workflow,
        grants,
        direct,
        keys,
    } = settings.clone();
    let keys: std::sync::Arc<dyn KeySource> = match keys {
        Jwks::File(path) => std::sync::Arc::new(KeyFile { path }),
        Jwks::Url(url) => std::sync::Arc::new(KeyUrl::new(&url)?),
    };
    Ok(Issuer {
        name,
        issuer,
        audience,
        algorithms,
        tenant,
        environment,
        workflow,
        grants,
        direct,
        keys,
    })
}

struct KeyFile {
    path: PathBuf,
}

impl KeySource for KeyFile {
    fn fetch(&self) -> BoxFuture<'_, Result<Vec<u8>, Unavailable>> {
        Box::pin(async move {
            let failed =
                |error: std::io::Error| Unavailable(format!("{}: {error}", self.path.display()));
            let file = tokio::fs::File::open(&self.path).await.map_err(failed)?;
            let mut text = Vec::new();
            file.take(MOST + 1).read_to_end(&mut text).await.map_err(failed)?;
            bounded(text)
        })
    }
}

struct KeyUrl {
    url: Url,
    client: reqwest::Client,
}

impl KeyUrl {
    fn new(url: &str) -> Result<Self, Error> {
        let refused = |why: &dyn std::fmt::Display| {
            Error::settings("identity.issuers.keys.url", why.to_string())
        };
        let url = Url::parse(url).map_err(|error| refused(&error))?;
        let loopback = url.host_str().is_some_and(|host| {
            host == "localhost"
                || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
        });
        if url.scheme() != "https" && !(url.scheme() == "http" && loopback) {
            return Err(refused(&"has to be https; http is for loopback only"));
        }
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(roots()?)
            .redirect(Policy::none())
            .no_proxy()
            .timeout(PATIENCE)
            .build()
            .map_err(|error| refused(&error))?;
        Ok(Self { url, client })
    }

    async fn text(&self) -> Result<Vec<u8>, Unavailable> {
        let failed = |error: reqwest::Error| Unavailable(error.to_string());
        let mut response = self.client.get(self.url.clone()).send().await.map_err(failed)?;
        // A redirect may have a body, too.
        if response.status() != reqwest::StatusCode::OK {
            return Err(Unavailable(format!("{} answered {}", self.url, response.status())));
        }
        let mut text = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            text.extend_from_slice(&chunk);
            if text.len() as u64 > MOST {
                break;
            }
        }
        Ok(text)
    }
}

/// TLS as everywhere here: rustls over ring, with Mozilla's roots.
pub(crate) fn roots() -> Result<rustls::ClientConfig, Error> {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::settings("tls", error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

impl KeySource for KeyUrl {
    fn fetch(&self) -> BoxFuture<'_, Result<Vec<u8>, Unavailable>> {
        Box::pin(async move { bounded(self.text().await?) })
    }
}

fn bounded(text: Vec<u8>) -> Result<Vec<u8>, Unavailable> {
    if text.len() as u64 > MOST {
        return Err(Unavailable(format!("a JWK Set of more than {MOST} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback() {
        for (url, good) in [
            ("https://issuer.example/jwks", true),
            ("http://127.0.0.1:9/jwks", true),
            ("http://[::1]:9/jwks", true),
            ("http://localhost/jwks", true),
            ("http://issuer.example/jwks", false),
            ("http://127.0.0.1.example/jwks", false),
            ("ftp://127.0.0.1/jwks", false),
            ("jwks", false),
        ] {
            assert_eq!(KeyUrl::new(url).is_ok(), good, "{url}");
        }
    }

    /// What comes of one canned answer.
    async fn fetched(answer: String) -> Result<Vec<u8>, Unavailable> {
        use tokio::io::AsyncWriteExt as _;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks", listener.local_addr().unwrap());
        let source = KeyUrl::new(&url).unwrap();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = [0; 4];
            stream.read_exact(&mut asked).await.unwrap();
            assert_eq!(&asked, b"GET ");
            // Whoever has read enough hangs up.
            let _ = stream.write_all(answer.as_bytes()).await;
        };
        tokio::join!(source.fetch(), serve).0
    }

    #[tokio::test]
    async fn an_answer_is_bounded_and_no_redirect_is_followed() {
        let ok =
            |body: &str| format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        assert_eq!(fetched(ok("{}")).await.unwrap(), b"{}");
        let error = fetched(ok(&" ".repeat(70_000))).await.unwrap_err();
        assert!(error.0.contains("65536"), "{error}");
        for bad in [
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 2\r\n\r\n{}",
            "HTTP/1.1 500 No\r\ncontent-length: 2\r\n\r\n{}",
            "no HTTP",
        ] {
            assert!(fetched(bad.to_owned()).await.is_err(), "{bad}");
        }
    }
}
