//! Child processes, and where things are.

use std::{
    env,
    ffi::OsStr,
    io::{BufRead, BufReader, Read},
    num::NonZero,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Mutex, mpsc},
    thread,
};

use anyhow::{Context, Result, anyhow, bail};

/// The repository's top folder.
pub(crate) fn root() -> Result<PathBuf> {
    let own = env::var_os("CARGO_MANIFEST_DIR").context("run this as `cargo xtask …`")?;
    PathBuf::from(own).parent().map(PathBuf::from).context("xtask/ has no parent folder")
}

/// Where cargo puts its builds.
pub(crate) fn target() -> Result<PathBuf> {
    Ok(match env::var_os("CARGO_TARGET_DIR") {
        Some(path) => root()?.join(path),
        None => root()?.join("target"),
    })
}

/// A command that runs in the top folder.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Result<Command> {
    let mut command = Command::new(program);
    command.current_dir(root()?);
    // Set by the cargo that started us. Build scripts that watch them would otherwise run anew after each change
    // between a cargo that a person started and one that we started.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    Ok(command)
}

/// The cargo that runs us.
pub(crate) fn cargo(args: &[&str]) -> Result<Command> {
    let program = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = command(program)?;
    command.args(args);
    Ok(command)
}

fn shown(command: &Command) -> String {
    let program = PathBuf::from(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    let args: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
    format!("$ {name} {}", args.join(" "))
}

/// Runs with our own output; whether it succeeded.
pub(crate) fn succeeds(command: &mut Command) -> Result<bool> {
    println!("{}", shown(command));
    let status = command.status().with_context(|| format!("cannot start `{}`", shown(command)))?;
    Ok(status.success())
}

/// Runs with our own output; an error if it fails.
pub(crate) fn must(command: &mut Command) -> Result<()> {
    if succeeds(command)? {
        Ok(())
    } else {
        bail!("`{}` failed", shown(command).trim_start_matches("$ "))
    }
}

/// Whether a program can be started and answers with success, silently.
pub(crate) fn answers(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Standard output of a command that must succeed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{shown}`"))?;
    if !output.status.success() {
        bail!("`{}` failed", shown.trim_start_matches("$ "));
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{shown}` printed no UTF-8"))
}

/// Runs a command, shows its output as it comes and hands each line of either stream to `seen`.
/// Says whether it succeeded.
pub(crate) fn watched(command: &mut Command, mut seen: impl FnMut(&str)) -> Result<bool> {
    println!("{}", shown(command));
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", shown(command)))?;
    let (sender, receiver) = mpsc::channel();
    let streams: [Option<Box<dyn Read + Send>>; 2] = [
        child.stdout.take().map(|stream| Box::new(stream) as _),
        child.stderr.take().map(|stream| Box::new(stream) as _),
    ];
    for stream in streams.into_iter().flatten() {
        let sender = sender.clone();
        thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                // The receiver lives until both senders are gone.
                let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
            }
        });
    }
    drop(sender);
    for line in receiver {
        println!("{line}");
        seen(&line);
    }
    Ok(child.wait()?.success())
}

/// Works on each item, as many at once as there are cores. Sums what passed and what failed.
pub(crate) fn at_once<T: Send>(
    items: impl IntoIterator<Item = T, IntoIter: Send>,
    work: impl Fn(T) -> Result<(u64, u64)> + Sync,
) -> Result<(u64, u64)> {
    let queue = Mutex::new(items.into_iter());
    let worker = || -> Result<(u64, u64)> {
        let (mut passed, mut failed) = (0, 0);
        loop {
            let next = queue.lock().map_err(|_| anyhow!("a worker is gone"))?.next();
            let Some(item) = next else { return Ok((passed, failed)) };
            let (more, worse) = work(item)?;
            (passed, failed) = (passed + more, failed + worse);
        }
    };
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_fold((0, 0), |(passed, failed), worker| {
            let (more, worse) = worker.join().map_err(|_| anyhow!("a worker is gone"))??;
            Ok((passed + more, failed + worse))
        })
    })
}

/// Whether we may install Debian packages.
pub(crate) fn may_install() -> bool {
    let root =
        Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout.trim_ascii() == b"0");
    root && answers(Command::new("apt-get").arg("--version"))
}

/// Installs Debian packages, with progress.
pub(crate) fn install_packages(packages: &[&str]) -> Result<()> {
    if !may_install() {
        bail!("please install {} and start again", packages.join(" "));
    }
    let mut update = command("apt-get")?;
    must(update.arg("update"))?;
    let mut install = command("apt-get")?;
    must(
        install
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["install", "-y", "--no-install-recommends"])
            .args(packages),
    )
}
