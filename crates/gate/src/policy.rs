//! The policies in force: loaded, validated, reloaded, and asked.

use std::{
    cell::LazyCell,
    fmt::{self, Write as _},
    io::Read as _,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use cedar_policy::{Authorizer, Decision, PolicySet, Response, ValidationMode, Validator};
use ids::ProviderId;
use lru::LruCache;
use parking_lot::Mutex;

use crate::{
    Error, Hop,
    words::{Actions, Facts, vocabulary},
};

/// The greatest size of a policy file, in bytes.
pub const MAX_POLICY_BYTES: u64 = 1 << 20;

/// Decisions remembered per policy set. An entry is about 100 bytes.
const DECISIONS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(16_383);

/// What holds where no policy file is configured. Grants are checked before, so this says:
/// whoever holds the grant may.
const BUILT_IN: &str = "@id(\"built-in\")\npermit (principal, action, resource);\n";

/// Which policies decided: BLAKE3 of their text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version([u8; 32]);

impl Version {
    /// Its bytes, for keys that must change with it.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&ids::text::hex(&self.0[..8]))
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What the policies say about one hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Allow,
    /// By these policies, or by none that permits.
    Deny(Arc<str>),
    /// A policy could not be evaluated. That is a denial: the policy may have been the one
    /// that forbids.
    Error(Arc<str>),
}

/// The policies in force, as an operator sees them.
#[derive(Clone, Debug)]
pub struct Described {
    /// Where they come from; nothing for the built-in one.
    pub path: Option<PathBuf>,
    /// Which they are.
    pub version: Version,
    /// How many.
    pub policies: usize,
    /// Whether decisions are remembered: not if a policy looks at `context`.
    pub remembered: bool,
    /// How many decisions were worked out, not remembered, since these are in force.
    pub evaluations: u64,
    /// Their text.
    pub text: String,
}

/// The policies, replaceable while serving.
#[derive(Debug)]
pub struct Policies {
    path: Option<PathBuf>,
    set: ArcSwap<Set>,
}

impl Policies {
    /// Without a policy file: whoever holds the grant may.
    #[must_use]
    pub fn built_in() -> Self {
        #[expect(clippy::expect_used, reason = "a constant, held valid by a test")]
        let set = Set::parse(BUILT_IN).expect("the built-in policy is valid");
        Self { path: None, set: ArcSwap::from_pointee(set) }
    }

    /// From a file.
    ///
    /// # Errors
    /// The file cannot be read, or a policy in it is malformed or does not fit the schema.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let set = Set::parse(&read(path)?)?;
        Ok(Self { path: Some(path.to_owned()), set: ArcSwap::from_pointee(set) })
    }

    /// Reads the file again. Hops in flight keep the decision they have.
    ///
    /// # Errors
    /// As [`Policies::load`]; what was in force stays in force.
    pub fn reload(&self) -> Result<Version, Error> {
        if let Some(path) = &self.path {
            self.set.store(Arc::new(Set::parse(&read(path)?)?));
        }
        Ok(self.version())
    }

    /// Which policies are in force.
    #[must_use]
    pub fn version(&self) -> Version {
        self.set.load().version
    }

    /// The policies in force, for an operator.
    #[must_use]
    pub fn describe(&self) -> Described {
        let set = self.set.load();
        Described {
            path: self.path.clone(),
            version: set.version,
            policies: set.policies.num_of_policies(),
            remembered: set.decisions.is_some(),
            evaluations: set.evaluations.load(Ordering::Relaxed),
            text: set.text.clone(),
        }
    }

    /// Decides, and says under which version. `fingerprint` stands for everything
    /// in `facts`. A hop that may go to several providers is permitted if it is for each.
    pub(crate) fn decide<'a>(
        &self,
        fingerprint: &[u8; 32],
        facts: impl FnOnce() -> Facts<'a>,
        hop: &Hop,
    ) -> (Verdict, Version) {
        let set = self.set.load();
        let facts = LazyCell::new(facts);
        let mut verdict = Verdict::Allow;
        let each = hop.providers.iter().map(Some);
        let none = hop.providers.is_empty().then_some(None);
        let most = if ids::planted::is("gate-first-provider-only") { 1 } else { usize::MAX };
        for provider in each.chain(none).take(most) {
            verdict = set.decide(fingerprint, &facts, hop, provider);
            if verdict != Verdict::Allow {
                break;
            }
        }
        (verdict, set.version)
    }
}

fn read(path: &Path) -> Result<String, Error> {
    let unreadable = |why: std::io::Error| Error::PolicyFile { path: path.to_owned(), why };
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_POLICY_BYTES + 1).read_to_string(&mut text))
        .map_err(unreadable)?;
    if text.len() as u64 > MAX_POLICY_BYTES {
        return Err(unreadable(std::io::Error::other("larger than 1 MiB")));
    }
    Ok(text)
}

