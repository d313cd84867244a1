//! From the text of a target file to a plan, with errors that name file, line and column.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use serde::de::DeserializeOwned;
use toml::{
    Spanned,
    de::{DeTable, DeValue, ValueDeserializer},
};

use super::{
    App, Auth, Call, Deployment, Kind, Known, Limits, Plan, Price, Server, Target, Template,
    Tenant, server, template,
};
use crate::{Error, canary::Side};

/// The longest target file, in bytes.
const LONGEST: usize = 256 * 1024;
/// The most targets, and the most of anything that a target lists.
const MOST: usize = 64;

/// What every target may say.
const COMMON: &[&str] = &["kind", "url", "ca", "connect", "auth", "price", "a", "b"];
/// What each kind may say besides.
const KINDS: &[(&str, &[&str])] = &[
    (
        "bulkhead",
        &[
            "control",
            "model",
            "embedding_model",
            "operator",
            "messages_model",
            "similar_model",
            "engine_model",
            "run",
            "environments",
            "hidden",
            "tools",
        ],
    ),
    ("openai", &["model"]),
    ("anthropic", &["model"]),
    ("qdrant", &["tenant_field", "collection"]),
    ("redis", &["pattern"]),
    ("mcp", SERVER),
    (
        "http",
        &[
            "plant", "ask", "poll", "objects", "tools", "rpc", "admin", "logs", "cleanup", "open",
            "fail", "operator", "sink",
        ],
    ),
];

/// What is said of an MCP server: in a target of its own, and in `tools` of a deployment.
const SERVER: &[&str] = &[
    "protocol",
    "plant",
    "read",
    "list",
    "remove",
    "fail",
    "resume",
    "tools",
    "resource",
    "tenant_arguments",
    "known",
    "private",
];

/// A target file's name and text, for errors.
struct Text<'i> {
    file: &'i str,
    text: &'i str,
}

/// The fields of one table, by name, each with where its name stands.
struct Fields<'t, 'i> {
    text: &'t Text<'i>,
    at: usize,
    fields: BTreeMap<String, (usize, Spanned<DeValue<'i>>)>,
}

/// Tenants as one table has them.
type Tenants = BTreeMap<Side, (usize, Tenant)>;

pub(super) fn plan(file: &str, text: &str) -> Result<Plan, Error> {
    let text = &Text { file, text };
    if text.text.len() > LONGEST {
        return Err(Error::Plan(format!("{file}: longer than {LONGEST} bytes")));
    }
    let root = DeTable::parse(text.text).map_err(|error| text.because(&error))?;
    let mut root = Fields::of(text, 0, root.into_inner());
    root.only(&[&["tenant", "budget", "target"]])?;
    let budget = match root.take::<Limits>("budget")? {
        Some((at, budget)) => budget.check().map(|()| budget).map_err(|why| text.at(at, why))?,
        None => Limits::default(),
    };
    let mut tenants = Tenants::new();
    if let Some(mut table) = root.table("tenant")? {
        table.only(&[&["a", "b"]])?;
        tenants = table.tenants()?;
    }
    let mut targets = Vec::new();
    if let Some(table) = root.table("target")? {
        for (name, (at, value)) in table.fields {
            let fields = Fields::below(text, &name, at, value)?;
            targets.push((at, target(name, fields, &tenants)?));
        }
    }
    if targets.is_empty() {
        return Err(Error::Plan(format!("{file}: no target: begin one with [target.NAME]")));
    }
    if targets.len() > MOST {
        return Err(Error::Plan(format!("{file}: more than {MOST} targets")));
    }
    // The parser gives them by their names; the file has an order of its own.
    targets.sort_by_key(|(at, _)| *at);
    let targets = targets.into_iter().map(|(_, target)| Arc::new(target)).collect();
    let tenants = tenants.into_iter().map(|(side, (_, tenant))| (side, tenant)).collect();
    Ok(Plan { file: file.to_owned(), budget, tenants, targets })
}

fn target(name: String, mut fields: Fields<'_, '_>, all: &Tenants) -> Result<Target, Error> {
    let (text, at) = (fields.text, fields.at);
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
        return Err(text.at(at, "a target's name is of letters, digits, `.`, `_` and `-`"));
    }
    let (kind_at, kind) = fields.need::<String>("kind")?;
    let Some((_, own)) = KINDS.iter().find(|(known, _)| *known == kind) else {
        let kinds: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).collect();
        return Err(text.unknown(kind_at, "kind", &kind, &[&kinds]));
    };
    fields.only(&[COMMON, own])?;
    let own_tenants = fields.tenants()?;
    let (url_at, url) = fields.need::<String>("url")?;
    let kind_fields = fields.kind(&kind)?;
    check_url(&url, &kind_fields).map_err(|why| text.at(url_at, why))?;
    let price = fields.take::<Price>("price")?;
    if let Some((at, why)) = price.and_then(|(at, price)| Some((at, price.check().err()?))) {
        return Err(text.at(at, why));
    }
    let auth = match fields.take::<Auth>("auth")? {
        Some((at, auth)) => auth.check().map(|()| auth).map_err(|why| text.at(at, why))?,
        None => Auth::usual(&kind_fields),
    };
    let mut target = Target {
        name,
        line: text.line(at),
        url,
        ca: fields.take::<String>("ca")?.map(|(_, path)| text.beside(&path)),
        connect: fields.take("connect")?.map(|(_, address)| address),
        auth,
        price: price.map(|(_, price)| price),
        kind: kind_fields,
        tenants: BTreeMap::new(),
    };
    for side in [Side::A, Side::B] {
        let tenant = match (own_tenants.get(&side), all.get(&side)) {
            (Some((_, own)), shared) => own.clone().over(shared.map(|(_, tenant)| tenant)),
            (None, Some((_, shared))) => shared.clone(),
            (None, None) => {
                let (name, side) = (&target.name, side.name());
                let advice = format!("add [tenant.{side}], or `{side} = {{ token = … }}` here");
                return Err(text.at(at, format!("target {name} has no tenant {side}; {advice}")));
            }
        };
        let own_at = own_tenants.get(&side).map_or(at, |(at, _)| *at);
        target.suits(&tenant, side).map_err(|why| text.at(own_at, why))?;
        target.tenants.insert(side, tenant);
    }
    Ok(target)
}

