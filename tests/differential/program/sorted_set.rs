//! Sorted sets. Invariant: ranges of members are asked for only where all scores are equal: else a
//! stock server's answer depends on chance.

use super::{Generator, Group};
use crate::support::reply::Rule;

pub(crate) const GROUP: Group = Group {
    name: "sorted_set",
    since: (8, 0),
    lines: &[
        (10, "ZADD $zset $zadd_options $scored", Rule::Exact),
        (8, "ZADD $zset $scored", Rule::Exact),
        (3, "ZADD $large $run", Rule::Exact),
        (4, "ZADD $level $level_members", Rule::Exact),
        (2, "ZADD $level $level_run", Rule::Exact),
        (3, "ZREM $level $zmembers", Rule::Exact),
        (2, "ZRANGE $level $rank $rank $rank_options", Rule::Exact),
        (1, "ZPOPMIN $level $pop_count", Rule::Exact),
        (6, "ZINCRBY $zset $score $zmember", Rule::Exact),
        (5, "ZREM $zset $zmembers", Rule::Exact),
        (2, "ZCARD $zset", Rule::Exact),
        (4, "ZSCORE $zset $zmember", Rule::Exact),
        (3, "ZMSCORE $zset $zmembers", Rule::Exact),
        (4, "ZRANK $zset $zmember $withscore", Rule::Exact),
        (4, "ZREVRANK $zset $zmember $withscore", Rule::Exact),
        (4, "ZCOUNT $zset $min $max", Rule::Exact),
        (3, "ZLEXCOUNT $level $lex $lex", Rule::Exact),
        (5, "ZRANGE $zset $rank $rank $rank_options", Rule::Exact),
        (6, "ZRANGE $zset $min $max BYSCORE $score_options", Rule::Exact),
        (4, "ZRANGE $level $lex $lex BYLEX $lex_options", Rule::Exact),
        (1, "ZRANGE $zset $rank $rank $odd_options", Rule::Exact),
        (3, "ZREVRANGE $zset $rank $rank $withscores", Rule::Exact),
        (3, "ZRANGEBYSCORE $zset $min $max $score_options", Rule::Exact),
        (3, "ZREVRANGEBYSCORE $zset $max $min $score_options", Rule::Exact),
        (3, "ZRANGEBYLEX $level $lex $lex $lex_options", Rule::Exact),
        (3, "ZREVRANGEBYLEX $level $lex $lex $lex_options", Rule::Exact),
        (2, "ZRANGESTORE $key $zset $rank $rank $rev", Rule::Exact),
        (3, "ZRANGESTORE $key $zset $min $max BYSCORE $score_options", Rule::Exact),
        (2, "ZRANGESTORE $level $level $lex $lex BYLEX $lex_options", Rule::Exact),
        (2, "ZREMRANGEBYRANK $zset $rank $rank", Rule::Exact),
        (2, "ZREMRANGEBYSCORE $zset $min $max", Rule::Exact),
        (2, "ZREMRANGEBYLEX $level $lex $lex", Rule::Exact),
        (3, "ZPOPMIN $zset $pop_count", Rule::Exact),
        (3, "ZPOPMAX $zset $pop_count", Rule::Exact),
        (3, "ZMPOP $zkeys $where", Rule::Exact),
        (2, "ZMPOP $zkeys $where COUNT $number", Rule::Exact),
        (2, "ZRANDMEMBER $zset", Rule::Type),
        (3, "ZRANDMEMBER $zset $number $withscores", Rule::Shape),
        (3, "ZSCAN $zset 0 COUNT 100000 $match", Rule::Sorted),
        (1, "ZSCAN $zset 0 $zscan_options", Rule::Type),
        (4, "ZUNION $zkeys $weights $withscores", Rule::Exact),
        (4, "ZINTER $zkeys $weights $withscores", Rule::Exact),
        (3, "ZDIFF $zkeys $withscores", Rule::Exact),
        (3, "ZUNIONSTORE $key $zkeys $weights", Rule::Exact),
        (3, "ZINTERSTORE $key $zkeys $weights", Rule::Exact),
        (3, "ZDIFFSTORE $key $zkeys", Rule::Exact),
        (3, "ZINTERCARD $zkeys $zlimit", Rule::Exact),
        (3, "OBJECT ENCODING $zset", Rule::Exact),
        (2, "DEBUG DIGEST-VALUE $zset", Rule::Exact),
        (2, "SADD $key $zmembers", Rule::Exact),
        (1, "SET $key $value", Rule::Exact),
        (1, "CONFIG SET zset-max-listpack-entries $entries", Rule::Exact),
    ],
    expand,
};

