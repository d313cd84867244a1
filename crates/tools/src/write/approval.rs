//! People: whom to ask before a write is sent, and whom to tell that it is not known how one went.

use std::time::Duration;

use ids::{Millis, RandomId, json::Json, planted, text::hex};
use reviews::{Kind, New, Review, Wanted};
use scope::{Scope, Write};

use crate::{
    Ask, Error, Round,
    hop::{Inner, Prepared},
    write::{
        Job,
        intent::{Intent, State},
        ledger::Row,
    },
};

/// How long a suggestion, or an outcome that is not known, waits for people to look at it.
const LOOKED_AT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// The longest that a mandate may wait.
const MANDATE: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// How a review of the same write stands.
enum Before {
    /// It can be used, or was used for this very intent, which was not sent since.
    Allowed,
    Waits(Millis),
    Refused,
    /// Nothing comes of it any more.
    Over,
}

impl Inner {
    /// Records a write that is not to be sent; a second time, it is the same review.
    pub(crate) async fn suggest(&self, scope: &Scope<Write>, job: &Job, row: Row) -> Error {
        match self.suggestion(scope, job, row).await {
            Ok(review) => Error::Suggested { review },
            Err(error) => error,
        }
    }

    async fn suggestion(
        &self,
        scope: &Scope<Write>,
        job: &Job,
        row: Row,
    ) -> Result<RandomId, Error> {
        if let Some(State::Suggested { review }) = row.state()
            && self.parts.reviews.of(scope).record(*review).await.is_ok()
        {
            return Ok(*review);
        }
        let mut intent = self.intent_of(scope, job, row.intent.as_ref());
        let expires = self.parts.clock.now().plus(LOOKED_AT);
        let reason = "it is to be suggested only".to_owned();
        let new = new(Kind::Suggestion, job, &intent, reason, expires);
        let review = self.parts.reviews.of(scope).ask(new).await?.id;
        intent.state = State::Suggested { review };
        self.advance(scope, &row, intent).await?;
        Ok(review)
    }

    /// The approval of a write, used: or a review is opened, and its caller told to wait.
    pub(crate) async fn approval(
        &self,
        scope: &Scope<Write>,
        job: &Job,
        row: Row,
    ) -> Result<(RandomId, Row), Error> {
        if let Some(review) = job.prepared.ask.review {
            return Ok((self.named(scope, job, &row, review).await?, row));
        }
        if let Some(State::Pending { review }) = row.state() {
            let review = *review;
            match self.before(scope, job, &row, review).await? {
                Before::Allowed => return Ok((review, row)),
                Before::Waits(expires) => return Err(Error::ApprovalRequired { review, expires }),
                Before::Refused => return Err(Error::NotApproved("a person said no")),
                Before::Over => {}
            }
        }
        let declared = &job.prepared.tool.contract.approval;
        let life = Duration::from_secs(declared.expires_seconds).min(MANDATE);
        let expires = self.parts.clock.now().plus(life);
        let mut intent = self.intent_of(scope, job, row.intent.as_ref());
        let reason = "this tool is to be approved by a person".to_owned();
        let mut new = new(Kind::Approval, job, &intent, reason, expires);
        new.four_eyes = declared.four_eyes;
        if declared.execute {
            new.mandates = self.mandates(scope, Vec::new(), life)?;
        }
        let review = self.parts.reviews.of(scope).ask(new).await?;
        let (id, expires) = (review.id, review.expires);
        intent.state = State::Pending { review: id };
        self.advance(scope, &row, intent).await?;
        Err(Error::ApprovalRequired { review: id, expires })
    }

    /// The approval that a caller names, used: now, or before for this very intent, of which nothing was sent
    /// because the process died in between.
    pub(crate) async fn named(
        &self,
        scope: &Scope<Write>,
        job: &Job,
        row: &Row,
        review: RandomId,
    ) -> Result<RandomId, Error> {
        let waits =
            matches!(row.state(), Some(State::Pending { review: pending }) if *pending == review);
        if waits && matches!(self.before(scope, job, row, review).await?, Before::Allowed) {
            return Ok(review);
        }
        self.redeem(scope, job, row, review).await
    }

    /// How the review that an intent waits for stands; uses it, if it can be used.
    async fn before(
        &self,
        scope: &Scope<Write>,
        job: &Job,
        row: &Row,
        id: RandomId,
    ) -> Result<Before, Error> {
        let review = match self.parts.reviews.of(scope).record(id).await {
            Ok(review) => review,
            Err(reviews::Error::Missing) => return Ok(Before::Over),
            Err(error) => return Err(error.into()),
        };
        // Not whose it was asked for: another call like it may have used it.
        let of = match planted::is("tools-approval-for-two") {
            true => review.intent,
            false => review.used_for,
        };
        let own = row.intent.as_ref().is_some_and(|intent| of == Some(intent.id));
        let now = self.parts.clock.now();
        match review.state {
            reviews::State::Open if now < review.expires => Ok(Before::Waits(review.expires)),
            reviews::State::Approved if now < review.expires => {
                self.redeem(scope, job, row, id).await?;
                Ok(Before::Allowed)
            }
            // Of this intent nothing was sent since, or it would not be pending.
            reviews::State::Used if own && is_for(&review, job) => Ok(Before::Allowed),
            reviews::State::Denied if now < review.expires => Ok(Before::Refused),
            _ => Ok(Before::Over),
        }
    }

