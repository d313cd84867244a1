//! `planted`: a safety test that was never seen to fail proves nothing. One build with the feature `planted`,
//! then each bug of the table is switched on by name, and its test must fail; without a bug it must pass.

mod table;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use table::{BUGS, Bug};

use crate::{
    report::Tally,
    shell,
    source::{self, Token},
};

/// A test that has not ended by then counts as neither passed nor failed, and so as not caught.
const PATIENCE: Duration = Duration::from_secs(180);

/// Builds once, then runs each bug whose name contains `filter`.
pub(crate) fn run(tally: &mut Tally, filter: Option<&str>) -> Result<()> {
    tally.check("planted table", &unlisted()?);
    let bugs: Vec<_> =
        BUGS.iter().filter(|bug| filter.is_none_or(|part| bug.name.contains(part))).collect();
    if bugs.is_empty() {
        bail!("no planted bug matches {}", filter.unwrap_or("an empty table"));
    }
    let binaries = build(&bugs)?;
    let width = bugs.iter().map(|bug| bug.name.len()).max().unwrap_or(0);
    println!("\n{:width$}  {:18}  test", "planted bug", "");
    let mut tests: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for bug in bugs {
        tests.entry((bug.package, bug.target, bug.test)).or_default().push(bug.name);
    }
    let (caught, missed) = shell::at_once(tests, |((package, target, test), bugs)| {
        let binary = binaries
            .get(&(package.to_owned(), target.to_owned()))
            .with_context(|| format!("{package} has no test target `{target}`"))?;
        let without = binary.run(test, None)?;
        let (mut caught, mut missed) = (0, 0);
        for bug in bugs {
            let verdict = match without {
                Ended::Passed => binary.run(test, Some(bug))?.verdict(),
                Ended::Failed => "fails without it",
                Ended::Hung => "hangs without it",
                Ended::Absent => "NO SUCH TEST",
            };
            println!("{bug:width$}  {verdict:18}  {package} {test}");
            match verdict {
                CAUGHT => caught += 1,
                _ => missed += 1,
            }
        }
        Ok((caught, missed))
    })?;
    tally.row("planted", caught, missed, "bugs caught, bugs missed");
    Ok(())
}

/// What makes a build one with the planted bugs, of which none is on. The tests of the workspace run in
/// it, too: everything is built once.
pub(crate) fn features() -> Result<Vec<String>> {
    let bugged = metadata()?.packages.into_iter().filter(Package::has_bugs);
    Ok(bugged.flat_map(|package| ["--features".to_owned(), package.feature()]).collect())
}

const CAUGHT: &str = "caught";

/// How one test ended.
#[derive(Clone, Copy)]
enum Ended {
    Passed,
    Failed,
    Hung,
    Absent,
}

impl Ended {
    fn verdict(self) -> &'static str {
        match self {
            Self::Failed => CAUGHT,
            Self::Passed => "NOT CAUGHT",
            Self::Hung => "HANGS",
            Self::Absent => "NO SUCH TEST",
        }
    }
}

/// Bugs that the code has and the table has not, and the reverse.
fn unlisted() -> Result<Vec<String>> {
    let mut planted = BTreeSet::new();
    for file in source::files(&shell::root()?, "crates")? {
        for window in file.tokens.windows(6) {
            if let Some(name) = planted_name(window) {
                planted.insert(name.to_owned());
            }
        }
    }
    let listed: BTreeSet<_> = BUGS.iter().map(|bug| bug.name.to_owned()).collect();
    let untested = planted.difference(&listed).map(|name| {
        format!("{name} is planted, but no test in xtask/src/planted/table.rs must catch it")
    });
    let gone = listed
        .difference(&planted)
        .map(|name| format!("{name} is in the table, but nowhere planted"));
    Ok(untested.chain(gone).collect())
}

/// `planted::is("name")`
fn planted_name(window: &[Token]) -> Option<&str> {
    let [module, one, two, function, opens, name] = window else {
        return None;
    };
    let matches = module.is_word("planted")
        && one.is_mark(':')
        && two.is_mark(':')
        && function.is_word("is")
        && opens.is_mark('(');
    name.text().filter(|_| matches)
}

