//! What upstreams say of their tools, and whether it is what was pinned.
//!
//! A definition is what a model goes by, so whoever can change one can talk to it. The first one that
//! a tenant's environment sees is pinned, durably and for it alone: what one tenant's upstream
//! answers decides nothing for others. What an operator accepted, or the contract names, holds for
//! the whole deployment and goes before. A tool that is defined otherwise is withheld until an
//! operator has accepted it; what it says meanwhile is in a review and nowhere else.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use ids::{
    Clock, Environment, Millis, ProviderId, TenantId, frame::Frame, json::Json, planted, text,
};
use reviews::{Kind, New, Reviews};
use scope::{AuditSink, Entry, Scope, SystemScope, Write};
use serde::{Deserialize, Serialize};
use store::{Range, Store};

use crate::{
    Contract, Error, Fault, FaultKind, Settings, Upstream, UpstreamKind,
    contract::{Form, Tool},
    credential::Authorized,
    fresh::{Fresh, Whose},
    upstream::Upstreams,
    write::PINS,
};

/// For how long a review of a changed definition stays open.
const REVIEW: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Begins every hash.
const MARK: &str = "b3:";
/// Rows that are read in one go.
const PAGE: usize = 500;

/// A tool, as its upstream defines it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Definition {
    pub(crate) title: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) input: Json,
    pub(crate) output: Option<Json>,
    /// Of all of it: `b3:` and 32 hexadecimal digits.
    pub(crate) hash: String,
}

/// The tools of one upstream for one owner, by the upstream's own names: those that are as
/// they were pinned, and the names alone of those that are not.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) definitions: BTreeMap<String, Definition>,
    pub(crate) drifted: BTreeSet<String>,
}

/// A pin, for operators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    /// At which upstream.
    pub upstream: ProviderId,
    /// Which tool, by the upstream's own name.
    pub tool: String,
    /// Whose first sight it is. Nobody's is what an operator accepted: it holds for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// In which environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    /// The hash of the definition that is accepted.
    pub hash: String,
    /// When it was first seen or accepted.
    pub since: Millis,
    /// The hash of another one that was seen since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drifted: Option<String>,
}

/// Who looks, and by what.
#[derive(Clone, Copy)]
pub(crate) struct Looking<'a> {
    pub(crate) scope: &'a Scope<Write>,
    /// Pins lie with the deployment, where operators see all of them.
    pub(crate) system: &'a SystemScope,
    pub(crate) upstreams: &'a Upstreams,
    pub(crate) by: &'a Authorized,
}

/// All catalogs.
pub(crate) struct Catalog {
    store: Store,
    reviews: Reviews,
    audit: Arc<dyn AuditSink>,
    clock: Arc<dyn Clock>,
    keep: Duration,
    contracts: Vec<Contract>,
    lists: Fresh<Known>,
}

impl Catalog {
    pub(crate) fn new(
        settings: &Settings,
        store: &Store,
        reviews: &Reviews,
        audit: Arc<dyn AuditSink>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let lists = Fresh::new(settings.limits.clients, Arc::clone(&clock));
        Self {
            store: store.clone(),
            reviews: reviews.clone(),
            audit,
            clock,
            keep: Duration::from_secs(settings.limits.catalog_seconds),
            contracts: settings.contracts.clone(),
            lists,
        }
    }

    /// The definition of a tool, as it was pinned.
    ///
    /// # Errors
    /// [`Error::Drifted`]; [`Error::Unknown`] if the upstream does not list it for this scope.
    pub(crate) async fn trusted(
        &self,
        looking: Looking<'_>,
        tool: &Tool,
    ) -> Result<Definition, Error> {
        let Form::Mcp(name) = &tool.form else { return configured(tool) };
        let known = self.definitions(looking, &tool.upstream).await?;
        match known.definitions.get(name) {
            Some(definition) => Ok(definition.clone()),
            None if known.drifted.contains(name) => Err(Error::Drifted),
            None => Err(Error::Unknown),
        }
    }

    /// The tools of an MCP upstream for which there are contracts.
    pub(crate) async fn definitions(
        &self,
        looking: Looking<'_>,
        upstream: &Upstream,
    ) -> Result<Arc<Known>, Error> {
        if upstream.kind != UpstreamKind::Mcp {
            return Ok(Arc::default());
        }
        let whose = Whose::of(looking.scope, upstream, looking.by);
        let fetch = async {
            let Looking { scope, by, upstreams, .. } = looking;
            let listed = upstreams.list_tools(scope, upstream, by).await?;
            self.judged(looking, upstream, self.defined(upstream, listed)?).await
        };
        self.lists.of(whose, self.keep, fetch).await
    }

