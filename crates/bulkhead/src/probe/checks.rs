//! `bulkhead probe checks`: the catalogue.

use anyhow::Result;
use probe::catalog::{self, Check};
use serde_json::{Value, json};

use crate::{
    fault::Fault,
    print::{Ink, Printer},
};

/// Which.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// One of them, with all that there is to say about it
    #[arg(value_name = "ID")]
    id: Option<String>,
}

pub(super) fn run(args: &Args, out: Printer) -> Result<()> {
    match &args.id {
        Some(id) => one(found(id)?, out),
        None => all(out),
    }
}

fn found(id: &str) -> Result<&'static Check> {
    catalog::of(id).ok_or_else(|| {
        Fault::failed(format!("there is no check {id:?}"))
            .advise("`bulkhead probe checks` lists them")
            .into()
    })
}

fn all(out: Printer) -> Result<()> {
    if out.is_json() {
        let all: Vec<Value> = catalog::CHECKS.iter().map(|check| value(check)).collect();
        return out.value(&json!({ "items": all }));
    }
    let rows: Vec<Vec<String>> = catalog::CHECKS
        .iter()
        .map(|check| {
            vec![
                check.id.to_owned(),
                questions(check),
                check.title.to_owned(),
                check.incident.to_owned(),
            ]
        })
        .collect();
    out.table(&["check", "asks", "isolated means", "after"], &rows)?;
    out.line("")?;
    for question in probe::Question::ALL {
        out.line(out.ink(Ink::Dim, &format!("{} {}", question.number(), question.text())))?;
    }
    out.line(out.ink(Ink::Dim, "\nMore on one: bulkhead probe checks ID"))
}

fn questions(check: &Check) -> String {
    let mut numbers: Vec<usize> = check.questions.iter().map(|which| which.number()).collect();
    numbers.sort_unstable();
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn one(check: &Check, out: Printer) -> Result<()> {
    if out.is_json() {
        return out.value(&value(check));
    }
    out.line(format!("{}  {}\n", out.ink(Ink::Bold, check.id), check.title))?;
    for (name, text) in [("A leak means", check.means), ("To mend it", check.fix)] {
        if !text.is_empty() {
            out.line(out.ink(Ink::Dim, name))?;
            out.line(format!("{}\n", folded(text, 92, "  ")))?;
        }
    }
    let standards: Vec<String> = check
        .standards
        .iter()
        .map(|standard| format!("{} {}", standard.name, standard.row))
        .collect();
    out.fields(&[
        ("after", check.incident.to_owned()),
        ("standards", standards.join(" · ")),
        (
            "bears on",
            check.questions.iter().map(|which| which.text()).collect::<Vec<_>>().join(" "),
        ),
        ("page", check.page()),
        ("alone", format!("bulkhead probe FILE --only {}", check.id)),
    ])
}

/// Text in lines of a width.
pub(super) fn folded(text: &str, wide: usize, indent: &str) -> String {
    let (mut lines, mut line) = (Vec::new(), String::new());
    for word in text.split_whitespace() {
        if !line.is_empty() && line.chars().count() + word.chars().count() >= wide {
            lines.push(format!("{indent}{line}"));
            line = String::new();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if !line.is_empty() {
        lines.push(format!("{indent}{line}"));
    }
    lines.join("\n")
}

fn value(check: &Check) -> Value {
    json!({
        "id": check.id,
        "title": check.title,
        "surface": check.surface,
        "questions": check.questions,
        "incident": check.incident,
        "means": check.means,
        "fix": check.fix,
        "standards": check.standards,
        "page": check.page(),
    })
}