/// One validated set of policies with the decisions that it made. The decisions go when the
/// set goes, so the version need not stand in their keys.
#[derive(Debug)]
struct Set {
    text: String,
    version: Version,
    policies: PolicySet,
    actions: Actions,
    authorizer: Authorizer,
    /// Absent if a decision may depend on more than the key says.
    decisions: Option<Mutex<LruCache<[u8; 32], Verdict>>>,
    evaluations: AtomicU64,
}

impl Set {
    fn parse(text: &str) -> Result<Self, Error> {
        let policies: PolicySet =
            text.parse().map_err(|errors| Error::PolicyInvalid(render(errors)))?;
        if policies.num_of_templates() > 0 {
            return Err(Error::PolicyInvalid(
                "templates (?principal, ?resource) would never be linked, so they are refused"
                    .to_owned(),
            ));
        }
        let checked =
            Validator::new(vocabulary().schema.clone()).validate(&policies, ValidationMode::Strict);
        // A warning is a policy that can never apply, or one that reads as something else
        // than it is. Both make a `forbid` a false comfort.
        if !checked.validation_passed_without_warnings() {
            let all = checked.validation_errors().map(|e| e.to_string());
            let all = all.chain(checked.validation_warnings().map(|w| w.to_string()));
            return Err(Error::PolicyInvalid(all.collect::<Vec<_>>().join("\n")));
        }
        // `context` is a word of the language: no policy can look at it without writing it.
        let remembers = !text.contains("context");
        Ok(Self {
            text: text.to_owned(),
            version: Version(*blake3::hash(text.as_bytes()).as_bytes()),
            actions: vocabulary().told_apart(&policies),
            policies,
            authorizer: Authorizer::new(),
            decisions: remembers.then(|| Mutex::new(LruCache::new(DECISIONS))),
            evaluations: AtomicU64::new(0),
        })
    }

    fn decide<'a, F: FnOnce() -> Facts<'a>>(
        &self,
        fingerprint: &[u8; 32],
        facts: &LazyCell<Facts<'a>, F>,
        hop: &Hop,
        provider: Option<&ProviderId>,
    ) -> Verdict {
        let Some(decisions) = self.decisions.as_ref().filter(|_| hop.is_bounded()) else {
            return self.evaluate(facts, hop, provider);
        };
        let key = decision_key(fingerprint, hop, provider);
        if let Some(verdict) = decisions.lock().get(&key) {
            return verdict.clone();
        }
        let verdict = self.evaluate(facts, hop, provider);
        decisions.lock().put(key, verdict.clone());
        verdict
    }

    fn evaluate(&self, facts: &Facts<'_>, hop: &Hop, provider: Option<&ProviderId>) -> Verdict {
        self.evaluations.fetch_add(1, Ordering::Relaxed);
        let (request, entities) = match vocabulary().question(&self.actions, facts, hop, provider) {
            Ok(question) => question,
            Err(why) => return Verdict::Error(why.into()),
        };
        let response = self.authorizer.is_authorized(&request, &self.policies, &entities);
        if !ids::planted::is("gate-cedar-error-allows")
            && let Some(error) = response.diagnostics().errors().next()
        {
            return Verdict::Error(error.to_string().into());
        }
        match response.decision() {
            Decision::Allow => Verdict::Allow,
            Decision::Deny => Verdict::Deny(self.determining(&response)),
        }
    }

    /// The policies that decided, by their `@id` where they have one.
    fn determining(&self, response: &Response) -> Arc<str> {
        let mut names: Vec<&str> = response
            .diagnostics()
            .reason()
            .map(|id| self.policies.annotation(id, "id").unwrap_or(id.as_ref()))
            .collect();
        if names.is_empty() {
            return "no policy permits".into();
        }
        names.sort_unstable();
        names.join(", ").into()
    }
}

/// All parse errors with their lines. Policies hold no secrets, so they may be quoted.
fn render(errors: cedar_policy::ParseErrors) -> String {
    let mut out = String::new();
    for error in errors.iter() {
        let _ = writeln!(out, "{error}");
    }
    out.truncate(out.trim_end().len());
    out
}

/// Everything a decision may depend on, in 32 bytes.
fn decision_key(fingerprint: &[u8; 32], hop: &Hop, provider: Option<&ProviderId>) -> [u8; 32] {
    let mut hash = blake3::Hasher::new();
    let sink = &mut |bytes: &[u8]| {
        hash.update(bytes);
    };
    if !ids::planted::is("gate-decision-cache-without-tenant") {
        ids::frame::field(sink, fingerprint);
    }
    ids::frame::field(sink, hop.grant().as_bytes());
    // The same action may be about entities of two kinds.
    ids::frame::field(sink, &[hop.resource as u8]);
    ids::frame::field(sink, hop.target.as_bytes());
    ids::frame::option(sink, provider.map(|provider| provider.as_str().as_bytes()));
    *hash.finalize().as_bytes()
}
