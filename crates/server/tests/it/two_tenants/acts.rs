//! What everybody does with chats, records and names.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};

use super::{Unit, World, owners, place, tenant, without_words};
use crate::it::rig::chat_body;

impl World {
    /// Several chats at once, of whoever: prompts of one's own, and ones that all share.
    pub(super) async fn chats(&mut self) {
        let mut asked = Vec::new();
        for _ in 0..=self.dice.roll(6) {
            let of = self.some();
            let unit = self.held[of].unit;
            let prompt = match self.dice.roll(3) {
                0 => self.canary('p', unit),
                n => format!("what everybody asks {n}"),
            };
            let model = *self.dice.pick(&["plain", "cached", "cached"]);
            let stream = self.dice.roll(3) == 0;
            let fails = self.dice.roll(12) == 0;
            let prompt = if fails { format!("{prompt} [fail]") } else { prompt };
            asked.push((of, chat_body(model, &prompt, stream), fails));
        }
        let replies =
            join_all(asked.iter().map(|(of, body, _)| {
                self.rig.chat_with(&self.held[*of].secret, &[], body.clone())
            }));
        let replies = replies.await;
        for ((of, body, fails), reply) in asked.iter().zip(&replies) {
            let good: &[u16] = if *fails { &[500] } else { &[200] };
            self.judge(*of, "model:chat", &body.to_string(), reply, good);
            if reply.status == 200 {
                let own = owners(&reply.text(), "a");
                assert_eq!(own, BTreeSet::from([self.held[*of].unit]), "{}", reply.text());
            }
        }
    }

    pub(super) async fn read(&mut self, of: usize) {
        let (grant, path, good): (_, _, &[u16]) = match self.dice.roll(4) {
            0 => ("model:models", "/v1/models".to_owned(), &[200]),
            1 => ("audit:read", "/v1/audit?limit=1000".to_owned(), &[200]),
            2 => {
                // Some run of some unit: it is the credential's own unit's, or it is not there.
                let other = self.dice.roll(self.held.len());
                let run = self.held[other].run.clone().unwrap_or_else(|| "none".into());
                let foreign = self.held[other].unit != self.held[of].unit;
                let good: &[u16] = if foreign { &[404] } else { &[200, 404] };
                ("records:read", format!("/v1/runs/{run}/events"), good)
            }
            _ => ("records:read", "/v1/runs/never/events".to_owned(), &[404]),
        };
        let reply = self.rig.get(&self.held[of].secret, &path).await;
        self.judge(of, grant, &path, &reply, good);
    }

    /// One unit's credential, naming another: refused whoever it is.
    pub(super) async fn pretend(&mut self, of: usize) {
        let unit = self.held[of].unit;
        let other = (unit + 1 + self.dice.roll(self.own.len() - 1)) % self.own.len();
        let mut body = chat_body("cached", "what everybody asks 1", false);
        let mut headers = Vec::new();
        let (name, value) = match tenant(other) == tenant(unit) {
            true => ("environment", place(other)),
            false => ("tenant", tenant(other)),
        };
        match self.dice.roll(3) {
            0 if name == "tenant" => headers.push(("x-tenant-id", value)),
            0 => headers.push(("x-environment", value)),
            1 => body["metadata"] = json!({name: value}),
            _ => body[name] = json!(value),
        }
        let reply = self.rig.chat_with(&self.held[of].secret, &headers, body).await;
        assert!([401, 403].contains(&reply.status), "{}", reply.text());
        if self.stands(of) {
            assert_eq!(reply.code(), "scope.mismatch", "{}", reply.text());
        }
        self.look(unit, "pretend", &reply);
    }

    /// What operators see of a unit: never a secret, a prompt or an answer.
    pub(super) async fn operate(&mut self, unit: Unit) {
        let (tenant, place) = (tenant(unit), place(unit));
        let under = format!("/admin/v1/tenants/{tenant}/environments/{place}");
        for path in [
            format!("{under}/audit?limit=1000"),
            format!("{under}/events?limit=1000"),
            format!("{under}/credentials"),
            format!("{under}/keys?limit=1000"),
            "/admin/v1/audit?limit=1000".to_owned(),
            "/admin/v1/status".to_owned(),
            "/metrics".to_owned(),
        ] {
            let reply = self.rig.admin(Method::GET, &path, Value::Null).await.good();
            let seen = owners(&reply.text(), "psav");
            assert!(seen.is_empty(), "{path}: {}", reply.text());
            if path.starts_with(&under) {
                for owner in owners(&without_words(&reply), "rn") {
                    assert_eq!(owner, unit, "{path}: {}", reply.text());
                }
            }
        }
    }
}
