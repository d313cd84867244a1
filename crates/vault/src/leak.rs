//! A secret in what somebody else says. An answer that repeats it is not handed on.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use memchr::memmem;
use zeroize::Zeroizing;

/// Of a shorter secret the forms are not looked for: they would be found in honest answers.
const LEAST: usize = 8;

/// The forms of a secret, or of several: as it is, escaped as in JSON and in URLs, and within
/// base64.
pub struct Forms(Vec<Zeroizing<Vec<u8>>>);

impl Forms {
    /// Of a secret; of what follows the scheme, if it has one.
    #[must_use]
    pub fn of(secret: &str) -> Self {
        Self::of_all([secret])
    }

    /// Of several secrets that go together, such as a password and the header that it is sent in.
    #[must_use]
    pub fn of_all<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let mut forms = Self(Vec::with_capacity(4));
        for secret in secrets {
            forms.add_all(secret.rsplit(' ').next().unwrap_or_default());
        }
        forms
    }

    fn add_all(&mut self, token: &str) {
        if token.len() < LEAST {
            return;
        }
        let forms = self;
        forms.add(token.as_bytes().to_vec());
        let escaped = |escape: &dyn Fn(u8) -> Option<String>| {
            let mut out = Vec::with_capacity(3 * token.len());
            for byte in token.bytes() {
                match escape(byte) {
                    Some(escape) => out.extend_from_slice(escape.as_bytes()),
                    None => out.push(byte),
                }
            }
            out
        };
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
        forms.add(escaped(&|b| (!plain(b)).then(|| format!("%{b:02X}"))));
        forms.add(escaped(&|b| (!plain(b)).then(|| format!("%{b:02x}"))));
        for special in ["\"\\", "\"\\/"] {
            let special = special.as_bytes();
            forms.add(escaped(&|b| special.contains(&b).then(|| format!("\\{}", char::from(b)))));
        }
        // Whatever stands before it, one of three alignments shows these groups.
        for skip in 0..3 {
            let rest = &token.as_bytes()[skip..];
            let groups = &rest[..rest.len() / 3 * 3];
            forms.add(STANDARD_NO_PAD.encode(groups).into_bytes());
            forms.add(URL_SAFE_NO_PAD.encode(groups).into_bytes());
        }
    }

    fn add(&mut self, form: Vec<u8>) {
        let form = Zeroizing::new(form);
        if !self.0.contains(&form) {
            self.0.push(form);
        }
    }

    /// Each of them.
    pub fn each(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(|form| form.as_slice())
    }

    /// Whether one of them is in there.
    #[must_use]
    pub fn found_in(&self, bytes: &[u8]) -> bool {
        self.each().any(|form| memmem::find(bytes, form).is_some())
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn every_form_is_found() {
        let secret = "sk-a/b+c\"d~0123456789";
        let forms = Forms::of(secret);
        let said = |text: &str| forms.found_in(text.as_bytes());
        for text in [
            format!("Bearer {secret}"),
            serde_json::json!({ "key": secret }).to_string(),
            r#"{"key":"sk-a\/b+c\"d~0123456789"}"#.to_owned(),
            "key=sk-a%2Fb%2Bc%22d~0123456789&".to_owned(),
            "key=sk-a%2fb%2bc%22d~0123456789&".to_owned(),
        ] {
            assert!(said(&text), "{text}");
        }
        for before in ["", "u", "us", "user:", "Bearer "] {
            for after in ["", "!", "!!"] {
                let text = format!("{before}{secret}{after}");
                assert!(said(&STANDARD.encode(&text)), "{text}");
                assert!(said(&URL_SAFE_NO_PAD.encode(&text)), "{text}");
            }
        }
        for text in ["", "sk-a", "sk-a/b+c", "an honest answer", "0123456789"] {
            assert!(!said(text), "{text}");
        }
    }

    #[test]
    fn of_several_each_is_found() {
        let forms = Forms::of_all(["first-secret", "Basic c2Vjb25kOnNlY3JldA==", "short"]);
        for said in ["it is first-secret", "c2Vjb25kOnNlY3JldA==", "it+is%20first-secret"] {
            assert!(forms.found_in(said.as_bytes()), "{said}");
        }
        for said in ["short", "Basic", "second:secret", "first", ""] {
            assert!(!forms.found_in(said.as_bytes()), "{said}");
        }
        assert_eq!(Forms::of_all([]).each().count(), 0);
    }

    #[test]
    fn a_scheme_is_no_part_of_it_and_short_ones_are_not_looked_for() {
        assert!(Forms::of("Basic dXNlcjpwYXNz").found_in(b"it was dXNlcjpwYXNz"));
        assert!(!Forms::of("Basic dXNlcjpwYXNz").found_in(b"Basic"));
        assert!(!Forms::of("abc").found_in(b"abc"));
        // Letters alone have one form in URLs, in JSON, and in either alphabet.
        assert_eq!(Forms::of("sk-abcdefgh").each().count(), 4);
    }
}
