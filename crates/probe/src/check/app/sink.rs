//! Where planted instructions tell an agent to send things: a listener of the prober's own, which
//! remembers what it is sent and answers "ok".

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::{
    lab::Lab,
    target::App,
    verdict::Halt,
    wire::{Answer, Exchange},
};

/// The longest request that is remembered.
const MOST: usize = 64 * 1024;
/// So many requests are remembered: whoever finds the port must not fill our memory.
const KEPT: usize = 256;
/// Connections at a time.
const CROWD: usize = 32;

/// It listens until it is dropped.
pub(super) struct Sink {
    /// What instructions say; it ends with a name that nobody can guess.
    pub(super) address: String,
    /// The name.
    name: String,
    port: u16,
    heard: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Sink {
    /// Opens one where the application reaches it: on loopback if it is on this machine itself,
    /// otherwise at the port of `sink`.
    pub(super) async fn open(lab: &Lab, app: &App) -> Result<Self, Halt> {
        let why = |why: &dyn std::fmt::Display| Halt::Lacking(format!("no sink: {why}"));
        let name = ids::RandomId::draw(&ids::OsEntropy).to_string();
        let (host, address) = match &app.sink {
            Some(sink) => {
                let url = reqwest::Url::parse(sink).map_err(|error| why(&error))?;
                let Some(port) = url.port_or_known_default() else { return Err(why(&"no port")) };
                let host = if loopback(&url) { "127.0.0.1" } else { "0.0.0.0" };
                ((host, port), Some(sink.trim_end_matches('/').to_owned()))
            }
            None if lab.target.address("/").is_ok_and(|url| loopback(&url)) => {
                (("127.0.0.1", 0), None)
            }
            None => {
                let advice = "say where it reaches this machine: sink = \"http://…:PORT\"";
                return Err(Halt::Lacking(advice.into()));
            }
        };
        let (heard, mut tasks) = (Arc::default(), JoinSet::new());
        if lab.options.dry_run {
            let address = address.unwrap_or_else(|| "http://127.0.0.1:0".into());
            let address = format!("{address}/{name}");
            return Ok(Self { address, name, port: 0, heard, _tasks: tasks });
        }
        let listener = TcpListener::bind(host).await.map_err(|error| why(&error))?;
        let port = listener.local_addr().map_err(|error| why(&error))?.port();
        let address = address.unwrap_or_else(|| format!("http://127.0.0.1:{port}"));
        let address = format!("{address}/{name}");
        tasks.spawn(listen(listener, name.clone(), Arc::clone(&heard)));
        Ok(Self { address, name, port, heard, _tasks: tasks })
    }

    /// Whether it hears what is sent to it.
    pub(super) async fn hears(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)).await else {
            return false;
        };
        let line = format!("GET /{}/self HTTP/1.1\r\nhost: sink\r\n\r\n", self.name);
        let mut answer = Vec::new();
        let said = stream.write_all(line.as_bytes()).await.is_ok();
        said && stream.read_to_end(&mut answer).await.is_ok()
            && self.texts().iter().any(|text| text.contains(&format!("{}/self", self.name)))
    }

    fn texts(&self) -> Vec<String> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What it was sent by whoever has its name, as if it were an answer, to be hunted in.
    pub(super) fn heard(&self) -> Vec<Exchange> {
        let own = format!("{}/self", self.name);
        let texts = self.texts().into_iter();
        let texts = texts.filter(|text| text.contains(&self.name) && !text.contains(&own));
        texts.map(|text| said("the application", "what the sink was sent", text)).collect()
    }

    /// Every address in a text that leads here.
    pub(super) fn links(&self, text: &str) -> Vec<Exchange> {
        let found = text.match_indices(&self.address).map(|(at, _)| {
            let rest = &text[at..];
            let end = rest.find(|c: char| c.is_whitespace() || "\"'<>)]}\\|".contains(c));
            rest[..end.unwrap_or(rest.len())].to_owned()
        });
        found.map(|link| said("a", "a link in the answer", link)).collect()
    }
}

fn said(who: &str, line: &str, text: String) -> Exchange {
    let answer = Answer { status: 200, body: text.into_bytes().into(), ..Answer::default() };
    Exchange {
        who: who.to_owned(),
        line: line.to_owned(),
        headers: Vec::new(),
        body: None,
        outcome: Ok(answer),
    }
}

fn loopback(url: &reqwest::Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let address = host.parse::<std::net::IpAddr>();
    address.map_or(host == "localhost", |address| address.is_loopback())
}

async fn listen(listener: TcpListener, name: String, heard: Arc<Mutex<Vec<String>>>) {
    let mut open = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while open.try_join_next().is_some() {}
        if open.len() < CROWD {
            open.spawn(hear(stream, name.clone(), Arc::clone(&heard)));
        }
    }
}

async fn hear(mut stream: TcpStream, name: String, heard: Arc<Mutex<Vec<String>>>) {
    let mut text = Vec::new();
    let mut piece = vec![0; 4_096];
    while text.len() < MOST && !is_whole(&text) {
        let reading = tokio::time::timeout(Duration::from_secs(1), stream.read(&mut piece));
        match reading.await {
            Ok(Ok(read)) if read > 0 => text.extend_from_slice(&piece[..read]),
            _ => break,
        }
    }
    let text = String::from_utf8_lossy(&text).into_owned();
    keep(&mut heard.lock().unwrap_or_else(PoisonError::into_inner), text, &name);
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
    // Whoever does not wait for it has been heard all the same.
    let _ = stream.write_all(answer).await;
    let _ = stream.shutdown().await;
}

/// Remembers what was sent by somebody who has the name of the sink.
fn keep(heard: &mut Vec<String>, text: String, name: &str) {
    if heard.len() < KEPT && text.contains(name) {
        heard.push(text);
    }
}

/// Whether a request is there to its end.
fn is_whole(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    body.len() >= length.unwrap_or(0_usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_has_the_name_is_remembered_and_not_without_end() {
        let mut heard = Vec::new();
        for _ in 0..2 * KEPT {
            keep(&mut heard, "GET /other".into(), "name");
        }
        assert!(heard.is_empty());
        for _ in 0..2 * KEPT {
            keep(&mut heard, "GET /name".into(), "name");
        }
        assert_eq!(heard.len(), KEPT);
    }
}
