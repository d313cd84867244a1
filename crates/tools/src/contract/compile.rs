//! Everything that is wrong in a contract is found when the configuration is read.

use std::{collections::BTreeSet, sync::Arc};

use http::HeaderValue;
use ids::json::Json;
use serde_json::Value;
use serde_json_path::JsonPath;

use super::{
    Form, Mode, Tool, amount,
    bind::{Kind, Places},
    from_value,
    rules::Held,
};
use crate::{
    Approval, Contract, Effect, HttpRequest, Idempotency, Query, Reconcile, Settings, Source,
    Upstream, UpstreamKind, openapi,
    owner::Owners,
    pointer::{Pointer, Step, index},
    settings::header_is_ours,
    template::{self, Template},
};

/// Longest time for which a review waits: 30 days.
const LONGEST_APPROVAL: u64 = 30 * 86_400;

/// What a contract says of the form of its calls, taken apart.
struct Shape {
    form: Form,
    schema: Option<Json>,
    description: Option<String>,
    /// Arguments that stand in a path or a query.
    placed: Vec<Pointer>,
}

impl Tool {
    /// Checks a contract and takes it apart.
    pub(crate) fn compile(
        all: &Settings,
        contract: &Contract,
        upstream: &Arc<Upstream>,
        document: Option<&openapi::Document>,
    ) -> Result<Self, String> {
        check_plain(contract, upstream)?;
        let shape = shape(contract, upstream, document)?;
        let bound = bound(contract).map_err(|why| format!("bind: {why}"))?;
        let withheld = withheld(contract, upstream, &bound)?;
        let rules = rules(contract, &bound, withheld.as_ref())?;
        let (amount, above) = approval(&contract.approval, contract.effect, &bound)
            .map_err(|why| format!("approval: {why}"))?;
        if let Some(reconcile) = &contract.reconcile {
            check_reconcile(all, contract, reconcile).map_err(|why| format!("reconcile: {why}"))?;
        }
        let mut known: Vec<(Pointer, Kind)> = bound.clone();
        known.extend(withheld.clone().map(|pointer| (pointer, Kind::Withheld)));
        known.extend(rules.iter().map(|rule| (rule.pointer.clone(), Kind::Ruled)));
        let others = amount.clone().into_iter().chain(shape.placed).chain(looked_up(contract));
        known.extend(others.map(|pointer| (pointer, Kind::Ruled)));
        let places = Places::new(&known, shape.schema.as_ref());
        if let Some((one, other)) = places.confused() {
            return Err(format!("`{one}` is bound, and `{other}` may be taken for it"));
        }
        let tool = Self {
            owners: owners(contract, upstream)?,
            mode: mode(contract)?,
            closed: shape.schema.as_ref().and_then(closed),
            hidden: bound.into_iter().map(|(pointer, _)| pointer).chain(withheld).collect(),
            form: shape.form,
            schema: shape.schema,
            description: shape.description,
            contract: contract.clone(),
            upstream: Arc::clone(upstream),
            places,
            rules,
            amount,
            above,
        };
        if let Some(schema) = &tool.schema {
            tool.shown(schema).map_err(|why| format!("parameters: {why}"))?;
        }
        Ok(tool)
    }
}

