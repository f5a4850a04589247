//! Saves as a core sees them: the instant of a save, and its slices.
//!
//! Invariant: a save begins when one core has all partitions on loan, so at one instant of all. A save
//! that commands wait for keeps that loan to its end, and this core writes all partitions; every
//! other save is written by the owners, in slices of housekeeping. No slice touches a file: pieces go
//! to the control plane.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::handover::{Asker, CANNOT_END};
use super::journal::WRITER;
use super::replay::{aof_place, load_order, path_of};
use super::{Answer, Core, Message, Ticket};
use crate::base::time::Clock;
use crate::command::CommandError;
use crate::command::session_context::{EndWanted, Handover, Request, SaveOrder};
use crate::config::choices::{MaxmemoryPolicy, ShutdownFlags};
use crate::dispatch::worker::Worker;
use crate::observe::log;
use crate::observe::persistence::{ENDING, Purpose};
use crate::observe::server::REDIS_VERSION;
use crate::persist::load::LoadOrder;
use crate::persist::rdb::file::preamble;
use crate::persist::save::{Flags, Save, Target, Usage, Wanted};
use crate::ring::Ring;
use crate::script::Library;
use crate::store::budget::Budget;
use crate::store::entry::EPOCH_MAX;
use crate::store::partition::Partition;
use crate::txn::cores::CoreSet;
use crate::txn::loan::WantedSave;

/// A save that keeps all partitions.
pub(super) struct Holding {
    partitions: Vec<Box<Partition>>,
    wanted: WantedSave,
    stage: Stage,
}

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Another save has to come to its end first.
    Clearing,
    /// The partitions are being written.
    Writing,
    /// The control plane has the rest.
    Finishing,
}

/// Work of one slice where nobody waits for the core: about two milliseconds.
const HELD_SLICE_UNITS: usize = 10_000;
/// What a step of a save with rdb-key-save-delay takes of a slice, at least.
const PACED_STEP_UNITS: usize = 64;
/// Seconds after a save that failed before a save point tries again. Source: Redis.
const RETRY_SECONDS: i64 = 5;
/// What SAVE answers when it failed. Source: Redis.
const FAILED: &str = "ERR";
const NOT_IN_EXEC: &str = "ERR DEBUG RELOAD is not allowed inside a transaction";

impl<R: Ring, C: Clock> Core<R, C> {
    /// Has a command's save begin, as soon as the core that keeps the stream has all partitions: it
    /// knows where in the history that is. Inside a transaction it is only scheduled.
    fn ask_for_save(&mut self, ticket: u64, order: SaveOrder) {
        if self.tickets.get(&ticket).is_some_and(|open| open.held.is_some()) {
            if order == SaveOrder::Background {
                self.worker.server.persistence.scheduled.store(true, Ordering::Relaxed);
                return self
                    .control_answered(ticket, Ok(Answer::Said("Background saving scheduled")));
            }
            return self.control_answered(ticket, Err(NOT_IN_EXEC.into()));
        }
        let wanted = WantedSave { asker: Some((self.worker.core, ticket)), order };
        self.mail.post(WRITER, Message::Save(wanted));
    }

    /// Has a save begin that no command waits for.
    pub(super) fn order_save(&mut self, order: SaveOrder) {
        self.want_save(WantedSave { asker: None, order });
    }

    /// A save is to begin here, as soon as all partitions are.
    pub(super) fn want_save(&mut self, wanted: WantedSave) {
        self.coordinator.want_save(CoreSet::all(self.mail.cores()), wanted);
    }

