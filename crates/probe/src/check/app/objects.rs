//! Routes with ids in their paths, beside the one that documents are read by.

use http::Method;

use super::{
    super::objects::says_gone,
    bench::{Bench, holds},
};
use crate::{
    canary::{Canary, Side},
    drive::app::{Words, names, path, route as split, steady, told},
    verdict::{Halt, Trial},
    wire::{Exchange, Request},
};

/// What one tenant has that this route leads to.
struct Own {
    words: Words,
    canaries: Vec<Canary>,
    /// By which its owner sees that it is still there, and as it was.
    view: Option<String>,
}

impl Own {
    fn holds(&self, exchange: &Exchange) -> bool {
        self.canaries.iter().any(|canary| holds(exchange, canary))
    }
}

/// One route with the ids of what is the other tenant's.
pub(super) async fn route(
    bench: &mut Bench<'_>,
    trial: &mut Trial,
    text: &str,
) -> Result<(), Halt> {
    let (method, template) = split(text);
    match method {
        Method::DELETE => deleted(bench, trial, template).await,
        Method::PUT | Method::PATCH => overwritten(bench, trial, method, template).await,
        _ => read(bench, trial, method, template).await,
    }
}

/// A thing of a's that the path leads to: a document, or else a conversation with its job.
async fn own(bench: &mut Bench<'_>, trial: &mut Trial, path: &str) -> Result<Own, Halt> {
    let app = bench.app;
    let wanted = names(path);
    let mut own = Own { words: bench.words(Side::A), canaries: Vec::new(), view: None };
    if wanted.iter().any(|name| matches!(*name, "thread" | "job")) && app.ask.is_some() {
        let canary = bench.lab.canary(Side::A, "conversations");
        let prompt = format!("Remember this reference code of mine: {}", canary.text);
        let done = bench.question(Side::A, &prompt).await?.whole()?;
        done.exchanges.iter().for_each(|exchange| bench.pass(trial, exchange));
        own.words.add(&done.given);
        own.canaries.push(canary);
    }
    if wanted.contains(&"id") || own.canaries.is_empty() {
        let left = bench.plant(Side::A, str::to_owned).await?;
        own.words = own.words.with_all(&left.planted.handles);
        own.canaries.push(left.canary);
    }
    // The route that is read with the fewest ids of those that are here.
    let views = app.objects.iter().map(|text| split(text));
    let views = views.filter(|(method, path)| {
        let names = names(path);
        *method == Method::GET
            && !names.is_empty()
            && names.iter().all(|name| wanted.contains(name))
    });
    own.view = views.map(|(_, path)| path.to_owned()).next();
    Ok(own)
}

async fn send(
    bench: &Bench<'_>,
    side: Side,
    request: Request,
    trial: &mut Trial,
) -> Result<Exchange, Halt> {
    let exchange = steady(bench.lab, bench.by(side), request).await?;
    bench.pass(trial, &exchange);
    Ok(exchange)
}

async fn view(bench: &Bench<'_>, own: &Own, trial: &mut Trial) -> Result<Exchange, Halt> {
    let Some(view) = &own.view else {
        return Err(Halt::Lacking("add the GET route of it to objects".into()));
    };
    send(bench, Side::A, Request::get(path(view, &own.words)?), trial).await
}

/// Whether what is a's is gone after what b did, and stays it, while something else of a's is
/// served still. An error, a refusal or an outage says nothing of what became of it.
async fn lost(
    bench: &Bench<'_>,
    (own, kept): (&Own, &Own),
    trial: &mut Trial,
    after: &Exchange,
) -> Result<bool, Halt> {
    if own.holds(after) {
        return Ok(false);
    }
    let again = view(bench, own, trial).await?;
    for seen in [after, &again] {
        if !says_gone(seen, own.holds(seen)) {
            trial.doubt(format!("its owner, afterwards: {}", told(seen)));
            return Ok(false);
        }
    }
    let still = view(bench, kept, trial).await?;
    if !kept.holds(&still) {
        trial.doubt(format!("what b did not touch is not there, too: {}", told(&still)));
        return Ok(false);
    }
    Ok(true)
}

