//! What the commands do, and who may.

use super::{Client, Ear, Held, News, Server, USERS, array, bulk, matches};

const OK: &[u8] = b"+OK\r\n";
const NIL: &[u8] = b"$-1\r\n";
const NO_KEY: &[u8] = b"-NOPERM No permissions to access a key\r\n";
const NO_COMMAND: &[u8] = b"-NOPERM User has no permissions to run this command\r\n";
const NO_CHANNEL: &[u8] = b"-NOPERM No permissions to access a channel\r\n";
const NO_NAME: &[u8] = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n";
const NOBODY: &[u8] = b"-NOAUTH Authentication required.\r\n";

fn number(number: usize) -> Vec<u8> {
    format!(":{number}\r\n").into_bytes()
}

impl Server {
    /// One command, by whoever may.
    pub(super) fn carry_out(&self, client: &mut Client, words: &[String]) -> Vec<u8> {
        let Some((verb, rest)) = words.split_first() else { return b"-ERR empty\r\n".to_vec() };
        let verb = verb.to_ascii_uppercase();
        let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
        if verb == "AUTH" {
            return self.enter(client, &rest);
        }
        let Some(user) = client.user else { return NOBODY.to_vec() };
        self.note(user, &verb, &rest);
        match (verb.as_str(), &rest[..]) {
            ("PING", _) => b"+PONG\r\n".to_vec(),
            ("SELECT", ["0"]) => OK.to_vec(),
            ("HELLO", ["3"]) => b"%1\r\n$5\r\nproto\r\n:3\r\n".to_vec(),
            ("GET" | "GETRANGE" | "GETEX" | "MGET", [..]) => self.reading(user, &verb, &rest),
            ("EXISTS" | "TYPE" | "STRLEN" | "TTL" | "TOUCH", [key]) => {
                self.existence(user, &verb, key)
            }
            ("SET" | "APPEND" | "SETRANGE" | "GETSET" | "EXPIRE", [key, ..]) => {
                self.writing(user, &verb, key, &rest)
            }
            ("DEL" | "UNLINK" | "GETDEL", [key, ..]) => self.removing(user, &verb, key),
            ("COPY" | "RENAME", [from, to, ..]) => self.moving(user, &verb, from, to),
            ("SCAN" | "KEYS" | "RANDOMKEY" | "DBSIZE", _) => self.listing(user, &verb, &rest),
            ("SUBSCRIBE" | "PSUBSCRIBE" | "PUBLISH" | "PUBSUB", [..]) => {
                self.channels(client, user, &verb, &rest)
            }
            ("MONITOR", _) if self.shows("redis-monitor-open") => {
                client.ears.push(Ear::Monitor);
                OK.to_vec()
            }
            ("SLOWLOG", ["GET", ..]) if self.shows("redis-slowlog-open") => {
                let held = self.held();
                let lines: Vec<&str> = held.slowlog.iter().map(String::as_str).collect();
                array(&lines)
            }
            ("CLIENT", _) => self.client(client, user, &rest),
            (
                "EVAL" | "EVAL_RO" | "CONFIG" | "DEBUG" | "ACL" | "INFO" | "SLOWLOG" | "MONITOR",
                _,
            ) => NO_COMMAND.to_vec(),
            _ => format!("-ERR unknown command '{}'\r\n", verb.to_ascii_lowercase()).into_bytes(),
        }
    }

    fn shows(&self, flaw: &str) -> bool {
        self.flaws.has(flaw) || self.flaws.has("redis-prefix-convention")
    }

    /// `AUTH password`, `AUTH user password`.
    fn enter(&self, client: &mut Client, words: &[&str]) -> Vec<u8> {
        let cut = |word: &str| match self.flaws.has("redis-password-cut") {
            true => word.chars().take(20).collect::<String>(),
            false => word.to_owned(),
        };
        let [name, password] = words else { return NO_NAME.to_vec() };
        let user = USERS.iter().position(|(own, _)| own == name);
        let own = match user {
            Some(0) => &self.cast.a,
            Some(_) => &self.cast.b,
            None => return NO_NAME.to_vec(),
        };
        let old = self.flaws.has("redis-old-password") && *password == self.cast.expired;
        if cut(own) != cut(password) && !(old && user == Some(0)) {
            return NO_NAME.to_vec();
        }
        client.user = user;
        self.held().names.insert(client.id, (user, String::new()));
        OK.to_vec()
    }

