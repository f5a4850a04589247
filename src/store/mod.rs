//! The keyspace: keys, values, expiry. Invariant: time and chance are arguments; no I/O, no command.

pub mod access;
pub mod budget;
pub mod db;
pub mod entry;
pub mod evict;
pub mod expire;
pub mod graveyard;
pub mod key;
pub mod load;
pub mod marks;
pub mod memory;
pub mod partition;
pub mod prefetch;
pub mod scan;
pub mod sizes;
pub mod snapshot;
pub mod tracking;
pub mod unshared;
pub mod waiters;
pub mod watchers;
