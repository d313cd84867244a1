//! Any application, by the request templates of the target file.
//!
//! A template is filled with what is known, sent, and what its pointers name is taken out of the
//! answer. A job is asked for until it is done. [`places`] are what a tenant can leave there and
//! ask for again: documents, conversations, jobs.

mod fill;
mod place;
mod pointer;

use std::time::{Duration, Instant};

use http::Method;

pub(crate) use self::{
    fill::{Words, filled, names, path, request, uuid, value, wanted},
    place::{Documents, everything, forget, named, places},
    pointer::{documents, put, shape},
};
use crate::{
    canary::Side,
    lab::{Caller, Lab},
    place::Twist,
    target::{App, Kind, Template},
    verdict::Halt,
    wire::{Exchange, Request},
};

/// A job is waited for so long, if the file does not say.
const PATIENCE: f64 = 60.0;

/// What came of a template.
#[derive(Clone, Debug)]
pub(crate) struct Done {
    /// All requests, in their order: what was asked, then asking whether it is done. Not empty.
    pub(crate) exchanges: Vec<Exchange>,
    /// What the answers gave: ids, jobs, conversations.
    pub(crate) given: Words,
    /// Why something that has to be there is not.
    missing: Option<String>,
}

impl Done {
    /// The answer that counts: of a job, the last one.
    pub(crate) fn last(&self) -> Result<&Exchange, Halt> {
        self.exchanges.last().ok_or_else(|| Halt::Failed("nothing was asked".into()))
    }

    /// It was done, and everything is there that the templates name.
    pub(crate) fn whole(self) -> Result<Self, Halt> {
        if let Some(failed) = self.exchanges.iter().find(|exchange| !exchange.accepted()) {
            return Err(Halt::Failed(told(failed)));
        }
        match self.missing {
            Some(why) => Err(Halt::Failed(why)),
            None => Ok(self),
        }
    }
}

/// What came, in a few words that show nothing of it.
pub(crate) fn told(exchange: &Exchange) -> String {
    match &exchange.outcome {
        Ok(answer) => {
            let half = if answer.cut { ", cut off" } else { "" };
            format!("{} answered {}{half}: {}", asked(exchange), answer.status, shape(exchange))
        }
        Err(why) => format!("{}: {why}", asked(exchange)),
    }
}

/// Method and path, without what every line begins with.
fn asked(exchange: &Exchange) -> String {
    let Some((method, address)) = exchange.line.split_once(' ') else {
        return exchange.line.clone();
    };
    let path = reqwest::Url::parse(address).map(|url| url.path().to_owned());
    format!("{method} {}", path.unwrap_or_else(|_| address.to_owned()))
}

/// The method and path of a template.
pub(crate) fn line(template: &Template) -> Option<(Method, &str)> {
    let methods = [
        (Method::GET, &template.get),
        (Method::POST, &template.post),
        (Method::PUT, &template.put),
        (Method::PATCH, &template.patch),
        (Method::DELETE, &template.delete),
    ];
    methods.into_iter().find_map(|(method, path)| Some((method, path.as_deref()?)))
}

/// A path with its method before it, if it is not GET: `DELETE /docs/{id}`.
pub(crate) fn route(text: &str) -> (Method, &str) {
    let split = text.split_once(' ').and_then(|(method, path)| {
        Some((Method::from_bytes(method.as_bytes()).ok()?, path.trim_start()))
    });
    split.unwrap_or((Method::GET, text))
}

/// Sends a request; if it is told to wait, it waits a little and asks again. Not if it hangs up:
/// that is no request to be repeated.
pub(crate) async fn steady(lab: &Lab, by: &Caller, request: Request) -> Result<Exchange, Halt> {
    match request.hang_up.is_some() || request.hang_up_in_body {
        true => lab.send(by, request).await,
        false => lab.wire.send_patiently(by, request).await,
    }
}

/// As a twist, another tenant's name wherever the file's templates have a place for it; `None` if
/// they have none, or nobody knows the name.
pub(crate) fn naming(lab: &Lab, side: Side) -> Option<Twist> {
    let app = match &lab.target.kind {
        Kind::Http(app) => app,
        Kind::Mcp(server) => {
            let named = server.calls().any(|call| call.wants("tenant"));
            return named.then(|| called(lab, side)).flatten();
        }
        _ => return None,
    };
    let templates = [&app.plant, &app.ask, &app.poll, &app.rpc, &app.cleanup, &app.fail];
    let templates = templates.into_iter().flatten().chain(&app.tools).chain(&app.open);
    let mut routes = app.objects.iter().map(|text| route(text).1);
    let has = |name: &str| name == "tenant";
    let named = templates.flat_map(wanted).any(|name| has(&name))
        || routes.any(|path| names(path).into_iter().any(has));
    named.then(|| called(lab, side)).flatten()
}

