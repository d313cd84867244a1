//! The gate from outside: real scopes, a real recorder.

#[cfg(test)]
mod it {
    mod admission;
    mod events;
    mod order;
    mod policies;
    mod remembering;
    mod world;
}
