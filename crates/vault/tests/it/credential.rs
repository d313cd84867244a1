use bulkhead_vault::{Credentials, Error, FINGERPRINTS, SecretText, Wallet};
use ids::{ProviderId, WorkflowId};
use scope::{Access, Scope, Write};
use store::{Options, Range, Store};

use super::world::{World, system};

struct Office {
    world: World,
    store: Store,
    credentials: Credentials,
    acme: Scope<Write>,
    staging: Scope<Write>,
    globex: Scope<Write>,
}

impl Office {
    async fn new() -> Self {
        let world = World::new().await;
        let data = world.directory.path().join("data");
        let store = Store::open(&Options::new(data), world.clock.clone()).unwrap();
        let credentials = world.vault.credentials(&store);
        let (acme, globex) = (world.acme().await, world.globex().await);
        let staging = world.kit.scope("acme", "staging").await;
        Self { world, store, credentials, acme, staging, globex }
    }

    async fn set(&self, scope: &Scope<Write>, secret: &str, shared: bool) -> Result<u64, Error> {
        self.credentials.of(scope).set(&provider("openai"), None, text(secret), shared).await
    }
}

fn provider(name: &str) -> ProviderId {
    ProviderId::parse(name).unwrap()
}

fn workflow(name: &str) -> WorkflowId {
    WorkflowId::parse(name).unwrap()
}

fn text(secret: &str) -> SecretText {
    SecretText::parse(secret.to_owned()).unwrap()
}

async fn secret<A: Access>(
    wallet: &Wallet<'_, A>,
    of: &str,
    for_workflow: Option<&str>,
) -> Option<String> {
    let for_workflow = for_workflow.map(workflow);
    let found = wallet.get(&provider(of), for_workflow.as_ref()).await.unwrap()?;
    Some(found.secret.expose().to_owned())
}

#[tokio::test]
async fn the_workflows_own_credential_is_preferred() {
    let office = Office::new().await;
    let wallet = office.credentials.of(&office.acme);
    assert_eq!(secret(&wallet, "openai", Some("refunds")).await, None);
    let first = wallet.set(&provider("openai"), None, text("sk-env"), false).await.unwrap();
    assert_eq!(secret(&wallet, "openai", Some("refunds")).await.unwrap(), "sk-env");
    let own = Some(workflow("refunds"));
    let second =
        wallet.set(&provider("openai"), own.as_ref(), text("sk-own"), false).await.unwrap();
    for _ in 0..2 {
        assert_eq!(secret(&wallet, "openai", Some("refunds")).await.unwrap(), "sk-own");
        assert_eq!(secret(&wallet, "openai", Some("other")).await.unwrap(), "sk-env");
        assert_eq!(secret(&wallet, "openai", None).await.unwrap(), "sk-env");
        assert_eq!(secret(&wallet, "openai2", Some("refunds")).await, None);
    }
    // Nobody else's.
    for other in [&office.globex, &office.staging] {
        let wallet = office.credentials.of(other);
        assert_eq!(secret(&wallet, "openai", Some("refunds")).await, None);
    }
    // A reader may use it, through any handle.
    let reader = office.acme.read_only();
    let again = office.world.vault.credentials(&office.store);
    assert_eq!(secret(&again.of(&reader), "openai", None).await.unwrap(), "sk-env");

    let list = wallet.list().await.unwrap();
    let told: Vec<_> = list.iter().map(|info| (info.workflow.clone(), info.version)).collect();
    assert_eq!(told, [(None, first), (own.clone(), second)]);
    assert!(second > first);

    assert!(wallet.remove(&provider("openai"), own.as_ref()).await.unwrap());
    assert!(!wallet.remove(&provider("openai"), own.as_ref()).await.unwrap());
    assert_eq!(secret(&wallet, "openai", Some("refunds")).await.unwrap(), "sk-env");
    // A version is never used twice, so that nothing kept for an old secret serves a new one.
    let third = wallet.set(&provider("openai"), own.as_ref(), text("sk-new"), false).await.unwrap();
    assert!(third > second);
}

