//! Eviction: which key goes when memory is at its limit.
//! Invariant: a key is given up only for the reason for which it stood in the pool: one that was used
//! since, or lost its expiry, is passed over. No clock and no chance of its own; both are arguments.
//! Source: Redis, "Key eviction": the best of a few sampled keys, with a pool of the best ones met so
//! far.

#[cfg(test)]
mod tests;

use super::access::{idle_units, lfu_counter};
use super::entry::{Entry, EntryRef};
use super::key::{Key, Position};
use super::partition::Partition;
use crate::base::time::Millis;

/// What makes a key a better candidate than another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvictionOrder {
    /// It has not been used for longer.
    Lru,
    /// It is used less often.
    Lfu {
        /// lfu-decay-time, in minutes.
        decay_minutes: u32,
    },
    /// It expires sooner.
    Ttl,
    /// Nothing: any will do.
    Random,
}

/// What `maxmemory-policy` and its companions ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvictionPolicy {
    /// Which key goes first.
    pub order: EvictionOrder,
    /// Only keys with an expiry go.
    pub volatile_only: bool,
    /// Keys that are looked at for each one that goes. Source: maxmemory-samples.
    pub samples: usize,
}

/// What became of an attempt.
pub enum Eviction {
    /// This key of this database has been taken out: to be counted, announced, propagated, buried.
    Taken(usize, Entry),
    /// There are better candidates elsewhere, by the score that was given.
    Worse,
    /// There may be a candidate, but none has been met yet.
    NotYet,
    /// There is none.
    Nothing,
}

/// A key that may go. Its position names it, so that long keys cost the pool no memory.
#[derive(Debug)]
struct Candidate {
    /// The higher, the sooner.
    score: u64,
    db: usize,
    position: Position,
}

/// The best candidates that a partition has met.
#[derive(Debug, Default)]
pub struct EvictionPool {
    /// In the order of their scores.
    candidates: Vec<Candidate>,
    order: Option<EvictionOrder>,
    /// Where random eviction goes on, so that it takes from every database.
    next_db: usize,
}

impl EvictionPool {
    /// The score of the best candidate; 0 if none is known.
    pub fn best_score(&self) -> u64 {
        self.candidates.last().map_or(0, |best| best.score)
    }

    /// Takes a key in, if it is better than the worst one or there is room.
    fn offer(&mut self, score: u64, db: usize, position: impl FnOnce() -> Position) {
        let at = self.candidates.partition_point(|one| one.score < score);
        let is_full = self.candidates.len() == POOL_SIZE;
        if is_full && at == 0 {
            return;
        }
        let position = position();
        let mut equals = self.candidates[at..].iter().take_while(|one| one.score == score);
        if equals.any(|one| one.db == db && one.position == position) {
            return;
        }
        self.candidates.insert(at, Candidate { score, db, position });
        if is_full {
            self.candidates.remove(0);
        }
    }
}

impl EvictionPolicy {
    /// How soon an entry is to go; the higher, the sooner, and never 0.
    fn score(&self, entry: EntryRef<'_>, now: Millis) -> u64 {
        match self.order {
            EvictionOrder::Lru => 1 + u64::from(idle_units(entry.access(), now)),
            EvictionOrder::Lfu { decay_minutes } => {
                256 - u64::from(lfu_counter(entry.access(), now, decay_minutes))
            }
            EvictionOrder::Ttl => {
                u64::MAX - entry.expiry().map_or(i64::MAX, |expiry| expiry.0.max(0)) as u64
            }
            EvictionOrder::Random => 1,
        }
    }
}

