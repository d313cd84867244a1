//! Whom upstreams may be vouched for by: rustls with ring, and the roots of Mozilla or one's own.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use crate::Error;

/// The public authorities.
pub(crate) fn public() -> RootCertStore {
    RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }
}

/// Adds those of a PEM file.
///
/// # Errors
/// It cannot be read, or holds none.
pub(crate) fn add(roots: &mut RootCertStore, file: &Path) -> Result<(), Error> {
    let before = roots.len();
    let read = || -> Result<(), String> {
        let all = CertificateDer::pem_file_iter(file).map_err(|error| error.to_string())?;
        for one in all {
            let one = one.map_err(|error| error.to_string())?;
            roots.add(one).map_err(|error| error.to_string())?;
        }
        if roots.len() == before { Err("it holds no certificate".to_owned()) } else { Ok(()) }
    };
    let mut read = read;
    read().map_err(|why| Error::Settings(format!("ca_file {}: {why}", file.display())))
}

/// What a client offers that shows no certificate of its own.
///
/// # Errors
/// None that can be thought of: ring has what is asked for.
pub(crate) fn client(roots: RootCertStore) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Settings(format!("TLS: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}
