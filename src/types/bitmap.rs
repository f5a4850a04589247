//! Bitmaps: strings seen as arrays of bits; bit 0 is the highest bit of the first byte.
//! Invariant: a long string is read and made chunk by chunk, and chunks of zeros that nobody wrote to
//! are neither read nor copied. Bits behind the end are 0.
//! Source: Redis' commands of the group `bitmap`.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::BigString;
use super::string::{CHUNK_BYTES, is_untouched, zeros};

/// A string to be read as bits.
#[derive(Clone, Copy, Debug)]
pub enum Bitmap<'a> {
    /// In one piece.
    Bytes(&'a [u8]),
    /// In chunks.
    Big(&'a BigString),
}

impl<'a> Bitmap<'a> {
    /// Length in bytes.
    pub fn len(self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Big(big) => big.len(),
        }
    }

    /// True without any bit.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The byte at `offset`; 0 behind the end.
    #[inline]
    pub fn byte(self, offset: u64) -> u8 {
        match self {
            Self::Bytes(bytes) => {
                usize::try_from(offset).ok().and_then(|at| bytes.get(at).copied()).unwrap_or(0)
            }
            Self::Big(big) => big.byte(offset).unwrap_or(0),
        }
    }

    /// The bit at `offset`.
    #[inline]
    pub fn bit(self, offset: u64) -> bool {
        self.byte(offset / 8) & mask(offset) != 0
    }

    /// How many of `bits` are set. O(bytes between), less for untouched chunks.
    pub fn count(self, bits: Range<u64>) -> u64 {
        if bits.is_empty() {
            return 0;
        }
        let bytes = bits.start / 8..bits.end.div_ceil(8);
        let all: u64 = self
            .pieces(bytes)
            .filter(|(_, piece)| !is_untouched(piece))
            .map(|(_, piece)| popcount(piece))
            .sum();
        // What the first and the last byte hold outside of the range does not count.
        let before = self.byte(bits.start / 8) & !(0xff >> (bits.start % 8));
        let behind = match bits.end % 8 {
            0 => 0,
            kept => self.byte(bits.end / 8) & (0xff >> kept),
        };
        all - u64::from(before.count_ones() + behind.count_ones())
    }

    /// The first bit among `bits` that is `wanted`. None if there is none before the end.
    pub fn find(self, wanted: bool, bits: Range<u64>) -> Option<u64> {
        let end = bits.end.min(self.len() * 8);
        if bits.start >= end {
            return None;
        }
        // The first byte may have wanted bits in front of the range.
        let head_end = (bits.start / 8 + 1) * 8;
        if !bits.start.is_multiple_of(8) {
            let found = (bits.start..head_end.min(end)).find(|at| self.bit(*at) == wanted);
            if found.is_some() || head_end >= end {
                return found;
            }
        }
        let first = bits.start.div_ceil(8);
        let skipped = if wanted { 0 } else { 0xff };
        let found = self
            .pieces(first..end.div_ceil(8))
            .filter(|(_, piece)| !(wanted && is_untouched(piece)))
            .find_map(|(at, piece)| {
                let index = first_other(piece, skipped)?;
                let leading = (piece[index] ^ skipped).leading_zeros();
                Some((at + index as u64) * 8 + u64::from(leading))
            })?;
        (found < end).then_some(found)
    }

    /// The `bits` bits (1 to 64) from `offset` on, as an unsigned number.
    pub fn field(self, offset: u64, bits: u32) -> u64 {
        Window::read(self, offset).get(bits)
    }

    /// The pieces that `bytes` lies in, cut to it, each with the offset of its first byte.
    fn pieces(self, bytes: Range<u64>) -> impl Iterator<Item = (u64, &'a [u8])> {
        let end = bytes.end.min(self.len());
        let start = bytes.start.min(end);
        let step = CHUNK_BYTES as u64;
        let past = if start < end { end.div_ceil(step) } else { 0 };
        (start / step..past).map(move |index| {
            let base = index * step;
            let piece = self.piece(index as usize);
            let from = start.saturating_sub(base) as usize;
            let to = (end - base).min(piece.len() as u64) as usize;
            (base + from as u64, &piece[from..to])
        })
    }

    /// The bytes of chunk `index`; empty behind the end.
    fn piece(self, index: usize) -> &'a [u8] {
        match self {
            Self::Bytes(bytes) => bytes.chunks(CHUNK_BYTES).nth(index).unwrap_or_default(),
            Self::Big(big) => big.chunks().get(index).map(|chunk| &chunk[..]).unwrap_or_default(),
        }
    }

    /// Chunk `index` as a chunk of its own, shared where it is one already.
    fn chunk(self, index: usize) -> Bytes {
        match self {
            Self::Bytes(_) => Bytes::copy_from_slice(self.piece(index)),
            Self::Big(big) => big.chunks().get(index).cloned().unwrap_or_default(),
        }
    }
}

