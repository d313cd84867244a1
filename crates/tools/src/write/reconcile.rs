//! Whether a write was done: by the declared read, never by sending it again.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use ids::{
    Millis, RandomId,
    json::{self, Json},
    planted,
};
use reviews::{Finding, Review};
use scope::{Entry, Scope, Write};
use serde_json::Value;
use serde_json_path::JsonPath;

use crate::{
    Content, Error, Progress, Receipt, Reconcile, Timeouts,
    contract::{Form, Tool},
    hop::Inner,
    outside::Errand,
    owner::value,
    pointer::Pointer,
    write::{
        execute::knows_repetitions,
        intent::{Intent, Kept, State},
        ledger::Row,
        receipt::ConfirmedBy,
    },
};

/// How long an upstream may still be working on a write whose answer nobody waits for any more.
/// Before that, a read that does not find it says nothing, unless the upstream knows a repetition
/// when it sees one.
pub(crate) const SETTLES: Duration = Duration::from_secs(10);

/// Between looks at a write that the upstream says is done and its read does not show yet.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];

/// How a look went.
#[derive(Debug)]
pub(crate) enum Look {
    /// There is no read to look by.
    Undeclared,
    /// Everything holds that has to: what the read answered.
    Holds(Content),
    /// The read answered, and it does not.
    Otherwise,
    /// It did not answer, or nothing that can be understood.
    Unreadable,
}

/// What an intent came to.
#[derive(Debug)]
pub(crate) enum Settled {
    Confirmed { receipt: Receipt, content: Content },
    Failed,
    Unknown,
}

impl Settled {
    pub(crate) const fn is_settled(&self) -> bool {
        !matches!(self, Self::Unknown)
    }
}

/// What an answer says, as one document: what can be found by paths in it.
pub(crate) fn document(content: &Content) -> Option<Json> {
    let parse = |bytes: &[u8]| Json::parse(bytes, &json::Limits::default()).ok();
    match content {
        Content::Rows(rows) => Some(rows.clone()),
        Content::Http { body, .. } => parse(body),
        Content::Mcp(result) => {
            if let Some(structured) = result.get("structuredContent") {
                return Some(structured.clone());
            }
            let Json::Array(items) = result.get("content")? else { return None };
            let [item] = &items[..] else { return None };
            parse(item.get("text")?.as_str()?.as_bytes())
        }
    }
}

/// Numbers are equal by what they are, not by how they are written.
fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            one == other || one.as_f64().is_some_and(|one| Some(one) == other.as_f64())
        }
        _ => one == other,
    }
}

/// Where the values of a reconciliation come from.
struct Sources<'a> {
    arguments: Json,
    answer: Option<Json>,
    intent: &'a RandomId,
}

impl Sources<'_> {
    fn find(&self, source: &str) -> Option<Json> {
        let at = |path, of| Pointer::literal(path).ok()?.one(of).cloned();
        match source.split_once(':') {
            None if source == "intent" => Some(Json::String(self.intent.to_string())),
            Some(("argument", path)) => at(path, &self.arguments),
            Some(("result", path)) => at(path, self.answer.as_ref()?),
            _ => None,
        }
    }

    /// The read's arguments.
    fn arguments(&self, declared: &Reconcile) -> Option<Json> {
        let mut arguments = Json::Object(Vec::new());
        for (place, source) in &declared.arguments {
            let place = Pointer::literal(place).ok()?;
            place.put(&mut arguments, self.find(source)?).then_some(())?;
        }
        Some(arguments)
    }

    /// Whether all of it holds; `None` if that cannot be said.
    fn hold(&self, declared: &Reconcile, document: &Json) -> Option<bool> {
        let document = value(document);
        for one in &declared.holds {
            let wanted = match one.equals.get("from").and_then(Value::as_str) {
                Some(source) => value(&self.find(source)?),
                None => one.equals.clone(),
            };
            let path = JsonPath::parse(&one.path).ok()?;
            match &path.query(&document).all()[..] {
                [] => return Some(false),
                [found] if equal(found, &wanted) => {}
                [_] => return Some(false),
                _ => return None,
            }
        }
        Some(!declared.holds.is_empty())
    }
}

