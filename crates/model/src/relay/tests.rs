use std::{
    collections::VecDeque,
    sync::atomic::{AtomicUsize, Ordering},
};

use cache::{KeyParts, LogAlarm, Version};
use futures_util::{FutureExt, StreamExt};
use gate::{Action, Gate, Hop, Policies};
use ids::{ManualClock, Millis, OsEntropy, RequestId};
use parking_lot::Mutex;
use records::{End, Event, Filter, Recorder};
use scope::Status;
use store::{Options, Store};
use testkit::Kit;
use tokio::sync::oneshot;
use vault::{Credentials, FileRoot, SecretText, Vault};
use zeroize::Zeroizing;

use super::*;
use crate::HandleKind;

const SECRET: &str = "sk-acme-live-0123456789";

struct World {
    kit: Kit,
    cache: Cache,
    credentials: Credentials,
    gate: Gate,
    recorder: Recorder,
    _directory: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(Millis::from_secs(1_795_000_000)));
        let root = FileRoot::create(directory.path().join("root.key"), &OsEntropy).unwrap();
        let keys = directory.path().join("keys");
        let vault = Vault::create(&keys, root, clock.clone(), Arc::new(OsEntropy)).await.unwrap();
        let data = Options::new(directory.path().join("data"));
        let store = Store::open(&data, clock.clone()).unwrap();
        let (settings, secret) = (cache::Settings::default(), Zeroizing::new([3; 32]));
        let alarm = Arc::new(LogAlarm);
        let cache = Cache::open(settings, &store, &vault, secret, clock.clone(), alarm).unwrap();
        let kit = Kit::new(clock.clone()).await;
        let options = records::Options { linger_ms: 0, ..records::Options::default() };
        let recorder = Recorder::open(options, &store, &vault, clock.clone(), &OsEntropy).unwrap();
        let audit = kit.audit.clone();
        let gate = Gate::new(Policies::built_in(), Vec::new(), recorder.clone(), audit, clock);
        let credentials = vault.credentials(&store);
        let world = Self { kit, cache, credentials, gate, recorder, _directory: directory };
        let secret = SecretText::parse(SECRET.to_owned()).unwrap();
        let scope = world.scope().await;
        let provider = "p".parse().unwrap();
        world.credentials.of(&scope).set(&provider, None, secret, false).await.unwrap();
        world
    }

    async fn scope(&self) -> Scope<Write> {
        self.kit.scope("acme", "live").await
    }

    fn key(&self, scope: &Scope<Write>, request: &[u8]) -> CacheKey {
        self.cache.of(scope).key(&KeyParts {
            kind: "model.chat",
            entity: "m",
            versions: &[],
            policy: Version::of(b"p"),
            config: Version::of(b"c"),
            request,
        })
    }

    fn keep(&self, key: CacheKey) -> Keep {
        let ttl = Duration::from_secs(60);
        let cache = self.cache.clone();
        Keep { cache, key, ttl, most: 1 << 20, leader: None, partition: None, then: None }
    }

    /// A stream of what comes, through the real gate.
    async fn relay(&self, parser: Parser, pieces: Pieces) -> Relay<Pieces> {
        let scope = self.scope().await;
        let hop = Hop::model(Action::Chat, "m", RequestId::draw(&OsEntropy)).stream(true);
        let provider = "p".parse().unwrap();
        let credential = self.credentials.of(&scope).get(&provider, None).await.unwrap().unwrap();
        let open = |pass| {
            let secret = Arc::new(Forms::of(SECRET));
            let relay = Relay::over(Box::new(pieces), secret, parser, &scope, credential, pass);
            std::future::ready(Ok::<_, Error>(relay))
        };
        self.gate.pass(&scope, hop, open).await.unwrap()
    }

    async fn event(&self) -> Event {
        self.recorder.flush().await;
        let scope = self.scope().await;
        self.recorder.list(&scope, &Filter::default()).await.unwrap().remove(0).event
    }
}

