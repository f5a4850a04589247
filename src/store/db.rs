//! One of the databases of a partition (SELECT's index).
//! Invariant: an entry that has expired is never handed out as found; who deletes it is told, since
//! the deletion must be counted, announced and propagated.
//! Source: Redis' SELECT, EXPIRE, OBJECT FREQ; expired means `now > expiry`.

#[cfg(test)]
mod tests;

use super::access::{Access, Stale};
use super::entry::{Entry, EntryMut, EntryRef, EntryTable, NewValue, Origin};
use super::key::{Hasher, Key};
use crate::base::time::Millis;
use crate::types::Value;

/// One database.
pub struct Db {
    pub(super) entries: EntryTable,
    hasher: Hasher,
    /// Running mean of the time to live of volatile keys, in milliseconds.
    avg_ttl: i64,
}

/// What a lookup found.
pub enum Lookup<'a> {
    /// The key is there.
    Found(EntryMut<'a>),
    /// It is not.
    Missing,
    /// It had expired and has been deleted: to be counted, announced, propagated and buried.
    Expired(Entry),
}

/// What `set` replaced.
#[derive(Debug)]
pub enum Replaced {
    /// The key is new.
    Nothing,
    /// A value, which a boxed one comes back from.
    Value(Option<Box<Value>>),
    /// An entry that had expired: the deletion is to be counted, announced and propagated.
    Expired(Option<Box<Value>>),
}

impl Db {
    /// An empty database.
    pub fn new(hasher: Hasher) -> Self {
        Self { entries: EntryTable::default(), hasher, avg_ttl: 0 }
    }

    /// Keys, expired ones that nobody has met yet included. Source: DBSIZE.
    #[inline]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if there is no key.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Keys with an expiry. Source: INFO keyspace, expires.
    #[inline]
    pub fn expires(&self) -> usize {
        self.entries.volatile()
    }

    /// Hashes with fields that expire. Source: INFO keyspace, subexpiry.
    #[inline]
    pub fn subexpiry(&self) -> usize {
        self.entries.with_volatile_fields()
    }

    /// Estimated mean time to live in milliseconds; 0 if unknown. Source: INFO keyspace, avg_ttl.
    pub fn avg_ttl(&self) -> i64 {
        if self.expires() == 0 { 0 } else { self.avg_ttl }
    }

    /// Takes the mean of a sample into the estimate.
    pub(super) fn note_ttl(&mut self, mean_ttl: i64) {
        let old = if self.avg_ttl == 0 { mean_ttl } else { self.avg_ttl };
        self.avg_ttl = old / AVG_TTL_WEIGHT * (AVG_TTL_WEIGHT - 1) + mean_ttl / AVG_TTL_WEIGHT;
    }

