//! `bulkhead model …`: what callers may name, where it goes, and whether it answers.

use anyhow::Result;
use clap::Subcommand;
use serde_json::{Value, json};

use super::{
    Place,
    access::{Whom, object},
    listing::BY_CLI,
};
use crate::{
    admin::segment,
    config::{self, Loaded},
    fault::Fault,
    print::{self, Printer, field, progress},
};

/// Models.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the models that callers may name, and what isolation each has at its provider
    #[command(after_help = "\
Examples:
  bulkhead model list                                      as the configuration file has them
  bulkhead model list --tenant acme --environment live     as they are for a tenant: whether it
                                                           has a credential, its own or a shared one
  bulkhead model list -t acme -e live --json")]
    List(ListArgs),
    /// Make one tiny call per model with a tenant's credential, and say what isolation it has
    #[command(after_help = "\
Examples:
  bulkhead model test --tenant acme --environment live
  bulkhead model test -t acme -e live --route gpt-5-mini
  bulkhead model test -t acme -e live --workflow refunds --json

Each call asks for a token or a few, costs what that costs, and is on the record of the tenant.
Exits with 1 if any model did not answer.")]
    Test(TestArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// How they are for this tenant, by id or alias
    #[arg(long, short, value_name = "TENANT", requires = "environment")]
    tenant: Option<String>,
    /// Its environment
    #[arg(long, short, value_name = "NAME", requires = "tenant")]
    environment: Option<String>,
    /// Why you look; the tenant can read it in its audit log
    #[arg(long, value_name = "TEXT", default_value = BY_CLI)]
    reason: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct TestArgs {
    #[command(flatten)]
    whom: Whom,
    /// This model only, by the name that callers use
    #[arg(long, short, value_name = "NAME")]
    route: Option<String>,
    /// With the credential of this workflow, where it has its own
    #[arg(long, short, value_name = "NAME")]
    workflow: Option<String>,
    /// Why; the tenant can read it in its audit log
    #[arg(long, value_name = "TEXT", default_value = BY_CLI)]
    reason: String,
}

pub(crate) async fn run(command: Command, place: &Place, out: Printer) -> Result<()> {
    match command {
        Command::List(ListArgs {
            tenant: Some(tenant),
            environment: Some(environment),
            reason,
        }) => list(&Whom { tenant, environment }, reason, place, out).await,
        Command::List(_) => configured(place, out),
        Command::Test(args) => test(args, place, out).await,
    }
}

fn models(whom: &Whom) -> String {
    let (tenant, environment) = (segment(&whom.tenant), segment(&whom.environment));
    format!("/tenants/{tenant}/environments/{environment}/models")
}

/// What the file says, for nobody in particular.
fn configured(place: &Place, out: Printer) -> Result<()> {
    let Loaded { path, settings } = config::load(place)?;
    let routes = serde_json::to_value(&settings.model.routes)?;
    if out.is_json() {
        return out.value(&json!({ "items": routes }));
    }
    let rows: Vec<Vec<String>> = items(&routes).flat_map(of_file).collect();
    if rows.is_empty() {
        print::note(format!("no models: add [[model.routes]] to {}", path.display()));
    }
    out.table(&["model", "aliases", "provider", "upstream", "weight", "cache"], &rows)
}

/// A line for each place that a route leads to.
fn of_file(route: &Value) -> Vec<Vec<String>> {
    let own = [route.clone()];
    let targets = match route.get("targets").and_then(Value::as_array) {
        Some(targets) if !targets.is_empty() => targets.as_slice(),
        _ => &own,
    };
    let line = |(at, target): (usize, &Value)| {
        let first = |text: String| if at == 0 { text } else { String::new() };
        let (name, ttl) = (field(route, "name"), field(route, "cache.ttl_seconds"));
        let upstream = field(target, "upstream_model");
        vec![
            first(name.clone()),
            first(listed(route, "aliases")),
            field(target, "provider"),
            if upstream.is_empty() { name } else { upstream },
            field(target, "weight"),
            first(if ttl.is_empty() { "off".to_owned() } else { format!("{ttl} s") }),
        ]
    };
    targets.iter().enumerate().map(line).collect()
}

async fn list(whom: &Whom, reason: String, place: &Place, out: Printer) -> Result<()> {
    let listed = place.admin()?.get(&models(whom), &[("reason", reason)]).await?;
    if out.is_json() {
        return out.value(&listed);
    }
    let rows: Vec<Vec<String>> = items(&listed["items"]).flat_map(standing).collect();
    if rows.is_empty() {
        print::note("no models: add [[model.routes]] to the server's bulkhead.toml");
    }
    let heads = ["model", "aliases", "endpoints", "provider", "kind", "credential", "isolation"];
    out.table(&heads, &rows)?;
    if rows.iter().any(|row| row[5] == "none") {
        let Whom { tenant, environment } = whom;
        print::note(format!(
            "no credential: bulkhead credential set PROVIDER --tenant {} --environment {}",
            print::tame(tenant),
            print::tame(environment)
        ));
    }
    Ok(())
}

/// How a route stands for a tenant: a line for each place that it leads to.
fn standing(route: &Value) -> Vec<Vec<String>> {
    let targets = items(route.get("targets").unwrap_or(&Value::Null));
    let line = |(at, target): (usize, &Value)| {
        let first = |name| if at == 0 { listed(route, name) } else { String::new() };
        vec![
            first("name"),
            first("aliases"),
            listed(target, "apis"),
            field(target, "provider"),
            field(target, "kind"),
            credential(target).to_owned(),
            isolation(target),
        ]
    };
    targets.enumerate().map(line).collect()
}

/// Whose credential is behind a target.
fn credential(target: &Value) -> &'static str {
    let is = |name: &str| target.get(name).and_then(Value::as_bool).unwrap_or(false);
    match (is("credential"), is("shared")) {
        (false, _) => "none",
        (true, false) => "own",
        (true, true) => "shared",
    }
}

