use std::time::Duration;

use bulkhead_directory::{NewOperator, NewService, TenantSpec};
use futures_util::future::join_all;
use ids::{OsEntropy, RandomId};
use scope::{Digest, Directory as _, Grants, Kind, Listed, Right, RunGrantRecord};

use super::world::{START, World, digester, environment, fresh, id, new_key, spec};

const DAY: u64 = 24 * 3_600;

#[tokio::test]
async fn a_key_is_made_found_and_listed() {
    let world = World::new().with(&["acme", "globex"]).await;
    let registry = &world.registry;
    let (secret, new) = new_key("acme", "live", Some(START.plus(Duration::from_secs(60))));
    let made = registry.create_key(new.clone()).await.unwrap();
    assert_eq!(made.epoch, world.tenant("acme").await.epoch);
    let found = registry.api_key(&digester().digest(secret.expose())).await.unwrap();
    assert_eq!(found.as_ref(), Some(&made));
    assert_eq!(registry.key(&made.id).await.unwrap(), made);
    let near = digester().digest(&secret.expose()[..secret.expose().len() - 1]);
    assert!(registry.api_key(&near).await.unwrap().is_none());
    let live = registry.keys(&id("acme"), &environment("live"), None, 10).await.unwrap();
    assert_eq!((live.items, live.next), (vec![made], None));
    for (tenant, env) in [("globex", "live"), ("acme", "liv"), ("acm", "live")] {
        let other = registry.keys(&id(tenant), &environment(env), None, 10).await.unwrap();
        assert!(other.items.is_empty());
    }
    assert_eq!(registry.create_key(new.clone()).await.unwrap_err().code(), "directory.exists");
    let with = |change: &dyn Fn(&mut bulkhead_directory::NewKey)| {
        let (_, mut new) = new_key("acme", "live", None);
        change(&mut new);
        registry.create_key(new)
    };
    for (refused, code) in [
        (with(&|new| new.tenant = id("nobody")).await, "directory.missing"),
        (with(&|new| new.environment = environment("test")).await, "directory.missing"),
        (with(&|new| new.grants = Grants::default()).await, "directory.invalid"),
        (with(&|new| new.expires = Some(START)).await, "directory.invalid"),
    ] {
        assert_eq!(refused.unwrap_err().code(), code);
    }
}

#[tokio::test]
async fn a_rotated_key_overlaps_and_ends() {
    let world = World::new().with(&["acme"]).await;
    let registry = &world.registry;
    let year = Duration::from_secs(365 * DAY);
    let (secret, new) = new_key("acme", "live", Some(START.plus(year)));
    let old = registry.create_key(new).await.unwrap();
    world.advance(10 * DAY);
    let now = START.plus(Duration::from_secs(10 * DAY));
    let (_, next) = fresh(Kind::ApiKey);
    let before = world.tenant("acme").await.revision;
    let hour = Duration::from_secs(3_600);
    let new = registry.rotate_key(&old.id, next, hour).await.unwrap();
    assert_eq!((new.expires, new.created), (Some(now.plus(year)), now), "as long a life");
    assert_eq!((&new.workflow, &new.grants), (&old.workflow, &old.grants));
    let found = registry.api_key(&digester().digest(secret.expose())).await.unwrap().unwrap();
    assert_eq!((found.expires, found.revoked), (Some(now.plus(hour)), false));
    assert!(world.tenant("acme").await.revision > before, "the doors must look again");

    // Another rotation of the old one never lengthens it.
    let (_, third) = fresh(Kind::ApiKey);
    registry.rotate_key(&old.id, third, 2 * hour).await.unwrap();
    assert_eq!(registry.key(&old.id).await.unwrap().expires, Some(now.plus(hour)));

    let (_, none) = fresh(Kind::ApiKey);
    let last = registry.rotate_key(&new.id, none, Duration::ZERO).await.unwrap();
    assert!(registry.key(&new.id).await.unwrap().revoked, "no overlap is the end at once");
    assert!(world.tenant("acme").await.revoked.iter().any(|r| r.id == new.id));
    world.advance(3_600);
    let nobody = RandomId::draw(&OsEntropy);
    for (key, code) in [
        (new.id, "directory.invalid"),
        (old.id, "directory.invalid"),
        (nobody, "directory.missing"),
    ] {
        let (_, next) = fresh(Kind::ApiKey);
        assert_eq!(registry.rotate_key(&key, next, hour).await.unwrap_err().code(), code);
    }
    let long = Duration::from_secs(31 * DAY);
    let (_, next) = fresh(Kind::ApiKey);
    assert!(registry.rotate_key(&last.id, next, long).await.is_err());
}

