//! How data lies in memory. Invariant: layouts only; no clock, no I/O, no Redis command.

pub mod gap;
pub mod listpack;
pub mod lzf;
pub mod run;
pub mod shared;
pub mod table;