/// What is wrong with an address, if anything.
pub(super) fn check_url(url: &str, kind: &Kind) -> Result<(), String> {
    let parsed = reqwest::Url::parse(url).map_err(|why| format!("`{url}` is no address: {why}"))?;
    let known: &[&str] = match kind {
        Kind::Redis { .. } => &["redis", "rediss"],
        _ => &["http", "https"],
    };
    if !known.contains(&parsed.scheme()) {
        return Err(format!("the address begins with {}://", known.join(":// or ")));
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err("credentials do not belong into an address, which is shown: use `token`".into());
    }
    if parsed.host_str().is_none_or(str::is_empty) {
        return Err("the address names no host".into());
    }
    if parsed.query().is_some() || parsed.fragment().is_some() {
        return Err("an address ends with its path".into());
    }
    Ok(())
}

impl<'i> Text<'i> {
    fn line(&self, at: usize) -> usize {
        self.text.get(..at).unwrap_or(self.text).matches('\n').count() + 1
    }

    fn at(&self, at: usize, message: impl AsRef<str>) -> Error {
        let before = self.text.get(..at).unwrap_or(self.text);
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        let (file, line, message) = (self.file, self.line(at), message.as_ref());
        Error::Plan(format!("{file}:{line}:{column}: {message}"))
    }

    fn because(&self, error: &toml::de::Error) -> Error {
        let message = error.message().trim_end();
        let message = match meant(message) {
            Some(known) => format!("{message}; did you mean `{known}`?"),
            None => message.to_owned(),
        };
        match error.span() {
            Some(span) => self.at(span.start, message),
            None => Error::Plan(format!("{}: {message}", self.file)),
        }
    }

    fn unknown(&self, at: usize, what: &str, name: &str, known: &[&[&str]]) -> Error {
        let known = known.concat();
        let advice = match nearest(name, &known) {
            Some(known) => format!("did you mean `{known}`?"),
            None => format!("known are {}", known.join(", ")),
        };
        self.at(at, format!("unknown {what} `{name}`; {advice}"))
    }

    /// A secret of the file; its path, if it has one, from the file's own place.
    fn secret(&self, text: String) -> String {
        match text.strip_prefix("file:") {
            Some(path) => format!("file:{}", self.beside(path).display()),
            None => text,
        }
    }

    /// A path of the file, from the file's own place.
    fn beside(&self, path: &str) -> std::path::PathBuf {
        Path::new(self.file).parent().unwrap_or(Path::new("")).join(path)
    }
}

impl<'t, 'i> Fields<'t, 'i> {
    fn of(text: &'t Text<'i>, at: usize, table: DeTable<'i>) -> Self {
        let fields = table.into_iter();
        let fields =
            fields.map(|(name, value)| (name.get_ref().to_string(), (name.span().start, value)));
        Self { text, at, fields: fields.collect() }
    }

