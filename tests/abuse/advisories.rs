//! The weaknesses that advisories about Redis and Valkey name since 2018, each tried by its number.
//!
//! Invariant: each attack ends in a reply, after which the server answers within a second and the
//! guard keys are as they were. Attacks on other programs (redis-cli, other platforms, memory
//! allocators of 32 bits) are not listed.

use std::io::Write;
use std::time::{Duration, Instant};

use super::support::client::{Client, encode};
use super::support::server::Server;
use super::{connect, read_to_end, with_servers};

/// Whoever asks behind an attack waits no longer.
const PATIENCE: Duration = Duration::from_secs(1);

fn text(client: &mut Client, argv: &[&str]) -> String {
    let reply = client.call(argv).unwrap_or_else(|error| panic!("{argv:?}: {error}"));
    String::from_utf8_lossy(&reply).into_owned()
}

/// Sends each request on servers with one core and with four; its reply begins as it says.
fn withstands(options: &[(&str, &str)], attacks: &[(&[&str], &str)]) {
    with_servers(options, |server| {
        let mut client = guarded(server);
        for (argv, expected) in attacks {
            let reply = text(&mut client, argv);
            assert!(reply.starts_with(expected), "{argv:?}: {reply}");
        }
        must_be_unharmed(server);
    });
}

/// A client of a server that holds the guard keys.
fn guarded(server: &Server) -> Client {
    let mut client = server.client();
    assert_eq!(text(&mut client, &["SET", "guard", "value"]), "+OK\r\n");
    assert_eq!(text(&mut client, &["RPUSH", "{guard}list", "a", "b"]), ":2\r\n");
    client
}

fn must_be_unharmed(server: &Server) {
    let began = Instant::now();
    let mut client = server.client();
    assert_eq!(text(&mut client, &["GET", "guard"]), "$5\r\nvalue\r\n");
    let list = text(&mut client, &["LRANGE", "{guard}list", "0", "-1"]);
    assert_eq!(list, "*2\r\n$1\r\na\r\n$1\r\nb\r\n");
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
}

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
fn cve_2018_12453_groups_of_other_types() {
    withstands(
        &[],
        &[
            (&["SET", "k", "v"], "+OK"),
            (&["XGROUP", "CREATE", "k", "g", "0"], "-WRONGTYPE"),
            (&["XGROUP", "SETID", "k", "g", "0"], "-WRONGTYPE"),
            (&["XINFO", "STREAM", "k"], "-WRONGTYPE"),
        ],
    );
}

