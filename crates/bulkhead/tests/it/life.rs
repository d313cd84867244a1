//! A deployment's life by its command line: from `init` to `restore`.

use std::fs;

use super::deployment::{Deployment, GRANTS, Provider, chat, client, send};

#[tokio::test(flavor = "multi_thread")]
async fn from_init_to_restore() {
    let provider = Provider::start();
    let mut deployment = Deployment::started(&provider.url);
    let (acme, globex) = tenants(&deployment);

    let first = chat(&deployment, &acme).await;
    assert_eq!((first.status, first.cache.as_str()), (200, "miss"), "{first:?}");
    assert!(first.json.to_string().contains("said to account of acme"), "{first:?}");
    let again = chat(&deployment, &acme).await;
    assert_eq!((again.cache.as_str(), &again.json), ("hit", &first.json));
    let other = chat(&deployment, &globex).await;
    assert_eq!(other.cache, "miss");
    assert!(other.json.to_string().contains("said to account of globex"), "{other:?}");

    suspension(&deployment, &acme).await;
    keys(&deployment).await;
    // What was signed before is void: a key was withdrawn.
    assert_eq!(chat(&deployment, &acme).await.status, 401);
    let (acme, globex) = (deployment.token("acme"), deployment.token("globex"));
    let copy = backed_up(&deployment);

    // What happens after the backup: a key, an erasure.
    deployment.run(&["tenant", "erase", "globex", "--yes", "--reason", "contract ended"]);
    assert_eq!(chat(&deployment, &globex).await.status, 403);
    assert_eq!(deployment.stop(), 0, "an orderly end");
    restored(&mut deployment, &copy);

    let old = chat(&deployment, &acme).await;
    assert_eq!((old.status, &old.json["error"]["code"]), (401, &"scope.revoked".into()));
    let fresh = chat(&deployment, &deployment.token("acme")).await;
    assert_eq!(fresh.status, 200, "its provider credential is there again: {fresh:?}");
    let globex = deployment.run(&["tenant", "show", "globex", "--json"]).json();
    assert_eq!(globex["status"], "erased", "an erasure outlives the backup from before it");
}

fn tenants(deployment: &Deployment) -> (String, String) {
    deployment.tenant("acme");
    deployment.tenant("globex");
    let listed = deployment.run(&["tenant", "list", "--json"]).json();
    let ids: Vec<_> = listed["items"].as_array().unwrap().iter().map(|t| &t["id"]).collect();
    assert_eq!(ids, ["acme", "globex"]);
    let paged = deployment.run(&["tenant", "list", "--limit", "1"]);
    assert!(paged.out.contains("acme") && !paged.out.contains("globex"), "{paged:?}");
    assert!(paged.err.contains("--after acme"), "{paged:?}");
    (deployment.token("acme"), deployment.token("globex"))
}

async fn suspension(deployment: &Deployment, token: &str) {
    deployment.run(&["tenant", "suspend", "acme", "--reason", "unpaid"]);
    let refused = chat(deployment, token).await;
    assert_eq!((refused.status, &refused.json["error"]["code"]), (403, &"scope.suspended".into()));
    deployment.run(&["tenant", "resume", "acme"]);
    assert_eq!(chat(deployment, token).await.status, 200);
    let reason = ["--tenant", "acme", "--environment", "live", "--reason", "looking"];
    let log = deployment.run(&[&["audit", "list"][..], &reason].concat());
    for shown in
        ["tenant.suspend", "unpaid", "operator.enter", "looking", "token.mint", "trying out"]
    {
        assert!(log.out.contains(shown), "{shown}: {}", log.out);
    }
    let why = deployment.tell(&["audit", "list", "--tenant", "acme", "--environment", "live"]);
    assert_eq!(why.status, 2, "looking needs a reason: {why:?}");
}

async fn keys(deployment: &Deployment) {
    let whom = ["--tenant", "acme", "--environment", "live"];
    let create =
        [&["access", "key", "create", "--json", "-w", "support", "--grants", GRANTS][..], &whom]
            .concat();
    let key = deployment.run(&create).json();
    let (id, secret) = (key["id"].as_str().unwrap(), key["secret"].as_str().unwrap());
    assert_eq!(chat(deployment, secret).await.status, 200);
    let list = [&["access", "key", "list"][..], &whom].concat();
    let listed = deployment.run(&list).out;
    assert!(listed.contains(id) && !listed.contains(secret), "{listed}");

    let new = deployment.run(&["access", "key", "rotate", id, "--overlap", "1h", "--json"]).json();
    let new = new["secret"].as_str().unwrap();
    for good in [secret, new] {
        assert_eq!(chat(deployment, good).await.status, 200);
    }
    deployment.run(&["access", "key", "revoke", id]);
    assert_eq!(chat(deployment, secret).await.status, 401);
    let revoke = deployment.pipe(&["access", "revoke", "--token", "-"], new);
    assert_eq!(revoke.status, 0, "{revoke:?}");
    assert_eq!(chat(deployment, new).await.status, 401);
    for rotate in [
        &["keys", "rotate-root"][..],
        &["keys", "rotate-signing"],
        &["keys", "rotate-signing", "--retire-now", "--reason", "leaked"],
        &["keys", "rotate-data", "--tenant", "acme", "--environment", "live"],
    ] {
        deployment.run(rotate);
    }
    assert_eq!(chat(deployment, &deployment.token("acme")).await.status, 200);
}

