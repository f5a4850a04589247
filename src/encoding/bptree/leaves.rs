//! Where the leaves of a tree are: by number, so that a member can be found in its leaf without a
//! descent.
//!
//! Invariant: a number names one leaf from `add` to `free`. Numbers are reused. Blocks of leaves are
//! shared by all clones until one of them changes.

use super::leaf::Leaf;
use crate::base::sys::prefetch;
use crate::encoding::shared::Shared;

/// The number of a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeafId(pub u32);

/// All leaves of a tree.
#[derive(Clone, Debug)]
pub(super) struct Leaves {
    blocks: Vec<Shared<Vec<Slot>>>,
    /// The first number that is free, or `NONE`.
    free: u32,
    /// Leaves that are in use.
    used: usize,
}

#[derive(Clone, Debug)]
enum Slot {
    Leaf(Leaf),
    /// The next number that is free.
    Free(u32),
}

const _: () = assert!(size_of::<Slot>() == 16, "a slot is the leaf's pointer");

impl Leaves {
    pub(super) fn new() -> Self {
        Leaves { blocks: Vec::new(), free: NONE, used: 0 }
    }

    /// Leaves that are in use.
    pub(super) fn len(&self) -> usize {
        self.used
    }

    #[inline(always)]
    pub(super) fn get(&self, id: LeafId) -> &Leaf {
        let at = id.0 as usize;
        match &self.blocks[at / BLOCK][at % BLOCK] {
            Slot::Leaf(leaf) => leaf,
            Slot::Free(_) => unreachable!("a number names a leaf until it is freed"),
        }
    }

    /// Fetches where a leaf is.
    #[inline]
    pub(super) fn prefetch(&self, id: LeafId) {
        let at = id.0 as usize;
        prefetch(std::ptr::from_ref(&self.blocks[at / BLOCK][at % BLOCK]).cast());
    }

    #[inline(always)]
    pub(super) fn get_mut(&mut self, id: LeafId) -> &mut Leaf {
        match self.slot_mut(id.0) {
            Slot::Leaf(leaf) => leaf,
            Slot::Free(_) => unreachable!("a number names a leaf until it is freed"),
        }
    }

    /// Takes a leaf in.
    pub(super) fn add(&mut self, leaf: Leaf) -> LeafId {
        self.used += 1;
        if self.free != NONE {
            let id = self.free;
            let Slot::Free(next) = std::mem::replace(self.slot_mut(id), Slot::Leaf(leaf)) else {
                unreachable!("a free number names no leaf");
            };
            self.free = next;
            return LeafId(id);
        }
        let id = match self.blocks.last_mut() {
            Some(last) if last.len() < BLOCK => {
                let last = last.change();
                if last.len() == last.capacity() {
                    last.reserve_exact((last.len() / 4).max(2));
                }
                last.push(Slot::Leaf(leaf));
                (self.blocks.len() - 1) * BLOCK + self.blocks[self.blocks.len() - 1].len() - 1
            }
            _ => {
                self.blocks.push(Shared::new(vec![Slot::Leaf(leaf)]));
                (self.blocks.len() - 1) * BLOCK
            }
        };
        let id = u32::try_from(id).ok().filter(|id| *id != NONE);
        LeafId(id.expect("so many leaves are more than a machine's memory"))
    }

    /// Takes a leaf out.
    pub(super) fn free(&mut self, id: LeafId) -> Leaf {
        let next = self.free;
        let Slot::Leaf(leaf) = std::mem::replace(self.slot_mut(id.0), Slot::Free(next)) else {
            unreachable!("a number names a leaf until it is freed");
        };
        self.free = id.0;
        self.used -= 1;
        leaf
    }

    /// Bytes of all leaves and blocks, from a sample of the leaves.
    pub(super) fn bytes(&self) -> usize {
        let blocks = self.blocks.iter().map(|block| block.capacity() * size_of::<Slot>() + 40);
        let step = self.blocks.len().div_ceil(SAMPLED_BLOCKS).max(1);
        let (mut sampled, mut bytes) = (0, 0);
        for slot in self.blocks.iter().step_by(step).flat_map(|block| block.iter()) {
            if let Slot::Leaf(leaf) = slot {
                sampled += 1;
                bytes += leaf.bytes();
            }
        }
        let leaves = (bytes as u128 * self.used as u128 / sampled.max(1) as u128) as usize;
        leaves + blocks.sum::<usize>() + self.blocks.capacity() * size_of::<usize>()
    }

    /// Frees up to `units` leaves, whoever names them; returns the units left.
    pub(super) fn free_slice(&mut self, mut units: usize) -> usize {
        while units > 0
            && let Some(block) = self.blocks.last_mut()
        {
            // A block that is shared is the other's to free.
            let Some(slots) = block.unshared_mut().filter(|slots| !slots.is_empty()) else {
                self.blocks.pop();
                units -= 1;
                continue;
            };
            let keep = slots.len().saturating_sub(units);
            units -= slots.len() - keep;
            slots.truncate(keep);
        }
        units
    }

    #[inline(always)]
    fn slot_mut(&mut self, id: u32) -> &mut Slot {
        let at = id as usize;
        &mut self.blocks[at / BLOCK].change()[at % BLOCK]
    }
}

/// Leaves that are copied by reference when the first of them changes after a clone.
const BLOCK: usize = 64;
const NONE: u32 = u32::MAX;
/// Enough for an estimate, few enough for a command.
const SAMPLED_BLOCKS: usize = 8;
