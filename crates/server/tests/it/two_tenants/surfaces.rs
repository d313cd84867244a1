//! What everybody does at the other endpoints: models, what providers keep, the scoped cache and
//! run state. The stand-in shows what it keeps to every credential, so nothing but the record of
//! owners stands between them.

use std::collections::BTreeSet;

use http::Method;
use serde_json::json;

use super::{Unit, World, owners};
use crate::it::upstream::{FORM, form};

/// Something that was made at the provider.
pub(super) struct Thing {
    unit: Unit,
    id: String,
    kind: Kind,
    gone: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Response,
    File,
}

const JSON: (&str, &str) = ("content-type", "application/json");

impl World {
    /// Asks a model at some endpoint.
    pub(super) async fn ask(&mut self, of: usize) {
        let unit = self.held[of].unit;
        let prompt = match self.dice.roll(2) {
            0 => self.canary('p', unit),
            _ => "what everybody asks".to_owned(),
        };
        let stream = self.dice.roll(2) == 0;
        let said = json!([{"role": "user", "content": prompt}]);
        let (grant, path, body) = match self.dice.roll(4) {
            0 => ("model:embeddings", "/v1/embeddings", json!({"model": "plain", "input": prompt})),
            1 => (
                "model:messages",
                "/v1/messages",
                json!({"model": "claude", "max_tokens": 9, "messages": said, "stream": stream}),
            ),
            _ => (
                "model:responses",
                "/v1/responses",
                json!({"model": "plain", "input": prompt, "stream": stream}),
            ),
        };
        let secret = self.held[of].secret.clone();
        let reply = self.rig.call(&secret, Method::POST, path, &[JSON], body.to_string()).await;
        self.judge(of, grant, path, &reply, &[200]);
        if reply.status != 200 {
            return;
        }
        assert_eq!(owners(&reply.text(), "a"), BTreeSet::from([unit]), "{}", reply.text());
        if path == "/v1/responses" {
            let text = reply.text();
            let at = text.find("\"resp_").unwrap() + 1;
            let id = text[at..].split('"').next().unwrap().to_owned();
            self.things.push(Thing { unit, id, kind: Kind::Response, gone: false });
        }
    }

    pub(super) async fn upload(&mut self, of: usize) {
        let unit = self.held[of].unit;
        let (secret, content) = (self.held[of].secret.clone(), self.canary('v', unit));
        let body = form("assistants", &content);
        let reply = self.rig.call(&secret, Method::POST, "/v1/files", &[FORM], body).await;
        self.judge(of, "model:files", "upload", &reply, &[200]);
        if reply.status == 200 {
            let id = reply.json()["id"].as_str().unwrap().to_owned();
            self.things.push(Thing { unit, id, kind: Kind::File, gone: false });
        }
    }

    /// Names something that somebody made: it is the credential's own unit's, or not there.
    pub(super) async fn cite(&mut self, of: usize) {
        if self.things.is_empty() {
            return;
        }
        let mut at = self.dice.roll(self.things.len());
        for _ in 0..4 {
            if self.things[at].unit == self.held[of].unit {
                break;
            }
            at = self.dice.roll(self.things.len());
        }
        let Thing { unit, id, kind, gone } = &self.things[at];
        let (own, gone, response) = (*unit == self.held[of].unit, *gone, *kind == Kind::Response);
        let (removes, names) = (self.dice.roll(6) == 0, self.dice.roll(3) == 0);
        let method = if removes { Method::DELETE } else { Method::GET };
        let (grant, method, path, body) = match (response, names) {
            (true, false) => {
                ("model:responses", method, format!("/v1/responses/{id}"), json!(null))
            }
            (true, true) => {
                let body = json!({"model": "plain", "input": "and?", "previous_response_id": id});
                ("model:responses", Method::POST, "/v1/responses".to_owned(), body)
            }
            (false, false) if removes => {
                ("model:files", method, format!("/v1/files/{id}"), json!(null))
            }
            (false, false) => {
                ("model:files", Method::GET, format!("/v1/files/{id}/content"), json!(null))
            }
            (false, true) => {
                let file = json!({"type": "input_file", "file_id": id});
                let body =
                    json!({"model": "plain", "input": [{"role": "user", "content": [file]}]});
                ("model:responses", Method::POST, "/v1/responses".to_owned(), body)
            }
        };
        let secret = self.held[of].secret.clone();
        let sent = if body.is_null() { String::new() } else { body.to_string() };
        let what = format!("{method} {path} {sent}");
        let reply = self.rig.call(&secret, method.clone(), &path, &[JSON], sent).await;
        let good: &[u16] = if own && !gone { &[200] } else { &[404] };
        self.judge(of, grant, &what, &reply, good);
        match reply.status {
            200 if method == Method::DELETE => self.things[at].gone = true,
            200 => self.read += 1,
            404 => {
                assert_eq!(reply.code(), "model.handle", "{what}: {}", reply.text());
                self.tried += 1;
            }
            _ => {}
        }
    }

