//! Annotations: the lines between the commands of an AOF that begin with `#`. Stock servers skip
//! them.
//!
//! Invariant: no single wrong bit in a heading or in the bytes it stands for goes unnoticed. The
//! checksum of a group covers the time line that stands directly before its own line, so that
//! `redis-check-aof --truncate-to-timestamp`, which cuts in front of a time line, leaves whole groups.
//!
//! ```text
//! #TS:1700000000 CRLF              seconds of the wall clock; what follows happened then or later
//! #CRC:128 0123456789abcdef CRLF   so many bytes follow, and the CRC-64 of the time line and them
//! #SYNC:3072 4096 CRLF             the first of these bytes: the file was synced up to byte 3072
//!                                  when this group was begun, at byte 4096
//! ```

use crate::base::crc::crc64;
use crate::base::number::{parse_i64, parse_u64, write_i64, write_u64};

/// The longest line that stock servers skip, CRLF included.
pub const LINE_BYTES_MAX: usize = 1023;

/// The lines in front of a group's bytes have no more bytes.
const HEADING_BYTES_MAX: u64 = 80;

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Annotation {
    /// Seconds of the wall clock.
    Time(i64),
    /// A group follows.
    Group {
        /// Its bytes, without this line.
        len: u64,
        /// The CRC-64 of the time line before this line, if there is one, and of its bytes.
        crc: u64,
    },
    /// What was known when a group was begun.
    Synced {
        /// The end of what was synced of the file.
        upto: u64,
        /// Where the group begins.
        own: u64,
    },
    /// Something that is not for us.
    Other,
}

/// A line that can only be a damaged one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged;

impl Annotation {
    /// Reads a line, its end included.
    pub fn parse(line: &[u8]) -> Result<Annotation, Damaged> {
        if let Some(rest) = line.strip_prefix(TIME) {
            let seconds = rest.strip_suffix(b"\r\n").and_then(parse_i64).ok_or(Damaged)?;
            return Ok(Annotation::Time(seconds));
        }
        if let Some(rest) = line.strip_prefix(GROUP) {
            return parse_group(rest).ok_or(Damaged);
        }
        if let Some(synced) = line.strip_prefix(SYNCED).and_then(parse_synced) {
            return Ok(synced);
        }
        // A flipped bit in the first letters must not make a group one that nobody checks.
        let blank = line.iter().rposition(|byte| *byte == b' ');
        let looks_like_a_group = blank.is_some_and(|at| parse_crc(&line[at + 1..]).is_some());
        if looks_like_a_group { Err(Damaged) } else { Ok(Annotation::Other) }
    }

    /// The end of what was synced, if that is what the line says at this place of the file. One that
    /// stands elsewhere is a copy, perhaps in a value that somebody has sent.
    pub fn synced_upto(self, at: u64) -> Option<u64> {
        match self {
            Annotation::Synced { upto, own } => {
                let is_its_place = own < at && at - own <= HEADING_BYTES_MAX;
                is_its_place.then_some(upto)
            }
            _ => None,
        }
    }
}

fn parse_group(rest: &[u8]) -> Option<Annotation> {
    let blank = rest.iter().position(|byte| *byte == b' ')?;
    let len = parse_u64(&rest[..blank])?;
    Some(Annotation::Group { len, crc: parse_crc(&rest[blank + 1..])? })
}

fn parse_synced(rest: &[u8]) -> Option<Annotation> {
    let blank = rest.iter().position(|byte| *byte == b' ')?;
    let own = rest[blank + 1..].strip_suffix(b"\r\n")?;
    Some(Annotation::Synced { upto: parse_u64(&rest[..blank])?, own: parse_u64(own)? })
}

fn parse_crc(text: &[u8]) -> Option<u64> {
    let digits = text.strip_suffix(b"\r\n").filter(|digits| digits.len() == CRC_DIGITS)?;
    digits.iter().try_fold(0, |crc, digit| {
        let value = HEX.iter().position(|one| one == digit)?;
        Some(crc << 4 | value as u64)
    })
}

/// What stands before a group, while its bytes are gathered.
#[derive(Clone, Debug)]
pub struct Heading {
    time: Vec<u8>,
    len: u64,
    crc: u64,
}

impl Heading {
    /// The heading of an empty group, with a time line if there is a time to tell, in seconds.
    pub fn new(time: Option<i64>) -> Heading {
        let mut line = Vec::new();
        if let Some(seconds) = time {
            line.extend(TIME);
            write_i64(&mut line, seconds);
            line.extend(b"\r\n");
        }
        Heading { crc: crc64(0, &line), time: line, len: 0 }
    }

    /// The group goes on with these bytes.
    pub fn cover(&mut self, bytes: &[u8]) {
        self.len += bytes.len() as u64;
        self.crc = crc64(self.crc, bytes);
    }