/// The bit of its byte that `offset` names.
#[inline]
pub fn mask(offset: u64) -> u8 {
    0x80 >> (offset % 8)
}

/// The bytes around a field of up to 64 bits that may begin at any bit.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// The first nine bytes are those of the string.
    bytes: [u8; 16],
    /// Where in the first byte the field begins.
    shift: u32,
}

impl Window {
    /// The nine bytes from the one that holds the bit at `offset`.
    pub fn read(bitmap: Bitmap<'_>, offset: u64) -> Self {
        let mut bytes = [0; 16];
        let first = offset / 8;
        for (at, piece) in bitmap.pieces(first..first.saturating_add(WINDOW_BYTES)) {
            bytes[(at - first) as usize..][..piece.len()].copy_from_slice(piece);
        }
        Self { bytes, shift: (offset % 8) as u32 }
    }

    /// The field of `bits` bits, 1 to 64.
    pub fn get(self, bits: u32) -> u64 {
        ((u128::from_be_bytes(self.bytes) << self.shift) >> (u128::BITS - bits)) as u64
    }

    /// Writes the low `bits` bits of `value` into the field; returns the bytes that hold it.
    pub fn set(&mut self, bits: u32, value: u64) -> &[u8] {
        let place = u128::BITS - bits - self.shift;
        let field = (u128::MAX >> (u128::BITS - bits)) << place;
        let value = u128::from(value) << place & field;
        self.bytes = (u128::from_be_bytes(self.bytes) & !field | value).to_be_bytes();
        &self.bytes[..(self.shift + bits).div_ceil(8) as usize]
    }
}

/// The type of a bit field: `i1` to `i64`, `u1` to `u63`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldType {
    /// Two's complement.
    pub signed: bool,
    /// Width, 1 to 64.
    pub bits: u32,
}

/// What becomes of a value that its field cannot hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// Its low bits.
    Wrap,
    /// The nearest that the field can hold.
    Saturate,
    /// Nothing is written.
    Fail,
}

impl FieldType {
    /// The value that the bits of a field mean.
    pub fn decode(self, raw: u64) -> i64 {
        let unused = u64::BITS - self.bits;
        if self.signed { (raw << unused) as i64 >> unused } else { raw as i64 }
    }

    /// A value as this field holds it. None if it does not and `overflow` says to fail.
    pub fn fit(self, value: i128, overflow: Overflow) -> Option<i64> {
        let range = 1i128 << self.bits;
        let min = if self.signed { -range / 2 } else { 0 };
        let max = min + range - 1;
        if (min..=max).contains(&value) {
            return Some(value as i64);
        }
        match overflow {
            Overflow::Wrap => Some(self.decode(value as u64 & (u64::MAX >> (64 - self.bits)))),
            Overflow::Saturate => Some(value.clamp(min, max) as i64),
            Overflow::Fail => None,
        }
    }
}

/// What BITOP does with two bitmaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Bits set in both.
    And,
    /// Bits set in either.
    Or,
    /// Bits set in one of them only.
    Xor,
}

/// A bitmap in the making: what BITOP has of the sources so far.
#[derive(Debug)]
pub enum Combined {
    /// In one piece; up to `STRING_INLINE_MAX` as all sources were, or a source behind it is long.
    Bytes(Vec<u8>),
    /// In chunks.
    Big(BigString),
}

impl Combined {
    /// The first source as it is; its chunks are shared.
    pub fn from(bitmap: Bitmap<'_>) -> Self {
        match bitmap {
            Bitmap::Bytes(bytes) => Self::Bytes(bytes.to_vec()),
            Bitmap::Big(big) => Self::Big(big.clone()),
        }
    }

    /// A view of what is there.
    pub fn view(&self) -> Bitmap<'_> {
        match self {
            Self::Bytes(bytes) => Bitmap::Bytes(bytes),
            Self::Big(big) => Bitmap::Big(big),
        }
    }

    /// Every bit turned over.
    pub fn invert(&mut self) {
        match self {
            Self::Bytes(bytes) => invert(bytes),
            Self::Big(big) => {
                let chunks = std::mem::take(big).into_chunks();
                for chunk in chunks {
                    big.append_chunk(change(chunk, |bytes| invert(bytes)));
                }
            }
        }
    }

    /// Takes another source in; the shorter one counts as padded with zeros.
    pub fn combine(&mut self, operation: Operation, other: Bitmap<'_>) {
        if let (Self::Bytes(bytes), Bitmap::Bytes(other)) = (&mut *self, other) {
            if bytes.len() < other.len() {
                bytes.resize(other.len(), 0);
            }
            return combine(operation, bytes, other);
        }
        let len = self.view().len().max(other.len());
        let mut chunks = match std::mem::replace(self, Self::Big(BigString::new())) {
            Self::Bytes(bytes) => BigString::from(&bytes[..]).into_chunks(),
            Self::Big(big) => big.into_chunks(),
        }
        .into_iter();
        let Self::Big(big) = self else { return };
        for index in 0.. {
            let done = index as u64 * CHUNK_BYTES as u64;
            if done >= len {
                break;
            }
            let chunk_len = (len - done).min(CHUNK_BYTES as u64) as usize;
            let chunk = chunks.next().unwrap_or_default();
            big.append_chunk(combine_chunk(operation, chunk, other, index, chunk_len));
        }
    }
}

