//! Keys of a partition that clients have read and keep, and who these clients are.
//!
//! Invariant: a client stands at a key from a read of it until the key changes, and not longer; so
//! it is told of the first change behind each of its reads. Keys count by name, in whichever
//! database they are. Source: server-assisted client-side caching of Redis 6 and later.

use std::collections::BTreeMap;

/// A client that has read a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reader {
    /// Its id.
    pub id: u64,
    /// The core that it lives on.
    pub home: u16,
    /// The run of its commands that the last read belongs to.
    pub run: u32,
}

/// What the clients have read of one partition.
#[derive(Debug, Default)]
pub struct Tracked {
    keys: BTreeMap<Box<[u8]>, Vec<Reader>>,
    items: usize,
}

impl Tracked {
    /// True if no key is tracked.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Keys. Source: INFO, tracking_total_keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Keys, each as often as clients have read it. Source: INFO, tracking_total_items.
    pub fn items(&self) -> usize {
        self.items
    }

    /// A client has read a key.
    pub fn remember(&mut self, key: &[u8], reader: Reader) {
        let Some(readers) = self.keys.get_mut(key) else {
            self.items += 1;
            self.keys.insert(key.into(), vec![reader]);
            return;
        };
        if let Some(known) = readers.iter_mut().find(|known| known.id == reader.id) {
            *known = reader;
        } else {
            self.items += 1;
            readers.push(reader);
        }
    }

    /// A key has changed: who is to be told.
    pub fn take(&mut self, key: &[u8]) -> Vec<Reader> {
        let readers = self.keys.remove(key).unwrap_or_default();
        self.items -= readers.len();
        readers
    }

    /// Forgets a key because there are too many: the first one from a random name on, or else the
    /// first of all, with those who are to be told. None if no key is tracked.
    pub fn evict(&mut self, random: u64) -> Option<(Box<[u8]>, Vec<Reader>)> {
        let from = self.random_name(random)?;
        let key = self.keys.range(from..).next().or_else(|| self.keys.iter().next())?.0.clone();
        let readers = self.take(&key);
        Some((key, readers))
    }

    /// A name between the first and the last key: what both begin with, then chance.
    fn random_name(&self, random: u64) -> Option<Box<[u8]>> {
        let (first, last) = (self.keys.first_key_value()?.0, self.keys.last_key_value()?.0);
        let same = first.iter().zip(last.iter()).take_while(|(one, other)| one == other).count();
        Some([&first[..same], &random.to_be_bytes()[..]].concat().into())
    }

    /// Forgets all keys: everybody has been told that everything has changed.
    pub fn clear(&mut self) {
        self.keys.clear();
        self.items = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(id: u64, run: u32) -> Reader {
        Reader { id, home: 0, run }
    }

    #[test]
    fn a_change_is_told_once_to_everybody_who_has_read() {
        let mut tracked = Tracked::default();
        tracked.remember(b"k", reader(1, 1));
        tracked.remember(b"k", reader(2, 1));
        tracked.remember(b"k", reader(1, 3));
        tracked.remember(b"other", reader(1, 3));
        assert_eq!((tracked.len(), tracked.items()), (2, 3));
        assert_eq!(tracked.take(b"k"), [reader(1, 3), reader(2, 1)]);
        assert!(tracked.take(b"k").is_empty());
        assert_eq!((tracked.len(), tracked.items()), (1, 1));
        tracked.clear();
        assert!(tracked.is_empty() && tracked.items() == 0);
    }

    #[test]
    fn any_key_may_be_evicted_and_in_the_end_all_are() {
        let mut tracked = Tracked::default();
        let names: Vec<String> = (0..100).map(|at| format!("key:{at}")).collect();
        names.iter().for_each(|name| tracked.remember(name.as_bytes(), reader(1, 1)));
        let mut gone = Vec::new();
        for random in 0..100_u64 {
            let (key, readers) = tracked.evict(random << 56).expect("one is left");
            assert_eq!(readers.len(), 1);
            gone.push(String::from_utf8_lossy(&key).into_owned());
        }
        assert!(tracked.evict(0).is_none() && tracked.items() == 0);
        gone.sort();
        gone.dedup();
        assert_eq!(gone.len(), 100);
    }
}
