use std::collections::{BTreeMap, BTreeSet};

use bulkhead_directory::{Applied, Change, Document, TenantSpec};
use ids::Clock as _;
use proptest::prelude::*;
use scope::Status;

use super::world::{World, id, spec};

const DRY: Applied = Applied { prune: false, dry_run: true };
const WET: Applied = Applied { prune: false, dry_run: false };
const PRUNE: Applied = Applied { prune: true, dry_run: false };

fn document(toml_like: &str) -> Document {
    serde_json::from_str(toml_like).unwrap()
}

fn shown(changes: &[Change]) -> Vec<String> {
    changes.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_document_is_applied_once_and_reported() {
    let world = World::new();
    let wanted = document(
        r#"{"tenants": [
            {"id": "acme", "environments": ["live", "test"], "aliases": ["org_1"],
             "accounts": {"crm": ["acct_42", "acct_43"]}},
            {"id": "globex", "environments": ["live"], "status": "suspended"}]}"#,
    );
    let dry = world.registry.apply(wanted.clone(), DRY).await.unwrap();
    assert_eq!(world.registry.count().await.unwrap(), 0, "a dry run changes nothing");
    let wet = world.registry.apply(wanted.clone(), WET).await.unwrap();
    assert_eq!(dry, wet);
    assert_eq!(
        shown(&wet),
        [
            "acme: created",
            "acme: alias org_1 added",
            "acme: environment live added",
            "acme: environment test added",
            "acme: account crm:acct_42 added",
            "acme: account crm:acct_43 added",
            "globex: created",
            "globex: suspended",
            "globex: environment live added",
        ]
    );
    assert_eq!(
        serde_json::to_string(&wet[1]).unwrap(),
        r#"{"tenant":"acme","what":"alias_added","name":"org_1"}"#
    );
    let before = world.tenant("acme").await;
    assert!(world.registry.apply(wanted, WET).await.unwrap().is_empty(), "idempotent");
    assert_eq!(world.tenant("acme").await, before, "not even the revision");

    let less = document(
        r#"{"tenants": [{"id": "acme", "environments": ["live"], "aliases": ["org_2"], "accounts": {}},
                        {"id": "globex", "status": "active"}]}"#,
    );
    assert_eq!(
        shown(&world.registry.apply(less, WET).await.unwrap()),
        [
            "acme: alias org_2 added",
            "acme: alias org_1 removed",
            "acme: environment test removed with its credentials",
            "acme: account crm:acct_42 removed",
            "acme: account crm:acct_43 removed",
            "globex: resumed",
        ]
    );
    assert!(world.registry.find("org_1").await.unwrap().is_none());
    assert_eq!(world.tenant("org_2").await.id, id("acme"));
}

