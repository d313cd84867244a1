//! OAuth 2.1: access tokens, got with the tenant's own client credentials or refresh token.
//!
//! One owner's token is asked for by one caller at a time; whoever comes meanwhile waits for
//! what comes of it. A failure is remembered for a while and answered without asking. A refresh
//! token that takes the place of the former one is written to the vault before the access token
//! that came with it is used, in a task that goes on when its caller hangs up. If the process
//! dies between the server's answer and that write, the refresh token is lost unless the server
//! takes the former one for a while, as many do; then a person has to set a new one. There is no
//! order of steps in which that cannot be: the server forgets before we can know.

use std::{collections::HashMap, sync::Arc, time::Duration};

use http::{HeaderValue, header};
use ids::{Clock, Entropy, Millis, ProviderId, planted};
use lru::LruCache;
use parking_lot::Mutex;
use scope::{Scope, Write};
use tokio::sync::OwnedMutexGuard;
use vault::{Credential, Credentials, Forms, SecretText};
use zeroize::Zeroizing;

use super::{
    Authorized, Owner,
    endpoint::{Endpoint, Given},
    forms,
    owners::Owners,
    unusable,
};
use crate::{Auth, Error, Settings, Upstream};

/// Before its end a token is not used any more for so long, or for a quarter of its life.
const SKEW: Duration = Duration::from_secs(60);
/// For how long nothing is asked after a failure; doubled with each.
const COOL_DOWN: Duration = Duration::from_secs(5);
/// For how long at most.
const COLDEST: Duration = Duration::from_secs(300);
/// Of so many tokens for each client it is remembered whose they are: many may live at once.
const REMEMBERED: usize = 16;
/// A token that is refused within this time was refused from the beginning.
const YOUNG: Duration = Duration::from_secs(60);

/// The tokens of all owners.
pub(super) struct Tokens {
    endpoints: HashMap<ProviderId, Endpoint>,
    credentials: Credentials,
    clock: Arc<dyn Clock>,
    most: usize,
    grants: Mutex<LruCache<Owner, Arc<Grant>>>,
    /// Whose each token is, by a keyed digest of it.
    owners: Mutex<Owners>,
    mark: Zeroizing<[u8; 32]>,
}

/// What one owner was given. Whoever asks for more holds the lock.
type Grant = tokio::sync::Mutex<State>;

#[derive(Default)]
struct State {
    /// Of the credential that the rest came of.
    version: u64,
    token: Option<Token>,
    /// What was given and is not yet in the vault.
    unsaved: Option<Unsaved>,
    /// How often in a row nothing was given.
    failures: u32,
    /// Until when nothing is asked, and why.
    barred: Option<(Millis, &'static str)>,
    /// How many young tokens in a row the upstream refused.
    strikes: u32,
}

struct Token {
    header: HeaderValue,
    secrets: Arc<Forms>,
    made: Millis,
    until: Millis,
}

struct Unsaved {
    given: Given,
    /// When it was asked for.
    asked: Millis,
    by: Arc<Credential>,
}

impl State {
    fn of(version: u64) -> Self {
        Self { version, ..Self::default() }
    }

    fn good(&self, now: Millis) -> Option<Authorized> {
        let token = self.token.as_ref().filter(|token| now < token.until)?;
        let header = (header::AUTHORIZATION, token.header.clone());
        Some(Authorized::bearing(self.version, header, Arc::clone(&token.secrets)))
    }

    fn barred(&self, now: Millis) -> Option<&'static str> {
        self.barred.filter(|(until, _)| now < *until).map(|(_, why)| why)
    }

    /// Asks nothing for a while.
    fn bar(&mut self, now: Millis, times: u32, why: &'static str) {
        let doubled = COOL_DOWN.saturating_mul(1 << times.saturating_sub(1).min(16));
        self.token = None;
        self.barred = Some((now.plus(doubled.min(COLDEST)), why));
    }

    fn fail(&mut self, now: Millis, why: &'static str) {
        self.failures = self.failures.saturating_add(1);
        self.bar(now, self.failures, why);
    }
}

impl Tokens {
    pub(super) fn open(
        settings: &Settings,
        credentials: &Credentials,
        clock: &Arc<dyn Clock>,
        entropy: &dyn Entropy,
    ) -> Result<Self, Error> {
        let mut endpoints = HashMap::new();
        for upstream in &settings.upstreams {
            if let Some(endpoint) = Endpoint::open(upstream)? {
                endpoints.insert(upstream.id.clone(), endpoint);
            }
        }
        let mut mark = Zeroizing::new([0; 32]);
        entropy.fill(&mut *mark);
        Ok(Self {
            endpoints,
            credentials: credentials.clone(),
            clock: Arc::clone(clock),
            most: settings.limits.clients.max(1),
            grants: Mutex::new(LruCache::unbounded()),
            owners: Mutex::new(Owners::new(settings.limits.clients.saturating_mul(REMEMBERED))),
            mark,
        })
    }

