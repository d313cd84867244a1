//! Retrieval over real doors, a real vault and a real store: the proofs that a scope comes first.

#[cfg(test)]
mod it {
    mod crash;
    mod crowding;
    mod escapes;
    mod graph;
    mod interference;
    mod intruders;
    mod lazy;
    mod model;
    mod oracle;
    mod world;
}
