//! Sets. Invariant: nothing is removed by chance, as SPOP does: transcripts and the type's own tests
//! are about that.

use super::{Generator, Group, INTEGERS};
use crate::support::reply::Rule;

pub(crate) const GROUP: Group = Group {
    name: "set",
    since: (7, 0),
    lines: &[
        (14, "SADD $key $members", Rule::Exact),
        (8, "SADD $key $ints", Rule::Exact),
        (8, "SREM $key $members", Rule::Exact),
        (4, "SREM $key $ints", Rule::Exact),
        (6, "SISMEMBER $key $member", Rule::Exact),
        (4, "SMISMEMBER $key $members", Rule::Exact),
        (4, "SCARD $key", Rule::Exact),
        (6, "SMEMBERS $key", Rule::Sorted),
        (8, "SMOVE $key $key $member", Rule::Exact),
        (6, "SINTER $keys", Rule::Sorted),
        (6, "SINTERSTORE $key $keys", Rule::Exact),
        (5, "SINTERCARD $numkeys $limit", Rule::Exact),
        (6, "SUNION $keys", Rule::Sorted),
        (6, "SUNIONSTORE $key $keys", Rule::Exact),
        (6, "SDIFF $keys", Rule::Sorted),
        (6, "SDIFFSTORE $key $keys", Rule::Exact),
        (2, "SRANDMEMBER $key", Rule::Type),
        (4, "SRANDMEMBER $key $count", Rule::Shape),
        (3, "SSCAN $key 0 COUNT 100000 $match", Rule::Sorted),
        (1, "SSCAN $key 0 $sscan_options", Rule::Type),
        (3, "OBJECT ENCODING $key", Rule::Exact),
        (2, "DEBUG DIGEST-VALUE $key", Rule::Exact),
        (2, "SET $key $value", Rule::Exact),
    ],
    expand,
};

fn expand(generator: &mut Generator<'_>, word: &str, argv: &mut Vec<Vec<u8>>) -> bool {
    match word {
        "member" => argv.push(member(generator)),
        "members" => {
            for _ in 0..=generator.random.below(4) {
                argv.push(member(generator));
            }
        }
        "ints" => ints(generator, argv),
        "numkeys" => {
            let count = generator.random.below(4) + 1;
            let said = if generator.random.one_in(10) { count + 2 } else { count };
            argv.push(said.to_string().into_bytes());
            (0..count).for_each(|_| argv.push(generator.key()));
        }
        "limit" => {
            generator.some_of(&["LIMIT 0", "LIMIT 1", "limit 7", "LIMIT -1", "LIMIT"], 1, argv);
        }
        "count" => argv.push(generator.pick(COUNTS)),
        "match" => generator.some_of(&["MATCH *", "MATCH [a-m]*", "MATCH 1*"], 1, argv),
        "sscan_options" => {
            let options = ["COUNT 3", "COUNT 0", "COUNT x", "MATCH *1", "TYPE set", "NOVALUES"];
            generator.some_of(&options, 2, argv);
        }
        _ => return false,
    }
    true
}

/// Few short ones, so that sets have some in common; integers around the widths of an intset; others.
fn member(generator: &mut Generator<'_>) -> Vec<u8> {
    match generator.random.below(8) {
        0 => generator.pick(&["32767", "32768", "-32769", "2147483647", "2147483648"]),
        1 => generator.pick(INTEGERS),
        2 => generator.value(),
        3..5 => generator.random.below(12).to_string().into_bytes(),
        _ => generator.pick(&["a", "b", "c", "m", "m1", "m2", "zz"]),
    }
}

/// A run of integers, now and then longer than a listpack or an intset may be.
fn ints(generator: &mut Generator<'_>, argv: &mut Vec<Vec<u8>>) {
    let len = *generator.random.pick(&[&3, &20, &127, &128, &130, &500, &513]);
    let first = generator.random.below(40);
    argv.extend((first..first + len).map(|value| value.to_string().into_bytes()));
}

const COUNTS: &[&str] = &[
    "0",
    "1",
    "2",
    "10",
    "1000",
    "-1",
    "-3",
    "-100",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "abc",
];
