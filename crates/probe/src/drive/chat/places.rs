//! Where model interfaces remember something, and the chat itself, which does not.

use ids::BoxFuture;
use serde_json::{Value, json};

use super::{Chat, Dialect, How, repeat};
use crate::{
    canary::Side,
    catalog::Surface,
    lab::{Caller, Lab},
    place::{Place, Planted, Twist},
    verdict::Halt,
    wire::{Exchange, Request, quote, segment},
};

/// A question, answered to whoever asks it, and forgotten.
pub(crate) struct Asking<'c>(pub(crate) &'c Chat);

impl Place for Asking<'_> {
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
            let said = self.0.must(lab, by, &repeat(text), &How::plain()).await?;
            Ok(Planted { text: text.to_owned(), handles: Vec::new(), exchange: said.exchange })
        })
    }

    fn read<'a>(
        &'a self,
        lab: &'a Lab,
        by: &'a Caller,
        planted: &'a Planted,
        twist: &'a Twist,
    ) -> BoxFuture<'a, Result<Exchange, Halt>> {
        Box::pin(async move {
            let how = How::plain().twisted(twist.clone());
            Ok(self.0.ask(lab, by, &repeat(&planted.text), &how).await?.exchange)
        })
    }
}

/// What an interface keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// An answer with what was asked, `store: true`.
    Response,
    /// The same, gone on with by `previous_response_id`.
    Continued,
    /// Messages, kept by themselves.
    Conversation,
    /// The same, older.
    Thread,
    /// An uploaded file; the text is in its name, as not every provider gives contents back.
    File,
    /// The list of one's files.
    Files,
}

/// One of these.
pub(crate) struct Kept<'c> {
    chat: &'c Chat,
    what: What,
}

impl Kept<'_> {
    fn root(&self) -> &'static str {
        match self.what {
            What::Response | What::Continued => "/responses",
            What::Conversation => "/conversations",
            What::Thread => "/threads",
            What::File | What::Files => "/files",
        }
    }

    /// With the headers by which providers let previews in.
    fn prepared(&self, request: Request) -> Request {
        match (self.chat.dialect, self.what) {
            (Dialect::Anthropic, _) => request
                .header("anthropic-version", "2023-06-01")
                .header("anthropic-beta", "files-api-2025-04-14"),
            (Dialect::Openai, What::Thread) => request.header("openai-beta", "assistants=v2"),
            (Dialect::Openai, _) => request,
        }
    }

    fn planting(&self, text: &str) -> Request {
        let post = Request::new(http::Method::POST, self.chat.path(self.root()));
        let message = json!({"type": "message", "role": "user", "content": text});
        let request = match self.what {
            What::Response | What::Continued => self.responding(post, json!(repeat(text)), None),
            What::Conversation => post.json(&json!({"items": [message]})),
            What::Thread => post.json(&json!({"messages": [{"role": "user", "content": text}]})),
            What::File | What::Files => upload(post, text),
        };
        let id = format!("example-of-{}", self.root().trim_start_matches('/'));
        self.prepared(request).example(json!({"id": id, "output": [{"content": text}]}))
    }

    fn responding(&self, post: Request, input: Value, previous: Option<&str>) -> Request {
        /// Tokens of the answer.
        const MOST: u32 = 96;
        let mut body = json!({
            "model": self.chat.model, "input": input, "store": previous.is_none(),
            "max_output_tokens": MOST,
        });
        if let Some(previous) = previous {
            body["previous_response_id"] = json!(previous);
        }
        let mut request = post.json(&body);
        request.usd = self.chat.cost(request.body.as_ref().map_or(0, Vec::len), MOST);
        request
    }

    fn reading(&self, planted: &Planted) -> Request {
        let id = planted.handles.first().map(|(_, id)| id.as_str()).unwrap_or_default();
        let path = self.chat.path(&format!("{}/{}", self.root(), quote(id)));
        let request = match self.what {
            What::Response | What::File => Request::get(path),
            What::Conversation => Request::get(format!("{path}/items")),
            What::Thread => Request::get(format!("{path}/messages")),
            What::Files => Request::get(self.chat.path("/files")),
            What::Continued => {
                let post = Request::new(http::Method::POST, self.chat.path(self.root()));
                let input = "Repeat word for word what I told you to repeat before.";
                self.responding(post, json!(input), Some(id))
            }
        };
        self.prepared(request).example(json!({"text": planted.text}))
    }
}

