//! Loans of partitions: asked for, passed on, lent, and what runs under one.
//!
//! Invariant: the sequencer (core 0) passes requests on in the order in which they reached it, to
//! every owner over a queue that keeps order; so all owners see all loans in one order. Every loan
//! gets somewhere, and none lasts long: other cores wait for their partitions.

use super::notes::take_notes;
use super::travel::SEQUENCER;
use super::{Core, Message};
use crate::base::time::{Clock, Millis};
use crate::command::context::Keyspace;
use crate::dispatch::evict::Admission;
use crate::dispatch::route::{self, Place};
use crate::dispatch::table::Way;
use crate::ring::Ring;
use crate::store::partition::Partition;
use crate::txn::batch::{Batch, REPLY_BYTES_MAX};
use crate::txn::cores::{CoreSet, SlotMap};
use crate::txn::loan::{Arrival, Loan, LoanId, LoanRequest, Waiting};

/// Commands that run under one loan, about: other cores wait for their partitions.
const COMMANDS_PER_LOAN_MAX: usize = 1024;
/// Those of one batch among them, at most.
const BATCH_COMMANDS_PER_LOAN_MAX: usize = 256;

/// What became of the next command of a batch.
enum LentStep {
    /// It has run; the one behind it can.
    Ran,
    /// It does not run under this loan, or waits; nor does what is behind it.
    Stops,
    /// It sends keys of these cores to another server.
    Migrates(CoreSet),
}

impl<R: Ring, C: Clock> Core<R, C> {
    /// Passes a request on to the owners. This core, if it is one, lends at once: all requests come
    /// through here, so its own order is the one that it gives the others.
    pub(super) fn sequence_loan(&mut self, request: LoanRequest) {
        for owner in request.owners.iter().filter(|owner| *owner != SEQUENCER) {
            self.mail.post(owner, Message::Lend(request.id));
        }
        if request.owners.contains(SEQUENCER) {
            self.seat.wait(Waiting::Loan(request.id));
            self.serve_seat();
        }
    }

    pub(super) fn lent(&mut self, id: LoanId, partition: Box<Partition>, time: Millis) {
        if self.splits(id) {
            return self.lent_alone(id, partition, time);
        }
        match self.coordinator.arrive(id, partition, time) {
            Arrival::Waits => {}
            Arrival::Complete(loan) => self.run_loan(loan),
            Arrival::GoesBack(partition) => self.return_partitions(vec![partition]),
        }
    }

    pub(super) fn lend(&mut self, id: LoanId) {
        self.settle_housekeeping_debt();
        self.publish_gauges();
        let partition = self.seat.lend();
        self.worker.stats.totals.loans.add(1);
        if id.coordinator == self.worker.core {
            self.lent(id, partition, self.worker.now);
        } else {
            self.mail.post(id.coordinator, Message::Lent(id, partition, self.worker.now));
        }
    }

    /// Sends lent partitions back to their owners.
    pub(super) fn return_partitions(&mut self, partitions: Vec<Box<Partition>>) {
        for partition in partitions {
            let owner = self.map.owner(partition.first_slot());
            if owner == self.worker.core {
                self.seat.give_back(partition);
            } else {
                self.mail.post(owner, Message::Return(partition, self.worker.now));
            }
        }
    }

    /// Asks for the partitions that this turn's commands need.
    pub(super) fn request_loan(&mut self) {
        let Some(request) = self.coordinator.request() else { return };
        if self.worker.core == SEQUENCER {
            self.sequence_loan(request);
        } else {
            self.mail.post(SEQUENCER, Message::LoanRequest(request));
        }
    }

