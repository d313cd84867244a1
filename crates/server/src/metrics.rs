//! Figures for Prometheus. Exact figures per tenant come from its records; here the number of
//! tenants with a label of their own is bounded, and the rest is `other`.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ids::TenantId;
use parking_lot::{Mutex, RwLock};
use records::Event;
use tokio::sync::Semaphore;

use crate::{
    Plane,
    routes::{ROUTES, Watching},
};

/// Upper bounds of the latency histogram, in seconds.
const BOUNDS: [f64; 14] =
    [0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 120.0];

/// The end of a request, as it is counted.
pub(crate) struct Ended {
    pub(crate) route: Option<usize>,
    pub(crate) plane: Plane,
    pub(crate) status: u16,
    pub(crate) took: Duration,
}

/// A hop of a proven tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct HopKind {
    pub(crate) grant: &'static str,
    pub(crate) decision: Decision,
    /// Empty for a hop that was let through.
    pub(crate) code: &'static str,
}

/// How a hop ended, as far as is known when its answer begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Decision {
    Allowed,
    Denied,
    /// It was let through, and failed here or at the provider.
    Failed,
}

impl Decision {
    const fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Failed => "failed",
        }
    }
}

/// On which plane, by which route, with which status.
type Answered = (Plane, Option<usize>, u16);

/// What is counted of one tenant, or of all others together.
#[derive(Debug, Default)]
struct Figures {
    hops: Mutex<BTreeMap<HopKind, u64>>,
    moved: Moved,
}

/// What hops moved, as providers count it.
#[derive(Debug, Default)]
struct Moved {
    tokens_in: AtomicU64,
    tokens_out: AtomicU64,
}

impl Moved {
    fn add(&self, tokens_in: u64, tokens_out: u64) {
        self.tokens_in.fetch_add(tokens_in, Ordering::Relaxed);
        self.tokens_out.fetch_add(tokens_out, Ordering::Relaxed);
    }

    fn read(&self) -> (u64, u64) {
        (self.tokens_in.load(Ordering::Relaxed), self.tokens_out.load(Ordering::Relaxed))
    }
}

/// The figures of this process.
#[derive(Debug)]
pub(crate) struct Metrics {
    most: usize,
    tenants: RwLock<HashMap<TenantId, Arc<Figures>>>,
    other: Figures,
    /// Answers that another prompt of the same meaning had.
    semantic: AtomicU64,
    /// Hops that named something kept at a provider which is not the tenant's own.
    handles: AtomicU64,
    /// Requests that were refused before a tenant was proven.
    unproven: Mutex<BTreeMap<&'static str, u64>>,
    requests: Mutex<BTreeMap<Answered, u64>>,
    latency: Vec<Histogram>,
    panics: AtomicU64,
    connections: [OnceLock<(Arc<Semaphore>, usize)>; 2],
}

#[derive(Debug, Default)]
struct Histogram {
    counts: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl Histogram {
    fn add(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let at = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        self.counts[at].fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }
}

impl Metrics {
    pub(crate) fn new(tenants: usize) -> Self {
        Self {
            most: tenants,
            tenants: RwLock::default(),
            other: Figures::default(),
            semantic: AtomicU64::new(0),
            handles: AtomicU64::new(0),
            unproven: Mutex::default(),
            requests: Mutex::default(),
            latency: ROUTES.iter().map(|_| Histogram::default()).collect(),
            panics: AtomicU64::new(0),
            connections: [OnceLock::new(), OnceLock::new()],
        }
    }

    pub(crate) fn hop(&self, tenant: &TenantId, kind: HopKind) {
        self.of(tenant, |figures| *figures.hops.lock().entry(kind).or_default() += 1);
    }

    /// What is counted of a tenant: its own, or that of all others.
    fn of(&self, tenant: &TenantId, count: impl FnOnce(&Figures)) {
        if let Some(figures) = self.tenants.read().get(tenant) {
            return count(figures);
        }
        let mut tenants = self.tenants.write();
        if tenants.len() < self.most {
            let figures = Arc::clone(tenants.entry(tenant.clone()).or_default());
            drop(tenants);
            count(&figures);
        } else {
            drop(tenants);
            count(&self.other);
        }
    }

    pub(crate) fn unproven(&self, code: &'static str) {
        *self.unproven.lock().entry(code).or_default() += 1;
    }

