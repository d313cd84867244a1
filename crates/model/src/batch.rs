//! The lines of a batch, each held to what holds for a request of its own.
//!
//! What a provider is given to work off later passes no gate then. So every line is read,
//! judged, marked and written anew when the file is uploaded, and a batch may name no other
//! file.

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};
use ids::planted;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Api, Cited, Error, Limits, request::Request, resources::batched};

/// The most lines of a batch.
pub(crate) const MAX_LINES: usize = 50_000;
/// The most models that one batch may name.
const MAX_MODELS: usize = 16;
/// The most handles that the lines of a file may name.
const MOST_CITED: usize = 4_096;
/// The longest id that a caller gives to a line, in bytes.
const MAX_CUSTOM_ID: usize = 512;

/// A line, as it stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow)]
    custom_id: Cow<'a, str>,
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow)]
    url: Cow<'a, str>,
    #[serde(borrow)]
    body: &'a RawValue,
}

/// The lines that are not empty, with their numbers from 1.
fn lines(file: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let lines = file.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).zip(1..);
    lines.filter(|(line, _)| !line.is_empty()).map(|(line, at)| (at, line))
}

fn read(line: &[u8]) -> Result<(Line<'_>, Api), Error> {
    let wrong = |field, must| Err(Error::Malformed { field, must });
    // Space to JSON, and the end of a line to many who read files: within it there could be
    // another line, which nobody judged.
    if line.contains(&b'\r') && !planted::is("batch-line-in-a-line") {
        return wrong("line", "one line, without a carriage return within it");
    }
    let Ok(line) = serde_json::from_slice::<Line<'_>>(line) else {
        return wrong("line", "an object of custom_id, method, url and body, each once");
    };
    if !(1..=MAX_CUSTOM_ID).contains(&line.custom_id.len()) {
        return wrong("custom_id", "1 to 512 bytes");
    }
    if line.method != "POST" {
        return wrong("method", "POST");
    }
    match batched(&line.url) {
        Some(api) => Ok((line, api)),
        None => wrong("url", "one of /v1/chat/completions, /v1/responses, /v1/embeddings"),
    }
}

/// What a file asks for: one endpoint, and which models of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Survey {
    pub(crate) api: Api,
    /// Each once, by the names that the caller uses.
    pub(crate) models: Vec<String>,
}

/// Looks over a file.
pub(crate) fn survey(file: &[u8]) -> Result<Survey, Error> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        model: Cow<'a, str>,
    }
    let mut found: Option<Survey> = None;
    for (count, (at, line)) in lines(file).enumerate() {
        let numbered = |error: Error| Error::Line { line: at, error: Box::new(error) };
        let wrong = |field, must| numbered(Error::Malformed { field, must });
        if count == MAX_LINES {
            return Err(wrong("file", "at most 50,000 lines"));
        }
        let (line, api) = read(line).map_err(numbered)?;
        let Ok(named) = serde_json::from_str::<Named<'_>>(line.body.get()) else {
            return Err(wrong("model", "a model's name"));
        };
        let survey = found.get_or_insert_with(|| Survey { api, models: Vec::new() });
        if survey.api != api {
            return Err(wrong("url", "the same in every line"));
        }
        if !survey.models.iter().any(|model| *model == named.model) {
            if survey.models.len() == MAX_MODELS {
                return Err(wrong("model", "one of at most 16 in a batch"));
            }
            survey.models.push(named.model.into_owned());
        }
    }
    found.ok_or(Error::Malformed { field: "file", must: "a line for each request" })
}

/// The file for the provider, and the handles that its lines name.
pub(crate) struct Rewritten {
    pub(crate) bytes: Bytes,
    /// Each with the first line that names it.
    pub(crate) cited: Vec<(usize, Cited)>,
}