#[test]
fn cve_2019_10192_and_10193_registers_beyond_their_end() {
    with_servers(&[], |server| {
        let mut client = guarded(server);
        for opcodes in [&b"\x7f\xff\x7f\xff\x7f\xff"[..], b"\xff\xff\xff\xff", b"\x40", b"\x00\x00"]
        {
            for encoding in [0u8, 1] {
                let header = [b"HYLL", &[encoding, 0, 0, 0][..], &[0; 8], opcodes].concat();
                let set: [&[u8]; 3] = [b"SET", b"{hll}a", &header];
                assert_eq!(client.call(&set).expect("a reply"), b"+OK\r\n");
                for attack in [
                    &["PFCOUNT", "{hll}a"][..],
                    &["PFADD", "{hll}a", "x", "y", "z"],
                    &["PFMERGE", "{hll}b", "{hll}a", "{hll}a"],
                    &["PFDEBUG", "GETREG", "{hll}a"],
                ] {
                    text(&mut client, attack);
                }
            }
        }
        must_be_unharmed(server);
    });
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
fn cve_2021_21309_and_41099_lengths_beyond_the_limit() {
    with_servers(&[], |server| {
        let mut client = guarded(server);
        text(&mut client, &["CONFIG", "SET", "proto-max-bulk-len", "9223372036854775807"]);
        for length in ["4294967295", "9223372036854775807"] {
            let mut stream = connect(server);
            let request = format!("*2\r\n$3\r\nGET\r\n${length}\r\nabc");
            stream.write_all(request.as_bytes()).expect("it is sent");
            drop(stream);
        }
        text(&mut client, &["SETRANGE", "big", "9223372036854775807", "x"]);
        text(&mut client, &["SETRANGE", "big", "4294967295", "x"]);
        must_be_unharmed(server);
    });
}

#[test]
fn cve_2021_29477_and_32625_lcs_of_long_strings() {
    with_servers(&[], |server| {
        let mut client = guarded(server);
        let long = "x".repeat(300_000);
        text(&mut client, &["SET", "{l}a", &long]);
        text(&mut client, &["SET", "{l}b", &long]);
        assert!(text(&mut client, &["LCS", "{l}a", "{l}b"]).starts_with("-ERR"));
        must_be_unharmed(server);
    });
}

#[test]
fn cve_2021_29478_and_32687_sets_of_many_integers() {
    with_servers(&[("set-max-intset-entries", "1000000")], |server| {
        let mut client = guarded(server);
        let members: Vec<String> = (0..20_000).map(|n| (n * 1_000_003_i64).to_string()).collect();
        let mut words = vec!["SADD", "s"];
        words.extend(members.iter().map(String::as_str));
        assert_eq!(text(&mut client, &words), ":20000\r\n");
        must_be_unharmed(server);
    });
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
fn cve_2021_32627_and_32628_entries_that_are_too_large_to_pack() {
    let options =
        [("hash-max-listpack-value", "2147483648"), ("stream-node-max-bytes", "2147483648")];
    with_servers(&options, |server| {
        let mut client = guarded(server);
        let value = "v".repeat(2_000_000);
        for n in 0..4 {
            let field = format!("f{n}");
            assert_eq!(text(&mut client, &["HSET", "h", &field, &value]), ":1\r\n");
            assert!(text(&mut client, &["XADD", "s", "*", &field, &value]).starts_with('$'));
        }
        must_be_unharmed(server);
    });
}

#[test]
fn cve_2021_32672_the_debugger_for_strangers() {
    withstands(
        &[],
        &[(&["SCRIPT", "DEBUG", "YES"], "-ERR"), (&["SCRIPT", "DEBUG", "SYNC"], "-ERR")],
    );
}

#[test]
fn cve_2021_32675_announcements_of_strangers() {
    with_servers(&[("requirepass", "secret")], |server| {
        for request in ["*1000000\r\n$16384\r\n", "*10\r\n$20000\r\n"] {
            let mut stream = connect(server);
            stream.write_all(request.as_bytes()).expect("it is sent");
            let reply = read_to_end(&mut stream);
            assert!(reply.starts_with(b"-ERR Protocol error: unauthenticated"), "{reply:?}");
        }
    });
}

#[test]
fn cve_2021_32761_and_2019_bits_beyond_memory() {
    withstands(
        &[],
        &[
            (&["SETBIT", "k", "4294967296", "1"], "-ERR"),
            (&["BITFIELD", "k", "SET", "u8", "#18446744073709551615", "1"], "-ERR"),
            (&["BITFIELD", "k", "GET", "u63", "18446744073709551615"], "-ERR"),
            (&["BITCOUNT", "guard", "-9223372036854775808", "9223372036854775807"], ":"),
            (&["BITPOS", "guard", "1", "-9223372036854775808", "9223372036854775807", "BIT"], ":"),
        ],
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
fn cve_2022_31144_and_35951_claims_without_end() {
    withstands(
        &[],
        &[
            (&["XADD", "s", "1-1", "f", "v"], "$"),
            (&["XADD", "s", "2-1", "f", "v"], "$"),
            (&["XGROUP", "CREATE", "s", "g", "0"], "+OK"),
            (&["XREADGROUP", "GROUP", "g", "c", "STREAMS", "s", ">"], "*1"),
            (&["XDEL", "s", "1-1", "2-1"], ":2"),
            (&["XAUTOCLAIM", "s", "g", "d", "0", "0", "COUNT", "9223372036854775807"], "-ERR"),
            (&["XAUTOCLAIM", "s", "g", "d", "0", "0", "COUNT", "1152921504606846975"], ""),
            (&["XAUTOCLAIM", "s", "g", "d", "0", "0", "COUNT", "1"], "*3"),
        ],
    );
}

#[test]
fn cve_2022_35977_offsets_that_wrap() {
    withstands(
        &[],
        &[
            (&["SETRANGE", "k", "9223372036854775807", "x"], "-ERR"),
            (&["SETRANGE", "guard2", "536870912", "x"], "-ERR"),
            (
                &[
                    "SORT",
                    "{guard}list",
                    "ALPHA",
                    "LIMIT",
                    "9223372036854775807",
                    "9223372036854775807",
                ],
                "*0",
            ),
            (
                &[
                    "SORT",
                    "{guard}list",
                    "ALPHA",
                    "LIMIT",
                    "-9223372036854775808",
                    "9223372036854775807",
                ],
                "*2",
            ),
        ],
    );
}

#[test]
fn cve_2022_36021_and_2024_31228_patterns_that_never_end() {
    with_servers(&[], |server| {
        let mut client = guarded(server);
        let key = "a".repeat(50_000);
        assert_eq!(text(&mut client, &["SET", &key, "v"]), "+OK\r\n");
        let stars = format!("{}b", "a*".repeat(50));
        let deep = "*?".repeat(100_000);
        let escapes = "\\".repeat(100_001);
        for pattern in [stars.as_str(), &deep, &escapes, &"[".repeat(100_000)] {
            let began = Instant::now();
            text(&mut client, &["KEYS", pattern]);
            text(&mut client, &["SCAN", "0", "MATCH", pattern, "COUNT", "1000"]);
            text(&mut client, &["PSUBSCRIBE", pattern]);
            text(&mut client, &["PUNSUBSCRIBE", pattern]);
            text(&mut client, &["FUNCTION", "LIST", "LIBRARYNAME", pattern]);
            text(&mut client, &["COMMAND", "LIST", "FILTERBY", "PATTERN", pattern]);
            assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        }
        must_be_unharmed(server);
    });
}

#[test]
fn cve_2023_22458_and_25155_counts_at_the_end_of_their_range() {
    withstands(
        &[],
        &[
            (&["HSET", "h", "f", "v"], ":1"),
            (&["ZADD", "z", "1", "m"], ":1"),
            (&["SADD", "s", "m"], ":1"),
            (&["HRANDFIELD", "h", "-9223372036854775808"], "-ERR"),
            (&["HRANDFIELD", "h", "-4611686018427387905", "WITHVALUES"], "-ERR"),
            (&["ZRANDMEMBER", "z", "-9223372036854775808"], "-ERR"),
            (&["ZRANDMEMBER", "z", "-4611686018427387905", "WITHSCORES"], "-ERR"),
            (&["SRANDMEMBER", "s", "-9223372036854775808"], "-ERR"),
            (&["SPOP", "s", "9223372036854775807"], "*1"),
        ],
    );
}

#[test]
fn cve_2023_28425_the_same_key_twice() {
    withstands(&[], &[(&["MSETNX", "new", "1", "new", "2"], ":1"), (&["GET", "new"], "$1\r\n2")]);
}

#[test]
fn cve_2023_28856_an_increment_that_is_no_number_changes_nothing() {
    withstands(
        &[],
        &[
            (&["HINCRBYFLOAT", "h", "f", "inf"], "-ERR"),
            (&["EXISTS", "h"], ":0"),
            (&["HSET", "h", "f", "1"], ":1"),
            (&["HINCRBYFLOAT", "h", "f", "nan"], "-ERR"),
            (&["HGETALL", "h"], "*2\r\n$1\r\nf\r\n$1\r\n1"),
        ],
    );
}

#[test]
fn cve_2023_36824_keys_of_commands_that_name_none() {
    withstands(
        &[],
        &[
            (&["COMMAND", "GETKEYS", "EVAL", "x", "9999999999"], "*0"),
            (&["COMMAND", "GETKEYS", "ZUNIONSTORE", "d", "2147483647", "a"], "-ERR"),
            (&["COMMAND", "GETKEYS", "MIGRATE", "h", "1", "", "0", "1", "KEYS"], "*1"),
            (&["COMMAND", "GETKEYS", "XREAD", "STREAMS"], "-ERR"),
            (&["COMMAND", "GETKEYSANDFLAGS", "SORT", "k", "STORE"], ""),
            (&["ACL", "SETUSER", "u", "on", "~a", "+@all"], "+OK"),
            (&["ACL", "DRYRUN", "u", "MIGRATE", "h", "1", "", "0", "1", "KEYS"], ""),
            (&["ACL", "DRYRUN", "u", "ZUNION", "2147483647", "a"], ""),
        ],
    );
}

#[test]
fn cve_2023_41053_sort_reads_no_foreign_keys() {
    with_servers(&[], |server| {
        let mut client = guarded(server);
        let user = ["ACL", "SETUSER", "u", "on", "nopass", "+@all", "%R~mine*"];
        assert_eq!(text(&mut client, &user), "+OK\r\n");
        assert_eq!(text(&mut client, &["AUTH", "u", "x"]), "+OK\r\n");
        for attack in [
            &["SORT_RO", "mine", "BY", "nosort", "GET", "guard"][..],
            &["SORT_RO", "mine", "BY", "gu*"],
            &["SORT_RO", "mine", "GET", "#", "GET", "gu*"],
            &["SORT", "mine", "STORE", "guard"],
            &["SORT_RO", "guard"],
        ] {
            let reply = text(&mut client, attack);
            assert!(
                reply.starts_with("-NOPERM")
                    || reply.starts_with("-ERR BY option")
                    || reply.starts_with("-ERR GET option"),
                "{attack:?}: {reply}"
            );
        }
        must_be_unharmed(server);
    });
}

#[test]
fn cve_2023_41056_buffers_that_shrink_under_a_large_word() {
    with_servers(&[], |server| {
        let mut client = guarded(server);
        for size in [1_000, 32_768, 65_536, 300_000, 32 * 1024] {
            let value = "v".repeat(size);
            assert_eq!(text(&mut client, &["SET", "k", &value]), "+OK\r\n");
            client.send(&encode(&["PING"]).repeat(10)).expect("it is sent");
            (0..10).for_each(|_| assert_eq!(client.read_reply().expect("a reply"), b"+PONG\r\n"));
        }
        must_be_unharmed(server);
    });
}

#[test]
fn cve_2024_31227_and_51741_malformed_rules() {
    let rules = [
        "%~", "%R", "%", "%RW", "%W~a%", "(", "()", "(+get", "(%~)", "(~a) (", ")", "~", "&", "+",
        "-", "+|", "+get|", "db=",
    ];
    with_servers(&[], |server| {
        let mut client = guarded(server);
        for rule in rules {
            text(&mut client, &["ACL", "SETUSER", "u", rule]);
            text(&mut client, &["ACL", "GETUSER", "u"]);
            text(&mut client, &["ACL", "LIST"]);
        }
        text(&mut client, &["ACL", "SETUSER", "u", "on", "nopass", "+@all", "%R~x"]);
        text(&mut client, &["ACL", "DRYRUN", "u", "GET", "x"]);
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
fn cve_2025_21605_strangers_that_never_read() {
    with_servers(&[("requirepass", "secret")], |server| {
        let mut stream = connect(server);
        stream.set_nonblocking(true).expect("a flag");
        let request = b"GET k\r\n".repeat(10_000);
        let mut sent = 0;
        while sent < 100 * request.len() {
            match stream.write(&request) {
                Ok(count) => sent += count,
                Err(_) => break,
            }
        }
        let mut client = server.client();
        assert_eq!(text(&mut client, &["AUTH", "secret"]), "+OK\r\n");
        let list = text(&mut client, &["CLIENT", "LIST"]);
        let counts = list.split("omem=").skip(1).filter_map(|rest| rest.split(' ').next());
        let held: u64 = counts.filter_map(|count| count.parse::<u64>().ok()).sum();
        assert!(held < 1_000_000, "{held} bytes of replies");
    });
}

#[test]
fn cve_2025_27151_long_paths_of_files() {
    let path = format!("/{}", "a".repeat(10_000));
    let done = std::process::Command::new(env!("CARGO_BIN_EXE_ironring"))
        .args(["--check-aof", &path])
        .output()
        .expect("the program");
    assert_eq!(done.status.code(), Some(1), "{done:?}");
}

#[test]
fn cve_2025_32023_sparse_registers_that_run_over() {
    with_servers(&[], |server| {
        let mut client = guarded(server);
        let sparse =
            [&b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80"[..], &b"\x7f\xff".repeat(40_000)].concat();
        let set: [&[u8]; 3] = [b"SET", b"{hll}", &sparse];
        assert_eq!(client.call(&set).expect("a reply"), b"+OK\r\n");
        assert!(text(&mut client, &["PFCOUNT", "{hll}"]).starts_with("-INVALIDOBJ"));
        assert!(text(&mut client, &["PFADD", "{hll}", "x"]).starts_with("-INVALIDOBJ"));
        assert!(text(&mut client, &["PFMERGE", "{hll}2", "{hll}"]).starts_with("-INVALIDOBJ"));
        must_be_unharmed(server);
    });
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
fn cve_2025_62507_more_ids_than_a_stack_holds() {
    with_servers(&[], |server| {
        let mut client = guarded(server);
        assert!(text(&mut client, &["XADD", "s", "1-1", "f", "v"]).starts_with('$'));
        assert_eq!(text(&mut client, &["XGROUP", "CREATE", "s", "g", "0"]), "+OK\r\n");
        let ids: Vec<String> = (0..5000).map(|n| format!("{n}-1")).collect();
        let mut words = vec!["XACK", "s", "g"];
        words.extend(ids.iter().map(String::as_str));
        assert_eq!(text(&mut client, &words), ":0\r\n");
        words[0] = "XDEL";
        words.remove(2);
        assert_eq!(text(&mut client, &words), ":1\r\n");
        must_be_unharmed(server);
    });
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
