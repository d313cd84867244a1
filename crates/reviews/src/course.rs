//! The course of a review: which state follows from which, and by whose hand. Nothing here reads or
//! writes rows.

use ids::{Millis, planted, text::hex};
use scope::{Access, Scope};

use crate::{Decided, Decision, Error, Finding, Kind, Review, State, Wanted};

/// Most decisions and edits of one review.
const MOST_DECISIONS: usize = 64;
/// The longest reason, in bytes.
const MAX_REASON: usize = 2_000;

/// Whoever decides, held against whoever asked.
#[derive(Clone, Debug)]
pub(crate) struct Decider {
    by: String,
    person: String,
    /// It is the one who asked, or works in the same workflow or as the same agent.
    asked: bool,
}

impl Decider {
    /// Who decides on a review under this scope.
    pub(crate) fn of<A: Access>(scope: &Scope<A>, by: &str, review: &Review) -> Self {
        let by = by.to_owned();
        if by.starts_with("operator:") {
            let asked = by == review.asked_by;
            return Self { person: by.clone(), asked, by };
        }
        let asked = by == review.asked_by
            || (scope.agent().is_some() && scope.agent() == review.agent.as_ref())
            // An agent that got hold of a grant to decide has it in its own workflow.
            || (scope.workflow() == review.workflow.as_ref()
                && (scope.workflow().is_some() || scope.subject() == review.subject.as_ref()));
        let person = match (scope.subject(), scope.workflow()) {
            (Some(subject), _) => format!("subject:{subject}"),
            (None, Some(workflow)) => format!("workflow:{workflow}"),
            (None, None) => by.clone(),
        };
        Self { by, person, asked }
    }
}

impl Review {
    /// How it stands at a moment: what was not used before it expires cannot be used.
    #[must_use]
    pub fn stands(&self, now: Millis) -> State {
        if self.state.is_live() && now >= self.expires && !planted::is("review-expired-used") {
            return State::Expired;
        }
        self.state
    }

    /// How many people have allowed what it now says.
    #[must_use]
    pub fn approvals(&self) -> usize {
        self.decisions.iter().filter(|one| one.approved && !one.void).count()
    }

    /// Notes a decision.
    pub(crate) fn decide(
        &mut self,
        who: &Decider,
        decision: &Decision,
        now: Millis,
    ) -> Result<(), Error> {
        // Nobody says of an outcome that it is allowed.
        if self.kind == Kind::Unknown {
            return Err(Error::Kind(self.kind));
        }
        match self.state {
            State::Open => {}
            // What was allowed can be stopped until it is used.
            State::Approved if !decision.approve => {}
            state => return Err(Error::Settled(state.as_str())),
        }
        self.is_of(&decision.digest)?;
        let approval = self.kind == Kind::Approval;
        // Who asked may withdraw what it asked for, and nothing else.
        if who.asked && (decision.approve || !approval) && !planted::is("review-asker-approves") {
            return Err(Error::SamePerson);
        }
        if decision.approve && self.has_approved(who) {
            return Err(Error::SamePerson);
        }
        self.note(who, decision.approve, decision.reason.clone(), now)?;
        self.state = match (approval, decision.approve) {
            (false, _) => State::Closed,
            (true, false) => State::Denied,
            (true, true) if self.four_eyes && self.approvals() < 2 => State::Open,
            (true, true) => State::Approved,
        };
        Ok(())
    }

    /// Notes how a write went of which that was not known. Whoever wants it done says nothing of it:
    /// what was not done may be sent again.
    pub(crate) fn settle(
        &mut self,
        who: &Decider,
        finding: &Finding,
        now: Millis,
    ) -> Result<(), Error> {
        if self.kind != Kind::Unknown {
            return Err(Error::Kind(self.kind));
        }
        if self.state != State::Open {
            return Err(Error::Settled(self.state.as_str()));
        }
        self.is_of(&finding.digest)?;
        if who.asked && !planted::is("review-asker-settles") {
            return Err(Error::SamePerson);
        }
        self.note(who, false, finding.reason.clone(), now)?;
        if let Some(noted) = self.decisions.last_mut() {
            noted.done = Some(finding.done);
        }
        self.state = State::Closed;
        Ok(())
    }

