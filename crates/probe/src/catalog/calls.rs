//! What a call is put to: caches of answers, prompts, races, and who somebody is.

use super::{Check, Surface, row};
use crate::questions::Question::{Ambiguity, Context, Credentials};

/// The same request of two tenants has two answers.
pub static EXACT_KEY: Check = Check {
    id: "exact-key",
    title: "The same request of two tenants has two answers",
    surface: Surface::Model,
    questions: &[Context],
    incident: "LiteLLM #29955",
    means: "Two tenants who send the same bytes get one answer: the second one reads what was made for the first, with whatever was in the first one's context, tools or account behind it.",
    fix: "Put the tenant and the environment into the key of every response cache, each part framed by its length, from the verified credential and from nothing that a request says. Seal the value for its owner besides, so that a key that collides opens nothing.",
    standards: &[
        row("OWASP LLM 2025", "LLM08"),
        row("OWASP LLM 2026", "LLM09"),
        row("OWASP LLM 2025", "LLM02"),
        row("AISVS 1.0", "5.3.1"),
        row("CWE", "524"),
    ],
};

/// A caller cannot name another's partition of a cache.
pub static CALLER_NAMESPACE: Check = Check {
    id: "caller-namespace",
    title: "A caller cannot name another's partition of a cache",
    surface: Surface::Model,
    questions: &[Context, Credentials],
    incident: "LiteLLM cache.namespace",
    means: "The partition of a cache is a field of the request. Whoever knows, or guesses, another's namespace, seed, salt or cache key reads and poisons its entries.",
    fix: "Strip or refuse fields and headers that name a partition (`cache.namespace`, `cache_salt`, `x-…-cache-key`, seeds); derive the partition from the credential.",
    standards: &[
        row("OWASP LLM 2025", "LLM08"),
        row("OWASP LLM 2026", "LLM09"),
        row("OWASP LLM 2025", "LLM02"),
        row("AISVS 1.0", "5.3.1"),
        row("CWE", "524"),
    ],
};

/// Ids that a caller chooses name nothing of another's.
pub static CALLER_ID: Check = Check {
    id: "caller-id",
    title: "Ids that a caller chooses name nothing of another's",
    surface: Surface::Model,
    questions: &[Context],
    incident: "vLLM CVE-2026-105755",
    means: "An id that the caller chooses (request, trace, session, idempotency) leads to stored data without a look at whose it is. Ids are guessed, logged and replayed.",
    fix: "Look ids up under the tenant: the key is (tenant, id), never the id alone. Draw ids yourself where they lead to data.",
    standards: &[
        row("OWASP LLM 2025", "LLM08"),
        row("OWASP LLM 2026", "LLM09"),
        row("OWASP LLM 2025", "LLM02"),
        row("AISVS 1.0", "5.3.1"),
        row("CWE", "524"),
        row("CWE", "639"),
    ],
};

/// A similar question of another tenant finds no answer.
pub static SOFT_SCOPE: Check = Check {
    id: "soft-scope",
    title: "A similar question of another tenant finds no answer",
    surface: Surface::Model,
    questions: &[Context],
    incident: "vLLM semantic-router #2134",
    means: "The tenant is a text in the embedding, or a filter over similarity. A question that is near enough, and names a tenant or none, is answered with another's answer.",
    fix: "Scope first, then rank: a semantic cache has an index for each tenant and environment, and is asked in that alone.",
    standards: &[
        row("OWASP LLM 2025", "LLM08"),
        row("OWASP LLM 2026", "LLM09"),
        row("OWASP LLM 2025", "LLM02"),
        row("AISVS 1.0", "5.3.1"),
        row("CWE", "524"),
    ],
};

/// Errors hold nothing of another's and are not kept.
pub static CACHED_ERRORS: Check = Check {
    id: "cached-errors",
    title: "Errors hold nothing of another's and are not kept",
    surface: Surface::Model,
    questions: &[Context],
    incident: "agentgateway ExtMcp",
    means: "The error of one tenant's request, with what stands in it, is kept and handed to another; or hooks that redact answers do not run on errors.",
    fix: "Keep no answer that is not whole and well. Run every check of an answer on errors, too.",
    standards: &[
        row("OWASP LLM 2025", "LLM08"),
        row("OWASP LLM 2026", "LLM09"),
        row("OWASP LLM 2025", "LLM02"),
        row("AISVS 1.0", "5.3.1"),
        row("CWE", "524"),
        row("CWE", "209"),
    ],
};

