//! What spares the gateway a call: equal questions, similar questions, and prompts that the
//! provider has computed already.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::HeaderMap;
use serde_json::Value;

use super::{Gateway, Tenant, model::Answer};

/// From here on two questions are taken for the same.
const ALIKE: f64 = 0.85;

/// Texts of more words are not compared.
const LONGEST: usize = 100;

/// The provider computes whole blocks of tokens, and keeps nothing short.
const BLOCK: u64 = 128;
const SHORTEST: usize = 1_000;

/// By what a caller may divide its own part of the cache.
const PARTITIONS: [&str; 5] = [
    "x-bf-cache-key",
    "x-portkey-cache-namespace",
    "helicone-cache-seed",
    "cf-aig-cache-key",
    "x-cache-namespace",
];

/// A question that was answered.
#[derive(Clone, Debug)]
pub(super) struct Question {
    scope: String,
    text: String,
    answer: Answer,
}

impl Gateway {
    /// Under what the answer to this is kept.
    pub(super) fn key(&self, tenant: Tenant, headers: &HeaderMap, body: &Value) -> String {
        let id = headers.get("x-request-id").and_then(|id| id.to_str().ok());
        if let (true, Some(id)) = (self.wrong("gateway-request-id-key"), id) {
            return format!("id {id}");
        }
        let named = partition(headers, body);
        let scope = match &named {
            _ if self.wrong("gateway-cache-without-tenant") => String::new(),
            Some(_) if self.wrong("gateway-namespace-from-caller") => String::new(),
            _ => format!("{tenant:?}"),
        };
        format!("{scope}\n{}\n{body}", named.unwrap_or_default())
    }

    /// The answer to a question that is nearly this one.
    pub(super) fn alike(
        &self,
        tenant: Tenant,
        headers: &HeaderMap,
        body: &Value,
    ) -> Option<Answer> {
        let (scope, text) = self.question(tenant, headers, body)?;
        let store = self.store();
        let near = store.similar.iter().rev().find(|known| {
            known.scope == scope
                && exact_words(&known.text) == exact_words(&text)
                && cosine(&known.text, &text) >= ALIKE
        });
        near.map(|known| known.answer.clone())
    }

    /// Remembers a question for those that are nearly the same.
    pub(super) fn remember(
        &self,
        tenant: Tenant,
        headers: &HeaderMap,
        body: &Value,
        answer: &Answer,
    ) {
        let Some((scope, text)) = self.question(tenant, headers, body) else { return };
        let mut store = self.store();
        store.similar.push(Question { scope, text, answer: answer.clone() });
        if store.similar.len() > 512 {
            store.similar.remove(0);
        }
    }

    /// Among which questions this is looked for, those that are equal in all but the text, and what
    /// of it is compared. Nothing is, if it is long, or in a partition, or to be streamed.
    fn question(
        &self,
        tenant: Tenant,
        headers: &HeaderMap,
        body: &Value,
    ) -> Option<(String, String)> {
        let text = last(body);
        let plain = partition(headers, body).is_none() && body["stream"] != true;
        if !plain || text.split_whitespace().count() > LONGEST {
            return None;
        }
        let mut rest = body.clone();
        rest["messages"] = Value::Null;
        Some(match self.wrong("gateway-tenant-in-text") {
            true => (rest.to_string(), format!("tenant {tenant:?}: {text}")),
            false => (format!("{tenant:?} {rest}"), text),
        })
    }

    /// How many tokens of the prompt the provider had computed: as it is, and as it is reported.
    /// From now on it has.
    pub(super) fn computed(&self, tenant: Tenant, prompt: &str, body: &Value) -> (u64, u64) {
        let prefix = prompt.split("\n\n").next().unwrap_or_default();
        let words = prefix.split_whitespace().count();
        if words < SHORTEST {
            return (0, 0);
        }
        let shared = self.wrong("gateway-prompt-cache-shared");
        let silent = self.wrong("gateway-prompt-cache-silent");
        let salt = body["cache_salt"].as_str().unwrap_or_default();
        let whose = match salt {
            "" if shared || silent => String::new(),
            salt if !salt.is_empty() && self.wrong("gateway-salt-from-caller") => String::new(),
            _ => format!("{tenant:?}"),
        };
        let mut store = self.store();
        let senders = store.prompts.entry(format!("{whose}\n{salt}\n{prefix}")).or_default();
        let (known, own) = (!senders.is_empty(), senders.contains(&tenant));
        senders.push(tenant);
        let tokens = words as u64 / BLOCK * BLOCK;
        match (known, own || !silent) {
            (false, _) => (0, 0),
            (true, true) => (tokens, tokens),
            (true, false) => (tokens, 0),
        }
    }
}

/// The partition that the caller names.
fn partition(headers: &HeaderMap, body: &Value) -> Option<String> {
    let field = body["cache"]["namespace"].as_str().or(body["cache_key"].as_str());
    let header = || PARTITIONS.iter().find_map(|name| headers.get(*name)?.to_str().ok());
    field.or_else(header).map(str::to_owned)
}

/// What was said last.
pub(super) fn last(body: &Value) -> String {
    let messages = body["messages"].as_array();
    let message = messages.and_then(|messages| messages.last()).map(|last| &last["content"]);
    match message {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let texts = parts.iter().filter_map(|part| part["text"].as_str());
            texts.collect::<Vec<_>>().join("\n\n")
        }
        _ => String::new(),
    }
}

/// Words that cannot be like any other: numbers, ids, references.
fn exact_words(text: &str) -> BTreeSet<String> {
    let words = words(text).filter(|word| word.bytes().any(|byte| byte.is_ascii_digit()));
    words.collect()
}

fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    let words = text.split(|letter: char| !letter.is_alphanumeric());
    words.filter(|word| !word.is_empty()).map(str::to_lowercase)
}

/// A toy's embedding: how often which word stands there; and the angle between two of these.
fn cosine(one: &str, other: &str) -> f64 {
    let count = |text: &str| {
        let mut counts = BTreeMap::<String, f64>::new();
        words(text).for_each(|word| *counts.entry(word).or_default() += 1.0);
        counts
    };
    let (one, other) = (count(one), count(other));
    let dot: f64 = one.iter().filter_map(|(word, n)| Some(n * other.get(word)?)).sum();
    let length =
        |counts: &BTreeMap<String, f64>| counts.values().map(|n| n * n).sum::<f64>().sqrt();
    let product = length(&one) * length(&other);
    if product > 0.0 { dot / product } else { 0.0 }
}
