//! Redis, over connections of its own.
//!
//! Commands are packed by the `redis` crate; what comes back is kept byte for byte, so that a
//! canary is found in any kind of reply, also in one that was meant for somebody else.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use ids::BoxFuture;
use redis::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    canary::Side,
    catalog::Surface,
    lab::{Caller, Lab},
    place::{Place, Planted, Twist, moment},
    target::Tenant,
    verdict::Halt,
    wire::{Answer, Exchange, Planned},
};

/// The longest reply that is read.
const MOST: usize = 8 * 1024 * 1024;
/// So long is waited for a connection or a reply.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is left in a Redis goes away by itself after so many seconds, should the run be killed.
const LIFETIME: &str = "900";
/// Connections of each tenant that wait for the next command.
const IDLE: usize = 16;

/// One Redis, as its tenants reach it.
pub(crate) struct Redis {
    address: String,
    db: Option<u32>,
    tenants: [Tenant; 2],
    idle: Mutex<Vec<(Side, TcpStream)>>,
}

impl Redis {
    /// What the target file says of it.
    pub(crate) fn open(lab: &Lab) -> Result<Self, Halt> {
        let url = &lab.target.url;
        let lacking = |why: &str| Halt::Lacking(format!("{url}: {why}"));
        let parsed = reqwest::Url::parse(url).map_err(|why| lacking(&why.to_string()))?;
        match parsed.scheme() {
            "redis" | "valkey" => {}
            "rediss" => {
                return Err(lacking("TLS is not spoken here: put stunnel or socat before it"));
            }
            _ => return Err(lacking("begins with redis://")),
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(lacking("credentials stand in [tenant.a] and [tenant.b], not in the url"));
        }
        let host = parsed.host_str().ok_or_else(|| lacking("names no host"))?;
        let db = match parsed.path().trim_matches('/') {
            "" => None,
            number => Some(number.parse().map_err(|_| lacking("the path is a database's number"))?),
        };
        let tenant = |side| lab.target.tenants.get(&side).cloned().unwrap_or_default();
        Ok(Self {
            address: format!("{host}:{}", parsed.port().unwrap_or(6379)),
            db,
            tenants: [tenant(Side::A), tenant(Side::B)],
            idle: Mutex::default(),
        })
    }

    /// What a tenant's keys begin with.
    pub(crate) fn prefix(&self, side: Side) -> &str {
        self.tenants[side as usize].prefix.as_deref().unwrap_or_default()
    }

    /// A key of this run's under a tenant's prefix.
    pub(crate) fn key(&self, side: Side, name: &str) -> String {
        format!("{}bulkhead-probe:{name}", self.prefix(side))
    }

    /// One command on whichever connection of the caller's is free.
    pub(crate) async fn ask(
        &self,
        lab: &Lab,
        by: &Caller,
        command: &[&str],
    ) -> Result<Exchange, Halt> {
        let own = by.side.filter(|side| is_tenant(lab, by, *side));
        let kept = own.and_then(|side| self.take(side));
        if let Some(stream) = kept {
            let mut session = Session::over(by, stream);
            let exchange = session.ask(lab, command).await?;
            // A server may close what is idle; then the command did not run.
            if exchange.answer().is_some() || session.heard {
                self.keep(own, session);
                return Ok(exchange);
            }
        }
        match self.session(lab, by).await? {
            Ok(mut session) => {
                let exchange = session.ask(lab, command).await?;
                self.keep(own, session);
                Ok(exchange)
            }
            Err(mut refused) => {
                refused.line = format!("{} · {}", refused.line, line(command));
                Ok(refused)
            }
        }
    }

    /// One command whose reply is never read: after so long the connection is closed.
    async fn leave(
        &self,
        lab: &Lab,
        by: &Caller,
        (command, after): (&[&str], Duration),
    ) -> Result<Exchange, Halt> {
        let kept = by.side.filter(|side| is_tenant(lab, by, *side)).and_then(|own| self.take(own));
        let mut session = match kept {
            Some(stream) => Session::over(by, stream),
            None => match self.session(lab, by).await? {
                Ok(session) => session,
                Err(refused) => return Ok(refused),
            },
        };
        let line = line(command);
        let planned = Planned { who: by.label.clone(), line: line.clone(), body: None };
        if lab.wire.charge(planned, 0.0)?
            && let Some(stream) = &mut session.stream
        {
            let begun = Instant::now();
            // What cannot be sent any more is hung up, too.
            let _sent = stream.write_all(&packed(command)).await;
            moment(begun, after).await;
        }
        Ok(blank(&by.label, line, Err("hung up".into())))
    }

