//! What is asked again, and when.
//!
//! Nothing is asked again once a byte of an answer was handed on. A budget bounds how much
//! more a provider that fails is asked: tokens of a pool, which belongs to one tenant's
//! credential, so that nobody spends another's (B. Beyer et al., "Site Reliability
//! Engineering", chapter 21, "Retries").

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use http::{HeaderMap, StatusCode, header};
use ids::{Entropy, Millis};

use crate::{Fault, Phase, Retries};

/// Whether a provider that answers so may answer otherwise a little later, or another one may.
pub(crate) const fn may_pass(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504 | 529)
}

/// How an attempt failed that brought no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) fault: Fault,
    /// Whether the provider may have got the request.
    pub(crate) sent: bool,
}

impl Failed {
    /// Nothing was sent: asking again cannot do anything twice.
    pub(crate) const fn unsent(fault: Fault) -> Self {
        Self { fault, sent: false }
    }

    pub(crate) const fn sent(fault: Fault) -> Self {
        Self { fault, sent: true }
    }

    /// Whether the same provider is asked again. One that took too long is not.
    pub(crate) const fn again_here(&self) -> bool {
        matches!(self.fault, Fault::Unreachable)
    }

    /// Whether another provider is asked.
    pub(crate) const fn again_elsewhere(&self) -> bool {
        matches!(self.fault, Fault::Unreachable | Fault::Timeout(Phase::Connect | Phase::FirstByte))
    }
}

/// How often more a pool's calls may be asked again, in thousandths.
#[derive(Debug)]
pub(crate) struct Budget(AtomicU32);

impl Budget {
    const ONE: u32 = 1_000;
    const AT_FIRST: u32 = 10 * Self::ONE;
    const MOST: u32 = 100 * Self::ONE;

    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(Self::AT_FIRST))
    }

    /// A call was made.
    pub(crate) fn deposit(&self, percent: u32) {
        let more = percent.saturating_mul(Self::ONE / 100);
        self.change(|tokens| Some(tokens.saturating_add(more).min(Self::MOST)));
    }

    /// Whether one more may be asked again; it is spent.
    pub(crate) fn withdraw(&self) -> bool {
        self.change(|tokens| tokens.checked_sub(Self::ONE))
    }

    fn change(&self, change: impl FnMut(u32) -> Option<u32>) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change).is_ok()
    }
}

/// How long to wait before a call is asked again for the `nth` time, counted from 0; nothing
/// if it is not. `wish` is what the provider asked for.
pub(crate) fn wait(
    retries: &Retries,
    nth: u32,
    wish: Option<Duration>,
    entropy: &dyn Entropy,
) -> Option<Duration> {
    if nth >= retries.most {
        return None;
    }
    let most = retries.wait_most();
    if wish.is_some_and(|wish| wish > most) {
        return None;
    }
    let grown = retries.backoff_ms.saturating_mul(1_u64.checked_shl(nth).unwrap_or(u64::MAX));
    // Full jitter (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog).
    let mut random = [0; 8];
    entropy.fill(&mut random);
    let part = u64::from_le_bytes(random) % grown.min(retries.wait_most_ms).saturating_add(1);
    Some(Duration::from_millis(part).max(wish.unwrap_or_default()))
}

/// How long the provider wants to be left alone: `retry-after-ms`, or `Retry-After` in either
/// form (RFC 9110, 10.2.3).
pub(crate) fn wish(headers: &HeaderMap, now: Millis) -> Option<Duration> {
    if let Some(ms) = headers.get("retry-after-ms").and_then(|v| number(v.as_bytes())) {
        return Some(Duration::from_millis(ms));
    }
    let value = headers.get(header::RETRY_AFTER)?.as_bytes();
    match number(value) {
        Some(seconds) => Some(Duration::from_secs(seconds)),
        // More than eight digits: years.
        None if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => Some(Duration::MAX),
        None => Some(date(value)?.since(now)),
    }
}

/// A whole number of at most eight digits.
pub(crate) fn number(bytes: &[u8]) -> Option<u64> {
    if !(1..=8).contains(&bytes.len()) || !bytes.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// A date as HTTP writes it now: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(crate) fn date(bytes: &[u8]) -> Option<Millis> {
    const FORM: &[u8] = b"Www, 00 Mmm 0000 00:00:00 GMT";
    const DAYS: &[u8] = b"MonTueWedThuFriSatSun";
    const MONTHS: &[u8] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let formed = bytes.len() == FORM.len()
        && DAYS.chunks(3).any(|day| bytes.starts_with(day))
        && bytes[3..].iter().zip(&FORM[3..]).enumerate().all(|(at, (byte, form))| match form {
            b'0' => byte.is_ascii_digit(),
            // The month.
            _ if (5..8).contains(&at) => true,
            _ => byte == form,
        });
    if !formed {
        return None;
    }
    let month = MONTHS.chunks(3).position(|month| bytes[8..].starts_with(month))? as u64 + 1;
    let at = |from: usize, to: usize| number(&bytes[from..to]);
    let (day, year) = (at(5, 7)?, at(12, 16)?);
    let seconds = (at(17, 19)? * 60 + at(20, 22)?) * 60 + at(23, 25)?;
    Some(Millis::from_secs(days(year, month, day)?.checked_mul(86_400)?.checked_add(seconds)?))
}

