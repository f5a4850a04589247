//! What the writer of the journal has done for it, and what may go wrong.
//!
//! Invariant: data. Whoever does an action tells the writer of its end, but of `Close` and `Trim`,
//! with which a file is done with.

use std::io;
use std::os::fd::RawFd;

use bytes::Bytes;

use crate::base::time::Nanos;

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Write all of `bytes` at `offset`.
    Write {
        /// The file.
        fd: RawFd,
        /// Where.
        offset: u64,
        /// What.
        bytes: Bytes,
        /// It ends when what it has written would survive a power cut.
        syncs: bool,
    },
    /// Sync the file.
    Sync {
        /// The file.
        fd: RawFd,
    },
    /// Have the kernel begin to write these bytes of the file to the disk.
    WriteBack {
        /// The file.
        fd: RawFd,
        /// Where they begin.
        offset: u64,
        /// How many they are.
        len: u32,
    },
    /// Close the file.
    Close {
        /// The file.
        fd: RawFd,
    },
    /// Cut the file behind what was written, since it was filled with zeros ahead, and close it.
    Trim {
        /// The file.
        fd: RawFd,
        /// Its length.
        len: u64,
    },
    /// Fill the file with zeros ahead of what is written, and tell when they are on the disk: then a
    /// sync of what takes their place changes nothing but data.
    Fill {
        /// The file.
        fd: RawFd,
        /// Which of all files it is.
        file: u64,
        /// Where the zeros begin.
        from: u64,
        /// Where they end.
        to: u64,
    },
}

/// How a group is to be written.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Each group is synced.
    pub syncs: bool,
    /// The time to note, in seconds, if it is noted at all.
    pub time: Option<i64>,
    /// When it is.
    pub now: Nanos,
}

/// What failed.
#[derive(Debug)]
pub enum Failure {
    /// A write.
    Write(io::Error),
    /// A write, after so many bytes of so many: there is no room.
    Short(usize, usize),
    /// A sync.
    Sync(io::Error),
}
