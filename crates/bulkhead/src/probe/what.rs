//! What is probed: a target file, or one target by flags, which is a target file of few lines.

use std::{fmt::Write as _, fs, path::PathBuf};

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use probe::{Plan, Source};

use crate::{cli::Place, fault::Fault, print};

/// What is probed.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct What {
    /// The target file; docs/probe-targets.md says what it may hold
    #[arg(value_name = "FILE", conflicts_with_all = ["demo", "own", "kind"])]
    file: Option<PathBuf>,
    /// Probe a stack in this process that leaks on purpose, then its fixed twin
    #[arg(long, conflicts_with_all = ["own", "kind"])]
    demo: bool,
    /// With --demo: its fixed twin alone
    #[arg(long, requires = "demo")]
    pub(super) fixed: bool,
    /// Probe the running deployment with two tenants made for it
    #[arg(long = "self", conflicts_with = "kind")]
    own: bool,
    #[command(flatten)]
    one: One,
    #[command(flatten)]
    limits: Limits,
}

/// One target by flags.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "One target, without a file")]
struct One {
    /// What it is
    #[arg(long, value_enum, value_name = "KIND", requires_all = ["url", "a", "b"])]
    kind: Option<Kind>,
    /// Where it is: http://…, redis://…; with --self, the control plane
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// A model that both tenants may name
    #[arg(long, value_name = "MODEL", requires = "kind")]
    model: Option<String>,
    /// The first tenant's credential, by name: env:NAME or file:PATH
    #[arg(long, value_name = "REF", requires = "kind")]
    a: Option<String>,
    /// The second one's
    #[arg(long, value_name = "REF", requires = "kind")]
    b: Option<String>,
    /// Anything else that a target or (a.…, b.…) a tenant has in a file: pattern=cache:*
    #[arg(long, value_name = "KEY=VALUE", requires = "kind")]
    set: Vec<String>,
}

/// What may be spent, in the place of what the file says.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Budget [default: as the file says, or 5000 requests, $1, 10 min]")]
struct Limits {
    /// At most so many requests
    #[arg(long, value_name = "N")]
    max_requests: Option<u64>,
    /// At most so many US dollars, by the prices in the file
    #[arg(long, value_name = "USD")]
    max_usd: Option<f64>,
    /// At most so many minutes
    #[arg(long, value_name = "MIN")]
    max_minutes: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// All surfaces of Bulkhead
    Bulkhead,
    /// What speaks like OpenAI
    Openai,
    /// What speaks like Anthropic
    Anthropic,
    /// What speaks like Qdrant
    Qdrant,
    /// Redis or Valkey
    Redis,
    /// An MCP server over Streamable HTTP
    Mcp,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Bulkhead => "bulkhead",
            Self::Openai => "openai",
            Self::Anthropic => "anthropic",
            Self::Qdrant => "qdrant",
            Self::Redis => "redis",
            Self::Mcp => "mcp",
        }
    }
}

impl What {
    pub(super) const fn demo(&self) -> bool {
        self.demo
    }

    pub(super) const fn own(&self) -> bool {
        self.own
    }

    /// Whether it says what may be spent.
    pub(super) const fn limits(&self) -> bool {
        let Limits { max_requests, max_usd, max_minutes } = &self.limits;
        max_requests.is_some() || max_usd.is_some() || max_minutes.is_some()
    }

    /// The plan, and where its targets were named.
    pub(super) async fn plan(&self, _place: &Place) -> Result<(Plan, Source)> {
        let (mut plan, source) = match (&self.file, self.one.kind) {
            (Some(file), _) => {
                let path = file.display().to_string();
                (parsed(&Source::File { path: path.clone() })?, Source::File { path })
            }
            (None, Some(kind)) => {
                let source = Source::Flags { toml: self.one.toml(kind)? };
                (parsed(&source)?, source)
            }
            (None, None) => return Err(nothing()),
        };
        self.limit(&mut plan);
        Ok((plan, source))
    }

    /// Puts what the command line says about the budget into a plan.
    pub(super) fn limit(&self, plan: &mut Plan) {
        let Limits { max_requests, max_usd, max_minutes } = self.limits;
        plan.budget.requests = max_requests.unwrap_or(plan.budget.requests);
        plan.budget.usd = max_usd.unwrap_or(plan.budget.usd);
        plan.budget.minutes = max_minutes.unwrap_or(plan.budget.minutes);
    }
}

