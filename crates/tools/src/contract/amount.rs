//! Amounts: in hundredths, from their decimal digits, without rounding.

use ids::{json::Json, planted};

/// The hundredths of a number as it is written: `12.5` is 1250, `1e2` is 10000. Nothing if it has
/// thousandths, or more digits than a policy can count.
pub(super) fn hundredths(number: &str) -> Option<i64> {
    if planted::is("tools-amount-rounded") {
        #[expect(clippy::cast_possible_truncation, reason = "the planted bug")]
        return number.parse::<f64>().ok().map(|amount| (amount * 100.0) as i64);
    }
    let (mantissa, exponent) = match number.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (number, 0),
    };
    let (negative, digits) = match mantissa.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, mantissa),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() {
        return Some(0);
    }
    let places = exponent.checked_add(2)?.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let scaled = match usize::try_from(places) {
        Ok(more) if more <= 20 => format!("{significant}{}", "0".repeat(more)),
        Ok(_) => return None,
        Err(_) => {
            let fewer = usize::try_from(places.unsigned_abs()).ok()?;
            let kept = significant.len().checked_sub(fewer)?;
            let (kept, cut) = significant.split_at(kept);
            if !cut.bytes().all(|b| b == b'0') || kept.is_empty() {
                return None;
            }
            kept.to_owned()
        }
    };
    let sign = if negative { "-" } else { "" };
    format!("{sign}{scaled}").parse().ok()
}

/// The hundredths of a value.
pub(super) fn of(value: &Json) -> Option<i64> {
    match value {
        Json::Number(number) => hundredths(&number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use ids::json::Limits;
    use proptest::prelude::*;

    use super::*;

    fn amount(text: &str) -> Option<i64> {
        of(&Json::parse(text.as_bytes(), &Limits::default()).unwrap())
    }

    #[test]
    fn hundredths_are_exact() {
        for (text, expected) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("0.0", Some(0)),
            ("1", Some(100)),
            ("-1", Some(-100)),
            ("19.99", Some(1999)),
            ("1.15", Some(115)),
            ("2.675", None),
            ("4.35", Some(435)),
            ("8.2", Some(820)),
            ("0.07", Some(7)),
            ("0.29", Some(29)),
            ("1.10", Some(110)),
            ("1e2", Some(10_000)),
            ("1.5e1", Some(1_500)),
            ("12e-1", Some(120)),
            ("1e-2", Some(1)),
            ("1e-3", None),
            ("1e-300", None),
            ("1e300", None),
            ("92233720368547758.07", None),
            ("92233720368547758", Some(9_223_372_036_854_775_800)),
            ("92233720368547759", None),
            ("18446744073709551615", None),
            ("\"1\"", None),
            ("null", None),
            ("[1]", None),
            ("true", None),
        ] {
            assert_eq!(amount(text), expected, "{text}");
        }
        for text in ["", "-", ".5", "1.", "1e", "0x1", "1,5", "1_0", "+1", "NaN"] {
            assert!(hundredths(text).is_none() || text == "1.", "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_amount_with_hundredths_is_what_it_says(units in 0_i64..10_000_000_000, rest in 0_i64..100) {
            prop_assert_eq!(amount(&format!("{units}.{rest:02}")), Some(units * 100 + rest));
            prop_assert_eq!(amount(&format!("-{units}.{rest:02}")), Some(-(units * 100 + rest)));
        }
    }
}