    /// All partitions are here: the instant of a save. Gives them back unless the save keeps them.
    pub(super) fn begin_wanted(
        &mut self,
        wanted: WantedSave,
        mut partitions: Vec<Box<Partition>>,
    ) -> Option<Vec<Box<Partition>>> {
        let WantedSave { asker, order } = wanted;
        let is_busy = self.worker.server.persistence.is_busy();
        let is_loading = self.worker.is_loading();
        match order {
            // Somebody loads another file: it is tried again.
            SaveOrder::Replace(wanted) if is_loading && !wanted.within_load => {
                self.order_save(order);
                return Some(partitions);
            }
            _ => {}
        }
        if is_loading && !matches!(order, SaveOrder::Replace(_)) {
            self.refuse_while_loading(wanted);
            return Some(partitions);
        }
        let persistence = &self.worker.server.persistence;
        if order == SaveOrder::Background
            && is_busy
            && persistence.cancelled.load(Ordering::Acquire)
        {
            // What is in the way is about to end: it is tried again.
            self.want_save(wanted);
            return Some(partitions);
        }
        match order {
            SaveOrder::Background => {
                let answer = self.begin_background(&mut partitions);
                self.answer_asker(asker, answer);
                return Some(partitions);
            }
            SaveOrder::Replicas => {
                self.begin_sync(&mut partitions);
                return Some(partitions);
            }
            SaveOrder::Rewrite => {
                self.begin_rewrite(&mut partitions);
                return Some(partitions);
            }
            SaveOrder::StopJournal => {
                self.stop_journal();
                return Some(partitions);
            }
            SaveOrder::Foreground if self.worker.server.persistence.is_saving() => {
                self.answer_asker(asker, Err(CommandError::SaveInProgress.text().into()));
                return Some(partitions);
            }
            SaveOrder::Foreground
            | SaveOrder::Reload { .. }
            | SaveOrder::Replace(_)
            | SaveOrder::LoadAof => {}
            SaveOrder::Ending { .. } => {
                if is_busy {
                    log::warning("There is a save under way. Cancelling it!");
                }
                log::notice("Saving the final RDB snapshot before exiting.");
            }
        }
        self.worker.server.persistence.is_held.store(true, Ordering::Release);
        if is_busy {
            self.clear_for(order, &partitions);
        }
        self.holding = Some(Holding { partitions, wanted, stage: Stage::Clearing });
        self.go_on_holding();
        None
    }

    /// A load has begun in front of an order: who asked is told, and what the server wants for itself
    /// it orders anew.
    fn refuse_while_loading(&mut self, WantedSave { asker, order }: WantedSave) {
        match order {
            // What is being loaded is in a file already.
            SaveOrder::Ending { .. } => self.control.shut_down(),
            SaveOrder::Replicas => self.feeder.is_ordered = false,
            SaveOrder::StopJournal => self.rewriting.is_stopping = false,
            _ => {}
        }
        self.answer_asker(asker, Err(CommandError::Loading.text().into()));
    }

    /// Begins a save while everybody goes on; what is answered.
    fn begin_background(&mut self, partitions: &mut [Box<Partition>]) -> Result<Answer, String> {
        let persistence = &self.worker.server.persistence;
        if !self.take_right(Purpose::Dump, partitions) {
            let error = if persistence.is_saving() {
                CommandError::SaveInProgress
            } else {
                CommandError::OtherSnapshot
            };
            return Err(error.text().into());
        }
        let target = Target::Dump(path_of(&self.worker.config.dbfilename));
        self.begin_save(partitions, target, false);
        let pid = self.worker.server.pid;
        log::notice(format!("Background saving started by pid {pid}"));
        Ok(Answer::Said("Background saving started"))
    }

    /// Another snapshot is in the way of what is to be done with all partitions: it is not wanted any
    /// more, unless it is a rewrite of the AOF, which comes to its end in their hands.
    fn clear_for(&self, order: SaveOrder, partitions: &[Box<Partition>]) {
        let server = &self.worker.server;
        let is_rewrite = server.persistence.is_busy_with(Purpose::AofBase);
        if is_rewrite && !matches!(order, SaveOrder::Ending { .. }) {
            if partitions.iter().any(|one| one.has_snapshot()) {
                return;
            }
            // It has not begun, and cannot before these partitions are back.
            server.journal.rewrites.scheduled.store(true, Ordering::Relaxed);
        }
        if server.persistence.is_busy_with(Purpose::Replicas) {
            self.control.give_up();
        }
        server.persistence.cancelled.store(true, Ordering::Release);
        partitions.iter().for_each(|one| one.cancel_snapshot());
    }