/// What needs nothing else to be checked.
fn check_plain(contract: &Contract, upstream: &Upstream) -> Result<(), String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    if contract.name.is_empty() || contract.name.len() > 64 || !contract.name.bytes().all(plain) {
        return Err("name: it has 1 to 64 of A-Z, a-z, 0-9, `_`, `-`".to_owned());
    }
    if let Some(workflows) = &contract.workflows {
        if workflows.is_empty() {
            return Err("workflows: none is named; leave it out for all of them".to_owned());
        }
        if workflows.iter().collect::<BTreeSet<_>>().len() != workflows.len() {
            return Err("workflows: one is named twice".to_owned());
        }
    }
    if contract.timeout_ms.is_some_and(|ms| !(1..=3_600_000).contains(&ms)) {
        return Err("timeout_ms: it is 1 to 3600000".to_owned());
    }
    if contract.max_response_bytes.is_some_and(|most| !(1..=256 << 20).contains(&most)) {
        return Err("max_response_bytes: it is 1 to 268435456".to_owned());
    }
    if let Some(pin) = &contract.pin {
        if upstream.kind != UpstreamKind::Mcp {
            return Err("pin: only tools of an `mcp` upstream have definitions to pin".to_owned());
        }
        let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        let digits = pin.strip_prefix("b3:").filter(|digits| digits.len() == 32);
        if !digits.is_some_and(|digits| digits.bytes().all(hex)) {
            return Err("pin: it is `b3:` and 32 hexadecimal digits".to_owned());
        }
    }
    Ok(())
}

fn mode(contract: &Contract) -> Result<Mode, String> {
    match (contract.effect, contract.mode) {
        (Effect::Read, None | Some(Mode::Execute)) => Ok(Mode::Execute),
        (Effect::Read, Some(_)) => Err("mode: a read is executed; modes are of writes".to_owned()),
        (_, mode) => Ok(mode.unwrap_or(Mode::Suggest)),
    }
}

fn owners(contract: &Contract, upstream: &Upstream) -> Result<Owners, String> {
    match (contract.owner.is_empty(), contract.unverifiable) {
        (true, false) => Err("owner: nothing says where in its answers the owner stands; if none \
             can be found there, say `unverifiable = true`"
            .to_owned()),
        (false, true) => {
            Err("unverifiable: `owner` says where the owner stands; it is one or the other"
                .to_owned())
        }
        _ => Owners::compile(contract, upstream.system()).map_err(|why| format!("owner: {why}")),
    }
}

/// What a call becomes, and what is known of its arguments.
fn shape(
    contract: &Contract,
    upstream: &Upstream,
    document: Option<&openapi::Document>,
) -> Result<Shape, String> {
    let Contract { tool, request, operation, query, description, .. } = contract;
    let there = [
        ("tool", tool.is_some(), UpstreamKind::Mcp),
        ("request", request.is_some(), UpstreamKind::Http),
        ("operation", operation.is_some(), UpstreamKind::Http),
        ("query", query.is_some(), UpstreamKind::Postgres),
    ];
    if let Some((field, ..)) =
        there.iter().find(|(_, there, kind)| *there && *kind != upstream.kind)
    {
        return Err(format!("{field}: upstream `{}` is of another kind", upstream.id));
    }
    let stated = contract.parameters.as_ref().map(object_schema).transpose()?;
    let mut shape = Shape {
        form: Form::Mcp(String::new()),
        schema: stated,
        description: description.clone(),
        placed: request.as_ref().map(placed).unwrap_or_default(),
    };
    shape.form = match (upstream.kind, request, operation, query) {
        (UpstreamKind::Mcp, ..) => {
            let name = tool.as_ref().unwrap_or(&contract.name);
            if name.is_empty() || name.len() > 256 || name.chars().any(char::is_control) {
                return Err("tool: it has 1 to 256 bytes without control characters".to_owned());
            }
            Form::Mcp(name.clone())
        }
        (UpstreamKind::Http, Some(request), None, _) => {
            check_headers(request)?;
            Form::Http(Template::compile(request).map_err(|why| format!("request: {why}"))?)
        }
        (UpstreamKind::Http, None, Some(id), _) => {
            let document = document.ok_or("operation: the upstream has no `openapi` document")?;
            let found = document.operation(id).map_err(|why| format!("operation: {why}"))?;
            let Shape { schema, description, .. } = &mut shape;
            if schema.is_none() {
                *schema = Some(found.parameters);
            }
            *description = description.take().or(found.description);
            check_headers(&found.request)?;
            shape.placed = placed(&found.request);
            Form::Http(
                Template::compile(&found.request).map_err(|why| format!("operation: {why}"))?,
            )
        }
        (UpstreamKind::Http, ..) => {
            return Err("an `http` tool is a `request` or an `operation`: exactly one".to_owned());
        }
        (UpstreamKind::Postgres, _, _, Some(query)) => {
            check_query(query).map_err(|why| format!("query: {why}"))?;
            Form::Sql(query.clone())
        }
        (UpstreamKind::Postgres, ..) => return Err("a `postgres` tool is a `query`".to_owned()),
    };
    if shape.schema.is_none() && upstream.kind != UpstreamKind::Mcp {
        return Err("parameters: nothing says what its arguments are".to_owned());
    }
    shape.form = match (shape.form, &shape.schema) {
        (Form::Http(template), Some(schema)) => Form::Http(template.with_schema(schema)),
        (form, _) => form,
    };
    Ok(shape)
}

