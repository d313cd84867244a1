//! Signed notes (<https://c2sp.org/signed-note>) in the form of a checkpoint
//! (<https://c2sp.org/tlog-checkpoint>): origin, number of entries, base64 of the last link.
//!
//! The key's name is the origin; its id is `SHA-256(name ‖ "\n" ‖ 0x01 ‖ public key)[..4]`,
//! with 0x01 for Ed25519. A verifier key is `name+hex(id)+base64(0x01 ‖ public key)`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use ids::text;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::chain::Hash;
use crate::Error;

const ED25519: u8 = 1;

/// What a signed note says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Of which log: `bulkhead/<deployment>/<partition>`.
    pub origin: String,
    /// How many entries it has.
    pub size: u64,
    /// The last link of its chain.
    pub root: Hash,
}

/// A head of an audit log, signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SignedNote {
    /// Of which log.
    pub origin: String,
    /// How many entries it has.
    pub size: u64,
    /// The last link of its chain.
    pub root: Hash,
    /// The note, with its signature: what is handed on.
    pub text: String,
}

/// The keys that sign heads: the first does, all verify.
pub(crate) struct Signers(pub(crate) Vec<SigningKey>);

impl Signers {
    pub(crate) fn sign(&self, origin: &str, size: u64, root: Hash) -> SignedNote {
        let body = format!("{origin}\n{size}\n{}\n", STANDARD.encode(root.0));
        let mut text = body.clone();
        text.push('\n');
        if let Some(key) = self.0.first() {
            let mut signature = key_id(origin, &key.verifying_key()).to_vec();
            signature.extend_from_slice(&key.sign(body.as_bytes()).to_bytes());
            text.push_str(&format!("\u{2014} {origin} {}\n", STANDARD.encode(signature)));
        }
        SignedNote { origin: origin.to_owned(), size, root, text }
    }

    /// The keys as verifiers know them, newest first.
    pub(crate) fn verifier_keys(&self, origin: &str) -> Vec<String> {
        self.0.iter().map(|key| verifier_key(origin, &key.verifying_key())).collect()
    }

    /// What a note says, if one of these keys signed it.
    pub(crate) fn verify(&self, origin: &str, note: &str) -> Option<Checkpoint> {
        self.0.iter().find_map(|key| checkpoint(note, origin, &key.verifying_key()))
    }

    /// Whether a note carries a signature in the name of one of these keys.
    pub(crate) fn claimed(&self, origin: &str, note: &str) -> bool {
        let ids: Vec<_> = self.0.iter().map(|key| key_id(origin, &key.verifying_key())).collect();
        signatures(note).any(|(name, id, _)| name == origin && ids.contains(&id))
    }
}

fn key_id(name: &str, key: &VerifyingKey) -> [u8; 4] {
    let hash: [u8; 32] = Sha256::new()
        .chain_update(name)
        .chain_update([b'\n', ED25519])
        .chain_update(key.as_bytes())
        .finalize()
        .into();
    [hash[0], hash[1], hash[2], hash[3]]
}

fn verifier_key(name: &str, key: &VerifyingKey) -> String {
    let mut public = vec![ED25519];
    public.extend_from_slice(key.as_bytes());
    format!("{name}+{}+{}", text::hex(&key_id(name, key)), STANDARD.encode(public))
}

fn parse_verifier_key(text: &str) -> Option<(&str, VerifyingKey)> {
    // The base64 may hold a `+`, a name may not.
    let (name, rest) = text.split_once('+')?;
    let (id, public) = rest.split_once('+')?;
    let public = STANDARD.decode(public).ok()?;
    let (&ED25519, public) = public.split_first()? else { return None };
    let key = VerifyingKey::from_bytes(public.try_into().ok()?).ok()?;
    (ids::text::hex(&key_id(name, &key)) == id).then_some((name, key))
}

/// The signature lines of a note: name, key id, signature. Lines of another form are skipped.
fn signatures(note: &str) -> impl Iterator<Item = (&str, [u8; 4], Vec<u8>)> {
    let lines = note.rsplit_once("\n\n").and_then(|(_, lines)| lines.strip_suffix('\n'));
    lines.unwrap_or_default().split('\n').filter_map(|line| {
        let (name, signature) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
        let signature = STANDARD.decode(signature).ok()?;
        let (id, signature) = signature.split_first_chunk::<4>()?;
        Some((name, *id, signature.to_vec()))
    })
}

