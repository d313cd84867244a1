//! A crate uses lower floors only (ARCHITECTURE.md), held against `cargo metadata`.

use std::fs;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::Tree;
use crate::shell;

/// Lowest first; crates on one line stand on one floor and do not know each other.
const FLOORS: &[&[&str]] = &[
    &["ids"],
    &["scope"],
    &["store"],
    &["vault"],
    &["records", "directory"],
    &["cache", "memory", "reviews"],
    &["gate"],
    &["model", "tools"],
    &["server", "probe"],
    &["bulkhead"],
];

/// On no floor: nothing that ships may depend on them.
const APART: &[&str] = &["testkit", "xtask", "bench"];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    path: Option<String>,
}

pub(super) fn findings(tree: &Tree<'_>) -> Result<Vec<String>> {
    let text =
        shell::output(&mut shell::cargo(&["metadata", "--format-version", "1", "--no-deps"])?)?;
    let metadata: Metadata =
        serde_json::from_str(&text).context("cargo metadata is not what it was")?;
    let mut found = Vec::new();
    for package in &metadata.packages {
        let name = short(&package.name);
        let in_crates = package.manifest_path.replace('\\', "/").contains("/crates/");
        if in_crates && floor(name).is_none() && !APART.contains(&name) {
            found.push(format!(
                "{name} has no floor: add it to FLOORS in xtask/src/check/floors.rs"
            ));
        }
        found.extend(package.dependencies.iter().filter_map(|dependency| wrong(name, dependency)));
    }
    found.extend(unnamed(tree)?);
    Ok(found)
}

fn wrong(name: &str, dependency: &Dependency) -> Option<String> {
    dependency.path.as_ref()?;
    let needed = short(&dependency.name);
    let is_dev = dependency.kind.as_deref() == Some("dev");
    if APART.contains(&name) || (is_dev && needed == "testkit") {
        return None;
    }
    if APART.contains(&needed) {
        return Some(format!("{name} ships, so it may not depend on {needed}"));
    }
    match (floor(name), floor(needed)) {
        (Some(own), Some(other)) if other >= own => Some(format!(
            "{name} (floor {own}) may not depend on {needed} (floor {other}): lower floors only"
        )),
        _ => None,
    }
}

/// Crates that ARCHITECTURE.md does not name.
fn unnamed(tree: &Tree<'_>) -> Result<Vec<String>> {
    let Ok(text) = fs::read_to_string(tree.root.join("ARCHITECTURE.md")) else {
        return Ok(vec!["there is no ARCHITECTURE.md".to_owned()]);
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(tree.root.join("crates"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !text.contains(&format!("`{name}`")) {
            found.push(format!("ARCHITECTURE.md does not name `{name}`"));
        }
    }
    Ok(found)
}

fn short(package: &str) -> &str {
    package.strip_prefix("bulkhead-").unwrap_or(package)
}

fn floor(name: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lower_floors_may_be_used() {
        let on = |name: &str, kind: Option<&str>| Dependency {
            name: name.to_owned(),
            kind: kind.map(str::to_owned),
            path: Some(String::new()),
        };
        for (name, dependency, refused) in [
            ("gate", on("bulkhead-scope", None), false),
            ("scope", on("bulkhead-gate", None), true),
            ("records", on("bulkhead-directory", None), true),
            ("gate", on("bulkhead-gate", None), true),
            ("store", on("bulkhead-testkit", Some("dev")), false),
            ("store", on("bulkhead-testkit", None), true),
            ("store", on("bulkhead-model", Some("dev")), true),
            ("bench", on("bulkhead-testkit", None), false),
        ] {
            assert_eq!(
                wrong(name, &dependency).is_some(),
                refused,
                "{name} on {}",
                dependency.name
            );
        }
    }
}
