//! Nothing tracked may name the machine it was written on, or a registry other than the public ones.

use std::fs;

use anyhow::Result;

use super::Tree;
use crate::shell;

/// Parts of paths and hosts that belong to one machine. Written in halves, so that this file passes.
const MACHINE: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/Us", "ers/"),
    concat!("/ho", "me/"),
    concat!("C:\\", "Users"),
    concat!("arti", "factory"),
    concat!("index.crates.io", ":443"),
    concat!("jf", "rog"),
];

/// The only registries that a lock file may name.
const REGISTRIES: &[&str] =
    &["https://github.com/rust-lang/crates.io-index", "https://registry.npmjs.org/"];

pub(super) fn findings(tree: &Tree<'_>) -> Result<Vec<String>> {
    // Untracked files that are not ignored are about to be tracked.
    let mut git = shell::command("git")?;
    git.args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    let mut found = Vec::new();
    for path in shell::output(&mut git)?.lines() {
        // Deleted but not yet committed, or not text: nothing to read.
        let Ok(text) = fs::read_to_string(tree.root.join(path)) else {
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            if let Some(part) = MACHINE.iter().find(|part| names(line, part)) {
                found.push(format!("{path}:{} names {part}", number + 1));
            }
            if is_lock(path) && names_other_registry(line) {
                found.push(format!("{path}:{} names another registry", number + 1));
            }
        }
    }
    Ok(found)
}

/// Whether a line has this part, at the beginning of a path where it is one: a route may have the same words inside.
fn names(line: &str, part: &str) -> bool {
    line.match_indices(part).any(|(at, _)| {
        let inside = |before: char| before.is_alphanumeric() || "}_-.".contains(before);
        !part.starts_with('/') || !line[..at].ends_with(inside)
    })
}

fn is_lock(path: &str) -> bool {
    path.ends_with("Cargo.lock") || path.ends_with("package-lock.json")
}

fn names_other_registry(line: &str) -> bool {
    let line = line.trim_start();
    (line.starts_with("source = ") || line.starts_with("\"resolved\":"))
        && !REGISTRIES.iter().any(|registry| line.contains(registry))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_told_from_a_route() {
        let part = concat!("/ro", "ot/");
        for (before, named) in [("", true), ("cd ", true), ("\"", true), ("keys", false)] {
            assert_eq!(names(&format!("{before}{part}x"), part), named, "{before}");
        }
    }

    #[test]
    fn only_public_registries_pass() {
        for (line, other) in [
            (r#"source = "registry+https://github.com/rust-lang/crates.io-index""#, false),
            (r#"source = "git+https://example.org/x""#, true),
            (r#"  "resolved": "https://registry.npmjs.org/a/-/a-1.tgz","#, false),
            (r#"  "resolved": "https://mirror.example.org/a-1.tgz","#, true),
            (r#"checksum = "00""#, false),
        ] {
            assert_eq!(names_other_registry(line), other, "{line}");
        }
    }
}
