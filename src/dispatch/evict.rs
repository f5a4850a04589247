//! Room for commands: what happens when the process holds as much memory as it may.
//!
//! Invariant: `maxmemory` is one limit for the process. Whoever is about to run a command above it
//! evicts first, from the partitions at hand, unless another core has told of better candidates: then
//! that core is asked to, and the command may run a little above the limit meanwhile.
//! Source: maxmemory, maxmemory-policy, maxmemory-eviction-tenacity of Redis.

use super::serve::is_kept_back;
use super::table::Registered;
use super::worker::Worker;
use crate::base::alloc;
use crate::base::time::{Millis, Ticks};
use crate::client::SessionFacts;
use crate::command::context::Keyspace;
use crate::command::effects::{Effects, Interest};
use crate::command::{Args, CommandError, Flags};
use crate::config::Config;
use crate::config::choices::MaxmemoryPolicy;
use crate::resp::reply::ReplyBuffer;
use crate::store::budget::Budget;
use crate::store::evict::{Eviction, EvictionOrder, EvictionPolicy};
use crate::store::partition::Partition;
use crate::txn::cores::CoreSet;

/// Whether a command may run now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Runs,
    /// It was refused, and its error is written.
    Refused,
    /// It has to wait: for a key that is kept for somebody else, or for memory.
    KeptBack,
}

/// What was done about memory that is above its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    /// There is room now, or as much was evicted as one command has to; it goes on beside commands.
    Made,
    /// Other cores have what can go, and have been asked.
    Asked,
    /// Nothing can go.
    None,
}

/// How memory stands against `maxmemory`, and what can be done about it.
#[derive(Debug, Default)]
pub struct MemoryLimit {
    /// Bytes that the process may hold; None without a limit.
    bytes: Option<i64>,
    /// None for `noeviction`.
    policy: Option<EvictionPolicy>,
    /// Keys that one command evicts at most.
    keys_at_once: usize,
    /// What this thread may hold until somebody has to look closer. The least there is while commands
    /// wait for others, so that this costs commands nothing otherwise.
    watermark: i64,
    /// Cores that are to evict, since their candidates are better than those at hand.
    pub asked: CoreSet,
    /// Bytes of the invalidations that this core has written since a moment, and in the like time
    /// before.
    leaving: [u64; 2],
    leaving_since: Millis,
}

impl MemoryLimit {
    /// From now on the limit is what this configuration says.
    pub(super) fn follow(&mut self, config: &Config) {
        let (leaving, leaving_since) = (self.leaving, self.leaving_since);
        *self = MemoryLimit { leaving, leaving_since, ..MemoryLimit::of(config) };
    }

    fn of(config: &Config) -> MemoryLimit {
        // A replica holds what its primary holds.
        let is_free = config.replicaof.is_some() && config.replica_ignore_maxmemory;
        let is_limited = config.maxmemory != 0 && !is_free;
        let limit = is_limited.then(|| i64::try_from(config.maxmemory));
        MemoryLimit {
            bytes: limit.map(|limit| limit.unwrap_or(i64::MAX)),
            policy: policy_of(config),
            keys_at_once: keys_at_once(config.maxmemory_eviction_tenacity),
            watermark: i64::MAX,
            asked: CoreSet::default(),
            leaving: [0; 2],
            leaving_since: Millis(0),
        }
    }

    /// Bytes held above the limit, of which so many do not count; at most 0 if there is none.
    fn excess(&self, not_counted: u64) -> i64 {
        let held = (alloc::used_memory() as i64 - not_counted as i64).max(0);
        self.bytes.map_or(i64::MIN, |limit| held - limit)
    }

    /// What a core may be above the limit while another one evicts what is better.
    fn tolerance(&self) -> i64 {
        self.bytes.unwrap_or(0) / TOLERANCE
    }

    /// True if this thread has allocated so much that the process may be above its limit.
    #[inline]
    fn may_be_exceeded(&self) -> bool {
        self.watermark != i64::MAX && alloc::thread_memory() > self.watermark
    }
}

impl Worker {
    /// Bytes held above the limit.
    fn excess(&self) -> i64 {
        let size = self.config.repl_backlog_size;
        self.memory.excess(self.server.not_counted_for_evict(size))
    }

    /// Invalidations of so many bytes have been written to clients of this core. What a key that goes
    /// causes must not have others go.
    pub fn note_leaving(&mut self, bytes: u64) {
        if self.memory.bytes.is_none() {
            return;
        }
        self.memory.leaving[0] += bytes;
        self.server.transit.begin_leaving(bytes);
    }

    /// Whoever has not read invalidations in this time reads too slowly: they count.
    fn forget_left(&mut self) {
        let [last, left] = self.memory.leaving;
        if last | left != 0 && self.now.0 - self.memory.leaving_since.0 >= LEAVING_MILLIS {
            self.memory.leaving = [0, last];
            self.memory.leaving_since = self.now;
            self.server.transit.end_leaving(left);
        }
    }

    /// Looks at the beginning of a turn how far memory is from its limit, and whether others keep up.
    pub fn begin_memory_turn(&mut self) {
        self.forget_left();
        self.check_memory();
    }

