//! The spellings that an answer may have a canary in, each turned back: escapes, pieces of a
//! stream, separators, base64, hexadecimal.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::wire::READABLE;

/// How many hex digits tell a canary: 64 bits.
const WINDOW: usize = 16;
/// Hexadecimal of that many digits.
const HEX: usize = 2 * WINDOW;
/// So many groups of base64, one after the other, begin within that many digits.
const GROUPS: usize = 5;

/// A text in one spelling.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct View {
    /// What was done to get it.
    pub(super) how: Option<&'static str>,
    pub(super) bytes: Vec<u8>,
}

/// 16 hex digits that stand in a text, in some spelling.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window<'v> {
    pub(super) key: u64,
    /// What was done besides to get it.
    pub(super) how: Option<&'static str>,
    /// What it was read in, and where its last digit is.
    pub(super) within: &'v [u8],
    pub(super) at: usize,
}

/// The views of a text, the plainest first.
pub(super) fn views(text: &[u8]) -> Vec<View> {
    let raw = View { how: None, bytes: text.to_vec() };
    let unescaped = unescaped(text).map(|bytes| View { how: Some("escaped"), bytes });
    let joined = joined(text).map(|bytes| View { how: Some("in pieces"), bytes });
    [Some(raw), unescaped, joined].into_iter().flatten().collect()
}

/// Whether a text holds another, in any case, escaped or not, separated or not.
pub(crate) fn holds(text: &[u8], sought: &str) -> bool {
    Spelled::of(text).roughly(sought)
}

/// All views of a text, to look for several others in.
pub(crate) struct Spelled {
    exact: Vec<String>,
    /// In lower case, without what is between letters and digits.
    plain: Vec<String>,
}

impl Spelled {
    pub(crate) fn of(text: &[u8]) -> Self {
        let exact = views(text).into_iter();
        let exact: Vec<_> =
            exact.map(|view| String::from_utf8_lossy(&view.bytes).into_owned()).collect();
        let plain = exact.iter().map(|text| plain(text)).collect();
        Self { exact, plain }
    }

    /// Escaped or not, in pieces or not, but otherwise to the letter.
    pub(crate) fn exactly(&self, sought: &str) -> bool {
        self.exact.iter().any(|text| text.contains(sought))
    }

    /// In any case, separated or not.
    pub(crate) fn roughly(&self, sought: &str) -> bool {
        let sought = plain(sought);
        !sought.is_empty() && self.plain.iter().any(|text| text.contains(&sought))
    }
}

fn plain(text: &str) -> String {
    let kept = text.chars().filter(char::is_ascii_alphanumeric);
    kept.map(|c| c.to_ascii_lowercase()).collect()
}

/// Every window of a view: digits in a row; with something between them; and in what looks like
/// hexadecimal or base64 of them. One pass over all bytes.
pub(super) fn windows(bytes: &[u8], mut each: impl FnMut(Window<'_>)) {
    let mut letters = Vec::with_capacity(bytes.len());
    let (mut roll, mut together) = (Roll::default(), 0);
    let mut groups = Groups::default();
    let mut hexadecimal: Vec<std::ops::Range<usize>> = Vec::new();
    for (at, byte) in bytes.iter().enumerate() {
        if !byte.is_ascii_alphanumeric() {
            together = 0;
            continue;
        }
        groups.next(letters.len(), *byte);
        let before = roll.digits;
        if let Some(key) = roll.next(*byte) {
            let how = (together < WINDOW - 1).then_some("with separators");
            each(Window { key, how, within: bytes, at });
        }
        together += 1;
        if roll.digits == 0 {
            together = 0;
            if before >= HEX {
                hexadecimal.push(letters.len() - before..letters.len());
            }
        }
        letters.push(*byte);
    }
    if roll.digits >= HEX {
        hexadecimal.push(letters.len() - roll.digits..letters.len());
    }
    for run in hexadecimal {
        for from in 0..2 {
            let pairs = letters[run.clone()].get(from..).unwrap_or_default().as_chunks::<2>().0;
            let value = |digit: u8| super::nibble(digit).unwrap_or_default();
            let text: Vec<u8> =
                pairs.iter().map(|[high, low]| value(*high) << 4 | value(*low)).collect();
            rolled(&text, "hexadecimal", &mut each);
        }
    }
    for run in groups.end(letters.len()) {
        rolled(&unbase64(&letters[run]), "base64", &mut each);
    }
}

fn rolled(text: &[u8], how: &'static str, each: &mut impl FnMut(Window<'_>)) {
    let mut roll = Roll::default();
    for (at, byte) in text.iter().enumerate() {
        if let Some(key) = roll.next(*byte) {
            each(Window { key, how: Some(how), within: text, at });
        }
    }
}

