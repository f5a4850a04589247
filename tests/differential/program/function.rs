//! FUNCTION and FCALL: libraries that are loaded, replaced, dumped and restored, good ones and broken
//! ones. Invariant: no function keeps anything between two calls, since each core has its own
//! interpreter; two libraries share at most one name of a function, since which of several an error
//! names is chance; no library has two that differ in case alone, and nothing flushes them: behind
//! either Redis 8.0.6 ends itself.

use ironring::base::crc::crc64;

use super::{Generator, Group};
use crate::support::reply::Rule;

pub(crate) const GROUP: Group = Group {
    name: "function",
    since: (8, 0),
    lines: &[
        (6, "FUNCTION LOAD $library", Rule::Exact),
        (4, "FUNCTION LOAD REPLACE $library", Rule::Exact),
        (10, "FCALL $function 1 $key $value", Rule::Exact),
        (3, "FCALL $function 2 $key $key $value", Rule::Exact),
        (5, "FCALL_RO $function 1 $key $value", Rule::Exact),
        (2, "FCALL $function $count $key", Rule::Exact),
        (2, "FUNCTION DELETE $name", Rule::Exact),
        (3, "FUNCTION LIST", Rule::Sorted),
        (2, "FUNCTION LIST LIBRARYNAME $pattern WITHCODE", Rule::Sorted),
        (1, "FUNCTION STATS", Rule::Exact),
        (1, "FUNCTION DUMP", Rule::Type),
        (3, "FUNCTION RESTORE $dump $policy", Rule::Exact),
        (1, "FUNCTION RESTORE $dump", Rule::Exact),
        (1, "FUNCTION RESTORE $dumps REPLACE", Rule::Exact),
        (3, "SET $key $value", Rule::Exact),
        (2, "RPUSH $key $value $value", Rule::Exact),
        (1, "DEL $key", Rule::Exact),
        (1, "GET $key", Rule::Exact),
    ],
    expand,
};

/// Names of libraries.
pub(crate) const NAMES: &[&str] = &["one", "two", "Three_3", "one", "two", "nosuch", "b-d"];
const FUNCTIONS: &[&str] = &["f", "g", "h", "F", "nosuch"];

/// What a function does.
const BODIES: &[&str] = &[
    "return redis.call('SET', keys[1], args[1])",
    "return redis.call('GET', keys[1])",
    "return redis.pcall('INCR', keys[1])",
    "return redis.call('INCR', keys[1])",
    "return {#keys, #args, keys[1], args[1]}",
    "return redis.call('RENAME', keys[1], keys[2])",
    "return redis.call('LRANGE', keys[1], 0, -1)",
    "return redis.status_reply(args[1])",
    "return redis.error_reply('MY own')",
    "error('in the middle')",
    "error({err = 'MY table'})",
    "return nosuch",
    "nosuch = 1",
    "return KEYS[1]",
    "redis.setresp(3) return redis.call('HGETALL', keys[1])",
    "return redis.register_function('late', function() end)",
    "return cjson.encode({keys, args})",
    "return tostring(1/3) .. tostring(1e100)",
];

const FLAGS: &[&str] =
    &["", "", ", flags={'no-writes'}", ", flags={'allow-oom'}", ", flags={'odd'}", ", flags=1"];

/// What a library is made of that is refused, or odd.
const ODD: &[&str] = &[
    "return 1",
    "x = 1",
    "redis.call('PING')",
    "redis.register_function('f')",
    "redis.register_function('f', 1)",
    "redis.register_function({function_name='f'})",
    "redis.register_function({callback=function() end})",
    "redis.register_function({function_name='f', callback=function() end, odd=1})",
    "redis.register_function('b-d', function() end)",
    "local x = (",
    "error('x')",
    "redis.log(redis.LOG_NOTICE, 'x')",
    "redis.setresp(3)",
];

fn expand(generator: &mut Generator<'_>, word: &str, argv: &mut Vec<Vec<u8>>) -> bool {
    let one = match word {
        "library" => library(generator, true).into_bytes(),
        "function" => generator.pick(FUNCTIONS),
        "name" => generator.pick(NAMES),
        "pattern" => generator.pick(&["*", "o*", "ONE", "t?o", "nosuch"]),
        "count" => generator.pick(&["0", "1", "2", "-1", "x"]),
        "policy" => generator.pick(&["append", "REPLACE", "replace", "odd"]),
        "dump" => dump(generator, 1),
        "dumps" => dump(generator, 2),
        _ => return false,
    };
    argv.push(one);
    true
}

fn text(generator: &mut Generator<'_>, of: &[&str]) -> String {
    String::from_utf8(generator.pick(of)).expect("texts of ours")
}

/// `shares`: it has a function with a name that other libraries may have, too.
fn library(generator: &mut Generator<'_>, shares: bool) -> String {
    if generator.random.one_in(12) {
        let heads =
            ["", "#!lua", "#!js name=one", "#!lua name=", "#!lua name=a name=b", "#!lua x=y"];
        return format!("{}\nreturn 1", text(generator, &heads));
    }
    let library = text(generator, NAMES);
    let mut code = format!("#!lua name={library}\n");
    if generator.random.one_in(6) {
        code += &text(generator, ODD);
        code.push('\n');
    }
    for nth in 0..=generator.random.below(3) {
        let shared = text(generator, &FUNCTIONS[..FUNCTIONS.len() - 1]);
        let own = || format!("{library}_{}", shared.to_lowercase());
        let name = if nth == 0 && shares { shared.clone() } else { own() };
        let body = text(generator, BODIES);
        if generator.random.one_in(2) {
            code +=
                &format!("redis.register_function('{name}', function(keys, args) {body} end)\n");
        } else {
            let flags = text(generator, FLAGS);
            code += &format!(
                "redis.register_function{{function_name='{name}', \
                 callback=function(keys, args) {body} end{flags}}}\n"
            );
        }
    }
    code
}

/// A dump of so many libraries, as a server of version 7.0 writes it; now and then a broken one.
fn dump(generator: &mut Generator<'_>, count: usize) -> Vec<u8> {
    let mut dump = Vec::new();
    for nth in 0..count {
        let code = library(generator, nth == 0);
        dump.push(OPCODE_FUNCTION);
        let len = u16::try_from(code.len()).expect("a short library");
        dump.extend((LENGTH_OF_14_BITS | len).to_be_bytes());
        dump.extend(code.bytes());
    }
    dump.extend(RDB_VERSION.to_le_bytes());
    let sum = crc64(0, &dump) ^ u64::from(generator.random.one_in(10));
    dump.extend(sum.to_le_bytes());
    dump
}

/// Source: rdb.h of Redis 7.0.
const OPCODE_FUNCTION: u8 = 245;
const LENGTH_OF_14_BITS: u16 = 0x4000;
const RDB_VERSION: u16 = 10;
