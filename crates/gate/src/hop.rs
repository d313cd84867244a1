//! What is asked of the gate: one use of one surface.

use ids::{AccountId, ProviderId, RequestId, StepId};

/// What can be asked of the model surface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A chat completion.
    Chat,
    /// The models that the caller may use.
    Models,
    /// A response (OpenAI's Responses API).
    Responses,
    /// Embeddings of texts.
    Embeddings,
    /// A message (Anthropic's Messages API), or the count of its tokens.
    Messages,
}

/// What a provider keeps for a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Files.
    Files,
    /// Batches.
    Batches,
    /// Responses that were stored.
    Responses,
    /// Conversations and their items.
    Conversations,
}

impl Kept {
    /// As policies have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Batches => "batches",
            Self::Responses => "responses",
            Self::Conversations => "conversations",
        }
    }
}

/// Whether something is looked at or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// Looked at.
    Read,
    /// Made, changed or removed.
    Write,
}

/// How a collection of points is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Points are looked at.
    Read,
    /// Points are put, changed or removed.
    Write,
    /// The collection itself is made, changed or removed, or what it is indexed by.
    Collections,
}

/// What a tool does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing changes.
    Read,
    /// Something changes.
    Write,
    /// Something is lost.
    Destructive,
}

impl Effect {
    /// As policies have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Destructive => "destructive",
        }
    }
}

/// A call of a tool, with its final arguments: nothing changes them after the gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// What the tool does, by its contract.
    pub effect: Effect,
    /// The tool, as agents call it.
    pub tool: String,
    /// Where it is.
    pub upstream: ProviderId,
    /// The external account that the call is for.
    pub account: Option<AccountId>,
    /// `pointer=value` of every scalar among the arguments.
    pub arguments: Vec<String>,
    /// The amount, in hundredths, where the contract says where it stands.
    pub amount: Option<i64>,
}

/// What a tenant can read of its own records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Its audit log.
    Audit,
    /// Its runs and their events.
    Runs,
}

/// Which entity of the policy language a hop's target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    Route,
    Account,
    Shelf,
    Run,
    Collection,
    Log,
    Tool,
    Inbox,
}

/// What is fixed about an action; the one place that lists them all.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) surface: &'static str,
    pub(crate) action: &'static str,
    /// The grant that it needs, which is also its name in a policy.
    pub(crate) grant: &'static str,
}

const fn kind(surface: &'static str, action: &'static str, grant: &'static str) -> Kind {
    Kind { surface, action, grant }
}

pub(crate) static KINDS: [Kind; 22] = [
    kind("model", "chat", "model:chat"),
    kind("model", "models", "model:models"),
    kind("model", "responses", "model:responses"),
    kind("model", "embeddings", "model:embeddings"),
    kind("model", "messages", "model:messages"),
    kind("model", "files", "model:files"),
    kind("model", "batches", "model:batches"),
    kind("cache", "read", "cache:read"),
    kind("cache", "write", "cache:write"),
    kind("state", "read", "state:read"),
    kind("state", "write", "state:write"),
    kind("memory", "read", "memory:read"),
    kind("memory", "write", "memory:write"),
    kind("memory", "collections", "memory:collections"),
    kind("records", "audit", "audit:read"),
    kind("records", "runs", "records:read"),
    kind("tools", "list", "tools:list"),
    kind("tools", "read", "tools:read"),
    kind("tools", "write", "tools:write"),
    kind("tools", "destructive", "tools:destructive"),
    kind("reviews", "read", "reviews:read"),
    kind("reviews", "decide", "reviews:decide"),
];

/// One use of a surface, before it is known whether it may happen.
#[derive(Clone, Debug)]
pub struct Hop {
    pub(crate) kind: usize,
    pub(crate) resource: Resource,
    pub(crate) target: String,
    /// Every one that the hop may go to.
    pub(crate) providers: Vec<ProviderId>,
    mutates: bool,
    pub(crate) request: RequestId,
    pub(crate) step: Option<StepId>,
    pub(crate) bytes_in: u64,
    pub(crate) stream: bool,
    /// Of a call of a tool: what policies decide on.
    pub(crate) call: Option<Box<ToolCall>>,
}

impl Hop {
    /// A hop to the model surface. `target` is the route's name, which is not an alias of it,
    /// or `*` for the list of them. What no route is named is as the caller had it.
    #[must_use]
    pub fn model(action: Action, target: &str, request: RequestId) -> Self {
        let kind = match action {
            Action::Chat => 0,
            Action::Models => 1,
            Action::Responses => 2,
            Action::Embeddings => 3,
            Action::Messages => 4,
        };
        Self::of(kind, Resource::Route, target, request)
    }

