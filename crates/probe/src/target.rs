//! The target file: which tenants, which targets, and what may be spent.

mod read;
mod secret;
mod server;
mod template;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use serde::Deserialize;

pub(crate) use self::template::asked;
pub use self::{
    secret::Credential,
    server::{Call, Known, Protocol, Server},
};
use crate::{Error, canary::Side, lab::Caller, verdict::Halt};

/// What a run may cost.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Requests.
    pub requests: u64,
    /// US dollars, for model calls, by `price`.
    pub usd: f64,
    /// Minutes.
    pub minutes: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { requests: 5_000, usd: 1.0, minutes: 10.0 }
    }
}

/// What model calls cost, in US dollars for a million tokens.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Of the prompt.
    pub input: f64,
    /// Of the answer.
    pub output: f64,
}

/// A tenant as the target file has it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tenant {
    /// The credential: `env:NAME`, `file:PATH`, or, for things of no worth, as it is.
    pub token: Option<String>,
    /// A program, with arguments, that prints the credential. Run without a shell, and again when
    /// a credential of more than a minute is refused.
    pub token_cmd: Option<Vec<String>>,
    /// A credential of this tenant's that is dead, expired or revoked; as `token`.
    pub expired: Option<String>,
    /// For Redis with ACL.
    pub user: Option<String>,
    /// For Redis: what the tenant's keys begin with.
    pub prefix: Option<String>,
    /// Sent with each of its requests, for systems where a header names the tenant. A value may be
    /// `env:NAME` or `file:PATH`; it is not shown then.
    pub headers: BTreeMap<String, String>,
    /// What it is called there: ids, organizations, addresses of its people.
    pub names: Vec<String>,
}

/// How a credential is presented.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Auth {
    /// `Authorization: Bearer …`.
    #[default]
    Bearer,
    /// In this header, as it is.
    Header(String),
    /// `Authorization: Basic …` of `user:password`.
    Basic,
}

/// One request of an application, with places for what is known: `{canary}`, `{prompt}`, `{id}`, ….
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Template {
    /// The path, if it is a GET.
    pub get: Option<String>,
    /// The path, if it is a POST.
    pub post: Option<String>,
    /// The path, if it is a PUT.
    pub put: Option<String>,
    /// The path, if it is a PATCH.
    pub patch: Option<String>,
    /// The path, if it is a DELETE.
    pub delete: Option<String>,
    /// Headers.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub json: Option<serde_json::Value>,
    /// JSON pointers into the answer, by the name of what they give: ids.
    pub id: Option<String>,
    /// As `id`, for a job that is polled.
    pub job: Option<String>,
    /// As `id`, for a conversation.
    pub thread: Option<String>,
    /// As `id`, for a session that is opened first.
    pub session: Option<String>,
    /// Where the text of the answer is.
    pub answer: Option<String>,
    /// Polled until this is true, or is there.
    pub until: Option<String>,
    /// For so long.
    pub seconds: Option<f64>,
}

/// What a target is; each has fields of its own.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Bulkhead, all surfaces that there are.
    Bulkhead {
        /// Its control plane, if it can be reached.
        control: Option<String>,
        /// A model that both may name.
        model: Option<String>,
        /// A model for embeddings.
        embedding_model: Option<String>,
        /// What else there is to know of it.
        more: Box<Deployment>,
    },
    /// An OpenAI-compatible gateway or server.
    Openai {
        /// A model that both may name.
        model: String,
    },
    /// An Anthropic-compatible one.
    Anthropic {
        /// A model that both may name.
        model: String,
    },
    /// Qdrant, or what speaks like it.
    Qdrant {
        /// One collection for both, told apart by this field, which the application filters by.
        tenant_field: Option<String>,
        /// The name of an existing collection; otherwise one is made and removed.
        collection: Option<String>,
    },
    /// Redis or Valkey.
    Redis {
        /// Which keys may be read in the hunt, e.g. `cache:*`.
        pattern: Option<String>,
    },
    /// An MCP server.
    Mcp(Box<Server>),
    /// Any application.
    Http(Box<App>),
}

