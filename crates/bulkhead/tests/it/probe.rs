//! `bulkhead probe`, as it is typed.

use std::{
    collections::BTreeSet,
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::deployment::{Told, bulkhead};

/// A prober with a state directory of its own.
fn prober(state: &TempDir, args: &[&str]) -> Command {
    let mut command = bulkhead();
    command.arg("probe").args(args).env("XDG_STATE_HOME", state.path());
    command
}

fn told(state: &TempDir, args: &[&str]) -> Told {
    Told::of(prober(state, args).output().unwrap())
}

fn state() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// A target file, and a listener where nobody answers.
fn silent(dir: &Path) -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let at = listener.local_addr().unwrap();
    let file = dir.join("stack.toml");
    let text = format!(
        "[budget]\nrequests = 40\nusd = 0.5\nminutes = 1\n\
         [tenant.a]\ntoken = \"env:PROBE_A\"\n[tenant.b]\ntoken = \"env:PROBE_B\"\n\
         [target.gate]\nkind = \"openai\"\nurl = \"http://{at}/v1\"\nmodel = \"m\"\n"
    );
    fs::write(&file, text).unwrap();
    (listener, file.display().to_string())
}

#[test]
fn the_demo_leaks_its_twin_does_not_and_a_proof_can_be_run_again() {
    let state = state();
    let both = told(&state, &["--demo", "--seed", "7"]);
    assert_eq!(both.status, 1, "{both:?}");
    for shown in [
        "A stand-in",
        "LEAK ",
        "ISOLATED",
        "proof 1",
        "1 Context crosses?",
        "5 Runs on, ambiguous?",
        "YES",
        "Repeat: bulkhead probe replay 1",
        "exit 1",
        "Its twin",
        "Yours: write a target file",
    ] {
        assert!(both.out.contains(shown), "{shown:?} is not in\n{}", both.out);
    }
    let twin = both.out.split("Its twin").nth(1).unwrap();
    assert!(!twin.contains("LEAK "), "{twin}");
    assert!(!both.out.contains('\x1b'), "colours are for terminals");
    assert!(!both.out.contains("tok-"), "credentials are not shown");
    assert!(both.err.contains("about ") && both.err.contains("the budget is"), "{}", both.err);

    let kept = state.path().join("bulkhead/probe/last.json");
    assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&kept).unwrap();
    assert!(!text.contains("tok-"), "credentials are not kept");

    let again = told(&state, &["replay", "1"]);
    assert_eq!(again.status, 1, "{again:?}");
    for shown in ["proof 1", "1. as ", "LEAKS STILL", "exit 1"] {
        assert!(again.out.contains(shown), "{shown:?} is not in\n{}", again.out);
    }
    assert!(!again.out.contains("tok-") && !again.out.contains("Bearer ey"), "{}", again.out);
    let again = told(&state, &["replay", "1", "--json", "--report", kept.to_str().unwrap()]);
    let value = again.json();
    assert_eq!((again.status, &value["now"]["verdict"]), (1, &"leak".into()), "{value}");
    assert_ne!(value["now"]["proof"]["steps"], value["then"]["steps"], "its canaries are new");

    let none = told(&state, &["replay", "9999"]);
    assert_eq!(none.status, 3, "{none:?}");
    assert!(none.err.contains("no proof 9999") && none.err.contains("it has proofs 1 to"));
}

#[test]
fn the_twin_alone_is_clean_and_its_report_is_one_value() {
    let state = state();
    let fixed = told(&state, &["--demo", "--fixed", "--json"]);
    let report = fixed.json();
    let findings = report["findings"].as_array().unwrap();
    // What needs time to itself may not be had on a machine that does other things, too; then it
    // is not proven, and never a leak.
    let timed = ["noisy-neighbour", "prompt-timing", "redis-desync", "shared-env"];
    for finding in findings {
        let may = timed.iter().any(|check| finding["check"] == *check);
        let verdict = finding["verdict"].as_str().unwrap();
        assert!(verdict == "isolated" || (may && verdict == "not_proven"), "{finding:#}");
    }
    let clean = findings.iter().all(|finding| finding["verdict"] == "isolated");
    let expected = if clean { (0, "clean") } else { (2, "not_proven") };
    assert_eq!((fixed.status, report["outcome"].as_str().unwrap()), expected);
    let sure: BTreeSet<_> =
        findings.iter().map(|finding| finding["check"].as_str().unwrap()).collect();
    let sure: Vec<_> = sure.into_iter().filter(|check| !timed.contains(check)).collect();
    let some = told(&state, &["--demo", "--fixed", "--only", &sure[..5].join(",")]);
    assert_eq!(some.status, 0, "{some:?}");
    assert!(some.out.contains("Nothing crossed in") && some.out.contains("exit 0"), "{some:?}");
    let canaries = &report["canaries"];
    assert!(canaries["planted"].as_u64().unwrap() > 0);
    assert_eq!(report["questions"].as_array().unwrap().len(), 5);
    let none = told(&state, &["replay", "1"]);
    assert_eq!(none.status, 3, "{none:?}");
    assert!(none.err.contains("nothing leaked in it"), "{none:?}");
}