    /// A hop to what a provider keeps for the tenant. Which of it is not for policies: that it
    /// is the tenant's own is asked of whoever keeps the owners.
    #[must_use]
    pub fn resource(kept: Kept, touch: Touch, request: RequestId) -> Self {
        let kind = match kept {
            Kept::Responses | Kept::Conversations => 2,
            Kept::Files => 5,
            Kept::Batches => 6,
        };
        Self::of(kind, Resource::Account, kept.name(), request).touching(touch)
    }

    /// A hop to what agents keep for themselves of `entity`.
    #[must_use]
    pub fn cache(touch: Touch, entity: &str, request: RequestId) -> Self {
        let kind = match touch {
            Touch::Read => 7,
            Touch::Write => 8,
        };
        Self::of(kind, Resource::Shelf, entity, request).touching(touch)
    }

    /// A hop to the state of a run.
    #[must_use]
    pub fn state(touch: Touch, run: &str, request: RequestId) -> Self {
        let kind = match touch {
            Touch::Read => 9,
            Touch::Write => 10,
        };
        Self::of(kind, Resource::Run, run, request).touching(touch)
    }

    /// A hop to a collection, by its name; `*` is the list of them.
    #[must_use]
    pub fn memory(how: Use, collection: &str, request: RequestId) -> Self {
        let (kind, touch) = match how {
            Use::Read => (11, Touch::Read),
            Use::Write => (12, Touch::Write),
            Use::Collections => (13, Touch::Write),
        };
        Self::of(kind, Resource::Collection, collection, request).touching(touch)
    }

    /// A tenant's look at its own records.
    #[must_use]
    pub fn records(reading: Reading, request: RequestId) -> Self {
        let (kind, log) = match reading {
            Reading::Audit => (14, "audit"),
            Reading::Runs => (15, "runs"),
        };
        Self::of(kind, Resource::Log, log, request)
    }

    /// A look at the tools that there are.
    #[must_use]
    pub fn tools(request: RequestId) -> Self {
        Self::of(16, Resource::Tool, "*", request)
    }

    /// A call of a tool, on its final arguments.
    #[must_use]
    pub fn tool(call: ToolCall, request: RequestId) -> Self {
        let (kind, touch) = match call.effect {
            Effect::Read => (17, Touch::Read),
            Effect::Write => (18, Touch::Write),
            Effect::Destructive => (19, Touch::Write),
        };
        let mut hop = Self::of(kind, Resource::Tool, &call.tool, request).touching(touch);
        hop.providers.push(call.upstream.clone());
        hop.call = Some(Box::new(call));
        hop
    }

    /// A look at what waits for a decision, or a decision of the tenant's own approver.
    #[must_use]
    pub fn review(touch: Touch, request: RequestId) -> Self {
        let kind = match touch {
            Touch::Read => 20,
            Touch::Write => 21,
        };
        Self::of(kind, Resource::Inbox, "reviews", request).touching(touch)
    }

    fn of(kind: usize, resource: Resource, target: &str, request: RequestId) -> Self {
        Self {
            kind,
            resource,
            target: target.to_owned(),
            providers: Vec::new(),
            mutates: false,
            request,
            step: None,
            bytes_in: 0,
            stream: false,
            call: None,
        }
    }

    const fn touching(mut self, touch: Touch) -> Self {
        self.mutates = matches!(touch, Touch::Write);
        self
    }

    /// A provider behind the target, where the configuration names one. Where there are
    /// several, policies have to permit each: which of them answers is not known yet.
    #[must_use]
    pub fn provider(mut self, provider: ProviderId) -> Self {
        if !self.providers.contains(&provider) {
            self.providers.push(provider);
        }
        self
    }

    /// The step of the run, where the caller names one.
    #[must_use]
    pub fn step(mut self, step: StepId) -> Self {
        self.step = Some(step);
        self
    }

    /// Size of the request's body in bytes.
    #[must_use]
    pub const fn bytes_in(mut self, bytes: u64) -> Self {
        self.bytes_in = bytes;
        self
    }

    /// Whether the answer is asked for as a stream.
    #[must_use]
    pub const fn stream(mut self, stream: bool) -> Self {
        self.stream = stream;
        self
    }

