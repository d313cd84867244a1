//! Credentials that are not quite another's.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{Heard, Left, forged, nonsense, owner, refused, secret};
use crate::{
    canary::Side,
    lab::Lab,
    place::Twist,
    verdict::{Halt, Trial},
};

/// Where a token is cut: what people look keys up by, what LiteLLM kept (CVE-2026-35030), what
/// bcrypt reads.
const KEPT: &[usize] = &[8, 20, 32, 64, 72];

/// A credential that is made of a true one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Altered {
    /// In words.
    how: String,
    text: String,
    /// How it is made, for a proof.
    shown: String,
    /// Has something of B's, too.
    mixed: bool,
}

pub(super) async fn check(left: &mut Left<'_>, trial: &mut Trial) -> Result<(), Halt> {
    let (a, b) = (left.plant(Side::A).await?, left.plant(Side::B).await?);
    let Some(own) = owner(left, trial, Side::A, &a).await? else { return Ok(()) };
    let Some(other) = owner(left, trial, Side::B, &b).await? else { return Ok(()) };
    if !nonsense(left, trial, &a).await? {
        return Ok(());
    }
    let lab = left.lab;
    let all = altered(lab, secret(lab, Side::A), secret(lab, Side::B));
    let (mut asked, mut hollow) = (0, 0);
    for Altered { how, text, shown, mixed } in &all {
        // Right after the true one, which a cache of decisions has seen then.
        let what = format!("served A with {how}");
        let by = forged(lab, Side::A, how, text, Some(shown));
        let heard = refused(left, trial, (&by, &Twist::none()), (&a, &own), &what).await?;
        hollow += usize::from(heard == Heard::Hollow);
        asked += 1;
        if *mixed {
            let what = format!("served B with {how}");
            let by = forged(lab, Side::B, how, text, Some(shown));
            refused(left, trial, (&by, &Twist::none()), (&b, &other), &what).await?;
            asked += 1;
        }
    }
    owner(left, trial, Side::A, &a).await?;
    owner(left, trial, Side::B, &b).await?;
    trial.summary(match hollow {
        0 => format!("{asked} of {asked} refused"),
        _ => format!("{asked} got nothing, {hollow} of them answered"),
    });
    Ok(())
}

/// Every alteration of A's credential that makes another one.
fn altered(lab: &Lab, a: &str, b: &str) -> Vec<Altered> {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let text = |part: &[char]| part.iter().collect::<String>();
    let mut all: Vec<Altered> = Vec::new();
    let mut add = |how: String, text: String, shown: String, mixed: bool| {
        all.push(Altered { how, text, shown, mixed });
    };
    let (length, half) = (a.len(), a.len() / 2);
    for kept in [8, 20, half, length.saturating_sub(1)] {
        let head = text(&a[..kept.min(length)]);
        add(format!("its first {kept} characters"), head, format!("${{A_TOKEN:0:{kept}}}"), false);
    }
    for kept in KEPT.iter().copied().chain([half, length.saturating_sub(6)]) {
        let (head, tail) = a.split_at(kept.min(length));
        let tail: String = tail.iter().map(|letter| another(lab, *letter)).collect();
        let (how, shown) =
            (format!("its first {kept}, then others"), format!("${{A_TOKEN:0:{kept}}}{tail}"));
        add(how, format!("{}{tail}", text(head)), shown, false);
    }
    add("one character more".into(), format!("{}x", text(&a)), "${A_TOKEN}x".into(), false);
    let swapped = a.iter().map(|letter| match letter.is_ascii_lowercase() {
        true => letter.to_ascii_uppercase(),
        false => letter.to_ascii_lowercase(),
    });
    add("upper and lower case changed".into(), swapped.collect(), "swapcase($A)".into(), false);
    let signature = a.iter().rposition(|letter| *letter == '.');
    let other_signature = b.iter().rposition(|letter| *letter == '.');
    let mixes = [8, 20, half].into_iter().map(|kept| (kept, kept));
    for (kept, from) in mixes.chain(signature.zip(other_signature)) {
        let (head, tail) = (&a[..kept.min(length)], &b[from.min(b.len())..]);
        let shown = format!("${{A_TOKEN:0:{kept}}}${{B_TOKEN:{from}}}");
        add(format!("its first {kept}, then B's"), text(head) + &text(tail), shown, true);
    }
    if let Some(unsigned) = signature.and_then(|at| unsigned(&text(&a[..at]))) {
        add("its claims, unsigned".into(), unsigned, "unsigned($A)".into(), false);
    }
    let (a, b) = (text(&a), text(&b));
    let mut seen = std::collections::BTreeSet::from([a, b, String::new()]);
    all.retain(|altered| seen.insert(altered.text.clone()));
    all
}