    /// The same amid a turn.
    fn check_memory(&mut self) {
        let was_choked = self.is_choked();
        if self.look_for_chokes() {
            self.memory.watermark = i64::MIN;
            return;
        }
        if was_choked {
            self.memory.watermark = i64::MAX;
        }
        if self.memory.bytes.is_some() {
            // The room is everybody's: each core looks again when it has used its share.
            let room = -self.excess() / self.server.stats.len().max(1) as i64;
            self.memory.watermark = alloc::thread_memory().saturating_add(room);
        }
    }

    /// True if memory is above its limit and nothing can be evicted.
    #[inline]
    pub(super) fn is_out_of_memory(&self) -> bool {
        self.memory.may_be_exceeded() && self.is_stuck()
    }

    #[cold]
    fn is_stuck(&self) -> bool {
        self.excess() > 0 && !self.memory.policy.is_some_and(|policy| self.has_candidates(&policy))
    }

    /// True if evicting has something left to do.
    pub fn should_evict(&self) -> bool {
        self.switches.pause.is_none()
            && self.memory.policy.is_some()
            && self.memory.may_be_exceeded()
            && self.excess() > 0
    }

    /// True if a key may go somewhere.
    fn has_candidates(&self, policy: &EvictionPolicy) -> bool {
        let count = self.server.sum(|stats| {
            let of = |db: &crate::observe::stats::DbGauges| {
                if policy.volatile_only { db.expires.get() } else { db.keys.get() }
            };
            stats.dbs.iter().map(of).sum()
        });
        count > 0
    }

    /// The last gate, where the keys are: nobody keeps one of them, and there is memory.
    #[inline]
    pub fn admit(
        &mut self,
        keyspace: &mut Keyspace<'_>,
        facts: &mut SessionFacts,
        (registered, args): (&'static Registered, Args<'_>),
        buffer: &mut ReplyBuffer,
    ) -> Admission {
        if is_kept_back(keyspace, facts.db, (registered, args)) {
            return Admission::KeptBack;
        }
        if !self.memory.may_be_exceeded() {
            return Admission::Runs;
        }
        if self.has_to_wait(registered) {
            return Admission::KeptBack;
        }
        let denied = registered.command.flags.has(Flags::DENYOOM);
        match self.make_room(keyspace) {
            Room::Asked if denied => Admission::KeptBack,
            Room::None if denied => {
                let text = CommandError::OutOfMemory.text().as_bytes().to_vec();
                self.reply_error(Some(registered), facts, buffer, text);
                Admission::Refused
            }
            Room::Made | Room::Asked | Room::None => Admission::Runs,
        }
    }

    /// The same for a transaction: false if it may not run for want of memory.
    pub(super) fn has_room(&mut self, keyspace: &mut Keyspace<'_>, denied: bool) -> bool {
        !self.memory.may_be_exceeded() || self.make_room(keyspace) != Room::None || !denied
    }

    /// Evicts without a command: some of what is above the limit. For others, who have asked for it,
    /// a little more, so that they need not ask for every key.
    pub fn evict_slice(&mut self, keyspace: &mut Keyspace<'_>, for_others: bool) {
        let spare = if for_others { self.memory.tolerance() } else { 0 };
        self.make_room_and(keyspace, spare);
    }

    #[cold]
    fn make_room(&mut self, keyspace: &mut Keyspace<'_>) -> Room {
        self.make_room_and(keyspace, 0)
    }

    /// Evicts from the partitions at hand until memory is `spare` bytes below its limit, or as many
    /// keys as one command has to wait for.
    fn make_room_and(&mut self, keyspace: &mut Keyspace<'_>, spare: i64) -> Room {
        // A primary that is about to step down stays as it is.
        if self.switches.pause.is_some() || self.excess() <= 0 {
            self.check_memory();
            return Room::Made;
        }
        let Some(policy) = self.memory.policy else { return Room::None };
        let began = Ticks::now();
        let mut effects =
            Effects::new(Interest { keys: self.is_heard(keyspace), ..self.interest() });
        let mut room = Room::Made;
        let mut budget = Budget::new(self.memory.keys_at_once * UNITS_PER_KEY);
        // What is noted of keys that go is no reason for others to go, on any core.
        let mut noted = 0;
        // Nor is what other cores take meanwhile: they make room for that themselves.
        let (wanted, before) = (self.excess() + spare, alloc::thread_memory());
        while room == Room::Made && !budget.is_spent() {
            let excess = self.excess();
            let freed = before - (alloc::thread_memory() - noted as i64);
            if excess <= -spare || freed >= wanted {
                break;
            }
            // What was deleted before and is not free yet goes first.
            let has_debt = |one: &&mut Partition| one.pending() > 0;
            if let Some(partition) = keyspace.partitions().into_iter().find(has_debt) {
                let mut slice = Budget::new(budget.left().min(FREE_UNITS));
                partition.free_slice(&mut slice);
                budget.spend(FREE_UNITS - slice.left());
            } else {
                room = self.evict_one(keyspace, &policy, excess, (&mut effects, &mut noted));
                budget.spend(UNITS_PER_KEY);
            }
        }
        self.note_latency_since("eviction-cycle", began);
        self.journal_gone(keyspace, &effects);
        self.tell_of_gone(keyspace, effects, noted);
        self.check_memory();
        room
    }

