//! What is wrong with the settings is said when they are read.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    ops::RangeInclusive,
};

use http::{HeaderName, Uri};

use super::{Auth, Limits, Settings, Upstream, UpstreamKind, Uris};
use crate::Error;

/// The longest thing before the name of a prompt, in bytes.
const LONGEST_PREFIX: usize = 64;

/// Headers that say whose a request is, where it goes, or where it ends.
const NOT_OURS: [&str; 16] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

impl Settings {
    /// Checks everything that can be checked without asking anybody.
    ///
    /// # Errors
    /// The first thing that is wrong: which upstream or contract, and which field.
    pub fn check(&self) -> Result<(), Error> {
        self.check_surroundings().map_err(Error::Settings)?;
        crate::contract::table(self).map(drop)
    }

    /// Everything but the contracts.
    pub(crate) fn check_surroundings(&self) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        for upstream in &self.upstreams {
            let wrong = |why: String| format!("upstream `{}`: {why}", upstream.id);
            if !seen.insert(&upstream.id) {
                return Err(wrong("id: another upstream has it; names are unique".to_owned()));
            }
            upstream.check().map_err(wrong)?;
        }
        self.check_names()?;
        let mut seen = BTreeSet::new();
        if let Some(twice) = self.workflows.iter().find(|of| !seen.insert(&of.workflow)) {
            return Err(format!("workflows: `{}` is there twice", twice.workflow));
        }
        for origin in &self.origins {
            check_origin(origin).map_err(|why| format!("origins: `{origin}`: {why}"))?;
        }
        self.limits.check().map_err(|why| format!("limits: {why}"))
    }

    /// What agents name has to lead to one upstream.
    fn check_names(&self) -> Result<(), String> {
        let mut prefixes = BTreeMap::new();
        for upstream in self.upstreams.iter().filter(|upstream| upstream.prompts) {
            let prefix = upstream.prompt_prefix();
            if let Some(other) = prefixes.insert(prefix, &upstream.id) {
                return Err(format!(
                    "upstream `{}`: prompt_prefix: upstream `{other}` has the same, so that one's prompts could pass for the other's",
                    upstream.id
                ));
            }
        }
        let mut named = self.upstreams.iter().filter(|of| of.uris == Uris::Unverifiable);
        match (named.next(), named.next()) {
            (Some(one), Some(two)) => Err(format!(
                "upstream `{}`: uris: those of upstream `{}` are its own already; of two such, one's could pass for the other's",
                two.id, one.id
            )),
            _ => Ok(()),
        }
    }
}

impl Upstream {
    fn check(&self) -> Result<(), String> {
        match self.kind {
            UpstreamKind::Mcp | UpstreamKind::Http => {
                check_url(&self.url, self.allow_plain_http).map_err(|why| format!("url: {why}"))?;
            }
            UpstreamKind::Postgres => self.check_database().map_err(|why| format!("url: {why}"))?,
        }
        self.check_auth().map_err(|why| format!("auth: {why}"))?;
        for (name, ms) in [
            ("connect_ms", self.timeouts.connect_ms),
            ("idle_ms", self.timeouts.idle_ms),
            ("total_ms", self.timeouts.total_ms),
        ] {
            within(ms, 1..=3_600_000).map_err(|why| format!("timeouts.{name}: {why}"))?;
        }
        within(self.max_response_bytes, 1..=256 << 20)
            .map_err(|why| format!("max_response_bytes: {why}"))?;
        if self.openapi.is_some() && self.kind != UpstreamKind::Http {
            return Err("openapi: only an `http` upstream has such a document".to_owned());
        }
        if (self.resources || self.prompts) && self.kind != UpstreamKind::Mcp {
            return Err("resources, prompts: only an `mcp` upstream has them".to_owned());
        }
        if self.uris == Uris::Unverifiable && !self.resources {
            return Err("uris: its `resources` are not offered".to_owned());
        }
        if let Some(prefix) = &self.prompt_prefix {
            if !self.prompts {
                return Err("prompt_prefix: its `prompts` are not offered".to_owned());
            }
            if prefix.len() > LONGEST_PREFIX || !prefix.bytes().all(|b| b.is_ascii_graphic()) {
                return Err(format!("prompt_prefix: at most {LONGEST_PREFIX} visible characters"));
            }
        }
        Ok(())
    }

