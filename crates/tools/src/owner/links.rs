//! URIs, and what in a text looks like somebody's account.

use super::judge::Hold;

/// What separates the parts of a URI that may be ids.
const SEPARATORS: &[char] = &['/', '?', '&', '=', '#', ';', ':', ',', '@'];

/// Whether a URI says by itself that what it leads to is ours.
pub(super) fn is_ours(hold: &Hold<'_>, uri: &str) -> bool {
    let Some((scheme, rest)) = uri.split_once(':') else { return false };
    let named = !scheme.is_empty()
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    let authority = rest.strip_prefix("//").unwrap_or_default().split(['/', '?', '#']).next();
    // Who logs in says nothing of where it leads.
    if authority.is_some_and(|authority| authority.contains('@')) {
        return false;
    }
    let mut ours = false;
    for part in rest.split(SEPARATORS) {
        let Some(part) = crate::template::decode(part) else { return false };
        // What is encoded twice, or separates once it is decoded, is read as something else further on.
        let plain = part.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'%' | b'\\' | b'/'));
        if !plain || matches!(part.as_str(), "." | "..") {
            return false;
        }
        let own = hold.is_ours(&part);
        if !own && hold.is_anothers(&part) {
            return false;
        }
        ours |= own;
    }
    named && ours
}

/// Whether a word of the text is made like one of these accounts and is none of them: the beginning up to
/// the first digit is the same (`acct_7` and `acct_42`), or, where there is none, the digits, letters
/// and dashes stand alike (UUIDs, numbers of five digits and more). Of names that are mere words nothing
/// can be told.
pub(super) fn names_another(accounts: &[String], text: &str) -> bool {
    if accounts.is_empty() {
        return false;
    }
    let own: Vec<&str> = accounts.iter().flat_map(|account| words(account)).collect();
    words(text)
        .any(|word| !own.contains(&word) && own.iter().any(|account| are_alike(account, word)))
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | '-'))
        .filter(|word| !word.is_empty())
}

fn are_alike(account: &str, word: &str) -> bool {
    let beginning = match account.find(|c: char| c.is_ascii_digit()) {
        Some(digit) => &account[..digit],
        // `org-globex`: up to its last separator.
        None => account.rfind(['_', '-']).map_or("", |at| &account[..=at]),
    };
    let ends_in_letter = beginning.ends_with(|c: char| c.is_alphanumeric());
    if beginning.len() >= 2 && !is_hexadecimal(account) {
        let Some(start) = word.get(..beginning.len()) else { return false };
        let rest = &word[beginning.len()..];
        // `a1` does not make an account of every word that begins with an `a`.
        return start.eq_ignore_ascii_case(beginning)
            && !rest.is_empty()
            && (!ends_in_letter || rest.starts_with(|c: char| c.is_ascii_digit()));
    }
    let shape = |text: &str| -> String {
        text.chars()
            .map(|c| match c {
                '0'..='9' => '0',
                c if c.is_ascii_hexdigit() => 'a',
                c => c,
            })
            .collect()
    };
    if account.len() < 5 || account.len() != word.len() {
        return false;
    }
    match is_hexadecimal(account) && account.contains(|c: char| c.is_ascii_alphabetic()) {
        true => {
            is_hexadecimal(word)
                && account.match_indices('-').eq(word.match_indices('-'))
                && word.contains(|c: char| c.is_ascii_digit())
        }
        false => shape(account) == shape(word) && word.contains(|c: char| c.is_ascii_digit()),
    }
}

/// UUIDs and digests: their letters say nothing.
fn is_hexadecimal(text: &str) -> bool {
    text.len() >= 16 && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn knows_what_is_made_like_an_account() {
        let own = ["acct_42", "7d9f3a10-1c2b-4d5e-8f90-a1b2c3d4e5f6", "1234567", "org-acme"];
        let own: Vec<String> = own.map(str::to_owned).to_vec();
        for (text, another) in [
            ("acct_42", false),
            ("see acct_42, page 3 of 1234567", false),
            ("see acct_7.", true),
            ("ACCT_7", true),
            ("acct_43", true),
            ("acct_420", true),
            ("acct_", false),
            ("accounting", false),
            ("0d9f3a10-1c2b-4d5e-8f90-a1b2c3d4e5f6", true),
            ("7d9f3a10-1c2b-4d5e-8f90-a1b2c3d4e5f6", false),
            ("7654321", true),
            ("12", false),
            ("org-acme", false),
            ("org-globex", true),
            ("crm:acct_9/contacts", true),
            ("next_page_token", false),
            ("", false),
        ] {
            assert_eq!(names_another(&own, text), another, "{text}");
        }
        assert!(!names_another(&[], "acct_7"));
    }
}
