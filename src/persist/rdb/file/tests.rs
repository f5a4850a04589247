//! Files: what is written is read, in pieces of any size; damage is an error.

use proptest::prelude::*;

use super::*;
use crate::base::time::Millis;
use crate::persist::rdb::Checks;
use crate::types::ValueRef;

/// A file with a few keys; `checksum` says whether it ends with one.
fn file(checksum: bool) -> Vec<u8> {
    let mut body = preamble(
        &[("redis-ver", b"8.0.6"), ("redis-bits", b"64")],
        &[bytes::Bytes::from_static(b"#!lua name=lib\n")],
        &[(0, 3, 1), (5, 1, 0)],
    );
    let mut encoder = Encoder::new(12, true);
    encoder.byte(opcode::SELECTDB);
    encoder.length(0);
    encoder.byte(opcode::EXPIRETIME_MS);
    encoder.millis(1_900_000_000_000);
    encoder.byte(opcode::STRING);
    encoder.string(b"volatile");
    encoder.value(ValueRef::Str(&[b'x'; 3000]));
    encoder.byte(opcode::FREQ);
    encoder.byte(7);
    encoder.byte(opcode::STRING);
    encoder.string(b"int");
    encoder.value(ValueRef::Int(-12));
    encoder.byte(opcode::LIST);
    encoder.string(b"list");
    encoder.length(100);
    (0..100).for_each(|number| encoder.integer(number));
    body.extend(encoder.into_pieces().concat());
    let magic = magic(9);
    let mut sum = Checksum::default();
    let (one, other) = body.split_at(body.len() / 3);
    for part in [one, other] {
        sum.add(crc64(0, part), part.len() as u64);
    }
    let end = Checksum::end(checksum.then_some(sum), &magic, body.len() as u64);
    [&magic[..], &body, &end].concat()
}

/// What a file says, in one line a record.
fn read(bytes: &[u8], piece: usize) -> Result<Vec<String>, FileError> {
    read_checked(bytes, piece, Checks::ALL)
}

fn read_checked(bytes: &[u8], piece: usize, checks: Checks) -> Result<Vec<String>, FileError> {
    let mut reader = FileReader::new(checks);
    let mut lines = Vec::new();
    let mut pieces = bytes.chunks(piece.max(1));
    loop {
        match reader.next_record()? {
            Some(Record::End(checked)) => {
                lines.push(format!("end {checked}"));
                return Ok(lines);
            }
            Some(record) => lines.push(format!("{record:?}")),
            None => match pieces.next() {
                Some(piece) => reader.feed(piece),
                None => reader.finish(),
            },
        }
    }
}

#[test]
fn pieces_of_any_size_say_the_same() {
    let file = file(true);
    let whole = read(&file, file.len()).expect("it is right");
    assert_eq!(whole.last().map(String::as_str), Some("end true"));
    assert_eq!(whole.len(), 2 + 1 + 4 + 1 + 3 + 1);
    for piece in [1, 2, 3, 7, 64, 1000] {
        assert_eq!(read(&file, piece), Ok(whole.clone()));
    }
    let unchecked = read(&self::file(false), 10).expect("it is right");
    assert_eq!(unchecked.last().map(String::as_str), Some("end false"));
}

#[test]
fn keys_have_what_was_said_of_them() {
    let file = file(true);
    let mut reader = FileReader::new(Checks::ALL);
    reader.feed(&file);
    let mut keys = Vec::new();
    while let Some(record) = reader.next_record().expect("it is right") {
        match record {
            Record::Key(key) => keys.push((key.key.to_vec(), key.expiry, key.frequency, key.kind)),
            Record::End(_) => break,
            _ => {}
        }
    }
    assert_eq!(
        keys,
        [
            (b"volatile".to_vec(), Some(Millis(1_900_000_000_000)), None, opcode::STRING),
            (b"int".to_vec(), None, Some(7), opcode::STRING),
            (b"list".to_vec(), None, None, opcode::LIST),
        ]
    );
}

#[test]
fn what_is_cut_or_changed_is_refused() {
    let file = file(true);
    for len in 0..file.len() {
        let error = read(&file[..len], 50).expect_err("it is cut");
        assert_eq!(error.fault, Fault::Truncated, "cut at {len}");
        assert!(error.offset <= len as u64);
    }
    for at in 0..file.len() {
        let mut bytes = file.clone();
        bytes[at] ^= 1;
        let read = read(&bytes, 100);
        // A checksum of zero is none; no single bit makes that of this one.
        assert!(read.is_err(), "changed at {at}: {read:?}");
    }
    assert_eq!(read(b"REDIS0013\xff", 99).expect_err("new").fault, Fault::Version(13));
    assert_eq!(read(b"RUBIS0012\xff", 99).expect_err("other").fault, Fault::Signature);
    assert!(read(b"REDIS0004\xff", 99).is_ok(), "the oldest have no checksum");
    assert_eq!(read(b"REDIS0080\x07\x01k", 9).expect_err("module").fault, Fault::Module);
}

#[test]
fn announced_lengths_are_not_believed() {
    let huge = [0x81, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    for kind in 0..=255u8 {
        let bytes = [b"REDIS0012".as_slice(), &[kind], &huge, &huge, &huge].concat();
        assert!(read(&bytes, 8).is_err(), "type {kind}");
        let bytes = [b"REDIS0012".as_slice(), &[kind, 1, b'k'], &huge, &huge, &huge].concat();
        assert!(read(&bytes, 8).is_err(), "type {kind}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200), piece in 1usize..50) {
        let _ = read(&[b"REDIS0012".as_slice(), &bytes].concat(), piece);
    }
}

/// Redis has the versions below that of Valkey, which has those from there on.
#[test]
fn versions_of_others_are_read_by_who_does_not_mind() {
    let relaxed = Checks { sum: false, version: false };
    let rest = b"\x00\x01k\x01v\xff\0\0\0\0\0\0\0\0";
    for (magic, is_known, is_read) in [
        (b"REDIS0012", true, true),
        (b"REDIS0013", false, true),
        (b"REDIS0079", false, true),
        (b"VALKEY080", true, true),
        (b"VALKEY081", false, true),
        (b"REDIS0081", false, false),
        (b"VALKEY079", false, false),
        (b"REDIS0000", false, false),
    ] {
        let file = [&magic[..], rest].concat();
        let name = String::from_utf8_lossy(magic);
        assert_eq!(read(&file, 5).is_ok(), is_known, "{name}");
        assert_eq!(read_checked(&file, 5, relaxed).is_ok(), is_read, "{name}");
    }
    let unknown = [b"REDIS0013\x63\x01k\x01v\xff", &[0; 8][..]].concat();
    assert!(read_checked(&unknown, 5, relaxed).is_err(), "a type that nobody knows");
}
