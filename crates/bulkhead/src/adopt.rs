//! `bulkhead collection adopt`: from one collection of Qdrant's for all tenants to one of each
//! tenant's own.
//!
//! Pages are read in the order of ids. Of a page, every point goes to the tenant that its field
//! names, and to nobody if that is not certain. Then the page is done, and the state file says
//! so: whatever is cut off before is done again, which changes nothing, since points are put by
//! their ids.

mod owner;
mod report;
mod schema;
mod source;
mod state;

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::Result;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};

pub(crate) use schema::Without;

use self::{
    owner::{FieldPath, Tenants},
    report::LeftOut,
    schema::Plan,
    source::{Page, Source},
    state::{State, Task},
};
use crate::{
    admin::{Admin, segment},
    cli::{collection::collections, listing::BY_CLI},
    fault::Fault,
    print::{self, Printer, field},
    secret,
};

/// Tenants that are written to at once.
const AT_ONCE: usize = 4;
/// Bytes of points in one request, unless one point is more.
const BYTES: usize = 4 << 20;

pub(crate) const HELP: &str = "\
Examples:
  bulkhead collection adopt --from http://127.0.0.1:6333 --collection docs \\
      --tenant-field tenant_id --dry-run
  bulkhead collection adopt --from https://qdrant.internal:6333 --collection docs \\
      --from-api-key env:QDRANT_API_KEY --tenant-field metadata.tenant_id --report left-out.jsonl

The field's value has to be a tenant's id or alias, exactly; payloads are taken whole. A point whose
field has no value, several, or one that names no tenant is left out and listed. The source is only
read. Interrupted, the same command goes on where it stopped (--state).

Exits with 4 if anything was left out.";

/// From where, and into what.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The REST address of the Qdrant to read, such as http://127.0.0.1:6333
    #[arg(long, value_name = "URL")]
    from: String,
    /// The collection to read
    #[arg(long, value_name = "NAME")]
    collection: String,
    /// Where in the payload the tenant stands, such as tenant_id or metadata.tenant_id
    #[arg(long, value_name = "PATH", value_parser = FieldPath::parse)]
    tenant_field: FieldPath,
    /// Name of each tenant's collection [default: that of the one that is read]
    #[arg(long, value_name = "NAME")]
    to: Option<String>,
    /// The environment of the tenants
    #[arg(long, short, value_name = "NAME", default_value = "live")]
    environment: String,
    /// The key of --from: env:NAME, a file, or - for standard input
    #[arg(long, value_name = "SOURCE")]
    from_api_key: Option<secret::Source>,
    /// PEM file with the certificates to trust for --from, instead of the system's
    #[arg(long, value_name = "FILE")]
    from_ca: Option<PathBuf>,
    /// Where it is kept how far this is [default: bulkhead-adopt-NAME.json]
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Points that are read at once: 1 to 10,000
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    batch: u16,
    /// Read everything, say what would come of it, and write nothing to the deployment
    #[arg(long)]
    dry_run: bool,
    /// A file for every point that is left out, a line of JSON each
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Do without something of the source's; may be repeated
    #[arg(long, value_name = "WHAT")]
    without: Vec<Without>,
    /// Put points also into collections of that name that have some already
    #[arg(long)]
    into_existing: bool,
    /// Why; the tenants can read it in their audit logs
    #[arg(long, value_name = "TEXT", default_value = BY_CLI)]
    reason: String,
}

/// An adoption under way.
struct Adoption<'a> {
    args: &'a Args,
    admin: &'a Admin,
    source: Source,
    tenants: Tenants,
    plan: Plan,
    /// Points of the source, as it counts them.
    about: u64,
    path: PathBuf,
    state: State,
    left_out: LeftOut,
}

