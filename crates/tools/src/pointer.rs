//! JSON Pointers (RFC 6901) into arguments and answers, in which `*` may stand for every item or key.

use std::fmt;

use ids::json::Json;

/// Longest pointer that is accepted.
const MOST_BYTES: usize = 512;
/// Most steps of one.
const MOST_STEPS: usize = 32;

/// One step down.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// To the value of this key, or the item of this index.
    Name(String),
    /// To every value or item.
    Every,
}

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pointer {
    text: String,
    steps: Vec<Step>,
}

/// What stands where a pointer points.
#[derive(Debug, Default)]
pub(crate) struct Found<'a> {
    /// Each value, and where it stands: list items by their index, what else `*` stands for as `*`.
    pub(crate) values: Vec<(String, &'a Json)>,
    /// Somewhere on the way, a key or an item was not there.
    pub(crate) missing: bool,
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Pointer {
    /// Reads one.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| Err(format!("`{text}` is no JSON Pointer: {why}"));
        if text.len() > MOST_BYTES {
            return Err(format!("a JSON Pointer has at most {MOST_BYTES} bytes"));
        }
        if text.is_empty() {
            return Ok(Self { text: String::new(), steps: Vec::new() });
        }
        let Some(rest) = text.strip_prefix('/') else {
            return wrong("it begins with `/`, as in `/account`");
        };
        let mut steps = Vec::new();
        for part in rest.split('/') {
            let Some(name) = unescape(part) else {
                return wrong("`~` is written `~0`, and `/` in a name `~1`");
            };
            steps.push(if part == "*" { Step::Every } else { Step::Name(name) });
        }
        if steps.len() > MOST_STEPS {
            return wrong("it has more than 32 steps");
        }
        Ok(Self { text: text.to_owned(), steps })
    }

    /// The argument of this name.
    pub(crate) fn named(name: &str) -> Self {
        let text = format!("/{}", escape(name));
        Self { text, steps: vec![Step::Name(name.to_owned())] }
    }

    /// Reads one in which `*` is a name like any other: of one thing, or of none.
    pub(crate) fn literal(text: &str) -> Result<Self, String> {
        let mut pointer = Self::parse(text)?;
        for step in &mut pointer.steps {
            if *step == Step::Every {
                *step = Step::Name("*".to_owned());
            }
        }
        Ok(pointer)
    }

    /// Reads one that points at something within: not at all of it.
    pub(crate) fn within(text: &str) -> Result<Self, String> {
        let pointer = Self::parse(text)?;
        if pointer.steps.is_empty() {
            return Err("an empty JSON Pointer is all of the arguments; name one: `/name`".into());
        }
        Ok(pointer)
    }

    /// Reads one that points at one thing within.
    pub(crate) fn single(text: &str) -> Result<Self, String> {
        let pointer = Self::within(text)?;
        if pointer.steps.contains(&Step::Every) {
            return Err(format!("`{text}` may point at more than one value; leave out `*`"));
        }
        Ok(pointer)
    }

    /// As it was written.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Step by step.
    pub(crate) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The name of the argument, if it is one at the top.
    pub(crate) fn name(&self) -> Option<&str> {
        match &self.steps[..] {
            [Step::Name(name)] => Some(name),
            _ => None,
        }
    }

    /// Whether one of the two leads to the other, or through it.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        self.steps.iter().zip(&other.steps).all(|(a, b)| match (a, b) {
            (Step::Name(a), Step::Name(b)) => a == b,
            (Step::Every, _) | (_, Step::Every) => true,
        })
    }

    /// The value that a pointer without `*` points at.
    pub(crate) fn one<'a>(&self, json: &'a Json) -> Option<&'a Json> {
        self.steps.iter().try_fold(json, |at, step| match step {
            Step::Name(name) => down(at, name),
            Step::Every => None,
        })
    }

    /// Takes out the value that a pointer without `*` points at through objects, and with it the
    /// objects that are empty then.
    pub(crate) fn take(&self, from: &mut Json) -> Option<Json> {
        take(&self.steps, from)
    }

    /// Puts a value where there is none yet, through objects, making those that are missing. Whether
    /// it has a place there.
    #[must_use]
    pub(crate) fn put(&self, into: &mut Json, value: Json) -> bool {
        let Some((Step::Name(last), way)) = self.steps.split_last() else { return false };
        let mut at = into;
        for step in way {
            let (Json::Object(entries), Step::Name(name)) = (at, step) else { return false };
            let found = entries.iter().position(|(key, _)| key == name);
            let position = found.unwrap_or_else(|| {
                entries.push((name.clone(), Json::Object(Vec::new())));
                entries.len() - 1
            });
            at = &mut entries[position].1;
        }
        let Json::Object(entries) = at else { return false };
        let free = entries.iter().all(|(key, _)| key != last);
        if free {
            entries.push((last.clone(), value));
        }
        free
    }

    /// Everything that it points at.
    pub(crate) fn find<'a>(&self, json: &'a Json) -> Found<'a> {
        let mut found = Found::default();
        walk(json, &self.steps, String::new(), &mut found);
        found
    }
}

