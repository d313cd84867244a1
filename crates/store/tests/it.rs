//! The store from outside: real files, real scopes.

#[cfg(test)]
mod it {
    mod backup;
    mod erase;
    mod expiry;
    mod faults;
    mod isolation;
    mod lifecycle;
    mod migration;
    mod usage;
    mod world;
    mod writes;
}
