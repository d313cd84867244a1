//! A closed-loop load generator on raw keep-alive HTTP/1.1: every connection asks, waits for the whole answer and
//! asks again. Nothing between the socket and the clock.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

/// Not counted, before every run.
const WARM_UP: Duration = Duration::from_millis(500);

/// In a body, this is replaced by letters that no earlier request had.
pub const NEW: &str = "nnnnnnnnnn";

/// The bytes of a request, and where they go.
#[derive(Clone)]
pub struct Request {
    /// Where it goes.
    pub address: SocketAddr,
    bytes: Vec<u8>,
    /// Where [`NEW`] stands, if it does.
    new_at: Option<usize>,
}

/// Until when a request is timed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// The last byte of the answer.
    End,
    /// The first byte of the answer's body.
    FirstByte,
}

impl Request {
    /// Any request with a body in JSON.
    #[must_use]
    pub fn new(address: SocketAddr, line: &str, credential: &str, body: &str) -> Self {
        Self::with_headers(address, line, credential, "", body)
    }

    /// With more headers, each ended by `\r\n`.
    fn with_headers(
        address: SocketAddr,
        line: &str,
        credential: &str,
        headers: &str,
        body: &str,
    ) -> Self {
        let head = format!(
            "{line} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {credential}\r\n\
             {headers}content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let new_at = body.find(NEW).map(|at| head.len() + at);
        Self { address, bytes: [head.as_bytes(), body.as_bytes()].concat(), new_at }
    }

    /// A chat completion.
    #[must_use]
    pub fn chat(address: SocketAddr, token: &str, chat: &Chat<'_>) -> Self {
        let Chat { model, prompt, stream, new, headers } = *chat;
        let opening = if new { format!("{NEW} ") } else { String::new() };
        let text = "Summarise the open invoices of this customer. ".chars().cycle();
        let text: String = opening.chars().chain(text).take(prompt).collect();
        let mut body = serde_json::json!({
            "model": model,
            "messages": [{"role": "user", "content": text}],
        });
        if stream {
            body["stream"] = true.into();
        }
        let line = "POST /v1/chat/completions";
        Self::with_headers(address, line, token, headers, &body.to_string())
    }

    /// Puts letters that no earlier request had where [`NEW`] stands.
    pub fn renew(&mut self) {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let Some(at) = self.new_at else { return };
        let mut count = COUNT.fetch_add(1, Ordering::Relaxed);
        for byte in &mut self.bytes[at..at + NEW.len()] {
            *byte = b"abcdefghijklmnopqrstuvwxyz"[usize::try_from(count % 26).unwrap_or(0)];
            count /= 26;
        }
    }
}

/// What a chat completion asks for.
#[derive(Clone, Copy)]
pub struct Chat<'a> {
    /// Of the route.
    pub model: &'a str,
    /// Bytes of the prompt.
    pub prompt: usize,
    /// Whether the answer comes in pieces.
    pub stream: bool,
    /// Whether no two prompts are equal.
    pub new: bool,
    /// More headers, each ended by `\r\n`.
    pub headers: &'a str,
}

/// An answer, whole.
pub struct Answer {
    /// Of HTTP.
    pub status: u16,
    head: String,
    body: Vec<u8>,
    /// When the first byte of the body was there.
    began: Instant,
}

