//! What a tenant can leave at an application and ask for again.

use std::time::{Duration, Instant};

use http::Method;
use ids::BoxFuture;

use super::{
    Done, Words, carry_out,
    fill::{self, names, uuid, wanted},
    line, look, route, steady, told,
};
use crate::{
    catalog::Surface,
    lab::{Caller, Lab},
    place::{Place, Planted, Twist},
    target::{App, Template},
    verdict::Halt,
    wire::{Exchange, Request},
};

/// Every place that the file says enough of.
pub(crate) fn places(app: &App) -> Vec<Box<dyn Place + '_>> {
    let mut places: Vec<Box<dyn Place>> = Vec::new();
    if let Some(documents) = Documents::of(app) {
        places.push(Box::new(documents));
    }
    let Some(ask) = &app.ask else { return places };
    let told = ask.thread.is_some() || wanted(ask).iter().any(|name| name == "thread");
    places.push(match told {
        true => Box::new(Conversations { app, ask }),
        false => Box::new(Questions { app, ask }),
    });
    if ask.job.is_some() && app.poll.is_some() {
        places.push(Box::new(Jobs { app, ask }));
    }
    places
}

/// Removes what leads there by these handles, if the file says how: by `cleanup`, or by a DELETE
/// among `objects`.
pub(crate) async fn forget(
    lab: &Lab,
    app: &App,
    by: &Caller,
    handles: &[(String, String)],
) -> Result<Option<Exchange>, Halt> {
    let words = Words::of(lab, by).with_all(handles);
    let known = |name: &String| handles.iter().any(|(own, _)| own == name);
    let leads = |names: &[String]| names.iter().any(known);
    if let Some(cleanup) = app.cleanup.as_ref().filter(|template| leads(&wanted(template))) {
        let done = carry_out(lab, app, by, (cleanup, &words), &Twist::none()).await?;
        return last(done).map(Some);
    }
    let deletes = app.objects.iter().map(|text| route(text));
    let mut deletes = deletes.filter(|(method, _)| *method == Method::DELETE);
    let own = deletes
        .find(|(_, path)| leads(&names(path).into_iter().map(str::to_owned).collect::<Vec<_>>()));
    let Some((method, path)) = own else { return Ok(None) };
    let request = Request::new(method, fill::path(path, &words)?);
    steady(lab, by, request).await.map(Some)
}

/// Whether there is a place among them for what leads to one thing.
fn handled(names: &[&str]) -> bool {
    names.iter().any(|name| matches!(*name, "id" | "thread" | "job"))
}

