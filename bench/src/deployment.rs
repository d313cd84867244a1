//! The released binary as a child process, set up as a user would: `init`, a configuration, `serve`.

use std::{
    fs::{self, File},
    io::Write,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tokio::runtime::Runtime;

use crate::load::{self, Request};

/// A deployment in a folder.
pub struct Deployment {
    binary: PathBuf,
    /// Its configuration, data and keys.
    pub folder: PathBuf,
    child: Option<Child>,
    operator: String,
    /// The data plane.
    pub data: SocketAddr,
    /// The control plane.
    pub control: SocketAddr,
}

impl Deployment {
    /// Initializes a folder; `configuration` is what follows on the addresses.
    ///
    /// # Errors
    /// `BULKHEAD_BIN` is not set, or the folder cannot be used.
    pub fn create(folder: &Path, configuration: &str) -> Result<Self> {
        let binary = std::env::var_os("BULKHEAD_BIN").context("BULKHEAD_BIN is not set")?;
        let folder = folder.join("bulkhead");
        let [data, control] = free_addresses()?;
        let mut own = Self {
            binary: binary.into(),
            data,
            control,
            operator: String::new(),
            child: None,
            folder,
        };
        own.cli(&["init"], "")?;
        own.operator = fs::read_to_string(own.folder.join("operator.token"))?.trim().to_owned();
        let configuration = format!(
            "[data]\naddress = \"{}\"\n\n[control]\naddress = \"{}\"\n{configuration}",
            own.data, own.control
        );
        fs::write(own.folder.join("bulkhead.toml"), configuration)?;
        Ok(own)
    }

    /// Starts it; the time from the start of the process until it is ready.
    ///
    /// # Errors
    /// It ends, or is not ready after a minute.
    pub fn until_ready(&mut self, runtime: &Runtime) -> Result<Duration> {
        let log = File::create(self.folder.join("serve.log"))?;
        let begun = Instant::now();
        let child = Command::new(&self.binary)
            .arg("serve")
            .arg("--dir")
            .arg(&self.folder)
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let child = self.child.insert(child);
        let ready = Request::new(self.data, "GET /health/ready", "", "");
        loop {
            let answer = runtime.block_on(load::once(&ready));
            if answer.is_ok_and(|answer| answer.status == 200) {
                return Ok(begun.elapsed());
            }
            if let Some(status) = child.try_wait()? {
                let log = fs::read_to_string(self.folder.join("serve.log"))?;
                bail!("serve ended with {status}: {log}");
            }
            ensure!(begun.elapsed() < Duration::from_secs(60), "not ready after 60 s");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Ends it as an operator would and waits for it.
    ///
    /// # Errors
    /// It cannot be signalled.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        let asked = Command::new("kill").arg(child.id().to_string()).status()?;
        ensure!(asked.success(), "cannot signal the server");
        child.wait()?;
        Ok(())
    }

    /// A tenant token with these grants, by the CLI.
    ///
    /// # Errors
    /// It fails.
    pub fn token(&self, tenant: &str, grants: &str) -> Result<String> {
        let printed = self.cli(
            &[
                "access",
                "token",
                "--tenant",
                tenant,
                "--environment",
                "live",
                "--workflow",
                "support",
                "--grants",
                grants,
                "--json",
            ],
            "",
        )?;
        let json: serde_json::Value = serde_json::from_str(&printed)?;
        json["token"].as_str().map(str::to_owned).context("`access token --json` printed no token")
    }

    /// A call of the admin API.
    ///
    /// # Errors
    /// Any answer but a success.
    pub fn admin(&self, runtime: &Runtime, line: &str, body: &str) -> Result<String> {
        let request = Request::new(self.control, line, &self.operator, body);
        let answer = runtime.block_on(load::once(&request))?;
        ensure!(answer.status / 100 == 2, "{line}: {} {}", answer.status, answer.text());
        Ok(answer.text())
    }

    /// A figure of `/metrics`, by its name with labels, exactly as it stands there.
    ///
    /// # Errors
    /// There is no such figure.
    pub fn figure(&self, runtime: &Runtime, name: &str) -> Result<u64> {
        let text = self.admin(runtime, "GET /metrics", "")?;
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
            .with_context(|| format!("/metrics has no {name}"))
    }

    /// Waits until the server has had nothing to do for a while: whatever it does in the background is done.
    ///
    /// # Errors
    /// It is busy for longer than `patience`.
    pub fn until_idle(&self, patience: Duration) -> Result<()> {
        let begun = Instant::now();
        let mut quiet = 0;
        let mut before = self.ticks()?;
        while quiet < 4 {
            ensure!(begun.elapsed() < patience, "still busy after {} s", patience.as_secs());
            thread::sleep(Duration::from_millis(250));
            let now = self.ticks()?;
            // A tick is 10 ms.
            quiet = if now - before <= 1 { quiet + 1 } else { 0 };
            before = now;
        }
        Ok(())
    }

    /// Clock ticks of processor time that the server has used.
    fn ticks(&self) -> Result<u64> {
        let child = self.child.as_ref().context("not running")?;
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.id()))
            .context("processor time is read from /proc, which only Linux has")?;
        // Behind the name in parentheses, which may hold anything: user and system are 12th and 13th.
        let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
        let fields: Vec<_> = fields.split_whitespace().collect();
        let ticks = |at: usize| -> Result<u64> { Ok(fields.get(at).context("short")?.parse()?) };
        Ok(ticks(11)? + ticks(12)?)
    }

    /// Resident memory of the running server, in bytes.
    ///
    /// # Errors
    /// It does not run, or this is not Linux.
    pub fn resident(&self) -> Result<u64> {
        self.memory("VmRSS:")
    }

    /// What of [`Self::resident`] is the server's own: not pages of files, which the kernel takes back when it wants.
    ///
    /// # Errors
    /// As [`Self::resident`].
    pub fn own_resident(&self) -> Result<u64> {
        self.memory("RssAnon:")
    }

    /// Time of a processor that the running server has used: what a busy machine distorts less than a clock on the wall.
    ///
    /// # Errors
    /// It does not run, or this is not Linux.
    pub fn busy(&self) -> Result<Duration> {
        let child = self.child.as_ref().context("not running")?;
        let tasks = fs::read_dir(format!("/proc/{}/task", child.id()))?;
        let of = |task: std::io::Result<fs::DirEntry>| -> Result<u64> {
            let spent = fs::read_to_string(task?.path().join("schedstat"))?;
            Ok(spent.split(' ').next().unwrap_or_default().parse()?)
        };
        // A thread that has ended meanwhile is not there any more.
        Ok(Duration::from_nanos(tasks.filter_map(|task| of(task).ok()).sum()))
    }

    fn memory(&self, what: &str) -> Result<u64> {
        let child = self.child.as_ref().context("not running")?;
        let status = fs::read_to_string(format!("/proc/{}/status", child.id()))
            .context("memory is read from /proc, which only Linux has")?;
        status
            .lines()
            .find_map(|line| line.strip_prefix(what)?.trim().strip_suffix(" kB"))
            .and_then(|kilobytes| kilobytes.parse::<u64>().ok())
            .map(|kilobytes| kilobytes * 1_024)
            .with_context(|| format!("no {what}"))
    }

    /// A command of the CLI; what it prints.
    ///
    /// # Errors
    /// It fails.
    pub fn cli(&self, args: &[&str], input: &str) -> Result<String> {
        let mut child = Command::new(&self.binary)
            .args(args)
            .arg("--dir")
            .arg(&self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", self.binary.display()))?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "`bulkhead {}` failed", args.join(" "));
        Ok(String::from_utf8(output.stdout)?)
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may be gone already; there is nobody to tell.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Both are held until both are known, so that they differ.
fn free_addresses() -> Result<[SocketAddr; 2]> {
    let listeners = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
    Ok([listeners[0].local_addr()?, listeners[1].local_addr()?])
}
