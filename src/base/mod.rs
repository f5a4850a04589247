//! What everything stands on. Invariant: no I/O, no Redis semantics, no other module of ours.

pub mod crc;
pub mod mailbox;
pub mod rng;
pub mod siphash;
pub mod slot;
mod sys;
pub mod time;
