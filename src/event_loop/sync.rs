//! Full synchronizations: one snapshot for all replicas that wait for one, sent to each as it reads.
//!
//! Invariant: the snapshot begins while this core has all partitions, at an offset of the stream that
//! is known then; a replica gets what comes behind that offset when it has the snapshot. What has been
//! written of the snapshot and not been sent to the slowest of them is bounded, and so is what the
//! stream keeps for it: a replica that reads too slowly is cut off, and never stalls a core.
//! Source: Redis 8.0.6, replication.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release, SeqCst};

use bytes::Bytes;

use super::Core;
use crate::base::crc::crc64;
use crate::base::time::{Clock, Millis};
use crate::client::Replica;
use crate::client::replica::{RdbFilter, Stage};
use crate::command::session_context::SaveOrder;
use crate::observe::log;
use crate::observe::persistence::Purpose;
use crate::observe::replication::SyncStep;
use crate::persist::aof::block::Lines;
use crate::persist::rdb::file::{Checksum, magic};
use crate::persist::save::{FUNCTIONS_SINCE, Outgoing, Save, Target};
use crate::ring::Ring;
use crate::store::partition::Partition;
use crate::store::snapshot::overdue_bytes;

/// Bytes of the mark behind a snapshot whose length is not told before.
const MARK_BYTES: usize = 40;

/// A snapshot on its way.
pub(super) struct Sync {
    /// Who gets it: their places, what of it they have been sent, and when that was more last.
    receivers: Vec<Receiver>,
    /// What has not been sent to all of them, behind so many bytes that have.
    start: u64,
    waiting: VecDeque<Bytes>,
    end: u64,
    /// The save that it is made by. It comes from the control plane, which has to know what has been
    /// sent. None if it is made here.
    save: Option<Arc<Save>>,
    /// What stands behind it, if its length was not told before.
    mark: Option<Bytes>,
    /// All of it has come; false if it was given up.
    is_whole: Option<bool>,
}

struct Receiver {
    index: u32,
    sent: u64,
    moved_at: Millis,
}

impl Sync {
    /// Bytes that are kept because this replica reads more slowly than the others: old states of what
    /// has changed. What is on its way here is bounded, and counts for nobody.
    pub(super) fn overdue_bytes(&self, index: u32) -> u64 {
        let slowest = self.receivers.iter().min_by_key(|one| one.sent);
        let is_slowest = slowest.is_some_and(|one| one.index == index);
        self.save.as_deref().filter(|_| is_slowest).map_or(0, overdue_bytes)
    }

    /// True before its first byte, if it is written to a file first.
    pub(super) fn is_unbegun(&self) -> bool {
        self.end == 0 && self.mark.is_none()
    }

    fn push(&mut self, bytes: Bytes) {
        self.end += bytes.len() as u64;
        self.waiting.push_back(bytes);
    }

    /// The bytes from `offset` on that stand together.
    fn read(&self, offset: u64) -> Option<Bytes> {
        let mut start = self.start;
        for bytes in &self.waiting {
            let end = start + bytes.len() as u64;
            if offset < end {
                return Some(bytes.slice((offset - start) as usize..));
            }
            start = end;
        }
        None
    }

    /// Forgets what all have been sent; how many bytes that were.
    fn forget_sent(&mut self) -> u64 {
        let sent = self.receivers.iter().map(|one| one.sent).min().unwrap_or(self.end);
        let before = self.start;
        while let Some(first) = self.waiting.front()
            && self.start + first.len() as u64 <= sent
        {
            self.start += first.len() as u64;
            self.waiting.pop_front();
        }
        self.start - before
    }
}

impl<R: Ring, C: Clock> Core<R, C> {
    /// Has a snapshot begin for the replicas that wait for one, when it is time.
    pub(super) fn look_at_syncs(&mut self) {
        let persistence = &self.worker.server.persistence;
        let is_busy = self.feeder.is_ordered || self.feeder.sync.is_some() || self.feeder.drains;
        if is_busy || persistence.is_busy() || self.worker.is_loading() {
            return;
        }
        let (waiting, takes_eof) = self.waiting_replicas();
        let Some(oldest) = waiting.iter().map(|(_, since)| *since).min() else { return };
        let config = &self.worker.config;
        let delay = i64::from(config.repl_diskless_sync_delay) * 1000;
        let enough = config.repl_diskless_sync_max_replicas as usize;
        let is_complete = enough > 0 && waiting.len() >= enough;
        let waits_for_more = config.repl_diskless_sync && takes_eof && !is_complete;
        if waits_for_more && self.worker.now.0 - oldest.0 < delay {
            return;
        }
        self.feeder.is_ordered = true;
        self.order_save(SaveOrder::Replicas);
    }