    /// Tells whoever listens of keys that went, of which so many bytes were noted. Other cores look while
    /// that is written, so it is charged beforehand as what it is at most.
    fn tell_of_gone(&mut self, keyspace: &mut Keyspace<'_>, mut effects: Effects, noted: u64) {
        let trackers = || self.server.sum(|stats| stats.tracking_clients.get());
        let charged = if noted == 0 { 0 } else { noted * (1 + trackers()) };
        self.server.transit.begin_leaving(charged);
        let before = alloc::thread_memory();
        self.publish_events(effects.take_events());
        self.went_by_itself(keyspace.reborrow(), effects.take_keys());
        let told = u64::try_from(alloc::thread_memory() - before);
        self.note_leaving(told.unwrap_or(0));
        drop(effects);
        self.server.transit.end_leaving(noted + charged);
    }

    /// Evicts one key, or asks the core that has a better one.
    fn evict_one(
        &mut self,
        keyspace: &mut Keyspace<'_>,
        policy: &EvictionPolicy,
        excess: i64,
        (effects, noted): (&mut Effects, &mut u64),
    ) -> Room {
        let tolerance = self.memory.tolerance();
        let (elsewhere, core) = self.best_elsewhere();
        // A little better is not worth the way; far above the limit what is at hand has to do.
        let score_min = if excess > tolerance { 0 } else { elsewhere - elsewhere / 8 };
        let (now, mut outcome) = (self.now, Eviction::Nothing);
        let rng = &mut self.rng;
        for partition in keyspace.partitions() {
            outcome = partition.evict(policy, now, score_min, &mut || rng.next_u64());
            self.stats.eviction_score.set(partition.best_eviction_score());
            if let Eviction::Taken(db, entry) = outcome {
                self.stats.totals.evicted_keys.add(1);
                let before = alloc::thread_memory();
                effects.evicted(db, entry.view().key());
                let taken = u64::try_from(alloc::thread_memory() - before).unwrap_or(0);
                self.server.transit.begin_leaving(taken);
                *noted += taken;
                partition.graveyard().bury(entry);
                return Room::Made;
            }
        }
        match outcome {
            Eviction::Taken(..) | Eviction::NotYet => Room::Made,
            Eviction::Worse => {
                self.memory.asked.insert(core);
                if excess > tolerance { Room::Asked } else { Room::Made }
            }
            Eviction::Nothing if self.has_candidates(policy) => {
                // They are elsewhere, whether their core has looked at them already or not.
                let all = CoreSet::all(self.server.stats.len());
                self.memory.asked.extend(all);
                Room::Asked
            }
            Eviction::Nothing => Room::None,
        }
    }

    /// The best score that another core has told of, and that core.
    fn best_elsewhere(&self) -> (u64, usize) {
        let others = self.server.stats.iter().enumerate().filter(|(core, _)| *core != self.core);
        let scores = others.map(|(core, stats)| (stats.eviction_score.get(), core));
        scores.max().unwrap_or((0, self.core))
    }
}

fn policy_of(config: &Config) -> Option<EvictionPolicy> {
    use MaxmemoryPolicy as Policy;
    let lfu = EvictionOrder::Lfu { decay_minutes: config.lfu_decay_time };
    let (order, volatile_only) = match config.maxmemory_policy {
        Policy::NoEviction => return None,
        _ if config.is_importing() => return None,
        Policy::VolatileLru => (EvictionOrder::Lru, true),
        Policy::VolatileLfu => (lfu, true),
        Policy::VolatileRandom => (EvictionOrder::Random, true),
        Policy::VolatileTtl => (EvictionOrder::Ttl, true),
        Policy::AllkeysLru => (EvictionOrder::Lru, false),
        Policy::AllkeysLfu => (lfu, false),
        Policy::AllkeysRandom => (EvictionOrder::Random, false),
    };
    let samples = config.maxmemory_samples as usize;
    Some(EvictionPolicy { order, volatile_only, samples })
}

/// Keys that one command waits for, by `maxmemory-eviction-tenacity`: stock servers turn it into a
/// time, 500 us at the default, which is about as many microseconds a key here.
fn keys_at_once(tenacity: u32) -> usize {
    if tenacity <= 10 {
        return (KEYS_PER_TENACITY * tenacity as usize).max(1);
    }
    let steps = f64::from(tenacity.min(100) - 10);
    ((KEYS_PER_TENACITY * 10) as f64 * 1.15f64.powf(steps)) as usize
}

const KEYS_PER_TENACITY: usize = 20;
/// Looking at some keys, taking one out and freeing it.
const UNITS_PER_KEY: usize = 10;
/// Work on what waits to be freed between two looks at what is held.
const FREE_UNITS: usize = 100;
/// Time in which an invalidation leaves a server that is not overloaded.
const LEAVING_MILLIS: i64 = 250;
/// As a part of the limit.
const TOLERANCE: i64 = 128;