#[tokio::test]
async fn what_was_set_or_removed_meanwhile_is_not_renewed() {
    let office = Office::new().await;
    let wallet = office.credentials.of(&office.acme);
    let (p, own) = (provider("crm"), workflow("refunds"));
    let first = wallet.set(&p, None, text("app:s:refresh-1"), false).await.unwrap();
    let apart = wallet.set(&p, Some(&own), text("app:s:refresh-own"), false).await.unwrap();
    let second = wallet.renew(&p, None, first, text("app:s:refresh-2")).await.unwrap().unwrap();
    assert!(second > apart);
    assert_eq!(secret(&wallet, "crm", None).await.unwrap(), "app:s:refresh-2");
    // The other one of the owner, and who it is for, stay as they are.
    let kept = wallet.get(&p, Some(&own)).await.unwrap().unwrap();
    assert_eq!((kept.version, kept.workflow.as_ref()), (apart, Some(&own)));
    assert_eq!(wallet.get(&p, None).await.unwrap().unwrap().workflow, None);

    // An answer that comes late.
    assert_eq!(wallet.renew(&p, None, first, text("app:s:refresh-late")).await.unwrap(), None);
    assert_eq!(secret(&wallet, "crm", None).await.unwrap(), "app:s:refresh-2");
    wallet.set(&p, None, text("app:s:by-hand"), false).await.unwrap();
    assert_eq!(wallet.renew(&p, None, second, text("app:s:refresh-3")).await.unwrap(), None);
    assert_eq!(secret(&wallet, "crm", None).await.unwrap(), "app:s:by-hand");
    wallet.remove(&p, Some(&own)).await.unwrap();
    assert_eq!(wallet.renew(&p, Some(&own), apart, text("app:s:back")).await.unwrap(), None);
    assert_eq!(secret(&wallet, "crm", Some("refunds")).await.unwrap(), "app:s:by-hand");
    // The former secret is free again, and somebody else's stays theirs.
    office
        .credentials
        .of(&office.globex)
        .set(&p, None, text("app:s:refresh-2"), false)
        .await
        .unwrap();
    let third = wallet.get(&p, None).await.unwrap().unwrap().version;
    let refused = wallet.renew(&p, None, third, text("app:s:refresh-2")).await;
    assert!(matches!(refused, Err(Error::Duplicate)), "{refused:?}");
}

#[tokio::test]
async fn one_secret_for_two_tenants_or_environments_is_refused_unless_both_share_it() {
    let office = Office::new().await;
    let Office { acme, staging, globex, .. } = &office;
    office.set(acme, "sk-one", false).await.unwrap();
    for other in [globex, staging] {
        for shared in [false, true] {
            let refused = office.set(other, "sk-one", shared).await.unwrap_err();
            assert!(matches!(refused, Error::Duplicate), "{refused}");
            assert_eq!(refused.code(), "vault.duplicate");
            let told = format!("{refused} {refused:?}");
            assert!(!told.contains("acme") && !told.contains("sk-one"), "{told}");
            assert_eq!(secret(&office.credentials.of(other), "openai", None).await, None);
        }
        office.set(other, &format!("sk-own-{}", other.environment()), false).await.unwrap();
    }
    // Within one unit the same secret may serve two workflows.
    let refunds = workflow("refunds");
    let again = office.credentials.of(acme);
    again.set(&provider("openai"), Some(&refunds), text("sk-one"), false).await.unwrap();

    // One that both share.
    office.set(globex, "sk-two", true).await.unwrap();
    assert!(matches!(office.set(acme, "sk-two", false).await, Err(Error::Duplicate)));
    office.set(staging, "sk-two", true).await.unwrap();
    assert!(matches!(office.set(staging, "sk-two", false).await, Err(Error::Duplicate)));
    assert!(office.credentials.of(staging).list().await.unwrap()[0].shared);
}

#[tokio::test]
async fn a_secret_is_free_again_once_it_was_replaced_removed_or_cleared() {
    let office = Office::new().await;
    let Office { acme, globex, .. } = &office;
    office.set(acme, "sk-one", false).await.unwrap();
    office.set(acme, "sk-two", false).await.unwrap();
    office.set(globex, "sk-one", false).await.unwrap();
    assert!(matches!(office.set(globex, "sk-two", false).await, Err(Error::Duplicate)));
    assert_eq!(secret(&office.credentials.of(globex), "openai", None).await.unwrap(), "sk-one");

    office.credentials.of(acme).remove(&provider("openai"), None).await.unwrap();
    office.set(globex, "sk-two", false).await.unwrap();
    office.set(acme, "sk-one", false).await.unwrap();

    assert_eq!(office.credentials.of(acme).clear().await.unwrap(), 1);
    assert_eq!(secret(&office.credentials.of(acme), "openai", None).await, None);
    office.set(globex, "sk-one", false).await.unwrap();
    assert_eq!(office.credentials.of(acme).clear().await.unwrap(), 0);
}

#[tokio::test]
async fn a_credential_does_not_outlive_its_key() {
    let office = Office::new().await;
    office.set(&office.acme, "sk-one", false).await.unwrap();
    let wallet = office.credentials.of(&office.acme);
    assert!(secret(&wallet, "openai", None).await.is_some());
    office.world.vault.shred(&office.acme).await.unwrap();
    let answer = wallet.get(&provider("openai"), None).await;
    assert!(matches!(answer, Err(Error::Shredded)), "{answer:?}");
}

