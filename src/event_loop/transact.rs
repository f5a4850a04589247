//! Transactions of this core's clients: queueing, EXEC, and those that need the client's session.
//!
//! Invariant: a transaction runs with all its partitions in one core's hands. Where it needs the
//! session it runs at home, and keeps them while a command of it has parts on other cores or waits
//! for the control plane.

use super::acks::answer_acks;
use super::notes::take_notes;
use super::{Core, Message, OpenWhole, Then, Ticket};
use crate::base::gate::Gate;
use crate::base::slot::Slot;
use crate::base::time::Clock;
use crate::client::{ReplyMode, SessionFacts};
use crate::command::context::Keyspace;
use crate::command::session_context::Request;
use crate::command::whole::Job;
use crate::command::{Args, CommandError};
use crate::dispatch::table::{Registered, Way};
use crate::observe::stats::CoreStats;
use crate::resp::reply::{Reply, ReplyBuffer};
use crate::ring::Ring;
use crate::store::partition::Partition;
use crate::store::watchers::{Watched, WatchedKeys};
use crate::txn::batch::{Acks, Batch};
use crate::txn::cores::CoreSet;
use crate::txn::loan::Waiting;
use crate::txn::multi::Transaction;

/// What running the next command of a transaction came to.
enum Step {
    /// It has run.
    Again,
    /// There is none, or nobody to run it for.
    Done,
    /// It has a part on every core.
    Whole(Job),
    /// It waits for the control plane.
    Asks(Request),
}

/// What is held for a transaction that could not go on at once.
pub(super) type Held = Vec<Box<Partition>>;

impl<R: Ring, C: Clock> Core<R, C> {
    /// EXEC has come home: the client's queue becomes its batch's transaction, or it is refused.
    pub(super) fn begin_exec(&mut self, batch: &mut Batch) {
        let Some(connection) = self.clients.of(batch.client, batch.generation) else {
            return batch.abandon();
        };
        let facts = &mut connection.session.facts;
        let (in_multi, failed) = (facts.in_multi, facts.multi_failed);
        facts.leave_multi();
        batch.facts = *facts;
        let error = if in_multi {
            let queue = connection.queue.take();
            let mut watched = watch_nothing(&mut connection.watched, &self.worker.stats);
            if !failed {
                self.sabotage_exec(&mut watched);
                let mut transaction = queue.unwrap_or_default();
                transaction.watched = watched;
                batch.transaction = Some(transaction);
                return;
            }
            self.unwatch(watched);
            CommandError::ExecAborted
        } else {
            // EXEC alone is a mistake that changes nothing.
            CommandError::ExecWithoutMulti
        };
        let worker = &mut self.worker;
        if let Some((args, facts, replies)) = batch.peek_split() {
            worker.fail(worker.table.lookup(args), facts, replies, error);
            worker.show_exec(facts, args);
        }
        batch.ran("exec");
    }

    /// Where the transaction of a batch runs. None where it runs with its client's session.
    pub(super) fn exec_owners(&self, batch: &Batch) -> Option<CoreSet> {
        let transaction = batch.transaction.as_ref()?;
        let owners = transaction.owners(self.map);
        (!transaction.needs_home()).then_some(if owners.is_empty() {
            CoreSet::one(self.worker.core)
        } else {
            owners
        })
    }

    /// The partitions that a transaction of this core's client needs here.
    pub(super) fn exec_at_home(&self, batch: &Batch) -> CoreSet {
        let mut owners = CoreSet::one(self.worker.core);
        if let Some(transaction) = &batch.transaction {
            owners.extend(transaction.owners(self.map));
        }
        owners
    }

