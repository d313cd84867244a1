//! TLS of a listener: TLS 1.2 and 1.3 by rustls over ring.

use std::{path::Path, sync::Arc};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio_rustls::TlsAcceptor;

use crate::{Error, settings::Tls};

/// The certificate and the key of a listener, which can be read again while it serves.
pub(crate) struct Certificate {
    files: Tls,
    config: ArcSwap<ServerConfig>,
}

impl Certificate {
    /// Reads certificate and key.
    pub(crate) fn load(files: &Tls) -> Result<Self, Error> {
        let config = ArcSwap::from_pointee(config(files)?);
        Ok(Self { files: files.clone(), config })
    }

    /// Reads them again. Connections from now on get them; those that are open keep what they
    /// began with. Reads files: blocks.
    ///
    /// # Errors
    /// They cannot be read, or do not belong together: then the old ones stay.
    pub(crate) fn reload(&self) -> Result<(), Error> {
        self.config.store(Arc::new(config(&self.files)?));
        Ok(())
    }

    /// For the next connection.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.load_full())
    }
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate").field("files", &self.files).finish_non_exhaustive()
    }
}

fn config(tls: &Tls) -> Result<ServerConfig, Error> {
    let refused = |path: &Path, why: &dyn std::fmt::Display| Error::Tls {
        path: path.to_owned(),
        why: why.to_string(),
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(&tls.certificate)
        .and_then(Iterator::collect)
        .map_err(|error| refused(&tls.certificate, &error))?;
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| refused(&tls.key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| refused(&tls.certificate, &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
