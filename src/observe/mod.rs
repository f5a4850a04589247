//! What the server knows of itself: counters, the log.
//!
//! Invariant: written by one core each, read by any without a hop; nothing here waits.

pub mod busy;
pub mod command_log;
pub mod errors;
pub mod hotkeys;
pub mod journal;
pub mod keys;
pub mod latency;
pub mod link;
pub mod log;
pub mod persistence;
pub mod phases;
pub mod process;
pub mod replication;
pub mod report;
pub mod server;
pub mod sparkline;
pub mod stats;
pub mod transit;