    /// For whoever may look at what others do.
    fn note(&self, user: usize, verb: &str, rest: &[&str]) {
        let line = format!("{} {verb} {}", USERS[user].0, rest.join(" "));
        let mut held = self.held();
        held.slowlog.push_front(line.clone());
        held.slowlog.truncate(64);
        drop(held);
        let _ = self.news.send(News::Command(line));
    }

    /// Whether a key, a channel or a pattern of them is this user's.
    fn owns(&self, user: usize, name: &str) -> bool {
        name.starts_with(USERS[user].1) || self.flaws.has("redis-prefix-convention")
    }

    fn value(&self, held: &Held, key: &str) -> Option<Vec<u8>> {
        let kept = match self.flaws.has("redis-stale-replica") {
            true => &held.replica,
            false => &held.keys,
        };
        kept.get(key).cloned()
    }

    fn reading(&self, user: usize, verb: &str, rest: &[&str]) -> Vec<u8> {
        let keys = if verb == "MGET" { rest } else { &rest[..rest.len().min(1)] };
        if !keys.iter().all(|key| self.owns(user, key)) {
            return NO_KEY.to_vec();
        }
        let held = self.held();
        let one = |key: &&str| match self.value(&held, key) {
            Some(value) => bulk(&value),
            None => NIL.to_vec(),
        };
        let each: Vec<Vec<u8>> = keys.iter().map(one).collect();
        match verb {
            "MGET" => [format!("*{}\r\n", each.len()).into_bytes(), each.concat()].concat(),
            _ => each.concat(),
        }
    }

    fn existence(&self, user: usize, verb: &str, key: &str) -> Vec<u8> {
        if !self.owns(user, key) && !self.flaws.has("redis-existence-open") {
            return NO_KEY.to_vec();
        }
        let value = self.value(&self.held(), key);
        match (verb, value) {
            ("TYPE", Some(_)) => b"+string\r\n".to_vec(),
            ("TYPE", None) => b"+none\r\n".to_vec(),
            ("TTL", Some(_)) => number(900),
            ("TTL", None) => b":-2\r\n".to_vec(),
            ("STRLEN", value) => number(value.unwrap_or_default().len()),
            (_, value) => number(usize::from(value.is_some())),
        }
    }

    fn writing(&self, user: usize, verb: &str, key: &str, rest: &[&str]) -> Vec<u8> {
        if !self.owns(user, key) {
            return NO_KEY.to_vec();
        }
        let text = rest.last().copied().unwrap_or_default();
        let mut held = self.held();
        let before = held.keys.get(key).cloned();
        let mut value = before.clone().unwrap_or_default();
        match verb {
            "SET" | "GETSET" => value = rest.get(1).copied().unwrap_or_default().into(),
            "APPEND" => value.extend(text.bytes()),
            "SETRANGE" => value.splice(..text.len().min(value.len()), text.bytes()).for_each(drop),
            _ => return number(usize::from(before.is_some())),
        }
        held.replica.insert(key.to_owned(), value.clone());
        held.keys.insert(key.to_owned(), value);
        drop(held);
        let _ = self.news.send(News::Changed(key.to_owned()));
        match (verb, before) {
            ("SET", _) => OK.to_vec(),
            ("GETSET", Some(before)) => bulk(&before),
            ("GETSET", None) => NIL.to_vec(),
            _ => number(1),
        }
    }

    fn removing(&self, user: usize, verb: &str, key: &str) -> Vec<u8> {
        let unchecked = verb != "GETDEL" && self.flaws.has("redis-delete-unchecked");
        if !self.owns(user, key) && !unchecked {
            return NO_KEY.to_vec();
        }
        let removed = self.held().keys.remove(key);
        match (verb, removed) {
            ("GETDEL", Some(value)) => bulk(&value),
            ("GETDEL", None) => NIL.to_vec(),
            (_, removed) => number(usize::from(removed.is_some())),
        }
    }

