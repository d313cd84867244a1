//! What an operator may set.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Error;

const MIB: u64 = 1 << 20;
const DAY: u64 = 24 * 3_600;

/// Bounds of the state of runs; the section `[state]` of `bulkhead.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StateSettings {
    /// The largest value, in bytes.
    pub value_max_bytes: u64,
    /// The longest key, in bytes.
    pub key_max_bytes: u64,
    /// Keys in one run.
    pub keys_per_run: u64,
    /// Bytes for one tenant's environment: keys, values, earlier versions and sealing.
    pub bytes_per_tenant: u64,
    /// The longest that anything is kept, in days, whatever a write asks for; 0 sets no bound.
    pub ttl_max_days: u64,
    /// Earlier versions that are kept of each key.
    pub history: u64,
}

impl Default for StateSettings {
    /// 1 MiB a value, 512 bytes a key, 10,000 keys a run, 1 GiB a tenant, for as long as
    /// writes ask for, with 10 earlier versions.
    fn default() -> Self {
        Self {
            value_max_bytes: MIB,
            key_max_bytes: 512,
            keys_per_run: 10_000,
            bytes_per_tenant: 1_024 * MIB,
            ttl_max_days: 0,
            history: 10,
        }
    }
}

impl StateSettings {
    /// Refuses what cannot be held.
    ///
    /// # Errors
    /// Which bound cannot be.
    pub const fn check(&self) -> Result<(), Error> {
        let refused = match self {
            _ if self.value_max_bytes > 8 * MIB => "value_max_bytes is more than 8 MiB",
            _ if self.key_max_bytes == 0 => "key_max_bytes is 0",
            _ if self.key_max_bytes > 768 => "key_max_bytes is more than 768",
            _ if self.keys_per_run == 0 => "keys_per_run is 0",
            _ if self.keys_per_run > 100_000 => "keys_per_run is more than 100,000",
            _ if self.ttl_max_days > 36_500 => "ttl_max_days is more than a hundred years",
            _ if self.history > 64 => "history is more than 64",
            _ => return Ok(()),
        };
        Err(Error::Settings("state", refused))
    }

    /// The longest that anything is kept.
    pub(crate) const fn ttl_max(&self) -> Option<Duration> {
        match self.ttl_max_days {
            0 => None,
            days => Some(Duration::from_secs(days * DAY)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_cannot_be_held() {
        let good = StateSettings::default();
        assert!(good.check().is_ok());
        for bad in [
            StateSettings { value_max_bytes: 9 * MIB, ..good.clone() },
            StateSettings { key_max_bytes: 0, ..good.clone() },
            StateSettings { key_max_bytes: 769, ..good.clone() },
            StateSettings { keys_per_run: 0, ..good.clone() },
            StateSettings { keys_per_run: 100_001, ..good.clone() },
            StateSettings { ttl_max_days: u64::MAX, ..good.clone() },
            StateSettings { history: 65, ..good },
        ] {
            assert_eq!(bad.check().unwrap_err().code(), "config.invalid", "{bad:?}");
        }
    }
}
