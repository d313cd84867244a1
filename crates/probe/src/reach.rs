//! What is on this machine and what is not: only the former is probed without being told that one
//! may.

use std::net::IpAddr;

use crate::{Error, foresee::Forecast, run::Options, target::Plan};

/// Refuses addresses beyond this machine, unless the user said that they may be probed: those that
/// the file names, and those that would be asked. Nothing was sent to any of them before.
pub(crate) async fn allowed(
    plan: &Plan,
    options: &Options,
    forecast: &Forecast,
) -> Result<(), Error> {
    if options.authorized || options.dry_run {
        return Ok(());
    }
    let targets = plan.targets.iter().filter(|target| options.probes(target));
    let named = targets
        .flat_map(|target| target.places().into_iter().map(|place| (target.name.as_str(), place)));
    let asked = forecast.addresses.iter().map(|(target, url)| (target.as_str(), url.as_str()));
    let mut known: Vec<(&str, String)> = Vec::new();
    for (target, url) in named.chain(asked) {
        let place = (target, host(url));
        if !known.contains(&place) {
            known.push(place);
        }
    }
    for (target, host) in known {
        if !local(&host).await {
            let shown = if host.is_empty() { "nowhere that can be told" } else { &host };
            return Err(Error::Authorization(format!("{target} ({shown})")));
        }
    }
    Ok(())
}

/// The host of an address; `localhost` for a socket in the file system; empty if there is none.
fn host(url: &str) -> String {
    let scheme = url.split("://").next().unwrap_or_default();
    if url.starts_with("unix:") || scheme.ends_with("unix") {
        return "localhost".to_owned();
    }
    let parsed = reqwest::Url::parse(url).or_else(|_| reqwest::Url::parse(&format!("tcp://{url}")));
    let parsed = parsed.ok().and_then(|url| url.host_str().map(str::to_owned));
    parsed.unwrap_or_default().trim_matches(['[', ']']).to_ascii_lowercase()
}

/// Whether a host is this machine: a loopback address, or a name that leads to these alone.
async fn local(host: &str) -> bool {
    if host == "localhost" || host.ends_with(".localhost") {
        return true;
    }
    if let Ok(address) = host.parse::<IpAddr>() {
        return loopback(address);
    }
    if host.is_empty() {
        return false;
    }
    match tokio::net::lookup_host((host, 0)).await {
        Ok(found) => {
            let all: Vec<_> = found.collect();
            !all.is_empty() && all.iter().all(|address| loopback(address.ip()))
        }
        Err(_) => false,
    }
}

fn loopback(address: IpAddr) -> bool {
    let address = address.to_canonical();
    address.is_loopback() || address.is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_local() {
        for url in [
            "http://127.0.0.1:8080/v1",
            "http://127.9.9.9",
            "http://[::1]:6333",
            "http://[::ffff:127.0.0.1]:6333",
            "http://localhost:4000/",
            "http://app.localhost/",
            "http://LOCALHOST",
            "redis://127.0.0.1:6379/0",
            "redis+unix:///run/redis.sock",
            "unix:/run/redis.sock",
            "127.0.0.1:6379",
        ] {
            assert!(local(&host(url)).await, "{url}");
        }
    }

    #[tokio::test]
    async fn what_is_not_local_needs_a_word() {
        let plan = |url: &str, more: &str| {
            let text = format!(
                "[tenant.a]\ntoken = \"a\"\n[tenant.b]\ntoken = \"b\"\n\
                 [target.t]\nkind = \"http\"\nurl = \"{url}\"\n{more}"
            );
            Plan::parse("t.toml", &text).unwrap()
        };
        let (none, forecast) = (Options::default(), Forecast::default());
        let dry = Options { dry_run: true, ..Options::default() };
        let said = Options { authorized: true, ..Options::default() };
        let far = plan("http://192.0.2.1", "");
        let error = allowed(&far, &none, &forecast).await.unwrap_err();
        assert!(matches!(error, Error::Authorization(name) if name.starts_with("t (192.0.2.1")));
        assert!(allowed(&far, &said, &forecast).await.is_ok());
        assert!(allowed(&far, &dry, &forecast).await.is_ok(), "nothing is sent");
        assert!(allowed(&plan("http://localhost", ""), &none, &forecast).await.is_ok());
        for more in ["logs = [\"https://192.0.2.9/\"]", "ask = { get = \"http://192.0.2.9/\" }"] {
            let plan = plan("http://localhost", more);
            assert!(allowed(&plan, &none, &forecast).await.is_err(), "{more}");
        }
        let addresses = vec![("t".to_owned(), "http://192.0.2.9/docs".to_owned())];
        let forecast = Forecast { addresses, ..Forecast::default() };
        let near = plan("http://localhost", "");
        assert!(allowed(&near, &none, &forecast).await.is_err(), "asked there all the same");
    }

    #[tokio::test]
    async fn what_is_not() {
        for url in [
            "https://192.0.2.7/v1",
            "http://10.0.0.1",
            "http://[2001:db8::1]/",
            "redis://192.0.2.7:6379",
            "http://127.0.0.1.nowhere.invalid/",
            "http://localhost.nowhere.invalid/",
            "http://2130706434.invalid",
            "http://127.0.0.1@192.0.2.7/",
            "",
            "/relative",
        ] {
            assert!(!local(&host(url)).await, "{url}");
        }
    }
}
