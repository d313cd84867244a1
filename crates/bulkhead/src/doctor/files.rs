//! What a configuration refers to, and who may read it.

use std::path::Path;

use server::{CONTROL_PORT, DATA_PORT, Listener, RootKey, Settings, Tls};
use vault::{EnvRoot, FileRoot, KeyProvider as _, Roots};

use super::{Finding, isolation};
use crate::{cli::Place, print::bytes};

/// Free space below which a disk is worth a look, and below which it is wrong.
const LITTLE: u64 = 1 << 30;
const TOO_LITTLE: u64 = 100 << 20;

/// What the configuration names: root key, certificates, policies, listeners, models.
pub(crate) fn references(settings: &Settings) -> Vec<Finding> {
    let mut findings = vec![root_key(settings), policy(settings), models(settings)];
    for (what, listener, port) in [
        ("data plane", &settings.data, DATA_PORT),
        ("control plane", &settings.control, CONTROL_PORT),
    ] {
        findings.extend(self::listener(what, listener, port));
    }
    findings.extend(isolation::configured(&settings.model));
    findings
}

fn root_key(settings: &Settings) -> Finding {
    let (roots, advice) = match &settings.storage.root_key {
        RootKey::File(path) => (
            FileRoot::new(path).roots(),
            "without it nothing opens: put it back from where you keep it safe",
        ),
        RootKey::Environment(name) => (
            EnvRoot::new(name).roots(),
            "the server needs it in its environment; this looked into the command's own",
        ),
    };
    match roots {
        Ok(Roots { current, older }) => {
            Finding::good("root key", format!("{}, and {} older", current.id(), older.len()))
        }
        // The server's environment is not this command's.
        Err(error) if matches!(settings.storage.root_key, RootKey::Environment(_)) => {
            Finding::warning("root key", error, advice)
        }
        Err(error) => Finding::wrong("root key", error, advice),
    }
}

fn policy(settings: &Settings) -> Finding {
    let Some(file) = &settings.policy.file else {
        return Finding::good("policy", "built in: whoever holds the grant may");
    };
    match gate::Policies::load(file) {
        Ok(policies) => Finding::good(
            "policy",
            format!("{} in {}", policies.describe().policies, file.display()),
        ),
        Err(error) => Finding::wrong("policy", error, format!("correct {}", file.display())),
    }
}

fn models(settings: &Settings) -> Finding {
    let (routes, providers) = (settings.model.routes.len(), settings.model.providers.len());
    let detail = format!("{routes} models, {providers} providers");
    if routes == 0 {
        return Finding::warning(
            "models",
            detail,
            "callers can name no model: add [[model.providers]] and [[model.routes]]",
        );
    }
    Finding::good("models", detail)
}

fn listener(what: &'static str, listener: &Listener, port: u16) -> Vec<Finding> {
    let address = listener.address_or(port);
    let reached = match &listener.tls {
        Some(tls) => match readable(tls) {
            Ok(()) => Finding::good(what, format!("https://{address}")),
            Err((path, why)) => Finding::wrong(
                what,
                format!("TLS: {}: {why}", path.display()),
                "correct the path, or put the PEM file there",
            ),
        },
        None if address.ip().is_loopback() => Finding::good(what, format!("http://{address}")),
        None => Finding::warning(
            what,
            format!("http://{address}: credentials and prompts cross the network readable"),
            "set `tls`, or listen on loopback behind a proxy that has it",
        ),
    };
    let mut findings = vec![reached];
    if !address.ip().is_loopback() && listener.hosts.is_empty() {
        findings.push(Finding::warning(
            what,
            "known under no name but loopback's",
            "requests under another are refused (request.host): add its names to `hosts`",
        ));
    }
    findings
}

fn readable(tls: &Tls) -> Result<(), (&Path, String)> {
    for path in [&tls.certificate, &tls.key] {
        let text = std::fs::read_to_string(path).map_err(|e| (path.as_path(), e.to_string()))?;
        if !text.contains("-----BEGIN ") {
            return Err((path, "no PEM in it".into()));
        }
    }
    Ok(())
}

/// Who may read what: files with secrets, directories with data.
pub(super) fn modes(place: &Place, settings: &Settings) -> Vec<Finding> {
    let token = place.directory().join("operator.token");
    let mut findings = Vec::new();
    if token.exists() {
        findings.push(private("operator.token", &token, 0o077));
    }
    for (what, path) in [("keystore", &settings.storage.keys), ("data", &settings.storage.data.dir)]
    {
        if path.exists() {
            findings.push(private(what, path, 0o007));
            findings.push(space(what, path));
        }
    }
    for tls in [&settings.data.tls, &settings.control.tls].into_iter().flatten() {
        if tls.key.exists() {
            findings.push(private("TLS key", &tls.key, 0o037));
        }
    }
    findings.push(apart(settings));
    findings
}