#[tokio::test]
async fn a_revoked_key_takes_its_descendants_along() {
    let world = World::new().with(&["acme"]).await;
    let registry = &world.registry;
    let (secret, new) = new_key("acme", "live", None);
    let digest = digester().digest(secret.expose());
    let key = registry.create_key(new).await.unwrap();
    assert!(!registry.api_key(&digest).await.unwrap().unwrap().revoked);
    assert!(registry.revoke_key(&key.id).await.unwrap().revoked);
    assert!(registry.api_key(&digest).await.unwrap().unwrap().revoked);
    assert!(world.tenant("acme").await.revoked.iter().any(|r| r.id == key.id));
    registry.revoke_key(&key.id).await.unwrap();
    let world = world.reopen().await;
    assert!(world.registry.api_key(&digest).await.unwrap().unwrap().revoked);
    // Long after, it is not even known.
    world.advance(100 * DAY);
    let world = world.reopen().await;
    assert!(world.registry.api_key(&digest).await.unwrap().is_none());
    assert_eq!(world.registry.revoke_key(&key.id).await.unwrap_err().code(), "directory.missing");
}

#[tokio::test]
async fn keys_are_listed_in_pages() {
    let world = World::new().with(&["acme"]).await;
    for _ in 0..25 {
        world.registry.create_key(new_key("acme", "live", None).1).await.unwrap();
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page =
            world.registry.keys(&id("acme"), &environment("live"), after.as_deref(), 10).await;
        let page = page.unwrap();
        seen.extend(page.items.iter().map(|key| key.id));
        let Some(next) = page.next else { break };
        after = Some(next);
    }
    assert_eq!(seen.len(), 25);
    assert!(seen.is_sorted());
    let bad = world.registry.keys(&id("acme"), &environment("live"), Some("x"), 10).await;
    assert_eq!(bad.unwrap_err().code(), "directory.invalid");
}

#[tokio::test]
async fn a_removed_environment_ends_its_credentials_for_good() {
    let world = World::new();
    let registry = &world.registry;
    registry.create_tenant(spec("acme", &["live", "test"], &[])).await.unwrap();
    let mut digests = Vec::new();
    for env in ["live", "test"] {
        let (secret, new) = new_key("acme", env, None);
        registry.create_key(new).await.unwrap();
        let grant = digester().digest(&format!("bg_{env}"));
        registry.keep_run_grant(&grant, run_grant("acme", env)).await.unwrap();
        digests.push((digester().digest(secret.expose()), grant));
    }
    let revoked = async || {
        let mut out = Vec::new();
        for (key, grant) in &digests {
            out.push(registry.api_key(key).await.unwrap().unwrap().revoked);
            out.push(registry.run_grant(grant).await.unwrap().unwrap().revoked);
        }
        out
    };
    assert_eq!(revoked().await, [false, false, false, false]);
    for environments in [&["live"][..], &["live", "test"]] {
        registry.change_tenant(spec("acme", environments, &[])).await.unwrap();
        assert_eq!(revoked().await, [false, false, true, true], "{environments:?}");
    }
    let listed = registry.keys(&id("acme"), &environment("test"), None, 10).await.unwrap();
    assert!(listed.items[0].revoked);
    let (_, next) = fresh(Kind::ApiKey);
    let old = listed.items[0].id;
    assert!(registry.rotate_key(&old, next, Duration::from_secs(60)).await.is_err());
    registry.create_key(new_key("acme", "test", None).1).await.unwrap();
}

#[tokio::test]
async fn an_erased_tenant_has_no_credentials() {
    let world = World::new().with(&["acme", "acme2"]).await;
    let registry = &world.registry;
    let (secret, new) = new_key("acme", "live", None);
    let key = registry.create_key(new).await.unwrap();
    let (other, new) = new_key("acme2", "live", None);
    registry.create_key(new).await.unwrap();
    let keep = (0..1_100).map(|i| {
        let digest = digester().digest(&format!("bg_{i}"));
        async move { registry.keep_run_grant(&digest, run_grant("acme", "live")).await }
    });
    for kept in join_all(keep).await {
        kept.unwrap();
    }
    registry.erase_tenant(&id("acme")).await.unwrap();
    assert!(registry.api_key(&digester().digest(secret.expose())).await.unwrap().is_none());
    assert_eq!(registry.key(&key.id).await.unwrap_err().code(), "directory.missing");
    assert!(registry.run_grant(&digester().digest("bg_1099")).await.unwrap().is_none());
    assert!(registry.run_grants(&id("acme"), None, 10).await.unwrap().items.is_empty());
    assert!(registry.api_key(&digester().digest(other.expose())).await.unwrap().is_some());
    let late = digester().digest("late");
    assert!(registry.keep_run_grant(&late, run_grant("acme", "live")).await.is_err());
}

