//! The cache over real doors, a real vault and a real store.

#[cfg(test)]
mod it {
    mod desync;
    mod flights;
    mod keys;
    mod tiers;
    mod world;
}
