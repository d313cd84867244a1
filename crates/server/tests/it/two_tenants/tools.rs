//! What everybody does with tools: one CRM for all, which looks at nothing, and the oracle knows
//! whose each note is.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};

use super::{Unit, World, owners, place, tenant};
use crate::it::rig::{account_of, failure};

/// A note in the CRM.
pub(super) struct Note {
    unit: Unit,
    id: String,
    text: String,
    gone: bool,
}

/// The code of what came back; empty for an answer.
fn code(reply: &Value) -> String {
    let error = reply["error"]["data"]["code"].as_str();
    error.unwrap_or_else(|| failure(&reply["result"])).to_owned()
}

impl World {
    /// Its account in the CRM, and a credential in each environment.
    pub(super) async fn tooled(&mut self) {
        for unit in 0..self.own.len() {
            let accounts = json!({"accounts": {"crm": [account_of(tenant(unit))]}});
            let path = format!("/admin/v1/tenants/{}", tenant(unit));
            self.rig.admin(Method::PATCH, &path, accounts).await.good();
            for upstream in ["crm", "crm-mcp"] {
                let secret = format!("key-{}", self.canary('s', unit));
                let body = json!({"secret": secret});
                let at = (tenant(unit), place(unit));
                self.rig.set_credential_of(upstream, at.0, at.1, body).await.good();
            }
        }
    }

    /// One call of a tool: what is looked at, and the answer.
    pub(super) async fn called(
        &mut self,
        of: usize,
        grant: &str,
        name: &str,
        arguments: Value,
    ) -> Value {
        let unit = self.held[of].unit;
        let id = self.dice.roll(3);
        let params = json!({"name": name, "arguments": arguments});
        let call = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params});
        let reply = self.rig.mcp(&self.held[of].secret, call).await;
        self.look(unit, name, &reply);
        let held = &self.held[of];
        let may = held.grants.contains("tools:list") && self.stands(of);
        assert_eq!(reply.status == 200, may, "{name}: {} {}", reply.status, reply.text());
        if !may {
            self.refused += 1;
            return Value::Null;
        }
        let json = reply.json();
        assert_eq!(json["id"], id, "{json}");
        if !held.grants.contains(grant) {
            assert_ne!(code(&json), "", "{name}: {json}");
            self.refused += 1;
            return Value::Null;
        }
        json
    }

    pub(super) async fn use_tools(&mut self, of: usize) {
        let unit = self.held[of].unit;
        match self.dice.roll(5) {
            0 => {
                let text = self.canary('v', unit);
                let json = self.called(of, "tools:write", "add_note", json!({"text": text})).await;
                if json.is_null() {
                    return;
                }
                assert_eq!(code(&json), "", "{json}");
                let made = &json["result"]["structuredContent"];
                assert_eq!(made["text"], text, "{json}");
                let id = made["id"].as_str().unwrap().to_owned();
                self.notes_of_tools.push(Note { unit, id, text, gone: false });
            }
            1 => {
                let json = self.called(of, "tools:read", "list_notes", json!({})).await;
                if json.is_null() {
                    return;
                }
                assert_eq!(code(&json), "", "{json}");
                let found =
                    json["result"]["structuredContent"]["notes"].as_array().unwrap().clone();
                let found: BTreeSet<_> =
                    found.iter().map(|note| note["text"].as_str().unwrap().to_owned()).collect();
                let own = self.notes_of_tools.iter().filter(|note| note.unit == unit && !note.gone);
                assert_eq!(found, own.map(|note| note.text.clone()).collect(), "{json}");
                self.answered += 1;
            }
            _ => self.some_note(of).await,
        }
    }

    /// Names some note of somebody's: it is the credential's own unit's, or it is withheld.
    async fn some_note(&mut self, of: usize) {
        if self.notes_of_tools.is_empty() {
            return;
        }
        let unit = self.held[of].unit;
        let at = self.dice.roll(self.notes_of_tools.len());
        let Note { unit: owner, id, text, gone } = &self.notes_of_tools[at];
        let (own, id, text) = (*owner == unit && !gone, id.clone(), text.clone());
        let name = *self.dice.pick(&["get_note", "mcp_note", "fail_note"]);
        let json = self.called(of, "tools:read", name, json!({"id": id})).await;
        if json.is_null() {
            return;
        }
        if !own {
            assert_ne!(code(&json), "", "{name}: {json}");
            assert!(owners(&json.to_string(), "v").is_empty(), "{name}: {json}");
            self.tried += 1;
        } else if name != "fail_note" {
            assert!(json.to_string().contains(&text), "{name}: {json}");
            self.answered += 1;
        }
    }

    /// What the CRM was asked: everything of a unit under that unit's own credential.
    pub(super) fn look_at_crm(&self) {
        for asked in self.rig.crm.asked() {
            let credential = owners(&asked.secret, "s");
            assert_eq!(credential.len(), 1, "{asked:?}");
            for owner in owners(&asked.body.to_string(), "pav") {
                assert!(credential.contains(&owner), "{asked:?}");
            }
            for held in &self.held {
                assert!(!asked.headers.contains(&held.secret), "a credential of an agent's");
            }
        }
        for note in self.rig.crm.writes() {
            let account = note["account_id"].as_str().unwrap();
            for owner in owners(&note.to_string(), "v") {
                assert_eq!(account, account_of(tenant(owner)), "{note}");
                assert_eq!(note["environment"], place(owner), "{note}");
            }
        }
    }
}
