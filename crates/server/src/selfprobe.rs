//! The deployment probed from outside, by two tenants of its own: when, by whom, and what came of
//! it last.
//!
//! This crate knows no prober. The binary brings one ([`Prober`]) and the provider that answers it
//! ([`reserve`]); from here it gets the addresses of both listeners and an operator's credential
//! that ends with the run, and does with these what any client could. What it needs, it makes by
//! the admin API, so each step is in the audit logs as anybody's would be.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use ids::{BoxFuture, Millis, OperatorName, RandomId, TenantId};
use model::{Provider, Route};
use parking_lot::Mutex;
use records::Audit;
use scope::{AuditSink as _, Entry, Kind, Right, Secret};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{App, Error, Settings};

/// What everything begins with that is for probing: tenants, providers, models, the operator.
pub const PREFIX: &str = "bulkhead-probe";
/// The two tenants.
pub const TENANTS: [&str; 2] = ["bulkhead-probe-a", "bulkhead-probe-b"];
/// Their environment, and another one from which nothing of it may be reached.
pub const ENVIRONMENTS: [&str; 2] = ["probe", "probe-other"];

/// How long after the start a scheduled run begins, at the earliest.
const SETTLING: Duration = Duration::from_secs(5);
/// How long a run may take.
const MOST: Duration = Duration::from_secs(15 * 60);
/// How long it may take to clear up once it was told to end.
const CLEARING: Duration = Duration::from_secs(20);
/// The life of the operator's credential: a run, its clearing up, and some time to spare.
const CREDENTIAL: Duration = Duration::from_secs(20 * 60);

/// How thorough a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Depth {
    /// Under a minute.
    #[default]
    Quick,
    /// Some minutes.
    Default,
    /// As long as it takes.
    Deep,
}

/// Who probes.
pub trait Prober: Send + Sync + 'static {
    /// Probes a deployment as its clients reach it, and removes what it left there. An error is
    /// why nothing came of it, in words.
    fn probe(&self, commission: Commission) -> BoxFuture<'static, Result<Outcome, String>>;
}

/// What a prober gets.
#[derive(Debug)]
pub struct Commission {
    /// Where the data plane is.
    pub data: Endpoint,
    /// Where the control plane is.
    pub control: Endpoint,
    /// The credential of an operator who may everything, and is nobody when the run is over.
    pub operator: Secret,
    /// How thorough to be.
    pub depth: Depth,
    /// Whether load may be made, to see whether it is felt elsewhere.
    pub flood: bool,
    /// These checks alone; all if there are none.
    pub only: Vec<String>,
    /// For orders and shuffles, if they are to be as they were.
    pub seed: Option<u64>,
    /// Set when the run has to end: what was left is removed still.
    pub stop: Arc<AtomicBool>,
    /// To be told how far it is.
    pub progress: Arc<Progress>,
}

/// One of the listeners, as it is reached from this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Scheme, name and port.
    pub url: String,
    /// With TLS: where that name is, and the PEM file with the certificate that it has to show.
    pub pinned: Option<(SocketAddr, std::path::PathBuf)>,
}

/// How far a run is.
#[derive(Debug, Default)]
pub struct Progress {
    done: AtomicU64,
    doing: Mutex<String>,
}

impl Progress {
    /// A check begins.
    pub fn begins(&self, check: &str) {
        check.clone_into(&mut self.doing.lock());
    }

    /// One ended.
    pub fn ended(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a run found.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Checks that found a leak.
    pub leaks: u64,
    /// Checks that showed nothing either way.
    pub not_proven: u64,
    /// Checks that found it isolated.
    pub isolated: u64,
    /// Requests that it took.
    pub requests: u64,
    /// Everything, in the prober's own form.
    pub report: Value,
}

/// A run that ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) id: RandomId,
    pub(crate) by: String,
    pub(crate) begun: Millis,
    pub(crate) ended: Millis,
    /// Or why nothing came of it.
    pub(crate) outcome: Result<Outcome, String>,
}

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct How {
    pub(crate) depth: Depth,
    pub(crate) flood: bool,
    pub(crate) only: Vec<String>,
    pub(crate) seed: Option<u64>,
}

