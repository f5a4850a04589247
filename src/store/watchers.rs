//! Keys of a partition that somebody watches, with the version of each.
//!
//! Invariant: versions only grow and none is given twice, so a key has the version that WATCH was
//! told exactly if it has not changed since; versions are kept for watched keys only.
//! Source: WATCH, "optimistic locking using check-and-set".

use std::collections::BTreeMap;

/// What a client was told of a key when it began to watch it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// The database.
    pub db: usize,
    /// The key.
    pub key: Box<[u8]>,
    /// Its version then.
    pub version: u64,
}

#[derive(Debug)]
struct Version {
    version: u64,
    /// How often it is watched.
    watches: usize,
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

    /// A client begins to watch a key.
    pub fn watch(&mut self, db: usize, key: &[u8]) -> Watched {
        self.last += 1;
        let fresh = Version { version: self.last, watches: 0 };
        let watched = self.dbs.entry(db).or_default().entry(key.into()).or_insert(fresh);
        self.keys += usize::from(watched.watches == 0);
        watched.watches += 1;
        Watched { db, key: key.into(), version: watched.version }
    }

    /// A client watches a key no more. True if the key has not changed meanwhile.
    pub fn unwatch(&mut self, watched: &Watched) -> bool {
        let Some(keys) = self.dbs.get_mut(&watched.db) else { return false };
        let Some(found) = keys.get_mut(&watched.key) else { return false };
        let same = found.version == watched.version;
        found.watches -= 1;
        if found.watches == 0 {
            self.keys -= 1;
            keys.remove(&watched.key);
            if keys.is_empty() {
                self.dbs.remove(&watched.db);
            }
        }
        same
    }

    /// A key has changed.
    pub fn touch(&mut self, db: usize, key: &[u8]) {
        if let Some(found) = self.dbs.get_mut(&db).and_then(|keys| keys.get_mut(key)) {
            self.last += 1;
            found.version = self.last;
        }
    }

    /// Those of the watched keys of a database that `changes` says yes to have changed.
    pub fn touch_where(&mut self, db: usize, mut changes: impl FnMut(&[u8]) -> bool) {
        let Some(keys) = self.dbs.get_mut(&db) else { return };
        for (key, found) in keys {
            if changes(key) {
                self.last += 1;
                found.version = self.last;
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
        let one = watchers.watch(0, b"k");
        watchers.touch(0, b"k");
        let two = watchers.watch(0, b"k");
        watchers.touch(1, b"k");
        watchers.touch(0, b"other");
        assert_eq!(watchers.len(), 1);
        assert!(!watchers.unwatch(&one));
        assert!(watchers.unwatch(&two));
        assert!(watchers.is_empty());
        let three = watchers.watch(0, b"k");
        assert_ne!(three.version, two.version, "nobody takes a later watch for an earlier one");
        watchers.touch_where(0, |key| key == b"k");
        assert!(!watchers.unwatch(&three));
    }
}