fn expand(generator: &mut Generator<'_>, word: &str, argv: &mut Vec<Vec<u8>>) -> bool {
    match word {
        "zset" => argv.push(key(generator)),
        // Only ever scores of 0.
        "level" => argv.push(generator.pick(&["level1", "level2"])),
        "large" => argv.push(generator.pick(&["large", "k1"])),
        "zmember" => argv.push(member(generator)),
        "zmembers" => (0..=generator.random.below(4)).for_each(|_| argv.push(member(generator))),
        "score" => argv.push(generator.pick(SCORES)),
        "scored" => {
            for _ in 0..=generator.random.below(4) {
                argv.push(generator.pick(SCORES));
                argv.push(member(generator));
            }
        }
        "run" => run(generator, argv, |at| (at * 7 % 50).to_string()),
        "level_run" => run(generator, argv, |_| "0".into()),
        "level_members" => {
            for _ in 0..=generator.random.below(6) {
                argv.push(b"0".to_vec());
                argv.push(member(generator));
            }
        }
        "zadd_options" => {
            generator.some_of(&["NX", "XX", "GT", "LT", "CH", "ch", "INCR", "incr"], 2, argv);
        }
        "min" | "max" => argv.push(generator.pick(BOUNDS)),
        "lex" => argv.push(generator.pick(LEX_BOUNDS)),
        "rank" => argv.push(generator.pick(RANKS)),
        "withscore" => generator.some_of(&["WITHSCORE", "withscore"], 1, argv),
        "withscores" => generator.some_of(&["WITHSCORES", "withscores"], 1, argv),
        "rev" => generator.some_of(&["REV"], 1, argv),
        "rank_options" => generator.some_of(&["REV", "WITHSCORES"], 2, argv),
        "score_options" => {
            let options = ["WITHSCORES", "LIMIT 0 2", "LIMIT 1 -1", "LIMIT 3 100", "LIMIT -1 2"];
            generator.some_of(&options, 2, argv);
            generator.some_of(ODD_LIMITS, 1, argv);
        }
        "lex_options" => {
            generator.some_of(&["LIMIT 0 2", "LIMIT 1 -1", "LIMIT 3 100", "LIMIT -2 9"], 1, argv);
        }
        "odd_options" => {
            let options = ["BYSCORE", "BYLEX", "REV", "LIMIT 0 1", "LIMIT 0", "WITHSCORES", "what"];
            generator.some_of(&options, 3, argv);
        }
        "pop_count" => {
            generator.some_of(&["0", "1", "2", "3", "100", "-1", "x", "1 2"], 1, argv);
        }
        "where" => argv.push(generator.pick(&["MIN", "MAX", "max", "WHAT"])),
        "number" => argv.push(generator.pick(NUMBERS)),
        "zkeys" => {
            let count = generator.random.below(4) + 1;
            let said = if generator.random.one_in(12) { count + 2 } else { count };
            argv.push(said.to_string().into_bytes());
            (0..count).for_each(|_| argv.push(key(generator)));
        }
        "weights" => weights(generator, argv),
        "zlimit" => {
            generator.some_of(&["LIMIT 0", "LIMIT 1", "limit 3", "LIMIT -1", "LIMIT"], 1, argv);
        }
        "match" => generator.some_of(&["MATCH *", "MATCH [a-m]*", "MATCH 1*"], 1, argv),
        "zscan_options" => {
            let options = ["COUNT 3", "COUNT 0", "COUNT x", "MATCH *1", "TYPE zset", "NOVALUES"];
            generator.some_of(&options, 2, argv);
        }
        "entries" => argv.push(generator.pick(&["128", "128", "0", "3", "512"])),
        _ => return false,
    }
    true
}

