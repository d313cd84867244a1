//! Asking providers: one after the other, again after a while, until one answers.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use ids::{ProviderId, planted};
use scope::{Scope, Write};
use tokio::time::{Instant, sleep};
use vault::Credential;

use super::{Candidate, Entry, Inner};
use crate::{
    Api, Caller, Dialect, Error, Fault, Mark, Request, Usage,
    answer::EVENTS,
    controls::{ANTHROPIC_BETA, ANTHROPIC_VERSION},
    document,
    handles::Claimer,
    request::Dress,
    retry::{self, Failed},
    scrub,
    upstream::{Call, Exchange},
};

/// Of an error's body, so much is read.
const ERROR_BODY: u64 = 64 * 1024;

/// The version of Anthropic's protocol for callers that name none.
const ANTHROPIC: HeaderValue = HeaderValue::from_static("2023-06-01");

/// An error that a provider answered with.
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
    pub(crate) retry_after: Option<HeaderValue>,
}

/// What a provider answered.
pub(super) enum Fetched {
    /// `whole`: an answer that can be kept, rather than something else in JSON.
    Json {
        status: StatusCode,
        body: Bytes,
        usage: Option<Usage>,
        whole: bool,
    },
    Refused(Refusal),
    Stream {
        exchange: Box<Exchange>,
        credential: Arc<Credential>,
        /// The caller did not ask for the usage that it holds.
        hide_usage: bool,
        /// For what it says was made.
        claimer: Claimer,
    },
}

/// How one provider was asked in vain, or not.
enum Tried {
    Answered(Box<Exchange>),
    Refused(Refusal),
    Failed(Failed),
}

/// What is to be asked of providers, and for whom.
pub(super) struct Work<'a> {
    pub(super) inner: &'a Inner,
    pub(super) scope: &'a Scope<Write>,
    pub(super) entry: &'a Entry,
    pub(super) ask: &'a Request,
    pub(super) caller: &'a Caller,
    pub(super) candidates: Vec<Candidate<'a>>,
}

