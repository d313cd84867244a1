//! Incidents `exact-key`, `caller-namespace`: keys as scopes make them. What goes into a key
//! from there is in the unit tests of `key.rs`.

use bulkhead_cache::{KeyParts, Settings};

use super::world::{World, about};

#[tokio::test]
async fn the_same_request_of_another_scope_has_another_key() {
    let world = World::new().await;
    let cache = world.over(Settings::default(), Vec::new());
    let acme = world.acme().await;
    let key = cache.of(&acme).key(&about("{}"));
    for (what, other) in [
        ("tenant", world.globex().await),
        ("environment", world.kit.scope("acme", "staging").await),
        ("workflow", world.kit.scope_for("acme", "live", "billing").await),
    ] {
        assert_ne!(key, cache.of(&other).key(&about("{}")), "{what}");
    }
    // A second credential of the same agent finds what the first one kept.
    assert_eq!(key, cache.of(&world.acme().await).key(&about("{}")));
}

#[tokio::test]
async fn a_caller_that_names_a_namespace_stays_on_its_own_shelf() {
    let world = World::new().await;
    let cache = world.over(Settings::default(), Vec::new());
    let (acme, globex) = (world.acme().await, world.globex().await);
    for version in ["namespace=acme", "acme", "org_acme", ""] {
        let versions = [version];
        let parts = KeyParts { versions: &versions, ..about("{}") };
        assert_ne!(cache.of(&acme).key(&parts), cache.of(&globex).key(&parts), "{version}");
        // It is still a version: it tells the caller's own answers apart.
        assert_ne!(cache.of(&acme).key(&parts), cache.of(&acme).key(&about("{}")));
    }
}
