//! A value too large, or too structured, to lie in its key's entry.
//! Invariant: `Value` is `Send`, since partitions move between cores.

use super::BigString;

/// One value of a Redis type.
#[derive(Clone, Debug)]
pub enum Value {
    /// A string above `STRING_INLINE_MAX` bytes.
    String(BigString),
}

impl Value {
    /// The name of the type, as TYPE answers.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::String(_) => "string",
        }
    }

    /// The name of the encoding, as OBJECT ENCODING answers.
    pub fn encoding(&self) -> &'static str {
        match self {
            Self::String(_) => "raw",
        }
    }

    /// Bytes allocated below the value itself.
    pub fn bytes(&self) -> usize {
        match self {
            Self::String(string) => string.bytes(),
        }
    }

    /// Frees up to `units` parts (a part is a chunk or a node); returns the units left. When any is
    /// left, the value is empty and dropping it is cheap.
    pub fn free_slice(&mut self, units: usize) -> usize {
        match self {
            Self::String(string) => string.free_slice(units),
        }
    }
}

const fn assert_send<T: Send>() {}
const _: () = assert_send::<Value>();