    /// Takes the right to a snapshot of partitions that are all here. False if another one is under
    /// way.
    pub(super) fn take_right(&self, purpose: Purpose, partitions: &[Box<Partition>]) -> bool {
        let is_clear = partitions.iter().all(|one| !one.has_snapshot());
        is_clear && self.worker.server.persistence.begin(purpose, self.worker.now.seconds())
    }

    /// The instant of a snapshot of partitions that are all here; who calls has the right to it.
    pub(super) fn begin_save(
        &mut self,
        partitions: &mut [Box<Partition>],
        target: Target,
        is_urgent: bool,
    ) -> Arc<Save> {
        let history = self.history_facts(&target);
        let server = &self.worker.server;
        let now = self.worker.now;
        let config = &self.worker.config;
        let mut databases = Vec::new();
        for index in 0..config.databases {
            let keys = partitions.iter().map(|one| one.db(index).len() as u64).sum();
            let expires = partitions.iter().map(|one| one.db(index).expires() as u64).sum();
            if keys > 0 {
                databases.push((index, keys, expires));
            }
        }
        let keys = databases.iter().map(|(_, keys, _)| keys).sum();
        server.persistence.save_keys.store(keys, Ordering::Relaxed);
        let libraries = self.libraries();
        let preamble = self.preamble_of(&target, history, (&libraries, &databases));
        let syncs_often = match target {
            Target::Dump(_) => config.rdb_save_incremental_fsync,
            Target::AofBase(_) => config.aof_rewrite_incremental_fsync,
            Target::Replicas { .. } => false,
        };
        let save = Save::new(Wanted {
            epoch: server.persistence.next_epoch(EPOCH_MAX),
            target,
            flags: Flags {
                compresses: config.rdbcompression,
                checksums: config.rdbchecksum,
                syncs_often,
                is_urgent,
            },
            usage: match config.maxmemory_policy {
                MaxmemoryPolicy::AllkeysLru | MaxmemoryPolicy::VolatileLru => Usage::Idle,
                MaxmemoryPolicy::AllkeysLfu | MaxmemoryPolicy::VolatileLfu => {
                    Usage::Frequency { decay_minutes: config.lfu_decay_time }
                }
                _ => Usage::Untold,
            },
            preamble,
            keys,
            changes: server.sum(|stats| stats.dirty.get()),
            partitions: partitions.len(),
            has_functions: !libraries.is_empty(),
        });
        let save = if is_urgent { save } else { save.paced(self.cron.turn_began()) };
        let save = Arc::new(save);
        for (number, partition) in partitions.iter_mut().enumerate() {
            partition.begin_snapshot(&save, number, now);
        }
        save
    }

    /// The texts of all libraries of functions.
    pub(super) fn libraries(&self) -> Vec<Bytes> {
        let text_of = |library: &Arc<Library>| Bytes::copy_from_slice(&library.code);
        self.worker.functions.all().map(text_of).collect()
    }

