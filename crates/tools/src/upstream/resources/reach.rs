//! What of an upstream is named by the upstream's own URIs: what it lists for this tenant, and what
//! its templates make.
//!
//! An agent says such a URI as it likes, so it goes on only if it is in the list, to the letter, or is
//! a template of the list with plain values in its places: none that is more than one segment, or one
//! value of a query, to whoever reads it, even decoded. Whether it is the tenant's the credential decides, at the upstream.

use std::collections::BTreeSet;

use ids::{json::Json, planted};

use crate::template::{decode, stays};

/// The longest URI that is read, in bytes.
pub(super) const LONGEST: usize = 8 << 10;
/// How much is kept of one list and its templates, in bytes.
const MOST: usize = 512 << 10;
/// What each text costs besides its bytes.
const EACH: usize = 64;
/// Characters that part a query, and what some servers take for them.
const PARTS: &[char] = &[
    '&', '=', '+', ';', '\u{ff06}', '\u{fe60}', '\u{ff1d}', '\u{fe66}', '\u{ff0b}', '\u{fe62}',
    '\u{ff1b}', '\u{fe54}', '\u{37e}',
];

/// What a tenant names.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    uris: BTreeSet<String>,
    templates: Vec<Template>,
}

impl Reach {
    /// Of what the upstream lists, without what is too long to be asked for; nothing if that is more
    /// than is kept.
    pub(super) fn of(resources: &[Json], templates: &[Json]) -> Option<Self> {
        fn fields<'a>(items: &'a [Json], key: &'a str) -> impl Iterator<Item = String> + 'a {
            let texts = items.iter().filter_map(move |item| item.get(key)?.as_str());
            texts.filter(|text| text.len() <= LONGEST).map(str::to_owned)
        }
        let uris: BTreeSet<_> = fields(resources, "uri").collect();
        let templates = fields(templates, "uriTemplate").filter_map(Template::parse);
        let templates: Vec<_> = templates.collect();
        let cost = uris.iter().map(|uri| EACH + uri.len()).sum::<usize>()
            + templates.iter().map(Template::cost).sum::<usize>();
        (cost <= MOST).then_some(Self { uris, templates })
    }

    /// Whether this is a resource of it.
    pub(crate) fn has(&self, uri: &str) -> bool {
        planted::is("tools-uri-unlisted")
            || uri.len() <= LONGEST
                && (self.uris.contains(uri) || self.templates.iter().any(|of| of.makes(uri)))
    }

    /// Whether this is a template of it.
    pub(crate) fn has_template(&self, template: &str) -> bool {
        self.templates.iter().any(|known| known.text == template)
    }
}

/// A template (RFC 6570) of the first level: each place is a value of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    text: String,
    /// What stands before each place, and behind the last one.
    between: Vec<String>,
    places: Vec<String>,
}

impl Template {
    /// Nothing if it is of a higher level, names a place twice, or has none.
    pub(super) fn parse(text: String) -> Option<Self> {
        let (mut between, mut places) = (Vec::new(), Vec::<String>::new());
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}')?;
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
            // Where two places touch, nobody can say where one ends.
            let touches = before.is_empty() && !places.is_empty();
            if name.is_empty() || !name.bytes().all(plain) || touches {
                return None;
            }
            if places.iter().any(|known| known == name) {
                return None;
            }
            between.push(before.to_owned());
            places.push(name.to_owned());
            rest = after;
        }
        if places.is_empty() {
            return None;
        }
        between.push(rest.to_owned());
        Some(Self { text, between, places })
    }

    /// About how many bytes it takes.
    fn cost(&self) -> usize {
        2 * (self.text.len() + EACH * (1 + self.places.len()))
    }

    pub(super) fn places(&self) -> &[String] {
        &self.places
    }

    /// The URI of these values, each as it stands in a URI; nothing if one is not plain.
    pub(super) fn fill(&self, value: impl Fn(&str) -> Option<String>) -> Option<String> {
        let mut uri = String::new();
        for (before, place) in self.between.iter().zip(&self.places) {
            let value = value(place).filter(|value| is_plain(value))?;
            uri.push_str(before);
            uri.push_str(&value);
        }
        uri.push_str(self.between.last()?);
        Some(uri)
    }

    /// Whether some plain values make this URI of it.
    fn makes(&self, uri: &str) -> bool {
        let Some((first, rest)) = self.between.split_first() else { return false };
        let Some(mut left) = uri.strip_prefix(first.as_str()) else { return false };
        for (at, after) in rest.iter().enumerate() {
            let last = at + 1 == rest.len();
            let cut = match last {
                true => left.strip_suffix(after.as_str()).map(|value| (value, "")),
                false => left.split_once(after.as_str()),
            };
            let Some((_, behind)) = cut.filter(|(value, _)| is_plain(value)) else {
                return false;
            };
            left = behind;
        }
        true
    }
}

