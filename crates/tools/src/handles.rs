//! What an upstream lets a caller come back with (cursors, resource URIs, request states), as an
//! opaque handle that opens for the tenant, the end user and the upstream that it was made for, and for nobody else.
//!
//! Nothing is stored: a handle is the thing itself, sealed under the tenant's data key. A
//! tenant's is bytes to another tenant; a foreign one, a changed one, an old one, one of another kind and one
//! that never was are told apart by nobody.

use std::{fmt, sync::Arc, time::Duration};

use ids::{Clock, Millis, ProviderId, frame::Frame, planted, text};
use scope::{Access, Scope};
use serde::{Deserialize, Serialize};
use vault::{Place, Vault};

use crate::Error;

const SURFACE: &str = "tool-handle";
/// Begins every handle.
const MARK: &str = "bulkhead:1_";
/// For how long a handle opens.
const LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest thing that is made a handle of, in bytes.
pub(crate) const LONGEST: usize = 16 << 10;

/// What a handle is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum HandleKind {
    /// Where a list goes on.
    Cursor,
    /// A resource.
    Resource,
    /// What stands for many resources.
    Template,
    /// What a call goes on with.
    State,
}

impl HandleKind {
    /// What an error calls it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Cursor => "cursor",
            Self::Resource | Self::Template => "uri",
            Self::State => "requestState",
        }
    }

    const fn byte(self) -> u8 {
        match self {
            Self::Cursor => 1,
            Self::Resource => 2,
            Self::Template => 3,
            Self::State => 4,
        }
    }
}

/// A handle, opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    /// Which upstream it is of.
    pub(crate) upstream: ProviderId,
    /// What that upstream calls it.
    pub(crate) is: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Inside<'a> {
    upstream: &'a str,
    is: String,
    until: Millis,
}

/// Seals and opens them.
#[derive(Clone)]
pub(crate) struct Handles {
    vault: Vault,
    clock: Arc<dyn Clock>,
}

impl Handles {
    pub(crate) fn new(vault: &Vault, clock: Arc<dyn Clock>) -> Self {
        Self { vault: vault.clone(), clock }
    }

    /// Makes a handle of what an upstream gave this scope.
    pub(crate) async fn seal<A: Access>(
        &self,
        scope: &Scope<A>,
        upstream: &ProviderId,
        kind: HandleKind,
        is: &str,
    ) -> Result<String, Error> {
        if is.len() > LONGEST {
            return Err(Error::Internal("a handle of something too long"));
        }
        let until = self.clock.now().plus(LIFE);
        let inside = Inside { upstream: upstream.as_str(), is: is.to_owned(), until };
        let plain = serde_json::to_vec(&inside).map_err(|_| Error::Internal("a handle"))?;
        let key = key(scope, kind);
        let place = Place { surface: SURFACE, key: &key, version: 0 };
        let sealed = self.vault.of(scope).seal(&place, &plain).await?;
        Ok(format!("{MARK}{}", text::base64url(&sealed)))
    }

    /// Opens a handle of this kind. Whatever does not open is [`Error::Handle`].
    pub(crate) async fn open<A: Access>(
        &self,
        scope: &Scope<A>,
        kind: HandleKind,
        handle: &str,
    ) -> Result<Opened, Error> {
        let none = || Error::Handle(kind.name());
        if handle.len() > 4 * LONGEST {
            return Err(none());
        }
        let sealed = handle.strip_prefix(MARK).and_then(text::unbase64url).ok_or_else(none)?;
        let key = key(scope, kind);
        let place = Place { surface: SURFACE, key: &key, version: 0 };
        let plain = match self.vault.of(scope).open(&place, &sealed).await {
            Ok(plain) => plain,
            Err(vault::Error::Foreign | vault::Error::Shredded) => return Err(none()),
            Err(error) => return Err(error.into()),
        };
        let inside: Inside<'_> = serde_json::from_slice(&plain).map_err(|_| none())?;
        if inside.until <= self.clock.now() {
            return Err(none());
        }
        let upstream = ProviderId::parse(inside.upstream).map_err(|_| none())?;
        Ok(Opened { upstream, is: inside.is })
    }

    /// The same, of this upstream.
    pub(crate) async fn open_of<A: Access>(
        &self,
        scope: &Scope<A>,
        upstream: &ProviderId,
        kind: HandleKind,
        handle: &str,
    ) -> Result<String, Error> {
        let opened = self.open(scope, kind, handle).await?;
        match opened.upstream == *upstream || planted::is("tools-handle-unbound") {
            true => Ok(opened.is),
            false => Err(Error::Handle(kind.name())),
        }
    }
}

