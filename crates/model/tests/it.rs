//! The model surface through the real gate, with a stand-in for the provider on loopback.

#[cfg(test)]
mod it {
    mod batches;
    mod caching;
    mod citing;
    mod confinement;
    mod delivery;
    mod depot;
    mod embeddings;
    mod endpoints;
    mod estate;
    mod fallback;
    mod faults;
    mod files;
    mod flights;
    mod handles;
    mod hostile;
    mod identity;
    mod kinds;
    mod mallory;
    mod passing;
    mod resources;
    mod retries;
    mod semantic;
    mod shapes;
    mod standin;
    mod streams;
    mod world;
}
