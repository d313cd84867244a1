//! The prober against stand-ins that leak on purpose, and against their fixed twins.

#[cfg(test)]
mod it {
    mod app;
    mod examples;
    mod flaws;
    mod mcp;
}
