//! Mail between cores: batches that come home, commands with a part everywhere.
//!
//! Invariant: the sequencer (core 0) passes commands on in the order in which they reached it, to
//! every core over a queue that keeps order; so all cores see them, and all loans, in one order.

use super::notes::take_notes;
use super::transact::{Held, watch_more};
use super::{Answer, Core, Message, OpenWhole, Then, Ticket};
use crate::base::time::Clock;
use crate::command::session_context::Request;
use crate::dispatch::call::settle_reply_mode;
use crate::dispatch::table::Way;
use crate::dispatch::worker::Worker;
use crate::resp::reply::Reply;
use crate::ring::Ring;
use crate::txn::batch::Batch;
use crate::txn::loan::Waiting;

/// The core that gives loans and commands of all cores one order.
pub(super) const SEQUENCER: usize = 0;
/// Whoever waits for a partition is served at most so often a turn.
const SERVED_PER_TURN_MAX: usize = 1024;

impl<R: Ring, C: Clock> Core<R, C> {
    /// Handles a message.
    pub(super) fn handle(&mut self, message: Message) {
        match message {
            Message::Batch(batch) => self.run_batch(batch),
            Message::LoanRequest(request) => self.sequence_loan(request),
            Message::Lend(id) => {
                self.seat.wait(Waiting::Loan(id));
                self.serve_seat();
            }
            Message::Lent(id, partition, time) => self.lent(id, partition, time),
            Message::Return(partition, time) => {
                self.worker.now = self.worker.now.max(time);
                // Its keys may have gone, and their file be on its way.
                self.worker.check_persistence();
                self.seat.give_back(partition);
                self.serve_seat();
            }
            Message::Accepted(accepted) => {
                self.add_client(*accepted);
            }
            Message::WholeRequest(id, job) => self.sequence_whole(id, &job),
            Message::Whole(id, job) => {
                let part = self.run_part(&job);
                if !id.is_silent() {
                    let core = self.worker.core;
                    self.mail.post(id.home, Message::WholeDone(id, core, part));
                }
            }
            Message::WholeDone(id, core, part) => self.part_done(id, core, part),
            Message::Letters => self.take_letters(),
            Message::Served(served) => self.served(served),
            Message::Forget(waiter) => self.forget(waiter),
            Message::Unwatch(watched) => self.unwatch_here(watched),
            Message::Denied(denial) => self.file_denial(*denial),
            Message::Evict => self.evict(true),
            Message::EvictClients => self.evict_clients_soon(),
            Message::Block(..) | Message::Pushes(..) => {
                unreachable!("pushes wait for their place among all others")
            }
            Message::Moving(moving) => self.take_moving(*moving),
            Message::AskReplicas(number) => self.ask_replicas(number),
            Message::Feed(words) => self.feed_replicas(&words),
            Message::Handover(order, asker) => self.take_handover(order, Some(asker)),
            Message::Save(wanted) => self.want_save(wanted),
            Message::Answered(ticket, outcome) => self.control_answered(ticket, outcome),
            Message::Busy => self.worker.look_for_busy(),
        }
    }

    /// Serves those who wait for this partition, in the order in which they came.
    pub(super) fn serve_seat(&mut self) {
        for _ in 0..SERVED_PER_TURN_MAX {
            match self.seat.take_next() {
                None => return,
                // Those behind it must not make it wait again.
                Some(Waiting::Batch(batch)) => self.run_batch_now(batch, true),
                Some(Waiting::Loan(id)) => self.lend(id),
                Some(Waiting::Forget(waiter)) => self.forget(waiter),
                Some(Waiting::Unwatch(watched)) => self.unwatch_here(watched),
            }
        }
    }

    /// A batch is home: its replies go to the client, and what is left of it runs on.
    pub(super) fn came_home(&mut self, mut batch: Box<Batch>) {
        self.worker.now = self.worker.now.max(batch.time);
        if batch.facts.replays && batch.is_done() {
            return self.nobody_done(batch);
        }
        loop {
            if !self.deliver(&mut batch) {
                return self.abandon(batch);
            }
            if batch.blocked.is_some() {
                return self.block(batch);
            }
            if batch.is_done() {
                return self.batch_done(batch);
            }
            if self.clients.get(batch.client).is_some_and(|connection| connection.must_stall()) {
                if let Some(connection) = self.clients.get(batch.client) {
                    connection.away = false;
                    connection.stalled = Some(batch);
                }
                return;
            }
            let same = if self.next_needs_home(&batch) {
                self.run_at_home(batch)
            } else {
                self.run_until_home(batch, false)
            };
            match same {
                Some(same) => batch = same,
                None => return,
            }
        }
    }

