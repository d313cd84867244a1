//! What may stand beside the empty list, and numbers where owners stand.

use super::*;

fn beside(around: &Value) -> Value {
    let mut answer = around.clone();
    answer["items"] = json!([]);
    answer
}

#[test]
fn nobody_s_record_stands_beside_the_empty_list() {
    for around in [
        json!({"selected": {"name": "Bob", "customer": 7_654_321}}),
        json!({"selected": {"customer": 7_654_321}}),
        json!({"selected": {"customer": {"id": 7}}}),
        json!({"selected": {"userId": 7}}),
        json!({"selected": {"name": CANARY}}),
        json!({"selected": {"first_name": CANARY, "page_title": CANARY}}),
        json!({"selected": json!({"name": CANARY}).to_string()}),
        json!({"customers": [7_654_321]}),
        json!({"customer": "321"}),
        json!({"customer": 7_654_321}),
        json!({"names": [CANARY]}),
        json!({"message": format!("did you mean {CANARY}?")}),
        json!({"next": "a cursor with words"}),
        json!({"next": "bob@globex.example"}),
    ] {
        let answer = beside(&around);
        for content in
            [structured(&answer), texts(&[&answer.to_string()]), http(200, &answer.to_string())]
        {
            assert!(hold(&of_items(), &content).is_err(), "{answer}");
        }
        if let Ok(held) = hold(&of_items(), &failed(structured(&answer))) {
            assert!(!handed(&held).contains(CANARY), "{answer}");
        }
    }
}

#[test]
fn ordinary_words_stand_beside_the_empty_list() {
    for around in [
        json!({"total": 0, "count": 7_654_321, "has_more": false, "status": "ok", "next": null}),
        json!({"page": {"size": 10_000, "number": 1, "next_cursor": "c2VjcmV0"}}),
        json!({"next": "/contacts?page=2", "_links": {"self": {"href": "/contacts?a=acct_42"}}}),
        json!({"nextPageToken": "", "message": "no records found", "etag": "W/1234"}),
        json!({"account": "acct_42", "tenant": "acme", "user": "ada", "query": "contacts"}),
        json!({"users": 0, "user_count": 12_345, "columns": ["name", "id"]}),
    ] {
        let answer = beside(&around);
        hold(&of_items(), &structured(&answer)).unwrap();
        hold(&of_items(), &http(200, &answer.to_string())).unwrap();
    }
}

#[test]
fn a_number_where_an_owner_stands_is_held_like_a_text() {
    let facts = Facts { accounts: vec!["1234567".to_owned()], ..facts() };
    let held = |around: &Value, items: &Value| {
        let mut answer = around.clone();
        answer["items"] = items.clone();
        of_items().hold(&facts, &call(&json!({})), &structured(&answer), 10).is_ok()
    };
    for (around, fine) in [
        (json!({"customer": 7_654_321}), false),
        (json!({"selected": {"customerId": 7_654_321}}), false),
        (json!({"selected": {"customer": {"id": 7_654_321}}}), false),
        (json!({"customers": [1_234_567, 7_654_321]}), false),
        (json!({"account_id": 7_654_321}), false),
        (json!({"customer": 1_234_567}), true),
        (json!({"customers": [1_234_567]}), true),
        (json!({"total": 7_654_321, "customer_count": 7_654_321}), true),
    ] {
        for items in [json!([]), json!([{"account_id": 1_234_567, "user_id": 7_654_321}])] {
            assert_eq!(held(&around, &items), fine, "{around} {items}");
        }
    }
}
