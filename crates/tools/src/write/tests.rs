//! The write path over a real store, vault, inbox and gate; only the network is a double, which
//! remembers what it was asked and what it did.

mod carry;
mod crash;
mod ground;
mod model;
mod people;
mod repeats;
mod unknown;
