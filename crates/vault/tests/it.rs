//! The vault, from outside: real scopes from real doors, real files.

#![allow(clippy::unwrap_used, reason = "tests: a panic is a failed test")]

mod it {
    mod credential;
    mod disk;
    mod rotate;
    mod seal;
    mod shred;
    mod world;
}
