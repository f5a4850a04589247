//! What keys and tables take, computed from their shapes.
//! Invariant: O(chunks of the value) for a key, O(segments) for a table; counts what was asked of
//! the allocator, not its rounding. Source: MEMORY USAGE, MEMORY STATS.

use super::db::Db;
use super::entry::{EntryRef, PACKED_INLINE_MAX, ValueRef};
use crate::types::Value;

/// Bytes that a key takes with its value and its share of the table. Source: MEMORY USAGE.
pub fn entry_bytes(entry: EntryRef<'_>) -> usize {
    let boxed = match entry.value() {
        ValueRef::Int(_) | ValueRef::Str(_) => 0,
        ValueRef::Packed(_, bytes) if bytes.len() <= PACKED_INLINE_MAX => 0,
        ValueRef::Packed(_, bytes) => size_of::<Value>() + bytes.len(),
        ValueRef::Boxed(value) => size_of::<Value>() + value.bytes(),
    };
    entry.bytes_allocated() + boxed + TABLE_BYTES_PER_KEY
}

impl Db {
    /// Bytes of the database's table, without its keys. Source: MEMORY STATS, overhead.hashtable.main.
    pub fn overhead_bytes(&self) -> usize {
        self.entries.bytes()
    }
}

/// A word of 8 bytes at the mean load of a bucket, 0.8.
const TABLE_BYTES_PER_KEY: usize = 10;
