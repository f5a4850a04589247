//! A map sorted by stream id, in leaves that clones share: blocks by the id of their first entry,
//! and pending entries.
//! Invariant: ids ascend within a leaf and from leaf to leaf; no leaf is empty; a leaf that somebody
//! else holds is copied before it changes.
//!
//! ```text
//! leaves: | leaf | leaf | ...     leaf: | id, value | id, value | ...    up to LEAF_LEN_MAX
//! ```
//! Ids mostly arrive in ascending order and leave at the front, so a deque of leaves is tree enough:
//! a lookup is two binary searches, and what moves when a leaf comes or goes is 8 bytes a leaf.

use std::collections::VecDeque;

use super::id::StreamId;
use crate::encoding::shared::Shared;

/// The map. Cloning it shares the leaves.
#[derive(Clone, Debug)]
pub struct Ordered<V> {
    leaves: VecDeque<Shared<Vec<(StreamId, V)>>>,
    len: usize,
}

/// The place of a pair. Valid until the map changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot {
    leaf: usize,
    index: usize,
}

impl<V> Default for Ordered<V> {
    fn default() -> Self {
        Ordered { leaves: VecDeque::new(), len: 0 }
    }
}

impl<V> Ordered<V> {
    /// Pairs.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True without a pair.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pair at a place.
    #[inline]
    pub fn at(&self, spot: Spot) -> (StreamId, &V) {
        let (id, value) = &self.leaves[spot.leaf][spot.index];
        (*id, value)
    }

    /// The place of the first pair.
    pub fn first(&self) -> Option<Spot> {
        (!self.is_empty()).then_some(Spot { leaf: 0, index: 0 })
    }

    /// The place of the last pair.
    #[inline]
    pub fn last(&self) -> Option<Spot> {
        let leaf = self.leaves.len().checked_sub(1)?;
        Some(Spot { leaf, index: self.leaves[leaf].len() - 1 })
    }

    /// The place behind another.
    #[inline]
    pub fn next(&self, spot: Spot) -> Option<Spot> {
        if spot.index + 1 < self.leaves[spot.leaf].len() {
            return Some(Spot { index: spot.index + 1, ..spot });
        }
        (spot.leaf + 1 < self.leaves.len()).then_some(Spot { leaf: spot.leaf + 1, index: 0 })
    }

    /// The place before another.
    #[inline]
    pub fn previous(&self, spot: Spot) -> Option<Spot> {
        if spot.index > 0 {
            return Some(Spot { index: spot.index - 1, ..spot });
        }
        let leaf = spot.leaf.checked_sub(1)?;
        Some(Spot { leaf, index: self.leaves[leaf].len() - 1 })
    }

    /// The last pair with an id up to `id`.
    pub fn at_or_before(&self, id: StreamId) -> Option<Spot> {
        let leaf = self.leaves.partition_point(|leaf| leaf[0].0 <= id).checked_sub(1)?;
        let index = self.leaves[leaf].partition_point(|(own, _)| *own <= id) - 1;
        Some(Spot { leaf, index })
    }

    /// The first pair with an id from `id` on.
    pub fn at_or_after(&self, id: StreamId) -> Option<Spot> {
        match self.at_or_before(id) {
            Some(spot) if self.at(spot).0 == id => Some(spot),
            Some(spot) => self.next(spot),
            None => self.first(),
        }
    }

    /// The value at an id.
    pub fn get(&self, id: StreamId) -> Option<&V> {
        let (own, value) = self.at(self.at_or_before(id)?);
        (own == id).then_some(value)
    }

    /// All pairs in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = (StreamId, &V)> {
        self.leaves.iter().flat_map(|leaf| leaf.iter().map(|(id, value)| (*id, value)))
    }

    /// The pairs from `id` on, in ascending order.
    pub fn iter_from(&self, id: StreamId) -> impl Iterator<Item = (StreamId, &V)> {
        let mut next = self.at_or_after(id);
        std::iter::from_fn(move || {
            let spot = next?;
            next = self.next(spot);
            Some(self.at(spot))
        })
    }

    /// Bytes allocated, without those of the values.
    pub fn bytes(&self) -> usize {
        let leaf = |leaf: &Shared<Vec<(StreamId, V)>>| {
            leaf.capacity() * size_of::<(StreamId, V)>() + LEAF_HEAD_BYTES
        };
        self.leaves.iter().map(leaf).sum::<usize>() + self.leaves.capacity() * size_of::<usize>()
    }
}

