//! The few fields of answers that matter here, for whole documents and for events alike: ids
//! of what the provider keeps, and what was used.
//!
//! Only places that a provider fills are looked at. Text of a model, and what a tool of
//! somebody else's answered, never is.

use std::collections::BTreeSet;

use serde::{Deserialize, de::IgnoredAny};

use crate::{
    Fault, HandleKind, Made,
    handle::is_id,
    lax::{Id, MOST_MADE, Object, Several, Tells, Text},
    usage::{ChatUsage, MessagesUsage, ResponsesUsage},
};

fn add(made: &mut BTreeSet<Made>, kind: HandleKind, id: Option<String>) {
    if let Some(id) = id {
        made.insert(Made { kind, id });
    }
}

/// A chat completion, a chunk of one, or a list of embeddings.
#[derive(Deserialize)]
pub(crate) struct Chat {
    #[serde(default)]
    pub(crate) id: Id,
    #[serde(default)]
    pub(crate) choices: Several<Choice>,
    #[serde(default)]
    pub(crate) data: Several<Vector>,
    pub(crate) error: Option<IgnoredAny>,
    #[serde(default)]
    pub(crate) usage: Object<ChatUsage>,
}

impl Chat {
    /// The completion itself is kept where the caller asked for that.
    pub(crate) fn made(self) -> BTreeSet<Made> {
        let mut made = self.choices.made;
        add(&mut made, HandleKind::Other, self.id.0);
        made
    }
}

/// One of a list of embeddings. It is not held.
#[derive(Deserialize)]
pub(crate) struct Vector {}

impl Tells for Vector {
    fn tell(self, _: &mut BTreeSet<Made>) {}
}

/// One of a completion's, whole or in part.
#[derive(Deserialize)]
pub(crate) struct Choice {
    #[serde(default)]
    message: Object<Spoken>,
    #[serde(default)]
    delta: Object<Spoken>,
}

#[derive(Deserialize)]
struct Spoken {
    #[serde(default)]
    audio: Id,
}

impl Tells for Choice {
    fn tell(self, made: &mut BTreeSet<Made>) {
        for spoken in [self.message.0, self.delta.0].into_iter().flatten() {
            add(made, HandleKind::Audio, spoken.audio.0);
        }
    }
}

/// A response.
#[derive(Deserialize)]
pub(crate) struct Response<'a> {
    #[serde(default)]
    id: Id,
    #[serde(borrow, default)]
    pub(crate) object: Text<'a>,
    #[serde(borrow, default)]
    pub(crate) status: Text<'a>,
    pub(crate) error: Option<IgnoredAny>,
    #[serde(default)]
    pub(crate) usage: Object<ResponsesUsage>,
    #[serde(default)]
    conversation: Id,
    #[serde(default)]
    output: Several<Item>,
}

impl Response<'_> {
    pub(crate) fn failed(&self) -> bool {
        self.error.is_some() || self.status.is("failed")
    }

    pub(crate) fn made(self) -> BTreeSet<Made> {
        let mut made = self.output.made;
        add(&mut made, HandleKind::Response, self.id.0);
        add(&mut made, HandleKind::Conversation, self.conversation.0);
        made
    }
}

/// An item of a response's output.
#[derive(Deserialize)]
pub(crate) struct Item {
    #[serde(default)]
    id: Id,
    #[serde(default)]
    container_id: Id,
    #[serde(default)]
    environment: Object<Environment>,
    #[serde(default)]
    content: Several<Part>,
    #[serde(default)]
    outputs: Several<Output>,
}

#[derive(Deserialize)]
struct Environment {
    #[serde(default)]
    container_id: Id,
}

impl Tells for Item {
    fn tell(self, made: &mut BTreeSet<Made>) {
        add(made, HandleKind::Item, self.id.0);
        add(made, HandleKind::Container, self.container_id.0);
        let environment = self.environment.0.and_then(|environment| environment.container_id.0);
        add(made, HandleKind::Container, environment);
        made.extend(self.content.made);
        made.extend(self.outputs.made);
    }
}

/// A part of a message's content.
#[derive(Deserialize)]
pub(crate) struct Part {
    #[serde(default)]
    annotations: Several<Annotation>,
}

impl Tells for Part {
    fn tell(self, made: &mut BTreeSet<Made>) {
        made.extend(self.annotations.made);
    }
}

/// What a text points at.
#[derive(Deserialize)]
pub(crate) struct Annotation {
    #[serde(default, rename = "type")]
    kind: Id,
    #[serde(default)]
    container_id: Id,
    #[serde(default)]
    file_id: Id,
}

impl Tells for Annotation {
    fn tell(self, made: &mut BTreeSet<Made>) {
        match self.kind.0.as_deref() {
            Some("container_file_citation") => {
                add(made, HandleKind::Container, self.container_id.0);
                add(made, HandleKind::File, self.file_id.0);
            }
            // A file that a tool wrote.
            Some("file_path") => add(made, HandleKind::File, self.file_id.0),
            // Others cite what was there before.
            _ => {}
        }
    }
}

