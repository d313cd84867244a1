//! What a running deployment says of itself.

use std::time::Duration;

use anyhow::Result;
use futures_util::future::join_all;
use reqwest::Url;
use serde::Deserialize as _;
use serde_json::Value;
use server::Settings;
use tokio::net::TcpStream;

use super::{Finding, indexes, isolation, probed};
use crate::{
    admin::Admin,
    print::{field, time},
};

/// How long a provider may take to take a connection.
const CONNECT: Duration = Duration::from_secs(2);

/// Whether the providers can be reached from this machine.
pub(super) async fn providers(settings: &Settings) -> Vec<Finding> {
    let providers = &settings.model.providers;
    join_all(providers.iter().map(|one| provider(one.id.as_str(), &one.base_url))).await
}

async fn provider(id: &str, base: &str) -> Finding {
    let place = Url::parse(base)
        .ok()
        .and_then(|url| Some((url.host_str()?.to_owned(), url.port_or_known_default()?)));
    let Some((host, port)) = place else {
        return Finding::wrong("provider", format!("{id}: {base}"), "correct its `base_url`");
    };
    let address = (host.trim_matches(['[', ']']), port);
    let why = match tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
        Ok(Ok(_)) => return Finding::good("provider", format!("{id} answers at {host}:{port}")),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no connection in {} s", CONNECT.as_secs()),
    };
    Finding::warning(
        "provider",
        format!("{id} cannot be reached at {host}:{port} from here: {why}"),
        "check its `base_url`, the network, and whether the provider is up",
    )
}

/// Asks the admin API. What the configuration file of this machine says of providers is used,
/// where it is here.
pub(super) async fn look(admin: &Admin, settings: Option<&Settings>) -> Result<Vec<Finding>> {
    let status = admin.get("/status", &[]).await?;
    let mut findings = vec![ready(&status), tenants(&status), foreign(&status), events(&status)];
    findings.extend(indexes::told(&status));
    findings.extend(accounts(&status, settings));
    findings.push(version(&status));
    findings.push(audit(&admin.get("/audit/verify", &[]).await?));
    // A server of before it knows nothing of it.
    findings.extend(admin.find("/probe", &[]).await?.as_ref().map(probed::told));
    Ok(findings)
}

fn number(status: &Value, path: &str) -> u64 {
    status.pointer(path).and_then(Value::as_u64).unwrap_or_default()
}

fn ready(status: &Value) -> Finding {
    let detail = format!(
        "{}, {} since {}",
        field(status, "name"),
        field(status, "version"),
        time(status.get("started"))
    );
    if status.get("ready") == Some(&Value::Bool(true)) {
        return Finding::good("server", format!("ready: {detail}"));
    }
    Finding::wrong(
        "server",
        format!("not ready: {detail}"),
        "it is starting or ending; see its log",
    )
}

/// Two versions that differ may misunderstand each other.
fn version(status: &Value) -> Finding {
    let (theirs, ours) = (field(status, "version"), env!("CARGO_PKG_VERSION"));
    if theirs == ours {
        return Finding::good("version", ours);
    }
    Finding::warning(
        "version",
        format!("the server is {theirs}, this command is {ours}"),
        "use the same version for both",
    )
}

fn tenants(status: &Value) -> Finding {
    let detail = format!(
        "{} tenants, {} models, {} providers",
        number(status, "/tenants"),
        number(status, "/models"),
        number(status, "/providers")
    );
    if number(status, "/models") == 0 {
        let advice = "callers can name no model: add [[model.routes]] and start it again";
        return Finding::warning("tenants", detail, advice);
    }
    Finding::good("tenants", detail)
}

/// Bytes or rows that turned up with somebody else.
fn foreign(status: &Value) -> Finding {
    let counts = ["cache", "vault", "store"].map(|place| {
        let count = number(status, &format!("/foreign/{place}"));
        (place, count)
    });
    let told: Vec<String> = counts
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(place, count)| format!("{count} in the {place}"))
        .collect();
    if told.is_empty() {
        return Finding::good("isolation", "nothing of one tenant turned up with another");
    }
    Finding::wrong(
        "isolation",
        format!("withheld since the start: {}", told.join(", ")),
        "a security event each: a file was changed by hand, or there is a bug. Keep the files and\nthe log, look at `audit list`, and tell us (SECURITY.md)",
    )
}

/// Which providers' secrets are shared. A server of before it was told says nothing.
fn accounts(status: &Value, settings: Option<&Settings>) -> Vec<Finding> {
    let Some(told) = status.get("shared_credentials") else { return Vec::new() };
    let Ok(all) = Vec::<isolation::Shared>::deserialize(told) else {
        let advice = "use the same version for both";
        return vec![Finding::warning("accounts", "told in a form that is not known here", advice)];
    };
    let none = model::Settings::default();
    isolation::shared(settings.map_or(&none, |settings| &settings.model), &all)
}

fn events(status: &Value) -> Finding {
    let (written, dropped, failed) = (
        number(status, "/events/written"),
        number(status, "/events/dropped"),
        number(status, "/events/failed"),
    );
    let detail = format!("{written} written, {dropped} dropped, {failed} failed since the start");
    if failed > 0 {
        return Finding::wrong("events", detail, "the data disk is full or failing; see the log");
    }
    if dropped > 0 {
        return Finding::warning("events", detail, "raise `records.queue`, or use a faster disk");
    }
    Finding::good("events", detail)
}

fn audit(verdict: &Value) -> Finding {
    if verdict.get("intact") == Some(&Value::Bool(true)) {
        let entries = number(verdict, "/verified/entries");
        return Finding::good(
            "audit log",
            format!("intact, {entries} entries of the deployment's own"),
        );
    }
    let (seq, why) = (number(verdict, "/broken/seq"), verdict.pointer("/broken/why"));
    Finding::wrong(
        "audit log",
        format!("broken at entry {seq}: {}", why.map(crate::print::cell).unwrap_or_default()),
        "keep the files as they are, and compare with a backup",
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::doctor::State;

    #[test]
    fn security_events_and_lost_records_are_wrong() {
        for (status, state) in [
            (json!({ "foreign": { "cache": 0, "vault": 0, "store": 0 } }), State::Good),
            (json!({ "foreign": { "cache": 1 } }), State::Wrong),
        ] {
            assert_eq!(foreign(&status).state(), state, "{status}");
        }
        for (status, state) in [
            (json!({ "events": { "written": 9 } }), State::Good),
            (json!({ "events": { "dropped": 1 } }), State::Warning),
            (json!({ "events": { "failed": 1 } }), State::Wrong),
        ] {
            assert_eq!(events(&status).state(), state, "{status}");
        }
        for (status, state) in [
            (json!({ "shared_credentials": [] }), State::Good),
            (
                json!({ "shared_credentials": [{ "provider": "a", "secrets": 1, "units": 2 }] }),
                State::Warning,
            ),
            (json!({ "shared_credentials": 7 }), State::Warning),
        ] {
            assert_eq!(accounts(&status, None)[0].state(), state, "{status}");
        }
        assert!(accounts(&json!({}), None).is_empty());
        assert_eq!(audit(&json!({ "intact": true })).state(), State::Good);
        assert_eq!(audit(&json!({ "intact": false })).state(), State::Wrong);
    }
}