    /// Runs the transaction of a batch that needs the session, as far as it goes. Gives back the
    /// partitions when it has ended; None while it goes on elsewhere.
    pub(super) fn run_exec_at_home(
        &mut self,
        mut batch: Box<Batch>,
        mut held: Held,
    ) -> Option<Held> {
        if self.is_transaction_paused(&batch) {
            self.pause_batch(batch);
            return Some(held);
        }
        let Some(mut transaction) = batch.transaction.take() else {
            self.run_batch(batch);
            return Some(held);
        };
        let worker = &mut self.worker;
        worker.start_clock();
        let others = worker.prefixes.exchange(std::mem::take(&mut transaction.changed));
        let mut replies = std::mem::take(&mut batch.replies);
        let mut keyspace = Keyspace::Lent(&mut held);
        if !transaction.is_fresh() {
            worker.scribe.resume_unit(transaction.lines.take());
        }
        let begins = !transaction.is_fresh()
            || worker.begin_exec(&mut keyspace, &mut batch.facts, &mut transaction, &mut replies);
        let mut step = if begins { Step::Again } else { Step::Done };
        while matches!(step, Step::Again) {
            step = self.exec_step(&mut batch, &mut transaction, &mut replies, &mut held);
        }
        take_notes(&mut self.worker, &mut batch);
        if !matches!(step, Step::Done) {
            transaction.changed = self.worker.prefixes.exchange(others);
            batch.replies = replies;
            transaction.lines = self.worker.scribe.put_off_unit();
            batch.transaction = Some(transaction);
            let held = Some(held);
            match step {
                Step::Whole(job) => {
                    let open = OpenWhole::of(batch, held, Then::Gather);
                    self.start_whole(open, job);
                }
                Step::Asks(request) => self.ask(Ticket::of(batch, held), request),
                Step::Again | Step::Done => unreachable!("such a transaction has not left"),
            }
            return None;
        }
        self.worker.prefixes.add_changes(others);
        batch.denials.append(&mut self.worker.denials);
        let mut keyspace = Keyspace::Lent(&mut held);
        self.worker.end_exec(&mut keyspace, &mut batch.facts, &transaction, &mut replies);
        batch.replies = replies;
        if let Some(args) = batch.peek() {
            self.worker.show_exec(&batch.facts, args);
        }
        batch.ran("exec");
        // It has closed itself: nothing that was sent behind it runs.
        if let Some(connection) = self.clients.of(batch.client, batch.generation)
            && connection.session.close_after_reply
        {
            connection.closing = true;
            self.dirty.push(batch.client);
            batch.abandon();
        }
        self.run_batch(batch);
        Some(held)
    }

    /// Runs the next command of a transaction if it is one of keys or a script; false if it needs the
    /// session, or there is none.
    fn exec_one(
        &mut self,
        keyspace: &mut Keyspace<'_>,
        facts: &mut SessionFacts,
        transaction: &mut Transaction,
        replies: &mut ReplyBuffer,
    ) -> bool {
        if !facts.replays {
            return self.exec_next(keyspace, facts, transaction, replies);
        }
        let Some((id, _)) = transaction.peek() else { return false };
        let (start, stale) = (replies.bytes.len(), self.worker.let_stale_live());
        let has_run = self.exec_next(keyspace, facts, transaction, replies);
        self.worker.end_stale(stale);
        if has_run {
            // Nobody reads these.
            let name = self.worker.table.all()[usize::from(id)].full_name;
            self.worker.tell_failure(&replies.bytes[start..], name);
            replies.truncate(start);
        }
        has_run
    }

    fn exec_next(
        &mut self,
        keyspace: &mut Keyspace<'_>,
        facts: &mut SessionFacts,
        transaction: &mut Transaction,
        replies: &mut ReplyBuffer,
    ) -> bool {
        if self.worker.exec_one(keyspace, facts, transaction, replies) {
            return true;
        }
        let Some((id, args)) = transaction.peek() else { return false };
        let registered = &self.worker.table.all()[usize::from(id)];
        if registered.way != Way::Script {
            return false;
        }
        if !self.worker.refuse_inside(registered, args, facts, replies) {
            self.run_script(keyspace.reborrow(), (registered, args), facts, true, replies);
        }
        transaction.advance();
        true
    }

    /// Runs the transaction of a batch, which needs no session; its partitions are at hand.
    pub(super) fn run_exec(&mut self, mut keyspace: Keyspace<'_>, batch: &mut Batch) {
        let Some(mut transaction) = batch.transaction.take() else { return };
        if let Some((args, facts, replies)) = batch.peek_split() {
            let worker = &mut self.worker;
            if worker.begin_exec(&mut keyspace, facts, &mut transaction, replies) {
                while self.exec_one(&mut keyspace, facts, &mut transaction, replies) {}
            }
            self.worker.end_exec(&mut keyspace, facts, &transaction, replies);
            self.worker.show_exec(facts, args);
        }
        batch.denials.append(&mut self.worker.denials);
        batch.ran("exec");
    }

