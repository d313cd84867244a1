//! What the doors are built with, what is presented to them, and what a credential says of
//! itself besides opening them.

use std::sync::Arc;

use ids::{RandomId, TenantId};
use zeroize::Zeroizing;

use crate::{
    Claim, Digester, Doors, Error, Issuer, Kind, TokenKeys,
    doors::token_id,
    token::{MAX_CREDENTIAL, Parts},
};

/// What the doors are built with.
pub struct Settings {
    /// The `iss` of our tokens.
    pub issuer: String,
    /// The `aud` of our tokens: this deployment.
    pub audience: String,
    /// The keys that sign and verify them.
    pub keys: Arc<TokenKeys>,
    /// Under which secrets become digests.
    pub digester: Digester,
    /// Under which mandates are authenticated.
    pub mandate_key: Zeroizing<[u8; 32]>,
    /// Whose tokens are trusted besides ours.
    pub issuers: Vec<Issuer>,
}

/// What a request presents.
#[derive(Clone, Debug, Default)]
pub struct Presented<'a> {
    /// Every credential, of every header that may hold one.
    pub credentials: Vec<&'a str>,
    /// What headers say of tenant and environment.
    pub claims: Vec<Claim<'a>>,
}

impl Doors {
    /// The public keys of our tokens, as a JWK Set.
    #[must_use]
    pub fn jwks(&self) -> serde_json::Value {
        self.keys.jwks()
    }

    /// The `iss` of our tokens and of every trusted issuer.
    #[must_use]
    pub fn issuers(&self) -> Vec<String> {
        let trusted = self.issuers.iter().map(|trusted| trusted.issuer.issuer.clone());
        std::iter::once(self.issuer.clone()).chain(trusted).collect()
    }

    /// The audience that tokens must be meant for.
    #[must_use]
    pub fn audience(&self) -> &str {
        &self.audience
    }

    /// Under which secrets become digests.
    #[must_use]
    pub const fn digester(&self) -> &Digester {
        &self.digester
    }

    /// Whose a credential is and by which id it is revoked, whether or not it would be let in
    /// now: of a suspended tenant, of an issuer that is trusted for exchanges only.
    ///
    /// # Errors
    /// A credential that never was one of ours.
    pub async fn identify(&self, credential: &str) -> Result<(TenantId, RandomId), Error> {
        match Kind::of(credential) {
            Some(Kind::ApiKey) => {
                let digest = self.digester.digest(credential);
                let key = self.directory.api_key(&digest).await?.ok_or(Error::Unknown)?;
                Ok((key.tenant, key.id))
            }
            Some(Kind::RunGrant) => {
                let digest = self.digester.digest(credential);
                let grant = self.directory.run_grant(&digest).await?.ok_or(Error::Unknown)?;
                Ok((grant.tenant, grant.id))
            }
            Some(Kind::Service | Kind::Operator) => {
                Err(Error::Malformed("not a tenant's credential"))
            }
            None if credential.len() > MAX_CREDENTIAL => Err(Error::Malformed("too long")),
            None => {
                let parts = Parts::split(credential)?;
                if self.is_ours(&parts)? {
                    let identity = self.token_identity(&parts)?;
                    return Ok((identity.tenant, identity.jti));
                }
                let says = self.trusted(&parts)?.verify(&parts, self.now()).await?;
                let standing = self.standings.named(&says.tenant).await?;
                Ok((standing.state().record.id.clone(), token_id(&parts)))
            }
        }
    }
}
