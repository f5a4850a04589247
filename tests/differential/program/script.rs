//! EVAL: small scripts over the keys of the other groups, conversions both ways, errors. Invariant: no
//! script reads a clock, chance, or the order of a table.

use super::{Generator, Group};
use crate::support::reply::Rule;

pub(crate) const GROUP: Group = Group {
    name: "script",
    since: (8, 0),
    lines: &[
        (10, "EVAL $code 1 $key $value", Rule::Exact),
        (10, "EVAL $code 2 $key $key $value $value", Rule::Exact),
        (6, "EVAL $code 0", Rule::Exact),
        (4, "EVAL_RO $code 1 $key $value", Rule::Exact),
        (4, "EVAL $conversion 0", Rule::Exact),
        (2, "EVALSHA $sha 1 $key $value", Rule::Exact),
        (2, "SCRIPT EXISTS $sha $sha", Rule::Exact),
        (1, "SCRIPT FLUSH", Rule::Exact),
        (1, "EVAL $code $number $key", Rule::Exact),
        (3, "SET $key $value", Rule::Exact),
        (2, "RPUSH $key $value $value", Rule::Exact),
        (2, "HSET $key f $value", Rule::Exact),
        (1, "DEL $key", Rule::Exact),
        (1, "GET $key", Rule::Exact),
    ],
    expand,
};

/// What a script calls; keys are declared, built from what was declared, or made up.
const CALLS: &[&str] = &[
    "('GET', KEYS[1])",
    "('GET', KEYS[2])",
    "('SET', KEYS[1], ARGV[1])",
    "('SET', KEYS[2], ARGV[2])",
    "('APPEND', KEYS[1], ARGV[1])",
    "('INCR', KEYS[1])",
    "('INCRBY', KEYS[1], 7)",
    "('INCRBYFLOAT', KEYS[1], 0.5)",
    "('RPUSH', KEYS[1], ARGV[1], 'x')",
    "('LRANGE', KEYS[1], 0, -1)",
    "('LPOP', KEYS[1])",
    "('BLPOP', KEYS[1], 0)",
    "('HSET', KEYS[1], 'f', ARGV[1])",
    "('HGET', KEYS[1], 'f')",
    "('ZADD', KEYS[1], 1.5, 'm', 2, 'n')",
    "('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')",
    "('ZSCORE', KEYS[1], 'm')",
    "('TYPE', KEYS[1])",
    "('EXISTS', KEYS[1], KEYS[2])",
    "('DEL', KEYS[1])",
    "('MSET', KEYS[1], 1, KEYS[2], 2)",
    "('MGET', unpack(KEYS))",
    "('RENAME', KEYS[1], KEYS[2])",
    "('SET', 'made:' .. (KEYS[1] or 'up'), 1)",
    "('GET', 'made:' .. (KEYS[1] or 'up'))",
    "('EXPIRE', KEYS[1], 1000)",
    "('PERSIST', KEYS[1])",
    "('OBJECT', 'ENCODING', KEYS[1])",
    "('SELECT', 1)",
    "('PING')",
    "('ECHO', 3.5)",
    "('NOSUCH')",
    "('GET')",
    "('EVAL', 'return 1', 0)",
    "(ARGV[1] or 'PING')",
    "()",
];

