//! `bulkhead.toml` as data: everything that an operator may set, with its default.

mod identity;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use crate::{Error, selfprobe};

pub use identity::{Identity, Jwks, TrustedIssuer};

/// The data plane's port if none is set.
pub const DATA_PORT: u16 = 8642;
/// The control plane's port if none is set.
pub const CONTROL_PORT: u16 = 8643;

/// The whole of `bulkhead.toml`. A field that is not here is refused by name.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What this deployment is called, in the audit heads that it signs: 1 to 63 of a-z, 0-9,
    /// '-', '_'. Default `bulkhead`.
    pub name: String,
    /// The data plane: where agents come. Default `127.0.0.1:8642`.
    pub data: Listener,
    /// The control plane: where operators and services come. Default `127.0.0.1:8643`.
    pub control: Listener,
    /// Bounds on requests and connections.
    pub limits: Limits,
    /// Our tokens, whose other tokens are trusted, and where requests may name a tenant.
    pub identity: Identity,
    /// Providers and the models that callers may use.
    pub model: model::Settings,
    /// Bounds of the response cache. Which answers are kept is set per model route.
    pub cache: cache::Settings,
    /// Bounds of the index of similar questions. Which routes use it is set per model route.
    pub semantic: cache::SemanticSettings,
    /// Bounds of the state of runs.
    pub state: cache::StateSettings,
    /// Collections: their bounds, what their indexes cost, what workflows are held to.
    pub memory: memory::MemorySettings,
    /// Tools: where they are, and what holds for each.
    pub tools: tools::Settings,
    /// What people decide: bounds, and who is told.
    pub reviews: reviews::Settings,
    /// Who may do what, beyond grants.
    pub policy: Policy,
    /// Where data and keys lie.
    pub storage: Storage,
    /// Events: how many wait, how long they are kept.
    pub records: records::Options,
    /// How the deployment probes itself.
    pub probe: Probe,
    /// `/metrics`.
    pub metrics: Metrics,
    /// What the process says about itself.
    pub log: Log,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: "bulkhead".into(),
            data: Listener::default(),
            control: Listener::default(),
            limits: Limits::default(),
            identity: Identity::default(),
            model: model::Settings::default(),
            cache: cache::Settings::default(),
            semantic: cache::SemanticSettings::default(),
            state: cache::StateSettings::default(),
            memory: memory::MemorySettings::default(),
            tools: tools::Settings::default(),
            reviews: reviews::Settings::default(),
            policy: Policy::default(),
            storage: Storage::default(),
            records: records::Options::default(),
            probe: Probe::default(),
            metrics: Metrics::default(),
            log: Log::default(),
        }
    }
}

/// One of the two listeners.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listener {
    /// Address and port. Port 0 takes a free one. Default: loopback, with the plane's port.
    pub address: Option<SocketAddr>,
    /// Names under which clients reach it, without port, besides loopback's. A request whose
    /// `Host` is none of them is refused, so that no web page can make a browser speak to us
    /// under a name of its own (DNS rebinding). Health probes go without. Default: none.
    pub hosts: Vec<String>,
    /// TLS; without it, plain HTTP. Default: none.
    pub tls: Option<Tls>,
}