    /// A connection of the caller's own, or how it was refused.
    pub(crate) async fn session(
        &self,
        lab: &Lab,
        by: &Caller,
    ) -> Result<Result<Session, Exchange>, Halt> {
        let mut session = Session { who: by.label.clone(), stream: None, heard: false };
        if !lab.options.dry_run {
            let connecting = tokio::time::timeout(PATIENCE, TcpStream::connect(&self.address));
            let why = match connecting.await {
                Ok(Ok(stream)) => {
                    // A command is one packet; waiting for more would only blur the races.
                    let _ = stream.set_nodelay(true);
                    session.stream = Some(stream);
                    None
                }
                Ok(Err(why)) => Some(why.to_string()),
                Err(_) => Some("no connection in 10 s".to_owned()),
            };
            if let Some(why) = why {
                let line = format!("connect {}", self.address);
                return Ok(Err(blank(&by.label, line, Err(why))));
            }
        }
        let user = by.side.and_then(|side| self.tenants[side as usize].user.as_deref());
        if let Some(credential) = &by.credential {
            let mut command = vec!["AUTH"];
            command.extend(user);
            let shown = format!("{} …", line(&command));
            command.push(credential.expose());
            let greeted = session.exchange(lab, &command, shown).await?;
            if !greeted.accepted() {
                return Ok(Err(greeted));
            }
        }
        if let Some(db) = self.db {
            let chosen = session.ask(lab, &["SELECT", &db.to_string()]).await?;
            if !chosen.accepted() {
                return Ok(Err(chosen));
            }
        }
        Ok(Ok(session))
    }

    fn take(&self, side: Side) -> Option<TcpStream> {
        let mut idle = self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let at = idle.iter().position(|(own, _)| *own == side)?;
        Some(idle.swap_remove(at).1)
    }

    fn keep(&self, own: Option<Side>, session: Session) {
        let (Some(side), Some(stream)) = (own, session.stream) else { return };
        let mut idle = self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if idle.iter().filter(|(own, _)| *own == side).count() < IDLE {
            idle.push((side, stream));
        }
    }
}

/// Whether this is the tenant itself, with nothing done to its credential.
fn is_tenant(lab: &Lab, by: &Caller, side: Side) -> bool {
    let own = lab.caller(side);
    let secret = |caller: &Caller| caller.credential.as_ref().map(|held| held.expose().to_owned());
    own.label == by.label && secret(own) == secret(by)
}

/// One connection.
pub(crate) struct Session {
    who: String,
    /// None in a dry run, and after it broke.
    stream: Option<TcpStream>,
    /// Whether anything came back on it.
    heard: bool,
}

impl Session {
    fn over(by: &Caller, stream: TcpStream) -> Self {
        Self { who: by.label.clone(), stream: Some(stream), heard: false }
    }

    /// One command and its reply.
    pub(crate) async fn ask(&mut self, lab: &Lab, command: &[&str]) -> Result<Exchange, Halt> {
        self.exchange(lab, command, line(command)).await
    }

    async fn exchange(
        &mut self,
        lab: &Lab,
        command: &[&str],
        line: String,
    ) -> Result<Exchange, Halt> {
        let planned = Planned { who: self.who.clone(), line: line.clone(), body: None };
        if !lab.wire.charge(planned, 0.0)? {
            let answer = Answer { status: 200, body: example(command), ..Answer::default() };
            return Ok(blank(&self.who, line, Ok(answer)));
        }
        let begun = Instant::now();
        let replied = match self.stream.take() {
            None => Err("the connection is closed".to_owned()),
            Some(mut stream) => {
                let asking = round_trip(&mut stream, command, &mut self.heard);
                let reply = tokio::time::timeout(PATIENCE, asking)
                    .await
                    .unwrap_or_else(|_| Err("no reply in 10 s".to_owned()));
                // What broke, or what is late, is never used again.
                self.stream = reply.is_ok().then_some(stream);
                reply
            }
        };
        let outcome = replied.map(|body| {
            let whole = begun.elapsed();
            let status = status(&body);
            Answer { status, body, first_byte: whole, whole, ..Answer::default() }
        });
        Ok(blank(&self.who, line, outcome))
    }

    /// What comes without being asked for, until it is enough or the time is over. Costs nothing:
    /// nothing is sent.
    pub(crate) async fn listen(
        &mut self,
        line: &str,
        most: Duration,
        enough: impl Fn(&[u8]) -> bool,
    ) -> Exchange {
        let mut heard = BytesMut::new();
        if let Some(stream) = &mut self.stream {
            let listening = async {
                while heard.len() < MOST && !enough(&heard) {
                    match stream.read_buf(&mut heard).await {
                        Ok(0) | Err(_) => break,
                        Ok(_) => {}
                    }
                }
            };
            let _ = tokio::time::timeout(most, listening).await;
        }
        let answer = Answer { status: 200, body: heard.freeze(), ..Answer::default() };
        blank(&self.who, line.to_owned(), Ok(answer))
    }
}

