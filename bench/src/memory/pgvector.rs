//! The reference: Postgres with pgvector on the same data, by `bench/pgvector/measure.py`.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::{
    data::{DIMENSIONS, Data},
    truth::Truth,
};

/// Different queries of each tenant.
const QUERIES: u64 = 100;

/// Of one tenant in one arrangement of tables.
pub(crate) struct Row {
    pub(crate) arrangement: String,
    pub(crate) tenant: usize,
    pub(crate) points: u64,
    /// Of ten that were asked for.
    pub(crate) rows_mean: f64,
    pub(crate) recall: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

/// What the script said.
pub(crate) struct Measured {
    pub(crate) versions: String,
    pub(crate) rows: Vec<Row>,
}

/// The Python that has it, if `--peers` was given: the environment names it.
pub(crate) fn python() -> Option<PathBuf> {
    std::env::var_os("PGVECTOR_PYTHON").map(PathBuf::from)
}

/// Loads everything into it and asks for these tenants.
pub(crate) fn measure(python: &Path, data: &Data, tenants: &[usize]) -> Result<Measured> {
    let folder = tempfile::tempdir()?;
    points(data, &folder.path().join("points.bin"))?;
    let cases: Vec<Value> = tenants.iter().map(|tenant| case(data, *tenant)).collect();
    let given = json!({"dimensions": DIMENSIONS, "cases": cases});
    fs::write(folder.path().join("cases.json"), given.to_string())?;
    let script = std::env::current_dir()?.join("bench/pgvector/measure.py");
    let mut command = Command::new(python);
    let output = command.arg(script).arg(folder.path()).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "measure.py failed");
    let said: Value = serde_json::from_slice(&output.stdout)?;
    let mut rows = Vec::new();
    for arrangement in said["arrangements"].as_array().context("no arrangements")? {
        for case in arrangement["cases"].as_array().context("no cases")? {
            let number = |name: &str| case[name].as_f64().with_context(|| format!("no {name}"));
            let count = |name: &str| case[name].as_u64().with_context(|| format!("no {name}"));
            rows.push(Row {
                arrangement: arrangement["name"].as_str().context("no name")?.to_owned(),
                tenant: usize::try_from(count("tenant")?)?,
                points: count("points")?,
                rows_mean: number("rows_mean")?,
                recall: number("recall")?,
                p50_us: number("p50_us")?,
                p99_us: number("p99_us")?,
            });
        }
    }
    let version = |name: &str| said[name].as_str().unwrap_or("?").to_owned();
    let versions = format!("Postgres {}, pgvector {}", version("postgres"), version("pgvector"));
    Ok(Measured { versions, rows })
}

/// A tenant's queries and their right answers.
fn case(data: &Data, tenant: usize) -> Value {
    let truth = Truth::of(data, tenant);
    let queries: Vec<_> = (0..QUERIES).map(|nth| data.query(tenant, nth)).collect();
    let nearest: Vec<_> = queries.iter().map(|query| truth.nearest(query, 10)).collect();
    json!({
        "tenant": tenant,
        "points": data.sizes[tenant],
        "queries": queries,
        "nearest": nearest,
    })
}

/// All points as Postgres's binary COPY has them, in turns of tenants: as rows of many customers come.
fn points(data: &Data, path: &Path) -> Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0")?;
    let width = i32::try_from(4 + 4 * DIMENSIONS)?;
    let dimensions = i16::try_from(DIMENSIONS)?;
    const TURN: u64 = 100;
    let largest = data.sizes.iter().copied().max().unwrap_or(0);
    for from in (0..largest).step_by(usize::try_from(TURN)?) {
        for (tenant, size) in data.sizes.iter().enumerate() {
            for id in from..(from + TURN).min(*size) {
                file.write_all(&3_i16.to_be_bytes())?;
                file.write_all(&4_i32.to_be_bytes())?;
                file.write_all(&i32::try_from(tenant)?.to_be_bytes())?;
                file.write_all(&8_i32.to_be_bytes())?;
                file.write_all(&i64::try_from(id)?.to_be_bytes())?;
                file.write_all(&width.to_be_bytes())?;
                file.write_all(&dimensions.to_be_bytes())?;
                file.write_all(&0_i16.to_be_bytes())?;
                for x in data.vector(tenant, id) {
                    file.write_all(&x.to_be_bytes())?;
                }
            }
        }
    }
    file.write_all(&(-1_i16).to_be_bytes())?;
    file.flush()?;
    Ok(())
}
