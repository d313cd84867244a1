//! Sending a write, and what its answer means.

use ids::{Millis, RandomId, json::Json, planted, text::hex};
use scope::{Entry, Scope, Write};

use crate::{
    Answer, Content, Error, Receipt,
    contract::{Final, Tool},
    hop::Inner,
    outside::{Errand, Missed},
    pointer::Pointer,
    write::{
        Job,
        intent::{Intent, Kept, State},
        ledger::Row,
        receipt::ConfirmedBy,
    },
};

/// What an answer says of whether the write was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    Done,
    /// Known not to be done.
    Nothing,
    /// It may be done.
    Neither,
}

/// Read conservatively: what does not say that nothing was done leaves it open.
fn says(tool: &Tool, answer: &Result<Content, Missed>) -> Says {
    match answer {
        Err(missed) if missed.sent => Says::Neither,
        Err(_) => Says::Nothing,
        Ok(Content::Http { status, .. }) => match status.as_u16() {
            200..=299 => Says::Done,
            // A time-out of theirs, and a conflict that may be with this very write.
            408 | 409 => Says::Neither,
            400..=499 => Says::Nothing,
            _ => Says::Neither,
        },
        // It failed, after who knows how much. An upstream that knows repetitions may be asked
        // again.
        Ok(content) if content.is_error() => {
            if knows_repetitions(tool) {
                Says::Nothing
            } else {
                Says::Neither
            }
        }
        Ok(_) => Says::Done,
    }
}

/// Whether the upstream is told the intent's id, by which it knows a repetition.
pub(crate) fn knows_repetitions(tool: &Tool) -> bool {
    let declared = &tool.contract.idempotency;
    declared.header.is_some() || declared.argument.is_some()
}

/// The arguments with the intent's id in its place, where the contract has one. Their digest is
/// that of what was asked for.
fn identified(tool: &Tool, call: &Final, id: &RandomId) -> Result<Final, Error> {
    let mut call = call.clone();
    if let Some(place) = &tool.contract.idempotency.argument {
        let id = Json::String(id.to_string());
        let pointer = Pointer::literal(place);
        if !pointer.is_ok_and(|pointer| pointer.put(&mut call.arguments, id)) {
            return Err(Error::Rule {
                argument: place.clone(),
                rule: "the intent's id has no place there".to_owned(),
            });
        }
    }
    Ok(call)
}

impl Inner {
    /// Sends a write that was not sent before, or is known not to be done: first the intent,
    /// durably, then the call.
    pub(crate) async fn execute(
        &self,
        scope: &Scope<Write>,
        job: &Job,
        row: Row,
        review: Option<RandomId>,
    ) -> Result<Answer, Error> {
        let tool = &job.prepared.tool;
        let mut intent = self.intent_of(scope, job, row.intent.as_ref());
        let id = intent.id;
        let call = identified(tool, &job.prepared.call, &id)?;
        intent.review = review;
        intent.attempts += 1;
        intent.state = State::Sent { at: self.parts.clock.now() };
        self.has_room(scope, &row).await?;
        self.note_open(scope, &id, job.key, (0, Millis(0))).await?;
        let late = planted::is("tools-sent-after-sending");
        let mut sent = row.clone();
        if !late {
            sent = self.advance(scope, &row, intent.clone()).await?;
        }
        let progress = &job.progress;
        let errand = Errand { scope, tool, call: &call, intent: Some(id), progress, round: None };
        let answer = self.ask(errand).await;
        if late {
            sent = self.advance(scope, &row, intent).await?;
        }
        self.came(scope, job, sent, answer).await
    }

    /// What is to be written of a job; what is on record of it stays.
    pub(crate) fn intent_of(
        &self,
        scope: &Scope<Write>,
        job: &Job,
        known: Option<&Intent>,
    ) -> Intent {
        let (tool, call) = (&job.prepared.tool, &job.prepared.call);
        Intent {
            id: job.intent_id(known),
            tool: tool.contract.name.clone(),
            upstream: tool.upstream.id.clone(),
            account: call.account.clone(),
            workflow: scope.workflow().cloned(),
            run: scope.run().cloned(),
            effect: tool.contract.effect,
            arguments: String::from_utf8_lossy(&call.arguments.to_vec()).into_owned(),
            digest: hex(&call.digest),
            policy: hex(&job.policy),
            review: known.and_then(|known| known.review),
            attempts: known.map_or(0, |known| known.attempts),
            created: known.map_or_else(|| self.parts.clock.now(), |known| known.created),
            state: State::Failed,
        }
    }