fn blank(who: &str, line: String, outcome: Result<Answer, String>) -> Exchange {
    Exchange { who: who.to_owned(), line, headers: Vec::new(), body: None, outcome }
}

/// A command as one would type it.
fn line(command: &[&str]) -> String {
    let word = |word: &&str| match word.is_empty() || word.contains([' ', '"']) {
        true => format!("'{word}'"),
        false => (*word).to_owned(),
    };
    command.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn packed(command: &[&str]) -> Vec<u8> {
    let mut packed = redis::Cmd::new();
    for word in command {
        packed.arg(*word);
    }
    packed.get_packed_command()
}

async fn round_trip(
    stream: &mut TcpStream,
    command: &[&str],
    heard: &mut bool,
) -> Result<Bytes, String> {
    let why = |why: std::io::Error| why.to_string();
    stream.write_all(&packed(command)).await.map_err(why)?;
    let mut reply = BytesMut::new();
    loop {
        match frame(&reply, 0)? {
            // More than one reply is kept, too: it is what a connection out of step looks like.
            Some(_) => return Ok(reply.freeze()),
            None if reply.len() > MOST => return Err("the reply is too long".into()),
            None => {}
        }
        if stream.read_buf(&mut reply).await.map_err(why)? == 0 {
            return Err("the connection was closed".into());
        }
        *heard = true;
    }
}

/// Where the first reply ends, if it is all there. RESP2 and RESP3.
pub(crate) fn frame(bytes: &[u8], depth: usize) -> Result<Option<usize>, String> {
    if depth > 32 {
        return Err("a reply nested too deep".into());
    }
    let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n").map(|at| at + 2) else {
        return Ok(None);
    };
    let number = || {
        let text = std::str::from_utf8(&bytes[1..end - 2]).unwrap_or_default();
        text.parse::<i64>().map_err(|_| "what came back is not RESP".to_owned())
    };
    let parts = match bytes[0] {
        b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => return Ok(Some(end)),
        b'$' | b'!' | b'=' => {
            let Ok(length) = usize::try_from(number()?) else { return Ok(Some(end)) };
            let whole = end.saturating_add(length).saturating_add(2);
            return Ok((bytes.len() >= whole).then_some(whole));
        }
        b'*' | b'~' | b'>' => number()?,
        b'%' | b'|' => number()?.saturating_mul(2),
        _ => return Err("what came back is not RESP".into()),
    };
    let mut at = end;
    for _ in 0..parts.max(0) {
        match frame(&bytes[at..], depth + 1)? {
            Some(length) => at += length,
            None => return Ok(None),
        }
    }
    Ok(Some(at))
}

/// As HTTP would say it, so that checks read one language.
fn status(reply: &[u8]) -> u16 {
    let nil = [&b"$-1\r\n"[..], b"*-1\r\n", b"_\r\n"];
    if nil.iter().any(|nil| reply.starts_with(nil)) {
        return 404;
    }
    let Some(error) = reply.strip_prefix(b"-") else { return 200 };
    let code = error.split(|byte| b" \r".contains(byte)).next().unwrap_or_default();
    match code {
        b"NOAUTH" | b"WRONGPASS" => 401,
        b"NOPERM" => 403,
        b"LOADING" | b"BUSY" | b"OOM" | b"MASTERDOWN" | b"CLUSTERDOWN" | b"TRYAGAIN" => 503,
        _ => 400,
    }
}

/// The reply as a value; nil if it is none.
pub(crate) fn value(exchange: &Exchange) -> Value {
    let body = exchange.answer().map(|answer| answer.body.clone()).unwrap_or_default();
    redis::parse_redis_value(&body).unwrap_or(Value::Nil)
}

/// A number of a reply.
pub(crate) fn integer(exchange: &Exchange) -> Option<i64> {
    match value(exchange) {
        Value::Int(number) => Some(number),
        _ => None,
    }
}

/// Every text in a reply, in its order.
pub(crate) fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::BulkString(bytes) => vec![String::from_utf8_lossy(bytes).into_owned()],
        Value::SimpleString(text) => vec![text.clone()],
        Value::VerbatimString { text, .. } => vec![text.clone()],
        Value::Int(number) => vec![number.to_string()],
        Value::Array(each) | Value::Set(each) => each.iter().flat_map(texts).collect(),
        Value::Push { data, .. } => data.iter().flat_map(texts).collect(),
        Value::Map(each) => {
            each.iter().flat_map(|(key, value)| [texts(key), texts(value)].concat()).collect()
        }
        _ => Vec::new(),
    }
}

