//! What there is to get at: objects, tools, records, retrieval, stores, load.

use super::{Check, Surface, row};
use crate::questions::Question::{Ambiguity, Context, Credentials, Debugging, Load};

/// Another's id opens nothing.
pub static OBJECT_ID: Check = Check {
    id: "object-id",
    title: "Another's id opens nothing",
    surface: Surface::Objects,
    questions: &[Context, Credentials],
    incident: "Langflow CVE-2026-55255",
    means: "An id of another's opens, changes or removes the thing: the lookup is by id, and nobody asks whose it is. If only the status differs, it still tells which ids exist.",
    fix: "Look up by (tenant, id). Answer the same for a foreign and for a missing id.",
    standards: &[row("AISVS 1.0", "5.2.1"), row("OWASP API 2023", "API1:2023"), row("CWE", "639")],
};

/// A tool resolves the caller's own ids alone.
pub static ID_RESOLVE: Check = Check {
    id: "id-resolve",
    title: "A tool resolves the caller's own ids alone",
    surface: Surface::Tools,
    questions: &[Credentials, Context],
    incident: "Asana MCP, June 2025",
    means: "A tool, or an MCP server, resolves ids that a model gives it without the tenant's check that the ordinary interface has.",
    fix: "Bind tools' arguments to the tenant, give each tool the tenant's own credential, and check the owner of what comes back.",
    standards: &[
        row("AISVS 1.0", "5.2.1"),
        row("OWASP API 2023", "API1:2023"),
        row("CWE", "639"),
        row("OWASP MCP", "MCP07"),
    ],
};

/// Equal JSON-RPC ids at the same time are told apart.
pub static RPC_ID: Check = Check {
    id: "rpc-id",
    title: "Equal JSON-RPC ids at the same time are told apart",
    surface: Surface::Tools,
    questions: &[Context],
    incident: "MCP TypeScript SDK CVE-2026-25536",
    means: "JSON-RPC ids of two sessions are equal, as they mostly are, and answers are matched by the id alone.",
    fix: "Match answers by (session, id); one transport for one session.",
    standards: &[
        row("OWASP MCP", "MCP07"),
        row("OWASP MCP", "MCP10"),
        row("AISVS 1.0", "10.2.1"),
        row("AISVS 1.0", "10.2.5"),
        row("AISVS 1.0", "10.2.6"),
        row("CWE", "362"),
    ],
};

/// Two writes with one RPC id are two writes.
pub static RPC_IDEMPOTENCY: Check = Check {
    id: "rpc-idempotency",
    title: "Two writes with one RPC id are two writes",
    surface: Surface::Tools,
    questions: &[Context, Ambiguity],
    incident: "AI-Implement #604",
    means: "Idempotency is keyed on the id of the RPC: a second tenant's, or a second run's, write is taken for a repeat of the first and never done, or gets the first one's answer.",
    fix: "Key idempotency by tenant, run, step, tool and canonical arguments.",
    standards: &[
        row("OWASP MCP", "MCP07"),
        row("OWASP MCP", "MCP10"),
        row("AISVS 1.0", "10.2.1"),
        row("AISVS 1.0", "10.2.5"),
        row("AISVS 1.0", "10.2.6"),
        row("CWE", "362"),
        row("CWE", "639"),
    ],
};

/// A planted instruction carries nothing out.
pub static INJECTION_EGRESS: Check = Check {
    id: "injection-egress",
    title: "A planted instruction carries nothing out",
    surface: Surface::Tools,
    questions: &[Context],
    incident: "EchoLeak, Supabase MCP, GitHub MCP",
    means: "An instruction in something that the agent reads makes it carry data out: to an address, to another tenant, into a tool.",
    fix: "Narrow what an agent that reads foreign text can reach: bound tool arguments, no free addresses, the tenant's own credentials; look for canaries at every way out.",
    standards: &[
        row("OWASP LLM 2025", "LLM01"),
        row("OWASP LLM 2025", "LLM02"),
        row("OWASP Agentic", "ASI01"),
    ],
};

