//! The deployment's own signing keys: what each kind signs, how it is rotated, and when the older ones
//! of it go.

use std::{sync::Arc, time::Duration};

use scope::{Maintenance, SigningKey};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vault::Seed;

use crate::{App, Error, deployment::system};

/// Receipts' keys that stay published, so that a receipt that somebody kept can be verified without
/// us. What an older one signed is signed again when it is read, as long as the write is on record.
const RECEIPT_KEYS: usize = 16;

/// What is signed. No key signs two of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Signs {
    /// Tenant tokens: what opens the doors here.
    #[default]
    Tokens,
    /// What says to a company's own tools for whom a call is.
    Assertions,
    /// What proves a write.
    Receipts,
}

impl Signs {
    const ALL: [Self; 3] = [Self::Tokens, Self::Assertions, Self::Receipts];

    /// What the vault keeps the seeds under.
    pub(crate) const fn purpose(self) -> &'static str {
        match self {
            Self::Tokens => "tenant tokens",
            Self::Assertions => "tool assertions",
            Self::Receipts => "receipts",
        }
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::Assertions => "assertions",
            Self::Receipts => "receipts",
        }
    }

    /// How long older keys still verify after the newest one took over: twice the longest life of what it
    /// signed. Receipts do not expire.
    fn outlived(self) -> Option<Duration> {
        match self {
            Self::Tokens => Some(scope::MAX_TOKEN_LIFE * 2),
            Self::Assertions => Some(tools::MAX_ASSERTION_LIFE * 2),
            Self::Receipts => None,
        }
    }

    /// How many keys there may be.
    const fn kept(self) -> usize {
        match self {
            Self::Tokens | Self::Assertions => usize::MAX,
            Self::Receipts => RECEIPT_KEYS,
        }
    }
}

impl App {
    /// Signs with a new key from now on. With `retire`, what the older ones signed is void, now.
    /// Whoever hangs up does not leave it half done.
    pub(crate) async fn rotate_signing(
        self: &Arc<Self>,
        what: Signs,
        retire: bool,
    ) -> Result<(), Error> {
        let published = ids::planted::is("signing-key-published-after-retirement");
        let keep = if retire && !published { 1 } else { what.kept() };
        let own = Arc::clone(self);
        let rotating = async move {
            let _turn = own.signing.lock().await;
            own.sign_anew(what, keep).await
        };
        if ids::planted::is("signing-rotation-half-done") {
            return rotating.await;
        }
        let rotating = system(Maintenance::Administration).spawn(|_| rotating);
        rotating.await.map_err(|_| store::Error::Panicked)?
    }

    /// It is its caller's turn.
    async fn sign_anew(&self, what: Signs, keep: usize) -> Result<(), Error> {
        let seeds = self.vault.rotate_signing(&self.system, what.purpose(), keep).await?;
        self.sign_with(what, &seeds);
        Ok(())
    }

    /// Lets go of the keys under which nothing living can be signed any more.
    pub(crate) async fn retire_signing(&self) -> Result<(), Error> {
        let _turn = self.signing.lock().await;
        for what in Signs::ALL {
            let seeds = self.vault.signing_seeds(&self.system, what.purpose()).await?;
            let Some((newest, older)) = seeds.split_first() else { continue };
            if !self.is_signed_by(what, newest) && !ids::planted::is("signing-key-retired-early") {
                // The keystore has what a rotation began that nobody heard the end of: until now the
                // one before has signed. Whoever takes over does so from now on.
                self.sign_anew(what, what.kept()).await?;
                continue;
            }
            let age = self.clock.now().since(newest.created);
            if let Some(oldest) = older.last()
                && what.outlived().is_some_and(|outlived| age > outlived)
            {
                let left =
                    self.vault.retire_signing(&self.system, what.purpose(), oldest.id).await?;
                self.sign_with(what, &left);
            }
        }
        Ok(())
    }

    /// Whether it is this one that signs here.
    fn is_signed_by(&self, what: Signs, seed: &Seed) -> bool {
        let kid = SigningKey::from_seed(seed.expose()).kid().to_owned();
        self.published(what)["keys"][0]["kid"] == kid
    }

    /// The public keys, as a JWK Set.
    pub(crate) fn published(&self, what: Signs) -> Value {
        match what {
            Signs::Tokens => self.doors.jwks(),
            Signs::Assertions => self.assertion_keys.jwks(),
            Signs::Receipts => self.receipt_keys.jwks(),
        }
    }

    /// All of them in one set, for whoever verifies anything of ours.
    pub(crate) fn all_published(&self) -> Value {
        let mut sets = Signs::ALL.map(|what| self.published(what));
        let keys = sets.iter_mut().filter_map(|set| set["keys"].as_array_mut());
        let keys: Vec<Value> = keys.flat_map(std::mem::take).collect();
        serde_json::json!({ "keys": keys })
    }

    fn sign_with(&self, what: Signs, seeds: &[Seed]) {
        let exposed = seeds.iter().map(Seed::expose);
        match what {
            Signs::Tokens => self.keys.replace(signing_keys(seeds)),
            Signs::Assertions => self.assertion_keys.replace(exposed),
            Signs::Receipts => self.receipt_keys.replace(exposed),
        }
    }
}

