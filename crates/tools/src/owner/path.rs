//! Where records stand, and where in each its owner does.

use serde_json::Value;
use serde_json_path::JsonPath;

use crate::{Owner, Source};

/// Keys that every kind of record has: what stands there within a record says nothing of whose it is.
const GENERIC: &[&str] = &["id", "uid", "uuid", "key", "name", "type", "kind", "value"];

/// One [`Owner`], taken apart.
#[derive(Debug)]
pub(super) struct Place {
    records: JsonPath,
    /// What stands before each `[*]` of the path, the innermost first: where lists are.
    lists: Vec<JsonPath>,
    pointer: String,
    /// The only key of the pointer, if there is but one: as it stands there, and folded.
    only: Option<(String, String)>,
    /// Whether whatever stands at the pointer names an owner, in whatever object.
    telling: bool,
    pub(super) equals: Source,
    /// For messages.
    pub(super) name: String,
}

impl Place {
    pub(super) fn compile(owner: &Owner) -> Result<Self, String> {
        let Owner { records, owner: pointer, equals } = owner;
        let parse = |path: &str| {
            JsonPath::parse(path).map_err(|error| format!("`{path}` is not a JSONPath: {error}"))
        };
        if !is_pointer(pointer) {
            return Err(format!("`{pointer}` is not a JSON Pointer: it has to begin with `/`"));
        }
        let path = parse(records)?;
        let mut lists = Vec::new();
        let mut before = String::new();
        for segment in segments(records) {
            if matches!(segment.as_str(), "[*]" | ".*") {
                lists.insert(0, parse(&before)?);
            }
            before.push_str(&segment);
        }
        let mut keys = pointer.split('/').skip(1);
        let only = match (keys.next(), keys.next()) {
            (Some(key), None) => Some(unescape(key)).map(|key| (key.clone(), fold(&key))),
            _ => None,
        };
        let generic = only.as_ref().is_some_and(|(_, key)| GENERIC.contains(&key.as_str()));
        Ok(Self {
            records: path,
            lists,
            pointer: pointer.clone(),
            only,
            telling: !pointer.is_empty() && !generic,
            equals: *equals,
            name: format!("{records}{pointer}"),
        })
    }

    /// The records.
    pub(super) fn records<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        self.records.query(value).all()
    }

    /// The lists that the path leads to and that are empty, where it finds no record.
    pub(super) fn empty<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        for list in &self.lists {
            let found = list.query(value).all();
            if !found.is_empty() {
                return match found.iter().all(|list| says_nothing(list)) {
                    true => found,
                    false => Vec::new(),
                };
            }
        }
        Vec::new()
    }

    /// What stands where a record names its owner.
    pub(super) fn owner<'a>(&self, record: &'a Value) -> Option<&'a Value> {
        match (&self.only, record) {
            (Some((key, _)), Value::Object(entries)) => entries.get(key),
            _ => record.pointer(&self.pointer),
        }
    }

    /// Whether any of what stands where an owner would in any object, however its key is written, is such.
    pub(super) fn names(&self, object: &Value, such: impl Fn(&Value) -> bool) -> bool {
        match (self.telling, &self.only, object) {
            (false, ..) => false,
            (true, Some((_, own)), Value::Object(entries)) => {
                entries.iter().any(|(key, value)| is_spelling(key, own) && such(value))
            }
            (true, ..) => self.owner(object).is_some_and(such),
        }
    }

    /// Whether an owner stands at this key.
    pub(super) fn is_named(&self, key: &str) -> bool {
        self.telling && self.only.as_ref().is_some_and(|(_, own)| is_spelling(key, own))
    }

    /// Whether the other names owners at the same place.
    pub(super) fn is_at(&self, other: &Self) -> bool {
        match (&self.only, &other.only) {
            (Some((_, one)), Some((_, two))) => one == two,
            _ => self.pointer == other.pointer,
        }
    }
}

/// Whoever has records, as keys call them.
const HOLDERS: &[&str] = &[
    "account",
    "client",
    "company",
    "contact",
    "customer",
    "member",
    "merchant",
    "org",
    "organisation",
    "organization",
    "owner",
    "patient",
    "person",
    "subject",
    "subscriber",
    "team",
    "tenant",
    "user",
    "workspace",
];

/// What keys of cursors and links to pages have as a word,
const PAGES: &[&str] =
    &["continuation", "cursor", "etag", "next", "page", "prev", "previous", "self"];

/// and what others they may have: `first_name` and `page_title` are none.
const PARTS_OF_PAGES: &[&str] = &["end", "href", "key", "link", "start", "token", "uri", "url"];

/// What a key says of the value that stands there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Key {
    /// It is who owns something: `customer`, `userId`.
    pub(super) owner: bool,
    /// It is a cursor, or a link to a page.
    pub(super) page: bool,
    /// It is many who own something in a list, and how many there are elsewhere: `customers`.
    many: bool,
    /// It is in an object that tells of one who owns something: `customer` of `customer.id`.
    told: bool,
}