    /// The scoped cache: it may forget, and never mixes up.
    pub(super) async fn cached(&mut self, of: usize) {
        let unit = self.held[of].unit;
        let path = format!("/v1/cache/prices/{}", self.dice.roll(3));
        let (secret, value) = (self.held[of].secret.clone(), self.canary('v', unit));
        let put = self.rig.call(&secret, Method::PUT, &path, &[], value.clone()).await;
        self.judge(of, "cache:write", &path, &put, &[204]);
        let got = self.rig.call(&secret, Method::GET, &path, &[], "").await;
        self.judge(of, "cache:read", &path, &got, &[200, 404]);
        if put.status == 204 && got.status == 200 {
            assert_eq!(got.text(), value);
            self.read += 1;
        }
    }

    /// Run state: exactly what was written, for whoever may.
    pub(super) async fn keep_state(&mut self, of: usize) {
        let unit = self.held[of].unit;
        // Some run of some unit; a token's is its own, for the most part.
        let other = self.dice.roll(self.held.len());
        let runs = [self.held[of].run.clone(), self.held[other].run.clone()];
        let run = runs[usize::from(self.dice.roll(3) == 0)].clone();
        let run = run.unwrap_or_else(|| "shared-run".to_owned());
        let theirs = self.held[of].run.as_ref().is_some_and(|own| *own != run);
        let key = format!("k{}", self.dice.roll(3));
        let (path, at) = (format!("/v1/state/{run}/{key}"), (unit, run, key));
        let secret = self.held[of].secret.clone();
        let known = self.state.get(&at).cloned();
        let (grant, reply) = match self.dice.roll(5) {
            0 | 1 => {
                let value = self.canary('v', unit);
                let reply = self.rig.call(&secret, Method::PUT, &path, &[], value.clone()).await;
                if reply.status < 300 {
                    assert_eq!(reply.status == 201, known.is_none(), "{path}: {}", reply.text());
                    self.state.insert(at, value.clone());
                    let back = self.rig.get(&secret, &path).await;
                    self.judge(of, "state:read", &path, &back, &[200]);
                    if back.status == 200 {
                        assert_eq!(back.text(), value, "{path}");
                        self.read += 1;
                    }
                }
                ("state:write", reply)
            }
            2 => {
                let reply = self.rig.call(&secret, Method::DELETE, &path, &[], "").await;
                if reply.status == 204 {
                    self.state.remove(&at);
                }
                ("state:write", reply)
            }
            _ => {
                let reply = self.rig.get(&secret, &path).await;
                if reply.status == 200 {
                    assert_eq!(Some(reply.text()), known, "{path}");
                    self.read += 1;
                } else if reply.status == 404 {
                    assert_eq!(known, None, "{path}");
                }
                ("state:read", reply)
            }
        };
        if theirs && self.stands(of) {
            assert_eq!(reply.status, 403, "{path}: {}", reply.text());
            self.tried += 1;
            return;
        }
        self.judge(of, grant, &path, &reply, &[200, 201, 204, 404]);
    }
}
