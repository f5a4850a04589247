//! Passwords: kept as SHA-256, compared in constant time.
//!
//! Invariant: a password in clear is never kept. Source: FIPS 180-4; ACL SETUSER of Redis 8.0.

use std::hint::black_box;

use sha2::{Digest, Sha256};

/// Bytes of a hash; it is written with twice as many digits.
const HASH_BYTES: usize = 32;

/// The SHA-256 of a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordHash([u8; HASH_BYTES]);

impl PasswordHash {
    /// Of a password in clear.
    pub fn of(password: &[u8]) -> PasswordHash {
        PasswordHash(Sha256::digest(password).into())
    }

    /// Reads 64 lower-case hexadecimal digits. None for anything else.
    pub fn parse(digits: &[u8]) -> Option<PasswordHash> {
        if digits.len() != 2 * HASH_BYTES {
            return None;
        }
        let mut hash = [0; HASH_BYTES];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(PasswordHash(hash))
    }

    /// As 64 lower-case hexadecimal digits.
    pub fn digits(&self) -> String {
        let nibbles = self.0.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        nibbles.map(|nibble| char::from_digit(nibble.into(), 16).unwrap_or('0')).collect()
    }

    /// True if they are the same; the time does not depend on where they differ.
    pub fn matches(&self, other: &PasswordHash) -> bool {
        let pairs = self.0.iter().zip(&other.0);
        let difference = pairs.fold(0, |difference, (a, b)| black_box(difference | (a ^ b)));
        black_box(difference) == 0
    }
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The one-block message of FIPS 180-4's examples.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_hash_is_read_as_it_is_written() {
        let hash = PasswordHash::of(b"abc");
        assert_eq!(hash.digits(), ABC);
        assert_eq!(PasswordHash::parse(ABC.as_bytes()), Some(hash));
        for bad in ["", &ABC[1..], &ABC.to_uppercase(), &ABC.replace('b', "g")] {
            assert_eq!(PasswordHash::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn only_the_same_password_matches() {
        let hash = PasswordHash::of(b"secret");
        assert!(hash.matches(&PasswordHash::of(b"secret")));
        for other in ["", "s", "secre", "secrets", "Secret"] {
            assert!(!hash.matches(&PasswordHash::of(other.as_bytes())), "{other:?}");
        }
    }
}
