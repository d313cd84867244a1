//! A chat completion as asked for: parsed once, and kept as the bytes that it came as.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use ids::{
    json::{self, Json},
    planted,
};
use scope::{Access, Claim, Names, Scope};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    Error, Limits,
    fields::{self, Fate, same},
};

/// A bounded, unambiguous body. Every object in it names each key once.
#[derive(Clone)]
pub struct ChatRequest {
    body: Bytes,
    json: Json,
    model: String,
    stream: bool,
    claims: Vec<Stated>,
    /// Fields that are not known, for the provider's configuration to allow.
    unknown: Vec<String>,
    /// Whether it has fields that are not sent on.
    withholds: bool,
}

impl fmt::Debug for ChatRequest {
    /// Its size, and nothing that it says.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChatRequest({} bytes)", self.body.len())
    }
}

/// A field that names a tenant or an environment.
#[derive(Clone)]
struct Stated {
    place: String,
    names: Names,
    value: String,
}

impl ChatRequest {
    /// Parses a body.
    ///
    /// # Errors
    /// Too large, no JSON, a repeated key, a field of the wrong type, or one that is refused
    /// by name. Fields that are not known are refused later, unless the provider's
    /// configuration allows them.
    pub fn parse(body: Bytes, limits: &Limits) -> Result<Self, Error> {
        if body.len() > limits.body_bytes {
            return Err(Error::TooLarge { bytes: body.len(), most: limits.body_bytes });
        }
        let bounds = json::Limits { depth: limits.depth, nodes: limits.nodes };
        let json = Json::parse(&body, &bounds)?;
        let Json::Object(fields) = &json else {
            return Err(Error::Malformed { field: "body", must: "an object" });
        };
        let mut model = None;
        let (mut stream, mut withholds) = (false, false);
        let mut unknown = Vec::new();
        for (name, value) in fields {
            match (name.as_str(), value) {
                ("model", Json::String(name)) if (1..=256).contains(&name.len()) => {
                    model = Some(name.clone());
                }
                ("stream", Json::Bool(wanted)) => stream = *wanted,
                ("stream", Json::Null) => {}
                ("stream", _) => {
                    return Err(Error::Malformed { field: "stream", must: "true or false" });
                }
                ("store", Json::Null | Json::Bool(false)) => {}
                (name, _) => match fields::judge(name)? {
                    Fate::Passes => {}
                    Fate::Stays => withholds = true,
                    Fate::Unknown => {
                        // What is held against the credential agrees with it.
                        if !limits.claims.iter().any(|claim| same(&claim.path, name)) {
                            unknown.push(name.to_owned());
                        }
                    }
                },
            }
        }
        let model = model.ok_or(Error::Malformed { field: "model", must: "a model's name" })?;
        let claims = stated(&json, limits)?;
        Ok(Self { body, json, model, stream, claims, unknown, withholds })
    }

    /// The model, by the name that the caller uses.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Whether the answer is to be a stream.
    #[must_use]
    pub const fn stream(&self) -> bool {
        self.stream
    }

