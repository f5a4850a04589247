//! Lookups of members in large collections, ahead of the commands that need them: each step fetches
//! into the processor's caches what the next one reads, so that many lookups wait for memory together.
//!
//! Invariant: nothing changes but how long a command waits; a member that is not there, or another
//! command in between, makes the work vain and nothing else.

use super::value::{Value, ValueRef};
use super::zset;
use crate::encoding::dict;

/// Collections with fewer elements than this stay near the processor: to fetch what is there takes
/// longer than to wait for it.
const LARGE_MIN: usize = 200_000;

/// A lookup under way.
pub enum Ahead<'a> {
    /// In a large hash or set.
    Dict(dict::Ahead<'a>),
    /// In a large sorted set.
    SortedSet(zset::Ahead<'a>),
}

impl<'a> Ahead<'a> {
    /// Steps of the longest lookup.
    pub const STEPS: usize = 6;

    /// The lookup of a member; None where it would not have to wait.
    #[inline]
    pub fn of(value: ValueRef<'a>, member: &[u8]) -> Option<Self> {
        let ValueRef::Boxed(value) = value else { return None };
        match value {
            Value::Hash(dict) | Value::Set(dict) if dict.len() >= LARGE_MIN => {
                dict.ahead(member).map(Self::Dict)
            }
            Value::SortedSet(set) if set.len() >= LARGE_MIN as u64 => {
                Some(Self::SortedSet(set.ahead(member)))
            }
            _ => None,
        }
    }

    /// Goes on by one step.
    #[inline]
    pub fn step(&mut self) {
        match self {
            Self::Dict(ahead) => ahead.step(),
            Self::SortedSet(ahead) => ahead.step(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::siphash::HashKey;
    use crate::encoding::dict::Dict;

    const KEY: HashKey = HashKey { k0: 1, k1: 2 };

    /// All steps, and one more.
    fn look_ahead(value: &Value, member: &[u8]) -> bool {
        let ahead = Ahead::of(ValueRef::of(value), member);
        let is_looked_for = ahead.is_some();
        ahead.into_iter().for_each(|mut ahead| (0..=Ahead::STEPS).for_each(|_| ahead.step()));
        is_looked_for
    }

    #[test]
    fn any_member_is_looked_for_in_large_collections_alone() {
        let names: Vec<Vec<u8>> = (0..LARGE_MIN as u32 + 3)
            // Some lie outside of their segment, or in a leaf of their own.
            .map(|at| at.to_string().repeat(if at % 5000 == 7 { 1000 } else { 1 }).into_bytes())
            .collect();
        let (mut dict, mut set) = (Dict::new(KEY), zset::SortedSet::new(KEY));
        for (at, name) in names.iter().enumerate() {
            dict.insert(name, b"", None);
            set.insert(name, at as f64);
        }
        let gone = &names[4];
        assert!(dict.remove(gone) && set.remove(gone));
        let found = |value: &Value| {
            let absent = [&b""[..], b"no", gone];
            names.iter().map(Vec::as_slice).chain(absent).all(|name| look_ahead(value, name))
        };
        assert!(found(&Value::Set(dict.clone())));
        assert!(found(&Value::SortedSet(set.clone())));
        names[10..20].iter().for_each(|name| assert!(dict.remove(name) && set.remove(name)));
        assert!(!look_ahead(&Value::Set(dict), &names[0]));
        assert!(!look_ahead(&Value::SortedSet(set), &names[0]));
    }
}
