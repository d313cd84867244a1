//! Credentials at the door: whatever comes, only what was minted opens it, byte for byte.

use std::{cell::OnceCell, sync::Arc};

use ids::{ManualClock, Millis};
use testkit::Kit;
use tokio::runtime::{Builder, Runtime};

/// What credentials are made of.
pub const WORDS: &[&str] = &[
    ".",
    "..",
    "=",
    "-",
    "_",
    "A",
    "eyJ",
    "bk_",
    "bs_",
    "bo_",
    "bg_",
    "none",
    "HS256",
    "EdDSA",
    "eyJhbGciOiJub25lIn0",
    "eyJhbGciOiJFZERTQSIsInR5cCI6InR4bnRva2VuK2p3dCJ9",
    "\u{0}",
    " ",
    "Bearer ",
];

struct Door {
    runtime: Runtime,
    kit: Kit,
    token: String,
}

thread_local! {
    static DOOR: OnceCell<Door> = const { OnceCell::new() };
}

/// The first byte says how to read the rest: as a credential, or as changes of a good token (pairs of a place and
/// what to do there). What opens the door must be the good token itself.
pub fn run(input: &[u8]) {
    DOOR.with(|door| door.get_or_init(open).check(input));
}

fn open() -> Door {
    let Ok(runtime) = Builder::new_current_thread().build() else {
        panic!("no runtime");
    };
    let clock = Arc::new(ManualClock::at(Millis::from_secs(1_800_000_000)));
    let (kit, token) = runtime.block_on(async {
        let kit = Kit::new(clock).await;
        let token = kit.mint("acme", "live", "support").await.secret.to_string();
        (kit, token)
    });
    let door = Door { runtime, kit, token };
    assert!(door.opens(&door.token), "the positive control: the good token is good");
    door
}

impl Door {
    fn check(&self, input: &[u8]) {
        let Some((mode, rest)) = input.split_first() else {
            return;
        };
        let bytes = if mode & 1 == 0 { rest.to_vec() } else { changed(&self.token, rest) };
        let Ok(credential) = String::from_utf8(bytes) else {
            return;
        };
        if credential != self.token {
            assert!(!self.opens(&credential), "the door opened for {credential:?}");
        }
    }

    fn opens(&self, credential: &str) -> bool {
        self.runtime.block_on(self.kit.authenticate(credential)).is_ok()
    }
}

/// Changes a token: each three bytes are a place (two) and a new character, or with a high bit a deletion, a
/// doubling or a swap with the neighbour.
fn changed(token: &str, edits: &[u8]) -> Vec<u8> {
    let mut bytes = token.as_bytes().to_vec();
    for edit in edits.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % bytes.len().max(1);
        match edit[2] {
            _ if bytes.is_empty() => break,
            0x80..=0x9f => drop(bytes.remove(at)),
            0xa0..=0xbf => bytes.insert(at, bytes[at]),
            0xc0..=0xdf if at + 1 < bytes.len() => bytes.swap(at, at + 1),
            0xe0..=0xff => bytes.truncate(at),
            other => bytes[at] = other & 0x7f,
        }
    }
    bytes
}