    /// Records how a write that was sent went, and what follows from it.
    async fn came(
        &self,
        scope: &Scope<Write>,
        job: &Job,
        row: Row,
        answer: Result<Content, Missed>,
    ) -> Result<Answer, Error> {
        let observed = || job.prepared.call.observed.clone();
        let (tool, Some(intent)) = (&job.prepared.tool, &row.intent) else {
            return Err(Error::Internal("an intent"));
        };
        let id = intent.id;
        // From here on nobody waits for it, however long that was done.
        let now = self.parts.clock.now();
        let said = says(tool, &answer);
        match (said, answer) {
            (Says::Done, Ok(content)) => {
                let by = self.held_against_read(scope, tool, intent, &content).await;
                let kept = Kept::of(&content);
                let Some(by) = by else {
                    self.unknown(scope, row, (now, true, Some(kept)), true).await?;
                    return Err(Error::OutcomeUnknown { intent: id });
                };
                let receipt = self.confirm(scope, row, kept, by).await?;
                Ok(Answer {
                    content,
                    receipt: Some(receipt),
                    duplicate: false,
                    observed: observed(),
                })
            }
            (Says::Nothing, answer) => {
                self.fail(scope, row).await?;
                let content = answer.map_err(|missed| missed.error)?;
                Ok(Answer { content, receipt: None, duplicate: false, observed: observed() })
            }
            (_, answer) => {
                let kept = answer.as_ref().ok().map(Kept::of);
                let row = self.unknown(scope, row, (now, false, kept), false).await?;
                match self.settle(scope, row, None).await? {
                    super::reconcile::Settled::Confirmed { receipt, content } => Ok(Answer {
                        content,
                        receipt: Some(receipt),
                        duplicate: false,
                        observed: observed(),
                    }),
                    super::reconcile::Settled::Failed => {
                        let content = answer.map_err(|missed| missed.error)?;
                        Ok(Answer {
                            content,
                            receipt: None,
                            duplicate: false,
                            observed: observed(),
                        })
                    }
                    super::reconcile::Settled::Unknown => match answer {
                        // What it says of its failure is the tenant's own, and it may help.
                        Ok(content @ Content::Mcp(_)) => Ok(Answer {
                            content,
                            receipt: None,
                            duplicate: false,
                            observed: observed(),
                        }),
                        Err(Missed { error: Error::OutOfScope, .. }) => Err(Error::OutOfScope),
                        _ => Err(Error::OutcomeUnknown { intent: id }),
                    },
                }
            }
        }
    }

    /// The write is done: durably so before anybody is told.
    pub(crate) async fn confirm(
        &self,
        scope: &Scope<Write>,
        row: Row,
        answer: Kept,
        by: ConfirmedBy<'_>,
    ) -> Result<Receipt, Error> {
        let mut intent = row.intent.clone().ok_or(Error::Internal("an intent"))?;
        let id = intent.id;
        let receipt = self.receipt_of(scope, &intent, &answer, by)?;
        let what = intent.tool.clone();
        intent.state = State::Confirmed { receipt: receipt.clone(), answer };
        if planted::is("tools-receipt-before-commit") {
            return Ok(receipt);
        }
        self.advance(scope, &row, intent).await?;
        self.note_closed(scope, &id).await;
        let entry = Entry::allowed(scope.actor(), "tool.receipt", what)
            .with("intent", id)
            .with("confirmed_by", by.as_str());
        self.audited(scope, entry).await;
        Ok(receipt)
    }

    /// It is known that it was not done.
    pub(crate) async fn fail(&self, scope: &Scope<Write>, row: Row) -> Result<Row, Error> {
        let mut intent = row.intent.clone().ok_or(Error::Internal("an intent"))?;
        let id = intent.id;
        intent.state = State::Failed;
        let row = self.advance(scope, &row, intent).await?;
        self.note_closed(scope, &id).await;
        Ok(row)
    }

    /// Whether it was done is not known, `at` being until when it was waited for. `ask` a person, or
    /// not before a read was tried.
    pub(crate) async fn unknown(
        &self,
        scope: &Scope<Write>,
        row: Row,
        (at, answered, answer): (Millis, bool, Option<Kept>),
        ask: bool,
    ) -> Result<Row, Error> {
        let mut intent = row.intent.clone().ok_or(Error::Internal("an intent"))?;
        let at = match &intent.state {
            State::Sent { at } if planted::is("tools-settled-too-soon") => *at,
            _ => at,
        };
        let (what, id) = (intent.tool.clone(), intent.id);
        let first = matches!(intent.state, State::Sent { .. });
        let review = match &intent.state {
            State::Unknown { review: Some(review), .. } if self.is_asked(scope, *review).await => {
                Some(*review)
            }
            _ if ask => self.ask_a_person(scope, &intent).await,
            _ => None,
        };
        intent.state = State::Unknown { at, answered, review, answer };
        let row = self.advance(scope, &row, intent).await?;
        if first {
            let code = Error::OutcomeUnknown { intent: id }.code();
            let entry = Entry::denied(scope.actor(), "tool.outcome_unknown", what, code);
            self.audited(scope, entry.with("intent", id)).await;
        }
        Ok(row)
    }
}