/// A run that goes on.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) id: RandomId,
    /// Who asked for it: an operator, or the schedule.
    pub(crate) by: String,
    pub(crate) begun: Millis,
    pub(crate) how: How,
    progress: Arc<Progress>,
}

impl Run {
    /// How many checks are done, and which one goes on.
    pub(crate) fn progress(&self) -> (u64, String) {
        (self.progress.done.load(Ordering::Relaxed), self.progress.doing.lock().clone())
    }
}

#[derive(Debug, Default)]
struct State {
    /// From when it is asked for until it ended.
    running: Option<Run>,
    /// The last one, and the last one of which something came.
    last: Option<Arc<Ended>>,
    proven: Option<Arc<Ended>>,
    /// Runs that were clean, that leaked, that were not conclusive, that failed.
    ends: [u64; 4],
}

/// How runs end, as figures have it.
pub(crate) const ENDS: [&str; 4] = ["clean", "leak", "not_proven", "failed"];

/// The deployment's probing of itself.
#[derive(Default)]
pub(crate) struct SelfProbe {
    prober: OnceLock<Arc<dyn Prober>>,
    endpoints: OnceLock<[Endpoint; 2]>,
    state: Mutex<State>,
    wanted: Notify,
    /// Cancelled at shutdown.
    over: CancellationToken,
}

impl SelfProbe {
    pub(crate) fn set(&self, prober: Arc<dyn Prober>) {
        // The first one stays.
        let _ = self.prober.set(prober);
    }

    pub(crate) fn serves_at(&self, endpoints: [Endpoint; 2]) {
        // A deployment is served once.
        let _ = self.endpoints.set(endpoints);
    }

    pub(crate) fn is_there(&self) -> bool {
        self.prober.get().is_some()
    }

    pub(crate) fn running(&self) -> Option<Run> {
        self.state.lock().running.clone()
    }

    pub(crate) fn last(&self) -> Option<Arc<Ended>> {
        self.state.lock().last.clone()
    }

    /// The last run of which something came.
    pub(crate) fn proven(&self) -> Option<Arc<Ended>> {
        self.state.lock().proven.clone()
    }

    pub(crate) fn ends(&self) -> [u64; 4] {
        self.state.lock().ends
    }

    /// Asks for a run. `Err` is the one that goes on.
    pub(crate) fn want(&self, app: &App, by: String, how: How) -> Result<RandomId, RandomId> {
        let mut state = self.state.lock();
        if let Some(running) = &state.running {
            return Err(running.id);
        }
        let id = RandomId::draw(&*app.entropy);
        let (begun, progress) = (app.clock.now(), Arc::default());
        state.running = Some(Run { id, by, begun, how, progress });
        self.wanted.notify_one();
        Ok(id)
    }

    /// No more runs; the one that goes on clears up.
    pub(crate) fn end(&self) {
        self.over.cancel();
    }

    fn ended(&self, run: Run, ended: Millis, outcome: Result<Outcome, String>) {
        let which = match &outcome {
            Err(_) => 3,
            Ok(Outcome { leaks: 1.., .. }) => 1,
            Ok(Outcome { not_proven: 1.., .. }) => 2,
            Ok(_) => 0,
        };
        let Run { id, by, begun, .. } = run;
        let ended = Arc::new(Ended { id, by, begun, ended, outcome });
        let mut state = self.state.lock();
        state.ends[which] += 1;
        if ended.outcome.is_ok() {
            state.proven = Some(Arc::clone(&ended));
        }
        state.last = Some(ended);
        state.running = None;
    }
}

/// Takes a provider and its models into the settings for the two tenants alone. Nobody else can
/// use them, whatever credential an operator gives them, or is told that they are there.
///
/// # Errors
/// A name that does not begin with [`PREFIX`].
pub fn reserve(
    settings: &mut Settings,
    providers: Vec<Provider>,
    routes: Vec<Route>,
) -> Result<(), Error> {
    let ours = |name: &str| match name.starts_with(PREFIX) {
        true => Ok(()),
        false => Err(Error::settings("probe", format!("{name} does not begin with {PREFIX}"))),
    };
    let tenants: Vec<TenantId> =
        TENANTS.iter().filter_map(|name| TenantId::parse(name).ok()).collect();
    for mut provider in providers {
        ours(provider.id.as_str())?;
        provider.only.clone_from(&tenants);
        settings.model.providers.push(provider);
    }
    for route in routes {
        route.names().try_for_each(|name| ours(name.as_str()))?;
        settings.model.routes.push(route);
    }
    Ok(())
}

