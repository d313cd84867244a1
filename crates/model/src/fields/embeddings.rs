//! What embeddings have: `/v1/embeddings`.

/// Sent on: OpenAI's fields, besides `user`.
pub(super) const PASSES: &[&str] = &["model", "input", "dimensions", "encoding_format"];