    /// Gives a batch's replies to its client. False if the client has gone.
    pub(super) fn deliver(&mut self, batch: &mut Batch) -> bool {
        self.take_letters_for(batch.client, false);
        let Some(connection) = self.clients.of(batch.client, batch.generation) else {
            return false;
        };
        if connection.is_dead {
            return false;
        }
        connection.session.facts.reply_mode = batch.facts.reply_mode;
        connection.session.facts.keep_caching(&batch.facts);
        connection.session.commands += std::mem::take(&mut batch.ran_count);
        let again = watch_more(&mut connection.watched, &mut batch.watched, &self.worker.stats);
        if !batch.last_command.is_empty() {
            connection.session.last_command = std::mem::take(&mut batch.last_command);
        }
        for denial in std::mem::take(&mut batch.denials) {
            self.report(batch.client, denial);
        }
        self.unwatch(again);
        if !batch.notes.is_empty() {
            self.file_notes(batch.client, std::mem::take(&mut batch.notes));
        }
        self.worker.scribe.gate.raise(batch.gate.take());
        if !batch.replies.is_empty() {
            self.begin_segment(batch.client);
            self.replies.append_from(&batch.replies, 0);
            self.end_segment(batch.client);
            batch.replies.clear();
        }
        self.write_held_of(batch.client);
        true
    }

    fn batch_done(&mut self, batch: Box<Batch>) {
        let client = batch.client;
        let broken = batch.broken();
        self.follow_home(&batch);
        self.keep_spare(batch);
        if let Some(connection) = self.clients.get(client) {
            connection.away = false;
        }
        if let Some(error) = broken {
            self.begin_segment(client);
            self.broken(client, error);
            self.end_segment(client);
            return;
        }
        self.client_is_free(client);
    }

    /// A client whose commands have all run may go on with what it sent meanwhile.
    pub(super) fn client_is_free(&mut self, client: u32) {
        self.note_ready(client);
        self.rearm.push(client);
        self.hung_up.push(client);
    }

    fn next_needs_home(&self, batch: &Batch) -> bool {
        if batch.facts.in_multi {
            return !self.is_next_paused(batch);
        }
        let registered = batch.next_id().map(|id| &self.worker.table.all()[usize::from(id)]);
        registered.is_none_or(|one| {
            let home = match one.way {
                Way::Exec => batch.transaction.is_none(),
                Way::Script => batch.peek().is_some_and(|args| self.brings_script(one, args)),
                way => matches!(way, Way::Home | Way::Whole),
            };
            home && !self.is_next_paused(batch)
        })
    }

    /// Runs the next command of a batch, which needs the session. None if the batch waits now.
    fn run_at_home(&mut self, mut batch: Box<Batch>) -> Option<Box<Batch>> {
        let client = batch.client;
        let Some(connection) = self.clients.of(client, batch.generation) else {
            self.abandon(batch);
            return None;
        };
        let worker = &mut self.worker;
        worker.start_clock();
        let (args, facts, replies) = batch.peek_split()?;
        let registered = worker.table.lookup(args);
        if worker.refuse(registered, args, facts, replies) {
            connection.session.facts.reply_mode = facts.reply_mode;
            connection.session.facts.multi_failed = facts.multi_failed;
            connection.session.facts.in_multi = facts.in_multi;
            batch.advance();
            self.report_denials(client);
            if registered.is_some_and(|one| one.way == Way::Exec) {
                self.discard(client, true);
            }
            return Some(batch);
        }
        let registered = registered?;
        if facts.in_multi && self.enqueue_next(&mut batch, registered) {
            return Some(batch);
        }
        if registered.way == Way::Exec {
            self.begin_exec(&mut batch);
            return self.bring_scripts_of_exec(batch);
        }
        if registered.way == Way::Script {
            return self.bring_script(batch, registered);
        }
        let Core { clients, worker, .. } = self;
        let connection = clients.of(batch.client, batch.generation)?;
        let (args, _, replies) = batch.peek_split()?;
        let held = connection.facts(worker.core);
        if registered.way == Way::Whole {
            let session = &mut connection.session;
            let Some(job) = worker.begin_whole(session, held, registered, args, replies) else {
                batch.facts = connection.session.facts;
                batch.ran(registered.full_name);
                take_notes(worker, &mut batch);
                return Some(batch);
            };
            self.start_whole(OpenWhole::of(batch, None, Then::Gather), job);
            return None;
        }
        let request = worker.session(&mut connection.session, held, registered, args, replies);
        Worker::settle_caching(&mut connection.session.facts, registered);
        batch.facts = connection.session.facts;
        if let Some(Request::AwaitAcks(wanted)) = request {
            let who = (batch.address(), batch.facts);
            let acks = self.acks_for(client, wanted);
            let args = batch.peek()?;
            batch.blocked = Some(self.worker.wait_for_acks(wanted, acks, who, (registered, args)));
            self.block(batch);
            return None;
        }
        batch.ran(registered.full_name);
        take_notes(worker, &mut batch);
        if connection.session.close_after_reply {
            connection.closing = true;
            // It closes behind its output, even if it wanted no reply.
            self.dirty.push(client);
            batch.abandon();
        }
        self.report_denials(client);
        self.answer_request(batch, request)
    }

