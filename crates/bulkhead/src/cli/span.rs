//! Lengths of time as people write them.

use std::{str::FromStr, time::Duration};

/// `30s`, `15m`, `12h`, `90d`; a number alone is seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

impl Span {
    /// In whole seconds.
    pub(crate) const fn secs(self) -> u64 {
        self.0.as_secs()
    }
}

impl FromStr for Span {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rule = "a number with a unit: 30s, 15m, 12h, 90d";
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let unit = match &text[digits.len()..] {
            "" | "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => return Err(rule),
        };
        let number: u64 = digits.parse().map_err(|_| rule)?;
        number.checked_mul(unit).map(|secs| Self(Duration::from_secs(secs))).ok_or(rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        for (text, secs) in [
            ("90", Some(90)),
            ("90s", Some(90)),
            ("15m", Some(900)),
            ("2h", Some(7_200)),
            ("1d", Some(86_400)),
            ("", None),
            ("m", None),
            ("1w", None),
            ("-1s", None),
            ("1.5h", None),
            ("99999999999999999999d", None),
        ] {
            assert_eq!(text.parse::<Span>().ok().map(Span::secs), secs, "{text}");
        }
    }
}
