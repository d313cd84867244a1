//! What an operator may set: the section `[reviews]` of `bulkhead.toml`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Error;

/// Bounds, and who is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Most open reviews of one tenant's environment. Default 1,000.
    pub open_per_tenant: u64,
    /// Most things in quarantine, of all tenants; of what is found on one tenant's hops a quarter as
    /// many, and on those of one environment an eighth; the last quarter is for who has a 64th or less.
    /// So nobody fills it for others. At that, intake stops. Default 10,000.
    pub quarantine: u64,
    /// Most bytes of them, shared alike. Default 4 GiB.
    pub quarantine_bytes: u64,
    /// Days for which a review is kept from its expiry on, and a settled thing of quarantine from then
    /// on. Default 30.
    pub keep_days: u32,
    /// Where new reviews are announced, as Standard Webhooks. Default: nowhere.
    pub webhooks: Vec<Webhook>,
}

/// Most places where reviews are announced.
const MOST_WEBHOOKS: usize = 16;

impl Settings {
    /// Checks what can be said without a name being resolved.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let wrong = |what: &str| Err(Error::Settings(what.to_owned()));
        if self.open_per_tenant == 0 || self.open_per_tenant > 100_000 {
            return wrong("`open_per_tenant` is 1 to 100,000");
        }
        if self.quarantine == 0 || self.quarantine > 1_000_000 {
            return wrong("`quarantine` is 1 to 1,000,000");
        }
        if self.quarantine_bytes == 0 || self.quarantine_bytes > 1 << 40 {
            return wrong("`quarantine_bytes` is 1 to 1 TiB");
        }
        if self.keep_days == 0 || self.keep_days > 3_650 {
            return wrong("`keep_days` is 1 to 3,650");
        }
        if self.webhooks.len() > MOST_WEBHOOKS {
            return wrong("at most 16 `webhooks`");
        }
        for hook in &self.webhooks {
            let plain = hook.allow_private && hook.url.starts_with("http://");
            if !plain && !hook.url.starts_with("https://") {
                return wrong(
                    "a webhook's `url` is `https://…`, or `http://…` with `allow_private`",
                );
            }
            if hook.secret_env.is_empty() {
                return wrong("a webhook's `secret_env` names an environment variable");
            }
        }
        Ok(())
    }

    /// For how long things are kept when they are settled.
    pub(crate) fn keep(&self) -> Duration {
        Duration::from_secs(u64::from(self.keep_days) * 24 * 60 * 60)
    }
}

/// Somebody who is told of new reviews. Nothing of what is in them is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Where, `https:`. Names are resolved first, and an address inside the network is refused unless
    /// `allow_private`.
    pub url: String,
    /// The environment variable with the secret (`whsec_…`) that signs what is sent.
    pub secret_env: String,
    /// Allows addresses inside the network.
    #[serde(default)]
    pub allow_private: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            open_per_tenant: 1_000,
            quarantine: 10_000,
            quarantine_bytes: 4 << 30,
            keep_days: 30,
            webhooks: Vec::new(),
        }
    }
}
