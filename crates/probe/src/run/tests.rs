use std::{
    io::ErrorKind,
    net::TcpListener,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::{
    demo::{Flaws, Stack},
    report::FailOn,
    verdict::Verdict,
};

/// A target of each kind at one address, where somebody listens and nobody answers.
fn silent() -> (TcpListener, Plan) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let at = listener.local_addr().unwrap();
    let text = format!(
        "[tenant.a]\ntoken_cmd = [\"/no/such/program\"]\nexpired = \"dead\"\n[tenant.b]\ntoken = \"env:NO_SUCH_CREDENTIAL\"\n\
         [target.gate]\nkind = \"openai\"\nurl = \"http://{at}/v1\"\nmodel = \"m\"\n\
         [target.claude]\nkind = \"anthropic\"\nurl = \"http://{at}\"\nmodel = \"m\"\n\
         [target.points]\nkind = \"qdrant\"\nurl = \"http://{at}\"\n\
         [target.keys]\nkind = \"redis\"\nurl = \"redis://{at}\"\n\
         a = {{ prefix = \"acme:\" }}\nb = {{ prefix = \"globex:\" }}\n\
         [target.app]\nkind = \"http\"\nurl = \"http://{at}\"\nadmin = [\"/admin\"]\n\
         plant = {{ post = \"/docs\", json = {{ text = \"{{canary}}\" }}, id = \"/id\" }}\n\
         objects = [\"/docs/{{id}}\"]\ncleanup = {{ delete = \"/docs/{{id}}\" }}\n"
    );
    (listener, Plan::parse("silent.toml", &text).unwrap())
}

#[tokio::test]
async fn a_dry_run_asks_nobody_for_anything() {
    let (listener, plan) = silent();
    let options = Options { dry_run: true, allow_flood: true, ..Options::default() };
    let report = run(&plan, options, &Silent).await.unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "nobody connected");
    assert_eq!(
        (report.spent.requests, report.findings.len(), report.status(FailOn::default())),
        (0, 0, 0)
    );
    let named: Vec<_> = report.foreseen.iter().map(|target| target.target.as_str()).collect();
    assert_eq!(named, ["gate", "claude", "points", "keys", "app"]);
    for target in &report.foreseen {
        let listed: usize = target.items.iter().map(|item| item.times).sum();
        assert_eq!(u64::try_from(listed).unwrap(), target.requests, "{}", target.target);
        assert!(listed > 0, "{} is asked something", target.target);
    }
    let text = serde_json::to_string(&report.foreseen).unwrap();
    assert!(!text.contains("\"dead\""), "credentials are not listed");
}

#[tokio::test]
async fn nothing_is_sent_without_consent_or_without_credentials() {
    let (listener, mut plan) = silent();
    let error = run(&plan, Options::default(), &Silent).await.unwrap_err();
    assert!(matches!(&error, Error::Credential { tenant: "a", .. }), "{error}");
    let mut far = (*plan.targets[0]).clone();
    far.url = "http://192.0.2.1/v1".into();
    plan.targets.push(Arc::new(far));
    let error = run(&plan, Options::default(), &Silent).await.unwrap_err();
    assert!(matches!(&error, Error::Authorization(name) if name.contains("192.0.2.1")), "{error}");
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "nobody connected");
}

#[tokio::test]
async fn only_names_checks_and_targets() {
    let (_listener, plan) = silent();
    let told = async |only: &[&str]| {
        let only = only.iter().map(|name| (*name).to_owned()).collect();
        let options = Options { dry_run: true, only, ..Options::default() };
        let report = run(&plan, options, &Silent).await?;
        let asked = report.foreseen.into_iter().filter(|target| target.requests > 0);
        Ok::<_, Error>(asked.map(|target| target.target).collect::<Vec<_>>())
    };
    assert_eq!(told(&["app"]).await.unwrap(), ["app"]);
    assert_eq!(told(&["object-id", "app"]).await.unwrap(), ["app"]);
    assert_eq!(told(&["admin-route"]).await.unwrap(), ["app"]);
    let error = told(&["app", "objekt-id"]).await.unwrap_err().to_string();
    assert!(error.contains("objekt-id") && error.contains("claude"), "{error}");
}

/// Ends the run when so many checks have begun.
struct Ends(Arc<AtomicBool>, AtomicUsize);

impl Progress for Ends {
    fn begins(&self, _: &str, _: &'static Check) {
        if self.1.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    fn ended(&self, _: &Finding) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_ended_leaves_nothing() {
    let stack = Stack::start(Flaws::none()).await.unwrap();
    let plan = stack.plan().unwrap();
    for after in [5, 20] {
        let options = Options { depth: Depth::Quick, allow_flood: true, ..Options::default() };
        let ends = Ends(Arc::clone(&options.stop), AtomicUsize::new(after));
        let report = run(&plan, options, &ends).await.unwrap();
        assert!(report.stopped && report.outcome == Outcome::NotProven);
        assert_eq!(report.canaries.failed(), 0, "{:#?}", report.canaries.left);
        assert_eq!(report.count(Verdict::Leak), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_is_kept_and_what_is_left_is_not_proven() {
    let stack = Stack::start(Flaws::none()).await.unwrap();
    let mut plan = stack.plan().unwrap();
    plan.budget.requests = 60;
    let report =
        run(&plan, Options { depth: Depth::Quick, ..Options::default() }, &Silent).await.unwrap();
    assert_eq!(report.canaries.failed(), 0, "{:#?}", report.canaries.left);
    let (planted, spent) = (report.canaries.planted as u64, report.spent.requests);
    // To remove each thing, and to look for it.
    assert!(spent <= 60 + 4 * planted, "{spent} requests for {planted} canaries");
    let last = report.findings.last().unwrap();
    assert_eq!(last.verdict, Verdict::NotProven);
    assert!(last.summary.contains("budget of 60 requests"), "{}", last.summary);
}
