//! A real deployment on loopback, a stand-in provider, a real HTTP client.

#[cfg(test)]
mod it {
    mod ambiguity;
    mod anthropic;
    mod authority;
    mod batches;
    mod bounds;
    mod collections;
    mod drain;
    mod exchange;
    mod handles;
    mod incidents;
    mod issuer;
    mod keeping;
    mod kept;
    mod life;
    mod load;
    mod mcp;
    mod memories;
    mod models;
    mod probing;
    mod ratchet;
    mod reload;
    mod reviews;
    mod revocation;
    mod rig;
    mod similar;
    mod state;
    mod tools;
    mod two_tenants;
    mod upstream;
    mod wire;
}
