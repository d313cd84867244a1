//! What only an MCP server has: ids that models fill in, sessions, handles, lists.

use super::{Check, Surface, row};
use crate::questions::Question::{Ambiguity, Context, Credentials, Debugging};

/// Another's id opens nothing, however it is spelled.
pub static ID_SPELLING: Check = Check {
    id: "id-spelling",
    title: "Another's id opens nothing, however it is spelled",
    surface: Surface::Tools,
    questions: &[Context, Credentials],
    incident: "",
    means: "Who may have a record is asked of one reading of the id, and what is fetched is named by another one: trimmed, decoded, normalized, the second of two equal names, the last of a list.",
    fix: "Read arguments once and strictly, refusing equal names and what a schema does not have; look up and ask for the owner by the same value, and hold what comes back against its owner once more.",
    standards: &[
        row("AISVS 1.0", "5.2.1"),
        row("OWASP API 2023", "API1:2023"),
        row("CWE", "639"),
        row("CWE", "180"),
        row("OWASP MCP", "MCP07"),
    ],
};

/// An error tells nothing of another's record.
pub static ERROR_RECORD: Check = Check {
    id: "error-record",
    title: "An error tells nothing of another's record",
    surface: Surface::Tools,
    questions: &[Context, Debugging],
    incident: "agentgateway ExtMcp",
    means: "The error of a call for another's record quotes it, or is another one than for a record that is not there. Checks of results are often not done on errors.",
    fix: "Ask whose a record is before anything is said of it. Do every check of a result on errors, too, texts and data alike, and answer a foreign id as a missing one.",
    standards: &[
        row("CWE", "209"),
        row("CWE", "203"),
        row("OWASP MCP", "MCP10"),
        row("AISVS 1.0", "5.2.1"),
    ],
};

/// A session is a name and no right.
pub static SESSION_REUSE: Check = Check {
    id: "session-reuse",
    title: "A session is a name and no right",
    surface: Surface::Tools,
    questions: &[Credentials, Ambiguity],
    incident: "",
    means: "A session is found by its id, whoever asks: another tenant, or nobody at all, calls tools in it, listens to its stream, or ends it. Session ids are in logs and traces.",
    fix: "Prove who asks at every request and hold it against whoever opened the session; answer another's as one that nobody opened. Better, keep no sessions: MCP 2026-07-28 has none.",
    standards: &[
        row("OWASP MCP", "MCP07"),
        row("OWASP MCP", "MCP10"),
        row("AISVS 1.0", "10.2.1"),
        row("AISVS 1.0", "10.2.5"),
        row("AISVS 1.0", "10.2.6"),
        row("CWE", "384"),
    ],
};

/// A handle leads its owner alone anywhere.
pub static HANDLE_REUSE: Check = Check {
    id: "handle-reuse",
    title: "A handle leads its owner alone anywhere",
    surface: Surface::Tools,
    questions: &[Context, Credentials],
    incident: "",
    means: "A cursor, a resource's URI or the state of an interrupted call names where to go on, and is believed: with another's, one goes on in its list, its record, its call.",
    fix: "Seal handles for whom they were made, or look up what they name under the caller's tenant; answer another's as one that never was.",
    standards: &[
        row("AISVS 1.0", "5.2.1"),
        row("OWASP API 2023", "API1:2023"),
        row("CWE", "639"),
        row("OWASP MCP", "MCP10"),
    ],
};

/// A list is made for whoever asks.
pub static LIST_SCOPE: Check = Check {
    id: "list-scope",
    title: "A list is made for whoever asks",
    surface: Surface::Tools,
    questions: &[Context, Credentials],
    incident: "",
    means: "Lists of records, tools, resources or prompts hold what is another's, or are kept from one caller for the next one: the names alone tell what others have, and a tool that one sees one can call.",
    fix: "Make each list from what the caller's credential may use. Keep none under a key without the tenant, and say `cacheScope: private` of what is not the same for all.",
    standards: &[
        row("OWASP MCP", "MCP07"),
        row("OWASP MCP", "MCP10"),
        row("OWASP API 2023", "API5:2023"),
        row("AISVS 1.0", "5.3.1"),
        row("CWE", "524"),
    ],
};

/// A credential in an address counts for nothing.
pub static TOKEN_IN_ADDRESS: Check = Check {
    id: "token-in-address",
    title: "A credential in an address counts for nothing",
    surface: Surface::Identity,
    questions: &[Credentials],
    incident: "",
    means: "A credential is taken from the query of an address: it is then in the logs of every server and proxy on the way, and works for whoever reads these.",
    fix: "Take credentials from the Authorization header alone, as MCP's authorization requires; refuse a request that has one in its address, and withdraw the credential.",
    standards: &[row("OWASP MCP", "MCP01"), row("AISVS 1.0", "9.5.2"), row("CWE", "598")],
};
