//! What a check costs, by what it walks over and looks up.

use super::*;
use crate::{owner::own::STEPS, upstream::Reply};

/// The steps of a check, and what came of it.
fn cost(content: &Content) -> (usize, Result<Content, String>) {
    STEPS.set(0);
    let held = of_one().hold(&facts(), &call(&json!({})), content, 2_000);
    (STEPS.get(), held.map_err(|foreign| foreign.why))
}

fn with(blocks: Vec<Value>, scalars: usize) -> Content {
    let own =
        json!({"account_id": "acct_42", "n": (1_000_000..1_000_000 + scalars).collect::<Vec<_>>()});
    mcp(&json!({"content": blocks, "structuredContent": own}))
}

fn said(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

#[test]
fn blocks_are_looked_up_and_not_compared_with_all_there_is() {
    const SCALARS: usize = 50_000;
    // Of each kind, with what is not there: nothing is found early.
    let link =
        json!({"type": "resource_link", "uri": "crm://acct_42/1", "name": "x1", "title": "x2"});
    let resource =
        json!({"type": "resource", "resource": {"uri": "crm://acct_42/1", "text": "x3"}});
    let record = json!({"account_id": "acct_42", "n": [1]}).to_string();
    for block in [said("x0"), said("1049999"), said(&record), link, resource] {
        let (alone, held) = cost(&with(vec![], SCALARS));
        held.unwrap();
        let (steps, held) = cost(&with(vec![block.clone(); 1_000], SCALARS));
        held.unwrap();
        assert!(alone < 10 * SCALARS, "{alone}");
        assert!(steps < alone + 1_000 * 100, "{steps} {alone} {block}");
    }
}

#[test]
fn there_are_so_many_blocks_and_values_at_most() {
    for (blocks, fine) in [(1_000, true), (1_001, false), (20_000, false)] {
        let (steps, held) = cost(&with(vec![said("done"); blocks], 1));
        assert_eq!(held.is_ok(), fine, "{blocks}");
        assert!(fine || steps == 0, "{steps}");
    }
    // Texts share what may be looked at, wherever they stand.
    let list = format!("[{}1]", "1,".repeat(90_000));
    let text = json!({"account_id": "acct_42", "n": 1, "raw": list}).to_string();
    hold(&of_one(), &texts(&[text.as_str(); 4])).unwrap();
    assert!(hold(&of_one(), &texts(&[text.as_str(); 5])).is_err());
    let text = format!(r#"{{"account_id":"acct_42","n":{list}}}"#);
    hold(&of_one(), &texts(&[text.as_str(); 4])).unwrap();
    assert!(hold(&of_one(), &texts(&[text.as_str(); 5])).is_err());
}

/// What the call said is gathered once, however many rows there are of which none is ours.
#[test]
fn rows_are_held_one_by_one_and_the_call_is_read_once() {
    const ROWS: usize = 2_000;
    let owners = owners(&json!([{"records": "$[*]", "owner": "/account_id"}]));
    let call = call(&json!({"tags": vec!["x"; 5_000]}));
    let row = |account: &str| parsed(&json!({"account_id": account, "tag": "x"}));
    let of = |rows: Vec<Json>| {
        STEPS.set(0);
        (owners.own_rows(&facts(), &call, &rows, ROWS), STEPS.get())
    };
    let (own, steps) = of(vec![row("acct_7"); ROWS]);
    assert!(own.is_empty() && steps < 5_000 + 20 * ROWS, "{steps}");
    let (own, _) = of(vec![row("acct_7"), row("acct_42"), row("acct_7"), row("acct_43")]);
    assert_eq!(own, [row("acct_42"), row("acct_43")]);
}

#[test]
fn lists_in_lists_are_walked_over_as_often_as_others() {
    let deep = |depth: usize| {
        let list = (0..depth).fold(json!(vec![0; 10_000]), |inner, _| json!([inner]));
        http(200, &json!({"more": list, "items": [{"account_id": "acct_42"}]}).to_string())
    };
    let of = |depth: usize| {
        STEPS.set(0);
        let _ = hold(&of_items(), &deep(depth));
        STEPS.get()
    };
    assert!(of(40) < of(1) + 1_000, "{} {}", of(40), of(1));
}

#[test]
fn json_in_strings_is_looked_into_a_few_times() {
    // Quoted so that each level adds little: by doubling, it would be as long as the answer soon.
    let quoted = |text: &str| {
        let inner: String = text
            .chars()
            .map(|c| match c {
                '"' => "\\u0022".to_owned(),
                '\\' => "\\u005c".to_owned(),
                c => c.to_string(),
            })
            .collect();
        format!("[\"{inner}\"]")
    };
    let secret = vault::Forms::of("hunter2-hunter2");
    let nested = |levels: usize| (0..levels).fold("[1]".to_owned(), |text, _| quoted(&text));
    assert!(silent(&Reply::of(texts(&[&nested(3)])), &secret).is_ok());
    for levels in [4, 5, 40] {
        let text = nested(levels);
        assert!(silent(&Reply::of(texts(&[&text])), &secret).is_err() == (levels > 3), "{levels}");
        let record = json!({"account_id": "acct_42", "raw": text}).to_string();
        assert!(hold(&of_one(), &texts(&[&record])).is_err(), "{levels}");
    }
}