/// What else a target of kind `bulkhead` may say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deployment {
    /// An operator's credential; as `token` of a tenant. With it, credentials for other runs,
    /// workflows and environments are made, and what operators see is searched.
    pub operator: Option<String>,
    /// A model of Anthropic's kind.
    pub messages_model: Option<String>,
    /// A model whose similar questions are answered from the cache.
    pub similar_model: Option<String>,
    /// A model of an engine that says how much of a prompt was cached.
    pub engine_model: Option<String>,
    /// The run of both tenants' credentials, if they have one.
    pub run: Option<String>,
    /// Environments of both tenants; their credentials are for the first.
    pub environments: Vec<String>,
    /// Secrets of providers, which no answer may hold.
    pub hidden: Vec<String>,
    /// Its tools, as those of an MCP server.
    pub tools: Option<Server>,
}

/// An application, by its requests.
#[derive(Clone, Debug, Default)]
pub struct App {
    /// Leaves something with `{canary}` in it.
    pub plant: Option<Template>,
    /// Asks a question, `{prompt}`, in a conversation, `{thread}`.
    pub ask: Option<Template>,
    /// Asks whether a job, `{job}`, is done.
    pub poll: Option<Template>,
    /// Paths with ids in them, as `/docs/{id}`.
    pub objects: Vec<String>,
    /// Requests in which ids stand elsewhere than in the path: tools.
    pub tools: Vec<Template>,
    /// A JSON-RPC request, with `{rpc_id}` and `{canary}`.
    pub rpc: Option<Template>,
    /// Paths of administration, which no tenant may ask.
    pub admin: Vec<String>,
    /// Paths where logs, traces and metrics are.
    pub logs: Vec<String>,
    /// Removes what was left.
    pub cleanup: Option<Template>,
    /// Sent before anything else, to open a `{session}`.
    pub open: Vec<Template>,
    /// A request that fails, with an error that quotes what it failed on.
    pub fail: Option<Template>,
    /// The credential of an operator: it shows that `admin` and `logs` are there.
    pub operator: Option<String>,
    /// Where the application reaches this machine, for what a planted instruction carries out.
    pub sink: Option<String>,
}

/// One target.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its name in the file.
    pub name: String,
    /// The line where it begins.
    pub line: usize,
    /// Where it is.
    pub url: String,
    /// Certificates (PEM) to trust there instead of the system's.
    pub ca: Option<PathBuf>,
    /// Where its names are, whatever DNS says: one machine of several behind a name. Ports stay
    /// those of the addresses.
    pub connect: Option<std::net::IpAddr>,
    /// How credentials are presented.
    pub auth: Auth,
    /// What calls cost.
    pub price: Option<Price>,
    /// What it is.
    pub kind: Kind,
    /// Both tenants, as this target has them: its own, or those of all.
    pub tenants: BTreeMap<Side, Tenant>,
}

/// What a target file says.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its name.
    pub file: String,
    /// What may be spent.
    pub budget: Limits,
    /// The two tenants.
    pub tenants: BTreeMap<Side, Tenant>,
    /// What is probed, in the order of the file.
    pub targets: Vec<Arc<Target>>,
}

impl Limits {
    fn check(&self) -> Result<(), String> {
        match self {
            Self { requests: 1..=10_000_000, .. } => {}
            _ => return Err("requests is between 1 and 10000000".into()),
        }
        if !(0.0..=1e6).contains(&self.usd) {
            return Err("usd is between 0 and 1000000".into());
        }
        if !(self.minutes > 0.0 && self.minutes <= 24.0 * 60.0) {
            return Err("minutes is between 0 and 1440".into());
        }
        Ok(())
    }
}

impl Price {
    fn check(self) -> Result<(), String> {
        let sound = |price: f64| (0.0..=1e6).contains(&price);
        match sound(self.input) && sound(self.output) {
            true => Ok(()),
            false => Err("a price is in US dollars for a million tokens, 0 or more".into()),
        }
    }
}

