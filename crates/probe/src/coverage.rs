//! What the checks of the catalogue can be put to: which surfaces a target has, and what to add
//! to a file so that a check has something to be put to.

use std::sync::Arc;

use serde::Serialize;

use crate::{
    catalog::{CHECKS, Check, Surface},
    questions::Question,
    run::Options,
    target::{App, Kind, Server, Target},
    verdict::{Finding, Verdict},
};

/// A check that no target could be put to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Uncovered {
    /// Its id.
    pub check: &'static str,
    /// Which of the five it bears on.
    pub questions: &'static [Question],
    /// What to add to the file for it.
    pub add: &'static str,
}

/// The name of a kind, as the file has it.
pub(crate) const fn kind(target: &Target) -> &'static str {
    match target.kind {
        Kind::Bulkhead { .. } => "bulkhead",
        Kind::Openai { .. } => "openai",
        Kind::Anthropic { .. } => "anthropic",
        Kind::Qdrant { .. } => "qdrant",
        Kind::Redis { .. } => "redis",
        Kind::Mcp(_) => "mcp",
        Kind::Http(_) => "http",
    }
}

/// A surface, as it is printed.
pub(crate) const fn surface(surface: Surface) -> &'static str {
    match surface {
        Surface::Identity => "identity",
        Surface::Model => "model",
        Surface::Cache => "cache",
        Surface::Memory => "memory",
        Surface::Tools => "tools",
        Surface::Objects => "objects",
        Surface::Records => "records",
        Surface::Load => "load",
    }
}

/// What a check needs of a target.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// A model that is called.
    Model,
    /// Retrieval.
    Vectors,
    /// Keys and values.
    Keys,
    /// Something that is left and asked for again, by HTTP.
    Http,
    /// Anything at all that answers a tenant.
    Any,
    /// Ids of things.
    Objects,
    /// Tools that take ids.
    Tools,
    /// JSON-RPC.
    Rpc,
    /// An MCP server, and something to read there.
    Mcp,
    /// Cursors, resources, interrupted calls.
    Handles,
    /// A question that is asked over what was left.
    Asking,
    /// Routes of administration.
    Admin,
    /// Places of logs.
    Logs,
    /// A way to remove what was left.
    Cleanup,
}

fn needs(check: &Check) -> Needs {
    match check.id {
        "exact-key" | "caller-namespace" | "soft-scope" | "prompt-cache" | "prompt-timing"
        | "caller-id" | "cached-errors" => Needs::Model,
        "object-id" => Needs::Objects,
        "id-resolve" => Needs::Tools,
        "rpc-id" | "rpc-idempotency" => Needs::Rpc,
        "id-spelling" | "error-record" | "session-reuse" | "list-scope" | "token-in-address" => {
            Needs::Mcp
        }
        "handle-reuse" => Needs::Handles,
        "injection-egress" => Needs::Asking,
        "admin-route" => Needs::Admin,
        "open-log-store" => Needs::Logs,
        "crowding" | "non-interference" | "filter-escape" | "corpus-statistics" => Needs::Vectors,
        "key-escape" | "key-hunt" | "server-commands" => Needs::Keys,
        "noisy-neighbour" | "shared-env" | "redis-desync" => Needs::Any,
        "erasure" => Needs::Cleanup,
        _ => Needs::Http,
    }
}

