//! How many bytes of pushes are on their way to each core: sent to it, or caused on it, and not
//! delivered to its clients yet.
//!
//! Invariant: `over` counts the cores to which more than `BYTES_MAX` are on their way, since whatever
//! carries a level past that bound changes it. A core that is slow, or stands still in a long command,
//! so holds back those who push to it, instead of having their memory.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// What may be on its way to one core, but for what a turn adds to it.
pub const BYTES_MAX: u64 = 32 << 20;

/// A level on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Level(AtomicU64);

/// The levels of all cores.
#[derive(Debug)]
pub struct Transit {
    levels: Vec<Level>,
    /// Two threads may cross the bound in opposite directions at once, and count in either order.
    over: AtomicI64,
    /// What keys that go have caused, and what soon leaves: bytes that no key that goes makes fewer.
    /// It changes while the level of everybody is read, so it has a line of its own.
    leaving: Level,
}

impl Transit {
    /// Nothing is on its way to any of so many cores.
    pub fn new(cores: usize) -> Transit {
        let levels = (0..cores).map(|_| Level::default()).collect();
        Transit { levels, over: AtomicI64::new(0), leaving: Level::default() }
    }

    /// True while there is a core to which too much is on its way.
    #[inline]
    pub fn is_over(&self) -> bool {
        self.over.load(Relaxed) > 0
    }

    /// Bytes that leave soon.
    pub fn leaving(&self) -> u64 {
        self.leaving.0.load(Relaxed)
    }

    /// So many bytes more leave soon.
    pub fn begin_leaving(&self, bytes: u64) {
        if bytes > 0 {
            self.leaving.0.fetch_add(bytes, Relaxed);
        }
    }

    /// So many bytes of these have left, or count from now on.
    pub fn end_leaving(&self, bytes: u64) {
        if bytes > 0 {
            self.leaving.0.fetch_sub(bytes, Relaxed);
        }
    }

    /// So many bytes have left for a core.
    pub fn left(&self, core: usize, bytes: u64) {
        let before = self.levels[core].0.fetch_add(bytes, Relaxed);
        if before <= BYTES_MAX && before + bytes > BYTES_MAX {
            self.over.fetch_add(1, Relaxed);
        }
    }

    /// So many bytes that had left for a core are with its clients, or forgotten.
    pub fn arrived(&self, core: usize, bytes: u64) {
        let before = self.levels[core].0.fetch_sub(bytes, Relaxed);
        assert!(before >= bytes, "what arrives has left");
        if before > BYTES_MAX && before - bytes <= BYTES_MAX {
            self.over.fetch_sub(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_is_over_until_enough_has_arrived() {
        let transit = Transit::new(2);
        transit.left(0, BYTES_MAX);
        transit.left(1, BYTES_MAX);
        assert!(!transit.is_over());
        transit.left(1, 1);
        transit.left(0, 2);
        assert!(transit.is_over());
        transit.arrived(1, 1);
        assert!(transit.is_over());
        transit.arrived(0, 10);
        assert!(!transit.is_over());
        transit.arrived(1, BYTES_MAX);
        transit.arrived(0, BYTES_MAX - 8);
        assert!(!transit.is_over());
    }
}