    fn below(
        text: &'t Text<'i>,
        name: &str,
        at: usize,
        value: Spanned<DeValue<'i>>,
    ) -> Result<Self, Error> {
        match value.into_inner() {
            DeValue::Table(table) => Ok(Self::of(text, at, table)),
            _ => Err(text.at(at, format!("`{name}` is a table"))),
        }
    }

    fn only(&self, known: &[&[&str]]) -> Result<(), Error> {
        let mut unknown =
            self.fields.iter().filter(|(name, _)| !known.concat().contains(&&***name));
        match unknown.next() {
            Some((name, (at, _))) => Err(self.text.unknown(*at, "field", name, known)),
            None => Ok(()),
        }
    }

    fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<(usize, T)>, Error> {
        let Some((at, value)) = self.fields.remove(name) else { return Ok(None) };
        let value = T::deserialize(ValueDeserializer::from(value));
        Ok(Some((at, value.map_err(|error| self.text.because(&error))?)))
    }

    fn need<T: DeserializeOwned>(&mut self, name: &str) -> Result<(usize, T), Error> {
        let missing = self.text.at(self.at, format!("`{name}` is missing"));
        self.take(name)?.ok_or(missing)
    }

    fn text(&mut self, name: &str) -> Result<Option<String>, Error> {
        let taken = self.take::<String>(name)?;
        match taken {
            Some((at, text)) if text.trim().is_empty() => {
                Err(self.text.at(at, format!("`{name}` is empty")))
            }
            taken => Ok(taken.map(|(_, text)| text)),
        }
    }

    fn table(&mut self, name: &str) -> Result<Option<Self>, Error> {
        let Some((at, value)) = self.fields.remove(name) else { return Ok(None) };
        Self::below(self.text, name, at, value).map(Some)
    }

    fn tenants(&mut self) -> Result<Tenants, Error> {
        let mut tenants = Tenants::new();
        for side in [Side::A, Side::B] {
            let Some((at, tenant)) = self.take::<Tenant>(side.name())? else { continue };
            let tenant = tenant.check().map_err(|why| self.text.at(at, why))?;
            tenants.insert(side, (at, tenant.placed(|text| self.text.secret(text))));
        }
        Ok(tenants)
    }

    fn kind(&mut self, kind: &str) -> Result<Kind, Error> {
        Ok(match kind {
            "bulkhead" => Kind::Bulkhead {
                control: self.control()?,
                model: self.text("model")?,
                embedding_model: self.text("embedding_model")?,
                more: Box::new(self.deployment()?),
            },
            "openai" => Kind::Openai { model: self.need::<String>("model")?.1 },
            "anthropic" => Kind::Anthropic { model: self.need::<String>("model")?.1 },
            "qdrant" => Kind::Qdrant {
                tenant_field: self.text("tenant_field")?,
                collection: self.text("collection")?,
            },
            "redis" => Kind::Redis { pattern: self.text("pattern")? },
            "mcp" => Kind::Mcp(Box::new(self.server()?)),
            _ => Kind::Http(Box::new(App {
                plant: self.template("plant")?,
                ask: self.template("ask")?,
                poll: self.template("poll")?,
                objects: self.paths("objects")?,
                tools: self.templates("tools")?,
                rpc: self.template("rpc")?,
                admin: self.paths("admin")?,
                logs: self.paths("logs")?,
                cleanup: self.template("cleanup")?,
                open: self.templates("open")?,
                fail: self.template("fail")?,
                operator: self.text("operator")?.map(|text| self.text.secret(text)),
                sink: self.text("sink")?,
            })),
        })
    }

    fn deployment(&mut self) -> Result<Deployment, Error> {
        let text = self.text;
        let secret = |own: String| text.secret(own);
        let hidden = self.take::<Vec<String>>("hidden")?.map(|(_, texts)| texts);
        Ok(Deployment {
            operator: self.text("operator")?.map(secret),
            messages_model: self.text("messages_model")?,
            similar_model: self.text("similar_model")?,
            engine_model: self.text("engine_model")?,
            run: self.text("run")?,
            environments: self
                .take::<Vec<String>>("environments")?
                .map(|(_, names)| names)
                .unwrap_or_default(),
            hidden: hidden.into_iter().flatten().map(secret).collect(),
            tools: match self.table("tools")? {
                Some(mut tools) => {
                    tools.only(&[SERVER])?;
                    Some(tools.server()?)
                }
                None => None,
            },
        })
    }