    fn moving(&self, user: usize, verb: &str, from: &str, to: &str) -> Vec<u8> {
        let first = self.flaws.has("redis-copy-unchecked") || self.owns(user, from);
        if !first || !self.owns(user, to) {
            return NO_KEY.to_vec();
        }
        let mut held = self.held();
        let Some(value) = held.keys.get(from).cloned() else { return number(0) };
        held.replica.insert(to.to_owned(), value.clone());
        held.keys.insert(to.to_owned(), value);
        if verb == "RENAME" {
            held.keys.remove(from);
            return OK.to_vec();
        }
        number(1)
    }

    fn listing(&self, user: usize, verb: &str, rest: &[&str]) -> Vec<u8> {
        let all = match verb {
            "DBSIZE" => self.shows("redis-count-open"),
            _ => self.shows("redis-scan-open"),
        };
        let held = self.held();
        let mine = held.keys.keys().filter(|key| all || self.owns(user, key));
        let pattern = match verb {
            "KEYS" => rest.first(),
            _ => rest.iter().position(|word| *word == "MATCH").and_then(|at| rest.get(at + 1)),
        };
        let names: Vec<&str> = mine
            .filter(|key| pattern.is_none_or(|pattern| matches(pattern, key)))
            .map(String::as_str)
            .collect();
        match verb {
            "DBSIZE" => number(names.len()),
            "RANDOMKEY" => names.first().map_or(NIL.to_vec(), |name| bulk(name.as_bytes())),
            "KEYS" => array(&names),
            _ => [&b"*2\r\n$1\r\n0\r\n"[..], &array(&names)].concat(),
        }
    }

    fn channels(&self, client: &mut Client, user: usize, verb: &str, rest: &[&str]) -> Vec<u8> {
        let open = self.flaws.has("redis-channels-open");
        match (verb, rest) {
            ("PUBSUB", ["CHANNELS", pattern]) => {
                let held = self.held();
                let mine = held.channels.iter().map(|(_, name)| name.as_str());
                let mine = mine.filter(|name| self.owns(user, name) && matches(pattern, name));
                array(&mine.collect::<Vec<_>>())
            }
            ("PUBLISH", [channel, text]) if self.owns(user, channel) => {
                let _ = self.news.send(News::Message((*channel).into(), (*text).into()));
                number(1)
            }
            ("SUBSCRIBE" | "PSUBSCRIBE", [name]) if open || self.owns(user, name) => {
                let name = (*name).to_owned();
                self.held().channels.push((client.id, name.clone()));
                let word = verb.to_ascii_lowercase();
                let reply = [&array(&[&word, &name])[4..], b":1\r\n"].concat();
                client.ears.push(match verb {
                    "SUBSCRIBE" => Ear::Channel(name),
                    _ => Ear::Pattern(name),
                });
                [&b"*3\r\n"[..], &reply].concat()
            }
            _ => NO_CHANNEL.to_vec(),
        }
    }

    fn client(&self, client: &mut Client, user: usize, rest: &[&str]) -> Vec<u8> {
        match rest {
            ["SETNAME", name] => {
                self.held().names.insert(client.id, (Some(user), (*name).to_owned()));
                OK.to_vec()
            }
            ["LIST"] if self.shows("redis-slowlog-open") => {
                let held = self.held();
                let line = |(id, (user, name)): (&u64, &(Option<usize>, String))| {
                    let user = user.map_or("default", |user| USERS[user].0);
                    format!("id={id} user={user} name={name}\n")
                };
                bulk(held.names.iter().map(line).collect::<String>().as_bytes())
            }
            ["TRACKING", "ON", "BCAST", "PREFIX", prefix]
                if self.owns(user, prefix) || self.shows("redis-tracking-open") =>
            {
                client.ears.push(Ear::Tracking((*prefix).to_owned()));
                OK.to_vec()
            }
            _ => NO_COMMAND.to_vec(),
        }
    }
}
