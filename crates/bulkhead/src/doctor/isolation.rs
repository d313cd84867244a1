//! What is isolated at the providers, and what is not: as the configuration has it, and as the
//! credentials are.

use model::{HandlePolicy, Kind, Provider, RouteTarget, Settings};
use serde::Deserialize;

use super::Finding;

/// Similarities below which questions that differ in what matters are met (see docs/cache.md).
const LOOSE: f32 = 0.95;

/// Secrets at one provider that several hold, or may.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Shared {
    /// At which provider; unknown for what an older version stored.
    pub(super) provider: Option<String>,
    /// How many.
    #[serde(default)]
    pub(super) secrets: u64,
    /// How many tenants' environments hold one.
    pub(super) units: u64,
}

/// What the configuration says of providers and routes.
pub(super) fn configured(settings: &Settings) -> Vec<Finding> {
    let mut findings: Vec<Finding> = settings.providers.iter().flat_map(provider).collect();
    findings.extend(hosted_tools(settings));
    findings.extend(settings.routes.iter().filter_map(|route| {
        let semantic = route.semantic.as_ref()?;
        (semantic.threshold.as_f32() < LOOSE).then(|| {
            Finding::warning(
                "semantic cache",
                format!("{}: a threshold of {}", route.name, semantic.threshold),
                format!(
                    "questions that ask for different things can be that alike: {LOOSE} or more,\nunless your own pairs say otherwise"
                ),
            )
        })
    }));
    findings.extend(settings.routes.iter().filter_map(|route| {
        let targets = route.all_targets();
        let apart = strangers(settings, &targets)?;
        Some(Finding::warning(
            "fallback",
            format!("{}: {apart} have no endpoint in common", route.name),
            "neither answers for the other: make two routes of it",
        ))
    }));
    findings.extend(resources(settings));
    findings
}

fn provider(provider: &Provider) -> Vec<Finding> {
    let id = &provider.id;
    let mut findings = Vec::new();
    if provider.external_kv_tiers {
        findings.push(Finding::warning(
            "prompt cache",
            format!("{id}: external KV tiers ignore the salt (SGLang #37160)"),
            "whoever shares a credential there may see by the time of an answer what others asked:\nturn the tiers off, or run one server for each tenant",
        ));
    }
    // Whose the credential is means nothing to a server of one's own: its cache is one.
    let one_cache = provider.kind.is_engine();
    if one_cache && !provider.salts_prompts() {
        findings.push(Finding::warning(
            "prompt cache",
            format!("{id}: its `marks` have no salt: a shared prompt-cache domain of all tenants"),
            "one server is one cache, whatever their credentials: take the line out, and the salt of\nits kind is sent again",
        ));
    }
    let emptied = provider.marks.as_ref().is_some_and(Vec::is_empty);
    if emptied && !one_cache && provider.kind != Kind::OpenaiCompatible {
        findings.push(Finding::warning(
            "marks",
            format!("{id}: `marks = []`: it is not told whose a request is"),
            "what one tenant does is put down to all who share its credential: take the line out",
        ));
    }
    if provider.handles == HandlePolicy::Account {
        findings.push(Finding::warning(
            "handles",
            format!("{id}: `handles = \"account\"`: any id of a tenant's own account is taken"),
            "two environments of one tenant with keys of one account reach each other's files and\nresponses; \"owned\" keeps them apart",
        ));
    }
    findings
}

fn hosted_tools(settings: &Settings) -> Option<Finding> {
    let allowed: Vec<String> = settings
        .routes
        .iter()
        .filter(|route| !route.hosted_tools.is_empty())
        .map(|route| format!("{} ({})", route.name, route.hosted_tools.join(", ")))
        .collect();
    (!allowed.is_empty()).then(|| {
        Finding::warning(
            "hosted tools",
            format!("run by the provider, past this machine: {}", allowed.join(", ")),
            "what they fetch and do is neither policed nor recorded here: allow what is needed",
        )
    })
}

