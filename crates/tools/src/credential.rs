//! A tenant's own credential, in the form in which its upstream wants it.
//!
//! Everything begins at the vault, for every call: what is kept here is found by its
//! owner and by the version of the credential, so that a secret that was replaced or removed
//! is not used any more, and none is ever another's. Nothing of a caller's comes in here.

use std::{fmt, num::NonZeroUsize, sync::Arc};

use http::{HeaderName, HeaderValue, header};
use ids::{AccountId, Clock, Entropy, ProviderId, WorkflowId, planted};
use lru::LruCache;
use parking_lot::Mutex;
use scope::{Scope, Write};
use vault::{Credential, Credentials, Forms, SecretText};
use zeroize::Zeroize as _;

use crate::{Auth, Error, Settings, ToolKeys, Upstream, UpstreamKind};

pub(crate) mod assertion;
mod endpoint;
mod forms;
mod identity;
mod oauth;
mod owners;
#[cfg(test)]
mod tests;
pub(crate) mod trust;

pub use forms::check_secret;
pub(crate) use forms::is_this_machine;

/// How often a credential is looked at again that changed while it was being used.
const LOOKS: usize = 4;

/// What a call carries.
///
/// The headers are of this one call: they change while the version stays. Whoever keeps a
/// connection or a session by the version sends the headers of each call all the same.
#[derive(Clone)]
pub(crate) struct Authorized {
    /// Whose connections may be used: changes with every change of the secret.
    pub(crate) version: u64,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// A certificate of the tenant's own.
    pub(crate) identity: Option<Arc<Identity>>,
    /// `user:password`, for PostgreSQL.
    pub(crate) login: Option<SecretText>,
    /// What no answer may repeat.
    pub(crate) secrets: Arc<Forms>,
}

impl Authorized {
    /// Carries nothing.
    pub(crate) fn bare() -> Self {
        Self {
            version: 0,
            headers: Vec::new(),
            identity: None,
            login: None,
            secrets: Arc::new(Forms::of_all([])),
        }
    }

    fn bearing(version: u64, header: (HeaderName, HeaderValue), secrets: Arc<Forms>) -> Self {
        Self { version, headers: vec![header], secrets, ..Self::bare() }
    }
}

impl fmt::Debug for Authorized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authorized(version {})", self.version)
    }
}

/// A certificate with its key.
pub(crate) struct Identity {
    pub(crate) chain: Vec<rustls::pki_types::CertificateDer<'static>>,
    pub(crate) key: rustls::pki_types::PrivateKeyDer<'static>,
}

impl Drop for Identity {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

/// Whose a thing is that is kept here. What it was made from is told by the version beside it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Owner {
    partition: [u8; 32],
    upstream: ProviderId,
    /// Whose credential it is alone, if it is a workflow's own.
    workflow: Option<WorkflowId>,
}

impl Owner {
    fn of(scope: &Scope<Write>, upstream: &ProviderId, credential: &Credential) -> Self {
        let partition = match planted::is("tools-token-across-tenants") {
            true => [0; 32],
            false => *scope.partition_bytes(),
        };
        Self { partition, upstream: upstream.clone(), workflow: credential.workflow.clone() }
    }
}

/// Tenants' credentials for upstreams. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Keys {
    inner: Arc<Inner>,
}

struct Inner {
    credentials: Credentials,
    assertions: ToolKeys,
    issuer: String,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    tokens: Arc<oauth::Tokens>,
    /// Credentials that are shown as they are, made ready once.
    ready: Mutex<LruCache<Owner, Authorized>>,
}

