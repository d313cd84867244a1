//! An HTTP request with places for arguments, none of which can leave its place.
//!
//! Filling and reading are the two directions of one thing: what [`Template::read`] takes out of a
//! request, [`Template::fill`] makes into the same request again. So a request that could be read in two
//! ways (a slash that is encoded, an escape that is encoded twice, a parameter that is there twice)
//! is read in none.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, header::CONTENT_TYPE};
use ids::json::Json;

use crate::{Error, HttpRequest, pointer::Pointer};

mod encode;
mod overlap;
mod places;
#[cfg(test)]
mod tests;

use encode::encode;
pub(crate) use encode::{decode, stays};
pub(crate) use overlap::Overlap;
pub(crate) use places::argument;
use places::kind_of;

/// A request with places.
#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) method: Method,
    path: Vec<Segment>,
    query: Vec<(String, Pointer, Kind)>,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Body,
}

/// One segment of a path: what stands around a place, if there is one.
#[derive(Debug)]
struct Segment {
    before: String,
    place: Option<(Pointer, Kind)>,
    after: String,
}

/// What becomes of arguments that are in no other place.
#[derive(Debug, PartialEq)]
enum Body {
    /// There is none.
    None,
    /// This one is the body.
    Argument(Pointer),
    /// All that are left, as an object.
    Rest,
}

/// What an argument in a path or a query is, by the schema: their text alone does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Integer,
    Number,
    Truth,
    Texts,
    Integers,
}

/// A request, without whose it is and where it goes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Filled {
    pub(crate) method: Method,
    /// Begins with `/`; encoded.
    pub(crate) path: String,
    /// Encoded.
    pub(crate) query: Option<String>,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Option<Bytes>,
}

/// The longest text that an argument may be in a path, in bytes.
const LONGEST: usize = 2_048;

impl Template {
    /// Takes a request apart. Its path, query and body name each argument once.
    pub(crate) fn compile(request: &HttpRequest) -> Result<Self, String> {
        let HttpRequest { method, path, query, body, headers } = request;
        let method = match method.as_str() {
            "GET" => Method::GET,
            "POST" => Method::POST,
            "PUT" => Method::PUT,
            "PATCH" => Method::PATCH,
            "DELETE" => Method::DELETE,
            _ => return Err("the method has to be GET, POST, PUT, PATCH or DELETE".to_owned()),
        };
        let path = places::path(path)?;
        let query: Vec<_> = query
            .iter()
            .map(|(name, of)| match name.is_empty() || name.chars().any(char::is_control) {
                true => Err("a query parameter needs a name".to_owned()),
                false => Ok((name.clone(), argument(of)?, Kind::Text)),
            })
            .collect::<Result<_, _>>()?;
        let body = match (body, method.as_str()) {
            (Some(_), "GET") => return Err("a GET has no body".to_owned()),
            (Some(of), _) => Body::Argument(argument(of)?),
            (None, "POST" | "PUT" | "PATCH") => Body::Rest,
            (None, _) => Body::None,
        };
        let mut all: Vec<&Pointer> =
            path.iter().filter_map(|s| s.place.as_ref()).map(|p| &p.0).collect();
        all.extend(query.iter().map(|(_, pointer, _)| pointer));
        if let Body::Argument(pointer) = &body {
            all.push(pointer);
        }
        for (at, one) in all.iter().enumerate() {
            if all[at + 1..].iter().any(|other| one.meets(other)) {
                return Err(format!("the argument `{one}` has two places"));
            }
        }
        let headers =
            headers.iter().map(|(n, v)| places::header(n, v)).collect::<Result<_, _>>()?;
        Ok(Self { method, path, query, headers, body })
    }

    /// Takes from the schema of the arguments what each is, so that reading gives what was filled in.
    pub(crate) fn with_schema(mut self, schema: &Json) -> Self {
        for (pointer, kind) in self.path.iter_mut().filter_map(|segment| segment.place.as_mut()) {
            *kind = match kind_of(schema, pointer) {
                Kind::Texts | Kind::Integers => Kind::Text,
                other => other,
            };
        }
        for (_, pointer, kind) in &mut self.query {
            *kind = kind_of(schema, pointer);
        }
        self
    }

    /// Fills the places; an argument that is in none of them, and cannot be in the body, is an error.
    pub(crate) fn fill(&self, arguments: &Json) -> Result<Filled, Error> {
        let mut rest = arguments.clone();
        let mut path = String::new();
        for segment in &self.path {
            path.push('/');
            path.push_str(&segment.before);
            if let Some((pointer, _)) = &segment.place {
                let value =
                    pointer.take(&mut rest).ok_or_else(|| refused(pointer, "it is needed"))?;
                path.push_str(&segment.fill(&value).map_err(|rule| refused(pointer, rule))?);
            }
            path.push_str(&segment.after);
        }
        let query = self.fill_query(&mut rest)?;
        let body = match &self.body {
            Body::Argument(pointer) => pointer.take(&mut rest),
            Body::Rest => match std::mem::replace(&mut rest, Json::Object(Vec::new())) {
                Json::Object(entries) if entries.is_empty() => None,
                left => Some(left),
            },
            Body::None => None,
        };
        match &rest {
            Json::Object(left) => {
                if let Some((key, _)) = left.first() {
                    let argument = Pointer::named(key).to_string();
                    return Err(Error::Rule {
                        argument,
                        rule: "the request has no place for it".to_owned(),
                    });
                }
            }
            _ => {
                let rule = "arguments are an object".to_owned();
                return Err(Error::Rule { argument: String::new(), rule });
            }
        }
        let mut headers = self.headers.clone();
        if body.is_some() && !headers.iter().any(|(name, _)| name == CONTENT_TYPE) {
            headers.push((CONTENT_TYPE, HeaderValue::from_static("application/json")));
        }
        Ok(Filled {
            method: self.method.clone(),
            path,
            query,
            headers,
            body: body.map(|json| json.to_vec().into()),
        })
    }