impl Work<'_> {
    /// Whether asking twice might do something twice: it names what a provider keeps, or has
    /// it keep something.
    pub(super) fn stateful(&self) -> bool {
        !self.ask.cited().is_empty() || self.ask.keeps()
    }

    /// Refuses betas that a shared credential is not allowed.
    pub(super) fn betas_allowed(&self) -> Result<(), Error> {
        if self.ask.api().dialect() != Dialect::Anthropic {
            return Ok(());
        }
        for candidate in self.candidates.iter().filter(|c| c.credential.shared) {
            let allowed = &candidate.supplier().provider.betas;
            let wanted = &self.caller.anthropic_beta;
            if let Some(beta) = wanted.iter().find(|beta| !allowed.contains(beta)) {
                return Err(Error::Beta(beta.clone()));
            }
        }
        Ok(())
    }

    /// Asks the targets in turn until one answers. Says which one it was.
    pub(super) async fn fetch(&self) -> Result<(Fetched, ProviderId), Error> {
        let weights: Vec<u32> = self.candidates.iter().map(|c| c.target.weight).collect();
        let mut kept: Option<(Tried, &Candidate<'_>)> = None;
        for at in self.entry.spread.order(&weights) {
            let candidate = &self.candidates[at];
            let tried = self.try_one(candidate).await?;
            if !self.may_ask_again(&tried, Failed::again_elsewhere) {
                return self.read(tried, candidate).await;
            }
            // What a provider says tells more than that another one cannot be reached.
            match (&kept, &tried) {
                (Some((Tried::Refused(_), _)), _) | (Some(_), Tried::Failed(_)) => {}
                _ => kept = Some((tried, candidate)),
            }
        }
        match kept {
            Some((tried, candidate)) => self.read(tried, candidate).await,
            None => Err(Error::UnknownModel),
        }
    }

    /// Whether anybody may be asked again after this: it may help, and it does nothing twice.
    fn may_ask_again(&self, tried: &Tried, helps: fn(&Failed) -> bool) -> bool {
        match tried {
            Tried::Answered(_) => false,
            Tried::Refused(refusal) if self.stateful() => {
                refusal.status == StatusCode::TOO_MANY_REQUESTS
            }
            Tried::Refused(refusal) => retry::may_pass(refusal.status),
            Tried::Failed(failed) => helps(failed) && !(failed.sent && self.stateful()),
        }
    }

    /// Asks one target, again after a while if that may help. Whoever drops this ends it.
    async fn try_one(&self, candidate: &Candidate<'_>) -> Result<Tried, Error> {
        let supplier = candidate.supplier();
        let retries = &supplier.provider.retries;
        let call = self.call(candidate)?;
        let pool = supplier.upstream.pool(self.scope, &candidate.credential);
        pool.budget.deposit(retries.budget_percent);
        let over = Instant::now() + Duration::from_millis(supplier.provider.timeouts.total_ms);
        for nth in 0_u32.. {
            let (tried, wish) = match supplier.upstream.attempt(&pool, call.clone()).await {
                Ok(exchange) => self.sort(exchange, candidate).await?,
                Err(failed) => (Tried::Failed(failed), None),
            };
            if !self.may_ask_again(&tried, Failed::again_here) {
                return Ok(tried);
            }
            let entropy = &*self.inner.parts.entropy;
            let Some(wait) = retry::wait(retries, nth, wish, entropy) else { return Ok(tried) };
            if Instant::now() + wait >= over || !pool.budget.withdraw() {
                return Ok(tried);
            }
            tracing::debug!(provider = supplier.provider.id.as_str(), nth, ?wait, "asked again");
            sleep(wait).await;
        }
        Err(Fault::Unreachable.into())
    }

    /// What the head of an answer says, and how long the provider wants to be left alone.
    async fn sort(
        &self,
        mut exchange: Box<Exchange>,
        candidate: &Candidate<'_>,
    ) -> Result<(Tried, Option<Duration>), Error> {
        let status = exchange.status;
        match status {
            StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::PROXY_AUTHENTICATION_REQUIRED => Err(Fault::Credential(status).into()),
            status if status.is_success() => Ok((Tried::Answered(exchange), None)),
            status if status.is_client_error() || status.is_server_error() => {
                let wish = retry::wish(&exchange.headers, self.inner.parts.clock.now());
                if retry::may_pass(status) {
                    exchange.finish_soon();
                }
                let dialect = self.ask.api().dialect();
                let refusal = refusal(dialect, exchange, &candidate.credential).await;
                Ok((Tried::Refused(refusal), wish))
            }
            _ => Err(Fault::Malformed("its status is no answer").into()),
        }
    }

    /// Reads what came of it. What was made is the scope's before anybody hears of it.
    async fn read(
        &self,
        tried: Tried,
        candidate: &Candidate<'_>,
    ) -> Result<(Fetched, ProviderId), Error> {
        let api = self.ask.api();
        let provider = candidate.provider().clone();
        let exchange = match tried {
            Tried::Answered(exchange) => exchange,
            Tried::Refused(refusal) => return Ok((Fetched::Refused(refusal), provider)),
            Tried::Failed(failed) => return Err(failed.fault.into()),
        };
        if self.ask.stream() && api.streams() {
            if !exchange.is(EVENTS) {
                return Err(Fault::Malformed("it is no event stream").into());
            }
            let credential = Arc::clone(&candidate.credential);
            let hide_usage = self.adds_usage(candidate);
            let shared = candidate.supplier().account(&credential).shared;
            let claimer = Claimer {
                handles: self.inner.parts.handles.clone(),
                provider: provider.clone(),
                shared,
            };
            return Ok((Fetched::Stream { exchange, credential, hide_usage, claimer }, provider));
        }
        let (status, body, document) = document::collect(api, exchange, self.ask.names()).await?;
        let account = candidate.supplier().account(&candidate.credential);
        self.inner.parts.handles.claim(self.scope, account, &document.made).await?;
        let body = match document.error {
            true => scrub::answer(api, status, &body, candidate.credential.secret.expose()).into(),
            false => body,
        };
        // What stays with the provider is no answer for another request.
        let stays = !document.made.is_empty() && !planted::is("answer-with-handles-kept");
        let whole = document.whole && !stays;
        Ok((Fetched::Json { status, body, usage: document.usage, whole }, provider))
    }

    /// Whether usage is asked for that the caller did not ask for.
    fn adds_usage(&self, candidate: &Candidate<'_>) -> bool {
        let ask = self.ask;
        let chat = ask.api() == Api::Chat && ask.stream();
        chat && candidate.supplier().provider.stream_usage && !ask.asks_usage()
    }

    /// The request for a target: the caller's body with our marks, under our headers.
    fn call(&self, candidate: &Candidate<'_>) -> Result<Call, Error> {
        let ask = self.ask;
        let ask_usage = self.adds_usage(candidate);
        let (body, headers) = self.inner.dressed(self.scope, candidate, ask, ask_usage)?;
        let path = candidate.supplier().upstream.path(ask.api(), &candidate.target.model);
        let mut call = Call::post(path, body, ask.stream() && ask.api().streams());
        call.headers = headers;
        if ask.api().dialect() == Dialect::Anthropic {
            let version = self.caller.anthropic_version.clone().unwrap_or(ANTHROPIC);
            call.headers.push((ANTHROPIC_VERSION, version));
            let betas = &self.caller.anthropic_beta;
            if !betas.is_empty()
                && let Ok(betas) = HeaderValue::from_str(&betas.join(","))
            {
                call.headers.push((ANTHROPIC_BETA, betas));
            }
        }
        Ok(call)
    }
}

