//! JSON Pointers (RFC 6901), in which `*` stands for every item or key.

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

    /// Reads one in which `*` is a name like any other, as in references of JSON Schema.
    pub(super) fn literal(text: &str) -> Result<Self, String> {
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

fn down<'a>(at: &'a Json, name: &str) -> Option<&'a Json> {
    match at {
        Json::Array(items) => items.get(index(name)?),
        _ => at.get(name),
    }
}

/// The index that a step is, in a list.
pub(super) fn index(name: &str) -> Option<usize> {
    let plain =
        name.bytes().all(|b| b.is_ascii_digit()) && (name.len() == 1 || !name.starts_with('0'));
    if plain { name.parse().ok() } else { None }
}

/// A name as a step of a pointer.
pub(super) fn escape(name: &str) -> String {
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
}
