//! Which receive buffers are leased, free or being filled: the accounting of the rings that fill them
//! without the kernel's help, without the memory itself.
//!
//! Invariant: a buffer is free, being filled, or leased; it is filled again when all its leases have
//! been released and `publish` was called.

use std::collections::VecDeque;

use super::BufferLease;

/// Receive buffers of one core, without their memory.
#[derive(Debug)]
pub(super) struct Leases {
    pub(super) size: u32,
    free: VecDeque<u16>,
    current: Option<(u16, u32)>,
    leased: Vec<u32>,
    finished: Vec<bool>,
    released: Vec<u16>,
}

impl Leases {
    pub(super) fn new((count, size): (u16, u32)) -> Leases {
        Leases {
            size,
            free: (0..count).collect(),
            current: None,
            leased: vec![0; count as usize],
            finished: vec![false; count as usize],
            released: Vec::new(),
        }
    }

    /// Bytes that the next lease can have. None without a free buffer.
    pub(super) fn room(&self) -> Option<u32> {
        match self.current {
            Some((_, filled)) => Some(self.size - filled),
            None => (!self.free.is_empty()).then_some(self.size),
        }
    }

    /// The buffer that the next lease is of, and its first byte. None without a free buffer.
    pub(super) fn next(&self) -> Option<(u16, u32)> {
        self.current.or_else(|| Some((*self.free.front()?, 0)))
    }

    /// Leases the next `len` bytes; with `last` the rest of their buffer is not used.
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

    /// What was released may be filled again.
    pub(super) fn publish(&mut self) {
        for buffer in self.released.drain(..) {
            self.finished[buffer as usize] = false;
            self.free.push_back(buffer);
        }
    }

    /// Leases that are out.
    pub(super) fn held(&self) -> u32 {
        self.leased.iter().sum()
    }
}
