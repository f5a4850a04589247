//! The seeded generator behind every random choice of the server, so that a seed replays a run. Not
//! for secrets. Source: Blackman and Vigna, xoshiro256++ 1.0, seeded by splitmix64 as they advise.

/// A xoshiro256++ generator. Equal seeds give equal sequences, on every machine.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// The generator of `seed`; every seed is good, 0 too.
    pub fn new(seed: u64) -> Self {
        let mut mix = seed;
        Self { state: std::array::from_fn(|_| splitmix64(&mut mix)) }
    }

    /// A generator with a sequence of its own, for where this one cannot be borrowed.
    #[inline]
    pub fn fork(&mut self) -> Self {
        Self::new(self.next_u64())
    }

    /// 64 random bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        let [s0, s1, s2, s3] = &mut self.state;
        let out = s0.wrapping_add(*s3).rotate_left(23).wrapping_add(*s0);
        let shifted = *s1 << 17;
        *s2 ^= *s0;
        *s3 ^= *s1;
        *s1 ^= *s2;
        *s0 ^= *s3;
        *s2 ^= shifted;
        *s3 = s3.rotate_left(45);
        out
    }

    /// A number from 0 to `n - 1`, each equally likely; `n` is not 0. Source: Lemire, "Fast random
    /// integer generation in an interval".
    #[inline]
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "nothing is below 0");
        let mut product = u128::from(self.next_u64()) * u128::from(n);
        if (product as u64) < n {
            // The first `2^64 mod n` low halves would favour some results.
            let unfair = n.wrapping_neg() % n;
            while (product as u64) < unfair {
                product = u128::from(self.next_u64()) * u128::from(n);
            }
        }
        (product >> 64) as u64
    }

    /// A number in [0, 1), a multiple of 2^-53.
    #[inline]
    pub fn f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Fills `bytes` with random bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let random = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&random[..chunk.len()]);
        }
    }
}

fn splitmix64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authors_sequences() {
        let mut mix = 1234567;
        assert_eq!(splitmix64(&mut mix), 6457827717110365317);
        assert_eq!(splitmix64(&mut mix), 3203168211198807973);
        let mut rng = Rng { state: [1, 2, 3, 4] };
        let expected = [41943041, 58720359, 3588806011781223, 3591011842654386];
        assert_eq!(expected.map(|_| rng.next_u64()), expected);
    }

    #[test]
    fn below_is_even_and_in_range() {
        let mut rng = Rng::new(7);
        let mut counts = [0u32; 6];
        for _ in 0..60_000 {
            counts[rng.below(6) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
        assert_eq!(rng.below(1), 0);
        // Just above half of the range, nearly every second draw must be thrown away.
        let n = (1 << 63) + 1;
        assert!((0..1_000).all(|_| rng.below(n) < n));
    }

    #[test]
    fn floats_are_in_the_unit_interval() {
        let mut rng = Rng::new(0);
        assert!((0..10_000).all(|_| (0.0..1.0).contains(&rng.f64())));
    }

    #[test]
    fn fill_reaches_every_byte_and_replays() {
        let (mut first, mut again) = ([0; 4099], [0; 4099]);
        Rng::new(3).fill(&mut first);
        Rng::new(3).fill(&mut again);
        assert_eq!(first, again);
        assert!((0..=255).all(|byte| first.contains(&byte)));
        assert_ne!(first[4096..], [0; 3]);
    }
}
