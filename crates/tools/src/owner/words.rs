//! Words that say nothing of anybody.
//!
//! Free text cannot be held against an owner. It is handed on if each of its words is in a small
//! vocabulary, is a small number, or was said by the call itself (the names and values of its final
//! arguments). "not found", "amount must be positive", "3 of 10 items" pass; "Globex owes 400" does not.

use std::collections::HashSet;

use ids::json::Json;
use serde_json::Value;

use super::own;
use crate::contract::Final;

/// The longest free text that is handed on, in bytes.
pub(crate) const LONGEST: usize = 500;

const VOCABULARY: &str = "\
    a about above accepted access across action after again all allowed already also an and any \
    api are argument arguments as at attempt available bad be because been before below between both but by \
    call calls can cancelled cannot case character characters check client closed code column complete \
    completed conflict connection could create created current data database date day days delete deleted \
    denied did different do does done duplicate each either empty end error errors exactly exceeded exist \
    existing exists expected expired failed failure false fetched fetching few field fields file finished first \
    for forbidden format found from greater had has have higher hour hours id if in incomplete input integer \
    internal into invalid is it item items its key large last least length less letter limit limited line \
    list loaded loading locked long longer lower malformed match matches matching maximum may method minimum minute \
    minutes missing more most must name need needs negative never new next no none not nothing now null number \
    object of off ok on one only operation or other out over page pages parameter parameters parse parsed \
    part path pending permission permitted please positive processed processing progress property provided query \
    quota range rate ready received record records refused reject rejected remaining removed request requests \
    required resource response result results retry returned row rows running same saved saving second seconds \
    server service several should since size skipped some started starting state status step string \
    succeeded success successful successfully supported syntax temporarily than that the their them then there these \
    they this time timed timeout to together too total true try type unable unauthorized unavailable \
    unchanged unexpected unique unknown unprocessable unsupported until update updated updating use used \
    valid validation value values version was were when where which while will with within without wrong year \
    yet you your zero";

/// What a call said: the names of its arguments, and its values that are no longer than a word.
pub(super) fn said(call: &Final) -> HashSet<String> {
    let mut said = HashSet::new();
    gather(&call.arguments, &mut said);
    said
}

fn gather(json: &Json, said: &mut HashSet<String>) {
    match json {
        Json::Object(entries) => {
            for (key, value) in entries {
                own::step();
                said.insert(key.clone());
                gather(value, said);
            }
        }
        Json::Array(items) => items.iter().for_each(|item| {
            own::step();
            gather(item, said);
        }),
        Json::String(text) => {
            said.insert(text.clone());
        }
        Json::Number(number) => {
            said.insert(number.to_string());
        }
        Json::Bool(_) | Json::Null => {}
    }
}

/// Whether a text is made of such words alone.
pub(super) fn are_plain(text: &str, said: &HashSet<String>) -> bool {
    static KNOWN: std::sync::OnceLock<HashSet<&str>> = std::sync::OnceLock::new();
    let known =
        KNOWN.get_or_init(|| VOCABULARY.split(' ').filter(|word| !word.is_empty()).collect());
    let plain = |word: &str| {
        let lower = word.to_ascii_lowercase();
        lower.len() < 4 && lower.bytes().all(|b| b.is_ascii_digit())
            || known.contains(lower.as_str())
            // `invalid_argument`, `NotFound`
            || lower.split(['_', '-', '.']).all(|part| known.contains(part))
    };
    text.len() <= LONGEST
        && text.split(is_between).filter(|word| !word.is_empty()).all(|word| {
            let bare = word.trim_end_matches('.');
            bare.is_empty() || said.contains(word) || said.contains(bare) || plain(bare)
        })
}

/// What stands between words. Anything else, such as letters of other alphabets, is part of one.
fn is_between(c: char) -> bool {
    c.is_ascii_whitespace() || (c.is_ascii_punctuation() && !matches!(c, '_' | '-' | '.' | '@'))
}

/// What an error in JSON says of itself, where that is plain.
pub(super) fn of_error(says: &Value, said: &HashSet<String>) -> Option<String> {
    const FIELDS: [&str; 7] = ["message", "error", "detail", "title", "code", "reason", "type"];
    let inner = says.get("error").filter(|error| error.is_object()).unwrap_or(says);
    FIELDS
        .iter()
        .filter_map(|field| inner.get(field)?.as_str())
        .find(|text| !text.trim().is_empty() && are_plain(text, said))
        .map(str::to_owned)
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn passes_what_says_nothing_of_anybody() {
        let said: HashSet<String> =
            ["amount", "acct_42", "ada@acme.example"].map(str::to_owned).into();
        for (text, plain) in [
            ("not found", true),
            ("invalid_argument: `amount` must be positive.", true),
            ("Record acct_42 does not exist", true),
            ("ada@acme.example is invalid", true),
            ("3 of 10 items (30%)", true),
            ("", true),
            ("acct_7 not found", false),
            ("Globex owes 400", false),
            ("balance 4000", false),
            ("total 1234", false),
            ("\u{430}cct_42 not found", false),
            ("not\u{200b}found", false),
            ("records of g l o b e x", false),
            ("bob@globex.example is invalid", false),
            ("{\"account\":\"acct_7\"}", false),
        ] {
            assert_eq!(are_plain(text, &said), plain, "{text}");
        }
        assert!(!are_plain(&"ok ".repeat(LONGEST), &said));
    }
}
