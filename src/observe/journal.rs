//! The journal as every core sees it: how far it has come, and what INFO tells of it.
//!
//! Invariant: `written` and `synced` only grow, and the core that writes the journal alone raises
//! them; a core that waits for them says so before it looks again, and is woken by the next rise.

use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release, SeqCst},
};

use crate::base::core_set::{CORES_MAX, CoreSet};
use crate::base::gate::Gate;

/// The journal of the process.
#[derive(Debug, Default)]
pub struct Journal {
    /// What commands change is journaled.
    on: AtomicBool,
    /// The last number that a turn with changes has taken.
    last: AtomicU64,
    /// The changes of all turns up to this number are in the kernel.
    written: AtomicU64,
    /// They would survive a power cut.
    synced: AtomicU64,
    /// Cores that wait for one of these to rise.
    waiting: [AtomicU64; CORES_MAX / 64],
    /// Cores that have ended: their last changes are with the writer.
    ended: AtomicU64,
    /// Bytes of all files that the manifest names, but for what has not been written.
    pub size: AtomicU64,
    /// The same after the last rewrite, or the start.
    pub base_size: AtomicU64,
    /// Bytes that wait to be written.
    pub waiting_bytes: AtomicU64,
    /// A sync is under way.
    pub is_syncing: AtomicBool,
    /// Syncs that were due while one was under way.
    pub delayed_syncs: AtomicU64,
    /// The last write or sync failed.
    pub failed: AtomicBool,
    /// Why, as the system numbers it.
    pub error: AtomicI32,
}

impl Journal {
    /// True if what commands change is journaled.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.on.load(Acquire)
    }

    /// From now on what commands change is journaled, or not.
    pub fn turn_on(&self, on: bool) {
        self.on.store(on, Release);
    }

    /// A turn with changes has taken this number, and has not let anything out.
    pub fn took(&self, number: u64) {
        self.last.fetch_max(number, SeqCst);
    }

    /// What somebody has to wait for who may have seen any change.
    pub fn last(&self) -> Gate {
        Gate::of(self.last.load(SeqCst))
    }

    /// How far the changes are in the kernel, or if `is_synced` says so, synced.
    pub fn covered(&self, is_synced: bool) -> u64 {
        if is_synced { self.synced.load(SeqCst) } else { self.written.load(SeqCst) }
    }

    /// The writer has come so far. Who waits for that has to be woken.
    pub fn advance(&self, written: u64, synced: u64) -> CoreSet {
        self.written.store(written, SeqCst);
        self.synced.store(synced, SeqCst);
        let [low, high] = &self.waiting;
        let bits = |word: &AtomicU64| u128::from(word.swap(0, SeqCst));
        CoreSet::of_bits(bits(low) | bits(high) << 64)
    }

    /// A core waits for the writer. It has to look once more how far that has come.
    pub fn wait(&self, core: usize) {
        self.waiting[core / 64].fetch_or(1 << (core % 64), SeqCst);
    }

    /// A core has sent all that it will ever send.
    pub fn end(&self) {
        self.ended.fetch_add(1, SeqCst);
    }

    /// Cores that have sent all that they will ever send.
    pub fn ended(&self) -> u64 {
        self.ended.load(SeqCst)
    }

    /// Bytes of the journal, with what waits to be written.
    pub fn bytes(&self) -> u64 {
        self.size.load(Relaxed) + self.waiting_bytes.load(Relaxed)
    }
}
