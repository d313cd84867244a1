//! Between a deployment and its providers: connections, marks, errors that quote credentials, and
//! streams that end with the credential they were begun with. What of this can be seen, a provider
//! has to show: an engine that tells its connections and what it cached.

use std::time::Duration;

use http::Method;
use serde_json::json;

use super::{
    Known,
    desk::{Desk, Wanted},
};
use crate::{
    canary::Side,
    catalog,
    check::model::words,
    drive::chat::{Chat, How, body_of},
    lab::{Caller, Lab},
    sheet::Sheet,
    verdict::{Halt, Strength, Trial},
    wire::{Exchange, Request},
};

/// In a prompt, to a stand-in: answer with an error that quotes the credential.
const FAIL: &str = "[answer with an error]";
/// The same: answer with an error that looks like success from afar.
const FAIL_SOFTLY: &str = "[answer with an error in a 200]";
/// The same: answer without an end.
const SLOWLY: &str = "Read all our invoices to me, slowly";
/// The workflow of tokens that are made for this.
const WORKFLOW: &str = "bulkhead-probe";
/// A stream that goes on for so long after its credential is void was not ended by that.
const LATE: Duration = Duration::from_secs(3);
/// Words of a prompt that an engine takes its time for.
const WORDS: usize = 400;

pub(super) async fn all(
    engine: &Chat,
    desk: &Desk<'_>,
    known: &Known<'_>,
    lab: &Lab,
    sheet: &mut Sheet<'_>,
) {
    let (at, check) = ("connections to providers", &catalog::DESYNC);
    sheet.run(check, at, async |trial| connections(engine, lab, trial).await).await;
    if known.more.environments.len() > 1 {
        let (at, check) = ("another environment", &catalog::PROMPT_CACHE);
        sheet.run(check, at, async |trial| salted(engine, desk, known, lab, trial).await).await;
    }
    // Only a stand-in does what a prompt says, and only who runs it knows what it must not tell.
    if known.more.hidden.is_empty() || !stands_in(engine, lab).await {
        return;
    }
    let (at, check) = ("errors of providers", &catalog::CACHED_ERRORS);
    sheet.run(check, at, async |trial| errors(known, lab, trial).await).await;
    let (at, check) = ("streams", &catalog::EXPIRED);
    sheet.run(check, at, async |trial| streams(engine, desk, known, lab, trial).await).await;
}

/// What the stand-in calls itself in each of its answers.
const STAND_IN: &str = "(a stand-in, not a model)";

/// Whether the deployment's models are Bulkhead's own stand-in.
async fn stands_in(engine: &Chat, lab: &Lab) -> bool {
    let said = engine.ask(lab, lab.caller(Side::A), "Who are you?", &How::plain()).await;
    said.is_ok_and(|said| said.text.contains(STAND_IN) || lab.options.dry_run)
}

/// What an answer says over which connection it was asked.
fn fingerprint(exchange: &Exchange) -> Option<String> {
    exchange.json()["system_fingerprint"].as_str().map(str::to_owned)
}