    /// Runs all that waited for a loan, now that its partitions are here.
    pub(super) fn run_loan(&mut self, loan: Loan) {
        let Loan { owners, mut batches, waiters, saves, mut partitions, time, .. } = loan;
        self.worker.now = self.worker.now.max(time);
        for waiter in waiters {
            self.worker.start_clock();
            self.worker.serve_reserved(Keyspace::Lent(&mut partitions), &waiter);
        }
        let (mut at_home, mut migrating) = (Vec::new(), Vec::new());
        let share =
            (COMMANDS_PER_LOAN_MAX / (batches.len().max(1))).clamp(1, BATCH_COMMANDS_PER_LOAN_MAX);
        self.loan_batches.extend(batches.drain(..));
        while let Some(mut batch) = self.loan_batches.pop_front() {
            self.worker.now = self.worker.now.max(batch.time);
            self.worker.start_clock();
            batch.travel.end_wait(self.worker.last_tick());
            let mut migrates = None;
            for ran in 0..share {
                // One command runs in any case, so that every loan gets somewhere.
                if self.worker.is_exhausted() && (ran > 0 || !self.loan_done.is_empty()) {
                    break;
                }
                match self.step_lent(owners, &mut partitions, &mut batch) {
                    LentStep::Ran => {}
                    LentStep::Stops => break,
                    LentStep::Migrates(needed) => {
                        migrates = Some(needed);
                        break;
                    }
                }
            }
            take_notes(&mut self.worker, &mut batch);
            self.worker.tell_own(&batch.facts, &mut batch.replies);
            batch.time = self.worker.now;
            if let Some(needed) = migrates {
                migrating.push((batch, needed));
                continue;
            }
            let needs_home = batch.transaction.as_ref().is_some_and(|one| one.needs_home());
            let list =
                if needs_home && batch.is_alive() { &mut at_home } else { &mut self.loan_done };
            list.push(batch);
        }
        let mut held = Some(partitions);
        for batch in at_home {
            match held.take() {
                Some(partitions) if owners.covers(self.exec_at_home(&batch)) => {
                    held = self.run_exec_at_home(batch, partitions);
                }
                other => {
                    held = other;
                    self.loan_done.push(batch);
                }
            }
        }
        for (batch, needed) in migrating {
            match held.take() {
                Some(partitions) if covers(&partitions, needed, self.map) => {
                    held = Some(self.begin_migration(batch, needed, partitions));
                }
                other => {
                    held = other;
                    self.loan_done.push(batch);
                }
            }
        }
        for save in saves {
            if let Some(partitions) = held.take().filter(|held| held.len() == owners.len()) {
                held = self.begin_wanted(save, partitions);
            } else {
                // Another save, or a transaction, has kept them.
                self.want_save(save);
            }
        }
        if let Some(mut partitions) = held {
            self.publish_lent(&mut partitions);
            self.return_partitions(partitions);
        }
        for batch in std::mem::take(&mut self.loan_done) {
            self.run_batch(batch);
        }
    }

    /// Runs the next command of a batch with partitions on loan, if it can run under this loan.
    fn step_lent(
        &mut self,
        owners: CoreSet,
        partitions: &mut [Box<Partition>],
        batch: &mut Batch,
    ) -> LentStep {
        if !batch.is_alive() || batch.replies.len() > REPLY_BYTES_MAX {
            return LentStep::Stops;
        }
        let worker = &mut self.worker;
        let address = batch.address();
        let (id, position) = (batch.next_id(), batch.next_position());
        let Some((args, facts, replies)) = batch.peek_split() else { return LentStep::Stops };
        let registered = id.map(|id| &worker.table.all()[usize::from(id)]);
        if worker.refuse(registered, args, facts, replies) {
            batch.refused(&mut worker.denials);
            return LentStep::Ran;
        }
        let Some(registered) = registered else { return LentStep::Stops };
        let mut keyspace = Keyspace::Lent(partitions);
        if registered.way == Way::Exec {
            if self.is_transaction_paused(batch) {
                return LentStep::Stops;
            }
            let Some(needed) = self.exec_owners(batch) else { return LentStep::Stops };
            if !owners.covers(needed) || keyspace.has_reservations() {
                return LentStep::Stops;
            }
            self.run_exec(keyspace, batch);
            return LentStep::Ran;
        }
        let covered = match worker.place(registered, args, position, facts, self.map) {
            Place::Core(owner) => owners.contains(owner),
            Place::Loan(needed) => owners.covers(needed),
            Place::Here => true,
            Place::Home | Place::Whole => false,
        };
        if !covered || worker.is_paused(registered, args) {
            return LentStep::Stops;
        }
        if registered.way == Way::Migrating {
            return match route::place(registered, args, self.map) {
                Place::Loan(needed) => LentStep::Migrates(needed),
                _ => LentStep::Stops,
            };
        }
        worker.hint(position);
        match worker.admit(&mut keyspace, facts, (registered, args), replies) {
            Admission::Runs => {}
            Admission::Refused => {
                batch.advance();
                return LentStep::Ran;
            }
            Admission::KeptBack => return LentStep::Stops,
        }
        if registered.way == Way::Script {
            self.run_batch_script(keyspace, registered, batch);
            return LentStep::Ran;
        }
        let suspension = worker.keyed(keyspace.reborrow(), facts, registered, args, replies);
        if let Some(suspension) = suspension {
            let command = (registered, args);
            let who = (address, *facts);
            batch.blocked = Some(worker.wait(keyspace, suspension, who, command));
            return LentStep::Stops;
        }
        batch.watched.append(&mut worker.watched);
        batch.ran(registered.full_name);
        LentStep::Ran
    }
}

/// True if the partitions of all these cores are here.
fn covers(partitions: &[Box<Partition>], needed: CoreSet, map: SlotMap) -> bool {
    let mut here = CoreSet::default();
    partitions.iter().for_each(|one| here.insert(map.owner(one.first_slot())));
    here.covers(needed)
}
