//! Model calls in the words of OpenAI and of Anthropic.

mod answer;
pub(crate) mod places;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use serde_json::{Value, json};

pub(crate) use answer::{Said, body_of};

use crate::{
    lab::{Caller, Lab},
    place::Twist,
    target::{Kind, Price, Target},
    verdict::Halt,
    wire::Request,
};

/// Taken for targets that are not on this machine and name no price: no less than what the big
/// models of the well-known providers cost, so that the budget holds whatever it is.
pub(crate) const DEFAULT_PRICE: Price = Price { input: 3.0, output: 15.0 };

/// Of those that are on this machine.
const FREE: Price = Price { input: 0.0, output: 0.0 };

/// Whose words are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `POST /chat/completions` and what goes with it.
    Openai,
    /// `POST /messages` and what goes with it.
    Anthropic,
}

/// How something is asked.
#[derive(Clone, Debug)]
pub(crate) struct How {
    /// As events.
    pub(crate) stream: bool,
    /// Tokens of the answer.
    pub(crate) most: u32,
    /// Stands before the question, and may be kept in a prompt cache.
    pub(crate) prefix: Option<String>,
    /// What is changed for an attack.
    pub(crate) twist: Twist,
}

impl How {
    /// In one piece, with room for a sentence.
    pub(crate) fn plain() -> Self {
        Self { stream: false, most: 96, prefix: None, twist: Twist::none() }
    }

    /// As events.
    pub(crate) fn streamed() -> Self {
        Self { stream: true, ..Self::plain() }
    }

    /// As briefly as can be, after a long text.
    pub(crate) fn briefly(prefix: &str) -> Self {
        Self { most: 1, prefix: Some(prefix.to_owned()), ..Self::plain() }
    }

    /// Changed.
    pub(crate) fn twisted(mut self, twist: Twist) -> Self {
        self.twist = twist;
        self
    }
}

/// A model behind an interface.
#[derive(Debug)]
pub(crate) struct Chat {
    pub(crate) dialect: Dialect,
    pub(crate) model: String,
    /// Before every path.
    root: String,
    price: Price,
    /// It wants `max_completion_tokens`, as the newer models of OpenAI do.
    newer: AtomicBool,
}

/// A question to which the answer holds the text, of a model or of a stand-in.
pub(crate) fn repeat(text: &str) -> String {
    format!("Repeat the following word for word and say nothing else: {text}")
}

impl Chat {
    /// What a target of a model's kind is asked by.
    pub(crate) fn of(target: &Target) -> Option<Self> {
        match &target.kind {
            Kind::Openai { model } => Some(Self::new(Dialect::Openai, model, target)),
            Kind::Anthropic { model } => Some(Self::new(Dialect::Anthropic, model, target)),
            _ => None,
        }
    }

    /// A model of this name at a target, which may end in a version, as SDKs want it, or not.
    pub(crate) fn new(dialect: Dialect, model: &str, target: &Target) -> Self {
        let last = target.url.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let version = last
            .strip_prefix('v')
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()));
        let price = target.price.unwrap_or(match target.is_local() {
            true => FREE,
            false => DEFAULT_PRICE,
        });
        Self {
            dialect,
            model: model.to_owned(),
            root: if version { String::new() } else { "/v1".to_owned() },
            price,
            newer: AtomicBool::new(false),
        }
    }

    /// A path under the interface's root.
    pub(crate) fn path(&self, path: &str) -> String {
        format!("{}{path}", self.root)
    }

    /// What is left after a request of so many bytes and tokens at most, in US dollars: four bytes
    /// make a token in English; what makes more of them, as canaries do, is short.
    pub(crate) fn cost(&self, bytes: usize, most: u32) -> f64 {
        let tokens = bytes as f64 / 4.0 + 64.0;
        (tokens * self.price.input + f64::from(most) * self.price.output) / 1e6
    }

    /// Asks. Whatever comes back is the answer; if that is "not now", only after some patience.
    pub(crate) async fn ask(
        &self,
        lab: &Lab,
        by: &Caller,
        prompt: &str,
        how: &How,
    ) -> Result<Said, Halt> {
        let said = self.once(lab, by, prompt, how).await?;
        let wants_newer = said.exchange.status() == 400
            && !self.newer.load(Ordering::Relaxed)
            && body_of(&said.exchange).contains("max_completion_tokens");
        if !wants_newer {
            return Ok(said);
        }
        self.newer.store(true, Ordering::Relaxed);
        self.once(lab, by, prompt, how).await
    }

    async fn once(&self, lab: &Lab, by: &Caller, prompt: &str, how: &How) -> Result<Said, Halt> {
        let request = self.request(prompt, how);
        Ok(Said::read(self.dialect, lab.patiently(by, request).await?))
    }

    /// Asks what has to be answered.
    pub(crate) async fn must(
        &self,
        lab: &Lab,
        by: &Caller,
        prompt: &str,
        how: &How,
    ) -> Result<Said, Halt> {
        let said = self.ask(lab, by, prompt, how).await?;
        match said.exchange.accepted() {
            true => Ok(said),
            false => Err(Halt::Failed(format!("{} was answered {}", by.label, said.outcome()))),
        }
    }

    fn request(&self, prompt: &str, how: &How) -> Request {
        let (path, mut body) = match self.dialect {
            Dialect::Openai => ("/chat/completions", self.openai(prompt, how)),
            Dialect::Anthropic => ("/messages", self.anthropic(prompt, how)),
        };
        if how.stream {
            body["stream"] = json!(true);
        }
        let mut request = Request::new(http::Method::POST, self.path(path))
            .json(&body)
            .example(answer::example(self.dialect, &self.model, prompt));
        if self.dialect == Dialect::Anthropic {
            request = request.header("anthropic-version", "2023-06-01");
        }
        request.usd = self.cost(request.body.as_ref().map_or(0, Vec::len), how.most);
        request.timeout = Duration::from_secs(60);
        request.twisted(&how.twist)
    }

    fn openai(&self, prompt: &str, how: &How) -> Value {
        let content = match &how.prefix {
            Some(prefix) => format!("{prefix}\n\n{prompt}"),
            None => prompt.to_owned(),
        };
        let most = match self.newer.load(Ordering::Relaxed) {
            true => "max_completion_tokens",
            false => "max_tokens",
        };
        let mut body = json!({
            "model": self.model,
            "messages": [{"role": "user", "content": content}],
        });
        body[most] = json!(how.most);
        if how.stream {
            body["stream_options"] = json!({"include_usage": true});
        }
        body
    }

    fn anthropic(&self, prompt: &str, how: &How) -> Value {
        let content = match &how.prefix {
            Some(prefix) => json!([
                {"type": "text", "text": prefix, "cache_control": {"type": "ephemeral"}},
                {"type": "text", "text": prompt},
            ]),
            None => json!(prompt),
        };
        json!({
            "model": self.model,
            "max_tokens": how.most,
            "messages": [{"role": "user", "content": content}],
        })
    }
}

#[cfg(test)]
mod tests;
