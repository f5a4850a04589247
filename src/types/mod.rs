//! The values of Redis' types. Invariant: no keys, no expiry, no reply; bytes in, bytes out.

pub mod ahead;
pub mod bitmap;
pub mod geo;
pub mod hash;
pub mod hll;
pub mod list;
pub mod place;
pub mod set;
pub mod stream;
pub mod string;
pub mod value;
pub mod zset;

pub use list::{ListMut, ListRef, QuickList};
pub use place::{Collection, Place};
pub use string::BigString;
pub use value::{Packing, Value, ValueRef};

/// The value is of another type than the operation works on. Source: WRONGTYPE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongType;