fn object_schema(parameters: &Value) -> Result<Json, String> {
    let schema = from_value(parameters).map_err(|why| format!("parameters: {why}"))?;
    if schema.get("type").and_then(Json::as_str) != Some("object") {
        return Err("parameters: it is a JSON Schema of `type` `object`".to_owned());
    }
    match schema.get("properties") {
        None | Some(Json::Object(_)) => Ok(schema),
        Some(_) => Err("parameters: its `properties` are an object".to_owned()),
    }
}

/// The arguments that there are, where the schema says that there are no others.
fn closed(schema: &Json) -> Option<BTreeSet<String>> {
    let only = matches!(schema.get("additionalProperties"), Some(Json::Bool(false)));
    if !only || schema.get("patternProperties").is_some() {
        return None;
    }
    match schema.get("properties") {
        Some(Json::Object(properties)) => {
            Some(properties.iter().map(|(name, _)| name.clone()).collect())
        }
        _ => Some(BTreeSet::new()),
    }
}

/// Arguments that a request has in its path or its query.
fn placed(request: &HttpRequest) -> Vec<Pointer> {
    let braced = request.path.split('{').skip(1).filter_map(|part| part.split('}').next());
    let queried = request.query.values().map(String::as_str);
    braced.chain(queried).filter_map(|name| template::argument(name).ok()).collect()
}

/// Arguments by which it is looked up whether a write was done.
fn looked_up(contract: &Contract) -> Vec<Pointer> {
    let Some(reconcile) = &contract.reconcile else { return Vec::new() };
    let compared = reconcile.holds.iter().filter_map(|holds| holds.equals.get("from")?.as_str());
    let given = reconcile.arguments.values().map(String::as_str);
    let pointers = given.chain(compared).filter_map(|from| from.strip_prefix("argument:"));
    pointers.filter_map(|pointer| Pointer::single(pointer).ok()).collect()
}

fn check_headers(request: &HttpRequest) -> Result<(), String> {
    for (name, value) in &request.headers {
        header_is_ours(name).map_err(|why| format!("request.headers: {why}"))?;
        HeaderValue::from_str(value)
            .map_err(|_| format!("request.headers: the value of `{name}` cannot be sent"))?;
    }
    Ok(())
}

fn check_query(query: &Query) -> Result<(), String> {
    if query.sql.trim().is_empty() {
        return Err("sql: it is empty".to_owned());
    }
    for parameter in &query.parameters {
        Pointer::single(parameter).map_err(|why| format!("parameters: {why}"))?;
    }
    let part = |part: &str| {
        part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
    };
    match &query.setting {
        // Settings of one part are PostgreSQL's own: `role` would change who asks.
        Some(name) if name.split('.').count() < 2 || !name.split('.').all(part) => {
            Err("setting: it is a name of yours with a dot, such as `app.tenant`".to_owned())
        }
        _ if query.setting_from == Source::Accounts => {
            Err("setting_from: a setting is one text, and not a list".to_owned())
        }
        _ => Ok(()),
    }
}

