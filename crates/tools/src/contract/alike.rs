//! Names that another reader may take for one name.
//!
//! JSON keys are compared to the letter here. Upstreams do otherwise: Go's decoder ignores case (and
//! takes the long s and the Kelvin sign for letters of ASCII), binders drop `_` and `-`, form
//! parsers nest at `.` and `[`, C stops at a NUL, databases ignore accents. A key that any of
//! them may take for a bound one is as good as it. So names are folded as far as any reader is known to go, and
//! further: to what looks alike (UTS 39), since what no reader takes for the name no caller needs.

use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};
use unicode_security::confusable_detection::skeleton;

/// A name, folded in each way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Folded(Vec<String>);

impl Folded {
    /// Folds a name.
    pub(super) fn of(name: &str) -> Self {
        let mut forms = Vec::with_capacity(2);
        let decoded = name.contains('%').then(|| percent_decoded(name));
        let unnumbered = without_indices(decoded.as_deref().unwrap_or(name));
        for name in [Some(name), decoded.as_deref(), unnumbered.as_deref()].into_iter().flatten() {
            let cut =
                name.split('\0').next().filter(|cut| cut.len() < name.len() && !cut.is_empty());
            for name in [Some(name), cut].into_iter().flatten() {
                let wide: String = name.nfkc().collect();
                forms.push(letters(&skeleton(&caseless(&wide)).collect::<String>()));
                forms.push(letters(&caseless(&skeleton(&wide).collect::<String>())));
            }
        }
        forms.sort_unstable();
        forms.dedup();
        Self(forms)
    }

    /// Whether some reader may take the two for one.
    pub(super) fn alike(&self, other: &Self) -> bool {
        self.0.iter().any(|form| other.0.contains(form))
    }
}

/// Upper and lower case are one; so are sharp s and `ss`, as full case folding has it.
fn caseless(text: &str) -> String {
    text.to_uppercase().to_lowercase()
}

/// Letters and digits, without accents; all of it where there are none.
fn letters(text: &str) -> String {
    let bare: String =
        text.nfkd().filter(|c| c.is_alphanumeric() && !is_combining_mark(*c)).collect();
    if bare.is_empty() { format!("\u{0}{}", text.trim()) } else { caseless(&bare) }
}

/// `items[0].id` without its indices.
fn without_indices(name: &str) -> Option<String> {
    let number = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let parts: Vec<_> = name.split(['.', '[', ']', '/']).collect();
    (parts.len() > 1 && parts.iter().any(number))
        .then(|| parts.into_iter().filter(|part| !number(part)).collect())
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = (*first == b'%').then(|| after.get(..2)).flatten();
        let byte = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        for name in [
            "account_id",
            "Account_ID",
            "accountId",
            "account-id",
            "account id",
            " account_id\t",
            "account.id",
            "account[id]",
            "account\u{200b}_id",
            "\u{feff}account_id",
            "account_id\u{0}",
            "account_id\u{0}x",
            "\u{0}account_id",
            "ａｃｃｏｕｎｔ＿ｉｄ",
            "аccount_id",
            "АССОUNT_ID",
            "áccount_id",
            "account_ıd",
            "account_İd",
            "account%5Fid",
            "%61ccount_id",
            "𝐚𝐜𝐜𝐨𝐮𝐧𝐭_𝐢𝐝",
            "accοunt_id",
            "account_\u{3164}id",
            "account_\u{115f}id",
            "acc0unt_id",
            "\"account_id\"",
        ] {
            assert!(Folded::of(name).alike(&Folded::of("account_id")), "{name:?}");
        }
        for (name, bound) in [
            ("tas\u{212a}", "task"),
            ("taſk", "task"),
            ("straße", "strasse"),
            ("ﬁlter", "filter"),
            ("items[0].account", "itemsaccount"),
            ("items.12.account", "itemsaccount"),
            ("items%5B0%5D%5Baccount%5D", "itemsaccount"),
        ] {
            assert!(Folded::of(name).alike(&Folded::of(bound)), "{name:?}");
        }
    }

    #[test]
    fn other_names_are_other_names() {
        for name in
            ["account", "account_ids", "id", "accounting_id", "", "_", "客户", "account_id2"]
        {
            assert!(!Folded::of(name).alike(&Folded::of("account_id")), "{name:?}");
        }
        assert!(!Folded::of("_").alike(&Folded::of("-")));
        assert!(Folded::of("客户").alike(&Folded::of("客_户")));
    }
}