fn service(name: &str, digest: Digest) -> NewService {
    NewService {
        digest,
        name: name.parse().unwrap(),
        tenants: Listed::from_names(vec!["*".into()]),
        environments: Listed::from_names(vec!["live".into()]),
        workflows: Listed::from_names(vec!["*".into()]),
        grants: Grants::parse("model:*").unwrap(),
        expires: None,
    }
}

#[tokio::test]
async fn services_come_and_go() {
    let world = World::new();
    let registry = &world.registry;
    let (one, two) = (digester().digest("bs_1"), digester().digest("bs_2"));
    let made = registry.create_service(service("backend", one)).await.unwrap();
    assert_eq!(registry.service(&one).await.unwrap(), Some(made));
    for (again, code) in [
        (service("backend", two), "directory.exists"),
        (service("worker", one), "directory.exists"),
        (NewService { tenants: Listed::These(vec![]), ..service("w", two) }, "directory.invalid"),
        (
            NewService { tenants: Listed::These(vec!["*".into()]), ..service("w", two) },
            "directory.invalid",
        ),
        (NewService { grants: Grants::default(), ..service("w", two) }, "directory.invalid"),
        (NewService { expires: Some(START), ..service("w", two) }, "directory.invalid"),
    ] {
        assert_eq!(registry.create_service(again).await.unwrap_err().code(), code);
    }
    let backend = "backend".parse().unwrap();
    registry.remove_service(&backend).await.unwrap();
    assert!(registry.service(&one).await.unwrap().unwrap().revoked, "known, as revoked");
    assert!(registry.services(None, 10).await.unwrap().items.is_empty());
    assert_eq!(registry.remove_service(&backend).await.unwrap_err().code(), "directory.missing");
    assert!(registry.create_service(service("backend", one)).await.is_err(), "an old secret");
    registry.create_service(service("backend", two)).await.unwrap();
    assert!(registry.service(&one).await.unwrap().unwrap().revoked);
    let listed = registry.services(None, 1).await.unwrap();
    assert_eq!(listed.next.as_deref(), Some("backend"));
    assert!(registry.services(listed.next.as_deref(), 1).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn the_last_operator_who_may_write_stays() {
    let world = World::new();
    let registry = &world.registry;
    let make = |name: &str, rights: &[Right], expires| {
        let new = NewOperator {
            digest: digester().digest(name),
            name: name.parse().unwrap(),
            rights: rights.to_vec(),
            expires,
        };
        registry.create_operator(new)
    };
    make("ada", &[Right::Write, Right::Read, Right::Read], None).await.unwrap();
    make("bob", &[Right::Read, Right::Enter], None).await.unwrap();
    make("eve", &[Right::Write], Some(START.plus(Duration::from_secs(60)))).await.unwrap();
    assert_eq!(make("ada", &[Right::Read], None).await.unwrap_err().code(), "directory.exists");
    assert_eq!(make("cy", &[], None).await.unwrap_err().code(), "directory.invalid");
    let ada = "ada".parse().unwrap();
    let refused = registry.remove_operator(&ada).await.unwrap_err();
    assert!(refused.to_string().contains("last operator"), "{refused}");
    assert!(!registry.operator(&digester().digest("ada")).await.unwrap().unwrap().revoked);
    make("dee", &[Right::Write], None).await.unwrap();
    registry.remove_operator(&ada).await.unwrap();
    assert!(registry.operator(&digester().digest("ada")).await.unwrap().unwrap().revoked);
    registry.remove_operator(&"bob".parse().unwrap()).await.unwrap();
    let names: Vec<_> = registry.operators(None, 10).await.unwrap().items;
    let names: Vec<_> = names.iter().map(|operator| operator.name.as_str()).collect();
    assert_eq!(names, ["dee", "eve"]);
}

fn run_grant(tenant: &str, env: &str) -> RunGrantRecord {
    RunGrantRecord {
        id: RandomId::draw(&OsEntropy),
        tenant: id(tenant),
        environment: environment(env),
        workflow: "support".parse().unwrap(),
        run: "run_1".parse().unwrap(),
        agent: None,
        subject: None,
        grants: Grants::parse("model:chat").unwrap(),
        epoch: START.secs() - 3_600,
        lineage: Vec::new(),
        created: START,
        expires: START.plus(Duration::from_secs(DAY)),
        revoked: false,
    }
}

#[tokio::test]
async fn run_grants_are_kept_listed_and_revoked() {
    let world = World::new().with(&["acme", "globex"]).await;
    let registry = &world.registry;
    let digest = digester().digest("bg_1");
    let record = run_grant("acme", "live");
    registry.keep_run_grant(&digest, record.clone()).await.unwrap();
    assert!(registry.keep_run_grant(&digest, run_grant("acme", "live")).await.is_err());
    for (tenant, env) in [("nobody", "live"), ("acme", "test")] {
        let stray = digester().digest("bg_2");
        assert!(registry.keep_run_grant(&stray, run_grant(tenant, env)).await.is_err());
    }
    assert_eq!(registry.run_grant(&digest).await.unwrap().as_ref(), Some(&record));
    let listed = registry.run_grants(&id("acme"), None, 10).await.unwrap();
    assert_eq!(listed.items.as_slice(), std::slice::from_ref(&record));
    let foreign = registry.revoke_run_grant(&id("globex"), &record.id).await.unwrap_err();
    assert_eq!(foreign.code(), "directory.missing");
    registry.revoke_run_grant(&id("acme"), &record.id).await.unwrap();
    registry.revoke_run_grant(&id("acme"), &record.id).await.unwrap();
    assert!(registry.run_grant(&digest).await.unwrap().unwrap().revoked);
    assert!(world.tenant("acme").await.revoked.iter().any(|r| r.id == record.id));
    world.advance(3 * DAY);
    assert!(registry.run_grant(&digest).await.unwrap().is_none(), "ended and swept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_mandate_is_spent_once() {
    let world = World::new();
    let mandates: Vec<_> = (0..5).map(|_| RandomId::draw(&OsEntropy)).collect();
    let until = START.plus(Duration::from_secs(DAY));
    for mandate in &mandates {
        let tries = (0..100).map(|_| {
            let (registry, mandate) = (world.registry.clone(), *mandate);
            tokio::task::spawn_blocking(move || {
                tokio::runtime::Handle::current().block_on(registry.spend(&mandate, until))
            })
        });
        let won = join_all(tries)
            .await
            .into_iter()
            .filter(|spent| *spent.as_ref().unwrap().as_ref().unwrap());
        assert_eq!(won.count(), 1);
    }
    let world = world.reopen().await;
    for mandate in &mandates {
        assert!(!world.registry.spend(mandate, until).await.unwrap(), "after a restart");
    }
    // It expired an hour ago, was swept, and then somebody set the clock back.
    world.advance(DAY + 3_600);
    #[expect(clippy::disallowed_methods, reason = "a test sweeps as maintenance does")]
    let system = scope::SystemScope::claim(scope::Maintenance::Storage);
    world.store.sweep(&system).await.unwrap();
    world.clock.set(START);
    assert!(!world.registry.spend(&mandates[0], until).await.unwrap());
    assert!(world.registry.spend(&RandomId::draw(&OsEntropy), until).await.unwrap());
}

#[tokio::test]
async fn no_secret_reaches_the_disk() {
    let world = World::new().with(&["acme"]).await;
    let mut secrets = Vec::new();
    for _ in 0..20 {
        let (secret, new) = new_key("acme", "live", None);
        world.registry.create_key(new).await.unwrap();
        secrets.push(secret);
        let (secret, _) = fresh(Kind::Service);
        let digest = digester().digest(secret.expose());
        let name = format!("s{}", secrets.len());
        world.registry.create_service(service(&name, digest)).await.unwrap();
        secrets.push(secret);
    }
    let prefix = secrets[0].prefix().to_owned();
    for closed in [false, true] {
        if closed {
            world.store.close().await.unwrap();
        }
        let disk = world.bytes();
        let holds = |text: &[u8]| disk.windows(text.len()).any(|window| window == text);
        assert!(holds(prefix.as_bytes()), "what may be shown is there, so the scan works");
        for secret in &secrets {
            let tail = &secret.expose()[secret.prefix().len() + 1..];
            assert!(!holds(tail.as_bytes()), "a secret's text");
            let bits = ids::text::unbase64url(tail).unwrap();
            assert!(!holds(&bits), "a secret's bits");
        }
    }
}

#[tokio::test]
async fn a_key_that_was_used_is_known_as_ended_at_once() {
    let world = World::new().with(&["acme"]).await;
    let registry = &world.registry;
    let (secret, new) = new_key("acme", "live", None);
    let digest = digester().digest(secret.expose());
    let key = registry.create_key(new).await.unwrap();
    for _ in 0..3 {
        assert!(!registry.api_key(&digest).await.unwrap().unwrap().revoked);
    }
    registry.revoke_key(&key.id).await.unwrap();
    assert!(registry.api_key(&digest).await.unwrap().unwrap().revoked);
    let gone =
        TenantSpec { environments: Some(vec![environment("test")]), ..TenantSpec::of(id("acme")) };
    registry.change_tenant(gone).await.unwrap();
    assert!(registry.api_key(&digest).await.unwrap().unwrap().revoked);
}