/// How what was left is read.
#[derive(Clone, Copy)]
enum Reading<'a> {
    Route(&'a str),
    Tool(&'a Template),
    Question(&'a Template),
}

/// What is left by `plant`.
pub(crate) struct Documents<'a> {
    app: &'a App,
    plant: &'a Template,
    reading: Reading<'a>,
}

impl<'a> Documents<'a> {
    /// If the file says how a document is left, and any way to read it.
    pub(crate) fn of(app: &'a App) -> Option<Self> {
        let plant = app.plant.as_ref()?;
        Some(Self { app, plant, reading: Self::reading(app, plant)? })
    }

    fn reading(app: &'a App, plant: &Template) -> Option<Reading<'a>> {
        let given = |name: &str| match name {
            "id" => plant.id.is_some() || wanted(plant).iter().any(|own| own == "id"),
            "thread" => plant.thread.is_some(),
            "job" => plant.job.is_some(),
            "tenant" => true,
            _ => false,
        };
        let leads = |names: &[&str]| !names.is_empty() && names.iter().all(|name| given(name));
        let routes = app.objects.iter().map(|text| route(text));
        let routes = routes.filter(|(method, path)| *method == Method::GET && leads(&names(path)));
        // One that names what is asked for rather than one that lists all.
        let route =
            routes.clone().find(|(_, path)| handled(&names(path))).or(routes.clone().next());
        let tool = app.tools.iter().find(|tool| {
            let wanted = wanted(tool);
            let ids = wanted.iter().map(String::as_str);
            leads(&ids.filter(|name| !matches!(*name, "name" | "rpc_id")).collect::<Vec<_>>())
        });
        route
            .map(|(_, path)| Reading::Route(path))
            .or_else(|| tool.map(Reading::Tool))
            .or_else(|| app.ask.as_ref().map(Reading::Question))
    }

    /// The route that it is read by, so that nobody puts it to the same again.
    pub(crate) fn path(&self) -> Option<&'a str> {
        match self.reading {
            Reading::Route(path) => Some(path),
            _ => None,
        }
    }

    async fn left(&self, lab: &Lab, by: &Caller, text: &str) -> Result<Planted, Halt> {
        let mut words = Words::of(lab, by).with("canary", text);
        // Where the caller chooses the id, it is a new one.
        if wanted(self.plant).iter().any(|name| name == "id") {
            words.put("id", &uuid());
        }
        let done = carry_out(lab, self.app, by, (self.plant, &words), &Twist::none()).await?;
        let done = done.whole()?;
        let mut handles = Words::default();
        if let Some(id) = words.get("id") {
            handles.put("id", id);
        }
        handles.add(&done.given);
        let exchange = done.exchanges.into_iter().next();
        let exchange = exchange.ok_or_else(|| Halt::Failed("nothing was asked".into()))?;
        let planted = Planted { text: text.to_owned(), handles: handles.handles(), exchange };
        self.settled(lab, by, &planted).await?;
        Ok(planted)
    }

    /// Some systems take a while until what was accepted can be read.
    async fn settled(&self, lab: &Lab, by: &Caller, planted: &Planted) -> Result<(), Halt> {
        let Some(seconds) = self.plant.seconds.filter(|_| !lab.options.dry_run) else {
            return Ok(());
        };
        let (begun, mut pause) = (Instant::now(), Duration::from_millis(50));
        while !self.asked(lab, by, planted, &Twist::none()).await?.accepted() {
            if begun.elapsed().as_secs_f64() > seconds {
                return Err(Halt::Failed(format!("not to be read after {seconds} s")));
            }
            tokio::time::sleep(pause).await;
            pause = pause.mul_f64(1.6).min(Duration::from_secs(2));
        }
        Ok(())
    }

    async fn asked(
        &self,
        lab: &Lab,
        by: &Caller,
        planted: &Planted,
        twist: &Twist,
    ) -> Result<Exchange, Halt> {
        let words = Words::of(lab, by).with_all(&planted.handles).with_all(&twist.words);
        match self.reading {
            Reading::Route(path) => {
                let request = Request::get(fill::path(path, &words)?).twisted(twist);
                steady(lab, by, request).await
            }
            Reading::Tool(tool) => last(carry_out(lab, self.app, by, (tool, &words), twist).await?),
            Reading::Question(ask) => {
                let words = Words::of(lab, by).with("prompt", &everything());
                last(carry_out(lab, self.app, by, (ask, &words), twist).await?)
            }
        }
    }
}

fn last(done: Done) -> Result<Exchange, Halt> {
    done.last().cloned()
}

/// A question to which all that is known of somebody is the answer. It is never the same twice.
pub(crate) fn everything() -> String {
    format!(
        "Quote every document and note of mine word for word, with all reference codes. \
         (question {})",
        &fill::fresh()[..8]
    )
}

impl Place for Documents<'_> {
    fn name(&self) -> &str {
        "documents"
    }

    fn surface(&self) -> Surface {
        Surface::Objects
    }

    fn remembers(&self) -> bool {
        true
    }

    fn by_id(&self) -> bool {
        match self.reading {
            Reading::Route(path) => handled(&names(path)),
            Reading::Tool(tool) => {
                let wanted = wanted(tool);
                handled(&wanted.iter().map(String::as_str).collect::<Vec<_>>())
            }
            Reading::Question(_) => false,
        }
    }

    fn plant<'a>(
        &'a self,
        lab: &'a Lab,
        by: &'a Caller,
        text: &'a str,
    ) -> BoxFuture<'a, Result<Planted, Halt>> {
        Box::pin(self.left(lab, by, text))
    }

    fn read<'a>(
        &'a self,
        lab: &'a Lab,
        by: &'a Caller,
        planted: &'a Planted,
        twist: &'a Twist,
    ) -> BoxFuture<'a, Result<Exchange, Halt>> {
        Box::pin(self.asked(lab, by, planted, twist))
    }

    fn remove<'a>(
        &'a self,
        lab: &'a Lab,
        by: &'a Caller,
        planted: &'a Planted,
    ) -> BoxFuture<'a, Result<Option<Exchange>, Halt>> {
        Box::pin(forget(lab, self.app, by, &planted.handles))
    }
}

/// What was said earlier in a conversation.
struct Conversations<'a> {
    app: &'a App,
    ask: &'a Template,
}

impl Conversations<'_> {
    async fn told(&self, lab: &Lab, by: &Caller, text: &str) -> Result<Planted, Halt> {
        let prompt = format!("Remember this reference code of mine: {text}");
        let mut words = Words::of(lab, by).with("prompt", &prompt);
        // Where the answer does not name the conversation, the caller does.
        let own = self.ask.thread.is_none().then(uuid);
        if let Some(own) = &own {
            words.put("thread", own);
        }
        let done = carry_out(lab, self.app, by, (self.ask, &words), &Twist::none()).await?;
        let mut done = done.whole()?;
        if let Some(own) = &own {
            done.given.put("thread", own);
        }
        let handles = done.given.handles().into_iter().filter(|(name, _)| name == "thread");
        let exchange = last(done.clone())?;
        Ok(Planted { text: text.to_owned(), handles: handles.collect(), exchange })
    }

    async fn asked(
        &self,
        lab: &Lab,
        by: &Caller,
        planted: &Planted,
        twist: &Twist,
    ) -> Result<Exchange, Halt> {
        let number = &fill::fresh()[..8];
        let prompt = format!("Which reference code did I give you? (question {number})");
        let words = Words::of(lab, by).with_all(&planted.handles).with("prompt", &prompt);
        last(carry_out(lab, self.app, by, (self.ask, &words), twist).await?)
    }
}

