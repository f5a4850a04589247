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
