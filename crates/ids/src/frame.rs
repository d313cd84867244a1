//! Length-framed encodings.
//!
//! What is hashed or authenticated is framed, so that no byte can move from one field into
//! its neighbour: `("ab", "c")` and `("a", "bc")` never encode alike.

/// Writes one field: its length as a little-endian `u64`, then its bytes.
pub fn field(sink: &mut impl FnMut(&[u8]), bytes: &[u8]) {
    sink(&(bytes.len() as u64).to_le_bytes());
    sink(bytes);
}

/// Writes an optional field; absent and empty differ.
pub fn option(sink: &mut impl FnMut(&[u8]), bytes: Option<&[u8]>) {
    match bytes {
        None => sink(&u64::MAX.to_le_bytes()),
        Some(bytes) => field(sink, bytes),
    }
}

/// A framed message in a buffer, begun with a domain that tells its purpose apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame(Vec<u8>);

impl Frame {
    /// Begins a message of the given domain.
    #[must_use]
    pub fn new(domain: &str) -> Self {
        Self(Vec::with_capacity(192)).field(domain.as_bytes())
    }

    /// Adds a field.
    #[must_use]
    pub fn field(mut self, bytes: impl AsRef<[u8]>) -> Self {
        field(&mut |part| self.0.extend_from_slice(part), bytes.as_ref());
        self
    }

    /// Adds an optional field; absent and empty differ.
    #[must_use]
    pub fn option(mut self, bytes: Option<impl AsRef<[u8]>>) -> Self {
        option(&mut |part| self.0.extend_from_slice(part), bytes.as_ref().map(AsRef::as_ref));
        self
    }

    /// Adds a number.
    #[must_use]
    pub fn u64(self, number: u64) -> Self {
        self.field(number.to_le_bytes())
    }

    /// The bytes.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(fields: &[Vec<u8>]) -> Vec<u8> {
        fields.iter().fold(Frame::new("t"), Frame::field).finish()
    }

    proptest! {
        #[test]
        fn injective(a: Vec<Vec<u8>>, b: Vec<Vec<u8>>) {
            prop_assert_eq!(framed(&a) == framed(&b), a == b);
        }
    }

    #[test]
    fn absent_is_not_empty() {
        let absent = Frame::new("t").option(None::<&[u8]>).finish();
        assert_ne!(absent, Frame::new("t").option(Some(b"")).finish());
    }
}
