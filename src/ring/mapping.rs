//! Memory straight from the kernel, which is no part of what the data set is charged with.
//!
//! Invariant: mapped for as long as the value lives. Source: mmap(2).
#![allow(unsafe_code)]

use std::io;
use std::ptr::NonNull;

/// An anonymous mapping.
#[derive(Debug)]
pub(super) struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: nobody else knows the memory unless he was given its address, and whoever gives that away
// says why that is sound.
unsafe impl Send for Mapping {}

impl Mapping {
    /// So many bytes, all zero.
    pub(super) fn new(len: usize) -> io::Result<Mapping> {
        // SAFETY: a fresh anonymous private mapping; the arguments name no memory of ours.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                // Present from the start: no page fault while clients wait, and no surprise later.
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE,
                -1,
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(memory.cast());
        let base = base.ok_or_else(|| io::Error::other("mapped at address zero"))?;
        Ok(Mapping { base, len })
    }

    /// Its first byte, for who shares it with the kernel.
    pub(super) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// All bytes, for who has them alone.
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: mapped and readable for the life of `self`; who uses this gives `base` to nobody.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.len) }
    }

    /// All bytes, to be changed.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `self` is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length; nobody uses it any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}