/// One chunk, `len` long, of a combination. What one side alone decides is shared with it.
fn combine_chunk(
    operation: Operation,
    chunk: Bytes,
    other: Bitmap<'_>,
    index: usize,
    len: usize,
) -> Bytes {
    let piece = other.piece(index);
    let nothing = chunk.is_empty() || is_untouched(&chunk);
    let nothing_there = piece.is_empty() || is_untouched(piece);
    match operation {
        Operation::And if nothing || nothing_there => zeros(len),
        Operation::Or | Operation::Xor if nothing_there && chunk.len() == len => chunk,
        Operation::Or | Operation::Xor if nothing && piece.len() == len => other.chunk(index),
        _ => change(chunk, |bytes| {
            bytes.resize(len, 0);
            combine(operation, bytes, piece);
        }),
    }
}

/// `bytes` combined with `other`, which is not longer and counts as padded with zeros.
fn combine(operation: Operation, bytes: &mut [u8], other: &[u8]) {
    let (both, alone) = bytes.split_at_mut(other.len());
    // Plain loops over bytes: the compiler makes vector instructions of them.
    let pairs = both.iter_mut().zip(other);
    match operation {
        Operation::And => {
            pairs.for_each(|(byte, other)| *byte &= other);
            alone.fill(0);
        }
        Operation::Or => pairs.for_each(|(byte, other)| *byte |= other),
        Operation::Xor => pairs.for_each(|(byte, other)| *byte ^= other),
    }
}

fn invert(bytes: &mut [u8]) {
    bytes.iter_mut().for_each(|byte| *byte = !*byte);
}

/// A chunk changed in place if nobody shares it, else a changed copy.
fn change(chunk: Bytes, change: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut own = chunk.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    change(&mut own);
    own.freeze()
}

/// The number of set bits, a word at a time.
fn popcount(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let in_words: u64 =
        words.iter().map(|word| u64::from(u64::from_le_bytes(*word).count_ones())).sum();
    in_words + rest.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>()
}

/// The index of the first byte that is not `skipped`, four words at a time.
fn first_other(bytes: &[u8], skipped: u8) -> Option<usize> {
    let (blocks, _) = bytes.as_chunks::<32>();
    let whole = blocks.iter().take_while(|block| **block == [skipped; 32]).count() * 32;
    bytes[whole..].iter().position(|byte| *byte != skipped).map(|at| whole + at)
}

