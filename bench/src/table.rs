//! How figures are shown, and where they are kept.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::Result;

/// bench/results of the checkout that this runs in.
///
/// # Errors
/// Not run in a checkout.
pub fn results() -> Result<PathBuf> {
    let bench = std::env::current_dir()?.join("bench");
    anyhow::ensure!(bench.join("Cargo.toml").is_file(), "run this as `cargo xtask bench …`");
    let results = bench.join("results");
    fs::create_dir_all(&results)?;
    Ok(results)
}

/// Cores, processor and kernel.
#[must_use]
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let processor = fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        })
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} cores, {processor}, {} {}", std::env::consts::OS, kernel.trim())
}

/// For JSON, to a tenth.
#[must_use]
pub fn as_micros(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e7).round() / 10.0
}

/// For people.
#[must_use]
pub fn micros(time: Duration) -> String {
    if time < Duration::from_micros(10) {
        format!("{:.2} µs", time.as_secs_f64() * 1e6)
    } else if time < Duration::from_millis(10) {
        format!("{:.0} µs", time.as_secs_f64() * 1e6)
    } else {
        format!("{:.1} ms", time.as_secs_f64() * 1e3)
    }
}

/// For people.
#[must_use]
pub fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", Duration::from_micros(bytes).as_secs_f64())
}
