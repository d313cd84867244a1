//! Where a database is, and the bytes that go there and come back.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use http::Uri;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_rustls::{TlsConnector, client};

use crate::{Auth, Upstream, credential};

/// A database's address, taken apart once.
#[derive(Debug)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) database: String,
    /// The role, where no tenant has one of its own.
    pub(super) role: Option<String>,
    /// The name that its certificate has to have; nothing for plain text.
    pub(super) tls: Option<ServerName<'static>>,
}

impl Address {
    /// Parses `postgres://host:port/database`, with `role@` where the upstream is shown no
    /// credential, and `?sslmode=require` or `disable`.
    pub(super) fn parse(upstream: &Upstream) -> Result<Self, String> {
        let url: Uri = upstream.url.parse().map_err(|_| "`url` is not a URL".to_owned())?;
        if !matches!(url.scheme_str(), Some("postgres" | "postgresql")) {
            return Err("`url` does not begin with postgres:".to_owned());
        }
        let authority = url.authority().ok_or("`url` names no host")?;
        let role = authority.as_str().rsplit_once('@').map(|(role, _)| role.to_owned());
        let plain = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
        };
        match (&role, &upstream.auth) {
            (Some(role), Auth::None) if plain(role) => {}
            (Some(_), Auth::None) => {
                return Err("`url` names a role with other characters than letters, digits, \
                            '_', '-', '.': a password comes from the vault"
                    .to_owned());
            }
            (Some(_), _) => {
                return Err("`url` holds a user: credentials come from the vault".to_owned());
            }
            (None, Auth::None) => return Err("`url` names no role to log in as".to_owned()),
            (None, _) => {}
        }
        let database = url.path().trim_start_matches('/').to_owned();
        if !plain(&database) {
            return Err("`url` names no database".to_owned());
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let here = credential::is_this_machine(&host);
        let encrypted = match url.query() {
            None => !here,
            Some("sslmode=require") => true,
            Some("sslmode=disable") if here || upstream.allow_plain_http => false,
            Some("sslmode=disable") => {
                return Err("`url` is another machine in plain text; set allow_plain_http".into());
            }
            Some(_) => return Err("`url` takes `sslmode=require` or `disable` alone".into()),
        };
        let tls = match encrypted {
            true => Some(
                ServerName::try_from(host.clone())
                    .map_err(|_| "`url` names no host that a certificate can have".to_owned())?,
            ),
            false => None,
        };
        Ok(Self { host, port: authority.port_u16().unwrap_or(5_432), database, role, tls })
    }
}

/// How many more bytes a server may send.
#[derive(Clone, Debug, Default)]
pub(super) struct Allowance(Arc<AtomicU64>);

impl Allowance {
    pub(super) fn set(&self, bytes: u64) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn is_spent(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    fn spend(&self, bytes: usize) -> io::Result<()> {
        let left = self.0.load(Ordering::Relaxed).saturating_sub(bytes as u64);
        self.0.store(left, Ordering::Relaxed);
        match left {
            0 => Err(io::Error::other("more than was allowed")),
            _ => Ok(()),
        }
    }
}

/// A socket whose other end may send so much and no more: one message of the protocol may be
/// two gigabytes, and is read whole before anybody can look at it.
pub(super) struct Metered {
    pub(super) socket: TcpStream,
    pub(super) allowance: Allowance,
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        std::task::ready!(Pin::new(&mut self.socket).poll_read(cx, into))?;
        Poll::Ready(self.allowance.spend(into.filled().len() - before))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// TLS by rustls, for the one name.
pub(super) struct Tls {
    pub(super) connector: TlsConnector,
    pub(super) name: Option<ServerName<'static>>,
}

impl TlsConnect<Metered> for Tls {
    type Stream = Encrypted;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Encrypted>>;

    fn connect(self, stream: Metered) -> Self::Future {
        Box::pin(async move {
            let name = self.name.ok_or_else(|| io::Error::other("no TLS was asked for"))?;
            self.connector.connect(name, stream).await.map(|tls| Encrypted(Box::new(tls)))
        })
    }
}

/// A socket under TLS.
pub(super) struct Encrypted(Box<client::TlsStream<Metered>>);

impl TlsStream for Encrypted {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UpstreamKind;

    #[test]
    fn addresses() {
        let basic = || Auth::Basic;
        for (url, auth, plain, expected) in [
            ("postgres://127.0.0.1:5433/crm", basic(), false, Ok(("127.0.0.1", 5433, false))),
            ("postgresql://[::1]/crm", basic(), false, Ok(("::1", 5432, false))),
            (
                "postgres://localhost/crm?sslmode=require",
                basic(),
                false,
                Ok(("localhost", 5432, true)),
            ),
            ("postgres://db.example/crm", basic(), false, Ok(("db.example", 5432, true))),
            ("postgres://db/crm?sslmode=disable", basic(), true, Ok(("db", 5432, false))),
            ("postgres://agents@db/crm", Auth::None, false, Ok(("db", 5432, true))),
            ("postgres://db/crm?sslmode=disable", basic(), false, Err("plain text")),
            ("postgres://db/crm?sslmode=prefer", basic(), true, Err("alone")),
            ("postgres://db/crm?options=-c", basic(), true, Err("alone")),
            ("postgres://db/crm", Auth::None, false, Err("no role")),
            ("postgres://agents@db/crm", basic(), false, Err("a user")),
            ("postgres://agents:pw@db/crm", Auth::None, false, Err("vault")),
            ("postgres://db/", basic(), false, Err("no database")),
            ("postgres://db/a/b", basic(), false, Err("no database")),
            ("https://db/crm", basic(), false, Err("begin with")),
            ("db", basic(), false, Err("begin with")),
        ] {
            let upstream = super::super::tests::upstream(url, auth);
            assert_eq!(upstream.kind, UpstreamKind::Postgres);
            let upstream = Upstream { allow_plain_http: plain, ..upstream };
            match (Address::parse(&upstream), expected) {
                (Ok(a), Ok(want)) => {
                    assert_eq!((a.host.as_str(), a.port, a.tls.is_some()), want, "{url}");
                }
                (Err(why), Err(part)) => assert!(why.contains(part), "{url}: {why}"),
                (got, _) => panic!("{url}: {got:?}"),
            }
        }
    }
}