impl Inner {
    /// A request as a target gets it: with the scope's marks, and the model by its name there.
    pub(crate) fn dressed(
        &self,
        scope: &Scope<Write>,
        candidate: &Candidate<'_>,
        ask: &Request,
        ask_usage: bool,
    ) -> Result<(Bytes, Vec<(HeaderName, HeaderValue)>), Error> {
        let provider = &candidate.supplier().provider;
        let marks: Vec<(Mark, String)> = provider
            .marks(ask.api())
            .into_iter()
            .map(|mark| (mark, self.parts.salts.of(scope, &provider.id, mark)))
            .collect();
        let in_body: Vec<(Mark, &str)> = marks
            .iter()
            .filter(|(mark, _)| mark.body_field().is_some())
            .map(|(mark, value)| (*mark, value.as_str()))
            .collect();
        let model = Some(candidate.target.model.as_str());
        let body = ask.upstream_body(&Dress { model, marks: &in_body, ask_usage })?;
        let mut headers = Vec::new();
        for (mark, value) in &marks {
            if let (Some(name), Ok(value)) = (mark.header(), HeaderValue::from_str(value)) {
                headers.push((HeaderName::from_static(name), value));
            }
        }
        Ok((body, headers))
    }
}

/// Reads an error, and rebuilds it without credentials.
pub(crate) async fn refusal(
    dialect: Dialect,
    mut exchange: Box<Exchange>,
    credential: &Credential,
) -> Refusal {
    let status = exchange.status;
    let retry_after = retry_after(&exchange.headers);
    exchange.at_most(ERROR_BODY);
    // An error whose words do not come is still one.
    let body = exchange.collect().await.unwrap_or_default();
    let body = scrub::error_body(dialect, status, &body, credential.secret.expose());
    Refusal { status, body: body.into(), retry_after }
}

/// `Retry-After`, if it is what RFC 9110 (10.2.3) says: seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<HeaderValue> {
    let value = headers.get(header::RETRY_AFTER)?;
    let bytes = value.as_bytes();
    (retry::number(bytes).is_some() || retry::date(bytes).is_some()).then(|| value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_a_number_or_a_date() {
        for (value, passes) in [
            ("0", true),
            ("120", true),
            ("Sun, 06 Nov 1994 08:49:37 GMT", true),
            ("", false),
            ("123456789", false),
            ("-1", false),
            ("1.5", false),
            ("sk-abc", false),
            ("Sun, 06 sk- 1994 08:49:37 GMT", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_str(value).unwrap());
            assert_eq!(retry_after(&headers).is_some(), passes, "{value}");
        }
    }
}