    /// The contracts of an upstream's tools, by the upstream's own names.
    fn contracts<'a>(
        &'a self,
        upstream: &'a Upstream,
    ) -> impl Iterator<Item = (&'a str, &'a Contract)> {
        let of = self.contracts.iter().filter(|contract| contract.upstream == upstream.id);
        of.map(|contract| (contract.tool.as_deref().unwrap_or(&contract.name), contract))
    }

    /// Reads the definitions that matter. One that cannot be read is a fault of all: nobody can
    /// say what else is wrong with the list.
    fn defined(
        &self,
        upstream: &Upstream,
        tools: Vec<(String, Json)>,
    ) -> Result<BTreeMap<String, (Definition, Json)>, Fault> {
        let wanted: BTreeSet<&str> = self.contracts(upstream).map(|(name, _)| name).collect();
        let tools = tools.into_iter().filter(|(name, _)| wanted.contains(name.as_str()));
        tools
            .map(|(name, tool)| {
                let read =
                    definition(tool).map_err(|why| Fault::sent(FaultKind::Malformed(why)))?;
                Ok((name, read))
            })
            .collect()
    }

    /// Holds definitions against their pins. What was never seen here is pinned by that, unless
    /// there is a pin that holds for all.
    async fn judged(
        &self,
        looking: Looking<'_>,
        upstream: &Upstream,
        defined: BTreeMap<String, (Definition, Json)>,
    ) -> Result<Known, Error> {
        let Looking { scope, system, .. } = looking;
        let now = self.clock.now();
        let mut everybodys = self.accepted(system, upstream, defined.keys()).await?;
        // What the contract says goes before what was accepted at some time.
        for (name, contract) in self.contracts(upstream) {
            if let Some(pin) = &contract.pin {
                everybodys.insert(name.to_owned(), pin.clone());
            }
        }
        let rows: Vec<_> = defined
            .iter()
            .map(|(tool, (definition, _))| Pinned {
                upstream: upstream.id.clone(),
                tool: tool.clone(),
                tenant: Some(scope.tenant().clone()),
                environment: Some(scope.environment().clone()),
                // Where one holds for all, nothing else is trusted even if that one goes.
                hash: everybodys.get(tool).unwrap_or(&definition.hash).clone(),
                since: now,
                drifted: None,
            })
            .collect();
        let pinned = self.pinned(looking, rows).await?;
        let mut known = Known::default();
        for (name, (definition, whole)) in defined {
            let pin = pinned.get(&name);
            let accepted = everybodys.get(&name).or(pin.map(|pin| &pin.hash));
            if accepted == Some(&definition.hash) || planted::is("tools-drift-ignored") {
                known.definitions.insert(name, definition);
                continue;
            }
            let told = pin.and_then(|pin| pin.drifted.as_deref()) == Some(&definition.hash);
            if !told {
                self.report(looking, upstream, &name, &definition, &whole).await?;
            }
            known.drifted.insert(name);
        }
        Ok(known)
    }

    /// The hashes that operators accepted for everybody.
    async fn accepted(
        &self,
        system: &SystemScope,
        upstream: &Upstream,
        tools: impl Iterator<Item = &String>,
    ) -> Result<BTreeMap<String, String>, Error> {
        let view = self.store.system(system);
        let mut accepted = BTreeMap::new();
        for tool in tools {
            if let Some(row) = view.get(PINS, &key(&upstream.id, tool)).await? {
                accepted.insert(tool.clone(), read(&row)?.hash);
            }
        }
        Ok(accepted)
    }

    /// What this partition's pins of these are, each made now if there was none.
    async fn pinned(
        &self,
        looking: Looking<'_>,
        seen: Vec<Pinned>,
    ) -> Result<BTreeMap<String, Pinned>, Error> {
        let view = self.store.system(looking.system);
        let whose = *looking.scope.partition_bytes();
        let mut pinned = BTreeMap::new();
        let mut new = Vec::new();
        for seen in seen {
            match view.get(PINS, &own(&whose, &seen.upstream, &seen.tool)).await? {
                Some(row) => {
                    let pin = read(&row)?;
                    pinned.insert(seen.tool, pin);
                }
                None => new.push(seen),
            }
        }
        if !new.is_empty() {
            let cost = 256 * new.len();
            let made = view
                .write(PINS.file, cost, move |txn| -> Result<_, Error> {
                    let mut made = Vec::with_capacity(new.len());
                    for seen in new {
                        let key = own(&whose, &seen.upstream, &seen.tool);
                        // Another list may have been quicker.
                        let pin = match txn.get(PINS, &key)? {
                            Some(row) => read(&row)?,
                            None => {
                                txn.put(PINS, &key, &written(&seen)?)?;
                                seen
                            }
                        };
                        made.push(pin);
                    }
                    Ok(made)
                })
                .await?;
            pinned.extend(made.into_iter().map(|pin| (pin.tool.clone(), pin)));
        }
        Ok(pinned)
    }

    /// Tells people of a definition that is not the pinned one, once for each that is seen.
    async fn report(
        &self,
        looking: Looking<'_>,
        upstream: &Upstream,
        tool: &str,
        definition: &Definition,
        whole: &Json,
    ) -> Result<(), Error> {
        let Looking { scope, system, .. } = looking;
        let mut named = self.contracts(upstream).filter(|(name, _)| *name == tool);
        let what = named.next().map_or(tool, |(_, contract)| &contract.name);
        let payload = whole.to_vec();
        let review = New {
            kind: Kind::Drift,
            what: what.to_owned(),
            upstream: Some(upstream.id.clone()),
            account: None,
            digest: *blake3::hash(&payload).as_bytes(),
            payload,
            policy: [0; 32],
            reason: format!("its definition is not the one that was pinned: {}", definition.hash),
            four_eyes: false,
            expires: self.clock.now().plus(REVIEW),
            mandates: Vec::new(),
            intent: None,
        };
        let entry = Entry::denied(scope.actor(), "tool.drifted", what, Error::Drifted.code())
            .with("upstream", &upstream.id)
            .with("hash", &definition.hash);
        self.audit.record(scope, entry).await.map_err(|_| Error::Internal("audit"))?;
        if let Err(error) = self.reviews.of(scope).ask(review).await {
            // The tool is withheld all the same; the next look at the list tries again.
            tracing::warn!(%error, upstream = %upstream.id, tool, "no review of a changed definition");
            return Ok(());
        }
        let key = own(scope.partition_bytes(), &upstream.id, tool);
        let hash = definition.hash.clone();
        self.store
            .system(system)
            .write(PINS.file, 256, move |txn| -> Result<(), Error> {
                if let Some(row) = txn.get(PINS, &key)? {
                    let pin = Pinned { drifted: Some(hash), ..read(&row)? };
                    txn.put(PINS, &key, &written(&pin)?)?;
                }
                Ok(())
            })
            .await
    }

    /// Accepts a definition by its hash, for everybody, in the place of what was pinned.
    ///
    /// # Errors
    /// It is no hash; rows cannot be written.
    pub(crate) async fn pin(
        &self,
        system: &SystemScope,
        upstream: &ProviderId,
        tool: &str,
        hash: &str,
    ) -> Result<Pinned, Error> {
        if !is_hash(hash) {
            return Err(Error::Settings("a pin is `b3:` and 32 hexadecimal digits".to_owned()));
        }
        let pin = Pinned {
            upstream: upstream.clone(),
            tool: tool.to_owned(),
            tenant: None,
            environment: None,
            hash: hash.to_owned(),
            since: self.clock.now(),
            drifted: None,
        };
        self.store.system(system).put(PINS, &key(upstream, tool), &written(&pin)?).await?;
        // Everybody's list is judged anew.
        self.lists.clear();
        Ok(pin)
    }

    /// All pins, by upstream and tool; the one that holds for all before those of tenants.
    pub(crate) async fn show(&self, system: &SystemScope) -> Result<Vec<Pinned>, Error> {
        let (mut pins, mut after) = (Vec::new(), None);
        loop {
            let mut range = Range::all().limit(PAGE);
            if let Some(after) = after.take() {
                range = range.after(after);
            }
            let rows = self.store.system(system).scan(PINS, range).await?;
            let full = rows.len() == PAGE;
            for (key, row) in rows {
                pins.push(read(&row)?);
                after = Some(key.to_vec());
            }
            if !full {
                told(&mut pins);
                return Ok(pins);
            }
        }
    }
}