/// The last hex digits in a row.
#[derive(Default)]
struct Roll {
    key: u64,
    digits: usize,
}

impl Roll {
    fn next(&mut self, byte: u8) -> Option<u64> {
        let Some(nibble) = super::nibble(byte) else {
            self.digits = 0;
            return None;
        };
        self.key = self.key << 4 | u64::from(nibble);
        self.digits += 1;
        (self.digits >= WINDOW).then_some(self.key)
    }
}

/// Where groups of base64 begin with a hex digit, several in a row: for each of the four places
/// where a group may begin, since when.
#[derive(Default)]
struct Groups {
    since: [Option<usize>; 4],
    runs: Vec<std::ops::Range<usize>>,
}

impl Groups {
    fn next(&mut self, at: usize, byte: u8) {
        let since = &mut self.since[at % 4];
        match (byte, *since) {
            // The six high bits of a hex digit.
            (b'M'..=b'O' | b'Y' | b'Z' | b'Q' | b'R', None) => *since = Some(at),
            (b'M'..=b'O' | b'Y' | b'Z' | b'Q' | b'R', Some(_)) | (_, None) => {}
            (_, Some(from)) => {
                *since = None;
                self.run(from, at);
            }
        }
    }

    /// With the groups around it, which may hold the first and the last digits.
    fn run(&mut self, from: usize, to: usize) {
        if (to - from) / 4 >= GROUPS {
            self.runs.push(from.checked_sub(4).unwrap_or(from)..to + 4);
        }
    }

    fn end(mut self, length: usize) -> Vec<std::ops::Range<usize>> {
        for from in self.since.into_iter().flatten() {
            self.run(from, length.next_multiple_of(4) + from % 4);
        }
        let cut = self.runs.into_iter().map(|run| run.start..run.end.min(length));
        cut.collect()
    }
}

/// `%61`, `\u0061`, `\x61`, `&#97;` and `&#x61;` turned back, also when that was done twice.
fn unescaped(text: &[u8]) -> Option<Vec<u8>> {
    let mut now = once(text)?;
    for _ in 0..2 {
        match once(&now) {
            Some(next) => now = next,
            None => break,
        }
    }
    Some(now)
}

