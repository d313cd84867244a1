//! The audit log is verified on the machine of who asks, against a key that was noted down.

use std::fs;

use super::deployment::{Deployment, file};

const NOWHERE: &str = "http://127.0.0.1:9/v1";

fn grown() -> Deployment {
    let deployment = Deployment::started(NOWHERE);
    for id in ["a", "b", "c"] {
        deployment.run(&["tenant", "create", id, "--environment", "live"]);
    }
    deployment
}

fn key(deployment: &Deployment) -> String {
    let head = deployment.run(&["audit", "head", "--json"]).json();
    head["keys"][0].as_str().unwrap_or_else(|| panic!("no keys: {head}")).to_owned()
}

#[test]
fn a_log_verifies_against_a_pinned_key_and_no_other() {
    let deployment = grown();
    let key = key(&deployment);
    let told = deployment.run(&["audit", "verify"]);
    assert!(told.out.contains("intact, 3 entries"), "{told:?}");
    assert!(told.err.contains("--key"), "{told:?}");
    let told = deployment.run(&["audit", "verify", "--key", &key, "--json"]).json();
    assert_eq!(told["intact"], true, "{told}");
    let noted = deployment.path().join("audit.key");
    fs::write(&noted, format!("{key}\n")).unwrap();
    deployment.run(&["audit", "verify", "--key", noted.to_str().unwrap()]);

    let another = grown();
    let told = another.tell(&["audit", "verify", "--key", &key]);
    assert_eq!(told.status, 1, "{told:?}");
    assert!(told.err.contains("cannot be verified"), "{told:?}");

    let all = deployment.run(&["audit", "verify", "--all", "--reason", "yearly"]).out;
    for log in ["the deployment: intact", "a in live: intact", "c in live: intact"] {
        assert!(all.contains(log), "{log}: {all}");
    }
}

#[test]
fn an_export_verifies_without_a_server_until_it_is_changed() {
    let mut deployment = grown();
    let key = key(&deployment);
    let export = deployment.run(&["audit", "export"]).out;
    deployment.stop();
    let saved = deployment.path().join("log.json");
    let verify = |text: &str| {
        fs::write(&saved, text).unwrap();
        let args = ["audit", "verify", "--export", saved.to_str().unwrap(), "--key", key.as_str()];
        deployment.tell(&args)
    };
    let told = verify(&export);
    assert!(told.status == 0 && told.out.contains("intact, 3 entries"), "{told:?}");
    let told = verify(&export.replacen("tenant.create", "tenant.change", 1));
    assert!(told.status == 1 && told.out.contains("BROKEN at entry 1"), "{told:?}");
    assert_eq!(verify("{}").status, 1);
}

/// Somebody with the server's files takes an entry out.
#[test]
fn an_entry_that_was_taken_out_of_the_files_is_missed() {
    let mut deployment = grown();
    deployment.stop();
    let conn = rusqlite::Connection::open(file(&deployment, "records.db")).unwrap();
    let entry = "SELECT part, key FROM rows WHERE tbl = 403 ORDER BY part, key LIMIT 1 OFFSET 1";
    let taken = conn
        .execute(&format!("DELETE FROM rows WHERE tbl = 403 AND (part, key) IN ({entry})"), [])
        .unwrap();
    assert_eq!(taken, 1);
    drop(conn);
    deployment.start();
    let told = deployment.tell(&["audit", "verify", "--all", "--reason", "suspicion"]);
    assert_eq!(told.status, 1, "{told:?}");
    assert!(
        told.out.contains("BROKEN") && told.err.contains("not as they were written"),
        "{told:?}"
    );
}