    /// What stands before the keys of a snapshot.
    pub(super) fn preamble_of(
        &self,
        target: &Target,
        history: Vec<(&'static str, Vec<u8>)>,
        (libraries, databases): (&[Bytes], &[(usize, u64, u64)]),
    ) -> Vec<u8> {
        let number = |number: i64| number.to_string().into_bytes();
        let mut facts = vec![
            ("redis-ver", REDIS_VERSION.as_bytes().to_vec()),
            ("redis-bits", b"64".to_vec()),
            ("ctime", number(self.worker.now.seconds())),
            ("used-mem", number(crate::base::alloc::used_memory() as i64)),
        ];
        facts.extend(history);
        facts.push(("aof-base", number(i64::from(matches!(target, Target::AofBase(_))))));
        let facts: Vec<(&str, &[u8])> =
            facts.iter().map(|(name, value)| (*name, value.as_slice())).collect();
        preamble(&facts, libraries, databases)
    }

    /// A slice of a save, if one is under way. True if there is more of it that may be written now.
    pub(super) fn save_slice(&mut self, budget: &mut Budget) -> bool {
        let now = self.monotonic();
        let Core { seat, control, worker, .. } = self;
        let Some(partition) = seat.partition_now() else { return false };
        let mut emit = |save: &_, piece| control.save(save, piece);
        let micros = worker.config.rdb_key_save_delay;
        // Step by step, so that it does not get far ahead of its pace.
        while let Some(save) = partition.saves().filter(|save| save.is_paced(micros)) {
            if worker.server.persistence.cancelled.load(Ordering::Acquire) {
                save.cancel();
            } else if save.is_ahead(now, micros) {
                return false;
            }
            if budget.is_spent() || !partition.snapshot_slice(&mut Budget::new(1), &mut emit) {
                return partition.has_snapshot();
            }
            budget.spend(PACED_STEP_UNITS);
        }
        partition.snapshot_slice(budget, &mut emit)
    }

    /// Goes on with a save that keeps all partitions, if there is one. True if it needs another turn
    /// at once.
    pub(super) fn go_on_holding(&mut self) -> bool {
        let Some(mut holding) = self.holding.take() else { return false };
        let mut is_busy = false;
        if holding.stage != Stage::Finishing {
            let mut budget = Budget::new(HELD_SLICE_UNITS);
            for partition in &mut holding.partitions {
                let control = &self.control;
                is_busy |= partition
                    .snapshot_slice(&mut budget, &mut |save, piece| control.save(save, piece));
            }
        }
        let is_under_way = self.worker.server.persistence.is_busy();
        let order = holding.wanted.order;
        let wants_save = matches!(
            order,
            SaveOrder::Foreground | SaveOrder::Ending { .. } | SaveOrder::Reload { save: true, .. }
        );
        match holding.stage {
            // What is to be read again has to be there first.
            Stage::Clearing
                if order == SaveOrder::LoadAof && self.worker.server.journal.refuses() =>
            {
                return self.end_holding(holding, false);
            }
            Stage::Clearing if order == SaveOrder::LoadAof && self.journal_is_behind() => {
                is_busy = true;
            }
            Stage::Clearing if !is_busy && !is_under_way => {
                is_busy = true;
                if wants_save {
                    // Whoever has it now has to get rid of it first.
                    if self.take_right(Purpose::Dump, &holding.partitions) {
                        let target = Target::Dump(path_of(&self.worker.config.dbfilename));
                        self.begin_save(&mut holding.partitions, target, true);
                        holding.stage = Stage::Writing;
                    }
                } else {
                    return self.end_holding(holding, true);
                }
            }
            Stage::Clearing if !is_busy => self.clear_for(order, &holding.partitions),
            Stage::Writing if !is_busy => holding.stage = Stage::Finishing,
            // A rewrite may be about to begin, which needs these partitions.
            Stage::Finishing if !self.worker.server.persistence.is_saving() => {
                let is_saved = self.worker.server.persistence.was_saved.load(Ordering::Acquire);
                return self.end_holding(holding, is_saved);
            }
            Stage::Clearing | Stage::Writing | Stage::Finishing => {}
        }
        self.holding = Some(holding);
        is_busy
    }

    fn end_holding(&mut self, holding: Holding, is_saved: bool) -> bool {
        let Holding { mut partitions, wanted: WantedSave { asker, order }, .. } = holding;
        self.worker.server.persistence.is_held.store(false, Ordering::Release);
        match order {
            SaveOrder::Ending { force } if is_saved || force => {
                self.control.shut_down();
                // Nobody may change what has been saved.
                self.kept_to_the_end = partitions;
                return false;
            }
            SaveOrder::Reload { flush: flushes, merge, .. } if is_saved => {
                if flushes {
                    self.flush_all(&mut partitions);
                }
                let order = self.order_again(asker);
                self.control.load(LoadOrder { merge, flushes, ..order });
            }
            SaveOrder::Replace(wanted) => self.make_room(&mut partitions, wanted),
            SaveOrder::LoadAof if is_saved => {
                self.flush_all(&mut partitions);
                let order = self.order_again(asker);
                let aof = Some(aof_place(&self.worker.config, false));
                self.control.load(LoadOrder { aof, flushes: true, ..order });
            }
            SaveOrder::Ending { .. } => {
                log::warning("Error trying to save the DB, can't exit.");
                self.cancel_end();
                self.answer_asker(asker, Err(CANNOT_END.into()));
            }
            SaveOrder::Rewrite | SaveOrder::StopJournal => {}
            SaveOrder::Background
            | SaveOrder::Replicas
            | SaveOrder::Foreground
            | SaveOrder::Reload { .. }
            | SaveOrder::LoadAof => {
                let answer = if is_saved { Ok(Answer::Done) } else { Err(FAILED.into()) };
                self.answer_asker(asker, answer);
            }
        }
        self.publish_lent(&mut partitions);
        self.return_partitions(partitions);
        false
    }

    /// All data goes, and with it what clients have read.
    pub(super) fn flush_all(&mut self, partitions: &mut [Box<Partition>]) {
        partitions.iter_mut().for_each(|partition| partition.flush_all());
        self.forget_what_was_read(partitions);
    }

    /// All data is another one: clients that track keys hear of it.
    pub(super) fn forget_what_was_read(&mut self, partitions: &mut [Box<Partition>]) {
        partitions.iter_mut().for_each(|partition| partition.tracked_mut().clear());
        let Worker { invalidations, server, .. } = &mut self.worker;
        invalidations.add_all(server.stats.iter().map(|stats| stats.tracking_clients.get()));
    }

    /// All data is to be read again: what is to be loaded.
    fn order_again(&mut self, asker: Option<Asker>) -> LoadOrder {
        self.worker.server.persistence.begin_load(self.worker.now.seconds());
        self.worker.check_persistence();
        load_order(&self.worker.config, asker)
    }

    /// Begins what save points, a schedule or a signal want.
    pub(super) fn look_at_saves(&mut self) {
        let server = self.worker.server.clone();
        let persistence = &server.persistence;
        let ending = persistence.ending.load(Ordering::Acquire);
        if ending & ENDING != 0 {
            if persistence.ending.swap(0, Ordering::AcqRel) & ENDING != 0 {
                self.end_by_signal(ShutdownFlags(ending & !ENDING));
            }
            return;
        }
        if persistence.is_busy() || self.worker.is_loading() || self.holding.is_some() {
            return;
        }
        if persistence.scheduled.swap(false, Ordering::Relaxed) {
            return self.order_save(SaveOrder::Background);
        }
        let now = self.worker.now.seconds();
        let changes = server.unsaved_changes();
        let since = now - persistence.last_save.load(Ordering::Relaxed);
        let tried = now - persistence.last_try.load(Ordering::Relaxed);
        if persistence.failed.load(Ordering::Relaxed) && tried <= RETRY_SECONDS {
            return;
        }
        let is_due = |point: &&crate::config::value::SavePoint| {
            changes >= point.changes.max(0) as u64 && since > point.seconds
        };
        if let Some(point) = self.worker.config.save.iter().find(is_due) {
            let (changes, seconds) = (point.changes, point.seconds);
            log::notice(format!("{changes} changes in {seconds} seconds. Saving..."));
            self.order_save(SaveOrder::Background);
        }
    }

    fn end_by_signal(&mut self, flags: ShutdownFlags) {
        let has_to = flags.has(ShutdownFlags::SAVE)
            || !self.worker.config.save.is_empty() && !flags.has(ShutdownFlags::NOSAVE);
        let saves = has_to && !self.worker.is_loading();
        let (force, now) = (flags.has(ShutdownFlags::FORCE), flags.has(ShutdownFlags::NOW));
        self.take_handover(Handover::End(EndWanted { saves, force, now }), None);
    }

    /// A command asks for something slow.
    pub(super) fn ask_control(&mut self, open: Ticket, request: Request) {
        let ticket = self.next_number();
        self.tickets.insert(ticket, open);
        match request {
            Request::Save(order) => self.ask_for_save(ticket, order),
            Request::Rewrite => self.order_rewrite(Some(ticket)),
            Request::Handover(order) => self.ask_keeper(order, ticket),
            Request::Feed(words) => {
                self.mail.post(WRITER, Message::Feed(words));
                self.control_answered(ticket, Ok(Answer::Done));
            }
            request => self.control.ask(self.worker.core, ticket, request),
        }
    }
}