impl Auth {
    /// How each kind is usually asked.
    fn usual(kind: &Kind) -> Self {
        match kind {
            Kind::Anthropic { .. } => Self::Header("x-api-key".into()),
            Kind::Qdrant { .. } => Self::Header("api-key".into()),
            _ => Self::Bearer,
        }
    }

    fn check(&self) -> Result<(), String> {
        match self {
            Self::Header(name) if http::HeaderName::from_bytes(name.as_bytes()).is_err() => {
                Err(format!("`{name}` is no name of a header"))
            }
            _ => Ok(()),
        }
    }

    /// The header of a secret, also of one that is not to be shown as it is.
    pub(crate) fn header(&self, secret: &str) -> (String, String) {
        use base64::Engine as _;
        match self {
            Self::Bearer => ("authorization".into(), format!("Bearer {secret}")),
            Self::Header(name) => (name.clone(), secret.to_owned()),
            Self::Basic => {
                let text = base64::engine::general_purpose::STANDARD.encode(secret);
                ("authorization".into(), format!("Basic {text}"))
            }
        }
    }

    /// The header as it is shown, with what stands for the secret.
    pub(crate) fn shown(&self, stands: &str) -> (String, String) {
        match self {
            Self::Basic => ("authorization".into(), format!("Basic base64({stands})")),
            _ => self.header(stands),
        }
    }
}

impl Tenant {
    fn check(self) -> Result<Self, String> {
        if self.token.is_some() && self.token_cmd.is_some() {
            return Err("token or token_cmd, not both".into());
        }
        if self.token_cmd.as_ref().is_some_and(Vec::is_empty) {
            return Err(
                "token_cmd is a program and its arguments: [\"program\", \"--flag\"]".into()
            );
        }
        let texts = [&self.token, &self.expired, &self.user, &self.prefix];
        if texts.into_iter().flatten().any(|text| text.trim().is_empty()) {
            return Err("a credential, a user or a prefix is not empty".into());
        }
        if self.names.len() > 32 || self.names.iter().any(|name| name.is_empty()) {
            return Err("names are at most 32, and not empty".into());
        }
        for (name, value) in &self.headers {
            let sound = http::HeaderName::from_bytes(name.as_bytes()).is_ok()
                && http::HeaderValue::from_str(value).is_ok();
            if !sound {
                return Err(format!("header `{name}` cannot be sent"));
            }
        }
        Ok(self)
    }

    /// With paths of secrets from where the file is.
    fn placed(mut self, secret: impl Fn(String) -> String) -> Self {
        let secrets = [&mut self.token, &mut self.expired].into_iter().flatten();
        for text in secrets.chain(self.headers.values_mut()) {
            *text = secret(std::mem::take(text));
        }
        self
    }

    /// A target's own tenant, over the one of all targets. Credentials are never taken from
    /// there: who has an own table at one target has own credentials at it, or none.
    fn over(mut self, shared: Option<&Self>) -> Self {
        if let Some(shared) = shared {
            if self.names.is_empty() {
                self.names.clone_from(&shared.names);
            }
            if self.headers.is_empty() {
                self.headers.clone_from(&shared.headers);
            }
        }
        self
    }

    /// Whether a secret stands in the file itself.
    fn literal(&self) -> bool {
        [&self.token, &self.expired].into_iter().flatten().any(|text| secret::literal(text))
    }
}

impl Target {
    /// A whole address of a path.
    pub(crate) fn address(&self, path: &str) -> Result<reqwest::Url, Halt> {
        let parsed = |whole: &str| {
            reqwest::Url::parse(whole).map_err(|why| Halt::Lacking(format!("{whole}: {why}")))
        };
        if path.contains("://") {
            return parsed(path);
        }
        let url = parsed(&format!("{}{path}", self.url.trim_end_matches('/')))?;
        // What a target gives for an id must not lead anywhere else.
        let base = parsed(&self.url)?;
        let place = |url: &reqwest::Url| (url.host_str().map(str::to_owned), url.port());
        let under = url.path().starts_with(base.path().trim_end_matches('/'));
        match under && place(&url) == place(&base) && !climbs(path) {
            true => Ok(url),
            false => Err(Halt::Failed("a path that leads elsewhere".into())),
        }
    }

