//! Sparse vectors of texts, in process: BM25's term frequencies. How rare a term is, the
//! collection's own index knows (`modifier: idf`).

use qdrant_edge::bm25_embed::{EdgeBm25, EdgeBm25Config};
use serde_json::Value;

use crate::{Document, Error, Vector};

/// The name by which clients ask for it.
pub(crate) const MODEL: &str = "Qdrant/bm25";

/// What it takes besides the text, as Qdrant has it.
const OPTIONS: [&str; 11] = [
    "k",
    "b",
    "avg_len",
    "tokenizer",
    "language",
    "lowercase",
    "ascii_folding",
    "stopwords",
    "stemmer",
    "min_token_len",
    "max_token_len",
];

/// Whether this is its name. Qdrant does not look at case.
pub(crate) fn named(model: &str) -> bool {
    model.eq_ignore_ascii_case(MODEL)
}

/// Of a text that is kept: each term, by how often it occurs.
///
/// # Errors
/// An option that is not known, or cannot be.
pub(crate) fn document(document: &Document) -> Result<Vector, Error> {
    Ok(vector(model(document)?.embed_document(&document.text)))
}

/// Of a text that is looked for: each term once.
///
/// # Errors
/// As [`document`].
pub(crate) fn query(document: &Document) -> Result<Vector, Error> {
    Ok(vector(model(document)?.embed_query(&document.text)))
}

fn vector(sparse: qdrant_edge::SparseVector) -> Vector {
    Vector::Sparse { indices: sparse.indices, values: sparse.values }
}

fn model(document: &Document) -> Result<EdgeBm25, Error> {
    let wrong = |what: String| Error::Invalid(format!("Wrong input: {MODEL}: {what}"));
    let options = &document.options;
    if let Some(other) = options.keys().find(|key| !OPTIONS.contains(&key.as_str())) {
        return Err(Error::Unsupported(format!("the option `{other}` of {MODEL}")));
    }
    // The engine reads what it knows and passes over the rest: also below the top.
    if let Some(field) = below(options.get("stopwords"), &["languages", "custom"])
        .or_else(|| below(options.get("stemmer"), &["type", "language"]))
    {
        return Err(Error::Unsupported(format!("the option `{field}` of {MODEL}")));
    }
    let config: EdgeBm25Config = serde_json::from_value(Value::Object(options.clone()))
        .map_err(|error| wrong(error.to_string()))?;
    EdgeBm25::new(config).map_err(|error| wrong(error.to_string()))
}

fn below<'a>(option: Option<&'a Value>, known: &[&str]) -> Option<&'a String> {
    option?.as_object()?.keys().find(|key| !known.contains(&key.as_str()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(text: &str, options: Value) -> Document {
        let options = options.as_object().unwrap().clone();
        Document { text: text.into(), model: MODEL.into(), options }
    }

    fn terms(vector: &Vector) -> usize {
        let Vector::Sparse { indices, values } = vector else { panic!("not sparse") };
        assert!(indices.is_sorted() && indices.len() == values.len());
        indices.len()
    }

    #[test]
    fn every_option_changes_the_vector() {
        let text = "The Running dogs: ação, runs and RUN elephants' runs";
        let plain = document(&asked(text, json!({}))).unwrap();
        for option in [
            json!({"k": 2.0}),
            json!({"b": 0.1}),
            json!({"avg_len": 3.0}),
            json!({"tokenizer": "whitespace"}),
            json!({"language": "portuguese"}),
            json!({"lowercase": false}),
            json!({"ascii_folding": true}),
            json!({"stopwords": "none"}),
            json!({"stopwords": {"languages": ["english"], "custom": ["dogs"]}}),
            json!({"stemmer": {"type": "snowball", "language": "german"}}),
            json!({"min_token_len": 4}),
            json!({"max_token_len": 4}),
        ] {
            let Ok(other) = document(&asked(text, option.clone())) else {
                assert_eq!(option, json!({"stopwords": "none"}), "{option}");
                continue;
            };
            assert_ne!(plain, other, "{option}");
        }
    }

    #[test]
    fn queries_count_terms_once() {
        let once = query(&asked("cat cat hunter", json!({}))).unwrap();
        let Vector::Sparse { values, .. } = &once else { panic!("not sparse") };
        assert_eq!(values, &[1.0, 1.0]);
        assert_eq!(terms(&document(&asked("cat cat hunter", json!({}))).unwrap()), 2);
        assert_eq!(terms(&query(&asked("the", json!({}))).unwrap()), 0);
        assert!(named("qdrant/BM25") && !named("bm25") && !named("other/bm25"));
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for options in [
            json!({"idf": true}),
            json!({"k": "x"}),
            json!({"b": 7.0}),
            json!({"avg_len": 0.0}),
            json!({"language": "klingon"}),
            json!({"stopwords": {"more": []}}),
            json!({"stemmer": {"type": "snowball", "language": "german", "x": 1}}),
        ] {
            let error = query(&asked("a text", options.clone())).unwrap_err();
            assert!(
                matches!(error.code(), "request.malformed" | "memory.unsupported"),
                "{options}"
            );
        }
    }
}