/// A field of 64 bits that begins inside a byte reaches into nine bytes.
const WINDOW_BYTES: u64 = 9;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same bits as a big string; a long run of zeros is untouched chunks.
    fn big(bytes: &[u8], gap: usize) -> (BigString, Vec<u8>) {
        let mut string = BigString::new();
        string.append(bytes);
        string.pad_to((bytes.len() + gap) as u64);
        string.append(bytes);
        let plain = string.to_vec();
        (string, plain)
    }

    fn bit_of(bytes: &[u8], at: u64) -> bool {
        bytes.get(at as usize / 8).is_some_and(|byte| byte & mask(at) != 0)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn counts_and_finds_as_bit_by_bit(
            bytes in prop::collection::vec(prop_oneof![Just(0u8), Just(0xffu8), any::<u8>()], 0..80),
            start in 0u64..700, len in 0u64..700, wanted: bool,
        ) {
            let map = Bitmap::Bytes(&bytes);
            let end = (start + len).min(bytes.len() as u64 * 8);
            let range = start.min(end)..end;
            let ones = range.clone().filter(|at| bit_of(&bytes, *at)).count() as u64;
            prop_assert_eq!(map.count(range.clone()), ones);
            let first = range.clone().find(|at| bit_of(&bytes, *at) == wanted);
            prop_assert_eq!(map.find(wanted, range), first);
        }

        #[test]
        fn long_strings_read_as_short_ones(
            bytes in prop::collection::vec(any::<u8>(), 1..200),
            gap in 0usize..300_000, start in 0u64..2_400_000, bits in 1u32..=64, wanted: bool,
        ) {
            let (string, plain) = big(&bytes, gap);
            let (map, flat) = (Bitmap::Big(&string), Bitmap::Bytes(&plain));
            let end = plain.len() as u64 * 8;
            let range = start.min(end)..end - start % 9 % (end - start.min(end)).max(1);
            prop_assert_eq!(map.count(range.clone()), flat.count(range.clone()));
            prop_assert_eq!(map.find(wanted, range.clone()), flat.find(wanted, range));
            prop_assert_eq!(map.field(start, bits), flat.field(start, bits));
        }

        #[test]
        fn fields_are_bits_in_order(
            bytes in prop::collection::vec(any::<u8>(), 0..20), offset in 0u64..120,
            bits in 1u32..=64, value: u64,
        ) {
            let map = Bitmap::Bytes(&bytes);
            let read = (0..u64::from(bits))
                .fold(0u64, |sum, at| sum << 1 | u64::from(bit_of(&bytes, offset + at)));
            prop_assert_eq!(map.field(offset, bits), read);
            let mut window = Window::read(map, offset);
            window.set(bits, value);
            prop_assert_eq!(window.get(bits), value & (u64::MAX >> (64 - bits)));
        }

        #[test]
        fn chunks_combine_as_bytes_do(
            one in prop::collection::vec(any::<u8>(), 1..50), gap in 0usize..200_000,
            other in prop::collection::vec(any::<u8>(), 1..50), other_gap in 0usize..200_000,
            short: bool,
        ) {
            let (left, plain_left) = big(&one, gap);
            let (right, plain_right) = big(&other, other_gap);
            let right_map = if short { Bitmap::Bytes(&other) } else { Bitmap::Big(&right) };
            let right_plain = if short { &other } else { &plain_right };
            for operation in [Operation::And, Operation::Or, Operation::Xor] {
                let mut sum = Combined::from(Bitmap::Big(&left));
                sum.combine(operation, right_map);
                let mut expected = Combined::Bytes(plain_left.clone());
                expected.combine(operation, Bitmap::Bytes(right_plain));
                sum.invert();
                expected.invert();
                let (Combined::Big(sum), Combined::Bytes(expected)) = (sum, expected) else {
                    panic!("chunks stay chunks, bytes stay bytes");
                };
                prop_assert_eq!(sum.len(), expected.len() as u64);
                prop_assert!(sum.to_vec() == expected);
            }
            prop_assert!(left.to_vec() == plain_left, "sources never change");
        }
    }

    #[test]
    fn what_one_side_decides_is_shared_or_free() {
        let (long, _) = big(&[0xff; 10], 10 * CHUNK_BYTES);
        let mut empty = BigString::new();
        empty.pad_to(long.len());
        let mut sum = Combined::from(Bitmap::Big(&long));
        sum.combine(Operation::And, Bitmap::Big(&empty));
        let Combined::Big(and) = &sum else { panic!("chunks stay chunks") };
        assert!(and.chunks().iter().all(|chunk| is_untouched(chunk)));
        sum.combine(Operation::Or, Bitmap::Big(&long));
        let Combined::Big(or) = &sum else { panic!("chunks stay chunks") };
        let pairs = or.chunks().iter().zip(long.chunks());
        assert!(pairs.into_iter().all(|(one, other)| one.as_ptr() == other.as_ptr()));
    }

    #[test]
    fn values_fit_as_their_type_and_overflow_say() {
        let u8_type = FieldType { signed: false, bits: 8 };
        let i64_type = FieldType { signed: true, bits: 64 };
        let cases = [
            (u8_type, 256, Overflow::Wrap, Some(0)),
            (u8_type, -1, Overflow::Wrap, Some(255)),
            (u8_type, -1, Overflow::Saturate, Some(0)),
            (u8_type, 300, Overflow::Saturate, Some(255)),
            (u8_type, 300, Overflow::Fail, None),
            (u8_type, 255, Overflow::Fail, Some(255)),
            (i64_type, i128::from(i64::MAX) + 1, Overflow::Wrap, Some(i64::MIN)),
            (i64_type, i128::from(i64::MIN) - 1, Overflow::Saturate, Some(i64::MIN)),
            (FieldType { signed: true, bits: 1 }, 1, Overflow::Wrap, Some(-1)),
            (FieldType { signed: false, bits: 63 }, 1 << 63, Overflow::Wrap, Some(0)),
        ];
        for (field, value, overflow, expected) in cases {
            assert_eq!(field.fit(value, overflow), expected, "{field:?} {value} {overflow:?}");
        }
    }
}