/// Writes a file anew. `dressed` judges a request and gives its body for the provider.
pub(crate) fn rewrite(
    file: &Bytes,
    limits: &Limits,
    dressed: impl Fn(&Request) -> Result<Bytes, Error>,
) -> Result<Rewritten, Error> {
    let mut out = BytesMut::with_capacity(file.len() + file.len() / 8);
    let mut cited = Vec::new();
    let mut known = std::collections::HashSet::new();
    for (at, line) in lines(file) {
        let numbered = |error: Error| Error::Line { line: at, error: Box::new(error) };
        let (line, api) = read(line).map_err(numbered)?;
        let body = file.slice_ref(line.body.get().as_bytes());
        let request = Request::parse(api, body, limits).map_err(numbered)?;
        if request.stream() {
            return Err(numbered(Error::Malformed { field: "stream", must: "false in a batch" }));
        }
        let body = dressed(&request).map_err(numbered)?;
        for one in request.cited() {
            if known.insert(one.clone()) {
                if known.len() > MOST_CITED {
                    let must = "without more than 4,096 ids of what a provider keeps";
                    return Err(numbered(Error::Malformed { field: "file", must }));
                }
                cited.push((at, one.clone()));
            }
        }
        let custom_id = serde_json::to_vec(&line.custom_id)
            .map_err(|_| numbered(Error::Malformed { field: "custom_id", must: "text" }))?;
        out.put_slice(b"{\"custom_id\":");
        out.put_slice(&custom_id);
        out.put_slice(b",\"method\":\"POST\",\"url\":\"/v1");
        out.put_slice(api.path().as_bytes());
        out.put_slice(b"\",\"body\":");
        out.put_slice(&body);
        out.put_slice(b"}\n");
    }
    Ok(Rewritten { bytes: out.freeze(), cited })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: &str, url: &str, body: &str) -> String {
        format!(r#"{{"custom_id":"{id}","method":"POST","url":"{url}","body":{body}}}"#)
    }

    const CHAT: &str = "/v1/chat/completions";

    fn chat(id: &str, more: &str) -> String {
        line(id, CHAT, &format!(r#"{{"model":"m","messages":[]{more}}}"#))
    }

    fn rewritten(file: &str) -> Result<Rewritten, Error> {
        let file = Bytes::copy_from_slice(file.as_bytes());
        survey(&file)?;
        rewrite(&file, &Limits::default(), |request| Ok(request.canonical().into()))
    }

    #[test]
    fn the_handles_of_all_lines_are_bounded() {
        let named =
            |from: usize| {
                let files = (from..from + 500)
                    .map(|n| format!(r#"{{"type":"file","file":{{"file_id":"file-{n}"}}}}"#));
                let files = files.collect::<Vec<_>>().join(",");
                chat("a", &format!(r#","messages":[{{"role":"user","content":[{files}]}}]"#))
                    .replacen(r#""messages":[],"#, "", 1)
            };
        let file =
            |lines: usize| (0..lines).map(|line| named(line * 500)).collect::<Vec<_>>().join("\n");
        assert_eq!(rewritten(&file(8)).unwrap().cited.len(), 4_000);
        let error = rewritten(&file(9)).err().unwrap();
        assert!(error.to_string().contains("4,096"), "{error}");
    }

    #[test]
    fn lines_are_written_anew() {
        let file = format!("\r\n{}\r\n\n  {}  ", chat("a\\\"b", ""), chat("c", r#","n":1"#));
        let out = rewritten(&file).unwrap().bytes;
        let expected = "{\"custom_id\":\"a\\\"b\",\"method\":\"POST\",\"url\":\"/v1/chat/completions\",\
                        \"body\":{\"messages\":[],\"model\":\"m\"}}\n\
                        {\"custom_id\":\"c\",\"method\":\"POST\",\"url\":\"/v1/chat/completions\",\
                        \"body\":{\"messages\":[],\"model\":\"m\",\"n\":1}}\n";
        assert_eq!(out, expected);
    }

    #[test]
    fn what_a_file_asks_for() {
        let second = line("b", CHAT, r#"{"model":"other"}"#);
        let file = format!("{}\n{second}\n{}", chat("a", ""), chat("c", ""));
        let models = vec!["m".to_owned(), "other".to_owned()];
        assert_eq!(survey(file.as_bytes()).unwrap(), Survey { api: Api::Chat, models });
    }

    #[test]
    fn a_line_that_is_wrong_is_named() {
        let good = chat("a", "");
        let twice = good.replacen('{', r#"{"custom_id":"b","#, 1);
        let escaped = good.replacen('{', r#"{"b\u006fdy":{},"#, 1);
        for (bad, code, says) in [
            ("nonsense".to_owned(), "request.malformed", "line 2: `line`"),
            ("[]".to_owned(), "request.malformed", "line 2: `line`"),
            (format!("\u{feff}{good}"), "request.malformed", "line 2: `line`"),
            (format!("{good}\0"), "request.malformed", "line 2: `line`"),
            (format!("{good}{good}"), "request.malformed", "line 2: `line`"),
            (good.replace(':', ":\u{2028}"), "request.malformed", "line 2: `line`"),
            // To whoever reads it with other ends of lines, three.
            (
                chat("a", &format!(",\"metadata\":{{\"x\":\r{good}\r}}")),
                "request.malformed",
                "line 2: `line`",
            ),
            (format!("{good}\r{good}"), "request.malformed", "line 2: `line`"),
            (twice, "request.malformed", "line 2: `line`"),
            (escaped, "request.malformed", "line 2: `line`"),
            (good.replacen('{', r#"{"x":1,"#, 1), "request.malformed", "line 2: `line`"),
            (good.replace("POST", "GET"), "request.malformed", "line 2: `method`"),
            (good.replace("chat", "moderations"), "request.malformed", "line 2: `url`"),
            (line("a", "/v1/messages", r#"{"model":"m"}"#), "request.malformed", "line 2: `url`"),
            (line("a", "/v1/embeddings", r#"{"model":"m"}"#), "request.malformed", "line 2: `url`"),
            (chat("", ""), "request.malformed", "line 2: `custom_id`"),
            (line("a", CHAT, "{}"), "request.malformed", "line 2: `model`"),
            (line("a", CHAT, "7"), "request.malformed", "line 2: `model`"),
            (chat("a", r#","stream":true"#), "request.malformed", "line 2: `stream`"),
            (chat("a", r#","n":1,"n":2"#), "scope.mismatch", "line 2: an object"),
            (chat("a", r#","rid":"x""#), "request.unsupported", "line 2: `rid`"),
        ] {
            let error = rewritten(&format!("{good}\n{bad}")).err().unwrap();
            assert_eq!(error.code(), code, "{bad}");
            assert!(error.to_string().starts_with(says), "{bad}: {error}");
        }
        for empty in ["", "\n\n", " \r\n"] {
            assert!(rewritten(empty).is_err());
        }
    }

    #[test]
    fn lines_and_models_are_bounded() {
        let many: Vec<_> = (0..=MAX_LINES).map(|_| r#"{"custom_id":"a","method":"POST","url":"/v1/embeddings","body":{"model":"m"}}"#).collect();
        assert!(survey(many[1..].join("\n").as_bytes()).is_ok());
        let error = survey(many.join("\n").as_bytes()).unwrap_err();
        assert!(error.to_string().starts_with("line 50001: "), "{error}");
        let models: Vec<_> =
            (0..17).map(|n| line("a", CHAT, &format!(r#"{{"model":"m{n}"}}"#))).collect();
        assert!(survey(models[1..].join("\n").as_bytes()).is_ok());
        assert!(survey(models.join("\n").as_bytes()).is_err());
    }
}
