//! Every error code has a page docs/errors/CODE.md, and every page a code.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use anyhow::Result;

use super::Tree;
use crate::source::{File, Kind, Token};

/// Look like codes, stand where codes stand, and are none: protocol words and names of things.
const NO_CODES: &[&str] = &[];

pub(super) fn findings(tree: &Tree<'_>) -> Result<Vec<String>> {
    let pages = pages(tree)?;
    let mut literals = BTreeSet::new();
    let mut used = BTreeMap::new();
    for file in &tree.files {
        // A test rig answers with whatever a test needs.
        if file.path.starts_with("crates/testkit/") {
            continue;
        }
        literals.extend(file.tokens.iter().filter_map(Token::text));
        for (code, line) in codes(file) {
            used.entry(code).or_insert_with(|| format!("{}:{line}", file.path));
        }
    }
    let undocumented = used
        .iter()
        .filter(|(code, _)| !pages.contains(**code))
        .map(|(code, place)| format!("{code} ({place}) has no page docs/errors/{code}.md"));
    let unused = pages
        .iter()
        .filter(|page| !literals.contains(page.as_str()))
        .map(|page| format!("docs/errors/{page}.md describes a code that no crate has"));
    let untitled = pages
        .iter()
        .filter(|page| !titled(tree, page))
        .map(|page| format!("docs/errors/{page}.md must begin with \"# `{page}`\""));
    let index = fs::read_to_string(tree.root.join("docs/errors/README.md"))?;
    let unlisted = pages
        .iter()
        .filter(|page| !index.contains(&format!("({page}.md)")))
        .map(|page| format!("docs/errors/README.md does not list {page}"));
    Ok(undocumented.chain(unused).chain(untitled).chain(unlisted).collect())
}

fn titled(tree: &Tree<'_>, page: &str) -> bool {
    fs::read_to_string(tree.root.join(format!("docs/errors/{page}.md")))
        .is_ok_and(|text| text.lines().next() == Some(&format!("# `{page}`")))
}

fn pages(tree: &Tree<'_>) -> Result<BTreeSet<String>> {
    let mut pages = BTreeSet::new();
    for entry in fs::read_dir(tree.root.join("docs/errors"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some(code) = name.strip_suffix(".md").filter(|name| *name != "README") {
            pages.insert(code.to_owned());
        }
    }
    Ok(pages)
}

/// The codes a file can answer with: code-shaped literals in a `fn code`, and those given to something
/// called `code`.
fn codes(file: &File) -> Vec<(&str, usize)> {
    let mut found = Vec::new();
    let mut depth = 0_usize;
    let mut inside = None;
    for (at, token) in file.tokens.iter().enumerate() {
        match &token.kind {
            Kind::Mark('{') => depth += 1,
            Kind::Mark('}') => {
                depth = depth.saturating_sub(1);
                if inside.is_some_and(|outer| outer >= depth) {
                    inside = None;
                }
            }
            Kind::Word(word) if word == "fn" => {
                let name = file.tokens.get(at + 1).and_then(Token::word);
                if name == Some("code") {
                    inside = Some(depth);
                }
            }
            Kind::Text(text) if is_code(text) => {
                if inside.is_some() || given_to_code(&file.tokens[..at]) {
                    found.push((text.as_str(), token.line));
                }
            }
            Kind::Mark(_) | Kind::Word(_) | Kind::Text(_) => {}
        }
    }
    found
}

/// What a code is given to.
const TAKERS: &[&str] = &["code", "fail", "failed", "Fault", "Refusal"];

/// `code: "…"`, `code: Some("…")`, `.failed("…")`, `Fault::new("…")`.
fn given_to_code(before: &[Token]) -> bool {
    before
        .iter()
        .rev()
        .take(5)
        .take_while(|token| !matches!(token.kind, Kind::Mark(',' | ';' | '{' | '}')))
        .any(|token| TAKERS.iter().any(|taker| token.is_word(taker)))
}

fn is_code(text: &str) -> bool {
    let lower =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let shaped = match text.split_once('.') {
        Some((family, rest)) => lower(family) && lower(rest),
        None => matches!(text, "internal" | "not_found"),
    };
    shaped && !NO_CODES.contains(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_found_where_they_are_given() {
        let text = r#"
            fn code(&self) -> &'static str { match self { A => "scope.missing", B => "internal" } }
            fn name() -> &'static str { "tenant.suspend" }
            fn refuse() { Refusal { action: "model.chat", code: "limit.concurrency" }; f("a", "x.y") }
            fn other() { entry.code(Some("policy.denied")); note.action("operator.enter"); }
        "#;
        let file = File::read(String::new(), text);
        let found: Vec<_> = codes(&file).into_iter().map(|(code, _)| code).collect();
        assert_eq!(found, ["scope.missing", "internal", "limit.concurrency", "policy.denied"]);
    }
}
