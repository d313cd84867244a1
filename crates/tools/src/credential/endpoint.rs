//! A token endpoint (RFC 6749): what is asked of it, and what is taken from its answer.
//!
//! It gets the secret, so it is asked nowhere else: no redirect is followed, no proxy is in
//! between, and no connection is used twice. Nothing that it says is repeated but the kind of
//! its refusal.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use ids::json::{self, Json, Limits};
use reqwest::{Client as Http, Response, Url, redirect::Policy};
use vault::{Forms, SecretText};
use zeroize::{Zeroize as _, Zeroizing};

use super::{
    forms::{self, Client},
    trust,
};
use crate::{Auth, Error, Upstream};

/// The largest answer, in bytes.
const LARGEST: usize = 64 << 10;
/// The longest wait for one, in milliseconds.
const LONGEST_MS: u64 = 30_000;
/// For how long a token is used whose answer does not say.
const UNSAID: u64 = 300;
/// For how long a token is used at most, whatever its answer says: a day, in seconds.
const MOST: u64 = 86_400;
/// Bounds on the JSON.
const BOUNDS: Limits = Limits { depth: 8, nodes: 1_000 };

/// Where tokens are for one upstream.
pub(super) struct Endpoint {
    http: Http,
    url: Url,
}

/// What an endpoint gave.
pub(super) struct Given {
    pub(super) access: Zeroizing<String>,
    /// In the place of the refresh token that was shown.
    pub(super) refresh: Option<Zeroizing<String>>,
    /// From when it was asked.
    pub(super) life: Duration,
}

impl Endpoint {
    /// The one of an upstream, if it has one. The upstream's own authorities may vouch for it,
    /// and the public ones, too: it may be somebody else's.
    pub(super) fn open(upstream: &Upstream) -> Result<Option<Self>, Error> {
        let (Auth::OauthClient { token_url, .. } | Auth::OauthRefresh { token_url, .. }) =
            &upstream.auth
        else {
            return Ok(None);
        };
        let unfit = |why: String| Error::Settings(format!("upstream `{}`: {why}", upstream.id));
        let url = forms::token_address(token_url, upstream.allow_plain_http).map_err(unfit)?;
        let mut roots = trust::public();
        if let Some(file) = &upstream.ca_file {
            trust::add(&mut roots, file)?;
        }
        let timeouts = &upstream.timeouts;
        let http = Http::builder()
            .tls_backend_preconfigured(trust::client(roots)?)
            .http1_only()
            .no_proxy()
            .redirect(Policy::none())
            .referer(false)
            .retry(reqwest::retry::never())
            .pool_max_idle_per_host(0)
            .connect_timeout(Duration::from_millis(timeouts.connect_ms))
            .timeout(Duration::from_millis(timeouts.total_ms.min(LONGEST_MS)))
            .build()
            .map_err(|_| Error::Internal("a client for a token endpoint"))?;
        Ok(Some(Self { http, url }))
    }

    /// Asks for a token as this client.
    pub(super) async fn ask(
        &self,
        client: &Client<'_>,
        mut pairs: Vec<(&str, &str)>,
    ) -> Result<Given, &'static str> {
        let mut request = self.http.post(self.url.clone());
        if client.secret.is_empty() {
            pairs.push(("client_id", client.id));
        } else {
            let value = forms::header(["Basic ", &forms::client_basic(client)]);
            request = request.header(header::AUTHORIZATION, value.ok_or("it fits in no header")?);
        }
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        let body = Bytes::from_owner(Body(forms::form(&pairs)));
        let request = request
            .header(header::ACCEPT, HeaderValue::from_static("application/json"))
            .header(header::CONTENT_TYPE, form)
            .body(body);
        let response = request.send().await.map_err(|error| lost(&error))?;
        let status = response.status();
        match status {
            StatusCode::OK => {
                let given = given(&whole(response).await?)?;
                let shown = pairs.iter().filter(|(name, _)| *name == "refresh_token");
                let shown = shown.map(|(_, token)| *token).chain([client.secret]);
                match Forms::of_all(shown).found_in(given.access.as_bytes()) {
                    true => Err("the token server gave the credential itself as a token"),
                    false => Ok(given),
                }
            }
            _ if status.is_redirection() => {
                Err("the token server answered with a redirect, which is not followed")
            }
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(refusal(&whole(response).await?))
            }
            StatusCode::TOO_MANY_REQUESTS => Err("the token server is asked too often"),
            _ => Err("the token server failed"),
        }
    }
}

/// A body that is zeroized when it was sent.
struct Body(Zeroizing<String>);

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

fn lost(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "the token server took too long"
    } else {
        "the token server cannot be reached, or broke off"
    }
}

