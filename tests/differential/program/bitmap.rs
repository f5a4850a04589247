//! Bitmaps and HyperLogLogs: strings that are read as something else. Invariant: nothing here makes a
//! string of many megabytes.

use super::{Generator, Group, INTEGERS};
use crate::support::reply::Rule;

pub(crate) const GROUP: Group = Group {
    name: "bitmap",
    since: (7, 0),
    lines: &[
        (12, "SETBIT $key $bit_offset $bit", Rule::Exact),
        (6, "GETBIT $key $bit_offset", Rule::Exact),
        (8, "BITCOUNT $key $bit_range", Rule::Exact),
        (8, "BITPOS $key $bit $bit_range", Rule::Exact),
        (4, "BITPOS $key $bit $index", Rule::Exact),
        (10, "BITOP $bit_operation $key $keys", Rule::Exact),
        (12, "BITFIELD $key $fields", Rule::Exact),
        (4, "BITFIELD_RO $key $fields", Rule::Exact),
        (10, "PFADD $key $elements", Rule::Exact),
        (6, "PFCOUNT $key", Rule::Exact),
        (4, "PFCOUNT $keys", Rule::Exact),
        (5, "PFMERGE $key $keys", Rule::Exact),
        (2, "PFMERGE $key", Rule::Exact),
        (2, "PFDEBUG $pfdebug $key", Rule::Exact),
        (4, "SETRANGE $key $byte_offset $value", Rule::Exact),
        (4, "SET $key $value", Rule::Exact),
        (2, "SET $key $bytes", Rule::Exact),
        (6, "GET $key", Rule::Exact),
        (3, "STRLEN $key", Rule::Exact),
        (3, "OBJECT ENCODING $key", Rule::Exact),
        (3, "DEL $key", Rule::Exact),
        (1, "SADD $key a", Rule::Exact),
    ],
    expand,
};

fn expand(generator: &mut Generator<'_>, word: &str, argv: &mut Vec<Vec<u8>>) -> bool {
    match word {
        "bit" => argv.push(generator.pick(&["0", "1", "0", "1", "0", "1", "2", "-1", "x"])),
        "bit_offset" => argv.push(bit_offset(generator)),
        "byte_offset" => {
            let end = *generator.random.pick(&[&3, &100, &20_000, &140_000]);
            argv.push(generator.random.below(end).to_string().into_bytes());
        }
        "bit_range" => {
            let words = generator.random.below(4);
            if words > 1 {
                (0..2).for_each(|_| argv.push(bit_index(generator)));
            }
            if words > 2 {
                argv.push(generator.pick(&["BIT", "BYTE", "bit", "BIT", "what"]));
            }
        }
        "bit_operation" => {
            argv.push(generator.pick(&["AND", "OR", "XOR", "NOT", "and", "or", "what"]));
        }
        "fields" => (0..generator.random.below(5)).for_each(|_| field(generator, argv)),
        "elements" => {
            for _ in 0..*generator.random.pick(&[&0, &1, &3, &40, &600]) {
                argv.push(generator.random.below(5000).to_string().into_bytes());
            }
        }
        "pfdebug" => argv.push(generator.pick(&["ENCODING", "DECODE", "TODENSE", "GETREG", "x"])),
        "bytes" => {
            let byte = *generator.random.pick(&[&0u8, &0xff, &0x0f]);
            let len = *generator.random.pick(&[&1usize, &40, &16384, &16385, &70_000]);
            argv.push(vec![byte; len]);
        }
        _ => return false,
    }
    true
}

fn bit_offset(generator: &mut Generator<'_>) -> Vec<u8> {
    match generator.random.below(12) {
        0 => generator.pick(&["-1", "x", "4294967296", "9223372036854775808", "#3", "#", "#-1"]),
        1 => generator.random.below(2_000_000).to_string().into_bytes(),
        2 => generator.random.below(140_000).to_string().into_bytes(),
        _ => generator.random.below(200).to_string().into_bytes(),
    }
}

fn bit_index(generator: &mut Generator<'_>) -> Vec<u8> {
    match generator.random.below(8) {
        0 => generator.pick(INTEGERS),
        1 => format!("-{}", generator.random.below(100_000)).into_bytes(),
        2 => format!("-{}", generator.random.below(100)).into_bytes(),
        3 => generator.random.below(1_000_000).to_string().into_bytes(),
        _ => generator.random.below(100).to_string().into_bytes(),
    }
}

/// One operation of BITFIELD.
fn field(generator: &mut Generator<'_>, argv: &mut Vec<Vec<u8>>) {
    const OPERATIONS: &[&str] = &["GET", "SET", "INCRBY", "OVERFLOW", "what"];
    let operation = generator.pick(OPERATIONS);
    let is_overflow = operation == b"OVERFLOW";
    let is_read = operation == b"GET";
    argv.push(operation);
    if is_overflow {
        return argv.push(generator.pick(&["WRAP", "SAT", "FAIL", "sat", "FAIL", "what"]));
    }
    argv.push(generator.pick(FIELD_TYPES));
    let mut offset = bit_offset(generator);
    if generator.random.one_in(4) && offset.len() < 5 {
        offset.insert(0, b'#');
    }
    argv.push(offset);
    if !is_read {
        argv.push(generator.pick(INTEGERS));
    }
}

const FIELD_TYPES: &[&str] = &[
    "u8", "i8", "u1", "i1", "u2", "i5", "u16", "i33", "u63", "i64", "u8", "i16", "u64", "i65",
    "u0", "x8", "u",
];
