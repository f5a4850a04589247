//! Ziplists: how small lists, hashes and sorted sets lay in memory, and lie in RDB files, before
//! listpacks. Only read here.
//! Invariant: any bytes may be handed in; what is returned was read inside of them. Source: Redis' RDB
//! files up to version 9, and its checks of what RESTORE gets.
//!
//! ```text
//! ziplist: | total bytes u32 | offset of the last entry u32 | count u16 | entry ... | 0xFF |
//! entry:   | bytes of the entry before: u8, or 0xFE and u32 | encoding | string |
//! encoding 00nnnnnn, 01nnnnnn nnnnnnnn, 10...... u32    a string of n bytes (big-endian)
//!          0xC0 i16, 0xD0 i32, 0xE0 i64, 0xF0 i24, 0xFE i8; 0xF1 to 0xFD: 0 to 12
//! ```
//! Numbers are little-endian but for the lengths of strings.

use super::listpack::Element;

/// The bytes are no ziplist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidZiplist;

/// The elements of a ziplist, all of whose bytes are checked.
pub fn elements(bytes: &[u8]) -> Result<Vec<Element<'_>>, InvalidZiplist> {
    let (header, _) = bytes.split_first_chunk::<HEADER>().ok_or(InvalidZiplist)?;
    let [t0, t1, t2, t3, l0, l1, l2, l3, c0, c1] = *header;
    let total = u32::from_le_bytes([t0, t1, t2, t3]) as usize;
    let last = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let count = u16::from_le_bytes([c0, c1]);
    let end = bytes.len() - 1;
    if total != bytes.len() || bytes[end] != END || end < HEADER {
        return Err(InvalidZiplist);
    }
    let mut elements = Vec::new();
    let (mut at, mut before) = (HEADER, None);
    while at < end {
        let entry = Entry::read(&bytes[..end], at).ok_or(InvalidZiplist)?;
        if entry.len_before != before.map_or(0, |before| at - before) {
            return Err(InvalidZiplist);
        }
        elements.push(entry.element);
        before = Some(at);
        at = entry.end;
    }
    let is_last = before.map_or(last <= end, |before| last == before);
    let is_count = count == COUNT_UNKNOWN || usize::from(count) == elements.len();
    if is_last && is_count { Ok(elements) } else { Err(InvalidZiplist) }
}

struct Entry<'a> {
    len_before: usize,
    element: Element<'a>,
    end: usize,
}

impl<'a> Entry<'a> {
    /// The entry at `at` of bytes without the end mark.
    fn read(bytes: &'a [u8], at: usize) -> Option<Self> {
        let rest = &bytes[at..];
        let (len_before, rest) = match rest.split_first()? {
            (&LONG_LEN, rest) => {
                let (len, rest) = rest.split_first_chunk()?;
                (u32::from_le_bytes(*len) as usize, rest)
            }
            (&len, rest) => (usize::from(len), rest),
        };
        let (&encoding, rest) = rest.split_first()?;
        let (element, rest) = match encoding {
            0x00..0x40 => string(rest, usize::from(encoding))?,
            0x40..0x80 => {
                let (&low, rest) = rest.split_first()?;
                string(rest, usize::from(encoding & 0x3F) << 8 | usize::from(low))?
            }
            0x80..0xC0 => {
                let (len, rest) = rest.split_first_chunk()?;
                string(rest, u32::from_be_bytes(*len) as usize)?
            }
            0xC0 => int(rest, 2)?,
            0xD0 => int(rest, 4)?,
            0xE0 => int(rest, 8)?,
            0xF0 => int(rest, 3)?,
            0xFE => int(rest, 1)?,
            0xF1..=0xFD => (Element::Int(i64::from(encoding - 0xF1)), rest),
            _ => return None,
        };
        Some(Self { len_before, element, end: bytes.len() - rest.len() })
    }
}

fn string(bytes: &[u8], len: usize) -> Option<(Element<'_>, &[u8])> {
    let (string, rest) = bytes.split_at_checked(len)?;
    Some((Element::Str(string), rest))
}

