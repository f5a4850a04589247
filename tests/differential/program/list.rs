//! Lists. Invariant: LSET and LREM are given no numbers that some stock server cannot hold; and what
//! blocks waits for a hundredth of a second at most, if nothing damages its timeout.

use super::{Generator, Group, INTEGERS};
use crate::support::reply::Rule;

pub(crate) const GROUP: Group = Group {
    name: "list",
    since: (7, 0),
    lines: &[
        (10, "LPUSH $key $elements", Rule::Exact),
        (10, "RPUSH $key $elements", Rule::Exact),
        (3, "LPUSHX $key $elements", Rule::Exact),
        (3, "RPUSHX $key $elements", Rule::Exact),
        (4, "LPOP $key", Rule::Exact),
        (4, "RPOP $key", Rule::Exact),
        (4, "LPOP $key $count", Rule::Exact),
        (4, "RPOP $key $count", Rule::Exact),
        (3, "LLEN $key", Rule::Exact),
        (5, "LINDEX $key $index", Rule::Exact),
        (5, "LSET $key $near_index $element", Rule::Exact),
        (6, "LINSERT $key $side $element $element", Rule::Exact),
        (6, "LRANGE $key $index $index", Rule::Exact),
        (3, "LRANGE $key 0 -1", Rule::Exact),
        (4, "LTRIM $key $index $index", Rule::Exact),
        (5, "LREM $key $near_index $element", Rule::Exact),
        (6, "LPOS $key $element $lpos_options", Rule::Exact),
        (5, "LMOVE $key $key $end $end", Rule::Exact),
        (3, "RPOPLPUSH $key $key", Rule::Exact),
        (5, "LMPOP $numkeys $end $count_option", Rule::Exact),
        (1, "BLPOP $keys 0.01", Rule::Exact),
        (1, "BRPOP $keys 0.01", Rule::Exact),
        (1, "BLMPOP 0.01 $numkeys $end $count_option", Rule::Exact),
        (1, "BLMOVE $key $key $end $end 0.01", Rule::Exact),
        (1, "BRPOPLPUSH $key $key 0.01", Rule::Exact),
        (3, "OBJECT ENCODING $key", Rule::Exact),
        (3, "DEBUG DIGEST-VALUE $keys", Rule::Exact),
        (1, "SET $key $value", Rule::Exact),
    ],
    expand,
};

fn expand(generator: &mut Generator<'_>, word: &str, argv: &mut Vec<Vec<u8>>) -> bool {
    match word {
        "element" => argv.push(element(generator)),
        "elements" => {
            let count = *generator.random.pick(&[&1, &1, &2, &3, &9, &40, &300]);
            (0..count).for_each(|_| argv.push(element(generator)));
        }
        "count" => argv.push(generator.pick(&["0", "1", "2", "5", "100", "-1", "x"])),
        "near_index" => argv.push(generator.pick(&["0", "1", "3", "-1", "-3", "100", "abc", ""])),
        "side" => argv.push(generator.pick(&["BEFORE", "AFTER", "before", "beside"])),
        "end" => argv.push(generator.pick(&["LEFT", "RIGHT", "LEFT", "RIGHT", "left", "up"])),
        "lpos_options" => {
            let options = [
                "RANK 1",
                "RANK 2",
                "RANK -1",
                "RANK -2",
                "RANK 0",
                "COUNT 0",
                "COUNT 2",
                "COUNT -1",
                "MAXLEN 3",
                "MAXLEN 0",
                "MAXLEN -1",
                "rank",
            ];
            generator.some_of(&options, 3, argv);
        }
        "numkeys" => {
            let count = generator.random.below(3) + 1;
            let said = if generator.random.one_in(10) { count + 2 } else { count };
            argv.push(said.to_string().into_bytes());
            (0..count).for_each(|_| argv.push(generator.key()));
        }
        "count_option" => {
            generator.some_of(&["COUNT 1", "COUNT 3", "count 100", "COUNT 0", "COUNT"], 1, argv);
        }
        _ => return false,
    }
    true
}

/// Few short ones, so that searches find them; integers around the widths of a listpack; strings
/// around its lengths, and around those of a node.
fn element(generator: &mut Generator<'_>) -> Vec<u8> {
    match generator.random.below(12) {
        0 => generator.pick(INTEGERS),
        1 => generator.pick(&["127", "128", "4095", "4096", "-4097", "32768", "-8388609"]),
        2 => generator.value(),
        3 => "y".repeat(*generator.random.pick(&[&63, &64, &126, &127, &300])).into_bytes(),
        4 if generator.random.one_in(8) => {
            "z".repeat(*generator.random.pick(&[&4095, &4096, &8180, &8192, &8193])).into_bytes()
        }
        4..8 => generator.random.below(12).to_string().into_bytes(),
        _ => generator.pick(&["a", "b", "c", "d"]),
    }
}
