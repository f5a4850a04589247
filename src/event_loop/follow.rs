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
use crate::replication::chunk::{Chunk, FromPrimary};
use crate::replication::identity::{History, ReplicationId};
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
                    Some(FromPrimary::Replace { number, has_failed }) => {
                        self.order_save(None, SaveOrder::Replace { number, has_failed });
                    }
                    Some(FromPrimary::Adopt(position)) => self.adopt(position),
                    Some(FromPrimary::GoOn(position)) => self.go_on(position),
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
        let (term, end) = (chunk.term, chunk.end);
        transaction.followed = Some(Followed { term, end, has_begun: false });
        self.follower.is_running = true;
        self.run_for_nobody(transaction, db);
    }

    /// A chunk has run, or may not.
    pub(super) fn chunk_done(&mut self) {
        self.follower.is_running = false;
        let server = self.worker.server.clone();
        let link = &server.primary_link;
        let mut asks = false;
        let counts = self.follower.chunk.as_ref().is_some_and(|chunk| chunk.term == link.term());
        if link.is_running() {
            if let Some(chunk) = self.follower.chunk.take() {
                link.queued.fetch_sub(chunk.bytes.len() as u64, SeqCst);
                link.db.store(chunk.db, SeqCst);
                asks = chunk.asks;
                self.pass_on(chunk.bytes);
                server.replication.offset.store(chunk.end, SeqCst);
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
    pub(super) fn make_room(
        &mut self,
        partitions: &mut [Box<Partition>],
        (number, has_failed): (u64, bool),
    ) {
        if !self.break_journal() {
            return self.order_save(None, SaveOrder::Replace { number, has_failed });
        }
        partitions.iter_mut().for_each(|one| one.flush_all());
        let worker = &mut self.worker;
        // What is here now is of no history that anybody knows.
        let id = ReplicationId::new(std::array::from_fn(|_| worker.rng.next_u64() as u32));
        worker.server.replication.publish(History::new(id));
        worker.server.persistence.begin_load(worker.now.seconds());
        worker.check_persistence();
        worker.server.primary_link.cleared.store(number, SeqCst);
    }

    /// The primary's history is ours from now on.
    fn adopt(&mut self, Position { id, offset }: Position) {
        let server = &self.worker.server;
        server.primary_link.applied.store(offset, SeqCst);
        server.replication.offset.store(offset, SeqCst);
        server.replication.publish(History::new(id));
        // The stream behind a snapshot begins with a SELECT, if any other is meant.
        server.primary_link.db.store(0, SeqCst);
        self.restart_stream(offset);
    }

    /// The server follows nobody any more: from here on the history is its own, and who has followed
    /// the same primary can go on with it.
    pub(super) fn step_up(&mut self) {
        let worker = &mut self.worker;
        let id = ReplicationId::new(std::array::from_fn(|_| worker.rng.next_u64() as u32));
        let replication = &worker.server.replication;
        let mut history = replication.history();
        let offset = replication.offset.load(SeqCst);
        history.shift(id, offset);
        replication.publish(history);
        log::notice(format!(
            "Setting secondary replication ID to {}, valid up to offset: {}. New replication ID is {id}",
            history.former, history.former_until
        ));
        self.disconnect_replicas();
        self.worker.check_persistence();
    }

    /// The primary goes on with our history, whatever it calls it now.
    fn go_on(&mut self, Position { id, offset }: Position) {
        let replication = &self.worker.server.replication;
        let mut history = replication.history();
        let is_renamed = history.id != id;
        history.follow(id, offset);
        replication.publish(history);
        if !self.feeder.is_fed() {
            self.restart_stream(offset);
        } else if is_renamed {
            self.disconnect_replicas();
        }
    }
}
