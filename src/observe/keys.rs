//! Keys that stand out: those that many commands name, and those that take much memory.
//!
//! Invariant: a core sees samples only: of commands, at most one in `phases::SAMPLE_NANOS`, and of
//! its keys by a walk that never ends; so both are estimates, and both are bounded.
//! Source of the counting: "Efficient Computation of Frequent and Top-k Elements in Data Streams"
//! (Space-Saving), with counts that fade.

use std::collections::BTreeSet;

/// Keys that are counted at once.
const COUNTED_MAX: usize = 128;
/// Bytes of a key that are kept.
const KEY_BYTES_MAX: usize = 256;
/// Large keys that are remembered.
const LARGE_MAX: usize = 32;

/// A key as it is shown: its first bytes, with its database.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShownKey {
    /// The database.
    pub db: usize,
    /// Its first bytes.
    pub key: Box<[u8]>,
}

impl ShownKey {
    fn of(db: usize, key: &[u8]) -> ShownKey {
        ShownKey { db, key: key[..key.len().min(KEY_BYTES_MAX)].into() }
    }
}

#[derive(Clone, Debug)]
struct Counted {
    hash: u64,
    count: u64,
    key: ShownKey,
}

/// The keys that commands name most.
#[derive(Clone, Debug, Default)]
pub struct HotKeys {
    counted: Vec<Counted>,
    samples: u64,
}

impl HotKeys {
    /// A sampled command names this key, whose hash this is.
    pub fn add(&mut self, db: usize, key: &[u8], hash: u64) {
        self.samples += 1;
        if let Some(known) =
            self.counted.iter_mut().find(|one| one.hash == hash && one.key.db == db)
        {
            known.count += 1;
        } else if self.counted.len() < COUNTED_MAX {
            self.counted.push(Counted { hash, count: 1, key: ShownKey::of(db, key) });
        } else if let Some(least) = self.counted.iter_mut().min_by_key(|one| one.count) {
            *least = Counted { hash, count: least.count + 1, key: ShownKey::of(db, key) };
        }
    }

    /// What was counted fades, so that a key that is not named any more goes.
    pub fn fade(&mut self) {
        self.counted.iter_mut().for_each(|one| one.count /= 2);
        self.counted.retain(|one| one.count > 0);
        self.samples /= 2;
    }

    /// Sampled commands, as far as they have not faded.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// The keys that were counted more than by chance, and how often.
    pub fn top(&self) -> Vec<(ShownKey, u64)> {
        let floor = self.samples / COUNTED_MAX as u64;
        let hot = self.counted.iter().filter(|one| one.count > floor);
        hot.map(|one| (one.key.clone(), one.count)).collect()
    }
}

/// The type of a value, as TYPE names it.
pub type TypeName = &'static str;

/// What the keys of one type take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TypeSum {
    /// Keys.
    pub keys: u64,
    /// Bytes.
    pub bytes: u64,
}

/// What a walk over all keys has found.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    types: Vec<(TypeName, TypeSum)>,
    large: BTreeSet<(u64, ShownKey, TypeName)>,
}

impl Survey {
    /// The walk has come to a key.
    pub fn add(&mut self, db: usize, key: &[u8], (kind, bytes): (TypeName, u64)) {
        let at = self.types.iter().position(|(name, _)| *name == kind).unwrap_or_else(|| {
            self.types.push((kind, TypeSum::default()));
            self.types.len() - 1
        });
        let sum = &mut self.types[at].1;
        (sum.keys, sum.bytes) = (sum.keys + 1, sum.bytes + bytes);
        let is_large = self.large.first().is_none_or(|(least, ..)| bytes > *least);
        if self.large.len() < LARGE_MAX || is_large {
            self.large.insert((bytes, ShownKey::of(db, key), kind));
        }
        if self.large.len() > LARGE_MAX {
            self.large.pop_first();
        }
    }

    /// What the keys take, by type.
    pub fn types(&self) -> &[(TypeName, TypeSum)] {
        &self.types
    }

    /// The largest keys, their bytes and types.
    pub fn large(&self) -> impl Iterator<Item = (&ShownKey, u64, TypeName)> {
        self.large.iter().rev().map(|(bytes, key, kind)| (key, *bytes, *kind))
    }
}

/// What stands out on a core.
#[derive(Clone, Debug, Default)]
pub struct KeySamples {
    /// The keys that commands name most.
    pub hot: HotKeys,
    /// The last walk that came to its end.
    pub last: Survey,
    /// The walk under way.
    pub current: Survey,
    /// Where that is: the database, and SCAN's cursor.
    pub at: (usize, u64),
    /// A walk has come to its end before.
    pub is_complete: bool,
}

impl KeySamples {
    /// The walk goes on here next; at the end of the last database a new one begins.
    pub fn go_on(&mut self, (db, cursor): (usize, u64), databases: usize) {
        self.at = (db, cursor);
        if db >= databases {
            self.at = (0, 0);
            self.last = std::mem::take(&mut self.current);
            self.is_complete = true;
        }
    }

    /// The best that is known: the last whole walk, or the first one as far as it has come.
    pub fn survey(&self) -> &Survey {
        if self.is_complete { &self.last } else { &self.current }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hot_key_stands_out_among_many() {
        let mut keys = HotKeys::default();
        for number in 0..10_000u64 {
            let (name, hash) = if number % 4 == 0 { (0, 0) } else { (number, number) };
            keys.add(0, format!("key:{name}").as_bytes(), hash);
        }
        let top = keys.top();
        let hottest = top.iter().max_by_key(|(_, count)| *count).expect("there is one");
        assert_eq!(&*hottest.0.key, b"key:0");
        assert!((2400..2700).contains(&hottest.1), "{}", hottest.1);
        (0..16).for_each(|_| keys.fade());
        assert!(keys.top().is_empty() && keys.samples() == 0);
    }

    #[test]
    fn the_largest_keys_are_kept_and_all_are_summed() {
        let mut survey = Survey::default();
        for number in 0..1000u64 {
            let kind = if number % 2 == 0 { "string" } else { "hash" };
            survey.add(1, format!("key:{number}").as_bytes(), (kind, number));
        }
        assert_eq!(survey.large().count(), LARGE_MAX);
        assert_eq!(survey.large().next().map(|(_, bytes, _)| bytes), Some(999));
        assert_eq!(survey.types()[0], ("string", TypeSum { keys: 500, bytes: 249_500 }));
        survey.add(0, &[b'x'; 1000], ("string", 5000));
        assert_eq!(survey.large().next().map(|(key, ..)| key.key.len()), Some(KEY_BYTES_MAX));
    }

    #[test]
    fn a_walk_that_ends_is_shown_until_the_next_one_has() {
        let mut samples = KeySamples::default();
        samples.current.add(0, b"a", ("string", 60));
        assert_eq!(samples.survey().types().len(), 1);
        samples.go_on((16, 0), 16);
        assert_eq!((samples.at, samples.survey().types().len()), ((0, 0), 1));
    }
}