    /// The lines, which stand directly before the group.
    pub fn into_bytes(self) -> Vec<u8> {
        let mut lines = self.time;
        lines.extend(GROUP);
        write_u64(&mut lines, self.len);
        lines.push(b' ');
        for digit in (0..CRC_DIGITS).rev() {
            lines.push(HEX[(self.crc >> (4 * digit)) as usize & 15]);
        }
        lines.extend(b"\r\n");
        lines
    }
}

/// Appends the line that a group begins with: the end of what was synced of the file, and where the
/// group begins, its heading included.
pub fn write_synced(bytes: &mut Vec<u8>, upto: u64, own: u64) {
    bytes.extend(SYNCED);
    write_u64(bytes, upto);
    bytes.push(b' ');
    write_u64(bytes, own);
    bytes.extend(b"\r\n");
}

const TIME: &[u8] = b"#TS:";
const GROUP: &[u8] = b"#CRC:";
const SYNCED: &[u8] = b"#SYNC:";
const CRC_DIGITS: usize = 16;
const HEX: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(time: Option<i64>, bytes: &[u8]) -> Vec<u8> {
        let mut heading = Heading::new(time);
        heading.cover(bytes);
        heading.into_bytes()
    }

    #[test]
    fn a_heading_has_this_form() {
        assert_eq!(lines(None, b"123456789"), b"#CRC:9 e9c6d914c4b8d9ca\r\n");
        assert_eq!(lines(None, b""), b"#CRC:0 0000000000000000\r\n");
        assert!(lines(Some(1_700_000_000), b"x").starts_with(b"#TS:1700000000\r\n#CRC:1 "));
    }

    #[test]
    fn lines_are_told_apart() {
        let cases: &[(&[u8], Result<Annotation, Damaged>)] = &[
            (b"#TS:17\r\n", Ok(Annotation::Time(17))),
            (b"#TS:17\n", Err(Damaged)),
            (b"#TS:\r\n", Err(Damaged)),
            (b"#CRC:3 00000000000000ff\r\n", Ok(Annotation::Group { len: 3, crc: 255 })),
            (b"#CRC:3 00000000000000FF\r\n", Err(Damaged)),
            (b"#CRC:3 ff\r\n", Err(Damaged)),
            (b"#CRC:03 00000000000000ff\r\n", Err(Damaged)),
            (b"#CSC:3 00000000000000ff\r\n", Err(Damaged)),
            (b"#SYNC:5 70\r\n", Ok(Annotation::Synced { upto: 5, own: 70 })),
            (b"#SYNC:5\r\n", Ok(Annotation::Other)),
            (b"#SYNC:5 70\n", Ok(Annotation::Other)),
            (b"# from the night of the move\r\n", Ok(Annotation::Other)),
            (b"#\n", Ok(Annotation::Other)),
        ];
        for (line, expected) in cases {
            assert_eq!(Annotation::parse(line), *expected, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn a_copied_line_says_nothing() {
        let mut line = Vec::new();
        write_synced(&mut line, 512, 4096);
        let read = Annotation::parse(&line).expect("it is whole");
        assert_eq!(read, Annotation::Synced { upto: 512, own: 4096 });
        for (at, upto) in
            [(0, None), (4096, None), (4130, Some(512)), (4176, Some(512)), (4177, None)]
        {
            assert_eq!(read.synced_upto(at), upto, "at {at}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_was_written_is_read(bytes: Vec<u8>, split: usize, seconds: i64) {
            let mut heading = Heading::new(Some(seconds));
            let (one, two) = bytes.split_at(split % (bytes.len() + 1));
            heading.cover(one);
            heading.cover(two);
            let written = heading.into_bytes();
            proptest::prop_assert_eq!(&written, &lines(Some(seconds), &bytes));
            let end = written.iter().position(|byte| *byte == b'\n').expect("two lines") + 1;
            let (time, group) = written.split_at(end);
            proptest::prop_assert_eq!(Annotation::parse(time), Ok(Annotation::Time(seconds)));
            let crc = crc64(crc64(0, time), &bytes);
            let expected = Annotation::Group { len: bytes.len() as u64, crc };
            proptest::prop_assert_eq!(Annotation::parse(group), Ok(expected));
            proptest::prop_assert!(written.len() < LINE_BYTES_MAX);
        }

        #[test]
        fn a_flipped_bit_never_makes_another_group(len: u64, bit: usize) {
            let written = format!("#CRC:{len} 0123456789abcdef\r\n").into_bytes();
            let mut flipped = written.clone();
            let bit = bit % (8 * (written.len() - 1));
            flipped[bit / 8] ^= 1 << (bit % 8);
            // Without its `#` it is no annotation, and no command.
            if flipped[0] == b'#' {
                let read = Annotation::parse(&flipped);
                proptest::prop_assert_ne!(read, Annotation::parse(&written));
                proptest::prop_assert_ne!(read, Ok(Annotation::Other));
            }
        }

        #[test]
        fn no_line_panics(line: Vec<u8>) {
            let _ = Annotation::parse(&line);
        }
    }
}
