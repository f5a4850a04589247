//! A snapshot becomes commands, in whole groups; what is not one is an error.

use super::*;
use crate::base::siphash::HashKey;
use crate::base::time::Millis;
use crate::persist::aof::scan::{State, Verifier};
use crate::persist::rdb::file::{Checksum, magic, preamble};
use crate::persist::rdb::{Encoder, opcode};
use crate::types::hash::HashLimits;
use crate::types::{list, set, zset};

const LIBRARY: &[u8] = b"#!lua name=lib\n";
const EXPIRY: Millis = Millis(1_900_000_000_000);

fn form(time: Option<i64>) -> Form {
    let hash_key = HashKey { k0: 1, k1: 2 };
    let limits = Limits {
        list: list::Limits { fill: -2, depth: 0, packed_threshold: 0 },
        set: set::Limits { intset_entries: 6, listpack_entries: 8, listpack_value: 20, hash_key },
        hash: HashLimits { entries: 8, value: 20, key: hash_key },
        sorted_set: zset::Limits { entries: 8, value: 20, hash_key },
    };
    Form { limits, time }
}

/// A library, two strings of which one expires, and in another database a list of so many elements
/// and a sorted set.
fn snapshot(elements: i64) -> Vec<u8> {
    let mut body = preamble(&[("redis-bits", b"64")], &[LIBRARY.into()], &[(0, 2, 1), (5, 2, 0)]);
    let mut encoder = Encoder::new(9, true);
    encoder.byte(opcode::SELECTDB);
    encoder.length(0);
    encoder.byte(opcode::EXPIRETIME_MS);
    encoder.millis(EXPIRY.0);
    encoder.byte(opcode::STRING);
    encoder.string(b"volatile");
    encoder.integer(-7);
    encoder.byte(opcode::STRING);
    encoder.string(b"long");
    encoder.string(&[b'x'; 3000]);
    encoder.byte(opcode::SELECTDB);
    encoder.length(5);
    encoder.byte(opcode::LIST);
    encoder.string(b"list");
    encoder.length(elements as u64);
    (0..elements).for_each(|number| encoder.integer(number));
    encoder.byte(opcode::SORTED_SET_2);
    encoder.string(b"zset");
    encoder.length(2);
    for (member, score) in [(b"m", 0.1f64), (b"n", f64::INFINITY)] {
        encoder.string(member);
        encoder.raw(&score.to_le_bytes());
    }
    body.extend(encoder.into_pieces().concat());
    let magic = magic(9);
    [&magic[..], &body, &Checksum::end(None, &magic, body.len() as u64)].concat()
}

fn written(
    snapshot: &[u8],
    time: Option<i64>,
    is_wanted: impl Fn() -> bool,
) -> Result<Vec<u8>, NotWritten> {
    let mut bytes = Vec::new();
    let len = write_commands(snapshot, &mut bytes, form(time), is_wanted)?;
    assert_eq!(bytes.len() as u64, len);
    Ok(bytes)
}

/// The words of all lines; what begins with # is left out, as annotations do.
fn lines(bytes: &[u8]) -> Vec<Vec<String>> {
    let mut lines: Vec<Vec<String>> = Vec::new();
    let text = String::from_utf8_lossy(bytes);
    for word in text.split("\r\n").filter(|word| !word.is_empty()) {
        match word.as_bytes()[0] {
            b'*' => lines.push(Vec::new()),
            b'$' | b'#' => {}
            _ => lines.last_mut().expect("a line has begun").push(word.to_owned()),
        }
    }
    lines
}

#[test]
fn each_key_becomes_the_commands_that_make_it() {
    let bytes = written(&snapshot(130), Some(1_700_000_000), || true).expect("it is right");
    assert!(bytes.starts_with(b"#TS:1700000000\r\n#CRC:"));
    let lines = lines(&bytes);
    let shown = |line: &Vec<String>| line.iter().take(3).cloned().collect::<Vec<_>>().join(" ");
    let heads: Vec<String> = lines.iter().map(shown).collect();
    let long = format!("SET long {}", "x".repeat(3000));
    assert_eq!(
        heads,
        [
            "SELECT 0",
            // What begins with # is left out, and the library does.
            "FUNCTION LOAD",
            "SET volatile -7",
            "PEXPIREAT volatile 1900000000000",
            &long,
            "SELECT 5",
            "RPUSH list 0",
            "RPUSH list 64",
            "RPUSH list 128",
            "ZADD zset 0.1",
        ]
    );
    assert_eq!(lines[8].len(), 4, "the rest of the elements");
    assert_eq!(lines[9][2..], ["0.1", "m", "inf", "n"]);
}

#[test]
fn groups_are_whole_and_of_bounded_size() {
    let bytes = written(&snapshot(200_000), None, || true).expect("it is right");
    let mut verifier = Verifier::new(0);
    verifier.feed(&bytes);
    let verdict = verifier.finish();
    assert_eq!(verdict.state, State::Whole);
    assert_eq!(verdict.safe, bytes.len() as u64);
    let groups = bytes.windows(5).filter(|window| window == b"#CRC:").count();
    assert_eq!(groups, 2, "one ends behind the list");
}

#[test]
fn what_is_no_snapshot_or_not_wanted_is_not_written() {
    let whole = snapshot(10);
    let cut = written(&whole[..whole.len() - 20], None, || true);
    assert!(matches!(cut, Err(NotWritten::Snapshot(_))), "{cut:?}");
    let other = written(b"not an RDB file", None, || true);
    assert!(matches!(other, Err(NotWritten::Snapshot(_))), "{other:?}");
    assert!(matches!(written(&whole, None, || false), Err(NotWritten::Unwanted)));
}