fn once(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    let mut changed = false;
    while let Some((first, tail)) = rest.split_first() {
        let escape = match first {
            b'%' => code(tail, 16, 2..=2).map(|(c, n)| (c, n + 1)),
            b'\\' => backslash(tail),
            b'&' => entity(tail),
            _ => None,
        };
        match escape {
            Some((c, length)) => {
                changed = true;
                out.extend(c.map(|c| u8::try_from(c).unwrap_or(b'?')));
                rest = rest.get(length..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    changed.then_some(out)
}

/// After a `\`: a character, if it is one, and how long the whole was.
fn backslash(tail: &[u8]) -> Option<(Option<u32>, usize)> {
    match tail.first()? {
        b'u' if tail.get(1) == Some(&b'{') => {
            let (c, n) = code(tail.get(2..)?, 16, 1..=6)?;
            (tail.get(2 + n) == Some(&b'}')).then_some((c, n + 4))
        }
        b'u' => code(tail.get(1..)?, 16, 4..=4).map(|(c, n)| (c, n + 2)),
        b'x' => code(tail.get(1..)?, 16, 2..=2).map(|(c, n)| (c, n + 2)),
        b'n' | b'r' | b't' => Some((Some(u32::from(b' ')), 2)),
        c @ (b'"' | b'\\' | b'/' | b'\'') => Some((Some(u32::from(*c)), 2)),
        _ => None,
    }
}

/// After a `&`: `#97;`, `#x61;`, or a name, which stands for no letter.
fn entity(tail: &[u8]) -> Option<(Option<u32>, usize)> {
    let end = tail.iter().take(10).position(|byte| *byte == b';')?;
    let found = match tail.get(..end)? {
        [b'#', b'x' | b'X', digits @ ..] => code(digits, 16, 1..=6)?.0,
        [b'#', digits @ ..] => code(digits, 10, 1..=7)?.0,
        name if name.iter().all(u8::is_ascii_alphanumeric) => Some(u32::from(b' ')),
        _ => return None,
    };
    Some((found, end + 2))
}

/// A number at the beginning, and how many digits it has.
fn code(
    text: &[u8],
    radix: u32,
    digits: std::ops::RangeInclusive<usize>,
) -> Option<(Option<u32>, usize)> {
    let digit = |byte: &&u8| char::from(**byte).is_digit(radix);
    let length = text.iter().take(*digits.end()).take_while(digit).count();
    let number = std::str::from_utf8(text.get(..length)?).ok()?;
    digits.contains(&length).then(|| (u32::from_str_radix(number, radix).ok(), length))
}

/// The strings of a stream's events, each place of theirs by itself, put together; those of a
/// document one after the other.
fn joined(text: &[u8]) -> Option<Vec<u8>> {
    if text.len() > READABLE {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?;
    let stream = text.starts_with("data:") || text.contains("\ndata:") || text.contains("}\n{");
    let mut places: BTreeMap<String, String> = BTreeMap::new();
    if stream {
        for event in events(text) {
            strings(&event, &mut String::new(), &mut |place, text| {
                places.entry(place.to_owned()).or_default().push_str(text);
            });
        }
    } else if text.contains("bhc") {
        // In two pieces it would be found anyway: only what has the beginning is worth reading.
        let document = serde_json::from_str(text).ok()?;
        strings(&document, &mut String::new(), &mut |_, text| {
            places.entry(String::new()).or_default().push_str(text);
        });
    }
    let all: Vec<String> = places.into_values().collect();
    (!all.is_empty()).then(|| all.join("\n").into_bytes())
}

/// The JSON values of a stream: events of SSE, or one a line.
fn events(text: &str) -> impl Iterator<Item = Value> {
    let lines = text.lines().map(|line| line.strip_prefix("data:").unwrap_or(line).trim());
    let values = lines.filter(|line| line.starts_with(['{', '[']));
    values.filter_map(|line| serde_json::from_str(line).ok())
}

fn strings(value: &Value, place: &mut String, each: &mut impl FnMut(&str, &str)) {
    let length = place.len();
    match value {
        Value::String(text) => each(place, text),
        Value::Array(values) => {
            for (number, value) in values.iter().enumerate() {
                place.push_str(&format!("/{number}"));
                strings(value, place, each);
                place.truncate(length);
            }
        }
        Value::Object(values) => {
            for (name, value) in values {
                place.push('/');
                place.push_str(name);
                strings(value, place, each);
                place.truncate(length);
            }
        }
        _ => {}
    }
}

/// Groups of base64 as bytes. Only letters and digits: no group that holds hex digits has one of
/// the other two, in either alphabet, so that separators elsewhere do no harm.
fn unbase64(run: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(run.len());
    for group in run.chunks(4) {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 6 | sextet(*byte));
        let bytes = (bits << (6 * (4 - group.len()))).to_be_bytes();
        out.extend_from_slice(&bytes[1..group.len()]);
    }
    out
}

fn sextet(byte: u8) -> u32 {
    u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        _ => 62,
    })
}
