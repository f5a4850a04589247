//! Handing over: a replica takes this primary's place, or the process ends. Before that the replicas
//! get all that was written.
//!
//! Invariant: the core that keeps the stream decides. Nothing is written from the moment that every
//! core has said that it holds writes back; what a core did before is in the stream by then, or on
//! its way under a number that is waited for. So a replica that has all of the stream has everything.
//! Source: Redis 8.0.6: FAILOVER, SHUTDOWN.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::journal::WRITER;
use super::{Answer, Core, Message, Ticket};
use crate::base::time::{Clock, Millis};
use crate::client::replica::Listed;
use crate::command::CommandError;
use crate::command::session_context::{EndWanted, FailoverWanted, Handover, Request, SaveOrder};
use crate::command::whole::{Hold, Job, Part, Pause};
use crate::config::value::Endpoint;
use crate::observe::journal::State;
use crate::observe::log;
use crate::observe::replication::FailoverState;
use crate::ring::Ring;

/// A command that waits for an answer: its home core, and its number there.
pub(super) type Asker = (usize, u64);

/// The role of a replica is asked for by nobody.
const STEP_DOWN: u64 = u64::MAX;
/// So is the role of a primary.
const STEP_UP: u64 = u64::MAX - 1;
/// What SHUTDOWN answers if the process goes on.
pub(super) const CANNOT_END: &str = "ERR Errors trying to SHUTDOWN. Check logs.";

/// What is under way. Only the core that keeps the stream has anything here.
#[derive(Default)]
pub(super) struct Handing {
    failover: Option<Failover>,
    ending: Option<Ending>,
    /// What not every core has done: its number, and how many have not.
    open: Vec<(u64, usize, Step)>,
}

/// What follows when every core has done something.
#[derive(Clone, Copy)]
enum Step {
    /// Writes are held back for this.
    Held(Hold, Option<Asker>),
    /// The server is a primary again.
    SteppedUp,
}

/// A replica is to take this server's place.
struct Failover {
    /// Which one. The first that has everything, before one is chosen.
    target: Option<Endpoint>,
    until: Option<Millis>,
    /// Then it takes the place even if it lacks something.
    force: bool,
    is_held: bool,
    /// This server becomes a primary again.
    is_aborted: bool,
    /// Who wants to hear of the end.
    askers: Vec<Asker>,
}

/// The process is to end.
struct Ending {
    wanted: EndWanted,
    until: Millis,
    is_held: bool,
    /// Nobody is waited for any more.
    is_final: bool,
    askers: Vec<Asker>,
}

impl<R: Ring, C: Clock> Core<R, C> {
    /// Takes what a command wants. Signals have no asker.
    pub(super) fn take_handover(&mut self, order: Handover, asker: Option<Asker>) {
        match order {
            Handover::Failover(wanted) => {
                if let Err(error) = self.begin_failover(wanted, asker) {
                    self.answer_asker(asker, Err(error.text().into()));
                }
            }
            Handover::AbortFailover => self.take_abort(asker),
            Handover::End(wanted) => self.begin_end(wanted, asker),
            Handover::AbortEnd => {
                if self.handing.ending.as_ref().is_none_or(|ending| ending.is_final) {
                    let error = CommandError::NoShutdownInProgress.text();
                    return self.answer_asker(asker, Err(error.into()));
                }
                self.cancel_end();
                log::notice("Shutdown manually aborted.");
                self.answer_asker(asker, Ok(Answer::Done));
            }
        }
    }

