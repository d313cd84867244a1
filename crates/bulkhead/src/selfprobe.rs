//! The deployment probes itself: who does it, and what it needs for that.
//!
//! The prober runs on a thread and a runtime of its own and knows the deployment by its two
//! addresses, as any client does. Everything it needs it makes by the admin API, as the operator
//! of this one run: two tenants, their credentials at the stand-in, tokens. When it is done, every
//! credential of theirs is void and they are suspended until the next time.

mod cast;

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, TryLockError},
};

use anyhow::{Context as _, Result};
use futures_util::FutureExt as _;
use ids::{BoxFuture, ProviderId, RouteName};
use model::{Api, CacheRoute, Kind, Provider, Retries, Route, SemanticRoute, Threshold};
use probe::{Finding, Plan, Verdict, catalog::Check};
use server::{
    Settings,
    selfprobe::{Commission, Depth, Outcome, Prober, Progress, reserve},
};

use self::cast::Cast;
use crate::{
    print,
    standin::{ENGINE, Manner, StandIn},
};

/// The providers, each with what it is.
const PROVIDERS: [(&str, Kind); 4] = [
    ("bulkhead-probe-openai", Kind::Openai),
    ("bulkhead-probe-anthropic", Kind::Anthropic),
    ("bulkhead-probe-vllm", Kind::Vllm),
    (MEASURES, Kind::OpenaiCompatible),
];
/// What makes vectors, and nothing else: of memories, too, whatever others have for that.
const MEASURES: &str = "bulkhead-probe-embeddings";

/// Chat, responses, files, batches; answers are kept.
pub(crate) const CHAT: &str = "bulkhead-probe-chat";
/// The same, and similar questions are answered.
pub(crate) const SIMILAR: &str = "bulkhead-probe-similar";
/// Anthropic's messages; answers are kept.
pub(crate) const MESSAGE: &str = "bulkhead-probe-message";
/// An engine of one's own, whose prompts are cached.
pub(crate) const OWN_ENGINE: &str = "bulkhead-probe-engine";
/// Embeddings.
pub(crate) const EMBED: &str = "bulkhead-probe-embed";

/// How long an answer is kept: for a run and no longer.
const KEPT: u64 = 300;

/// Who probes this deployment.
pub(crate) struct SelfProber {
    standin: Arc<StandIn>,
    /// Held by the thread of a run to its end, which may be after nobody waits for it any more:
    /// two at once would void each other's credentials and find each other's words.
    one: Arc<Mutex<()>>,
}

impl SelfProber {
    /// Starts the stand-in, and takes it into the settings for the two tenants alone.
    pub(crate) async fn prepare(settings: &mut Settings) -> Result<Self> {
        let standin = StandIn::start(Manner::Probed, Vec::new()).await?;
        let (providers, routes) = estate(&standin.url())?;
        reserve(settings, providers, routes)?;
        Ok(Self { standin: Arc::new(standin), one: Arc::default() })
    }
}

/// Providers and routes that lead to the stand-in.
fn estate(url: &str) -> Result<(Vec<Provider>, Vec<Route>)> {
    let mut providers = Vec::new();
    for (id, kind) in PROVIDERS {
        let mut provider = Provider::new(ProviderId::parse(id)?, kind, url);
        provider.retries = Retries { most: 0, ..Retries::default() };
        if id == MEASURES {
            provider.apis = Some(vec![Api::Embeddings]);
        }
        providers.push(provider);
    }
    let route = |name: &str, provider: &str, upstream: &str, kept: bool| -> Result<Route> {
        let mut route = Route::new(RouteName::parse(name)?, ProviderId::parse(provider)?);
        route.upstream_model = Some(upstream.to_owned());
        let cache = CacheRoute { ttl_seconds: KEPT, max_value_bytes: 1 << 20, wait_ms: 5_000 };
        route.cache = kept.then_some(cache);
        Ok(route)
    };
    let [openai, anthropic, vllm, measures] = PROVIDERS.map(|(id, _)| id);
    let mut similar = route(SIMILAR, openai, "stand-in", true)?;
    similar.semantic = Some(SemanticRoute {
        embeddings: RouteName::parse(EMBED)?,
        threshold: Threshold::default(),
        across_subjects: false,
    });
    let routes = vec![
        route(CHAT, openai, "stand-in", true)?,
        similar,
        route(MESSAGE, anthropic, "stand-in", true)?,
        route(OWN_ENGINE, vllm, ENGINE, false)?,
        route(EMBED, measures, "stand-in-embeddings", false)?,
    ];
    Ok((providers, routes))
}

impl Prober for SelfProber {
    fn probe(&self, commission: Commission) -> BoxFuture<'static, Result<Outcome, String>> {
        let (tells, told) = tokio::sync::oneshot::channel();
        let (standin, one) = (Arc::clone(&self.standin), Arc::clone(&self.one));
        let thread = std::thread::Builder::new().name("bulkhead-probe".into()).spawn(move || {
            let run = || apart(&standin, &commission);
            let outcome = alone(&one, run).map_err(|why| cause(&why));
            // Nobody waits any more, perhaps.
            let _ = tells.send(outcome);
        });
        Box::pin(async move {
            thread.map_err(|why| format!("no thread for it: {why}"))?;
            told.await.unwrap_or_else(|_| Err("the prober panicked".into()))
        })
    }
}

/// An error with its causes, on one line.
fn cause(error: &anyhow::Error) -> String {
    print::tame(&format!("{error:#}"))
}