pub(crate) async fn run(args: Args, admin: &Admin, out: Printer) -> Result<()> {
    let key = args.from_api_key.as_ref();
    let key = key.map(|key| key.read("give it as env:NAME or in a file")).transpose()?;
    let source = Source::open(&args.from, &args.collection, key.as_ref(), args.from_ca.as_deref())?;
    let task = Task {
        source: source.name().to_owned(),
        tenant_field: args.tenant_field.as_str().to_owned(),
        deployment: admin.name().to_owned(),
        to: args.to.clone().unwrap_or_else(|| args.collection.clone()),
        environment: args.environment.clone(),
        report: args.report.clone(),
    };
    let path = args
        .state
        .clone()
        .unwrap_or_else(|| format!("bulkhead-adopt-{}.json", segment(&args.collection)).into());
    let begun = if args.dry_run { None } else { State::open(&path, &task)? };
    let info = source.describe().await?;
    let plan = schema::take(&info, &args.without)?;
    let about = info.get("points_count").and_then(Value::as_u64).unwrap_or_default();
    let tenants = Tenants::read(admin, &args.environment).await?;
    let left_out =
        LeftOut::open(args.report.as_deref(), begun.as_ref().map(|begun| begun.report_bytes))?;
    let state = match begun {
        Some(begun) => begun,
        None => {
            let state = State::new(task);
            if !args.dry_run {
                state.save(&path)?;
            }
            state
        }
    };
    let adoption =
        Adoption { args: &args, admin, source, tenants, plan, about, path, state, left_out };
    adoption.run(out).await
}

impl Adoption<'_> {
    async fn run(mut self, out: Printer) -> Result<()> {
        if self.state.done {
            print::note(format!("done already; to read it again, remove {}", self.path.display()));
        }
        while !self.state.done {
            let worked = self.page().await;
            print::tick("");
            worked?;
        }
        report::show(&self.state, self.args.dry_run, &self.plan.notes, out)?;
        match self.state.left() {
            0 => Ok(()),
            left => Err(Fault::left_out(format!("{left} points were left out")).into()),
        }
    }

    /// Reads a page and gives its points to their tenants.
    async fn page(&mut self) -> Result<()> {
        let dry_run = self.args.dry_run;
        self.tick();
        let (offset, limit) = (self.state.offset.as_ref(), usize::from(self.args.batch));
        let Page { points, next } = self.source.scroll(offset, limit, !dry_run).await?;
        let mut after = self.state.clone();
        after.read += points.len() as u64;
        let given = self.sorted(points, &mut after)?;
        for (tenant, points) in &given {
            *after.tenants.entry(tenant.clone()).or_default() += points.len() as u64;
        }
        if !dry_run {
            for tenant in given.keys() {
                self.begin(tenant).await?;
            }
            self.put(given).await?;
        }
        after.begun.clone_from(&self.state.begun);
        after.report_bytes = self.left_out.flush()?;
        after.done = next.is_none();
        after.offset = next;
        // Only now: what is in the file has been acknowledged.
        if !dry_run {
            after.save(&self.path)?;
        }
        self.state = after;
        Ok(())
    }

    /// Points by their tenants; the others are left out, and nobody's.
    fn sorted(
        &mut self,
        points: Vec<Value>,
        state: &mut State,
    ) -> Result<BTreeMap<String, Vec<Value>>> {
        let mut given: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for point in points {
            let payload = point.get("payload").unwrap_or(&Value::Null);
            let name = self.args.tenant_field.name_in(payload);
            let whose = name.as_deref().map_err(|why| *why).and_then(|n| self.tenants.named(n));
            match whose {
                Ok(tenant) => given.entry(tenant.to_owned()).or_default().push(taken(point)),
                Err(why) => {
                    let id = &point["id"];
                    state.leave_out(why, id);
                    self.left_out.add(id, why, name.ok().as_deref())?;
                }
            }
        }
        Ok(given)
    }

    /// Makes the tenant's collection, or finds that it is as it has to be; once.
    async fn begin(&mut self, tenant: &str) -> Result<()> {
        if self.state.begun.contains(tenant) {
            return Ok(());
        }
        let path = self.at(tenant);
        let reason = [("reason", self.args.reason.clone())];
        let made = self.admin.put(&path, &reason, &self.plan.create).await?;
        if made.get("created") != Some(&Value::Bool(true)) {
            self.fits(tenant, &self.admin.get(&path, &reason).await?)?;
        }
        for (name, schema) in &self.plan.indexes {
            let ask = json!({ "field_name": name, "field_schema": schema });
            if let Err(error) = self.admin.put(&format!("{path}/index"), &reason, &ask).await {
                // Sealed here: nothing can be filtered by it, and points are taken all the same.
                if !error.to_string().starts_with("memory.content_field") {
                    return Err(error);
                }
                let note = format!("the index on {}: a content field", print::tame(name));
                if !self.plan.notes.contains(&note) {
                    self.plan.notes.push(note);
                }
            }
        }
        // Before its first point: whatever is in it from here on is of this adoption.
        self.state.begun.insert(tenant.to_owned());
        self.state.save(&self.path)
    }

    fn fits(&self, tenant: &str, found: &Value) -> Result<()> {
        let to = print::tame(&self.state.task.to);
        let config = found.get("config").unwrap_or(&Value::Null);
        if schema::shape(config) != schema::shape(&self.plan.create) {
            return Err(Fault::failed(format!("{tenant} has a collection {to} of other vectors"))
                .advise("name another with --to")
                .into());
        }
        let points = field(found, "points");
        if points == "0" || self.args.into_existing {
            return Ok(());
        }
        Err(Fault::failed(format!("{tenant} has a collection {to} with {points} points"))
            .advise(
                "name another with --to; or --into-existing, and points of equal ids are replaced",
            )
            .into())
    }

    /// Durable for every tenant, or an error.
    async fn put(&self, given: BTreeMap<String, Vec<Value>>) -> Result<()> {
        let parts = given.into_iter().flat_map(|(tenant, points)| {
            parts(points).into_iter().map(move |part| (tenant.clone(), part))
        });
        let puts = parts.map(|(tenant, part)| self.put_part(tenant, part));
        stream::iter(puts).buffer_unordered(AT_ONCE).try_collect::<()>().await
    }

    async fn put_part(&self, tenant: String, points: Vec<Value>) -> Result<()> {
        let sent = points.len();
        let reason = [("reason", self.args.reason.clone())];
        let path = format!("{}/points", self.at(&tenant));
        let put = self.admin.put(&path, &reason, &json!({ "points": points })).await?;
        if put.get("points").and_then(Value::as_u64) == Some(sent as u64) {
            return Ok(());
        }
        let put = field(&put, "points");
        Err(Fault::failed(format!("{tenant} was given {sent} points, and has {put:?}")).into())
    }

    /// The tenant's collection in the admin API.
    fn at(&self, tenant: &str) -> String {
        let to = segment(&self.state.task.to);
        format!("{}/{to}", collections(tenant, &self.args.environment))
    }

    fn tick(&self) {
        let State { read, .. } = self.state;
        let (left, collection) = (self.state.left(), print::tame(&self.args.collection));
        print::tick(&format!(
            "{collection}: {read} of about {} points, {left} left out",
            self.about
        ));
    }
}