    fn begin_failover(
        &mut self,
        wanted: FailoverWanted,
        asker: Option<Asker>,
    ) -> Result<(), CommandError> {
        let FailoverWanted { target, timeout, force } = wanted;
        if self.handing.failover.is_some() {
            return Err(CommandError::FailingOver);
        }
        if self.worker.follows() {
            return Err(CommandError::FailoverOnReplica);
        }
        let replicas = self.listed_replicas();
        if replicas.is_empty() {
            return Err(CommandError::FailoverWithoutReplicas);
        }
        if force && (timeout.is_none() || target.is_none()) {
            return Err(CommandError::FailoverForce);
        }
        match &target {
            Some(target) => {
                let found = replicas.iter().find(|one| is_at(one, target));
                let found = found.ok_or(CommandError::FailoverTarget)?;
                if found.state != "online" {
                    return Err(CommandError::FailoverTargetOffline);
                }
                log::notice(format!("FAILOVER requested to {}.", shown(target)));
            }
            None => log::notice("FAILOVER requested to any replica."),
        }
        let until = timeout.map(|millis| Millis(self.worker.now.0.saturating_add(millis)));
        self.handing.failover = Some(Failover {
            target,
            until,
            force,
            is_held: false,
            is_aborted: false,
            askers: Vec::new(),
        });
        self.tell_failover(FailoverState::WaitingForSync);
        self.hold_writes(Hold::Failover, asker);
        Ok(())
    }

    fn take_abort(&mut self, asker: Option<Asker>) {
        let Some(failover) = &mut self.handing.failover else {
            let error = CommandError::NoFailover.text();
            return self.answer_asker(asker, Err(error.into()));
        };
        failover.askers.extend(asker);
        self.abort_failover("Failover manually aborted");
    }

    /// The failover comes to nothing. A server that is a replica by now becomes a primary again.
    fn abort_failover(&mut self, reason: &str) {
        let Some(failover) = &mut self.handing.failover else { return };
        if failover.is_aborted {
            return;
        }
        let target = failover.target.as_ref().map_or("any replica".to_owned(), shown);
        log::notice(format!("FAILOVER to {target} aborted: {reason}"));
        if self.worker.server.replication.failover() == FailoverState::InProgress {
            failover.is_aborted = true;
            self.control.ask(self.worker.core, STEP_UP, Request::Follow(None));
        } else {
            self.end_failover();
        }
    }

    fn end_failover(&mut self) {
        let Some(failover) = self.handing.failover.take() else { return };
        self.tell_failover(FailoverState::None);
        self.release_writes(Hold::Failover);
        failover.askers.into_iter().for_each(|asker| {
            self.answer_asker(Some(asker), Ok(Answer::Done));
        });
    }

    fn tell_failover(&self, state: FailoverState) {
        self.worker.server.replication.enter_failover(state);
    }

    /// The control plane has ended what the former role was about.
    pub(super) fn take_own_answer(&mut self, ticket: u64, outcome: Result<Answer, String>) {
        let Ok(Answer::Everywhere(job)) = outcome else { return };
        if ticket == STEP_UP {
            self.start_step(Step::SteppedUp, job);
        } else {
            self.post_everywhere(job);
        }
    }

    /// The replica that was chosen has answered: it is the primary, or will not be.
    pub(super) fn take_verdict(&mut self, accepts: bool) {
        if self.worker.server.replication.failover() != FailoverState::InProgress {
            return;
        }
        if accepts {
            self.end_failover();
        } else {
            self.abort_failover("Failover target rejected psync request");
        }
    }

    /// Looks whether the replicas have what they are waited for.
    #[inline]
    pub(super) fn look_at_handover(&mut self) {
        if self.handing.failover.is_some() {
            self.look_at_failover();
        }
        if self.handing.ending.is_some() {
            self.look_at_ending();
        }
    }

