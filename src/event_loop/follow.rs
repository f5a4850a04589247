//! A replica's part on its cores: what comes of the primary takes effect.
//!
//! Invariant: one core takes the chunks of the stream, one after the other; each runs as a transaction
//! of nobody, where its keys are or with a loan of their partitions, so that whoever reads sees a prefix
//! of the primary's history. A chunk of a link that does not count any more does nothing.
//! Source: docs/decisions/0021-replica.md.

use std::sync::atomic::Ordering::SeqCst;

use super::Core;
use crate::base::time::Clock;
use crate::command::session_context::SaveOrder;
use crate::observe::log;
use crate::persist::load::Replacement;
use crate::replication::chunk::{Chunk, FromPrimary};
use crate::replication::identity::History;
use crate::replication::link::Position;
use crate::ring::Ring;
use crate::store::partition::Partition;
use crate::txn::multi::{Followed, Transaction};

/// The core that takes what comes of the primary: the one that keeps the stream for others.
pub(super) const FOLLOWER: usize = super::journal::WRITER;
/// Nanoseconds that a turn spends on chunks.
const CHUNK_NANOS_PER_TURN: u64 = 1_000_000;

/// What a core keeps of what comes of the primary.
#[derive(Default)]
pub(super) struct Follower {
    /// A chunk that runs, or is to run.
    chunk: Option<Box<Chunk>>,
    is_running: bool,
}

impl<R: Ring, C: Clock> Core<R, C> {
    /// Takes up what has come of the primary.
    pub(super) fn follow_some(&mut self) {
        if !self.worker.follows() || self.worker.core != FOLLOWER {
            return;
        }
        let began = self.monotonic();
        while !self.follower.is_running {
            if self.follower.chunk.is_some() {
                if self.worker.is_loading() {
                    return;
                }
                self.run_chunk();
            } else {
                match self.control.followed() {
                    None => return,
                    Some(FromPrimary::Chunk(chunk)) => self.follower.chunk = Some(chunk),
                    Some(FromPrimary::Replace(wanted)) => {
                        self.order_save(None, SaveOrder::Replace(wanted));
                    }
                    Some(FromPrimary::Adopt { term, position, db }) => {
                        if self.begin_link_work(term) {
                            self.adopt(position, db);
                            self.worker.server.primary_link.end();
                        }
                    }
                    Some(FromPrimary::GoOn { term, position }) => {
                        if self.begin_link_work(term) {
                            self.go_on(position);
                            self.worker.server.primary_link.end();
                        }
                    }
                }
            }
            if self.clock.monotonic().since(began) > CHUNK_NANOS_PER_TURN {
                self.has_more = true;
                return;
            }
        }
    }

    /// Begins to run the chunk that is next.
    fn run_chunk(&mut self) {
        let Some(chunk) = &self.follower.chunk else { return };
        let db = chunk.lines.db().unwrap_or_default();
        let mut transaction = Box::<Transaction>::default();
        self.worker.queue_lines(&chunk.lines, db, &mut transaction, self.map);
        let (term, end, db_behind) = (chunk.term, chunk.end, chunk.db);
        transaction.followed = Some(Followed { term, end, db: db_behind, has_begun: false });
        self.follower.is_running = true;
        self.run_for_nobody(transaction, db);
    }

    /// A chunk has run, or may not.
    pub(super) fn chunk_done(&mut self) {
        self.follower.is_running = false;
        let link = &self.worker.server.primary_link;
        let mut asks = false;
        let counts = self.follower.chunk.as_ref().is_some_and(|chunk| chunk.term == link.term());
        if link.is_running() {
            if let Some(chunk) = self.follower.chunk.take() {
                link.queued.fetch_sub(chunk.bytes.len() as u64, SeqCst);
                asks = chunk.asks;
                self.feeder.pass_on(chunk.bytes, chunk.db, self.worker.now);
            }
            link.end();
            if asks {
                self.control.acknowledge();
            }
        } else if !counts {
            self.drop_chunk();
        }
        // Else the data is being replaced, and the chunk is to run when that is over.
    }

    /// The chunk that is next came over a link that does not count any more.
    fn drop_chunk(&mut self) {
        if let Some(chunk) = self.follower.chunk.take() {
            let queued = &self.worker.server.primary_link.queued;
            queued.fetch_sub(chunk.bytes.len() as u64, SeqCst);
        }
    }

    /// All data goes: that of the primary is about to be loaded. The caller has all partitions.
    pub(super) fn make_room(&mut self, partitions: &mut [Box<Partition>], wanted: Replacement) {
        if !self.begin_link_work(wanted.term) {
            return;
        }
        if !self.break_journal() {
            self.worker.server.primary_link.end();
            return self.order_save(None, SaveOrder::Replace(wanted));
        }
        partitions.iter_mut().for_each(|one| one.flush_all());
        // What is here now is of no history that anybody knows.
        let id = self.new_replication_id();
        let worker = &mut self.worker;
        worker.server.replication.publish(History::new(id));
        worker.server.persistence.begin_load(worker.now.seconds());
        worker.check_persistence();
        worker.server.primary_link.cleared.store(wanted.number, SeqCst);
        worker.server.primary_link.end();
    }

    /// Something of a link is about to take effect that is no chunk. False if the link does not count.
    fn begin_link_work(&self, term: u64) -> bool {
        self.worker.server.primary_link.begin(term)
    }

    /// The primary's history is ours from now on.
    fn adopt(&mut self, Position { id, offset }: Position, db: usize) {
        let server = &self.worker.server;
        server.primary_link.applied.store(offset, SeqCst);
        server.primary_link.db.store(db, SeqCst);
        server.replication.feed(false);
        server.replication.publish(History::new(id));
        self.feeder.restart(offset, db);
        self.publish_stream();
        self.disconnect_replicas();
    }

    /// The server follows nobody any more: from here on the history is its own, and who has followed
    /// the same primary can go on with it.
    pub(super) fn step_up(&mut self) {
        let offset = self.worker.server.primary_link.applied.load(SeqCst);
        let id = self.new_replication_id();
        let replication = &self.worker.server.replication;
        let mut history = replication.history();
        history.shift(id, offset);
        replication.publish(history);
        self.feeder.lonely_since = self.worker.now;
        self.disconnect_replicas();
        log::notice(format!(
            "Setting secondary replication ID to {}, valid up to offset: {}. New replication ID is {id}",
            history.former, history.former_until
        ));
        self.worker.check_persistence();
    }

    /// The primary goes on with our history, whatever it calls it now.
    fn go_on(&mut self, Position { id, offset }: Position) {
        let server = self.worker.server.clone();
        let replication = &server.replication;
        replication.feed(false);
        if !self.feeder.is_fed() || self.feeder.stream.offset() != offset {
            self.feeder.restart(offset, server.primary_link.db.load(SeqCst));
            self.publish_stream();
        }
        let mut history = replication.history();
        if history.id != id {
            history.follow(id, offset);
            replication.publish(history);
            self.disconnect_replicas();
        }
    }
}
