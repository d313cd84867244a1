//! What must be refused, and with which code.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{
    caller::{Ask, Heard, chat},
    stage::Stage,
};

/// How long a revoked stream is watched.
const PATIENCE: Duration = Duration::from_secs(3);

/// One line of the table.
#[derive(Debug)]
pub(super) struct Row {
    /// What was tried.
    pub(super) what: String,
    /// What came of it: the code, or the status where there is none.
    pub(super) got: String,
    /// What is wrong with it, if anything.
    pub(super) wrong: Option<String>,
}

/// Something that must be refused.
struct Try {
    who: &'static str,
    what: &'static str,
    ask: Ask,
    status: u16,
    code: &'static str,
}

/// Tries everything, and says how it went.
pub(super) async fn run(stage: &mut Stage) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for Try { who, what, ask, status, code } in tries(stage)? {
        let heard = stage.caller.ask(who, what, ask).await?;
        rows.push(judge(what.to_owned(), &heard, status, code));
    }
    rows.push(revoked(stage).await?);
    rows.extend(in_flight(stage).await?);
    rows.push(suspended(stage).await?);
    rows.push(expired(stage).await?);
    Ok(rows)
}

/// Whether something was refused as it should be.
pub(super) fn judge(what: String, heard: &Heard, status: u16, code: &str) -> Row {
    let good = heard.status == status && (code.is_empty() || heard.code == code);
    let got = match heard.code.as_str() {
        "not_found" if heard.status == 404 => "404".to_owned(),
        "" => heard.status.to_string(),
        code => code.to_owned(),
    };
    let wrong =
        (!good).then(|| format!("got {} {}, expected {status} {code}", heard.status, heard.code));
    Row { what, got, wrong }
}

/// The chat that everybody tries.
fn ask(stage: &Stage, more: &[(&str, Value)]) -> Result<Ask> {
    let mut body = chat(&stage.model, "Summarise our open invoices", false);
    for (name, value) in more {
        body[*name] = value.clone();
    }
    Ok(Ask::post(stage.data("/v1/chat/completions")?, body.to_string()))
}

fn tries(stage: &Stage) -> Result<Vec<Try>> {
    let cast = &stage.cast;
    let acme = |more: &[(&str, Value)]| anyhow::Ok(ask(stage, more)?.bearer(&cast.acme));
    let with = |credential: &str| anyhow::Ok(ask(stage, &[])?.bearer(credential));
    let refused = |what, ask, status, code| Try { who: "acme", what, ask, status, code };
    Ok(vec![
        Try { who: "nobody", ..refused("no credential", ask(stage, &[])?, 401, "scope.missing") },
        Try {
            who: "nobody",
            ..refused("an API key that nobody was given", with(&stranger())?, 401, "scope.unknown")
        },
        refused(
            "acme's token with \"X-Tenant-Id: globex\"",
            acme(&[])?.header("x-tenant-id", "globex"),
            403,
            "scope.mismatch",
        ),
        refused(
            "…with metadata.tenant_id \"globex\" in the body",
            acme(&[("metadata", json!({ "tenant_id": "globex" }))])?,
            403,
            "scope.mismatch",
        ),
        refused(
            "…with \"X-Environment: staging\", for a token of live",
            acme(&[])?.header("x-environment", "staging"),
            403,
            "scope.mismatch",
        ),
        refused(
            "…with globex's token in a second header",
            acme(&[])?.header("x-api-key", &cast.globex),
            403,
            "scope.mismatch",
        ),
        refused("…with \"model\" twice in the body", twice(stage)?, 403, "scope.mismatch"),
        refused(
            "…whose tenant was changed to globex",
            with(&forged(&cast.acme)?)?,
            401,
            "scope.signature",
        ),
        refused("a token for another deployment", with(&cast.elsewhere)?, 401, "scope.audience"),
        refused("a token that may list models, not chat", with(&cast.narrow)?, 403, "scope.grant"),
        refused("a run grant, which is for fresh tokens only", with(&cast.grant)?, 401, ""),
        refused(
            "acme's token on the control plane",
            Ask::get(stage.control("/admin/v1/tenants")?).bearer(&cast.acme),
            404,
            "",
        ),
        Try {
            who: "operator",
            ..refused("an operator's credential on the data plane", with(&cast.operator)?, 401, "")
        },
    ])
}

/// Something that looks like an API key.
fn stranger() -> String {
    format!("bk_{}_{}", "0".repeat(8), "A".repeat(43))
}

