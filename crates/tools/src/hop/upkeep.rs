//! What operators and maintenance do with tools, and what tenants look up of their writes.

use ids::RandomId;
use scope::{Access, Scope, SystemScope, Write};

use super::{Inner, Tools};
use crate::{Content, Error, Facts, Mode, Pinned, Receipt, Report, Resumed, contract::Form, dry};

impl Tools {
    /// Puts a person's arguments in the place of those that wait for an approval: nobody has
    /// approved these yet. What comes from the scope stays as it was; what the contract says
    /// of the rest is held when it is carried out.
    ///
    /// # Errors
    /// There is no such review here that can be edited; the arguments are malformed.
    pub async fn edit(
        &self,
        scope: &Scope<Write>,
        review: RandomId,
        arguments: &[u8],
        by: &str,
    ) -> Result<reviews::Review, Error> {
        self.0.edited(scope, review, arguments, by).await
    }

    /// Tries a contract on a call and, where there is one, an answer: what would be bound, refused,
    /// sent, and handed on. Nothing is sent and nothing is written down.
    ///
    /// # Errors
    /// There is no such tool.
    pub fn test(
        &self,
        scope: &Scope<Write>,
        name: &str,
        arguments: &[u8],
        answer: Option<&Content>,
    ) -> Result<Report, Error> {
        let tool = self.0.tools.get(name).ok_or(Error::Unknown)?;
        let limits = &self.0.settings.limits;
        let facts = Facts::of(scope, tool.upstream.system());
        let prepared = tool.finalize(scope, arguments, limits);
        Ok(dry::report(tool, &facts, prepared, answer, limits.records))
    }

    /// Closes connections to databases that were idle for too long. Now and then.
    pub fn tidy(&self) {
        if let Some(outside) = &self.0.outside {
            outside.upstreams.tidy();
        }
    }

    /// Looks up every write that a crash, or an upstream out of reach, left open, under the mandate
    /// that was written down with it. Nothing is sent again. At start, and now and then
    /// ([`Self::RESUME_EVERY`]).
    ///
    /// # Errors
    /// Rows cannot be read.
    pub async fn resume(&self, system: &SystemScope) -> Result<Resumed, Error> {
        self.0.resume(system).await
    }

    /// How often open writes are to be looked up.
    pub const RESUME_EVERY: std::time::Duration = Inner::pause();

    /// A person found out how a write went of which nothing else could, as the review asks. Only what
    /// is known not to be done may be sent again. Whoever stops waiting does not stop it.
    ///
    /// # Errors
    /// There is no such review here, or of another kind, or it does not ask any more; the person
    /// is one who asked for the write, or saw something else.
    pub async fn settle(
        &self,
        scope: &Scope<Write>,
        review: RandomId,
        finding: reviews::Finding,
    ) -> Result<reviews::Review, Error> {
        let inner = std::sync::Arc::clone(&self.0);
        let settled =
            scope.spawn(async move |scope| inner.settle_by_hand(&scope, review, finding).await);
        settled.await.unwrap_or(Err(Error::Internal("what a person found out was cut off")))
    }

    /// Forgets what the deployment keeps of a tenant's environment: of its writes that are under
    /// way, and of what it saw first. For erasing it; the rest lies in its own partition.
    ///
    /// # Errors
    /// Rows cannot be written.
    pub async fn forget(&self, scope: &Scope<Write>) -> Result<u64, Error> {
        self.0.forget_open(scope).await
    }

    /// Which definitions are accepted, of all tools of MCP upstreams that anybody has seen: for
    /// everybody, and by each tenant's environment.
    ///
    /// # Errors
    /// Rows cannot be read.
    pub async fn pins(&self, system: &SystemScope) -> Result<Vec<Pinned>, Error> {
        match &self.0.outside {
            Some(outside) => outside.catalog.show(system).await,
            None => Ok(Vec::new()),
        }
    }

    /// Accepts a definition of a tool for everybody, in the place of what was pinned. It is named by
    /// its hash: the one that was seen last may be of any tenant's upstream, and another than
    /// the one that a person looked at.
    ///
    /// # Errors
    /// There is no such tool; it is no hash; rows cannot be written.
    pub async fn pin(&self, system: &SystemScope, name: &str, hash: &str) -> Result<Pinned, Error> {
        let tool = self.0.tools.get(name).ok_or(Error::Unknown)?;
        let (Form::Mcp(there), Some(outside)) = (&tool.form, &self.0.outside) else {
            return Err(Error::Settings(format!("`{name}` is defined here; nothing of it drifts")));
        };
        outside.catalog.pin(system, &tool.upstream.id, there, hash).await
    }

    /// Receipts of the scope's tenant and environment, the newest first.
    ///
    /// # Errors
    /// There is no receipt `after`; what rows answer.
    pub async fn receipts(
        &self,
        scope: &Scope<Write>,
        after: Option<RandomId>,
        limit: usize,
    ) -> Result<Vec<Receipt>, Error> {
        let after = match after {
            Some(id) => Some(self.receipt(scope, id).await?),
            None => None,
        };
        self.0.receipts_after(scope, after.as_ref(), limit).await
    }

    /// The receipt of an intent.
    ///
    /// # Errors
    /// There is none here of this id.
    pub async fn receipt(&self, scope: &Scope<Write>, id: RandomId) -> Result<Receipt, Error> {
        self.0.receipt_by_id(scope, &id).await?.ok_or(Error::Handle("receipt"))
    }

    /// How far writes of the scope's tenant and environment go at most, if an operator said.
    ///
    /// # Errors
    /// Rows cannot be read.
    pub async fn mode<A: Access>(&self, scope: &Scope<A>) -> Result<Option<Mode>, Error> {
        self.0.tenant_mode(scope).await
    }

    /// Says so; `None` is: as tools and workflows have it.
    ///
    /// # Errors
    /// Rows cannot be written.
    pub async fn set_mode(&self, scope: &Scope<Write>, mode: Option<Mode>) -> Result<(), Error> {
        self.0.set_tenant_mode(scope, mode).await
    }
}
