//! What came of an adoption: which points were left out and why, and what each tenant has.

use std::{
    fs::File,
    io::{BufWriter, Seek as _, SeekFrom, Write as _},
    path::Path,
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{
    owner::Why,
    state::{Left, State},
};
use crate::{
    fault::Fault,
    print::{Printer, cell, tame},
};

/// Every point that is left out, a line of JSON each.
pub(super) struct LeftOut(Option<(BufWriter<File>, u64)>);

impl LeftOut {
    /// A new one, or going on where pages that are done end; what came after is written again.
    pub(super) fn open(path: Option<&Path>, done: Option<u64>) -> Result<Self> {
        let Some(path) = path else { return Ok(Self(None)) };
        let (new, done) = (done.is_none(), done.unwrap_or_default());
        let opened = || -> std::io::Result<(File, u64)> {
            let mut file =
                File::options().create(true).truncate(false).read(true).write(true).open(path)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(done))?;
            Ok((file, length))
        };
        let shown = path.display();
        let (file, length) = opened().with_context(|| format!("opening {shown}"))?;
        if length < done || (new && length > 0) {
            let what = if new { "there already" } else { "not the one that was begun" };
            return Err(Fault::failed(format!("{shown} is {what}"))
                .advise("name another file with --report, or put that one back")
                .into());
        }
        file.set_len(done).with_context(|| format!("cutting {shown}"))?;
        Ok(Self(Some((BufWriter::new(file), done))))
    }

    /// `name`: what stands in the field, where it is one name.
    pub(super) fn add(&mut self, id: &Value, why: Why, name: Option<&str>) -> Result<()> {
        let Some((file, bytes)) = &mut self.0 else { return Ok(()) };
        let mut line = json!({ "id": id, "why": why.name() });
        if let Some(name) = name {
            line["value"] = name.into();
        }
        let line = format!("{line}\n");
        file.write_all(line.as_bytes()).context("writing the report")?;
        *bytes += line.len() as u64;
        Ok(())
    }

    /// Durable up to here: how many bytes that is.
    pub(super) fn flush(&mut self) -> Result<u64> {
        let Some((file, bytes)) = &mut self.0 else { return Ok(0) };
        file.flush().context("writing the report")?;
        file.get_ref().sync_data().context("writing the report")?;
        Ok(*bytes)
    }
}

/// The whole of it, for programs.
pub(super) fn summary(state: &State, dry_run: bool, notes: &[String]) -> Value {
    let tenants: Vec<_> = state
        .tenants
        .iter()
        .map(|(id, points)| json!({ "tenant": id, "points": points }))
        .collect();
    json!({
        "source": state.task.source,
        "collection": state.task.to,
        "environment": state.task.environment,
        "dry_run": dry_run,
        "read": state.read,
        "taken": state.taken(),
        "tenants": tenants,
        "left_out": state.left_out,
        "not_taken": notes,
        "report": state.task.report,
    })
}

/// The same for people.
pub(super) fn show(state: &State, dry_run: bool, notes: &[String], out: Printer) -> Result<()> {
    if out.is_json() {
        return out.value(&summary(state, dry_run, notes));
    }
    let rows: Vec<Vec<String>> =
        state.tenants.iter().map(|(id, points)| vec![id.clone(), points.to_string()]).collect();
    out.table(&["tenant", "points"], &rows)?;
    for (why, Left { points, ids }) in &state.left_out {
        let more = if *points > ids.len() as u64 { ", …" } else { "" };
        let ids = ids.iter().map(cell).collect::<Vec<_>>().join(", ");
        let why = why.replace('_', " ");
        out.line(tame(&format!("left out, {why}: {points} ({ids}{more})")))?;
    }
    for note in notes {
        out.line(format!("not taken: {note}"))?;
    }
    let verb = if dry_run { "would adopt" } else { "adopted" };
    let (taken, read, to) = (state.taken(), state.read, tame(&state.task.to));
    out.line(format!("{verb} {taken} of {read} points into {to} of {} tenants", rows.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_goes_on_where_pages_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("left.jsonl");
        let mut report = LeftOut::open(Some(&path), None).unwrap();
        report.add(&json!(1), Why::NoValue, None).unwrap();
        let done = report.flush().unwrap();
        report.add(&json!("a"), Why::Unknown, Some("who\n")).unwrap();
        assert!(report.flush().unwrap() > done);
        drop(report);
        let mut again = LeftOut::open(Some(&path), Some(done)).unwrap();
        again.add(&json!("b"), Why::Several, None).unwrap();
        again.flush().unwrap();
        drop(again);
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(
            lines,
            [json!({"id": 1, "why": "no_value"}), json!({"id": "b", "why": "several_values"})]
        );
        assert!(LeftOut::open(Some(&path), None).is_err(), "another one's report");
        assert!(LeftOut::open(Some(&path), Some(10_000)).is_err(), "not the one that was begun");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "and nothing was lost of it");
    }
}