/// A tenant's credential opens no control plane.
pub static ADMIN_ROUTE: Check = Check {
    id: "admin-route",
    title: "A tenant's credential opens no control plane",
    surface: Surface::Records,
    questions: &[Debugging, Credentials],
    incident: "Langfuse CVE-2025-59305",
    means: "A credential of a customer is enough for routes of administration: they ask whether somebody is logged in, not who.",
    fix: "Keep the control plane on a listener and a kind of credential of its own; answer others as if the route was not there.",
    standards: &[
        row("OWASP LLM 2025", "LLM02"),
        row("OWASP MCP", "MCP08"),
        row("AISVS 1.0", "12.1.1"),
        row("AISVS 1.0", "12.1.4"),
        row("AWS", "AGENTSEC05"),
        row("OWASP API 2023", "API5:2023"),
        row("CWE", "862"),
    ],
};

/// Logs, traces and metrics hold nothing of a tenant's.
pub static OPEN_LOG_STORE: Check = Check {
    id: "open-log-store",
    title: "Logs, traces and metrics hold nothing of a tenant's",
    surface: Surface::Records,
    questions: &[Debugging],
    incident: "DeepSeek, 2025",
    means: "Logs, traces or metrics hold what tenants said, and others can read them.",
    fix: "No payload in logs, traces and metrics. Seal what replay needs for its tenant, and let operators enter one tenant at a time, with a reason, on record.",
    standards: &[
        row("OWASP LLM 2025", "LLM02"),
        row("OWASP MCP", "MCP08"),
        row("AISVS 1.0", "12.1.1"),
        row("AISVS 1.0", "12.1.4"),
        row("AWS", "AGENTSEC05"),
    ],
};

/// Another's nearer points push none of one's own out.
pub static CROWDING: Check = Check {
    id: "crowding",
    title: "Another's nearer points push none of one's own out",
    surface: Surface::Memory,
    questions: &[Context, Load],
    incident: "",
    means: "The index ranks everybody's points and filters afterwards: near points of one tenant push the other's out of its own results, silently.",
    fix: "Scope first, then rank: an index for each tenant, or a filter that the index applies while it searches (and test its recall).",
    standards: &[
        row("OWASP LLM 2025", "LLM08"),
        row("OWASP LLM 2026", "LLM09"),
        row("OWASP Agentic", "ASI06"),
        row("AISVS 1.0", "5.2.2"),
        row("AISVS 1.0", "8.1.1"),
        row("AISVS 1.0", "8.1.3"),
        row("CSA AICM", "IVS-06"),
    ],
};

/// Another's writes change no byte of one's answers.
pub static NON_INTERFERENCE: Check = Check {
    id: "non-interference",
    title: "Another's writes change no byte of one's answers",
    surface: Surface::Memory,
    questions: &[Context],
    incident: "",
    means: "Writes of one tenant change another's answers: their ranks, scores or counts are made from a common structure, which tells what others hold.",
    fix: "An index and statistics for each tenant.",
    standards: &[
        row("OWASP LLM 2025", "LLM08"),
        row("OWASP LLM 2026", "LLM09"),
        row("OWASP Agentic", "ASI06"),
        row("AISVS 1.0", "5.2.2"),
        row("AISVS 1.0", "8.1.1"),
        row("AISVS 1.0", "8.1.3"),
        row("CSA AICM", "IVS-06"),
    ],
};

/// No filter reaches another's points.
pub static FILTER_ESCAPE: Check = Check {
    id: "filter-escape",
    title: "No filter reaches another's points",
    surface: Surface::Memory,
    questions: &[Context],
    incident: "",
    means: "A filter that a caller gives is merged with the tenant's so that it widens it, or a part of the interface (ids, recommendations, facets, look-ups in other collections) does not apply it.",
    fix: "Put the tenant's filter as a conjunction around every sub-query, on the server; refuse what cannot be scoped. Hold every result against its owner once more.",
    standards: &[
        row("OWASP LLM 2025", "LLM08"),
        row("OWASP LLM 2026", "LLM09"),
        row("OWASP Agentic", "ASI06"),
        row("AISVS 1.0", "5.2.2"),
        row("AISVS 1.0", "8.1.1"),
        row("AISVS 1.0", "8.1.3"),
        row("CSA AICM", "IVS-06"),
        row("AISVS 1.0", "5.2.1"),
        row("OWASP API 2023", "API1:2023"),
        row("CWE", "639"),
    ],
};

