//! `bulkhead.toml`: from text to settings, with errors that name file, line and field.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Subcommand;
use server::Settings;

use crate::{cli::Place, doctor, fault::Fault, print::Printer};

/// What `init` writes: every field with its default, commented out.
pub(crate) const TEMPLATE: &str = include_str!("bulkhead.toml");

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check the file, and the files that it names: keys, certificates, policies
    Check,
    /// Show what is in force: the file over the defaults. It never holds a secret
    Show,
}

pub(crate) fn run(command: Command, place: &Place, out: Printer) -> Result<()> {
    match command {
        Command::Check => {
            let Loaded { path, settings } = load(place)?;
            let findings = doctor::references(&settings);
            doctor::report(&format!("{}: ", path.display()), &findings, out)
        }
        Command::Show => {
            let Loaded { path, .. } = load(place)?;
            let table = in_force(&read(&path)?)?;
            if out.is_json() {
                return out.value(&serde_json::to_value(table)?);
            }
            out.line(format!("# {} over the defaults", path.display()))?;
            out.line(toml::to_string(&table)?.trim_end())
        }
    }
}

/// Settings with where they come from.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The file.
    pub(crate) path: PathBuf,
    /// What it says, paths resolved, checked in itself.
    pub(crate) settings: Settings,
}

/// Reads and checks the configuration of a deployment.
///
/// # Errors
/// Where the file is not, cannot be read, or what is wrong in it and in which line.
pub(crate) fn load(place: &Place) -> Result<Loaded> {
    let path = place.config_file();
    let settings = parse(&path, &read(&path)?)?;
    Ok(Loaded { path, settings })
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| {
        let fault = Fault::failed(format!("cannot read {}: {error}", path.display()));
        match error.kind() {
            std::io::ErrorKind::NotFound => fault.advise(
                "`bulkhead init` makes a deployment here; name another with --dir or --config",
            ),
            _ => fault,
        }
        .into()
    })
}

/// Reads settings from the text of `path`.
///
/// # Errors
/// What is wrong, and in which line.
pub(crate) fn parse(path: &Path, text: &str) -> Result<Settings> {
    let name = path.display().to_string();
    let mut settings: Settings =
        toml::from_str(text).map_err(|error| located(&name, text, &error))?;
    settings.check().map_err(|error| Fault::failed(format!("{name}: {error}")))?;
    let base = path.parent().filter(|base| *base != Path::new("")).unwrap_or(Path::new("."));
    settings.resolve(base);
    Ok(settings)
}

/// Whether the file sets a field itself.
pub(crate) fn says(path: &Path, section: &str, field: &str) -> bool {
    let table = read(path).ok().and_then(|text| toml::from_str::<toml::Table>(&text).ok());
    table.is_some_and(|table| table.get(section).is_some_and(|s| s.get(field).is_some()))
}

/// A TOML error with file, line and column, and the name that may have been meant.
pub(crate) fn located(name: &str, text: &str, error: &toml::de::Error) -> Fault {
    let at = error.span().map_or_else(String::new, |span| {
        let before = text.get(..span.start).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        format!(":{line}:{column}")
    });
    let message = error.message().trim_end();
    let fault = Fault::failed(format!("{name}{at}: {message}"));
    match meant(message) {
        Some(known) => fault.advise(format!("did you mean `{known}`?")),
        None => match remedy(message) {
            Some(advice) => fault.advise(advice),
            None => fault,
        },
    }
}

/// What to do about a mistake that is no misspelling.
fn remedy(message: &str) -> Option<&'static str> {
    if message.contains("socket address") {
        return Some("write an IP address and a port, as in \"127.0.0.1:8642\"");
    }
    ["unknown field `api_key`", "unknown field `token`", "unknown field `secret`"]
        .into_iter()
        .any(|field| message.starts_with(field))
        .then_some("secrets do not belong here: `bulkhead credential set` stores each tenant's own")
}

/// The known name nearest to an unknown one, if one is near.
fn meant(message: &str) -> Option<String> {
    let unknown = |what| message.strip_prefix(what);
    let mut quoted = unknown("unknown field ")
        .or_else(|| unknown("unknown variant "))?
        .split('`')
        .skip(1)
        .step_by(2);
    let unknown = quoted.next()?;
    let (distance, known) = quoted.map(|known| (distance(unknown, known), known)).min()?;
    (distance <= 1 + unknown.len() / 4).then(|| known.to_owned())
}

/// How many letters to insert, delete or change (Wagner and Fischer, 1974).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// The template with its defaults in force.
fn defaults() -> Result<toml::Table> {
    fn bare(line: &str) -> &str {
        let rest = line.strip_prefix('#').filter(|rest| {
            rest.starts_with(|c: char| c.is_ascii_lowercase() || c == ']')
                || rest.starts_with("  {")
        });
        rest.unwrap_or(line)
    }
    let lines: Vec<&str> = TEMPLATE.lines().map(bare).collect();
    toml::from_str(&lines.join("\n")).context("the built-in template")
}

/// A file over the defaults.
fn in_force(text: &str) -> Result<toml::Table> {
    fn lay(over: toml::Table, under: &mut toml::Table) {
        for (name, value) in over {
            match (value, under.get_mut(&name)) {
                (toml::Value::Table(over), Some(toml::Value::Table(under)))
                    // One of these names the source; they are not added up.
                    if name != "root_key" =>
                {
                    lay(over, under);
                }
                (value, _) => {
                    under.insert(name, value);
                }
            }
        }
    }
    let mut all = defaults()?;
    lay(toml::from_str(text)?, &mut all);
    Ok(all)
}

