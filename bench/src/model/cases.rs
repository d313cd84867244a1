//! What is measured: groups of cases that get the same load, in turns.

use std::{net::SocketAddr, slice, time::Duration};

use anyhow::{Context, Result, ensure};
use bench::load::{self, Chat, Request, Sample, Until};
use tokio::runtime::Runtime;

use crate::{
    Arguments,
    gateways::Gateway,
    report::{CACHE_HIT, CACHE_OFF, DIRECT, PROXY, Row, SEMANTIC_HIT},
};

/// Bytes of an ordinary prompt, and of a long one.
pub(crate) const PROMPT: usize = 2_048;
const LONG: usize = 100 * 1_024;

/// Cases under the same load.
pub(crate) struct Group {
    pub(crate) name: &'static str,
    until: Until,
    cases: Vec<Case>,
}

struct Case {
    name: &'static str,
    request: Request,
    connections: &'static [usize],
    /// What `x-bulkhead-cache` has to say.
    cache: Option<&'static str>,
}

pub(crate) const WHOLE: &str = "2 KB prompt";
pub(crate) const LONG_PROMPT: &str = "100 KB prompt";
pub(crate) const STREAM: &str = "2 KB prompt, stream, to the first byte";

const ALL: &[usize] = &[1, 16, 64];
const FEW: &[usize] = &[1, 16];

/// Where everything listens.
pub(crate) struct Places<'a> {
    pub(crate) upstream: SocketAddr,
    pub(crate) proxy: SocketAddr,
    pub(crate) ours: SocketAddr,
    pub(crate) token: &'a str,
    pub(crate) gateways: &'a [Gateway],
}

impl Places<'_> {
    /// Every group.
    pub(crate) fn groups(&self) -> Vec<Group> {
        let chat = Chat { model: "plain", prompt: PROMPT, stream: false, new: false, headers: "" };
        let long = Chat { prompt: LONG, ..chat };
        let stream = Chat { stream: true, ..chat };
        let cached = |chat: Chat<'static>| Chat { model: "cached", ..chat };
        let case = |name, address, chat: &Chat<'_>, connections, cache| Case {
            name,
            request: Request::chat(address, self.token, chat),
            connections,
            cache,
        };
        let of = |chat: &Chat<'static>, connections| {
            vec![
                case(DIRECT, self.upstream, chat, connections, None),
                case(PROXY, self.proxy, chat, connections, None),
                case(CACHE_OFF, self.ours, chat, connections, Some("bypass")),
                case(CACHE_HIT, self.ours, &cached(*chat), connections, Some("hit")),
            ]
        };
        let mut whole = of(&chat, ALL);
        let semantic = Chat { model: "semantic", new: true, ..chat };
        whole.push(case(SEMANTIC_HIT, self.ours, &semantic, FEW, Some("semantic")));
        for gateway in self.gateways {
            let headers = gateway.headers(self.upstream);
            let chat = Chat { headers: &headers, ..chat };
            whole.push(case(gateway.name, gateway.address, &chat, FEW, None));
        }
        vec![
            Group { name: WHOLE, until: Until::End, cases: whole },
            Group { name: LONG_PROMPT, until: Until::End, cases: of(&long, FEW) },
            Group { name: STREAM, until: Until::FirstByte, cases: of(&stream, FEW) },
        ]
    }
}

impl Group {
    /// Asks each once or twice: the check that it answers, and what fills the caches.
    pub(crate) fn check(&self, runtime: &Runtime) -> Result<()> {
        for Case { name, request, cache, .. } in &self.cases {
            let mut request = request.clone();
            let mut ask = || {
                request.renew();
                runtime.block_on(load::once(&request))
            };
            let mut answer = ask().with_context(|| format!("{name} does not answer"))?;
            ensure!(answer.status == 200, "{name}: {}", answer.text());
            // What was just answered is kept in the background.
            for _ in 0..50 {
                if answer.header("x-bulkhead-cache") == *cache {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
                answer = ask()?;
            }
            let said = answer.header("x-bulkhead-cache");
            ensure!(said == *cache, "{name}: x-bulkhead-cache is {said:?}, not {cache:?}");
        }
        Ok(())
    }

    /// Measures; the cases take turns, so that a slow moment of the machine hits them all.
    pub(crate) fn run(&self, runtime: &Runtime, arguments: &Arguments) -> Result<Vec<Row>> {
        let length = Duration::from_secs_f64(arguments.seconds);
        let mut rows = Vec::new();
        for &connections in ALL {
            let mut cases: Vec<_> = self
                .cases
                .iter()
                .filter(|case| case.connections.contains(&connections))
                .map(|case| (case, Sample::default()))
                .collect();
            for round in 1..=arguments.rounds {
                for (case, sample) in &mut cases {
                    println!(
                        "{}, {connections} connections, round {round}: {}",
                        self.name, case.name
                    );
                    let run =
                        load::run(slice::from_ref(&case.request), self.until, connections, length);
                    sample.add(runtime.block_on(run)?);
                }
            }
            let done = cases.into_iter();
            rows.extend(
                done.map(|(case, sample)| Row::new(self.name, case.name, connections, sample)),
            );
        }
        Ok(rows)
    }
}
