//! Texts of other surfaces that become vectors, by the tenant's own route.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use gate::{Action, Gate, Hop};
use http::StatusCode;
use ids::{BoxFuture, RequestId, planted};
use memory::{EmbedError, Embedder};
use scope::{Scope, Write};
use serde::Deserialize;

use crate::{Answer, Api, Body, Caller, Error, Fault, ModelHop, Request};

/// The most texts of one call.
const TEXTS: usize = 128;
/// The most bytes of texts in one call, unless one text is more: no more tokens than OpenAI
/// takes at once (300,000), whatever the language.
const BYTES: usize = 256 << 10;
/// The most of a provider's message that is repeated.
const MESSAGE: usize = 256;

/// Embeds texts for whoever needs vectors. Each call is a hop of its own to the model surface:
/// grant, policy, admission and record are those of `POST /v1/embeddings`.
#[derive(Clone)]
pub struct Embeddings {
    gate: Arc<Gate>,
    model: ModelHop,
}

impl Embeddings {
    /// By these routes, through this gate.
    #[must_use]
    pub const fn new(gate: Arc<Gate>, model: ModelHop) -> Self {
        Self { gate, model }
    }

    /// The vectors of as many texts as one call takes.
    async fn call(
        &self,
        scope: &Scope<Write>,
        model: &str,
        texts: &[String],
    ) -> Result<Vec<Vec<f32>>, EmbedError> {
        // A tenant for whom something is reserved is measured there.
        let model = self.model.measures(scope).unwrap_or(model);
        let body = body(model, texts);
        let ask = Request::parse(Api::Embeddings, body, self.model.limits()).map_err(refused)?;
        // Policies know a route by its name, whichever of its names the caller used.
        let route = self.model.route(model).map_or(model, |route| route.name.as_str());
        let request = RequestId::draw(&*self.model.inner.parts.entropy);
        let mut hop = Hop::model(Action::Embeddings, route, request).bytes_in(ask.bytes());
        if !planted::is("memory-embedder-providers-unnamed") {
            hop = self.model.providers(model).into_iter().fold(hop, Hop::provider);
        }
        let caller = Caller::default();
        let surface = |pass| self.model.ask(scope, pass, ask, caller);
        let answer = self.gate.pass(scope, hop, surface).await.map_err(refused)?;
        let (status, retry) = (answer.status, retry_after(&answer));
        let body = whole(answer).await.map_err(refused)?;
        if status != StatusCode::OK {
            return Err(failed(status, &body, retry));
        }
        vectors(&body, texts.len()).map_err(|why| refused(Fault::Malformed(why).into()))
    }
}

impl Embedder for Embeddings {
    fn embed<'a>(
        &'a self,
        scope: &'a Scope<Write>,
        model: &'a str,
        texts: Vec<String>,
    ) -> BoxFuture<'a, Result<Vec<Vec<f32>>, EmbedError>> {
        Box::pin(async move {
            let mut all: Vec<Vec<f32>> = Vec::with_capacity(texts.len());
            let mut rest = &texts[..];
            while !rest.is_empty() {
                let (now, later) = rest.split_at(together(rest));
                all.extend(self.call(scope, model, now).await?);
                rest = later;
            }
            if all.windows(2).any(|pair| pair[0].len() != pair[1].len()) {
                return Err(refused(Fault::Malformed("vectors of several sizes").into()));
            }
            Ok(all)
        })
    }
}

impl std::fmt::Debug for Embeddings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Embeddings(…)")
    }
}

/// How many of these texts go together: at least one.
fn together(texts: &[String]) -> usize {
    let mut bytes = 0_usize;
    let fits = |text: &&String| {
        bytes = bytes.saturating_add(text.len());
        bytes <= BYTES
    };
    texts.iter().take(TEXTS).take_while(fits).count().max(1)
}

fn body(model: &str, texts: &[String]) -> Bytes {
    serde_json::json!({"model": model, "input": texts, "encoding_format": "float"})
        .to_string()
        .into()
}

async fn whole(answer: Answer) -> Result<Bytes, Error> {
    match answer.body {
        Body::Full(bytes) => Ok(bytes),
        // Bounded by the provider's `max_response_bytes`.
        Body::Stream(mut pieces) => {
            let mut all = BytesMut::new();
            while let Some(piece) = pieces.next().await {
                all.extend_from_slice(&piece?);
            }
            Ok(all.freeze())
        }
    }
}