/// What a provider sends, and how often it was asked for more.
struct Pieces {
    come: VecDeque<Bytes>,
    asked: Arc<AtomicUsize>,
}

impl Pieces {
    fn of(pieces: &[&str]) -> Self {
        let come = pieces.iter().map(|piece| Bytes::copy_from_slice(piece.as_bytes())).collect();
        Self { come, asked: Arc::default() }
    }
}

impl Source for Pieces {
    fn poll_piece(&mut self, _: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Fault>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Poll::Ready(Ok(self.come.pop_front()))
    }

    fn finish_soon(&mut self) {}
}

const CREATED: &str = "event: response.created\n\
    data: {\"type\":\"response.created\",\"response\":{\"id\":\"resp_1\",\"status\":\"in_progress\"}}\n\n";
const DELTA: &str = "data: {\"type\":\"response.output_text.delta\",\"delta\":\"x\"}\n\n";
const COMPLETED: &str = "event: response.completed\n\
    data: {\"type\":\"response.completed\",\"response\":{\"id\":\"resp_1\",\"status\":\"completed\",\
    \"usage\":{\"input_tokens\":7,\"output_tokens\":3}}}\n\n";
const MADE_LAST: &str = "event: response.completed\n\
    data: {\"type\":\"response.completed\",\"response\":{\"id\":\"resp_2\",\"status\":\"completed\"}}\n\n";

/// What was to be claimed, and the say over how it ends.
type Asked = Arc<Mutex<Vec<(Vec<Made>, oneshot::Sender<Result<(), Error>>)>>>;

fn by_hand() -> (Claims, Asked) {
    let asked = Asked::default();
    let book = asked.clone();
    let claims = move |_scope, made| -> Claim {
        let (say, said) = oneshot::channel();
        book.lock().push((made, say));
        Box::pin(async move { said.await.unwrap() })
    };
    (Box::new(claims), asked)
}

fn text(piece: Option<Result<Bytes, Error>>) -> String {
    String::from_utf8(piece.unwrap().unwrap().to_vec()).unwrap()
}

fn responses() -> Parser {
    Parser::new(Api::Responses, false)
}

/// The bytes that name a handle stay here until it is claimed, and nothing is read meanwhile.
#[tokio::test]
async fn no_handle_goes_out_unclaimed() {
    let world = World::new().await;
    let both = format!("{CREATED}{DELTA}");
    let pieces = Pieces::of(&[&both, DELTA, COMPLETED]);
    let reads = pieces.asked.clone();
    let mut relay = world.relay(responses(), pieces).await;
    let (claims, asked) = by_hand();
    relay.claims = Some(claims);
    for _ in 0..5 {
        assert!(relay.next().now_or_never().is_none(), "it went out before it was claimed");
    }
    assert_eq!(reads.load(Ordering::SeqCst), 1);
    let (made, say) = asked.lock().pop().unwrap();
    assert_eq!(made, [Made { kind: HandleKind::Response, id: "resp_1".to_owned() }]);
    say.send(Ok(())).unwrap();
    assert_eq!(text(relay.next().await), both);
    // It is claimed once; what names it again passes.
    assert_eq!(text(relay.next().await), DELTA);
    assert_eq!(text(relay.next().await), COMPLETED);
    assert!(relay.next().await.is_none());
    assert!(asked.lock().is_empty());
    let event = world.event().await;
    assert_eq!((event.end, event.tokens_in, event.tokens_out), (End::Complete, Some(7), Some(3)));
}

/// The last event may be the first to name one. An answer that made something is not kept.
#[tokio::test]
async fn the_last_event_waits_too() {
    let world = World::new().await;
    let scope = world.scope().await;
    let key = world.key(&scope, b"x");
    let relay = world.relay(responses(), Pieces::of(&[DELTA, MADE_LAST])).await;
    let mut relay = relay.keeping(Some(world.keep(key)));
    let (claims, asked) = by_hand();
    relay.claims = Some(claims);
    assert_eq!(text(relay.next().await), DELTA);
    assert!(relay.keep.is_some());
    assert!(relay.next().now_or_never().is_none());
    assert!(relay.keep.is_none());
    let (_, say) = asked.lock().pop().unwrap();
    say.send(Ok(())).unwrap();
    assert_eq!(text(relay.next().await), MADE_LAST);
    assert!(relay.next().await.is_none());
    assert!(world.cache.of(&scope).get(&key).await.is_none());
}