impl Key {
    /// Reads a key in an object that stands at another.
    pub(super) fn read(key: &str, above: Self) -> Self {
        let words = words(key);
        let mut rest = words.as_slice();
        while let [before @ .., last] = rest
            && !before.is_empty()
            && matches!(last.as_str(), "id" | "ids" | "no" | "nr" | "number" | "ref" | "uuid")
        {
            rest = before;
        }
        let bare = rest.len() == words.len();
        let last = rest.last().map_or("", String::as_str);
        let one = last.strip_suffix("id").unwrap_or(last);
        let single = HOLDERS.contains(&last) || HOLDERS.contains(&one);
        let many = last.strip_suffix('s').is_some_and(|last| HOLDERS.contains(&last));
        let owner = single || (many && !bare);
        let is_in = |known: &[&str], word: &String| known.contains(&word.as_str());
        let paged = above.page || words.iter().any(|word| is_in(PAGES, word));
        let parts = words.iter().all(|word| is_in(PAGES, word) || is_in(PARTS_OF_PAGES, word));
        let known = above.told && GENERIC.contains(&fold(key).as_str());
        Self { owner: owner || known, page: paged && parts, many, told: owner || many }
    }

    /// An owner's all the same, if a contract says so.
    pub(super) const fn or_owner(self, owner: bool) -> Self {
        Self { owner: self.owner || owner, ..self }
    }

    /// Of what stands in a list there.
    pub(super) const fn listed(self) -> Self {
        Self { owner: self.owner || self.many, ..self }
    }
}

/// `nextPageToken` is three.
fn words(key: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut small = false;
    for c in key.chars() {
        if !c.is_alphanumeric() || (small && c.is_uppercase()) {
            words.push(String::new());
        }
        small = c.is_lowercase() || c.is_numeric();
        if c.is_alphanumeric()
            && let Some(last) = words.last_mut()
        {
            last.extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// `account_id`, `accountId` and `Account-ID` are one name.
fn fold(key: &str) -> String {
    folded(key).collect()
}

fn folded(key: &str) -> impl Iterator<Item = char> {
    key.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).flat_map(char::to_lowercase)
}

/// Whether a key is one of the spellings of a folded one. Asked of every key of an answer.
fn is_spelling(key: &str, own: &str) -> bool {
    folded(key).eq(own.chars())
}

fn unescape(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

pub(crate) fn is_pointer(text: &str) -> bool {
    let escapes = text.split('~').skip(1).all(|after| after.starts_with(['0', '1']));
    (text.is_empty() || text.starts_with('/')) && escapes
}

/// Servers write an empty list in these three ways.
fn says_nothing(list: &Value) -> bool {
    match list {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        _ => false,
    }
}

/// A path cut before each of its segments. The path was parsed before.
fn segments(path: &str) -> Vec<String> {
    let mut out: Vec<String> = vec![String::new()];
    let (mut depth, mut quote, mut escaped) = (0_usize, None, false);
    let mut before = '$';
    for c in path.trim().chars() {
        let fresh = quote.is_none() && depth == 0 && before != '.';
        if fresh && matches!(c, '.' | '[') {
            out.push(String::new());
        }
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if let Some(last) = out.last_mut() {
            last.push(c);
        }
        before = c;
    }
    out
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn cuts_paths_before_their_segments() {
        for (path, expected) in [
            ("$", vec!["$"]),
            ("$.items[*]", vec!["$", ".items", "[*]"]),
            ("$..items.*", vec!["$", "..items", ".*"]),
            ("$..[*]", vec!["$", "..[*]"]),
            (r#"$["a.b[*]"][*].c"#, vec!["$", r#"["a.b[*]"]"#, "[*]", ".c"]),
            (r"$['it\'s [*]'][*]", vec!["$", r"['it\'s [*]']", "[*]"]),
            ("$[?@.a[*] == 1].b[*]", vec!["$", "[?@.a[*] == 1]", ".b", "[*]"]),
        ] {
            assert_eq!(segments(path), expected, "{path}");
        }
    }

    #[test]
    fn knows_keys_that_owners_stand_at() {
        let top = |key: &str| Key::read(key, Key::default());
        for key in
            ["customer", "user_id", "userId", "userid", "Owner-ID", "account_number", "user_ids"]
        {
            assert!(top(key).owner, "{key}");
        }
        for key in [
            "",
            "id",
            "_id",
            "total",
            "customers",
            "user_count",
            "discount",
            "paid",
            "accountsTotal",
        ] {
            assert!(!top(key).owner, "{key}");
        }
        assert!(top("customers").listed().owner && !top("totals").listed().owner);
        assert!(Key::read("id", top("customer")).owner && !Key::read("id", top("page")).owner);
        assert!(top("next_cursor").page && top("nextPageToken").page && !top("name").page);
        assert!(!top("page_title").page && !top("token").page && !top("href").page);
        assert!(Key::read("href", top("next")).page);
    }

    #[test]
    fn refuses_what_is_neither_path_nor_pointer() {
        let owner = |records: &str, owner: &str| {
            Place::compile(&Owner {
                records: records.to_owned(),
                owner: owner.to_owned(),
                equals: Source::Account,
            })
        };
        assert!(owner("$.items[*]", "/account_id").is_ok());
        assert!(owner("$", "").is_ok());
        for (records, pointer) in [
            ("items", "/a"),
            ("$.items[", "/a"),
            ("$", "a"),
            ("$", "$.a"),
            ("$", "/a~2"),
            ("", "/a"),
        ] {
            assert!(owner(records, pointer).is_err(), "{records} {pointer}");
        }
    }
}
