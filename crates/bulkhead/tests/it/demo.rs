//! The demo is the first thing that anybody sees; it has to be right.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use super::deployment::{Told, bulkhead, client, send};

#[test]
fn the_demo_shows_no_leak_and_every_refusal() {
    let told = Told::of(bulkhead().arg("demo").output().unwrap());
    assert_eq!(told.status, 0, "{told:?}");
    for shown in [
        "provider: stand-in",
        "same bytes, other tenant: never shared",
        "ids that callers choose name nothing",
        "scope.missing",
        "scope.unknown",
        "scope.mismatch",
        "scope.signature",
        "scope.audience",
        "scope.grant",
        "scope.revoked",
        "scope.suspended",
        "scope.expired",
        "404",
        "model.handle",
        "4 requests with 3 salts",
        "globex reads acme's run state by its name",
        "3 points · all of its own, with 500 of globex's nearer",
        "globex reads acme's point by its id",
        "memory.no_point",
        "memory.no_collection",
        "memory.content_field",
        "  0 leaks in ",
        "export OPENAI_BASE_URL=",
        "from openai import OpenAI",
        "--keep",
    ] {
        assert!(told.out.contains(shown), "{shown:?} is not in\n{}", told.out);
    }
    assert!(!told.out.contains('\x1b'), "colours are for terminals");
}

#[test]
fn the_demo_as_json() {
    let told = Told::of(bulkhead().args(["demo", "--json"]).output().unwrap());
    let found = told.json();
    assert_eq!((told.status, &found["good"]), (0, &true.into()), "{found}");
    assert!(found["checks"].as_u64().unwrap() > 40, "{found}");
    let hits = found["asks"].as_array().unwrap().iter().filter(|ask| ask["cache"] == "hit");
    assert_eq!(hits.count(), 3, "{found}");
}

/// The lines that a demo tells people to paste end up in the environment of the next one.
#[test]
fn a_credential_of_an_earlier_demo_is_not_taken_for_a_providers() {
    let mut demo = bulkhead();
    demo.arg("demo").env("OPENAI_API_KEY", "bk_00000000_x");
    let told = Told::of(demo.env("OPENAI_BASE_URL", "http://127.0.0.1:1/v1").output().unwrap());
    assert_eq!(told.status, 0, "{told:?}");
    assert!(told.err.contains("is a Bulkhead credential") && told.out.contains("stand-in"));
}

#[test]
fn a_provider_that_does_not_answer_is_told() {
    let mut demo = bulkhead();
    demo.arg("demo").env("OPENAI_API_KEY", "sk-nobody");
    let told = Told::of(demo.env("OPENAI_BASE_URL", "http://127.0.0.1:1/v1").output().unwrap());
    assert_eq!(told.status, 1, "{told:?}");
    for shown in ["the provider did not answer", "upstream.unreachable", "--stand-in"] {
        assert!(told.err.contains(shown), "{shown:?}: {told:?}");
    }
    assert!(!told.err.contains("sk-nobody") && !told.out.contains("sk-nobody"), "{told:?}");
}

/// What `--keep` leaves running answers to the lines that it says to paste.
#[tokio::test(flavor = "multi_thread")]
async fn a_demo_that_is_kept_can_be_tried() {
    let mut child = bulkhead().args(["demo", "--keep"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let export = lines.find(|line| line.contains("export OPENAI_BASE_URL=")).unwrap();
    let value = |name: &str| {
        let word = export.split_whitespace().find_map(|word| word.strip_prefix(name));
        word.unwrap().to_owned()
    };
    let (base, key) = (value("OPENAI_BASE_URL="), value("OPENAI_API_KEY="));
    let got = send(&client(), "GET", format!("{base}/models"), &key, None).await.unwrap();
    assert_eq!(got.status, 200, "{got:?}");
    let command = lines.find(|line| line.contains("bulkhead tenant list")).unwrap();
    let args: Vec<_> = command.split_whitespace().skip(1).collect();
    let told = Told::of(bulkhead().args(args).output().unwrap());
    assert!(told.status == 0 && told.out.contains("globex"), "{told:?}");
    assert!(lines.any(|line| line.contains("Ctrl-C")));
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!Path::new(command.split_whitespace().last().unwrap()).exists(), "{command}");
}
