//! The steps of a proof, as one would type them. Credentials are names of variables.

use probe::{Proof, Step};

use crate::print::{Ink, Printer, tame};

/// So much of a body is shown.
const BODY: usize = 600;

/// All steps, in their order.
pub(super) fn lines(proof: &Proof, out: Printer) -> Vec<String> {
    let each = proof.steps.iter().enumerate().flat_map(|(at, step)| one(at + 1, step, out));
    each.collect()
}

fn one(number: usize, step: &Step, out: Printer) -> Vec<String> {
    let mut lines = vec![
        out.ink(Ink::Dim, &format!("{number}. as {}", tame(&step.who))).into_owned(),
        format!("   {}", command(step)),
        format!("   → {}", tame(&step.outcome)),
    ];
    if let Some(excerpt) = &step.excerpt {
        lines.push(out.ink(Ink::Red, &format!("   ← {}", tame(excerpt))).into_owned());
    }
    lines
}

/// A request as curl has it; what is no request over HTTP as it is.
fn command(step: &Step) -> String {
    let Some((method, url)) = step.line.split_once(' ').filter(|(_, url)| url.contains("://"))
    else {
        return tame(&step.line);
    };
    let mut parts = vec!["curl -sS -i".to_owned()];
    if method != "GET" {
        parts.push(format!("-X {}", tame(method)));
    }
    parts.push(shell(url));
    let presented = step.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization"));
    if let (false, Some(variable)) = (presented, variable(&step.who)) {
        parts.push(format!("-H \"authorization: Bearer ${variable}\""));
    }
    for (name, value) in &step.headers {
        parts.push(header(name, value));
    }
    if let Some(body) = step.body.as_deref().filter(|body| !body.is_empty()) {
        parts.push(format!("-d {}", shell(&cut(body))));
    }
    parts.join(" ")
}

/// Where the credential of who asks is to be put; nobody has none.
fn variable(who: &str) -> Option<&'static str> {
    match who.split([' ', ',']).next() {
        Some("a") => Some("A_TOKEN"),
        Some("b") => Some("B_TOKEN"),
        _ => None,
    }
}

/// A header for a shell. What is in it may be of the target's making (a cookie, the id of a
/// session), so that a shell is to read none of it: it is all in single quotes. Only where the
/// whole value is a stand-in as the prober writes it, a variable is put there.
fn header(name: &str, value: &str) -> String {
    let (scheme, rest) = match value.strip_prefix("Bearer ") {
        Some(rest) => ("Bearer ", rest),
        None => ("", value),
    };
    match stand_in(rest) {
        Some(live) => format!("-H {}{live}", shell(&format!("{name}: {scheme}"))),
        None => format!("-H {}", shell(&format!("{name}: {value}"))),
    }
}

/// What a shell makes a credential of, if the whole text is one of the prober's stand-ins: `$A`,
/// `$OPERATOR`, `${A_TOKEN:0:20}`, also with B's rest or other letters after it.
fn stand_in(text: &str) -> Option<String> {
    const WHOLE: [(&str, &str); 7] = [
        ("$A", "A_TOKEN"),
        ("$B", "B_TOKEN"),
        ("$A_TOKEN", "A_TOKEN"),
        ("$B_TOKEN", "B_TOKEN"),
        ("$A_EXPIRED", "A_EXPIRED"),
        ("$B_EXPIRED", "B_EXPIRED"),
        ("$OPERATOR", "OPERATOR"),
    ];
    if let Some((_, variable)) = WHOLE.iter().find(|(stands, _)| *stands == text) {
        return Some(format!("\"${variable}\""));
    }
    let (mut live, mut rest) = part(text)?;
    if let Some((more, after)) = part(rest) {
        live.push_str(&more);
        rest = after;
    }
    // What follows is no more than letters of another credential: it is quoted all the same.
    if !rest.is_empty() {
        live.push_str(&shell(rest));
    }
    Some(live)
}