fn bound(contract: &Contract) -> Result<Vec<(Pointer, Kind)>, String> {
    let mut bound: Vec<(Pointer, Kind)> = Vec::new();
    for (text, source) in &contract.bind {
        let pointer = Pointer::within(text)?;
        check_bindable(&pointer)?;
        if let Some((other, _)) = bound.iter().find(|(other, _)| other.meets(&pointer)) {
            return Err(format!("`{text}` and `{}` are in each other's way", other.as_str()));
        }
        bound.push((pointer, Kind::Bound(*source)));
    }
    Ok(bound)
}

fn check_bindable(pointer: &Pointer) -> Result<(), String> {
    let text = pointer.as_str();
    let numbered =
        |step: &Step| matches!(step, Step::Name(name) if index(name).is_some() || name == "-");
    if pointer.steps().last() == Some(&Step::Every) {
        return Err(format!("`{text}` ends with `*`: name what is bound"));
    }
    if pointer.steps().iter().any(numbered) {
        return Err(format!("`{text}` is one item of a list, and leaves the others free: use `*`"));
    }
    if pointer.steps().contains(&Step::Name(String::new())) {
        return Err(format!("`{text}` has a name without letters"));
    }
    Ok(())
}

fn withheld(
    contract: &Contract,
    upstream: &Upstream,
    bound: &[(Pointer, Kind)],
) -> Result<Option<Pointer>, String> {
    let Idempotency { header, argument } = &contract.idempotency;
    if contract.effect == Effect::Read && contract.idempotency != Idempotency::default() {
        return Err("idempotency: a read may be repeated; leave it out".to_owned());
    }
    if let Some(name) = header {
        if upstream.kind != UpstreamKind::Http {
            return Err("idempotency.header: only an `http` upstream gets headers".to_owned());
        }
        header_is_ours(name).map_err(|why| format!("idempotency.header: {why}"))?;
        let fixed = contract.request.as_ref().map(|request| &request.headers);
        let same = |other: &String| other.eq_ignore_ascii_case(name);
        if fixed.is_some_and(|fixed| fixed.keys().any(same)) {
            return Err(
                "idempotency.header: `request.headers` has it with a fixed value".to_owned()
            );
        }
    }
    let Some(argument) = argument else { return Ok(None) };
    let pointer = Pointer::single(argument)
        .and_then(|pointer| check_bindable(&pointer).map(|()| pointer))
        .map_err(|why| format!("idempotency.argument: {why}"))?;
    match bound.iter().find(|(other, _)| other.meets(&pointer)) {
        Some((other, _)) => {
            Err(format!("idempotency.argument: `{}` is bound already", other.as_str()))
        }
        None => Ok(Some(pointer)),
    }
}

fn rules(
    contract: &Contract,
    bound: &[(Pointer, Kind)],
    withheld: Option<&Pointer>,
) -> Result<Vec<Held>, String> {
    let mut rules: Vec<Held> = Vec::new();
    for rule in &contract.rules {
        let held = Held::compile(rule).map_err(|why| format!("rules: {why}"))?;
        let mut given = bound.iter().map(|(pointer, _)| pointer).chain(withheld);
        if let Some(other) = given.find(|other| under(&held.pointer, other)) {
            return Err(format!(
                "rules: `{}` is bound, so the caller cannot supply what the rule for `{}` is about",
                other.as_str(),
                rule.argument
            ));
        }
        if rules.iter().any(|other| other.pointer == held.pointer) {
            return Err(format!("rules: there are two for `{}`; make them one", rule.argument));
        }
        rules.push(held);
    }
    let chosen = rules.iter().any(Held::chooses);
    if chosen && bound.iter().any(|(_, kind)| *kind == Kind::Bound(Source::Accounts)) {
        return Err(
            "rules: `account = true` lets the caller choose one account, and `bind` sends \
             all of them"
                .to_owned(),
        );
    }
    Ok(rules)
}

