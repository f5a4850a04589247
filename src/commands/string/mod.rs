//! Strings: the commands of the group `string`, by what they do, and what they share.
//!
//! Invariant: a value that was received in chunks is stored, compared and appended chunk by chunk;
//! it is copied into one piece only for the journal.

use std::borrow::Cow;

pub mod get;
pub mod lcs;
pub mod many;
pub mod numeric;
mod options;
pub mod range;
pub mod set;

use crate::base::time::Millis;
use crate::command::Context;
use crate::command::args::ArgValue;
use crate::command::context::StringRef;
use crate::command::effects::EventClass;
use crate::store::entry::NewValue;
use crate::store::key::Key;
use crate::types::Value;
use crate::types::string::CHUNK_BYTES;

/// An argument as the value of a key, in its best encoding; chunks are shared.
#[inline]
fn new_value(value: ArgValue<'_>) -> NewValue<'_> {
    match value {
        ArgValue::Bytes(bytes) => NewValue::string(bytes),
        ArgValue::Big(big) => NewValue::Boxed(Box::new(Value::String(big.clone()))),
    }
}

/// Gives a key a value with the events of SET: "set", and "expire" where it gets an expiry.
fn store(cx: &mut Context<'_>, key: &Key<'_>, value: ArgValue<'_>, expires: Option<Millis>) {
    cx.set(key, new_value(value), expires);
    cx.event(EventClass::String, "set", key);
    if expires.is_some() {
        cx.event(EventClass::Generic, "expire", key);
    }
}

/// An argument in one piece, for the journal.
fn in_one_piece(value: ArgValue<'_>) -> Cow<'_, [u8]> {
    match value {
        ArgValue::Bytes(bytes) => Cow::Borrowed(bytes),
        ArgValue::Big(big) => Cow::Owned(big.to_vec()),
    }
}

/// Propagates `SET key value PXAT expires`: the expiry as a time, not as a distance from now.
fn propagate_set_until(cx: &mut Context<'_>, key: &[u8], value: ArgValue<'_>, expires: Millis) {
    let db = cx.db_index();
    cx.effects.propagate_nothing();
    if cx.effects.wants_lines() {
        let mut digits = itoa::Buffer::new();
        let expires = digits.format(expires.0).as_bytes();
        cx.effects.propagate(db, &[b"SET", key, &in_one_piece(value), b"PXAT", expires]);
    }
}

/// True if a stored string and an argument have the same bytes.
fn equals(stored: StringRef<'_>, value: ArgValue<'_>) -> bool {
    let mut digits = itoa::Buffer::new();
    let stored = match stored {
        StringRef::Int(value) => ArgValue::Bytes(digits.format(value).as_bytes()),
        StringRef::Bytes(bytes) => ArgValue::Bytes(bytes),
        StringRef::Big(big) => ArgValue::Big(big),
    };
    match (stored, value) {
        (ArgValue::Bytes(one), ArgValue::Bytes(other)) => one == other,
        (ArgValue::Big(one), ArgValue::Big(other)) => one.chunks() == other.chunks(),
        (ArgValue::Bytes(bytes), ArgValue::Big(big))
        | (ArgValue::Big(big), ArgValue::Bytes(bytes)) => {
            bytes.len() as u64 == big.len()
                && bytes.chunks(CHUNK_BYTES).eq(big.chunks().iter().map(|chunk| &chunk[..]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::BigString;

    #[test]
    fn equal_bytes_are_equal_in_every_form() {
        let bytes: Vec<u8> = (0..CHUNK_BYTES * 2 + 7).map(|at| at as u8).collect();
        let big = BigString::from(&bytes[..]);
        let mut other = bytes.clone();
        other[CHUNK_BYTES + 1] ^= 1;
        let other_big = BigString::from(&other[..]);
        assert!(equals(StringRef::Bytes(&bytes), ArgValue::Big(&big)));
        assert!(equals(StringRef::Big(&big), ArgValue::Bytes(&bytes)));
        assert!(equals(StringRef::Big(&big), ArgValue::Big(&big.clone())));
        assert!(!equals(StringRef::Big(&big), ArgValue::Bytes(&other)));
        assert!(!equals(StringRef::Big(&big), ArgValue::Big(&other_big)));
        assert!(!equals(StringRef::Big(&big), ArgValue::Bytes(&bytes[..CHUNK_BYTES])));
        assert!(equals(StringRef::Int(-12), ArgValue::Bytes(b"-12")));
        assert!(!equals(StringRef::Int(12), ArgValue::Bytes(b"012")));
    }
}