/// What a dry run takes for the reply.
fn example(command: &[&str]) -> Bytes {
    Bytes::from_static(match command.first().copied().unwrap_or_default() {
        "SCAN" => b"*2\r\n$1\r\n0\r\n*0\r\n",
        "DBSIZE" | "DEL" | "EXISTS" | "PUBLISH" | "RPUSH" => b":1\r\n",
        _ => b"+OK\r\n",
    })
}

/// Keys with values: what an application keeps in Redis.
pub(crate) struct Keys<'a>(pub(crate) &'a Redis);

impl Place for Keys<'_> {
    fn name(&self) -> &str {
        "keys"
    }

    fn surface(&self) -> Surface {
        Surface::Cache
    }

    fn remembers(&self) -> bool {
        true
    }

    fn takes_headers(&self) -> bool {
        false
    }

    fn plant<'a>(
        &'a self,
        lab: &'a Lab,
        by: &'a Caller,
        text: &'a str,
    ) -> BoxFuture<'a, Result<Planted, Halt>> {
        Box::pin(async move {
            let side = by.side.unwrap_or(Side::A);
            // The name is a canary, too: whoever is shown it was shown something.
            let key = self.0.key(side, &lab.canary(side, "a key's name").text);
            let exchange = self.0.ask(lab, by, &["SET", &key, text, "EX", LIFETIME]).await?;
            if exchange.accepted() {
                let handles = vec![("key".to_owned(), key)];
                return Ok(Planted { text: text.to_owned(), handles, exchange });
            }
            let advice = match (exchange.status(), self.0.prefix(side)) {
                (403, "") => {
                    format!(": say what {0}'s keys begin with: prefix = \"{0}:\"", side.name())
                }
                _ => String::new(),
            };
            Err(Halt::Failed(format!(
                "{} cannot SET a key ({}){advice}",
                by.label,
                told(&exchange)
            )))
        })
    }

    fn read<'a>(
        &'a self,
        lab: &'a Lab,
        by: &'a Caller,
        planted: &'a Planted,
        twist: &'a Twist,
    ) -> BoxFuture<'a, Result<Exchange, Halt>> {
        Box::pin(async move {
            let command = ["GET", key(planted)];
            match twist.hang_up {
                None => self.0.ask(lab, by, &command).await,
                Some(after) => self.0.leave(lab, by, (&command, after)).await,
            }
        })
    }

    fn remove<'a>(
        &'a self,
        lab: &'a Lab,
        by: &'a Caller,
        planted: &'a Planted,
    ) -> BoxFuture<'a, Result<Option<Exchange>, Halt>> {
        Box::pin(async move { self.0.ask(lab, by, &["DEL", key(planted)]).await.map(Some) })
    }
}

/// The key that was planted.
pub(crate) fn key(planted: &Planted) -> &str {
    planted.handles.first().map(|(_, key)| key.as_str()).unwrap_or_default()
}

/// What came of a command, in a few words: an error's first words, never a value.
pub(crate) fn told(exchange: &Exchange) -> String {
    match &exchange.outcome {
        Err(why) => why.clone(),
        Ok(answer) => match answer.body.strip_prefix(b"-") {
            Some(error) => {
                let text = String::from_utf8_lossy(error);
                text.split("\r\n").next().unwrap_or_default().chars().take(60).collect()
            }
            None => "a reply".into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_whole_when_its_last_byte_is_there() {
        let replies: [&[u8]; 8] = [
            b"+OK\r\n",
            b"$5\r\nhello\r\n",
            b"$-1\r\n",
            b"*2\r\n$1\r\n0\r\n*1\r\n$3\r\nkey\r\n",
            b"%1\r\n+a\r\n:1\r\n",
            b">2\r\n+invalidate\r\n*1\r\n$1\r\nk\r\n",
            b"*-1\r\n",
            b"$4\r\n\r\n\r\n\r\n",
        ];
        for reply in replies {
            assert_eq!(frame(reply, 0), Ok(Some(reply.len())), "{reply:?}");
            for end in 0..reply.len() {
                assert_eq!(frame(&reply[..end], 0), Ok(None), "{reply:?} to {end}");
            }
        }
        assert!(frame(b"HTTP/1.1 400 Bad Request\r\n", 0).is_err());
        assert!(frame("*1\r\n".repeat(40).as_bytes(), 0).is_err());
    }

    #[test]
    fn replies_speak_as_http_does() {
        let said: [(&[u8], u16); 7] = [
            (b"+OK\r\n", 200),
            (b"$-1\r\n", 404),
            (b"-NOPERM No permissions to access a key\r\n", 403),
            (b"-NOAUTH Authentication required.\r\n", 401),
            (b"-WRONGPASS invalid\r\n", 401),
            (b"-LOADING\r\n", 503),
            (b"-ERR unknown command\r\n", 400),
        ];
        for (reply, code) in said {
            assert_eq!(status(reply), code, "{}", String::from_utf8_lossy(reply));
        }
    }
}
