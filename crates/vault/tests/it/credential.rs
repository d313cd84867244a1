use bulkhead_vault::{Credentials, Error, SecretText, Wallet};
use ids::{ProviderId, WorkflowId};
use scope::{Access, Scope, Write};
use store::{Options, Store};

use super::world::World;

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
