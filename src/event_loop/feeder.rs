//! The stream that replicas follow, as turns feed it.
//!
//! Invariant: it is fed in the order of the numbers of turns, on the core that keeps it alone, and told
//! as far as the journal lets it: a replica never has what this server could still lose.
//! Source: Redis 8.0.6, replication; docs/decisions/0020-primary.md.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;

use super::Core;
use super::sync::Sync;
use crate::base::time::{Clock, Millis};
use crate::command::session_context::SyncWanted;
use crate::observe::log;
use crate::observe::replication::{History, ReplicationId};
use crate::persist::aof::block::{Block, Lines};
use crate::replication::stream::Stream;
use crate::ring::Ring;

/// Where in the stream replicas are to be asked how far they are: at the first number that somebody
/// waits for, and again up to the last one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asks {
    pub(super) first: u64,
    pub(super) last: u64,
}

/// The stream, and who follows it. Only the core that keeps it has anything here, but for clients that
/// leave.
pub(super) struct Feeder {
    /// The stream.
    pub(super) stream: Stream,
    /// What turns have done that wait for turns of lower numbers.
    due: BTreeMap<u64, Vec<Lines>>,
    /// How far the stream may be told.
    pub(super) told: u64,
    /// The replicas: their places and incarnations.
    pub(super) replicas: Vec<(u32, u32)>,
    /// The snapshot that replicas get.
    pub(super) sync: Option<Sync>,
    /// One has been ordered.
    pub(super) is_ordered: bool,
    /// One that nobody wants any more has not come to its end.
    pub(super) drains: bool,
    /// Replicas are to say how far they are.
    pub(super) asks_at: Option<Asks>,
    /// When something was fed last.
    pub(super) fed_at: Millis,
    /// Since when there has been no replica.
    pub(super) lonely_since: Millis,
    /// The second in which replicas were looked at last.
    pub(super) looked_at: i64,
    /// Clients of this core that want to be replicas, as soon as nothing of them is under way.
    pub(super) leaving: Vec<(u32, u32, SyncWanted)>,
}

impl Feeder {
    pub(super) fn new() -> Feeder {
        Feeder {
            stream: Stream::new(0),
            due: BTreeMap::new(),
            told: 0,
            replicas: Vec::new(),
            sync: None,
            is_ordered: false,
            drains: false,
            asks_at: None,
            fed_at: Millis(0),
            lonely_since: Millis(0),
            looked_at: 0,
            leaving: Vec::new(),
        }
    }

    /// True if the stream takes what commands do.
    pub(super) fn is_fed(&self) -> bool {
        self.stream.backlog().is_some()
    }

    /// What a turn did.
    pub(super) fn add(&mut self, number: u64, block: &Block) {
        let behind = block.cut.as_ref().map(|cut| &cut.lines);
        let lines = [Some(&block.lines), behind].into_iter().flatten();
        self.due.insert(number, lines.filter(|lines| !lines.is_empty()).cloned().collect());
    }

    /// Feeds what has come up to this number.
    fn feed(&mut self, bound: u64, now: Millis) {
        while let Some(first) = self.due.first_entry()
            && *first.key() <= bound
        {
            let (number, turn) = first.remove_entry();
            turn.iter().for_each(|lines| self.stream.feed(number, lines));
            self.fed_at = now;
        }
    }

    /// Feeds all that has come; the offset behind the lines that come next, and the database that is
    /// selected there. The caller has all partitions, so nothing of a lower number is under way.
    pub(super) fn place_behind<'l>(
        &mut self,
        lines: impl Iterator<Item = &'l Lines>,
        now: Millis,
    ) -> (u64, Option<usize>) {
        self.feed(u64::MAX, now);
        self.stream.place_behind(lines)
    }

    /// The stream goes on at this offset of some history, where this database is selected, if any is.
    pub(super) fn restart(&mut self, offset: u64, db: Option<usize>) {
        self.due.clear();
        self.stream.restart(offset);
        self.stream.begin_backlog();
        self.stream.set_db(db);
        self.told = offset;
    }

    /// Bytes of the primary, behind which this database is selected.
    pub(super) fn pass_on(&mut self, bytes: Bytes, db: usize, now: Millis) {
        self.stream.feed_verbatim(bytes);
        self.stream.set_db(Some(db));
        self.fed_at = now;
    }

    /// Nothing is kept any more.
    pub(super) fn end(&mut self) {
        self.stream.end_backlog();
        self.due.clear();
    }

    /// Feeds a line of the replication itself.
    pub(super) fn feed_line(&mut self, words: &[&[u8]], now: Millis) {
        self.stream.feed_line(words);
        self.fed_at = now;
    }
}