    fn check_database(&self) -> Result<(), String> {
        let url: Uri = self.url.parse().map_err(|_| "it is no URL")?;
        if !matches!(url.scheme_str(), Some("postgres" | "postgresql")) {
            return Err("it is `postgres://host:port/database`".to_owned());
        }
        let authority = url.authority().ok_or("it names no host")?.as_str();
        match authority.rsplit_once('@') {
            Some((user, _)) if self.auth != Auth::None || user.contains(':') => Err(
                "it holds a user: with `auth` `none` it may name one, without a password; credentials come from the vault".to_owned(),
            ),
            _ if url.query().is_some() || self.url.contains('#') => {
                Err("it has a query or a fragment".to_owned())
            }
            _ if url.path().trim_start_matches('/').is_empty() => {
                Err("it names no database".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn check_auth(&self) -> Result<(), String> {
        let database = self.kind == UpstreamKind::Postgres;
        match &self.auth {
            Auth::Header { .. }
            | Auth::OauthClient { .. }
            | Auth::OauthRefresh { .. }
            | Auth::Assertion { .. }
                if database =>
            {
                Err("PostgreSQL takes `basic` (`user:password`) or `none`".to_owned())
            }
            Auth::Header { name } if !name.eq_ignore_ascii_case("authorization") => {
                header_is_ours(name).map_err(|why| format!("name: {why}"))
            }
            Auth::OauthClient { token_url, .. } | Auth::OauthRefresh { token_url, .. } => {
                check_url(token_url, self.allow_plain_http)
                    .map_err(|why| format!("token_url: {why}"))
            }
            Auth::Assertion { audience, seconds } => {
                if audience.is_empty()
                    || audience.len() > 255
                    || audience.contains(char::is_control)
                {
                    return Err("audience: it has 1 to 255 bytes".to_owned());
                }
                within(*seconds, 1..=900).map_err(|why| format!("seconds: {why}"))
            }
            Auth::Mtls if !database && !self.url.starts_with("https:") => {
                Err("a certificate needs an https: url".to_owned())
            }
            _ => Ok(()),
        }
    }
}

impl Limits {
    fn check(&self) -> Result<(), String> {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        for (name, value, bounds) in [
            ("arguments_bytes", count(self.arguments_bytes), 1..=16 << 20),
            // The parser itself goes no deeper than 128.
            ("depth", count(self.depth), 1..=120),
            ("nodes", count(self.nodes), 1..=1_000_000),
            ("values", count(self.values), 1..=4_096),
            ("records", count(self.records), 1..=1_000_000),
            ("catalog_seconds", self.catalog_seconds, 1..=86_400),
            ("intents", self.intents, 1..=100_000_000),
            ("intent_days", u64::from(self.intent_days), 1..=3_650),
            ("clients", count(self.clients), 1..=100_000),
            ("approval_wait_seconds", self.approval_wait_seconds, 0..=3_600),
        ] {
            within(value, bounds).map_err(|why| format!("{name}: {why}"))?;
        }
        Ok(())
    }
}

fn within(value: u64, bounds: RangeInclusive<u64>) -> Result<(), String> {
    if bounds.contains(&value) {
        return Ok(());
    }
    Err(format!("it is {} to {}", bounds.start(), bounds.end()))
}

/// A header that a contract may set: none that says whose the request is or how it is framed.
pub(crate) fn header_is_ours(name: &str) -> Result<(), String> {
    let parsed = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| format!("`{}` is no header", name.escape_debug()))?;
    let known = NOT_OURS.contains(&parsed.as_str());
    // What proxies say of where a request came from, and MCP's mirrors of the body, are not a
    // contract's to say.
    let said_by_others = ["proxy-", "x-forwarded-", "mcp-"];
    if known || said_by_others.iter().any(|start| parsed.as_str().starts_with(start)) {
        return Err(format!("`{parsed}` is not for a contract to set"));
    }
    Ok(())
}

/// A URL to which a credential may be sent.
fn check_url(text: &str, allow_plain_http: bool) -> Result<(), String> {
    let url: Uri = text.parse().map_err(|_| "it is no URL")?;
    let authority = url.authority().ok_or("it names no host")?;
    if authority.as_str().contains('@') {
        return Err("it holds a user: credentials come from the vault".to_owned());
    }
    if url.query().is_some() || text.contains('#') {
        return Err("it has a query or a fragment".to_owned());
    }
    let host = authority.host().trim_matches(['[', ']']);
    match url.scheme_str() {
        _ if host.is_empty() => Err("it names no host".to_owned()),
        Some("https") => Ok(()),
        Some("http") if allow_plain_http || is_this_machine(host) => Ok(()),
        Some("http") => {
            Err("it is http: to another machine; use https:, or set allow_plain_http".to_owned())
        }
        _ => Err("it begins with neither https: nor http:".to_owned()),
    }
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// An origin, as browsers write it (RFC 6454): no path, no default port, lower case.
fn check_origin(origin: &str) -> Result<(), &'static str> {
    let url: Uri = origin.parse().map_err(|_| "it is no origin")?;
    let default = match url.scheme_str() {
        Some("https") => ":443",
        Some("http") => ":80",
        _ => return Err("it begins with neither https: nor http:"),
    };
    let authority = url.authority().ok_or("it names no host")?.as_str();
    let written = origin.rsplit_once("://").map(|(_, rest)| rest);
    if written != Some(authority) || authority.contains(['@', '*']) {
        return Err("it is a scheme and a host alone, such as `https://app.example.com`");
    }
    if authority.ends_with(default) || origin.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err("browsers write it in lower case and without the usual port");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
