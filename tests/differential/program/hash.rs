//! Hashes. Invariant: no field expires while the program runs: times have passed, or are far ahead.

use super::{ABSOLUTE_MILLIS, ABSOLUTE_SECONDS, FLOATS, GARBAGE, Generator, Group, INTEGERS};
use crate::support::reply::Rule;

pub(crate) const GROUP: Group = Group {
    name: "hash",
    since: (8, 0),
    lines: &[
        (14, "HSET $key $pairs_of_fields", Rule::Exact),
        (2, "HMSET $key $pairs_of_fields", Rule::Exact),
        (3, "HSETNX $key $field $value", Rule::Exact),
        (4, "HGET $key $field", Rule::Exact),
        (4, "HMGET $key $fields", Rule::Exact),
        (6, "HGETALL $key", Rule::Sorted),
        (3, "HKEYS $key", Rule::Sorted),
        (3, "HVALS $key", Rule::Sorted),
        (3, "HLEN $key", Rule::Exact),
        (2, "HSTRLEN $key $field", Rule::Exact),
        (2, "HEXISTS $key $field", Rule::Exact),
        (8, "HDEL $key $fields", Rule::Exact),
        (5, "HINCRBY $key $field $int", Rule::Exact),
        (5, "HINCRBYFLOAT $key $field $float", Rule::Exact),
        (2, "HRANDFIELD $key", Rule::Type),
        (3, "HRANDFIELD $key $field_count", Rule::Shape),
        (2, "HSCAN $key 0 COUNT 100000 $hscan_match", Rule::Sorted),
        (1, "HSCAN $key 0 $hscan_options", Rule::Type),
        (4, "HEXPIREAT $key $field_at $field_condition $counted_fields", Rule::Exact),
        (6, "HPEXPIREAT $key $field_at_millis $field_condition $counted_fields", Rule::Exact),
        (3, "HEXPIREAT $key $garbage $counted_fields", Rule::Exact),
        (4, "HEXPIRETIME $key $counted_fields", Rule::Exact),
        (4, "HPEXPIRETIME $key $counted_fields", Rule::Exact),
        (1, "HTTL $key $counted_fields", Rule::Shape),
        (1, "HPTTL $key $counted_fields", Rule::Shape),
        (4, "HPERSIST $key $counted_fields", Rule::Exact),
        (3, "HGETDEL $key $counted_fields", Rule::Exact),
        (5, "HGETEX $key $field_ttl $counted_fields", Rule::Exact),
        (6, "HSETEX $key $fields_condition $field_ttl $counted_pairs", Rule::Exact),
        (3, "OBJECT ENCODING $key", Rule::Exact),
        (2, "DEBUG DIGEST-VALUE $key", Rule::Exact),
        (2, "SET $key $value", Rule::Exact),
    ],
    expand,
};

fn expand(generator: &mut Generator<'_>, word: &str, argv: &mut Vec<Vec<u8>>) -> bool {
    match word {
        "field" => argv.push(field(generator)),
        "fields" => (0..=generator.random.below(4)).for_each(|_| argv.push(field(generator))),
        "pairs_of_fields" => pairs(generator, argv),
        "counted_fields" => counted(generator, argv, 1),
        "counted_pairs" => counted(generator, argv, 2),
        "field_condition" => {
            generator.some_of(&["NX", "XX", "GT", "LT", "gt", "FIELDS"], 1, argv);
        }
        "fields_condition" => generator.some_of(&["FNX", "FXX", "fxx"], 1, argv),
        "field_at" => argv.push(generator.pick(ABSOLUTE_SECONDS)),
        "field_at_millis" => argv.push(generator.pick(ABSOLUTE_MILLIS)),
        "field_ttl" => match generator.random.below(7) {
            0 => generator.option("EXAT", "$field_at", argv),
            1 | 2 => generator.option("PXAT", "$field_at_millis", argv),
            3 => argv.push(b"PERSIST".to_vec()),
            4 => argv.push(b"KEEPTTL".to_vec()),
            5 => argv.push(generator.pick(GARBAGE)),
            _ => {}
        },
        "field_count" => argv.push(generator.pick(COUNTS)),
        "hscan_match" => {
            generator.some_of(&["MATCH *", "MATCH f*", "MATCH 1*", "NOVALUES"], 2, argv);
        }
        "hscan_options" => {
            let options = ["COUNT 3", "COUNT 0", "COUNT x", "MATCH *1", "TYPE hash", "NOVALUES"];
            generator.some_of(&options, 2, argv);
        }
        _ => return false,
    }
    true
}

/// Few words, so that they meet; now and then one that a listpack does not take.
fn field(generator: &mut Generator<'_>) -> Vec<u8> {
    match generator.random.below(20) {
        0 => Vec::new(),
        1 => generator.pick(INTEGERS),
        2 => generator.pick(FLOATS),
        3 => "x".repeat(*generator.random.pick(&[&63, &64, &65, &2000])).into_bytes(),
        4 => generator.value(),
        5..9 => generator.random.below(300).to_string().into_bytes(),
        _ => format!("f{}", generator.random.below(8)).into_bytes(),
    }
}

/// Sometimes more than a listpack takes.
fn pairs(generator: &mut Generator<'_>, argv: &mut Vec<Vec<u8>>) {
    let count = if generator.random.one_in(20) { 520 } else { generator.random.below(5) + 1 };
    for _ in 0..count {
        argv.push(field(generator));
        argv.push(generator.value());
    }
    if generator.random.one_in(30) {
        argv.push(field(generator));
    }
}

/// FIELDS with a number and as many fields, each with `words - 1` values.
fn counted(generator: &mut Generator<'_>, argv: &mut Vec<Vec<u8>>, words: usize) {
    let count = generator.random.below(4) + 1;
    argv.push(generator.pick(&["FIELDS", "FIELDS", "FIELDS", "FIELDS", "fields", "FIELD"]));
    let said = if generator.random.one_in(15) { "0" } else { "" };
    argv.push(if said.is_empty() { count.to_string().into_bytes() } else { said.into() });
    for _ in 0..count {
        argv.push(field(generator));
        (1..words).for_each(|_| argv.push(generator.value()));
    }
}

/// For HRANDFIELD. What repeats must not be long.
const COUNTS: &[&str] = &["0", "1", "3", "1000", "-1", "-20", "x", "9223372036854775807"];