impl Listener {
    /// The address to listen on.
    #[must_use]
    pub fn address_or(&self, port: u16) -> SocketAddr {
        self.address.unwrap_or(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
    }
}

/// A certificate and its key, in PEM files. They are read when the server starts, and again on
/// SIGHUP.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Bounds on requests and connections.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Most bytes of a request's body. Default 16 MiB.
    pub body_bytes: usize,
    /// Most bytes of a request's head, at least 8 KiB. Default 64 KiB.
    pub header_bytes: usize,
    /// Most headers of a request. Default 100.
    pub headers: usize,
    /// Seconds that a connection may take to send a request's head, or be idle between
    /// requests. Default 60.
    pub header_seconds: u64,
    /// Seconds that a new connection may take until its first request is there, TLS included.
    /// Default 10.
    pub first_request_seconds: u64,
    /// Seconds that a request's body may take. Default 60.
    pub body_seconds: u64,
    /// Seconds until the answer must begin. A stream may then last as long as its provider's
    /// own bounds allow. Default 660.
    pub request_seconds: u64,
    /// Seconds that a client may leave an answer unread. Default 120.
    pub unread_seconds: u64,
    /// How fast a client has to read while an answer waits for it, in bytes per second over
    /// `unread_seconds`; 0 asks for any byte at all. Default 4 KiB.
    pub unread_bytes_per_second: u64,
    /// Most connections of one listener; fewer where the process may not open as many files.
    /// Default 4,096.
    pub connections: usize,
    /// Most connections of one client's address (of a /64 with IPv6) to one listener, and at
    /// most three quarters of all; three times as many from this machine. Default 1,024.
    pub connections_per_peer: usize,
    /// Most bytes of requests' bodies in memory for one tenant's environment. Default 32 MiB.
    pub bodies_bytes_per_tenant: usize,
    /// Most bytes of requests' bodies in memory for all tenants. Default 512 MiB.
    pub bodies_bytes_total: usize,
    /// Most hops of one tenant's environment at once. Default 256.
    pub hops_per_tenant: u32,
    /// Seconds that `/health/ready` says no before the listeners close, for load balancers.
    /// Default 0.
    pub drain_notice_seconds: u64,
    /// Seconds that requests in flight have to finish at shutdown. Default 30.
    pub drain_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 16 << 20,
            header_bytes: 64 << 10,
            headers: 100,
            header_seconds: 60,
            first_request_seconds: 10,
            body_seconds: 60,
            request_seconds: 660,
            unread_seconds: 120,
            unread_bytes_per_second: 4 << 10,
            connections: 4_096,
            connections_per_peer: 1_024,
            bodies_bytes_per_tenant: 32 << 20,
            bodies_bytes_total: 512 << 20,
            hops_per_tenant: 256,
            drain_notice_seconds: 0,
            drain_seconds: 30,
        }
    }
}

/// Policies in the Cedar language.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// The file; it is read again by `POST /admin/v1/policy/reload` and on SIGHUP. Default: none; whoever
    /// holds the grant may.
    pub file: Option<PathBuf>,
}

/// Where things lie.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    /// The data files; `dir` is `data` if not set.
    pub data: store::Options,
    /// The directory of the keystore, apart from the data, so that a backup of the one is
    /// nothing without the other. Default `keys`.
    pub keys: PathBuf,
    /// What wraps every key of the keystore. Default `{ file = "keys/root.key" }`.
    pub root_key: RootKey,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            data: store::Options::default(),
            keys: "keys".into(),
            root_key: RootKey::File("keys/root.key".into()),
        }
    }
}

/// Where the root key comes from.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RootKey {
    /// A file of mode 0600, or 0440 with a group of ours.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
}

/// How the deployment probes itself: from outside, as two tenants of its own.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Probe {
    /// Seconds from the end of a run to the next one; 0, the default, runs only when asked.
    pub every_seconds: u64,
    /// How thorough runs are. Default `quick`.
    pub depth: selfprobe::Depth,
    /// Whether they make load, to see whether one tenant's is felt by another. Default false.
    pub flood: bool,
}

/// `/metrics`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// Tenants with a label of their own, first come, first served; the rest is `other`.
    /// Exact figures per tenant come from its records. Default 50.
    pub tenants: usize,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { tenants: 50 }
    }
}

/// What the process says about itself, on standard error.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Which lines: `error`, `warn`, `info`, `debug`, or a filter such as
    /// `info,bulkhead_gate=debug`. Default `info`.
    pub level: String,
    /// In which form. Default `json`.
    pub form: Form,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), form: Form::Json }
    }
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// One JSON object a line.
    Json,
    /// For a person at a terminal.
    Text,
}

impl Settings {
    /// Takes relative paths as relative to `base`: the directory of `bulkhead.toml`.
    pub fn resolve(&mut self, base: &Path) {
        let join = |path: &mut PathBuf| *path = base.join(&*path);
        join(&mut self.storage.data.dir);
        join(&mut self.storage.keys);
        if let RootKey::File(path) = &mut self.storage.root_key {
            join(path);
        }
        self.policy.file.iter_mut().for_each(join);
        self.memory.index_dir.iter_mut().for_each(join);
        for upstream in &mut self.tools.upstreams {
            upstream.ca_file.iter_mut().for_each(join);
            upstream.openapi.iter_mut().for_each(join);
        }
        for tls in [&mut self.data.tls, &mut self.control.tls].into_iter().flatten() {
            join(&mut tls.certificate);
            join(&mut tls.key);
        }
        for issuer in &mut self.identity.issuers {
            if let Jwks::File(path) = &mut issuer.keys {
                join(path);
            }
        }
    }