    pub(crate) fn panicked(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn ended(&self, ended: &Ended) {
        let Ended { route, plane, status, took } = *ended;
        *self.requests.lock().entry((plane, route, status)).or_default() += 1;
        if let Some(latency) = route.and_then(|route| self.latency.get(route)) {
            latency.add(took);
        }
    }

    /// Makes the connections of a listener visible.
    pub(crate) fn connections(&self, plane: Plane, places: Arc<Semaphore>, most: usize) {
        // Once a listener, once a process.
        let _ = self.connections[plane as usize].set((places, most));
    }

    /// What this module counts, in the text format of Prometheus.
    pub(crate) fn write(&self, out: &mut Text, who: Watching) {
        out.family("bulkhead_requests_total", "counter", "Requests answered, by route.");
        for ((plane, route, status), count) in &*self.requests.lock() {
            let (method, path) =
                route.map_or(("", ""), |route| (ROUTES[route].method, ROUTES[route].path));
            let labels = [
                ("plane", plane.name()),
                ("method", method),
                ("path", path),
                ("status", &status.to_string()),
            ];
            out.sample("bulkhead_requests_total", &labels, *count);
        }
        self.write_latency(out);
        self.write_tenants(out, who);
        out.family("bulkhead_unproven_total", "counter", "Requests whose credential was refused.");
        for (code, count) in &*self.unproven.lock() {
            out.sample("bulkhead_unproven_total", &[("code", code)], *count);
        }
        out.family("bulkhead_panics_total", "counter", "Handlers that panicked.");
        out.sample("bulkhead_panics_total", &[], self.panics.load(Ordering::Relaxed));
        out.family("bulkhead_connections", "gauge", "Open connections.");
        for plane in [Plane::Data, Plane::Control] {
            if let Some((places, most)) = self.connections[plane as usize].get() {
                let open = most.saturating_sub(places.available_permits()) as u64;
                out.sample("bulkhead_connections", &[("plane", plane.name())], open);
            }
        }
    }

    /// Who may not know which tenants there are gets the sum.
    fn write_tenants(&self, out: &mut Text, who: Watching) {
        let tenants = self.tenants.read();
        let named: Vec<_> = match who {
            Watching::Operator => {
                let tenants = tenants.iter().map(|(id, figures)| (Some(id.as_str()), &**figures));
                tenants.chain([(Some("other"), &self.other)]).collect()
            }
            Watching::Service => Vec::new(),
        };
        out.family("bulkhead_hops_total", "counter", "Hops of proven tenants.");
        for (tenant, figures) in &named {
            write_hops(out, *tenant, &figures.hops.lock());
        }
        let all = || tenants.values().map(|figures| &**figures).chain([&self.other]);
        if who == Watching::Service {
            let mut sum = BTreeMap::<_, u64>::new();
            for figures in all() {
                for (kind, count) in &*figures.hops.lock() {
                    *sum.entry(*kind).or_default() += count;
                }
            }
            write_hops(out, None, &sum);
        }
        out.family("bulkhead_tokens_total", "counter", "Tokens, as providers counted them.");
        for (tenant, figures) in &named {
            write_tokens(out, *tenant, figures.moved.read());
        }
        if who == Watching::Service {
            let sum = all().map(|figures| figures.moved.read());
            write_tokens(
                out,
                None,
                sum.fold((0, 0), |sum: (u64, u64), one| {
                    (sum.0.wrapping_add(one.0), sum.1.wrapping_add(one.1))
                }),
            );
        }
        drop(tenants);
        for (name, help, count) in [
            (
                "bulkhead_semantic_hits_total",
                "Answers that a prompt of the same meaning had before.",
                &self.semantic,
            ),
            (
                "bulkhead_handles_refused_total",
                "Hops that named what a provider keeps and is not the tenant's own.",
                &self.handles,
            ),
        ] {
            out.family(name, "counter", help);
            out.sample(name, &[], count.load(Ordering::Relaxed));
        }
    }

    fn write_latency(&self, out: &mut Text) {
        const NAME: &str = "bulkhead_request_seconds";
        out.family(NAME, "histogram", "Time until the answer began.");
        for (route, latency) in ROUTES.iter().zip(&self.latency) {
            let labels = [("method", route.method), ("path", route.path)];
            let counts: Vec<_> =
                latency.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
            let all: u64 = counts.iter().sum();
            if all == 0 {
                continue;
            }
            let mut below = 0;
            for (bound, count) in BOUNDS.iter().zip(&counts) {
                below += count;
                let le = bound.to_string();
                let labels = [labels[0], labels[1], ("le", le.as_str())];
                out.sample("bulkhead_request_seconds_bucket", &labels, below);
            }
            let infinite = [labels[0], labels[1], ("le", "+Inf")];
            out.sample("bulkhead_request_seconds_bucket", &infinite, all);
            out.sample("bulkhead_request_seconds_count", &labels, all);
            let micros = latency.micros.load(Ordering::Relaxed);
            // Seconds with six digits, exactly.
            let seconds = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
            out.line("bulkhead_request_seconds_sum", &labels, &seconds);
        }
    }
}

impl gate::Meter for Metrics {
    fn ended(&self, tenant: &TenantId, event: &Event) {
        if event.cache.as_deref() == Some("semantic") {
            self.semantic.fetch_add(1, Ordering::Relaxed);
        }
        if event.code.as_deref() == Some("model.handle") {
            self.handles.fetch_add(1, Ordering::Relaxed);
        }
        let (given, got) = (event.tokens_in.unwrap_or(0), event.tokens_out.unwrap_or(0));
        if given > 0 || got > 0 {
            self.of(tenant, |figures| figures.moved.add(given, got));
        }
    }
}

fn write_tokens(out: &mut Text, tenant: Option<&str>, (given, got): (u64, u64)) {
    for (direction, count) in [("in", given), ("out", got)] {
        let labels = [("tenant", tenant.unwrap_or_default()), ("direction", direction)];
        let labels = if tenant.is_some() { &labels[..] } else { &labels[1..] };
        out.sample("bulkhead_tokens_total", labels, count);
    }
}

fn write_hops(out: &mut Text, tenant: Option<&str>, hops: &BTreeMap<HopKind, u64>) {
    for (kind, count) in hops {
        let (surface, action) = kind.grant.split_once(':').unwrap_or((kind.grant, ""));
        let labels = [
            ("tenant", tenant.unwrap_or_default()),
            ("surface", surface),
            ("action", action),
            ("decision", kind.decision.name()),
            ("code", kind.code),
        ];
        let labels = if tenant.is_some() { &labels[..] } else { &labels[1..] };
        out.sample("bulkhead_hops_total", labels, *count);
    }
}

/// The text format of Prometheus, version 0.0.4.
#[derive(Debug, Default)]
pub(crate) struct Text(String);

impl Text {
    pub(crate) fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    pub(crate) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        self.line(name, labels, &value.to_string());
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: &str) {
        self.0.push_str(name);
        for (i, (label, value)) in labels.iter().enumerate() {
            self.0.push(if i == 0 { '{' } else { ',' });
            let _ = write!(self.0, "{label}=\"");
            for c in value.chars() {
                match c {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    c => self.0.push(c),
                }
            }
            self.0.push('"');
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }

    pub(crate) fn finish(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(metrics: &Metrics) -> String {
        let mut out = Text::default();
        metrics.write(&mut out, Watching::Operator);
        out.finish()
    }

    #[test]
    fn no_more_tenants_than_configured_have_a_label() {
        let metrics = Metrics::new(2);
        let kind = HopKind { grant: "model:chat", decision: Decision::Allowed, code: "" };
        for tenant in ["a", "b", "c", "d", "a"] {
            metrics.hop(&TenantId::parse(tenant).unwrap(), kind);
        }
        let text = text(&metrics);
        let line = |tenant: &str, count: u32| {
            format!(
                "bulkhead_hops_total{{tenant=\"{tenant}\",surface=\"model\",action=\"chat\",decision=\"allowed\",code=\"\"}} {count}\n"
            )
        };
        assert!(text.contains(&line("a", 2)) && text.contains(&line("b", 1)), "{text}");
        assert!(text.contains(&line("other", 2)) && !text.contains("\"c\""), "{text}");
    }

    #[test]
    fn a_histogram_adds_up() {
        let metrics = Metrics::new(0);
        for micros in [100, 300, 2_000_000] {
            let took = Duration::from_micros(micros);
            metrics.ended(&Ended { route: Some(0), plane: Plane::Data, status: 200, took });
        }
        let text = text(&metrics);
        for part in
            ["le=\"0.00025\"} 1\n", "le=\"0.0005\"} 2\n", "le=\"+Inf\"} 3\n", "} 2.000400\n"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn values_are_escaped() {
        let mut out = Text::default();
        out.sample("m", &[("l", "a\"b\\c\nd")], 1);
        assert_eq!(out.finish(), "m{l=\"a\\\"b\\\\c\\nd\"} 1\n");
    }
}
