//! Runs batches: each goes from core to core until it is home.
//!
//! Invariant: a command runs where its keys are, under ownership of their partition; when it cannot
//! run here and now, its batch goes on or waits, with everything behind it.

use super::Core;
use super::notes::take_notes;
use crate::base::time::Clock;
use crate::command::context::Keyspace;
use crate::dispatch::evict::Admission;
use crate::dispatch::route::Place;
use crate::dispatch::table::Way;
use crate::ring::Ring;
use crate::store::prefetch::prefetch;
use crate::txn::batch::{Batch, Blocked, REPLY_BYTES_MAX};
use crate::txn::cores::CoreSet;
use crate::txn::loan::Waiting;

/// Where the next command of a batch leads.
enum Next {
    /// It ran; look at the one behind it.
    Again,
    /// All have run, or the next one needs the client's socket.
    Home,
    /// To another core.
    Core(usize),
    /// CLIENT PAUSE holds the next command back.
    Paused,
    /// The next command waits for this core's partition.
    Seat,
    /// The next command waits for a loan of these partitions.
    Loan(CoreSet),
    /// The next command names a key that is kept for somebody else.
    KeptBack,
    /// The next command runs a script, when all that was staged has run.
    Script,
    /// The next command waits for a key.
    Blocked(Blocked),
}

impl<R: Ring, C: Clock> Core<R, C> {
    /// Runs the batches that have come. What they need is fetched first, for all of them: it was last
    /// written to on another core.
    pub(super) fn run_arrived(&mut self) {
        if self.arrived.is_empty() {
            return;
        }
        let mut arrived = std::mem::take(&mut self.arrived);
        self.served += arrived.len();
        self.prefetch_arrived(&arrived);
        arrived.drain(..).for_each(|batch| self.run_batch(batch));
        self.arrived = arrived;
    }

    fn prefetch_arrived(&mut self, arrived: &[Box<Batch>]) {
        arrived.iter().for_each(|batch| batch.prefetch_next());
        arrived.iter().for_each(|batch| batch.prefetch_words());
        let (core, map) = (self.worker.core, self.map);
        let Some(partition) = self.seat.partition() else { return };
        prefetch(|| {
            arrived.iter().flat_map(|batch| {
                let own = batch.next_positions().take_while(|one| map.owner_of(*one) == core);
                let db = partition.db(batch.facts.db);
                own.map(move |position| (db, position))
            })
        });
    }

    /// Runs a batch as far as it gets here, and sends it on.
    pub(super) fn run_batch(&mut self, batch: Box<Batch>) {
        if batch.blocked.is_none() {
            self.run_batch_now(batch, false);
        } else if batch.home == self.worker.core {
            self.came_home(batch);
        } else {
            self.mail.post(batch.home, super::Message::Batch(batch));
        }
    }

    /// The same; `served` is true for a batch whose turn at the partition has come, past those who
    /// wait behind it.
    pub(super) fn run_batch_now(&mut self, batch: Box<Batch>, served: bool) {
        if let Some(batch) = self.run_until_home(batch, served) {
            self.came_home(batch);
        }
    }

    /// Runs a batch as far as it gets without its client. Gives it back if it is home and has to go
    /// on there; None if it is on its way, or waits.
    pub(super) fn run_until_home(
        &mut self,
        mut batch: Box<Batch>,
        served: bool,
    ) -> Option<Box<Batch>> {
        self.worker.now = self.worker.now.max(batch.time);
        self.worker.start_clock();
        if served {
            batch.travel.end_wait(self.worker.last_tick());
        } else {
            batch.travel.arrive(self.worker.last_tick());
        }
        loop {
            if !batch.is_alive() {
                self.abandon(batch);
                return None;
            }
            if self.worker.is_exhausted() {
                self.mail.post(self.worker.core, super::Message::Batch(batch));
                return None;
            }
            let next = if batch.replies.len() > REPLY_BYTES_MAX {
                Next::Home
            } else {
                self.step(&mut batch, served)
            };
            take_notes(&mut self.worker, &mut batch);
            self.worker.tell_own(&batch.facts, &mut batch.replies);
            let core = match next {
                Next::Again => continue,
                Next::Home if batch.home == self.worker.core => return Some(batch),
                Next::Home => batch.home,
                Next::Core(core) => core,
                Next::Paused => {
                    self.pause_batch(batch);
                    return None;
                }
                Next::Seat => {
                    batch.travel.left = self.worker.last_tick();
                    self.seat.wait(Waiting::Batch(batch));
                    return None;
                }
                Next::Loan(owners) => {
                    batch.travel.left = self.worker.last_tick();
                    self.coordinator.want(owners, batch);
                    return None;
                }
                Next::KeptBack => {
                    self.kept_back.push(batch);
                    return None;
                }
                Next::Script => {
                    self.scripts_due.push_back(batch);
                    return None;
                }
                Next::Blocked(blocked) => {
                    batch.blocked = Some(blocked);
                    if batch.home == self.worker.core {
                        return Some(batch);
                    }
                    batch.home
                }
            };
            if batch.home == self.worker.core {
                self.take_replies_along(&mut batch);
            }
            batch.time = self.worker.now;
            batch.travel.left = self.worker.last_tick();
            self.worker.stats.totals.hops.add(1);
            self.mail.post(core, super::Message::Batch(batch));
            return None;
        }
    }