    /// Uses an approval.
    pub(crate) fn redeem<A: Access>(
        &mut self,
        scope: &Scope<A>,
        wanted: &Wanted<'_>,
    ) -> Result<(), Error> {
        if self.kind != Kind::Approval {
            return Err(Error::Other("not an approval"));
        }
        if self.what != wanted.what {
            return Err(Error::Other("another tool"));
        }
        self.is_of(&wanted.digest)?;
        self.is_whose(scope, wanted)?;
        if self.policy != hex(&wanted.policy) {
            return Err(Error::Other("the policies have changed since"));
        }
        let used_again = self.state == State::Used && planted::is("review-used-twice");
        if self.state != State::Approved && !used_again {
            return Err(Error::Settled(self.state.as_str()));
        }
        self.state = State::Used;
        // So that whoever finds it used later knows whether that was itself.
        self.used_for = Some(wanted.intent);
        Ok(())
    }

    /// Closes it: it was settled elsewhere, or nothing is to come of it.
    pub(crate) fn close(&mut self, by: &str, reason: &str, now: Millis) -> Result<(), Error> {
        if !self.state.is_live() {
            return Err(Error::Settled(self.state.as_str()));
        }
        let who = Decider { by: by.to_owned(), person: by.to_owned(), asked: false };
        self.note(&who, false, Some(reason.to_owned()), now)?;
        self.state = State::Closed;
        Ok(())
    }

    /// Puts other arguments in place of those that were asked for. Nobody has allowed these yet.
    pub(crate) fn edit(
        &mut self,
        who: &Decider,
        digest: &[u8; 32],
        now: Millis,
    ) -> Result<(), Error> {
        if self.kind != Kind::Approval {
            return Err(Error::Other("not an approval"));
        }
        if !self.state.is_live() {
            return Err(Error::Settled(self.state.as_str()));
        }
        if who.asked {
            return Err(Error::SamePerson);
        }
        for decision in &mut self.decisions {
            decision.void = true;
        }
        self.note(who, false, Some("edited the arguments".to_owned()), now)?;
        if let Some(noted) = self.decisions.last_mut() {
            noted.void = true;
        }
        self.digest = hex(digest);
        self.state = State::Open;
        Ok(())
    }

    fn is_of(&self, digest: &[u8; 32]) -> Result<(), Error> {
        if self.digest == hex(digest) || planted::is("review-digest-unchecked") {
            return Ok(());
        }
        Err(Error::Other("other arguments"))
    }

    /// What a person allows one end user or workflow to do, no other one does. The run and the
    /// credential may be later ones: whoever waited for a person comes back.
    fn is_whose<A: Access>(&self, scope: &Scope<A>, wanted: &Wanted<'_>) -> Result<(), Error> {
        let same = self.workflow.as_ref() == scope.workflow()
            && self.subject.as_ref() == scope.subject()
            && self.account.as_ref() == wanted.account;
        if same || planted::is("review-for-another-subject") {
            return Ok(());
        }
        Err(Error::Other("somebody else's call"))
    }

    fn has_approved(&self, who: &Decider) -> bool {
        let mut counted = self.decisions.iter().filter(|one| one.approved && !one.void);
        counted.any(|one| one.person == who.person || one.by == who.by)
    }

    fn note(
        &mut self,
        who: &Decider,
        approved: bool,
        reason: Option<String>,
        at: Millis,
    ) -> Result<(), Error> {
        if reason.as_ref().is_some_and(|reason| reason.len() > MAX_REASON) {
            return Err(Error::Malformed("a reason is at most 2,000 bytes"));
        }
        if self.decisions.len() >= MOST_DECISIONS {
            return Err(Error::Malformed("this review was decided and edited too often; deny it"));
        }
        let (by, person) = (who.by.clone(), who.person.clone());
        self.decisions.push(Decided { by, at, approved, done: None, reason, person, void: false });
        Ok(())
    }
}
