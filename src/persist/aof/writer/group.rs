//! A group of the writer on its way to the disk.
//!
//! Invariant: `offset` and `bytes` are what is left of it; with `syncs` it is done when a sync has
//! covered all of it.

use std::os::fd::RawFd;

use bytes::Bytes;

use super::Action;

/// A point in the order of all blocks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Point {
    /// The number of the block before it.
    pub(super) number: u64,
    /// The byte behind its group, in the file that is written.
    pub(super) offset: u64,
}

/// A group under way.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) fd: RawFd,
    /// Where what is left goes.
    pub(super) offset: u64,
    /// What is left.
    pub(super) bytes: Bytes,
    /// The number of its last block.
    pub(super) last: u64,
    pub(super) syncs: bool,
    pub(super) is_synced: bool,
    /// Operations under way.
    pub(super) ops: u8,
    pub(super) tries: u8,
}

impl Group {
    /// Behind what is written of it.
    pub(super) fn end(&self) -> Point {
        Point { number: self.last, offset: self.offset }
    }

    pub(super) fn is_written(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn is_done(&self) -> bool {
        self.is_written() && (self.is_synced || !self.syncs)
    }

    pub(super) fn write(&mut self) -> Action {
        self.ops = 1 + u8::from(self.syncs);
        Action::Write {
            fd: self.fd,
            offset: self.offset,
            bytes: self.bytes.clone(),
            syncs: self.syncs,
        }
    }
}
