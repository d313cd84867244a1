//! The body on its way to a provider.

use bytes::{BufMut, Bytes, BytesMut, buf::Writer};
use ids::{json::Json, planted};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Dress, Request, handles::carries};
use crate::{
    Api, Dialect, Error, Mark,
    fields::{self, Members, same},
};

/// The body in its dress. If that changes nothing, it is the very same bytes.
pub(super) fn body(request: &Request, dress: &Dress<'_>) -> Result<Bytes, Error> {
    let model = dress.model.filter(|model| *model != request.model);
    let marked = dress.marks.iter().any(|(mark, _)| mark.body_field().is_some());
    let usage =
        dress.ask_usage && request.api == Api::Chat && request.stream && !request.asks_usage;
    if request.withholds || marked || usage {
        return rewritten(request, dress, model, usage);
    }
    match model {
        Some(model) => renamed(&request.body, model),
        None => Ok(request.body.clone()),
    }
}

fn rewritten(
    request: &Request,
    dress: &Dress<'_>,
    model: Option<&str>,
    usage: bool,
) -> Result<Bytes, Error> {
    let Members(members) = serde_json::from_slice(&request.body).map_err(|_| broken())?;
    let marks: usize = dress.marks.iter().map(|(_, value)| value.len() + 32).sum();
    let mut out = Object::with_capacity(request.body.len() + marks + 64);
    let anthropic = request.api.dialect() == Dialect::Anthropic;
    let user_id = dress.marks.iter().find(|(mark, _)| *mark == Mark::UserId).map(|(_, id)| *id);
    let (mut place_id, mut place_usage) = (user_id, usage);
    for (name, value) in &members {
        if fields::stays(name) {
            continue;
        }
        match name.as_str() {
            "model" if model.is_some() => out.text(name, model.unwrap_or_default())?,
            "stream_options" if usage => {
                place_usage = false;
                let mut inner = Object::without(value, |name| same("include_usage", name))?;
                inner.raw("include_usage", "true")?;
                out.raw(name, inner.finish()?)?;
            }
            "input" if request.sheds => out.raw(name, input(request, value)?)?,
            _ if anthropic && same("metadata", name) => {
                let id = place_id.filter(|_| name == "metadata");
                match metadata(request.api, value, id)? {
                    Some(written) => out.raw(name, written)?,
                    None => out.raw(name, value.get())?,
                }
                if id.is_some() {
                    place_id = None;
                }
            }
            _ => out.raw(name, value.get())?,
        }
    }
    if place_usage {
        out.raw("stream_options", r#"{"include_usage":true}"#)?;
    }
    for (mark, value) in dress.marks.iter().filter(|(mark, _)| *mark != Mark::UserId) {
        if let Some(field) = mark.body_field() {
            out.text(field, value)?;
        }
    }
    if let Some(id) = place_id {
        let mut inner = Object::with_capacity(64);
        inner.text("user_id", id)?;
        out.raw("metadata", inner.finish()?)?;
    }
    out.finish()
}

/// Anthropic's metadata without what the caller says about who calls, and with the mark;
/// nothing if it is no object and there is no mark.
fn metadata(api: Api, value: &RawValue, id: Option<&str>) -> Result<Option<Bytes>, Error> {
    if !value.get().starts_with('{') && id.is_none() {
        return Ok(None);
    }
    let mut inner = Object::without(value, |name| fields::names_caller(api, name))?;
    if let Some(id) = id {
        inner.text("user_id", id)?;
    }
    inner.finish().map(Some)
}

/// Items without the ids that name nothing ([`carries`]).
fn input(request: &Request, value: &RawValue) -> Result<Bytes, Error> {
    let Some(Json::Array(items)) = request.json.get("input") else { return Err(broken()) };
    let raw: Vec<&RawValue> = serde_json::from_str(value.get()).map_err(|_| broken())?;
    let mut out = BytesMut::with_capacity(value.get().len());
    let mut next = b'[';
    for (item, raw) in items.iter().zip(&raw) {
        out.put_u8(next);
        next = b',';
        match carries(item) && !planted::is("unkept-ids-sent-on") {
            true => out.put(Object::without(raw, |name| same("id", name))?.finish()?),
            false => out.put_slice(raw.get().as_bytes()),
        }
    }
    out.put_u8(b']');
    Ok(out.freeze())
}

/// An object that is written member by member.
struct Object {
    out: Writer<BytesMut>,
    next: u8,
}

impl Object {
    fn with_capacity(bytes: usize) -> Self {
        Self { out: BytesMut::with_capacity(bytes).writer(), next: b'{' }
    }

    /// The members of this object (or none, if it is `null`) but for some.
    fn without(value: &RawValue, leave: impl Fn(&str) -> bool) -> Result<Self, Error> {
        let parsed: Option<Members<'_>> =
            serde_json::from_str(value.get()).map_err(|_| broken())?;
        let mut object = Self::with_capacity(value.get().len() + 64);
        for (name, value) in parsed.map(|Members(members)| members).unwrap_or_default() {
            if !leave(&name) {
                object.raw(&name, value.get())?;
            }
        }
        Ok(object)
    }

    fn key(&mut self, name: &str) -> Result<(), Error> {
        self.out.get_mut().put_u8(self.next);
        self.next = b',';
        serde_json::to_writer(&mut self.out, name).map_err(|_| broken())?;
        self.out.get_mut().put_u8(b':');
        Ok(())
    }

    fn raw(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<(), Error> {
        self.key(name)?;
        self.out.get_mut().put_slice(value.as_ref());
        Ok(())
    }

    fn text(&mut self, name: &str, value: &str) -> Result<(), Error> {
        self.key(name)?;
        serde_json::to_writer(&mut self.out, value).map_err(|_| broken())
    }

    fn finish(self) -> Result<Bytes, Error> {
        let mut out = self.out.into_inner();
        if self.next == b'{' {
            out.put_u8(b'{');
        }
        out.put_u8(b'}');
        Ok(out.freeze())
    }
}

const fn broken() -> Error {
    Error::Malformed { field: "body", must: "an object" }
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
    use crate::{Limits, STRIPPED_FIELDS};

    fn parse(api: Api, body: &str) -> Request {
        Request::parse(api, Bytes::copy_from_slice(body.as_bytes()), &Limits::default()).unwrap()
    }

    fn sent(api: Api, body: &str, dress: &Dress<'_>) -> String {
        let body = parse(api, body).upstream_body(dress).unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[test]
    fn renaming_touches_one_value() {
        for (body, model, expected) in [
            (r#"{"model":"m","x":1}"#, Some("u"), r#"{"model":"u","x":1}"#),
            (r#"{"model":"m","x":1}"#, Some("m"), r#"{"model":"m","x":1}"#),
            (r#"{"model":"m","x":1}"#, None, r#"{"model":"m","x":1}"#),
            (
                "{ \"metadata\" : {\"model\":\"m\"},\n \"mod\\u0065l\":\t\"m\" , \"y\":1.00 }",
                Some("a\"b"),
                "{ \"metadata\" : {\"model\":\"m\"},\n \"mod\\u0065l\":\t\"a\\\"b\" , \"y\":1.00 }",
            ),
        ] {
            assert_eq!(sent(Api::Chat, body, &Dress { model, ..Dress::default() }), expected);
        }
    }

    #[test]
    fn ids_of_items_that_nobody_keeps_are_left_out() {
        let item = r#"{"type":"message","id":"msg_1", "role":"assistant","content":[{"id":"x","n":1.00}]}"#;
        let reference = r#"{"type":"item_reference","id":"msg_2"}"#;
        let shed = r#"{"type":"message","role":"assistant","content":[{"id":"x","n":1.00}]}"#;
        for (fields, first) in [(r#""store":false"#, shed), (r#""store":true"#, item)] {
            let body =
                |item: &str| format!(r#"{{"model":"m","input":[{item},{reference}],{fields}}}"#);
            assert_eq!(sent(Api::Responses, &body(item), &Dress::default()), body(first));
        }
        let none = r#"{"model":"m","store":false,"input":"msg_1"}"#;
        assert_eq!(sent(Api::Responses, none, &Dress::default()), none);
    }

    #[test]
    fn what_changes_nothing_copies_nothing() {
        let request = parse(Api::Chat, r#"{"model":"m","messages":[]}"#);
        let header = [(Mark::TenantHeader, "bk_x")];
        let dress = Dress { model: Some("m"), marks: &header, ask_usage: true };
        assert_eq!(request.upstream_body(&dress).unwrap().as_ptr(), request.body.as_ptr());
    }

    #[test]
    fn fields_about_the_caller_stay_here_at_every_endpoint_and_in_every_spelling() {
        for field in STRIPPED_FIELDS {
            for api in Api::ALL {
                let spellings = [
                    (*field).to_owned(),
                    field.to_uppercase(),
                    field.replace('_', "-"),
                    field.replace('_', ""),
                    format!("_{field}"),
                ];
                for name in spellings {
                    let body = format!(r#"{{"{name}":{{"x":"canary"}},"model":"m","y":1.00}}"#);
                    let got = sent(api, &body, &Dress::default());
                    assert_eq!(got, r#"{"model":"m","y":1.00}"#, "{api:?} {name}");
                }
            }
        }
        let got = sent(
            Api::Chat,
            r#"{"us\u0065r":"u","model":"m"}"#,
            &Dress { model: Some("a\"b"), ..Dress::default() },
        );
        assert_eq!(got, r#"{"model":"a\"b"}"#);
    }

    #[test]
    fn anthropics_user_id_is_another() {
        let marks = [(Mark::UserId, "bk_x")];
        let plain = Dress::default();
        let marked = Dress { marks: &marks, ..plain };
        let messages = Api::Messages;
        for (api, body, dress, expected) in [
            (
                messages,
                r#"{"model":"m","metadata":{"user_id":"u"}}"#,
                plain,
                r#"{"model":"m","metadata":{}}"#,
            ),
            (
                messages,
                r#"{"model":"m","metadata":{"userId":"u", "x":1.0}}"#,
                marked,
                r#"{"model":"m","metadata":{"x":1.0,"user_id":"bk_x"}}"#,
            ),
            (
                messages,
                r#"{"model":"m","metadata":null}"#,
                marked,
                r#"{"model":"m","metadata":{"user_id":"bk_x"}}"#,
            ),
            (
                messages,
                r#"{"model":"m"}"#,
                marked,
                r#"{"model":"m","metadata":{"user_id":"bk_x"}}"#,
            ),
            (
                messages,
                r#"{"Metadata":{"user_id":"u"},"model":"m"}"#,
                marked,
                r#"{"Metadata":{},"model":"m","metadata":{"user_id":"bk_x"}}"#,
            ),
            (
                Api::CountTokens,
                r#"{"model":"m","metadata":{"user_id":"u"}}"#,
                plain,
                r#"{"model":"m","metadata":{}}"#,
            ),
            (
                Api::Chat,
                r#"{"model":"m","metadata":{"user_id":"u"}}"#,
                plain,
                r#"{"model":"m","metadata":{"user_id":"u"}}"#,
            ),
        ] {
            assert_eq!(sent(api, body, &dress), expected, "{body}");
        }
    }

    #[test]
    fn marks_take_the_place_of_what_the_caller_says() {
        for mark in Mark::ALL {
            let Some(field) = mark.body_field().filter(|field| !field.contains('.')) else {
                continue;
            };
            let marks = [(mark, "bk_x")];
            let dress = Dress { marks: &marks, ..Dress::default() };
            let body = format!(r#"{{"{field}":"mine","model":"m","n":1.0}}"#);
            let expected = format!(r#"{{"model":"m","n":1.0,"{field}":"bk_x"}}"#);
            assert_eq!(sent(Api::Chat, &body, &dress), expected);
        }
        let marks = [(Mark::CacheSalt, "bk_x"), (Mark::ExtraKey, "bk_y")];
        let dress = Dress { model: Some("u"), marks: &marks, ask_usage: false };
        let got = sent(Api::Chat, r#"{"model":"m"}"#, &dress);
        assert_eq!(got, r#"{"model":"u","cache_salt":"bk_x","extra_key":"bk_y"}"#);
    }

    #[test]
    fn usage_is_asked_for_where_the_caller_does_not() {
        let dress = Dress { ask_usage: true, ..Dress::default() };
        for (body, expected) in [
            (
                r#"{"model":"m","stream":true}"#,
                r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
            ),
            (
                r#"{"model":"m","stream":true,"stream_options":null}"#,
                r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
            ),
            (
                r#"{"stream_options":{"include_usage":false, "include_obfuscation":false},"model":"m","stream":true}"#,
                r#"{"stream_options":{"include_obfuscation":false,"include_usage":true},"model":"m","stream":true}"#,
            ),
            (
                r#"{"model":"m", "stream":true,"stream_options":{"include_usage":true}}"#,
                r#"{"model":"m", "stream":true,"stream_options":{"include_usage":true}}"#,
            ),
            (r#"{"model":"m", "stream":false}"#, r#"{"model":"m", "stream":false}"#),
        ] {
            assert_eq!(sent(Api::Chat, body, &dress), expected, "{body}");
        }
        let got = sent(Api::Messages, r#"{"model":"m","stream":true}"#, &dress);
        assert_eq!(got, r#"{"model":"m","stream":true}"#);
    }

    proptest! {
        /// Renaming and parsing again gives the new name and the same rest.
        #[test]
        fn renaming_keeps_the_rest(name in "[a-z]{1,8}", to in "\\PC{1,12}", rest in "\\PC{0,20}") {
            let rest = serde_json::to_string(&rest).unwrap();
            let body = format!(r#"{{"a":{rest},"model":"{name}","b":{rest}}}"#);
            let renamed = sent(Api::Chat, &body, &Dress { model: Some(&to), ..Dress::default() });
            let to = serde_json::to_string(&to).unwrap();
            prop_assert_eq!(renamed, format!(r#"{{"a":{rest},"model":{to},"b":{rest}}}"#));
        }

        /// What is dressed is the body as it was, but for what a dress is about.
        #[test]
        fn a_dress_hides_nothing(
            user in "\\PC{0,12}", value in "\\PC{0,12}", key in "[A-Za-z]{1,8}", stream: bool,
        ) {
            let known = ["model", "messages", "stream", "metadata"];
            prop_assume!(!known.contains(&key.as_str()) && fields::refused(&key).is_none());
            prop_assume!(!same(&key, "stream_options") && !same(&key, "tools"));
            let body = serde_json::json!({
                "model": "m", "user": user, "stream": stream, &key: value,
                "messages": [{"role": "user", "content": value}],
            });
            let marks = [(Mark::SafetyIdentifier, "bk_x")];
            let dress = Dress { model: Some("u"), marks: &marks, ask_usage: true };
            let got = sent(Api::Chat, &body.to_string(), &dress);
            let mut expected = body;
            let fields = expected.as_object_mut().unwrap();
            fields.remove("user");
            fields.insert("model".into(), "u".into());
            fields.insert("safety_identifier".into(), "bk_x".into());
            if stream {
                let options = serde_json::json!({"include_usage": true});
                fields.insert("stream_options".into(), options);
            }
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&got).unwrap(), expected);
        }
    }
}
