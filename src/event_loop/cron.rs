//! What a core does beside commands: expiry, freeing, idle clients, rates; in slices.
//!
//! Invariant: no slice is longer than its budget; an idle core sleeps until the next tenth of a
//! second.

use std::time::Duration;

use super::follow::FOLLOWER;
use super::{Core, Message, process};
use crate::base::time::{Clock, Millis, Nanos, Ticks};
use crate::base::{alloc, sys};
use crate::command::context::Keyspace;
use crate::command::effects::{Effects, Interest};
use crate::command::whole::{Hold, Pause};
use crate::observe::command_log::LogKind;
use crate::observe::stats::CoreStats;
use crate::ring::Ring;
use crate::store::budget::Budget;
use crate::store::expire::{Expired, Expiring, expire_slice};
use crate::store::partition::Partition;

/// Distance of the rounds of periodic work.
const PERIOD_NANOS: u64 = 100_000_000;
const NANOS_PER_MILLI: u64 = 1_000_000;
/// What costs more than a look is done only so often.
const ROUNDS_PER_SECOND: u64 = 1_000_000_000 / PERIOD_NANOS;
/// Lines of memory that one slice of a save, of expiry or of freeing touches: 50 to 100 us.
const SLICE_UNITS: usize = 1000;
/// Housekeeping with work left rests so long between two slices.
const SLICE_PAUSE_NANOS: u64 = 300_000;
/// The thread's CPU time is asked for no more often than this, since that is a system call: it is
/// read before the first turn after, so the CPU time of a turn may be shown by this much too long.
const CPU_READ_NANOS: u64 = 50_000;
/// A slice should take a tenth of it; what is longer keeps commands waiting.
const OVERRUN_NANOS: u64 = 1_000_000;
/// A shorter turn took no more CPU time than time.
const LONG_TURN_NANOS: u64 = 300_000;
/// Samples that a rate is the mean of.
const SAMPLES: usize = 16;
/// A round with fewer commands is a quiet one.
const IDLE_COMMANDS_MAX: u64 = 100;
/// Quiet rounds until memory is given back: the allocator keeps what was freed for a second.
const QUIET_ROUNDS: u32 = 11;
/// Idle clients that one round looks at.
const CLIENTS_PER_ROUND: usize = 1000;

/// A rate over the last samples.
#[derive(Debug, Default)]
struct Rate {
    last: u64,
    samples: [u64; SAMPLES],
    at: usize,
}

impl Rate {
    /// Takes the counter's value after `nanos`; the mean per second.
    fn sample(&mut self, value: u64, nanos: u64) -> u64 {
        let grown = value.saturating_sub(std::mem::replace(&mut self.last, value));
        self.samples[self.at] = grown.saturating_mul(1_000_000_000) / nanos.max(1);
        self.at = (self.at + 1) % SAMPLES;
        self.samples.iter().sum::<u64>() / SAMPLES as u64
    }
}

/// When what is due.
#[derive(Debug)]
pub(super) struct Cron {
    turn_began: Nanos,
    /// The thread's CPU time, and when it was read.
    cpu_read: (u64, Nanos),
    next_round: Nanos,
    last_round: Nanos,
    next_slice: Nanos,
    /// When CLIENT PAUSE ends, if it is on.
    resume: Option<Nanos>,
    has_more: bool,
    rounds: u64,
    accept_errors: u32,
    accepts: Vec<u32>,
    next_client: usize,
    /// Commands at the end of the turn before.
    commands_before: u64,
    /// Commands at the round before.
    commands_seen: u64,
    /// Quiet rounds until memory is given back; 0 when that is done.
    quiet_rounds_left: u32,
    commands: Rate,
    input: Rate,
    output: Rate,
    turns: Rate,
    turn_nanos: Rate,
}