impl<V: Clone> Ordered<V> {
    /// The value at a place, to be changed.
    #[inline]
    pub fn at_mut(&mut self, spot: Spot) -> &mut V {
        &mut self.leaves[spot.leaf].change()[spot.index].1
    }

    /// The pairs of the last leaf, whose values may be changed; none of an empty map.
    pub(super) fn last_leaf_mut(&mut self) -> &mut [(StreamId, V)] {
        self.leaves.back_mut().map_or(&mut [], |leaf| leaf.change().as_mut_slice())
    }

    /// The value at an id, to be changed.
    pub fn get_mut(&mut self, id: StreamId) -> Option<&mut V> {
        let spot = self.at_or_before(id)?;
        (self.at(spot).0 == id).then(|| self.at_mut(spot))
    }

    /// Puts a value at an id; false, and no change, if there is one already. O(1) behind the last.
    pub fn insert(&mut self, id: StreamId, value: V) -> bool {
        match self.last() {
            Some(last) if self.at(last).0 >= id => self.insert_within(id, value),
            _ => {
                self.push(id, value);
                true
            }
        }
    }

    /// Puts a value behind all others.
    fn push(&mut self, id: StreamId, value: V) {
        self.len += 1;
        match self.leaves.back_mut() {
            Some(leaf) if leaf.len() < LEAF_LEN_MAX => leaf.change().push((id, value)),
            _ => self.leaves.push_back(Shared::new(vec![(id, value)])),
        }
    }

    /// `insert` anywhere but behind the last.
    fn insert_within(&mut self, id: StreamId, value: V) -> bool {
        let number = self.leaves.partition_point(|leaf| leaf[0].0 <= id).saturating_sub(1);
        let leaf = &self.leaves[number];
        let index = leaf.partition_point(|(own, _)| *own < id);
        if leaf.get(index).is_some_and(|(own, _)| *own == id) {
            return false;
        }
        let is_full = leaf.len() >= LEAF_LEN_MAX;
        let leaf = self.leaves[number].change();
        leaf.insert(index, (id, value));
        if is_full {
            let upper = leaf.split_off(leaf.len() / 2);
            self.leaves.insert(number + 1, Shared::new(upper));
        }
        self.len += 1;
        true
    }

    /// Takes the value at an id out.
    pub fn remove(&mut self, id: StreamId) -> Option<V> {
        let spot = self.at_or_before(id)?;
        (self.at(spot).0 == id).then(|| self.remove_at(spot))
    }

    /// Takes the value at a place out.
    pub fn remove_at(&mut self, spot: Spot) -> V {
        let leaf = self.leaves[spot.leaf].change();
        let (_, value) = leaf.remove(spot.index);
        self.len -= 1;
        match leaf.len() {
            0 => drop(self.leaves.remove(spot.leaf)),
            1..LEAF_LEN_MIN => self.join_behind(spot.leaf),
            _ => {}
        }
        value
    }

    /// Joins a small leaf with the one behind it, where both together leave room to grow.
    fn join_behind(&mut self, number: usize) {
        let Some(behind) = self.leaves.get(number + 1) else { return };
        if self.leaves[number].len() + behind.len() > LEAF_LEN_MAX / 2 {
            return;
        }
        if let Some(behind) = self.leaves.remove(number + 1) {
            self.leaves[number].change().extend(behind.iter().cloned());
        }
    }

    /// Takes the pairs before `end` out as a map of their own, by leaves: they can be freed in slices.
    #[must_use]
    pub fn split_front(&mut self, end: StreamId) -> Self {
        let mut front = Ordered::default();
        while self.leaves.front().is_some_and(|leaf| leaf.last().is_some_and(|(id, _)| *id < end)) {
            let Some(leaf) = self.leaves.pop_front() else { break };
            self.len -= leaf.len();
            front.len += leaf.len();
            front.leaves.push_back(leaf);
        }
        while let Some(first) = self.first()
            && self.at(first).0 < end
        {
            let id = self.at(first).0;
            let value = self.remove_at(first);
            front.push(id, value);
        }
        front
    }

    /// Takes the last pair out.
    pub fn pop_last(&mut self) -> Option<V> {
        let spot = self.last()?;
        let leaf = self.leaves[spot.leaf].change();
        let (_, value) = leaf.pop()?;
        self.len -= 1;
        if leaf.is_empty() {
            self.leaves.pop_back();
        }
        Some(value)
    }

    /// Drops a leaf of values that own no memory; false if there was none.
    pub fn pop_leaf(&mut self) -> bool {
        let Some(leaf) = self.leaves.pop_back() else { return false };
        self.len -= leaf.len();
        true
    }
}

