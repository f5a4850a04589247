//! Ironring: a Redis-compatible in-memory data store, one pinned thread, one io_uring and one
//! partition of the keyspace per core.
//!
//! The modules stand in dependency order; `docs/ARCHITECTURE.md` is the map. This is the library of
//! the `ironring` binary, not a stable API.

pub mod acl;
pub mod base;
pub mod client;
pub mod command;
pub mod commands;
pub mod config;
pub mod control;
pub mod dispatch;
pub mod encoding;
pub mod event_loop;
pub mod net;
pub mod observe;
pub mod persist;
pub mod pubsub;
pub mod replication;
pub mod resp;
pub mod ring;
pub mod script;
pub mod server;
pub mod store;
pub mod tls;
pub mod txn;
pub mod types;
