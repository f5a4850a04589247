//! The values of Redis' types. Invariant: no keys, no expiry, no reply; bytes in, bytes out.

pub mod bitmap;
pub mod hll;
pub mod string;
pub mod value;

pub use string::BigString;
pub use value::Value;

/// The value is of another type than the operation works on. Source: WRONGTYPE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongType;
