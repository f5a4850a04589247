//! The hash slot of a key, the unit by which keys belong to partitions and to cluster nodes.
//! Invariant: a `Slot` is below [`Slot::COUNT`]; it is made from a key, or checked.
//! Source: Redis Cluster specification, "Key distribution model" and "Hash tags".

use super::crc::crc16;

/// One of the 16384 hash slots.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Slot(u16);

impl Slot {
    /// How many slots there are.
    pub const COUNT: u32 = 16384;

    /// The slot of `key`: the checksum of its hash tag, or of all of it when it has none.
    #[inline]
    pub fn of(key: &[u8]) -> Self {
        // COUNT is a power of two, so the mask is the remainder.
        Self(crc16(hashed_part(key)) & (Self::COUNT as u16 - 1))
    }

    /// The slot with this number, as peers and clients name it. None when there is no such slot.
    #[inline]
    pub fn from_number(number: u64) -> Option<Self> {
        (number < u64::from(Self::COUNT)).then_some(Self(number as u16))
    }

    /// The number of the slot, 0 to 16383.
    #[inline]
    pub fn get(self) -> u16 {
        self.0
    }
}

/// The bytes between the first `{` and the first `}` after it, if there are any; else all.
#[inline]
fn hashed_part(key: &[u8]) -> &[u8] {
    if has_no_brace(key) {
        return key;
    }
    let Some(open) = memchr::memchr(b'{', key) else { return key };
    let tag = &key[open + 1..];
    match memchr::memchr(b'}', tag) {
        None | Some(0) => key,
        Some(close) => &tag[..close],
    }
}

/// True only if there is no `{`, said only of keys of 8 to 32 bytes: a few operations on words,
/// against a call that chooses its instructions at run time.
#[inline(always)]
fn has_no_brace(key: &[u8]) -> bool {
    let Some(last) = key.last_chunk::<8>() else { return false };
    let (words, _) = key.as_chunks::<8>();
    if key.len() > SHORT_MAX {
        return false;
    }
    // The last word overlaps the one before it where the length is no multiple of eight.
    words.iter().fold(braces(*last), |found, word| found | braces(*word)) == 0
}

/// Not zero exactly if a byte of the word is `{`. Source: Mycroft's test for a zero byte.
#[inline(always)]
fn braces(word: [u8; 8]) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    let zero_where_brace = u64::from_le_bytes(word) ^ (ONES * b'{' as u64);
    zero_where_brace.wrapping_sub(ONES) & !zero_where_brace & (ONES * 0x80)
}

/// Keys up to this length are searched for a brace without a call.
const SHORT_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_of_a_stock_server() {
        // CLUSTER KEYSLOT of Redis 8.0.6.
        let slots: &[(&[u8], u16)] = &[
            (b"", 0),
            (b"foo", 12182),
            (b"bar", 5061),
            (b"123456789", 12739),
            (b"{user1000}.following", 3443),
            (b"{user1000}.followers", 3443),
            (b"user1000", 3443),
            (b"foo{}{bar}", 8363),
            (b"foo{{bar}}zap", 4015),
            (b"foo{bar}{zap}", 5061),
            (b"foo{bar", 15278),
            (b"}{", 12793),
        ];
        for &(key, slot) in slots {
            assert_eq!(Slot::of(key).get(), slot, "{}", key.escape_ascii());
        }
    }

    #[test]
    fn a_brace_is_seen_at_any_length_and_place() {
        for len in 0..70 {
            let mut key = vec![0xfb; len];
            assert_eq!(hashed_part(&key), key);
            for at in 0..len.saturating_sub(2) {
                key.fill(b'x');
                key[at] = b'{';
                key[len - 1] = b'}';
                assert_eq!(hashed_part(&key), &key[at + 1..len - 1]);
            }
        }
    }

    #[test]
    fn a_number_is_checked() {
        assert_eq!(Slot::from_number(16383).map(Slot::get), Some(16383));
        assert_eq!(Slot::from_number(16384), None);
        assert_eq!(Slot::from_number(u64::MAX), None);
    }
}
