//! SORT. Invariant: what table order decides is compared sorted, and never stored or cut by a limit:
//! so LIMIT with an order of its own is about keys that only hold lists and sorted sets.

use super::{Generator, Group};
use crate::support::reply::Rule;

pub(crate) const GROUP: Group = Group {
    name: "sort",
    since: (7, 0),
    lines: &[
        (8, "RPUSH $key $elements", Rule::Exact),
        (6, "SADD $key $elements", Rule::Exact),
        (4, "ZADD $key 1 $element 2 $element", Rule::Exact),
        (6, "RPUSH inorder $elements", Rule::Exact),
        (4, "ZADD ranked 3 $element 1 $element", Rule::Exact),
        (8, "SET $weight $element", Rule::Exact),
        (6, "HSET $weight f $element", Rule::Exact),
        (3, "DEL $weight", Rule::Exact),
        (10, "SORT $key $order", Rule::Exact),
        (5, "SORT_RO $key $order", Rule::Exact),
        (10, "SORT $key BY $by $order", Rule::Exact),
        (6, "SORT $key $order STORE $key", Rule::Exact),
        (6, "SORT $key BY $by $order STORE $key", Rule::Exact),
        (5, "SORT $key ALPHA $order", Rule::Exact),
        (3, "SORT $key ALPHA $order STORE $key", Rule::Exact),
        (4, "SORT $key BY $by ALPHA", Rule::Sorted),
        (3, "SORT $key BY nosort $gets", Rule::Sorted),
        (3, "SORT $key BY nosort STORE $key", Rule::Exact),
        (4, "SORT inorder BY nosort $order", Rule::Exact),
        (4, "SORT ranked BY nosort $order", Rule::Exact),
        (3, "LRANGE $key 0 -1", Rule::Exact),
        (1, "OBJECT ENCODING ranked", Rule::Exact),
    ],
    expand,
};

fn expand(generator: &mut Generator<'_>, word: &str, argv: &mut Vec<Vec<u8>>) -> bool {
    match word {
        "element" => argv.push(element(generator)),
        "elements" => {
            for _ in 0..=generator.random.below(6) {
                argv.push(element(generator));
            }
        }
        "weight" => argv.push(format!("w_{}", generator.random.below(12)).into_bytes()),
        "by" => argv.push(generator.pick(&["w_*", "w_*->f", "*", "w_1*", "w_*->"])),
        "order" => {
            generator.some_of(&["DESC", "asc"], 1, argv);
            if generator.random.one_in(2) {
                argv.push(b"LIMIT".to_vec());
                argv.push(generator.pick(NUMBERS));
                argv.push(generator.pick(NUMBERS));
            }
            gets(generator, argv);
        }
        "gets" => gets(generator, argv),
        _ => return false,
    }
    true
}

fn gets(generator: &mut Generator<'_>, argv: &mut Vec<Vec<u8>>) {
    generator.some_of(&["GET #", "GET w_*", "GET w_*->f", "get none", "GET *"], 2, argv);
}

/// Numbers mostly, so that most sets can be sorted by them.
fn element(generator: &mut Generator<'_>) -> Vec<u8> {
    match generator.random.below(40) {
        0 => generator.value(),
        1..4 => generator.pick(&["1.5", "-0", "1e3", "inf", "-inf", ".5", "007", ""]),
        _ => (generator.random.below(14) as i64 - 2).to_string().into_bytes(),
    }
}

const NUMBERS: &[&str] = &[
    "0",
    "1",
    "2",
    "5",
    "100",
    "-1",
    "-3",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
];
