//! Answers to questions that mean the same.
//!
//! Everything that the exact cache keeps apart stays apart, and so does everything in a
//! request but the words of its last turn; and one subject of a tenant is not answered with
//! what another one was, unless the route says so. What words mean is measured by the tenant's
//! own model of embeddings. That costs tokens, which are not put to the hop's account: they are
//! logged at level `debug` alone. Where it fails, the hop goes on without it.

use std::time::Duration;

use bytes::Bytes;
use cache::{Hit, KeyParts, SemanticKey};
use http::StatusCode;
use ids::{Subject, frame::Frame, planted};
use scope::{Scope, Write};
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;

use super::{Candidate, Entry, Inner, Target};
use crate::{
    Api, Request, SemanticRoute,
    answer::JSON,
    relay::Keep,
    stored::{self, Form},
    upstream::Call,
};

/// Embeddings are not waited for any longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most numbers of a vector.
const MAX_DIMENSIONS: usize = 8_192;
/// The largest answer with one vector, in bytes.
const MAX_ANSWER: u64 = 1 << 20;

/// Why no similar question was looked for: the tenant has no credential for the provider of
/// embeddings.
const NO_CREDENTIAL: &str = "no-credential";
/// The last turn is not the plain text of a user, or too long.
const NOT_COMPARABLE: &str = "not-comparable";
/// The provider of embeddings did not answer with a vector.
const EMBEDDING_FAILED: &str = "embedding-failed";

/// A question, apart from what has to be equal.
pub(super) struct Question {
    partition: Vec<u8>,
    text: String,
    /// Of what has to be equal in the request. It stands with the answer, under its seal; not
    /// so whose question it was, since everybody may have the answer to an equal request.
    pub(super) digest: [u8; 32],
}

impl Question {
    /// The question of a request, if its last turn can be compared.
    pub(super) fn of(
        scope: &Scope<Write>,
        ask: &Request,
        measure: &Target,
        semantic: &SemanticRoute,
    ) -> Option<Self> {
        let turn = ask.semantic()?;
        let partition = Frame::new("bulkhead.model.semantic.1")
            .field(measure.supplier.provider.id.as_str())
            .field(&measure.supplier.provider.base_url)
            .field(&measure.model)
            .field(&turn.partition)
            .finish();
        let digest = *blake3::hash(&partition).as_bytes();
        let apart = !semantic.across_subjects && !planted::is("semantic-across-subjects");
        let subject = scope.subject().filter(|_| apart).map(Subject::as_str);
        // Absent and empty differ.
        let partition = Frame::new("bulkhead.model.semantic.subject.1")
            .field([u8::from(subject.is_some())])
            .field(subject.unwrap_or_default())
            .field(&partition)
            .finish();
        Some(Self { partition, text: turn.text, digest })
    }
}

/// Where a question stands among others.
pub(super) struct Placed {
    partition: SemanticKey,
    vector: Vec<f32>,
}

/// What was found.
pub(super) enum Similar {
    Near { body: Bytes, similarity: f32 },
    Nothing(Placed),
    Off(&'static str),
}

impl Inner {
    /// Looks for the answer to a question that means the same.
    pub(super) async fn similar(
        &self,
        scope: &Scope<Write>,
        entry: &Entry,
        parts: &KeyParts<'_>,
        question: Option<Question>,
        form: Form,
        oldest: Option<Duration>,
    ) -> Similar {
        let (Some(measure), Some(semantic)) = (&entry.measure, &entry.route.semantic) else {
            return Similar::Off(NO_CREDENTIAL);
        };
        let Some(Question { partition, text, digest }) = question else {
            return Similar::Off(NOT_COMPARABLE);
        };
        let vector = match self.embed(scope, measure, &text).await {
            Ok(vector) => vector,
            Err(why) => return Similar::Off(why),
        };
        let shelf = self.parts.cache.of(scope);
        let partition = shelf.partition(&KeyParts { request: &partition, ..*parts });
        let neighbours = self.parts.semantic.of(scope);
        let near = neighbours.find(&partition, &vector, semantic.threshold.as_f32());
        if let Some(near) = near {
            let fresh = |hit: &Hit| oldest.is_none_or(|oldest| hit.age <= oldest);
            match shelf.get(&near.key).await {
                None => neighbours.forget(&near.key),
                Some(hit) if !fresh(&hit) => {}
                Some(hit) => {
                    if let Some(body) = stored::decode(&hit.value, form, Some(&digest)) {
                        return Similar::Near { body, similarity: near.similarity };
                    }
                }
            }
        }
        Similar::Nothing(Placed { partition, vector })
    }

