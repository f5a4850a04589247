//! AOF: the files that hold what changed since a snapshot, as the commands that do it again.
//! Source: the multi-part layout of Redis 7 and later, as Redis 8.0.6 reads and writes it.
//!
//! ```text
//! appenddirname/
//!   NAME.manifest        which files there are, in which order
//!   NAME.1.base.rdb      the data at one instant (or .aof: the commands that make it)
//!   NAME.1.incr.aof      what changed afterwards; the last one is appended to
//!
//! an incr file:  | group | group | ...
//! a group:       | #TS:seconds CRLF, where a second begins | #CRC:length crc CRLF
//!                | #SYNC:synced own CRLF | command ... |
//! ```
//!
//! Invariant: a group is whole or it does not count: a transaction never reaches over its end. Stock
//! servers skip the lines that begin with `#`, and what they append, commands without them, counts.

pub mod annotation;
pub mod base;
pub mod block;
pub mod files;
pub mod gather;
pub mod manifest;
pub mod replay;
pub mod scan;
pub mod writer;
