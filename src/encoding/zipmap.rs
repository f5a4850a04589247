//! Zipmaps: how small hashes lay in memory, and lie in RDB files, until version 2 of them. Only read
//! here.
//! Invariant: any bytes may be handed in; what is returned was read inside of them. Source: Redis' RDB
//! files of version 1, and its checks of what RESTORE gets.
//!
//! ```text
//! zipmap: | count u8, 254 and up if unknown | field, value ... | 0xFF |
//! field:  | length | bytes |
//! value:  | length | unused bytes u8 | bytes | unused bytes ... |
//! length: u8 below 254, or 0xFE and u32, little-endian
//! ```

/// The bytes are no zipmap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidZipmap;

/// The fields and values of a zipmap, all of whose bytes are checked. There is at least one.
pub fn pairs(bytes: &[u8]) -> Result<Vec<(&[u8], &[u8])>, InvalidZipmap> {
    let [count, rest @ .., END] = bytes else { return Err(InvalidZipmap) };
    let mut rest = rest;
    let mut pairs = Vec::new();
    while !rest.is_empty() {
        let (pair, behind) = pair(rest).ok_or(InvalidZipmap)?;
        pairs.push(pair);
        rest = behind;
    }
    let is_count = *count >= LONG_LEN || usize::from(*count) == pairs.len();
    if is_count && !pairs.is_empty() { Ok(pairs) } else { Err(InvalidZipmap) }
}

fn pair(bytes: &[u8]) -> Option<((&[u8], &[u8]), &[u8])> {
    let (len, rest) = length(bytes)?;
    let (field, rest) = rest.split_at_checked(len)?;
    let (len, rest) = length(rest)?;
    let (&unused, rest) = rest.split_first()?;
    let (value, rest) = rest.split_at_checked(len)?;
    let (_, rest) = rest.split_at_checked(usize::from(unused))?;
    Some(((field, value), rest))
}

fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match bytes.split_first()? {
        (&LONG_LEN, rest) => {
            let (len, rest) = rest.split_first_chunk()?;
            let len = u32::from_le_bytes(*len);
            // A short length has one form only.
            (len >= u32::from(LONG_LEN)).then_some((len as usize, rest))
        }
        (&END, _) => None,
        (&len, rest) => Some((usize::from(len), rest)),
    }
}

const END: u8 = 0xFF;
/// The length follows in four bytes.
const LONG_LEN: u8 = 0xFE;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_and_values_are_read() {
        let long = [b'v'; 300];
        let mut bytes = b"\x02\x03foo\x03\x00bar\x05hello\xfe\x2c\x01\x00\x00\x02".to_vec();
        bytes.extend_from_slice(&long);
        bytes.extend_from_slice(b"--\xff");
        let expected = [(&b"foo"[..], &b"bar"[..]), (b"hello", &long)];
        assert_eq!(pairs(&bytes).as_deref(), Ok(&expected[..]));
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let wrong: [&[u8]; 7] = [
            b"",
            b"\x00\xff",
            b"\x02\x01a\x01\x00b\xff",
            b"\x01\x01a\x01\x00b",
            b"\x01\x01a\x02\x00b\xff",
            b"\x01\xfe\x01\x00\x00\x00a\x01\x00b\xff",
            b"\x01\x01a\x01\x07b\xff",
        ];
        for bytes in wrong {
            assert_eq!(pairs(bytes), Err(InvalidZipmap), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(0u8..6, 0..40)) {
            let _ = pairs(&bytes);
            let _ = pairs(&[&bytes[..], &[END]].concat());
        }
    }
}
