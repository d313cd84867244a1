//! The retrieval engine takes minutes to compile, so it is built once, whichever part of the project is: what it stands
//! on has the same features in each of these builds.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use crate::shell;

const ENGINE: &str = "qdrant-edge";

/// What is built besides the whole workspace, and how cargo is told.
const PARTS: &[(&str, &[&str])] = &[
    ("fuzz/", &["--manifest-path", "fuzz/Cargo.toml"]),
    ("bulkhead-memory", &["--package", "bulkhead-memory"]),
    ("bulkhead-server", &["--package", "bulkhead-server"]),
];

/// By package and version the lists of features it is built with: more than one, where a build script has its own.
type Features = BTreeMap<String, BTreeSet<String>>;

pub(super) fn findings() -> Result<Vec<String>> {
    let below = features(&["--package", ENGINE, "--edges", "normal,build"])?;
    let whole = features(&["--workspace"])?;
    let mut found = Vec::new();
    for (part, args) in PARTS {
        let part_features = features(args)?;
        found.extend(below.keys().filter_map(|package| {
            let (have, want) = (part_features.get(package)?, whole.get(package)?);
            let other: Vec<_> = have.difference(want).map(String::as_str).collect();
            (!other.is_empty()).then(|| {
                let (have, want) = (other.join(" and "), Vec::from_iter(want.clone()).join(" or "));
                format!("{part} builds {package} with {have}, the workspace with {want}")
            })
        }));
    }
    Ok(found)
}

/// Of all that is built with these arguments.
fn features(args: &[&str]) -> Result<Features> {
    let mut command = shell::cargo(&["tree", "--prefix", "none", "--format", "{p}|{f}"])?;
    let mut all = Features::new();
    for line in shell::output(command.args(args))?.lines() {
        let line = line.trim_end_matches(" (*)");
        if let Some((package, features)) = line.split_once('|') {
            all.entry(package.to_owned()).or_default().insert(features.to_owned());
        }
    }
    Ok(all)
}