/// A JWT with the algorithm `none` (RFC 8725, 2.1), of header and claims.
fn unsigned(signed: &str) -> Option<String> {
    let (header, claims) = signed.split_once('.')?;
    let header = URL_SAFE_NO_PAD.decode(header).ok()?;
    let mut header: serde_json::Value = serde_json::from_slice(&header).ok()?;
    *header.get_mut("alg")? = "none".into();
    Some(format!("{}.{claims}.", URL_SAFE_NO_PAD.encode(header.to_string())))
}

/// Another character of the same kind, so that the make of a token stays.
fn another(lab: &Lab, letter: char) -> char {
    let among = |letters: &str| {
        let others: Vec<char> = letters.chars().filter(|other| *other != letter).collect();
        others.get(lab.below(others.len())).copied().unwrap_or(letter)
    };
    match letter {
        '0'..='9' => among("0123456789"),
        'a'..='f' => among("abcdef"),
        'g'..='z' => among("ghijklmnopqrstuvwxyz"),
        'A'..='F' => among("ABCDEF"),
        'G'..='Z' => among("GHIJKLMNOPQRSTUVWXYZ"),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Arc};

    use super::*;
    use crate::{Options, Plan, budget::Budget, canary::Canaries, target::Limits};

    #[tokio::test]
    async fn every_alteration_is_another_credential() {
        let jwt = |claims: &str, signature: &str| {
            let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
            format!("{}.{}.{signature}", part(r#"{"alg":"HS256"}"#), part(claims))
        };
        let (a, b) = (jwt(r#"{"sub":"a"}"#, "c2lnLWE"), jwt(r#"{"sub":"b"}"#, "c2lnLWI"));
        for (a, b, least) in
            [(a.as_str(), b.as_str(), 12), ("0123456789abcdef", "x", 7), ("pw", "qw", 4)]
        {
            let file = format!(
                "[tenant.a]\ntoken = \"{a}\"\n[tenant.b]\ntoken = \"{b}\"\n\
                 [target.t]\nkind = \"http\"\nurl = \"http://127.0.0.1\"\n"
            );
            let plan = Plan::parse("t.toml", &file).unwrap();
            let target = Arc::clone(&plan.targets[0]);
            let callers = plan.callers(&target).await.unwrap();
            let budget = Arc::new(Budget::new(Limits::default()));
            let canaries = Arc::new(Canaries::new("run".into()));
            let lab = Lab::new(target, budget, canaries, Arc::new(Options::default()), callers);
            let all = altered(&lab, a, b);
            let texts: BTreeSet<&str> = all.iter().map(|altered| altered.text.as_str()).collect();
            assert_eq!(texts.len(), all.len());
            assert!(!texts.contains(a) && !texts.contains(b) && !texts.contains(""), "{texts:?}");
            assert!(all.len() >= least, "{all:#?}");
            if a.contains('.') {
                let unsigned = all.iter().find(|altered| altered.how.contains("unsigned")).unwrap();
                let header = URL_SAFE_NO_PAD.decode(unsigned.text.split('.').next().unwrap());
                assert_eq!(header.unwrap(), br#"{"alg":"none"}"#);
                assert!(unsigned.text.ends_with('.'), "{}", unsigned.text);
                // Its claims with the other one's signature.
                let claims = a.rsplit_once('.').unwrap().0;
                assert!(texts.contains(format!("{claims}.c2lnLWI").as_str()));
            }
        }
    }
}