/// A built test binary.
struct Binary {
    path: PathBuf,
    /// Where cargo would run it.
    folder: PathBuf,
}

impl Binary {
    fn run(&self, test: &str, bug: Option<&str>) -> Result<Ended> {
        let mut command = Command::new(&self.path);
        command
            .current_dir(&self.folder)
            .env("CARGO_MANIFEST_DIR", &self.folder)
            .args(["--exact", test, "--format", "terse"])
            .env_remove("BULKHEAD_PLANTED")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        if let Some(bug) = bug {
            command.env("BULKHEAD_PLANTED", bug);
        }
        let mut child =
            command.spawn().with_context(|| format!("cannot start {}", self.path.display()))?;
        // Read aside: a test that fills the pipe would wait for us for ever.
        let mut stdout = child.stdout.take().context("no output")?;
        let reader = thread::spawn(move || {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut stdout, &mut bytes).map(|_| bytes)
        });
        let begun = Instant::now();
        while child.try_wait()?.is_none() {
            if begun.elapsed() > PATIENCE {
                child.kill()?;
                child.wait()?;
                return Ok(Ended::Hung);
            }
            thread::sleep(Duration::from_millis(20));
        }
        let bytes =
            reader.join().map_err(|_| anyhow::anyhow!("cannot read the test's output"))??;
        let text = String::from_utf8_lossy(&bytes);
        Ok(match text.rsplit("test result: ").next() {
            Some(sums) if sums.contains(" 1 failed;") => Ended::Failed,
            Some(sums) if sums.contains(" 1 passed;") => Ended::Passed,
            _ => Ended::Absent,
        })
    }
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    features: BTreeMap<String, Vec<String>>,
}

impl Package {
    fn has_bugs(&self) -> bool {
        self.features.contains_key("planted")
    }

    fn feature(&self) -> String {
        format!("{}/planted", self.name)
    }
}

fn metadata() -> Result<Metadata> {
    let mut command = shell::cargo(&["metadata", "--format-version", "1", "--no-deps"])?;
    Ok(serde_json::from_str(&shell::output(&mut command)?)?)
}

/// A line of cargo's JSON; those that do not end in an executable lack a field and are passed over.
#[derive(Deserialize)]
struct Artifact {
    executable: Option<PathBuf>,
    manifest_path: PathBuf,
    target: Target,
    profile: Profile,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Builds the test binaries of every package in the table, by package and `lib` or the test's name.
fn build(bugs: &[&Bug]) -> Result<BTreeMap<(String, String), Binary>> {
    let metadata = metadata()?;
    let wanted: BTreeSet<_> = bugs.iter().map(|bug| bug.package).collect();
    let mut command =
        shell::cargo(&["test", "--no-run", "--message-format", "json-render-diagnostics"])?;
    for package in &wanted {
        command.args(["--package", package]);
    }
    for package in &metadata.packages {
        if wanted.contains(package.name.as_str()) && package.has_bugs() {
            command.args(["--features", &package.feature()]);
        }
    }
    println!("building the tests with the planted bugs");
    let output = shell::output(&mut command)?;
    let artifacts = output.lines().filter_map(|line| serde_json::from_str::<Artifact>(line).ok());
    let mut binaries = BTreeMap::new();
    for artifact in artifacts.filter(|artifact| artifact.profile.test) {
        let Some(path) = artifact.executable else {
            continue;
        };
        let folder = artifact
            .manifest_path
            .parent()
            .map(Path::to_path_buf)
            .context("a manifest has no folder")?;
        let target = match artifact.target.kind.first().map(String::as_str) {
            Some("test") => artifact.target.name,
            Some(kind) => kind.to_owned(),
            None => continue,
        };
        let package = package_name(&metadata, &folder);
        binaries.insert((package, target), Binary { path, folder });
    }
    Ok(binaries)
}

/// The package in a folder of crates/: all but the binary's are named with the prefix.
fn package_name(metadata: &Metadata, folder: &Path) -> String {
    let short = folder.file_name().unwrap_or_default().to_string_lossy();
    let long = format!("bulkhead-{short}");
    if metadata.packages.iter().any(|package| package.name == long) {
        long
    } else {
        short.into_owned()
    }
}