/// Nothing was made, and the answer is whole: it is kept as it went out.
#[tokio::test]
async fn whole_answers_are_kept_as_they_went_out() {
    let start = "data: {\"type\":\"message_start\"}\n\n";
    let stop = "data: {\"type\":\"message_stop\"}\n\n";
    let usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\n\n";
    for (parser, sent, kept) in [
        (
            responses().keeps(false),
            [DELTA, COMPLETED, "data: [DONE]\n\n"],
            [DELTA, COMPLETED].concat(),
        ),
        (Parser::new(Api::Messages, false), [start, stop, ""], [start, stop].concat()),
        (
            Parser::new(Api::Chat, true).keeps(false),
            ["data: {}\n\n", usage, "data: [DONE]\n\n"],
            "data: {}\n\ndata: [DONE]\n\n".to_owned(),
        ),
    ] {
        let world = World::new().await;
        let scope = world.scope().await;
        let key = world.key(&scope, b"x");
        let relay = world.relay(parser, Pieces::of(&sent)).await;
        let (then, done) = oneshot::channel();
        let then: Box<dyn FnOnce() + Send> = Box::new(move || then.send(()).unwrap());
        let keep = Keep { partition: Some([7; 32]), then: Some(then), ..world.keep(key) };
        let mut relay = relay.keeping(Some(keep));
        let mut got = String::new();
        while let Some(piece) = relay.next().await {
            got.push_str(&text(Some(piece)));
        }
        assert_eq!(got, kept);
        done.await.unwrap();
        let value = world.cache.of(&scope).get(&key).await.unwrap().value;
        assert_eq!(stored::decode(&value, Form::Events, Some(&[7; 32])).unwrap(), kept);
        assert_eq!(stored::decode(&value, Form::Events, None), None);
    }
}

#[tokio::test]
async fn a_claim_that_fails_ends_the_stream() {
    let world = World::new().await;
    let scope = world.scope().await;
    let key = world.key(&scope, b"x");
    let relay = world.relay(responses(), Pieces::of(&[CREATED, COMPLETED])).await;
    let mut relay = relay.keeping(Some(world.keep(key)));
    let (claims, asked) = by_hand();
    relay.claims = Some(claims);
    assert!(relay.next().now_or_never().is_none());
    let (_, say) = asked.lock().pop().unwrap();
    say.send(Err(Fault::Malformed("it is somebody else's").into())).unwrap();
    let event = text(relay.next().await);
    assert!(event.starts_with("event: error\n") && event.contains("upstream.malformed"), "{event}");
    assert!(!event.contains("resp_1"));
    assert!(relay.next().await.is_none());
    let event = world.event().await;
    assert_eq!((event.end, event.code.as_deref()), (End::Failed, Some("upstream.malformed")));
    assert!(world.cache.of(&scope).get(&key).await.is_none());
}

#[tokio::test]
async fn revocation_ends_a_claim_that_is_waited_for() {
    let world = World::new().await;
    let mut relay = world.relay(responses(), Pieces::of(&[CREATED, COMPLETED])).await;
    let (claims, asked) = by_hand();
    relay.claims = Some(claims);
    assert!(relay.next().now_or_never().is_none());
    world.kit.change("acme", |record| record.status = Status::Suspended).await;
    let event = text(relay.next().await);
    assert!(event.contains("scope.") && !event.contains("resp_1"), "{event}");
    assert!(asked.lock().pop().unwrap().1.is_closed());
    assert!(relay.next().await.is_none());
}

