//! A map from names to what is known of them, that never takes long.
//!
//! Invariant: it is made of parts that grow one at a time, so that with a million names no step moves
//! all of them; a part that is empty holds no memory.

use std::collections::HashMap;

use super::Name;
use crate::base::siphash::HashKey;

/// Parts; a power of two.
const PARTS: usize = 64;
/// Bytes at the end of a name that choose its part: where the numbers of names stand.
const CHOOSING_BYTES: usize = 8;

/// The map.
#[derive(Debug)]
pub(super) struct Names<V> {
    parts: Box<[HashMap<Name, V, HashKey>]>,
    len: usize,
}

impl<V> Names<V> {
    /// An empty map, which hashes with this secret.
    pub(super) fn new(secret: HashKey) -> Names<V> {
        Names { parts: (0..PARTS).map(|_| HashMap::with_hasher(secret)).collect(), len: 0 }
    }

    /// Names.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// True without any.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What is known of a name.
    #[inline]
    pub(super) fn get(&self, name: &[u8]) -> Option<&V> {
        self.parts[part_of(name)].get(name)
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self, name: &[u8]) -> Option<&mut V> {
        self.parts[part_of(name)].get_mut(name)
    }

    /// The name as it stands here.
    pub(super) fn name(&self, name: &[u8]) -> Option<&Name> {
        self.parts[part_of(name)].get_key_value(name).map(|(known, _)| known)
    }

    /// Adds a name that is not there.
    pub(super) fn insert(&mut self, name: Name, value: V) {
        let old = self.parts[part_of(&name)].insert(name, value);
        assert!(old.is_none(), "the name was looked up before");
        self.len += 1;
    }

    /// Takes a name out that is there.
    pub(super) fn remove(&mut self, name: &[u8]) {
        let part = &mut self.parts[part_of(name)];
        self.len -= usize::from(part.remove(name).is_some());
        if part.is_empty() {
            part.shrink_to_fit();
        }
    }

    /// Every name, in no order.
    pub(super) fn names(&self) -> impl Iterator<Item = &Name> {
        self.parts.iter().flat_map(HashMap::keys)
    }
}

/// Chosen badly, all names are in one part, which is a map as any other.
fn part_of(name: &[u8]) -> usize {
    let end = &name[name.len().saturating_sub(CHOOSING_BYTES)..];
    let mixed = end.iter().fold(0_usize, |sum, byte| sum.wrapping_mul(31) + usize::from(*byte));
    mixed % PARTS
}