const CONVERSIONS: &[&str] = &[
    "1",
    "-1.9",
    "'x'",
    "true",
    "false",
    "nil",
    "{}",
    "{1,2,nil,3}",
    "{'a',{'b',{}}}",
    "{ok='fine'}",
    "{err='E x'}",
    "{double=0.1}",
    "{map={a={1}}}",
    "{set={a=true}}",
    "{big_number='12'}",
    "{verbatim_string={string='s',format='txt'}}",
    "redis.error_reply('X y')",
    "redis.status_reply('y')",
    "cjson.encode({1,{a='b'},'c',0.1})",
    "cjson.decode('[1,{\"a\":null}]')[1]",
    "cmsgpack.unpack(cmsgpack.pack({1,2,3}))",
    "cjson.encode({[1]=1,[3]=3})",
    "cjson.encode({})",
    "cjson.encode({[1000]=1})",
    "cjson.encode({1e15, 1e16, 123456789012345, 0.1, 1e-7, -0.0, 1/3})",
    "cjson.decode('[1e3, -0, 0x10, 1E400]')[2]",
    "cjson.decode('{\"a\":')",
    "cjson.encode(cjson.decode('{\"a\":[],\"b\":{}}'))",
    "cmsgpack.pack({1, -1, 127, 128, 255, 256, 65535, 65536, 4294967296, -129, 0.5, 1e300})",
    "cmsgpack.pack({a={b={c={}}}})",
    "{cmsgpack.unpack_one(cmsgpack.pack(1, 2, 3), 1)}",
    "cmsgpack.unpack('\\217')",
    "struct.pack('>I2i4', 258, -2)",
    "struct.pack('<!4bi4s', 1, 2, 'abc')",
    "struct.pack('>I8d', 2^53, 0.1)",
    "{struct.unpack('>hHbB', '\\255\\254\\1\\2\\200\\200')}",
    "{struct.unpack('c0', 'abc')}",
    "struct.size('<i2i4!8d')",
    "struct.pack('i17', 1)",
    "{bit.tobit(2^31), bit.tobit(-2^31-1), bit.tobit(2^52+1), bit.tobit(0.5), bit.tobit(1.5)}",
    "{bit.lshift(1, 31), bit.lshift(1, 32), bit.rshift(-1, 33), bit.arshift(-8, 1)}",
    "{bit.rol(0x12345678, 12), bit.ror(0x12345678, -4), bit.bswap(1)}",
    "{bit.tohex(1, 4), bit.tohex(-1, -8), bit.tohex(255, 0), bit.tohex(1, 9)}",
    "bit.band()",
    "bit.bor('0x10', '3', 1)",
    "tostring(2^53) .. tostring(2^63) .. tostring(-1e-5) .. tostring(100000000000000)",
    "string.format('%d %i %u %x %o %g %e', 3, -3, 3, 255, 8, 1e20, 12345.678)",
    "string.format('%-5s|%05d|%+.3f|%c', 'a', 42, 3.14159, 65)",
    "string.format('%d', 1.9)",
    "{tonumber('1e2'), tonumber('z', 36), tonumber(' 5 '), tonumber('5x')}",
    "string.rep('ab', 3)",
    "{struct.unpack('<I2', 'ab')}",
    "bit.tohex(bit.bxor(255, 4095))",
    "string.format('%5.1f|%q', 1.25, 'a')",
    "string.gsub('hello world', 'o', '0')",
    "{string.find('abc', 'b', 1, true)}",
    "#table.concat({1,2,3}, ',')",
    "tostring(1e15)",
    "tonumber('0x10')",
    "redis.sha1hex('abc')",
    "error('x')",
    "error({err='M n'})",
    "nosuch",
];

fn expand(generator: &mut Generator<'_>, word: &str, argv: &mut Vec<Vec<u8>>) -> bool {
    match word {
        "code" => argv.push(code(generator)),
        "conversion" => {
            let shown = text(generator, CONVERSIONS);
            let head = if generator.random.one_in(4) { "redis.setresp(3) " } else { "" };
            argv.push(format!("{head}return {shown}").into_bytes());
        }
        // Of `return 1`, and of a script that nobody brings.
        "sha" => argv.push(generator.pick(&[
            "e0e1f9fabfc9d4800c877a703b823ac0578ff8db",
            "E0E1F9FABFC9D4800C877A703B823AC0578FF8DB",
            "ffffffffffffffffffffffffffffffffffffffff",
            "short",
        ])),
        "number" => argv.push(generator.pick(&["0", "1", "2", "-1", "x", "1.0"])),
        _ => return false,
    }
    true
}

fn text(generator: &mut Generator<'_>, of: &[&str]) -> String {
    String::from_utf8(generator.pick(of)).expect("texts of ours")
}

/// A script of one to three calls.
fn code(generator: &mut Generator<'_>) -> Vec<u8> {
    if generator.random.one_in(10) {
        return b"return 1".to_vec();
    }
    let mut code = String::new();
    if generator.random.one_in(8) {
        let flags = ["", " flags=no-writes", " flags=allow-oom"];
        code += &format!("#!lua{}\n", text(generator, &flags));
    }
    if generator.random.one_in(6) {
        code += "redis.setresp(3) ";
    }
    for _ in 0..generator.random.below(3) {
        let how = text(generator, &["redis.call", "redis.pcall", "redis.pcall"]);
        code += &format!("local r = {how}{} ", text(generator, CALLS));
    }
    let how = text(generator, &["redis.call", "redis.pcall", "pcall(redis.call"]);
    let call = text(generator, CALLS);
    if how.starts_with("pcall") {
        let inner = call.trim_start_matches('(');
        code += &format!("return {{{how}, {inner}}}");
    } else {
        code += &format!("return {how}{call}");
    }
    code.into_bytes()
}
