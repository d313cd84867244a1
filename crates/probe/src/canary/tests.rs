use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose as engines};
use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::wire::Answer;

fn exchange(said: &str, body: &[u8]) -> Exchange {
    Exchange {
        who: "b".into(),
        line: "GET http://127.0.0.1/".into(),
        headers: Vec::new(),
        body: Some(Bytes::copy_from_slice(said.as_bytes())),
        outcome: Ok(Answer {
            status: 200,
            body: Bytes::copy_from_slice(body),
            ..Answer::default()
        }),
    }
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

fn sse(pieces: &[&str]) -> String {
    let event = |piece: &&str| {
        let value = serde_json::json!({ "id": "chatcmpl-1", "choices": [{ "delta": { "content": piece } }] });
        format!("data: {value}\n\n")
    };
    pieces.iter().map(event).chain(["data: [DONE]\n\n".into()]).collect()
}

/// Every spelling, by name, of a text between two others.
fn spellings(text: &str, before: &str, after: &str) -> Vec<(&'static str, String)> {
    let all = format!("{before}{text}{after}");
    let pieces: Vec<&str> =
        text.as_bytes().chunks(5).map(|chunk| std::str::from_utf8(chunk).unwrap()).collect();
    let each = |how: fn(char) -> String| text.chars().map(how).collect::<String>();
    vec![
        ("plain", all.clone()),
        ("upper case", all.to_uppercase()),
        ("hexadecimal", format!("x{}x", ids::text::hex(all.as_bytes()))),
        ("base64", engines::STANDARD.encode(&all)),
        ("base64, for addresses", engines::URL_SAFE_NO_PAD.encode(&all)),
        ("base64, escaped", percent(&engines::STANDARD.encode(&all))),
        ("percent", percent(text)),
        ("percent twice", percent(&percent(text))),
        ("\\u", each(|c| format!("\\u{:04x}", u32::from(c)))),
        ("\\u{}", each(|c| format!("\\u{{{:x}}}", u32::from(c)))),
        ("\\x", each(|c| format!("\\x{:02x}", u32::from(c)))),
        ("entities", each(|c| format!("&#{};", u32::from(c)))),
        ("hexadecimal entities", each(|c| format!("&#x{:x};", u32::from(c)))),
        ("reversed", text.chars().rev().collect()),
        ("dashes", pieces.join("-")),
        ("a list", serde_json::json!(pieces).to_string()),
        ("UTF-16", each(|c| format!("{c}\0"))),
        (
            "lines of base64",
            engines::STANDARD
                .encode(text)
                .as_bytes()
                .chunks(16)
                .map(|chunk| format!("{}\r\n", std::str::from_utf8(chunk).unwrap()))
                .collect(),
        ),
        ("a stream", sse(&pieces)),
        ("fields", serde_json::json!({ "a": &text[..20], "b": { "c": &text[20..] } }).to_string()),
        ("first half", text[12..28].to_owned()),
        ("second half", text[28..].to_owned()),
        ("cut short", text[..19].to_owned()),
        ("a cut half in base64", engines::STANDARD.encode(&text[12..28])),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_spelling_is_found(before in "[ -~]{0,7}", after in "[ -~]{0,7}") {
        let canaries = Canaries::new("run".into());
        let (canary, other) = (canaries.draw(Side::A, "docs"), canaries.never_planted(Side::A));
        for (name, text) in spellings(&canary.text, &before, &after) {
            let exchange = exchange("", text.as_bytes());
            let seen = canaries.hunt(&exchange);
            prop_assert_eq!(seen.len(), 1, "{}: {}", name, text);
            prop_assert_eq!(&seen[0].canary, &canary, "{}", name);
            prop_assert_eq!(canary.seen_in(&exchange), Some(seen[0].clone()), "{}", name);
            prop_assert_eq!(other.seen_in(&exchange), None, "{}", name);
        }
    }

    #[test]
    fn nothing_is_found_in_what_holds_nothing(noise: Vec<u8>, text in ".{0,400}", hex in "[0-9a-f]{0,400}") {
        let canaries = Canaries::new("run".into());
        for _ in 0..50 {
            canaries.draw(Side::A, "docs");
        }
        // Another run's canary, and one of which too little is left.
        let foreign = Canaries::new("another".into()).draw(Side::A, "docs").text;
        let scrap = &canaries.draw(Side::A, "docs").text[..18];
        for bytes in [&noise[..], text.as_bytes(), hex.as_bytes(), foreign.as_bytes(), scrap.as_bytes()] {
            prop_assert_eq!(canaries.hunt(&exchange("", bytes)), vec![]);
        }
    }

    #[test]
    fn what_was_said_is_no_sighting(before in "[ -~]{0,7}", after in "[ -~]{0,7}") {
        let canaries = Canaries::new("run".into());
        let canary = canaries.draw(Side::A, "docs");
        let spelled = spellings(&canary.text, &before, &after);
        for ((said, request), (_, answer)) in spelled.iter().zip(spelled.iter().rev()) {
            let mut echo = exchange(request, answer.as_bytes());
            prop_assert_eq!(canaries.hunt(&echo), vec![], "{}", said);
            // In the address, or in a header.
            let body = echo.body.take().unwrap();
            echo.headers.push(("x-q".into(), String::from_utf8_lossy(&body).into_owned()));
            prop_assert_eq!(canaries.hunt(&echo), vec![], "{}", said);
        }
    }
}

#[test]
fn it_is_said_where_and_how() {
    let canaries = Canaries::new("run".into());
    let canary = canaries.draw(Side::A, "docs");
    let told = |exchange: &Exchange| canaries.hunt(exchange).pop().unwrap();
    let text = &canary.text;
    let seen = told(&exchange("", format!("{{\"text\":\"{text}\"}}").as_bytes()));
    assert_eq!(seen.place, "in the body");
    assert_eq!(seen.excerpt, format!("{{\"text\":\"{text}\"}}"));
    let mut headers = exchange("", b"");
    headers.outcome.as_mut().unwrap().headers = vec![
        ("content-type".into(), "text/plain".into()),
        ("x-cache-key".into(), engines::STANDARD.encode(format!("k:{text}"))),
    ];
    assert_eq!(told(&headers).place, "in header x-cache-key, base64");
    let mut status = exchange("", b"");
    status.outcome.as_mut().unwrap().reason = text.clone();
    assert_eq!(told(&status).place, "in the status line");
    let stream = exchange("", sse(&[&text[..15], &text[15..35], &text[35..]]).as_bytes());
    assert_eq!(told(&stream).place, "in the body, in pieces");
    // What stands around is cut.
    let long = format!("{}{text}{}", "secret ".repeat(20), " private".repeat(20));
    assert!(told(&exchange("", long.as_bytes())).excerpt.len() < 100);
    assert!(canary.seen_in(&Exchange { outcome: Err("hung up".into()), ..headers }).is_none());
}

#[test]
fn canaries_differ_and_are_plain() {
    let canaries = Arc::new(Canaries::new("run".into()));
    let drawn: BTreeSet<String> = (0..1_000).map(|_| canaries.draw(Side::B, "").text).collect();
    assert_eq!(drawn.len(), 1_000);
    for text in drawn {
        assert!(text.starts_with(&format!("{}b", canaries.tag())) && text.len() == 44);
        assert!(text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()));
    }
}
