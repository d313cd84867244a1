//! What speaks enough of Redis: two users, each with the keys and the channels under its prefix.

mod commands;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::broadcast,
    task::JoinSet,
};

use super::{Cast, Flaw, Flaws};
use crate::{
    Error,
    catalog::{
        DESYNC, ERASURE, EXPIRED, KEY_ESCAPE, KEY_HUNT, MISSING, NOISY_NEIGHBOUR, OBJECT_ID,
        PLATFORM_SECRET, SERVER_COMMANDS, SHARED_ENV, SWAP, TOKEN_PREFIX,
    },
    drive::redis::{frame, texts},
};

/// What can be wrong with it.
pub(super) static FLAWS: &[Flaw] = &[
    Flaw {
        name: "redis-prefix-convention",
        check: &KEY_ESCAPE,
        also: &[&KEY_HUNT, &OBJECT_ID, &SERVER_COMMANDS, &SWAP],
        what: "one user for both: that keys begin with a customer's name is a habit",
    },
    Flaw {
        name: "redis-copy-unchecked",
        check: &KEY_ESCAPE,
        also: &[],
        what: "of a command with two keys only the second one is checked",
    },
    Flaw {
        name: "redis-delete-unchecked",
        check: &KEY_ESCAPE,
        also: &[&OBJECT_ID],
        what: "reading is checked, removing is not",
    },
    Flaw {
        name: "redis-existence-open",
        check: &KEY_ESCAPE,
        also: &[],
        what: "EXISTS, TYPE, TTL and STRLEN answer for any key: they show no value",
    },
    Flaw {
        name: "redis-scan-open",
        check: &KEY_HUNT,
        also: &[],
        what: "SCAN and KEYS list every key: Redis itself holds them to no pattern",
    },
    Flaw {
        name: "redis-count-open",
        check: &KEY_HUNT,
        also: &[],
        what: "DBSIZE counts everybody's keys",
    },
    Flaw {
        name: "redis-channels-open",
        check: &KEY_HUNT,
        also: &[],
        what: "a pattern of channels may be subscribed to, whosever they are",
    },
    Flaw {
        name: "redis-tracking-open",
        check: &KEY_HUNT,
        also: &[],
        what: "CLIENT TRACKING tells a client of every key that changes",
    },
    Flaw {
        name: "redis-monitor-open",
        check: &SERVER_COMMANDS,
        also: &[],
        what: "MONITOR was opened for a debugging session",
    },
    Flaw {
        name: "redis-slowlog-open",
        check: &SERVER_COMMANDS,
        also: &[],
        what: "SLOWLOG and CLIENT LIST are allowed to users",
    },
    Flaw {
        name: "redis-desync",
        check: &DESYNC,
        also: &[&SHARED_ENV],
        what: "all reads share a connection, and a cancelled one leaves its reply on it",
    },
    Flaw {
        name: "redis-one-lane",
        check: &NOISY_NEIGHBOUR,
        also: &[],
        what: "one worker for everybody, who looks through all that waits each time",
    },
    Flaw {
        name: "redis-stale-replica",
        check: &ERASURE,
        also: &[],
        what: "reads come from a copy that is told of writes, and not of removals",
    },
    Flaw {
        name: "redis-no-password",
        check: &MISSING,
        also: &[&EXPIRED, &TOKEN_PREFIX],
        what: "the default user has every right and no password",
    },
    Flaw {
        name: "redis-password-cut",
        check: &TOKEN_PREFIX,
        also: &[],
        what: "passwords are compared by their first 20 letters",
    },
    Flaw {
        name: "redis-old-password",
        check: &EXPIRED,
        also: &[&PLATFORM_SECRET],
        what: "a new password was added, and the old one never taken away",
    },
];

/// What the two of them are called, and what their keys begin with.
const USERS: [(&str, &str); 2] = [("acme", "acme:"), ("globex", "globex:")];

/// Starts it, and says how a target file names it.
pub(super) async fn start(
    cast: &Arc<Cast>,
    flaws: &Arc<Flaws>,
    tasks: &mut JoinSet<()>,
) -> Result<String, Error> {
    let failed = |why: std::io::Error| Error::Demo(why.to_string());
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    let server = Arc::new(Server {
        cast: Arc::clone(cast),
        flaws: Arc::clone(flaws),
        held: Mutex::default(),
        pipe: tokio::sync::Mutex::default(),
        lane: tokio::sync::Mutex::default(),
        waiting: AtomicUsize::new(0),
        clients: AtomicU64::new(0),
        news: broadcast::channel(256).0,
    });
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                Ok((stream, _)) = listener.accept() => {
                    connections.spawn(serve(Arc::clone(&server), stream));
                }
                Some(_) = connections.join_next() => {}
            }
        }
    });
    let [(a, of_a), (b, of_b)] = USERS;
    Ok(format!(
        "[target.redis]\nkind = \"redis\"\nurl = \"redis://127.0.0.1:{port}\"\n\
         a = {{ token = \"{}\", expired = \"{}\", user = \"{a}\", prefix = \"{of_a}\" }}\n\
         b = {{ token = \"{}\", user = \"{b}\", prefix = \"{of_b}\" }}\n\n",
        cast.a, cast.expired, cast.b
    ))
}

/// Something that happened, for whoever listens.
#[derive(Clone, Debug)]
enum News {
    /// Somebody's command, in words.
    Command(String),
    /// A key was written.
    Changed(String),
    /// A message on a channel.
    Message(String, String),
}