/// Of tenant tokens: the first signs, all verify.
pub(crate) fn signing_keys(seeds: &[Seed]) -> Vec<SigningKey> {
    seeds.iter().map(|seed| SigningKey::from_seed(seed.expose())).collect()
}

#[cfg(test)]
mod tests {
    use ids::{ManualClock, Millis, OsEntropy};

    use super::*;
    use crate::{Deployment, RootKey, Settings, deployment::compose};

    /// A deployment in a directory of its own.
    async fn deployed(clock: &Arc<ManualClock>) -> (tempfile::TempDir, Arc<App>) {
        let dir = tempfile::TempDir::new().unwrap();
        let mut settings = Settings::default();
        settings.storage.data.dir = dir.path().join("data");
        settings.storage.keys = dir.path().join("keys");
        settings.storage.root_key = RootKey::File(dir.path().join("keys/root.key"));
        let (ada, entropy) = ("ada".parse().unwrap(), Arc::new(OsEntropy));
        Deployment::create_with(&settings, &ada, clock.clone(), entropy.clone()).await.unwrap();
        (dir, Arc::new(compose(settings, clock.clone(), entropy).await.unwrap()))
    }

    /// The ids of the keys, the signing one first.
    fn kids(app: &App, what: Signs) -> Vec<String> {
        let published = app.published(what);
        let keys = published["keys"].as_array().unwrap().iter();
        keys.map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    }

    /// Its own age says nothing: it may have signed until the moment when another one took over.
    #[tokio::test]
    async fn a_key_outlives_what_it_signed() {
        let clock = Arc::new(ManualClock::at(Millis::from_secs(1_800_000_000)));
        let (_dir, app) = deployed(&clock).await;
        for what in Signs::ALL {
            let first = kids(&app, what);
            clock.advance(scope::MAX_TOKEN_LIFE * 9);
            app.retire_signing().await.unwrap();
            assert_eq!(kids(&app, what), first, "{what:?}: it signs");
            app.rotate_signing(what, false).await.unwrap();
            let both = kids(&app, what);
            assert_eq!((both.len(), &both[1]), (2, &first[0]));
            let Some(outlived) = what.outlived() else {
                assert_eq!(what, Signs::Receipts);
                clock.advance(scope::MAX_TOKEN_LIFE * 9);
                app.retire_signing().await.unwrap();
                assert_eq!(kids(&app, what), both, "receipts do not expire");
                continue;
            };
            // Whoever was signed for last is still within its life, and as long again.
            clock.advance(outlived);
            app.retire_signing().await.unwrap();
            assert_eq!(kids(&app, what), both);
            clock.advance(Duration::from_millis(1));
            app.retire_signing().await.unwrap();
            assert_eq!(kids(&app, what), both[..1]);
        }
    }

    #[tokio::test]
    async fn whoever_hangs_up_leaves_no_rotation_half_done() {
        let clock = Arc::new(ManualClock::at(Millis::from_secs(1_800_000_000)));
        let (_dir, app) = deployed(&clock).await;
        for what in Signs::ALL {
            let leaked = kids(&app, what);
            {
                let rotating = std::pin::pin!(app.rotate_signing(what, true));
                tokio::select! {
                    biased;
                    _ = rotating => panic!("it was to wait for the keystore"),
                    () = std::future::ready(()) => {}
                }
            }
            let drawn = loop {
                let seeds = app.vault.signing_seeds(&app.system, what.purpose()).await.unwrap();
                match SigningKey::from_seed(seeds[0].expose()).kid().to_owned() {
                    kid if kid == leaked[0] => tokio::task::yield_now().await,
                    kid => break kid,
                }
            };
            let _turn = app.signing.lock().await;
            assert_eq!(kids(&app, what), [drawn], "{what:?}");
        }
    }

    /// Of a rotation that ended in the keystore alone: what signs here is not retired under it.
    #[tokio::test]
    async fn what_signs_is_not_retired() {
        let clock = Arc::new(ManualClock::at(Millis::from_secs(1_800_000_000)));
        let (_dir, app) = deployed(&clock).await;
        for what in Signs::ALL {
            let signed = kids(&app, what).remove(0);
            app.vault.rotate_signing(&app.system, what.purpose(), usize::MAX).await.unwrap();
            clock.advance(scope::MAX_TOKEN_LIFE * 9);
            app.retire_signing().await.unwrap();
            let after = kids(&app, what);
            assert!(after[0] != signed && after.contains(&signed), "{what:?}: {after:?}");
            // From then on it counts, and only from then on.
            clock.advance(Duration::from_secs(60));
            app.retire_signing().await.unwrap();
            assert_eq!(kids(&app, what), after, "{what:?}");
            // One that is not in the keystore any more is not here either.
            app.vault.rotate_signing(&app.system, what.purpose(), 1).await.unwrap();
            app.retire_signing().await.unwrap();
            assert!(after.iter().all(|gone| !kids(&app, what).contains(gone)), "{what:?}");
        }
    }

    #[test]
    fn no_two_have_keys_in_common() {
        let purposes: std::collections::BTreeSet<_> =
            Signs::ALL.iter().map(|what| what.purpose()).collect();
        assert_eq!(purposes.len(), Signs::ALL.len());
        for what in Signs::ALL {
            assert_eq!(serde_json::to_value(what).unwrap(), what.as_str());
        }
    }
}