/// Whether a text has the form of a handle.
pub(crate) fn is_one(text: &str) -> bool {
    text.starts_with(MARK)
}

/// For whom besides the tenant and environment, which the sealer binds, and for what.
fn key<A: Access>(scope: &Scope<A>, kind: HandleKind) -> Vec<u8> {
    let frame = Frame::new("bulkhead.tools.handle.v1");
    if planted::is("tools-handle-unbound") {
        return frame.finish();
    }
    frame.field([kind.byte()]).option(scope.subject().map(ids::Subject::as_str)).finish()
}

impl fmt::Debug for Handles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handles(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    const UPSTREAM: &str = "crm";

    #[tokio::test]
    async fn a_handle_opens_for_whom_it_was_made_and_for_nobody_else() {
        let world = World::new().await;
        let handles = Handles::new(&world.vault, world.clock.clone());
        let crm = ProviderId::parse(UPSTREAM).unwrap();
        let other: ProviderId = "other".parse().unwrap();
        let acme = world.kit.scope("acme", "live").await;
        let ada = world.subject("acme", "live", Some("ada")).await;
        let kind = HandleKind::Resource;
        for owner in [&acme, &ada] {
            let handle = handles.seal(owner, &crm, kind, "crm://contact/1").await.unwrap();
            assert!(!handle.contains("crm") && handle.starts_with(MARK));
            let opened = handles.open(owner, kind, &handle).await.unwrap();
            assert_eq!(opened, Opened { upstream: crm.clone(), is: "crm://contact/1".into() });
            assert_eq!(
                handles.open_of(owner, &crm, kind, &handle).await.unwrap(),
                "crm://contact/1"
            );

            let refused = |error: Error| {
                assert_eq!(error.to_string(), Error::Handle("uri").to_string());
            };
            refused(handles.open_of(owner, &other, kind, &handle).await.unwrap_err());
            for (tenant, environment, subject) in [
                ("globex", "live", None),
                ("globex", "live", Some("ada")),
                ("acme", "staging", None),
                ("acme", "staging", Some("ada")),
                ("acme", "live", Some("bob")),
                ("acme", "live", Some("")),
            ] {
                let subject = subject.filter(|subject| !subject.is_empty());
                let scope = world.subject(tenant, environment, subject).await;
                // Without a subject it is acme's own.
                if scope.subject() == owner.subject()
                    && scope.partition_bytes() == owner.partition_bytes()
                {
                    continue;
                }
                refused(handles.open(&scope, kind, &handle).await.unwrap_err());
            }
            for other in [HandleKind::Cursor, HandleKind::Template, HandleKind::State] {
                assert!(handles.open(owner, other, &handle).await.is_err());
            }
            for (at, _) in handle.char_indices() {
                let mut changed = handle.clone();
                let new = if &changed[at..=at] == "A" { "B" } else { "A" };
                changed.replace_range(at..=at, new);
                let opened = handles.open(owner, kind, &changed).await;
                // The last digit of base64 may have bits that mean nothing.
                assert!(opened.is_err() || at + 1 == handle.len(), "{at}");
            }
            for none in [
                "",
                "bulkhead:1_",
                "bulkhead:1_AAAA",
                "crm://contact/1",
                &handle[..handle.len() - 4],
            ] {
                refused(handles.open(owner, kind, none).await.unwrap_err());
            }
        }
    }

    #[tokio::test]
    async fn a_handle_ends() {
        let world = World::new().await;
        let handles = Handles::new(&world.vault, world.clock.clone());
        let crm = ProviderId::parse(UPSTREAM).unwrap();
        let acme = world.kit.scope("acme", "live").await;
        let handle = handles.seal(&acme, &crm, HandleKind::Cursor, "7").await.unwrap();
        world.clock.advance(LIFE - Duration::from_millis(1));
        let acme = world.kit.scope("acme", "live").await;
        assert!(handles.open(&acme, HandleKind::Cursor, &handle).await.is_ok());
        world.clock.advance(Duration::from_millis(1));
        let error = handles.open(&acme, HandleKind::Cursor, &handle).await.unwrap_err();
        assert_eq!(error.code(), "tool.handle");
    }
}