impl Cron {
    pub(super) fn new() -> Cron {
        Cron {
            turn_began: Nanos(0),
            cpu_read: (0, Nanos(0)),
            next_round: Nanos(0),
            last_round: Nanos(0),
            next_slice: Nanos(0),
            resume: None,
            has_more: false,
            rounds: 0,
            accept_errors: 0,
            accepts: Vec::new(),
            next_client: 0,
            commands_before: 0,
            commands_seen: 0,
            quiet_rounds_left: 0,
            commands: Rate::default(),
            input: Rate::default(),
            output: Rate::default(),
            turns: Rate::default(),
            turn_nanos: Rate::default(),
        }
    }

    pub(super) fn begin_turn(&mut self, now: Nanos) {
        self.turn_began = now;
        if now.since(self.cpu_read.1) > CPU_READ_NANOS {
            self.cpu_read = (sys::thread_cpu_nanos(), now);
        }
    }

    /// When the turn under way began.
    pub(super) fn turn_began(&self) -> Nanos {
        self.turn_began
    }

    /// How long the core may sleep.
    pub(super) fn until_next(&self) -> Duration {
        let next = if self.has_more { self.next_slice } else { self.next_round };
        let next = self.resume.map_or(next, |resume| resume.min(next));
        Duration::from_nanos(next.since(self.turn_began))
    }

    /// One line a round about a listener that fails.
    pub(super) fn may_log_accept_error(&mut self) -> bool {
        self.accept_errors += 1;
        self.accept_errors == 1
    }

    /// Arm this listener again in the next round.
    pub(super) fn rearm_accept(&mut self, listener: u32) {
        self.accepts.push(listener);
    }
}

impl<R: Ring, C: Clock> Core<R, C> {
    /// Runs the slice of housekeeping that is due.
    pub(super) fn keep_house(&mut self) {
        let now = self.cron.turn_began;
        self.resume_when_due(now);
        if self.worker.switches.cron_paused {
            self.cron.has_more = false;
        }
        let (round, slice) = (self.cron.next_round <= now, self.cron.next_slice <= now);
        // A turn that has taken the last room begins to make some.
        let slice = slice || !self.cron.has_more && self.worker.should_evict();
        let slice = slice && !self.worker.switches.cron_paused;
        if !round && !slice {
            return;
        }
        let began = self.monotonic();
        if round {
            self.periodic(now);
        }
        if slice {
            // Clients go first: what they held is no reason for a key to go.
            self.evict_clients();
            self.slice(now);
        }
        let nanos = self.monotonic().since(began);
        self.worker.stats.totals.turn_house_nanos.add(nanos);
        self.worker.stats.totals.slice_overruns.add(u64::from(nanos > OVERRUN_NANOS));
    }