impl Needs {
    const fn add(self) -> &'static str {
        match self {
            Self::Model => "a target of kind \"openai\" or \"anthropic\"",
            Self::Vectors => "a target of kind \"qdrant\"",
            Self::Keys => "a target of kind \"redis\"",
            Self::Http => "a target that is asked over HTTP, e.g. of kind \"http\" with `plant`",
            Self::Any => "a target of any kind",
            Self::Objects => "`plant` and `objects` in a target of kind \"http\"",
            Self::Tools => "`plant` and `read` in a target of kind \"mcp\"",
            Self::Rpc => "`plant` and `read` in a target of kind \"mcp\"",
            Self::Mcp => "a target of kind \"mcp\" with `plant` and `read`",
            Self::Handles => "`resource`, or a `list` with a `cursor`, in a target of kind \"mcp\"",
            Self::Asking => "`plant` and `ask` in a target of kind \"http\"",
            Self::Admin => "`admin = [\"/admin/…\"]` in a target of kind \"http\"",
            Self::Logs => "`logs = [\"/metrics\"]` in a target of kind \"http\"",
            Self::Cleanup => "`cleanup` in a target of kind \"http\"",
        }
    }

    fn met(self, target: &Target) -> bool {
        match (&target.kind, self) {
            (Kind::Http(app), _) => self.met_by(app),
            (Kind::Mcp(server), _) => self.met_at(server),
            (Kind::Bulkhead { more, .. }, Self::Tools | Self::Rpc | Self::Mcp | Self::Handles) => {
                more.tools.as_ref().is_some_and(|server| self.met_at(server))
            }
            (Kind::Bulkhead { control, .. }, Self::Admin | Self::Logs) => control.is_some(),
            (Kind::Bulkhead { .. }, _) => !matches!(self, Self::Keys | Self::Asking),
            (Kind::Openai { .. } | Kind::Anthropic { .. }, _) => {
                matches!(self, Self::Model | Self::Http | Self::Any)
            }
            (Kind::Qdrant { .. }, _) => matches!(self, Self::Vectors | Self::Http | Self::Any),
            (Kind::Redis { .. }, _) => matches!(self, Self::Keys | Self::Any),
        }
    }

    /// At an MCP server.
    fn met_at(self, server: &Server) -> bool {
        let left = server.plant.is_some() && server.readable();
        match self {
            Self::Http | Self::Any | Self::Objects => left,
            Self::Tools | Self::Rpc | Self::Mcp => server.readable(),
            Self::Handles => server.readable() && server.gives_handles(),
            Self::Cleanup => left && server.remove.is_some(),
            Self::Model | Self::Vectors | Self::Keys => false,
            Self::Asking | Self::Admin | Self::Logs => false,
        }
    }

    fn met_by(self, app: &App) -> bool {
        let (plant, ask) = (app.plant.is_some(), app.ask.is_some());
        match self {
            Self::Model | Self::Vectors | Self::Keys | Self::Mcp | Self::Handles => false,
            Self::Http | Self::Any => plant || ask,
            Self::Objects => plant && !app.objects.is_empty(),
            Self::Tools => plant && !app.tools.is_empty(),
            Self::Rpc => app.rpc.is_some(),
            Self::Asking => plant && ask,
            Self::Admin => !app.admin.is_empty(),
            Self::Logs => !app.logs.is_empty(),
            Self::Cleanup => plant && app.cleanup.is_some(),
        }
    }
}

/// A surface of a target that bears on a question, and of which nothing was shown to be isolated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) target: String,
    pub(crate) surface: Surface,
}

/// The surfaces of the file's targets that bear on a question and have no finding of ISOLATED.
/// `None` if no target has anything that bears on it.
pub(crate) fn gaps(
    question: Question,
    targets: &[Arc<Target>],
    findings: &[&Finding],
) -> Option<Vec<Gap>> {
    let (mut any, mut gaps) = (false, Vec::new());
    for target in targets {
        let mut surfaces: Vec<Surface> = CHECKS
            .iter()
            .filter(|check| check.questions.contains(&question) && needs(check).met(target))
            .map(|check| check.surface)
            .collect();
        surfaces.sort_unstable();
        surfaces.dedup();
        any |= !surfaces.is_empty();
        let shown = |surface: &Surface| {
            findings.iter().any(|finding| {
                finding.target == target.name
                    && finding.check.surface == *surface
                    && finding.check.questions.contains(&question)
                    && finding.verdict == Verdict::Isolated
            })
        };
        let open = surfaces.into_iter().filter(|surface| !shown(surface));
        gaps.extend(open.map(|surface| Gap { target: target.name.clone(), surface }));
    }
    any.then_some(gaps)
}

/// The checks that were wanted and that no target could be put to.
pub(crate) fn uncovered(options: &Options, findings: &[Finding]) -> Vec<Uncovered> {
    let put = |check: &Check| findings.iter().any(|finding| finding.check.id == check.id);
    let open = CHECKS.iter().filter(|check| options.wants(check) && !put(check));
    open.map(|check| unmet(check)).collect()
}

/// A check that nothing was put to.
pub(crate) fn unmet(check: &Check) -> Uncovered {
    Uncovered { check: check.id, questions: check.questions, add: needs(check).add() }
}

/// What to add to a file so that something bears on a question.
pub(crate) fn advice(question: Question) -> &'static str {
    match question {
        Question::Debugging => "no `admin` or `logs` in any target",
        Question::Load => "--allow-flood",
        _ => "no target that bears on it",
    }
}
