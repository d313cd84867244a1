//! The prober's checks and fields are told where users look: every check has its page docs/checks/ID.md with all its
//! parts and every standard, and every page a check; every field of a target file and every place of a template is in
//! docs/probe-targets.md.

use std::{collections::BTreeSet, fs};

use anyhow::{Context, Result};

use super::Tree;
use crate::source::{File, Token};

const CATALOG: &str = "crates/probe/src/catalog";
const PAGES: &str = "docs/checks";
const REFERENCE: &str = "docs/probe-targets.md";

/// What each page has, in this order.
const PARTS: &[&str] = &[
    "## What a leak means",
    "## How it is probed",
    "## What ISOLATED needs",
    "## When it is NOT PROVEN",
    "## How to mend it",
    "## Incident and standards",
];

/// A page is read beside a report: it fits on a screen.
const MOST_LINES: usize = 45;

/// Lists of names that a target file may have, and where they stand.
const LISTS: &[(&str, &str)] = &[
    ("crates/probe/src/target/read.rs", "COMMON"),
    ("crates/probe/src/target/read.rs", "KINDS"),
    ("crates/probe/src/target/read.rs", "SERVER"),
];
/// The structures whose fields are a target file's.
const TABLES: &[&str] = &["Limits", "Price", "Tenant", "Template", "Call", "Known"];

pub(super) fn findings(tree: &Tree<'_>) -> Result<Vec<String>> {
    let read = |path: &str| fs::read_to_string(tree.root.join(path)).context(path.to_owned());
    let file = |path: &str| {
        tree.files.iter().find(|file| file.path == path).with_context(|| format!("no {path}"))
    };
    let mut found = Vec::new();
    let catalog = tree.files.iter().filter(|file| file.path.starts_with(CATALOG));
    let checks: Vec<_> = catalog.flat_map(checks).collect();
    if checks.is_empty() {
        found.push(format!(
            "{CATALOG} has no checks: say in xtask/src/check/probes.rs what they are"
        ));
    }
    let (index, reference) = (read(&format!("{PAGES}/README.md"))?, read(REFERENCE)?);
    let mut pages = BTreeSet::new();
    for entry in fs::read_dir(tree.root.join(PAGES))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        pages.extend(name.strip_suffix(".md").filter(|page| *page != "README").map(str::to_owned));
    }
    for check in &checks {
        let page = format!("{PAGES}/{}.md", check.id);
        if !pages.remove(check.id) {
            found.push(format!("{} ({}) has no page {page}", check.id, check.place));
            continue;
        }
        found.extend(wrong(check, &read(&page)?).into_iter().map(|what| format!("{page} {what}")));
        for (name, text) in [(format!("{PAGES}/README.md"), &index), (REFERENCE.into(), &reference)]
        {
            if !text.contains(&format!("{}.md)", check.id)) {
                found.push(format!("{name} does not tell of {}", check.id));
            }
        }
    }
    found.extend(pages.iter().map(|page| format!("{PAGES}/{page}.md is about no check")));
    for name in fields(tree, &file)? {
        if !reference.contains(&format!("`{name}`")) && !reference.contains(&format!("{name} = ")) {
            found.push(format!("{REFERENCE} does not tell of `{name}`"));
        }
    }
    for place in places(file("crates/probe/src/target/template.rs")?) {
        if !reference.contains(&format!("{{{place}}}")) {
            found.push(format!("{REFERENCE} does not tell of {{{place}}}"));
        }
    }
    Ok(found)
}

/// A check of the catalogue.
struct Check<'a> {
    id: &'a str,
    title: &'a str,
    place: String,
    standards: Vec<(&'a str, &'a str)>,
}

/// `Check { id: "…", …, standards: &[row("…", "…")] }`.
fn checks(file: &File) -> Vec<Check<'_>> {
    let tokens = &file.tokens;
    let begins = |at: &usize| {
        tokens[*at].is_word("Check")
            && tokens.get(at + 1).is_some_and(|next| next.is_mark('{'))
            && tokens.get(at + 2).is_some_and(|next| next.is_word("id"))
    };
    let one = |at: usize| {
        let body: Vec<&Token> =
            tokens[at + 2..].iter().take_while(|token| !token.is_mark('}')).collect();
        let rows = body.windows(5).filter(|row| row[0].is_word("row") && row[1].is_mark('('));
        Some(Check {
            id: field(&body, "id")?,
            title: field(&body, "title")?,
            place: format!("{}:{}", file.path, tokens[at].line),
            standards: rows.filter_map(|row| Some((row[2].text()?, row[4].text()?))).collect(),
        })
    };
    (0..tokens.len()).filter(begins).filter_map(one).collect()
}

fn field<'a>(body: &[&'a Token], name: &str) -> Option<&'a str> {
    let at = body.windows(2).position(|pair| pair[0].is_word(name) && pair[1].is_mark(':'))?;
    body.get(at + 2)?.text()
}

