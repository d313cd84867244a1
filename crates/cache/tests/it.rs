//! The cache over real doors, a real vault and a real store.

#[cfg(test)]
mod it {
    mod desync;
    mod entries;
    mod flights;
    mod keys;
    mod oracle;
    mod semantic;
    mod state;
    mod state_bounds;
    mod tiers;
    mod world;
}
