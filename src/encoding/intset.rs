//! Intset: a sorted array of integers in one run of bytes, all as wide as the widest needs.
//! Invariant: values ascend without duplicates, and the width never shrinks. Knows nothing of keys.
//! Source: the bytes of a stock server's DUMP of such a set; all numbers are little-endian.
//!
//! ```text
//! | width u32: 2, 4 or 8 | count u32 | value ... |
//! ```

#[cfg(test)]
mod tests;

use super::run::Run;

/// A view of an intset.
#[derive(Clone, Copy, Debug)]
pub struct IntSet<'a> {
    width: Width,
    values: &'a [u8],
}

/// Bytes that are no intset: a header that does not fit them, or values out of order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidIntSet;

impl<'a> IntSet<'a> {
    /// The intset in `bytes`, which `validate` accepts or which this module made.
    #[inline]
    pub fn of(bytes: &'a [u8]) -> Self {
        let (header, values) = bytes.split_at(HEADER);
        let width = match header[0] {
            2 => Width::Two,
            4 => Width::Four,
            _ => Width::Eight,
        };
        Self { width, values }
    }

    /// Members.
    #[inline]
    pub fn len(self) -> usize {
        self.values.len() / self.width.bytes()
    }

    /// True without members.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.values.is_empty()
    }

    /// The member at `index` in ascending order; `index` is below `len`.
    #[inline]
    pub fn get(self, index: usize) -> i64 {
        match self.width {
            Width::Two => i64::from(i16::from_le_bytes(word(self.values, index))),
            Width::Four => i64::from(i32::from_le_bytes(word(self.values, index))),
            Width::Eight => i64::from_le_bytes(word(self.values, index)),
        }
    }

    /// The least member.
    pub fn min(self) -> Option<i64> {
        (!self.is_empty()).then(|| self.get(0))
    }

    /// The greatest member.
    pub fn max(self) -> Option<i64> {
        (!self.is_empty()).then(|| self.get(self.len() - 1))
    }

    /// The index of a member, or the one that it would have. O(log n).
    #[inline]
    pub fn find(self, value: i64) -> Result<usize, usize> {
        if Width::of(value) > self.width {
            return Err(if value < 0 { 0 } else { self.len() });
        }
        match self.width {
            Width::Two => {
                self.search(|at| i64::from(i16::from_le_bytes(word(self.values, at))), value)
            }
            Width::Four => {
                self.search(|at| i64::from(i32::from_le_bytes(word(self.values, at))), value)
            }
            Width::Eight => self.search(|at| i64::from_le_bytes(word(self.values, at)), value),
        }
    }

    /// Finds the last member that is not above `value`, without a branch that could be mispredicted.
    #[inline]
    fn search(self, get: impl Fn(usize) -> i64, value: i64) -> Result<usize, usize> {
        let mut left = self.len();
        if left == 0 {
            return Err(0);
        }
        let mut base = 0;
        while left > 1 {
            let half = left / 2;
            base = if get(base + half) <= value { base + half } else { base };
            left -= half;
        }
        match get(base).cmp(&value) {
            std::cmp::Ordering::Equal => Ok(base),
            std::cmp::Ordering::Less => Err(base + 1),
            std::cmp::Ordering::Greater => Err(base),
        }
    }

    /// True if `value` is a member. O(log n).
    #[inline]
    pub fn contains(self, value: i64) -> bool {
        self.find(value).is_ok()
    }

    /// The members in ascending order.
    pub fn iter(self) -> impl ExactSizeIterator<Item = i64> + use<'a> {
        (0..self.len()).map(move |index| self.get(index))
    }

    /// A member, each with the same probability; `random` are random bits. None without members.
    pub fn random(self, random: u64) -> Option<i64> {
        let index = (u128::from(random) * self.len() as u128) >> 64;
        (!self.is_empty()).then(|| self.get(index as usize))
    }

    /// Asks for one value after the other in ascending order.
    pub fn seek(self) -> Seek<'a> {
        Seek { set: self, at: 0 }
    }
}

/// Looks ascending values up in an intset: the merge of an intersection. O(log of the distance) each.
#[derive(Clone, Copy, Debug)]
pub struct Seek<'a> {
    set: IntSet<'a>,
    at: usize,
}

