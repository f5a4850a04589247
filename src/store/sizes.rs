//! How large keys are: for each database and type, how many keys have a size between two powers of 2.
//!
//! Invariant: looks at no more than `LOOKED_AT_MAX` keys of a partition. What has more is estimated
//! from as many of each database as its share allows: keys lie in the order of their hashes, so the
//! first ones are as good as any. Source: INFO KEYSIZES of Redis 8.0.6.

use std::collections::BTreeMap;

use super::db::Db;
use super::entry::EntryRef;
use super::partition::Partition;
use crate::types::hash::HashRef;
use crate::types::list::ListRef;
use crate::types::set::SetRef;
use crate::types::zset::ZSetRef;

/// A type whose sizes are told, in the order in which that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SizedType {
    /// Sizes are bytes.
    String,
    /// Sizes are elements, as of the rest.
    List,
    /// A set.
    Set,
    /// A sorted set.
    SortedSet,
    /// A hash.
    Hash,
}

impl SizedType {
    /// What INFO calls the distribution of its sizes.
    pub fn distribution(self) -> &'static str {
        match self {
            SizedType::String => "distrib_strings_sizes",
            SizedType::List => "distrib_lists_items",
            SizedType::Set => "distrib_sets_items",
            SizedType::SortedSet => "distrib_zsets_items",
            SizedType::Hash => "distrib_hashes_items",
        }
    }
}

/// Keys by database, type, and the largest power of 2 that is not above their size, which is 0 for
/// what is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySizes(BTreeMap<(usize, SizedType), BTreeMap<u64, u64>>);

impl KeySizes {
    /// Adds what another partition has.
    pub fn add(&mut self, other: &KeySizes) {
        for (place, sizes) in &other.0 {
            let own = self.0.entry(*place).or_default();
            sizes.iter().for_each(|(size, keys)| *own.entry(*size).or_default() += keys);
        }
    }

    /// Each database and type that has keys, with the sizes and how many keys have them.
    pub fn iter(&self) -> impl Iterator<Item = (usize, SizedType, &BTreeMap<u64, u64>)> {
        self.0.iter().map(|((db, kind), sizes)| (*db, *kind, sizes))
    }

    fn count(&mut self, db: usize, entry: EntryRef<'_>) {
        if let Some((kind, size)) = size_of(entry) {
            let power = if size == 0 { 0 } else { 1 << size.ilog2() };
            *self.0.entry((db, kind)).or_default().entry(power).or_default() += 1;
        }
    }

    /// What was counted of a database stands for more: `looked_at` keys for `keys`.
    fn scale(&mut self, db: usize, keys: u64, looked_at: u64) {
        let of_db = self.0.iter_mut().filter(|((at, _), _)| *at == db);
        for count in of_db.flat_map(|(_, sizes)| sizes.values_mut()) {
            let scaled = u128::from(*count) * u128::from(keys) / u128::from(looked_at.max(1));
            *count = scaled as u64;
        }
    }
}

impl Partition {
    /// How large the keys of this partition are.
    pub fn key_sizes(&self) -> KeySizes {
        let mut sizes = KeySizes::default();
        let keys: usize = self.dbs().iter().map(Db::len).sum();
        for (index, db) in self.dbs().iter().enumerate().filter(|(_, db)| !db.is_empty()) {
            // All of a small data set, and of a large one each database's share.
            let share = db.len() as u128 * LOOKED_AT_MAX as u128 / keys.max(LOOKED_AT_MAX) as u128;
            let wanted = (share as usize).max(1);
            let (mut cursor, mut looked_at) = (0, 0);
            loop {
                cursor = db.scan(cursor, SCANNED_AT_ONCE, |entry| {
                    looked_at += 1;
                    sizes.count(index, entry);
                });
                if cursor == 0 || looked_at >= wanted {
                    break;
                }
            }
            if cursor != 0 {
                sizes.scale(index, db.len() as u64, looked_at as u64);
            }
        }
        sizes
    }
}

/// The type and the size of a key. None for a type whose sizes are not told.
fn size_of(entry: EntryRef<'_>) -> Option<(SizedType, u64)> {
    let value = entry.value();
    entry
        .str_len()
        .map(|len| (SizedType::String, len))
        .or_else(|_| ListRef::of(value).map(|list| (SizedType::List, list.len())))
        .or_else(|_| SetRef::of(value).map(|set| (SizedType::Set, set.len() as u64)))
        .or_else(|_| ZSetRef::of(value).map(|zset| (SizedType::SortedSet, zset.len())))
        .or_else(|_| HashRef::of(value).map(|hash| (SizedType::Hash, hash.len() as u64)))
        .ok()
}

/// Keys of a partition that one INFO looks at: half a millisecond's work where memory is slow.
const LOOKED_AT_MAX: usize = 4096;
/// Keys of one step.
const SCANNED_AT_ONCE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::siphash::HashKey;
    use crate::base::slot::Slot;
    use crate::store::entry::{Entry, NewValue};
    use crate::store::key::Hasher;

    fn partition() -> Partition {
        let slot = |number| Slot::from_number(number).expect("a slot");
        Partition::new(slot(0), slot(16383), 2, Hasher::new(HashKey { k0: 1, k1: 2 }))
    }

    fn fill(partition: &mut Partition, keys: usize, len: usize) {
        for number in 0..keys {
            let name = format!("key:{len}:{number}");
            let key = partition.hasher().key(name.as_bytes());
            let value = vec![b'x'; len];
            partition
                .db_mut(0)
                .insert(&key, Entry::new(key.bytes, NewValue::string(&value), None, 0));
        }
    }

    fn strings(sizes: &KeySizes) -> Vec<(u64, u64)> {
        let all = sizes.iter().filter(|(db, kind, _)| (*db, *kind) == (0, SizedType::String));
        all.flat_map(|(_, _, sizes)| sizes.iter().map(|(size, keys)| (*size, *keys))).collect()
    }

    #[test]
    fn a_small_data_set_is_told_exactly() {
        let mut partition = partition();
        assert_eq!(partition.key_sizes(), KeySizes::default());
        for (len, keys) in [(0, 1), (1, 2), (15, 3), (16, 4), (17, 5)] {
            fill(&mut partition, keys, len);
        }
        assert_eq!(strings(&partition.key_sizes()), [(0, 1), (1, 2), (8, 3), (16, 9)]);
        let mut twice = partition.key_sizes();
        twice.add(&partition.key_sizes());
        assert_eq!(strings(&twice), [(0, 2), (1, 4), (8, 6), (16, 18)]);
    }

    #[test]
    fn a_large_one_is_estimated() {
        let mut partition = partition();
        fill(&mut partition, 30_000, 3);
        fill(&mut partition, 10_000, 100);
        let found = strings(&partition.key_sizes());
        let [(2, few), (64, many)] = found[..] else { panic!("{found:?}") };
        assert!((28_000..32_000).contains(&few) && (8_000..12_000).contains(&many), "{found:?}");
        assert!((39_990..=40_000).contains(&(few + many)), "{found:?}");
    }
}
