//! Streams. Invariant: no id comes from a clock. What is pending is idle for no time or, by XCLAIM,
//! for an age: no step depends on how long the one before took.

use super::{Generator, Group};
use crate::support::reply::Rule;

pub(crate) const GROUP: Group = Group {
    name: "stream",
    since: (8, 0),
    lines: &[
        (30, "XADD $key $new_id $fields", Rule::Exact),
        (8, "XADD $key $trim $new_id $fields", Rule::Exact),
        (3, "XADD $key NOMKSTREAM $new_id $fields", Rule::Exact),
        (2, "CONFIG SET stream-node-max-entries $block_entries", Rule::Exact),
        (1, "CONFIG SET stream-node-max-bytes $block_bytes", Rule::Exact),
        (5, "XLEN $key", Rule::Exact),
        (10, "XRANGE $key $edge $edge $xcount", Rule::Exact),
        (4, "XRANGE $key - +", Rule::Exact),
        (10, "XREVRANGE $key $edge $edge $xcount", Rule::Exact),
        (10, "XDEL $key $ids", Rule::Exact),
        (8, "XTRIM $key $trim", Rule::Exact),
        (3, "XSETID $key $id $setid_options", Rule::Exact),
        (6, "XREAD $xcount STREAMS $key $read_id", Rule::Exact),
        (4, "XREAD $xcount STREAMS $key $key $read_id $read_id", Rule::Exact),
        (1, "XREAD BLOCK $timeout STREAMS $key $read_id", Rule::Exact),
        (12, "XGROUP CREATE $key $group $group_id $create_options", Rule::Exact),
        (3, "XGROUP SETID $key $group $group_id $create_options", Rule::Exact),
        (2, "XGROUP DESTROY $key $group", Rule::Exact),
        (2, "XGROUP CREATECONSUMER $key $group $consumer", Rule::Exact),
        (2, "XGROUP DELCONSUMER $key $group $consumer", Rule::Exact),
        (20, "XREADGROUP GROUP $group $consumer $group_options STREAMS $key >", Rule::Exact),
        (8, "XREADGROUP GROUP $group $consumer $group_options STREAMS $key $read_id", Rule::Exact),
        (
            3,
            "XREADGROUP $group_options GROUP $group $consumer STREAMS $key $key $read_id >",
            Rule::Exact,
        ),
        (8, "XACK $key $group $ids", Rule::Exact),
        (6, "XPENDING $key $group", Rule::Exact),
        (8, "XPENDING $key $group $min_idle $edge $edge $count $some_consumer", Rule::Ints),
        (8, "XCLAIM $key $group $consumer $idle $ids $claim_options", Rule::Exact),
        (8, "XAUTOCLAIM $key $group $consumer $idle $edge $auto_options", Rule::Exact),
        (10, "XINFO STREAM $key", Rule::Exact),
        (6, "XINFO STREAM $key FULL $xcount", Rule::Ints),
        (8, "XINFO GROUPS $key", Rule::Exact),
        (6, "XINFO CONSUMERS $key $group", Rule::Ints),
        (1, "XINFO $garbage $key", Rule::Exact),
        (1, "XGROUP $garbage $key $group", Rule::Exact),
        (3, "OBJECT ENCODING $key", Rule::Exact),
        (2, "DEBUG DIGEST-VALUE $key", Rule::Exact),
        (2, "SET $key $value", Rule::Exact),
    ],
    expand,
};