/// The provider's prompt cache is not shared: by what it reports.
pub static PROMPT_CACHE: Check = Check {
    id: "prompt-cache",
    title: "The provider's prompt cache is not shared: by what it reports",
    surface: Surface::Model,
    questions: &[Context],
    incident: "vLLM CVE-2025-46570",
    means: "The provider reports that a prefix which only the other tenant has sent was in its prompt cache: it is one cache for both, and its hits tell what others ask.",
    fix: "Give each tenant a provider account or workspace of its own, or a salt from its identity (vLLM, SGLang: `cache_salt`) that callers cannot set.",
    standards: &[
        row("OWASP LLM 2025", "LLM02"),
        row("AISVS 1.0", "5.3.1"),
        row("AISVS 1.0", "5.3.2"),
        row("CWE", "208"),
    ],
};

/// The provider's prompt cache is not shared: by time.
pub static PROMPT_TIMING: Check = Check {
    id: "prompt-timing",
    title: "The provider's prompt cache is not shared: by time",
    surface: Surface::Model,
    questions: &[Context],
    incident: "arXiv 2502.07776",
    means: "Answers to a prefix that only the other tenant has sent come measurably sooner: whoever can time answers can guess others' prompts.",
    fix: "As for `prompt-cache`: an account, a workspace or a salt for each tenant. Where that cannot be had, turn prefix caching off for what is confidential.",
    standards: &[
        row("OWASP LLM 2025", "LLM02"),
        row("AISVS 1.0", "5.3.1"),
        row("AISVS 1.0", "5.3.2"),
        row("CWE", "208"),
    ],
};

/// Requests at the same time keep their own identity.
pub static SHARED_ENV: Check = Check {
    id: "shared-env",
    title: "Requests at the same time keep their own identity",
    surface: Surface::Identity,
    questions: &[Context],
    incident: "GitHub sessions, 2021",
    means: "An object that belongs to a request (its identity, its context) is shared by requests at the same time, and one gets what is the other's.",
    fix: "Pass identity as an argument, never through a global, a reused object or a task-local that outlives its request.",
    standards: &[
        row("OWASP MCP", "MCP07"),
        row("OWASP MCP", "MCP10"),
        row("AISVS 1.0", "10.2.1"),
        row("AISVS 1.0", "10.2.5"),
        row("AISVS 1.0", "10.2.6"),
        row("CWE", "362"),
    ],
};

/// A cancelled request leaves nothing for the next one.
pub static DESYNC: Check = Check {
    id: "redis-desync",
    title: "A cancelled request leaves nothing for the next one",
    surface: Surface::Identity,
    questions: &[Context],
    incident: "OpenAI, March 2023",
    means: "A request that is cancelled leaves its answer in a shared connection, and the next user of that connection reads it.",
    fix: "Throw a connection away when its request was cancelled between sending and reading. Bind what comes back to what was asked: a sealed value that does not open for this tenant and key is a miss.",
    standards: &[
        row("OWASP MCP", "MCP07"),
        row("OWASP MCP", "MCP10"),
        row("AISVS 1.0", "10.2.1"),
        row("AISVS 1.0", "10.2.5"),
        row("AISVS 1.0", "10.2.6"),
        row("CWE", "362"),
    ],
};

/// No HTTP cache keeps a tenant's answer.
pub static SHARED_HTTP_CACHE: Check = Check {
    id: "shared-http-cache",
    title: "No HTTP cache keeps a tenant's answer",
    surface: Surface::Identity,
    questions: &[Context],
    incident: "Railway CDN, March 2026",
    means: "A cache between client and server kept an authenticated answer under its address and gives it to everybody who asks for that address.",
    fix: "Answer with `Cache-Control: no-store`, and keep whatever needs a credential out of shared caches.",
    standards: &[row("AISVS 1.0", "5.3.1"), row("CWE", "524"), row("CWE", "525")],
};

/// Without a credential nothing is answered.
pub static MISSING: Check = Check {
    id: "identity-missing",
    title: "Without a credential nothing is answered",
    surface: Surface::Identity,
    questions: &[Ambiguity, Credentials],
    incident: "",
    means: "Without a credential, or with one that means nothing, there is an answer. Whose data it is about is then decided by something that anybody can say.",
    fix: "No default identity and no keyless mode: refuse before anything is looked up.",
    standards: &[
        row("OWASP MCP", "MCP01"),
        row("OWASP Agentic", "ASI03"),
        row("AISVS 1.0", "9.5.2"),
        row("AISVS 1.0", "9.5.4"),
        row("AISVS 1.0", "10.2.7"),
        row("AWS", "AGENTSEC03"),
        row("CWE", "306"),
    ],
};