    /// Runs the next command of a transaction at its client's home.
    fn exec_step(
        &mut self,
        batch: &mut Batch,
        transaction: &mut Transaction,
        replies: &mut ReplyBuffer,
        held: &mut Held,
    ) -> Step {
        let mut keyspace = Keyspace::Lent(held);
        if self.exec_one(&mut keyspace, &mut batch.facts, transaction, replies) {
            return Step::Again;
        }
        let Core { worker, clients, .. } = self;
        let Some((id, args)) = transaction.peek() else { return Step::Done };
        let registered = &worker.table.all()[usize::from(id)];
        let Some(connection) = clients.of(batch.client, batch.generation) else {
            return Step::Done;
        };
        if worker.refuse_inside(registered, args, &mut batch.facts, replies) {
            transaction.advance();
            return Step::Again;
        }
        let facts = connection.facts(worker.core);
        let session = &mut connection.session;
        session.facts = batch.facts;
        if registered.way == Way::Whole {
            let job = worker
                .inside(|worker| worker.begin_whole(session, facts, registered, args, replies));
            batch.facts = session.facts;
            if let Some(job) = job {
                return Step::Whole(job);
            }
            transaction.advance();
            return Step::Again;
        }
        let request =
            worker.inside(|worker| worker.session(session, facts, registered, args, replies));
        batch.facts = session.facts;
        if batch.facts.reply_mode == ReplyMode::Skip {
            batch.facts.reply_mode = ReplyMode::On;
            transaction.skips_next = true;
        }
        transaction.advance();
        match request {
            // Neither can be queued: RESET and DISCARD run at once, and nothing is watched any more.
            None | Some(Request::Discard | Request::Unwatch) => {}
            // Nothing waits here: the reply is what is so now.
            Some(Request::AwaitAcks(wanted)) => {
                let acks = Acks { target: Gate::of(session.last_write), wanted };
                answer_acks(worker, &acks, &mut Reply::new(replies, batch.facts.proto));
            }
            Some(Request::Shutdown) => self.control.shut_down(),
            Some(request) => return Step::Asks(request),
        }
        Step::Again
    }

    /// A command of a transaction has ended that had parts elsewhere: the transaction goes on.
    pub(super) fn resume_exec(&mut self, batch: Box<Batch>, held: Held) {
        if let Some(mut partitions) = self.run_exec_at_home(batch, held) {
            self.publish_lent(&mut partitions);
            self.return_partitions(partitions);
        }
    }

    /// The words of the command that a batch waits for: the next one of its transaction, or its own.
    pub(super) fn open_command(batch: &Batch) -> Option<Args<'_>> {
        match &batch.transaction {
            Some(transaction) => transaction.peek().map(|(_, args)| args),
            None => batch.peek(),
        }
    }

    /// Queues the next command of a batch whose client is inside MULTI. False if it is to run.
    pub(super) fn enqueue_next(
        &mut self,
        batch: &mut Batch,
        registered: &'static Registered,
    ) -> bool {
        let Core { clients, worker, map, .. } = self;
        let Some(connection) = clients.of(batch.client, batch.generation) else { return false };
        let Some((args, facts, replies)) = batch.peek_split() else { return false };
        let command = (registered, args);
        if !worker.enqueue(command, facts, &mut connection.queue, *map, replies) {
            return false;
        }
        connection.session.facts = *facts;
        batch.advance();
        self.check_query_buffer(batch.client);
        true
    }

    /// A client watches keys no more.
    pub(super) fn unwatch(&mut self, watched: Vec<Watched>) {
        for one in watched {
            let owner = self.map.owner(Slot::of(&one.key));
            if owner == self.worker.core {
                self.unwatch_here(one);
            } else {
                self.mail.post(owner, Message::Unwatch(one));
            }
        }
    }

    /// A key of this core's partition is watched once less.
    pub(super) fn unwatch_here(&mut self, watched: Watched) {
        match self.seat.partition_now() {
            None => self.seat.wait(Waiting::Unwatch(watched)),
            Some(partition) => {
                partition.watchers_mut().unwatch(&watched);
            }
        }
    }

    /// What a client has queued and watched is dropped.
    pub(super) fn discard(&mut self, client: u32, with_queue: bool) {
        let Some(connection) = self.clients.get(client) else { return };
        if with_queue {
            connection.queue = None;
        }
        let watched = watch_nothing(&mut connection.watched, &self.worker.stats);
        self.unwatch(watched);
    }
}

/// A client has begun to watch more keys; those that it watched before, to be watched once less.
#[must_use]
pub(super) fn watch_more(
    watched: &mut WatchedKeys,
    more: &mut Vec<Watched>,
    stats: &CoreStats,
) -> Vec<Watched> {
    let begins = watched.is_empty() && !more.is_empty();
    stats.watching_clients.add(begins.into());
    more.drain(..).filter_map(|one| watched.add(one)).collect()
}

/// What a client has watched until now.
fn watch_nothing(watched: &mut WatchedKeys, stats: &CoreStats) -> Vec<Watched> {
    stats.watching_clients.sub((!watched.is_empty()).into());
    watched.take()
}