    fn slice(&mut self, now: Nanos) {
        // Nothing expires in a pause, so that a primary that is about to step down stays as it is.
        let switches = &self.worker.switches;
        let expire = switches.active_expire
            && switches.pause.is_none()
            && !self.worker.is_loading()
            && !self.worker.config.is_importing();
        // What its primary has is for that one to delete.
        let is_replica = self.worker.follows();
        let wall = self.worker.now;
        let mut budget = Budget::new(self.save_units(now));
        let saves = self.save_slice(&mut budget);
        // Where nobody is kept waiting it goes on at once, unless it waits for the disk.
        let hurries = saves && budget.is_spent() && self.served == 0;
        let Some(partition) = self.seat.partition_now() else { return };
        // What expires is written to a save first, and some are told of it.
        let expire = expire && !partition.is_choked() && !self.worker.are_events_choked();
        let expire = expire && (!is_replica || partition.unshared() > 0);
        let tidies = partition.tidy_unshared(is_replica);
        let mut budget = Budget::new(SLICE_UNITS);
        let stats = &self.worker.stats.totals;
        let mut done = true;
        if expire {
            let keyspace = Keyspace::One(partition);
            let keys = keyspace.has_listeners() || !self.worker.prefixes.is_empty();
            let Keyspace::One(partition) = keyspace else { return };
            let began = Ticks::now();
            let mut effects = Effects::new(Interest { keys, ..self.worker.interest() });
            let on_expired = |db, gone: Expiring<'_>| match gone {
                Expiring::Key(entry) => effects.expired(db, entry.key()),
                Expiring::Field(key, field) => effects.field_expired(db, key, field),
                Expiring::Fields(key, emptied) => effects.fields_expired(db, key, emptied),
            };
            let expired = if is_replica {
                let keys = partition.expire_unshared(wall, on_expired);
                Expired { keys, fields: 0, done: keys == 0 }
            } else {
                expire_slice(partition, wall, &mut budget, on_expired)
            };
            stats.expired_keys.add(expired.keys as u64);
            stats.expired_subkeys.add(expired.fields as u64);
            done = expired.done;
            if !done {
                stats.expired_time_cap_reached.add(1);
            }
            self.worker.journal_gone(&mut Keyspace::One(partition), &effects);
            self.worker.publish_events(effects.take_events());
            self.worker.note_latency_since("expire-cycle", began);
            self.worker.went_by_itself(Keyspace::One(partition), effects.take_keys());
        }
        self.evict(false);
        let Some(partition) = self.seat.partition_now() else { return };
        let forgets = self.worker.forget_tracked_slice(partition);
        let freed = partition.free_slice(&mut budget);
        let pending = partition.graveyard().pending();
        self.worker.stats.lazyfree_pending.set(pending as u64);
        self.worker.stats.totals.lazyfreed.add(freed as u64);
        let more = !done || pending > 0 || saves || forgets || tidies;
        self.cron.has_more = more || self.worker.should_evict();
        self.cron.next_slice = if hurries { now } else { now.after(SLICE_PAUSE_NANOS) };
        self.has_more |= hurries;
    }

    /// The units of a slice of a save: fewer behind a turn that is long already.
    fn save_units(&mut self, turn_began: Nanos) -> usize {
        let is_saving = self.seat.partition_now().is_some_and(|one| one.has_snapshot());
        let is_long = is_saving && self.monotonic().since(turn_began) > LONG_TURN_NANOS;
        if is_long { SLICE_UNITS / 4 } else { SLICE_UNITS }
    }

    /// Evicts some of what is above the limit of memory from this core's partition.
    pub(super) fn evict(&mut self, for_others: bool) {
        let Core { worker, seat, .. } = self;
        if worker.should_evict()
            && let Some(partition) = seat.partition_now()
        {
            worker.evict_slice(&mut Keyspace::One(partition), for_others);
        }
    }

    /// Asks the cores for room that have the better candidates.
    pub(super) fn ask_for_room(&mut self) {
        for core in std::mem::take(&mut self.worker.memory.asked).iter() {
            // It has room to make, too, or waits for it.
            self.cron.has_more = true;
            if core != self.worker.core {
                self.mail.post(core, Message::Evict);
            }
        }
    }

    /// A partition that is about to be lent has its slice first, if that is due.
    pub(super) fn settle_housekeeping_debt(&mut self) {
        let now = self.cron.turn_began;
        if self.cron.has_more && self.cron.next_slice <= now {
            self.slice(now);
        }
    }

    fn periodic(&mut self, now: Nanos) {
        let elapsed = now.since(self.cron.last_round);
        self.cron.last_round = now;
        self.cron.next_round = now.after(PERIOD_NANOS);
        self.cron.rounds += 1;
        self.cron.accept_errors = 0;
        for listener in std::mem::take(&mut self.cron.accepts) {
            self.arm_accept(listener);
        }
        self.shrink_replies();
        self.stage.shrink();
        let stats = &self.worker.stats;
        let (totals, rates, cron) = (&stats.totals, &stats.rates, &mut self.cron);
        rates.commands.set(cron.commands.sample(totals.commands.get(), elapsed));
        rates.input_bytes.set(cron.input.sample(totals.net_input_bytes.get(), elapsed));
        rates.output_bytes.set(cron.output.sample(totals.net_output_bytes.get(), elapsed));
        rates.turns.set(cron.turns.sample(totals.turns.get(), elapsed));
        let nanos = cron.turn_nanos.sample(totals.turn_nanos.get(), elapsed);
        rates.turn_nanos.set(nanos / rates.turns.get().max(1));
        let (user, system) = sys::thread_cpu_micros();
        stats.cpu_user_micros.set(user);
        stats.cpu_sys_micros.set(system);
        if self.cron.rounds.is_multiple_of(ROUNDS_PER_SECOND)
            && let Some(partition) = self.seat.partition_now()
        {
            for (gauges, db) in stats.dbs.iter().zip(partition.dbs()) {
                gauges.table_bytes.set(db.overhead_bytes() as u64);
            }
        }
        self.worker.stats.queued.set((self.mail.waiting() + self.seat.waiting()) as u64);
        self.worker.stats.slow_commands.set(self.command_log.len(LogKind::Slow) as u64);
        if !self.worker.switches.cron_paused {
            self.survey_keys(self.cron.rounds);
        }
        self.look_at_clients();
        self.give_back_memory();
        if self.worker.core == 0 {
            self.take_opened();
            self.look_at_saves();
            self.look_at_replicas();
            self.look_at_handover();
            self.look_at_rewrites();
            self.look_at_certificates();
        }
    }

    /// Once after a busy time: what buffers and deleted keys left behind is free for the other cores; the
    /// control plane gives it back to the system.
    fn give_back_memory(&mut self) {
        let ran = self.worker.stats.totals.commands.get();
        let idle = ran.saturating_sub(std::mem::replace(&mut self.cron.commands_seen, ran))
            < IDLE_COMMANDS_MAX;
        if !idle {
            self.cron.quiet_rounds_left = QUIET_ROUNDS;
        } else if self.cron.quiet_rounds_left > 0 {
            self.cron.quiet_rounds_left -= 1;
            if self.cron.quiet_rounds_left == 0 {
                alloc::give_back();
            }
        }
    }

    /// Ends CLIENT PAUSE when its time is over, and remembers when that will be.
    fn resume_when_due(&mut self, now: Nanos) {
        let wall = self.worker.now;
        let left = |pause: Pause| pause.until.0.saturating_sub(wall.0).max(0) as u64;
        let left = self.worker.switches.held(Hold::Client).map(left);
        self.cron.resume = left.map(|left| now.after(left.saturating_mul(NANOS_PER_MILLI)));
        if left == Some(0) {
            self.worker.switches.hold(Hold::Client, None);
            self.worker.check_persistence();
            self.cron.resume = None;
            self.resume_paused();
        }
    }

    /// Closes clients that have been idle for too long, some of them each round.
    fn look_at_clients(&mut self) {
        let timeout = i64::from(self.worker.config.timeout) * 1000;
        let now = self.worker.now;
        let indexes = self.clients.indexes();
        let (mut input_max, mut output_max) = (0, 0);
        let first = self.cron.next_client;
        self.cron.next_client =
            if first + CLIENTS_PER_ROUND < indexes.len() { first + CLIENTS_PER_ROUND } else { 0 };
        for index in indexes.into_iter().skip(first).take(CLIENTS_PER_ROUND) {
            let Some(connection) = self.clients.get(index) else { continue };
            let held = connection.facts(self.worker.core);
            input_max = input_max.max(held.query_bytes + held.query_free);
            output_max = output_max.max(held.output_list_bytes);
            let idle: Millis = connection.session.last_interaction;
            let facts = &connection.session.facts;
            let listens = facts.subscribed || facts.monitoring || connection.session.is_replica();
            if timeout > 0 && !connection.away && !listens && now.0 - idle.0 > timeout {
                self.doomed.push(index);
            }
            // A buffer that a burst left behind is given back.
            if connection.input.query.is_empty() && connection.input.query.capacity() > 0 {
                connection.input.query = Vec::new();
            }
            self.look_at_output(index);
            self.weigh(index);
        }
        self.worker.stats.max_input_bytes.set(input_max as u64);
        self.worker.stats.max_output_bytes.set(output_max as u64);
    }

    /// What others may read of this core's data, before anybody can hear of this turn.
    pub(super) fn publish_gauges(&mut self) {
        self.worker.stats.timed_clients.set(self.deadlines.len() as u64);
        let worker = &self.worker;
        worker.stats.script_engine_bytes.set(worker.scripts.engine_bytes() as u64);
        worker.stats.function_engine_bytes.set(worker.functions.engine_bytes() as u64);
        if let Some(partition) = self.seat.partition_now() {
            publish_partition(&self.worker.stats, partition);
        }
    }

    /// What a coordinator has changed in partitions that it gives back.
    pub(super) fn publish_lent(&self, partitions: &mut [Box<Partition>]) {
        for partition in partitions {
            let owner = self.map.owner(partition.first_slot());
            publish_partition(&self.worker.server.stats[owner], partition);
        }
    }

    /// The last thing of a turn: how long it took.
    pub(super) fn publish_turn(&mut self) {
        let nanos = self.monotonic().since(self.cron.turn_began);
        let stats = &self.worker.stats;
        let cpu = if nanos < LONG_TURN_NANOS {
            nanos
        } else {
            sys::thread_cpu_nanos().saturating_sub(self.cron.cpu_read.0)
        };
        stats.totals.turns.add(1);
        stats.totals.turn_nanos.add(nanos);
        stats.totals.turn_nanos_max.raise(nanos);
        stats.turn_lengths.record(nanos);
        let ran = stats.totals.commands.get();
        let before = std::mem::replace(&mut self.cron.commands_before, ran);
        stats.totals.turn_commands_max.raise(ran.saturating_sub(before));
        stats.totals.turn_cpu_nanos_max.raise(cpu);
        stats.clients.set(self.worker.server.clients[self.worker.core].get().max(0) as u64);
        self.look_at_followed();
    }

    /// The configuration was replaced: what depends on it follows.
    pub(super) fn config_changed(&mut self) {
        let followed = self.worker.follows();
        self.worker.config_changed();
        if self.worker.core == FOLLOWER {
            // Replicas of one that begins to follow stay until its history has another name: they
            // still get what it did before.
            if followed && !self.worker.follows() {
                self.step_up();
            }
        }
        self.limits_changed();
        if self.worker.core == FOLLOWER {
            process::follow(&self.worker.config, &self.worker.server);
            self.control.configured(&self.worker.config);
        }
        self.client_limit_changed();
        // Readers of keys that are not remembered any more are told before anybody can know.
        if let Some(partition) = self.seat.partition_now() {
            self.cron.has_more |= self.worker.forget_tracked_slice(partition);
        }
    }
}

/// The gauges of a partition's owner. Whoever holds the partition is their one writer.
fn publish_partition(stats: &CoreStats, partition: &mut Partition) {
    for (index, db) in partition.take_touched() {
        let gauges = &stats.dbs[index];
        gauges.keys.set(db.len() as u64);
        gauges.expires.set(db.expires() as u64);
        gauges.subexpiry.set(db.subexpiry() as u64);
        gauges.avg_ttl.set(db.avg_ttl().max(0) as u64);
    }
    stats.watched_keys.set(partition.watchers().len() as u64);
    stats.tracked_keys.set(partition.tracked().len() as u64);
    stats.unshared_keys.set(partition.unshared() as u64);
    stats.tracked_items.set(partition.tracked().items() as u64);
    let (blocking, on_nokey) = partition.waiters().count();
    stats.blocking_keys.set(blocking as u64);
    stats.blocking_keys_on_nokey.set(on_nokey as u64);
}
