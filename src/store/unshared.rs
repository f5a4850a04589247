//! Keys with an expiry that clients of a writable replica gave: the primary knows nothing of them, so
//! the replica deletes them itself.
//!
//! Invariant: whatever its own clients have given an expiry is here until it is gone, or has none any
//! more; what the primary sends is never here for its own sake. Source: slave_expires_tracked_keys of
//! Redis 8.0.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::expire::Expiring;
use super::partition::Partition;
use crate::base::time::Millis;

/// A key and its database.
type Name = (usize, Box<[u8]>);

/// The keys, and how far they have been looked at.
#[derive(Debug, Default)]
pub(super) struct Unshared {
    keys: BTreeSet<Name>,
    seen: Option<Name>,
    /// Names that are none of its any more; they are freed in slices.
    dropped: Vec<BTreeSet<Name>>,
}

impl Unshared {
    /// All of the data goes, or changes hands.
    pub(super) fn clear(&mut self) {
        if !self.keys.is_empty() {
            self.dropped.push(std::mem::take(&mut self.keys));
        }
        self.seen = None;
    }

    /// Frees some of the names that were dropped. True if there are more.
    fn free_slice(&mut self) -> bool {
        if let Some(names) = self.dropped.last_mut() {
            for _ in 0..FREED_PER_SLICE {
                names.pop_first();
            }
            self.dropped.pop_if(|names| names.is_empty());
        }
        !self.dropped.is_empty()
    }

    /// The next key behind the one that was looked at last, from the first one on again at the end.
    fn next(&mut self) -> Option<Name> {
        let behind = self.seen.take().map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.keys.range((behind, Bound::Unbounded)).next();
        self.seen = next.or_else(|| self.keys.first()).cloned();
        self.seen.clone()
    }
}

impl Partition {
    /// The expiry of a key, if it is there and has one.
    pub fn expiry_of(&self, db: usize, key: &[u8]) -> Option<Millis> {
        self.dbs[db].peek(&self.dbs[db].key(key))?.expiry()
    }

    /// A client of a writable replica has given a key another expiry, or taken it away.
    pub fn note_unshared(&mut self, db: usize, key: &[u8]) {
        let name = self.dbs[db].key(key);
        let expires = self.dbs[db].peek(&name).is_some_and(|entry| entry.expiry().is_some());
        let name = (db, key.into());
        if expires {
            self.unshared.keys.insert(name);
        } else {
            self.unshared.keys.remove(&name);
        }
    }

    /// Its slice of housekeeping: the server that is no replica deletes all keys, so it forgets which
    /// ones only it has. True if there is more to do.
    pub fn tidy_unshared(&mut self, is_replica: bool) -> bool {
        if !is_replica {
            self.unshared.clear();
        }
        self.unshared.free_slice()
    }

    /// Keys that a writable replica has to delete itself.
    pub fn unshared(&self) -> usize {
        self.unshared.keys.len()
    }

    /// Looks at some of them and deletes those that have expired; their number.
    pub fn expire_unshared(
        &mut self,
        now: Millis,
        mut on_expired: impl FnMut(usize, Expiring<'_>),
    ) -> usize {
        let mut expired = 0;
        for _ in 0..SEEN_PER_SLICE.min(self.unshared.keys.len()) {
            let Some((db, bytes)) = self.unshared.next() else { break };
            let key = self.dbs[db].key(&bytes);
            let entry = self.dbs[db].peek(&key).filter(|entry| entry.expiry().is_some());
            let is_due = entry.is_none_or(|entry| entry.is_expired(now));
            if !is_due {
                continue;
            }
            if let Some(entry) = entry {
                on_expired(db, Expiring::Key(entry));
                expired += 1;
                if let Some(entry) = self.db_mut(db).delete(&key) {
                    self.graveyard.bury(entry);
                }
            }
            self.unshared.keys.remove(&(db, bytes));
        }
        expired
    }
}

/// Keys that one slice looks at.
const SEEN_PER_SLICE: usize = 64;
/// Names that one slice frees.
const FREED_PER_SLICE: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::siphash::HashKey;
    use crate::base::slot::Slot;
    use crate::store::access::Access;
    use crate::store::entry::NewValue;
    use crate::store::key::Hasher;

    #[test]
    fn what_has_expired_goes_and_the_rest_stays() {
        let slot = |number| Slot::from_number(number).expect("below 16384");
        let hasher = Hasher::new(HashKey { k0: 1, k1: 2 });
        let mut partition = Partition::new(slot(0), slot(16383), 2, hasher);
        let mut set = |key: &str, expiry: Option<i64>| {
            let access = Access::at(Millis(0));
            let name = hasher.key(key.as_bytes());
            partition.db_mut(1).set(&name, NewValue::Int(1), expiry.map(Millis), &access);
            partition.note_unshared(1, key.as_bytes());
        };
        (0..200).for_each(|number| set(&format!("soon:{number}"), Some(10)));
        set("late", Some(1000));
        set("always", None);
        // It has lost its expiry.
        set("soon:0", None);
        assert_eq!(partition.unshared(), 200);
        let (mut gone, mut rounds) = (0, 0);
        while partition.unshared() > 1 && rounds < 10 {
            gone += partition.expire_unshared(Millis(20), |db, _| assert_eq!(db, 1));
            rounds += 1;
        }
        assert_eq!((gone, partition.unshared(), partition.db(1).len()), (199, 1, 3));
        assert_eq!(partition.expire_unshared(Millis(20), |_, _| {}), 0);
        partition.flush_all();
        assert_eq!(partition.unshared(), 0);
        assert!(!partition.tidy_unshared(true), "one slice frees a few");
    }
}