    fn fill_query(&self, rest: &mut Json) -> Result<Option<String>, Error> {
        let mut query = Vec::new();
        for (name, pointer, _) in &self.query {
            let values = match pointer.take(rest) {
                None | Some(Json::Null) => continue,
                Some(Json::Array(values)) => values,
                Some(value) => vec![value],
            };
            for value in values {
                let text = scalar(&value).ok_or_else(|| {
                    refused(
                        pointer,
                        "in a query it is a text, a number, a truth value, or a list of them",
                    )
                })?;
                query.push(format!("{}={}", encode(name), encode(&text)));
            }
        }
        Ok((!query.is_empty()).then(|| query.join("&")))
    }

    /// The arguments that a request of this form has, if it is one: the other way round, for
    /// `/tools/{upstream}/…`. The path as it came; names and values of the query decoded.
    pub(crate) fn read(
        &self,
        method: &Method,
        path: &str,
        query: &[(String, String)],
        body: Option<Json>,
    ) -> Option<Json> {
        if *method != self.method {
            return None;
        }
        let mut arguments = Json::Object(Vec::new());
        let mut segments = path.strip_prefix('/')?.split('/');
        for segment in &self.path {
            let (pointer, value) = match segment.read(segments.next()?)? {
                Some(found) => found,
                None => continue,
            };
            pointer.put(&mut arguments, value).then_some(())?;
        }
        if segments.next().is_some() {
            return None;
        }
        if query.iter().any(|(name, _)| !self.query.iter().any(|(known, ..)| known == name)) {
            return None;
        }
        for (name, pointer, kind) in &self.query {
            let mut values =
                query.iter().filter(|(n, _)| n == name).map(|(_, value)| value).peekable();
            if values.peek().is_none() {
                continue;
            }
            let value = match kind.item() {
                Some(item) => Json::Array(values.map(|v| item.read(v)).collect::<Option<_>>()?),
                None => {
                    let value = kind.read(values.next()?)?;
                    // Two readers take two of them.
                    values.next().is_none().then_some(value)?
                }
            };
            pointer.put(&mut arguments, value).then_some(())?;
        }
        match (&self.body, body) {
            (_, None) => {}
            (Body::None, Some(_)) => return None,
            (Body::Argument(pointer), Some(body)) => {
                pointer.put(&mut arguments, body).then_some(())?;
            }
            (Body::Rest, Some(Json::Object(entries))) => {
                for (key, value) in entries {
                    if self.has_place(&key) {
                        return None;
                    }
                    Pointer::named(&key).put(&mut arguments, value).then_some(())?;
                }
            }
            (Body::Rest, Some(_)) => return None,
        }
        Some(arguments)
    }

    /// Whether an argument of this name, or a part of it, stands in the path or the query.
    fn has_place(&self, key: &str) -> bool {
        let in_path = self.path.iter().filter_map(|segment| segment.place.as_ref()).map(|p| &p.0);
        in_path
            .chain(self.query.iter().map(|(_, pointer, _)| pointer))
            .any(|p| p.meets(&Pointer::named(key)))
    }
}

impl Segment {
    /// What a value becomes in this segment, encoded, or the rule that it breaks.
    fn fill(&self, value: &Json) -> Result<String, &'static str> {
        let text = scalar(value).ok_or("in a path it is a text, a number or a truth value")?;
        if ids::planted::is("tools-path-unencoded") {
            return Ok(text);
        }
        if text.is_empty() || text.len() > LONGEST {
            return Err("in a path it has 1 to 2,048 bytes");
        }
        if !stays(&text) || !stays(&format!("{}{text}{}", self.before, self.after)) {
            return Err("it would leave its place in the path");
        }
        Ok(encode(&text))
    }

    /// What stands in its place: `None` if this is another segment, `Some(None)` if it has no place.
    fn read(&self, segment: &str) -> Option<Option<(&Pointer, Json)>> {
        if segment.contains(';') {
            return None;
        }
        let segment = decode(segment)?;
        let Some((pointer, kind)) = &self.place else {
            return (segment == self.before).then_some(None);
        };
        let text = segment.strip_prefix(self.before.as_str())?.strip_suffix(self.after.as_str())?;
        if text.is_empty() || text.len() > LONGEST || !stays(text) || !stays(&segment) {
            return None;
        }
        Some(Some((pointer, kind.read(text)?)))
    }
}

impl Kind {
    /// What each of a list is, if it is one.
    const fn item(self) -> Option<Self> {
        match self {
            Self::Texts => Some(Self::Text),
            Self::Integers => Some(Self::Integer),
            _ => None,
        }
    }

    /// The value of a text, if that is the one way to write it.
    fn read(self, text: &str) -> Option<Json> {
        let json = match self {
            Self::Text => return Some(Json::String(text.to_owned())),
            Self::Truth => Json::Bool(text.parse().ok()?),
            Self::Integer | Self::Number => {
                let number: serde_json::Number = text.parse().ok()?;
                if self == Self::Integer && number.is_f64() {
                    return None;
                }
                Json::Number(number)
            }
            Self::Texts | Self::Integers => return None,
        };
        (scalar(&json)? == text).then_some(json)
    }
}

/// The text of a value that is neither a list, an object nor nothing.
pub(crate) fn scalar(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        Json::Bool(truth) => Some(truth.to_string()),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}

fn refused(pointer: &Pointer, rule: &str) -> Error {
    Error::Rule { argument: pointer.to_string(), rule: rule.to_owned() }
}
