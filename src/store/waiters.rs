//! Who waits for keys of a partition: the blocking commands that found nothing.
//!
//! Invariant: the waiters of a key stand in the order in which they began to wait, and move with the
//! partition; whoever has the partition serves them. One that has been claimed (served, timed out,
//! gone) is served by nobody else. Source: BLPOP, "first come, first served".

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::base::claim::Claim;
use crate::base::time::Millis;
use crate::client::SessionFacts;

/// The type of value that a waiter can be served with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// A list.
    List,
    /// A sorted set.
    SortedSet,
    /// A stream.
    Stream,
}

impl Wants {
    /// The name of the type, as TYPE answers.
    pub fn type_name(self) -> &'static str {
        match self {
            Wants::List => "list",
            Wants::SortedSet => "zset",
            Wants::Stream => "stream",
        }
    }
}

/// A client that waits in a blocking command. Shared by all keys that it waits for.
#[derive(Debug)]
pub struct Waiter {
    /// Whoever takes it decides what becomes of the client's wait.
    pub claim: Arc<Claim>,
    /// The core that the client lives on.
    pub home: usize,
    /// Its place there.
    pub client: u32,
    /// Its incarnation there.
    pub generation: u32,
    /// What its command needs of the session.
    pub facts: SessionFacts,
    /// The number of the command in the table.
    pub command: u16,
    /// The command's words.
    pub words: Vec<Vec<u8>>,
    /// Which of the words are the keys that it waits for.
    pub keys: Vec<usize>,
    /// What it can be served with.
    pub wants: Wants,
    /// It runs, too, when one of its keys is deleted or changes its type.
    pub wakes_on_delete: bool,
    /// It runs only with the partitions of all keys that its command names.
    pub needs_all: bool,
    /// For each of the keys, until when it has a value of another type than wanted: what whoever
    /// serves it with another key cannot see.
    pub misfits: Box<[AtomicI64]>,
}

impl Waiter {
    /// True if word `at`, a key, has a value of another type than wanted, as far as its owner has
    /// noticed.
    pub fn is_misfit(&self, at: usize, now: Millis) -> bool {
        let found = self.keys.iter().position(|key| *key == at);
        let until = found.and_then(|number| self.misfits.get(number));
        until.is_some_and(|until| until.load(Ordering::Acquire) >= now.0)
    }

    /// The value of a key has another type than wanted until `until`. False where nobody will ask.
    fn note_misfit(&self, key: &[u8], until: Millis) -> bool {
        if self.needs_all || self.keys.len() == 1 {
            return false;
        }
        for (at, misfit) in self.keys.iter().zip(&self.misfits) {
            if self.words[*at] == key {
                misfit.store(until.0, Ordering::Release);
            }
        }
        true
    }

    /// The keys that it waits for, each once.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        let name = |at: usize| self.words[self.keys[at]].as_slice();
        (0..self.keys.len())
            .filter(move |at| (0..*at).all(|before| name(before) != name(*at)))
            .map(name)
    }
}

/// Those who wait for one key.
#[derive(Debug, Default)]
struct Queue {
    waiters: VecDeque<Arc<Waiter>>,
    /// How many of them run when the key is deleted.
    wake_on_delete: usize,
    /// The key is kept for the first one that needs a loan: nobody else may touch it.
    is_reserved: bool,
    /// Some of them know the key as a misfit.
    is_misfit: bool,
}

/// The waiters of a partition, by database and key.
#[derive(Debug, Default)]
pub struct Waiters {
    queues: BTreeMap<usize, BTreeMap<Box<[u8]>, Queue>>,
    /// Keys with waiters, and those of them with waiters that run when the key is deleted.
    counts: (usize, usize),
    reserved: usize,
}

impl Waiters {
    /// True if nobody waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// Puts a waiter behind those who wait for the key already.
    pub fn add(&mut self, key: &[u8], waiter: &Arc<Waiter>) {
        let queue = self.queues.entry(waiter.facts.db).or_default().entry(key.into()).or_default();
        let begins = waiter.wakes_on_delete && queue.wake_on_delete == 0;
        self.counts.0 += usize::from(queue.waiters.is_empty());
        self.counts.1 += usize::from(begins);
        queue.waiters.push_back(waiter.clone());
        queue.wake_on_delete += usize::from(waiter.wakes_on_delete);
    }