    /// Does what a command asked for. None if the batch waits for it.
    pub(super) fn answer_request(
        &mut self,
        batch: Box<Batch>,
        request: Option<Request>,
    ) -> Option<Box<Batch>> {
        match request {
            None => {}
            Some(Request::Shutdown) => self.control.shut_down(),
            Some(Request::Discard) => self.discard(batch.client, true),
            Some(Request::Unwatch) => self.discard(batch.client, false),
            Some(request) => {
                self.ask(Ticket::of(batch, None), request);
                return None;
            }
        }
        Some(batch)
    }

    /// Has done what a command asks for; its batch waits for that.
    pub(super) fn ask(&mut self, ticket: Ticket, request: Request) {
        let job = match request {
            Request::Leave(job) => job,
            Request::Sync(wanted) => {
                let Batch { client, generation, .. } = *ticket.batch;
                self.keep_spare(ticket.batch);
                return self.begin_move(client, generation, wanted);
            }
            Request::TakeOver(wanted) => {
                let ticket = Ticket { then: Then::Sync(wanted.clone()), ..ticket };
                return self.ask_control(ticket, Request::TakeOver(wanted));
            }
            request => return self.ask_control(ticket, request),
        };
        let Ticket { batch, held, .. } = ticket;
        self.discard(batch.client, true);
        let open = OpenWhole::of(batch, held, Then::GoOn);
        self.start_whole(open, job);
    }

    /// The control plane has done what a command waits for.
    pub(super) fn control_answered(&mut self, ticket: u64, outcome: Result<Answer, String>) {
        let Some(Ticket { batch, held, then, blocks }) = self.tickets.remove(&ticket) else {
            return self.take_own_answer(ticket, outcome);
        };
        if blocks {
            self.worker.stats.blocked_clients.sub(1);
            self.set_blocked(&batch, false);
        }
        let outcome = match outcome {
            Ok(Answer::Everywhere(job)) => {
                let open = OpenWhole::of(batch, held, then);
                return self.start_whole(open, job);
            }
            Ok(Answer::Migrated(end)) => {
                return self.end_migration(batch, held.unwrap_or_default(), end);
            }
            Ok(Answer::Done) => Ok("OK"),
            Ok(Answer::Said(text)) => Ok(text),
            Err(error) => Err(error),
        };
        self.answer_and_go_on(batch, held, outcome);
    }

    /// Writes the reply of a command that others have done; its batch goes on.
    pub(super) fn answer_and_go_on(
        &mut self,
        mut batch: Box<Batch>,
        held: Option<Held>,
        outcome: Result<&str, String>,
    ) {
        let start = batch.replies.bytes.len();
        let mut reply = Reply::new(&mut batch.replies, batch.facts.proto);
        match outcome {
            Ok(text) => reply.simple(text),
            Err(error) => {
                self.worker.stats.count_error(error.as_bytes());
                reply.error(error);
            }
        }
        if let Some(held) = held {
            return self.resume_exec(batch, held);
        }
        if let Some(connection) = self.clients.of(batch.client, batch.generation) {
            let facts = &mut connection.session.facts;
            settle_reply_mode(facts, &mut batch.replies, start);
            batch.facts.reply_mode = facts.reply_mode;
        }
        self.run_batch(batch);
    }

    /// Batches held by CLIENT PAUSE are tried again.
    pub(super) fn resume_paused(&mut self) {
        for batch in std::mem::take(&mut self.paused) {
            self.worker.stats.blocked_clients.sub(1);
            self.set_blocked(&batch, false);
            self.run_batch(batch);
        }
    }

    /// Keeps a batch whose next command CLIENT PAUSE holds back.
    pub(super) fn pause_batch(&mut self, batch: Box<Batch>) {
        self.worker.stats.blocked_clients.add(1);
        if let Some(connection) = self.clients.of(batch.client, batch.generation)
            && let Some(id) = batch.next_id()
        {
            connection.session.last_command = self.worker.table.all()[usize::from(id)].full_name;
        }
        self.set_blocked(&batch, true);
        self.paused.push(batch);
    }

    /// A client goes whose batch may be held back here: what it was to do is not done any more.
    pub(super) fn drop_kept(&mut self, index: u32) {
        let Some(connection) = self.clients.get(index) else { return };
        if !connection.session.blocked {
            return;
        }
        let generation = connection.generation;
        let is_its = |batch: &Batch| batch.client == index && batch.generation == generation;
        if let Some(at) = self.paused.iter().position(|batch| is_its(batch)) {
            self.worker.stats.blocked_clients.sub(1);
            let batch = self.paused.remove(at);
            self.abandon(batch);
        }
    }

    /// Notes whether the client of a batch is shown as blocked.
    pub(super) fn set_blocked(&mut self, batch: &Batch, blocked: bool) {
        if let Some(connection) = self.clients.of(batch.client, batch.generation) {
            connection.session.blocked = blocked;
        }
    }
}
