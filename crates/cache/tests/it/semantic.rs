//! The semantic index over real scopes. Incident `soft-scope`: a near enough question of
//! another tenant was answered.

use bulkhead_cache::{KeyParts, Semantic, SemanticKey, SemanticSettings, Settings};
use ids::Clock;
use scope::{Scope, Write};

use super::world::{HOUR, World, about};

/// Two vectors with this cosine between the first and it.
fn at(cosine: f32) -> Vec<f32> {
    let mut vector = vec![0.0; 64];
    vector[0] = cosine;
    vector[1] = (1.0 - cosine * cosine).max(0.0).sqrt();
    vector
}

/// Near duplicates of a question, from 0.80 to the same vector.
fn graded() -> impl Iterator<Item = f32> {
    (0..=20).map(|step| f32::from(step as u8).mul_add(0.01, 0.80).min(1.0))
}

async fn owners(world: &World) -> Vec<Scope<Write>> {
    let mut owners = Vec::new();
    for tenant in ["acme", "globex"] {
        for environment in ["live", "staging"] {
            for workflow in ["support", "billing"] {
                owners.push(world.kit.scope_for(tenant, environment, workflow).await);
            }
        }
    }
    owners
}

#[tokio::test]
async fn soft_scope() {
    let world = World::new().await;
    let (cache, _store) = world.open(Settings::default());
    let index = world.semantic(SemanticSettings::default());
    let owners = owners(&world).await;
    let expires = world.clock.now().plus(HOUR);
    // Each asks the same words; everybody but the last has an answer.
    for (i, scope) in owners.iter().enumerate().take(7) {
        let shelf = cache.of(scope);
        let key = shelf.key(&about("a question"));
        shelf.put(&key, format!("canary {i}").as_bytes(), HOUR).await.unwrap();
        let partition = shelf.partition(&about("the rest"));
        assert!(index.of(scope).add(&partition, &at(1.0), key, expires));
    }
    for cosine in graded() {
        for (i, scope) in owners.iter().enumerate() {
            let shelf = cache.of(scope);
            let own = shelf.partition(&about("the rest"));
            let near = index.of(scope).find(&own, &at(cosine), 0.80 - 1e-4);
            assert_eq!(near.is_some(), i < 7, "{i} at {cosine}");
            let Some(near) = near else { continue };
            assert!((near.similarity - cosine).abs() < 1e-5 && near.similarity <= 1.0);
            let hit = shelf.get(&near.key).await.unwrap();
            assert_eq!(hit.value, format!("canary {i}"));
        }
    }
    assert_eq!(cache.counts().foreign, 0);
}

/// Catches the planted bug `semantic-index-across-tenants`: even with another's partition in
/// hand, nobody searches but at home.
#[tokio::test]
async fn anothers_partition_in_hand_finds_nothing() {
    let world = World::new().await;
    let (cache, _store) = world.open(Settings::default());
    let index = world.semantic(SemanticSettings::default());
    let owners = owners(&world).await;
    let expires = world.clock.now().plus(HOUR);
    let (acme, others) = owners.split_first().unwrap();
    let shelf = cache.of(acme);
    let (partition, key) = (shelf.partition(&about("the rest")), shelf.key(&about("a question")));
    assert!(index.of(acme).add(&partition, &at(1.0), key, expires));
    // Beyond the other workflow of the same environment: the key alone keeps those two apart.
    for other in &others[1..] {
        for cosine in graded() {
            assert!(index.of(other).find(&partition, &at(cosine), 0.80).is_none());
        }
        // Nor does anybody take away but at home.
        index.of(other).forget(&key);
        index.of(other).clear();
    }
    assert!(index.of(acme).find(&partition, &at(1.0), 0.99).is_some());
}

