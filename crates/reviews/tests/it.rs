//! Reviews over real doors, a real vault and a real store.

#[cfg(test)]
mod it {
    mod bounds;
    mod deciding;
    mod isolation;
    mod model;
    mod quarantine;
    mod using;
    mod waiting;
    mod world;
}