    /// The surface, such as `model`.
    #[must_use]
    pub fn surface(&self) -> &'static str {
        self.kind().surface
    }

    /// What is asked of it, such as `chat`.
    #[must_use]
    pub fn action(&self) -> &'static str {
        self.kind().action
    }

    /// The grant that it needs, such as `model:chat`.
    #[must_use]
    pub fn grant(&self) -> &'static str {
        self.kind().grant
    }

    /// What it is asked about: a model's name, an entity's, a run's, a collection's, a log's.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Our id of the request that it belongs to.
    #[must_use]
    pub const fn request(&self) -> RequestId {
        self.request
    }

    /// Whether it changes anything outside.
    #[must_use]
    pub const fn mutates(&self) -> bool {
        self.mutates
    }

    /// Whether a decision on it is worth remembering: not if the target is a name that the
    /// caller made up, of which there is no end.
    pub(crate) fn is_bounded(&self) -> bool {
        match self.resource {
            Resource::Route => !self.providers.is_empty() || self.target == "*",
            // One of a few words.
            Resource::Account | Resource::Log | Resource::Inbox => true,
            Resource::Collection => self.target == "*",
            // What policies say of a call depends on its arguments.
            Resource::Tool => self.call.is_none(),
            Resource::Shelf | Resource::Run => false,
        }
    }

    pub(crate) fn kind(&self) -> &'static Kind {
        &KINDS[self.kind]
    }
}

#[cfg(test)]
mod tests {
    use ids::RandomId;

    use super::*;

    #[test]
    fn every_action_is_itself() {
        let request = RequestId(RandomId::from_bytes([0; 16]));
        let model = |action| Hop::model(action, "m", request);
        let kept = |kept| Hop::resource(kept, Touch::Read, request);
        let hops = [
            (model(Action::Chat), "model:chat", "m"),
            (Hop::model(Action::Models, "*", request), "model:models", "*"),
            (model(Action::Responses), "model:responses", "m"),
            (model(Action::Embeddings), "model:embeddings", "m"),
            (model(Action::Messages), "model:messages", "m"),
            (kept(Kept::Files), "model:files", "files"),
            (kept(Kept::Batches), "model:batches", "batches"),
            (Hop::cache(Touch::Read, "e", request), "cache:read", "e"),
            (Hop::cache(Touch::Write, "e", request), "cache:write", "e"),
            (Hop::state(Touch::Read, "r", request), "state:read", "r"),
            (Hop::state(Touch::Write, "r", request), "state:write", "r"),
            (Hop::memory(Use::Read, "c", request), "memory:read", "c"),
            (Hop::memory(Use::Write, "c", request), "memory:write", "c"),
            (Hop::memory(Use::Collections, "c", request), "memory:collections", "c"),
        ];
        for (hop, grant, target) in &hops {
            let is = format!("{}:{}", hop.surface(), hop.action());
            assert_eq!((is.as_str(), hop.grant(), hop.target()), (*grant, *grant, *target));
        }
        let read = [
            (Hop::records(Reading::Audit, request), "audit", "audit:read"),
            (Hop::records(Reading::Runs, request), "runs", "records:read"),
        ];
        for (hop, name, grant) in &read {
            let is = (hop.surface(), hop.action(), hop.grant(), hop.target());
            assert_eq!(is, ("records", *name, *grant, *name));
        }
        let called = |effect| ToolCall {
            effect,
            tool: "refund".to_owned(),
            upstream: "crm".parse().unwrap(),
            account: None,
            arguments: Vec::new(),
            amount: None,
        };
        let tools = [
            (Hop::tools(request), "tools:list"),
            (Hop::tool(called(Effect::Read), request), "tools:read"),
            (Hop::tool(called(Effect::Write), request), "tools:write"),
            (Hop::tool(called(Effect::Destructive), request), "tools:destructive"),
            (Hop::review(Touch::Read, request), "reviews:read"),
            (Hop::review(Touch::Write, request), "reviews:decide"),
        ];
        for (hop, grant) in &tools {
            assert_eq!(hop.grant(), *grant);
        }
        assert_eq!(hops.len() + read.len() + tools.len(), KINDS.len());
        for name in [Kept::Responses, Kept::Conversations] {
            assert_eq!((kept(name).grant(), kept(name).target()), ("model:responses", name.name()));
        }
    }

    #[test]
    fn writes_change_something_and_nothing_else_does() {
        let request = RequestId(RandomId::from_bytes([0; 16]));
        for (touch, mutates) in [(Touch::Read, false), (Touch::Write, true)] {
            for hop in [
                Hop::resource(Kept::Files, touch, request),
                Hop::cache(touch, "e", request),
                Hop::state(touch, "r", request),
            ] {
                assert_eq!(hop.mutates(), mutates, "{hop:?}");
            }
        }
        assert!(!Hop::model(Action::Chat, "m", request).mutates());
        for (how, mutates) in [(Use::Read, false), (Use::Write, true), (Use::Collections, true)] {
            assert_eq!(Hop::memory(how, "c", request).mutates(), mutates, "{how:?}");
        }
    }
}
