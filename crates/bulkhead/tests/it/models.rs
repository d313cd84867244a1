//! Whose accounts are behind the models, and what the command line says of it.

use super::deployment::{Deployment, Provider, Told};

/// Stores one secret for two tenants, and says what the commands told.
fn share(deployment: &Deployment) {
    for id in ["acme", "globex"] {
        deployment.run(&["tenant", "create", id, "--environment", "live"]);
        let set = ["credential", "set", "standin", "-t", id, "-e", "live", "--shared"];
        let told = deployment.pipe(&set, "sk-of-both");
        assert_eq!(told.status, 0, "{told:?}");
        assert!(told.err.contains("a shared prompt-cache domain"), "{told:?}");
        let listed = deployment.run(&["credential", "list", "-t", id, "-e", "live"]).out;
        assert!(listed.lines().nth(1).unwrap().contains("true"), "{listed}");
    }
}

#[test]
fn a_shared_secret_is_named_by_the_doctor() {
    let mut deployment = Deployment::started("http://127.0.0.1:9/v1");
    let none = "no secret at a provider is shared";
    let domain = "standin is a shared prompt-cache domain (openai-compatible): 1 secret, held by 2 environments of tenants";
    deployment.stop();
    assert!(deployment.run(&["doctor", "--offline"]).out.contains(none));
    deployment.start();
    share(&deployment);
    deployment.stop();
    let looked = deployment.run(&["doctor", "--offline"]);
    assert!(looked.out.contains(domain), "{looked:?}");
    // With a kind that takes a salt it is no domain.
    let file = deployment.path().join("bulkhead.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("id = \"standin\"", "id = \"standin\"\nkind = \"vllm\""))
        .unwrap();
    let looked = deployment.run(&["doctor", "--offline"]).out;
    assert!(!looked.contains(domain) && looked.contains("is salted for each tenant"), "{looked}");
}

const WHOM: [&str; 4] = ["--tenant", "acme", "--environment", "live"];

/// Two models more, at a provider that nothing answers at.
fn with_more_models(provider: &Provider) -> Deployment {
    let mut deployment = Deployment::made(&provider.url);
    let file = deployment.path().join("bulkhead.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let more = "[[model.providers]]\nid = \"gone\"\nkind = \"vllm\"\n\
                base_url = \"http://127.0.0.1:1/v1\"\nretries = { most = 0 }\n\
                [[model.routes]]\nname = \"away\"\naliases = [\"far\"]\nprovider = \"gone\"\n\
                [[model.routes]]\nname = \"both\"\n\
                targets = [{ provider = \"gone\" }, { provider = \"standin\", weight = 0 }]\n";
    std::fs::write(&file, text + more).unwrap();
    deployment.start();
    deployment
}

fn asked(deployment: &Deployment, what: &[&str]) -> Told {
    deployment.tell(&[what, &WHOM].concat())
}

#[test]
fn models_are_listed_and_tried_for_a_tenant() {
    let provider = Provider::start();
    let deployment = with_more_models(&provider);
    let told = deployment.run(&["model", "list"]).out;
    assert!(told.contains("far") && told.contains("60 s"), "{told}");
    deployment.tenant("acme");

    let list = asked(&deployment, &["model", "list"]);
    assert_eq!(list.status, 0, "{list:?}");
    let lines: Vec<&str> = list.out.lines().collect();
    assert_eq!(lines.len(), 5, "{}", list.out);
    assert!(
        lines[1].starts_with("cached ") && lines[1].ends_with("own         account"),
        "{lines:#?}"
    );
    assert!(lines[2].contains("vllm") && lines[2].ends_with("none"), "{lines:#?}");
    assert!(list.err.contains("credential set PROVIDER --tenant acme"), "{list:?}");
    let json = asked(&deployment, &["model", "list", "--json"]).json();
    assert_eq!(json["items"][2]["targets"][1]["weight"], 0, "{json}");

    let one = asked(&deployment, &["model", "test", "--route", "cached"]);
    assert_eq!(one.status, 0, "{one:?}");
    let line = one.out.lines().nth(1).unwrap();
    assert!(line.starts_with("cached  chat") && line.contains("  ok  "), "{one:?}");
    assert!(!one.out.contains("away"), "{one:?}");

    // One has no credential, then one that nobody takes.
    let all = asked(&deployment, &["model", "test"]);
    assert_eq!(all.status, 1, "{all:?}");
    assert!(all.out.contains("failed model.no_credential"), "{all:?}");
    assert!(all.err.contains("1 of 3 models did not answer"), "{all:?}");
    let set = [&["credential", "set", "gone"][..], &WHOM].concat();
    assert_eq!(deployment.pipe(&set, "sk-gone").status, 0);
    let all = asked(&deployment, &["model", "test", "--json"]);
    assert_eq!(all.status, 1, "{all:?}");
    let ends: Vec<_> =
        all.json()["items"].as_array().unwrap().iter().map(|one| one["code"].clone()).collect();
    // The second is answered by who is there for what the first failed.
    assert_eq!(
        ends,
        [serde_json::Value::Null, "upstream.unreachable".into(), serde_json::Value::Null]
    );

    let none = asked(&deployment, &["model", "test", "--route", "nothing"]);
    assert_eq!(none.status, 1, "{none:?}");
    assert!(none.err.contains("model.unknown"), "{none:?}");
    let half = deployment.tell(&["model", "list", "--tenant", "acme"]);
    assert_eq!(half.status, 2, "{half:?}");
    // The tenant can read that it was looked at, and by whom.
    let log = asked(&deployment, &["audit", "list", "--reason", "looking"]).out;
    assert!(log.contains("model.test") && log.contains("by the command line"), "{log}");
}

#[test]
fn a_running_deployment_tells_of_shared_secrets() {
    let deployment = Deployment::started("http://127.0.0.1:9/v1");
    assert!(deployment.run(&["doctor"]).out.contains("no secret at a provider is shared"));
    share(&deployment);
    let told = deployment.run(&["doctor"]).out;
    assert!(told.contains("standin is a shared prompt-cache domain"), "{told}");
}
