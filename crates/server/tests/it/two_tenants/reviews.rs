//! What everybody's people have to decide: the oracle knows who asked for what.

use serde_json::{Value, json};

use super::{Unit, World, owners};

/// A write that waits, or did.
pub(super) struct Asked {
    unit: Unit,
    id: String,
    text: String,
}

impl World {
    pub(super) async fn use_reviews(&mut self, of: usize) {
        let unit = self.held[of].unit;
        match self.dice.roll(5) {
            0 | 1 => {
                let text = self.canary('v', unit);
                let ask = json!({"text": text});
                let json = self.called(of, "tools:destructive", "refund", ask).await;
                if json.is_null() {
                    return;
                }
                let review = json["result"]["_meta"]["bulkhead/review"].as_str();
                let id = review.unwrap_or_else(|| panic!("{json}")).to_owned();
                self.asked.push(Asked { unit, id, text });
            }
            2 => {
                let secret = self.held[of].secret.clone();
                let reply = self.rig.get(&secret, "/v1/reviews?limit=50").await;
                self.judge(of, "reviews:read", "reviews", &reply, &[200]);
                // Not even one's own arguments are in a list.
                assert!(owners(&reply.text(), "v").is_empty(), "{}", reply.text());
            }
            _ => self.some_review(of).await,
        }
    }

    /// Names some review of somebody's: it is the credential's own unit's, or there is none.
    async fn some_review(&mut self, of: usize) {
        if self.asked.is_empty() {
            return;
        }
        let (unit, secret) = (self.held[of].unit, self.held[of].secret.clone());
        let at = self.dice.roll(self.asked.len());
        let Asked { unit: owner, id, text } = &self.asked[at];
        let (own, path, text) = (*owner == unit, format!("/v1/reviews/{id}"), text.clone());
        let reply = self.rig.get(&secret, &path).await;
        self.judge(of, "reviews:read", &path, &reply, if own { &[200] } else { &[404] });
        let digest = match reply.status {
            200 => {
                let review = reply.json();
                assert_eq!(review["arguments"]["text"], text, "{review}");
                self.read += 1;
                review["digest"].clone()
            }
            _ => Value::from("0".repeat(64)),
        };
        let approve = self.dice.roll(3) > 0;
        let body = json!({"approve": approve, "digest": digest});
        let reply = self.rig.ask(&secret, "POST", &format!("{path}/decide"), body).await;
        // All work in one workflow: nobody of it approves, and one may take back.
        let good: &[u16] = match (own, approve) {
            (false, _) => &[404],
            (true, true) => &[403, 409],
            (true, false) => &[200, 409],
        };
        self.judge(of, "reviews:decide", &path, &reply, good);
        if !own {
            self.tried += 1;
        }
    }
}
