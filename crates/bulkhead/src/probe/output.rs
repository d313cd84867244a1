//! Where a report goes: to the terminal, to a file, in the form that was asked for.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use probe::{Report, report::Earlier};

use super::{Format, To, explained, table};
use crate::{fault::Fault, print::Printer};

/// An earlier report.
pub(super) fn earlier(file: &Path) -> Result<Earlier> {
    let name = file.display().to_string();
    let text = fs::read_to_string(file).with_context(|| name.clone())?;
    Earlier::parse(&name, &text).map_err(explained)
}

/// Refuses files that cannot be written before anything is asked.
pub(super) fn writable(to: &To) -> Result<()> {
    if to.format.is_some() && to.output.len() > 1 {
        return Err(Fault::usage(
            "--format is for one file; several are written as they are called",
        )
        .advise("leave --format out, and call them .json, .sarif, .xml, .md, .html")
        .into());
    }
    to.output.iter().try_for_each(|file| placed(file))
}

fn placed(file: &Path) -> Result<()> {
    let dir = match file.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    if file.is_dir() || !dir.is_dir() {
        return Err(Fault::failed(format!("{} cannot be written", file.display()))
            .advise("--output is a file in a directory that is there")
            .into());
    }
    Ok(())
}

/// As what a file is written that nothing was said about: as it is called.
fn called(file: &Path) -> Format {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("json") => Format::Json,
        Some("sarif") => Format::Sarif,
        Some("xml") => Format::Junit,
        Some("md") => Format::Markdown,
        Some("html" | "htm") => Format::Html,
        _ => Format::Terminal,
    }
}

/// Writes it where it was asked for, and prints it.
pub(super) fn tell(report: &Report, to: &To, out: Printer) -> Result<()> {
    for file in &to.output {
        let text = rendered(report, to.format.unwrap_or_else(|| called(file)), to);
        fs::write(file, text).with_context(|| file.display().to_string())?;
    }
    match to.printed(out) {
        Format::Terminal => {
            table::lines(report, to, out).into_iter().try_for_each(|line| out.line(line))
        }
        format => out.line(rendered(report, format, to).trim_end()),
    }
}

fn rendered(report: &Report, format: Format, to: &To) -> String {
    match format {
        Format::Terminal => {
            let mut lines = table::lines(report, to, Printer::plain());
            lines.push(String::new());
            lines.join("\n")
        }
        Format::Json => ended(probe::Format::Json.render(report)),
        Format::Sarif => ended(probe::Format::Sarif.render(report)),
        Format::Junit => ended(probe::Format::Junit.render(report)),
        Format::Markdown => ended(probe::Format::Markdown.render(report)),
        Format::Html => ended(probe::Format::Html.render(report)),
    }
}

/// With one line's end after the last line.
fn ended(mut text: String) -> String {
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}