    /// The replicas that wait for the same snapshot as the first that waits for one, with since when;
    /// and whether they all take one whose length is not told. Rdb channels share none with others.
    fn waiting_replicas(&mut self) -> (Vec<(u32, Millis)>, bool) {
        let (mut waiting, mut takes_eof) = (Vec::new(), true);
        let mut wanted = None;
        for at in 0..self.feeder.replicas.len() {
            let (index, _) = self.feeder.replicas[at];
            let Some(connection) = self.clients.get(index) else { continue };
            let Some(replica) = connection.session.replica.as_ref() else { continue };
            let waits = replica.stage == Stage::Waits && connection.goes_on();
            let wants = (replica.filter, replica.is_rdb_channel);
            if waits && *wanted.get_or_insert(wants) == wants {
                waiting.push((index, replica.acked_at));
                takes_eof &= replica.takes_eof;
            }
        }
        (waiting, takes_eof)
    }

    /// All partitions are here: the instant of a snapshot for replicas.
    pub(super) fn begin_sync(&mut self, partitions: &mut [Box<Partition>]) {
        self.feeder.is_ordered = false;
        let (waiting, takes_eof) = self.waiting_replicas();
        let Some(first) = waiting.first().and_then(|(index, _)| self.replica(*index)) else {
            return;
        };
        let (filter, is_over_channels) = (first.filter, first.is_rdb_channel);
        if filter.is_none() && !self.take_right(Purpose::Replicas, partitions) {
            return;
        }
        let is_diskless = filter.is_some() || self.worker.config.repl_diskless_sync && takes_eof;
        let instant = self.instant();
        self.note_history();
        self.worker.scribe.begin_snapshot();
        if self.worker.scribe.lines_so_far().all(Lines::is_empty) {
            self.feeder.stream.forget_db();
        }
        let id = self.worker.server.replication.history().id;
        let mark = is_diskless.then(|| self.new_mark());
        let mut sync = Sync {
            receivers: Vec::new(),
            start: 0,
            waiting: VecDeque::new(),
            end: 0,
            save: None,
            mark: mark.clone(),
            is_whole: None,
        };
        for (index, _) in waiting {
            let Some(replica) = self.replica(index) else { continue };
            (replica.stage, replica.sent) = (Stage::Receives, instant);
            if !replica.is_silent {
                self.begin_main_channel(index, instant);
                self.send_to(index, format!("+FULLRESYNC {id} {instant}\r\n").into());
            }
            if let Some(mark) = &mark {
                self.send_to(index, [b"$EOF:", &**mark, b"\r\n"].concat().into());
            }
            sync.receivers.push(Receiver { index, sent: 0, moved_at: self.worker.now });
        }
        if let Some(filter) = filter {
            let rdb = self.rdb_of(filter);
            sync.push(rdb);
            sync.is_whole = Some(true);
            self.feeder.sync = Some(sync);
            self.has_more = true;
            return;
        }
        let kind = if is_diskless { "replicas sockets" } else { "disk" };
        let way = if is_over_channels { " (rdb-channel)" } else { "" };
        log::notice(format!("Starting BGSAVE for SYNC with target: {kind}{way}"));
        let target = Target::Replicas { is_diskless };
        sync.save = Some(self.begin_save(partitions, target, false));
        self.feeder.sync = Some(sync);
        if is_diskless {
            log::notice(format!("Background RDB transfer started by pid {}", self.pid()));
        } else {
            log::notice(format!("Background saving started by pid {}", self.pid()));
        }
        self.worker.server.replication.stop_if_wanted(SyncStep::AfterFork);
    }

    /// A file with those parts of the data set that have no keys.
    fn rdb_of(&mut self, filter: RdbFilter) -> Bytes {
        let target = Target::Replicas { is_diskless: true };
        let libraries = if filter.functions { self.libraries() } else { Vec::new() };
        let history = self.history_facts(&target);
        let preamble = self.preamble_of(&target, history, (&libraries, &[]));
        let mut checksum = Checksum::default();
        checksum.add(crc64(0, &preamble), preamble.len() as u64);
        let magic = magic(FUNCTIONS_SINCE);
        let end = Checksum::end(Some(checksum), &magic, preamble.len() as u64);
        [&magic[..], &preamble, &end].concat().into()
    }