    fn look_at_failover(&mut self) {
        let Some(failover) = &self.handing.failover else { return };
        if self.worker.server.replication.failover() != FailoverState::WaitingForSync {
            return;
        }
        if self.worker.follows() {
            return self.abort_failover("The server is a replica");
        }
        if failover.until.is_some_and(|until| until <= self.worker.now) {
            let Some(target) = failover.target.clone().filter(|_| failover.force) else {
                return self.abort_failover("Replica never caught up before timeout");
            };
            let name = shown(&target);
            return self.fail_over(
                target,
                &format!("FAILOVER to {name} time out exceeded, failing over."),
            );
        }
        if !failover.is_held || !self.stream_is_whole() {
            return;
        }
        let offset = self.feeder.stream.offset();
        let replicas = self.listed_replicas();
        let wanted = self.handing.failover.as_ref().and_then(|failover| failover.target.clone());
        let is_wanted = |one: &Listed| wanted.as_ref().is_none_or(|target| is_at(one, target));
        let synced = replicas.iter().find(|one| one.acked == offset && is_wanted(one));
        if let Some(target) = synced.and_then(|one| wanted.clone().or_else(|| endpoint(one))) {
            let name = shown(&target);
            self.fail_over(target, &format!("Failover target {name} is synced, failing over."));
        }
    }

    /// This server becomes a replica of its replica, which it asks to be the primary.
    fn fail_over(&mut self, target: Endpoint, line: &str) {
        log::notice(line);
        if let Some(failover) = &mut self.handing.failover {
            failover.target = Some(target.clone());
        }
        self.tell_failover(FailoverState::InProgress);
        self.control.ask(self.worker.core, STEP_DOWN, Request::Follow(Some(target)));
    }

    /// The process is to end, if nobody has to be waited for at once.
    fn begin_end(&mut self, wanted: EndWanted, asker: Option<Asker>) {
        if let Some(ending) = &mut self.handing.ending {
            return ending.askers.extend(asker);
        }
        let timeout = i64::from(self.worker.config.shutdown_timeout) * 1000;
        let waits = !wanted.now && timeout > 0 && !self.is_ready_to_end();
        let until = Millis(self.worker.now.0 + timeout);
        let askers = asker.into_iter().collect();
        self.handing.ending =
            Some(Ending { wanted, until, is_held: false, is_final: false, askers });
        if !waits {
            return self.end_now();
        }
        self.worker.server.replication.ends_at.store(until.0, Relaxed);
        self.ask_replicas(0);
        self.hold_writes(Hold::Shutdown, None);
        log::notice("Waiting for replicas before shutting down.");
    }

    fn is_ready_to_end(&mut self) -> bool {
        let (replicas, offset) = (self.listed_replicas(), self.feeder.stream.offset());
        replicas.is_empty()
            || self.stream_is_whole() && replicas.iter().all(|one| one.acked == offset)
    }

    fn look_at_ending(&mut self) {
        let Some(Ending { until, is_held, is_final, .. }) = self.handing.ending else { return };
        let is_late = until <= self.worker.now;
        if !is_final && (is_late || is_held && self.is_ready_to_end()) {
            self.end_now();
        }
    }

    /// The process ends, unless it has to save and cannot.
    fn end_now(&mut self) {
        let Some(ending) = &mut self.handing.ending else { return };
        ending.is_final = true;
        let EndWanted { saves, force, .. } = ending.wanted;
        self.tell_lagging();
        if self.worker.server.journal.state() == State::Starting {
            if !force {
                log::warning("Writing initial AOF, can't exit.");
                log::warning(
                    "Errors trying to shut down the server. Check the logs for more information.",
                );
                return self.cancel_end();
            }
            log::warning("Writing initial AOF. Exit anyway.");
        }
        if saves && !self.worker.is_loading() {
            self.order_save(SaveOrder::Ending { force });
        } else {
            self.control.shut_down();
        }
    }

    /// Says in the log which replicas lack something.
    fn tell_lagging(&mut self) {
        let replicas = self.listed_replicas();
        let offset = self.feeder.stream.offset();
        let mut in_sync = 0;
        for one in &replicas {
            if one.acked == offset {
                in_sync += 1;
                continue;
            }
            let (behind, lag, state) = (offset as i64 - one.acked as i64, one.lag, one.state);
            log::notice(format!(
                "Lagging replica {} reported offset {behind} behind master, lag={lag}, state={state}.",
                one.name
            ));
        }
        if !replicas.is_empty() {
            let count = replicas.len();
            log::notice(format!("{in_sync} of {count} replicas are in sync when shutting down."));
        }
    }

