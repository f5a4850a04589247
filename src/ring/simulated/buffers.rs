//! The receive buffers of a simulated ring, without their memory.
//!
//! Invariant: a buffer is free, being filled, or leased; it is filled again when all its leases have
//! been released and the kernel has been told.

use std::collections::VecDeque;

use crate::ring::BufferLease;

/// Receive buffers of one core, without their memory.
#[derive(Debug)]
pub(super) struct Buffers {
    pub(super) size: u32,
    pub(super) free: VecDeque<u16>,
    pub(super) current: Option<(u16, u32)>,
    pub(super) leased: Vec<u32>,
    pub(super) finished: Vec<bool>,
    pub(super) released: Vec<u16>,
}

impl Buffers {
    pub(super) fn room(&self) -> Option<u32> {
        match self.current {
            Some((_, filled)) => Some(self.size - filled),
            None => (!self.free.is_empty()).then_some(self.size),
        }
    }

    pub(super) fn lease(&mut self, len: u32, last: bool) -> BufferLease {
        let current = self.current.take().or_else(|| Some((self.free.pop_front()?, 0)));
        let (buffer, start) = current.expect("room was looked for");
        let last = last || start + len == self.size;
        self.current = (!last).then_some((buffer, start + len));
        self.leased[buffer as usize] += 1;
        self.finished[buffer as usize] = last;
        BufferLease { buffer, start, len, last }
    }

    pub(super) fn release(&mut self, buffer: u16) {
        let index = buffer as usize;
        self.leased[index] -= 1;
        if self.leased[index] == 0 && self.finished[index] {
            self.released.push(buffer);
        }
    }
}