    /// Runs the next command of a batch, if it can run here without its client's socket.
    fn step(&mut self, batch: &mut Batch, served: bool) -> Next {
        let is_home = batch.home == self.worker.core;
        if batch.facts.in_multi {
            return if is_home && self.is_next_paused(batch) { Next::Paused } else { Next::Home };
        }
        let Core { worker, seat, map, .. } = self;
        let (id, address, position) = (batch.next_id(), batch.address(), batch.next_position());
        // Its gates are passed where its key is; but a pause holds it at home.
        if worker.switches.pause.is_none()
            && let Some(owner) = position.map(|position| map.owner_of(position))
            && owner != worker.core
        {
            return Next::Core(owner);
        }
        let Some((args, facts, replies)) = batch.peek_split() else { return Next::Home };
        let registered = id.map(|id| &worker.table.all()[usize::from(id)]);
        if worker.refuse(registered, args, facts, replies) {
            batch.refused(&mut worker.denials);
            self.drop_transaction(batch);
            return Next::Again;
        }
        let Some(registered) = registered else { return Next::Home };
        if worker.is_paused(registered, args) {
            // It waits at home, where its client is shown as blocked.
            return if is_home { Next::Paused } else { Next::Home };
        }
        if registered.way == Way::Exec {
            return self.step_exec(batch, served);
        }
        let place = worker.place(registered, args, position, facts, *map);
        let is_here = place == Place::Core(worker.core);
        if registered.way == Way::Script && is_here && !served && !self.runs_scripts {
            return Next::Script;
        }
        match place {
            Place::Home | Place::Whole => Next::Home,
            Place::Here if worker.has_to_wait(registered) => Next::KeptBack,
            Place::Here => {
                worker.hint(None);
                worker.keyed(Keyspace::Lent(&mut []), facts, registered, args, replies);
                batch.ran(registered.full_name);
                Next::Again
            }
            Place::Loan(_) if worker.has_to_wait(registered) => Next::KeptBack,
            Place::Loan(owners) => Next::Loan(owners),
            Place::Core(owner) if owner != worker.core => Next::Core(owner),
            Place::Core(_) => {
                let seated = if served { seat.partition_now() } else { seat.partition() };
                let Some(partition) = seated else { return Next::Seat };
                worker.hint(position);
                let mut keyspace = Keyspace::One(partition);
                match worker.admit(&mut keyspace, facts, (registered, args), replies) {
                    Admission::Runs => {}
                    Admission::Refused => {
                        batch.advance();
                        return Next::Again;
                    }
                    Admission::KeptBack => return Next::KeptBack,
                }
                if registered.way == Way::Script {
                    let mut partition = seat.lend();
                    self.run_batch_script(Keyspace::One(&mut partition), registered, batch);
                    self.seat.give_back(partition);
                    return Next::Again;
                }
                let suspension =
                    worker.keyed(keyspace.reborrow(), facts, registered, args, replies);
                if let Some(suspension) = suspension {
                    let command = (registered, args);
                    let who = (address, *facts);
                    return Next::Blocked(worker.wait(keyspace, suspension, who, command));
                }
                batch.watched.append(&mut worker.watched);
                batch.ran(registered.full_name);
                Next::Again
            }
        }
    }

    /// True if CLIENT PAUSE holds the next command of a batch back.
    pub(super) fn is_next_paused(&self, batch: &Batch) -> bool {
        let (Some(id), Some(args)) = (batch.next_id(), batch.peek()) else { return false };
        self.worker.is_paused(&self.worker.table.all()[usize::from(id)], args)
    }

    /// True if CLIENT PAUSE holds the transaction of a batch back.
    pub(super) fn is_transaction_paused(&self, batch: &Batch) -> bool {
        let transaction = batch.transaction.as_ref();
        transaction.is_some_and(|one| one.is_fresh() && self.worker.is_exec_paused(one))
    }

    /// Runs the transaction of a batch if its keys are here and it needs no session.
    fn step_exec(&mut self, batch: &mut Batch, served: bool) -> Next {
        let core = self.worker.core;
        if self.is_transaction_paused(batch) {
            return if batch.home == core { Next::Paused } else { Next::Home };
        }
        let flags = batch.transaction.as_ref().and_then(|one| one.flags());
        if flags.is_some_and(|(any, _)| self.worker.has_transaction_to_wait(any)) {
            return Next::KeptBack;
        }
        let Some(owners) = self.exec_owners(batch) else {
            let stays = batch.transaction.is_some() && batch.home == core;
            if stays {
                let needed = self.exec_at_home(batch);
                return if self.refuse_busy_exec(batch, needed) {
                    Next::Again
                } else {
                    Next::Loan(needed)
                };
            }
            return Next::Home;
        };
        if self.refuse_busy_exec(batch, owners) {
            return Next::Again;
        }
        if owners != CoreSet::one(core) {
            let mut cores = owners.iter();
            return match (cores.next(), cores.next()) {
                (Some(owner), None) => Next::Core(owner),
                _ => Next::Loan(owners),
            };
        }
        let seated = if served { self.seat.partition_now() } else { self.seat.partition() };
        let Some(partition) = seated else { return Next::Seat };
        if partition.keeps_back() {
            return Next::KeptBack;
        }
        let mut partition = self.seat.lend();
        self.run_exec(Keyspace::One(&mut partition), batch);
        self.seat.give_back(partition);
        Next::Again
    }
}
