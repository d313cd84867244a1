//! Templates, filled in: percent-encoded in a path, as they are in headers, as strings in JSON.

use std::collections::BTreeMap;

use ids::Clock as _;
use serde_json::Value;

use super::{line, pointer};
use crate::{
    lab::{Caller, Lab},
    target::Template,
    verdict::Halt,
    wire::{Request, quote, segment},
};

/// What may be left out where it is the whole of a field or a header: a first question has no
/// conversation yet, a list begins without a cursor.
const OPTIONAL: [&str; 3] = ["thread", "session", "cursor"];

/// What is known, by the names that templates have for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Words(BTreeMap<String, String>);

impl Words {
    /// What is known of itself: a new `name`, a new `rpc_id`, what time it is `now`, and what the
    /// tenant is called.
    pub(crate) fn of(lab: &Lab, by: &Caller) -> Self {
        let mut words = Self::default();
        words.put("name", &format!("bh-{}", fresh()));
        let number = u32::from_str_radix(&fresh()[..7], 16).unwrap_or(1);
        words.put("rpc_id", &number.to_string());
        words.put("now", &ids::SystemClock.now().to_string());
        let tenant = by.side.and_then(|side| lab.target.tenants.get(&side));
        if let Some(called) = tenant.and_then(|tenant| tenant.names.first()) {
            words.put("tenant", called);
        }
        words
    }

    pub(crate) fn put(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_owned(), value.to_owned());
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.put(name, value);
        self
    }

    /// With all of another's.
    pub(crate) fn add(&mut self, more: &Self) {
        self.0.extend(more.0.iter().map(|(name, value)| (name.clone(), value.clone())));
    }

    pub(crate) fn with_all(mut self, handles: &[(String, String)]) -> Self {
        self.0.extend(handles.iter().cloned());
        self
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// What leads back to what was left.
    pub(crate) fn handles(&self) -> Vec<(String, String)> {
        let lead = ["id", "thread", "job"];
        let known = lead.iter().filter_map(|name| Some(((*name).to_owned(), self.get(name)?)));
        known.map(|(name, value)| (name, value.to_owned())).collect()
    }
}

/// 128 random bits, which no run with the same seed draws again.
pub(super) fn fresh() -> String {
    ids::RandomId::draw(&ids::OsEntropy).to_string()
}

/// The same in the form that many stores ask of an id.
pub(crate) fn uuid() -> String {
    let digits = fresh();
    let (time, rest) = (&digits[..8], &digits[8..]);
    format!("{time}-{}-4{}-a{}-{}", &rest[..4], &rest[5..8], &rest[9..12], &rest[12..24])
}

/// The request of a template.
pub(crate) fn request(lab: &Lab, template: &Template, words: &Words) -> Result<Request, Halt> {
    let Some((method, path)) = line(template) else {
        return Err(Halt::Lacking("a template says get, post, put, patch or delete".into()));
    };
    let mut request = Request::new(method, self::path(path, words)?);
    for (name, text) in &template.headers {
        if left_out(text, words) {
            continue;
        }
        let value = filled(text, words, str::to_owned)?;
        let value: String = value.chars().filter(|c| !c.is_control()).collect();
        request = request.header(name, &value);
    }
    if let Some(json) = &template.json {
        let own_type =
            template.headers.keys().any(|name| name.eq_ignore_ascii_case("content-type"));
        let body = value(json, words)?.unwrap_or(Value::Null);
        match own_type {
            true => request.body = Some(body.to_string().into_bytes()),
            false => request = request.json(&body),
        }
    }
    request.usd = cost(lab, &request);
    Ok(request.example(pointer::example(template)))
}

/// What a request may cost, if the file says that it costs anything: its own length, and a long
/// answer.
fn cost(lab: &Lab, request: &Request) -> f64 {
    let Some(price) = lab.target.price else { return 0.0 };
    let bytes = request.body.as_ref().map_or(0, Vec::len);
    let tokens = f64::from(u32::try_from(bytes / 3).unwrap_or(u32::MAX));
    (tokens * price.input + 1_000.0 * price.output) / 1e6
}

/// A path with what is known; also for one that is no template.
pub(crate) fn path(text: &str, words: &Words) -> Result<String, Halt> {
    // What is in a path may be of the target's making; a query leads nowhere.
    let before_query = text.split('?').next().unwrap_or_default();
    for value in names(before_query).into_iter().filter_map(|name| words.get(name)) {
        segment(value)?;
    }
    filled(text, words, quote)
}

pub(crate) fn value(json: &Value, words: &Words) -> Result<Option<Value>, Halt> {
    Ok(Some(match json {
        Value::String(text) if left_out(text, words) => return Ok(None),
        Value::String(text) => {
            let filled = filled(text, words, str::to_owned)?;
            match (text.as_str(), filled.parse::<u64>()) {
                ("{rpc_id}", Ok(number)) => Value::from(number),
                _ => Value::String(filled),
            }
        }
        Value::Array(each) => {
            let each = each.iter().filter_map(|one| value(one, words).transpose());
            Value::Array(each.collect::<Result<_, _>>()?)
        }
        Value::Object(each) => {
            let mut object = serde_json::Map::new();
            for (name, one) in each {
                let Some(one) = value(one, words)? else { continue };
                object.insert(filled(name, words, str::to_owned)?, one);
            }
            Value::Object(object)
        }
        other => other.clone(),
    }))
}

/// Whether it is only a place for something that is not known, and need not be.
fn left_out(text: &str, words: &Words) -> bool {
    let name = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    name.is_some_and(|name| OPTIONAL.contains(&name) && words.get(name).is_none())
}

/// The names that a text has places for.
pub(crate) fn names(text: &str) -> Vec<&str> {
    let after = text.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0));
    after.filter(|name| is_name(name)).collect()
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// The names that a template has places for.
pub(crate) fn wanted(template: &Template) -> Vec<String> {
    let path = line(template).map(|(_, path)| path).unwrap_or_default();
    let headers = template.headers.values().map(String::as_str);
    let json = template.json.as_ref().map(ToString::to_string).unwrap_or_default();
    let all = [path, json.as_str()].into_iter().chain(headers);
    all.flat_map(names).map(str::to_owned).collect()
}

/// Goes through the text once: what is put in is not looked at again.
pub(crate) fn filled(
    text: &str,
    words: &Words,
    as_is: impl Fn(&str) -> String,
) -> Result<String, Halt> {
    let mut parts = text.split('{');
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once('}') {
            Some((name, rest)) if is_name(name) => {
                let Some(value) = words.get(name) else {
                    return Err(Halt::Lacking(format!("`{text}`: no {{{name}}} is known here")));
                };
                filled.push_str(&as_is(value));
                filled.push_str(rest);
            }
            _ => {
                filled.push('{');
                filled.push_str(part);
            }
        }
    }
    Ok(filled)
}
