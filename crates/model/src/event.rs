//! What one event of a stream means, for each endpoint.
//!
//! An event is parsed only if it holds a word that can matter, or an escape that could hide
//! one; text of a model never holds such a word, since its quotation marks are escaped. What
//! can matter and cannot be read is not handed on.

use std::{collections::BTreeSet, sync::LazyLock};

use ids::planted;
use memchr::memmem::Finder;
use serde_json::Value;

use crate::{
    Api, Fault, Made, Usage,
    lax::{MOST_MADE, Object},
    shapes::{Chat, MessagesEvent, ResponsesEvent, TOO_MANY, kept},
    usage::MessagesUsage,
};

/// What is to be done with an event.
pub(crate) enum Verdict {
    /// It goes out. Handles that no event named before.
    Ordinary(Vec<Made>),
    /// It goes out and is the last one.
    Done(Vec<Made>),
    /// It does not go out, and the stream goes on.
    Dropped,
    /// It is an error: what it says.
    Error(Option<Value>),
    /// The answer failed: the whole event, which is the last one.
    Failed(Value, Vec<Made>),
    /// Why it makes no sense.
    Malformed(&'static str),
}

impl Verdict {
    const fn ordinary() -> Self {
        Self::Ordinary(Vec::new())
    }
}

const ERROR: &[u8] = b"\"error\"";

/// Letters in keys may be written as `\u0065`.
const ESCAPE: &[u8] = b"\\u00";

/// An event without any of these means nothing here.
fn words(api: Api) -> &'static [Finder<'static>] {
    type Words = LazyLock<Vec<Finder<'static>>>;
    fn finders(words: &[&'static str]) -> Vec<Finder<'static>> {
        let always = [ERROR, ESCAPE].into_iter();
        always.chain(words.iter().map(|word| word.as_bytes())).map(Finder::new).collect()
    }
    static CHAT: Words = LazyLock::new(|| finders(&["\"usage\"", "\"audio\""]));
    static RESPONSES: Words = LazyLock::new(|| {
        finders(&[
            "\"response\"",
            "\"item\"",
            "\"container_id\"",
            "\"file_id\"",
            "\"response.completed\"",
            "\"response.incomplete\"",
            "\"response.failed\"",
            "\"response.cancelled\"",
        ])
    });
    static MESSAGES: Words = LazyLock::new(|| {
        finders(&["\"message_stop\"", "\"usage\"", "\"container\"", "\"file_id\""])
    });
    match api {
        Api::Chat | Api::Embeddings | Api::CountTokens => &CHAT,
        Api::Responses => &RESPONSES,
        Api::Messages => &MESSAGES,
    }
}

/// Reads the events of one stream. One that does not go out may be read twice.
pub(crate) struct Reader {
    pub(crate) api: Api,
    hide_usage: bool,
    pub(crate) keeps: bool,
    /// The event that ended the stream ended a whole answer.
    pub(crate) whole: bool,
    /// Something was said before the end.
    begun: bool,
    usage: Option<Usage>,
    message: MessagesUsage,
    told: BTreeSet<Made>,
}

impl Reader {
    pub(crate) fn new(api: Api, hide_usage: bool) -> Self {
        Self {
            api,
            hide_usage,
            keeps: true,
            whole: false,
            begun: false,
            usage: None,
            message: MessagesUsage::default(),
            told: BTreeSet::new(),
        }
    }

    pub(crate) fn usage(&self) -> Option<Usage> {
        match self.api {
            Api::Messages => self.message.usage(),
            _ => self.usage,
        }
    }

    /// These were handed on. They are not told again.
    pub(crate) fn told(&mut self, made: &[Made]) {
        self.told.extend(made.iter().cloned());
    }

    /// Looks at the data of an event; `named`: the event is called an error.
    pub(crate) fn read(&mut self, named: bool, data: &[u8]) -> Verdict {
        if data.trim_ascii() == b"[DONE]" {
            return match self.api {
                Api::Chat | Api::Embeddings | Api::CountTokens => {
                    // A provider that fails may just end.
                    self.whole = self.begun || planted::is("empty-answer-kept");
                    Verdict::Done(Vec::new())
                }
                // It is no end there, and a client would take it for one.
                Api::Responses | Api::Messages => Verdict::Dropped,
            };
        }
        if named {
            return Verdict::Error(says(data));
        }
        let begun = std::mem::replace(&mut self.begun, true);
        // The id of a completion that is kept stands in every chunk; the first will do.
        let first = self.api == Api::Chat && self.keeps && self.told.is_empty();
        if !first && !words(self.api).iter().any(|word| word.find(data).is_some()) {
            return Verdict::ordinary();
        }
        match self.api {
            Api::Chat | Api::Embeddings | Api::CountTokens => self.chat(data),
            Api::Responses => self.response(data),
            Api::Messages => self.message(begun, data),
        }
    }

    fn chat(&mut self, data: &[u8]) -> Verdict {
        let Ok(Object(chunk)) = serde_json::from_slice::<Object<Chat>>(data) else {
            // What cannot be read but may speak of an error is one.
            let speaks = [ERROR, ESCAPE].iter().any(|word| holds(data, word));
            return if speaks { Verdict::Error(None) } else { Verdict::ordinary() };
        };
        let Some(chunk) = chunk else { return Verdict::ordinary() };
        if chunk.error.is_some() {
            return Verdict::Error(says(data));
        }
        if let Some(usage) = &chunk.usage.0 {
            self.usage = usage.usage().or(self.usage);
            if self.hide_usage && (chunk.choices.empty || silent(data)) {
                return Verdict::Dropped;
            }
        }
        self.tell(chunk.made()).map_or_else(Verdict::Malformed, Verdict::Ordinary)
    }

    fn response(&mut self, data: &[u8]) -> Verdict {
        let Ok(Object(event)) = serde_json::from_slice::<Object<ResponsesEvent<'_>>>(data) else {
            return UNREADABLE;
        };
        let Some(event) = event else { return Verdict::ordinary() };
        if event.error.is_some() || event.kind.is("error") {
            return Verdict::Error(says(data));
        }
        let response = event.response.0.as_ref();
        let usage = response.and_then(|response| response.usage.0.as_ref()?.usage());
        self.usage = usage.or(self.usage);
        let failed = response.is_some_and(|response| response.failed());
        if failed || event.kind.is("response.failed") {
            let there = response.is_some();
            return match (serde_json::from_slice(data), self.fresh(event.made())) {
                (Ok(says), Ok(made)) if there => Verdict::Failed(says, made),
                (_, Err(why)) => Verdict::Malformed(why),
                _ => Verdict::Error(None),
            };
        }
        let completed = event.kind.is("response.completed");
        let ends = completed
            || event.kind.is("response.incomplete")
            || event.kind.is("response.cancelled");
        let whole = completed && response.is_some_and(|response| response.status.is("completed"));
        match self.tell(event.made()) {
            Ok(made) if ends => {
                self.whole = whole;
                Verdict::Done(made)
            }
            Ok(made) => Verdict::Ordinary(made),
            Err(why) => Verdict::Malformed(why),
        }
    }

    fn message(&mut self, begun: bool, data: &[u8]) -> Verdict {
        let Ok(Object(event)) = serde_json::from_slice::<Object<MessagesEvent<'_>>>(data) else {
            return UNREADABLE;
        };
        let Some(event) = event else { return Verdict::ordinary() };
        if event.error.is_some() || event.kind.is("error") {
            return Verdict::Error(says(data));
        }
        let first = event.message.0.as_ref().and_then(|message| message.usage.0);
        for usage in [first, event.usage.0].into_iter().flatten() {
            self.message = self.message.then(usage);
        }
        let ends = event.kind.is("message_stop");
        match self.tell(event.made()) {
            Ok(made) if ends => {
                self.whole = begun;
                Verdict::Done(made)
            }
            Ok(made) => Verdict::Ordinary(made),
            Err(why) => Verdict::Malformed(why),
        }
    }

    /// Those that were not told before; from now on they are.
    fn tell(&mut self, made: BTreeSet<Made>) -> Result<Vec<Made>, &'static str> {
        let fresh = self.fresh(made)?;
        self.told(&fresh);
        Ok(fresh)
    }

    /// Those that were not told before, if all together are not too many.
    fn fresh(&self, made: BTreeSet<Made>) -> Result<Vec<Made>, &'static str> {
        let why = |fault| match fault {
            Fault::Malformed(why) => why,
            _ => "it makes no sense",
        };
        let mut fresh = kept(made, self.keeps).map_err(why)?;
        fresh.retain(|made| !self.told.contains(made));
        if self.told.len() + fresh.len() > MOST_MADE { Err(why(TOO_MANY)) } else { Ok(fresh) }
    }
}