/// The text of a note, if this key of this name signed it.
fn signed_text(note: &str, name: &str, key: &VerifyingKey) -> Option<String> {
    let (text, _) = note.rsplit_once("\n\n")?;
    let text = [text, "\n"].concat();
    let id = key_id(name, key);
    signatures(note)
        .filter(|(signer, by, _)| *signer == name && *by == id)
        .filter_map(|(_, _, signature)| Signature::from_slice(&signature).ok())
        .any(|signature| key.verify_strict(text.as_bytes(), &signature).is_ok())
        .then_some(text)
}

/// What a note says, if this key of this name signed it.
fn checkpoint(note: &str, name: &str, key: &VerifyingKey) -> Option<Checkpoint> {
    let text = signed_text(note, name, key)?;
    let mut lines = text.lines();
    let origin = lines.next()?.to_owned();
    let size: u64 = lines.next().filter(|size| canonical(size))?.parse().ok()?;
    let root = STANDARD.decode(lines.next()?).ok()?.try_into().ok().map(Hash)?;
    (origin == name).then_some(Checkpoint { origin, size, root })
}

/// Whether a number is written in the one way that checkpoints allow.
fn canonical(number: &str) -> bool {
    number.bytes().all(|b| b.is_ascii_digit()) && (number == "0" || !number.starts_with('0'))
}

/// What a signed note says, checked against a verifier key. Needs nothing of a deployment.
///
/// # Errors
/// [`Error::Unreadable`] for what is no verifier key, or a note that it did not sign.
pub fn verify_note(note: &str, verifier_key: &str) -> Result<Checkpoint, Error> {
    let (name, key) =
        parse_verifier_key(verifier_key).ok_or(Error::Unreadable("a verifier key"))?;
    checkpoint(note, name, &key).ok_or(Error::Unreadable("a note that this key did not sign"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by another implementation: the example of `golang.org/x/mod/sumdb/note`, and the
    /// key of the Go checksum database, whose base64 holds a `+`.
    #[test]
    fn reads_what_others_signed() {
        let vkey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let note = "If you think cryptography is the answer to your problem,\n\
            then you don't know what your problem is.\n\n\
            \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
        let (name, key) = parse_verifier_key(vkey).unwrap();
        assert!(signed_text(note, name, &key).is_some());
        assert!(signed_text(&note.replace("you", "we"), name, &key).is_none());
        let go = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";
        assert!(parse_verifier_key(go).is_some());
        assert!(parse_verifier_key(&go.replace("033de0ae", "033de0af")).is_none());
    }

    #[test]
    fn a_note_verifies_under_its_own_key_and_name_and_unchanged() {
        let signers = Signers(vec![SigningKey::from_bytes(&[1; 32])]);
        let other = Signers(vec![SigningKey::from_bytes(&[2; 32])]);
        let note = signers.sign("bulkhead/test/ab", 7, Hash([3; 32]));
        let vkey = &signers.verifier_keys("bulkhead/test/ab")[0];
        let says = verify_note(&note.text, vkey).unwrap();
        assert_eq!((says.size, says.root), (7, Hash([3; 32])));
        assert_eq!(parse_verifier_key(vkey).unwrap().0, "bulkhead/test/ab");

        for wrong in [
            &other.verifier_keys("bulkhead/test/ab")[0],
            &signers.verifier_keys("bulkhead/test/cd")[0],
            "",
            "a+b+c",
        ] {
            assert!(verify_note(&note.text, wrong).is_err(), "{wrong}");
        }
        for changed in [
            note.text.replace("\n7\n", "\n8\n"),
            note.text.replace("test/ab", "test/cd"),
            note.text.replacen('\n', "\nmore\n", 1),
            note.text.trim_end().to_owned(),
            String::new(),
        ] {
            assert!(verify_note(&changed, vkey).is_err(), "{changed}");
        }
        // A second signature beside it does no harm.
        let both = format!("{}\u{2014} witness AAAA\n", note.text);
        assert!(verify_note(&both, vkey).is_ok());
    }
}