    /// What a call carries: the token that there is, or a new one. Nothing, if the credential
    /// changed meanwhile and has to be looked at again.
    pub(super) async fn of(
        self: &Arc<Self>,
        scope: &Scope<Write>,
        upstream: &Arc<Upstream>,
        credential: &Credential,
    ) -> Result<Option<Authorized>, Error> {
        let grant = self.grant(Owner::of(scope, &upstream.id, credential));
        let mut state = grant.lock_owned().await;
        if credential.version > state.version {
            *state = State::of(credential.version);
        }
        let now = self.clock.now();
        if let Some(found) = state.good(now) {
            return Ok(Some(found));
        }
        if let Some(why) = state.barred(now) {
            return Err(unusable(upstream, why));
        }
        // Whoever waits may hang up; what the server gives is kept all the same.
        let (tokens, upstream) = (Arc::clone(self), Arc::clone(upstream));
        let task =
            scope.spawn(|scope| async move { tokens.renewed(&scope, &upstream, state).await });
        task.await.unwrap_or(Err(Error::Internal("a token")))
    }

    async fn renewed(
        &self,
        scope: &Scope<Write>,
        upstream: &Upstream,
        mut state: OwnedMutexGuard<State>,
    ) -> Result<Option<Authorized>, Error> {
        if state.unsaved.is_none() {
            let wallet = self.credentials.of(scope);
            let by = wallet.get(&upstream.id, scope.workflow()).await?;
            let by = by.ok_or_else(|| Error::NoCredential(upstream.id.clone()))?;
            if by.version != state.version {
                return Ok(None);
            }
            let asked = self.clock.now();
            match self.given(scope, upstream, &by).await {
                Ok(given) => state.unsaved = Some(Unsaved { given, asked, by }),
                Err(why) => return Err(self.failed(upstream, &mut state, why)),
            }
        }
        self.kept(scope, upstream, &mut state).await
    }

    fn failed(&self, upstream: &Upstream, state: &mut State, why: &'static str) -> Error {
        state.fail(self.clock.now(), why);
        tracing::warn!(upstream = %upstream.id, failures = state.failures, why, "no token was given");
        unusable(upstream, why)
    }

