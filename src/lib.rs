//! Ironring: a Redis-compatible in-memory data store, one pinned thread, one io_uring and one
//! partition of the keyspace per core.
//!
//! The modules stand in dependency order; `docs/ARCHITECTURE.md` is the map. This is the library of
//! the `ironring` binary, not a stable API.

pub mod base;
pub mod encoding;
pub mod store;
pub mod types;