/// Whether the choices of a chunk say nothing. `OpenAI` tells usage in a chunk without choices,
/// `LiteLLM` in one with a choice that adds nothing.
fn silent(data: &[u8]) -> bool {
    let Ok(Value::Object(chunk)) = serde_json::from_slice(data) else { return false };
    let Some(Value::Array(choices)) = chunk.get("choices") else { return false };
    let nothing = |value: &Value| value.is_null() || value.as_str() == Some("");
    choices.iter().all(|choice| {
        let Value::Object(choice) = choice else { return false };
        choice.iter().all(|(name, value)| match (name.as_str(), value) {
            ("index", _) => true,
            ("delta", Value::Object(delta)) => {
                delta.iter().all(|(name, value)| name == "role" || nothing(value))
            }
            (_, value) => nothing(value),
        })
    })
}

const UNREADABLE: Verdict = Verdict::Malformed("an event of the stream cannot be read");

fn holds(data: &[u8], word: &[u8]) -> bool {
    memchr::memmem::find(data, word).is_some()
}

/// What an error says: its `error`, or all of it where there is none.
fn says(data: &[u8]) -> Option<Value> {
    let mut says = serde_json::from_slice::<Value>(data).ok()?;
    match says.get_mut("error").map(Value::take) {
        None | Some(Value::Null) => Some(says),
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_hidden_with_a_choice_that_says_nothing() {
        let usage = r#""usage":{"prompt_tokens":7,"completion_tokens":3}"#;
        for (choices, hidden) in [
            ("", true),
            // As LiteLLM tells it.
            (r#"{"index":0,"delta":{}}"#, true),
            (r#"{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}"#, true),
            (r#"{"index":0,"delta":{}},{"index":1,"delta":{"content":"x"}}"#, false),
            (r#"{"index":0,"delta":{"content":"x"}}"#, false),
            (r#"{"index":0,"delta":{"tool_calls":[]}}"#, false),
            (r#"{"index":0,"delta":{},"finish_reason":"stop"}"#, false),
            (r#"{"index":0,"delta":"x"}"#, false),
            ("1", false),
        ] {
            let chunk = format!(r#"{{"choices":[{choices}],{usage}}}"#);
            for (hide, dropped) in [(true, hidden), (false, false)] {
                let mut reader = Reader::new(Api::Chat, hide);
                let verdict = reader.read(false, chunk.as_bytes());
                assert_eq!(matches!(verdict, Verdict::Dropped), dropped, "{chunk}");
                assert_eq!(reader.usage().map(|usage| usage.output), Some(3), "{chunk}");
            }
        }
    }
}
