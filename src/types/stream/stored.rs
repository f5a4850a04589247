//! Where the bytes of a block lie: alone while entries are added, beside its neighbours when it is full.
//! Invariant: a full block does not change where it lies; whatever changes it copies it out first.
//!
//! ```text
//! open:  counts | vector -> | block | room |
//! full:  | counts | block | block | block |
//! ```
//! An allocator rounds sizes up by 11 % in the mean, and blocks of one stream are of much the same
//! size: each of them alone would lose the same. Of a few in a row those share an allocation that
//! fill its class best.

use std::ops::Deref;

use crate::base::alloc::class_size;
use crate::encoding::shared::Shared;

/// The bytes of a block. A clone shares them.
#[derive(Clone, Debug)]
pub(super) struct Stored(Form);

#[derive(Clone, Debug)]
enum Form {
    Open(Shared<Vec<u8>>),
    Full { bytes: Shared<[u8]>, start: u32, len: u32 },
}

const _: () = assert!(size_of::<Stored>() == 24, "a block costs no more beside its bytes");

impl Stored {
    /// A block that entries may be added to.
    pub(super) fn open(bytes: Vec<u8>) -> Self {
        Stored(Form::Open(Shared::new(bytes)))
    }

    /// The bytes, to be changed.
    #[inline]
    pub(super) fn change(&mut self) -> &mut Vec<u8> {
        if let Form::Full { .. } = self.0 {
            *self = Stored::open(self.to_vec());
        }
        match &mut self.0 {
            Form::Open(bytes) => bytes.change(),
            Form::Full { .. } => unreachable!("it was copied out"),
        }
    }

    /// Bytes allocated, where no clone shares them.
    pub(super) fn bytes(&self) -> usize {
        match &self.0 {
            Form::Open(bytes) => class_size(bytes.capacity()) + COUNTS + size_of::<Vec<u8>>(),
            Form::Full { len, .. } => *len as usize + COUNTS,
        }
    }

    /// True if no other block and no clone shares its allocation.
    fn is_alone(&self) -> bool {
        match &self.0 {
            Form::Open(bytes) => !bytes.is_shared(),
            Form::Full { bytes, .. } => !bytes.is_shared(),
        }
    }
}

impl Deref for Stored {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Form::Open(bytes) => bytes,
            Form::Full { bytes, start, len } => {
                &bytes[*start as usize..*start as usize + *len as usize]
            }
        }
    }
}

/// The last of these blocks is full: gives back what it holds ahead, and puts the blocks at the end
/// that are alone together, as soon as they are enough to choose from. O(1).
pub(super) fn seal<K>(blocks: &mut [(K, Stored)]) {
    if let Some(last) = blocks.last_mut().filter(|(_, last)| last.is_alone()) {
        put_together(std::slice::from_mut(last));
    }
    let alone = blocks.iter().rev().take(CHOICE).take_while(|(_, block)| block.is_alone()).count();
    if alone < CHOICE {
        return;
    }
    let choice = blocks.len() - CHOICE;
    let choice = &mut blocks[choice..];
    let mut len = 0;
    let mut best = (0, usize::MAX);
    for (index, (_, block)) in choice.iter().enumerate() {
        len += block.len();
        let cost = class_size(COUNTS + len) * COST_UNIT / len;
        if len <= TOGETHER_BYTES_MAX && cost < best.1 {
            best = (index + 1, cost);
        }
    }
    if best.0 > 1 {
        put_together(&mut choice[..best.0]);
    }
}

/// Moves blocks to one allocation of just their size.
fn put_together<K>(blocks: &mut [(K, Stored)]) {
    let len = blocks.iter().map(|(_, block)| block.len()).sum();
    let mut together = Shared::zeroed(len);
    let mut left = together.change();
    for (_, block) in &*blocks {
        let (place, behind) = left.split_at_mut(block.len());
        place.copy_from_slice(block);
        left = behind;
    }
    let mut start = 0;
    for (_, block) in blocks {
        let len = block.len() as u32;
        *block = Stored(Form::Full { bytes: together.clone(), start, len });
        start += len;
    }
}

/// Blocks that one chooses from.
const CHOICE: usize = 4;
/// Above this the classes of the allocator matter less than what a removed block keeps alive.
const TOGETHER_BYTES_MAX: usize = 16 * 1024;
/// Costs are compared as so many parts of a byte for each byte.
const COST_UNIT: usize = 1024;
/// The two counters in front of a shared allocation.
const COUNTS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(lens: impl IntoIterator<Item = usize>) -> Vec<(usize, Stored)> {
        let mut blocks = Vec::new();
        for (number, len) in lens.into_iter().enumerate() {
            let mut bytes = Vec::with_capacity(len * 2);
            bytes.resize(len, number as u8);
            blocks.push((number, Stored::open(bytes)));
            seal(&mut blocks);
        }
        blocks
    }

    fn check(blocks: &[(usize, Stored)], lens: &[usize]) {
        assert_eq!(blocks.len(), lens.len());
        for ((number, block), len) in blocks.iter().zip(lens) {
            assert_eq!(**block, vec![*number as u8; *len]);
        }
    }

    /// Bytes of all allocations at their classes.
    fn allocated(blocks: &[(usize, Stored)]) -> usize {
        let first = |block: &Stored| match &block.0 {
            Form::Open(_) => unreachable!("all are full"),
            Form::Full { bytes, start: 0, .. } => class_size(bytes.len() + COUNTS),
            Form::Full { .. } => 0,
        };
        blocks.iter().map(|(_, block)| first(block)).sum()
    }

    #[test]
    fn blocks_of_one_size_waste_little() {
        for len in (100..4000).step_by(50) {
            let blocks = sealed(vec![len; 63]);
            check(&blocks, &[len; 63]);
            let alone = class_size(len + COUNTS) * 63;
            assert!(allocated(&blocks) <= alone, "{len}");
            assert!(allocated(&blocks) <= (len + COUNTS) * 63 * 115 / 100, "{len}");
        }
        assert!(allocated(&sealed(vec![2720; 63])) < 2720 * 63 * 102 / 100);
    }

    #[test]
    fn a_change_leaves_the_neighbours_and_clones_alone() {
        let lens: Vec<usize> = (0..40).map(|number| 500 + number * 37 % 900).collect();
        let mut blocks = sealed(lens.iter().copied());
        let clone = blocks.clone();
        for (_, block) in blocks.iter_mut().step_by(3) {
            block.change().push(7);
        }
        check(&clone, &lens);
        for (index, ((number, block), len)) in blocks.iter().zip(&lens).enumerate() {
            let mut expected = vec![*number as u8; *len];
            expected.extend((index % 3 == 0).then_some(7));
            assert_eq!(**block, expected);
        }
    }

    #[test]
    fn large_blocks_stay_alone() {
        let blocks = sealed([9000, 9000, 9000, 9000, 9000]);
        assert!(blocks.iter().all(|(_, block)| block.is_alone()));
    }
}
