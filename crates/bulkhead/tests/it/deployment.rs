//! A deployment of the built binary in a temporary directory, and a provider for it.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

/// The grants that the tests' credentials hold.
pub(crate) const GRANTS: &str = "model:chat model:models";

/// The built binary, without what this machine's environment would tell it.
pub(crate) fn bulkhead() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bulkhead"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let ours = name.starts_with("BULKHEAD_") && name != "BULKHEAD_PLANTED";
        if ours || name.starts_with("OPENAI_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Told {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            status: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

/// A directory made by `init`, served or not.
pub(crate) struct Deployment {
    pub(crate) dir: TempDir,
    serving: Option<Serving>,
}

/// A running server.
struct Serving {
    child: Child,
    data: String,
    control: String,
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Ended already, perhaps.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Deployment {
    /// Made, with free ports and this provider, and not started.
    pub(crate) fn made(provider: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let made = Self { dir, serving: None };
        let told = Told::of(bulkhead().arg("init").arg(made.path()).output().unwrap());
        assert_eq!(told.status, 0, "{told:?}");
        let file = made.path().join("bulkhead.toml");
        let text = fs::read_to_string(&file)
            .unwrap()
            .replace("#address = \"127.0.0.1:8642\"", "address = \"127.0.0.1:0\"")
            .replace("#address = \"127.0.0.1:8643\"", "address = \"127.0.0.1:0\"");
        let model = format!(
            "{text}\n[[model.providers]]\nid = \"standin\"\nbase_url = \"{provider}\"\n\
             [[model.routes]]\nname = \"cached\"\nprovider = \"standin\"\ncache = {{ ttl_seconds = 60 }}\n"
        );
        fs::write(&file, model).unwrap();
        made
    }

    /// Made and started.
    pub(crate) fn started(provider: &str) -> Self {
        let mut made = Self::made(provider);
        made.start();
        made
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Starts it and waits until it says where it listens.
    pub(crate) fn start(&mut self) {
        let mut child = bulkhead()
            .args(["serve", "--dir"])
            .arg(self.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = child.stderr.take().unwrap();
        let (said, heard) = mpsc::channel();
        // Keeps reading: a full pipe would stop the server.
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                // Nobody listens once it serves.
                let _ = said.send(line);
            }
        });
        let mut log = Vec::new();
        let (data, control) = loop {
            let line = heard
                .recv_timeout(Duration::from_secs(60))
                .unwrap_or_else(|e| panic!("it did not start: {e}: {log:#?}"));
            let event: Value = serde_json::from_str(&line).unwrap_or(Value::Null);
            log.push(line);
            if event["message"] == "serving" {
                let at = |name: &str| format!("http://{}", event[name].as_str().unwrap());
                break (at("data"), at("control"));
            }
        };
        self.serving = Some(Serving { child, data, control });
    }

    /// As a power cut would.
    pub(crate) fn kill(&mut self) {
        self.serving = None;
    }

    /// Ends it in order; its exit status.
    pub(crate) fn stop(&mut self) -> i32 {
        let mut serving = self.serving.take().unwrap();
        let pid = serving.child.id().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
        serving.child.wait().unwrap().code().unwrap_or(-1)
    }

    fn serving(&self) -> &Serving {
        self.serving.as_ref().expect("it runs")
    }

    /// The data plane.
    pub(crate) fn data(&self, path: &str) -> String {
        format!("{}{path}", self.serving().data)
    }

    /// The control plane.
    pub(crate) fn control(&self, path: &str) -> String {
        format!("{}{path}", self.serving().control)
    }

    /// The first operator's credential.
    pub(crate) fn operator(&self) -> String {
        fs::read_to_string(self.path().join("operator.token")).unwrap().trim().to_owned()
    }

    /// A command of this deployment.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = bulkhead();
        command.args(args).arg("--dir").arg(self.path());
        if let Some(serving) = &self.serving {
            command.args(["--url", &serving.control]);
        }
        command
    }

    /// Runs a command, whatever comes of it.
    pub(crate) fn tell(&self, args: &[&str]) -> Told {
        Told::of(self.command(args).output().unwrap())
    }

    /// Runs a command that has to go well.
    pub(crate) fn run(&self, args: &[&str]) -> Told {
        let told = self.tell(args);
        assert_eq!(told.status, 0, "bulkhead {args:?}: {told:?}");
        told
    }

    /// Runs a command with text on its standard input.
    pub(crate) fn pipe(&self, args: &[&str], stdin: &str) -> Told {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        Told::of(child.wait_with_output().unwrap())
    }

    /// A tenant with a provider account.
    pub(crate) fn tenant(&self, id: &str) {
        self.run(&["tenant", "create", id, "--environment", "live"]);
        let set = ["credential", "set", "standin", "--tenant", id, "--environment", "live"];
        assert_eq!(self.pipe(&set, &format!("sk-{id}")).status, 0);
    }

    /// A tenant token, as a shell gets it.
    pub(crate) fn token(&self, tenant: &str) -> String {
        let args = ["access", "token", "-t", tenant, "-e", "live", "-w", "support"];
        self.run(&args).out.trim().to_owned()
    }
}

