//! A place: something that a tenant leaves and asks for again, whatever the protocol. What can be
//! attacked at any place (identity, ids, concurrency, cancelling, erasing) is written once, over
//! this.

use std::time::{Duration, Instant};

use ids::BoxFuture;

use crate::{
    catalog::Surface,
    lab::{Caller, Lab},
    verdict::Halt,
    wire::Exchange,
};

/// What was left at a place.
#[derive(Clone, Debug)]
pub(crate) struct Planted {
    /// The canary, or whatever text was left.
    pub(crate) text: String,
    /// Names and values that lead to it, as the place itself gave or took them (`id`, `thread`).
    pub(crate) handles: Vec<(String, String)>,
    /// By which it was left; kept for the proof.
    pub(crate) exchange: Exchange,
}

/// How a request is changed to attack.
#[derive(Clone, Debug, Default)]
pub(crate) struct Twist {
    /// Headers besides, as given: also ones that stand there already, which then are there twice.
    pub(crate) headers: Vec<(String, String)>,
    /// Parameters of the address besides.
    pub(crate) query: Vec<(String, String)>,
    /// Fields at the top of a JSON body besides, where the request has one.
    pub(crate) fields: Vec<(String, serde_json::Value)>,
    /// What an application's templates are filled with instead of what is the caller's own.
    pub(crate) words: Vec<(String, String)>,
    /// Hang up after this long.
    pub(crate) hang_up: Option<Duration>,
    /// Hang up when the first bytes of the body are there.
    pub(crate) hang_up_in_body: bool,
}

impl Twist {
    /// Nothing is changed.
    pub(crate) fn none() -> Self {
        Self::default()
    }

    /// With a header.
    pub(crate) fn header(name: &str, value: &str) -> Self {
        Self { headers: vec![(name.to_owned(), value.to_owned())], ..Self::default() }
    }
}

/// Something that remembers, or at least answers its caller alone.
pub(crate) trait Place: Sync {
    /// In the report: `documents`, `responses`, `points`, `keys`, `chat`.
    fn name(&self) -> &str;

    /// What it is a surface of.
    fn surface(&self) -> Surface;

    /// Whether what is left can be asked for again. If not, [`Place::read`] asks the caller's own
    /// question with the text of `planted` in it, and nothing of it outlives the answer.
    fn remembers(&self) -> bool;

    /// Whether it is read by what leads to it, an id or the like. If not, nobody can ask there for
    /// what is another's.
    fn by_id(&self) -> bool {
        true
    }

    /// Whether it is asked by HTTP, so that headers, fields and HTTP caches mean something to it.
    fn takes_headers(&self) -> bool {
        true
    }

    /// Leaves a text, in the name of `by`. An answer that is not a success is `Halt::Failed`.
    fn plant<'a>(
        &'a self,
        lab: &'a Lab,
        by: &'a Caller,
        text: &'a str,
    ) -> BoxFuture<'a, Result<Planted, Halt>>;

    /// Asks for what was left. Whatever comes back is the answer, also a refusal.
    fn read<'a>(
        &'a self,
        lab: &'a Lab,
        by: &'a Caller,
        planted: &'a Planted,
        twist: &'a Twist,
    ) -> BoxFuture<'a, Result<Exchange, Halt>>;

    /// Removes what was left, if the place can. `None` if it cannot.
    fn remove<'a>(
        &'a self,
        _lab: &'a Lab,
        _by: &'a Caller,
        _planted: &'a Planted,
    ) -> BoxFuture<'a, Result<Option<Exchange>, Halt>> {
        Box::pin(async { Ok(None) })
    }
}

/// Waits until so long after `begun`. Finer than the runtime's timer, whose grain is a millisecond:
/// many answers are faster.
pub(crate) async fn moment(begun: Instant, after: Duration) {
    let coarse = after.checked_sub(begun.elapsed() + Duration::from_millis(2));
    if let Some(coarse) = coarse {
        tokio::time::sleep(coarse).await;
    }
    while begun.elapsed() < after {
        tokio::task::yield_now().await;
    }
}