    /// Where indexes are kept.
    #[must_use]
    pub fn index_dir(&self) -> PathBuf {
        let data = || self.storage.data.dir.join("index");
        self.memory.index_dir.clone().unwrap_or_else(data)
    }

    /// Refuses what cannot work, before anything is opened.
    ///
    /// # Errors
    /// [`Error::Settings`], naming the field and the rule.
    pub fn check(&self) -> Result<(), Error> {
        let Self { name, data, control, limits, identity, model, .. } = self;
        ids::ServiceName::parse(name)
            .map_err(|_| Error::settings("name", "1 to 63 of a-z, 0-9, '-', '_'"))?;
        limits.check()?;
        identity.check()?;
        data.check("data.hosts")?;
        control.check("control.hosts")?;
        if data.address_or(DATA_PORT).port() != 0
            && data.address_or(DATA_PORT) == control.address_or(CONTROL_PORT)
        {
            return Err(Error::settings("control.address", "not the data plane's"));
        }
        self.cache.check()?;
        self.semantic.check()?;
        self.state.check()?;
        self.memory.check()?;
        model.check()?;
        let taken = model.providers.iter().filter(|one| one.only.is_empty());
        let taken = taken.map(|one| one.id.as_str());
        let taken = taken.chain(
            model
                .routes
                .iter()
                .filter(|r| !self.is_own(r))
                .flat_map(|r| r.names().map(ids::RouteName::as_str)),
        );
        if let Some(name) = taken.into_iter().find(|name| selfprobe::is_reserved(name)) {
            let rule = format!("{name}: names that begin with {} are ours", selfprobe::PREFIX);
            return Err(Error::settings("model", rule));
        }
        self.check_tools()
    }

    /// Credentials are stored by the name of what they are for, so that no two things have one.
    fn check_tools(&self) -> Result<(), Error> {
        let field = "tools.upstreams";
        for upstream in &self.tools.upstreams {
            let id = upstream.id.as_str();
            if self.model.providers.iter().any(|provider| provider.id == upstream.id) {
                let rule = format!("{id}: a provider of models has that name");
                return Err(Error::settings(field, rule));
            }
            if selfprobe::is_reserved(id) {
                let rule = format!("{id}: names that begin with {} are ours", selfprobe::PREFIX);
                return Err(Error::settings(field, rule));
            }
        }
        let origin = |text: &String| {
            let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
            rest.is_some_and(|host| {
                let host = host.strip_suffix('/').unwrap_or(host);
                !host.is_empty() && !host.contains(['/', '*', '?', '#', '@', ' '])
            })
        };
        match self.tools.origins.iter().all(origin) {
            true => Ok(()),
            false => {
                Err(Error::settings("tools.origins", "origins, such as https://app.example.com"))
            }
        }
    }
}

impl Settings {
    /// Whether a route leads only to what is for the deployment itself.
    fn is_own(&self, route: &model::Route) -> bool {
        let own = |id: &ids::ProviderId| {
            self.model.providers.iter().any(|one| one.id == *id && !one.only.is_empty())
        };
        route.all_targets().iter().all(|target| own(&target.provider))
    }
}

impl Listener {
    fn check(&self, field: &'static str) -> Result<(), Error> {
        let plain = |host: &String| {
            !host.is_empty()
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b))
        };
        match self.hosts.iter().all(plain) {
            true => Ok(()),
            false => Err(Error::settings(field, "names or addresses, without scheme and port")),
        }
    }
}

