//! Keyed SipHash-1-3 over a byte string: the hash of keys and members. Keyed with a secret, so that
//! no client can choose keys that collide. Source: Aumasson and Bernstein, "SipHash: a fast
//! short-input PRF"; the 1-3 variant is the one of Rust's own maps.
//!
//! Written out instead of taken from `std::hash::Hasher`, which streams: most inputs here are 1 to
//! 64 bytes, known at once, where the buffering of a streaming hasher is most of the time.

/// The secret of a hash function. Two parties hash alike only with equal keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HashKey {
    /// First half of the secret.
    pub k0: u64,
    /// Second half of the secret.
    pub k1: u64,
}

impl HashKey {
    /// The 64-bit hash of `bytes`.
    #[inline]
    pub fn hash(&self, bytes: &[u8]) -> u64 {
        siphash::<1, 3>(self, bytes)
    }
}

/// SipHash-`COMPRESS`-`FINISH`. Generic so that the tests can hold it against std's 2-4.
#[inline(always)]
fn siphash<const COMPRESS: usize, const FINISH: usize>(key: &HashKey, bytes: &[u8]) -> u64 {
    let mut state = State {
        v0: key.k0 ^ 0x736f_6d65_7073_6575,
        v1: key.k1 ^ 0x646f_7261_6e64_6f6d,
        v2: key.k0 ^ 0x6c79_6765_6e65_7261,
        v3: key.k1 ^ 0x7465_6462_7974_6573,
    };
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        state.absorb::<COMPRESS>(u64::from_le_bytes(*word));
    }
    state.absorb::<COMPRESS>((bytes.len() as u64) << 56 | little_endian(rest));
    state.v2 ^= 0xff;
    for _ in 0..FINISH {
        state.round();
    }
    state.v0 ^ state.v1 ^ state.v2 ^ state.v3
}

/// Up to seven bytes as an integer, without a loop over them: two reads that may overlap.
#[inline(always)]
fn little_endian(rest: &[u8]) -> u64 {
    let len = rest.len();
    if let (Some(head), Some(tail)) = (rest.first_chunk::<4>(), rest.last_chunk::<4>()) {
        let head = u64::from(u32::from_le_bytes(*head));
        let tail = u64::from(u32::from_le_bytes(*tail));
        return head | tail << (8 * (len - 4));
    }
    if len == 0 {
        return 0;
    }
    // One to three bytes: first, middle and last, which coincide when there are fewer than three.
    let middle = len / 2;
    u64::from(rest[0])
        | u64::from(rest[middle]) << (8 * middle)
        | u64::from(rest[len - 1]) << (8 * (len - 1))
}

struct State {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl State {
    #[inline(always)]
    fn absorb<const ROUNDS: usize>(&mut self, word: u64) {
        self.v3 ^= word;
        for _ in 0..ROUNDS {
            self.round();
        }
        self.v0 ^= word;
    }

    #[inline(always)]
    fn round(&mut self) {
        self.v0 = self.v0.wrapping_add(self.v1);
        self.v1 = self.v1.rotate_left(13) ^ self.v0;
        self.v0 = self.v0.rotate_left(32);
        self.v2 = self.v2.wrapping_add(self.v3);
        self.v3 = self.v3.rotate_left(16) ^ self.v2;
        self.v0 = self.v0.wrapping_add(self.v3);
        self.v3 = self.v3.rotate_left(21) ^ self.v0;
        self.v2 = self.v2.wrapping_add(self.v1);
        self.v1 = self.v1.rotate_left(17) ^ self.v2;
        self.v2 = self.v2.rotate_left(32);
    }
}

/// The hash of a map's keys, where they are byte strings.
#[derive(Debug)]
pub struct MapHasher {
    key: HashKey,
    hash: u64,
}

impl std::hash::BuildHasher for HashKey {
    type Hasher = MapHasher;

    #[inline]
    fn build_hasher(&self) -> MapHasher {
        MapHasher { key: *self, hash: 0 }
    }
}

impl std::hash::Hasher for MapHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        self.hash = self.hash.rotate_left(1) ^ self.key.hash(bytes);
    }

    /// A slice writes its length before its bytes; the hash of the bytes covers that.
    #[inline]
    fn write_usize(&mut self, _len: usize) {}

    #[inline]
    fn finish(&self) -> u64 {
        self.hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::hash::Hasher;

    proptest! {
        #[test]
        fn equals_the_1_3_of_std_without_a_key(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut model = std::hash::DefaultHasher::new();
            model.write(&bytes);
            prop_assert_eq!(HashKey { k0: 0, k1: 0 }.hash(&bytes), model.finish());
        }

        #[test]
        #[allow(deprecated, reason = "the only keyed SipHash of std")]
        fn equals_the_2_4_of_std_with_a_key(bytes: Vec<u8>, k0: u64, k1: u64) {
            let mut model = std::hash::SipHasher::new_with_keys(k0, k1);
            model.write(&bytes);
            prop_assert_eq!(siphash::<2, 4>(&HashKey { k0, k1 }, &bytes), model.finish());
        }
    }
}
