//! What a secret has to look like for each kind of upstream, and the headers that it becomes.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};
use reqwest::Url;
use vault::SecretText;
use zeroize::Zeroizing;

use super::identity;
use crate::{Auth, Upstream, UpstreamKind};

/// What client credentials are.
pub(super) struct Client<'a> {
    pub(super) id: &'a str,
    /// Nothing for a public client.
    pub(super) secret: &'a str,
}

/// `user:password`.
pub(crate) fn login(secret: &SecretText) -> Option<(&str, &str)> {
    secret.expose().split_once(':').filter(|(user, _)| !user.is_empty())
}

/// `client_id:client_secret`.
pub(super) fn client(secret: &SecretText) -> Option<Client<'_>> {
    let (id, secret) = secret.expose().split_once(':')?;
    (!id.is_empty() && !secret.is_empty()).then_some(Client { id, secret })
}

/// `client_id:client_secret:refresh_token`. A refresh token is the server's own choice and may
/// hold anything, so it is what is left.
pub(super) fn refresh(secret: &SecretText) -> Option<(Client<'_>, &str)> {
    let (id, rest) = secret.expose().split_once(':')?;
    let (secret, token) = rest.split_once(':')?;
    (!id.is_empty() && !token.is_empty()).then_some((Client { id, secret }, token))
}

/// Whether a secret is of the form that an upstream's `auth` asks for. Looks at the form alone:
/// whether an upstream takes it shows when it is asked.
///
/// # Errors
/// What it has to be. Says nothing of the secret.
pub fn check_secret(auth: &Auth, secret: &SecretText) -> Result<(), &'static str> {
    let text = secret.expose();
    let held = |good: bool, why| if good { Ok(()) } else { Err(why) };
    match auth {
        Auth::Bearer => held(
            !text.contains(' '),
            "for `bearer` it has to be the token alone, without `Bearer` before it",
        ),
        Auth::Header { .. } => Ok(()),
        Auth::Basic => held(login(secret).is_some(), "for `basic` it has to be `user:password`"),
        Auth::OauthClient { .. } => held(
            client(secret).is_some(),
            "for `oauth-client` it has to be `client_id:client_secret`",
        ),
        Auth::OauthRefresh { .. } => held(
            refresh(secret).is_some(),
            "for `oauth-refresh` it has to be `client_id:client_secret:refresh_token`",
        ),
        Auth::Mtls => identity::parse(secret).map(|_| ()),
        Auth::Assertion { .. } => {
            Err("this upstream is shown assertions that are made here: it takes no credential")
        }
        Auth::None => Err("this upstream is shown no credential"),
    }
}

/// Headers that are the protocol's own.
const RESERVED: &[HeaderName] = &[
    header::ACCEPT,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::HOST,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Whether a way of showing credentials can be used with an upstream.
pub(super) fn check_auth(upstream: &Upstream) -> Result<(), String> {
    let postgres = upstream.kind == UpstreamKind::Postgres;
    match &upstream.auth {
        Auth::Basic | Auth::None => Ok(()),
        _ if postgres => Err("a database takes `basic` or `none`".to_owned()),
        Auth::Header { name } => {
            let name: HeaderName = name.parse().map_err(|_| "`name` is no header".to_owned())?;
            match RESERVED.contains(&name) {
                true => Err(format!("`{name}` is not a header for a credential")),
                false => Ok(()),
            }
        }
        Auth::OauthClient { token_url, .. } | Auth::OauthRefresh { token_url, .. } => {
            token_address(token_url, upstream.allow_plain_http).map(|_| ())
        }
        Auth::Assertion { audience, seconds } => match seconds {
            _ if audience.is_empty() => Err("`audience` is empty".to_owned()),
            1..=300 => Ok(()),
            _ => Err("`seconds` is 1 to 300".to_owned()),
        },
        Auth::Bearer | Auth::Mtls => Ok(()),
    }
}

/// Where tokens are, if a secret may go there.
pub(super) fn token_address(url: &str, allow_plain_http: bool) -> Result<Url, String> {
    let url = Url::parse(url).map_err(|_| "`token_url` is not a URL".to_owned())?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("`token_url` holds a user: credentials come from the vault".to_owned());
    }
    if url.fragment().is_some() {
        return Err("`token_url` has a fragment".to_owned());
    }
    match url.scheme() {
        "https" if url.has_host() => Ok(url),
        "http" if allow_plain_http || url.host_str().is_some_and(is_this_machine) => Ok(url),
        "http" => Err("`token_url` is http: to another machine; use https:".to_owned()),
        _ => Err("`token_url` does not begin with https:".to_owned()),
    }
}