/// Does it, unless an earlier one goes on still. It is over before its outcome is told.
fn alone<T>(one: &Mutex<()>, run: impl FnOnce() -> Result<T>) -> Result<T> {
    let _only = match one.try_lock() {
        Ok(only) => only,
        // One that panicked has ended, too.
        Err(TryLockError::Poisoned(only)) => only.into_inner(),
        Err(TryLockError::WouldBlock) => anyhow::bail!("an earlier run has not ended"),
    };
    run()
}

/// One run, on this thread.
fn apart(standin: &StandIn, commission: &Commission) -> Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("a runtime for it")?.block_on(whole(standin, commission))
}

/// Everything in its order; what was made is void at the end, whatever came of it, a panic too.
async fn whole(standin: &StandIn, commission: &Commission) -> Result<Outcome> {
    let cast = Cast::of(commission)?;
    let probed = async {
        let plan = cast.enter(standin).await?;
        probed(&plan, commission).await
    };
    let outcome = unbroken(probed).await;
    standin.open(Vec::new());
    let left = cast.leave().await;
    let outcome = outcome?;
    left.context("its tenants could not be suspended")?;
    Ok(outcome)
}

/// A panic in it is an error of it, so that what comes after is done all the same.
async fn unbroken<T>(probed: impl Future<Output = Result<T>>) -> Result<T> {
    // Of what it had in hand nothing is looked at afterwards: locks are taken as they were left.
    let ended = AssertUnwindSafe(probed).catch_unwind().await;
    ended.unwrap_or_else(|_| Err(anyhow::anyhow!("the prober panicked")))
}

async fn probed(plan: &Plan, commission: &Commission) -> Result<Outcome> {
    let options = probe::Options {
        depth: match commission.depth {
            Depth::Quick => probe::Depth::Quick,
            Depth::Default => probe::Depth::Default,
            Depth::Deep => probe::Depth::Deep,
        },
        authorized: true,
        allow_flood: commission.flood,
        only: match commission.only.is_empty() {
            true => wanted(commission.flood),
            false => commission.only.clone(),
        },
        seed: commission.seed.unwrap_or_else(chance),
        stop: Arc::clone(&commission.stop),
        foresee: false,
        source: probe::Source::Own,
        ..probe::Options::default()
    };
    let report = probe::run(plan, options, &Watched(&commission.progress)).await?;
    let count = |verdict| u64::try_from(report.count(verdict)).unwrap_or(u64::MAX);
    Ok(Outcome {
        leaks: count(Verdict::Leak),
        not_proven: count(Verdict::NotProven),
        isolated: count(Verdict::Isolated),
        requests: report.spent.requests,
        report: serde_json::to_value(&report).context("the report")?,
    })
}

/// A new order each time.
fn chance() -> u64 {
    let mut bytes = [0; 8];
    ids::Entropy::fill(&ids::OsEntropy, &mut bytes);
    u64::from_le_bytes(bytes)
}

/// Every check; the one that makes load only if it may.
fn wanted(flood: bool) -> Vec<String> {
    if flood {
        return Vec::new();
    }
    let load = probe::catalog::NOISY_NEIGHBOUR.id;
    let quiet = probe::catalog::CHECKS.iter().filter(|check| check.id != load);
    quiet.map(|check| check.id.to_owned()).collect()
}

/// Tells the server how far it is.
struct Watched<'a>(&'a Progress);

impl probe::Progress for Watched<'_> {
    fn begins(&self, _: &str, check: &'static Check) {
        self.0.begins(check.id);
    }

    fn ended(&self, _: &Finding) {
        self.0.ended();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_for_probing_fits_into_any_settings() {
        let mut settings = Settings::default();
        let (providers, routes) = estate("http://127.0.0.1:9/v1").unwrap();
        reserve(&mut settings, providers, routes).unwrap();
        settings.check().unwrap();
        assert!(settings.model.providers.iter().all(|provider| !provider.only.is_empty()));
    }

    /// What no tenant may use is tried as a tenant, all of it.
    #[test]
    fn the_prober_knows_every_route_of_the_control_plane() {
        use std::collections::BTreeSet;

        use server::routes::{Need, Plane, ROUTES};
        let guarded = ROUTES
            .iter()
            .filter(|route| route.plane == Plane::Control && route.need() != Need::Nothing);
        let guarded: BTreeSet<_> = guarded.map(|route| (route.method, route.path)).collect();
        let tried: BTreeSet<_> = probe::CONTROL_ROUTES.iter().copied().collect();
        assert_eq!(guarded, tried);
    }

    #[test]
    fn a_run_that_goes_on_keeps_the_next_one_from_starting() {
        let one = Mutex::new(());
        let why = alone(&one, || {
            let next: Result<()> = alone(&one, || panic!("it started"));
            Ok(next.unwrap_err().to_string())
        });
        assert_eq!(why.unwrap(), "an earlier run has not ended");
        // One that panicked has ended.
        std::thread::scope(|scope| {
            scope.spawn(|| alone::<()>(&one, || panic!("for the test"))).join().unwrap_err();
        });
        assert_eq!(alone(&one, || Ok(7)).unwrap(), 7);
    }

    #[tokio::test]
    async fn a_panic_is_an_error() {
        let why = unbroken::<()>(async { panic!("for the test") }).await.unwrap_err();
        assert_eq!(why.to_string(), "the prober panicked");
        assert_eq!(unbroken(async { Ok(7) }).await.unwrap(), 7);
    }

    #[test]
    fn load_is_made_only_if_it_may_be() {
        assert!(wanted(true).is_empty());
        let quiet = wanted(false);
        assert_eq!(quiet.len(), probe::catalog::CHECKS.len() - 1);
        assert!(!quiet.contains(&"noisy-neighbour".to_owned()));
    }
}
