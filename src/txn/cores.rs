//! Which core owns which hash slot.
//!
//! Invariant: partitions are contiguous ranges of slots, one a core, and cover every slot once.

pub use crate::base::core_set::{CORES_MAX, CoreSet};
use crate::base::slot::Slot;
use crate::store::key::Position;

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
