//! A guide to a rising list of positions: where one belongs in it.
//! Invariant: a head is the last index whose start is not after the first position of its bucket, so
//! a search is between two heads; the last head is of no bucket but ends the one before it. A guide
//! without heads is of one start.
//! Source: the top bits of a hash as an index, as in extendible hashing (Fagin et al., 1979); starts
//! are as evenly spread as hashes, so most searches end where they
//! begin, without a look at the list.

/// Buckets for each start, at least, if all were of use: the more there are, the fewer looks.
const BUCKETS: usize = 4;

/// Heads of buckets of equal width, as numbers that are just wide enough.
#[derive(Clone, Default)]
pub(super) struct Guide<N> {
    /// Where the first bucket begins.
    first: u64,
    /// The width of a bucket is two to the power of this.
    shift: u32,
    heads: Box<[N]>,
}

impl<N: Copy + TryFrom<usize> + TryInto<usize>> Guide<N> {
    /// The guide to `len` starts, the first of which is `first`; all are before `end`.
    pub(super) fn new(first: u64, end: u64, len: usize, start: impl Fn(usize) -> u64) -> Self {
        if len < 2 {
            return Self { first, shift: 0, heads: Box::default() };
        }
        let last = end - 1 - first;
        let buckets = (len * BUCKETS).next_power_of_two();
        let shift = (u64::BITS - last.leading_zeros()).saturating_sub(buckets.ilog2());
        let mut head = 0;
        let head_of = |bucket: u64| {
            while head + 1 < len && start(head + 1) <= first + (bucket << shift) {
                head += 1;
            }
            N::try_from(head)
                .unwrap_or_else(|_| unreachable!("a list no longer than numbers reach"))
        };
        Self { first, shift, heads: (0..=(last >> shift) + 1).map(head_of).collect() }
    }

    /// The last index whose start is not after a position; `start` gives the start of an index.
    #[inline]
    pub(super) fn find(&self, position: u64, start: impl Fn(usize) -> u64) -> usize {
        let bucket = (position.wrapping_sub(self.first) >> self.shift) as usize;
        let heads = self.heads.get(bucket..).and_then(|heads| heads.first_chunk::<2>());
        let Some(heads) = heads else { return 0 };
        let [mut low, mut high] = heads.map(|head| head.try_into().unwrap_or_default());
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if start(middle) <= position {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        low
    }

    /// Bytes allocated.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.heads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_position_is_found(
            starts in prop::collection::btree_set(1u64..2000, 0..200),
            first in 0u64..1000,
            probes in prop::collection::vec(0u64..2001, 1..50),
        ) {
            let starts: Vec<u64> = [0].into_iter().chain(starts).map(|at| at + first).collect();
            let guide = Guide::<u8>::new(first, first + 2001, starts.len(), |at| starts[at]);
            for probe in probes {
                let position = first + probe;
                let right = starts.partition_point(|&start| start <= position) - 1;
                prop_assert_eq!(guide.find(position, |at| starts[at]), right);
            }
        }
    }

    #[test]
    fn even_starts_are_found_with_one_look_at_most() {
        let start = |at: usize| 100 + at as u64 * 1000;
        let guide = Guide::<u8>::new(100, 100 + 200_000, 200, start);
        let looks = Cell::new(0);
        for position in (100..200_100).step_by(17) {
            let before = looks.get();
            let found = guide.find(position, |at| {
                looks.set(looks.get() + 1);
                start(at)
            });
            assert_eq!(found, (position - 100) as usize / 1000);
            assert!(looks.get() - before <= 1);
        }
        assert!(looks.get() < 200_000 / 17 / 2);
    }
}