/// Whether a text has the form of a definition's hash.
pub(crate) fn is_hash(hash: &str) -> bool {
    hash.strip_prefix(MARK).and_then(text::unhex).is_some_and(|bytes| bytes.len() == 16)
}

/// Puts pins in order. What was accepted since has not changed any more.
fn told(pins: &mut [Pinned]) {
    let order = |pin: &Pinned| {
        let Pinned { upstream, tool, tenant, environment, .. } = pin;
        (upstream.clone(), tool.clone(), tenant.clone(), environment.clone())
    };
    pins.sort_by_cached_key(order);
    let everybodys: BTreeSet<_> = pins
        .iter()
        .filter(|pin| pin.tenant.is_none())
        .map(|pin| (pin.upstream.clone(), pin.tool.clone(), pin.hash.clone()))
        .collect();
    for pin in pins {
        pin.drifted.take_if(|drifted| {
            everybodys.contains(&(pin.upstream.clone(), pin.tool.clone(), drifted.clone()))
        });
    }
}

/// The definition of a tool that is an operator's own: there is nothing that can drift.
fn configured(tool: &Tool) -> Result<Definition, Error> {
    let contract = &tool.contract;
    let input = tool.schema.clone().unwrap_or_else(empty);
    let said = serde_json::to_vec(&(&contract.request, &contract.operation, &contract.query))
        .map_err(|_| Error::Internal("a contract"))?;
    let said = Json::parse(&said, &ids::json::Limits::default())?;
    let mut whole = vec![
        ("name".to_owned(), Json::String(contract.name.clone())),
        ("inputSchema".to_owned(), input.clone()),
        ("form".to_owned(), said),
    ];
    if let Some(description) = &contract.description {
        whole.push(("description".to_owned(), Json::String(description.clone())));
    }
    let hash = hash_of(&Json::Object(whole));
    let description = contract.description.clone();
    let definition = Definition { title: None, description, input, output: None, hash };
    match &contract.pin {
        Some(pin) if *pin != definition.hash => Err(Error::Drifted),
        _ => Ok(definition),
    }
}

