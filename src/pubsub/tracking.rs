//! What clients are told of keys that they keep, and who wants to hear of which prefixes.
//!
//! Invariant: the prefixes are the same on every core after the same changes; which clients of a core
//! have tracking on is known there alone. An invalidation is never shortened on its way: whether its
//! client still wants it is decided at that client's home. Source: CLIENT TRACKING of Redis 8.0;
//! docs/decisions/0014-tracking.md.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Name;
use crate::base::core_set::CoreSet;
use crate::base::letterbox::Letterbox;

/// Keys that were changed, each with the id of the client that did it last; 0 for nobody.
pub type ChangedKeys = BTreeMap<Arc<[u8]>, u64>;

/// The same by the prefixes that are followed.
pub type ChangesByPrefix = BTreeMap<Name, ChangedKeys>;

/// What a home core has to tell clients.
#[derive(Clone, Debug)]
pub enum Invalidation {
    /// To a client that has read a key: it has changed.
    Key {
        /// The client.
        id: u64,
        /// The run of its commands in which it read the key last.
        run: u32,
        /// The key; all who are told share it.
        key: Arc<[u8]>,
        /// The client that changed it; 0 for nobody.
        by: u64,
    },
    /// To every client of the core that has tracking on: everything has changed.
    All,
    /// To the clients of the core that named a prefix.
    Prefix(Name, Arc<ChangedKeys>),
    /// To a client in whose place another one is told.
    Forwarded {
        /// Who is told, and its place.
        to: (u64, u32),
        /// For whom, and that client's home.
        of: (u64, usize),
        /// The keys. None for everything.
        keys: Option<Vec<Arc<[u8]>>>,
        /// Everything is told as null, as that one's protocol writes it.
        null: &'static [u8],
    },
    /// To a client: who is told in its place has gone.
    Broken(u64),
}

/// What the turns of other cores have left for the clients of each core.
pub type Letterboxes = Arc<[Letterbox<Vec<Invalidation>>]>;

/// Empty ones, for so many cores.
pub fn letterboxes(cores: usize) -> Letterboxes {
    (0..cores).map(|_| Letterbox::new()).collect()
}

/// The invalidations of a turn, by home core, in their order.
#[derive(Debug, Default)]
pub struct Invalidations {
    list: Vec<(usize, Invalidation)>,
}

impl Invalidations {
    /// True without any.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Adds one for a client of core `home`.
    pub fn add(&mut self, home: usize, one: Invalidation) {
        self.list.push((home, one));
    }

    /// All keys have changed; so many clients of each core track.
    pub fn add_all(&mut self, clients: impl Iterator<Item = u64>) {
        for (home, _) in clients.enumerate().filter(|(_, count)| *count > 0) {
            self.add(home, Invalidation::All);
        }
    }

    /// Takes those for clients of a core.
    pub fn take_of(&mut self, core: usize) -> Vec<Invalidation> {
        self.list.extract_if(.., |(home, _)| *home == core).map(|(_, one)| one).collect()
    }

    /// Takes the keys that one client has read and then changed itself.
    pub fn take_own_keys_of(&mut self, client: u64) -> Vec<Arc<[u8]>> {
        let is_own = |one: &Invalidation| matches!(one, Invalidation::Key { id, by, .. } if *id == client && *by == client);
        let taken = self.list.extract_if(.., |(_, one)| is_own(one));
        let key_of = |(_, one)| match one {
            Invalidation::Key { key, .. } => Some(key),
            Invalidation::All
            | Invalidation::Prefix(..)
            | Invalidation::Forwarded { .. }
            | Invalidation::Broken(_) => None,
        };
        taken.filter_map(key_of).collect()
    }

    /// Takes all of them.
    pub fn take(&mut self) -> Vec<(usize, Invalidation)> {
        std::mem::take(&mut self.list)
    }
}

/// A client that wants to hear of a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Follower {
    /// The core that it lives on.
    pub home: usize,
    /// Its id.
    pub id: u64,
}

/// Who wants to hear of keys that begin with which bytes. Source: BCAST and PREFIX.
#[derive(Debug, Default)]
pub struct Prefixes {
    followers: BTreeMap<Name, BTreeSet<Follower>>,
    /// How many prefixes have a length.
    lengths: BTreeMap<usize, usize>,
    /// What has changed in this turn.
    changed: ChangesByPrefix,
}