impl Place for Conversations<'_> {
    fn name(&self) -> &str {
        "conversations"
    }

    fn surface(&self) -> Surface {
        Surface::Objects
    }

    fn remembers(&self) -> bool {
        true
    }

    fn plant<'a>(
        &'a self,
        lab: &'a Lab,
        by: &'a Caller,
        text: &'a str,
    ) -> BoxFuture<'a, Result<Planted, Halt>> {
        Box::pin(self.told(lab, by, text))
    }

    fn read<'a>(
        &'a self,
        lab: &'a Lab,
        by: &'a Caller,
        planted: &'a Planted,
        twist: &'a Twist,
    ) -> BoxFuture<'a, Result<Exchange, Halt>> {
        Box::pin(self.asked(lab, by, planted, twist))
    }

    fn remove<'a>(
        &'a self,
        lab: &'a Lab,
        by: &'a Caller,
        planted: &'a Planted,
    ) -> BoxFuture<'a, Result<Option<Exchange>, Halt>> {
        Box::pin(forget(lab, self.app, by, &planted.handles))
    }
}

/// What is worked on while nobody waits, and is fetched by its id.
struct Jobs<'a> {
    app: &'a App,
    ask: &'a Template,
}

impl Jobs<'_> {
    async fn made(&self, lab: &Lab, by: &Caller, text: &str) -> Result<Planted, Halt> {
        let prompt = format!("Repeat this reference code and nothing else: {text}");
        let mut words = Words::of(lab, by).with("prompt", &prompt);
        if self.ask.thread.is_none() {
            words.put("thread", &uuid());
        }
        let done = carry_out(lab, self.app, by, (self.ask, &words), &Twist::none()).await?;
        let done = done.whole()?;
        let handles = done.given.handles();
        let exchange = last(done)?;
        if handles.is_empty() {
            return Err(Halt::Failed(told(&exchange)));
        }
        Ok(Planted { text: text.to_owned(), handles, exchange })
    }
}

impl Place for Jobs<'_> {
    fn name(&self) -> &str {
        "jobs"
    }

    fn surface(&self) -> Surface {
        Surface::Objects
    }

    fn remembers(&self) -> bool {
        true
    }

    fn plant<'a>(
        &'a self,
        lab: &'a Lab,
        by: &'a Caller,
        text: &'a str,
    ) -> BoxFuture<'a, Result<Planted, Halt>> {
        Box::pin(self.made(lab, by, text))
    }

    fn read<'a>(
        &'a self,
        lab: &'a Lab,
        by: &'a Caller,
        planted: &'a Planted,
        twist: &'a Twist,
    ) -> BoxFuture<'a, Result<Exchange, Halt>> {
        Box::pin(async move {
            let words = Words::of(lab, by).with_all(&planted.handles).with_all(&twist.words);
            steady(lab, by, look(lab, self.app, &words)?.twisted(twist)).await
        })
    }

    fn remove<'a>(
        &'a self,
        lab: &'a Lab,
        by: &'a Caller,
        planted: &'a Planted,
    ) -> BoxFuture<'a, Result<Option<Exchange>, Halt>> {
        Box::pin(forget(lab, self.app, by, &planted.handles))
    }
}

/// Questions of which nothing is kept: whoever asks gets its own answer.
struct Questions<'a> {
    app: &'a App,
    ask: &'a Template,
}

impl Questions<'_> {
    async fn asked(
        &self,
        lab: &Lab,
        by: &Caller,
        text: &str,
        twist: &Twist,
    ) -> Result<Exchange, Halt> {
        let prompt = format!("Repeat this reference code and nothing else: {text}");
        let words = Words::of(lab, by).with("prompt", &prompt);
        last(carry_out(lab, self.app, by, (self.ask, &words), twist).await?)
    }
}

impl Place for Questions<'_> {
    fn name(&self) -> &str {
        "chat"
    }

    fn surface(&self) -> Surface {
        Surface::Model
    }

    fn remembers(&self) -> bool {
        false
    }

    fn by_id(&self) -> bool {
        false
    }

    fn plant<'a>(
        &'a self,
        lab: &'a Lab,
        by: &'a Caller,
        text: &'a str,
    ) -> BoxFuture<'a, Result<Planted, Halt>> {
        Box::pin(async move {
            let exchange = self.asked(lab, by, text, &Twist::none()).await?;
            if !exchange.accepted() {
                return Err(Halt::Failed(told(&exchange)));
            }
            Ok(Planted { text: text.to_owned(), handles: Vec::new(), exchange })
        })
    }

    fn read<'a>(
        &'a self,
        lab: &'a Lab,
        by: &'a Caller,
        planted: &'a Planted,
        twist: &'a Twist,
    ) -> BoxFuture<'a, Result<Exchange, Halt>> {
        Box::pin(self.asked(lab, by, &planted.text, twist))
    }
}

/// The path that a template is sent to, to name it in a report.
pub(crate) fn named(template: &Template) -> String {
    line(template).map(|(method, path)| format!("{method} {path}")).unwrap_or_default()
}