/// What keeps a tenant apart there, and what weakens that.
fn isolation(target: &Value) -> String {
    let (words, warning) = (listed(target, "isolation"), field(target, "warning"));
    if warning.is_empty() { words } else { format!("{words} (! {warning})") }
}

/// A field, its parts with commas between.
fn listed(value: &Value, name: &str) -> String {
    match value.get(name) {
        Some(Value::Array(parts)) => parts.iter().map(print::cell).collect::<Vec<_>>().join(", "),
        _ => field(value, name),
    }
}

async fn test(args: TestArgs, place: &Place, out: Printer) -> Result<()> {
    let TestArgs { whom, route, workflow, reason } = args;
    let what = route.as_ref().map_or("testing every model".into(), |r| format!("testing {r}"));
    let ask = object([
        ("route", route.map(Into::into)),
        ("workflow", workflow.map(Into::into)),
        ("reason", Some(json!(reason))),
    ]);
    let admin = place.admin()?;
    let path = format!("{}/test", models(&whom));
    let done = progress(&print::tame(&what), admin.post(&path, &ask)).await?;
    let results = &done["items"];
    if out.is_json() {
        out.value(&done)?;
    } else {
        let rows: Vec<Vec<String>> = items(results).map(tested).collect();
        let heads = ["model", "endpoint", "provider", "result", "ms", "isolation"];
        out.table(&heads, &rows)?;
        for one in items(results).filter(|one| !answered(one)) {
            let (route, why) = (field(one, "route"), field(one, "message"));
            print::note(print::tame(&format!("{route}: {why}")));
        }
    }
    verdict(results, &whom)
}

fn answered(result: &Value) -> bool {
    result.get("ok") == Some(&Value::Bool(true))
}

fn tested(result: &Value) -> Vec<String> {
    let code = field(result, "code");
    let said = match (answered(result), code.is_empty()) {
        (true, _) => "ok".to_owned(),
        (false, true) => "failed".to_owned(),
        (false, false) => format!("failed {code}"),
    };
    vec![
        field(result, "route"),
        field(result, "endpoint"),
        field(result, "provider"),
        said,
        field(result, "latency_ms"),
        isolation(result),
    ]
}

/// All answered, or how many did not and what to do.
fn verdict(results: &Value, whom: &Whom) -> Result<()> {
    let (all, failed) = (items(results).count(), items(results).filter(|one| !answered(one)));
    let codes: Vec<String> = failed.map(|one| field(one, "code")).collect();
    if codes.is_empty() {
        return Ok(());
    }
    let fault = Fault::failed(format!("{} of {all} models did not answer", codes.len()));
    let has = |code: &str| codes.iter().any(|one| one == code);
    let Whom { tenant, environment } = whom;
    let mut advice = Vec::new();
    if has("model.no_credential") {
        advice.push(format!(
            "bulkhead credential set PROVIDER --tenant {} --environment {}",
            print::tame(tenant),
            print::tame(environment)
        ));
    }
    if has("upstream.credential") {
        advice.push("the provider refused the stored credential: set it again".to_owned());
    }
    if has("upstream.unreachable") || has("upstream.timeout") {
        advice.push("`bulkhead doctor` says whether the providers can be reached".to_owned());
    }
    advice.push("what each code means: docs/errors/".to_owned());
    Err(fault.advise(advice.join("\n")).into())
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().map(Vec::as_slice).unwrap_or_default().iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_a_line_for_each_target() {
        let route = json!({
            "name": "fast", "aliases": ["small", "mini"],
            "targets": [
                { "provider": "openai", "kind": "openai", "credential": true, "shared": true,
                  "apis": ["chat", "responses"], "isolation": "shared prompt-cache domain" },
                { "provider": "gpu", "kind": "vllm", "credential": true, "shared": false,
                  "apis": ["chat"], "isolation": "salted", "warning": "tiers" },
                { "provider": "azure", "kind": "azure-openai", "credential": false,
                  "shared": false, "apis": ["chat"] },
            ],
        });
        let domain = "shared prompt-cache domain";
        let lines = [
            ["fast", "small, mini", "chat, responses", "openai", "openai", "shared", domain],
            ["", "", "chat", "gpu", "vllm", "own", "salted (! tiers)"],
            ["", "", "chat", "azure", "azure-openai", "none", ""],
        ];
        assert_eq!(standing(&route), lines.map(|line| line.map(str::to_owned).to_vec()));
    }

    #[test]
    fn one_that_failed_fails_the_command_and_says_what_to_do() {
        let whom = Whom { tenant: "acme".into(), environment: "live".into() };
        let good = json!({ "route": "a", "ok": true, "latency_ms": 12 });
        assert!(verdict(&json!([good]), &whom).is_ok());
        let bad = json!({ "route": "b", "ok": false, "code": "model.no_credential" });
        let error = verdict(&json!([good, bad]), &whom).unwrap_err();
        let told = crate::fault::describe(&error);
        assert!(
            told.contains("1 of 2 models")
                && told.contains("credential set PROVIDER --tenant acme"),
            "{told}"
        );
        // What cannot be read did not answer.
        assert!(verdict(&json!([{}]), &whom).is_err());
    }
}
