//! What the process holds, as INFO and MEMORY report it.
//!
//! Invariant: `used` is the allocator wrapper's exact count; the allocator itself is not asked, so
//! what it holds back from the system shows in `resident` only. Source: INFO memory of Redis 8.0.6.

use std::sync::atomic::Ordering::Relaxed;

use crate::base::alloc;
use crate::observe::server::ServerFacts;

/// Bytes, at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct MemoryFigures {
    /// Handed out by the allocator.
    pub(super) used: u64,
    /// The highest `used` that was seen.
    pub(super) peak: u64,
    /// Of the process, as the system counts.
    pub(super) resident: u64,
    /// `used` when the start was over.
    pub(super) startup: u64,
    /// Tables, without their keys.
    pub(super) tables: u64,
    /// Buffers of clients.
    pub(super) clients: u64,
}

impl MemoryFigures {
    /// Takes them.
    pub(super) fn take(server: &ServerFacts) -> MemoryFigures {
        let used = alloc::used_memory() as u64;
        MemoryFigures {
            used,
            peak: server.peak_memory.fetch_max(used, Relaxed).max(used),
            resident: server.resident_memory.load(Relaxed),
            startup: server.startup_memory.load(Relaxed),
            tables: server.sum(|stats| stats.dbs.iter().map(|db| db.table_bytes.get()).sum()),
            clients: server.sum(|stats| stats.clients_bytes.get()),
        }
    }

    /// What is no data.
    pub(super) fn overhead(&self) -> u64 {
        self.startup + self.tables + self.clients
    }

    /// What is left for data.
    pub(super) fn dataset(&self) -> u64 {
        self.used.saturating_sub(self.overhead())
    }

    /// Data in percent of what came after the start.
    pub(super) fn dataset_percent(&self) -> f64 {
        percent(self.dataset(), self.used.saturating_sub(self.startup))
    }

    /// `used` in percent of the peak.
    pub(super) fn peak_percent(&self) -> f64 {
        percent(self.used, self.peak)
    }

    /// Resident bytes for each used one.
    pub(super) fn fragmentation(&self) -> f64 {
        if self.used == 0 { 0.0 } else { self.resident as f64 / self.used as f64 }
    }

    /// Resident bytes beyond the used ones; negative when pages have been swapped out.
    pub(super) fn fragmentation_bytes(&self) -> i64 {
        self.resident as i64 - self.used as i64
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}