async fn read(
    bench: &mut Bench<'_>,
    trial: &mut Trial,
    method: Method,
    template: &str,
) -> Result<(), Halt> {
    let own = own(bench, trial, template).await?;
    let request = Request::new(method.clone(), path(template, &own.words)?);
    let seen = send(bench, Side::A, request.clone(), trial).await?;
    // An answer without a body says only that there is something.
    let is_head = method == Method::HEAD;
    let found = own.holds(&seen);
    trial.positive(found || (is_head && seen.accepted()), "its owner gets it there");
    let got = send(bench, Side::B, request, trial).await?;
    bench.attacked(trial, &got);
    if let Some((seen, at)) = bench.foreign(trial, Side::B, [&got]) {
        trial.leaked("B read what is A's", &seen, &[at]);
    } else if is_head && got.accepted() {
        trial.leak("B learnt that A's is there", &[&got]);
    }
    Ok(())
}

/// A body as the application takes it, in the name of `side`.
fn body(bench: &Bench<'_>, own: &Own, canary: &Canary, request: Request) -> Result<Request, Halt> {
    let Some(plant) = bench.app.plant.as_ref().filter(|plant| plant.json.is_some()) else {
        return Err(Halt::Lacking("a write takes its body from plant: plant = { … json }".into()));
    };
    let words = own.words.clone().with("canary", &canary.text);
    let like = crate::drive::app::request(bench.lab, plant, &words)?;
    Ok(Request { body: like.body, headers: like.headers, ..request })
}

async fn overwritten(
    bench: &mut Bench<'_>,
    trial: &mut Trial,
    method: Method,
    template: &str,
) -> Result<(), Halt> {
    let (kept, own) = (own(bench, trial, template).await?, own(bench, trial, template).await?);
    let before = view(bench, &own, trial).await?;
    let is_there = |exchange: &Exchange| own.holds(exchange);
    trial.positive(is_there(&before), "its owner reads it");
    let address = path(template, &own.words)?;
    let write = Request::new(method, address);
    let foreign = bench.lab.canary(Side::B, "written over");
    let attack = body(bench, &own, &foreign, write.clone())?;
    let attack = send(bench, Side::B, attack, trial).await?;
    bench.attacked(trial, &attack);
    let after = view(bench, &own, trial).await?;
    if let Some((seen, at)) = bench.foreign(trial, Side::A, [&after]) {
        trial.leaked("B wrote over what is A's", &seen, &[&attack, at]);
    } else if is_there(&before) && lost(bench, (&own, &kept), trial, &after).await? {
        trial.leak("what is A's is gone after B's write", &[&before, &attack, &after]);
    }
    // The owner's own write is done, or else nothing was refused.
    let second = bench.lab.canary(Side::A, "written");
    let request = body(bench, &own, &second, write)?;
    let written = send(bench, Side::A, request, trial).await?;
    let after = view(bench, &own, trial).await?;
    let done = written.accepted() && holds(&after, &second);
    trial.positive(done, "its owner writes it over");
    Ok(())
}

async fn deleted(bench: &mut Bench<'_>, trial: &mut Trial, template: &str) -> Result<(), Halt> {
    let (kept, own) = (own(bench, trial, template).await?, own(bench, trial, template).await?);
    let is_there = |exchange: &Exchange| own.holds(exchange);
    let before = view(bench, &own, trial).await?;
    trial.positive(is_there(&before), "its owner reads it");
    let delete = Request::new(Method::DELETE, path(template, &own.words)?);
    let attack = send(bench, Side::B, delete.clone(), trial).await?;
    bench.attacked(trial, &attack);
    let after = view(bench, &own, trial).await?;
    if is_there(&before) && lost(bench, (&own, &kept), trial, &after).await? {
        trial.leak("B removed what is A's", &[&before, &attack, &after]);
    }
    let removed = send(bench, Side::A, delete, trial).await?;
    let gone = view(bench, &own, trial).await?;
    trial.positive(removed.accepted() && says_gone(&gone, is_there(&gone)), "its owner removes it");
    Ok(())
}
