//! Credentials are never kept: neither those that were sent, nor those that an answer holds.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use zeroize::Zeroizing;

use super::{Answer, quote};
use crate::{canary::views::Spelled, lab::Caller, target::Target};

/// What is shorter is no secret, and may be a word of any answer.
const SHORTEST: usize = 6;
/// What is at least as long is known also by its letters and digits alone.
const LONG: usize = 16;
/// What an excerpt shows at most before and after the place that it is of.
const AROUND: usize = 52;
/// So many bytes one may be in an escaped spelling: `\u0061`, twice escaped.
const ESCAPED: usize = 8;

/// A secret, and what stands for it.
#[derive(Clone, PartialEq, Eq)]
struct Secret {
    text: Zeroizing<String>,
    shown: String,
}

/// The secrets that a wire knows of.
#[derive(Clone, Default)]
pub(super) struct Secrets(Vec<Secret>);

/// Those of both tenants, whoever asks.
#[derive(Default)]
pub(super) struct Known(Mutex<Secrets>);

impl Known {
    /// Remembers what a tenant presents.
    pub(super) fn learn(&self, target: &Target, by: &Caller) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = Secrets::of(target, by);
        for secret in of.0 {
            known.add(secret);
        }
    }

    /// Those of both tenants and of whoever asks.
    pub(super) fn with(&self, target: &Target, by: &Caller) -> Secrets {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for secret in Secrets::of(target, by).0 {
            all.add(secret);
        }
        all
    }
}

impl Secrets {
    /// What a caller presents, in each form that it is sent in.
    fn of(target: &Target, by: &Caller) -> Self {
        let mut secrets = Self::default();
        if let Some(credential) = &by.credential {
            let (secret, shown) = (credential.expose(), credential.shown());
            let quoted = quote(secret);
            secrets.put(secret, shown);
            secrets.put(&quoted, shown);
            // Of a basic credential the password alone, too, and how both are sent.
            if let (_, sent) = target.auth.header(secret)
                && let Some(encoded) = sent.strip_prefix("Basic ")
            {
                secrets.put(encoded, &format!("base64({shown})"));
                secrets.put(secret.split_once(':').map_or("", |(_, password)| password), shown);
            }
        }
        for (name, value) in &by.headers {
            let hidden = by.side.and_then(|side| target.hidden(side, name));
            if let Some(shown) = hidden {
                secrets.put(value, shown);
            }
        }
        secrets
    }

    fn put(&mut self, text: &str, shown: &str) {
        let (text, shown) = (Zeroizing::new(text.to_owned()), shown.to_owned());
        self.add(Secret { text, shown });
    }

    /// The longest first: one may begin another.
    fn add(&mut self, secret: Secret) {
        if secret.text.len() < SHORTEST || self.0.iter().any(|own| own.text == secret.text) {
            return;
        }
        let at = self.0.iter().position(|own| own.text.len() < secret.text.len());
        self.0.insert(at.unwrap_or(self.0.len()), secret);
    }

    /// A text without them.
    pub(super) fn redacted(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for Secret { text: secret, shown } in &self.0 {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), shown);
            }
        }
        text
    }

    /// Bytes without them.
    pub(super) fn cleaned(&self, bytes: &Bytes) -> Bytes {
        if let Ok(text) = std::str::from_utf8(bytes) {
            return match self.0.iter().any(|secret| text.contains(secret.text.as_str())) {
                true => Bytes::from(self.redacted(text)),
                false => bytes.clone(),
            };
        }
        self.0.iter().fold(bytes.clone(), |bytes, secret| without(&bytes, secret))
    }

    /// Those that a text holds, in a spelling that the hunt reads.
    fn held(&self, text: &Spelled) -> Vec<&Secret> {
        self.0.iter().filter(|secret| secret.is_in(text)).collect()
    }

    /// Takes them out of an answer, and says which it had that the request did not. Those that it
    /// has escaped cannot be taken out: no excerpt of it is shown then.
    pub(super) fn clean(self, answer: &mut Answer, sent: &str) {
        let mut found: Vec<&Secret> = Vec::new();
        for part in spelled(answer) {
            found.extend(self.held(&part));
        }
        let mut hidden = Vec::new();
        if !found.is_empty() {
            let sent = Spelled::of(sent.as_bytes());
            for secret in found {
                if !secret.is_in(&sent) && !answer.revealed.contains(&secret.shown) {
                    answer.revealed.push(secret.shown.clone());
                }
            }
            answer.body = self.cleaned(&answer.body);
            answer.reason = self.redacted(&answer.reason);
            for (_, value) in &mut answer.headers {
                *value = self.redacted(value);
            }
            for part in spelled(answer) {
                hidden.extend(self.held(&part).into_iter().map(|secret| secret.shown.clone()));
            }
        }
        answer.veil = Veil { secrets: Arc::new(self), hidden };
    }
}

impl Secret {
    /// A short one is a word that may be in any answer, with separators left out.
    fn is_in(&self, text: &Spelled) -> bool {
        let long = self.text.bytes().filter(u8::is_ascii_alphanumeric).count() >= LONG;
        text.exactly(&self.text) || long && text.roughly(&self.text)
    }
}

/// The body and the head of an answer.
fn spelled(answer: &Answer) -> [Spelled; 2] {
    let mut head = answer.reason.clone();
    for (name, value) in &answer.headers {
        head.push_str(&format!("\n{name}: {value}"));
    }
    [Spelled::of(&answer.body), Spelled::of(head.as_bytes())]
}

/// What no excerpt of an answer may show.
#[derive(Clone, Default)]
pub(crate) struct Veil {
    secrets: Arc<Secrets>,
    /// What stands for those that the answer has in an escaped spelling.
    hidden: Vec<String>,
}

impl fmt::Debug for Veil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Veil").field("hidden", &self.hidden).finish_non_exhaustive()
    }
}

impl Veil {
    /// What is said instead of an excerpt, if one of what is around this place would show a
    /// credential or a part of one.
    pub(crate) fn over(&self, bytes: &[u8], at: usize) -> Option<String> {
        let mut names = self.hidden.clone();
        let longest = self.secrets.0.first().map_or(0, |secret| secret.text.len());
        if longest > 0 {
            let margin = AROUND + longest * ESCAPED;
            let around = &bytes[at.saturating_sub(margin)..bytes.len().min(at + margin)];
            let held = self.secrets.held(&Spelled::of(around)).into_iter();
            names.extend(held.map(|secret| secret.shown.clone()));
        }
        names.sort();
        names.dedup();
        (!names.is_empty()).then(|| format!("(holds {})", names.join(", ")))
    }
}

fn without(bytes: &Bytes, secret: &Secret) -> Bytes {
    let sought = secret.text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = &bytes[..];
    while let Some(at) = rest.windows(sought.len()).position(|window| window == sought) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(secret.shown.as_bytes());
        rest = &rest[at + sought.len()..];
    }
    out.extend_from_slice(rest);
    Bytes::from(out)
}