/// What is wrong with a page.
fn wrong(check: &Check<'_>, page: &str) -> Vec<String> {
    let mut found = Vec::new();
    if !page.starts_with(&format!("# `{}`\n\n{}.\n", check.id, check.title)) {
        found.push(format!("must begin with \"# `{}`\" and the check's title", check.id));
    }
    let parts: Vec<&str> = page.lines().filter(|line| line.starts_with("## ")).collect();
    if parts != PARTS {
        found.push(format!("must have these parts and no other: {}", PARTS.join(", ")));
    }
    let lines = page.lines().count();
    if lines > MOST_LINES {
        found.push(format!("has {lines} lines (bound {MOST_LINES})"));
    }
    let told: String = page.split_whitespace().collect::<Vec<_>>().join(" ");
    for (name, row) in &check.standards {
        let rows = told.split(" · ").find_map(|part| part.split_once(&format!("{name} ")));
        let words =
            |text: &str| text.split([',', ' ']).any(|word| word.trim_end_matches('.') == *row);
        // A row of two words stands there as it is.
        if !rows.is_some_and(|(_, rows)| words(rows) || rows.contains(row)) {
            found.push(format!("does not name {name} {row}"));
        }
    }
    found
}

/// Every name that a table of a target file may have.
fn fields<'t>(
    tree: &'t Tree<'_>,
    file: &impl Fn(&str) -> Result<&'t File>,
) -> Result<BTreeSet<&'t str>> {
    let mut names = BTreeSet::new();
    for (path, list) in LISTS {
        let texts = item(file(path)?, "const", list).iter().filter_map(Token::text);
        names.extend(texts);
    }
    for table in TABLES {
        let own = tree.files.iter().filter(|file| {
            ["crates/probe/src/target.rs", "crates/probe/src/target/server.rs"]
                .contains(&file.path.as_str())
        });
        names.extend(own.flat_map(|file| {
            item(file, "struct", table)
                .windows(3)
                .filter(|three| three[0].is_word("pub") && three[2].is_mark(':'))
                .filter_map(|three| three[1].word())
        }));
    }
    Ok(names)
}

/// The names in `const PLACEHOLDERS: … = &[("name", "what"), …]`.
fn places(file: &File) -> Vec<&str> {
    let pairs = item(file, "const", "PLACEHOLDERS").windows(2);
    pairs.filter(|pair| pair[0].is_mark('(')).filter_map(|pair| pair[1].text()).collect()
}

/// The tokens of an item, up to the one that begins the next.
fn item<'a>(file: &'a File, keyword: &str, name: &str) -> &'a [Token] {
    let begins = |pair: &[Token]| pair[0].is_word(keyword) && pair[1].is_word(name);
    let Some(at) = file.tokens.windows(2).position(begins) else { return &[] };
    let rest = &file.tokens[at + 2..];
    let ends = rest.iter().position(|token| {
        ["const", "struct", "fn", "impl", "enum"].iter().any(|word| token.is_word(word))
    });
    &rest[..ends.unwrap_or(rest.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = r#"
        pub struct Check { pub id: &'static str }
        impl Check { fn page(&self) -> String { format!("{}", self.id) } }
        pub static ONE: Check = Check {
            id: "one",
            title: "It holds",
            standards: &[row("OWASP LLM 2025", "LLM02"), row("GDPR", "Article 17")],
        };
        const PLACEHOLDERS: &[(&str, &str)] = &[("id", "what was given"), ("now", "the time")];
        pub struct Tenant { pub token: Option<String>, pub names: Vec<String> }
    "#;

    #[test]
    fn checks_and_places_are_found() {
        let file = File::read(String::new(), SOURCE);
        let checks = checks(&file);
        assert_eq!(checks.len(), 1);
        assert_eq!((checks[0].id, checks[0].title), ("one", "It holds"));
        assert_eq!(checks[0].standards, [("OWASP LLM 2025", "LLM02"), ("GDPR", "Article 17")]);
        assert_eq!(places(&file), ["id", "now"]);
    }

    #[test]
    fn a_page_has_all_its_parts() {
        let file = File::read(String::new(), SOURCE);
        let check = &checks(&file)[0];
        let parts = PARTS.join("\n\nWords.\n\n");
        let page = format!(
            "# `one`\n\nIt holds.\n\n{parts}\n\nOWASP LLM 2025 LLM01, LLM02 · GDPR Article 17.\n"
        );
        assert_eq!(wrong(check, &page), Vec::<String>::new());
        for (what, with, told) in [
            ("LLM02", "LLM03", "does not name OWASP LLM 2025 LLM02"),
            ("Article 17", "Article 18", "does not name GDPR Article 17"),
            ("## How to mend it", "## Else", "must have these parts"),
            ("It holds", "It does", "must begin with"),
        ] {
            let found = wrong(check, &page.replace(what, with));
            assert!(found.len() == 1 && found[0].starts_with(told), "{found:?}");
        }
        assert!(wrong(check, &format!("{page}{}", "\n".repeat(40)))[0].contains("lines"));
    }
}
