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
//! a group:       | #TS:seconds CRLF, where a second begins | #CRC:length crc CRLF | command ... |
//! ```
//!
//! Invariant: a group is whole or it does not count: a transaction never reaches over its end. Stock
//! servers skip the lines that begin with `#`, and what they append, commands without them, counts.

pub mod annotation;
pub mod manifest;
pub mod replay;
pub mod scan;

use std::os::fd::OwnedFd;

/// The file that is appended to, as it stands when the data has been loaded.
#[derive(Debug)]
pub struct OpenJournal {
    /// The file, open for writing at any offset.
    pub file: OwnedFd,
    /// Its end, where the next group goes.
    pub offset: u64,
    /// Bytes of the base. Source: INFO aof_base_size.
    pub base_bytes: u64,
    /// Bytes of all files. Source: INFO aof_current_size.
    pub bytes: u64,
}
