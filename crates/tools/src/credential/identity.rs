//! A tenant's own certificate.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};
use vault::SecretText;
use zeroize::Zeroizing;

use super::Identity;

/// Most certificates in a chain.
const MOST: usize = 16;

/// Reads base64 of a PEM file with a chain, the own certificate first, and its key.
pub(super) fn parse(secret: &SecretText) -> Result<Identity, &'static str> {
    let pem = STANDARD.decode(secret.expose()).map(Zeroizing::new);
    let pem = pem.map_err(|_| "for `mtls` it has to be base64, in one line, of a PEM file")?;
    let mut chain = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        chain.push(certificate.map_err(|_| "its PEM file cannot be read")?);
        if chain.len() > MOST {
            return Err("its PEM file holds more than 16 certificates");
        }
    }
    if chain.is_empty() {
        return Err("its PEM file holds no certificate");
    }
    let mut keys = PrivateKeyDer::pem_slice_iter(&pem);
    let key = keys.next().ok_or("its PEM file holds no key")?;
    let key = key.map_err(|_| "the key in its PEM file cannot be read")?;
    if keys.next().is_some() {
        return Err("its PEM file holds more than one key");
    }
    let identity = Identity { chain, key };
    // Says here, rather than in a handshake, what does not go together.
    let (chain, key) = (identity.chain.clone(), identity.key.clone_key());
    CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => "its key is not the key of its certificate",
        rustls::Error::InvalidCertificate(_) => "its certificate cannot be read",
        _ => "its key is of a kind that cannot be used",
    })?;
    Ok(identity)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERTIFICATE: &str = include_str!("../../tests/it/tls/certificate.pem");
    const AUTHORITY: &str = include_str!("../../tests/it/tls/authority.pem");
    const KEY: &str = include_str!("../../tests/it/tls/key.pem");

    #[test]
    fn a_chain_with_its_key() {
        let cut = &CERTIFICATE[..CERTIFICATE.len() / 2];
        for (pem, says) in [
            (format!("{CERTIFICATE}{AUTHORITY}{KEY}"), ""),
            (format!("{KEY}{CERTIFICATE}"), ""),
            (KEY.to_owned(), "no certificate"),
            (CERTIFICATE.to_owned(), "no key"),
            (format!("{AUTHORITY}{KEY}"), "not the key of its certificate"),
            (format!("{CERTIFICATE}{KEY}{KEY}"), "more than one key"),
            (format!("{cut}{KEY}"), "its PEM file"),
            ("nothing".to_owned(), "no certificate"),
        ] {
            let secret = SecretText::parse(STANDARD.encode(&pem)).unwrap();
            match (parse(&secret), says) {
                (Ok(identity), "") => assert!(!identity.chain.is_empty()),
                (Err(why), says) => {
                    assert!(!says.is_empty() && why.contains(says), "{says}: {why}")
                }
                (Ok(_), says) => panic!("{says}"),
            }
        }
        let refused = parse(&SecretText::parse("-----BEGIN".to_owned()).unwrap());
        assert!(refused.is_err_and(|why| why.contains("base64")));
    }
}