/// What a connection wants to be told.
#[derive(Debug, PartialEq, Eq)]
enum Ear {
    Monitor,
    Tracking(String),
    Pattern(String),
    Channel(String),
}

/// A connection.
struct Client {
    id: u64,
    /// Which of [`USERS`]; none before `AUTH`.
    user: Option<usize>,
    ears: Vec<Ear>,
}

/// Keys, and what is told about clients.
#[derive(Default)]
struct Held {
    keys: BTreeMap<String, Vec<u8>>,
    /// What was written once: the copy that is never told of removals.
    replica: BTreeMap<String, Vec<u8>>,
    slowlog: VecDeque<String>,
    names: BTreeMap<u64, (Option<usize>, String)>,
    /// Names of channels that somebody listens to.
    channels: Vec<(u64, String)>,
}

/// All of it.
struct Server {
    cast: Arc<Cast>,
    flaws: Arc<Flaws>,
    held: Mutex<Held>,
    /// The connection that all reads share, with the replies that wait on it.
    pipe: tokio::sync::Mutex<VecDeque<(Instant, Vec<u8>)>>,
    lane: tokio::sync::Mutex<()>,
    waiting: AtomicUsize,
    clients: AtomicU64,
    news: broadcast::Sender<News>,
}

async fn serve(server: Arc<Server>, mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let id = server.clients.fetch_add(1, Ordering::Relaxed);
    let user = server.flaws.has("redis-no-password").then_some(0);
    let mut client = Client { id, user, ears: Vec::new() };
    let mut news = server.news.subscribe();
    let mut buffer = BytesMut::new();
    loop {
        while let Ok(Some(end)) = frame(&buffer, 0) {
            let packet = buffer.split_to(end);
            let words = redis::parse_redis_value(&packet).map(|value| texts(&value));
            let words = words.unwrap_or_default();
            let Some(reply) = server.reply(&mut client, &words, &stream).await else {
                server.leave(id);
                return;
            };
            if stream.write_all(&reply).await.is_err() {
                server.leave(id);
                return;
            }
        }
        let said = tokio::select! {
            read = stream.read_buf(&mut buffer) => match read {
                Ok(0) | Err(_) => {
                    server.leave(id);
                    return;
                }
                Ok(_) => continue,
            },
            Ok(news) = news.recv(), if !client.ears.is_empty() => client.told(&news),
        };
        if let Some(said) = said {
            let _ = stream.write_all(&said).await;
        }
    }
}

impl Client {
    /// What this connection is told of it.
    fn told(&self, news: &News) -> Option<Vec<u8>> {
        self.ears.iter().find_map(|ear| match (ear, news) {
            (Ear::Monitor, News::Command(line)) => Some(format!("+{line}\r\n").into_bytes()),
            (Ear::Tracking(prefix), News::Changed(key)) if key.starts_with(prefix.as_str()) => {
                let length = key.len();
                let push = format!(">2\r\n$10\r\ninvalidate\r\n*1\r\n${length}\r\n{key}\r\n");
                Some(push.into_bytes())
            }
            (Ear::Pattern(pattern), News::Message(channel, text)) if matches(pattern, channel) => {
                Some(array(&["pmessage", pattern, channel, text]))
            }
            (Ear::Channel(own), News::Message(channel, text)) if own == channel => {
                Some(array(&["message", channel, text]))
            }
            _ => None,
        })
    }
}

impl Server {
    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn leave(&self, id: u64) {
        let mut held = self.held();
        held.names.remove(&id);
        held.channels.retain(|(own, _)| *own != id);
    }

    /// The reply to a command; none if whoever asked is gone.
    async fn reply(
        &self,
        client: &mut Client,
        words: &[String],
        stream: &TcpStream,
    ) -> Option<Vec<u8>> {
        if self.flaws.has("redis-one-lane") {
            let waiting = self.waiting.fetch_add(1, Ordering::Relaxed) + 1;
            let _turn = self.lane.lock().await;
            let looked_through = Duration::from_micros(200) * (waiting * waiting) as u32;
            tokio::time::sleep(looked_through).await;
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        let reply = self.carry_out(client, words);
        let reading = words.first().is_some_and(|word| word.eq_ignore_ascii_case("GET"));
        match reading && self.flaws.has("redis-desync") {
            true => self.over_the_pipe(reply, stream).await,
            false => Some(reply),
        }
    }

    /// The first reply that waits is taken for one's own. Whoever is cancelled takes none.
    async fn over_the_pipe(&self, reply: Vec<u8>, stream: &TcpStream) -> Option<Vec<u8>> {
        let mut pipe = self.pipe.lock().await;
        // Made anew after a pause, as pools do.
        pipe.retain(|(since, _)| since.elapsed() < Duration::from_millis(25));
        pipe.push_back((Instant::now(), reply));
        let mut byte = [0];
        tokio::select! {
            Ok(0) = stream.peek(&mut byte) => return None,
            () = tokio::time::sleep(Duration::from_millis(3)) => {}
        }
        pipe.pop_front().map(|(_, reply)| reply)
    }
}

/// An array of texts.
fn array(words: &[&str]) -> Vec<u8> {
    let mut packed = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        packed.extend(bulk(word.as_bytes()));
    }
    packed
}

fn bulk(bytes: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// Whether a name is of a pattern with stars.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(tail) = name.strip_prefix(head) else { return false };
    let mut starts = tail.char_indices().map(|(at, _)| at).chain([tail.len()]);
    starts.any(|at| matches(rest, &tail[at..]))
}

#[cfg(test)]
mod tests;