/// A dead credential is refused, also in the middle of a run.
pub static EXPIRED: Check = Check {
    id: "identity-expired",
    title: "A dead credential is refused, also in the middle of a run",
    surface: Surface::Identity,
    questions: &[Ambiguity, Credentials],
    incident: "",
    means: "A credential that was withdrawn or ran out still works, perhaps only in the middle of a run that began with a good one.",
    fix: "Check at every hop, not at the start of a session. Hold cached decisions to the tenant's revocations.",
    standards: &[
        row("OWASP MCP", "MCP01"),
        row("OWASP Agentic", "ASI03"),
        row("AISVS 1.0", "9.5.2"),
        row("AISVS 1.0", "9.5.4"),
        row("AISVS 1.0", "10.2.7"),
        row("AWS", "AGENTSEC03"),
        row("CWE", "613"),
    ],
};

/// Two credentials that disagree are refused.
pub static CONFLICT: Check = Check {
    id: "identity-conflict",
    title: "Two credentials that disagree are refused",
    surface: Surface::Identity,
    questions: &[Ambiguity],
    incident: "",
    means: "Two identities that disagree in one request are not refused: one of several parsers decides whose request it is, and the next one decides otherwise.",
    fix: "Collect every credential of a request and hold them against each other. Disagreement ends the request, with an entry in the audit log.",
    standards: &[
        row("OWASP MCP", "MCP01"),
        row("OWASP Agentic", "ASI03"),
        row("AISVS 1.0", "9.5.2"),
        row("AISVS 1.0", "9.5.4"),
        row("AISVS 1.0", "10.2.7"),
        row("AWS", "AGENTSEC03"),
        row("CWE", "436"),
    ],
};

/// A run does not go on under another's credential.
pub static SWAP: Check = Check {
    id: "identity-swap",
    title: "A run does not go on under another's credential",
    surface: Surface::Identity,
    questions: &[Ambiguity, Credentials],
    incident: "",
    means: "A conversation, a run or a job goes on under another tenant's credential: its context is then in the other one's prompt.",
    fix: "Bind every handle to its tenant when it is made, and check it at every use; when identity changes in the middle, stop.",
    standards: &[
        row("OWASP MCP", "MCP01"),
        row("OWASP Agentic", "ASI03"),
        row("AISVS 1.0", "9.5.2"),
        row("AISVS 1.0", "9.5.4"),
        row("AISVS 1.0", "10.2.7"),
        row("AWS", "AGENTSEC03"),
        row("AISVS 1.0", "5.2.1"),
        row("OWASP API 2023", "API1:2023"),
        row("CWE", "639"),
    ],
};

/// A header or an argument does not say whose a request is.
pub static TENANT_ARG: Check = Check {
    id: "tenant-arg",
    title: "A header or an argument does not say whose a request is",
    surface: Surface::Identity,
    questions: &[Ambiguity, Credentials],
    incident: "agent-bom #3238",
    means: "A header, a field or an argument says whose a request is, and is believed over the credential. Agents and models fill in arguments.",
    fix: "Take the tenant from the credential alone. What names a tenant besides is held against it, and refused if it disagrees.",
    standards: &[
        row("OWASP MCP", "MCP01"),
        row("OWASP Agentic", "ASI03"),
        row("AISVS 1.0", "9.5.2"),
        row("AISVS 1.0", "9.5.4"),
        row("AISVS 1.0", "10.2.7"),
        row("AWS", "AGENTSEC03"),
        row("CWE", "807"),
    ],
};

/// A credential counts whole.
pub static TOKEN_PREFIX: Check = Check {
    id: "token-prefix",
    title: "A credential counts whole",
    surface: Surface::Identity,
    questions: &[Credentials],
    incident: "LiteLLM CVE-2026-35030",
    means: "Only a part of a credential is looked at, for instance as the key of a cache of decisions: another one with the same beginning passes for it.",
    fix: "Key such caches by a digest of all bytes of the credential, and compare in constant time.",
    standards: &[
        row("OWASP MCP", "MCP01"),
        row("OWASP Agentic", "ASI03"),
        row("AISVS 1.0", "9.5.2"),
        row("AISVS 1.0", "9.5.4"),
        row("AISVS 1.0", "10.2.7"),
        row("AWS", "AGENTSEC03"),
        row("CWE", "287"),
    ],
};

/// One tenant's credential with another's name is refused.
pub static PLATFORM_SECRET: Check = Check {
    id: "platform-secret",
    title: "One tenant's credential with another's name is refused",
    surface: Surface::Identity,
    questions: &[Credentials],
    incident: "ServiceNow CVE-2025-12420",
    means: "A credential of one tenant and another's name, or the address of one of its people, act as that other one.",
    fix: "No secret of the whole platform as proof of a person or a tenant. The name comes out of the credential.",
    standards: &[
        row("OWASP MCP", "MCP01"),
        row("OWASP Agentic", "ASI03"),
        row("AISVS 1.0", "9.5.2"),
        row("AISVS 1.0", "9.5.4"),
        row("AISVS 1.0", "10.2.7"),
        row("AWS", "AGENTSEC03"),
        row("CWE", "290"),
    ],
};
