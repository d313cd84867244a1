//! Planted bugs: a safety test proves nothing until it was seen to fail.
//!
//! With the cargo feature `planted` (development profiles only), the environment variable
//! `BULKHEAD_PLANTED` turns one named bug on. Without the feature this is a constant `false`.

#[cfg(all(feature = "planted", not(debug_assertions)))]
compile_error!("the feature `planted` holds deliberate bugs and never goes into a release build");

/// Whether the bug of this name is on.
#[cfg(feature = "planted")]
#[must_use]
pub fn is(name: &'static str) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    CHOSEN.get_or_init(|| std::env::var("BULKHEAD_PLANTED").ok()).as_deref() == Some(name)
}

/// Whether the bug of this name is on: never, in a build without the feature `planted`.
#[cfg(not(feature = "planted"))]
#[inline(always)]
#[must_use]
pub const fn is(_name: &'static str) -> bool {
    false
}
