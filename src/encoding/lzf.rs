//! LZF: fast compression of byte strings, as in RDB files and in compressed lists.
//!
//! Invariant: what `compress` makes, `decompress` and any other LZF take apart; `decompress` takes
//! any bytes, writes nothing beyond the announced length and allocates no more than its input can
//! stand for. Source: the format of liblzf, as Redis writes it into RDB files.
//!
//! ```text
//! 000lllll <bytes>                 l + 1 bytes as they are
//! lllooooo oooooooo                l + 2 bytes (l is 1 to 6) from o + 1 bytes before here
//! 111ooooo llllllll oooooooo       l + 9 bytes from there
//! ```
//! A copy may overlap what it writes: from one byte before here, it repeats that byte.

/// Compresses `input`. None if that takes more than `len_max` bytes.
pub fn compress(input: &[u8], len_max: usize) -> Option<Vec<u8>> {
    // To clear a table that a short input cannot fill would take longer than all else.
    match input.len() {
        ..=SHORT => compress_with::<{ 2 * SHORT }>(input, len_max),
        ..=MIDDLING => compress_with::<{ 2 * MIDDLING }>(input, len_max),
        _ => compress_with::<SEEN_MAX>(input, len_max),
    }
}

/// The same with a table for so many hashes of three bytes, a power of two.
fn compress_with<const SEEN: usize>(input: &[u8], len_max: usize) -> Option<Vec<u8>> {
    // Positions are kept plus one, so that 0 says that a hash was not seen; those beyond 32 bits
    // are not kept, so nothing is found there.
    let mut seen = [0u32; SEEN];
    let mut out = Vec::with_capacity(len_max.min(input.len()));
    let (mut at, mut literals) = (0, 0);
    while let Some(&next) = input[at..].first_chunk::<MATCH_MIN>() {
        let slot = &mut seen[hash::<SEEN>(next)];
        let candidate = (*slot as usize).checked_sub(1);
        *slot = u32::try_from(at + 1).unwrap_or(0);
        let found =
            candidate.filter(|from| at - from <= OFFSET_MAX && input[*from..].starts_with(&next));
        let Some(from) = found else {
            at += 1;
            continue;
        };
        put_literals(&mut out, &input[literals..at]);
        let limit = input.len().min(at + MATCH_MAX);
        let len = MATCH_MIN
            + input[at + MATCH_MIN..limit]
                .iter()
                .zip(&input[from + MATCH_MIN..])
                .take_while(|(ahead, before)| ahead == before)
                .count();
        put_copy(&mut out, at - from, len);
        if out.len() > len_max {
            return None;
        }
        at += len;
        literals = at;
    }
    put_literals(&mut out, &input[literals..]);
    (out.len() <= len_max).then_some(out)
}

/// Takes apart what anybody compressed. None if that is not `len` bytes exactly.
pub fn decompress(mut input: &[u8], len: usize) -> Option<Vec<u8>> {
    if len / EXPANSION_MAX > input.len() {
        return None;
    }
    let mut out = Vec::with_capacity(len);
    while let Some((&control, rest)) = input.split_first() {
        if control < COPY {
            let (literals, rest) = rest.split_at_checked(usize::from(control) + 1)?;
            out.extend_from_slice(literals);
            input = rest;
        } else {
            input = take_copy(&mut out, control, rest)?;
        }
        if out.len() > len {
            return None;
        }
    }
    (out.len() == len).then_some(out)
}

/// Does the copy that begins with `control`; returns what is behind it.
fn take_copy<'a>(out: &mut Vec<u8>, control: u8, rest: &'a [u8]) -> Option<&'a [u8]> {
    let (more, rest) = match control >> 5 {
        LONG => rest.split_first().map(|(more, rest)| (usize::from(*more), rest))?,
        _ => (0, rest),
    };
    let (&low, rest) = rest.split_first()?;
    let len = usize::from(control >> 5) + more + 2;
    let offset = (usize::from(control & 0x1F) << 8 | usize::from(low)) + 1;
    let from = out.len().checked_sub(offset)?;
    if offset >= len {
        out.extend_from_within(from..from + len);
    } else {
        (from..from + len).for_each(|at| out.push(out[at]));
    }
    Some(rest)
}

