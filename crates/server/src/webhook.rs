//! Telling people of new reviews, as Standard Webhooks have it (standardwebhooks.com): that there is one,
//! and nothing of what is in it.
//!
//! An announcement is a convenience and no record: it is tried a few times and then given up, and
//! those that wait are bounded, for each tenant. The inbox itself holds every review.

mod queue;
mod reach;

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac as _};
use http::{HeaderValue, header};
use ids::{Clock, Environment, Millis, TenantId};
use reqwest::{Client, Url, redirect::Policy};
use reviews::{Notice, Notify, Webhook};
use scope::{Maintenance, SystemScope};
use serde::Serialize;
use sha2::Sha256;
use zeroize::Zeroizing;

use self::queue::{Entrance, Queue};
use crate::{Error, deployment::system, jwks};

/// Where these settings stand.
const FIELD: &str = "reviews.webhooks";
/// What a secret begins with.
const SECRET: &str = "whsec_";
/// How long one attempt may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often one is tried.
const TRIES: u32 = 5;
/// The pause behind the first attempt; each next one is four times as long.
const PAUSE: Duration = Duration::from_secs(2);

/// Everybody who is told, each with a queue of their own.
#[derive(Debug)]
pub(crate) struct Webhooks(Vec<Told>);

#[derive(Debug)]
struct Told {
    host: String,
    queue: Entrance,
}

/// Somebody who is told.
struct Listener {
    url: Url,
    host: String,
    secret: Zeroizing<Vec<u8>>,
    client: Client,
    clock: Arc<dyn Clock>,
    pause: Duration,
}

/// What is sent.
#[derive(Serialize)]
struct Message<'a> {
    r#type: &'static str,
    timestamp: String,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    review: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a TenantId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<&'a Environment>,
    kind: &'static str,
    what: &'a str,
    opened: String,
    expires: String,
}

impl Webhooks {
    /// Begins to tell those whom the settings name. `lookup` reads the environment.
    ///
    /// # Errors
    /// A URL or a secret that cannot be used.
    pub(crate) fn start(
        hooks: &[Webhook],
        clock: &Arc<dyn Clock>,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Error> {
        let mut told = Vec::with_capacity(hooks.len());
        for hook in hooks {
            let listener = Listener::new(hook, clock, &lookup)?;
            let (queue, waiting) = Queue::new();
            told.push(Told { host: listener.host.clone(), queue });
            // It ends when nobody is left who could announce something.
            drop(system(Maintenance::Administration).spawn(|own| listener.tell(own, waiting)));
        }
        Ok(Self(told))
    }
}

impl Notify for Webhooks {
    fn opened(&self, whose: &TenantId, notice: Notice) {
        for told in &self.0 {
            if let Some(gone) = told.queue.put(whose, notice.clone()) {
                tracing::warn!(review = %gone.id, host = told.host, "a review is not announced: too many wait");
            }
        }
    }
}

impl Listener {
    fn new(
        hook: &Webhook,
        clock: &Arc<dyn Clock>,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Error> {
        let refused = |why: String| Error::settings(FIELD, why);
        let url = Url::parse(&hook.url).map_err(|error| refused(error.to_string()))?;
        reach::check(&url, hook.allow_private).map_err(|why| refused(format!("{url}: {why}")))?;
        let name = &hook.secret_env;
        let secret = lookup(name)
            .map(Zeroizing::new)
            .ok_or_else(|| refused(format!("the environment has no {name}")))?;
        let secret = decoded(&secret).ok_or_else(|| {
            refused(format!(
                "{name} is `whsec_` and 24 to 64 bytes in base64, as by `openssl rand -base64 32`"
            ))
        })?;
        let client = Client::builder()
            .tls_backend_preconfigured(jwks::roots()?)
            // What a redirect leads to was looked at by nobody.
            .redirect(Policy::none())
            .no_proxy()
            .https_only(!hook.allow_private)
            .dns_resolver(Arc::new(reach::Guard { allow_private: hook.allow_private }))
            .pool_max_idle_per_host(0)
            .timeout(PATIENCE)
            .user_agent("bulkhead")
            .build()
            .map_err(|error| refused(error.to_string()))?;
        let host = url.host_str().unwrap_or_default().to_owned();
        Ok(Self { url, host, secret, client, clock: Arc::clone(clock), pause: PAUSE })
    }

    /// Tells of one after the other.
    async fn tell(self, _own: SystemScope, waiting: Queue) {
        while let Some(notice) = waiting.next().await {
            self.announce(&notice).await;
        }
    }

    /// Tells of one, a few times if need be; whether it arrived.
    async fn announce(&self, notice: &Notice) -> bool {
        let Ok(body) = serde_json::to_vec(&message(notice)) else { return false };
        let mut pause = self.pause;
        for left in (0..TRIES).rev() {
            match self.send(notice, body.clone()).await {
                Ok(()) => return true,
                Err(why) => {
                    tracing::warn!(review = %notice.id, host = self.host, left, why, "a review could not be announced");
                }
            }
            if left > 0 {
                tokio::time::sleep(pause).await;
                pause *= 4;
            }
        }
        false
    }

    async fn send(&self, notice: &Notice, body: Vec<u8>) -> Result<(), String> {
        let id = format!("msg_{}", notice.id);
        let timestamp = self.clock.now().secs().to_string();
        let signature = signature(&self.secret, &id, &timestamp, &body);
        let signature = HeaderValue::from_str(&signature).map_err(|error| error.to_string())?;
        let request = self
            .client
            .post(self.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(body);
        // Without the URL: it may hold what only its owner should know.
        let answer = request.send().await.map_err(|error| told(&error.without_url()))?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(format!("answered {status}")),
        }
    }
}

/// An error with what it came from: that an address was refused stands at the bottom.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn message(notice: &Notice) -> Message<'_> {
    let Notice { id, tenant, environment, kind, what, opened, expires } = notice;
    let at = |at: &Millis| at.to_string();
    Message {
        r#type: "review.opened",
        timestamp: at(opened),
        data: Data {
            review: id.to_string(),
            tenant: tenant.as_ref(),
            environment: environment.as_ref(),
            kind: kind.as_str(),
            what,
            opened: at(opened),
            expires: at(expires),
        },
    }
}

/// The bytes of a secret.
fn decoded(secret: &str) -> Option<Zeroizing<Vec<u8>>> {
    let bytes = Zeroizing::new(STANDARD.decode(secret.trim().strip_prefix(SECRET)?).ok()?);
    (24..=64).contains(&bytes.len()).then_some(bytes)
}

/// HMAC-SHA256 over `id.timestamp.body`.
fn signature(secret: &[u8], id: &str, timestamp: &str, body: &[u8]) -> String {
    // HMAC takes a key of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return String::new() };
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        mac.update(part);
    }
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests;