/// As a twist, a tenant's first name in the place of the caller's own.
fn called(lab: &Lab, side: Side) -> Option<Twist> {
    let word = lab.target.known(side).and_then(|tenant| tenant.names.first())?;
    let words = vec![("tenant".to_owned(), word.clone())];
    Some(Twist { words, ..Twist::none() })
}

/// As a twist, but for hanging up: what follows the request that is hung up on is not.
fn calm(twist: &Twist) -> Twist {
    Twist { hang_up: None, hang_up_in_body: false, ..twist.clone() }
}

/// Carries out a template, until its job is done if it makes one.
pub(crate) async fn carry_out(
    lab: &Lab,
    app: &App,
    by: &Caller,
    (template, words): (&Template, &Words),
    twist: &Twist,
) -> Result<Done, Halt> {
    let mut words = words.clone().with_all(&twist.words);
    let in_session = wanted(template).iter().any(|name| name == "session");
    if in_session && let Some(failed) = open(lab, app, by, &mut words, twist).await? {
        return Ok(failed);
    }
    let request = fill::request(lab, template, &words)?.twisted(twist);
    let exchange = steady(lab, by, request).await?;
    let mut done = Done { exchanges: vec![exchange], given: Words::default(), missing: None };
    done.take(template, lab.options.dry_run);
    if template.job.is_some() && done.given.get("job").is_some() {
        words.add(&done.given);
        let twist = calm(twist);
        wait(lab, app, by, &words, &twist, &mut done).await?;
    }
    Ok(done)
}

/// Opens a session, where there are sessions and none is known; what came of it if it did not open.
pub(crate) async fn open(
    lab: &Lab,
    app: &App,
    by: &Caller,
    words: &mut Words,
    twist: &Twist,
) -> Result<Option<Done>, Halt> {
    if words.get("session").is_some() {
        return Ok(None);
    }
    let twist = calm(twist);
    for template in &app.open {
        let request = fill::request(lab, template, words)?.twisted(&twist);
        let exchange = steady(lab, by, request).await?;
        let accepted = exchange.accepted();
        let mut done = Done { exchanges: vec![exchange], given: Words::default(), missing: None };
        done.take(template, lab.options.dry_run);
        if !accepted || done.missing.is_some() {
            return Ok(Some(done));
        }
        words.add(&done.given);
    }
    Ok(None)
}

impl Done {
    /// Takes out of the last answer what the template's pointers name.
    fn take(&mut self, template: &Template, dry: bool) {
        let Some(exchange) = self.exchanges.last().filter(|exchange| exchange.accepted()) else {
            return;
        };
        let pointers = [
            ("id", &template.id),
            ("job", &template.job),
            ("thread", &template.thread),
            ("session", &template.session),
        ];
        let mut missing = None;
        let mut given = Words::default();
        for (name, at) in pointers {
            let Some(at) = at else { continue };
            match pointer::pick(exchange, at).or(dry.then(|| "example".to_owned())) {
                Some(value) => given.put(name, &value),
                None => {
                    missing = Some(format!("no {name} at `{at}`: {}", told(exchange)));
                }
            }
        }
        if let Some(at) = &template.answer
            && template.job.is_none()
            && pointer::pick(exchange, at).is_none()
        {
            missing = Some(format!("no answer at `{at}`: {}", told(exchange)));
        }
        self.given.add(&given);
        self.missing = self.missing.take().or(missing);
    }
}

/// One look at a job.
pub(crate) fn look(lab: &Lab, app: &App, words: &Words) -> Result<Request, Halt> {
    let Some(poll) = &app.poll else {
        return Err(Halt::Lacking("say how a job is asked for: poll = { get = … }".into()));
    };
    fill::request(lab, poll, words)
}

async fn wait(
    lab: &Lab,
    app: &App,
    by: &Caller,
    words: &Words,
    twist: &Twist,
    done: &mut Done,
) -> Result<(), Halt> {
    let request = look(lab, app, words)?.twisted(twist);
    let Some(poll) = &app.poll else { return Ok(()) };
    let most = Duration::from_secs_f64(poll.seconds.unwrap_or(PATIENCE).clamp(0.0, 3_600.0));
    let (begun, mut pause) = (Instant::now(), Duration::from_millis(10));
    loop {
        let exchange = steady(lab, by, request.clone()).await?;
        let over = !exchange.accepted() || pointer::until(&exchange, poll) || lab.options.dry_run;
        if over || begun.elapsed() + pause > most {
            if !over {
                let seconds = most.as_secs();
                done.missing = Some(format!("a job was not done after {seconds} s"));
            }
            done.exchanges.push(exchange);
            done.take(poll, lab.options.dry_run);
            return Ok(());
        }
        tokio::time::sleep(pause).await;
        pause = pause.mul_f64(1.6).min(Duration::from_secs(2));
    }
}

#[cfg(test)]
mod tests;
