//! A group of the writer on its way to the disk.
//!
//! Invariant: `offset` and `bytes` are what is left of it; with `syncs` what is not left would survive a
//! power cut.

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
    /// A write of it is under way.
    pub(super) is_under_way: bool,
    /// A durable write has failed with this error: of a sync, unless a mere write of all that is left fails, too.
    pub(super) doubt: Option<i32>,
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

    pub(super) fn write(&mut self) -> Action {
        self.is_under_way = true;
        Action::Write {
            fd: self.fd,
            offset: self.offset,
            bytes: self.bytes.clone(),
            syncs: self.syncs && self.doubt.is_none(),
        }
    }
}
