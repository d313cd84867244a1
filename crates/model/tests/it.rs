//! The model surface through the real gate, with a stand-in for the provider on loopback.

#[cfg(test)]
mod it {
    mod caching;
    mod confinement;
    mod delivery;
    mod faults;
    mod flights;
    mod identity;
    mod passing;
    mod standin;
    mod streams;
    mod world;
}