/// The disk fills up between the claim and the credential: nobody gets a wrong answer, and
/// the owner can finish or take it back.
#[tokio::test]
async fn a_claim_without_its_credential_is_cleared_by_the_next_change() {
    let office = Office::new().await;
    let Office { world, acme, globex, .. } = &office;
    // The owner's key cannot be made, after the claim was.
    world.vault.close().await.unwrap();
    assert!(office.set(acme, "sk-one", false).await.is_err());
    let vault = world.open_with(&world.root).await.unwrap();
    let credentials = vault.credentials(&office.store);
    let set = async |scope, secret| {
        credentials.of(scope).set(&provider("openai"), None, text(secret), false).await
    };
    assert!(matches!(set(globex, "sk-one").await, Err(Error::Duplicate)), "fails closed");
    set(acme, "sk-two").await.unwrap();
    set(globex, "sk-one").await.unwrap();
}

async fn shared(office: &Office) -> Vec<(Option<String>, u64, u64)> {
    let all = office.credentials.shared(&system()).await.unwrap();
    let told = |one: &bulkhead_vault::SharedCredential| {
        (one.provider.as_ref().map(|id| id.as_str().to_owned()), one.secrets, one.units)
    };
    all.iter().map(told).collect()
}

#[tokio::test]
async fn shared_secrets_are_counted_by_provider_and_by_nobodys_name() {
    let office = Office::new().await;
    let Office { acme, staging, globex, credentials, .. } = &office;
    let openai = || Some("openai".to_owned());
    office.set(acme, "sk-own", false).await.unwrap();
    // The same secret for two workflows of one unit is nobody else's.
    let refunds = workflow("refunds");
    let wallet = credentials.of(acme);
    wallet.set(&provider("openai"), Some(&refunds), text("sk-own"), false).await.unwrap();
    assert_eq!(shared(&office).await, []);
    // One that may be shared is told before anybody shares it, and counted by units.
    office.set(globex, "sk-two", true).await.unwrap();
    assert_eq!(shared(&office).await, [(openai(), 1, 1)]);
    office.set(staging, "sk-two", true).await.unwrap();
    let wallet = credentials.of(staging);
    wallet.set(&provider("openai"), Some(&refunds), text("sk-two"), true).await.unwrap();
    assert_eq!(shared(&office).await, [(openai(), 1, 2)]);
    // It is one account, whatever it is stored for.
    wallet.set(&provider("azure"), None, text("sk-two"), true).await.unwrap();
    assert_eq!(shared(&office).await, [(Some("azure".into()), 1, 2), (openai(), 1, 2)]);
    credentials.of(staging).clear().await.unwrap();
    office.set(acme, "sk-three", true).await.unwrap();
    assert_eq!(shared(&office).await, [(openai(), 2, 2)]);
    office.set(acme, "sk-four", false).await.unwrap();
    credentials.of(globex).remove(&provider("openai"), None).await.unwrap();
    assert_eq!(shared(&office).await, []);
}

/// Claims of before the provider was noted say `true` or `false` and nothing else.
#[tokio::test]
async fn claims_of_an_older_version_still_count() {
    let office = Office::new().await;
    let Office { acme, staging, globex, store, .. } = &office;
    office.set(acme, "sk-one", true).await.unwrap();
    office.set(staging, "sk-two", false).await.unwrap();
    let system = system();
    let view = store.system(&system);
    for (key, row) in view.scan(FINGERPRINTS, Range::prefix(b"f")).await.unwrap() {
        let said: serde_json::Value = serde_json::from_slice(&row).unwrap();
        let bare = said["shared"].to_string();
        view.put(FINGERPRINTS, &key, bare.as_bytes()).await.unwrap();
    }
    assert_eq!(shared(&office).await, [(None, 1, 1)]);
    assert!(matches!(office.set(globex, "sk-two", true).await, Err(Error::Duplicate)));
    assert!(matches!(office.set(globex, "sk-one", false).await, Err(Error::Duplicate)));
    office.set(globex, "sk-one", true).await.unwrap();
    assert_eq!(shared(&office).await, [(None, 1, 2), (Some("openai".into()), 1, 2)]);
}

/// More claims than a page holds.
#[tokio::test]
async fn every_page_of_claims_is_counted() {
    let office = Office::new().await;
    let system = system();
    let view = office.store.system(&system);
    let claims = (0..1_203_u32).map(async |n| {
        let key = [&b"f"[..], &[7; 32], &[0; 28], &n.to_be_bytes(), &[0; 16]].concat();
        view.put(FINGERPRINTS, &key, br#"{"shared":true,"provider":"openai"}"#).await
    });
    futures_util::future::try_join_all(claims).await.unwrap();
    assert_eq!(shared(&office).await, [(Some("openai".into()), 1, 1_203)]);
}