fn put_literals(out: &mut Vec<u8>, literals: &[u8]) {
    for run in literals.chunks(LITERALS_MAX) {
        out.push(run.len() as u8 - 1);
        out.extend_from_slice(run);
    }
}

fn put_copy(out: &mut Vec<u8>, distance: usize, len: usize) {
    let [low, high, ..] = (distance - 1).to_le_bytes();
    match len - 2 {
        short @ 1..7 => out.extend_from_slice(&[(short as u8) << 5 | high, low]),
        long => out.extend_from_slice(&[LONG << 5 | high, (long - 7) as u8, low]),
    }
}

#[inline]
fn hash<const SEEN: usize>([first, second, third]: [u8; MATCH_MIN]) -> usize {
    let word = u32::from_le_bytes([first, second, third, 0]);
    (word.wrapping_mul(HASH_FACTOR) >> (u32::BITS - SEEN.ilog2())) as usize
}

/// The most hashes of three bytes that are remembered; 32 KiB, which the stack and the first cache
/// hold.
const SEEN_MAX: usize = 1 << 13;
/// Inputs up to here have a table of twice as many hashes as they have positions.
const SHORT: usize = 1 << 7;
/// The same for those above.
const MIDDLING: usize = 1 << 10;
/// 2^32 divided by the golden ratio: spreads what differs in few bits.
const HASH_FACTOR: u32 = 0x9E37_79B1;
const MATCH_MIN: usize = 3;
/// 8 bits on top of what a short copy has.
const MATCH_MAX: usize = 2 + 7 + 255;
/// 13 bits.
const OFFSET_MAX: usize = 1 << 13;
const LITERALS_MAX: usize = 32;
/// The lowest control byte of a copy.
const COPY: u8 = 32;
/// The length of a copy that has a length byte of its own.
const LONG: u8 = 7;
/// Three bytes stand for up to 264.
const EXPANSION_MAX: usize = MATCH_MAX / 3;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn repetition_is_short() {
        let input = b"abcabcabcabcabcabcabc".repeat(100);
        let small = compress(&input, input.len()).expect("it is compressible");
        assert!(small.len() < 40, "{} bytes", small.len());
        assert_eq!(decompress(&small, input.len()), Some(input));
    }

    /// What Redis 8.0.6 writes for a value of 100 times `a` in DUMP.
    #[test]
    fn what_redis_compressed_is_taken_apart() {
        let small = [0x01, 0x61, 0x61, 0xE0, 0x57, 0x00, 0x01, 0x61, 0x61];
        assert_eq!(decompress(&small, 100), Some(vec![b'a'; 100]));
    }

    #[test]
    fn noise_is_refused() {
        let noise: Vec<u8> =
            (0..200u32).map(|at| (at.wrapping_mul(HASH_FACTOR) >> 13) as u8).collect();
        assert_eq!(compress(&noise, noise.len() - 1), None);
        assert_eq!(compress(&[], 0), Some(vec![]));
    }

    #[test]
    fn lies_are_refused() {
        for (small, len) in [
            (&[0x05, 1, 2][..], 6),
            (&[0x20, 0][..], 3),
            (&[0x00, 7, 0x20][..], 4),
            (&[0x00, 7, 0xE0, 9][..], 17),
            (&[0x00, 7, 0x20, 1][..], 4),
            (&[0x00, 7, 0xE0, 200, 0][..], 100),
            (&[0x00, 7][..], 2),
            (&[][..], usize::MAX),
        ] {
            assert_eq!(decompress(small, len), None, "{small:?}");
        }
    }

    proptest! {
        #[test]
        fn what_was_compressed_comes_back(words in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..20),
                (any::<u8>(), 0usize..600).prop_map(|(byte, len)| vec![byte; len]),
                Just(b"again and again".to_vec()),
            ],
            0..80,
        )) {
            let input = words.concat();
            let small = compress(&input, usize::MAX).expect("any length will do");
            prop_assert!(small.len() <= input.len() + input.len() / LITERALS_MAX + 1);
            prop_assert_eq!(decompress(&small, input.len() + 1), None);
            prop_assert_eq!(decompress(&small, input.len()), Some(input));
        }

        #[test]
        fn anything_is_taken_apart_or_refused(bytes: Vec<u8>, len in 0usize..2000) {
            let out = decompress(&bytes, len);
            prop_assert!(out.is_none_or(|out| out.len() == len));
        }
    }
}