    fn pid(&self) -> String {
        self.worker.server.pid.to_string()
    }

    /// The offset of this instant. The caller has all partitions.
    pub(super) fn instant(&mut self) -> u64 {
        if self.worker.follows() {
            // A chunk that has taken effect may not have been passed on.
            return self.worker.server.primary_link.applied.load(SeqCst);
        }
        self.place().0
    }

    /// The same of a primary, with the database that is selected there.
    fn place(&mut self) -> (u64, Option<usize>) {
        let Core { feeder, worker, .. } = self;
        let now = worker.now;
        feeder.place_behind(worker.scribe.lines_so_far(), now)
    }

    /// What has been done so far is part of the history, even if the stream was not kept then.
    pub(super) fn note_history(&mut self) {
        let last = self.worker.server.journal.last().number();
        self.feeder.stream.note_end(last.max(self.feeder.stream.last()));
    }

    /// What a snapshot says of the history that it belongs to, so that who begins with it can go on.
    /// The caller has all partitions.
    pub(super) fn history_facts(&mut self, target: &Target) -> Vec<(&'static str, Vec<u8>)> {
        if matches!(target, Target::AofBase(_)) {
            return Vec::new();
        }
        let server = self.worker.server.clone();
        let (offset, db) = if self.worker.follows() {
            if !server.replication.has_backlog.load(Relaxed) {
                return Vec::new();
            }
            (self.instant(), server.primary_link.db.load(SeqCst))
        } else if self.feeder.is_fed() {
            let (offset, db) = self.place();
            (offset, db.filter(|db| *db != usize::MAX).unwrap_or(0))
        } else {
            return Vec::new();
        };
        let id = self.worker.server.replication.history().id;
        vec![
            ("repl-stream-db", db.to_string().into_bytes()),
            ("repl-id", id.to_string().into_bytes()),
            ("repl-offset", offset.to_string().into_bytes()),
        ]
    }

    pub(super) fn replica(&mut self, index: u32) -> Option<&mut Replica> {
        self.clients.get(index)?.session.replica.as_deref_mut()
    }

    fn new_mark(&mut self) -> Bytes {
        let digits = b"0123456789abcdef";
        let mark: Vec<u8> =
            (0..MARK_BYTES).map(|_| digits[self.worker.rng.below(16) as usize]).collect();
        mark.into()
    }

    /// Takes in what has been written of the snapshot.
    pub(super) fn take_outgoing(&mut self) {
        while let Some(outgoing) = self.control.outgoing() {
            let Some(sync) = &mut self.feeder.sync else {
                match outgoing {
                    Outgoing::Length(_) => {}
                    Outgoing::Bytes(bytes) => self.control.took(bytes.len() as u64),
                    Outgoing::End { .. } => self.feeder.drains = false,
                }
                continue;
            };
            match outgoing {
                Outgoing::Length(len) => {
                    // It counts with what is taken, which it is no part of.
                    let line = Bytes::from(format!("${len}\r\n"));
                    for index in sync.receivers.iter().map(|one| one.index).collect::<Vec<_>>() {
                        self.send_to(index, line.clone());
                    }
                }
                Outgoing::Bytes(bytes) => sync.push(bytes),
                Outgoing::End { is_whole } => {
                    sync.is_whole = Some(is_whole);
                    self.end_failed_sync();
                }
            }
        }
    }

    /// Replicas whose snapshot will never be whole begin again.
    fn end_failed_sync(&mut self) {
        if self.feeder.sync.as_ref().is_none_or(|sync| sync.is_whole != Some(false)) {
            return;
        }
        let Some(sync) = self.feeder.sync.take() else { return };
        log::warning("SYNC failed. BGSAVE child returned an error");
        for receiver in sync.receivers {
            if let Some(connection) = self.clients.get(receiver.index) {
                connection.closing = true;
                self.doomed.push(receiver.index);
            }
        }
    }