    /// What is done once the answer to a question is kept: others find it.
    pub(super) fn remember(
        &self,
        scope: &Scope<Write>,
        keep: &Keep,
        placed: Placed,
    ) -> Box<dyn FnOnce() + Send + Sync> {
        let (index, scope) = (self.parts.semantic.clone(), scope.clone());
        let (key, expires) = (keep.key, self.parts.clock.now().plus(keep.ttl));
        Box::new(move || {
            let Placed { partition, vector } = placed;
            index.of(&scope).add(&partition, &vector, key, expires);
        })
    }

    /// What a text means, as the tenant's own model measures it.
    async fn embed(
        &self,
        scope: &Scope<Write>,
        measure: &Target,
        text: &str,
    ) -> Result<Vec<f32>, &'static str> {
        let provider = &measure.supplier.provider;
        let credential = self.credential(scope, &provider.id).await;
        let credential = credential.map_err(|_| EMBEDDING_FAILED)?.ok_or(NO_CREDENTIAL)?;
        let candidate = Candidate { target: measure, credential };
        let most = Duration::from_millis(provider.timeouts.total_ms).min(PATIENCE);
        match timeout(most, self.vector(scope, &candidate, text)).await {
            Ok(Some(vector)) => Ok(vector),
            Ok(None) | Err(_) => {
                tracing::debug!(provider = provider.id.as_str(), "no embedding of a question");
                Err(EMBEDDING_FAILED)
            }
        }
    }

    async fn vector(
        &self,
        scope: &Scope<Write>,
        candidate: &Candidate<'_>,
        text: &str,
    ) -> Option<Vec<f32>> {
        let model = &candidate.target.model;
        let body = json!({"model": model, "input": text, "encoding_format": "float"});
        let body = serde_json::to_vec(&body).ok()?.into();
        let ask = Request::parse(Api::Embeddings, body, &self.limits).ok()?;
        let (body, headers) = self.dressed(scope, candidate, &ask, false).ok()?;
        let upstream = &candidate.supplier().upstream;
        let mut call = Call::post(upstream.path(Api::Embeddings, model), body, false);
        call.headers = headers;
        let sent = upstream.send(scope, &candidate.credential, call).await;
        let mut exchange = sent.ok().filter(|e| e.status == StatusCode::OK && e.is(JSON))?;
        exchange.at_most(MAX_ANSWER);
        read(&exchange.collect().await.ok()?)
    }
}

/// The one vector of an answer.
fn read(body: &[u8]) -> Option<Vec<f32>> {
    #[derive(Deserialize)]
    struct One {
        embedding: Vec<f32>,
    }
    #[derive(Deserialize)]
    struct Usage {
        prompt_tokens: u64,
    }
    #[derive(Deserialize)]
    struct Answer {
        data: Vec<One>,
        usage: Option<Usage>,
    }
    let Answer { mut data, usage } = serde_json::from_slice(body).ok()?;
    if let Some(Usage { prompt_tokens }) = usage {
        tracing::debug!(prompt_tokens, "a question was measured");
    }
    let One { embedding } = data.pop().filter(|_| data.is_empty())?;
    let sound = (1..=MAX_DIMENSIONS).contains(&embedding.len());
    (sound && embedding.iter().all(|number| number.is_finite())).then_some(embedding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sound_vector_or_none() {
        let many = format!(r#"{{"data":[{{"embedding":[{}1]}}]}}"#, "1,".repeat(MAX_DIMENSIONS));
        for (body, expected) in [
            (r#"{"data":[{"embedding":[1,-0.5]}]}"#, Some(vec![1.0, -0.5])),
            (
                r#"{"data":[{"embedding":[1],"index":0}],"usage":{"prompt_tokens":3}}"#,
                Some(vec![1.0]),
            ),
            (r#"{"data":[{"embedding":[1]},{"embedding":[2]}]}"#, None),
            (r#"{"data":[]}"#, None),
            (r#"{"data":[{"embedding":[]}]}"#, None),
            (r#"{"data":[{"embedding":[1e39]}]}"#, None),
            (r#"{"data":[{"embedding":[null]}]}"#, None),
            (r#"{"data":[{"embedding":"AACAPw=="}]}"#, None),
            (many.as_str(), None),
            ("", None),
            ("[]", None),
        ] {
            assert_eq!(read(body.as_bytes()), expected, "{body:.60}");
        }
    }
}
