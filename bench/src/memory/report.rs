//! The table and the JSON, both with the bars of the design beside what was measured.

use std::{fs, path::Path, time::Duration};

use anyhow::Result;
use bench::{
    load::Sample,
    table::{as_micros, machine, megabytes, micros},
};
use serde_json::{Map, Value, json};

use crate::{cold::AtRest, pgvector};

/// Every control that a query has; the benchmark turns none off.
const CONTROLS: &[&str] = &[
    "tenant token verified (Ed25519; cached while it lives)",
    "tenant status, epoch and revocations checked",
    "identities in headers held against the token",
    "grants and policies",
    "hops in flight bounded per tenant; searches in lanes by tenant",
    "reach put into every sub-query",
    "every row that leaves opened under the tenant's data key and held against reach",
    "scores of the engine computed again",
    "an event per hop recorded",
    "writes durable (fsync) before they are answered",
];

/// What one kind took.
pub(crate) struct Row {
    pub(crate) group: String,
    pub(crate) kind: String,
    pub(crate) connections: usize,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    /// Requests, or points, per second.
    pub(crate) rate: f64,
}

/// A promise of the design, and whether this run kept it.
pub(crate) struct Bar {
    pub(crate) what: String,
    pub(crate) measured: String,
    pub(crate) bar: &'static str,
    pub(crate) kept: bool,
}

/// Everything of one run.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) data: String,
    pub(crate) rows: Vec<Row>,
    /// What is no latency, for people and as a number.
    pub(crate) facts: Vec<(String, String, Value)>,
    pub(crate) bars: Vec<Bar>,
    pub(crate) pgvector: Option<pgvector::Measured>,
    /// Figures of `/metrics` about memory, after all of it.
    pub(crate) figures: Vec<(String, f64)>,
}

impl Report {
    /// A row of the table.
    pub(crate) fn row(&mut self, group: &str, kind: &str, connections: usize, mut sample: Sample) {
        let row = Row {
            group: group.to_owned(),
            kind: kind.to_owned(),
            connections,
            p50: sample.quantile(0.50),
            p99: sample.quantile(0.99),
            rate: sample.rate(),
        };
        println!(
            "  {group}: {kind}, {connections}: p50 {}, p99 {}, {:.0}/s",
            micros(row.p50),
            micros(row.p99),
            row.rate
        );
        self.rows.push(row);
    }

    /// A fact.
    pub(crate) fn fact(&mut self, what: &str, shown: String, value: Value) {
        println!("  {what}: {shown}");
        self.facts.push((what.to_owned(), shown, value));
    }

    /// A fact that is a number of bytes.
    pub(crate) fn bytes(&mut self, what: &str, bytes: u64) {
        self.fact(what, megabytes(bytes), json!(bytes));
    }

    /// Everything of tenants at rest.
    pub(crate) fn at_rest(&mut self, tenants: usize, rest: &AtRest) {
        let ready = rest.ready.as_secs_f64() * 1e3;
        self.fact("start to ready", format!("{ready:.0} ms"), json!(ready));
        self.bytes("resident after start, nothing open", rest.idle);
        self.bytes("indexes on disk", rest.index);
        self.bytes("rows on disk", rest.rows);
        let small = format!("{} KB", rest.small_index / 1_000);
        self.fact("index on disk of a small tenant", small, json!(rest.small_index));
        self.bars.push(Bar {
            what: format!("start to ready with {tenants} tenants' collections"),
            measured: format!("{ready:.0} ms"),
            bar: "≤ 300 ms",
            kept: rest.ready <= Duration::from_millis(300),
        });
        self.bars.push(Bar {
            what: "resident when idle".to_owned(),
            measured: megabytes(rest.idle),
            bar: "≤ 100 MB",
            kept: rest.idle <= 100_000_000,
        });
    }

    /// Prints all of it.
    pub(crate) fn print(&self) {
        println!("\nretrieval, loopback, {}\n{}", machine(), self.data);
        let mut group = "";
        for row in &self.rows {
            if row.group != group {
                group = &row.group;
                println!(
                    "\n{group:44} {:>5} {:>10} {:>10} {:>10}",
                    "conn.", "p50", "p99", "per second"
                );
            }
            println!(
                "{:44} {:>5} {:>10} {:>10} {:>10}",
                row.kind,
                row.connections,
                micros(row.p50),
                micros(row.p99),
                if row.rate > 0.0 { format!("{:.0}", row.rate) } else { String::new() }
            );
        }
        println!();
        for (what, shown, _) in &self.facts {
            println!("{what:60} {shown:>14}");
        }
        if let Some(measured) = &self.pgvector {
            println!("\n{}", measured.versions);
            println!(
                "{:40} {:>9} {:>10} {:>7} {:>10} {:>10}",
                "", "points", "rows of 10", "recall", "p50", "p99"
            );
            for row in &measured.rows {
                println!(
                    "{:40} {:>9} {:>10.1} {:>7.3} {:>7.0} µs {:>7.0} µs",
                    row.arrangement, row.points, row.rows_mean, row.recall, row.p50_us, row.p99_us
                );
            }
        }
        println!("\ncontrols on: {}\n", CONTROLS.join("; "));
        for bar in &self.bars {
            let mark = if bar.kept { "kept  " } else { "MISSED" };
            println!("{mark} {:56} {:>10}   {}", bar.what, bar.measured, bar.bar);
        }
    }

    /// Writes memory.json; a missed bar is in there, and is no failure of the run.
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
                    "per_second": row.rate.round(),
                })
            })
            .collect();
        let bars: Vec<Value> = self
            .bars
            .iter()
            .map(|bar| json!({"what": bar.what, "measured": bar.measured, "bar": bar.bar, "kept": bar.kept}))
            .collect();
        let facts: Map<String, Value> =
            self.facts.iter().map(|(what, _, value)| (what.clone(), value.clone())).collect();
        let pgvector = self.pgvector.as_ref().map(|measured| {
            let rows: Vec<Value> = measured
                .rows
                .iter()
                .map(|row| {
                    json!({
                        "arrangement": row.arrangement,
                        "tenant": row.tenant,
                        "points": row.points,
                        "rows_of_10": row.rows_mean,
                        "recall": row.recall,
                        "p50_us": row.p50_us.round(),
                        "p99_us": row.p99_us.round(),
                    })
                })
                .collect();
            json!({"versions": measured.versions, "rows": rows})
        });
        let figures: Map<String, Value> =
            self.figures.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let report = json!({
            "benchmark": "memory",
            "machine": machine(),
            "data": self.data,
            "controls_on": CONTROLS,
            "rows": rows,
            "facts": facts,
            "bars": bars,
            "pgvector": pgvector,
            "figures": figures,
        });
        fs::write(folder.join("memory.json"), format!("{report:#}\n"))?;
        println!("\nwritten: bench/results/memory.json");
        Ok(())
    }
}
