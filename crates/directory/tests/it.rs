//! The registry from outside.

#[cfg(test)]
mod it {
    mod apply;
    mod credentials;
    mod doors;
    mod tenants;
    mod world;
}