async fn whole(mut response: Response) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    // At once, so that no part of it stays behind where it grew.
    let mut body = Zeroizing::new(Vec::with_capacity(LARGEST));
    while let Some(piece) = response.chunk().await.map_err(|error| lost(&error))? {
        if body.len() + piece.len() > LARGEST {
            return Err("the token server's answer is larger than 64 KiB");
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// What an answer gives (RFC 6749, 5.1).
fn given(body: &[u8]) -> Result<Given, &'static str> {
    let parsed = Json::parse(body, &BOUNDS).map_err(|error| match error {
        json::Error::Duplicate => "the token server's answer names a key twice",
        _ => "the token server's answer is not JSON",
    })?;
    let mut answer = Answer(parsed);
    let access = answer.token("access_token")?;
    let access = access.ok_or("the token server's answer holds no token")?;
    let bearer = answer.0.get("token_type").and_then(Json::as_str);
    if !bearer.is_some_and(|kind| kind.eq_ignore_ascii_case("bearer")) {
        return Err("the token server gave a token that is not a bearer token");
    }
    let life = match answer.0.get("expires_in") {
        None | Some(Json::Null) => UNSAID,
        Some(said) => match said.as_u64() {
            Some(0) | None => return Err("the token server says no sensible `expires_in`"),
            Some(seconds) => seconds.min(MOST),
        },
    };
    let refresh = answer.token("refresh_token")?;
    Ok(Given { access, refresh, life: Duration::from_secs(life) })
}

/// What a refusal means (RFC 6749, 5.2). Its words are not repeated: they may quote the secret.
fn refusal(body: &[u8]) -> &'static str {
    let answer = Json::parse(body, &BOUNDS).map_or(Json::Null, |json| json);
    match answer.get("error").and_then(Json::as_str) {
        Some("invalid_client") => "the token server does not know the client, or its secret",
        Some("invalid_grant") => "the token server does not take the refresh token (any more)",
        Some("invalid_scope") => "the token server does not give the `scope`",
        Some("invalid_target") => "the token server does not give tokens for the `resource`",
        Some("unauthorized_client") => "the client may not get tokens in this way",
        _ => "the token server refused",
    }
}

/// An answer, of which nothing stays behind.
struct Answer(Json);

impl Answer {
    /// Takes out a text that is fit to be a token.
    fn token(&mut self, name: &str) -> Result<Option<Zeroizing<String>>, &'static str> {
        let Json::Object(entries) = &mut self.0 else {
            return Err("the token server's answer is not a JSON object");
        };
        let Some((_, value)) = entries.iter_mut().find(|(key, _)| key == name) else {
            return Ok(None);
        };
        let text = match value {
            Json::Null => return Ok(None),
            Json::String(text) => Zeroizing::new(std::mem::take(text)),
            _ => return Err("the token server gave a token that is not text"),
        };
        let fit = (1..=SecretText::MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        if fit { Ok(Some(text)) } else { Err("the token server gave a token that cannot be one") }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Json::Object(entries) = &mut self.0 {
            for (_, value) in entries {
                if let Json::String(text) = value {
                    text.zeroize();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_strictly() {
        let long = format!(r#"{{"access_token":"{}","token_type":"bearer"}}"#, "t".repeat(20_000));
        for (body, expected) in [
            (r#"{"access_token":"t","token_type":"Bearer","expires_in":60}"#, Ok((60, None))),
            (r#"{"access_token":"t","token_type":"bearer"}"#, Ok((UNSAID, None))),
            (
                r#"{"access_token":"t","token_type":"bearer","expires_in":1e3,"refresh_token":"r:1"}"#,
                Err("expires_in"),
            ),
            (
                r#"{"access_token":"t","token_type":"bearer","expires_in":1,"refresh_token":"r:1"}"#,
                Ok((1, Some("r:1"))),
            ),
            (
                r#"{"access_token":"t","token_type":"bearer","expires_in":18446744073709551615}"#,
                Ok((MOST, None)),
            ),
            (r#"{"access_token":"t","token_type":"bearer","expires_in":0}"#, Err("expires_in")),
            (r#"{"access_token":"t","token_type":"bearer","expires_in":-5}"#, Err("expires_in")),
            (r#"{"access_token":"t","token_type":"bearer","expires_in":"60"}"#, Err("expires_in")),
            (r#"{"access_token":"t","token_type":"bearer","expires_in":1e99}"#, Err("expires_in")),
            (r#"{"access_token":"t","token_type":"mac"}"#, Err("bearer")),
            (r#"{"access_token":"t"}"#, Err("bearer")),
            (r#"{"token_type":"bearer"}"#, Err("no token")),
            (r#"{"access_token":"","token_type":"bearer"}"#, Err("cannot be")),
            (r#"{"access_token":"a b","token_type":"bearer"}"#, Err("cannot be")),
            (r#"{"access_token":"a\r\nx: y","token_type":"bearer"}"#, Err("cannot be")),
            (r#"{"access_token":["t"],"token_type":"bearer"}"#, Err("not text")),
            (r#"{"access_token":"t","access_token":"u","token_type":"bearer"}"#, Err("twice")),
            (r#"{"access_token":"t","token_type":"bearer","refresh_token":7}"#, Err("not text")),
            (long.as_str(), Err("cannot be")),
            (r#"["t"]"#, Err("not a JSON object")),
            ("access_token=t&token_type=bearer", Err("not JSON")),
            ("", Err("not JSON")),
        ] {
            match (given(body.as_bytes()), expected) {
                (Ok(given), Ok((life, refresh))) => {
                    assert_eq!(given.life.as_secs(), life, "{body}");
                    assert_eq!(given.refresh.as_ref().map(|r| r.as_str()), refresh, "{body}");
                    assert_eq!(given.access.as_str(), "t", "{body}");
                }
                (Err(why), Err(part)) => assert!(why.contains(part), "{body}: {why}"),
                (Ok(_), Err(part)) => panic!("{body}: {part}"),
                (Err(why), Ok(_)) => panic!("{body}: {why}"),
            }
        }
    }
}