    fn server(&mut self) -> Result<Server, Error> {
        let (discover, tools) = self.tools()?;
        let resource = self.sound("resource", |uri: &String| server::check_resource(uri))?;
        let arguments = self.sound("tenant_arguments", |names: &Vec<String>| {
            names.iter().try_for_each(|name| server::check_name(name)).and_then(|()| few(names))
        })?;
        let known = self.take::<server::Both<Known>>("known")?;
        let known = known.map(|(at, known)| (at, known.sides())).unwrap_or_default();
        let sound = known.1.values().try_for_each(Known::check);
        sound.map_err(|why| self.text.at(known.0, format!("known: {why}")))?;
        let private = self.take::<server::Both<Vec<String>>>("private")?;
        Ok(Server {
            protocol: self.take("protocol")?.map(|(_, protocol)| protocol).unwrap_or_default(),
            plant: self.sound("plant", Call::check)?,
            read: self.sound("read", Call::check)?,
            list: self.sound("list", Call::check)?,
            remove: self.sound("remove", Call::check)?,
            fail: self.sound("fail", Call::check)?,
            resume: self.sound("resume", Call::check)?,
            tools,
            discover,
            resource,
            tenant_arguments: arguments.unwrap_or_default(),
            known: known.1,
            private: private.map(|(_, both)| both.sides()).unwrap_or_default(),
        })
    }

    /// `"auto"`, or calls.
    fn tools(&mut self) -> Result<(bool, Vec<Call>), Error> {
        let said = self.fields.get("tools").map(|(_, value)| value.get_ref());
        if !matches!(said, Some(DeValue::String(_))) {
            let calls = self.sound("tools", |calls: &Vec<Call>| {
                calls.iter().try_for_each(Call::check).and_then(|()| few(calls))
            })?;
            return Ok((false, calls.unwrap_or_default()));
        }
        match self.take::<String>("tools")? {
            Some((at, said)) if said != "auto" => {
                Err(self.text.at(at, format!("tools: `{said}`: say \"auto\", or list calls")))
            }
            said => Ok((said.is_some(), Vec::new())),
        }
    }

    /// A field of which something is to be said besides its type.
    fn sound<T: DeserializeOwned>(
        &mut self,
        name: &str,
        check: impl FnOnce(&T) -> Result<(), String>,
    ) -> Result<Option<T>, Error> {
        let Some((at, own)) = self.take::<T>(name)? else { return Ok(None) };
        check(&own).map_err(|why| self.text.at(at, format!("{name}: {why}")))?;
        Ok(Some(own))
    }

    fn control(&mut self) -> Result<Option<String>, Error> {
        let Some((at, url)) = self.take::<String>("control")? else { return Ok(None) };
        let http = Kind::Http(Box::default());
        check_url(&url, &http).map_err(|why| self.text.at(at, why))?;
        Ok(Some(url))
    }

    fn template(&mut self, name: &str) -> Result<Option<Template>, Error> {
        self.sound(name, template::check)
    }

    fn templates(&mut self, name: &str) -> Result<Vec<Template>, Error> {
        let Some((at, each)) = self.take::<Vec<Template>>(name)? else { return Ok(Vec::new()) };
        let sound = each.iter().try_for_each(template::check).and_then(|()| few(&each));
        sound.map_err(|why| self.text.at(at, format!("{name}: {why}")))?;
        Ok(each)
    }

    fn paths(&mut self, name: &str) -> Result<Vec<String>, Error> {
        let Some((at, each)) = self.take::<Vec<String>>(name)? else { return Ok(Vec::new()) };
        let sound = each.iter().try_for_each(|path| template::check_route(path));
        let sound = sound.and_then(|()| few(&each));
        sound.map_err(|why| self.text.at(at, format!("{name}: {why}")))?;
        Ok(each)
    }
}

fn few<T>(each: &[T]) -> Result<(), String> {
    if each.len() > MOST { Err(format!("more than {MOST}")) } else { Ok(()) }
}

/// The name that may have been meant in an error of serde's.
fn meant(message: &str) -> Option<String> {
    let told = message.strip_prefix("unknown field ");
    let told = told.or_else(|| message.strip_prefix("unknown variant "))?;
    let mut quoted = told.split('`').skip(1).step_by(2);
    let unknown = quoted.next()?;
    nearest(unknown, &quoted.collect::<Vec<_>>()).map(str::to_owned)
}

/// The known name nearest to an unknown one, if one is near.
pub(super) fn nearest<'k>(unknown: &str, known: &[&'k str]) -> Option<&'k str> {
    let (steps, known) = known.iter().map(|known| (steps(unknown, known), *known)).min()?;
    (steps <= 1 + unknown.len() / 4).then_some(known)
}

/// How many letters to insert, delete or change (Wagner and Fischer, 1974).
fn steps(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.bytes().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in to.bytes().enumerate() {
            let changed = corner + usize::from(a != b);
            corner = std::mem::replace(&mut row[j + 1], 0);
            row[j + 1] = changed.min(row[j] + 1).min(corner + 1);
        }
    }
    row[to.len()]
}
