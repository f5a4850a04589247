//! Bitmaps: the commands of the group `bitmap`, by what they do, and what they share.
//!
//! Invariant: offsets are bounded by proto-max-bulk-len before anything grows; a value in chunks is
//! worked on chunk by chunk.

pub mod bits;
pub mod combine;
pub mod count;
pub mod field;

use crate::base::number;
use crate::command::context::StringRef;
use crate::command::{Args, CommandError, Context};
use crate::config::Config;
use crate::store::entry::NewValue;
use crate::store::key::Key;
use crate::types::bitmap::Bitmap;
use crate::types::string::STRING_INLINE_MAX;
use crate::types::{BigString, Value};

/// A bit offset that a client sent; with `#`, if `width` allows it, it counts fields of that width.
fn bit_offset(config: &Config, word: &[u8], width: Option<u32>) -> Result<u64, CommandError> {
    let (digits, factor) = match (word, width) {
        ([b'#', digits @ ..], Some(width)) => (digits, i64::from(width)),
        _ => (word, 1),
    };
    number::parse_i64(digits)
        .and_then(|number| number.checked_mul(factor))
        .and_then(|offset| u64::try_from(offset).ok())
        .filter(|offset| offset / 8 < config.proto_max_bulk_len)
        .ok_or(CommandError::BitOffset)
}

/// The unit of a range, word `index`: true for BIT, false for BYTE and if it is left out.
fn unit_is_bit(args: Args<'_>, index: usize) -> Result<bool, CommandError> {
    match args.opt(index) {
        None => Ok(false),
        Some(_) if args.is(index, "BIT") => Ok(true),
        Some(_) if args.is(index, "BYTE") => Ok(false),
        Some(_) => Err(CommandError::Syntax),
    }
}

/// The bits that a range of inclusive indexes names in a string of `len` bytes; negative ones count
/// from the end. Empty if the range is.
fn bits_between(start: i64, end: i64, is_bit: bool, len: u64) -> std::ops::Range<u64> {
    let unit = if is_bit { 1 } else { 8 };
    let total = len * 8 / unit;
    let place = |index: i64| match u64::try_from(index) {
        Ok(index) => index,
        Err(_) => total.saturating_sub(index.unsigned_abs()),
    };
    let past = place(end).saturating_add(1).min(total);
    let start = place(start).min(past);
    start * unit..past * unit
}

/// Calls `read` with the bits of a string; an integer's are those of its digits.
fn with_bits<R>(string: StringRef<'_>, read: impl FnOnce(Bitmap<'_>) -> R) -> R {
    match string {
        StringRef::Int(value) => read(Bitmap::Bytes(itoa::Buffer::new().format(value).as_bytes())),
        StringRef::Bytes(bytes) => read(Bitmap::Bytes(bytes)),
        StringRef::Big(big) => read(Bitmap::Big(big)),
    }
}

/// Makes a key that is not there: zeros up to the byte at `offset`, which is `last`. Reports the
/// change, but no event.
fn make(cx: &mut Context<'_>, key: &Key<'_>, offset: u64, last: u8) {
    if offset < STRING_INLINE_MAX as u64 {
        let mut bytes = vec![0; offset as usize + 1];
        bytes[offset as usize] = last;
        return cx.set(key, NewValue::Raw(&bytes), None);
    }
    let mut big = BigString::new();
    big.write_at(offset, &[last]);
    cx.set(key, NewValue::Boxed(Box::new(Value::String(big))), None);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_redis() {
        let cases = [
            ((0, -1, false, 3), 0..24),
            ((0, -1, true, 3), 0..24),
            ((-2, -2, false, 3), 8..16),
            ((5, 30, true, 3), 5..24),
            ((-100, -50, false, 3), 0..8),
            ((-100, -50, true, 3), 0..1),
            ((i64::MIN, i64::MAX, true, 3), 0..24),
        ];
        for ((start, end, is_bit, len), expected) in cases {
            assert_eq!(bits_between(start, end, is_bit, len), expected);
        }
        assert!(bits_between(2, 1, false, 3).is_empty());
        assert!(bits_between(3, 9, false, 3).is_empty());
        assert!(bits_between(0, -1, false, 0).is_empty());
        assert!(bits_between(i64::MAX, i64::MAX, true, 3).is_empty());
    }
}
