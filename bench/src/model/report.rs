//! The table and the JSON, both with the bars of the design beside what was measured.

use std::{fs, path::Path, time::Duration};

use anyhow::Result;
use bench::{
    load::Sample,
    table::{as_micros, machine, megabytes, micros},
};
use serde_json::{Value, json};

use crate::{
    cases::{STREAM, WHOLE},
    scope_check::ScopeCheck,
    start::Start,
};

pub(crate) const DIRECT: &str = "direct";
pub(crate) const PROXY: &str = "bare hyper proxy";
pub(crate) const CACHE_OFF: &str = "bulkhead, cache off";
pub(crate) const CACHE_HIT: &str = "bulkhead, cache hit";
pub(crate) const SEMANTIC_HIT: &str = "bulkhead, semantic hit";

/// Every control that a model hop has; the benchmark turns none off.
const CONTROLS: &[&str] = &[
    "tenant token verified (Ed25519; cached while it lives)",
    "tenant status, epoch and revocations checked",
    "identities in headers and body held against the token",
    "grants, and three Cedar policies",
    "hops in flight bounded per tenant",
    "provider credential of the tenant, from the vault",
    "an event per hop recorded",
    "time-outs and bounds on body and answer",
    "the caller's salts and users struck out of the body; handles looked for",
    "the answer looked through for the credential",
    "cache hit: value opened under the tenant's data key",
];

/// One kind at one number of connections.
pub(crate) struct Row {
    group: &'static str,
    kind: &'static str,
    connections: usize,
    p50: Duration,
    p99: Duration,
    rate: f64,
}

impl Row {
    /// Sums up what was measured.
    pub(crate) fn new(
        group: &'static str,
        kind: &'static str,
        connections: usize,
        mut sample: Sample,
    ) -> Self {
        Self {
            group,
            kind,
            connections,
            p50: sample.quantile(0.50),
            p99: sample.quantile(0.99),
            rate: sample.rate(),
        }
    }
}

/// Everything of one run.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) rows: Vec<Row>,
    pub(crate) idle_rss: u64,
    pub(crate) loaded_rss: u64,
    /// Events of the hops, by what became of them: one that was dropped is work that was not done.
    pub(crate) events: Events,
    pub(crate) start: Option<Start>,
    pub(crate) scope_check: Option<ScopeCheck>,
}

/// By what became of them.
pub(crate) struct Events(pub(crate) [(&'static str, u64); 3]);

impl Default for Events {
    fn default() -> Self {
        Self([("written", 0), ("dropped", 0), ("failed", 0)])
    }
}

/// A promise of the design, and whether this run kept it.
struct Bar {
    what: String,
    measured: String,
    bar: &'static str,
    kept: bool,
}

impl Report {
    fn row(&self, group: &str, kind: &str, connections: usize) -> Option<&Row> {
        self.rows
            .iter()
            .find(|row| (row.group, row.kind, row.connections) == (group, kind, connections))
    }

    fn bars(&self) -> Vec<Bar> {
        let mut bars = Vec::new();
        for (group, what) in [
            (WHOLE, "added at p50, 1 connection, cache off"),
            (STREAM, "added to the first byte of a stream at p50"),
        ] {
            let (Some(direct), Some(ours)) =
                (self.row(group, DIRECT, 1), self.row(group, CACHE_OFF, 1))
            else {
                continue;
            };
            let added = ours.p50.saturating_sub(direct.p50);
            bars.push(Bar {
                what: what.to_owned(),
                measured: micros(added),
                bar: "≤ 150 µs",
                kept: added <= Duration::from_micros(150),
            });
        }
        for row in self.rows.iter().filter(|row| (row.group, row.kind) == (WHOLE, CACHE_OFF)) {
            let Some(proxy) = self.row(WHOLE, PROXY, row.connections) else { continue };
            let share = row.rate / proxy.rate;
            bars.push(Bar {
                what: format!("throughput of the bare proxy's, {} connections", row.connections),
                measured: format!("{:.0} %", share * 100.0),
                bar: "≥ 50 %",
                kept: share >= 0.5,
            });
        }
        if let Some(check) = &self.scope_check {
            bars.push(Bar {
                what: "scope check, cold".to_owned(),
                measured: micros(check.cold),
                bar: "≤ 60 µs",
                kept: check.cold <= Duration::from_micros(60),
            });
            bars.push(Bar {
                what: "scope check, cached".to_owned(),
                measured: micros(check.cached),
                bar: "≤ 1 µs",
                kept: check.cached <= Duration::from_micros(1),
            });
        }
        if let Some(start) = &self.start {
            bars.push(Bar {
                what: format!("start to ready with {} tenants", start.tenants),
                measured: format!("{} ms", start.ready.as_millis()),
                bar: "≤ 300 ms",
                kept: start.ready <= Duration::from_millis(300),
            });
            bars.push(Bar {
                what: "resident when idle".to_owned(),
                measured: megabytes(start.idle_rss),
                bar: "≤ 100 MB",
                kept: start.idle_rss <= 100_000_000,
            });
        }
        bars
    }

    /// Prints both tables.
    pub(crate) fn print(&self) {
        println!("\nmodel hop, loopback, {}", machine());
        let mut group = "";
        for row in &self.rows {
            if row.group != group {
                group = row.group;
                println!(
                    "\n{group:38} {:>11} {:>10} {:>10} {:>10}",
                    "connections", "p50", "p99", "requests/s"
                );
            }
            println!(
                "{:38} {:>11} {:>10} {:>10} {:>10.0}",
                row.kind,
                row.connections,
                micros(row.p50),
                micros(row.p99),
                row.rate
            );
        }
        println!(
            "\nresident: {} after start, {} after the load",
            megabytes(self.idle_rss),
            megabytes(self.loaded_rss)
        );
        let events = self.events.0.map(|(end, count)| format!("{count} {end}"));
        println!("events: {}", events.join(", "));
        println!("controls on: {}\n", CONTROLS.join("; "));
        for bar in self.bars() {
            let mark = if bar.kept { "kept  " } else { "MISSED" };
            println!("{mark} {:46} {:>10}   {}", bar.what, bar.measured, bar.bar);
        }
    }

    /// Writes model.json; a missed bar is in there, and is no failure of the run.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                json!({
                    "group": row.group,
                    "kind": row.kind,
                    "connections": row.connections,
                    "p50_us": as_micros(row.p50),
                    "p99_us": as_micros(row.p99),
                    "requests_per_second": row.rate.round(),
                })
            })
            .collect();
        let bars: Vec<Value> = self
            .bars()
            .into_iter()
            .map(|bar| json!({"what": bar.what, "measured": bar.measured, "bar": bar.bar, "kept": bar.kept}))
            .collect();
        let report = json!({
            "benchmark": "model",
            "machine": machine(),
            "controls_on": CONTROLS,
            "rows": rows,
            "bars": bars,
            "resident_bytes": {"after_start": self.idle_rss, "after_load": self.loaded_rss},
            "events": self.events.0.into_iter().collect::<std::collections::BTreeMap<_, _>>(),
            "start": self.start.as_ref().map(|start| json!({
                "tenants": start.tenants,
                "ready_ms": start.ready.as_millis(),
                "idle_resident_bytes": start.idle_rss,
            })),
            "scope_check": self.scope_check.as_ref().map(|check| json!({
                "cold_us": as_micros(check.cold),
                "cached_us": as_micros(check.cached),
            })),
        });
        let path = folder.join("model.json");
        fs::write(&path, format!("{report:#}\n"))?;
        println!("\nwritten: bench/results/model.json");
        Ok(())
    }
}
