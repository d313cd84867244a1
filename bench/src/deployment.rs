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

/// As a deployment might have it: nothing here looks at the request itself, so decisions may be remembered.
const POLICY: &str = r#"
permit (principal, action, resource);
forbid (principal, action == Bulkhead::Action::"model:chat", resource)
when { resource.name == "large" }
unless { principal has workflow && principal.workflow == "billing" };
forbid (principal in Bulkhead::Tenant::"initech", action, resource);
"#;

/// A deployment in a folder.
pub(crate) struct Deployment {
    binary: PathBuf,
    folder: PathBuf,
    child: Option<Child>,
    operator: String,
    /// The data plane.
    pub(crate) data: SocketAddr,
    /// The control plane.
    pub(crate) control: SocketAddr,
}

impl Deployment {
    /// Initializes a folder with one provider, reached with and without a cache.
    pub(crate) fn create(folder: &Path, upstream: SocketAddr) -> Result<Self> {
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
            r#"
[data]
address = "{}"

[control]
address = "{}"

[policy]
file = "policy.cedar"

[[model.providers]]
id = "upstream"
kind = "openai-compatible"
base_url = "http://{upstream}/v1"

[[model.routes]]
name = "plain"
provider = "upstream"
upstream_model = "bench"

[[model.routes]]
name = "cached"
provider = "upstream"
upstream_model = "bench"
cache = {{ ttl_seconds = 3600 }}

[[model.routes]]
name = "semantic"
provider = "upstream"
upstream_model = "bench"
cache = {{ ttl_seconds = 3600 }}
semantic = {{ embeddings = "embed", threshold = 0.95 }}

[[model.routes]]
name = "embed"
provider = "upstream"
upstream_model = "bench"
"#,
            own.data, own.control
        );
        fs::write(own.folder.join("bulkhead.toml"), configuration)?;
        fs::write(own.folder.join("policy.cedar"), POLICY)?;
        Ok(own)
    }

    /// Starts it, waits until both listeners are ready, and gives the tenant `acme` what it needs.
    pub(crate) fn start(&mut self, runtime: &Runtime) -> Result<()> {
        self.until_ready(runtime)?;
        self.cli(&["tenant", "create", "acme", "--environment", "live"], "")?;
        let set = ["credential", "set", "upstream", "--tenant", "acme", "--environment", "live"];
        self.cli(&set, "sk-bench-0123456789abcdef")?;
        Ok(())
    }

    /// Starts it; the time from the start of the process until it is ready.
    pub(crate) fn until_ready(&mut self, runtime: &Runtime) -> Result<Duration> {
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
    pub(crate) fn stop(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        let asked = Command::new("kill").arg(child.id().to_string()).status()?;
        ensure!(asked.success(), "cannot signal the server");
        child.wait()?;
        Ok(())
    }

    /// A tenant token for the chat.
    pub(crate) fn token(&self, tenant: &str) -> Result<String> {
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
                "model:chat model:models",
                "--json",
            ],
            "",
        )?;
        let json: serde_json::Value = serde_json::from_str(&printed)?;
        json["token"].as_str().map(str::to_owned).context("`access token --json` printed no token")
    }

    /// A call of the admin API.
    pub(crate) fn admin(&self, runtime: &Runtime, line: &str, body: &str) -> Result<String> {
        let request = Request::new(self.control, line, &self.operator, body);
        let answer = runtime.block_on(load::once(&request))?;
        ensure!(answer.status / 100 == 2, "{line}: {} {}", answer.status, answer.text());
        Ok(answer.text())
    }

    /// A figure of `/metrics`, by its name with labels, exactly as it stands there.
    pub(crate) fn figure(&self, runtime: &Runtime, name: &str) -> Result<u64> {
        let text = self.admin(runtime, "GET /metrics", "")?;
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
            .with_context(|| format!("/metrics has no {name}"))
    }

    /// Resident memory of the running server, in bytes.
    pub(crate) fn resident(&self) -> Result<u64> {
        let child = self.child.as_ref().context("not running")?;
        let status = fs::read_to_string(format!("/proc/{}/status", child.id()))
            .context("memory is read from /proc, which only Linux has")?;
        status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"))
            .and_then(|kilobytes| kilobytes.parse::<u64>().ok())
            .map(|kilobytes| kilobytes * 1_024)
            .context("no VmRSS")
    }

    fn cli(&self, args: &[&str], input: &str) -> Result<String> {
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
