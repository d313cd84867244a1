//! The tool surface through the real gate, with stand-ins for upstreams on loopback.

#[cfg(test)]
mod it {
    mod kill;
    mod mallory;
    mod one_answer;
    mod standin;
    mod world;
}
