use ids::{ManualClock, RandomId};
use parking_lot::Mutex;
use reviews::Kind;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;

/// The vector of the specification's own libraries.
#[test]
fn it_is_signed_as_the_standard_has_it() {
    let secret = decoded("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let body = br#"{"test": 2432232314}"#;
    let signed = signature(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body);
    assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    for bad in ["", "whsec_", "whsec_AAAA", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!!"] {
        assert!(decoded(bad).is_none(), "{bad}");
    }
}

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn notice() -> Notice {
    Notice {
        id: RandomId::from_bytes([7; 16]),
        tenant: Some("acme".parse().unwrap()),
        environment: Some("live".parse().unwrap()),
        kind: Kind::Approval,
        what: "crm.refund".into(),
        opened: Millis::from_secs(1_800_000_000),
        expires: Millis::from_secs(1_800_003_600),
    }
}

fn listener(hook: &Webhook) -> Result<Listener, Error> {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(Millis::from_secs(1_800_000_001)));
    let lookup = |name: &str| (name == "HOOK").then(|| SECRET.to_owned());
    let mut listener = Listener::new(hook, &clock, lookup)?;
    listener.pause = Duration::from_millis(1);
    Ok(listener)
}

fn hook(url: String) -> Webhook {
    Webhook { url, secret_env: "HOOK".into(), allow_private: true }
}

/// Answers each request with the next of these heads, and keeps what came.
async fn receiver(answers: &'static [&'static str]) -> (String, Arc<Mutex<Vec<String>>>) {
    let listening = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listening.local_addr().unwrap());
    let came = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&came);
    drop(system(Maintenance::Administration).spawn(|_| async move {
        for answer in answers {
            let (mut stream, _) = listening.accept().await.unwrap();
            let mut request = Vec::new();
            let mut piece = [0; 4096];
            while !is_whole(&request) {
                let read = stream.read(&mut piece).await.unwrap();
                request.extend_from_slice(&piece[..read]);
            }
            kept.lock().push(String::from_utf8(request).unwrap());
            let head =
                format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
        }
    }));
    (url, came)
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.is_some_and(|length| body.len() >= length.trim().parse::<usize>().unwrap())
}

fn header<'a>(request: &'a str, name: &str) -> &'a str {
    let line = request.lines().find(|line| line.to_lowercase().starts_with(&format!("{name}: ")));
    line.unwrap().split_once(": ").unwrap().1
}

#[tokio::test]
async fn a_review_is_announced_until_it_arrives() {
    let (url, came) = receiver(&["500 No", "503 No", "204 Yes"]).await;
    let listener = listener(&hook(url)).unwrap();
    assert!(listener.announce(&notice()).await);
    let came = came.lock().clone();
    assert_eq!(came.len(), 3);
    for request in &came {
        let body = request.split_once("\r\n\r\n").unwrap().1;
        // The same id each time, by which its receiver knows it again.
        let id = header(request, "webhook-id");
        assert_eq!(id, format!("msg_{}", notice().id));
        let at = header(request, "webhook-timestamp");
        assert_eq!(at, "1800000001");
        let secret = decoded(SECRET).unwrap();
        let signed = signature(&secret, id, at, body.as_bytes());
        assert_eq!(header(request, "webhook-signature"), signed);
        let told: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(told["type"], "review.opened");
        let data = &told["data"];
        assert_eq!((&data["tenant"], &data["what"]), (&"acme".into(), &"crm.refund".into()));
        assert_eq!(data["opened"], "2027-01-15T08:00:00.000Z");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (elsewhere, went) = receiver(&["204 Yes"]).await;
    let head: &'static str = Box::leak(format!("307 Go\r\nlocation: {elsewhere}").into_boxed_str());
    let answers: &'static [&'static str] = Box::leak(vec![head; 5].into_boxed_slice());
    let (url, came) = receiver(answers).await;
    assert!(!listener(&hook(url)).unwrap().announce(&notice()).await);
    assert_eq!(came.lock().len(), 5);
    assert!(went.lock().is_empty());
}

#[tokio::test]
async fn no_name_leads_inside() {
    // The name is resolved at each attempt; nothing is connected to.
    let listening = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listening.local_addr().unwrap().port();
    let mut inside = hook(format!("https://localhost:{port}/hook"));
    inside.allow_private = false;
    let listener = listener(&inside).unwrap();
    let why = listener.send(&notice(), b"{}".to_vec()).await.unwrap_err();
    assert!(why.contains("inside the network"), "{why}");
}

#[tokio::test]
async fn what_cannot_be_used_is_said_at_start() {
    let good = hook("http://127.0.0.1:9/h".into());
    assert!(listener(&good).is_ok());
    for bad in [
        Webhook { allow_private: false, ..good.clone() },
        Webhook { secret_env: "NONE".into(), ..good.clone() },
        Webhook { url: "https://169.254.169.254/latest".into(), allow_private: false, ..good },
    ] {
        assert_eq!(listener(&bad).err().unwrap().code(), "config.invalid", "{bad:?}");
    }
}