/// Whether a host is this machine.
pub(crate) fn is_this_machine(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A header's value, which is not printed, and zeroized when the last call lets go of it.
pub(super) fn header(parts: [&str; 2]) -> Option<HeaderValue> {
    let mut line = Zeroizing::new(Vec::with_capacity(parts[0].len() + parts[1].len()));
    parts.iter().for_each(|part| line.extend_from_slice(part.as_bytes()));
    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(line)).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The text of `Authorization: Basic`.
pub(super) fn basic(login: &str) -> Zeroizing<String> {
    Zeroizing::new(STANDARD.encode(login))
}

/// The text of `Authorization: Basic` of a client at a token endpoint: both parts are encoded
/// as in forms before they are joined (RFC 6749, 2.3.1).
pub(super) fn client_basic(client: &Client<'_>) -> Zeroizing<String> {
    let most = 3 * (client.id.len() + client.secret.len()) + 1;
    let mut joined = Zeroizing::new(String::with_capacity(most));
    encode(client.id, &mut joined);
    joined.push(':');
    encode(client.secret, &mut joined);
    basic(&joined)
}

/// Pairs, as `application/x-www-form-urlencoded`.
pub(super) fn form(pairs: &[(&str, &str)]) -> Zeroizing<String> {
    let most = pairs.iter().map(|(name, value)| 3 * (name.len() + value.len()) + 2).sum();
    let mut out = Zeroizing::new(String::with_capacity(most));
    for (name, value) in pairs {
        if !out.is_empty() {
            out.push('&');
        }
        encode(name, &mut out);
        out.push('=');
        encode(value, &mut out);
    }
    out
}

fn encode(text: &str, out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            _ => {
                let digit = |four: u8| char::from(DIGITS[usize::from(four)]);
                out.extend(['%', digit(byte >> 4), digit(byte & 15)]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> SecretText {
        SecretText::parse(text.to_owned()).unwrap()
    }

    #[test]
    fn every_kind_says_what_a_secret_has_to_be() {
        let token_url = || "https://id.example/token".to_owned();
        let (bearer, named) = (Auth::Bearer, Auth::Header { name: "x-api-key".to_owned() });
        let client = Auth::OauthClient { token_url: token_url(), scope: None, resource: None };
        let refresh = Auth::OauthRefresh { token_url: token_url(), scope: None };
        let assertion = Auth::Assertion { audience: "crm".to_owned(), seconds: 60 };
        for (auth, text, good) in [
            (&bearer, "abc", true),
            (&bearer, "Bearer abc", false),
            (&named, "abc def", true),
            (&Auth::Basic, "ann:secret:with:colons", true),
            (&Auth::Basic, "ann:", true),
            (&Auth::Basic, "ann", false),
            (&Auth::Basic, ":secret", false),
            (&client, "app:secret", true),
            (&client, "app:", false),
            (&client, "app", false),
            (&client, ":secret", false),
            (&refresh, "app:secret:token", true),
            (&refresh, "app::token", true),
            (&refresh, "app::token:with:colons", true),
            (&refresh, "app:secret", false),
            (&refresh, "app:secret:", false),
            (&refresh, "::token", false),
            (&Auth::Mtls, "abc", false),
            (&assertion, "abc", false),
            (&Auth::None, "abc", false),
        ] {
            let answer = check_secret(auth, &secret(text));
            assert_eq!(answer.is_ok(), good, "{auth:?} {text}: {answer:?}");
        }
    }

    #[test]
    fn a_client_is_told_as_the_rfc_says() {
        let client = Client { id: "my app:1", secret: "s+/%ü~" };
        let told = STANDARD.decode(&*client_basic(&client)).unwrap();
        assert_eq!(String::from_utf8(told).unwrap(), "my+app%3A1:s%2B%2F%25%C3%BC%7E");
        assert_eq!(*form(&[("a", "b c"), ("d", "&=")]), "a=b+c&d=%26%3D");
    }

    #[test]
    fn secrets_go_to_no_endpoint_in_the_open() {
        for (url, plain, why) in [
            ("https://id.example/token?x=1", false, ""),
            ("http://127.0.0.1:9/token", false, ""),
            ("http://[::1]:9/token", false, ""),
            ("http://localhost/token", false, ""),
            ("http://id:80/token", true, ""),
            ("http://id.example/token", false, "another machine"),
            ("http://127.0.0.1.evil.example/", false, "another machine"),
            ("https://ann:pw@id.example/", false, "a user"),
            ("https://id.example/#token", false, "fragment"),
            ("ftp://id.example/", true, "begin with"),
            ("id.example", true, "not a URL"),
        ] {
            let answer = token_address(url, plain);
            match why {
                "" => assert!(answer.is_ok(), "{url}: {answer:?}"),
                why => {
                    assert!(answer.as_ref().is_err_and(|e| e.contains(why)), "{url}: {answer:?}")
                }
            }
        }
    }

    #[test]
    fn a_header_does_not_print() {
        let value = header(["Bearer ", "canary"]).unwrap();
        assert_eq!(value, "Bearer canary");
        assert!(!format!("{value:?}").contains("canary"));
        assert!(header(["", "a\nb"]).is_none());
    }
}