/// A tool as it was listed, and all of it that its hash is of.
fn definition(tool: Json) -> Result<(Definition, Json), &'static str> {
    let Json::Object(mut entries) = tool else { return Err("a tool that is no object") };
    entries.retain(|(key, _)| {
        let of = ["name", "title", "description", "inputSchema", "outputSchema", "annotations"];
        of.contains(&key.as_str())
    });
    let whole = Json::Object(entries);
    let words = |key: &str| match whole.get(key) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err("a tool whose title or description is no text"),
    };
    let schema = |key: &str| match whole.get(key) {
        None | Some(Json::Null) => Ok(None),
        Some(schema @ Json::Object(_)) => Ok(Some(schema.clone())),
        Some(_) => Err("a tool whose schema is no object"),
    };
    let definition = Definition {
        title: words("title")?,
        description: words("description")?,
        input: schema("inputSchema")?.unwrap_or_else(empty),
        output: schema("outputSchema")?,
        hash: hash_of(&whole),
    };
    Ok((definition, whole))
}

fn empty() -> Json {
    Json::Object(vec![("type".to_owned(), Json::String("object".to_owned()))])
}

fn hash_of(whole: &Json) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("bulkhead tools definition v1");
    whole.canonical(&mut |part| {
        hasher.update(part);
    });
    format!("{MARK}{}", text::hex(&hasher.finalize().as_bytes()[..16]))
}

/// Where the pin that holds for all lies.
fn key(upstream: &ProviderId, tool: &str) -> Vec<u8> {
    // A name may be as long as its upstream likes, a key not.
    let frame = Frame::new("bulkhead.tools.pin.v1").field(upstream.as_str()).field(tool);
    blake3::hash(&frame.finish()).as_bytes().to_vec()
}

/// Where a partition's own lies: behind all of its bytes, by which an erasure finds it.
fn own(whose: &[u8; 32], upstream: &ProviderId, tool: &str) -> Vec<u8> {
    let whose = if planted::is("tools-pin-of-another") { &[0; 32] } else { whose };
    [&whose[..], &key(upstream, tool)].concat()
}

fn read(row: &[u8]) -> Result<Pinned, Error> {
    serde_json::from_slice(row).map_err(|_| Error::Internal("a pin that is none"))
}

fn written(pin: &Pinned) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(pin).map_err(|_| Error::Internal("a pin"))
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Catalog(…)")
    }
}

#[cfg(test)]
mod tests;
