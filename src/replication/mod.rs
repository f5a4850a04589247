//! Replication as state machines over bytes: the history and its names, the backlog, the stream.
//!
//! Invariant: no socket, file, clock or thread; who drives it hands in bytes and time.

pub mod backlog;
pub mod chunk;
pub mod identity;
pub mod link;
pub mod stream;