/// Another's words move no score.
pub static CORPUS: Check = Check {
    id: "corpus-statistics",
    title: "Another's words move no score",
    surface: Surface::Memory,
    questions: &[Context],
    incident: "STRESS, IEEE S&P 2017",
    means: "Scores use word frequencies of everybody's documents: a tenant can see from its own scores which words others use.",
    fix: "Count terms for each tenant (for Qdrant: a shard each, or `idf.corpus`).",
    standards: &[
        row("OWASP LLM 2025", "LLM08"),
        row("OWASP LLM 2026", "LLM09"),
        row("OWASP Agentic", "ASI06"),
        row("AISVS 1.0", "5.2.2"),
        row("AISVS 1.0", "8.1.1"),
        row("AISVS 1.0", "8.1.3"),
        row("CSA AICM", "IVS-06"),
        row("CWE", "203"),
    ],
};

/// Another's keys can be neither read nor written.
pub static KEY_ESCAPE: Check = Check {
    id: "key-escape",
    title: "Another's keys can be neither read nor written",
    surface: Surface::Cache,
    questions: &[Context, Credentials],
    incident: "",
    means: "One tenant's credential at the store reaches another's keys; what keeps them apart is a convention in the application.",
    fix: "One user for each tenant with a key pattern and without dangerous commands (`ACL SETUSER … ~tenant:* -@admin -@dangerous`), or values sealed for their tenant.",
    standards: &[
        row("AISVS 1.0", "5.2.1"),
        row("OWASP API 2023", "API1:2023"),
        row("CWE", "639"),
        row("AISVS 1.0", "5.3.1"),
        row("CWE", "524"),
    ],
};

/// No listing and no script shows another's keys.
pub static KEY_HUNT: Check = Check {
    id: "key-hunt",
    title: "No listing and no script shows another's keys",
    surface: Surface::Cache,
    questions: &[Context, Debugging],
    incident: "",
    means: "Keys can be listed, or found by a pattern, over tenants: what is named can be read.",
    fix: "As for `key-escape`; take `KEYS`, `SCAN`, `RANDOMKEY` and scripts from tenants' users, or give each tenant a database or an instance.",
    standards: &[
        row("AISVS 1.0", "5.2.1"),
        row("OWASP API 2023", "API1:2023"),
        row("CWE", "639"),
        row("OWASP LLM 2025", "LLM02"),
    ],
};

/// No command shows what others do.
pub static SERVER_COMMANDS: Check = Check {
    id: "server-commands",
    title: "No command shows what others do",
    surface: Surface::Cache,
    questions: &[Debugging],
    incident: "DeepSeek, 2025",
    means: "Commands of the server show what others do while they do it: their keys, values and addresses.",
    fix: "Deny `@admin` and `@dangerous` (`MONITOR`, `SLOWLOG`, `CLIENT`, `CONFIG`, `DEBUG`) to every user that serves tenants.",
    standards: &[
        row("OWASP LLM 2025", "LLM02"),
        row("OWASP MCP", "MCP08"),
        row("AISVS 1.0", "12.1.1"),
        row("AISVS 1.0", "12.1.4"),
        row("AWS", "AGENTSEC05"),
    ],
};

/// One tenant's flood is not felt by another.
pub static NOISY_NEIGHBOUR: Check = Check {
    id: "noisy-neighbour",
    title: "One tenant's flood is not felt by another",
    surface: Surface::Load,
    questions: &[Load],
    incident: "",
    means: "While one tenant floods, the other one waits: they share a queue, a pool or a worker without shares.",
    fix: "A lane for each tenant, served in turn, with limits where work comes in.",
    standards: &[
        row("OWASP LLM 2025", "LLM10"),
        row("OWASP LLM 2026", "LLM06"),
        row("AISVS 1.0", "9.1.1"),
        row("AISVS 1.0", "12.2.5"),
        row("AWS", "AGENTPERF07-BP01"),
    ],
};

/// What was erased is nowhere.
pub static ERASURE: Check = Check {
    id: "erasure",
    title: "What was erased is nowhere",
    surface: Surface::Objects,
    questions: &[Context],
    incident: "",
    means: "What was erased is still found: in a cache, an index, a history, or with another credential.",
    fix: "Erase at the source and in everything made from it; destroy the tenant's key; look for it afterwards, and say in a receipt what was done.",
    standards: &[
        row("OWASP LLM 2025", "LLM02"),
        row("AISVS 1.0", "8.3.1"),
        row("AISVS 1.0", "8.3.2"),
        row("GDPR", "Article 17"),
    ],
};
