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
    // Keys are short and have no tag: telling that must not cost a call.
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

/// True if no byte is `{`; eight bytes at a time. Source: Knuth, TAOCP 7.1.3, on finding a zero byte.
#[inline]
fn has_no_brace(key: &[u8]) -> bool {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    let (words, rest) = key.as_chunks::<8>();
    let found = words.iter().fold(0, |found, word| {
        // A brace becomes a zero byte.
        let word = u64::from_le_bytes(*word) ^ u64::from_le_bytes([b'{'; 8]);
        found | (word.wrapping_sub(ONES) & !word & (ONES << 7))
    });
    found == 0 && rest.iter().all(|byte| *byte != b'{')
}

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
    fn a_brace_is_found_wherever_it_is() {
        for len in 0..40 {
            let mut key = vec![b'z'; len];
            assert!(has_no_brace(&key), "{len}");
            for at in 0..len {
                key[at] = b'{';
                assert!(!has_no_brace(&key), "{at} of {len}");
                key[at] = [0, b'|', b'z', 0xfb, 0xff][at % 5];
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
