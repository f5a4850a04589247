//! Keys of a partition that somebody watches, with the version of each.
//!
//! Invariant: versions only grow and none is given twice, so a key has the version that WATCH was
//! told exactly if it has not changed since; versions are kept for watched keys only.
//! Source: WATCH, "optimistic locking using check-and-set".

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// What a client was told of a key when it began to watch it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// The database.
    pub db: usize,
    /// The key.
    pub key: Box<[u8]>,
    /// Its version then.
    pub version: u64,
    /// It had expired by then and was still there: that it goes is no change.
    pub was_expired: bool,
}

/// The keys that one client watches, each once: who watches a key again knows no more of it.
#[derive(Debug, Default)]
pub struct WatchedKeys(BTreeMap<(usize, Box<[u8]>), Watched>);

impl WatchedKeys {
    /// True if it watches none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keys. Source: CLIENT LIST, watch.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds a key; gives it back if the client watches it already.
    pub fn add(&mut self, watched: Watched) -> Option<Watched> {
        match self.0.entry((watched.db, watched.key.clone())) {
            Entry::Occupied(_) => Some(watched),
            Entry::Vacant(place) => {
                place.insert(watched);
                None
            }
        }
    }

    /// Takes all keys out.
    pub fn take(&mut self) -> Vec<Watched> {
        std::mem::take(&mut self.0).into_values().collect()
    }
}

/// How a watched key changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It has another value now, or is there again.
    Written,
    /// There is nothing now that has not expired.
    Gone,
    /// There was nothing, and now there is something that has expired: as good as nothing.
    CameExpired,
}

#[derive(Debug)]
struct Version {
    version: u64,
    /// Its version when it was last written.
    written: u64,
    /// Its version when it came, expired.
    came_expired: u64,
    /// How often it is watched.
    watches: usize,
}

impl Version {
    fn change(&mut self, version: u64, change: Change) {
        match change {
            Change::Written => (self.version, self.written) = (version, version),
            Change::Gone => self.version = version,
            Change::CameExpired => self.came_expired = self.version,
        }
    }
}

/// The watched keys of a partition, by database.
#[derive(Debug, Default)]
pub struct Watchers {
    dbs: BTreeMap<usize, BTreeMap<Box<[u8]>, Version>>,
    keys: usize,
    last: u64,
}

impl Watchers {
    /// True if no key is watched.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.dbs.is_empty()
    }

    /// Keys that are watched. Source: INFO clients, total_watched_keys.
    pub fn len(&self) -> usize {
        self.keys
    }

    /// A client begins to watch a key, which may have expired and still be there.
    pub fn watch(&mut self, db: usize, key: &[u8], was_expired: bool) -> Watched {
        self.last += 1;
        let fresh = Version { version: self.last, written: self.last, came_expired: 0, watches: 0 };
        let watched = self.dbs.entry(db).or_default().entry(key.into()).or_insert(fresh);
        self.keys += usize::from(watched.watches == 0);
        watched.watches += 1;
        Watched { db, key: key.into(), version: watched.version, was_expired }
    }

    /// True if a key has not changed since a client began to watch it; `is_expired` if what is there
    /// has expired by now.
    pub fn is_unchanged(&self, watched: &Watched, is_expired: bool) -> bool {
        let keys = self.dbs.get(&watched.db);
        let Some(found) = keys.and_then(|keys| keys.get(&watched.key)) else { return false };
        let was_expired = watched.was_expired || found.came_expired == watched.version;
        if was_expired {
            found.written <= watched.version
        } else {
            found.version == watched.version && !is_expired
        }
    }

    /// A client watches a key no more.
    pub fn unwatch(&mut self, watched: &Watched) {
        let Some(keys) = self.dbs.get_mut(&watched.db) else { return };
        let Some(found) = keys.get_mut(&watched.key) else { return };
        found.watches -= 1;
        if found.watches == 0 {
            self.keys -= 1;
            keys.remove(&watched.key);
            if keys.is_empty() {
                self.dbs.remove(&watched.db);
            }
        }
    }

    /// A key has changed, as `change` says.
    pub fn touch(&mut self, db: usize, key: &[u8], change: impl FnOnce() -> Change) {
        if let Some(found) = self.dbs.get_mut(&db).and_then(|keys| keys.get_mut(key)) {
            self.last += 1;
            found.change(self.last, change());
        }
    }

    /// Watched keys of a database change, as `change_of` says for each.
    pub fn touch_where(&mut self, db: usize, mut change_of: impl FnMut(&[u8]) -> Option<Change>) {
        let Some(keys) = self.dbs.get_mut(&db) else { return };
        for (key, found) in keys {
            if let Some(change) = change_of(key) {
                self.last += 1;
                found.change(self.last, change);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_by_everyone_who_watched_before_it() {
        let mut watchers = Watchers::default();
        let one = watchers.watch(0, b"k", false);
        watchers.touch(0, b"k", || Change::Written);
        let two = watchers.watch(0, b"k", false);
        watchers.touch(1, b"k", || Change::Written);
        watchers.touch(0, b"other", || Change::Written);
        assert_eq!(watchers.len(), 1);
        assert!(!watchers.is_unchanged(&one, false));
        assert!(watchers.is_unchanged(&two, false) && !watchers.is_unchanged(&two, true));
        watchers.unwatch(&one);
        watchers.unwatch(&two);
        assert!(watchers.is_empty());
        let three = watchers.watch(0, b"k", false);
        assert_ne!(three.version, two.version, "nobody takes a later watch for an earlier one");
        watchers.touch_where(0, |key| (key == b"k").then_some(Change::Gone));
        assert!(!watchers.is_unchanged(&three, false));
    }

    #[test]
    fn who_watched_what_had_expired_does_not_miss_it() {
        let mut watchers = Watchers::default();
        let live = watchers.watch(0, b"k", false);
        let expired = watchers.watch(0, b"k", true);
        watchers.touch(0, b"k", || Change::Gone);
        assert!(!watchers.is_unchanged(&live, false));
        assert!(watchers.is_unchanged(&expired, false));
        let missing = watchers.watch(0, b"k", false);
        watchers.touch(0, b"k", || Change::CameExpired);
        watchers.touch(0, b"k", || Change::Gone);
        assert!(watchers.is_unchanged(&missing, true));
        watchers.touch(0, b"k", || Change::Written);
        watchers.touch(0, b"k", || Change::Gone);
        assert!(!watchers.is_unchanged(&missing, false), "it was there in between");
        assert!(!watchers.is_unchanged(&expired, false));
    }

    #[test]
    fn a_client_watches_a_key_once() {
        let (mut watchers, mut keys) = (Watchers::default(), WatchedKeys::default());
        let first = watchers.watch(0, b"k", false);
        assert_eq!(keys.add(first.clone()), None);
        watchers.touch(0, b"k", || Change::Written);
        let again = watchers.watch(0, b"k", false);
        assert_eq!(keys.add(again.clone()), Some(again));
        assert_eq!(keys.add(watchers.watch(1, b"k", false)), None);
        assert_eq!(keys.len(), 2);
        assert_eq!(keys.take()[0], first, "the change in between counts");
        assert!(keys.is_empty());
    }
}