impl Seek<'_> {
    /// True if `value` is a member. `value` is not below any that was asked for before.
    #[inline]
    pub fn contains(&mut self, value: i64) -> bool {
        let (set, len) = (self.set, self.set.len());
        // Members before `low` are smaller; steps double until one is not.
        let (mut low, mut step) = (self.at, 1);
        while low + step <= len && set.get(low + step - 1) < value {
            low += step;
            step *= 2;
        }
        let mut high = (low + step - 1).min(len);
        while low < high {
            let middle = low + (high - low) / 2;
            if set.get(middle) < value {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        self.at = low;
        low < len && set.get(low) == value
    }
}

/// Adds a member; false if it was there. O(n) for the bytes that move.
pub fn add(run: &mut impl Run, value: i64) -> bool {
    let set = IntSet::of(run.bytes());
    let (width, count) = (set.width, set.len());
    if Width::of(value) > width {
        widen(run, value);
        return true;
    }
    let Err(index) = set.find(value) else { return false };
    let bytes = value.to_le_bytes();
    run.splice(HEADER + index * width.bytes(), 0, &[&bytes[..width.bytes()]]);
    put_count(run, count + 1);
    true
}

/// Adds a value that is wider than any member, and so the least or the greatest.
#[cold]
fn widen(run: &mut impl Run, value: i64) {
    let old = IntSet::of(run.bytes());
    let (width, count) = (Width::of(value), old.len());
    let mut bytes = Vec::with_capacity(HEADER + (count + 1) * width.bytes());
    bytes.extend_from_slice(&(width.bytes() as u32).to_le_bytes());
    bytes.extend_from_slice(&(count as u32 + 1).to_le_bytes());
    let mut push = |value: i64| bytes.extend_from_slice(&value.to_le_bytes()[..width.bytes()]);
    if value < 0 {
        push(value);
    }
    old.iter().for_each(&mut push);
    if value >= 0 {
        push(value);
    }
    let len = run.bytes().len();
    run.splice(0, len, &[&bytes]);
}

/// Removes a member; false if it was not there. O(n) for the bytes that move.
pub fn remove(run: &mut impl Run, value: i64) -> bool {
    let set = IntSet::of(run.bytes());
    let Ok(index) = set.find(value) else { return false };
    remove_at(run, index);
    true
}

/// Removes the member at `index`, which is below the length.
pub fn remove_at(run: &mut impl Run, index: usize) {
    let set = IntSet::of(run.bytes());
    let (width, count) = (set.width.bytes(), set.len());
    assert!(index < count, "only a member is removed");
    run.splice(HEADER + index * width, width, &[]);
    put_count(run, count - 1);
}

/// Checks bytes of unknown origin: the header fits them, there is a member, and if `deep` all members
/// ascend. Source: what RESTORE refuses.
pub fn validate(bytes: &[u8], deep: bool) -> Result<(), InvalidIntSet> {
    let (header, values) = bytes.split_at_checked(HEADER).ok_or(InvalidIntSet)?;
    let width = match u32::from_le_bytes(word(header, 0)) {
        width @ (2 | 4 | 8) => u64::from(width),
        _ => return Err(InvalidIntSet),
    };
    let count = u64::from(u32::from_le_bytes(word(header, 1)));
    if count == 0 || count * width != values.len() as u64 {
        return Err(InvalidIntSet);
    }
    let set = IntSet::of(bytes);
    let ascends = || (1..set.len()).all(|index| set.get(index - 1) < set.get(index));
    if deep && !ascends() { Err(InvalidIntSet) } else { Ok(()) }
}

fn put_count(run: &mut impl Run, count: usize) {
    let count = u32::try_from(count).expect("`MEMBERS_MAX` is far below");
    run.bytes_mut()[4..HEADER].copy_from_slice(&count.to_le_bytes());
}

/// Number `index` of an array of `N`-byte numbers.
#[inline]
fn word<const N: usize>(bytes: &[u8], index: usize) -> [u8; N] {
    let (words, _) = bytes.as_chunks();
    words[index]
}

/// Bytes of a value, the least that hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Width {
    Two,
    Four,
    Eight,
}

impl Width {
    #[inline]
    fn of(value: i64) -> Self {
        if i16::try_from(value).is_ok() {
            Self::Two
        } else if i32::try_from(value).is_ok() {
            Self::Four
        } else {
            Self::Eight
        }
    }

    #[inline]
    fn bytes(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Four => 4,
            Self::Eight => 8,
        }
    }
}

/// The most members that an intset is let grow to, whatever the directive says. Source: stock servers.
pub const MEMBERS_MAX: usize = 1 << 30;
const HEADER: usize = 8;