impl Keys {
    /// Those of these upstreams.
    ///
    /// # Errors
    /// A token endpoint that a secret may not go to, a header that is none, or authorities
    /// that cannot be read.
    pub(crate) fn open(
        settings: &Settings,
        credentials: Credentials,
        assertions: ToolKeys,
        issuer: String,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, Error> {
        for upstream in &settings.upstreams {
            forms::check_auth(upstream).map_err(|why| {
                Error::Settings(format!("upstream `{}`, auth: {why}", upstream.id))
            })?;
        }
        let most = NonZeroUsize::new(settings.limits.clients).unwrap_or(NonZeroUsize::MIN);
        let tokens = oauth::Tokens::open(settings, &credentials, &clock, &*entropy)?;
        let ready = Mutex::new(LruCache::sparse(most));
        let tokens = Arc::new(tokens);
        let inner = Inner { credentials, assertions, issuer, clock, entropy, tokens, ready };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What a call of the scope's carries to this upstream.
    ///
    /// # Errors
    /// There is no credential, or none that can be used; the vault cannot be asked.
    pub(crate) async fn of(
        &self,
        scope: &Scope<Write>,
        upstream: &Arc<Upstream>,
    ) -> Result<Authorized, Error> {
        self.for_account(scope, upstream, None).await
    }

    /// The same for a call that is for one external account, which an assertion says.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub(crate) async fn for_account(
        &self,
        scope: &Scope<Write>,
        upstream: &Arc<Upstream>,
        account: Option<&AccountId>,
    ) -> Result<Authorized, Error> {
        let inner = &self.inner;
        match &upstream.auth {
            Auth::None => return Ok(Authorized::bare()),
            Auth::Assertion { audience, seconds } => {
                return inner.asserted(scope, audience, *seconds, account);
            }
            _ => {}
        }
        for _ in 0..LOOKS {
            let credential = inner.credential(scope, upstream).await?;
            let found = match &upstream.auth {
                Auth::OauthClient { .. } | Auth::OauthRefresh { .. } => {
                    inner.tokens.of(scope, upstream, &credential).await?
                }
                _ => Some(inner.as_it_is(scope, upstream, &credential)?),
            };
            if let Some(authorized) = found {
                return Ok(authorized);
            }
        }
        Err(unusable(upstream, "it keeps changing; ask again"))
    }

    /// To be told when the upstream refused what a call carried (401). Whether it is worth
    /// asking once more: a token that was made here is made anew, once.
    pub(crate) async fn reject(
        &self,
        scope: &Scope<Write>,
        upstream: &Arc<Upstream>,
        refused: &Authorized,
    ) -> bool {
        match &upstream.auth {
            Auth::OauthClient { .. } | Auth::OauthRefresh { .. } => {
                match self.inner.credential(scope, upstream).await {
                    Ok(credential) => {
                        self.inner.tokens.reject(scope, upstream, &credential, refused).await
                    }
                    Err(_) => false,
                }
            }
            _ => false,
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(…)")
    }
}

impl Inner {
    /// The workflow's own credential, or else the environment's.
    async fn credential(
        &self,
        scope: &Scope<Write>,
        upstream: &Upstream,
    ) -> Result<Arc<Credential>, Error> {
        let wallet = self.credentials.of(scope);
        let found = wallet.get(&upstream.id, scope.workflow()).await?;
        found.ok_or_else(|| Error::NoCredential(upstream.id.clone()))
    }

    fn as_it_is(
        &self,
        scope: &Scope<Write>,
        upstream: &Upstream,
        credential: &Credential,
    ) -> Result<Authorized, Error> {
        let owner = Owner::of(scope, &upstream.id, credential);
        if let Some(ready) = self.ready.lock().get(&owner)
            && ready.version == credential.version
        {
            return Ok(ready.clone());
        }
        let made = ready(upstream, credential).map_err(|why| unusable(upstream, why))?;
        self.ready.lock().put(owner, made.clone());
        Ok(made)
    }

    fn asserted(
        &self,
        scope: &Scope<Write>,
        audience: &str,
        seconds: u64,
        account: Option<&AccountId>,
    ) -> Result<Authorized, Error> {
        let made = assertion::Made { issuer: &self.issuer, audience, seconds, account };
        let token = self.assertions.assert(scope, made, self.clock.now(), &*self.entropy)?;
        let secrets = Arc::new(Forms::of(&token));
        let value = forms::header(["Bearer ", &token]).ok_or(Error::Internal("an assertion"))?;
        Ok(Authorized::bearing(0, (header::AUTHORIZATION, value), secrets))
    }
}

/// A credential that is shown as it is.
fn ready(upstream: &Upstream, credential: &Credential) -> Result<Authorized, &'static str> {
    let (auth, secret, version) = (&upstream.auth, &credential.secret, credential.version);
    check_secret(auth, secret)?;
    let text = secret.expose();
    let unfit = "it does not fit in a header";
    let secrets = |all: &[&str]| Arc::new(Forms::of_all(all.iter().copied()));
    match auth {
        Auth::Basic if upstream.kind == UpstreamKind::Postgres => {
            let password = forms::login(secret).map_or("", |(_, password)| password);
            let (login, secrets) = (Some(secret.clone()), secrets(&[text, password]));
            Ok(Authorized { version, login, secrets, ..Authorized::bare() })
        }
        Auth::Basic => {
            let basic = forms::basic(text);
            let password = forms::login(secret).map_or("", |(_, password)| password);
            let value = forms::header(["Basic ", &basic]).ok_or(unfit)?;
            let secrets = secrets(&[text, password, &basic]);
            Ok(Authorized::bearing(version, (header::AUTHORIZATION, value), secrets))
        }
        Auth::Bearer => {
            let value = forms::header(["Bearer ", text]).ok_or(unfit)?;
            Ok(Authorized::bearing(version, (header::AUTHORIZATION, value), secrets(&[text])))
        }
        Auth::Header { name } => {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unfit)?;
            let value = forms::header(["", text]).ok_or(unfit)?;
            Ok(Authorized::bearing(version, (name, value), secrets(&[text])))
        }
        Auth::Mtls => {
            let identity = Some(Arc::new(identity::parse(secret)?));
            Ok(Authorized { version, identity, secrets: secrets(&[text]), ..Authorized::bare() })
        }
        Auth::OauthClient { .. } | Auth::OauthRefresh { .. } => Err("it has to be exchanged"),
        Auth::Assertion { .. } | Auth::None => Err("none is needed"),
    }
}

fn unusable(upstream: &Upstream, why: &'static str) -> Error {
    Error::Credential { upstream: upstream.id.clone(), why }
}
