//! How data lies in memory. Invariant: layouts only; no clock, no I/O, no Redis command.

pub mod bptree;
pub mod dict;
pub mod gap;
pub mod intset;
pub mod listpack;
pub mod lzf;
pub mod member_map;
pub mod run;
pub mod shared;
pub mod table;
pub mod ziplist;
pub mod zipmap;
