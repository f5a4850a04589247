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
use super::replication::Replication;
use super::stats::{CoreStats, Gauge};
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
    /// From how many bytes on an element of a list gets a node of its own; 0 leaves it to
    /// `list-max-listpack-size`. Source: DEBUG QUICKLIST-PACKED-THRESHOLD.
    pub list_packed_threshold: AtomicU64,
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
    /// The link to the primary that this server follows.
    pub primary_link: PrimaryLink,
    /// The history that replicas follow.
    pub replication: Replication,
}

impl ServerFacts {
    /// A number that no client had before.
    pub fn next_client_id(&self) -> u64 {
        self.client_ids.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A number that no entry of this log had before.
    pub fn next_logged(&self, kind: LogKind) -> u64 {
        self.logged[kind as usize].fetch_add(1, Ordering::Relaxed)
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