/// Where the control plane of a configuration is reached, as far as the file tells; for
/// commands that speak to it. A file that is not there or not good tells nothing.
pub(crate) fn control_url(path: &Path) -> Option<String> {
    let table: toml::Table = toml::from_str(&std::fs::read_to_string(path).ok()?).ok()?;
    let control = table.get("control")?;
    let address: std::net::SocketAddr = control.get("address")?.as_str()?.parse().ok()?;
    if address.port() == 0 {
        return None;
    }
    let scheme = if control.get("tls").is_some() { "https" } else { "http" };
    let host = control.get("hosts").and_then(|hosts| hosts.get(0)?.as_str());
    let host = match host {
        // A certificate is for a name.
        Some(host) if scheme == "https" => host.to_owned(),
        _ if address.ip().is_unspecified() => "127.0.0.1".to_owned(),
        _ if address.is_ipv6() => format!("[{}]", address.ip()),
        _ => address.ip().to_string(),
    };
    Some(format!("{scheme}://{host}:{}", address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The template says what the defaults are; this holds it to the truth.
    #[test]
    fn the_template_tells_the_defaults() {
        let told: Settings =
            toml::from_str(&toml::to_string(&defaults().unwrap()).unwrap()).unwrap();
        let mut real = Settings::default();
        real.data.address = Some(real.data.address_or(server::DATA_PORT));
        real.control.address = Some(real.control.address_or(server::CONTROL_PORT));
        assert_eq!(format!("{told:#?}"), format!("{real:#?}"));
        let bare: Settings = toml::from_str(TEMPLATE).unwrap();
        assert_eq!(format!("{bare:#?}"), format!("{:#?}", Settings::default()));
    }

    /// What the template shows as examples is accepted too.
    #[test]
    fn the_templates_examples_are_accepted() {
        let mut text = String::new();
        let mut example = false;
        for line in TEMPLATE.lines() {
            let bare = line.strip_prefix("# ").unwrap_or("");
            let begins = bare.starts_with('[')
                || ["file = ", "resources = ", "index_dir = ", "ttl_seconds = ", "embedding = "]
                    .iter()
                    .any(|field| bare.starts_with(field));
            let is_field =
                |l: &str| l.split_once(" = ").is_some_and(|(name, _)| !name.contains(' '));
            example = (begins || example) && (begins || is_field(bare) || bare.starts_with("# "));
            text.push_str(if example { bare } else { line });
            text.push('\n');
        }
        let settings: Settings = toml::from_str(&text).unwrap();
        settings.check().unwrap();
        assert_eq!(settings.identity.issuers.len(), 1, "{text}");
        assert_eq!((settings.model.providers.len(), settings.model.routes.len()), (4, 3));
        assert_eq!(settings.model.resources.as_ref().unwrap().as_str(), "openai");
        assert!(settings.data.tls.is_some() && settings.control.tls.is_some());
        assert_eq!(settings.memory.filters.len(), 1);
        assert!(settings.memory.index_dir.is_some() && settings.memory.ttl_seconds.is_some());
        assert_eq!(settings.memory.embedding.as_deref(), Some("embed"));
        assert!(settings.policy.file.is_some() && settings.model.routes[0].semantic.is_some());
    }

    const PROVIDER: &str = "[[model.providers]]\nid = \"a\"\nkind = \"openai-compatable\"\nbase_url = \"https://a/v1\"\n";

    #[test]
    fn mistakes_are_told_with_file_line_and_field() {
        for (text, told) in [
            ("[limits]\nbody_byte = 1\n", "b.toml:2:1: unknown field `body_byte`"),
            ("[limits]\nbody_byte = 1\n", "did you mean `body_bytes`?"),
            ("\n\n[dat]\n", "b.toml:3:2: unknown field `dat`"),
            ("[data]\naddress = 1\n", "b.toml:2:11: invalid type"),
            ("[data\n", "b.toml:1:6: "),
            ("[limits]\nconnections = 0\n", "limits.connections"),
            ("[model]\nresources = \"x\"\n", "resources: no provider x"),
            ("[[model.routes]]\nname = \"m\"\n", "model m: it has neither provider nor targets"),
            (PROVIDER, "b.toml:3:8: unknown variant `openai-compatable`"),
            (PROVIDER, "did you mean `openai-compatible`?"),
        ] {
            let error = parse(Path::new("b.toml"), text).unwrap_err();
            let told_all = crate::fault::describe(&error);
            assert!(told_all.contains(told), "{text:?}: {told_all}");
        }
    }

    #[test]
    fn the_control_plane_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bulkhead.toml");
        for (text, url) in [
            ("[control]\naddress = \"127.0.0.1:9\"", Some("http://127.0.0.1:9")),
            ("[control]\naddress = \"0.0.0.0:9\"", Some("http://127.0.0.1:9")),
            ("[control]\naddress = \"[::1]:9\"", Some("http://[::1]:9")),
            ("[control]\naddress = \"127.0.0.1:0\"", None),
            ("[control]", None),
            ("[control", None),
            (
                "[control]\naddress = \"0.0.0.0:9\"\nhosts = [\"a.b\"]\ntls = { certificate = \"c\", key = \"k\" }",
                Some("https://a.b:9"),
            ),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(control_url(&path).as_deref(), url, "{text}");
        }
        assert_eq!(control_url(Path::new("/nowhere/bulkhead.toml")), None);
    }

    #[test]
    fn what_is_in_force_is_the_file_over_the_defaults() {
        let all =
            in_force("[limits]\nconnections = 7\n[storage]\nroot_key = { environment = \"R\" }\n")
                .unwrap();
        let shown = toml::to_string(&all).unwrap();
        assert!(shown.contains("connections = 7") && shown.contains("body_bytes = 16777216"));
        assert!(shown.contains("environment = \"R\"") && !shown.contains("root.key"), "{shown}");
    }
}