    /// Its size in bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.body.len() as u64
    }

    /// What the body says about whose it is. It decides nothing; it may only agree.
    pub fn claims(&self) -> impl Iterator<Item = Claim<'_>> {
        self.claims.iter().map(|stated| Claim {
            place: &stated.place,
            names: stated.names,
            value: &stated.value,
        })
    }

    /// Holds every claim against the scope.
    ///
    /// # Errors
    /// The first one that names somebody else.
    pub fn concur<A: Access>(&self, scope: &Scope<A>) -> Result<(), Error> {
        self.claims().try_for_each(|claim| scope.concur(&claim)).map_err(Error::Scope)
    }

    /// Two requests with these same bytes are the same request: the body with its keys sorted
    /// and without white space.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.body.len());
        self.json.canonical(&mut |part| out.extend_from_slice(part));
        out
    }

    /// The planted bug: the caller's own name of a partition.
    pub(crate) fn named_partition(&self) -> Option<String> {
        if !planted::is("cache-caller-namespace") {
            return None;
        }
        let named = self.json.at_path("cache.namespace").and_then(Json::as_str)?;
        Some(format!("namespace={named}"))
    }

    /// Refuses the first field that is neither known nor among `extra`.
    pub(crate) fn confined_to(&self, extra: &[String]) -> Result<(), Error> {
        match self.unknown.iter().find(|name| !extra.contains(name)) {
            Some(name) => Err(Error::unknown_field(name)),
            None => Ok(()),
        }
    }

    /// What names something that an account of the provider's keeps, if anything does.
    pub(crate) fn handle(&self) -> Option<&'static str> {
        self.json.get("messages").and_then(fields::handle)
    }

    /// The body for a provider that knows the model as `upstream_model`: the same bytes, but
    /// for that one value and for fields that are not sent on.
    pub(crate) fn upstream_body(&self, upstream_model: Option<&str>) -> Result<Bytes, Error> {
        let model = upstream_model.filter(|model| *model != self.model);
        if self.withholds {
            return fields::without_stays(&self.body, model);
        }
        match model {
            Some(model) => renamed(&self.body, model),
            None => Ok(self.body.clone()),
        }
    }
}

/// Everything in the body that names a tenant or an environment.
fn stated(json: &Json, limits: &Limits) -> Result<Vec<Stated>, Error> {
    let mut claims = Vec::new();
    for claim in &limits.claims {
        find(json, &claim.path, &mut |value| {
            let place = format!("body {}", claim.path);
            let value = match value {
                Json::Null => return Ok(()),
                Json::String(text) => text.clone(),
                Json::Number(number) => number.to_string(),
                _ => return Err(Error::Claim(place)),
            };
            claims.push(Stated { place, names: claim.names.into(), value });
            Ok(())
        })?;
    }
    Ok(claims)
}

/// Hands over every value at a dotted path; several, where a key is spelled in several ways.
fn find(
    json: &Json,
    path: &str,
    found: &mut dyn FnMut(&Json) -> Result<(), Error>,
) -> Result<(), Error> {
    let Json::Object(fields) = json else { return Ok(()) };
    let (segment, rest) = path.split_once('.').unwrap_or((path, ""));
    for (_, value) in fields.iter().filter(|(name, _)| same(segment, name)) {
        if rest.is_empty() {
            found(value)?;
        } else {
            find(value, rest, found)?;
        }
    }
    Ok(())
}

