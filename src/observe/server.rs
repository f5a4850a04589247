//! Facts of the process that every core may read: who it is, since when, and everybody's counters.
//!
//! Invariant: fixed at the start, but for atomics.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::busy::BusyScripts;
use super::command_log::{KINDS, LogKind};
use super::journal::Journal;
use super::link::PrimaryLink;
use super::persistence::Persistence;
use super::process::ProcessFacts;
use super::replication::{Replication, ReplicationId};
use super::stats::{CoreStats, Gauge};
use super::transit::Transit;
use crate::base::time::Millis;

/// The version of Redis that we answer as.
pub const REDIS_VERSION: &str = "8.0.6";
/// Our own version.
pub const IRONRING_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Descriptors that are not clients, as stock counts them: listeners, files, connections of its own.
const RESERVED_DESCRIPTORS_MIN: u64 = 32;
/// Descriptors of the process that no core has.
const SHARED_DESCRIPTORS: u64 = 16;
/// Descriptors of each core: its eventfd and its ring, which is two with epoll.
const CORE_DESCRIPTORS: u64 = 3;

/// Descriptors that `maxclients` leaves to the rest of a server with so many cores.
pub fn reserved_descriptors(cores: usize) -> u64 {
    (SHARED_DESCRIPTORS + CORE_DESCRIPTORS * cores as u64).max(RESERVED_DESCRIPTORS_MIN)
}

/// What the process is.
#[derive(Debug)]
pub struct ServerFacts {
    /// Forty random hexadecimal digits.
    pub run_id: String,
    /// Process id.
    pub pid: u32,
    /// How it was started.
    pub process: ProcessFacts,
    /// When it started.
    pub started: Millis,
    /// Path of the binary.
    pub executable: String,
    /// Absolute path of the configuration file; empty without one.
    pub config_file: String,
    /// `uname -s -r -m`.
    pub os: String,
    /// Memory of the machine in bytes.
    pub system_memory: u64,
    /// used_memory when the start was over.
    pub startup_memory: AtomicU64,
    /// Highest used_memory that was seen.
    pub peak_memory: AtomicU64,
    /// Resident memory of the process in bytes; the control plane looks ten times a second.
    pub resident_memory: AtomicU64,
    /// The core that writes the append-only file stands still for so long before it does. Source: DEBUG
    /// AOF-FLUSH-SLEEP.
    pub aof_flush_sleep_micros: AtomicU64,
    /// Sockets to other servers that MIGRATE keeps.
    pub migrate_sockets: AtomicU64,
    /// Free memory is to go back to the system in the control plane's next round. Source: MEMORY PURGE.
    pub purge_asked: AtomicBool,
    /// From how many bytes on an element of a list gets a node of its own; 0 leaves it to
    /// `list-max-listpack-size`. Source: DEBUG QUICKLIST-PACKED-THRESHOLD.
    pub list_packed_threshold: AtomicU64,
    /// Checksums of dumped values and of RDB files are not compared. Source: DEBUG
    /// SET-SKIP-CHECKSUM-VALIDATION.
    pub skips_checksums: AtomicBool,
    /// Scripts may call the commands that are not for scripts. Source: DEBUG
    /// SET-DISABLE-DENY-SCRIPTS.
    pub scripts_call_all: AtomicBool,
    /// Counters, by core.
    pub stats: Vec<Arc<CoreStats>>,
    /// Clients, by core; raised where they are accepted, lowered where they lived.
    pub clients: Vec<Gauge>,
    /// The last client id that was given.
    pub client_ids: AtomicU64,
    /// The numbers of the next entries of the command logs.
    pub logged: [AtomicU64; KINDS],
    /// The process is to end.
    pub shutdown: AtomicBool,
    /// Scripts that run for too long.
    pub busy: BusyScripts,
    /// Saves and loads.
    pub persistence: Persistence,
    /// The append-only file.
    pub journal: Journal,
    /// Pushes on their way.
    pub transit: Transit,
    /// The link to the primary that this server follows.
    pub primary_link: PrimaryLink,
    /// The history that replicas follow.
    pub replication: Replication,
}

impl ServerFacts {
    /// Of a process that starts, whose cores know so many commands and databases. What the system says
    /// of it is left empty.
    pub fn new(
        process: ProcessFacts,
        started: Millis,
        (cores, commands, databases): (usize, usize, usize),
        history: ReplicationId,
    ) -> ServerFacts {
        ServerFacts {
            run_id: String::new(),
            pid: std::process::id(),
            process,
            started,
            executable: String::new(),
            config_file: String::new(),
            os: String::new(),
            system_memory: 0,
            startup_memory: AtomicU64::new(0),
            peak_memory: AtomicU64::new(0),
            resident_memory: AtomicU64::new(0),
            aof_flush_sleep_micros: AtomicU64::new(0),
            migrate_sockets: AtomicU64::new(0),
            purge_asked: AtomicBool::new(false),
            list_packed_threshold: AtomicU64::new(0),
            skips_checksums: AtomicBool::new(false),
            scripts_call_all: AtomicBool::new(false),
            stats: (0..cores).map(|_| Arc::new(CoreStats::new(commands, databases))).collect(),
            clients: (0..cores).map(|_| Gauge::default()).collect(),
            client_ids: AtomicU64::new(0),
            logged: Default::default(),
            shutdown: AtomicBool::new(false),
            busy: BusyScripts::new(cores),
            persistence: Persistence::new(started.seconds(), 0),
            journal: Journal::default(),
            transit: Transit::new(cores),
            primary_link: PrimaryLink::default(),
            replication: Replication::new(history),
        }
    }

    /// A number that no client had before.
    pub fn next_client_id(&self) -> u64 {
        self.client_ids.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A number that no entry of this log had before.
    pub fn next_logged(&self, kind: LogKind) -> u64 {
        self.logged[kind as usize].fetch_add(1, Ordering::Relaxed)
    }

    /// True if checksums are compared.
    pub fn verifies_checksums(&self) -> bool {
        !self.skips_checksums.load(Ordering::Relaxed)
    }

    /// Bytes that `maxmemory` does not count, since no key that goes makes them fewer: what is kept
    /// for replicas beyond a backlog of so many bytes, what waits for the append-only file, and
    /// invalidations that leave. Source: INFO, mem_not_counted_for_evict.
    pub fn not_counted_for_evict(&self, backlog_size: u64) -> u64 {
        let kept = self.replication.backlog_bytes.load(Ordering::Relaxed);
        let waiting = self.journal.waiting_bytes.load(Ordering::Relaxed);
        kept.saturating_sub(backlog_size) + waiting + self.transit.leaving()
    }

    /// Changes since the last save that succeeded.
    pub fn unsaved_changes(&self) -> u64 {
        let saved = self.persistence.changes_saved.load(Ordering::Relaxed);
        self.sum(|stats| stats.dirty.get()).saturating_sub(saved)
    }

    /// A sum over all cores.
    pub fn sum(&self, count: impl Fn(&CoreStats) -> u64) -> u64 {
        self.stats.iter().map(|stats| count(stats)).sum()
    }
}