/// Days from 1970-01-01 to a date of the proleptic Gregorian calendar; nothing for an earlier
/// one (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms").
const fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if day == 0 {
        return None;
    }
    let (year, month) =
        if month > 2 { (year, month - 3) } else { (year.wrapping_sub(1), month + 9) };
    if year > 9_999 {
        return None;
    }
    let era_days = year * 365 + year / 4 - year / 100 + year / 400;
    (era_days + (153 * month + 2) / 5 + day - 1).checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// The same bytes, always.
    #[derive(Debug)]
    struct Fixed(u8);

    impl Entropy for Fixed {
        fn fill(&self, out: &mut [u8]) {
            out.fill(self.0);
        }
    }

    #[test]
    fn statuses() {
        let passing: Vec<u16> =
            (100..=599).filter(|code| may_pass(StatusCode::from_u16(*code).unwrap())).collect();
        assert_eq!(passing, [408, 429, 500, 502, 503, 504, 529]);
    }

    #[test]
    fn waits_grow_are_bounded_and_honour_wishes() {
        let retries = Retries { most: 4, backoff_ms: 100, wait_most_ms: 1_000, budget_percent: 20 };
        let ms = Duration::from_millis;
        for nth in 0..4 {
            let grown = (100 << nth).min(1_000);
            let mut longest = Duration::ZERO;
            for byte in 0..=255 {
                let waited = wait(&retries, nth, None, &Fixed(byte)).unwrap();
                assert!(waited <= ms(grown), "{nth}: {waited:?}");
                longest = longest.max(waited);
            }
            assert!(longest > ms(grown / 2), "{nth}: {longest:?}");
        }
        assert_eq!(wait(&retries, 4, None, &Fixed(0)), None, "often enough");
        assert_eq!(wait(&retries, 0, Some(ms(900)), &Fixed(0)), Some(ms(900)));
        assert_eq!(wait(&retries, 0, Some(ms(1_000)), &Fixed(0)), Some(ms(1_000)));
        assert_eq!(wait(&retries, 0, Some(ms(1_001)), &Fixed(0)), None, "longer than we wait");
        let never = Retries { most: 0, ..retries };
        assert_eq!(wait(&never, 0, Some(ms(1)), &Fixed(0)), None);
        let far = Retries { most: u32::MAX, ..retries };
        assert!(wait(&far, 200, None, &Fixed(255)).unwrap() <= ms(1_000));
    }

    #[test]
    fn wishes_are_numbers_or_dates() {
        // 1994-11-06T08:49:30Z
        let now = Millis::from_secs(784_111_770);
        for (name, value, expected) in [
            ("retry-after", "7", Some(7_000)),
            ("retry-after-ms", "7", Some(7)),
            ("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT", Some(7_000)),
            ("retry-after", "Sun, 06 Nov 1994 08:49:20 GMT", Some(0)),
            ("retry-after", "-7", None),
            ("retry-after", "1.5", None),
            ("retry-after", "soon", None),
            ("retry-after-ms", "soon", None),
            ("retry-after", "", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            assert_eq!(wish(&headers, now), expected.map(Duration::from_millis), "{name}: {value}");
        }
        // Whoever wants to be left alone for years is not asked again at once.
        for value in ["123456789", "99999999999999999999999999"] {
            let mut headers = HeaderMap::new();
            headers.insert("retry-after", HeaderValue::from_static(value));
            let wish = wish(&headers, now);
            assert_eq!(wish, Some(Duration::MAX), "{value}");
            assert_eq!(wait(&Retries::default(), 0, wish, &Fixed(0)), None);
        }
    }

    #[test]
    fn dates() {
        for (text, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Tue, 29 Feb 2000 00:00:01 GMT", Some(951_782_401)),
            ("Sun, 22 Nov 2026 10:00:00 GMT", Some(1_795_341_600)),
            ("Wed, 31 Dec 1969 23:59:59 GMT", None),
            ("Thu, 00 Jan 1970 00:00:00 GMT", None),
            ("Sun, 06 sk- 1994 08:49:37 GMT", None),
            ("sk-, 06 Nov 1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 08:49:37 sk-", None),
            ("Sun, 06 Nov 1994 08:49:37 GMTx", None),
            ("Sunday, 06-Nov-94 08:49:37 GMT", None),
            ("", None),
        ] {
            assert_eq!(date(text.as_bytes()), seconds.map(Millis::from_secs), "{text}");
        }
    }

    #[test]
    fn a_budget_runs_out_and_fills_slowly() {
        let budget = Budget::new();
        assert_eq!((0..100).filter(|_| budget.withdraw()).count(), 10);
        for _ in 0..4 {
            budget.deposit(20);
            assert!(!budget.withdraw());
        }
        budget.deposit(20);
        assert!(budget.withdraw() && !budget.withdraw());
        for _ in 0..10_000 {
            budget.deposit(100);
        }
        assert_eq!((0..1_000).filter(|_| budget.withdraw()).count(), 100);
        budget.deposit(0);
        assert!(!budget.withdraw());
    }
}