/// A provider that answers every chat with the secret that it came with, and a number.
pub(crate) struct Provider {
    pub(crate) url: String,
}

impl Provider {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().map_while(Result::ok).enumerate() {
                std::thread::spawn(move || answer(stream, number));
            }
        });
        Self { url }
    }
}

fn answer(stream: TcpStream, number: usize) {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut length, mut secret) = (0, String::new());
        loop {
            let mut line = String::new();
            if !matches!(reader.read_line(&mut line), Ok(read) if read > 0) {
                return;
            }
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if lower.starts_with("authorization: bearer ") {
                secret = line[22..].trim().to_owned();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let said = format!("said to {} by {number}", secret.replace("sk-", "account of "));
        let json = serde_json::json!({
            "id": format!("chatcmpl-{number}"), "object": "chat.completion", "created": 0,
            "model": "standin",
            "choices": [{ "index": 0, "finish_reason": "stop",
                "message": { "role": "assistant", "content": said } }],
            "usage": { "prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2 },
        })
        .to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            json.len()
        );
        if reader.get_mut().write_all(format!("{head}{json}").as_bytes()).is_err() {
            return;
        }
    }
}

/// What a request got.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) cache: String,
    pub(crate) json: Value,
}

/// A client, once a test: connections are kept.
pub(crate) fn client() -> reqwest::Client {
    // Installed by another test already, perhaps.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap()
}

/// Sends a request with a credential; `None` if the server went away.
pub(crate) async fn send(
    client: &reqwest::Client,
    method: &str,
    url: String,
    credential: &str,
    body: Option<Value>,
) -> Option<Got> {
    let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
    let mut request = client.request(method, url).bearer_auth(credential);
    if let Some(body) = body {
        request = request.json(&body);
    }
    let answer = request.send().await.ok()?;
    let status = answer.status().as_u16();
    let cache = answer.headers().get("x-bulkhead-cache");
    let cache = cache.map_or("", |value| value.to_str().unwrap()).to_owned();
    let json = serde_json::from_slice(&answer.bytes().await.ok()?).unwrap_or(Value::Null);
    Some(Got { status, cache, json })
}

/// A chat, which has to be answered one way or another.
pub(crate) async fn chat(deployment: &Deployment, credential: &str) -> Got {
    let body = serde_json::json!({
        "model": "cached", "messages": [{ "role": "user", "content": "Hello" }],
    });
    let url = deployment.data("/v1/chat/completions");
    send(&client(), "POST", url, credential, Some(body)).await.expect("an answer")
}

/// The path of one of the data files.
pub(crate) fn file(deployment: &Deployment, name: &str) -> PathBuf {
    deployment.path().join("data").join(name)
}