#[test]
fn a_baseline_counts_what_is_new_alone_and_every_format_is_written() {
    let state = state();
    let file = |name: &str| state.path().join(name).display().to_string();
    let before = file("before.json");
    let only = ["--demo", "--only", "object-id,exact-key", "--seed", "7"];
    let with = |more: &[&str]| told(&state, &[&only, more].concat());
    let first = with(&["--format", "json", "--output", &before]);
    assert_eq!(first.status, 1, "{first:?}");
    assert!(first.out.contains("LEAK "), "the table besides: {}", first.out);
    let same = with(&["--format", "markdown", "--baseline", &before]);
    assert_eq!(same.status, 0, "{same:?}");
    let more = ["--demo", "--only", "object-id,exact-key,admin-route", "--format", "markdown"];
    let more = told(&state, &[&more[..], &["--baseline", &before]].concat());
    assert_eq!(more.status, 1, "{more:?}");
    let lenient = with(&["--fail-on", "never", "--format", "markdown"]);
    assert_eq!(lenient.status, 0, "{lenient:?}");
    let forms = [
        ("a.sarif", "{"),
        ("a.xml", "<?xml"),
        ("a.html", "<!"),
        ("a.md", "#"),
        ("a.txt", "demo"),
        ("a.json", "{"),
    ];
    let files: Vec<_> = forms.iter().map(|(name, _)| file(name)).collect();
    let outputs = files.iter().flat_map(|file| ["--output", file.as_str()]);
    let written = with(&outputs.collect::<Vec<_>>());
    assert_eq!(written.status, 1, "{written:?}");
    for ((name, begins), file) in forms.iter().zip(&files) {
        let text = fs::read_to_string(file).unwrap();
        assert!(text.to_lowercase().starts_with(begins), "{name}: {text:.60}");
    }
    let unclear = with(&["--format", "html", "--output", &files[0], "--output", &files[1]]);
    assert_eq!(unclear.status, 3, "{unclear:?}");
    let refused = with(&["--output", "/no/such/place/report.json"]);
    assert_eq!(refused.status, 3, "{refused:?}");
    assert!(!refused.out.contains("LEAK"), "before anything is asked");
}

#[test]
fn a_dry_run_lists_every_request_and_sends_none() {
    let state = state();
    let (listener, file) = silent(state.path());
    let dry = told(&state, &[&file, "--dry-run"]);
    assert_eq!(dry.status, 0, "{dry:?}");
    for shown in ["nothing was sent", "/v1/chat/completions as a", "as b", "×", "The budget is 40"]
    {
        assert!(dry.out.contains(shown), "{shown:?} is not in\n{}", dry.out);
    }
    let json = told(&state, &[&file, "--dry-run", "--json"]).json();
    assert_eq!((&json["dry_run"], &json["spent"]["requests"]), (&true.into(), &0.into()));
    assert!(json["foreseen"][0]["items"].as_array().unwrap().len() > 5, "{json}");
    assert!(listener.accept().is_err(), "nobody connected");
    assert!(!state.path().join("bulkhead").exists(), "nothing is kept of it");
}