/// Two targets of a route that serve nothing in common.
fn strangers(settings: &Settings, targets: &[RouteTarget]) -> Option<String> {
    let known = |target: &RouteTarget| {
        settings.providers.iter().find(|provider| provider.id == target.provider)
    };
    let all: Vec<&Provider> = targets.iter().filter_map(known).collect();
    let apart = |a: &Provider, b: &Provider| !a.apis().iter().any(|api| b.apis().contains(api));
    let (first, rest) = all.split_first()?;
    rest.iter()
        .find(|other| apart(first, other))
        .map(|other| format!("{} and {}", first.id, other.id))
}

fn resources(settings: &Settings) -> Option<Finding> {
    let keeping: Vec<&str> = settings
        .providers
        .iter()
        .filter(|provider| provider.kind.keeps_files())
        .map(|provider| provider.id.as_str())
        .collect();
    (settings.resources.is_none() && keeping.len() > 1).then(|| {
        Finding::warning(
            "files, batches",
            format!("off: it is not said which of {} keeps them", keeping.join(", ")),
            "set `resources` in [model], or leave them off",
        )
    })
}

/// Which providers have secrets that are shared, and what that means there.
pub(super) fn shared(settings: &Settings, all: &[Shared]) -> Vec<Finding> {
    if all.is_empty() {
        return vec![Finding::good("accounts", "no secret at a provider is shared")];
    }
    all.iter().map(|one| of_shared(settings, one)).collect()
}

fn of_shared(settings: &Settings, shared: &Shared) -> Finding {
    let Shared { provider, secrets, units } = shared;
    let held = format!(
        "{secrets} {}, held by {units} {} of tenants",
        plural(*secrets, "secret"),
        plural(*units, "environment")
    );
    let Some(id) = provider else {
        return Finding::warning(
            "accounts",
            format!("{held}; an older version stored it, and did not note for which provider"),
            "store them again (`bulkhead credential set`), and it is said which",
        );
    };
    let known = settings.providers.iter().find(|provider| provider.id.as_str() == id);
    match known {
        Some(provider) if provider.salts_prompts() && !provider.external_kv_tiers => Finding::good(
            "accounts",
            format!("{id}: {held}; its prompt cache is salted for each tenant and environment"),
        ),
        Some(provider) => {
            let kind = provider.kind.as_str();
            Finding::warning(
                "accounts",
                format!("{id} is a shared prompt-cache domain ({kind}): {held}"),
                "those who hold it may see by the time of an answer what others asked, and share rate\nlimits and bill: give each tenant its own secret, or a kind that takes a salt (vllm, sglang)",
            )
        }
        None => Finding::warning(
            "accounts",
            format!("{id} is a shared prompt-cache domain: {held}; its kind is not known here"),
            "give each tenant its own secret; `bulkhead credential list` says who shares",
        ),
    }
}