    /// The key for these bytes.
    #[inline]
    pub fn key<'k>(&self, bytes: &'k [u8]) -> Key<'k> {
        self.hasher.key(bytes)
    }

    /// Fetches what `prefetch_bucket` reads: worth it for many keys at once in a large table.
    pub fn prefetch_segment(&self, key: &Key<'_>) {
        self.entries.prefetch_segment(key.position);
    }

    /// Fetches what a lookup of the key reads first.
    #[inline]
    pub fn prefetch_bucket(&self, key: &Key<'_>) {
        self.entries.prefetch_bucket(key.position);
    }

    /// Looks a key up and leaves no trace; the entry may have expired.
    #[inline]
    pub fn peek(&self, key: &Key<'_>) -> Option<EntryRef<'_>> {
        self.entries.lookup(key)
    }

    /// Looks a key up to read it, records the access, and deletes it if it has expired, unless that is
    /// to be kept.
    #[inline]
    pub fn lookup_read(&mut self, key: &Key<'_>, access: &Access) -> Lookup<'_> {
        self.lookup(key, access, matches!(access.stale, Stale::Stays | Stale::Hides))
    }

    /// The same to change it.
    #[inline]
    pub fn lookup_write(&mut self, key: &Key<'_>, access: &Access) -> Lookup<'_> {
        self.lookup(key, access, access.stale == Stale::Stays)
    }

    #[inline]
    fn lookup(&mut self, key: &Key<'_>, access: &Access, keeps: bool) -> Lookup<'_> {
        let Some(mut entry) = self.entries.lookup_mut(key) else { return Lookup::Missing };
        if access.is_gone(entry.view()) {
            if keeps {
                return Lookup::Missing;
            }
            return Lookup::Expired(entry.remove());
        }
        touch(&mut entry, access);
        Lookup::Found(entry)
    }

    /// The entry of a key, to be changed, touched as by `lookup_write`; a missing one is made with the
    /// value that `make` gives and without expiry, also in the place of one that had expired.
    #[inline]
    pub fn lookup_or_make<'v>(
        &mut self,
        key: &Key<'_>,
        access: &Access,
        make: impl FnOnce() -> NewValue<'v>,
    ) -> (EntryMut<'_>, Origin) {
        let (mut entry, origin) = self.entries.lookup_or_insert(
            &self.hasher,
            key,
            |entry| access.is_gone(entry),
            || Entry::new(key.bytes, make(), None, access.initial()),
        );
        if matches!(origin, Origin::Found) {
            touch(&mut entry, access);
        }
        (entry, origin)
    }

    /// The entry of a key, expired or not, to be changed; leaves no trace of an access.
    #[inline]
    pub fn entry(&mut self, key: &Key<'_>) -> Option<EntryMut<'_>> {
        self.entries.lookup_mut(key)
    }

    /// Gives a key a value and an expiry (or none), whatever it had before. Allocates nothing where
    /// the old entry has room. Source: SET.
    #[inline]
    pub fn set(
        &mut self,
        key: &Key<'_>,
        value: NewValue<'_>,
        expiry: Option<Millis>,
        access: &Access,
    ) -> Replaced {
        let Some(mut entry) = self.entries.lookup_mut(key) else {
            let entry = Entry::new(key.bytes, value, expiry, access.initial());
            self.entries.insert(&self.hasher, key.position, entry);
            return Replaced::Nothing;
        };
        let expired = access.is_gone(entry.view());
        touch(&mut entry, access);
        let old = entry.set(value, expiry);
        if expired { Replaced::Expired(old) } else { Replaced::Value(old) }
    }

    /// Puts an entry under its own key, which `key` is; returns the entry that it replaces. RENAME
    /// and MOVE are `delete`, `Entry::renamed` and `insert`, on one partition or two.
    pub fn insert(&mut self, key: &Key<'_>, entry: Entry) -> Option<Entry> {
        assert!(entry.view().key() == key.bytes, "an entry lies where its own key belongs");
        if let Some(old) = self.entries.lookup_mut(key) {
            return Some(old.exchange(entry));
        }
        self.entries.insert(&self.hasher, key.position, entry);
        None
    }

    /// Takes a key's entry out, expired or not. The caller buries it.
    #[inline]
    pub fn delete(&mut self, key: &Key<'_>) -> Option<Entry> {
        self.entries.remove(key)
    }

    /// About so many keys are going to be added. Costs nothing where there are some already.
    pub fn reserve(&mut self, keys: usize) {
        self.entries.reserve(keys);
    }

    /// Empties the database and returns what it held, to be buried.
    pub fn flush(&mut self) -> EntryTable {
        self.avg_ttl = 0;
        std::mem::take(&mut self.entries)
    }

    /// Makes the next slice of expiry look at every range again.
    pub(super) fn forget_next_expiry(&mut self) {
        self.entries.set_next_expiry(Millis(i64::MIN));
    }
}

#[inline(always)]
fn touch(entry: &mut EntryMut<'_>, access: &Access) {
    let clock = entry.view().access();
    let touched = access.touched(clock);
    // A write would make the line dirty: most accesses within a second change nothing.
    if touched != clock {
        entry.set_access(touched);
    }
}

/// How many samples the estimate of the time to live remembers. Source: Redis' estimate.
const AVG_TTL_WEIGHT: i64 = 50;