/// A point as it is put: id, vectors, and its payload whole.
fn taken(mut point: Value) -> Value {
    let mut part = |name: &str| point.get_mut(name).map(Value::take).unwrap_or_default();
    let mut taken = json!({ "id": part("id") });
    for name in ["vector", "payload"] {
        let value = part(name);
        if !value.is_null() {
            taken[name] = value;
        }
    }
    taken
}

/// Cut so that no request is too large.
fn parts(points: Vec<Value>) -> Vec<Vec<Value>> {
    let mut parts: Vec<Vec<Value>> = Vec::new();
    let mut bytes = usize::MAX;
    for point in points {
        let size = point.to_string().len();
        bytes = bytes.saturating_add(size);
        match parts.last_mut() {
            Some(part) if bytes <= BYTES => part.push(point),
            _ => {
                parts.push(vec![point]);
                bytes = size;
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_taken_whole_and_nothing_else() {
        let point = json!({"id": 7, "vector": {"a": [0.1]}, "payload": {"tenant_id": "acme", "x": null},
            "shard_key": "k", "order_value": 1});
        let whole =
            json!({"id": 7, "vector": {"a": [0.1]}, "payload": {"tenant_id": "acme", "x": null}});
        assert_eq!(taken(point), whole);
        assert_eq!(taken(json!({"id": "u", "payload": null})), json!({"id": "u"}));
    }

    #[test]
    fn a_request_is_no_larger_than_it_may_be() {
        let point = |bytes: usize| json!("x".repeat(bytes));
        let sizes =
            |points: Vec<Value>| -> Vec<usize> { parts(points).iter().map(Vec::len).collect() };
        assert_eq!(sizes(vec![]), [0; 0]);
        assert_eq!(sizes(vec![point(1), point(1)]), [2]);
        assert_eq!(sizes(vec![point(BYTES), point(1), point(1)]), [1, 2]);
        assert_eq!(sizes(vec![point(1), point(BYTES + 1), point(1)]), [1, 1, 1]);
        assert_eq!(sizes(vec![point(BYTES / 2); 5]), [1, 1, 1, 1, 1]);
    }
}