/// What a code interpreter put out.
#[derive(Deserialize)]
struct Output {
    #[serde(default)]
    file_id: Id,
    #[serde(default)]
    files: Several<Written>,
}

impl Tells for Output {
    fn tell(self, made: &mut BTreeSet<Made>) {
        add(made, HandleKind::File, self.file_id.0);
        made.extend(self.files.made);
    }
}

#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    file_id: Id,
}

impl Tells for Written {
    fn tell(self, made: &mut BTreeSet<Made>) {
        add(made, HandleKind::File, self.file_id.0);
    }
}

/// An event of a response's stream.
#[derive(Deserialize)]
pub(crate) struct ResponsesEvent<'a> {
    #[serde(borrow, default, rename = "type")]
    pub(crate) kind: Text<'a>,
    pub(crate) error: Option<IgnoredAny>,
    #[serde(borrow, default)]
    pub(crate) response: Object<Response<'a>>,
    #[serde(default)]
    item: Object<Item>,
    #[serde(default)]
    part: Object<Part>,
    #[serde(default)]
    annotation: Object<Annotation>,
}

impl ResponsesEvent<'_> {
    pub(crate) fn made(self) -> BTreeSet<Made> {
        let mut made = self.response.0.map(Response::made).unwrap_or_default();
        for one in [self.item.0.map(told), self.part.0.map(told), self.annotation.0.map(told)] {
            made.extend(one.into_iter().flatten());
        }
        made
    }
}

fn told(one: impl Tells) -> BTreeSet<Made> {
    let mut made = BTreeSet::new();
    one.tell(&mut made);
    made
}

/// A message, whole or as its stream begins, or a count of tokens.
#[derive(Deserialize)]
pub(crate) struct Message<'a> {
    #[serde(borrow, default, rename = "type")]
    pub(crate) kind: Text<'a>,
    pub(crate) error: Option<IgnoredAny>,
    pub(crate) input_tokens: Option<IgnoredAny>,
    #[serde(default)]
    pub(crate) usage: Object<MessagesUsage>,
    #[serde(default)]
    container: Id,
    #[serde(default)]
    content: Several<Block>,
}

impl Message<'_> {
    pub(crate) fn made(self) -> BTreeSet<Made> {
        let mut made = self.content.made;
        add(&mut made, HandleKind::Container, self.container.0);
        made
    }
}

/// A block of a message's content.
#[derive(Deserialize)]
pub(crate) struct Block {
    #[serde(default, rename = "type")]
    kind: Id,
    #[serde(default)]
    content: Several<Held>,
}

impl Tells for Block {
    fn tell(self, made: &mut BTreeSet<Made>) {
        // What somebody else's tool answered is no word of the provider's.
        let ours = |kind: &str| kind.ends_with("code_execution_tool_result");
        if self.kind.0.as_deref().is_some_and(ours) {
            made.extend(self.content.made);
        }
    }
}

/// What the result of a tool holds, at any depth.
#[derive(Deserialize)]
struct Held {
    #[serde(default)]
    file_id: Id,
    #[serde(default)]
    content: Several<Held>,
}

impl Tells for Held {
    fn tell(self, made: &mut BTreeSet<Made>) {
        add(made, HandleKind::File, self.file_id.0);
        made.extend(self.content.made);
    }
}

/// An event of a message's stream.
#[derive(Deserialize)]
pub(crate) struct MessagesEvent<'a> {
    #[serde(borrow, default, rename = "type")]
    pub(crate) kind: Text<'a>,
    pub(crate) error: Option<IgnoredAny>,
    #[serde(borrow, default)]
    pub(crate) message: Object<Message<'a>>,
    #[serde(default)]
    pub(crate) usage: Object<MessagesUsage>,
    #[serde(default)]
    delta: Object<Changed>,
    #[serde(default)]
    content_block: Object<Block>,
}

#[derive(Deserialize)]
struct Changed {
    #[serde(default)]
    container: Id,
}

impl MessagesEvent<'_> {
    pub(crate) fn made(self) -> BTreeSet<Made> {
        let mut made = self.message.0.map(Message::made).unwrap_or_default();
        let container = self.delta.0.and_then(|delta| delta.container.0);
        add(&mut made, HandleKind::Container, container);
        made.extend(self.content_block.0.map(told).into_iter().flatten());
        made
    }
}

/// Those that are kept at the provider, within bounds. `keeps`: whether it keeps the answer
/// itself; what tools made, it keeps anyway.
pub(crate) fn kept(mut made: BTreeSet<Made>, keeps: bool) -> Result<Vec<Made>, Fault> {
    use HandleKind::{Item, Other, Response};
    if !keeps {
        made.retain(|made| !matches!(made.kind, Response | Item | Other));
    }
    if made.len() > MOST_MADE {
        return Err(TOO_MANY);
    }
    if made.iter().any(|made| !is_id(&made.id)) {
        return Err(Fault::Malformed("it names something by what can be no id"));
    }
    Ok(made.into_iter().collect())
}

pub(crate) const TOO_MANY: Fault =
    Fault::Malformed("it names more new things than one answer can make");
