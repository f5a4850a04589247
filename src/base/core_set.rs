//! Sets of cores.
//!
//! Invariant: a server has at most `CORES_MAX` of them, so that a set is one word.

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