/// No connection to a provider carries both tenants' requests: what is out of step on one, as after
/// a request that was cut off, is then at most the same tenant's.
async fn connections(engine: &Chat, lab: &Lab, trial: &mut Trial) -> Result<(), Halt> {
    let ask = async |side: Side| -> Result<(Option<String>, Exchange), Halt> {
        let prefix = words::some(WORDS);
        let prompt = super::super::model::nonce();
        let said = engine.must(lab, lab.caller(side), &prompt, &How::briefly(&prefix)).await?;
        Ok((fingerprint(&said.exchange), said.exchange))
    };
    let mut seen: [Vec<(String, Exchange)>; 2] = Default::default();
    for _ in 0..4 {
        // Together, so that one connection does not do for all of a tenant's.
        let (one, two, three) = tokio::join!(ask(Side::A), ask(Side::A), ask(Side::A));
        for answer in [one, two, three] {
            let (print, exchange) = answer?;
            seen[0].extend(print.map(|print| (print, exchange)));
        }
        let (print, exchange) = ask(Side::B).await?;
        seen[1].extend(print.map(|print| (print, exchange)));
    }
    let distinct = {
        let mut all: Vec<&String> = seen[0].iter().map(|(print, _)| print).collect();
        all.sort();
        all.dedup();
        all.len()
    };
    let [mine, theirs] = &seen;
    trial.positive(
        mine.len() == 12 && theirs.len() == 4 && distinct > 1 && distinct < 12,
        format!("{distinct} connections told in {} answers", mine.len()),
    );
    trial.negative(mine.iter().all(|(print, _)| !print.is_empty()), "each answer tells its own");
    trial.strength(Strength::Metadata);
    for (print, exchange) in theirs {
        trial.attacked();
        if let Some((_, other)) = mine.iter().find(|(own, _)| own == print) {
            trial.leak(format!("B's request went over A's {print}"), &[other, exchange]);
            break;
        }
    }
    trial.summary(format!("{distinct} connections of A's, none of them B's"));
    Ok(())
}

/// A's prompts of one environment are not found cached from another one.
async fn salted(
    engine: &Chat,
    desk: &Desk<'_>,
    known: &Known<'_>,
    lab: &Lab,
    trial: &mut Trial,
) -> Result<(), Halt> {
    let other = known.more.environments.get(1).map_or("", String::as_str);
    let wanted = Wanted {
        side: Side::A,
        environment: other,
        workflow: WORKFLOW,
        run: known.run(),
        label: "a, another environment",
    };
    let elsewhere = desk.token(lab, &wanted).await?;
    let cached = async |by: &Caller, prefix: &str| -> Result<(f64, Exchange), Halt> {
        let question = super::super::model::nonce();
        let said = engine.must(lab, by, &question, &How::briefly(prefix)).await?;
        let share = said.cached_tokens.unwrap_or_default() as f64
            / said.prompt_tokens.unwrap_or_default().max(1) as f64;
        Ok((share, said.exchange))
    };
    for round in 0..4 {
        let (prefix, new) = (words::some(WORDS + round), words::some(WORDS + 10 + round));
        let (prefix, new) = (format!("{} {prefix}", super::super::model::nonce()), new);
        let (_, warm) = cached(lab.caller(Side::A), &prefix).await?;
        let (own, _) = cached(lab.caller(Side::A), &prefix).await?;
        let (taken, seen) = cached(&elsewhere, &prefix).await?;
        let new = format!("{} {new}", super::super::model::nonce());
        let (fresh, _) = cached(&elsewhere, &new).await?;
        trial.positive(own > 0.5, format!("{:.0}% of A's own repeat is cached", own * 100.0));
        trial.negative(fresh < 0.5, "no new text is reported as cached");
        trial.attacked();
        if taken > 0.5 {
            trial.strength(Strength::Metadata);
            let what =
                format!("{:.0}% of A's prompt is cached for its other environment", taken * 100.0);
            trial.leak(what, &[&warm, &seen]);
            break;
        }
    }
    trial.summary("a prompt is cached for its own environment alone");
    Ok(())
}