impl Answer {
    /// The body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (own, value) = line.split_once(':')?;
            own.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// A kept connection.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// A new one.
    ///
    /// # Errors
    /// Nobody listens.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("nobody listens on {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(64 * 1024) })
    }

    async fn more(&mut self) -> Result<()> {
        let read = self.stream.read_buf(&mut self.buffer).await?;
        ensure!(read > 0, "the connection was closed in the middle of an answer");
        Ok(())
    }

    /// Sends the request and reads the answer to its last byte.
    ///
    /// # Errors
    /// The connection ends before that, or what comes is not HTTP. A server that closes without having read the whole
    /// request has said why before: then that is in the error.
    pub async fn ask(&mut self, request: &Request) -> Result<Answer> {
        self.buffer.clear();
        let written = self.stream.write_all(&request.bytes).await;
        if let Err(error) = written {
            return match self.answer().await {
                Ok(answer) => bail!("{error}; answered {}: {}", answer.status, answer.text()),
                Err(_) => Err(error).context("nothing was answered"),
            };
        }
        self.answer().await
    }

    async fn answer(&mut self) -> Result<Answer> {
        let head = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await?;
        };
        let text = String::from_utf8_lossy(&self.buffer[..head]).into_owned();
        let status = text
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .context("no HTTP status")?;
        let mut answer = Answer { status, head: text, body: Vec::new(), began: Instant::now() };
        let empty = answer.header("content-length") == Some("0");
        while self.buffer.len() == head && !empty {
            self.more().await?;
            answer.began = Instant::now();
        }
        if let Some(length) = answer.header("content-length") {
            let end = head + length.parse::<usize>().context("content-length")?;
            while self.buffer.len() < end {
                self.more().await?;
            }
            answer.body = self.buffer[head..end].to_vec();
        } else if answer.header("transfer-encoding") == Some("chunked") {
            while !self.buffer[head..].ends_with(b"0\r\n\r\n") {
                self.more().await?;
            }
            answer.body = self.buffer[head..].to_vec();
        } else {
            bail!("an answer without a length");
        }
        Ok(answer)
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

/// One request on a connection of its own.
///
/// # Errors
/// As [`Connection::open`] and [`Connection::ask`].
pub async fn once(request: &Request) -> Result<Answer> {
    Connection::open(request.address).await?.ask(request).await
}

/// What one run or several gave.
#[derive(Default)]
pub struct Sample {
    /// Nanoseconds, unordered.
    latencies: Vec<u64>,
    /// Requests per second of each run.
    rates: Vec<f64>,
}

impl Sample {
    /// Takes in one time.
    pub fn push(&mut self, took: Duration) {
        self.latencies.push(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Takes in the rate of a run, per second.
    pub fn push_rate(&mut self, rate: f64) {
        self.rates.push(rate);
    }

    /// How many times were taken in.
    #[must_use]
    pub fn count(&self) -> usize {
        self.latencies.len()
    }

    /// Takes in another run.
    pub fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.rates.extend(other.rates);
    }

    /// A quantile of the latencies.
    pub fn quantile(&mut self, part: f64) -> Duration {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index of a list that fits into memory"
        )]
        let at = ((self.latencies.len().saturating_sub(1)) as f64 * part) as usize;
        if self.latencies.is_empty() {
            return Duration::ZERO;
        }
        let (_, value, _) = self.latencies.select_nth_unstable(at);
        Duration::from_nanos(*value)
    }

    /// The median of the runs' rates.
    pub fn rate(&mut self) -> f64 {
        self.rates.sort_by(f64::total_cmp);
        self.rates.get(self.rates.len() / 2).copied().unwrap_or(0.0)
    }
}

/// Loads an address for `length` after a warm-up that is not counted, with each of the requests in turn; every
/// connection begins with another one.
///
/// # Errors
/// Any answer but 200, or none.
pub async fn run(
    requests: &[Request],
    until: Until,
    connections: usize,
    length: Duration,
) -> Result<Sample> {
    let begins = Instant::now() + WARM_UP;
    let ends = begins + length;
    let mut workers = JoinSet::new();
    for nth in 0..connections {
        let from = nth * requests.len() / connections;
        let mut requests = requests.to_vec();
        requests.rotate_left(from);
        workers.spawn(async move {
            let address = requests.first().context("nothing to ask")?.address;
            let mut connection = Connection::open(address).await?;
            let mut latencies = Vec::with_capacity(100_000);
            for at in (0..requests.len()).cycle() {
                let request = &mut requests[at];
                request.renew();
                let asked = Instant::now();
                if asked >= ends {
                    break;
                }
                let answer = connection.ask(request).await?;
                let took = match until {
                    Until::End => asked.elapsed(),
                    Until::FirstByte => answer.began - asked,
                };
                ensure!(answer.status == 200, "{}: {}", answer.status, answer.text());
                if asked >= begins {
                    latencies.push(u64::try_from(took.as_nanos())?);
                }
            }
            anyhow::Ok(latencies)
        });
    }
    let mut sample = Sample::default();
    while let Some(done) = workers.join_next().await {
        sample.latencies.extend(done??);
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
    let requests = sample.latencies.len() as f64;
    sample.rates.push(requests / length.as_secs_f64());
    Ok(sample)
}