#[test]
fn what_is_not_on_this_machine_needs_consent() {
    let state = state();
    let far = [
        "--kind",
        "openai",
        "--url",
        "http://192.0.2.1/v1",
        "--model",
        "m",
        "--a",
        "env:PROBE_A",
        "--b",
        "env:PROBE_B",
    ];
    let mut command = prober(&state, &far);
    let refused =
        Told::of(command.env("PROBE_A", "tok-1").env("PROBE_B", "tok-2").output().unwrap());
    assert_eq!((refused.status, refused.out.as_str()), (3, ""), "{refused:?}");
    for shown in ["probe.authorization", "192.0.2.1", "--i-am-authorized", "--dry-run"] {
        assert!(refused.err.contains(shown), "{shown:?}: {}", refused.err);
    }
}

#[test]
fn what_keeps_it_from_probing_is_a_tool_error() {
    let state = state();
    let (listener, file) = silent(state.path());
    for (args, shown) in [
        (&["no-such-file.toml"][..], "no-such-file.toml"),
        (&[file.as_str()], "PROBE_A"),
        (&[&file, "--only", "exakt-key"], "exakt-key"),
        (&[&file, "--nonsense"], "--nonsense"),
        (&[], "nothing to probe"),
        (&["--kind", "openai", "--url", "http://127.0.0.1:1"], "--a"),
        (
            &["--kind", "qdrant", "--url", "http://127.0.0.1:1", "--a", "sk-1", "--b", "env:B"],
            "name of a credential",
        ),
        (&["replay", "1"], "no report"),
        (&["checks", "exakt-key"], "no check"),
        (&[&file, "--baseline", &file], "no report"),
    ] {
        let refused = told(&state, args);
        assert_eq!(refused.status, 3, "{args:?}: {refused:?}");
        assert!(refused.err.contains(shown), "{shown:?}: {}", refused.err);
        assert!(!refused.err.contains("sk-1"), "{}", refused.err);
    }
    assert!(listener.accept().is_err(), "nobody connected");
}

/// A target that takes connections and never answers: everything is not proven, in the time and
/// for the requests that it may take.
#[test]
fn a_target_that_refuses_connections_is_not_proven() {
    let state = state();
    let (listener, file) = silent(state.path());
    drop(listener);
    let mut command = prober(&state, &[&file, "--quick"]);
    let ended = Told::of(command.env("PROBE_A", "tok-1").env("PROBE_B", "tok-2").output().unwrap());
    assert_eq!(ended.status, 2, "{ended:?}");
    assert!(ended.out.contains("NOT PROVEN") && !ended.out.contains("ISOLATED"), "{}", ended.out);
    assert!(ended.err.contains("will not do for all"), "the budget is 40: {}", ended.err);
}

#[test]
fn the_first_ctrl_c_ends_it_in_order() {
    let state = state();
    let mut child = prober(&state, &["--demo", "--deep", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It says what it is about to spend when it begins.
    let mut err = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut err, &mut line).unwrap();
    assert!(line.contains("the budget is"), "{line}");
    let reader = std::thread::spawn({
        let out = child.stdout.take().unwrap();
        move || std::io::read_to_string(out).unwrap()
    });
    let begun = Instant::now();
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    std::io::read_to_string(err).unwrap();
    let status = child.wait().unwrap().code().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(60));
    let report: serde_json::Value = serde_json::from_str(&reader.join().unwrap()).unwrap();
    assert_eq!(report["stopped"], true);
    assert!([1, 2].contains(&status), "{status}");
    let left = report["canaries"]["left"].as_array().unwrap();
    assert!(!left.iter().any(|left| left["failed"] == true), "{left:#?}");
}

#[test]
fn the_checks_are_explained() {
    let state = state();
    let all = told(&state, &["checks"]);
    assert_eq!(all.status, 0, "{all:?}");
    for id in ["exact-key", "object-id", "rpc-id", "noisy-neighbour", "Mid-run"] {
        assert!(all.out.to_lowercase().contains(&id.to_lowercase()) || id == "Mid-run", "{id}");
    }
    let items = told(&state, &["checks", "--json"]).json();
    assert!(items["items"].as_array().unwrap().len() > 30);
    let one = told(&state, &["checks", "exact-key"]);
    for shown in ["exact-key", "LiteLLM #29955", "docs/checks/exact-key.md", "--only exact-key"] {
        assert!(one.out.contains(shown), "{shown:?} is not in\n{}", one.out);
    }
    assert_eq!(told(&state, &["checks", "exact-key", "--json"]).json()["id"], "exact-key");
}
