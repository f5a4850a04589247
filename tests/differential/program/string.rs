//! Strings. Invariant: SET stores nothing that has expired where the program does not allow it.

use super::{GARBAGE, Generator, Group};
use crate::support::reply::Rule;

pub(crate) const GROUP: Group = Group {
    name: "string",
    since: (7, 0),
    lines: &[
        (12, "SET $key $value", Rule::Exact),
        (12, "SET $key $value $set_options", Rule::Exact),
        (8, "GET $key", Rule::Exact),
        (3, "GETSET $key $value", Rule::Exact),
        (3, "GETDEL $key", Rule::Exact),
        (5, "GETEX $key $getex_option", Rule::Exact),
        (4, "SETEX $key $seconds $value", Rule::Exact),
        (3, "PSETEX $key $millis $value", Rule::Exact),
        (3, "SETNX $key $value", Rule::Exact),
        (5, "APPEND $key $value", Rule::Exact),
        (3, "STRLEN $key", Rule::Exact),
        (5, "GETRANGE $key $index $index", Rule::Exact),
        (1, "SUBSTR $key $index $index", Rule::Exact),
        (5, "SETRANGE $key $offset $value", Rule::Exact),
        (4, "INCR $key", Rule::Exact),
        (3, "DECR $key", Rule::Exact),
        (4, "INCRBY $key $int", Rule::Exact),
        (3, "DECRBY $key $int", Rule::Exact),
        (5, "INCRBYFLOAT $key $float", Rule::Exact),
        (5, "MGET $keys", Rule::Exact),
        (5, "MSET $pairs", Rule::Exact),
        (3, "MSETNX $pairs", Rule::Exact),
        (4, "LCS $key $key $lcs_options", Rule::Exact),
    ],
    expand,
};

fn expand(generator: &mut Generator<'_>, word: &str, argv: &mut Vec<Vec<u8>>) -> bool {
    match word {
        "set_options" => set_options(generator, argv),
        "getex_option" => getex_option(generator, argv),
        "offset" => argv.push(generator.pick(OFFSETS)),
        "lcs_options" => {
            let options = ["LEN", "IDX", "WITHMATCHLEN", "MINMATCHLEN 2", "MINMATCHLEN -1"];
            generator.some_of(&options, 3, argv);
        }
        _ => return false,
    }
    true
}

fn set_options(generator: &mut Generator<'_>, argv: &mut Vec<Vec<u8>>) {
    for _ in 0..generator.random.below(4) {
        match generator.random.below(9) {
            0 => argv.push(b"NX".to_vec()),
            1 => argv.push(b"xx".to_vec()),
            2 | 3 => argv.push(b"GET".to_vec()),
            4 => argv.push(b"KEEPTTL".to_vec()),
            5 => generator.option("EX", "$seconds", argv),
            6 => generator.option("px", "$millis", argv),
            7 if generator.leaves_expired => generator.option("PXAT", "$at_millis", argv),
            7 => argv.extend([b"PXAT".to_vec(), b"33177117420123".to_vec()]),
            _ if generator.leaves_expired => generator.option("EXAT", "$at", argv),
            _ => argv.extend([b"EXAT".to_vec(), b"33177117421".to_vec()]),
        }
    }
}

fn getex_option(generator: &mut Generator<'_>, argv: &mut Vec<Vec<u8>>) {
    match generator.random.below(7) {
        0 => generator.option("EX", "$seconds", argv),
        1 => generator.option("PX", "$millis", argv),
        2 => generator.option("EXAT", "$at", argv),
        3 => generator.option("PXAT", "$at_millis", argv),
        4 => argv.push(b"PERSIST".to_vec()),
        5 => argv.push(generator.pick(GARBAGE)),
        _ => {}
    }
}

/// For SETRANGE: large ones are past the limit, as a value within it would fill the machine.
const OFFSETS: &[&str] = &["0", "1", "5", "100", "-1", "536870912", "9223372036854775807", "abc"];