/// A little-endian integer of up to eight bytes.
fn int(bytes: &[u8], len: usize) -> Option<(Element<'_>, &[u8])> {
    let (number, rest) = bytes.split_at_checked(len)?;
    let mut word = [0; 8];
    word[8 - len..].copy_from_slice(number);
    let unused = 64 - 8 * len;
    Some((Element::Int(i64::from_le_bytes(word) >> unused), rest))
}

const HEADER: usize = 10;
const END: u8 = 0xFF;
/// The length of the entry before follows in four bytes.
const LONG_LEN: u8 = 0xFE;
/// The count has only 16 bits.
const COUNT_UNKNOWN: u16 = u16::MAX;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A ziplist of entries that are given without the length of the one before.
    fn ziplist(entries: &[Vec<u8>]) -> Vec<u8> {
        let (mut body, mut before, mut last) = (Vec::new(), 0, HEADER);
        for entry in entries {
            last = HEADER + body.len();
            match u8::try_from(before) {
                Ok(len) if len < LONG_LEN => body.push(len),
                _ => {
                    body.push(LONG_LEN);
                    body.extend_from_slice(&u32::to_le_bytes(before as u32));
                }
            }
            body.extend_from_slice(entry);
            before = HEADER + body.len() - last;
        }
        let mut bytes = u32::to_le_bytes((HEADER + body.len() + 1) as u32).to_vec();
        bytes.extend_from_slice(&u32::to_le_bytes(last as u32));
        bytes.extend_from_slice(&u16::to_le_bytes(entries.len() as u16));
        bytes.extend(body);
        bytes.push(END);
        bytes
    }

    fn string_entry(string: &[u8]) -> Vec<u8> {
        let len = string.len();
        let mut entry = match len {
            0..64 => vec![len as u8],
            64..16384 => vec![0x40 | (len >> 8) as u8, len as u8],
            _ => [&[0x80][..], &u32::to_be_bytes(len as u32)].concat(),
        };
        entry.extend_from_slice(string);
        entry
    }

    #[test]
    fn every_encoding_is_read() {
        let long = vec![b'x'; 300];
        let longer = vec![b'y'; 20_000];
        let bytes = ziplist(&[
            string_entry(b"two"),
            string_entry(&long),
            string_entry(&longer),
            vec![0xF1],
            vec![0xFD],
            vec![0xFE, 0x80],
            vec![0xC0, 0x00, 0x80],
            vec![0xF0, 0xFF, 0xFF, 0xFF],
            vec![0xD0, 0, 0, 0, 0x80],
            [&[0xE0][..], &i64::MIN.to_le_bytes()].concat(),
        ]);
        let expected = [
            Element::Str(b"two"),
            Element::Str(&long),
            Element::Str(&longer),
            Element::Int(0),
            Element::Int(12),
            Element::Int(-128),
            Element::Int(-32768),
            Element::Int(-1),
            Element::Int(i64::from(i32::MIN)),
            Element::Int(i64::MIN),
        ];
        assert_eq!(elements(&bytes).as_deref(), Ok(&expected[..]));
        assert_eq!(elements(&ziplist(&[])), Ok(vec![]));
    }

    proptest! {
        #[test]
        fn damage_is_noticed_or_harmless(
            strings in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..90), 0..8),
            at: usize, byte: u8, cut: usize,
        ) {
            let entries: Vec<Vec<u8>> = strings.iter().map(|string| string_entry(string)).collect();
            let mut bytes = ziplist(&entries);
            let read = elements(&bytes).map(|elements| elements.len());
            prop_assert_eq!(read, Ok(strings.len()));
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = elements(&bytes);
            bytes.truncate(cut % bytes.len());
            let _ = elements(&bytes);
        }

        #[test]
        fn any_bytes_are_answered(bytes: Vec<u8>) {
            let _ = elements(&bytes);
        }
    }
}
