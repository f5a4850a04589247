//! Loads as a core sees them: keys that come from a file, commands that come from an AOF.
//!
//! Invariant: a core takes no more than a slice a turn of what comes for its own partition. Commands
//! that need all partitions come to the sequencer's core alone, when nothing else is under way; they
//! run as one transaction of a client that is nobody.

use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Core;
use crate::base::time::Clock;
use crate::command::args::{Args, join};
use crate::command::context::Keyspace;
use crate::command::effects::{Effects, Interest};
use crate::commands::generic::dump;
use crate::config::Config;
use crate::dispatch::replay::replaying_session;
use crate::net::connection::Connection;
use crate::persist::aof::replay::Lines;
use crate::persist::load::{AofPlace, Load, LoadOrder, Piece};
use crate::persist::rdb::Checks;
use crate::ring::Ring;
use crate::store::load::Making;
use crate::txn::batch::Batch;
use crate::txn::multi::Transaction;

/// Commands that need all partitions, while they run.
pub(super) struct Serial {
    load: Arc<Load>,
    weight: u64,
}

/// Nanoseconds that a turn spends on what comes from a file.
const LOAD_NANOS_PER_TURN: u64 = 1_000_000;
/// The socket of nobody.
const NO_SOCKET: i32 = -1;

impl<R: Ring, C: Clock> Core<R, C> {
    /// Takes what has come from a file. True if there may be more.
    pub(super) fn load_some(&mut self) -> bool {
        let is_tried = self.worker.server.primary_link.on_trial.load(Ordering::Relaxed);
        if !self.worker.is_loading() && !is_tried {
            return false;
        }
        let began = self.monotonic();
        let core = self.worker.core;
        let making = Making {
            limits: dump::limits(
                &self.worker.config,
                &self.worker.server,
                self.worker.hasher.hash_key(),
            ),
            access: self.worker.access(),
            now: self.worker.now,
        };
        while self.serial.is_none()
            && let Some(partition) = self.seat.partition_now()
        {
            let Some((load, piece)) = self.control.loaded(core) else { return false };
            match &piece {
                Piece::Records(records) => {
                    self.worker.load_libraries(&load, records);
                    // Replicas that go on with the history of the file have what has expired.
                    let journal = self.worker.feeds_replicas();
                    let mut gone = Effects::new(Interest { journal, ..Interest::default() });
                    partition.load(&load, records, &making, |db, key| gone.expired(db, key));
                    self.worker.journal_gone(&mut Keyspace::One(partition), &gone);
                }
                Piece::DropAside => partition.drop_aside(),
                Piece::Lines(lines) if lines.is_serial => {
                    self.replay_serial(lines, Serial { load, weight: piece.weight() });
                    return true;
                }
                Piece::Lines(lines) => self.worker.replay(partition, lines),
            }
            load.queued[core].fetch_sub(piece.weight(), Ordering::AcqRel);
            if self.clock.monotonic().since(began) > LOAD_NANOS_PER_TURN {
                return true;
            }
        }
        false
    }

    /// Begins to run commands that need all partitions.
    fn replay_serial(&mut self, lines: &Lines, serial: Serial) {
        let db = lines.db().unwrap_or_default();
        let mut transaction = Box::<Transaction>::default();
        self.worker.queue_lines(lines, db, &mut transaction, self.map);
        self.serial = Some(serial);
        self.run_for_nobody(transaction, db);
    }

    /// Runs a transaction of a client that is nobody; `nobody_done` hears of its end.
    pub(super) fn run_for_nobody(&mut self, transaction: Box<Transaction>, db: usize) {
        let mut session = replaying_session(&self.worker);
        session.facts.db = db;
        session.facts.home = self.worker.core as u16;
        let generation = self.clients.next_generation();
        let client = self.clients.insert(Connection::new(session, NO_SOCKET, generation));
        let Some(mut batch) = self.new_batch(client) else { return };
        let (word, ranges) = join(&[b"EXEC".to_vec()]);
        let exec = self.worker.table.command(b"EXEC").map(|exec| exec.id as u16);
        batch.push(Args::new(&word, &ranges, &[]), exec, None);
        batch.transaction = Some(transaction);
        if let Some(batch) = self.bring_scripts_of_exec(batch) {
            self.run_batch(batch);
        }
    }

    /// A transaction of nobody has run, or may not.
    pub(super) fn nobody_done(&mut self, mut batch: Box<Batch>) {
        self.worker.tell_failure(&batch.replies.bytes, "exec");
        batch.notes.clear();
        self.clients.remove(batch.client);
        self.keep_spare(batch);
        if let Some(Serial { load, weight }) = self.serial.take() {
            load.queued[self.worker.core].fetch_sub(weight, Ordering::AcqRel);
        } else {
            self.chunk_done();
        }
        self.has_more = true;
    }
}

/// What the configuration says is to be loaded at the start, or for whoever waits for it.
pub fn load_order(config: &Config, asker: Option<(usize, u64)>) -> LoadOrder {
    let starts_alone = asker.is_none() && !config.appendonly;
    LoadOrder {
        aof: (asker.is_none() && config.appendonly).then(|| aof_place(config, true)),
        keeps_expired: config.replicaof.is_some(),
        resumes: starts_alone && config.replicaof.is_none(),
        path: path_of(&config.dbfilename),
        merge: false,
        flushes: false,
        checks: Checks { sum: config.rdbchecksum, version: config.rdb_version_check },
        databases: config.databases,
        asker,
    }
}

/// Where the AOF is; `opens` if it is appended to when it has been loaded.
pub(super) fn aof_place(config: &Config, opens: bool) -> AofPlace {
    AofPlace {
        directory: path_of(&config.appenddirname),
        filename: config.appendfilename.clone(),
        truncates: config.aof_load_truncated,
        opens,
        as_commands: !config.aof_use_rdb_preamble,
    }
}

/// A file in the server's directory.
pub(super) fn path_of(name: &[u8]) -> PathBuf {
    std::ffi::OsString::from_vec(name.to_vec()).into()
}
