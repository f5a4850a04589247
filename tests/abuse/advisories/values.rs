//! Values and numbers that overflow what holds them, and payloads that lie about themselves.

use std::time::{Duration, Instant};

use ironring::base::crc::crc64;

use super::super::support::client::Client;
use super::super::with_servers;
use super::{guarded, must_be_unharmed, text, withstands};

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

/// A DUMP payload with a right end: version 11 and its checksum.
fn payload(content: &[u8]) -> Vec<u8> {
    let versioned = [content, &[11, 0]].concat();
    let sum = crc64(0, &versioned).to_le_bytes();
    [&versioned[..], &sum].concat()
}

/// A listpack of short strings as RDB carries it: its length, then total, count, elements, end.
fn listpack(elements: &[&[u8]]) -> Vec<u8> {
    let short = |length: usize| u8::try_from(length).expect("it is short");
    let mut body = Vec::new();
    for element in elements {
        body.push(0x80 | short(element.len()));
        body.extend_from_slice(element);
        body.push(short(element.len() + 1));
    }
    let total = short(body.len() + 7);
    let count = short(elements.len());
    [&[total, total, 0, 0, 0, count, 0][..], &body, &[0xff]].concat()
}

fn restore(client: &mut Client, payload: &[u8]) -> Vec<u8> {
    let words: [&[u8]; 5] = [b"RESTORE", b"k", b"0", payload, b"REPLACE"];
    client.call(&words).expect("a reply")
}

#[test]
fn cve_2026_25243_payloads_whose_parts_do_not_fit() {
    // The numbers are types of RDB: 9 a hash as zipmap, 16 one as listpack, 17 a sorted set.
    let attacks: [(&str, Vec<u8>); 7] = [
        ("a field of a gigabyte", b"\x09\x0b\x01\xfe\0\0\0\x40f\x01\0v\xff".to_vec()),
        ("a short length in long form", b"\x09\x0b\x01\xfe\x01\0\0\0f\x01\0v\xff".to_vec()),
        ("free bytes beyond the end", b"\x09\x07\x01\x01f\x01\xffv\xff".to_vec()),
        ("a field without a value", [&[16][..], &listpack(&[b"f"])].concat()),
        ("a field twice", [&[16][..], &listpack(&[b"f", b"1", b"f", b"2"])].concat()),
        ("a score that is no number", [&[17][..], &listpack(&[b"m", b"nan"])].concat()),
        ("nothing", [&[16][..], &listpack(&[])].concat()),
    ];
    with_servers(&[], |server| {
        let mut client = guarded(server);
        for (what, content) in &attacks {
            let reply = restore(&mut client, &payload(content));
            assert_eq!(reply, b"-ERR Bad data format\r\n", "{what}");
        }
        // The harness is right: what fits is taken.
        let sound = [&[16][..], &listpack(&[b"f", b"1"])].concat();
        assert_eq!(restore(&mut client, &payload(&sound)), b"+OK\r\n");
        assert_eq!(text(&mut client, &["HGET", "k", "f"]), "$1\r\n1\r\n");
        must_be_unharmed(server);
    });
}

/// CVE-2026-66373 is the same one of Redis.
#[test]
fn cve_2026_63639_and_66373_one_delivery_to_two_consumers() {
    with_servers(&[], |server| {
        let mut client = guarded(server);
        for id in ["1-1", "1-2"] {
            assert!(text(&mut client, &["XADD", "s", id, "f", "v"]).starts_with('$'));
        }
        assert_eq!(text(&mut client, &["XGROUP", "CREATE", "s", "g", "0"]), "+OK\r\n");
        for consumer in ["one", "two"] {
            let words = ["XREADGROUP", "GROUP", "g", consumer, "COUNT", "1", "STREAMS", "s", ">"];
            assert!(text(&mut client, &words).starts_with("*1"));
        }
        let dumped = client.call(&["DUMP", "s"]).expect("a reply");
        let start = dumped.iter().position(|byte| *byte == b'\n').expect("a bulk string") + 1;
        let mut content = dumped[start..dumped.len() - 12].to_vec();
        // What the second consumer has is named last.
        let id = [1u64.to_be_bytes(), 2u64.to_be_bytes()].concat();
        let last = content.windows(16).rposition(|bytes| bytes == id).expect("its delivery");
        assert_eq!(restore(&mut client, &payload(&content)), b"+OK\r\n", "as it was");
        content[last + 15] = 1;
        assert_eq!(restore(&mut client, &payload(&content)), b"-ERR Bad data format\r\n");
        for command in [
            &["XACK", "k", "g", "1-1"][..],
            &["XGROUP", "DELCONSUMER", "k", "g", "two"],
            &["DEL", "k"],
        ] {
            assert_eq!(text(&mut client, command), ":1\r\n", "{command:?}");
        }
        must_be_unharmed(server);
    });
}
