//! Saves as a core sees them: the instant of a save, and its slices.
//!
//! Invariant: a save begins when one core has all partitions on loan, so at one instant of all. A save
//! that commands wait for keeps that loan to its end, and this core writes all partitions; every
//! other save is written by the owners, in slices of housekeeping. No slice touches a file: pieces go
//! to the control plane.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::replay::{aof_place, load_order, path_of};
use super::{Answer, Core, Ticket};
use crate::base::time::Clock;
use crate::command::CommandError;
use crate::command::session_context::{Request, SaveOrder};
use crate::config::choices::{MaxmemoryPolicy, ShutdownFlags};
use crate::observe::log;
use crate::observe::persistence::{ENDING, Purpose};
use crate::observe::server::REDIS_VERSION;
use crate::persist::load::LoadOrder;
use crate::persist::rdb::file::preamble;
use crate::persist::save::{Flags, Save, Target, Usage, Wanted};
use crate::ring::Ring;
use crate::script::Library;
use crate::store::budget::Budget;
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
/// Seconds after a save that failed before a save point tries again. Source: Redis.
const RETRY_SECONDS: i64 = 5;
/// What SAVE answers when it failed. Source: Redis.
const FAILED: &str = "ERR";
const CANNOT_END: &str = "ERR Errors trying to SHUTDOWN. Check logs.";
const NOT_IN_EXEC: &str = "ERR DEBUG RELOAD is not allowed inside a transaction";

impl<R: Ring, C: Clock> Core<R, C> {
    /// Has a command's save begin, as soon as all partitions are here. Inside a transaction it is
    /// only scheduled.
    pub(super) fn order_save(&mut self, ticket: Option<u64>, order: SaveOrder) {
        if let Some(number) = ticket
            && self.tickets.get(&number).is_some_and(|open| open.held.is_some())
        {
            if order == SaveOrder::Background {
                self.worker.server.persistence.scheduled.store(true, Ordering::Relaxed);
                return self
                    .control_answered(number, Ok(Answer::Said("Background saving scheduled")));
            }
            return self.control_answered(number, Err(NOT_IN_EXEC.into()));
        }
        let all = CoreSet::all(self.mail.cores());
        self.coordinator.want_save(all, WantedSave { ticket, order });
    }

    fn answer_save(&mut self, ticket: Option<u64>, answer: Result<Answer, String>) {
        if let Some(ticket) = ticket {
            self.control_answered(ticket, answer);
        }
    }

    /// All partitions are here: the instant of a save. Gives them back unless the save keeps them.
    pub(super) fn begin_wanted(
        &mut self,
        wanted: WantedSave,
        mut partitions: Vec<Box<Partition>>,
    ) -> Option<Vec<Box<Partition>>> {
        let WantedSave { ticket, order } = wanted;
        let is_busy = self.worker.server.persistence.is_busy();
        let is_loading = self.worker.is_loading();
        match order {
            // Somebody loads another file: it is tried again.
            SaveOrder::Replace(wanted) if is_loading && !wanted.has_failed => {
                self.order_save(None, order);
                return Some(partitions);
            }
            _ => {}
        }
        if is_loading && !matches!(order, SaveOrder::Replace(_)) {
            self.answer_save(ticket, Err(CommandError::Loading.text().into()));
            return Some(partitions);
        }
        match order {
            SaveOrder::Background => {
                let answer = self.begin_background(&mut partitions);
                self.answer_save(ticket, answer);
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
                self.answer_save(ticket, Err(CommandError::SaveInProgress.text().into()));
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
    ) {
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
        let save = Arc::new(Save::new(Wanted {
            epoch: server.persistence.next_epoch(),
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
        }));
        for (number, partition) in partitions.iter_mut().enumerate() {
            partition.begin_snapshot(&save, number, now);
        }
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

    /// A slice of a save, if one is under way. True if there is more of it.
    pub(super) fn save_slice(&mut self, budget: &mut Budget) -> bool {
        let Core { seat, control, .. } = self;
        let Some(partition) = seat.partition_now() else { return false };
        partition.snapshot_slice(budget, &mut |save, piece| control.save(save, piece))
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
        let Holding { mut partitions, wanted: WantedSave { ticket, order }, .. } = holding;
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
                    partitions.iter_mut().for_each(|one| one.flush_all());
                }
                let order = self.order_again(ticket);
                self.control.load(LoadOrder { merge, flushes, ..order });
            }
            SaveOrder::Replace(wanted) => self.make_room(&mut partitions, wanted),
            SaveOrder::LoadAof if is_saved => {
                partitions.iter_mut().for_each(|one| one.flush_all());
                let order = self.order_again(ticket);
                let aof = Some(aof_place(&self.worker.config, false));
                self.control.load(LoadOrder { aof, flushes: true, ..order });
            }
            SaveOrder::Ending { .. } => {
                log::warning("Error trying to save the DB, can't exit.");
                self.answer_save(ticket, Err(CANNOT_END.into()));
            }
            SaveOrder::Rewrite | SaveOrder::StopJournal => {}
            SaveOrder::Background
            | SaveOrder::Replicas
            | SaveOrder::Foreground
            | SaveOrder::Reload { .. }
            | SaveOrder::LoadAof => {
                let answer = if is_saved { Ok(Answer::Done) } else { Err(FAILED.into()) };
                self.answer_save(ticket, answer);
            }
        }
        self.publish_lent(&mut partitions);
        self.return_partitions(partitions);
        false
    }

    /// All data is to be read again: what is to be loaded.
    fn order_again(&mut self, ticket: Option<u64>) -> LoadOrder {
        self.worker.server.persistence.begin_load(self.worker.now.seconds());
        self.worker.check_persistence();
        let asker = ticket.map(|ticket| (self.worker.core, ticket));
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
            return self.order_save(None, SaveOrder::Background);
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
            self.order_save(None, SaveOrder::Background);
        }
    }

    fn end_by_signal(&mut self, flags: ShutdownFlags) {
        let saves = flags.has(ShutdownFlags::SAVE)
            || !self.worker.config.save.is_empty() && !flags.has(ShutdownFlags::NOSAVE);
        if saves && !self.worker.is_loading() {
            let force = flags.has(ShutdownFlags::FORCE);
            self.order_save(None, SaveOrder::Ending { force });
        } else {
            self.control.shut_down();
        }
    }

    /// A command asks for something slow.
    pub(super) fn ask_control(&mut self, open: Ticket, request: Request) {
        let ticket = self.next_number();
        self.tickets.insert(ticket, open);
        match request {
            Request::Save(order) => self.order_save(Some(ticket), order),
            Request::Rewrite => self.order_rewrite(Some(ticket)),
            request => self.control.ask(self.worker.core, ticket, request),
        }
    }
}