/// A part of a credential at the beginning of a text, and what follows it: `${A_TOKEN}`,
/// `${A_TOKEN:8}`, `${A_TOKEN:0:8}`. It is written anew, of nothing but digits.
fn part(text: &str) -> Option<(String, &str)> {
    let (inside, rest) = text.strip_prefix("${")?.split_once('}')?;
    let mut pieces = inside.split(':');
    let variable = pieces.next().filter(|name| ["A_TOKEN", "B_TOKEN"].contains(name))?;
    let mut live = format!("\"${{{variable}");
    for (number, piece) in pieces.enumerate() {
        let digits = !piece.is_empty() && piece.bytes().all(|byte| byte.is_ascii_digit());
        if number > 1 || !digits {
            return None;
        }
        live.push(':');
        live.push_str(piece);
    }
    live.push_str("}\"");
    Some((live, rest))
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(BODY) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// For a shell, in single quotes.
fn shell(text: &str) -> String {
    format!("'{}'", tame(text).replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(who: &str, line: &str, headers: &[(&str, &str)], body: Option<&str>) -> Step {
        let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        Step {
            who: who.into(),
            line: line.into(),
            headers: headers.collect(),
            body: body.map(Into::into),
            outcome: "200 in 1.0 ms".into(),
            excerpt: Some("bhca\u{1b}[2J".into()),
        }
    }

    #[test]
    fn a_step_is_what_one_would_type() {
        let post = step(
            "b",
            "POST http://x/v1/chat",
            &[("content-type", "application/json")],
            Some("{\"q\":\"it's\"}"),
        );
        assert_eq!(
            command(&post),
            "curl -sS -i -X POST 'http://x/v1/chat' -H \"authorization: Bearer $B_TOKEN\" \
             -H 'content-type: application/json' -d '{\"q\":\"it'\\''s\"}'"
        );
        let nobody = step("nobody", "GET http://x/", &[], None);
        assert_eq!(command(&nobody), "curl -sS -i 'http://x/'");
        let named = step("a", "GET http://x/", &[("authorization", "Bearer $B")], None);
        assert_eq!(
            command(&named),
            "curl -sS -i 'http://x/' -H 'authorization: Bearer '\"$B_TOKEN\""
        );
        assert_eq!(command(&step("b", "GET cache:acme:1", &[], None)), "GET cache:acme:1");
    }

    #[test]
    fn only_the_probers_own_stand_ins_are_live_in_a_shell() {
        let live = [
            ("$A", "-H 'h: '\"$A_TOKEN\""),
            ("Bearer $OPERATOR", "-H 'h: Bearer '\"$OPERATOR\""),
            ("Bearer ${A_TOKEN:0:20}", "-H 'h: Bearer '\"${A_TOKEN:0:20}\""),
            ("${A_TOKEN:0:8}${B_TOKEN:8}", "-H 'h: '\"${A_TOKEN:0:8}\"\"${B_TOKEN:8}\""),
            ("${A_TOKEN}x", "-H 'h: '\"${A_TOKEN}\"'x'"),
            ("${A_TOKEN:0:8}$(id)", "-H 'h: '\"${A_TOKEN:0:8}\"'$(id)'"),
            ("${A_TOKEN:0:8}'$(id)", "-H 'h: '\"${A_TOKEN:0:8}\"''\\''$(id)'"),
        ];
        for (value, printed) in live {
            assert_eq!(header("h", value), printed);
        }
        let dead = [
            "sid=$(id)$A",
            "$(id) $A_TOKEN",
            "`id` ${A_TOKEN:0:8}",
            "Basic base64($A)",
            "${A_TOKEN:$(id)}",
            "${A_TOKEN:0:8:9}",
            "${A_TOKEN:-$(id)}",
            "${A_TOKEN",
            "$A\"; id; \"",
        ];
        for value in dead {
            assert_eq!(header("h", value), format!("-H 'h: {value}'"));
        }
        assert_eq!(header("h", "it's $A"), "-H 'h: it'\\''s $A'");
    }

    #[test]
    fn nothing_in_an_answer_steers_a_terminal() {
        let proof = Proof { number: 1, steps: vec![step("b", "GET http://x/", &[], None)] };
        assert!(lines(&proof, Printer::plain()).iter().all(|line| !line.contains('\u{1b}')));
    }
}