impl<R: Ring, C: Clock> Core<R, C> {
    /// What commands do becomes part of the stream from now on, and is kept.
    pub(super) fn begin_stream(&mut self) {
        if self.feeder.is_fed() {
            return;
        }
        // Nobody can go on with what has not been kept.
        let id = self.new_replication_id();
        self.worker.server.replication.publish(History::new(id));
        self.feeder.stream.begin_backlog();
        self.feeder.fed_at = self.worker.now;
        log::notice(format!(
            "Replication backlog created, my new replication IDs are '{id}' and '{}'",
            ReplicationId::NONE
        ));
        self.worker.server.replication.feed(true);
        self.worker.check_persistence();
    }

    /// An id that no history has.
    pub(super) fn new_replication_id(&mut self) -> ReplicationId {
        let rng = &mut self.worker.rng;
        ReplicationId::new(std::array::from_fn(|_| rng.next_u64() as u32))
    }

    /// A turn's block has come to the core that keeps the journal and the stream.
    pub(super) fn take_block(&mut self, number: u64, block: Block) {
        if self.worker.server.replication.feeds() {
            self.feeder.add(number, &block);
        }
        if self.worker.server.journal.takes_lines() || block.cut.is_some() {
            self.desk.write(number, block);
        }
    }

    /// Feeds what is due, and tells what may be told.
    pub(super) fn feed_stream(&mut self) {
        let now = self.worker.now;
        if !self.feeder.due.is_empty() {
            let bound = self.fed_bound();
            self.feeder.feed(bound, now);
            self.has_more |= !self.feeder.due.is_empty();
        }
        let stream = &self.feeder.stream;
        if self.worker.follows() {
            self.feeder.asks_at = None;
        }
        // Those who have asked first are not kept waiting by those who ask while the stream goes on.
        if let Some(Asks { first, last }) = self.feeder.asks_at
            && stream.last() >= first
            && self.worker.switches.pause.is_none()
        {
            let later = stream.last() + 1;
            self.feeder.asks_at = (last >= later).then_some(Asks { first: later, last });
            self.feeder.feed_line(&[b"REPLCONF", b"GETACK", b"*"], now);
        }
        let stream = &self.feeder.stream;
        let told = if self.worker.server.journal.is_on() {
            stream.offset_before(self.covered()).unwrap_or(0)
        } else {
            stream.offset()
        };
        self.feeder.told = self.feeder.told.max(told);
        self.trim_stream();
    }

    /// Forgets what neither the backlog nor a replica needs.
    pub(super) fn trim_stream(&mut self) {
        let sent = self.feeder.replicas.iter().filter_map(|(index, _)| {
            self.clients.get(*index)?.session.replica.as_ref()?.needs_stream_from()
        });
        let held = sent.min().unwrap_or(u64::MAX);
        self.feeder.stream.trim(self.worker.config.repl_backlog_size, held);
        self.publish_stream();
    }

    /// The number up to which all turns have come: this one is the next, where no other is missing.
    fn fed_bound(&mut self) -> u64 {
        if self.mail.cores() == 1 {
            return u64::MAX;
        }
        let bound = self.settled_here();
        bound + u64::from(self.desk.number() == Some(bound + 1))
    }

    /// True if all that turns have done is part of the stream.
    pub(super) fn stream_is_whole(&mut self) -> bool {
        let bound = self.fed_bound();
        self.feeder.due.is_empty() && self.worker.server.journal.last().is_covered(bound)
    }

    /// What everybody may know of the stream.
    pub(super) fn publish_stream(&self) {
        let (shared, stream) = (&self.worker.server.replication, &self.feeder.stream);
        shared.offset.store(stream.offset(), Relaxed);
        shared.has_backlog.store(stream.backlog().is_some(), Relaxed);
        let (first, len, bytes) = stream.backlog().map_or((0, 0, 0), |backlog| {
            (backlog.first() + 1, backlog.len(), backlog.held_bytes())
        });
        shared.backlog_first.store(first, Relaxed);
        shared.backlog_len.store(len, Relaxed);
        shared.backlog_bytes.store(bytes, Relaxed);
    }
}