fn backed_up(deployment: &Deployment) -> String {
    let copy = deployment.path().join("copy");
    let copy = copy.to_str().unwrap();
    let told = deployment.run(&["backup", copy]);
    assert!(told.out.starts_with("backed up "), "{told:?}");
    let names: Vec<_> = fs::read_dir(copy)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(names.contains(&"core.db".to_owned()), "{names:?}");
    assert!(!names.iter().any(|name| name.contains("key")), "no keys in a backup: {names:?}");
    let twice = deployment.tell(&["backup", copy]);
    assert_eq!(twice.status, 1, "a backup is not written over: {twice:?}");
    copy.to_owned()
}

fn restored(deployment: &mut Deployment, copy: &str) {
    let full = deployment.tell(&["restore", copy]);
    assert_eq!(full.status, 1, "there is data: {full:?}");
    assert!(full.err.contains("not_empty") && full.err.contains('→'), "{full:?}");
    fs::rename(deployment.path().join("data"), deployment.path().join("lost")).unwrap();
    let done = deployment.run(&["restore", copy, "--json"]).json();
    assert_eq!(done["erased_again"], serde_json::json!(["globex"]), "{done}");
    deployment.run(&["doctor", "--offline"]);
    deployment.start();
    deployment.run(&["doctor"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn access_is_given_and_taken() {
    let deployment = Deployment::started("http://127.0.0.1:9/v1");
    deployment.tenant("acme");
    let service = deployment.run(&[
        "access",
        "service",
        "create",
        "backend",
        "--tenants",
        "acme",
        "--environments",
        "live",
        "--workflows",
        "*",
        "--grants",
        GRANTS,
        "--json",
    ]);
    let service = service.json()["secret"].as_str().unwrap().to_owned();
    let metrics = deployment.control("/metrics");
    assert_eq!(send(&client(), "GET", metrics.clone(), &service, None).await.unwrap().status, 200);
    deployment.run(&["access", "service", "revoke", "backend"]);
    assert_ne!(send(&client(), "GET", metrics, &service, None).await.unwrap().status, 200);

    let ada = deployment.run(&["access", "operator", "create", "ada", "--rights", "read"]).out;
    let file = deployment.path().join("ada.token");
    fs::write(&file, &ada).unwrap();
    let as_ada = |args: &[&str]| {
        let mut all = args.to_vec();
        all.extend(["--token-file", file.to_str().unwrap()]);
        deployment.tell(&all)
    };
    assert_eq!(as_ada(&["tenant", "list"]).status, 0);
    let refused = as_ada(&["tenant", "suspend", "acme", "--reason", "unpaid"]);
    assert_eq!(refused.status, 1, "{refused:?}");
    assert!(refused.err.contains("scope.grant"), "{refused:?}");

    let whom = ["--tenant", "acme", "--environment", "live"];
    let grant = deployment
        .run(&[&["access", "grant", "-w", "support", "--ttl", "2d"][..], &whom].concat())
        .out;
    let models = deployment.data("/v1/models");
    let hop = send(&client(), "GET", models, grant.trim(), None).await.unwrap();
    assert_eq!(hop.status, 401, "a run grant is no good for a hop: {hop:?}");
}

#[test]
fn tenants_are_applied_from_a_document() {
    let deployment = Deployment::started("http://127.0.0.1:9/v1");
    let file = deployment.path().join("tenants.toml");
    fs::write(
        &file,
        "[[tenants]]\nid = \"a\"\nenvironments = [\"live\"]\n[[tenants]]\nid = \"b\"\nenvironments = [\"live\"]\naccounts = { crm = [\"acct_1\"] }\n",
    )
    .unwrap();
    let file = file.to_str().unwrap();
    let rehearsed = deployment.run(&["tenant", "apply", "-f", file, "--dry-run"]).out;
    assert!(rehearsed.contains("would change a: created"), "{rehearsed}");
    assert_eq!(deployment.run(&["tenant", "list"]).out.lines().count(), 1, "only the headings");
    let first = deployment.run(&["tenant", "apply", "-f", file, "--json"]).json();
    assert!(first["changes"].as_array().unwrap().len() >= 2, "{first}");
    let again = deployment.run(&["tenant", "apply", "-f", file]).out;
    assert_eq!(again.trim(), "nothing to change");
    fs::write(file, "[[tenants]]\nid = \"a\"\nenvironment = [\"live\"]\n").unwrap();
    let wrong = deployment.tell(&["tenant", "apply", "-f", file]);
    assert_eq!(wrong.status, 1);
    assert!(wrong.err.contains("`environment`"), "{wrong:?}");
}

#[test]
fn a_providers_secret_comes_from_anywhere_but_an_argument() {
    let deployment = Deployment::started("http://127.0.0.1:9/v1");
    for id in ["a", "b", "c"] {
        deployment.run(&["tenant", "create", id, "--environment", "live"]);
    }
    let file = deployment.path().join("secret");
    fs::write(&file, "sk-from-a-file\n").unwrap();
    let set = |tenant: &str, from: &str| {
        let args = ["credential", "set", "standin", "-t", tenant, "-e", "live", "--from", from];
        let mut command = deployment.command(args);
        super::deployment::Told::of(command.env("SECRET", "sk-from-the-env").output().unwrap())
    };
    assert_eq!(set("a", file.to_str().unwrap()).status, 0);
    assert_eq!(set("b", "env:SECRET").status, 0);
    let same = set("c", "env:SECRET");
    assert_eq!(same.status, 1, "{same:?}");
    assert!(same.err.contains("vault.duplicate"), "{same:?}");
    let argument = set("c", "sk-on-the-command-line");
    assert_eq!(argument.status, 2, "{argument:?}");
    assert!(!argument.err.contains("on-the-command-line"), "{argument:?}");
    let listed = deployment.run(&["credential", "list", "-t", "a", "-e", "live", "--json"]);
    assert!(listed.out.contains("fingerprint") && !listed.out.contains("sk-"), "{listed:?}");
}
