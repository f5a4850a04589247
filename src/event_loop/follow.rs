//! A replica's part on its cores: what comes of the primary takes effect.
//!
//! Invariant: one core takes the chunks of the stream, one after the other; each runs as a transaction
//! of nobody, where its keys are or with a loan of their partitions, so that whoever reads sees a prefix
//! of the primary's history. A chunk of a link that does not count any more does nothing.
//! Source: docs/decisions/0021-replica.md.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::SeqCst;

use super::Core;
use crate::base::time::Clock;
use crate::client::Session;
use crate::command::context::Keyspace;
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
/// Places of the history that wait to be on disk; beyond that only the last of them is kept.
const UNSYNCED_MAX: usize = 1024;

/// What a core keeps of what comes of the primary.
#[derive(Default)]
pub(super) struct Follower {
    /// A chunk that runs, or is to run.
    chunk: Option<Box<Chunk>>,
    is_running: bool,
    /// How far the history has come, since that was noted.
    came_to: Option<u64>,
    /// What is not on disk yet: the numbers of blocks, and how far the history has come with each.
    unsynced: VecDeque<(u64, u64)>,
}

impl<R: Ring, C: Clock> Core<R, C> {
    /// Takes up what has come of the primary.
    pub(super) fn follow_some(&mut self) {
        // A primary hears of its own file while that is loaded.
        let listens = self.worker.follows() || self.worker.is_loading();
        if self.worker.core != FOLLOWER || !listens {
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
                        self.order_save(SaveOrder::Replace(wanted));
                    }
                    Some(FromPrimary::Attached { addr, laddr, fd }) => {
                        self.show_link(addr, laddr, fd);
                    }
                    Some(FromPrimary::Detached) => self.clients.primary = None,
                    Some(FromPrimary::Resume(position)) => self.resume_history(position),
                    Some(FromPrimary::Verdict { term, accepts }) => {
                        // One of a link that has ended may come late.
                        if self.worker.server.primary_link.term() == term {
                            self.take_verdict(accepts);
                        }
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

    /// The link to the primary is up, and shown as a client.
    fn show_link(&mut self, addr: String, laddr: String, fd: i32) {
        let (server, now) = (&self.worker.server, self.worker.now);
        let mut session = Session::new(server.next_client_id(), now, true);
        session.facts.home = self.worker.core as u16;
        session.facts.db = server.primary_link.db.load(SeqCst);
        (session.addr, session.laddr, session.fd) = (addr, laddr, fd);
        session.is_primary = true;
        self.clients.primary = Some(Box::new(session));
    }

    /// A chunk has run, or may not.
    pub(super) fn chunk_done(&mut self) {
        self.follower.is_running = false;
        let link = &self.worker.server.primary_link;
        let mut asks = false;
        let counts = self.follower.chunk.as_ref().is_some_and(|chunk| chunk.term == link.term());
        if link.is_running() {
            if let Some(chunk) = self.follower.chunk.take() {
                self.follower.came_to = Some(chunk.end);
                link.queued.fetch_sub(chunk.bytes.len() as u64, SeqCst);
                asks = chunk.asks;
                if let Some(primary) = &mut self.clients.primary {
                    primary.last_interaction = self.worker.now;
                    primary.facts.db = chunk.db;
                }
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
            return self.order_save(SaveOrder::Replace(wanted));
        }
        if wanted.swaps {
            let now = self.worker.now;
            partitions.iter_mut().for_each(|partition| partition.take_aside(now));
            self.forget_what_was_read(partitions);
            self.worker.serve_all(&mut Keyspace::Lent(partitions));
        } else {
            self.flush_all(partitions);
        }
        // What is here now is of no history that anybody knows.
        let id = self.new_replication_id();
        let worker = &mut self.worker;
        worker.server.replication.publish(History::new(id));
        if !wanted.swaps {
            worker.server.persistence.begin_load(worker.now.seconds());
            worker.check_persistence();
        }
        worker.server.primary_link.cleared.store(wanted.number, SeqCst);
        worker.server.primary_link.end();
    }

    /// Notes how far the history is on disk. The turn has its number.
    pub(super) fn note_synced(&mut self) {
        let (follower, server) = (&mut self.follower, &self.worker.server);
        let (journal, synced) = (&server.journal, &server.primary_link.synced);
        if !journal.is_on() {
            // If a file begins, it begins with what is here now.
            follower.came_to = Some(server.primary_link.applied.load(SeqCst));
            follower.unsynced.clear();
            return synced.store(-1, SeqCst);
        }
        if let Some(offset) = follower.came_to.take() {
            if follower.unsynced.len() == UNSYNCED_MAX {
                follower.unsynced.pop_back();
            }
            // Whoever has run the chunk has taken its number before.
            follower.unsynced.push_back((journal.last().number(), offset));
        }
        synced.fetch_max(0, SeqCst);
        while let Some((number, offset)) = follower.unsynced.front().copied()
            && !journal.needs_base()
            && journal.covered(true) >= number
        {
            follower.unsynced.pop_front();
            synced.store(offset as i64, SeqCst);
        }
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
        server.primary_link.synced.store(-1, SeqCst);
        self.follower.unsynced.clear();
        self.follower.came_to = Some(offset);
        self.feeder.restart(offset, Some(db));
        self.publish_stream();
        self.disconnect_replicas();
    }

    /// A primary starts where its file stood: what comes from now on has another name, and is kept.
    fn resume_history(&mut self, Position { id, offset }: Position) {
        let mut history = History::new(id);
        history.shift(self.new_replication_id(), offset);
        self.feeder.restart(offset, None);
        // It has just begun: nobody need hear that it lives.
        (self.feeder.lonely_since, self.feeder.fed_at) = (self.worker.now, self.worker.now);
        self.publish_stream();
        let replication = &self.worker.server.replication;
        replication.feed(true);
        replication.publish(history);
        self.worker.check_persistence();
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
        self.note_history();
        self.clients.primary = None;
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
        self.follower.came_to = Some(offset);
        replication.feed(false);
        if !self.feeder.is_fed() || self.feeder.stream.offset() != offset {
            self.feeder.restart(offset, Some(server.primary_link.db.load(SeqCst)));
            self.publish_stream();
            self.disconnect_replicas();
        }
        let mut history = replication.history();
        if history.id != id {
            history.follow(id, offset);
            replication.publish(history);
            self.disconnect_replicas();
        }
    }
}