    /// Asks the token endpoint.
    async fn given(
        &self,
        scope: &Scope<Write>,
        upstream: &Upstream,
        by: &Credential,
    ) -> Result<Given, &'static str> {
        let endpoint = self.endpoints.get(&upstream.id).ok_or("it has no token endpoint")?;
        forms::check_secret(&upstream.auth, &by.secret)?;
        let unfit = "it is not of the form that it has to be";
        let mut pairs = Vec::with_capacity(5);
        let (client, scope_wanted, resource) = match &upstream.auth {
            Auth::OauthClient { scope, resource, .. } => {
                pairs.push(("grant_type", "client_credentials"));
                (forms::client(&by.secret).ok_or(unfit)?, scope, resource.as_deref())
            }
            Auth::OauthRefresh { scope, .. } => {
                let (client, token) = forms::refresh(&by.secret).ok_or(unfit)?;
                pairs.extend([("grant_type", "refresh_token"), ("refresh_token", token)]);
                (client, scope, None)
            }
            _ => return Err("it is not exchanged"),
        };
        pairs.extend(scope_wanted.as_deref().map(|scope| ("scope", scope)));
        pairs.extend(resource.map(|resource| ("resource", resource)));
        let given = endpoint.ask(&client, pairs).await?;
        match by.shared || self.is_own(scope, &given) {
            true => Ok(given),
            false => Err("the token server gave a token that somebody else has"),
        }
    }

    /// Whether nobody else was given this token.
    fn is_own(&self, scope: &Scope<Write>, given: &Given) -> bool {
        let digest = *blake3::keyed_hash(&self.mark, given.access.as_bytes()).as_bytes();
        self.owners.lock().is_own(scope.partition_bytes(), digest)
    }

    /// Writes down what has to be, and makes the token usable.
    async fn kept(
        &self,
        scope: &Scope<Write>,
        upstream: &Upstream,
        state: &mut State,
    ) -> Result<Option<Authorized>, Error> {
        let Some(Unsaved { given, asked, by }) = &state.unsaved else { return Ok(None) };
        let mut version = by.version;
        let next = match &upstream.auth {
            Auth::OauthRefresh { .. } => rotated(by, given),
            _ => Ok(None),
        };
        let written = match next {
            Ok(None) => Ok(Some(version)),
            Ok(Some(next)) => {
                let wallet = self.credentials.of(scope);
                wallet.renew(&upstream.id, by.workflow.as_ref(), version, next).await
            }
            Err(why) => {
                state.unsaved = None;
                return Err(self.failed(upstream, state, why));
            }
        };
        match written {
            Ok(Some(new)) => version = new,
            // Somebody set or removed it meanwhile: that holds.
            Ok(None) => {
                state.unsaved = None;
                return Ok(None);
            }
            Err(vault::Error::Duplicate) => {
                state.unsaved = None;
                let why = "the token server gave a refresh token that somebody else has";
                return Err(self.failed(upstream, state, why));
            }
            // It stays unsaved, and is written before anything else is asked.
            Err(error) => return Err(error.into()),
        }
        let made = token(&upstream.auth, by, given, *asked);
        let made = made.ok_or(Error::Internal("a token"))?;
        let strikes = state.strikes;
        *state = State { strikes, token: Some(made), ..State::of(version) };
        // Even if it ends at once: it was got for this call.
        let token = state.token.as_ref().ok_or(Error::Internal("a token"))?;
        let header = (header::AUTHORIZATION, token.header.clone());
        Ok(Some(Authorized::bearing(version, header, Arc::clone(&token.secrets))))
    }

    /// The upstream refused a token. Whether another one is worth a try: not if those before it
    /// were refused from the beginning, too.
    pub(super) async fn reject(
        &self,
        scope: &Scope<Write>,
        upstream: &Upstream,
        credential: &Credential,
        refused: &Authorized,
    ) -> bool {
        let grant = self.grant(Owner::of(scope, &upstream.id, credential));
        let mut state = grant.lock_owned().await;
        let shown = refused.headers.iter().find(|(name, _)| *name == header::AUTHORIZATION);
        let Some(token) = &state.token else { return state.barred(self.clock.now()).is_none() };
        if shown.is_none_or(|(_, value)| *value != token.header) {
            return true;
        }
        let now = self.clock.now();
        state.strikes = if now.since(token.made) < YOUNG { state.strikes + 1 } else { 1 };
        state.token = None;
        if state.strikes > 1 {
            let times = state.strikes - 1;
            state.bar(now, times, "the upstream refuses the tokens that its token server gives");
        }
        state.strikes == 1
    }

    fn grant(&self, owner: Owner) -> Arc<Grant> {
        let mut grants = self.grants.lock();
        if let Some(grant) = grants.get(&owner)
            && !planted::is("tools-refresh-not-collapsed")
        {
            return Arc::clone(grant);
        }
        let grant = Arc::<Grant>::default();
        grants.put(owner, Arc::clone(&grant));
        // What is in use stays: a second one beside it would ask a second time.
        let mut aside = 0;
        while grants.len() > self.most && aside < grants.len() {
            let Some((owner, oldest)) = grants.pop_lru() else { break };
            let idle = Arc::strong_count(&oldest) == 1
                && oldest.try_lock().is_ok_and(|state| state.unsaved.is_none());
            if !idle {
                grants.put(owner, oldest);
                aside += 1;
            }
        }
        grant
    }
}

/// The secret with the refresh token that takes the place of the former one.
fn rotated(by: &Credential, given: &Given) -> Result<Option<SecretText>, &'static str> {
    let unfit = "the token server gave a refresh token that cannot be kept";
    let Some(next) = &given.refresh else { return Ok(None) };
    let (client, former) = forms::refresh(&by.secret).ok_or(unfit)?;
    if former == next.as_str() {
        return Ok(None);
    }
    let secret = [client.id, client.secret, next.as_str()].join(":");
    SecretText::parse(secret).map(Some).map_err(|_| unfit)
}

fn token(auth: &Auth, by: &Credential, given: &Given, asked: Millis) -> Option<Token> {
    let (client, former) = match auth {
        Auth::OauthRefresh { .. } => forms::refresh(&by.secret)?,
        _ => (forms::client(&by.secret)?, ""),
    };
    let basic = forms::client_basic(&client);
    let next = given.refresh.as_ref().map_or("", |next| next.as_str());
    let secrets = Forms::of_all([given.access.as_str(), client.secret, &basic, former, next]);
    let life = given.life - SKEW.min(given.life / 4);
    Some(Token {
        header: forms::header(["Bearer ", &given.access])?,
        secrets: Arc::new(secrets),
        made: asked,
        until: asked.plus(life),
    })
}
