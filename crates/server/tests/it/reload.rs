//! Certificates, keys and policies are read again while serving.

use std::{fs, net::SocketAddr, path::PathBuf, pin::pin, sync::Arc, time::Duration};

use bulkhead_server::{Deployment, Error, Handle, Reloaded, Server, Settings, Tls};
use http::{Request, header};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use ids::{ManualClock, OsEntropy};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::ring},
};

use super::rig::{self, NOON};

type Pair = (&'static str, &'static str);
/// What is written of a certificate and its key.
type Files<'a> = (Option<&'a str>, Option<&'a str>);
const OLD: Pair = (include_str!("tls.crt"), include_str!("tls.key"));
const NEW: Pair = (include_str!("tls-next.crt"), include_str!("tls-next.key"));
const ALLOWS: &str = "permit (principal, action, resource);";
const FORBIDS: &str = r#"forbid (principal in Bulkhead::Tenant::"acme", action == Bulkhead::Action::"model:chat", resource);"#;

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// A deployment with TLS on both planes and a policy file.
struct Served {
    dir: TempDir,
    operator: String,
    settings: Settings,
    clock: Arc<ManualClock>,
}

impl Served {
    async fn new() -> (Self, Handle) {
        rig::log();
        let dir = TempDir::new().unwrap();
        let mut settings = rig::settings(dir.path(), ([127, 0, 0, 1], 9).into());
        let at = |name: &str| dir.path().join(name);
        settings.data.tls = Some(Tls { certificate: at("data.crt"), key: at("data.key") });
        settings.control.tls = Some(Tls { certificate: at("control.crt"), key: at("control.key") });
        settings.policy.file = Some(at("policies.cedar"));
        let clock = Arc::new(ManualClock::at(NOON));
        let served = Self { dir, operator: String::new(), settings, clock };
        for plane in ["data", "control"] {
            served.write(plane, (Some(OLD.0), Some(OLD.1)));
        }
        fs::write(served.file("policies.cedar"), ALLOWS).unwrap();
        let (ada, clock) = ("ada".parse().unwrap(), served.clock.clone());
        let operator =
            Deployment::create_with(&served.settings, &ada, clock.clone(), Arc::new(OsEntropy));
        let operator = operator.await.unwrap().expose().to_owned();
        let deployment =
            Deployment::open_with(served.settings.clone(), clock, Arc::new(OsEntropy)).await;
        let handle = Server::start(deployment.unwrap()).await.unwrap();
        (Self { operator, ..served }, handle)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, plane: &str, (certificate, key): Files<'_>) {
        for (end, text) in [("crt", certificate), ("key", key)] {
            if let Some(text) = text {
                fs::write(self.file(&format!("{plane}.{end}")), text).unwrap();
            }
        }
    }

    /// How many policies are in force.
    async fn policies(&self, control: SocketAddr) -> Value {
        let (_, body) = get(control, "/admin/v1/policy", &self.operator).await;
        body["policies"].clone()
    }

    async fn entries(&self, control: SocketAddr) -> String {
        get(control, "/admin/v1/audit?limit=100", &self.operator).await.1.to_string()
    }
}

/// The certificate that a listener shows, and its answer to a GET.
async fn get(at: SocketAddr, path: &str, operator: &str) -> (CertificateDer<'static>, Value) {
    let mut roots = RootCertStore::empty();
    for (certificate, _) in [OLD, NEW] {
        roots.add(der(certificate)).unwrap();
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(at).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let request = Request::get(path)
        .header(header::HOST, "localhost")
        .header(header::AUTHORIZATION, format!("Bearer {operator}"))
        .body(Empty::<bytes::Bytes>::new())
        .unwrap();
    let asked = async {
        let response = sender.send_request(request).await.unwrap();
        response.into_body().collect().await.unwrap().to_bytes()
    };
    tokio::select! {
        body = asked => (shown, serde_json::from_slice(&body).unwrap_or_default()),
        ended = connection => panic!("{ended:?}"),
    }
}

/// The certificates of both planes.
async fn shown(at: [SocketAddr; 2]) -> [CertificateDer<'static>; 2] {
    [get(at[0], "/health/live", "").await.0, get(at[1], "/health/live", "").await.0]
}

#[tokio::test]
async fn a_reload_takes_what_is_good_and_keeps_what_was() {
    let (served, handle) = Served::new().await;
    let at = [handle.data_address(), handle.control_address()];
    let (old, new) = (der(OLD.0), der(NEW.0));
    assert_eq!(shown(at).await, [old.clone(), old.clone()]);
    assert_eq!(handle.reload().await, Reloaded { read: 3, kept: 0 });
    assert_eq!(shown(at).await, [old.clone(), old.clone()]);

    // One that is bad in any way changes nothing, and keeps none of the others back.
    let bad: [(&str, Files<'_>); 5] = [
        ("a key that is not its certificate's", (Some(NEW.0), Some(OLD.1))),
        ("a certificate that is not its key's", (Some(OLD.0), Some(NEW.1))),
        ("no certificate", (Some(""), Some(NEW.1))),
        ("half a certificate", (Some(&NEW.0[..NEW.0.len() / 2]), Some(NEW.1))),
        ("no key", (Some(NEW.0), Some(NEW.0))),
    ];
    served.write("control", (Some(NEW.0), Some(NEW.1)));
    for (what, files) in bad {
        served.write("data", files);
        assert_eq!(handle.reload().await, Reloaded { read: 2, kept: 1 }, "{what}");
        assert_eq!(shown(at).await, [old.clone(), new.clone()], "{what}");
    }
    fs::remove_file(served.file("data.crt")).unwrap();
    assert_eq!(handle.reload().await, Reloaded { read: 2, kept: 1 });
    assert_eq!(shown(at).await, [old, new.clone()]);
    assert!(rig::log().text().contains("server.tls"), "the log says why");

    served.write("data", (Some(NEW.0), Some(NEW.1)));
    fs::write(served.file("policies.cedar"), "permit (principal.evil").unwrap();
    assert_eq!(handle.reload().await, Reloaded { read: 2, kept: 1 });
    assert_eq!(shown(at).await, [new.clone(), new]);
    assert_eq!(served.policies(at[1]).await, 1);
    fs::write(served.file("policies.cedar"), format!("{ALLOWS}\n{FORBIDS}")).unwrap();
    assert_eq!(handle.reload().await, Reloaded { read: 3, kept: 0 });
    assert_eq!(served.policies(at[1]).await, 2);
    let entries = served.entries(at[1]).await;
    assert!(entries.contains("certificate.reload") && entries.contains("policy.reload"));
    handle.shutdown().await.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn a_hangup_reloads_and_does_not_end() -> Result<(), Error> {
    use rustix::process::{Signal, getpid, kill_process};

    let (served, handle) = Served::new().await;
    let at = [handle.data_address(), handle.control_address()];
    served.write("data", (Some(NEW.0), Some(NEW.1)));
    let new = der(NEW.0);
    let mut serving = pin!(handle.until_signal_reloading());
    assert!(futures_util::poll!(&mut serving).is_pending(), "now it listens for signals");
    assert_ne!(shown(at).await[0], new, "nothing is read before it is told to");
    kill_process(getpid(), Signal::HUP).unwrap();
    let reloaded = async {
        while shown(at).await[0] != new {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        ended = serving => ended,
        reloaded = tokio::time::timeout(Duration::from_secs(60), reloaded) => {
            reloaded.expect("it was told to reload");
            Ok(())
        }
    }
}
