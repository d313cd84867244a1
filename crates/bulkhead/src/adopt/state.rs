//! How far an adoption is: on disk, so that it goes on where it stopped.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::owner::Why;
use crate::fault::Fault;

/// Of each reason, so many ids are shown.
const SHOWN: usize = 20;
const FORMAT: u32 = 1;

/// What is read, and into what: another adoption has another state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Task {
    pub(super) source: String,
    pub(super) tenant_field: String,
    pub(super) deployment: String,
    pub(super) to: String,
    pub(super) environment: String,
    pub(super) report: Option<PathBuf>,
}

/// How far it is, and what came of it so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    format: u32,
    #[serde(flatten)]
    pub(super) task: Task,
    /// Where the next page begins; none at the beginning.
    pub(super) offset: Option<Value>,
    pub(super) done: bool,
    pub(super) read: u64,
    /// Points that each tenant was given.
    pub(super) tenants: BTreeMap<String, u64>,
    /// Tenants whose collection was made or accepted: their points in it are of this adoption.
    pub(super) begun: BTreeSet<String>,
    pub(super) left_out: BTreeMap<String, Left>,
    /// Bytes of the report that belong to pages that are done.
    pub(super) report_bytes: u64,
}

/// Points that were left out for one reason.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Left {
    pub(super) points: u64,
    /// The first of them.
    pub(super) ids: Vec<Value>,
}

impl State {
    pub(super) const fn new(task: Task) -> Self {
        Self {
            format: FORMAT,
            task,
            offset: None,
            done: false,
            read: 0,
            tenants: BTreeMap::new(),
            begun: BTreeSet::new(),
            left_out: BTreeMap::new(),
            report_bytes: 0,
        }
    }

    /// What stands in the file, if there is one; nothing if this is the beginning.
    ///
    /// # Errors
    /// It is of another adoption, or no state at all.
    pub(super) fn open(path: &Path, task: &Task) -> Result<Option<Self>> {
        let shown = path.display();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(error) => return Err(Fault::failed(format!("cannot read {shown}: {error}")).into()),
        };
        let other = "name another file with --state, or remove this one to begin again";
        let state: Self = serde_json::from_str(&text)
            .ok()
            .filter(|state: &Self| state.format == FORMAT)
            .ok_or_else(|| {
                Fault::failed(format!("{shown} is no state of an adoption")).advise(other)
            })?;
        if let Some((what, was, is)) = state.task.differs(task) {
            return Err(Fault::failed(format!(
                "{shown} is of another adoption: its {what} is {was}, not {is}"
            ))
            .advise(other)
            .into());
        }
        Ok(Some(state))
    }

    /// Written aside, made durable, and put in place: whatever is cut off leaves the old one.
    pub(super) fn save(&self, path: &Path) -> Result<()> {
        let folder = path.parent().filter(|folder| *folder != Path::new(""));
        let folder = folder.unwrap_or(Path::new("."));
        let written = || -> Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(&serde_json::to_vec_pretty(self)?)?;
            file.as_file().sync_all()?;
            file.persist(path)?;
            Ok(std::fs::File::open(folder)?.sync_all()?)
        };
        written().with_context(|| format!("writing {}", path.display()))
    }

    pub(super) fn leave_out(&mut self, why: Why, id: &Value) {
        let left = self.left_out.entry(why.name().to_owned()).or_default();
        left.points += 1;
        if left.ids.len() < SHOWN {
            left.ids.push(id.clone());
        }
    }

    pub(super) fn left(&self) -> u64 {
        self.left_out.values().map(|left| left.points).sum()
    }

    pub(super) fn taken(&self) -> u64 {
        self.tenants.values().sum()
    }
}

impl Task {
    fn differs(&self, is: &Self) -> Option<(&'static str, String, String)> {
        let report = |task: &Self| {
            task.report
                .as_ref()
                .map_or_else(|| "none".to_owned(), |path| path.display().to_string())
        };
        let all = [
            ("source", self.source.clone(), is.source.clone()),
            ("tenant field", self.tenant_field.clone(), is.tenant_field.clone()),
            ("deployment", self.deployment.clone(), is.deployment.clone()),
            ("collection", self.to.clone(), is.to.clone()),
            ("environment", self.environment.clone(), is.environment.clone()),
            ("report", report(self), report(is)),
        ];
        all.into_iter().find(|(_, was, is)| was != is)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn task() -> Task {
        Task {
            source: "http://q:6333/collections/docs".into(),
            tenant_field: "tenant_id".into(),
            deployment: "http://127.0.0.1:8643/".into(),
            to: "docs".into(),
            environment: "live".into(),
            report: None,
        }
    }

    #[test]
    fn a_state_comes_back_as_it_was_and_for_its_own_adoption_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        assert_eq!(State::open(&path, &task()).unwrap(), None);
        let mut state = State::new(task());
        state.offset = Some(json!(u64::MAX));
        state.tenants.insert("acme".into(), 7);
        state.begun.insert("acme".into());
        for id in 0..50 {
            state.leave_out(Why::Several, &json!(id));
        }
        state.save(&path).unwrap();
        let read = State::open(&path, &task()).unwrap().unwrap();
        assert_eq!(read, state);
        assert_eq!(
            (read.left(), read.taken(), read.left_out["several_values"].ids.len()),
            (50, 7, SHOWN)
        );
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");

        let change: [fn(&mut Task); 6] = [
            |task| task.source.push('2'),
            |task| task.tenant_field.push('2'),
            |task| task.deployment.push('2'),
            |task| task.to.push('2'),
            |task| task.environment.push('2'),
            |task| task.report = Some("left.jsonl".into()),
        ];
        for change in change {
            let mut other = task();
            change(&mut other);
            let error = State::open(&path, &other).unwrap_err().to_string();
            assert!(error.contains("another adoption"), "{error}");
        }
        for text in ["", "{}", "[]"] {
            std::fs::write(&path, text).unwrap();
            assert!(State::open(&path, &task()).is_err(), "{text}");
        }
    }
}
