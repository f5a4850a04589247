//! Commands with a part on every core, and what follows when all parts have been done.
//!
//! Invariant: the sequencer passes them on in the order in which they reached it; what follows one
//! happens at the home of its client, once, when the last core has told of its part.

use std::sync::Arc;

use super::journal::WRITER;
use super::mail::WholeId;
use super::notes::take_notes;
use super::transact::Held;
use super::travel::SEQUENCER;
use super::{Core, Message, Ticket};
use crate::base::time::Clock;
use crate::command::session_context::{Request, SyncWanted};
use crate::command::whole::{CoreView, Job, Part};
use crate::commands::pubsub::subscribe::leave_some;
use crate::dispatch::worker::Worker;
use crate::net::connection::Connection;
use crate::ring::Ring;
use crate::txn::batch::Batch;

/// A command whose parts run on every core.
pub(super) struct OpenWhole {
    batch: Box<Batch>,
    parts: Vec<Option<Part>>,
    /// The partitions of the transaction that it is part of.
    held: Option<Held>,
    then: Then,
}

/// What is done when all parts of a command have been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// The command gathers them for its reply.
    Gather,
    /// The reply is `OK`: the command has run before.
    Ok,
    /// The command has run, and has its reply.
    GoOn,
    /// The command can run now.
    Run,
    /// The client becomes a replica.
    Sync(SyncWanted),
}

impl OpenWhole {
    /// What has to be done everywhere for a batch, and what follows.
    pub(super) fn of(batch: Box<Batch>, held: Option<Held>, then: Then) -> OpenWhole {
        OpenWhole { batch, parts: Vec::new(), held, then }
    }

    /// What has to be done everywhere before the next command of a batch runs.
    pub(super) fn before(batch: Box<Batch>) -> OpenWhole {
        OpenWhole::of(batch, None, Then::Run)
    }
}

impl<R: Ring, C: Clock> Core<R, C> {
    /// Has every core do something that nobody waits for.
    pub(super) fn post_everywhere(&mut self, job: Job) {
        let id = WholeId::silent(self.worker.core);
        self.mail.post(SEQUENCER, Message::WholeRequest(id, job));
    }

    /// Has every core do its part of a command, whose batch waits for that.
    pub(super) fn start_whole(&mut self, mut open: OpenWhole, job: Job) {
        let id = self.whole_id();
        open.parts = (0..self.mail.cores()).map(|_| None).collect();
        self.wholes.insert(id.number, open);
        self.mail.post(SEQUENCER, Message::WholeRequest(id, job));
    }

    /// The next number of this core's commands with a part on every core.
    pub(super) fn whole_id(&mut self) -> WholeId {
        WholeId { home: self.worker.core, number: self.next_number() }
    }

    /// Posts to every core in the sequencer's order.
    pub(super) fn sequence_whole(&mut self, id: WholeId, job: &Job) {
        for core in 0..self.mail.cores() {
            self.mail.post(core, Message::Whole(id, job.clone()));
        }
    }

    /// Does this core's part.
    pub(super) fn run_part(&mut self, job: &Job) -> Part {
        self.publish_gauges();
        let before = (self.worker.config.clone(), self.worker.users.clone());
        let certificates = self.worker.tls.clone();
        let pause = self.worker.switches.pause;
        let mut listening = None;
        let worker = &mut self.worker;
        let part = job(&mut CoreView {
            core: worker.core,
            partition: self.seat.partition_now().as_deref(),
            clients: &mut self.clients,
            config: &mut worker.config,
            users: &mut worker.users,
            acl_log: &mut self.acl_log,
            command_log: &mut self.command_log,
            latency: &mut worker.latency,
            hotkeys: &mut worker.hotkeys,
            directory: &mut worker.directory,
            hearers: &mut worker.hearers,
            monitors: &mut worker.monitors,
            prefixes: &mut worker.prefixes,
            lines: worker.scribe.own_lines().filter(|_| worker.core == WRITER),
            stats: &worker.stats,
            switches: &mut worker.switches,
            scripts: &mut worker.scripts,
            functions: &mut worker.functions,
            listening: &mut listening,
            tls: &mut worker.tls,
            keys: &mut self.key_samples,
            now: worker.now,
        });
        worker.check_persistence();
        worker.listeners_changed();
        worker.limits_changed();
        worker.stats.tracked_prefixes.set(worker.prefixes.len() as u64);
        if !Arc::ptr_eq(&before.1, &worker.users) {
            worker.users_changed();
        }
        if !Arc::ptr_eq(&before.0, &worker.config) {
            self.config_changed();
            if self.worker.core == WRITER {
                self.look_at_rewrites();
            }
        }
        self.tls_changed(certificates.as_ref());
        if let Some(change) = listening {
            self.change_listeners(&change);
        }
        self.doomed.append(&mut self.clients.doomed);
        if std::mem::take(&mut self.clients.ends_link) {
            self.clients.primary = None;
            self.control.end_link();
        }
        self.end_woken();
        // Who is held back through a change of the role is not asked before the end of the pause.
        if pause != self.worker.switches.pause {
            self.resume_paused();
        }
        part
    }

