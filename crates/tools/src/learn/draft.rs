//! One contract, written down as far as it can be guessed.

use std::fmt::Write as _;

use serde_json::Value;

use crate::{Effect, Source};

/// A contract to be finished.
pub(super) struct Draft {
    pub(super) name: String,
    pub(super) form: Form,
    pub(super) effect: Effect,
    /// Where the effect comes from.
    pub(super) guessed: String,
    /// Arguments that look like whose data it is, surest first.
    pub(super) binds: Vec<Bind>,
    /// Where owners seem to stand.
    pub(super) owners: Vec<Place>,
    pub(super) parameters: Option<Value>,
}

/// What it is at its upstream.
pub(super) enum Form {
    /// An operation of the document.
    Operation(String),
    /// A tool.
    Tool(String),
    /// A request.
    Request { method: String, path: String, query: Vec<String> },
}

/// An argument that may be bound.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bind {
    pub(super) pointer: String,
    pub(super) source: Source,
    /// Whether its name leaves little doubt.
    pub(super) sure: bool,
}

/// Where owners may stand.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Place {
    pub(super) records: String,
    pub(super) pointer: String,
}

impl Draft {
    pub(super) fn write(&self, upstream: &str, taken: &mut Vec<String>, out: &mut String) {
        let name = free(&self.name, taken);
        let mut line = |text: String| {
            out.push_str(&text);
            out.push('\n');
        };
        line("\n[[tools.contracts]]".to_owned());
        line(format!("name = {}", quoted(&name)));
        line(format!("upstream = {}", quoted(upstream)));
        match &self.form {
            Form::Operation(id) => line(format!("operation = {}", quoted(id))),
            Form::Tool(tool) => line(format!("tool = {}", quoted(tool))),
            Form::Request { method, path, query } => {
                let query: Vec<_> =
                    query.iter().map(|name| format!("{0} = {0}", quoted(name))).collect();
                let query = query.join(", ");
                line(
                    "# decide: places in the path are guessed from what looks like an id."
                        .to_owned(),
                );
                line(format!(
                    "request = {{ method = {}, path = {}, query = {{ {query} }} }}",
                    quoted(method),
                    quoted(path)
                ));
            }
        }
        if let Some(parameters) = &self.parameters {
            line("# decide: the arguments are those that were recorded.".to_owned());
            line(format!("parameters = {}", inline(parameters)));
        }
        line(format!(
            "# decide: {}. Read: nothing changes. Destructive: something is lost.",
            self.guessed
        ));
        line(format!("effect = {}", quoted(effect(self.effect))));
        if self.effect != Effect::Read {
            line("mode = \"suggest\"".to_owned());
        }
        self.write_binds(&mut line);
        self.write_owners(&mut line);
        if self.effect != Effect::Read {
            line("# decide: who approves (`approval`), and by which read it is found out whether it was done \
                  (`reconcile`).".to_owned());
        }
    }

    fn write_binds(&self, line: &mut impl FnMut(String)) {
        let (sure, unsure): (Vec<_>, Vec<_>) = self.binds.iter().partition(|bind| bind.sure);
        if self.binds.is_empty() {
            line(
                "# decide: no argument looks like whose data it is. If one is, bind it.".to_owned(),
            );
        }
        for bind in unsure {
            let (pointer, source) = (quoted(&bind.pointer), source(bind.source));
            line(format!("# decide: {pointer} may come from the credential: bind it to {source}?"));
        }
        if !sure.is_empty() {
            let all: Vec<_> = sure
                .iter()
                .map(|bind| format!("{} = {}", quoted(&bind.pointer), quoted(source(bind.source))))
                .collect();
            line(
                "# decide: guessed from names. The caller cannot supply what is bound.".to_owned(),
            );
            line(format!("bind = {{ {} }}", all.join(", ")));
        }
    }

    fn write_owners(&self, line: &mut impl FnMut(String)) {
        let Some(first) = self.owners.first() else {
            line("# decide: no owner was seen in its answers. Say where it stands, or that none does:".to_owned());
            line("# owner = [{ records = \"$\", owner = \"/account_id\" }]".to_owned());
            line("# unverifiable = true".to_owned());
            return;
        };
        let write = |place: &Place| {
            format!(
                "{{ records = {}, owner = {} }}",
                quoted(&place.records),
                quoted(&place.pointer)
            )
        };
        for other in &self.owners[1..] {
            line(format!("# decide: is this one, too? {}", write(other)));
        }
        line(
            "# decide: guessed from names. An answer is withheld unless each record says so."
                .to_owned(),
        );
        line(format!("owner = [{}]", write(first)));
    }
}

/// A name that agents may call it, and that no other draft has.
fn free(name: &str, taken: &mut Vec<String>) -> String {
    let allowed =
        |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' };
    let mut plain: String = name.chars().map(allowed).take(60).collect();
    if plain.is_empty() {
        plain.push_str("tool");
    }
    let mut free = plain.clone();
    let mut count = 2;
    while taken.contains(&free) {
        free = format!("{plain}_{count}");
        count += 1;
    }
    taken.push(free.clone());
    free
}

const fn effect(effect: Effect) -> &'static str {
    match effect {
        Effect::Read => "read",
        Effect::Write => "write",
        Effect::Destructive => "destructive",
    }
}

const fn source(source: Source) -> &'static str {
    match source {
        Source::Account => "account",
        Source::Accounts => "accounts",
        Source::Tenant => "tenant",
        Source::Environment => "environment",
        Source::Workflow => "workflow",
        Source::Run => "run",
        Source::Subject => "subject",
    }
}

/// A text as TOML's basic strings have it: on one line, whatever is in it.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                // Writing to a text cannot fail.
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A value as an inline table.
fn inline(value: &Value) -> String {
    match value {
        Value::Null => "{}".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => quoted(text),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", "))
        }
        Value::Object(entries) => {
            let entries =
                entries.iter().map(|(key, value)| format!("{} = {}", quoted(key), inline(value)));
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
    }
}