/// Whether `pointer` is at `top`, or below it.
fn under(pointer: &Pointer, top: &Pointer) -> bool {
    pointer.steps().len() >= top.steps().len() && pointer.meets(top)
}

fn approval(
    approval: &Approval,
    effect: Effect,
    bound: &[(Pointer, Kind)],
) -> Result<(Option<Pointer>, Option<i64>), String> {
    if !(60..=LONGEST_APPROVAL).contains(&approval.expires_seconds) {
        return Err(format!("expires_seconds: it is 60 to {LONGEST_APPROVAL}"));
    }
    let about_writes = approval.four_eyes || approval.execute || approval.above.is_some();
    if effect == Effect::Read && about_writes {
        return Err("nobody approves a read; leave it out".to_owned());
    }
    let amount = approval
        .amount
        .as_deref()
        .map(Pointer::single)
        .transpose()
        .map_err(|why| format!("amount: {why}"))?;
    if let Some(pointer) = &amount
        && bound.iter().any(|(other, _)| other.meets(pointer))
    {
        return Err("amount: it is bound".to_owned());
    }
    let above = match approval.above {
        None => None,
        Some(_) if amount.is_none() => {
            return Err("above: `amount` does not say where the amount stands".to_owned());
        }
        Some(above) => Some(
            Some(above)
                .filter(|above| above.is_finite() && *above >= 0.0)
                .and_then(|above| amount::hundredths(&above.to_string()))
                .ok_or("above: it is a number that is not negative, with at most two decimals")?,
        ),
    };
    Ok((amount, above))
}

fn check_reconcile(
    all: &Settings,
    contract: &Contract,
    reconcile: &Reconcile,
) -> Result<(), String> {
    if contract.effect == Effect::Read {
        return Err("a read changes nothing that could be looked up; leave it out".to_owned());
    }
    let read = all
        .contracts
        .iter()
        .find(|other| other.name == reconcile.tool)
        .ok_or_else(|| format!("tool: there is no contract `{}`", reconcile.tool))?;
    if read.effect != Effect::Read {
        return Err(format!("tool: `{}` is no read", read.name));
    }
    let bound = bound(read).map_err(|why| format!("tool: `{}`: {why}", read.name))?;
    for (argument, from) in &reconcile.arguments {
        let pointer = Pointer::single(argument).map_err(|why| format!("arguments: {why}"))?;
        if bound.iter().any(|(other, _)| other.meets(&pointer)) {
            return Err(format!("arguments: `{argument}` of `{}` is bound", read.name));
        }
        check_reference(from).map_err(|why| format!("arguments: {why}"))?;
    }
    if reconcile.holds.is_empty() {
        return Err("holds: nothing says by what it is known that the write was done".to_owned());
    }
    for holds in &reconcile.holds {
        JsonPath::parse(&holds.path)
            .map_err(|error| format!("holds: `{}` is no JSONPath: {error}", holds.path))?;
        let Value::Object(value) = &holds.equals else { continue };
        match value.get("from") {
            Some(Value::String(from)) if value.len() == 1 => {
                check_reference(from).map_err(|why| format!("holds: {why}"))?;
            }
            Some(_) => return Err("holds: `equals` with `from` is `{ from = \"…\" }`".to_owned()),
            None => {}
        }
    }
    Ok(())
}

/// `argument:POINTER`, `result:POINTER` or `intent`.
fn check_reference(from: &str) -> Result<(), String> {
    let pointer = from.strip_prefix("argument:").or_else(|| from.strip_prefix("result:"));
    match pointer {
        Some(pointer) => Pointer::single(pointer).map(drop),
        None if from == "intent" => Ok(()),
        None => Err(format!("`{from}` is neither `argument:/…`, `result:/…` nor `intent`")),
    }
}
