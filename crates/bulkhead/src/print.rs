//! Output: tables and fields for people, JSON for programs, colour on a terminal only.

use std::{
    borrow::Cow,
    io::{IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use anyhow::Result;
use serde_json::Value;

/// A colour of the terminal.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ink {
    /// Good.
    Green,
    /// Bad.
    Red,
    /// Worth a look.
    Yellow,
    /// Beside the point.
    Dim,
    /// A heading.
    Bold,
}

impl Ink {
    const fn code(self) -> &'static str {
        match self {
            Self::Green => "32",
            Self::Red => "31",
            Self::Yellow => "33",
            Self::Dim => "2",
            Self::Bold => "1",
        }
    }
}

/// Where a command's results go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Printer {
    json: bool,
    colour: bool,
}

impl Printer {
    /// To standard output; as JSON if `json`.
    pub(crate) fn new(json: bool) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { json, colour: !plain && !json && std::io::stdout().is_terminal() }
    }

    /// Without colours, wherever it goes.
    pub(crate) const fn plain() -> Self {
        Self { json: false, colour: false }
    }

    /// Whether JSON was asked for.
    pub(crate) const fn is_json(self) -> bool {
        self.json
    }

    /// The text in a colour, where colours are shown.
    pub(crate) fn ink(self, ink: Ink, text: &str) -> Cow<'_, str> {
        if self.colour { format!("\x1b[{}m{text}\x1b[0m", ink.code()).into() } else { text.into() }
    }

    /// One line of text.
    pub(crate) fn line(self, line: impl AsRef<str>) -> Result<()> {
        let mut out = std::io::stdout().lock();
        out.write_all(line.as_ref().as_bytes())?;
        out.write_all(b"\n")?;
        Ok(out.flush()?)
    }

    /// A JSON document.
    pub(crate) fn value(self, value: &Value) -> Result<()> {
        self.line(serde_json::to_string_pretty(value)?)
    }

    /// A sentence for people; nothing where JSON was asked for, but `value`.
    pub(crate) fn said(self, value: &Value, sentence: impl AsRef<str>) -> Result<()> {
        if self.json { self.value(value) } else { self.line(sentence) }
    }

    /// Rows under headings, aligned. Control characters of what others wrote are shown as �,
    /// so that nothing in a log steers the terminal of who reads it.
    pub(crate) fn table(self, heads: &[&str], rows: &[Vec<String>]) -> Result<()> {
        let clean: Vec<Vec<String>> =
            rows.iter().map(|row| row.iter().map(|cell| tame(cell)).collect()).collect();
        let widths: Vec<usize> = (0..heads.len())
            .map(|at| {
                let cells = clean.iter().filter_map(|row| row.get(at)).map(|cell| width(cell));
                cells.chain([width(heads[at])]).max().unwrap_or(0)
            })
            .collect();
        let upper: Vec<String> = heads.iter().map(|head| head.to_uppercase()).collect();
        self.line(self.ink(Ink::Dim, &joined(&upper, &widths)))?;
        clean.iter().try_for_each(|row| self.line(joined(row, &widths)))
    }

    /// Names with their values, one a line.
    pub(crate) fn fields(self, fields: &[(&str, String)]) -> Result<()> {
        let wide = fields.iter().map(|(name, _)| width(name)).max().unwrap_or(0);
        fields.iter().filter(|(_, value)| !value.is_empty()).try_for_each(|(name, value)| {
            let pad = " ".repeat(wide - width(name));
            self.line(format!("{}{pad}  {}", self.ink(Ink::Dim, name), tame(value)))
        })
    }
}

/// A remark on standard error, which is no part of a command's result.
pub(crate) fn note(text: impl AsRef<str>) {
    let mut err = std::io::stderr().lock();
    // There is nobody left to tell if standard error is gone.
    let _ = writeln!(err, "{}", text.as_ref());
}

