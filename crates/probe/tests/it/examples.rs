//! The target files in `examples/probe` and in the guide: each is one, and none has a credential in it.

use std::{fs, path::Path};

use bulkhead_probe::{Depth, Options, Plan, Silent, run};

fn files() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/probe");
    let mut files: Vec<(String, String)> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect();
    files.sort();
    files
}

#[test]
fn each_is_a_target_file_without_a_credential() {
    let files = files();
    assert!(files.len() >= 7, "{files:?}");
    for (name, text) in &files {
        let plan = Plan::parse(name, text).unwrap_or_else(|error| panic!("{error}"));
        assert!(!plan.targets.is_empty(), "{name}");
        assert_eq!(plan.warnings(), Vec::<String>::new(), "{name}");
        for line in text.lines().filter(|line| line.contains("token = ")) {
            assert!(line.contains("\"env:") || line.contains("\"file:"), "{name}: {line}");
        }
    }
}

#[test]
fn so_is_each_that_the_guide_shows() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let mut shown = 0;
    for page in ["probe.md", "probe-targets.md"] {
        let text = fs::read_to_string(folder.join(page)).unwrap();
        for block in text.split("```toml\n").skip(1) {
            let file = block.split("```").next().unwrap();
            Plan::parse(page, file).unwrap_or_else(|error| panic!("{error}"));
            shown += 1;
        }
    }
    assert!(shown >= 2);
}

/// Without credentials, and without anything that answers.
#[tokio::test]
async fn each_can_be_gone_through_without_sending_anything() {
    for (name, text) in files() {
        let plan = Plan::parse(&name, &text).unwrap();
        let options = Options { dry_run: true, depth: Depth::Quick, ..Options::default() };
        let report = run(&plan, options, &Silent).await.unwrap();
        for target in &report.foreseen {
            assert!(target.requests > 20, "{name}, {}: {}", target.target, target.requests);
        }
        assert_eq!(report.foreseen.len(), plan.targets.len(), "{name}");
        assert!(report.foreseen.iter().map(|target| target.usd).sum::<f64>() <= plan.budget.usd);
    }
}
