//! Natural numbers of any size, as far as reading and writing extended numbers needs them.
//! Invariant: `words` are little-endian and end with a word that is not 0; 0 has none.

use std::cmp::Ordering;

/// A natural number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Big {
    words: Vec<u32>,
}

impl From<u64> for Big {
    fn from(value: u64) -> Self {
        let mut big = Self { words: vec![value as u32, (value >> 32) as u32] };
        big.trim();
        big
    }
}

impl Big {
    /// How many bits it takes; 0 for 0.
    pub(super) fn bits(&self) -> u32 {
        match self.words.last() {
            None => 0,
            Some(word) => self.words.len() as u32 * 32 - word.leading_zeros(),
        }
    }

    /// Multiplies by `factor` and adds `addend`.
    pub(super) fn multiply_add(&mut self, factor: u32, addend: u32) {
        let mut carry = u64::from(addend);
        for word in &mut self.words {
            carry += u64::from(*word) * u64::from(factor);
            *word = carry as u32;
            carry >>= 32;
        }
        if carry != 0 {
            self.words.push(carry as u32);
        }
    }

    /// Multiplies by `10^power`.
    pub(super) fn multiply_power_of_ten(&mut self, power: u32) {
        for _ in 0..power / 9 {
            self.multiply_add(1_000_000_000, 0);
        }
        self.multiply_add(10u32.pow(power % 9), 0);
    }

    /// This times `2^bits`.
    pub(super) fn shifted_left(&self, bits: u32) -> Self {
        let mut words = vec![0; (bits / 32) as usize];
        let mut carry = 0u64;
        for &word in &self.words {
            carry |= u64::from(word) << (bits % 32);
            words.push(carry as u32);
            carry >>= 32;
        }
        words.push(carry as u32);
        let mut shifted = Self { words };
        shifted.trim();
        shifted
    }

    /// The highest 128 bits at most, the power of two they count, and whether bits below are set.
    pub(super) fn top_bits(&self) -> (u128, u32, bool) {
        let skipped = self.words.len().saturating_sub(4);
        let top = self.words[skipped..].iter().rev();
        let top = top.fold(0u128, |top, &word| top << 32 | u128::from(word));
        let inexact = self.words[..skipped].iter().any(|&word| word != 0);
        (top, skipped as u32 * 32, inexact)
    }

    /// This divided by `divisor`: a quotient of `QUOTIENT_BITS` bits, the power of two it counts,
    /// and whether there is a rest. Bit by bit, since the quotient is so short. Neither may be 0.
    pub(super) fn divide(self, divisor: Self) -> (u128, i32, bool) {
        let (ours, theirs) = (self.bits() as i32, divisor.bits() as i32);
        // Bring both to one length, plus the bits that the quotient shall have.
        let exponent = ours - theirs - QUOTIENT_BITS;
        let (mut rest, mut divisor) = if ours >= theirs {
            (self, divisor.shifted_left((ours - theirs) as u32))
        } else {
            (self.shifted_left((theirs - ours) as u32), divisor)
        };
        // Equal lengths: each digit is 0 or 1, the first may be 0.
        let mut quotient = 0u128;
        // Doubling the rest in place of halving the divisor; one spare word takes the doubling.
        let words = divisor.words.len() + 1;
        rest.words.resize(words, 0);
        divisor.words.resize(words, 0);
        for step in 0..=QUOTIENT_BITS {
            if step > 0 {
                rest.double_in_place();
            }
            quotient <<= 1;
            if rest.compare_same_len(&divisor) != Ordering::Less {
                rest.subtract_same_len(&divisor);
                quotient |= 1;
            }
        }
        (quotient, exponent, rest.words.iter().any(|&word| word != 0))
    }

    /// Appends it in decimal.
    pub(super) fn write_decimal(mut self, out: &mut Vec<u8>) {
        let mut groups = Vec::new();
        while !self.words.is_empty() {
            groups.push(self.divide_by_billion());
        }
        let first = groups.pop().unwrap_or(0);
        out.extend_from_slice(itoa::Buffer::new().format(first).as_bytes());
        for group in groups.into_iter().rev() {
            let mut digits = [b'0'; 9];
            let mut buffer = itoa::Buffer::new();
            let text = buffer.format(group).as_bytes();
            digits[9 - text.len()..].copy_from_slice(text);
            out.extend_from_slice(&digits);
        }
    }

    /// Divides by 10^9 and returns the remainder.
    fn divide_by_billion(&mut self) -> u32 {
        let mut rest = 0;
        for word in self.words.iter_mut().rev() {
            let dividend = rest << 32 | u64::from(*word);
            *word = (dividend / 1_000_000_000) as u32;
            rest = dividend % 1_000_000_000;
        }
        self.trim();
        rest as u32
    }

    fn double_in_place(&mut self) {
        let mut carry = 0;
        for word in &mut self.words {
            let doubled = *word << 1 | carry;
            carry = *word >> 31;
            *word = doubled;
        }
        assert!(carry == 0, "the spare word takes the doubling");
    }

    fn compare_same_len(&self, other: &Self) -> Ordering {
        self.words.iter().rev().cmp(other.words.iter().rev())
    }

    fn subtract_same_len(&mut self, other: &Self) {
        let mut borrow = false;
        for (word, &subtrahend) in self.words.iter_mut().zip(&other.words) {
            let (difference, first) = word.overflowing_sub(subtrahend);
            let (difference, second) = difference.overflowing_sub(u32::from(borrow));
            *word = difference;
            borrow = first || second;
        }
        assert!(!borrow, "only what is not larger is subtracted");
    }

    fn trim(&mut self) {
        let len = self.words.iter().rposition(|&word| word != 0).map_or(0, |last| last + 1);
        self.words.truncate(len);
    }
}

/// Enough for a mantissa of 64 bits, a bit to round by, and one to spare when the first is 0.
const QUOTIENT_BITS: i32 = 67;
