//! The keyspace: keys, values, expiry. Invariant: time and chance are arguments; no I/O, no command.

pub mod access;
pub mod entry;
pub mod key;
