//! Sets of cores, and which core owns which hash slot.
//!
//! Invariant: partitions are contiguous ranges of slots, one a core, and cover every slot once.

use crate::base::slot::Slot;
use crate::store::key::Position;

/// Cores of a server, at most.
pub const CORES_MAX: usize = 128;

/// A set of cores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoreSet(u128);

impl CoreSet {
    /// The first `cores` cores.
    pub fn all(cores: usize) -> CoreSet {
        CoreSet(if cores >= CORES_MAX { u128::MAX } else { (1 << cores) - 1 })
    }

    /// One core.
    pub fn one(core: usize) -> CoreSet {
        CoreSet(1 << core)
    }

    /// A bit for each core.
    pub fn bits(self) -> u128 {
        self.0
    }

    /// The cores of these bits.
    pub fn of_bits(bits: u128) -> CoreSet {
        CoreSet(bits)
    }

    /// True if a core is in both.
    pub fn meets(self, other: CoreSet) -> bool {
        self.0 & other.0 != 0
    }

    /// Adds a core.
    #[inline]
    pub fn insert(&mut self, core: usize) {
        self.0 |= 1 << core;
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: CoreSet) {
        self.0 |= other.0;
    }

    /// True if `core` is in the set.
    pub fn contains(self, core: usize) -> bool {
        self.0 & 1 << core != 0
    }

    /// True if all of `other` are in the set.
    pub fn covers(self, other: CoreSet) -> bool {
        self.0 & other.0 == other.0
    }

    /// Cores in the set.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// True without any core.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The cores, ascending.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            (left != 0).then(|| {
                let core = left.trailing_zeros() as usize;
                left &= left - 1;
                core
            })
        })
    }
}

/// Which core owns which slot.
#[derive(Clone, Copy, Debug)]
pub struct SlotMap {
    cores: u32,
}

impl SlotMap {
    /// The map of a server with so many cores.
    pub fn new(cores: usize) -> SlotMap {
        assert!((1..=CORES_MAX).contains(&cores), "cores are counted before they are started");
        SlotMap { cores: cores as u32 }
    }

    /// Cores.
    pub fn cores(self) -> usize {
        self.cores as usize
    }

    /// The owner of a slot.
    #[inline]
    pub fn owner(self, slot: Slot) -> usize {
        (u32::from(slot.get()) * self.cores / Slot::COUNT) as usize
    }

    /// The owner of a key's position.
    #[inline]
    pub fn owner_of(self, position: Position) -> usize {
        (u32::from(position.slot()) * self.cores / Slot::COUNT) as usize
    }

    /// First and last slot of a core's partition.
    pub fn range(self, core: usize) -> (u16, u16) {
        let first = |core: u32| (core * Slot::COUNT).div_ceil(self.cores);
        (first(core as u32) as u16, (first(core as u32 + 1) - 1) as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_cover_all_slots_once() {
        for cores in [1, 2, 3, 4, 7, 64, 128] {
            let map = SlotMap::new(cores);
            let mut next = 0;
            for core in 0..cores {
                let (first, last) = map.range(core);
                assert_eq!(u32::from(first), next, "{cores} cores");
                for slot in [first, last] {
                    assert_eq!(
                        map.owner(Slot::from_number(slot.into()).expect("in range")),
                        core,
                        "{cores} cores"
                    );
                }
                next = u32::from(last) + 1;
            }
            assert_eq!(next, Slot::COUNT);
        }
    }
}
