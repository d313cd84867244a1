//! Whether an argument of one request can make it another: `/refunds/{id}` with `batch` is
//! `/refunds/batch`, and would be sent under the rules of the wrong contract.

use super::{Segment, Template};

/// How two requests meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overlap {
    /// A rule for an argument can keep them apart.
    Kept,
    /// No rule can: what stands around two arguments crosses, or one is within another.
    Unkept,
}

/// Whether something keeps a text away from an argument.
pub(crate) type Keeps<'a> = &'a dyn Fn(&str, &str) -> bool;

/// How two segments at one place of two paths stand to each other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meeting {
    /// No text is both.
    Never,
    /// They are the same segment.
    Same,
    /// What fills one can be the other.
    Crossing,
}

impl Template {
    /// How some request is of both forms because an argument of one stands where the other has
    /// something of its own. Two that are the same to the letter are not that: it is plain
    /// from each of them what it sends. `mine` and `theirs` say what keeps texts away from
    /// the arguments of each.
    pub(crate) fn overlaps(
        &self,
        other: &Self,
        mine: Keeps<'_>,
        theirs: Keeps<'_>,
    ) -> Option<Overlap> {
        let (here, there) = (plain(&self.path), plain(&other.path));
        if self.method != other.method || here.len() != there.len() {
            return None;
        }
        let mut overlap = None;
        for (one, two) in here.iter().zip(there) {
            match meeting(one, two, mine, theirs) {
                Meeting::Never => return None,
                Meeting::Same => {}
                // One place that is kept apart is enough.
                Meeting::Crossing if is_kept(one, two) => overlap = Some(Overlap::Kept),
                Meeting::Crossing => overlap = overlap.or(Some(Overlap::Unkept)),
            }
        }
        overlap
    }
}

/// Whether a rule can keep two segments apart: of one argument of its own name, against one text.
fn is_kept(one: &Segment, two: &Segment) -> bool {
    match (&one.place, &two.place) {
        (Some((pointer, _)), None) | (None, Some((pointer, _))) => pointer.name().is_some(),
        _ => false,
    }
}

/// Without a slash at the end, which many servers do not care about.
fn plain(path: &[Segment]) -> &[Segment] {
    match path {
        [rest @ .., last] if last.place.is_none() && last.before.is_empty() => rest,
        all => all,
    }
}

/// Many servers do not care about case either.
fn meeting(one: &Segment, two: &Segment, mine: Keeps<'_>, theirs: Keeps<'_>) -> Meeting {
    let before = one.before.eq_ignore_ascii_case(&two.before);
    let after = one.after.eq_ignore_ascii_case(&two.after);
    let meets = match (&one.place, &two.place) {
        (None, None) if before => return Meeting::Same,
        (None, None) => false,
        (Some(_), None) => fits(one, &two.before, mine),
        (None, Some(_)) => fits(two, &one.before, theirs),
        (Some(_), Some(_)) if before && after => return Meeting::Same,
        // What is around one place may be within the other. No rule about one text says whether it
        // is.
        (Some(_), Some(_)) => {
            begins(one.before.bytes(), two.before.bytes())
                && begins(one.after.bytes().rev(), two.after.bytes().rev())
        }
    };
    if meets { Meeting::Crossing } else { Meeting::Never }
}

/// Whether a text is what a segment with a place can become.
fn fits(segment: &Segment, text: &str, keeps: Keeps<'_>) -> bool {
    // All of it is ASCII: what does not have to be encoded.
    let (before, after) = (segment.before.len(), segment.after.len());
    let Some(end) = text.len().checked_sub(after).filter(|end| *end > before) else { return false };
    let around = text[..before].eq_ignore_ascii_case(&segment.before)
        && text[end..].eq_ignore_ascii_case(&segment.after);
    let argument = segment.place.as_ref().and_then(|(pointer, _)| pointer.name());
    around && !argument.is_some_and(|argument| keeps(argument, &text[before..end]))
}

/// Whether one of the two begins with the other.
fn begins(one: impl Iterator<Item = u8>, two: impl Iterator<Item = u8>) -> bool {
    one.zip(two).all(|(one, two)| one.eq_ignore_ascii_case(&two))
}
