//! Who answers: the provider that the environment names, or the stand-in.

use anyhow::Result;
use reqwest::Url;

use crate::{admin::is_loopback, fault::Fault, print, secret::Text};

/// The provider's id in the demo's configuration.
pub(super) const ID: &str = "demo";
/// The model name that callers use.
pub(super) const MODEL: &str = "demo";

/// The route to embeddings.
pub(super) const EMBED: &str = "embed";
/// The route to a provider of Anthropic's kind.
pub(super) const MESSAGES: &str = "message";
/// The route to an account that all share, and its provider.
pub(super) const SHARED: &str = "shared";

/// Who answers.
pub(super) enum Provider {
    /// A process of ours that says what it is.
    StandIn,
    /// The one of `OPENAI_API_KEY`.
    Real(Real),
}

/// A real provider.
pub(super) struct Real {
    /// Its secret.
    pub(super) secret: Text,
    url: Url,
    model: String,
}

impl Provider {
    /// From `OPENAI_API_KEY`, `OPENAI_BASE_URL` and the model that was asked for.
    pub(super) fn find(model: &str, standin: bool) -> Result<Self> {
        let Some(secret) = Text::from_env("OPENAI_API_KEY").filter(|_| !standin) else {
            return Ok(Self::StandIn);
        };
        // What an earlier demo's lines left in this shell.
        if ["eyJ", "bk_"].iter().any(|prefix| secret.expose().starts_with(prefix)) {
            print::note(
                "OPENAI_API_KEY is a Bulkhead credential, not a provider's: using the stand-in",
            );
            return Ok(Self::StandIn);
        }
        let base = std::env::var("OPENAI_BASE_URL").unwrap_or_default();
        let base = if base.is_empty() { "https://api.openai.com/v1" } else { base.as_str() };
        let url = Url::parse(base).map_err(|error| {
            Fault::failed(format!("OPENAI_BASE_URL is not an address: {error}"))
                .advise("set it as https://api.openai.com/v1, or unset OPENAI_API_KEY to see the demo with a stand-in")
        })?;
        Ok(Self::Real(Real { secret, url, model: model.to_owned() }))
    }

    /// In the demo's first line.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::StandIn => format!(
                "stand-in, {} ms an answer (set OPENAI_API_KEY for a real one)",
                crate::standin::THINKS.as_millis()
            ),
            Self::Real(real) => {
                format!("{} at {}", real.model, real.url.host_str().unwrap_or_default())
            }
        }
    }

    /// The demo's `bulkhead.toml`.
    pub(super) fn configuration(&self, standin: Option<&str>) -> String {
        let (url, model, plain) = match self {
            Self::StandIn => (standin.unwrap_or_default(), "stand-in", false),
            Self::Real(real) => {
                let plain = real.url.scheme() == "http" && !is_loopback(&real.url);
                (real.url.as_str().trim_end_matches('/'), real.model.as_str(), plain)
            }
        };
        format!(
            r#"name = "demo"
data = {{ address = "127.0.0.1:0" }}
control = {{ address = "127.0.0.1:0" }}
identity = {{ audience = "demo" }}

[[model.providers]]
id = "{ID}"
base_url = {url}
allow_plain_http = {plain}

[[model.routes]]
name = "{MODEL}"
provider = "{ID}"
upstream_model = {model}
cache = {{ ttl_seconds = 600 }}
{more}"#,
            url = quoted(url),
            model = quoted(model),
            more = standin.map(more).unwrap_or_default(),
        )
    }
}

/// What the stand-in is besides: Anthropic's way, and an engine of one's own on which all share
/// one account.
fn more(standin: &str) -> String {
    let url = quoted(standin);
    format!(
        r#"
[[model.providers]]
id = "{MESSAGES}"
kind = "anthropic"
base_url = {url}

[[model.providers]]
id = "{SHARED}"
kind = "vllm"
base_url = {url}

[[model.routes]]
name = "{EMBED}"
provider = "{ID}"
upstream_model = "stand-in"

[[model.routes]]
name = "{MESSAGES}"
provider = "{MESSAGES}"
upstream_model = "stand-in"

[[model.routes]]
name = "{SHARED}"
provider = "{SHARED}"
upstream_model = "stand-in"
"#
    )
}

/// As a TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_good_whatever_the_environment_holds() {
        let real = Real {
            secret: Text::new("sk-x".into()),
            url: Url::parse("http://models.example:11434/v1/").unwrap(),
            model: "a\"b\n".into(),
        };
        for (provider, standin) in
            [(Provider::StandIn, Some("http://127.0.0.1:9/v1")), (Provider::Real(real), None)]
        {
            let text = provider.configuration(standin);
            let path = std::path::Path::new("bulkhead.toml");
            let settings = crate::config::parse(path, &text).unwrap();
            assert_eq!(settings.model.routes.len(), if standin.is_some() { 4 } else { 1 });
            assert!(!text.contains("sk-x"));
        }
    }
}