fn plural(count: u64, word: &str) -> String {
    if count == 1 { word.to_owned() } else { format!("{word}s") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    fn settings(text: &str) -> Settings {
        let text: String = text.split('|').map(|line| format!("{line}\n")).collect();
        let parsed = crate::config::parse(std::path::Path::new("b.toml"), &text).unwrap();
        parsed.model
    }

    /// Providers `a` and `b` with these lines in `a`, and a route to both.
    fn with(a: &str, b: &str, route: &str) -> Settings {
        settings(&format!(
            "[[model.providers]]|id = \"a\"|base_url = \"https://a.example/v1\"|{a}|\
             [[model.providers]]|id = \"b\"|base_url = \"https://b.example/v1\"|{b}|\
             [[model.routes]]|name = \"m\"|targets = [{{ provider = \"a\" }}, {{ provider = \"b\" }}]|{route}"
        ))
    }

    const OPENAI: &str = "kind = \"openai\"";
    const VLLM: &str = "kind = \"vllm\"";
    const SGLANG: &str = "kind = \"sglang\"";

    #[test]
    fn what_a_configuration_gives_up_is_told() {
        let also = |kind: &str, more: &str| format!("{kind}|{more}");
        let cases: &[(String, &str, &str, Option<&str>)] = &[
            (VLLM.into(), VLLM, "", None),
            (also(SGLANG, "external_kv_tiers = true"), VLLM, "", Some("SGLang #37160")),
            (also(VLLM, "marks = []"), VLLM, "", Some("a: its `marks` have no salt")),
            (also(SGLANG, "marks = [\"user\"]"), VLLM, "", Some("a: its `marks` have no salt")),
            (also(OPENAI, "marks = []"), VLLM, "", Some("a: `marks = []`")),
            ("marks = []".into(), VLLM, "", None),
            (also(OPENAI, "handles = \"account\""), VLLM, "", Some("any id of a tenant's own")),
            (VLLM.into(), VLLM, "hosted_tools = [\"web_search\"]", Some("m (web_search)")),
            (OPENAI.into(), "kind = \"anthropic\"", "", Some("a and b have no endpoint in common")),
            (OPENAI.into(), OPENAI, "", Some("which of a, b keeps them")),
        ];
        for (a, b, route, told) in cases {
            let findings = configured(&with(a, b, route));
            let all: Vec<&str> = findings.iter().map(|finding| finding.detail.as_str()).collect();
            match told {
                Some(told) => assert!(all.len() == 1 && all[0].contains(told), "{a} {b}: {all:?}"),
                None => assert!(all.is_empty(), "{a} {b}: {all:?}"),
            }
        }
    }

    #[test]
    fn a_loose_threshold_is_told() {
        for (threshold, count) in [("0.9", 1), ("0.95", 0)] {
            let semantic = format!(
                "cache = {{ ttl_seconds = 60 }}|semantic = {{ embeddings = \"m\", threshold = {threshold} }}"
            );
            assert_eq!(configured(&with(VLLM, VLLM, &semantic)).len(), count, "{threshold}");
        }
    }

    #[test]
    fn a_shared_secret_is_a_shared_prompt_cache_where_there_is_no_salt() {
        let shared = |provider: Option<&str>| {
            vec![Shared { provider: provider.map(str::to_owned), secrets: 1, units: 3 }]
        };
        let domain = "a is a shared prompt-cache domain";
        for (a, provider, state, told) in [
            (OPENAI, Some("a"), State::Warning, domain),
            ("kind = \"azure-openai\"", Some("a"), State::Warning, domain),
            ("kind = \"anthropic\"", Some("a"), State::Warning, domain),
            ("kind = \"openai-compatible\"", Some("a"), State::Warning, domain),
            ("kind = \"openai\"|marks = [\"cache-salt\"]", Some("a"), State::Warning, domain),
            (VLLM, Some("a"), State::Good, "salted"),
            (SGLANG, Some("a"), State::Good, "salted"),
            ("marks = [\"tenant-header\"]", Some("a"), State::Good, "salted"),
            ("kind = \"vllm\"|marks = [\"user\"]", Some("a"), State::Warning, domain),
            ("kind = \"sglang\"|external_kv_tiers = true", Some("a"), State::Warning, domain),
            (VLLM, Some("gone"), State::Warning, "gone is a shared prompt-cache domain"),
            (VLLM, None, State::Warning, "older version"),
        ] {
            let found = super::shared(&with(a, VLLM, ""), &shared(provider));
            assert_eq!((found.len(), found[0].state()), (1, state), "{a} {provider:?}");
            assert!(found[0].detail.contains(told), "{a} {provider:?}: {}", found[0].detail);
        }
        let none = super::shared(&with(OPENAI, VLLM, ""), &[]);
        assert_eq!((none.len(), none[0].state()), (1, State::Good));
    }
}
