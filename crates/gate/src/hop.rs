//! What is asked of the gate: one use of one surface.

use ids::{ProviderId, RequestId, StepId};

/// What can be asked of the model surface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A chat completion.
    Chat,
    /// The models that the caller may use.
    Models,
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
    Log,
}

/// What is fixed about an action; the one place that lists them all.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) surface: &'static str,
    pub(crate) action: &'static str,
    /// The grant that it needs, which is also its name in a policy.
    pub(crate) grant: &'static str,
    pub(crate) resource: Resource,
    pub(crate) mutates: bool,
}

pub(crate) static KINDS: [Kind; 4] = [
    Kind {
        surface: "model",
        action: "chat",
        grant: "model:chat",
        resource: Resource::Route,
        mutates: false,
    },
    Kind {
        surface: "model",
        action: "models",
        grant: "model:models",
        resource: Resource::Route,
        mutates: false,
    },
    Kind {
        surface: "records",
        action: "audit",
        grant: "audit:read",
        resource: Resource::Log,
        mutates: false,
    },
    Kind {
        surface: "records",
        action: "runs",
        grant: "records:read",
        resource: Resource::Log,
        mutates: false,
    },
];

/// One use of a surface, before it is known whether it may happen.
#[derive(Clone, Debug)]
pub struct Hop {
    pub(crate) kind: usize,
    pub(crate) target: String,
    pub(crate) provider: Option<ProviderId>,
    pub(crate) request: RequestId,
    pub(crate) step: Option<StepId>,
    pub(crate) bytes_in: u64,
    pub(crate) stream: bool,
}

impl Hop {
    /// A hop to the model surface. `target` is the model by the name that the caller used,
    /// or `*` for the list of them.
    #[must_use]
    pub fn model(action: Action, target: &str, request: RequestId) -> Self {
        let kind = match action {
            Action::Chat => 0,
            Action::Models => 1,
        };
        Self::of(kind, target, request)
    }

    /// A tenant's look at its own records.
    #[must_use]
    pub fn records(reading: Reading, request: RequestId) -> Self {
        match reading {
            Reading::Audit => Self::of(2, "audit", request),
            Reading::Runs => Self::of(3, "runs", request),
        }
    }

    fn of(kind: usize, target: &str, request: RequestId) -> Self {
        Self {
            kind,
            target: target.to_owned(),
            provider: None,
            request,
            step: None,
            bytes_in: 0,
            stream: false,
        }
    }

    /// The provider behind the target, where the configuration names one.
    #[must_use]
    pub fn provider(mut self, provider: ProviderId) -> Self {
        self.provider = Some(provider);
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

    /// What it is asked about: a model's name, a log's.
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
    pub fn mutates(&self) -> bool {
        self.kind().mutates
    }

    /// Whether a decision on it is worth remembering: not if the target is a name that the
    /// caller made up, of which there is no end.
    pub(crate) fn is_bounded(&self) -> bool {
        self.kind().resource == Resource::Log || self.provider.is_some() || self.target == "*"
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
        let hops = [
            (Hop::model(Action::Chat, "m", request), "model", "chat", "model:chat", "m"),
            (Hop::model(Action::Models, "*", request), "model", "models", "model:models", "*"),
            (Hop::records(Reading::Audit, request), "records", "audit", "audit:read", "audit"),
            (Hop::records(Reading::Runs, request), "records", "runs", "records:read", "runs"),
        ];
        assert_eq!(hops.len(), KINDS.len());
        for (hop, surface, action, grant, target) in hops {
            let is = (hop.surface(), hop.action(), hop.grant(), hop.target());
            assert_eq!(is, (surface, action, grant, target));
        }
    }
}