impl Partition {
    /// Takes out the key that the policy gives up first, among the sampled ones; none whose score is
    /// below `score_min`. Touches about `samples` entries in each database that has keys.
    pub fn evict(
        &mut self,
        policy: &EvictionPolicy,
        now: Millis,
        score_min: u64,
        random: &mut dyn FnMut() -> u64,
    ) -> Eviction {
        if !self.has_candidates(policy) {
            return Eviction::Nothing;
        }
        if policy.order == EvictionOrder::Random {
            return self.evict_any(policy, random);
        }
        self.fill_pool(policy, now, random);
        if self.eviction.best_score() < score_min {
            return Eviction::Worse;
        }
        let hasher = *self.hasher();
        while let Some(Candidate { score, db, position }) = self.eviction.candidates.pop() {
            let Some(entry) = self.dbs[db].entries.lookup_at(&hasher, position) else { continue };
            let is_eligible = !policy.volatile_only || entry.expiry().is_some();
            if is_eligible && policy.score(entry, now) >= score {
                let bytes = entry.key().to_vec();
                let taken = self.db_mut(db).delete(&Key { bytes: &bytes, position });
                return taken.map_or(Eviction::NotYet, |entry| Eviction::Taken(db, entry));
            }
        }
        Eviction::NotYet
    }

    /// Scores of what may be evicted here, at best.
    pub fn best_eviction_score(&self) -> u64 {
        self.eviction.best_score()
    }

    fn has_candidates(&self, policy: &EvictionPolicy) -> bool {
        let count = |db: &super::db::Db| if policy.volatile_only { db.expires() } else { db.len() };
        self.dbs.iter().any(|db| count(db) > 0)
    }

    /// Looks at a few keys of each database and keeps the best ones.
    fn fill_pool(&mut self, policy: &EvictionPolicy, now: Millis, random: &mut dyn FnMut() -> u64) {
        if self.eviction.order != Some(policy.order) {
            // Scores of another order cannot be compared.
            self.eviction.candidates.clear();
            self.eviction.order = Some(policy.order);
        }
        let hasher = *self.hasher();
        for index in 0..self.dbs.len() {
            self.sample(index, policy, policy.samples, random, |pool, entry| {
                let position = || hasher.key(entry.key()).position;
                pool.offer(policy.score(entry, now), index, position);
            });
        }
    }

    /// Gives `count` keys of a database that the policy may take, fewer where there are few.
    fn sample(
        &mut self,
        index: usize,
        policy: &EvictionPolicy,
        count: usize,
        random: &mut dyn FnMut() -> u64,
        mut emit: impl FnMut(&mut EvictionPool, EntryRef<'_>),
    ) {
        let slots = u64::from(self.last_slot().get() - self.first_slot().get()) + 1;
        let first = self.first_slot().get();
        let Self { dbs, eviction, .. } = self;
        let db = &dbs[index];
        if policy.volatile_only {
            if db.expires() > 0 {
                let slot = first + (random() % slots) as u16;
                let start = Position::new(slot, random());
                let limits = (count, SEGMENTS_PER_SAMPLE_MAX);
                db.entries.sample_volatile(start, limits, random, |entry| {
                    // Hashes whose fields expire are among them.
                    if entry.expiry().is_some() {
                        emit(eviction, entry);
                    }
                });
            }
            return;
        }
        for _ in 0..count.min(db.len()) {
            if let Some(entry) = db.sample(&mut *random) {
                emit(eviction, entry);
            }
        }
    }

    /// Takes any key out, from the databases in turn.
    fn evict_any(&mut self, policy: &EvictionPolicy, random: &mut dyn FnMut() -> u64) -> Eviction {
        for _ in 0..self.dbs.len() {
            let index = self.eviction.next_db % self.dbs.len();
            self.eviction.next_db = index + 1;
            let mut chosen: Option<Box<[u8]>> = None;
            self.sample(index, policy, 1, random, |_, entry| chosen = Some(entry.key().into()));
            if let Some(bytes) = chosen {
                let key = self.dbs[index].key(&bytes);
                if let Some(entry) = self.db_mut(index).delete(&key) {
                    return Eviction::Taken(index, entry);
                }
            }
        }
        Eviction::NotYet
    }
}

/// Candidates that are remembered. Source: Redis' pool.
const POOL_SIZE: usize = 16;
/// Segments without a volatile key that one sample passes by, at most.
const SEGMENTS_PER_SAMPLE_MAX: usize = 1024;