/// Until when a write that a crash cut off would have been waited for: how long the upstream worked
/// on it, nobody was there to see.
fn waited_until(sent: Millis, tool: Option<&Arc<Tool>>) -> Millis {
    if planted::is("tools-settled-too-soon") {
        return sent;
    }
    let longest = || Duration::from_millis(Timeouts::default().total_ms);
    sent.plus(tool.map_or_else(longest, |tool| tool.total()))
}

impl Inner {
    /// Looks whether a write was done.
    pub(crate) async fn look(
        &self,
        scope: &Scope<Write>,
        tool: &Tool,
        intent: &Intent,
        answer: Option<&Content>,
    ) -> Look {
        let Some(declared) = &tool.contract.reconcile else { return Look::Undeclared };
        let Some(read) = self.tools.get(&declared.tool) else { return Look::Unreadable };
        let Ok(arguments) = intent.arguments() else { return Look::Unreadable };
        let sources = Sources { arguments, answer: answer.and_then(document), intent: &intent.id };
        let Some(arguments) = sources.arguments(declared) else { return Look::Unreadable };
        let call = match read.finalize(scope, &arguments.to_vec(), &self.settings.limits) {
            Ok(call) => call,
            Err(error) => {
                tracing::warn!(%error, tool = intent.tool, "a write cannot be looked up");
                return Look::Unreadable;
            }
        };
        let progress = &Progress::none();
        let errand = Errand { scope, tool: read, call: &call, intent: None, progress, round: None };
        let Ok(content) = self.ask(errand).await else { return Look::Unreadable };
        if let Content::Http { status: StatusCode::NOT_FOUND, .. } = content {
            return Look::Otherwise;
        }
        if content.is_error() {
            return Look::Unreadable;
        }
        match document(&content).and_then(|found| sources.hold(declared, &found)) {
            Some(true) => Look::Holds(content),
            Some(false) => Look::Otherwise,
            None => Look::Unreadable,
        }
    }

