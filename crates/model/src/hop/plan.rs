//! Which targets may be asked for a request, and with which credentials.

use std::sync::Arc;

use ids::{ProviderId, planted};
use scope::{Access, Scope};
use vault::Credential;

use super::{Entry, Inner, Supplier, Target};
use crate::{Api, Error, Request, request::Terms};

/// A target that may be asked, with the credential for it.
#[derive(Clone)]
pub(crate) struct Candidate<'a> {
    pub(crate) target: &'a Target,
    pub(crate) credential: Arc<Credential>,
}

impl Candidate<'_> {
    pub(crate) fn supplier(&self) -> &Arc<Supplier> {
        &self.target.supplier
    }

    pub(crate) fn provider(&self) -> &ProviderId {
        &self.target.supplier.provider.id
    }
}

impl Inner {
    /// The route that a request names, if it is there for the scope.
    pub(crate) fn entry<A: Access>(
        &self,
        scope: &Scope<A>,
        model: &str,
    ) -> Result<&Arc<Entry>, Error> {
        let entry = self.routes.get(model).filter(|entry| entry.serves(scope));
        entry.ok_or(Error::UnknownModel)
    }

    /// The scope's credential for a provider that is there for it.
    pub(crate) async fn credential<A: Access>(
        &self,
        scope: &Scope<A>,
        provider: &ProviderId,
    ) -> Result<Option<Arc<Credential>>, Error> {
        let supplier = self.suppliers.get(provider);
        if supplier.is_some_and(|supplier| !supplier.provider.serves(scope.tenant())) {
            return Ok(None);
        }
        let wallet = self.parts.credentials.of(scope);
        Ok(wallet.get(provider, scope.workflow()).await?)
    }

    /// The targets that have the endpoint, that the scope has a credential for, that take the
    /// request as it is, and where everything that it names is the scope's.
    ///
    /// # Errors
    /// There is none: why the first one is not.
    pub(crate) async fn candidates<'a, A: Access>(
        &self,
        scope: &Scope<A>,
        entry: &'a Entry,
        ask: &Request,
    ) -> Result<Vec<Candidate<'a>>, Error> {
        let mut candidates = Vec::with_capacity(entry.targets.len());
        let (mut refused, mut without) = (None, None);
        let serves = |target: &&Target| target.supplier.provider.apis().contains(&ask.api());
        for target in entry.targets.iter().filter(serves) {
            let provider = &target.supplier.provider;
            let Some(credential) = self.credential(scope, &provider.id).await? else {
                without.get_or_insert(&provider.id);
                continue;
            };
            let terms = terms(entry, target, &credential);
            match ask.judge(&terms) {
                Ok(()) => candidates.push(Candidate { target, credential }),
                Err(error) => {
                    refused.get_or_insert(error);
                }
            }
        }
        if candidates.is_empty() {
            return Err(match (refused, without) {
                (Some(error), _) => error,
                (None, Some(provider)) => Error::NoCredential(provider.clone()),
                (None, None) => not_served(entry, ask),
            });
        }
        self.owning(scope, candidates, ask).await
    }

    /// Of these, those of the one provider where everything that the request names is the
    /// scope's.
    async fn owning<'a, A: Access>(
        &self,
        scope: &Scope<A>,
        mut candidates: Vec<Candidate<'a>>,
        ask: &Request,
    ) -> Result<Vec<Candidate<'a>>, Error> {
        let cited = ask.cited();
        if cited.is_empty() || (ask.stream() && planted::is("handle-check-skipped-in-streams")) {
            return Ok(candidates);
        }
        let mut refused = Error::Missing(cited[0].place);
        let mut first = true;
        for at in 0..candidates.len() {
            let Candidate { target, credential } = &candidates[at];
            let provider = &target.supplier.provider;
            let account = target.supplier.account(credential);
            let owned = match target.supplier.whole_account(credential) {
                true => Ok(()),
                false => self.parts.handles.all_owned(scope, account, cited).await,
            };
            match owned {
                Ok(()) if planted::is("handle-leads-anywhere") => return Ok(candidates),
                Ok(()) => {
                    let (id, version) = (provider.id.clone(), credential.version);
                    candidates.retain(|other| {
                        *other.provider() == id && other.credential.version == version
                    });
                    return Ok(candidates);
                }
                Err(error @ Error::Missing(_)) if first => refused = error,
                Err(Error::Missing(_)) => {}
                Err(error) => return Err(error),
            }
            first = false;
        }
        Err(refused)
    }
}

impl Entry {
    /// Whether any of its providers is there for the scope.
    pub(crate) fn serves<A: Access>(&self, scope: &Scope<A>) -> bool {
        self.targets.iter().any(|target| target.supplier.provider.serves(scope.tenant()))
    }
}

/// On which terms a target is asked.
pub(crate) fn terms<'a>(
    entry: &'a Entry,
    target: &'a Target,
    credential: &Credential,
) -> Terms<'a> {
    let provider = &target.supplier.provider;
    Terms {
        shared: credential.shared,
        extra_fields: &provider.extra_fields,
        hosted_tools: &entry.route.hosted_tools,
        kind: provider.kind,
    }
}

/// Says where the route is served instead.
fn not_served(entry: &Entry, ask: &Request) -> Error {
    let served = |api: &&Api| {
        entry.targets.iter().any(|target| target.supplier.provider.apis().contains(api))
    };
    let paths: Vec<_> =
        Api::ALL.iter().filter(served).map(|api| format!("/v1{}", api.path())).collect();
    Error::NotServed { model: ask.model().to_owned(), serves: paths.join(", ") }
}