fn walk<'a>(at: &'a Json, steps: &[Step], path: String, found: &mut Found<'a>) {
    let Some((step, rest)) = steps.split_first() else {
        found.values.push((path, at));
        return;
    };
    match (step, at) {
        (Step::Name(name), _) => match down(at, name) {
            Some(next) => walk(next, rest, format!("{path}/{}", escape(name)), found),
            None => found.missing = true,
        },
        (Step::Every, Json::Array(items)) => {
            for (i, item) in items.iter().enumerate() {
                walk(item, rest, format!("{path}/{i}"), found);
            }
        }
        // Keys are the caller's words: they are not repeated.
        (Step::Every, Json::Object(entries)) => {
            for (_, value) in entries {
                walk(value, rest, format!("{path}/*"), found);
            }
        }
        (Step::Every, _) => found.missing = true,
    }
}

fn take(steps: &[Step], from: &mut Json) -> Option<Json> {
    let (Step::Name(name), deeper) = steps.split_first()? else { return None };
    let Json::Object(entries) = from else { return None };
    let position = entries.iter().position(|(key, _)| key == name)?;
    if deeper.is_empty() {
        return Some(entries.remove(position).1);
    }
    let taken = take(deeper, &mut entries[position].1)?;
    if entries[position].1 == Json::Object(Vec::new()) {
        entries.remove(position);
    }
    Some(taken)
}

fn down<'a>(at: &'a Json, name: &str) -> Option<&'a Json> {
    match at {
        Json::Array(items) => items.get(index(name)?),
        _ => at.get(name),
    }
}

/// The index that a step is, in a list.
pub(crate) fn index(name: &str) -> Option<usize> {
    let plain =
        name.bytes().all(|b| b.is_ascii_digit()) && (name.len() == 1 || !name.starts_with('0'));
    if plain { name.parse().ok() } else { None }
}