    /// The headers by which a caller presents itself.
    pub(crate) fn presented(&self, by: &Caller) -> Vec<(String, String)> {
        let credential = by.credential.as_ref();
        credential.map(|credential| self.auth.header(credential.expose())).into_iter().collect()
    }

    /// An operator of an application, if the file has its credential.
    pub(crate) fn operator(&self) -> Result<Option<Caller>, Halt> {
        let text = match &self.kind {
            Kind::Http(app) => app.operator.as_ref(),
            Kind::Bulkhead { more, .. } => more.operator.as_ref(),
            _ => None,
        };
        let Some(text) = text else { return Ok(None) };
        let why = |why| Halt::Lacking(format!("operator: {why}"));
        let secret = secret::resolve(text).map_err(why)?;
        let credential = Some(Credential::shown_as(secret, "$OPERATOR"));
        Ok(Some(Caller { side: None, label: "operator".into(), credential, headers: Vec::new() }))
    }

    /// What no answer of a deployment's may hold.
    pub(crate) fn providers_secrets(&self) -> Result<Vec<String>, Halt> {
        let Kind::Bulkhead { more, .. } = &self.kind else { return Ok(Vec::new()) };
        let why = |why| Halt::Lacking(format!("hidden: {why}"));
        more.hidden.iter().map(|text| secret::resolve(text).map_err(why)).collect()
    }

    /// The tenant as this target has it, or as all have.
    pub(crate) fn tenant<'a>(&'a self, plan: &'a Plan, side: Side) -> Option<&'a Tenant> {
        self.tenants.get(&side).or_else(|| plan.tenants.get(&side))
    }

    /// The tenant as this target has it.
    pub(crate) fn known(&self, side: Side) -> Option<&Tenant> {
        self.tenants.get(&side)
    }

    /// A tenant with its dead credential, if the file names one.
    pub(crate) fn dead(&self, side: Side) -> Result<Option<Caller>, Halt> {
        let Some(text) = self.known(side).and_then(|tenant| tenant.expired.as_deref()) else {
            return Ok(None);
        };
        let why = |why| Halt::Lacking(format!("expired of tenant {}: {why}", side.name()));
        let shown = format!("${}_EXPIRED", side.name().to_uppercase());
        let secret = secret::resolve(text).map_err(why)?;
        Ok(Some(Caller {
            side: Some(side),
            label: format!("{}, dead credential", side.name()),
            credential: Some(Credential::shown_as(secret, shown)),
            headers: self.sent_with(side).map_err(why)?,
        }))
    }

    /// The headers of a tenant, with their secrets.
    fn sent_with(&self, side: Side) -> Result<Vec<(String, String)>, String> {
        let headers = self.known(side).map(|tenant| &tenant.headers).into_iter().flatten();
        headers.map(|(name, value)| Ok((name.clone(), secret::resolve(value)?))).collect()
    }

    /// Headers of a tenant whose values are not to be shown, with what stands for them.
    pub(crate) fn hidden(&self, side: Side, name: &str) -> Option<&str> {
        let value = self.known(side)?.headers.get(name)?;
        (!secret::literal(value)).then_some(value.as_str())
    }

    /// Whether a tenant has what this kind of target needs.
    fn suits(&self, tenant: &Tenant, side: Side) -> Result<(), String> {
        let credential = tenant.token.is_some() || tenant.token_cmd.is_some();
        let told = credential || !tenant.headers.is_empty();
        let (name, side) = (&self.name, side.name());
        match &self.kind {
            Kind::Redis { .. } | Kind::Qdrant { tenant_field: Some(_), .. } => Ok(()),
            _ if told => Ok(()),
            _ => Err(format!("tenant {side} of target {name} has no token and no token_cmd")),
        }
    }