/// Whether a name is the deployment's own.
pub(crate) fn is_reserved(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// How a listener is reached from this machine. A certificate is for a name, so with TLS it is
/// asked for by the first one that the configuration has.
pub(crate) fn endpoint(listener: &crate::Listener, at: SocketAddr) -> Endpoint {
    let ip = match at.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let at = SocketAddr::new(ip, at.port());
    let Some(tls) = &listener.tls else {
        return Endpoint { url: format!("http://{at}"), pinned: None };
    };
    let host = listener.hosts.first().map_or("localhost", String::as_str);
    let url = format!("https://{host}:{}", at.port());
    Endpoint { url, pinned: Some((at, tls.certificate.clone())) }
}

/// Runs what is asked for and what is due, one after the other, until the server ends.
pub(crate) async fn tend(app: Arc<App>) {
    let own = &app.selfprobe;
    if !own.is_there() {
        return own.over.cancelled().await;
    }
    let settings = app.settings.probe.clone();
    let every = (settings.every_seconds > 0).then(|| Duration::from_secs(settings.every_seconds));
    let mut next = every.map(|every| every.min(SETTLING));
    loop {
        let due = async {
            match next {
                Some(next) => tokio::time::sleep(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = own.over.cancelled() => return,
            () = own.wanted.notified() => {}
            () = due => {
                // One that is asked for just now is as good.
                let (depth, flood) = (settings.depth, settings.flood);
                let how = How { depth, flood, ..How::default() };
                let _ = own.want(&app, "schedule".into(), how);
            }
        }
        let Some(run) = own.running() else { continue };
        let outcome = whole(&app, &run).await;
        tell(&run, &outcome);
        own.ended(run, app.clock.now(), outcome);
        next = every;
    }
}

fn tell(run: &Run, outcome: &Result<Outcome, String>) {
    let id = run.id.to_string();
    match outcome {
        Err(why) => tracing::warn!(run = id, why, "the deployment could not be probed"),
        Ok(Outcome { leaks, not_proven, isolated, .. }) if *leaks > 0 => {
            tracing::error!(
                run = id,
                leaks,
                not_proven,
                isolated,
                "the deployment leaks: see `bulkhead probe --self`"
            );
        }
        Ok(Outcome { leaks, not_proven, isolated, .. }) => {
            tracing::info!(run = id, leaks, not_proven, isolated, "the deployment was probed");
        }
    }
}

/// One run, with a credential that nobody has before and after it.
async fn whole(app: &Arc<App>, run: &Run) -> Result<Outcome, String> {
    let own = &app.selfprobe;
    let (Some(prober), Some([data, control])) = (own.prober.get(), own.endpoints.get()) else {
        return Err("nothing is served yet".into());
    };
    let operator = enlist(app, run).await?;
    let stop = Arc::<AtomicBool>::default();
    let commission = Commission {
        data: data.clone(),
        control: control.clone(),
        operator,
        depth: run.how.depth,
        flood: run.how.flood,
        only: run.how.only.clone(),
        seed: run.how.seed,
        stop: Arc::clone(&stop),
        progress: Arc::clone(&run.progress),
    };
    let probing = prober.probe(commission);
    tokio::pin!(probing);
    let early = tokio::select! {
        biased;
        outcome = &mut probing => Some(outcome),
        () = own.over.cancelled() => None,
        () = tokio::time::sleep(MOST) => None,
    };
    let outcome = match early {
        Some(outcome) => outcome,
        None => {
            stop.store(true, Ordering::Relaxed);
            let clearing = tokio::time::timeout(CLEARING, probing).await;
            clearing.unwrap_or_else(|_| Err("it did not end in time".into()))
        }
    };
    dismiss(app, run, &outcome).await?;
    outcome
}

fn name() -> Result<OperatorName, String> {
    OperatorName::parse(PREFIX).map_err(|why| why.to_string())
}

/// Makes the operator, after saying so in the audit log.
async fn enlist(app: &App, run: &Run) -> Result<Secret, String> {
    let name = name()?;
    // Of a process that was killed.
    if let Err(error) = app.registry.remove_operator(&name).await {
        tracing::debug!(%error, "there was no operator of an earlier run");
    }
    let depth = format!("{:?}", run.how.depth).to_lowercase();
    let entry = Entry::allowed(&run.by, "probe.begin", PREFIX)
        .with("run", run.id)
        .with("depth", depth)
        .with("operator", &name);
    note(&app.audit, app, entry).await?;
    let secret = Secret::draw(Kind::Operator, &*app.entropy);
    let new = directory::NewOperator {
        digest: app.doors.digester().digest(secret.expose()),
        name,
        rights: vec![Right::Read, Right::Write, Right::Enter],
        expires: Some(app.clock.now().plus(CREDENTIAL)),
    };
    app.registry.create_operator(new).await.map_err(|why| why.to_string())?;
    Ok(secret)
}

/// Ends the operator's credential, and records what came of the run.
async fn dismiss(app: &App, run: &Run, outcome: &Result<Outcome, String>) -> Result<(), String> {
    let removed = app.registry.remove_operator(&name()?).await;
    let entry = Entry::allowed(&run.by, "probe.end", PREFIX).with("run", run.id);
    let entry = match outcome {
        Ok(Outcome { leaks, not_proven, isolated, .. }) => {
            entry.with("leaks", leaks).with("not_proven", not_proven).with("isolated", isolated)
        }
        Err(why) => entry.with("failed", why.chars().take(200).collect::<String>()),
    };
    note(&app.audit, app, entry).await?;
    removed.map(drop).map_err(|why| format!("its operator could not be removed: {why}"))
}

async fn note(audit: &Audit, app: &App, entry: Entry) -> Result<(), String> {
    audit.record_deployment(&app.system, entry).await.map_err(|why| why.to_string())
}

#[cfg(test)]
mod tests {
    use ids::ProviderId;
    use model::Kind;

    use super::*;
    use crate::{Listener, Tls};

    #[test]
    fn listeners_are_reached_on_this_machine() {
        let plain = Listener::default();
        for (bound, url) in [
            ("127.0.0.1:9", "http://127.0.0.1:9"),
            ("0.0.0.0:9", "http://127.0.0.1:9"),
            ("[::]:9", "http://[::1]:9"),
            ("10.0.0.7:9", "http://10.0.0.7:9"),
        ] {
            let at = endpoint(&plain, bound.parse().unwrap());
            assert_eq!((at.url.as_str(), at.pinned), (url, None));
        }
        let tls = Some(Tls { certificate: "c.pem".into(), key: "k.pem".into() });
        let named = Listener { tls, hosts: vec!["agents.example".into()], ..plain };
        let at = endpoint(&named, "0.0.0.0:9".parse().unwrap());
        assert_eq!(at.url, "https://agents.example:9");
        assert_eq!(at.pinned, Some(("127.0.0.1:9".parse().unwrap(), "c.pem".into())));
    }

    #[test]
    fn what_is_reserved_is_named_so_and_for_two_tenants() {
        let provider = |id: &str| {
            Provider::new(ProviderId::parse(id).unwrap(), Kind::Openai, "http://[::1]:9")
        };
        let mut settings = Settings::default();
        assert!(reserve(&mut settings, vec![provider("openai")], Vec::new()).is_err());
        reserve(&mut settings, vec![provider("bulkhead-probe-x")], Vec::new()).unwrap();
        settings.check().unwrap();
        let reserved = &settings.model.providers[0];
        for tenant in TENANTS {
            assert!(reserved.serves(&TenantId::parse(tenant).unwrap()));
        }
        assert!(!reserved.serves(&TenantId::parse("acme").unwrap()));
        // Nobody's files go there.
        assert!(settings.model.resources().unwrap().is_none());
    }
}