/// As many vectors as there were texts, in their order: by the place that each of them names.
fn vectors(body: &[u8], texts: usize) -> Result<Vec<Vec<f32>>, &'static str> {
    #[derive(Deserialize)]
    struct One {
        index: Option<usize>,
        embedding: Vec<f32>,
    }
    #[derive(Deserialize)]
    struct All {
        data: Vec<One>,
    }
    let All { data } =
        serde_json::from_slice(body).map_err(|_| "it has no vectors of numbers in it")?;
    if data.len() != texts {
        return Err("it has another number of vectors than there were texts");
    }
    let mut placed = vec![Vec::new(); texts];
    for (nth, One { index, embedding }) in data.into_iter().enumerate() {
        if embedding.is_empty() || !embedding.iter().all(|number| number.is_finite()) {
            return Err("a vector is empty, or has something in it that is no number");
        }
        // Where there is one alone, there is one place for it.
        let index = index.or((texts == 1).then_some(0));
        let index = if planted::is("memory-embeddings-as-they-come") { Some(nth) } else { index };
        let place = index.and_then(|index| placed.get_mut(index)).filter(|place| place.is_empty());
        *place.ok_or("its vectors do not say which text each of them is of")? = embedding;
    }
    Ok(placed)
}

/// What the model surface says of a provider's error, cut.
fn failed(status: StatusCode, body: &[u8], retry_after: Option<u64>) -> EmbedError {
    #[derive(Deserialize)]
    struct Said {
        error: Message,
    }
    #[derive(Deserialize)]
    struct Message {
        message: String,
    }
    let said = serde_json::from_slice(body).map(|Said { error }| error.message);
    let said = said.unwrap_or_default();
    let said = &said[..said.floor_char_boundary(MESSAGE)];
    let colon = if said.is_empty() { "" } else { ": " };
    let message = format!("the provider of embeddings answered with {status}{colon}{said}");
    EmbedError { code: "upstream.error", message, retry_after }
}

fn retry_after(answer: &Answer) -> Option<u64> {
    answer.retry_after.as_ref()?.to_str().ok()?.parse().ok()
}

/// The messages of this surface are for callers.
fn refused(error: Error) -> EmbedError {
    let retry_after = match &error {
        Error::Gate(error) => error.retry_after().map(|after| after.as_secs().max(1)),
        Error::Scope(scope::Error::Unavailable(_)) => Some(1),
        _ => None,
    };
    EmbedError { code: error.code(), message: error.to_string(), retry_after }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_placed_by_what_they_say() {
        let ok = |body: &str, texts| vectors(body.as_bytes(), texts);
        let one = r#"{"data":[{"embedding":[1,-0.5]}]}"#;
        assert_eq!(ok(one, 1), Ok(vec![vec![1.0, -0.5]]));
        let turned = r#"{"data":[{"index":1,"embedding":[2]},{"index":0,"embedding":[1]}]}"#;
        assert_eq!(ok(turned, 2), Ok(vec![vec![1.0], vec![2.0]]));
        for (body, texts) in [
            (one, 2),
            (turned, 1),
            (turned, 3),
            (r#"{"data":[{"embedding":[1]},{"embedding":[2]}]}"#, 2),
            (r#"{"data":[{"index":0,"embedding":[1]},{"index":0,"embedding":[2]}]}"#, 2),
            (r#"{"data":[{"index":0,"embedding":[1]},{"index":2,"embedding":[2]}]}"#, 2),
            (r#"{"data":[{"index":-1,"embedding":[1]}]}"#, 1),
            (r#"{"data":[{"index":0,"embedding":[]}]}"#, 1),
            (r#"{"data":[{"index":0,"embedding":[1e39]}]}"#, 1),
            (r#"{"data":[{"index":0,"embedding":[null]}]}"#, 1),
            (r#"{"data":[{"index":0,"embedding":"AACAPw=="}]}"#, 1),
            (r#"{"data":[]}"#, 1),
            ("[]", 1),
            ("", 1),
        ] {
            assert!(ok(body, texts).is_err(), "{body}");
        }
    }

    #[test]
    fn texts_go_together_up_to_a_bound() {
        let of = |sizes: &[usize]| -> Vec<String> {
            sizes.iter().map(|size| "x".repeat(*size)).collect()
        };
        assert_eq!(together(&of(&[1, 1, 1])), 3);
        assert_eq!(together(&of(&[1; 200])), TEXTS);
        assert_eq!(together(&of(&[BYTES, 1])), 1);
        assert_eq!(together(&of(&[BYTES - 1, 1, 1])), 2);
        assert_eq!(together(&of(&[2 * BYTES, 1])), 1);
    }

    #[test]
    fn of_a_long_message_the_beginning() {
        let long = serde_json::json!({"error": {"message": "ü".repeat(500)}}).to_string();
        let error = failed(StatusCode::BAD_REQUEST, long.as_bytes(), None);
        assert!(error.message.len() < MESSAGE + 80, "{}", error.message.len());
        let error = failed(StatusCode::BAD_REQUEST, b"<html>", Some(3));
        assert_eq!(error.message, "the provider of embeddings answered with 400 Bad Request");
        assert_eq!((error.code, error.retry_after), ("upstream.error", Some(3)));
    }
}