/// Shows control characters as �.
pub(crate) fn tame(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

fn width(text: &str) -> usize {
    text.chars().count()
}

fn joined(cells: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (cell, wide) in cells.iter().zip(widths) {
        line.push_str(cell);
        line.extend(std::iter::repeat_n(' ', wide.saturating_sub(width(cell)) + 2));
    }
    line.truncate(line.trim_end().len());
    line
}

/// Shows on a terminal that long work goes on: what, and for how long so far.
pub(crate) async fn progress<T>(what: &str, work: impl Future<Output = T>) -> T {
    if !std::io::stderr().is_terminal() {
        return work.await;
    }
    let (began, mut work) = (Instant::now(), std::pin::pin!(work));
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    loop {
        tokio::select! {
            biased;
            done = &mut work => {
                eprint_raw("\r\x1b[K");
                return done;
            }
            _ = ticks.tick() => {
                let turn = ['⠋', '⠙', '⠸', '⠴', '⠦', '⠇'][(began.elapsed().as_millis() / 100 % 6) as usize];
                eprint_raw(&format!("\r\x1b[K{turn} {what} … {:.1} s", began.elapsed().as_secs_f64()));
            }
        }
    }
}

/// Shows on a terminal how far long work is; nothing takes the line away.
pub(crate) fn tick(text: &str) {
    if std::io::stderr().is_terminal() {
        eprint_raw(&format!("\r\x1b[K{text}"));
    }
}

fn eprint_raw(text: &str) {
    let mut err = std::io::stderr().lock();
    let _ = err.write_all(text.as_bytes());
    let _ = err.flush();
}

/// A JSON value as a table shows it: text as it is, lists joined, nothing for null.
pub(crate) fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(all) => all.iter().map(cell).collect::<Vec<_>>().join(" "),
        Value::Object(map) => map
            .iter()
            .map(|(name, value)| format!("{name}={}", cell(value)))
            .collect::<Vec<_>>()
            .join(" "),
        other => other.to_string(),
    }
}

/// The field of a JSON object, as a table shows it; the field may be a dotted path.
pub(crate) fn field(value: &Value, path: &str) -> String {
    path.split('.').try_fold(value, |value, name| value.get(name)).map(cell).unwrap_or_default()
}

/// A time, in RFC 3339 or Unix milliseconds, as a table shows it: RFC 3339, to the second.
pub(crate) fn time(value: Option<&Value>) -> String {
    match value {
        Some(Value::Number(ms)) => {
            time(Some(&ids::Millis(ms.as_u64().unwrap_or_default()).to_string().into()))
        }
        Some(Value::String(text)) => match text.split_once('.') {
            Some((seconds, rest)) if rest.ends_with('Z') => format!("{seconds}Z"),
            _ => text.clone(),
        },
        Some(other) => cell(other),
        None => String::new(),
    }
}

/// Bytes as people read them, in powers of 1,024.
pub(crate) fn bytes(count: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    let mut size = count as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if size < 1024.0 {
            return if unit == "B" { format!("{count} B") } else { format!("{size:.1} {unit}") };
        }
        size /= 1024.0;
    }
    format!("{size:.1} TiB")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cells_and_fields() {
        let value = json!({"a": {"b": ["x", "y"]}, "n": 3, "z": null, "o": {"k": "v"}});
        for (path, shown) in [("a.b", "x y"), ("n", "3"), ("z", ""), ("q", ""), ("o", "k=v")] {
            assert_eq!(field(&value, path), shown, "{path}");
        }
        assert_eq!(time(Some(&json!(951_782_400_123_u64))), "2000-02-29T00:00:00Z");
        assert_eq!(tame("a\x1b[2Jb\n"), "a�[2Jb�");
        assert_eq!(
            (bytes(12), bytes(1536), bytes(5 << 30)),
            ("12 B".into(), "1.5 KiB".into(), "5.0 GiB".into())
        );
    }

    #[test]
    fn rows_are_aligned() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        assert_eq!(joined(&row(["ä", "x"]), &[3, 1]), "ä    x");
        assert_eq!(joined(&row(["ab", ""]), &[3, 1]), "ab");
    }
}