impl Limits {
    fn check(&self) -> Result<(), Error> {
        let within = |field, value: u64, least: u64, most: u64| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            Err(Error::settings(field, format!("between {least} and {most}")))
        };
        within("limits.body_bytes", self.body_bytes as u64, 1_024, 256 << 20)?;
        within("limits.header_bytes", self.header_bytes as u64, 8_192, 1 << 20)?;
        within("limits.headers", self.headers as u64, 16, 1_000)?;
        within("limits.header_seconds", self.header_seconds, 1, 3_600)?;
        within("limits.first_request_seconds", self.first_request_seconds, 1, 3_600)?;
        within("limits.body_seconds", self.body_seconds, 1, 3_600)?;
        within("limits.request_seconds", self.request_seconds, 1, 86_400)?;
        within("limits.unread_seconds", self.unread_seconds, 1, 86_400)?;
        within("limits.unread_bytes_per_second", self.unread_bytes_per_second, 0, 1 << 30)?;
        within("limits.connections", self.connections as u64, 1, 1_000_000)?;
        within("limits.connections_per_peer", self.connections_per_peer as u64, 1, 1_000_000)?;
        self.check_bodies()?;
        within("limits.hops_per_tenant", self.hops_per_tenant.into(), 1, 1_000_000)?;
        within("limits.drain_notice_seconds", self.drain_notice_seconds, 0, 3_600)?;
        within("limits.drain_seconds", self.drain_seconds, 0, 86_400)
    }

    /// A body that is allowed has to fit.
    fn check_bodies(&self) -> Result<(), Error> {
        for (field, bytes, least, of) in [
            (
                "limits.bodies_bytes_per_tenant",
                self.bodies_bytes_per_tenant,
                self.body_bytes,
                "limits.body_bytes",
            ),
            (
                "limits.bodies_bytes_total",
                self.bodies_bytes_total,
                self.bodies_bytes_per_tenant,
                "limits.bodies_bytes_per_tenant",
            ),
        ] {
            if bytes < least {
                return Err(Error::settings(field, format!("at least {of}: {least}")));
            }
        }
        Ok(())
    }

    pub(crate) const fn body_time(&self) -> Duration {
        Duration::from_secs(self.body_seconds)
    }

    pub(crate) const fn request_time(&self) -> Duration {
        Duration::from_secs(self.request_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Settings, String> {
        let settings: Settings = serde_json::from_str(json).map_err(|e| e.to_string())?;
        settings.check().map_err(|e| e.to_string()).map(|()| settings)
    }

    #[test]
    fn defaults_hold() {
        let settings = read("{}").unwrap();
        assert_eq!(settings.data.address_or(DATA_PORT).to_string(), "127.0.0.1:8642");
        assert_eq!(settings.control.address_or(CONTROL_PORT).to_string(), "127.0.0.1:8643");
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        for (json, told) in [
            (r#"{"lissten":{}}"#, "lissten"),
            (r#"{"limits":{"body":1}}"#, "`body`"),
            (r#"{"limits":{"body_bytes":1}}"#, "limits.body_bytes"),
            (r#"{"limits":{"body_bytes":67108864}}"#, "limits.bodies_bytes_per_tenant"),
            (r#"{"limits":{"bodies_bytes_total":1}}"#, "limits.bodies_bytes_total"),
            (r#"{"name":"A B"}"#, "name"),
            (r#"{"state":{"history":65}}"#, "history"),
            (r#"{"state":{"value_bytes":1}}"#, "`value_bytes`"),
            (r#"{"semantic":{"bytes_total":1}}"#, "bytes_total"),
            (r#"{"memory":{"dimension":1}}"#, "`dimension`"),
            (r#"{"data":{"hosts":["https://x"]}}"#, "data.hosts"),
            (r#"{"data":{"address":"127.0.0.1:8643"}}"#, "control.address"),
            (r#"{"tools":{"origins":["app.example.com"]}}"#, "tools.origins"),
            (r#"{"tools":{"origins":["https://*"]}}"#, "tools.origins"),
            (
                r#"{"model":{"providers":[{"id":"crm","base_url":"http://localhost"}]},
                "tools":{"upstreams":[{"id":"crm","kind":"http","url":"http://localhost"}]}}"#,
                "tools.upstreams",
            ),
            (r#"{"identity":{"issuer":""}}"#, "identity.issuer"),
            (r#"{"identity":{"tenant_headers":["x y"]}}"#, "identity.tenant_headers"),
            (r#"{"identity":{"tenant_headers":["authorization"]}}"#, "identity.tenant_headers"),
        ] {
            let error = read(json).unwrap_err();
            assert!(error.contains(told), "{json}: {error}");
        }
    }

    #[test]
    fn relative_paths_are_the_files() {
        let mut settings = read(r#"{"policy":{"file":"p.cedar"}}"#).unwrap();
        let mut apart = read(r#"{"memory":{"index_dir":"fast"}}"#).unwrap();
        apart.resolve(Path::new("/etc/bulkhead"));
        assert_eq!(apart.index_dir(), Path::new("/etc/bulkhead/fast"));
        settings.resolve(Path::new("/etc/bulkhead"));
        assert_eq!(settings.policy.file.as_deref(), Some(Path::new("/etc/bulkhead/p.cedar")));
        assert_eq!(settings.storage.data.dir, Path::new("/etc/bulkhead/data"));
        assert_eq!(settings.index_dir(), Path::new("/etc/bulkhead/data/index"));
    }
}