/// Whether none of the bits in `wide` is in a file's mode.
#[cfg(unix)]
pub(super) fn private(what: &'static str, path: &Path, wide: u32) -> Finding {
    use std::os::unix::fs::MetadataExt as _;
    match std::fs::metadata(path) {
        Ok(file) if file.mode() & wide == 0 => {
            Finding::good(what, format!("{}, mode {:04o}", path.display(), file.mode() & 0o7777))
        }
        Ok(file) => {
            let tight = (file.mode() & 0o7777) & !wide;
            Finding::wrong(
                what,
                format!(
                    "{} has mode {:04o}: others get at it",
                    path.display(),
                    file.mode() & 0o7777
                ),
                format!("chmod {tight:04o} {}", path.display()),
            )
        }
        Err(error) => {
            Finding::wrong(what, format!("{}: {error}", path.display()), "check the path")
        }
    }
}

#[cfg(not(unix))]
pub(super) fn private(what: &'static str, path: &Path, _: u32) -> Finding {
    Finding::good(what, path.display())
}

/// Whether keystore and data are on disks of their own, and the root key with neither.
fn apart(settings: &Settings) -> Finding {
    let (keys, data) = (&settings.storage.keys, &settings.storage.data.dir);
    let mut together = Vec::new();
    if let RootKey::File(root) = &settings.storage.root_key
        && root.parent().is_some_and(|parent| same(parent, keys))
    {
        together.push("the root key lies with the keystore that it opens");
    }
    if keys.starts_with(data) || same_disk(keys, data) {
        together.push("keystore and data are on one disk, so one copy of it holds both");
    }
    if together.is_empty() {
        return Finding::good("apart", "root key, keystore and data are in places of their own");
    }
    Finding::warning(
        "apart",
        together.join("; "),
        "fine for trying out; in production mount the root key as a secret, or set\n`root_key = { environment = … }`, and keep backups of keystore and data apart",
    )
}

fn same(a: &Path, b: &Path) -> bool {
    a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

#[cfg(unix)]
fn same_disk(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let device = |path: &Path| std::fs::metadata(path).map(|file| file.dev()).ok();
    device(a).is_some() && device(a) == device(b)
}

#[cfg(not(unix))]
fn same_disk(_: &Path, _: &Path) -> bool {
    false
}

/// How much space is left, as `df` says: the standard library does not tell.
pub(super) fn space(what: &'static str, path: &Path) -> Finding {
    let Some(free) = free(path) else {
        return Finding::warning(what, "free space unknown", "see `df` for yourself");
    };
    let detail = format!("{} free", bytes(free));
    if free < TOO_LITTLE {
        return Finding::wrong(what, detail, "free space, or grow the disk: writes will fail");
    }
    if free < LITTLE {
        return Finding::warning(what, detail, "free space, or grow the disk");
    }
    Finding::good(what, detail)
}

fn free(path: &Path) -> Option<u64> {
    let told = std::process::Command::new("df").arg("-Pk").arg(path).output().ok()?;
    let text = String::from_utf8(told.stdout).ok()?;
    let blocks: u64 = text.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()?;
    Some(blocks * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    #[cfg(unix)]
    fn a_wide_mode_is_wrong_and_the_advice_narrows_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let file = tempfile::NamedTempFile::new().unwrap();
        for (mode, state) in [(0o600, State::Good), (0o640, State::Wrong), (0o644, State::Wrong)] {
            std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            let finding = private("x", file.path(), 0o077);
            assert_eq!(finding.state(), state, "{mode:o}");
            if state == State::Wrong {
                assert!(finding.advice.unwrap().starts_with("chmod 0600 "));
            }
        }
    }

    #[test]
    fn what_the_configuration_names_is_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let text = "[data]\naddress = \"0.0.0.0:1\"\n[policy]\nfile = \"none.cedar\"\n";
        let settings = crate::config::parse(&dir.path().join("b.toml"), text).unwrap();
        let states: Vec<_> =
            references(&settings).iter().map(|finding| (finding.what, finding.state())).collect();
        let expected = [
            ("root key", State::Wrong),
            ("policy", State::Wrong),
            ("models", State::Warning),
            ("data plane", State::Warning),
            ("data plane", State::Warning),
            ("control plane", State::Good),
        ];
        assert_eq!(states, expected);
    }

    #[test]
    fn free_space_is_known_here() {
        assert!(free(Path::new("/")).is_some() || !cfg!(target_os = "linux"));
    }
}
