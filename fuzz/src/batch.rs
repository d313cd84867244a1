//! Files of batches: each line that goes on is what the same request would be on its own, and none is lost or made up.

use bytes::Bytes;
use model::{Request, fuzzing};
use serde_json::Value;

/// What files are made of.
pub const WORDS: &[&str] = &[
    "\n",
    "\r\n",
    " ",
    "{",
    "}",
    "\"custom_id\":\"a\",",
    "\"custom\\u005fid\":\"b\",",
    "\"method\":\"POST\",",
    "\"method\":\"P\\u004fST\",",
    "\"url\":\"/v1/chat/completions\",",
    "\"url\":\"/v1/embeddings\",",
    "\"url\":\"\\/v1/responses\",",
    "\"body\":{\"model\":\"m\"}",
    "\"user\":\"u\",",
    "\"cache_salt\":\"u\",",
    "\"rid\":\"u\",",
    "\"stream\":true,",
    "\"model\":\"other\",",
    "\"model\":\"\\u006d\",",
    "{\"custom_id\":\"c\",\"method\":\"POST\",\"url\":\"/v1/chat/completions\",\"body\":{\"model\":\"m\",\"messages\":[]}}\n",
];

const MODEL: &str = "provider's own";

/// Takes a file.
pub fn run(input: &[u8]) {
    let file = Bytes::copy_from_slice(input);
    let Ok((sent, api, models)) = fuzzing::batch(&file, MODEL) else {
        return;
    };
    let (given, sent) = (lines(&file), lines(&sent));
    assert_eq!(given.len(), sent.len(), "lines were lost or made up");
    for (given, sent) in given.iter().zip(&sent) {
        let keys = sent.as_object().map(|line| line.keys().cloned().collect::<Vec<_>>());
        let mut keys = keys.unwrap_or_default();
        keys.sort_unstable();
        assert_eq!(keys, ["body", "custom_id", "method", "url"]);
        assert_eq!(sent["custom_id"], given["custom_id"]);
        assert_eq!(sent["method"], "POST");
        assert_eq!(sent["url"], format!("/v1{}", api.path()));
        assert_eq!(sent["url"], given["url"]);
        let Ok(body) = serde_json::to_vec(&given["body"]) else { return };
        let Ok(alone) = Request::parse(api, body.into(), &model::Limits::default()) else {
            panic!("a line was accepted that is refused on its own");
        };
        assert!(!alone.stream() && models.iter().any(|model| model == alone.model()));
        let Ok(alone) = fuzzing::upstream_body(&alone, MODEL, &[], false) else {
            panic!("a line was accepted that cannot be sent on its own");
        };
        assert_eq!(serde_json::from_slice::<Value>(&alone).ok().as_ref(), Some(&sent["body"]));
    }
}

fn lines(file: &[u8]) -> Vec<Value> {
    let lines = file.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    lines
        .map(|line| match serde_json::from_slice(line.trim_ascii()) {
            Ok(line) => line,
            Err(_) => panic!("a line that is no JSON was accepted"),
        })
        .collect()
}
