//! How data lies in memory. Invariant: layouts only; no clock, no I/O, no Redis command.

pub mod dict;
pub mod intset;
pub mod listpack;
pub mod lzf;
pub mod run;
pub mod table;
pub mod ziplist;
pub mod zipmap;