/// The plan that a source names.
pub(super) fn parsed(source: &Source) -> Result<Plan> {
    let (name, text) = match source {
        Source::File { path } => {
            let text = fs::read_to_string(path).with_context(|| path.clone())?;
            (path.as_str(), text)
        }
        Source::Flags { toml } => ("the command line", toml.clone()),
        Source::Demo { .. } | Source::Own | Source::Given => {
            return Err(Fault::failed("its targets were named by no file")
                .advise("of `--self`, ask again: bulkhead probe --self --only CHECK")
                .into());
        }
    };
    let plan = Plan::parse(name, &text).map_err(super::explained)?;
    plan.warnings().iter().for_each(print::note);
    Ok(plan)
}

fn nothing() -> anyhow::Error {
    Fault::usage("nothing to probe was named")
        .advise("name a target file, or one target by --kind, --url, --a and --b;\n`bulkhead probe --demo` needs neither")
        .into()
}

impl One {
    /// The target file that says the same.
    fn toml(&self, kind: Kind) -> Result<String> {
        let (mut tenants, mut target) = ([String::new(), String::new()], String::new());
        for (tenant, (flag, named)) in tenants.iter_mut().zip([("--a", &self.a), ("--b", &self.b)])
        {
            let named = named.as_deref().unwrap_or_default();
            if !named.starts_with("env:") && !named.starts_with("file:") {
                return Err(Fault::usage(format!("{flag} is the name of a credential, not one"))
                    .advise(format!("put it into the environment and say {flag} env:NAME: whoever lists processes sees arguments"))
                    .into());
            }
            put(tenant, "token", &quoted(named));
        }
        put(&mut target, "kind", &quoted(kind.name()));
        put(&mut target, "url", &quoted(self.url.as_deref().unwrap_or_default()));
        if let Some(model) = &self.model {
            put(&mut target, "model", &quoted(model));
        }
        for set in &self.set {
            let (key, value) = set.split_once('=').ok_or_else(|| {
                Fault::usage(format!("--set {set}: there is no `=`"))
                    .advise("write it as KEY=VALUE")
            })?;
            let [a, b] = &mut tenants;
            let (table, key) = match key.split_once('.') {
                Some(("a", key)) => (a, key),
                Some(("b", key)) => (b, key),
                _ => (&mut target, key),
            };
            if key.is_empty() || !key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                return Err(Fault::usage(format!("--set {set}: {key:?} is no key")).into());
            }
            put(table, key, &as_toml(value));
        }
        let [a, b] = &tenants;
        let name = kind.name();
        Ok(format!("[tenant.a]\n{a}\n[tenant.b]\n{b}\n[target.{name}]\n{target}"))
    }
}

fn put(table: &mut String, key: &str, value: &str) {
    // Writing to a text does not fail.
    let _ = writeln!(table, "{key} = {value}");
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A number, a truth, a list as such; anything else is text.
fn as_toml(value: &str) -> String {
    let read = toml::from_str::<toml::Table>(&format!("value = {value}"));
    let fits = read.is_ok_and(|table| table.len() == 1);
    if fits { value.to_owned() } else { quoted(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one() -> One {
        One {
            kind: Some(Kind::Redis),
            url: Some("redis://127.0.0.1/0".into()),
            model: None,
            a: Some("env:A".into()),
            b: Some("file:/run/b".into()),
            set: vec!["pattern=cache:*".into(), "a.prefix=acme:".into(), "b.names=[\"g\"]".into()],
        }
    }

    #[test]
    fn flags_are_a_file_of_few_lines() {
        let text = one().toml(Kind::Redis).unwrap();
        let table: toml::Table = toml::from_str(&text).unwrap();
        assert_eq!(table["tenant"]["a"]["token"].as_str(), Some("env:A"));
        assert_eq!(table["tenant"]["a"]["prefix"].as_str(), Some("acme:"));
        assert_eq!(table["tenant"]["b"]["names"].as_array().map(Vec::len), Some(1));
        assert_eq!(table["target"]["redis"]["pattern"].as_str(), Some("cache:*"));
    }

    #[test]
    fn a_credential_is_no_argument() {
        let one = One { b: Some("sk-secret".into()), ..one() };
        let error = one.toml(Kind::Redis).unwrap_err();
        assert!(!crate::fault::describe(&error).contains("sk-secret"));
        assert!(crate::fault::describe(&error).contains("--b env:NAME"));
    }

    #[test]
    fn what_breaks_out_of_its_value_is_text() {
        let one = One { set: vec!["pattern=1\n[budget]\nusd = 9".into()], ..one() };
        let text = one.toml(Kind::Redis).unwrap();
        let table: toml::Table = toml::from_str(&text).unwrap();
        assert!(!table.contains_key("budget"), "{text}");
    }
}
