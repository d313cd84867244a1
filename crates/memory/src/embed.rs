//! Texts that become vectors on their way in.

use std::collections::BTreeMap;

use ids::BoxFuture;
use scope::{Scope, Write};
use serde_json::{Map, Value};

use crate::{Error, Vector, bm25, facade::Inner, request::Given};

/// A text where a vector could stand, as Qdrant's clients send it.
#[derive(Clone, PartialEq)]
pub struct Document {
    /// The text.
    pub text: String,
    /// Which model: a route of the tenant's, or `Qdrant/bm25`.
    pub model: String,
    /// What the model takes besides.
    pub options: Map<String, Value>,
}

impl std::fmt::Debug for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Document({} bytes for {})", self.text.len(), self.model)
    }
}

/// Why texts were not embedded: a stable code and a message for the caller.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct EmbedError {
    /// The code.
    pub code: &'static str,
    /// What to do about it. Nothing of the provider's that was not checked.
    pub message: String,
    /// Seconds after which asking again may help.
    pub retry_after: Option<u64>,
}

/// Makes vectors of texts, by a route of the tenant's own and with the tenant's own credential.
pub trait Embedder: Send + Sync {
    /// A vector for each text, in their order. A hop of its own: grants, policy, limits and
    /// record are those of the model surface.
    fn embed<'a>(
        &'a self,
        scope: &'a Scope<Write>,
        model: &'a str,
        texts: Vec<String>,
    ) -> BoxFuture<'a, Result<Vec<Vec<f32>>, EmbedError>>;
}

/// Most texts of one call to a route.
const AT_ONCE: usize = 256;

/// Puts a vector in place of every document: in process for `Qdrant/bm25`, by the tenant's own
/// route of the model's name for any other. `query`: they are looked for, not kept.
///
/// # Errors
/// [`Error::Embedding`] if there is nothing to embed with; what the embedder answers.
pub(crate) async fn resolve(
    inner: &Inner,
    scope: &Scope<Write>,
    items: &mut [&mut Given],
    query: bool,
) -> Result<(), Error> {
    let mut routes: BTreeMap<String, Vec<(usize, String)>> = BTreeMap::new();
    let (mut at_words, mut documents) = (Vec::new(), Vec::new());
    for (at, item) in items.iter_mut().enumerate() {
        let Given::Document(document) = &mut **item else { continue };
        bounded(inner, &document.text)?;
        if bm25::named(&document.model) {
            at_words.push(at);
            documents.push(document.clone());
            continue;
        }
        if let Some(option) = document.options.keys().next() {
            let model = &document.model;
            return Err(Error::Unsupported(format!("the option `{option}` of model `{model}`")));
        }
        let text = std::mem::take(&mut document.text);
        routes.entry(document.model.clone()).or_default().push((at, text));
    }
    let vectors = words(inner, scope, documents, query).await?;
    let asked = at_words.into_iter().zip(vectors);
    for (at, vector) in asked {
        if let Some(item) = items.get_mut(at) {
            **item = Given::Vector(vector);
        }
    }
    for (model, asked) in routes {
        let (places, texts): (Vec<usize>, Vec<String>) = asked.into_iter().unzip();
        let vectors = embedded(inner, scope, &model, texts).await?;
        for (at, vector) in places.into_iter().zip(vectors) {
            if let Some(item) = items.get_mut(at) {
                **item = Given::Vector(Vector::Dense(vector));
            }
        }
    }
    Ok(())
}

/// A text is no longer than a payload that keeps it.
pub(crate) fn bounded(inner: &Inner, text: &str) -> Result<(), Error> {
    let (size, bound) = (text.len(), inner.settings.payload_bytes);
    if size > bound {
        let (size, bound) = (size as u64, bound as u64);
        return Err(Error::TooLarge { what: "bytes of a text", size, bound });
    }
    Ok(())
}

/// A vector of each document's words: where searches run, as it takes as long.
pub(crate) async fn words(
    inner: &Inner,
    scope: &Scope<Write>,
    documents: Vec<Document>,
    query: bool,
) -> Result<Vec<Vector>, Error> {
    if documents.is_empty() {
        return Ok(Vec::new());
    }
    let of = if query { bm25::query } else { bm25::document };
    let work = move || documents.iter().map(of).collect();
    inner.lanes.run(scope.partition_bytes(), work).await?
}

/// A vector for each text, by a route; what it answers is not believed unseen.
pub(crate) async fn embedded(
    inner: &Inner,
    scope: &Scope<Write>,
    model: &str,
    texts: Vec<String>,
) -> Result<Vec<Vec<f32>>, Error> {
    let Some(embedder) = &inner.embedder else {
        return Err(Error::Embedding(format!(
            "there is nothing to embed texts with: send vectors, use the model `{}`, or \
             configure a route of embeddings and name it as the model instead of `{model}`",
            bm25::MODEL
        )));
    };
    let mut vectors = Vec::with_capacity(texts.len());
    for some in texts.chunks(AT_ONCE) {
        let answer = embedder.embed(scope, model, some.to_vec()).await?;
        let size = answer.first().map_or(0, Vec::len);
        let whole = |vector: &Vec<f32>| {
            !vector.is_empty() && vector.len() == size && vector.iter().all(|x| x.is_finite())
        };
        if answer.len() != some.len() || !answer.iter().all(whole) {
            return Err(Error::Embedding(format!(
                "the route `{model}` did not answer with one vector for each text"
            )));
        }
        vectors.extend(answer);
    }
    Ok(vectors)
}