    /// Whether it is on this machine, by what its address says.
    pub(crate) fn is_local(&self) -> bool {
        let Ok(url) = reqwest::Url::parse(&self.url) else { return false };
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        match host.parse::<std::net::IpAddr>() {
            Ok(address) => address.is_loopback() || address.is_unspecified(),
            Err(_) => host == "localhost" || host.ends_with(".localhost"),
        }
    }

    /// Every address that it is asked at.
    pub(crate) fn places(&self) -> Vec<&str> {
        let mut places = vec![self.url.as_str()];
        match &self.kind {
            Kind::Bulkhead { control, .. } => places.extend(control.as_deref()),
            Kind::Http(app) => {
                let one = [&app.plant, &app.ask, &app.poll, &app.rpc, &app.cleanup, &app.fail];
                let templates = one.into_iter().flatten().chain(&app.tools).chain(&app.open);
                let asked = templates.filter_map(|template| Some(asked(template)?.1));
                let paths = [&app.objects, &app.admin, &app.logs].into_iter().flatten();
                let paths = asked.chain(paths.map(String::as_str));
                places.extend(paths.filter(|path| path.contains("://")));
            }
            _ => {}
        }
        places
    }
}

impl Plan {
    /// Reads a target file.
    ///
    /// # Errors
    /// What is wrong, with the file's name and the line.
    pub fn parse(file: &str, text: &str) -> Result<Self, Error> {
        read::plan(file, text)
    }

    /// What a user should know, though it keeps nothing from working.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut tenants = self.targets.iter().flat_map(|target| target.tenants.values());
        if !tenants.any(Tenant::literal) || !others_read(&self.file) {
            return Vec::new();
        }
        vec![format!(
            "{0} has credentials in it and can be read by others: chmod 600 {0}, or write \
             env:NAME or file:PATH",
            self.file
        )]
    }

    /// Both tenants with their credentials, which have to be two.
    pub(crate) async fn callers(&self, target: &Target) -> Result<(Caller, Caller), Error> {
        let (a, b) = (self.caller(target, Side::A).await?, self.caller(target, Side::B).await?);
        let exposed = |caller: &Caller| {
            let credential = caller.credential.as_ref();
            credential.map(|credential| credential.expose().to_owned())
        };
        let told_apart = match &target.kind {
            // By a field or a prefix that the application supplies.
            Kind::Redis { .. } | Kind::Qdrant { tenant_field: Some(_), .. } => true,
            _ => exposed(&a) != exposed(&b) || a.headers != b.headers,
        };
        if told_apart {
            return Ok((a, b));
        }
        let why = "it is tenant a's too: two different tenants are needed".to_owned();
        Err(Error::Credential { tenant: Side::B.name(), target: target.name.clone(), why })
    }

    /// A tenant with its credential.
    pub(crate) async fn caller(&self, target: &Target, side: Side) -> Result<Caller, Error> {
        let failed =
            |why| Error::Credential { tenant: side.name(), target: target.name.clone(), why };
        let Some(tenant) = target.tenant(self, side) else {
            return Err(failed("the target file has no such tenant".into()));
        };
        let shown = format!("${}", side.name().to_uppercase());
        let credential = match (&tenant.token, &tenant.token_cmd) {
            (Some(text), _) => {
                Some(Credential::shown_as(secret::resolve(text).map_err(failed)?, shown))
            }
            (None, Some(command)) => {
                Some(Credential::of_command(command, &shown).await.map_err(failed)?)
            }
            (None, None) => None,
        };
        let headers = target.sent_with(side).map_err(failed)?;
        Ok(Caller { side: Some(side), label: side.name().to_owned(), credential, headers })
    }
}

/// Whether a path has `.` or `..` in it, which an address is made without.
fn climbs(path: &str) -> bool {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let mut parts = path.split(['/', '\\']);
    parts.any(|part| matches!(part.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | ".."))
}

/// Whether somebody else than the owner may read a file.
fn others_read(file: &str) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::metadata(file).is_ok_and(|known| known.permissions().mode() & 0o044 != 0)
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        false
    }
}

#[cfg(test)]
mod tests;
