//! What scripts do to the interpreter, its libraries and each other.

use super::super::with_servers;
use super::{guarded, must_be_unharmed, text, withstands};

#[test]
fn cve_2018_11218_cmsgpack_in_depth() {
    let pack = "local t = {} for i = 1, 100000 do t = {t} end return #cmsgpack.pack(t)";
    let unpack = "return tostring(cmsgpack.unpack(string.rep('\\145', 100000) .. '\\1'))";
    withstands(&[], &[(&["EVAL", pack, "0"], ""), (&["EVAL", unpack, "0"], "")]);
}

#[test]
fn cve_2018_11219_struct_with_huge_sizes() {
    withstands(
        &[],
        &[
            (&["EVAL", "return struct.pack('>I2147483648', '10')", "0"], "-ERR"),
            (&["EVAL", "return struct.unpack('c4294967295', 'abc')", "0"], "-ERR"),
            (&["EVAL", "return struct.unpack('>I9999999999999', 'abc')", "0"], "-ERR"),
        ],
    );
}

#[test]
fn cve_2020_14147_struct_with_sizes_that_wrap() {
    withstands(
        &[],
        &[
            (
                &["EVAL", "return struct.unpack('i8446744073709551616', string.rep('x', 64))", "0"],
                "-ERR",
            ),
            (&["EVAL", "return struct.pack('!99999999999999999999i4', 1)", "0"], "-ERR"),
        ],
    );
}

#[test]
fn cve_2021_32626_calls_with_too_many_arguments() {
    withstands(
        &[],
        &[
            (
                &[
                    "EVAL",
                    "local t = {} for i = 1, 100000 do t[i] = 'x' end return redis.call('SADD', KEYS[1], unpack(t))",
                    "1",
                    "k",
                ],
                "-ERR",
            ),
            (&["EVAL", "local function f() return f() .. 'x' end return f()", "0"], "-ERR"),
        ],
    );
}

#[test]
fn cve_2021_32672_the_debugger_for_strangers() {
    withstands(
        &[],
        &[(&["SCRIPT", "DEBUG", "YES"], "-ERR"), (&["SCRIPT", "DEBUG", "SYNC"], "-ERR")],
    );
}

#[test]
fn cve_2022_0543_no_library_leads_out() {
    let paths = [
        "return type(package)",
        "return type(require)",
        "return type(io)",
        "return type(loadfile)",
        "return type(dofile)",
        "return type(debug)",
        "return type(os.execute)",
    ];
    with_servers(&[], |server| {
        let mut client = guarded(server);
        for script in paths {
            let reply = text(&mut client, &["EVAL", script, "0"]);
            let is_closed = reply == "$3\r\nnil\r\n" || reply.starts_with("-ERR");
            assert!(is_closed, "{script}: {reply}");
        }
        must_be_unharmed(server);
    });
}

#[test]
fn cve_2022_24735_nobody_changes_what_others_run() {
    withstands(
        &[],
        &[
            (&["EVAL", "string.len = function() return 7 end return 1", "0"], "-ERR"),
            (&["EVAL", "redis.call = function() return 7 end return 1", "0"], "-ERR"),
            (&["EVAL", "getmetatable('').__index = {} return 1", "0"], "-ERR"),
            (&["EVAL", "setmetatable(_G, {}) return 1", "0"], "-ERR"),
            (&["EVAL", "return string.len('four')", "0"], ":4"),
        ],
    );
}

#[test]
fn cve_2022_24736_and_2025_46819_malformed_scripts() {
    with_servers(&[], |server| {
        let mut client = guarded(server);
        let long = format!("return [{}[", "=".repeat(200_000));
        let nested = format!("return {}1{}", "(".repeat(100_000), ")".repeat(100_000));
        let comment = format!("--[{}[", "=".repeat(100_000));
        for script in [long.as_str(), &nested, &comment, "return [[", "return '\\999'", "\x1bLua"] {
            text(&mut client, &["EVAL", script, "0"]);
        }
        must_be_unharmed(server);
    });
}