    /// A replica gets more of its snapshot, as soon as its connection has taken what it got before.
    pub(super) fn send_snapshot(&mut self, index: u32) {
        let now = self.worker.now;
        let Core { clients, feeder, .. } = self;
        let (Some(connection), Some(sync)) = (clients.get(index), &mut feeder.sync) else { return };
        if !connection.output.is_idle() || !connection.goes_on() {
            return;
        }
        let Some(at) = sync.receivers.iter().position(|one| one.index == index) else { return };
        let from = sync.receivers[at].sent;
        if let Some(bytes) = sync.read(from) {
            sync.receivers[at].sent += bytes.len() as u64;
            sync.receivers[at].moved_at = now;
            let freed = sync.forget_sent();
            self.worker.stats.totals.net_repl_output_bytes.add(bytes.len() as u64);
            let is_written = sync.save.is_some();
            self.send_to(index, bytes);
            if is_written {
                self.control.took(freed);
            }
            return;
        }
        // What is under way elsewhere has its own time.
        sync.receivers[at].moved_at = now;
        if sync.is_whole != Some(true) {
            return;
        }
        let mark = sync.mark.clone();
        sync.receivers.remove(at);
        if sync.receivers.is_empty() {
            feeder.sync = None;
        }
        let has_mark = mark.is_some();
        mark.into_iter().for_each(|mark| self.send_to(index, mark));
        self.has_snapshot(index, has_mark);
    }

    /// A replica has its snapshot. Behind a mark it says itself when it can go on.
    fn has_snapshot(&mut self, index: u32, has_mark: bool) {
        let now = self.worker.now;
        let Some(connection) = self.clients.get(index) else { return };
        let Some(mut replica) = connection.session.replica.take() else { return };
        let (name, main) = (replica.name(&connection.session), replica.main_channel);
        (replica.has_news, replica.acked_at) = (false, now);
        if replica.wants_rdb_only {
            replica.stage = Stage::Served;
            log::notice(format!(
                "RDB transfer completed, rdb only replica ({name}) should be disconnected asap"
            ));
        } else if has_mark && !replica.is_silent {
            replica.stage = Stage::Loads;
            log::notice(format!(
                "Streamed replica synchronization with replica {name} succeeded (socket). Waiting for REPLCONF ACK from replica to enable streaming"
            ));
        } else {
            put_online(&mut replica, &name, now);
        }
        connection.session.replica = Some(replica);
        if let Some(main) = main.and_then(|id| self.main_channel(id, Stage::Streams)) {
            self.go_online(main);
        }
        self.has_more = true;
        self.replicas_changed();
    }

    /// A replica that has said that it has its snapshot follows the stream.
    pub(super) fn go_online_if_loaded(&mut self, index: u32) {
        if self.replica(index).is_some_and(|replica| replica.has_news) {
            self.go_online(index);
            self.replicas_changed();
        }
    }

    /// A replica follows the stream from the next turn on.
    fn go_online(&mut self, index: u32) {
        let now = self.worker.now;
        let Some(connection) = self.clients.get(index) else { return };
        let Some(mut replica) = connection.session.replica.take() else { return };
        let name = replica.name(&connection.session);
        put_online(&mut replica, &name, now);
        connection.session.replica = Some(replica);
        self.has_more = true;
    }

    /// A replica goes: nothing is written for it any more.
    pub(super) fn leave_sync(&mut self, index: u32) {
        let Some(sync) = &mut self.feeder.sync else { return };
        sync.receivers.retain(|one| one.index != index);
        if sync.receivers.is_empty() {
            let (is_ended, is_written) = (sync.is_whole.is_some(), sync.save.is_some());
            let unsent = sync.end - sync.start;
            self.feeder.sync = None;
            if is_written {
                self.control.took(unsent);
            }
            if !is_ended {
                self.feeder.drains = true;
                log::notice("Diskless rdb transfer, last replica dropped, killing fork child.");
                if self.worker.server.persistence.is_busy_with(Purpose::Replicas) {
                    self.worker.server.persistence.cancelled.store(true, Release);
                }
                self.control.give_up();
            }
            return;
        }
        let freed = sync.forget_sent();
        if sync.save.is_some() {
            self.control.took(freed);
        }
    }

    /// Replicas whose snapshot has not got on for so long.
    pub(super) fn stuck_receivers(&self, before: Millis) -> Vec<u32> {
        let receivers = self.feeder.sync.iter().flat_map(|sync| &sync.receivers);
        receivers.filter(|one| one.moved_at < before).map(|one| one.index).collect()
    }
}

/// A replica follows the stream. Whoever still loads may take its time to say more.
fn put_online(replica: &mut Replica, name: &str, now: Millis) {
    (replica.stage, replica.acked_at) = (Stage::Online, now);
    log::notice(format!("Synchronization with replica {name} succeeded"));
}