    /// Uses an approval for exactly this write, and for the intent that is executed. Which one of
    /// several calls that are alike it was asked for does not matter: the first has it, and the
    /// others find it used.
    async fn redeem(
        &self,
        scope: &Scope<Write>,
        job: &Job,
        row: &Row,
        id: RandomId,
    ) -> Result<RandomId, Error> {
        let inbox = self.parts.reviews.of(scope);
        let mut digest = job.prepared.call.digest;
        if planted::is("tools-approval-digest-unchecked") {
            let review = inbox.record(id).await?;
            if let Some(shown) = ids::text::unhex(&review.digest) {
                digest = shown.try_into().unwrap_or(digest);
            }
        }
        let what = &job.prepared.tool.contract.name;
        let account = job.prepared.call.account.as_ref();
        let intent = job.intent_id(row.intent.as_ref());
        let wanted = Wanted { what, digest, policy: job.policy, account, intent };
        match inbox.redeem(id, wanted).await {
            Ok(review) => Ok(review.id),
            Err(reviews::Error::Missing) => Err(Error::NotApproved("there is no such review")),
            Err(reviews::Error::Other(why) | reviews::Error::Settled(why)) => {
                Err(Error::NotApproved(why))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Tells people of a write of which it is not known whether it was done. That nobody can be
    /// told does not make it known.
    pub(crate) async fn ask_a_person(
        &self,
        scope: &Scope<Write>,
        intent: &Intent,
    ) -> Option<RandomId> {
        let bytes = |digits: &str| ids::text::unhex(digits).and_then(|b| b.try_into().ok());
        let new = New {
            kind: Kind::Unknown,
            what: intent.tool.clone(),
            upstream: Some(intent.upstream.clone()),
            account: intent.account.clone(),
            payload: intent.arguments.clone().into_bytes(),
            digest: bytes(&intent.digest).unwrap_or_default(),
            policy: bytes(&intent.policy).unwrap_or_default(),
            reason: "it is not known whether this write was done".to_owned(),
            four_eyes: false,
            expires: self.parts.clock.now().plus(LOOKED_AT),
            mandates: Vec::new(),
            intent: Some(intent.id),
        };
        match self.parts.reviews.of(scope).ask(new).await {
            Ok(review) => Some(review.id),
            Err(error) => {
                tracing::error!(
                    tenant = scope.tenant().as_str(),
                    environment = scope.environment().as_str(),
                    intent = %intent.id,
                    %error,
                    "nobody could be asked about a write whose outcome is not known"
                );
                None
            }
        }
    }

    /// Whether people still see the review that asks how a write went: it expires sooner than the intent.
    pub(crate) async fn is_asked(&self, scope: &Scope<Write>, review: RandomId) -> bool {
        match self.parts.reviews.of(scope).record(review).await {
            Ok(review) => review.state == reviews::State::Open,
            // Whoever cannot be read is not asked twice.
            Err(error) => !matches!(error, reviews::Error::Missing),
        }
    }

    /// Puts a person's arguments in place of those that were asked for. What comes from the scope
    /// stays as it was.
    pub(crate) async fn edited(
        &self,
        scope: &Scope<Write>,
        id: RandomId,
        arguments: &[u8],
        by: &str,
    ) -> Result<Review, Error> {
        let inbox = self.parts.reviews.of(scope);
        let (review, payload) = inbox.get(id).await?;
        let tool = self.tools.get(&review.what).ok_or(Error::Unknown)?;
        let limits = &self.settings.limits;
        let most = ids::json::Limits { depth: limits.depth, nodes: limits.nodes };
        let before = Json::parse(&payload, &most)?;
        let mut after = Json::parse(arguments, &most)?;
        tool.rebind(&before, &mut after)?;
        let canonical = after.to_vec();
        let digest = *blake3::hash(&canonical).as_bytes();
        Ok(inbox.edit(id, canonical, digest, by).await?)
    }

    /// What was approved, as a call: exactly that, whoever's token expired meanwhile. A person
    /// may have edited it before approving it.
    pub(crate) async fn approved(
        &self,
        scope: &Scope<Write>,
        id: RandomId,
    ) -> Result<Prepared, Error> {
        let (review, payload) = self.parts.reviews.of(scope).get(id).await?;
        let tool = self.tool_for(scope, &review.what)?;
        let most = ids::json::Limits::default();
        let mut arguments = Json::parse(&payload, &most)?;
        // These come from the scope, as they did before.
        tool.unbind(&mut arguments);
        let arguments = bytes::Bytes::from(arguments.to_vec());
        let call = tool.finalize(scope, &arguments, &self.settings.limits)?;
        if hex(&call.digest) != review.digest && !planted::is("tools-approval-digest-unchecked") {
            return Err(Error::NotApproved("what it is bound to has changed since"));
        }
        let row = match &review.intent {
            Some(intent) => self.row_of(scope, intent).await?,
            None => None,
        };
        let ask = Ask {
            name: review.what.clone(),
            arguments,
            request: ids::RequestId::draw(&*self.parts.entropy),
            step: None,
            key: None,
            review: Some(id),
        };
        let key = row.map(|row| row.key);
        Ok(Prepared { tool, call, ask, key, round: Round::default() })
    }
}

fn new(kind: Kind, job: &Job, intent: &Intent, reason: String, expires: Millis) -> New {
    New {
        kind,
        what: intent.tool.clone(),
        upstream: Some(intent.upstream.clone()),
        account: intent.account.clone(),
        payload: job.prepared.call.arguments.to_vec(),
        digest: job.prepared.call.digest,
        policy: job.policy,
        reason,
        four_eyes: false,
        expires,
        mandates: Vec::new(),
        intent: Some(intent.id),
    }
}

/// Whether a review is of this very call.
fn is_for(review: &Review, job: &Job) -> bool {
    review.what == job.prepared.tool.contract.name
        && review.digest == hex(&job.prepared.call.digest)
        && review.policy == hex(&job.policy)
        && review.account == job.prepared.call.account
}