/// Pairs of a leaf, a power of two as the capacities of a growing vector are: a copy of one for the
/// sake of a snapshot, or an insertion into it, stays below 4 KiB.
const LEAF_LEN_MAX: usize = 64;
/// Below this a leaf is joined with the next.
const LEAF_LEN_MIN: usize = LEAF_LEN_MAX / 4;
/// What a leaf takes beside its pairs: two counts and the vector.
const LEAF_HEAD_BYTES: usize = 16 + 24;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Append(u64),
        Insert(u64),
        Remove(u64),
        RemoveFirst,
        RemoveLast,
        Cut(u64),
        Share,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => (0u64..40).prop_map(Step::Append),
            2 => (0u64..4000).prop_map(Step::Insert),
            2 => (0u64..4000).prop_map(Step::Remove),
            2 => Just(Step::RemoveFirst),
            1 => Just(Step::RemoveLast),
            1 => (0u64..4000).prop_map(Step::Cut),
            1 => Just(Step::Share),
        ];
        prop::collection::vec(step, 0..200)
    }

    fn key(number: u64) -> StreamId {
        StreamId::new(number / 7, number % 7)
    }

    fn pairs(map: &Ordered<u64>) -> Vec<(StreamId, u64)> {
        map.iter().map(|(id, value)| (id, *value)).collect()
    }

    fn model_pairs(map: &BTreeMap<StreamId, u64>) -> Vec<(StreamId, u64)> {
        map.iter().map(|(id, value)| (*id, *value)).collect()
    }

    proptest! {
        #[test]
        fn agrees_with_a_tree_map(steps in steps(), probe in 0u64..4000) {
            let (mut map, mut model) = (Ordered::default(), BTreeMap::new());
            let mut shared = Vec::new();
            let mut top = 0;
            for (value, step) in steps.into_iter().enumerate() {
                let value = value as u64;
                match step {
                    Step::Append(count) => for _ in 0..count * 3 {
                        top += 3;
                        let is_new = !model.contains_key(&key(top));
                        prop_assert_eq!(map.insert(key(top), value), is_new);
                        model.entry(key(top)).or_insert(value);
                    },
                    Step::Insert(number) => {
                        let is_new = !model.contains_key(&key(number));
                        prop_assert_eq!(map.insert(key(number), value), is_new);
                        model.entry(key(number)).or_insert(value);
                    }
                    Step::Remove(number) => {
                        prop_assert_eq!(map.remove(key(number)), model.remove(&key(number)));
                    }
                    Step::RemoveFirst => {
                        let first = map.first().map(|spot| map.remove_at(spot));
                        prop_assert_eq!(first, model.pop_first().map(|(_, value)| value));
                    }
                    Step::RemoveLast => {
                        prop_assert_eq!(map.pop_last(), model.pop_last().map(|(_, value)| value));
                    }
                    Step::Cut(number) => {
                        let behind = model.split_off(&key(number));
                        prop_assert_eq!(pairs(&map.split_front(key(number))), model_pairs(&model));
                        model = behind;
                    }
                    Step::Share => shared.push((map.clone(), model.clone())),
                }
                prop_assert_eq!(map.len(), model.len());
            }
            shared.push((map, model));
            let probe = key(probe);
            for (mut map, mut model) in shared {
                prop_assert_eq!(pairs(&map), model_pairs(&model));
                prop_assert_eq!(map.get(probe), model.get(&probe));
                prop_assert_eq!(map.get_mut(probe), model.get_mut(&probe));
                let behind = map.at_or_after(probe).map(|spot| map.at(spot).0);
                prop_assert_eq!(behind, model.range(probe..).next().map(|(id, _)| *id));
                let before = map.at_or_before(probe).map(|spot| map.at(spot).0);
                prop_assert_eq!(before, model.range(..=probe).next_back().map(|(id, _)| *id));
                let from: Vec<_> = map.iter_from(probe).map(|(id, _)| id).collect();
                let expected: Vec<_> = model.range(probe..).map(|(id, _)| *id).collect();
                prop_assert_eq!(from, expected);
                let mut backward = Vec::new();
                let mut spot = map.last();
                while let Some(at) = spot {
                    backward.push(map.at(at).0);
                    spot = map.previous(at);
                }
                prop_assert!(backward.iter().eq(model.keys().rev()));
                while map.pop_leaf() {}
                prop_assert!(map.is_empty());
            }
        }
    }
}
