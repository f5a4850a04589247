//! What everything stands on. Invariant: no I/O, no Redis semantics, no other module of ours.

pub mod alloc;
pub mod claim;
pub mod core_set;
pub mod crc;
mod float_scan;
pub mod gate;
pub mod glob;
mod grisu;
pub mod letterbox;
pub mod listening;
pub mod long_double;
pub mod mailbox;
pub mod number;
pub mod rng;
pub mod siphash;
pub mod slot;
pub mod sys;
pub mod time;
pub mod turns;
pub mod words;