#[test]
fn cve_2024_31449_bits_of_odd_numbers() {
    withstands(
        &[],
        &[
            (&["EVAL", "return bit.tohex(65535, -2147483648)", "0"], "$8\r\n0000FFFF"),
            (&["EVAL", "return bit.tohex(65535, 2147483648)", "0"], ""),
            (&["EVAL", "return bit.lshift(1, 1e300)", "0"], ""),
        ],
    );
}

#[test]
fn cve_2024_46981_and_2025_49844_collected_while_in_use() {
    let tables = "for i = 1, 300 do local t = {} for j = 1, 100 do t[j] = {j} end collectgarbage() end return 1";
    let chunk =
        "local f = loadstring('return ' .. string.rep('x', 1000)) collectgarbage() return type(f)";
    let meta = "local t = setmetatable({}, {__gc = function() error('x') end}) t = nil collectgarbage() return 1";
    withstands(
        &[],
        &[
            (&["EVAL", tables, "0"], ":1"),
            (&["EVAL", chunk, "0"], ""),
            (&["EVAL", meta, "0"], ""),
            (&["SCRIPT", "FLUSH"], "+OK"),
            (&["EVAL", tables, "0"], ":1"),
        ],
    );
}

#[test]
fn cve_2025_46817_unpack_beyond_the_stack() {
    withstands(
        &[],
        &[
            (&["EVAL", "return {unpack({0}, 0, 2147483647)}", "0"], "-ERR"),
            (&["EVAL", "return {unpack({0}, -2147483648, 2147483647)}", "0"], "-ERR"),
            (&["EVAL", "return {string.byte('x', -2147483648, 2147483647)}", "0"], ""),
        ],
    );
}

#[test]
fn cve_2025_46818_metatables_of_basic_types() {
    withstands(
        &[],
        &[
            (&["EVAL", "getmetatable('').__index = function() return 1 end return 1", "0"], "-ERR"),
            (&["EVAL", "getmetatable('').__add = function() return 1 end return 1", "0"], "-ERR"),
            (&["EVAL", "return ('x'):rep(3)", "0"], "$3\r\nxxx"),
        ],
    );
}

#[test]
fn cve_2025_67733_errors_do_not_end_early() {
    withstands(
        &[],
        &[
            (&["EVAL", "return redis.error_reply('x\\r\\n+OK\\r\\n')", "0"], "-"),
            (&["EVAL", "return {err = 'a\\r\\n:1'}", "0"], "-"),
            (&["EVAL", "return redis.status_reply('a\\r\\n:1')", "0"], "+"),
            (&["PING"], "+PONG"),
        ],
    );
}

/// Texts that grow when they are written down: six bytes for each of these.
#[test]
fn cve_2022_24834_libraries_with_long_texts() {
    withstands(
        &[],
        &[
            (&["EVAL", "return #cjson.encode(string.rep('\\0', 2000000))", "0"], ":12000002"),
            (&["EVAL", "return #cmsgpack.pack(string.rep('x', 2000000))", "0"], ":2000005"),
            (
                &["EVAL", "return #cjson.encode({[string.rep('\\0', 2000000)] = 1})", "0"],
                ":12000006",
            ),
        ],
    );
}

/// A command of the debugger that remembers an interpreter which has gone.
#[test]
fn ghsa_fq2f_crmw_q97r_the_debugger_behind_a_flush() {
    withstands(
        &[],
        &[
            (&["EVAL", "return 1", "0"], ":1"),
            (&["SCRIPT", "DEBUG", "YES"], "-ERR"),
            (&["SCRIPT", "FLUSH", "SYNC"], "+OK"),
            (&["FUNCTION", "FLUSH", "SYNC"], "+OK"),
            (&["SCRIPT", "DEBUG", "SYNC"], "-ERR"),
            (&["EVAL", "return redis.breakpoint and redis.breakpoint()", "0"], ""),
            (&["EVAL", "return redis.debug and redis.debug('x')", "0"], ""),
        ],
    );
}