    /// The process goes on.
    pub(super) fn cancel_end(&mut self) {
        let Some(ending) = self.handing.ending.take() else { return };
        self.worker.server.replication.ends_at.store(0, Relaxed);
        for asker in ending.askers {
            self.answer_asker(Some(asker), Err(CANNOT_END.into()));
        }
        self.release_writes(Hold::Shutdown);
    }

    /// Has every core hold writes back.
    fn hold_writes(&mut self, reason: Hold, asker: Option<Asker>) {
        let pause = Pause { until: Millis(i64::MAX), all: false };
        let job: Job = Arc::new(move |view| {
            view.switches.hold(reason, Some(pause));
            Part::Done
        });
        self.start_step(Step::Held(reason, asker), job);
    }

    fn release_writes(&mut self, reason: Hold) {
        self.post_everywhere(Arc::new(move |view| {
            view.switches.hold(reason, None);
            Part::Done
        }));
    }

    /// Has every core do something, to be followed by a step of this one.
    fn start_step(&mut self, step: Step, job: Job) {
        let id = self.whole_id();
        self.handing.open.push((id.number, self.mail.cores(), step));
        self.mail.post(super::travel::SEQUENCER, Message::WholeRequest(id, job));
    }

    /// A core has done its part of a step.
    pub(super) fn step_part_done(&mut self, number: u64) {
        let open = &mut self.handing.open;
        let Some(at) = open.iter().position(|(other, ..)| *other == number) else { return };
        open[at].1 -= 1;
        if open[at].1 > 0 {
            return;
        }
        match self.handing.open.swap_remove(at).2 {
            Step::Held(Hold::Failover, asker) => {
                if let Some(failover) = &mut self.handing.failover {
                    failover.is_held = true;
                }
                self.answer_asker(asker, Ok(Answer::Done));
            }
            Step::Held(Hold::Shutdown | Hold::Client, _) => {
                if let Some(ending) = &mut self.handing.ending {
                    ending.is_held = true;
                }
            }
            Step::SteppedUp => self.end_failover(),
        }
        self.has_more = true;
    }

    /// Answers a command that waits for this core, if one does.
    pub(super) fn answer_asker(&mut self, asker: Option<Asker>, outcome: Result<Answer, String>) {
        if let Some((core, ticket)) = asker {
            self.mail.post(core, Message::Answered(ticket, outcome));
        }
    }

    /// The replicas, whatever they are doing.
    fn listed_replicas(&mut self) -> Vec<Listed> {
        let Core { clients, feeder, worker, .. } = self;
        let replicas = feeder.replicas.iter();
        let listed = replicas.filter_map(|(index, _)| {
            clients.get(*index).and_then(|one| Listed::of(&one.session, worker.now))
        });
        listed.collect()
    }

    /// A command wants to hand over: the core that keeps the stream decides.
    pub(super) fn ask_keeper(&mut self, order: Handover, ticket: u64) {
        if let Handover::End(_) = order
            && let Some(Ticket { batch, blocks, .. }) = self.tickets.get_mut(&ticket)
        {
            *blocks = true;
            self.worker.stats.blocked_clients.add(1);
            if let Some(connection) = self.clients.of(batch.client, batch.generation) {
                connection.session.blocked = true;
            }
        }
        self.mail.post(WRITER, Message::Handover(order, (self.worker.core, ticket)));
    }
}

fn endpoint(replica: &Listed) -> Option<Endpoint> {
    let port = u16::try_from(replica.port).ok()?;
    Some(Endpoint { host: replica.address.clone(), port })
}

fn is_at(replica: &Listed, target: &Endpoint) -> bool {
    endpoint(replica).is_some_and(|endpoint| endpoint.is(target))
}

fn shown(target: &Endpoint) -> String {
    format!("{}:{}", String::from_utf8_lossy(&target.host), target.port)
}
