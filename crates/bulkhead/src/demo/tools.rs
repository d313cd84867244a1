//! Tools: two tenants at one CRM that looks at nothing. Which account a call is for comes from the
//! credential, whose an answer is, is looked at, and a write is done once or waits for a person.

use anyhow::Result;
use serde_json::{Value, json};

use super::{
    asks,
    caller::{Ask, Heard},
    crm::Crm,
    refusals,
    stage::Stage,
    surfaces::Rows,
};

/// The upstream's name, and that of the system in which tenants have accounts.
pub(super) const CRM: &str = "crm";
/// An invoice of each: their ids are no secret.
const INVOICES: [(&str, &str); 2] = [("acme", "inv-1"), ("globex", "inv-2")];

/// A tenant's account in the CRM.
pub(super) fn account(tenant: &str) -> String {
    format!("acct-of-{tenant}")
}

/// The CRM, with an invoice of each tenant that holds a word of theirs.
pub(super) async fn start() -> Result<(Crm, Vec<(&'static str, String)>)> {
    let word = |tenant| format!("{tenant} owes {}", ids::RandomId::draw(&ids::OsEntropy));
    let words: Vec<_> = INVOICES.map(|(tenant, _)| (tenant, word(tenant))).into();
    let invoices = INVOICES.iter().zip(&words);
    let invoices =
        invoices.map(|((tenant, id), (_, word))| ((*id).to_owned(), account(tenant), word.clone()));
    Ok((Crm::start(invoices.collect()).await?, words))
}

/// `[tools]` of the demo.
pub(super) fn configuration(url: &str) -> String {
    let text = r#"type = "string""#;
    let bound = r#"bind = { "/account" = "account" }"#;
    format!(
        r#"
[[tools.upstreams]]
id = "{CRM}"
kind = "http"
url = "{url}"

[[tools.contracts]]
name = "list_invoices"
upstream = "{CRM}"
effect = "read"
request = {{ method = "GET", path = "/accounts/{{account}}/invoices" }}
parameters = {{ type = "object", properties = {{ account = {{ {text} }} }}, required = ["account"] }}
{bound}
owner = [{{ records = "$.invoices[*]", owner = "/account_id" }}]

[[tools.contracts]]
name = "get_invoice"
upstream = "{CRM}"
effect = "read"
request = {{ method = "GET", path = "/accounts/{{account}}/invoices/{{id}}" }}
parameters = {{ type = "object", properties = {{ account = {{ {text} }}, id = {{ {text} }} }}, required = ["account", "id"] }}
{bound}
owner = [{{ owner = "/account_id" }}]

[[tools.contracts]]
name = "refund"
upstream = "{CRM}"
effect = "destructive"
mode = "execute"
request = {{ method = "POST", path = "/accounts/{{account}}/refunds" }}
parameters = {{ type = "object", properties = {{ account = {{ {text} }}, amount = {{ type = "number" }} }}, required = ["account", "amount"] }}
{bound}
rules = [{{ argument = "/amount", required = true, min = 0.01, max = 500 }}]
owner = [{{ owner = "/account_id" }}]
approval = {{ amount = "/amount", above = 100 }}
"#
    )
}

/// Calls tools, as a model that follows whatever it reads.
pub(super) async fn run(stage: &Stage) -> Result<Rows> {
    let mut rows = Rows::default();
    reads(stage, &mut rows).await?;
    writes(stage, &mut rows).await?;
    refused(stage, &mut rows).await?;
    Ok(rows)
}

async fn call(stage: &Stage, who: &str, what: &str, tool: &str, arguments: Value) -> Result<Heard> {
    let credential = if who == "acme" { &stage.cast.acme } else { &stage.cast.globex };
    let params = json!({ "name": tool, "arguments": arguments });
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
    let ask = Ask::post(stage.data("/mcp")?, body.to_string())
        .bearer(credential)
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2025-11-25");
    stage.caller.ask(who, what, ask).await
}

async fn reads(stage: &Stage, rows: &mut Rows) -> Result<()> {
    for (tenant, id) in INVOICES {
        let what = "the tool \"list_invoices\"";
        let heard = call(stage, tenant, what, "list_invoices", json!({})).await?;
        let good = heard.everything.contains(id) && done(&heard);
        rows.asks.push(row(&heard, "its own; the account comes from the credential", good));
    }
    Ok(())
}

async fn writes(stage: &Stage, rows: &mut Rows) -> Result<()> {
    for note in ["done, with a receipt", "its receipt again; the upstream was asked once"] {
        let what = "the tool \"refund\", 20 €";
        let heard = call(stage, "acme", what, "refund", json!({ "amount": 20 })).await?;
        let good = heard.everything.contains("bulkhead/receipt") && done(&heard);
        rows.asks.push(row(&heard, note, good));
    }
    let refunded = stage.crm.refunded();
    if refunded != [account("acme")] {
        let wrong = Some(format!("the CRM was asked for {refunded:?}"));
        let what = "a refund is done once".to_owned();
        rows.refusals.push(refusals::Row { what, got: String::new(), wrong });
    }
    Ok(())
}

async fn refused(stage: &Stage, rows: &mut Rows) -> Result<()> {
    let of_globex = account("globex");
    for (what, tool, arguments, code) in [
        (
            "acme's model names globex's account to a tool",
            "list_invoices",
            json!({ "account": of_globex }),
            "tool.argument_bound",
        ),
        (
            "a tool answers acme with globex's invoice",
            "get_invoice",
            json!({ "id": INVOICES[1].1 }),
            "tool.no_record",
        ),
        (
            "acme's model pays back 700 €, where 500 are allowed",
            "refund",
            json!({ "amount": 700 }),
            "tool.argument_refused",
        ),
        (
            "…and 300 €, where a person has to agree",
            "refund",
            json!({ "amount": 300 }),
            "approval.required",
        ),
    ] {
        let heard = call(stage, "acme", what, tool, arguments).await?;
        let good = heard.everything.contains(code) && heard.everything.contains("\"isError\":true");
        let wrong = (!good).then(|| format!("got {}, expected {code}", heard.status));
        rows.refusals.push(refusals::Row { what: what.to_owned(), got: code.to_owned(), wrong });
    }
    Ok(())
}

/// Whether a tool did what it was asked.
fn done(heard: &Heard) -> bool {
    heard.status == 200 && !heard.everything.contains("\"isError\":true")
}

fn row(heard: &Heard, note: &str, good: bool) -> asks::Row {
    let took = heard.took.as_secs_f64() * 1_000.0;
    asks::Row {
        who: heard.who.clone(),
        what: heard.what.clone(),
        answered: "tool",
        cache: String::new(),
        note: format!("{took:.1} ms · {note}"),
        wrong: (!good).then(|| format!("{} {}", heard.status, heard.code)),
    }
}
