//! The provided-buffer ring of one core: memory that the kernel picks from as data arrives.
//!
//! Invariant: a buffer is either the kernel's (published and not finished) or ours (leased); with
//! incremental consumption the kernel goes on behind the leased part and never writes to it again.
//! Source: io_uring_register_buf_ring(3), IOU_PBUF_RING_INC.
#![allow(unsafe_code)]

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::{Submitter, types::BufRingEntry};

use super::mapping::Mapping;

/// The buffer group of every ring of ours.
pub const GROUP: u16 = 1;

/// `IOU_PBUF_RING_INC`: one buffer serves several receives, one behind the other.
const INCREMENTAL: u16 = 2;
/// `IORING_CQE_F_BUF_MORE`: the kernel goes on in the same buffer.
const CQE_BUF_MORE: u32 = 1 << 4;

/// Count and size where the kernel can fill a buffer piece by piece.
const INCREMENTAL_SHAPE: (u16, u32) = (64, 64 * 1024);
/// Count and size where it cannot.
const WHOLE_SHAPE: (u16, u32) = (1024, 4096);

/// Received bytes that the kernel has written and will not touch until they are released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferLease {
    /// Which buffer.
    pub buffer: u16,
    /// First byte in it.
    pub start: u32,
    /// Bytes.
    pub len: u32,
    /// The kernel has finished with the buffer: releasing this lease gives it back.
    pub last: bool,
}

impl BufferLease {
    /// Where its bytes lie in memory that holds all buffers, each of so many bytes, one behind the other.
    #[inline]
    pub(super) fn place(&self, buffer_bytes: usize) -> std::ops::Range<usize> {
        let start = self.buffer as usize * buffer_bytes + self.start as usize;
        start..start + self.len as usize
    }
}

/// Memory of the buffers and of the ring that offers them to the kernel.
#[derive(Debug)]
pub struct BufferRing {
    // The kernel writes to both, but for what it has leased to us.
    entries: Mapping,
    memory: Mapping,
    count: u16,
    size: u32,
    tail: u16,
    published: u16,
    /// How far each buffer is filled.
    filled: Vec<u32>,
    /// Leases of each buffer that are out.
    leased: Vec<u32>,
    /// The kernel has finished with the buffer.
    finished: Vec<bool>,
}

impl BufferRing {
    /// Registers a ring of buffers with the ring behind `submitter`.
    pub fn register(submitter: &Submitter<'_>) -> io::Result<BufferRing> {
        BufferRing::of_shape(submitter, INCREMENTAL_SHAPE, INCREMENTAL)
            .or_else(|_| BufferRing::of_shape(submitter, WHOLE_SHAPE, 0))
    }

    fn of_shape(
        submitter: &Submitter<'_>,
        (count, size): (u16, u32),
        flags: u16,
    ) -> io::Result<BufferRing> {
        let entries = Mapping::new(count as usize * size_of::<BufRingEntry>())?;
        let memory = Mapping::new(count as usize * size as usize)?;
        let mut ring = BufferRing {
            entries,
            memory,
            count,
            size,
            tail: 0,
            published: 0,
            filled: vec![0; count as usize],
            leased: vec![0; count as usize],
            finished: vec![false; count as usize],
        };
        // SAFETY: `entries` maps `count` ring entries and stays mapped until `ring` is dropped,
        // which happens after the io_uring instance is (field order in `KernelRing`).
        unsafe {
            submitter.register_buf_ring_with_flags(
                ring.entries().as_ptr() as u64,
                count,
                GROUP,
                flags,
            )?;
        }
        for buffer in 0..count {
            ring.offer(buffer);
        }
        ring.publish();
        Ok(ring)
    }

    /// The lease of a completion: `result` bytes in the buffer that `flags` name.
    pub fn lease(&mut self, buffer: u16, len: u32, flags: u32) -> BufferLease {
        let index = buffer as usize;
        let start = self.filled[index];
        assert!(start + len <= self.size, "the kernel filled more than a buffer holds");
        self.filled[index] = start + len;
        self.leased[index] += 1;
        let last = flags & CQE_BUF_MORE == 0;
        self.finished[index] = last;
        BufferLease { buffer, start, len, last }
    }

    /// The bytes of a lease.
    #[inline]
    pub fn bytes(&self, lease: &BufferLease) -> &[u8] {
        assert!(lease.buffer < self.count && lease.start + lease.len <= self.size);
        let place = lease.place(self.size as usize);
        // SAFETY: `memory` maps count * size bytes for the life of `self` and the assertion keeps the
        // range inside; the completion that made the lease ended the kernel's write to it, and the
        // kernel gets the buffer again only through `offer`, after the lease was released.
        unsafe {
            let base = self.memory.base().as_ptr();
            std::slice::from_raw_parts(base.add(place.start), place.len())
        }
    }

    /// Takes a lease back; its buffer is offered again with the last lease of it.
    #[inline]
    pub fn release(&mut self, lease: BufferLease) {
        let index = lease.buffer as usize;
        self.leased[index] -= 1;
        if self.leased[index] == 0 && self.finished[index] {
            self.offer(lease.buffer);
        }
    }

    /// Makes what was released visible to the kernel.
    #[inline]
    pub fn publish(&mut self) {
        if self.published != self.tail {
            self.published = self.tail;
            // SAFETY: the tail lies in the first entry of the mapped ring, is aligned for a u16 and
            // is read by the kernel only; nobody else of ours writes to it.
            let tail = unsafe {
                let pointer = BufRingEntry::tail(self.entries().as_ptr()).cast_mut();
                AtomicU16::from_ptr(pointer)
            };
            tail.store(self.tail, Ordering::Release);
        }
    }

    fn offer(&mut self, buffer: u16) {
        self.filled[buffer as usize] = 0;
        self.finished[buffer as usize] = false;
        let slot = self.tail & (self.count - 1);
        // SAFETY: `slot` is below `count` (a power of two), so the entry is mapped; the kernel reads
        // it only after `publish` has moved the tail past it. The address is that of a whole buffer.
        unsafe {
            let entry = &mut *self.entries().as_ptr().add(slot as usize);
            let address = self.memory.base().as_ptr().add(buffer as usize * self.size as usize);
            entry.set_addr(address as u64);
            entry.set_len(self.size);
            entry.set_bid(buffer);
        }
        self.tail = self.tail.wrapping_add(1);
    }

    fn entries(&self) -> NonNull<BufRingEntry> {
        self.entries.base().cast()
    }
}