/// A multipart body with one small text file.
fn upload(mut post: Request, text: &str) -> Request {
    const BOUNDARY: &str = "bulkhead-probe-boundary";
    let body = format!(
        "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nuser_data\r\n\
         --{BOUNDARY}\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{text}.txt\"\r\n\
         content-type: text/plain\r\n\r\n{text}\r\n--{BOUNDARY}--\r\n"
    );
    post.body = Some(body.into_bytes());
    post.header("content-type", &format!("multipart/form-data; boundary={BOUNDARY}"))
}

impl Place for Kept<'_> {
    fn name(&self) -> &str {
        match self.what {
            What::Response => "responses",
            What::Continued => "responses, continued",
            What::Conversation => "conversations",
            What::Thread => "threads",
            What::File => "files",
            What::Files => "list of files",
        }
    }

    fn surface(&self) -> Surface {
        Surface::Model
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
        Box::pin(async move {
            let exchange = lab.patiently(by, self.planting(text)).await?;
            let body = exchange.json();
            let id = body["id"].as_str().filter(|_| exchange.accepted());
            let Some(id) = id.map(str::to_owned) else {
                let (who, status) = (&by.label, exchange.status());
                return Err(Halt::Failed(format!("{} of {who}: {status}", self.name())));
            };
            segment(&id)?;
            Ok(Planted { text: text.to_owned(), handles: vec![("id".to_owned(), id)], exchange })
        })
    }

    fn read<'a>(
        &'a self,
        lab: &'a Lab,
        by: &'a Caller,
        planted: &'a Planted,
        twist: &'a Twist,
    ) -> BoxFuture<'a, Result<Exchange, Halt>> {
        Box::pin(async move { lab.patiently(by, self.reading(planted).twisted(twist)).await })
    }

    fn remove<'a>(
        &'a self,
        lab: &'a Lab,
        by: &'a Caller,
        planted: &'a Planted,
    ) -> BoxFuture<'a, Result<Option<Exchange>, Halt>> {
        Box::pin(async move {
            let id = planted.handles.first().map(|(_, id)| id.as_str()).unwrap_or_default();
            let path = self.chat.path(&format!("{}/{}", self.root(), segment(id)?));
            let request = self.prepared(Request::new(http::Method::DELETE, path));
            Ok(Some(lab.patiently(by, request).await?))
        })
    }
}

/// What this interface keeps: tried out, as A, with a text that is removed again. What is not
/// there is no finding.
pub(crate) async fn kept<'c>(chat: &'c Chat, lab: &Lab) -> Vec<Kept<'c>> {
    let all: &[What] = match chat.dialect {
        Dialect::Openai => &[
            What::Response,
            What::Continued,
            What::Conversation,
            What::Thread,
            What::File,
            What::Files,
        ],
        Dialect::Anthropic => &[What::File, What::Files],
    };
    let a = lab.caller(Side::A);
    let mut found: Vec<Kept<'c>> = Vec::new();
    for what in all {
        let place = Kept { chat, what: *what };
        // What is made in the same way was tried out already.
        let tried = found.iter().any(|other| other.root() == place.root())
            || is_there(&lab.tended(&place), lab, a).await;
        if tried {
            found.push(place);
        }
    }
    found
}

async fn is_there(place: &dyn Place, lab: &Lab, a: &Caller) -> bool {
    let text = lab.canary(Side::A, place.name()).text;
    let Ok(planted) = place.plant(lab, a, &text).await else { return false };
    // Whether that works the check of erasing says, and the ledger.
    let _ = place.remove(lab, a, &planted).await;
    true
}