    /// The waiter number `at` of a key.
    pub fn nth(&self, db: usize, key: &[u8], at: usize) -> Option<&Arc<Waiter>> {
        self.queue(db, key)?.waiters.get(at)
    }

    /// True if somebody wants to hear that the key was deleted.
    pub fn any_wakes_on_delete(&self, db: usize, key: &[u8]) -> bool {
        self.queue(db, key).is_some_and(|queue| queue.wake_on_delete > 0)
    }

    /// The waiter number `at` of a key cannot be served with its value, which lives until `until`.
    pub fn note_misfit(&mut self, db: usize, key: &[u8], (at, until): (usize, Millis)) {
        let found = self.queues.get_mut(&db).and_then(|keys| keys.get_mut(key));
        if let Some(queue) = found
            && let Some(waiter) = queue.waiters.get(at)
        {
            queue.is_misfit |= waiter.note_misfit(key, until);
        }
    }

    /// The key is missing: it is no misfit for anybody.
    pub fn note_missing(&mut self, db: usize, key: &[u8]) {
        let found = self.queues.get_mut(&db).and_then(|keys| keys.get_mut(key));
        if let Some(queue) = found
            && std::mem::take(&mut queue.is_misfit)
        {
            for waiter in &queue.waiters {
                waiter.note_misfit(key, Millis(i64::MIN));
            }
        }
    }

    /// Forgets a waiter of a key.
    pub fn remove(&mut self, key: &[u8], waiter: &Arc<Waiter>) {
        let db = waiter.facts.db;
        let Some(keys) = self.queues.get_mut(&db) else { return };
        let Some(queue) = keys.get_mut(key) else { return };
        let Some(at) = queue.waiters.iter().position(|one| Arc::ptr_eq(one, waiter)) else {
            return;
        };
        queue.waiters.remove(at);
        queue.wake_on_delete -= usize::from(waiter.wakes_on_delete);
        let ends = waiter.wakes_on_delete && queue.wake_on_delete == 0;
        self.counts.0 -= usize::from(queue.waiters.is_empty());
        self.counts.1 -= usize::from(ends);
        if queue.waiters.is_empty() && !queue.is_reserved {
            keys.remove(key);
            if keys.is_empty() {
                self.queues.remove(&db);
            }
        }
    }

    /// Keeps a key for its first waiter.
    pub fn reserve(&mut self, db: usize, key: &[u8]) {
        if let Some(queue) = self.queues.get_mut(&db).and_then(|keys| keys.get_mut(key)) {
            self.reserved += usize::from(!std::mem::replace(&mut queue.is_reserved, true));
        }
    }

    /// The key is free again.
    pub fn release(&mut self, db: usize, key: &[u8]) {
        let Some(keys) = self.queues.get_mut(&db) else { return };
        let Some(queue) = keys.get_mut(key) else { return };
        self.reserved -= usize::from(std::mem::take(&mut queue.is_reserved));
        if queue.waiters.is_empty() {
            keys.remove(key);
            if keys.is_empty() {
                self.queues.remove(&db);
            }
        }
    }

    /// True if any key is kept for somebody.
    #[inline]
    pub fn has_reservations(&self) -> bool {
        self.reserved > 0
    }

    /// True if the key is kept for somebody.
    pub fn is_reserved(&self, db: usize, key: &[u8]) -> bool {
        self.queue(db, key).is_some_and(|queue| queue.is_reserved)
    }

    /// Every key that somebody waits for.
    pub fn keys(&self) -> Vec<(usize, Box<[u8]>)> {
        let of_db = |(db, keys): (&usize, &BTreeMap<Box<[u8]>, Queue>)| {
            let db = *db;
            keys.keys().map(move |key| (db, key.clone())).collect::<Vec<_>>()
        };
        self.queues.iter().flat_map(of_db).collect()
    }

    /// How many keys somebody waits for, and how many of them somebody who hears of deletions.
    pub fn count(&self) -> (usize, usize) {
        self.counts
    }

    fn queue(&self, db: usize, key: &[u8]) -> Option<&Queue> {
        self.queues.get(&db)?.get(key)
    }
}