    /// A write that its upstream says is done, held against the declared read: how it is
    /// confirmed, or nothing if the read keeps saying otherwise.
    pub(crate) async fn held_against_read(
        &self,
        scope: &Scope<Write>,
        tool: &Tool,
        intent: &Intent,
        answer: &Content,
    ) -> Option<ConfirmedBy<'static>> {
        for pause in PAUSES.into_iter().map(Some).chain([None]) {
            match self.look(scope, tool, intent, Some(answer)).await {
                Look::Holds(_) => return Some(ConfirmedBy::Read),
                Look::Undeclared | Look::Unreadable => return Some(ConfirmedBy::Answer),
                Look::Otherwise => {}
            }
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
        }
        None
    }

    /// Finds out, as far as that is possible, how a write that was sent went. A read that takes
    /// longer than `within` is one that does not answer.
    pub(crate) async fn settle(
        &self,
        scope: &Scope<Write>,
        row: Row,
        within: Option<Duration>,
    ) -> Result<Settled, Error> {
        let intent = row.intent.clone().ok_or(Error::Internal("an intent"))?;
        let tool = self.tools.get(&intent.tool);
        let (at, answered, answer) = match &intent.state {
            State::Sent { at } => (waited_until(*at, tool), false, None),
            State::Unknown { at, answered, answer, .. } => (*at, *answered, answer.clone()),
            _ => return Err(Error::Internal("an intent that was not sent")),
        };
        let said = answer.as_ref().and_then(|kept| kept.content().ok());
        // Before the look: what it shows may be from when it began.
        let late = self.parts.clock.now() >= at.plus(SETTLES);
        let look = match (tool, within) {
            (Some(tool), None) => self.look(scope, tool, &intent, said.as_ref()).await,
            (Some(tool), Some(within)) => {
                let look = self.look(scope, tool, &intent, said.as_ref());
                tokio::time::timeout(within, look).await.unwrap_or(Look::Unreadable)
            }
            // Not configured any more.
            (None, _) => Look::Undeclared,
        };
        let sure = late || tool.is_some_and(|tool| knows_repetitions(tool));
        match look {
            Look::Holds(read) => {
                let content = said.filter(|said| !said.is_error()).unwrap_or(read);
                let kept = Kept::of(&content);
                let receipt = self.confirm(scope, row, kept, ConfirmedBy::Read).await?;
                self.reconciled(scope, &intent, "confirmed").await;
                Ok(Settled::Confirmed { receipt, content })
            }
            Look::Otherwise if sure && !answered => {
                self.fail(scope, row).await?;
                self.reconciled(scope, &intent, "failed").await;
                Ok(Settled::Failed)
            }
            // It is soon looked up again.
            Look::Otherwise if !answered => {
                self.unknown(scope, row, (at, answered, answer), false).await?;
                Ok(Settled::Unknown)
            }
            look => {
                let row = self.unknown(scope, row, (at, answered, answer), true).await?;
                let told = matches!(row.state(), Some(State::Unknown { review: Some(_), .. }));
                if told && matches!(look, Look::Undeclared) {
                    // Nothing finds it out but a person, who has it now.
                    self.note_closed(scope, &intent.id).await;
                }
                Ok(Settled::Unknown)
            }
        }
    }

    /// A person found out how a write went that nothing else could: what the review that asks of it is
    /// told. The write first: a review that is closed asks nobody any more.
    pub(crate) async fn settle_by_hand(
        &self,
        scope: &Scope<Write>,
        id: RandomId,
        finding: Finding,
    ) -> Result<Review, Error> {
        let inbox = self.parts.reviews.of(scope);
        let review = inbox.may_settle(id, &finding).await?;
        let found = match &review.intent {
            Some(intent) => self.row_of(scope, intent).await?,
            None => None,
        };
        let Some(key) = found.map(|row| row.key) else { return self.moot(scope, id).await };
        let Some(_turn) = self.under_way.enter(key) else { return Err(Error::InFlight) };
        let row = self.row(scope, key).await?;
        let Some(intent) = row.intent.clone() else { return self.moot(scope, id).await };
        let answer = match &intent.state {
            // Of an earlier attempt, say, a person knows nothing that holds for this one.
            State::Unknown { answer, review, .. }
                if *review == Some(id) || planted::is("tools-settled-by-another-review") =>
            {
                answer.clone()
            }
            _ => return self.moot(scope, id).await,
        };
        let done = finding.done;
        if done {
            // An answer that says of a failure is none to what was done.
            let said = answer.filter(|kept| kept.content().is_ok_and(|said| !said.is_error()));
            let by = ConfirmedBy::Person { who: &finding.by, review: id, heard: said.is_some() };
            let kept = said.unwrap_or_else(|| self.no_answer(&intent.tool));
            self.confirm(scope, row, kept, by).await?;
        } else {
            self.fail(scope, row).await?;
        }
        let entry = Entry::allowed(scope.actor(), "tool.reconciled", &intent.tool)
            .with("intent", intent.id)
            .with("outcome", if done { "confirmed" } else { "failed" })
            .with("by", &finding.by);
        self.audited(scope, entry).await;
        Ok(inbox.settle(id, finding).await?)
    }

    /// What a review asks about is known by now, or asked elsewhere.
    async fn moot(&self, scope: &Scope<Write>, id: RandomId) -> Result<Review, Error> {
        let why = "it is known by now how the write went, or another review asks";
        let closed = self.parts.reviews.of(scope).close(id, "bulkhead", why).await?;
        Err(reviews::Error::Settled(closed.state.as_str()).into())
    }

    /// What is handed on of a write of which nobody heard an answer.
    fn no_answer(&self, tool: &str) -> Kept {
        let content = match self.tools.get(tool).map(|tool| &tool.form) {
            Some(Form::Http(_)) => Content::Http {
                status: StatusCode::NO_CONTENT,
                content_type: None,
                body: bytes::Bytes::new(),
            },
            Some(Form::Sql(_)) => Content::Rows(Json::Array(Vec::new())),
            _ => {
                let none = ("content".to_owned(), Json::Array(Vec::new()));
                Content::Mcp(Json::Object(vec![none]))
            }
        };
        Kept::of(&content)
    }

    /// Writes down what it came to; whoever was asked has nothing to find out any more.
    async fn reconciled(&self, scope: &Scope<Write>, intent: &Intent, outcome: &str) {
        if let State::Unknown { review: Some(review), .. } = intent.state {
            let inbox = self.parts.reviews.of(scope);
            if let Err(error) = inbox.close(review, "bulkhead", outcome).await {
                tracing::debug!(%error, "a review of what is known now was not open any more");
            }
        }
        let entry = Entry::allowed(scope.actor(), "tool.reconciled", &intent.tool)
            .with("intent", intent.id)
            .with("outcome", outcome);
        self.audited(scope, entry).await;
    }
}