/// The second lock. It holds with the bug above planted, too: a foreign neighbour is a key,
/// and on one's own shelf that key opens nothing.
#[tokio::test]
async fn anothers_key_in_hand_opens_nothing() {
    let world = World::new().await;
    let (cache, _store) = world.open(Settings::default());
    let index = world.semantic(SemanticSettings::default());
    let owners = owners(&world).await;
    let expires = world.clock.now().plus(HOUR);
    let (acme, others) = owners.split_first().unwrap();
    let shelf = cache.of(acme);
    let (partition, key) = (shelf.partition(&about("the rest")), shelf.key(&about("a question")));
    shelf.put(&key, b"canary", HOUR).await.unwrap();
    cache.settled().await;
    assert!(index.of(acme).add(&partition, &at(1.0), key, expires));
    // Beyond the other workflow of the same environment, which shares the shelf's data key.
    for other in &others[1..] {
        let found = index.of(other).find(&partition, &at(1.0), 0.9).map(|near| near.key);
        let hit = cache.of(other).get(&found.unwrap_or(key)).await;
        assert!(hit.is_none(), "{other:?}");
    }
    assert!(shelf.get(&key).await.is_some());
}

fn parts<'a>(kind: &'static str, entity: &'a str, versions: &'a [&'a str]) -> KeyParts<'a> {
    KeyParts { kind, entity, versions, ..about("system prompt") }
}

/// What may not answer for each other within one tenant.
#[tokio::test]
async fn each_part_of_a_partition_counts() {
    let world = World::new().await;
    let (cache, _store) = world.open(Settings::default());
    let acme = world.acme().await;
    let shelf = cache.of(&acme);
    let base = shelf.partition(&parts("chat", "gpt", &["1"]));
    let policy = bulkhead_cache::Version::of(b"another");
    let others: Vec<SemanticKey> = [
        parts("embeddings", "gpt", &["1"]),
        parts("chat", "gpt-mini", &["1"]),
        parts("chat", "gpt", &["2"]),
        parts("chat", "gpt", &[]),
        KeyParts { request: b"another system prompt", ..parts("chat", "gpt", &["1"]) },
        KeyParts { policy, ..parts("chat", "gpt", &["1"]) },
        KeyParts { config: policy, ..parts("chat", "gpt", &["1"]) },
    ]
    .iter()
    .map(|parts| shelf.partition(parts))
    .collect();
    let index = world.semantic(SemanticSettings::default());
    let near = index.of(&acme);
    let expires = world.clock.now().plus(HOUR);
    assert!(near.add(&base, &at(1.0), shelf.key(&about("q")), expires));
    assert_eq!(base, shelf.partition(&parts("chat", "gpt", &["1"])));
    for other in &others {
        assert!(near.find(other, &at(1.0), 0.5).is_none());
    }
    for scope in owners(&world).await {
        let same = cache.of(&scope).partition(&parts("chat", "gpt", &["1"])) == base;
        let own = scope.fingerprint() == acme.fingerprint()
            || (scope.partition_bytes() == acme.partition_bytes()
                && scope.workflow() == acme.workflow());
        assert_eq!(same, own, "{scope:?}");
    }
}

#[tokio::test]
async fn a_revoked_scope_adds_nothing_and_an_erasure_forgets() {
    let world = World::new().await;
    let (cache, _store) = world.open(Settings::default());
    let index: Semantic = world.semantic(SemanticSettings::default());
    let (acme, globex) = (world.acme().await, world.globex().await);
    let expires = world.clock.now().plus(HOUR);
    let add = |scope: &Scope<Write>| {
        let shelf = cache.of(scope);
        let partition = shelf.partition(&about("rest"));
        index.of(scope).add(&partition, &at(1.0), shelf.key(&about("q")), expires)
    };
    assert!(add(&acme) && add(&globex));
    world.kit.bump_epoch("acme").await;
    index.of(&acme).clear();
    assert_eq!(index.counts().tenants, 1);
    assert!(!add(&acme), "an answer that comes in late");
    assert_eq!(index.counts().tenants, 1);
    index.forget_tenant(globex.partition_bytes());
    assert_eq!(index.counts(), Default::default());
    assert!(add(&globex), "it may begin anew");
    let shown = format!("{index:?} {:?}", index.of(&globex));
    assert!(!shown.contains("0."), "{shown}");
}