/// A name as a step of a pointer.
pub(crate) fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn unescape(part: &str) -> Option<String> {
    let mut name = String::with_capacity(part.len());
    let mut rest = part.chars();
    while let Some(c) = rest.next() {
        name.push(match c {
            '~' => match rest.next()? {
                '0' => '~',
                '1' => '/',
                _ => return None,
            },
            other => other,
        });
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use ids::json::Limits;

    use super::*;

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes(), &Limits::default()).unwrap()
    }

    #[test]
    fn pointers_are_read_strictly() {
        let long = format!("/{}", "a".repeat(512));
        let deep = "/a".repeat(33);
        for (text, good) in [
            ("", true),
            ("/", true),
            ("/a/b", true),
            ("/a~0b~1c", true),
            ("/*/a", true),
            ("a", false),
            ("#/a", false),
            ("/a~", false),
            ("/a~2", false),
            (long.as_str(), false),
            (deep.as_str(), false),
        ] {
            assert_eq!(Pointer::parse(text).is_ok(), good, "{text}");
        }
        assert!(Pointer::within("").is_err());
        assert!(Pointer::single("/a/*").is_err());
    }

    #[test]
    fn what_is_pointed_at() {
        let document =
            json(r#"{"a":{"x/y":1,"b~":2},"l":[{"i":1},{"j":2},3],"":4,"o":{"k":{"i":5}}}"#);
        for (pointer, values, missing) in [
            ("/a/x~1y", vec!["/a/x~1y=1"], false),
            ("/a/b~0", vec!["/a/b~0=2"], false),
            ("/", vec!["/=4"], false),
            ("/l/2", vec!["/l/2=3"], false),
            ("/l/02", vec![], true),
            ("/l/-", vec![], true),
            ("/l/*/i", vec!["/l/0/i=1"], true),
            ("/o/*/i", vec!["/o/*/i=5"], false),
            ("/no/*", vec![], true),
            ("/l/2/*", vec![], true),
        ] {
            let found = Pointer::parse(pointer).unwrap().find(&document);
            let got: Vec<_> = found
                .values
                .iter()
                .map(|(at, value)| format!("{at}={}", String::from_utf8(value.to_vec()).unwrap()))
                .collect();
            assert_eq!(
                (got, found.missing),
                (values.iter().map(ToString::to_string).collect(), missing),
                "{pointer}"
            );
        }
        let meets =
            |a: &str, b: &str| Pointer::parse(a).unwrap().meets(&Pointer::parse(b).unwrap());
        assert!(
            meets("/a", "/a/b")
                && meets("/a/b", "/a")
                && meets("/*/b", "/a/b")
                && meets("/a", "/a")
        );
        assert!(!meets("/a", "/b") && !meets("/a/b", "/a/c"));
    }

    #[test]
    fn what_is_put_is_what_is_taken() {
        let mut all = json(r#"{"a":{"b/c":1,"d":2},"e":3,"l":[4]}"#);
        let pointer = |text: &str| Pointer::literal(text).unwrap();
        for (text, taken) in [
            ("/a/b~1c", Some("1")),
            ("/a/b~1c", None),
            ("/e/f", None),
            ("/l/0", None),
            ("/e", Some("3")),
            ("", None),
            // The object is empty then, and not there any more.
            ("/a/d", Some("2")),
            ("/a", None),
        ] {
            assert_eq!(pointer(text).take(&mut all), taken.map(json), "{text}");
        }
        assert_eq!(Pointer::parse("/*").unwrap().take(&mut all), None);
        assert_eq!(all, json(r#"{"l":[4]}"#));
        for (text, placed) in [
            ("/n/m", true),
            ("/n/m", false),
            ("/n", false),
            ("/n/m/o", false),
            ("/n/*", true),
            ("/l/0", false),
            ("/l/-", false),
            ("", false),
        ] {
            assert_eq!(pointer(text).put(&mut all, json("5")), placed, "{text}");
        }
        assert!(!Pointer::parse("/*").unwrap().put(&mut all, json("5")));
        assert_eq!(all, json(r#"{"l":[4],"n":{"m":5,"*":5}}"#));
        for (pointer, text, name) in [
            (Pointer::named("a/b~"), "/a~1b~0", Some("a/b~")),
            (pointer("/a/b"), "/a/b", None),
            (pointer("/*"), "/*", Some("*")),
        ] {
            assert_eq!((pointer.to_string().as_str(), pointer.name()), (text, name));
        }
        assert_eq!(pointer("/l/0").one(&all), Some(&json("4")));
        for none in ["/l/1", "/l/00", "/l/-1", "/l/+0", "/x", "/n/m/o"] {
            assert_eq!(pointer(none).one(&all), None, "{none}");
        }
        assert_eq!(pointer("").one(&all), Some(&all));
    }
}
