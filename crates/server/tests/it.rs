//! A real deployment on loopback, a stand-in provider, a real HTTP client.

#[cfg(test)]
mod it {
    mod ambiguity;
    mod authority;
    mod bounds;
    mod drain;
    mod exchange;
    mod incidents;
    mod issuer;
    mod life;
    mod load;
    mod ratchet;
    mod revocation;
    mod rig;
    mod two_tenants;
    mod upstream;
    mod wire;
}
