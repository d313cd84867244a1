//! What an operator may set.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Error;

const MIB: u64 = 1 << 20;

/// Bounds of the cache; the section `[cache]` of `bulkhead.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Bytes in memory over all tenants. When they are used up, whoever has most gives way.
    pub memory_bytes_total: u64,
    /// Bytes in memory for one tenant's environment.
    pub memory_bytes_per_tenant: u64,
    /// Bytes on disk for one tenant's environment; 0 keeps nothing on disk.
    pub disk_bytes_per_tenant: u64,
    /// The longest that anything is kept, in seconds, whatever a route asks for.
    pub ttl_max_seconds: u64,
    /// The largest value that is kept, in bytes.
    pub value_max_bytes: u64,
}

impl Default for Settings {
    /// 128 MiB in memory, 16 MiB of it for one tenant; 256 MiB on disk for each tenant; at
    /// most 7 days and 2 MiB a value.
    fn default() -> Self {
        Self {
            memory_bytes_total: 128 * MIB,
            memory_bytes_per_tenant: 16 * MIB,
            disk_bytes_per_tenant: 256 * MIB,
            ttl_max_seconds: 7 * 24 * 3_600,
            value_max_bytes: 2 * MIB,
        }
    }
}

impl Settings {
    /// The longest that anything is kept.
    #[must_use]
    pub(crate) const fn ttl_max(&self) -> Duration {
        Duration::from_secs(self.ttl_max_seconds)
    }

    /// Refuses settings that contradict each other.
    ///
    /// # Errors
    /// What contradicts what.
    pub const fn check(&self) -> Result<(), Error> {
        if self.memory_bytes_per_tenant > self.memory_bytes_total {
            return Err(Error::Settings(
                "cache",
                "memory_bytes_per_tenant is more than memory_bytes_total",
            ));
        }
        if self.value_max_bytes > 64 * MIB {
            return Err(Error::Settings("cache", "value_max_bytes is more than 64 MiB"));
        }
        if self.ttl_max_seconds > 366 * 24 * 3_600 {
            return Err(Error::Settings("cache", "ttl_max_seconds is more than a year"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_contradictions() {
        let good = Settings::default();
        assert!(good.check().is_ok());
        for bad in [
            Settings { memory_bytes_per_tenant: 1 << 30, ..good.clone() },
            Settings { value_max_bytes: 1 << 30, ..good.clone() },
            Settings { ttl_max_seconds: u64::MAX, ..good },
        ] {
            assert_eq!(bad.check().unwrap_err().code(), "config.invalid", "{bad:?}");
        }
    }
}