/// A body in which one reader sees one model and the next another.
fn twice(stage: &Stage) -> Result<Ask> {
    let body = chat(&stage.model, "Summarise our open invoices", false).to_string();
    let body = body.replacen('{', r#"{"model":"another","#, 1);
    Ok(Ask::post(stage.data("/v1/chat/completions")?, body).bearer(&stage.cast.acme))
}

/// A token with its tenant changed, and the signature that it had.
fn forged(token: &str) -> Result<String> {
    let parts: Vec<&str> = token.split('.').collect();
    let [head, payload, signature] = parts[..] else { anyhow::bail!("not a token") };
    let claims = ids::text::unbase64url(payload).context("not a token")?;
    let claims = String::from_utf8(claims)?.replace("\"acme\"", "\"globex\"");
    Ok(format!("{head}.{}.{signature}", ids::text::base64url(claims.as_bytes())))
}

async fn revoked(stage: &mut Stage) -> Result<Row> {
    let token = stage.token("acme", "live", "support", Duration::from_secs(60)).await?;
    let before = stage
        .caller
        .ask("acme", "a token before it is revoked", ask(stage, &[])?.bearer(&token))
        .await?;
    stage.revoke("acme", &token).await?;
    let began = Instant::now();
    let after =
        stage.caller.ask("acme", "a revoked token", ask(stage, &[])?.bearer(&token)).await?;
    let took = began.elapsed().as_millis();
    let mut row = judge(format!("a token revoked {took} ms ago"), &after, 401, "scope.revoked");
    if before.status != 200 {
        row.wrong = Some(format!("was refused before: {} {}", before.status, before.code));
    }
    Ok(row)
}

/// A stream that is under way when its token is revoked. Only the stand-in is slow enough.
async fn in_flight(stage: &mut Stage) -> Result<Option<Row>> {
    let Some(standin) = &stage.standin else { return Ok(None) };
    let token = stage.mint("acme", "live", "support", Duration::from_secs(60)).await?;
    let body = chat(&stage.model, crate::standin::SLOWLY, true).to_string();
    let ask = Ask::post(stage.data("/v1/chat/completions")?, body).bearer(&token);
    let revoke = async {
        standin.streaming().await;
        stage.revoke("acme", &token).await
    };
    let what = "a stream under way when its token is revoked";
    let both = async { tokio::join!(stage.caller.ask("acme", what, ask), revoke) };
    let Ok((heard, revoked)) = tokio::time::timeout(PATIENCE, both).await else {
        let wrong = Some(format!("it went on for {} s", PATIENCE.as_secs()));
        return Ok(Some(Row { what: what.to_owned(), got: "a stream".to_owned(), wrong }));
    };
    revoked?;
    let heard = heard?;
    let mut row = judge(what.to_owned(), &heard, 200, "scope.revoked");
    if heard.streamed {
        row.wrong = Some("it went on to its end".into());
    }
    stage.canaries.add("acme", "tenant token", &token);
    stage.learn(&heard);
    Ok(Some(row))
}

async fn suspended(stage: &mut Stage) -> Result<Row> {
    let key = stage.cast.initech.clone();
    let models = || anyhow::Ok(Ask::get(stage.data("/v1/models")?).bearer(&key));
    let before = stage.caller.ask("initech", "initech lists models", models()?).await?;
    stage.suspend("initech").await?;
    let after = stage.caller.ask("initech", "a suspended tenant's API key", models()?).await?;
    let mut row = judge("the API key of a suspended tenant".into(), &after, 403, "scope.suspended");
    if before.status != 200 {
        row.wrong = Some(format!("was refused before: {} {}", before.status, before.code));
    }
    Ok(row)
}

/// The token was minted before everything else, for one second.
async fn expired(stage: &mut Stage) -> Result<Row> {
    let left = Duration::from_secs(1).saturating_sub(stage.cast.minted.elapsed());
    tokio::time::sleep(left).await;
    let ask = ask(stage, &[])?.bearer(&stage.cast.brief);
    let heard = stage.caller.ask("acme", "an expired token", ask).await?;
    Ok(judge("an expired token".into(), &heard, 401, "scope.expired"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forged_token_differs_in_its_payload_alone() {
        let payload = ids::text::base64url(br#"{"tenant":"acme","env":"live"}"#);
        let forged = forged(&format!("h.{payload}.s")).unwrap();
        let parts: Vec<&str> = forged.split('.').collect();
        assert_eq!((parts[0], parts[2]), ("h", "s"));
        let claims = ids::text::unbase64url(parts[1]).unwrap();
        assert_eq!(claims, br#"{"tenant":"globex","env":"live"}"#);
    }
}
