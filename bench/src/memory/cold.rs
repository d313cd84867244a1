//! What tenants cost who ask nothing, and what their first question after a start costs.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use bench::{
    deployment::Deployment,
    load::{Connection, Sample},
};
use tokio::runtime::Runtime;

use crate::{data::Random, tenants::Doors};

/// Starts; the median counts.
const STARTS: usize = 5;

/// Of all tenants at rest.
pub(crate) struct AtRest {
    /// From the start of the process until it is ready; the median.
    pub(crate) ready: Duration,
    /// Bytes resident when nobody has asked anything.
    pub(crate) idle: u64,
    /// Bytes that the indexes have on disk.
    pub(crate) index: u64,
    /// Bytes on disk of the smallest tenants' indexes; the median.
    pub(crate) small_index: u64,
    /// Bytes of the file with the rows.
    pub(crate) rows: u64,
}

/// Of the first question of each.
pub(crate) struct Cold {
    /// How long it took.
    pub(crate) first: Sample,
    /// How long the second one took.
    pub(crate) second: Sample,
    /// Bytes resident that an open index takes.
    pub(crate) resident: u64,
    /// What of them is the server's own, not pages of files.
    pub(crate) own: u64,
}

/// Starts again and again; leaves it running, with nothing open.
pub(crate) fn at_rest(runtime: &Runtime, ours: &mut Deployment) -> Result<AtRest> {
    ours.stop()?;
    let data = ours.folder.join("data");
    let mut small = Vec::new();
    let mut index = 0;
    for partition in fs::read_dir(data.join("index"))? {
        let partition = partition?;
        if partition.file_type()?.is_dir() {
            small.push(allocated(&partition.path())?);
            index += small.last().copied().unwrap_or(0);
        }
    }
    small.sort_unstable();
    let mut times = Vec::new();
    let mut idle = 0;
    for nth in 0..STARTS {
        if nth > 0 {
            ours.stop()?;
        }
        times.push(ours.until_ready(runtime)?);
        thread::sleep(Duration::from_secs(1));
        idle = ours.resident()?;
    }
    times.sort();
    Ok(AtRest {
        ready: times[STARTS / 2],
        idle,
        index,
        small_index: small.get(small.len() / 4).copied().unwrap_or(0),
        rows: fs::metadata(data.join("memory.db"))?.len(),
    })
}

/// Asks one question for each tenant, in no order, then one more.
pub(crate) async fn first_questions(doors: &Doors<'_>) -> Result<Cold> {
    let (before, own) = (doors.ours.resident()?, doors.ours.own_resident()?);
    let mut order: Vec<usize> = (0..doors.data.sizes.len()).collect();
    let mut random = Random::of([5, 0, 0]);
    order.sort_by_cached_key(|_| random.next());
    let mut connection = Connection::open(doors.ours.data).await?;
    let mut rounds = [Sample::default(), Sample::default()];
    for (nth, sample) in (0..).zip(&mut rounds) {
        for &tenant in &order {
            let request = doors.query(tenant, nth);
            let begun = Instant::now();
            let answer = connection.ask(&request).await?;
            sample.push(begun.elapsed());
            ensure!(answer.status == 200, "{}: {}", answer.status, answer.text());
        }
    }
    let [first, second] = rounds;
    let each = |now: u64, before: u64| now.saturating_sub(before) / order.len().max(1) as u64;
    let resident = each(doors.ours.resident()?, before);
    Ok(Cold { first, second, resident, own: each(doors.ours.own_resident()?, own) })
}

/// Bytes that files below a folder take on the disk.
fn allocated(folder: &Path) -> Result<u64> {
    let mut sum = fs::metadata(folder)?.blocks() * 512;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        sum += if metadata.is_dir() { allocated(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(sum)
}