#[tokio::test]
async fn what_is_left_out_is_left_alone() {
    let world = World::new().with(&["acme", "globex", "initech"]).await;
    world.registry.suspend(&id("acme")).await.unwrap();
    let before = world.tenant("acme").await;
    let only = document(r#"{"tenants": [{"id": "acme"}]}"#);
    assert!(world.registry.apply(only.clone(), WET).await.unwrap().is_empty());
    assert_eq!(world.tenant("acme").await, before, "status, aliases and environments stay");
    world.registry.erase_tenant(&id("initech")).await.unwrap();

    let dry = Applied { prune: true, dry_run: true };
    assert_eq!(
        shown(&world.registry.apply(only.clone(), dry).await.unwrap()),
        ["globex: suspended"]
    );
    assert_eq!(world.tenant("globex").await.status, Status::Active);
    assert_eq!(
        shown(&world.registry.apply(only.clone(), PRUNE).await.unwrap()),
        ["globex: suspended"]
    );
    assert_eq!(world.tenant("globex").await.status, Status::Suspended);
    assert_eq!(world.tenant("initech").await.status, Status::Erased);
    assert!(world.registry.apply(only, PRUNE).await.unwrap().is_empty());
}

#[tokio::test]
async fn one_fault_and_nothing_is_applied() {
    let world = World::new().with(&["acme", "globex"]).await;
    world.registry.erase_tenant(&id("globex")).await.unwrap();
    let many = |n: usize, what: &str| -> String {
        (0..n).map(|i| format!("\"{what}{i}\"")).collect::<Vec<_>>().join(",")
    };
    for (bad, code) in [
        (
            r#"{"id": "new2", "environments": ["live"], "aliases": ["org_acme"]}"#.into(),
            "directory.alias_taken",
        ),
        (
            r#"{"id": "new2", "environments": ["live"], "aliases": ["new1"]}"#.into(),
            "directory.alias_taken",
        ),
        (r#"{"id": "org_new", "environments": ["live"]}"#.into(), "directory.alias_taken"),
        (r#"{"id": "new1", "environments": ["live"]}"#.into(), "directory.invalid"),
        (r#"{"id": "new2"}"#.into(), "directory.invalid"),
        (r#"{"id": "acme", "environments": []}"#.into(), "directory.invalid"),
        (r#"{"id": "acme", "status": "erased"}"#.into(), "directory.invalid"),
        (r#"{"id": "globex", "environments": ["live"]}"#.into(), "directory.exists"),
        (format!(r#"{{"id": "acme", "aliases": [{}]}}"#, many(65, "a")), "directory.full"),
        (format!(r#"{{"id": "acme", "environments": [{}]}}"#, many(33, "e")), "directory.full"),
        (
            format!(r#"{{"id": "acme", "accounts": {{"crm": [{}]}}}}"#, many(10_001, "x")),
            "directory.full",
        ),
    ] {
        let good = r#"{"id": "new1", "environments": ["live"], "aliases": ["org_new"]}"#;
        for both in [format!("[{good},{bad}]"), format!("[{bad},{good}]")] {
            let refused = document(&format!("{{\"tenants\": {both}}}"));
            for how in [DRY, WET, PRUNE] {
                let error = world.registry.apply(refused.clone(), how).await.unwrap_err();
                assert_eq!(error.code(), code, "{bad}");
            }
        }
        assert!(world.registry.find("new1").await.unwrap().is_none(), "{bad}");
        assert!(world.registry.find("org_new").await.unwrap().is_none(), "{bad}");
        assert_eq!(world.tenant("acme").await.status, Status::Active, "not pruned either");
    }
}

#[test]
fn a_document_says_nothing_that_is_not_known() {
    for bad in [
        r#"{"tenants": [{"id": "acme", "enviroments": ["live"]}]}"#,
        r#"{"tenants": [{"environments": ["live"]}]}"#,
        r#"{"tenants": [{"id": "ACME"}]}"#,
        r#"{"tenants": [], "prune": true}"#,
        r#"{}"#,
    ] {
        assert!(serde_json::from_str::<Document>(bad).is_err(), "{bad}");
    }
}

#[tokio::test]
async fn names_move_within_one_document() {
    let world = World::new().with(&["acme", "globex"]).await;
    let swapped = Document {
        tenants: vec![
            spec("acme", &["live"], &["org_globex"]),
            spec("globex", &["live"], &["org_acme"]),
        ],
    };
    world.registry.apply(swapped, WET).await.unwrap();
    assert_eq!(world.tenant("org_globex").await.id, id("acme"));
    assert_eq!(world.tenant("org_acme").await.id, id("globex"));
    // An alias given free may become an id in the same document.
    let reborn = Document {
        tenants: vec![spec("org_acme", &["live"], &[]), spec("globex", &["live"], &[])],
    };
    world.registry.apply(reborn, WET).await.unwrap();
    assert_eq!(world.tenant("org_acme").await.id, id("org_acme"));
}

/// What the registry should hold, by another way of thinking: final names first, then one
/// check over all of them.
type Model = BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)>;

/// A name that passes from one tenant to another takes no outside token along: what named the
/// one yesterday must not open the other today.
#[tokio::test]
async fn a_name_taken_over_is_dated() {
    let world = World::new();
    let apply = |text: &str| {
        let document = document(text);
        let registry = world.registry.clone();
        async move { registry.apply(document, WET).await.unwrap() }
    };
    apply(
        r#"{"tenants": [{"id": "acme", "environments": ["live"], "aliases": ["org_1", "org_2"]},
                        {"id": "globex", "environments": ["live"], "aliases": ["org_3"]}]}"#,
    )
    .await;
    for tenant in ["acme", "globex"] {
        assert_eq!(world.tenant(tenant).await.named_since, 0, "{tenant}");
    }
    let now = world.clock.now().secs();
    apply(
        r#"{"tenants": [{"id": "acme", "aliases": ["org_2"]},
                        {"id": "globex", "aliases": ["org_3", "org_1"]}]}"#,
    )
    .await;
    assert_eq!(world.tenant("acme").await.named_since, 0);
    assert_eq!(world.tenant("globex").await.named_since, now, "moved within one document");

    world.registry.erase_tenant(&id("acme")).await.unwrap();
    apply(
        r#"{"tenants": [{"id": "initech", "environments": ["live"], "aliases": ["org_2"]},
                          {"id": "hooli", "environments": ["live"], "aliases": ["org_9"]}]}"#,
    )
    .await;
    assert_eq!(world.tenant("initech").await.named_since, now, "an erased tenant's name");
    assert_eq!(world.tenant("hooli").await.named_since, 0, "nobody's before");
    apply(r#"{"tenants": [{"id": "globex", "aliases": ["org_3"]}]}"#).await;
    apply(r#"{"tenants": [{"id": "org_1", "environments": ["live"]}]}"#).await;
    assert_eq!(world.tenant("org_1").await.named_since, now, "as an id, too");
    apply(r#"{"tenants": [{"id": "globex", "aliases": []}]}"#).await;
    world.clock.advance(std::time::Duration::from_secs(60));
    apply(r#"{"tenants": [{"id": "globex", "aliases": ["org_3"]}]}"#).await;
    assert_eq!(world.tenant("globex").await.named_since, now, "one's own name comes back");
}

#[tokio::test]
async fn an_environment_that_comes_back_revives_nothing() {
    let world = World::new();
    let apply = |text: &str| {
        let document = document(text);
        let registry = world.registry.clone();
        async move { registry.apply(document, WET).await.unwrap() }
    };
    apply(r#"{"tenants": [{"id": "acme", "environments": ["live", "test"]}]}"#).await;
    let before = world.tenant("acme").await.epoch;
    apply(r#"{"tenants": [{"id": "acme", "environments": ["live"]}]}"#).await;
    assert_eq!(world.tenant("acme").await.epoch, before, "what is gone needs no epoch");
    apply(r#"{"tenants": [{"id": "acme", "environments": ["live", "new"]}]}"#).await;
    assert_eq!(world.tenant("acme").await.epoch, before, "a new one neither");
    apply(r#"{"tenants": [{"id": "acme", "environments": ["live", "test"]}]}"#).await;
    assert!(world.tenant("acme").await.epoch > before);
}

fn expected(model: &Model, specs: &[TenantSpec]) -> Option<Model> {
    let mut next = model.clone();
    let mut listed = BTreeSet::new();
    for spec in specs {
        if !listed.insert(&spec.id) {
            return None;
        }
        let entry = next.entry(spec.id.to_string()).or_default();
        if let Some(aliases) = &spec.aliases {
            entry.0 = aliases.iter().map(ToString::to_string).collect();
        }
        if let Some(environments) = &spec.environments {
            entry.1 = environments.iter().map(ToString::to_string).collect();
        }
        if entry.1.is_empty() {
            return None;
        }
    }
    let mut names: Vec<&String> = next.keys().collect();
    names.extend(next.values().flat_map(|(aliases, _)| aliases));
    let unique: BTreeSet<_> = names.iter().collect();
    (unique.len() == names.len()).then_some(next)
}

fn specs() -> impl Strategy<Value = Vec<TenantSpec>> {
    let name = || prop::sample::select(vec!["a", "b", "c", "d", "x", "y"]);
    let environments = prop::option::weighted(
        0.8,
        prop::collection::vec(prop::sample::select(vec!["live", "test"]), 0..3),
    );
    let aliases = prop::option::of(prop::collection::vec(name(), 0..3));
    let spec =
        (name(), environments, aliases).prop_map(|(name, environments, aliases)| TenantSpec {
            environments: environments
                .map(|list| list.iter().map(|e| e.parse().unwrap()).collect()),
            aliases: aliases.map(|list| list.iter().map(|a| a.parse().unwrap()).collect()),
            ..TenantSpec::of(id(name))
        });
    prop::collection::vec(spec, 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn the_registry_is_what_the_documents_say(documents in prop::collection::vec(specs(), 1..12)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let world = World::new();
            let mut model = Model::new();
            for tenants in documents {
                let next = expected(&model, &tenants);
                let document = Document { tenants };
                let dry = world.registry.apply(document.clone(), DRY).await;
                let wet = world.registry.apply(document.clone(), WET).await;
                prop_assert_eq!(dry.as_ref().ok(), wet.as_ref().ok());
                prop_assert_eq!(wet.is_ok(), next.is_some(), "{:?}: {:?}", document, wet);
                if let Some(next) = next {
                    prop_assert_eq!(wet.unwrap().is_empty(), next == model);
                    model = next;
                    prop_assert!(world.registry.apply(document, WET).await.unwrap().is_empty());
                }
                let page = world.registry.tenants(None, 100).await.unwrap();
                let held: Model = page.items.iter().map(|record| {
                    let aliases = record.aliases.iter().map(ToString::to_string).collect();
                    let environments = record.environments.iter().map(|e| e.name.to_string()).collect();
                    (record.id.to_string(), (aliases, environments))
                }).collect();
                prop_assert_eq!(&held, &model);
                for name in ["a", "b", "c", "d", "x", "y"] {
                    let owner = model.iter().find(|(id, (aliases, _))| *id == name || aliases.contains(name));
                    let found = world.registry.find(name).await.unwrap();
                    prop_assert_eq!(found.map(|r| r.id.to_string()), owner.map(|(id, _)| id.clone()));
                }
            }
            Ok(())
        })?;
    }
}
