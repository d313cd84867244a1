//! What passed and what failed, and the closing table.

use std::time::{Duration, Instant};

/// One line of the closing table.
struct Row {
    name: String,
    passed: u64,
    failed: u64,
    took: Duration,
    note: String,
}

/// Sums of all steps so far.
pub(crate) struct Tally {
    rows: Vec<Row>,
    last: Instant,
}

impl Default for Tally {
    fn default() -> Self {
        Self { rows: Vec::new(), last: Instant::now() }
    }
}

impl Tally {
    /// Adds a step; its time is what went by since the one before.
    pub(crate) fn row(&mut self, name: &str, passed: u64, failed: u64, note: &str) {
        let now = Instant::now();
        self.rows.push(Row {
            name: name.to_owned(),
            passed,
            failed,
            took: now.duration_since(self.last),
            note: note.to_owned(),
        });
        self.last = now;
    }

    /// Adds a step that is one check, with what it found wrong.
    pub(crate) fn check(&mut self, name: &str, findings: &[String]) {
        for finding in findings {
            println!("  {name}: {finding}");
        }
        let note = match findings.len() {
            0 => String::new(),
            1 => "1 finding".to_owned(),
            n => format!("{n} findings"),
        };
        self.row(name, u64::from(findings.is_empty()), u64::from(!findings.is_empty()), &note);
    }

    /// How many failures there were in all steps.
    pub(crate) fn failed(&self) -> u64 {
        self.rows.iter().map(|row| row.failed).sum()
    }

    /// The table, and `N passed, N failed` as the last line.
    pub(crate) fn print(&self) {
        let width = self.rows.iter().map(|row| row.name.len()).max().unwrap_or(4).max(4);
        println!("\n{:width$}  {:>6}  {:>6}  {:>7}", "step", "passed", "failed", "seconds");
        for row in &self.rows {
            let line = format!(
                "{:width$}  {:>6}  {:>6}  {:>7.1}  {}",
                row.name,
                row.passed,
                row.failed,
                row.took.as_secs_f64(),
                row.note
            );
            println!("{}", line.trim_end());
        }
        let passed: u64 = self.rows.iter().map(|row| row.passed).sum();
        println!("{passed} passed, {} failed", self.failed());
    }
}
