//! Other gateways from public registries, before the same upstream, each a process of its own.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use bench::load::{self, Request};
use tokio::runtime::Runtime;

/// How long one may take to start.
const PATIENCE: Duration = Duration::from_secs(120);

/// A gateway that runs; ends with us.
pub(crate) struct Gateway {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    child: Child,
}

/// Those whose programs the environment names: `cargo xtask bench model -- --peers` installs
/// them and sets `PORTKEY_DIR` (of its npm package) and `LITELLM_BIN`.
pub(crate) fn start(
    runtime: &Runtime,
    folder: &Path,
    upstream: SocketAddr,
) -> Result<Vec<Gateway>> {
    let path = |name| std::env::var_os(name).map(PathBuf::from);
    let mut all = Vec::new();
    if let Some(package) = path("PORTKEY_DIR") {
        let address = free()?;
        let child = quiet(
            Command::new("node")
                .arg(package.join("build/start-server.js"))
                .arg(format!("--port={}", address.port()))
                .arg("--headless")
                // Its guard against private addresses, for the loopback upstream.
                .env("TRUSTED_CUSTOM_HOSTS", "127.0.0.1,localhost"),
        )?;
        let gateway = Gateway { name: "Portkey 1.15.2", address, child };
        all.push(gateway.ready(runtime, "GET /")?);
    }
    if let Some(program) = path("LITELLM_BIN") {
        let address = free()?;
        let configuration = folder.join("litellm.yaml");
        fs::write(
            &configuration,
            format!(
                "model_list:\n  - model_name: plain\n    litellm_params:\n      model: openai/bench\n      \
                 api_base: http://{upstream}/v1\n      api_key: sk-bench\n"
            ),
        )?;
        let port = address.port().to_string();
        let child = quiet(
            Command::new(program)
                .args(["--host", "127.0.0.1", "--port", &port, "--config"])
                .arg(&configuration)
                // As quick as it goes: it checks no keys, and fetches no list of prices.
                .env("LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY", "true")
                .env("LITELLM_LOCAL_MODEL_COST_MAP", "true"),
        )?;
        let gateway = Gateway { name: "LiteLLM 1.105.0", address, child };
        all.push(gateway.ready(runtime, "GET /health/liveliness")?);
    }
    Ok(all)
}

impl Gateway {
    /// What its requests need besides.
    pub(crate) fn headers(&self, upstream: SocketAddr) -> String {
        if self.name.starts_with("Portkey") {
            format!("x-portkey-provider: openai\r\nx-portkey-custom-host: http://{upstream}/v1\r\n")
        } else {
            String::new()
        }
    }

    fn ready(mut self, runtime: &Runtime, line: &str) -> Result<Self> {
        let asked = Instant::now();
        let request = Request::new(self.address, line, "", "");
        while !runtime.block_on(load::once(&request)).is_ok_and(|answer| answer.status == 200) {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status}", self.name);
            }
            if asked.elapsed() > PATIENCE {
                bail!("{} was not ready after {PATIENCE:?}", self.name);
            }
            thread::sleep(Duration::from_millis(200));
        }
        Ok(self)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may be gone already; there is nobody to tell.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn quiet(command: &mut Command) -> Result<Child> {
    let name = command.get_program().to_string_lossy().into_owned();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {name}"))
}

fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
