//! The guide repeats some sources, so that a reader has them in one place: they must be the same. And no link
//! between pages leads nowhere.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use super::Tree;
use crate::shell;

/// A page, the source that it repeats, and with what the repeated part begins; it goes to the source's end.
const REPEATED: &[(&str, &str, &str)] = &[
    ("docs/configuration.md", "crates/bulkhead/src/bulkhead.toml", ""),
    ("docs/policy.md", "crates/gate/src/bulkhead.cedarschema", ""),
    ("docs/identity.md", "e2e/tenant_tokens.py", "import json"),
];

pub(super) fn findings(tree: &Tree<'_>) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for (page, source, begins) in REPEATED {
        let text =
            fs::read_to_string(tree.root.join(source)).with_context(|| source.to_string())?;
        let from = text.find(begins).with_context(|| format!("{source} has no {begins:?}"))?;
        let shown = fs::read_to_string(tree.root.join(page)).with_context(|| page.to_string())?;
        if !shown.contains(text[from..].trim()) {
            found.push(format!("{page} does not repeat {source} as it is"));
        }
    }
    let mut git = shell::command("git")?;
    git.args(["ls-files", "--cached", "--others", "--exclude-standard", "*.md"]);
    for page in shell::output(&mut git)?.lines() {
        // Deleted but not yet committed: nothing to read.
        let Ok(text) = fs::read_to_string(tree.root.join(page)) else {
            continue;
        };
        let folder = tree.root.join(page).parent().map(Path::to_path_buf).unwrap_or_default();
        for target in links(&text).filter(|target| !folder.join(target).exists()) {
            found.push(format!("{page} links to {target}, which is not there"));
        }
    }
    Ok(found)
}

/// The files that a page links to, relative to its folder.
fn links(page: &str) -> impl Iterator<Item = &str> {
    page.split("](").skip(1).filter_map(|rest| {
        let target = rest.split(')').next()?.split('#').next()?;
        let elsewhere =
            target.is_empty() || target.contains(':') || target.contains(char::is_whitespace);
        (!elsewhere).then_some(target)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_files_are_found() {
        let page = "[a](b.md) [c](https://example.org/d.md) [e](#f) [g](../h.md#i) `x](y z)`";
        assert_eq!(links(page).collect::<Vec<_>>(), ["b.md", "../h.md"]);
    }
}