impl Prefixes {
    /// True if nobody follows any.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.followers.is_empty()
    }

    /// How many are followed. Source: INFO, tracking_total_prefixes.
    pub fn len(&self) -> usize {
        self.followers.len()
    }

    /// A client follows a prefix from now on.
    pub fn follow(&mut self, prefix: &Name, follower: Follower) {
        if !self.followers.contains_key(prefix) {
            *self.lengths.entry(prefix.len()).or_insert(0) += 1;
        }
        self.followers.entry(prefix.clone()).or_default().insert(follower);
    }

    /// A client follows nothing any more.
    pub fn leave(&mut self, follower: Follower) {
        let lengths = &mut self.lengths;
        self.followers.retain(|prefix, followers| {
            followers.remove(&follower);
            if followers.is_empty()
                && let Some(count) = lengths.get_mut(&prefix.len())
            {
                *count -= 1;
            }
            !followers.is_empty()
        });
        lengths.retain(|_, count| *count > 0);
    }

    /// A key was changed by a client, or by nobody.
    pub fn note(&mut self, key: &[u8], by: u64) {
        for len in self.lengths.keys().take_while(|len| **len <= key.len()) {
            if let Some((prefix, _)) = self.followers.get_key_value(&key[..*len]) {
                self.changed.entry(prefix.clone()).or_default().insert(key.into(), by);
            }
        }
    }

    /// True if followed keys have changed in this turn.
    #[inline]
    pub fn has_changes(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Takes what has changed in this turn, by prefix, with the homes of those who follow it.
    pub fn take_changes(&mut self) -> Vec<(CoreSet, Name, ChangedKeys)> {
        let homes_of = |prefix: &Name| {
            let mut homes = CoreSet::default();
            let followers = self.followers.get(prefix).into_iter().flatten();
            followers.for_each(|follower| homes.insert(follower.home));
            homes
        };
        let changed = std::mem::take(&mut self.changed).into_iter();
        changed.map(|(prefix, keys)| (homes_of(&prefix), prefix, keys)).collect()
    }

    /// Sets what has changed aside, and goes on with `changed`: what a transaction changes is told when
    /// it has ended, however many turns it takes.
    pub fn exchange(&mut self, changed: ChangesByPrefix) -> ChangesByPrefix {
        std::mem::replace(&mut self.changed, changed)
    }

    /// Adds what was set aside.
    pub fn add_changes(&mut self, changed: ChangesByPrefix) {
        for (prefix, keys) in changed {
            self.changed.entry(prefix).or_default().extend(keys);
        }
    }

    /// The clients of core `home` that follow a prefix, by id.
    pub fn followers(&self, prefix: &Name, home: usize) -> impl Iterator<Item = u64> {
        let followers = self.followers.get(prefix).into_iter().flatten();
        followers.filter(move |follower| follower.home == home).map(|follower| follower.id)
    }
}

/// The clients of a core that have tracking on, by id, and their places.
#[derive(Debug, Default)]
pub struct Trackers(BTreeMap<u64, u32>);

impl Trackers {
    /// A client turns tracking on.
    pub fn add(&mut self, id: u64, place: u32) {
        self.0.insert(id, place);
    }

    /// A client turns it off, or goes.
    pub fn remove(&mut self, id: u64) {
        self.0.remove(&id);
    }

    /// Where a client is. None if it has tracking off.
    pub fn place(&self, id: u64) -> Option<u32> {
        self.0.get(&id).copied()
    }

    /// All of them, by id.
    pub fn ids(&self) -> Vec<u64> {
        self.0.keys().copied().collect()
    }

    /// How many. Source: INFO, tracking_clients.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True without any.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Two prefixes of which one begins with the other would tell of one key twice.
pub fn overlap(one: &[u8], other: &[u8]) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_noted_under_every_prefix_that_is_followed() {
        let mut prefixes = Prefixes::default();
        let name = |text: &str| Name::from(text.as_bytes());
        let (one, two) = (Follower { home: 0, id: 1 }, Follower { home: 3, id: 2 });
        prefixes.follow(&name("a"), one);
        prefixes.follow(&name("ab"), two);
        prefixes.follow(&name("a"), two);
        for (key, by) in [("abc", 7), ("b", 7), ("", 7), ("a", 8), ("abc", 9)] {
            prefixes.note(key.as_bytes(), by);
        }
        let changes: Vec<_> = (prefixes.take_changes().into_iter())
            .map(|(homes, prefix, keys)| (homes.iter().collect::<Vec<_>>(), prefix, keys))
            .collect();
        let keys = |keys: &[(&str, u64)]| -> ChangedKeys {
            keys.iter().map(|(key, by)| (key.as_bytes().into(), *by)).collect()
        };
        let expected = [
            (vec![0, 3], name("a"), keys(&[("a", 8), ("abc", 9)])),
            (vec![3], name("ab"), keys(&[("abc", 9)])),
        ];
        assert_eq!(changes, expected);
        assert!(!prefixes.has_changes());
        prefixes.leave(two);
        assert_eq!(prefixes.len(), 1);
        prefixes.note(b"abc", 1);
        assert_eq!(prefixes.take_changes().len(), 1);
        prefixes.leave(one);
        assert!(prefixes.is_empty());
    }

    #[test]
    fn the_empty_prefix_is_of_every_key() {
        let mut prefixes = Prefixes::default();
        prefixes.follow(&Name::from(&b""[..]), Follower { home: 0, id: 1 });
        prefixes.note(b"", 0);
        prefixes.note(b"x", 0);
        assert_eq!(prefixes.take_changes()[0].2.len(), 2);
        assert!(overlap(b"", b"x") && overlap(b"xy", b"x") && !overlap(b"a", b"b"));
    }

    #[test]
    fn a_clients_own_keys_can_be_taken_out() {
        let mut all = Invalidations::default();
        for (id, key, by) in [(1, "a", 1), (2, "b", 1), (1, "c", 1), (1, "d", 2)] {
            let key = key.as_bytes().into();
            all.add(0, Invalidation::Key { id, run: 0, key, by });
        }
        all.add(1, Invalidation::All);
        assert_eq!(all.take_own_keys_of(1), [b"a".as_slice().into(), b"c".as_slice().into()]);
        assert_eq!(all.take_of(0).len(), 2);
        assert_eq!(all.take().len(), 1);
    }
}