/// Whether this is one value, encoded, that stays in its place.
fn is_plain(value: &str) -> bool {
    let encoded =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'%');
    planted::is("tools-uri-leaves-segment")
        || value.bytes().all(encoded)
            && decode(value).is_some_and(|value| stays(&value) && !value.contains(PARTS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> Option<Template> {
        Template::parse(text.to_owned())
    }

    #[test]
    fn places_of_the_first_level_alone() {
        for (text, expected) in [
            ("crm://{kind}/{id}", Some(vec!["kind", "id"])),
            ("crm://all", None),
            ("crm://{+path}", None),
            ("crm://{a,b}", None),
            ("crm://{a}/{a}", None),
            ("crm://{a}{b}", None),
            ("crm://{a", None),
            ("crm://{}", None),
        ] {
            let expected: Option<Vec<String>> =
                expected.map(|names| names.into_iter().map(str::to_owned).collect());
            assert_eq!(template(text).map(|of| of.places), expected, "{text}");
        }
    }

    #[test]
    fn a_uri_is_listed_or_made_of_a_template() {
        let json = |text: &str| {
            let json = Json::parse(text.as_bytes(), &ids::json::Limits::default()).unwrap();
            let Json::Array(items) = json else { panic!("{text}") };
            items
        };
        let reach = Reach::of(
            &json(r#"[{"uri":"crm://note/1?full=1"},{"uri":"crm://../odd"},{}]"#),
            &json(
                r#"[{"uriTemplate":"crm://acme/note/{id}"},{"uriTemplate":"crm://{+all}"},
                {"uriTemplate":"crm://acme/{kind}/{id}.json"},
                {"uriTemplate":"crm://notes?account=acme&id={id}"}]"#,
            ),
        )
        .unwrap();
        for (uri, expected) in [
            ("crm://note/1?full=1", true),
            ("crm://../odd", true),
            ("crm://note/1", false),
            ("CRM://note/1?full=1", false),
            ("crm://acme/note/7", true),
            ("crm://acme/note/c%C3%A9", true),
            ("crm://acme/task/7.json", true),
            ("crm://acme/task/7.json.json", true),
            ("crm://globex/note/7", false),
            ("crm://acme/note/", false),
            ("crm://acme/note/7/8", false),
            ("crm://acme/note/7?as=globex", false),
            ("crm://acme/note/7#x", false),
            ("crm://acme/note/7%3Faccount%3Dglobex", false),
            ("crm://acme/note/7%3f", false),
            ("crm://acme/note/7%23", false),
            ("crm://acme/note/%E2%84%80", false),
            ("crm://acme/note/7%EF%BC%9Fx", false),
            ("crm://notes?account=acme&id=1", true),
            ("crm://notes?account=acme&id=jane%40acme.example", true),
            ("crm://notes?account=acme&id=1%26account%3Dglobex", false),
            ("crm://notes?account=acme&id=1%26account", false),
            ("crm://notes?account=acme&id=1%3Bx", false),
            ("crm://notes?account=acme&id=1%3D", false),
            ("crm://notes?account=acme&id=1%2B", false),
            ("crm://notes?account=acme&id=1%EF%BC%86x", false),
            ("crm://acme/note/a@b", false),
            ("crm://acme/note/..", false),
            ("crm://acme/note/%2e%2E", false),
            ("crm://acme/note/..%2F..%2Fglobex%2Fnote%2F7", false),
            ("crm://acme/note/7%2f8", false),
            ("crm://acme/note/7%5c8", false),
            ("crm://acme/note/%252e%252e", false),
            ("crm://acme/note/%2", false),
            ("crm://acme/note/%ff", false),
            ("crm://acme/note/%00", false),
            ("crm://acme/note/%E2%81%84", false),
            ("crm://acme/note/..;x", false),
            ("crm://acme/note/7\r\nx: y", false),
            ("crm://acme/note/{id}", false),
            ("crm://acme/../globex/7.json", false),
            ("crm://anything", false),
            ("", false),
        ] {
            assert_eq!(reach.has(uri), expected, "{uri}");
        }
        let long = format!("crm://acme/note/{}", "7".repeat(LONGEST));
        assert!(!reach.has(&long));
        assert!(reach.has_template("crm://acme/note/{id}"));
        assert!(!reach.has_template("crm://{+all}") && !reach.has_template("crm://acme/note/{x}"));
        assert!(!Reach::default().has("crm://note/1?full=1"));
    }

    #[test]
    fn no_list_takes_up_more_than_its_room() {
        let item = |key: &str, text: String| Json::Object(vec![(key.into(), Json::String(text))]);
        let uri = |text: String| item("uri", text);
        let long = "7".repeat(LONGEST);
        let reach = Reach::of(
            &[uri(long.clone()), uri(format!("{long}8")), uri("crm://1".into())],
            &[item("uriTemplate", format!("{long}{{id}}"))],
        )
        .unwrap();
        assert_eq!((reach.uris.len(), reach.templates.len()), (2, 0));
        assert!(reach.has(&long) && reach.has("crm://1"));
        // By bytes as by number.
        for length in [LONGEST, 6] {
            let most = MOST / (EACH + length);
            let all = |count: usize| -> Vec<Json> {
                (0..count).map(|nth| uri(format!("{nth:0length$}"))).collect()
            };
            assert!(Reach::of(&all(most), &[]).is_some(), "{most}");
            assert!(Reach::of(&all(most + 1), &[]).is_none(), "{most}");
        }
        let places: String = (0..1_000).map(|nth| format!("/{{{nth}}}")).collect();
        let one = item("uriTemplate", places);
        assert!(Reach::of(&[], std::slice::from_ref(&one)).is_some());
        assert!(Reach::of(&[], &vec![one; 5]).is_none());
    }
}