/// Streams that are not whole answers end in their endpoint's own way, and are not kept.
#[tokio::test]
async fn what_is_no_whole_answer_is_not_kept() {
    let failed = format!(
        "event: response.failed\ndata: {{\"type\":\"response.failed\",\"response\":{{\"id\":\"r\",\
        \"status\":\"failed\",\"error\":{{\"code\":\"c\",\"message\":\"bad key {SECRET}\"}}}}}}\n\n"
    );
    let inside = failed.replace("response.failed", "response.completed");
    let incomplete =
        "data: {\"type\":\"response.incomplete\",\"response\":{\"status\":\"incomplete\"}}\n\n";
    let overloaded = format!(
        "event: error\ndata: {{\"type\":\"error\",\"error\":{{\"type\":\"overloaded_error\",\
        \"message\":\"{SECRET}\"}}}}\n\n"
    );
    let repeats = format!("data: {{\"type\":\"x\",\"delta\":\"{SECRET}\"}}\n\n");
    for (api, last, says, code) in [
        (Api::Responses, failed.as_str(), "bad key [redacted]", Some("upstream.error")),
        (Api::Responses, &inside, "event: response.failed\n", Some("upstream.error")),
        (Api::Responses, &overloaded, "overloaded_error", Some("upstream.error")),
        (Api::Messages, &overloaded, "overloaded_error", Some("upstream.error")),
        (Api::Messages, &repeats, "upstream.malformed", Some("upstream.malformed")),
        (Api::Messages, "", "message_stop", Some("upstream.malformed")),
        (Api::Responses, "", "response.completed", Some("upstream.malformed")),
        (Api::Chat, "", "[DONE]", Some("upstream.malformed")),
        (Api::Responses, "data: {\"item\":{\n\n", "cannot be read", Some("upstream.malformed")),
        (Api::Responses, incomplete, "response.incomplete", None),
    ] {
        let world = World::new().await;
        let scope = world.scope().await;
        let key = world.key(&scope, b"x");
        let first = "data: {\"type\":\"x\"}\n\n";
        let relay = world.relay(Parser::new(api, false), Pieces::of(&[first, last])).await;
        let mut relay = relay.keeping(Some(world.keep(key)));
        let mut got = String::new();
        while let Some(piece) = relay.next().await {
            got.push_str(&text(Some(piece)));
        }
        assert!(got.starts_with(first) && got.contains(says), "{got}");
        assert!(!got.contains(SECRET), "{got}");
        assert!(world.cache.of(&scope).get(&key).await.is_none());
        let event = world.event().await;
        assert_eq!(event.code.as_deref(), code, "{got}");
        assert_eq!(event.end, if code.is_some() { End::Failed } else { End::Complete });
        // Whatever waits for it is told that there is nothing to wait for.
        assert!(relay.keep.is_none());
    }
}

/// An answer that is whole only after its tenant was erased is not kept.
#[tokio::test]
async fn nothing_is_kept_after_an_erasure() {
    let world = World::new().await;
    let scope = world.scope().await;
    let (before, after) = (world.key(&scope, b"before"), world.key(&scope, b"after"));
    let then = Arc::new(AtomicUsize::new(0));
    let keep = |key| {
        let then = then.clone();
        let then: Box<dyn FnOnce() + Send> = Box::new(move || {
            then.fetch_add(1, Ordering::SeqCst);
        });
        Keep { then: Some(then), ..world.keep(key) }
    };
    keep(before).keep(&scope, Form::Json, b"{}").await;
    assert!(world.cache.of(&scope).get(&before).await.is_some());
    assert_eq!(then.load(Ordering::SeqCst), 1);
    world.kit.change("acme", |record| record.status = Status::Erased).await;
    keep(after).keep(&scope, Form::Json, b"{}").await;
    assert!(world.cache.of(&scope).get(&after).await.is_none());
    assert_eq!(then.load(Ordering::SeqCst), 1, "what is not kept cannot be found");
}
