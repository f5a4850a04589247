//! What the process holds, as INFO and MEMORY report it.
//!
//! Invariant: `used` is the allocator wrapper's exact count; `active` is what the allocator has from the system for it;
//! `resident` is the whole process as the system counts it. Source: INFO memory of Redis 8.0.6.

use std::sync::atomic::Ordering::Relaxed;

use crate::base::alloc;
use crate::config::Config;
use crate::observe::server::ServerFacts;
use crate::observe::stats::CoreStats;
use crate::script::{Functions, Scripts};

/// Bytes, at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct MemoryFigures {
    /// Handed out by the allocator.
    pub(super) used: u64,
    /// Pages of the allocator, in use or not: at most what is resident.
    pub(super) active: u64,
    /// The highest `used` that was seen.
    pub(super) peak: u64,
    /// Of the process, as the system counts.
    pub(super) resident: u64,
    /// `used` when the start was over.
    pub(super) startup: u64,
    /// Tables, without their keys.
    pub(super) tables: u64,
    /// Buffers of clients that are no replicas.
    pub(super) clients: u64,
    /// The backlog up to its limit.
    pub(super) backlog: u64,
    /// Buffers of replicas, and what goes beyond the limit of the backlog: it is kept for those that are behind.
    pub(super) replicas: u64,
    /// The primary's stream behind a snapshot that is not in place yet.
    pub(super) full_sync: u64,
    /// What waits to be written to the append-only file.
    pub(super) journal: u64,
    /// Scripts, libraries and their interpreters.
    pub(super) scripts: u64,
}

impl MemoryFigures {
    /// Takes them.
    pub(super) fn take(
        server: &ServerFacts,
        config: &Config,
        (scripts, functions): (&Scripts, &Functions),
    ) -> MemoryFigures {
        let used = alloc::used_memory() as u64;
        let resident = server.resident_memory.load(Relaxed);
        let (written, replicas) =
            (&server.replication.backlog_bytes, &server.replication.replica_bytes);
        let (written, replicas) = (written.load(Relaxed), replicas.load(Relaxed));
        // Without a replica all of it is the backlog, whole chunks as it is.
        let is_alone = server.replication.replicas.load(Relaxed) == 0;
        let backlog = if is_alone { written } else { written.min(config.repl_backlog_size) };
        let engines =
            |stats: &CoreStats| stats.script_engine_bytes.get() + stats.function_engine_bytes.get();
        MemoryFigures {
            used,
            active: (alloc::committed_memory() as u64).min(resident).max(used),
            peak: server.peak_memory.fetch_max(used, Relaxed).max(used),
            resident,
            startup: server.startup_memory.load(Relaxed),
            tables: server.sum(|stats| stats.dbs.iter().map(|db| db.table_bytes.get()).sum()),
            clients: server.sum(|stats| stats.clients_bytes.get()),
            backlog,
            replicas: replicas + (written - backlog),
            full_sync: server.primary_link.kept.load(Relaxed),
            journal: server.journal.waiting_bytes.load(Relaxed),
            scripts: (scripts.script_bytes() + functions.library_bytes()) as u64
                + server.sum(engines),
        }
    }

    /// What is no data.
    pub(super) fn overhead(&self) -> u64 {
        let replication = self.backlog + self.replicas + self.full_sync;
        self.startup + self.tables + self.clients + replication + self.scripts + self.journal
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

    /// Resident bytes for each used one, and how many more they are; fewer when pages have been swapped out.
    pub(super) fn fragmentation(&self) -> Excess {
        Excess::of(self.resident, self.used)
    }

    /// What the allocator has for each used byte.
    pub(super) fn in_pages(&self) -> Excess {
        Excess::of(self.active, self.used)
    }

    /// What is resident for each byte that the allocator has: the program, stacks, rings and their buffers.
    pub(super) fn beside_pages(&self) -> Excess {
        Excess::of(self.resident, self.active)
    }
}

/// How much more one figure is than another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Excess {
    /// The one for each of the other.
    pub(super) ratio: f64,
    /// The difference.
    pub(super) bytes: i64,
}

impl Excess {
    fn of(whole: u64, part: u64) -> Excess {
        let ratio = if part == 0 { 0.0 } else { whole as f64 / part as f64 };
        Excess { ratio, bytes: whole as i64 - part as i64 }
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}