    /// A core has done its part.
    pub(super) fn part_done(&mut self, id: WholeId, core: usize, part: Part) {
        let Some(open) = self.wholes.get_mut(&id.number) else {
            if !self.departures.part_done(id.number) {
                self.step_part_done(id.number);
            }
            return;
        };
        open.parts[core] = Some(part);
        if open.parts.iter().any(Option::is_none) {
            return;
        }
        if let Some(open) = self.wholes.remove(&id.number) {
            self.all_parts_done(open);
        }
    }

    fn all_parts_done(&mut self, open: OpenWhole) {
        let OpenWhole { mut batch, parts, held, then } = open;
        self.worker.hearers.settle(batch.facts.id);
        let parts: Vec<Part> = parts.into_iter().flatten().collect();
        let Some(connection) = self.clients.of(batch.client, batch.generation) else {
            self.return_partitions(held.unwrap_or_default());
            return self.abandon(batch);
        };
        if let Some(job) = Self::next_piece(&mut self.worker, connection, (&mut batch, &then)) {
            return self.start_whole(OpenWhole::of(batch, held, then), job);
        }
        if connection.session.close_after_reply && !matches!(then, Then::Run | Then::Gather) {
            connection.closing = true;
            batch.abandon();
        }
        match then {
            Then::Gather => self.gather(batch, held, parts),
            Then::Run => {
                if let Some(batch) = self.bring_scripts_of_exec(batch) {
                    self.run_batch(batch);
                }
            }
            Then::Ok => self.answer_and_go_on(batch, held, outcome_of(parts)),
            Then::Sync(wanted) => {
                let Batch { client, generation, .. } = *batch;
                self.keep_spare(batch);
                self.begin_move(client, generation, wanted);
            }
            Then::GoOn => {
                // What was on its way to it when it left is not for what it is now.
                connection.held.clear();
                match held {
                    Some(held) => self.resume_exec(batch, held),
                    None => self.run_batch(batch),
                }
            }
        }
    }

    /// Writes the reply of a command that gathers what the cores have answered; its batch goes on.
    fn gather(&mut self, mut batch: Box<Batch>, held: Option<Held>, parts: Vec<Part>) {
        let Some(connection) = self.clients.of(batch.client, batch.generation) else { return };
        if std::mem::take(&mut connection.session.leaves) && held.is_none() {
            // All messages that it gets of what it has left are here.
            self.deliver(&mut batch);
        }
        let Core { clients, worker, .. } = self;
        let Some(connection) = clients.of(batch.client, batch.generation) else { return };
        worker.start_clock();
        let mut replies = std::mem::take(&mut batch.replies);
        let Some(args) = Self::open_command(&batch) else { return };
        let Some(registered) = worker.table.lookup(args) else { return };
        let session = &mut connection.session;
        let request = worker.gather_whole(session, registered, (args, parts), &mut replies);
        batch.replies = replies;
        batch.facts = connection.session.facts;
        take_notes(worker, &mut batch);
        if let Some(held) = held {
            batch.transaction.iter_mut().for_each(|one| one.advance());
            if let Some(request @ Request::Prepare(_)) = request {
                return self.ask(Ticket::of(batch, Some(held)), request);
            }
            return self.resume_exec(batch, held);
        }
        batch.ran(registered.full_name);
        // CLIENT KILL of oneself: nothing that was sent behind it runs.
        if connection.session.close_after_reply {
            connection.closing = true;
            batch.abandon();
        }
        if let Some(batch) = self.answer_request(batch, request) {
            self.run_batch(batch);
        }
    }

    /// What is still to be done everywhere for a command that is done in pieces.
    fn next_piece(
        worker: &mut Worker,
        connection: &mut Connection,
        (batch, then): (&mut Batch, &Then),
    ) -> Option<Job> {
        let facts = connection.facts(worker.core);
        let session = &mut connection.session;
        match then {
            Then::GoOn => leave_some(session, worker.core),
            Then::Gather if session.pieces_done > 0 => {
                let mut replies = std::mem::take(&mut batch.replies);
                let args = Self::open_command(batch)?;
                let registered = worker.table.lookup(args)?;
                let job = worker.begin_whole(session, facts, registered, args, &mut replies);
                batch.replies = replies;
                job
            }
            _ => None,
        }
    }
}

/// What became of a command with a part on every core.
fn outcome_of(parts: Vec<Part>) -> Result<&'static str, String> {
    let failed = parts.into_iter().find_map(|part| match part {
        Part::Failed(reason) => Some(reason),
        _ => None,
    });
    failed.map_or(Ok("OK"), Err)
}
