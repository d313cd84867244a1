//! What is one tenant's alone, and the search for it in what others got.

use super::caller::Heard;

/// What must never show up elsewhere.
#[derive(Debug)]
struct Canary {
    /// Whose.
    owner: String,
    /// What it is, for the report.
    what: &'static str,
    /// The bytes to look for.
    text: String,
}

/// All canaries of the demo.
#[derive(Debug, Default)]
pub(super) struct Canaries(Vec<Canary>);

/// Something of one tenant in what another got.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Leak {
    /// Whose it is.
    pub(super) owner: String,
    /// What it is.
    pub(super) what: &'static str,
    /// Who got it.
    pub(super) got: String,
    /// In which answer.
    pub(super) place: String,
}

impl Canaries {
    /// Adds one. Short texts would be found by chance, so they are no canaries.
    pub(super) fn add(&mut self, owner: &str, what: &'static str, text: &str) {
        if text.len() >= 8 && !self.0.iter().any(|known| known.text == text) {
            self.0.push(Canary { owner: owner.to_owned(), what, text: text.to_owned() });
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Looks through one answer, status line to last byte.
    pub(super) fn search(&self, heard: &Heard) -> Vec<Leak> {
        self.search_text(&heard.who, &heard.what, &heard.everything)
    }

    /// Looks through a text that `who` got, or that went out in its name.
    pub(super) fn search_text(&self, who: &str, place: &str, text: &str) -> Vec<Leak> {
        let foreign = self.0.iter().filter(|canary| canary.owner != who);
        foreign
            .filter(|canary| text.contains(&canary.text))
            .map(|canary| Leak {
                owner: canary.owner.clone(),
                what: canary.what,
                got: who.to_owned(),
                place: place.to_owned(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_canary_is_found_and_ones_own_is_not() {
        let mut canaries = Canaries::default();
        canaries.add("acme", "token", "acme-canary-1");
        canaries.add("acme", "too short", "abc");
        assert_eq!(canaries.len(), 1);
        assert!(canaries.search_text("acme", "a", "xx acme-canary-1").is_empty());
        let leaks = canaries.search_text("globex", "a", "xx acme-canary-1 abc");
        let expected =
            Leak { owner: "acme".into(), what: "token", got: "globex".into(), place: "a".into() };
        assert_eq!(leaks, [expected]);
    }
}