fn expand(generator: &mut Generator<'_>, word: &str, argv: &mut Vec<Vec<u8>>) -> bool {
    match word {
        "id" => argv.push(id(generator)),
        "ids" => (0..=generator.random.below(4)).for_each(|_| argv.push(id(generator))),
        "new_id" => argv.push(new_id(generator)),
        "edge" => argv.push(edge(generator)),
        "read_id" => {
            let special = generator.random.one_in(3);
            argv.push(if special { generator.pick(&["$", "+", ">", "0"]) } else { id(generator) });
        }
        "group_id" => {
            let special = generator.random.one_in(2);
            argv.push(if special { generator.pick(&["$", "0", "-", "+"]) } else { id(generator) });
        }
        "fields" => {
            for number in 0..=generator.random.below(3) {
                argv.push(match generator.random.below(6) {
                    0 => generator.value(),
                    _ => vec![b'f' + number as u8],
                });
                argv.push(generator.value());
            }
        }
        "trim" => trim(generator, argv),
        "xcount" => generator.some_of(
            &["COUNT 1", "COUNT 2", "COUNT 5", "COUNT 0", "COUNT -1", "COUNT 9223372036854775807"],
            1,
            argv,
        ),
        "count" => argv.push(generator.pick(&["1", "3", "100", "0", "-1", "9223372036854775807"])),
        "block_entries" => argv.push(generator.pick(&["1", "2", "3", "5", "100", "0"])),
        "block_bytes" => argv.push(generator.pick(&["4096", "0", "100", "300"])),
        "timeout" => argv.push(generator.pick(&["1", "-1", "abc", "9223372036854775807"])),
        "setid_options" => {
            let options =
                ["ENTRIESADDED 100", "ENTRIESADDED 1", "MAXDELETEDID 5-3", "ENTRIESADDED -1"];
            generator.some_of(&options, 2, argv);
        }
        "group" => argv.push(generator.pick(&["g", "g", "g", "h", "streams"])),
        "consumer" => argv.push(generator.pick(&["c1", "c1", "c2", "c3", "", "\u{e9}"])),
        "some_consumer" => generator.some_of(&["c1", "c2", "nobody"], 1, argv),
        "create_options" => {
            let options =
                ["MKSTREAM", "MKSTREAM", "ENTRIESREAD 3", "ENTRIESREAD -1", "ENTRIESREAD -2"];
            generator.some_of(&options, 2, argv);
        }
        "group_options" => {
            let options = ["COUNT 1", "COUNT 2", "COUNT 2", "NOACK", "COUNT 0", "NOACK", "BLOCK 1"];
            generator.some_of(&options, 2, argv);
        }
        "min_idle" => generator.some_of(&["IDLE 0", "IDLE 100000000", "IDLE -1"], 1, argv),
        "idle" => argv.push(generator.pick(&["0", "0", "100000000", "-5", "abc"])),
        "claim_options" => generator.some_of(
            &[
                "FORCE",
                "FORCE",
                "JUSTID",
                "IDLE 1000000000",
                "TIME 1000",
                "TIME -1",
                "RETRYCOUNT 3",
                "RETRYCOUNT -1",
                "LASTID 7-2",
                "LASTID 4",
                "IDLE x",
            ],
            3,
            argv,
        ),
        "auto_options" => {
            let options = ["COUNT 1", "COUNT 2", "JUSTID", "COUNT 0", "COUNT 500", "COUNT x"];
            generator.some_of(&options, 2, argv);
        }
        _ => return false,
    }
    true
}

/// Few, so that many are there; now and then one that is odd or wrong.
fn id(generator: &mut Generator<'_>) -> Vec<u8> {
    match generator.random.below(16) {
        0 => generator.pick(ODD_IDS),
        1 => generator.random.below(30).to_string().into_bytes(),
        _ => format!("{}-{}", generator.random.below(12), generator.random.below(6)).into_bytes(),
    }
}

/// One that is likely to be above the last: XADD alone must not fail for most of its time.
fn new_id(generator: &mut Generator<'_>) -> Vec<u8> {
    match generator.random.below(12) {
        0 => id(generator),
        1 => generator.pick(&["*-1", "-", "+", "0-0", "5-*5"]),
        // The last id moves on by the number alone, or to the next millisecond.
        choice => format!("{}-*", if choice < 9 { 11 } else { 12 + choice }).into_bytes(),
    }
}

fn edge(generator: &mut Generator<'_>) -> Vec<u8> {
    match generator.random.below(6) {
        0 => b"-".to_vec(),
        1 => b"+".to_vec(),
        2 => [b"(".to_vec(), id(generator)].concat(),
        3 => format!("11-{}", generator.random.below(20)).into_bytes(),
        _ => id(generator),
    }
}

fn trim(generator: &mut Generator<'_>, argv: &mut Vec<Vec<u8>>) {
    let by_id = generator.random.one_in(2);
    argv.push(if by_id { b"MINID".to_vec() } else { b"MAXLEN".to_vec() });
    generator.some_of(&["~", "~", "="], 1, argv);
    argv.push(if by_id {
        format!("11-{}", generator.random.below(20)).into_bytes()
    } else {
        generator.pick(&["0", "1", "2", "3", "5", "10", "-1", "9223372036854775807", "abc"])
    });
    generator.some_of(&["LIMIT 0", "LIMIT 2", "LIMIT 5", "LIMIT -1", "LIMIT x"], 1, argv);
}

const ODD_IDS: &[&str] = &[
    "0",
    "0-0",
    "18446744073709551615-18446744073709551615",
    "18446744073709551615",
    "18446744073709551616",
    "11-18446744073709551615",
    "007-01",
    " 5-+3",
    "5--0",
    "5- -1",
    "5-",
    "-5",
    "abc",
    "5-3-1",
    "",
    "(",
    "5-3\0x",
];