/// An error of a provider's tells no tenant the credential that it was asked with.
async fn errors(known: &Known<'_>, lab: &Lab, trial: &mut Trial) -> Result<(), Halt> {
    let hidden = lab.target.providers_secrets()?;
    let never = lab.canaries.never_planted(Side::A);
    let models = [known.model, known.more.similar_model.as_deref()];
    for model in models.into_iter().flatten() {
        for stream in [false, true] {
            let mark = super::super::model::nonce();
            let body = json!({ "model": model, "max_tokens": 16, "stream": stream,
                "messages": [{ "role": "user", "content": format!("{FAIL} {mark}") }] });
            let request = Request::new(Method::POST, "/v1/chat/completions").json(&body);
            let failed = lab.send(lab.caller(Side::B), request).await?;
            trial.positive(
                failed.status() >= 400 && body_of(&failed).contains("down"),
                format!("the provider's error is passed on ({})", failed.status()),
            );
            trial.negative(never.seen_in(&failed).is_none(), "what was never planted is not found");
            trial.attacked();
            let told = |secret: &&String| {
                let headers = failed.answer().map(|answer| answer.headers.as_slice());
                let in_header =
                    headers.unwrap_or_default().iter().any(|(_, value)| value.contains(*secret));
                body_of(&failed).contains(*secret) || in_header
            };
            if hidden.iter().any(|secret| told(&secret)) {
                trial.leak("an error tells the provider's credential", &[&failed]);
            }
        }
    }
    kept_not(known, lab, trial).await?;
    trial.summary("errors are passed on without the credential, and not kept");
    Ok(())
}

/// What is no answer is not given again, whatever its status.
async fn kept_not(known: &Known<'_>, lab: &Lab, trial: &mut Trial) -> Result<(), Halt> {
    let mark = super::super::model::nonce();
    let body = json!({ "model": known.model, "max_tokens": 16,
        "messages": [{ "role": "user", "content": format!("{FAIL_SOFTLY} {mark}") }] });
    let ask = async || {
        let request = Request::new(Method::POST, "/v1/chat/completions").json(&body);
        lab.send(lab.caller(Side::B), request).await
    };
    let (first, again) = (ask().await?, ask().await?);
    let passed = body_of(&first).contains("down");
    trial.positive(passed, "the provider's error is passed on");
    trial.attacked();
    if passed && body_of(&first) == body_of(&again) {
        trial.leak("an error was kept, and given again", &[&first, &again]);
    }
    Ok(())
}

/// A stream ends when its credential does.
async fn streams(
    engine: &Chat,
    desk: &Desk<'_>,
    known: &Known<'_>,
    lab: &Lab,
    trial: &mut Trial,
) -> Result<(), Halt> {
    let environment = known.more.environments.first().map_or("live", String::as_str);
    let label = "a, revoked while it streams";
    let run = known.run();
    let wanted = Wanted { side: Side::A, environment, workflow: WORKFLOW, run, label };
    let caller = desk.token(lab, &wanted).await?;
    let secret = caller.credential.as_ref().map(|secret| secret.expose().to_owned());
    let body = json!({ "model": engine.model, "stream": true, "max_tokens": 16,
        "messages": [{ "role": "user", "content": SLOWLY }] });
    let mut request = Request::new(Method::POST, "/v1/chat/completions").json(&body);
    request.timeout = LATE * 2;
    let revoke = json!({ "token": secret, "reason": super::desk::REASON });
    let (streamed, revoked) = tokio::join!(lab.send(&caller, request), async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        desk.does(lab, "/admin/v1/revocations", &revoke, json!({})).await
    });
    let (streamed, _) = (streamed?, revoked?);
    let whole = streamed.answer().map_or(Duration::ZERO, |answer| answer.whole);
    let words = body_of(&streamed).matches("data:").count();
    let open = !body_of(&streamed).contains("[DONE]");
    trial.positive(words > 3 && open, format!("{words} pieces came, and not its end"));
    trial.attacked();
    if whole > LATE {
        let after = whole.as_secs_f64() - 0.4;
        trial.leak(format!("it goes on {after:.1} s after the revocation"), &[&streamed]);
    }
    let again = lab.patiently(&caller, Request::get("/v1/models")).await?;
    trial.attacked();
    if again.accepted() {
        trial.leak("a revoked credential is taken", &[&again]);
    }
    let other = lab.patiently(lab.caller(Side::A), Request::get("/v1/models")).await?;
    trial.negative(other.accepted(), "A's other credentials are still good");
    trial.summary(format!("cut off after {:.1} s, with its credential", whole.as_secs_f64()));
    Ok(())
}