/// Replaces the value of the top-level `model`, and no other byte.
fn renamed(body: &Bytes, model: &str) -> Result<Bytes, Error> {
    #[derive(Deserialize)]
    struct Only<'a> {
        #[serde(borrow)]
        model: &'a RawValue,
    }
    let wrong = Error::Malformed { field: "model", must: "a model's name" };
    let Ok(only) = serde_json::from_slice::<Only<'_>>(body) else { return Err(wrong) };
    let value = only.model.get();
    // `value` is a part of `body`: the parser borrows.
    let at = (value.as_ptr() as usize).wrapping_sub(body.as_ptr() as usize);
    let (Some(before), Some(after)) = (body.get(..at), body.get(at + value.len()..)) else {
        return Err(wrong);
    };
    let Ok(name) = serde_json::to_vec(model) else { return Err(wrong) };
    let mut out = BytesMut::with_capacity(body.len() + name.len());
    out.put_slice(before);
    out.put_slice(&name);
    out.put_slice(after);
    Ok(out.freeze())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::REFUSED_FIELDS;

    fn parse(body: &str) -> Result<ChatRequest, Error> {
        ChatRequest::parse(Bytes::copy_from_slice(body.as_bytes()), &Limits::default())
    }

    #[test]
    fn refuses() {
        for (body, code) in [
            ("", "request.malformed"),
            ("[]", "request.malformed"),
            ("{}", "request.malformed"),
            (r#"{"model":5}"#, "request.malformed"),
            (r#"{"model":""}"#, "request.malformed"),
            (r#"{"model":"m"} x"#, "request.malformed"),
            (r#"{"model":"m","stream":1}"#, "request.malformed"),
            (r#"{"model":"m","stream":"true"}"#, "request.malformed"),
            (r#"{"model":"m","model":"m"}"#, "scope.mismatch"),
            (r#"{"model":"m","metadata":{"tenant_id":"a","tenant_id":"b"}}"#, "scope.mismatch"),
            (r#"{"model":"m","tenant_id":{"is":"a"}}"#, "scope.mismatch"),
            (r#"{"model":"m","metadata":{"tenant":["a"]}}"#, "scope.mismatch"),
            (r#"{"model":"m","cache":{"namespace":"acme"}}"#, "request.unsupported"),
            (r#"{"model":"m","cache":null}"#, "request.unsupported"),
            (r#"{"model":"m","Cache-Salt":"acme"}"#, "request.unsupported"),
            (r#"{"model":"m","apiKey":"sk-1"}"#, "request.unsupported"),
        ] {
            assert_eq!(parse(body).unwrap_err().code(), code, "{body}");
        }
        let limits = Limits { body_bytes: 12, ..Limits::default() };
        assert!(ChatRequest::parse(Bytes::from_static(br#"{"model":"m"}"#), &limits).is_err());
    }

    #[test]
    fn a_field_has_to_be_known_or_allowed() {
        for (body, extra, refused) in [
            (r#"{"model":"m","temperature":1,"tools":[],"verbosity":"low"}"#, "", None),
            (r#"{"model":"m","store":false}"#, "", None),
            (r#"{"model":"m","tenant":"a","Environment":"b"}"#, "", None),
            (r#"{"model":"m","top_k":1}"#, "", Some("top_k")),
            (r#"{"model":"m","top_k":1}"#, "top_k", None),
            (r#"{"model":"m","top_k":1,"min_p":1}"#, "top_k", Some("min_p")),
            (r#"{"model":"m","Temperature":1}"#, "", Some("Temperature")),
            (r#"{"model":"m","chat_template":"x"}"#, "", Some("chat_template")),
            (r#"{"model":"m","priority":1}"#, "", Some("priority")),
        ] {
            let error = parse(body).unwrap().confined_to(&[extra.to_owned()]).err();
            assert_eq!(error.as_ref().map(Error::code), refused.map(|_| "request.unsupported"));
            let text = error.map(|error| error.to_string()).unwrap_or_default();
            assert!(text.contains(refused.unwrap_or_default()), "{body}: {text}");
        }
        let long = parse(&format!(r#"{{"model":"m","{}":1}}"#, "é".repeat(500))).unwrap();
        assert!(long.confined_to(&[]).unwrap_err().to_string().len() < 400);
    }

    #[test]
    fn fields_about_the_caller_stay_here() {
        for (body, model, expected) in [
            (
                r#"{"user":"u", "model":"m", "n":1.00, "safety_identifier":"s","prompt_cache_key":"k"}"#,
                None,
                r#"{"model":"m","n":1.00}"#,
            ),
            (r#"{"us\u0065r":"u","model":"m"}"#, Some("a\"b"), r#"{"model":"a\"b"}"#),
        ] {
            let got = parse(body).unwrap().upstream_body(model).unwrap();
            assert_eq!(got, expected.as_bytes(), "{body}");
        }
    }

    #[test]
    fn handles_are_found_in_messages() {
        for (messages, found) in [
            (r#"[{"role":"user","content":"file_id"}]"#, None),
            (r#"[{"content":[{"type":"file","file":{"file_id":null,"file_data":"x"}}]}]"#, None),
            (r#"[{"content":[{"file":{"file_id":"file-1"}}]}]"#, Some("file_id")),
            (r#"[{"content":[{"file":{"fileId":"file-1"}}]}]"#, Some("file_id")),
            (r#"[{"role":"assistant","audio":{"id":"audio-1"}}]"#, Some("audio.id")),
            (r#"[{"content":[{"input_audio":{"data":"x"}}]}]"#, None),
        ] {
            let body = format!(r#"{{"model":"m","messages":{messages}}}"#);
            assert_eq!(parse(&body).unwrap().handle(), found, "{messages}");
        }
    }

    #[test]
    fn every_refused_field_is_refused_by_name() {
        for (field, why) in REFUSED_FIELDS {
            let error = parse(&format!(r#"{{"model":"m","{field}":"x"}}"#)).unwrap_err();
            assert_eq!(error.code(), "request.unsupported", "{field}");
            let text = error.to_string();
            assert!(text.contains(field) && text.contains(why), "{text}");
        }
    }

    #[test]
    fn claims_are_found_in_any_spelling() {
        for (body, places) in [
            (r#"{"model":"m"}"#, vec![]),
            (r#"{"model":"m","metadata":{"tenant_id":null}}"#, vec![]),
            (r#"{"model":"m","metadata":"tenant_id"}"#, vec![]),
            (
                r#"{"model":"m","metadata":{"tenant_id":"a"}}"#,
                vec![("body metadata.tenant_id", "a")],
            ),
            (
                r#"{"model":"m","metadata":{"tenantId":"a","TENANT-ID":"b"},"tenant":7}"#,
                vec![
                    ("body tenant", "7"),
                    ("body metadata.tenant_id", "a"),
                    ("body metadata.tenant_id", "b"),
                ],
            ),
            (r#"{"model":"m","metadata":{"env":"live"}}"#, vec![("body metadata.env", "live")]),
        ] {
            let request = parse(body).unwrap();
            let found: Vec<_> = request.claims().map(|c| (c.place, c.value)).collect();
            assert_eq!(found, places, "{body}");
        }
    }

    #[test]
    fn debug_shows_the_size_alone() {
        let request = parse(r#"{"model":"m","user":"canary","tenant":"canary"}"#).unwrap();
        assert_eq!(format!("{request:?}"), "ChatRequest(47 bytes)");
    }

    #[test]
    fn renaming_touches_one_value() {
        for (body, upstream, expected) in [
            (r#"{"model":"m","x":1}"#, Some("u"), r#"{"model":"u","x":1}"#),
            (r#"{"model":"m","x":1}"#, Some("m"), r#"{"model":"m","x":1}"#),
            (r#"{"model":"m","x":1}"#, None, r#"{"model":"m","x":1}"#),
            (
                "{ \"metadata\" : {\"model\":\"m\"},\n \"mod\\u0065l\":\t\"m\" , \"y\":1.00 }",
                Some("a\"b"),
                "{ \"metadata\" : {\"model\":\"m\"},\n \"mod\\u0065l\":\t\"a\\\"b\" , \"y\":1.00 }",
            ),
        ] {
            let got = parse(body).unwrap().upstream_body(upstream).unwrap();
            assert_eq!(got, expected.as_bytes(), "{body}");
        }
    }

    #[test]
    fn order_and_spacing_make_no_other_request() {
        let a = parse(r#"{"model":"m","messages":[{"role":"user","content":"x"}]}"#).unwrap();
        let b = parse(r#"{ "messages":[{"content":"x","role":"user"}], "model":"m" }"#).unwrap();
        let c = parse(r#"{"model":"m","messages":[{"role":"user","content":"y"}]}"#).unwrap();
        assert_eq!(a.canonical(), b.canonical());
        assert_ne!(a.canonical(), c.canonical());
    }

    proptest! {
        /// Renaming and parsing again gives the new name and the same rest.
        #[test]
        fn renaming_keeps_the_rest(name in "[a-z]{1,8}", to in "\\PC{1,12}", rest in "\\PC{0,20}") {
            let rest = serde_json::to_string(&rest).unwrap();
            let body = format!(r#"{{"a":{rest},"model":"{name}","b":{rest}}}"#);
            let request = parse(&body).unwrap();
            let renamed = request.upstream_body(Some(&to)).unwrap();
            let to = serde_json::to_string(&to).unwrap();
            prop_assert_eq!(renamed, format!(r#"{{"a":{rest},"model":{to},"b":{rest}}}"#));
        }

        #[test]
        fn never_panics(body: Vec<u8>) {
            let _ = ChatRequest::parse(body.into(), &Limits::default());
        }
    }
}