fn key(generator: &mut Generator<'_>) -> Vec<u8> {
    match generator.random.below(10) {
        0 => b"large".to_vec(),
        _ => generator.key(),
    }
}

/// Few, so that sorted sets have some in common; integers; others.
fn member(generator: &mut Generator<'_>) -> Vec<u8> {
    match generator.random.below(8) {
        0 => generator.value(),
        1..4 => generator.random.below(20).to_string().into_bytes(),
        _ => generator.pick(&["a", "b", "c", "m", "m1", "m2", "zz", ""]),
    }
}

/// Many members, now and then more than a listpack may have.
fn run(generator: &mut Generator<'_>, argv: &mut Vec<Vec<u8>>, score: impl Fn(usize) -> String) {
    let len = *generator.random.pick(&[&10, &100, &128, &129, &400]);
    let first = generator.random.below(60);
    for at in first..first + len {
        argv.push(score(at).into_bytes());
        argv.push(at.to_string().into_bytes());
    }
}

fn weights(generator: &mut Generator<'_>, argv: &mut Vec<Vec<u8>>) {
    let keys = argv.len() - 2;
    if generator.random.one_in(3) {
        argv.push(b"WEIGHTS".to_vec());
        // Where the destination comes first this is one too many: an error, too.
        let count = if argv[0].ends_with(b"STORE") { keys - 1 } else { keys };
        (0..count).for_each(|_| argv.push(generator.pick(WEIGHTS)));
    }
    let aggregates =
        ["AGGREGATE SUM", "AGGREGATE min", "AGGREGATE MAX", "AGGREGATE x", "AGGREGATE"];
    generator.some_of(&aggregates, 1, argv);
}

const SCORES: &[&str] = &[
    "0",
    "-0",
    "1",
    "1",
    "2",
    "3",
    "-1",
    "1.5",
    "0.1",
    "0.3",
    "-2.25",
    "1e3",
    "1e20",
    "3e-7",
    "123456789.123",
    "9007199254740993",
    "4611686018427387904",
    "9223372036854775807",
    "inf",
    "-inf",
    "+inf",
    "nan",
    "abc",
    "",
    "1e400",
    "0x10",
];
const BOUNDS: &[&str] = &[
    "-inf", "+inf", "inf", "0", "(0", "1", "(1", "2", "(2", "3", "10", "(1.5", "-1", "1e3", "nan",
    "x", "", "(", "40",
];
const LEX_BOUNDS: &[&str] =
    &["-", "+", "[a", "(a", "[m", "(m1", "[zz", "(1", "[15", "[", "(", "a", "", "[\u{7f}"];
const RANKS: &[&str] = &[
    "0",
    "1",
    "2",
    "5",
    "100",
    "-1",
    "-2",
    "-100",
    "9223372036854775807",
    "-9223372036854775808",
    "x",
];
const ODD_LIMITS: &[&str] = &[
    "LIMIT 9223372036854775807 1",
    "LIMIT 1 9223372036854775807",
    "LIMIT -9223372036854775807 2",
    "LIMIT 0 x",
    "LIMIT 2",
    "LIMIT 0 0",
];
const NUMBERS: &[&str] =
    &["0", "1", "2", "5", "100", "9223372036854775807", "-1", "-3", "-9223372036854775808", "x"];
const WEIGHTS: &[&str] = &["1", "2", "0.5", "-1", "0", "inf", "-inf", "x"];
