//! Templates of requests: what may stand in them.

use serde_json::Value;

use super::Template;

/// Everything that a template may have in braces, and what is put there. Whoever fills in more adds
/// it here, and to `docs/probe-targets.md`.
pub(crate) const PLACEHOLDERS: &[(&str, &str)] = &[
    ("canary", "the text that is to be found again"),
    ("prompt", "a question, with whatever it needs in it"),
    ("id", "what an earlier answer gave at the pointer `id`"),
    ("job", "what an earlier answer gave at the pointer `job`"),
    ("thread", "what an earlier answer gave at the pointer `thread`"),
    ("session", "what an earlier answer gave at the pointer `session`"),
    ("cursor", "what an earlier answer gave at the pointer `cursor`"),
    ("rpc_id", "the id of a JSON-RPC request"),
    ("name", "a name that is new each time"),
    ("now", "what time it is"),
    ("tenant", "what the tenant who asks is called, the first of `names`"),
];

/// The longest path, pointer or header.
const MOST: usize = 2_048;

/// The method and path of a template that was checked.
pub(crate) fn asked(template: &Template) -> Option<(http::Method, &str)> {
    methods(template).into_iter().find_map(|(method, path)| Some((method, path?)))
}

fn methods(template: &Template) -> [(http::Method, Option<&str>); 5] {
    [
        (http::Method::GET, template.get.as_deref()),
        (http::Method::POST, template.post.as_deref()),
        (http::Method::PUT, template.put.as_deref()),
        (http::Method::PATCH, template.patch.as_deref()),
        (http::Method::DELETE, template.delete.as_deref()),
    ]
}

/// What is wrong with a template, if anything.
pub(super) fn check(template: &Template) -> Result<(), String> {
    let mut paths = methods(template).into_iter().filter_map(|(_, path)| path);
    match (paths.next(), paths.next()) {
        (None, _) => return Err("say the path: get, post, put, patch or delete".to_owned()),
        (Some(_), Some(_)) => return Err("one request has one method".to_owned()),
        (Some(path), None) => check_path(path)?,
    }
    for (name, value) in &template.headers {
        http::HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| format!("`{name}` is no name of a header"))?;
        placeholders(value)?;
    }
    if let Some(json) = &template.json {
        check_json(json)?;
    }
    let given = [&template.id, &template.job, &template.thread, &template.session];
    let pointers = given.into_iter().chain([&template.answer, &template.until]);
    for pointer in pointers.flatten() {
        let header = pointer
            .strip_prefix("header:")
            .is_some_and(|name| http::HeaderName::from_bytes(name.as_bytes()).is_ok());
        let sound = pointer.is_empty() || pointer.starts_with('/') || header;
        if !sound || pointer.len() > MOST {
            return Err(format!(
                "`{pointer}` is no JSON pointer, which begins with \"/\", and no header:NAME"
            ));
        }
    }
    match template.seconds {
        Some(seconds) if !(seconds > 0.0 && seconds <= 3_600.0) => {
            Err("seconds is between 0 and 3600".to_owned())
        }
        _ => Ok(()),
    }
}

/// What is wrong with a path, if anything, which may have a method before it: `DELETE /docs/{id}`.
pub(super) fn check_route(route: &str) -> Result<(), String> {
    let plain = |word: &str| word.bytes().all(|byte| byte.is_ascii_uppercase());
    match route.split_once(' ') {
        Some((method, path)) if !method.is_empty() && plain(method) => check_path(path),
        _ => check_path(route),
    }
}

/// What is wrong with a path, if anything.
fn check_path(path: &str) -> Result<(), String> {
    if !(path.starts_with('/') || path.starts_with("http://") || path.starts_with("https://")) {
        return Err(format!("`{path}` is no path: these begin with \"/\""));
    }
    if path.len() > MOST || path.chars().any(|c| c.is_control() || c == ' ') {
        return Err("a path is at most 2048 characters, without spaces".to_owned());
    }
    placeholders(path)
}

pub(super) fn check_json(json: &Value) -> Result<(), String> {
    match json {
        Value::String(text) => placeholders(text),
        Value::Array(each) => each.iter().try_for_each(check_json),
        Value::Object(each) => each.iter().try_for_each(|(name, value)| {
            placeholders(name)?;
            check_json(value)
        }),
        _ => Ok(()),
    }
}

/// Refuses what looks like a placeholder and is none; other braces are text.
pub(super) fn placeholders(text: &str) -> Result<(), String> {
    for rest in text.split('{').skip(1) {
        let Some((name, _)) = rest.split_once('}') else { continue };
        let like = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        let known: Vec<&str> = PLACEHOLDERS.iter().map(|(known, _)| *known).collect();
        if like && !known.contains(&name) {
            let advice = match super::read::nearest(name, &known) {
                Some(known) => format!("did you mean `{{{known}}}`?"),
                None => format!("known are {}", known.join(", ")),
            };
            return Err(format!("nothing is known to put for `{{{name}}}`; {advice}"));
        }
    }
    Ok(())
}
