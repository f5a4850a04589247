//! Counts, offsets and timeouts at the ends of their ranges, queues that grow, and values of a
//! million elements that go at once: the answers come, memory comes back, no turn takes long.

use std::io::Write;
use std::time::{Duration, Instant};

use super::garbage::keys;
use super::support::client::{Client, encode};
use super::support::server::Server;
use super::{connect, number, read_to_end, resident, wait_until, with_servers};

const MIB: u64 = 1 << 20;
/// A command on a few elements, in a debug build on a busy machine.
const LATEST: Duration = Duration::from_secs(2);

/// Numbers around which sums and products overflow.
const EXTREMES: &[&str] = &[
    "9223372036854775807",
    "9223372036854775806",
    "-9223372036854775808",
    "-9223372036854775807",
    "4611686018427387904",
    "-4611686018427387905",
    "18446744073709551615",
    "4294967296",
    "4294967295",
    "2147483648",
    "-2147483649",
    "2147483647",
    "0",
    "-1",
];

/// The words `N` and `M` stand for two of the extremes. What chooses at random, with repetition, asks
/// keys that are missing: the reply is as long as the count.
const COMMANDS: &[&str] = &[
    "LRANGE list N M",
    "LINDEX list N",
    "LPOS list a RANK N",
    "LPOS list a RANK N COUNT M MAXLEN M",
    "LPOS list a COUNT N MAXLEN M",
    "LREM list N nothing",
    "LSET list N x",
    "LPOP nolist N",
    "LMPOP 2 none1 none2 LEFT COUNT N",
    "LMPOP N list LEFT",
    "BLMPOP 0.001 2 none1 none2 LEFT COUNT N",
    "ZRANGE zset N M",
    "ZRANGE zset N M REV WITHSCORES",
    "ZRANGE zset -inf +inf BYSCORE LIMIT N M",
    "ZRANGE zset - + BYLEX LIMIT N M",
    "ZREVRANGEBYSCORE zset +inf -inf LIMIT N M",
    "ZRANGEBYLEX zset - + LIMIT N M",
    "ZRANGESTORE zcopy zset N M",
    "ZRANGESTORE zcopy zset -inf +inf BYSCORE LIMIT N M",
    "ZRANDMEMBER none1 N",
    "ZCOUNT zset N M",
    "ZMPOP 2 none1 none2 MIN COUNT N",
    "ZINTERCARD 1 zset LIMIT N",
    "ZPOPMIN none1 N",
    "ZUNION N zset",
    "SRANDMEMBER none1 N",
    "SPOP none1 N",
    "SINTERCARD 1 set LIMIT N",
    "SSCAN set 0 COUNT N",
    "HRANDFIELD none1 N",
    "HRANDFIELD none1 N WITHVALUES",
    "HINCRBY hash n N",
    "HSCAN hash N COUNT M",
    "HEXPIRE hash N FIELDS 1 nofield",
    "HPEXPIREAT hash N FIELDS M nofield",
    "XRANGE stream - + COUNT N",
    "XRANGE stream N M",
    "XRANGE stream N-M + COUNT 1",
    "XREAD COUNT N STREAMS stream M",
    "XREAD COUNT N STREAMS stream N-M",
    "XAUTOCLAIM stream group me N 0 COUNT M",
    "XAUTOCLAIM stream group me 0 N-M COUNT 1",
    "XCLAIM stream group me N 1-1 IDLE M",
    "XCLAIM stream group me 0 1-1 RETRYCOUNT N TIME M JUSTID",
    "XPENDING stream group IDLE N - + M",
    "XINFO STREAM stream FULL COUNT N",
    "XTRIM stream MAXLEN ~ N LIMIT M",
    "XADD none1 NOMKSTREAM MAXLEN N * f v",
    "XSETID stream N-M ENTRIESADDED N",
    "XGROUP SETID stream group N-M ENTRIESREAD N",
    "GETRANGE string N M",
    "SETBIT string N 1",
    "GETBIT string N",
    "SETRANGE string N x",
    "BITCOUNT string N M",
    "BITCOUNT string N M BIT",
    "BITPOS string 1 N M BIT",
    "BITPOS string 0 N M",
    "BITFIELD string GET u8 N",
    "BITFIELD string GET u8 #N",
    "BITFIELD string SET i64 #M N",
    "BITFIELD string OVERFLOW FAIL INCRBY i64 0 N INCRBY i64 0 M",
    "BITFIELD string OVERFLOW SAT INCRBY i64 0 N INCRBY u63 64 M",
    "BITFIELD string OVERFLOW WRAP INCRBY i63 0 N",
    "GEOSEARCH geo FROMLONLAT 0 0 BYRADIUS N m COUNT M",
    "GEOSEARCH geo FROMLONLAT 0 0 BYBOX N M km ASC COUNT 1",
    "GEORADIUS geo N M 1 m",
    "INCRBY number N",
    "DECRBY number N",
    "EXPIRE number N",
    "PEXPIRE number N",
    "EXPIREAT number N",
    "SET other x PX N",
    "SET other x EXAT N",
    "GETEX number EX N",
    "SORT list ALPHA LIMIT N M",
    "SORT list BY nosort LIMIT N M",
    "COPY number other DB N",
    "SCAN N COUNT M",
    "LCS string string MINMATCHLEN N IDX",
    "OBJECT FREQ N",
    "SWAPDB N M",
    "SELECT N",
    "LMOVE none1 N LEFT LEFT",
    "DUMP N",
    "RESTORE other N bad",
    "CLIENT KILL MAXAGE 9223372036854775807",
    "CLIENT UNBLOCK N",
    "SRANDMEMBER set 9223372036854775807",
    "SPOP set 9223372036854775807",
    "HRANDFIELD hash 9223372036854775807 WITHVALUES",
    "HRANDFIELD hash -9223372036854775808 WITHVALUES",
    "ZRANDMEMBER zset 9223372036854775807 WITHSCORES",
    "ZRANDMEMBER zset -9223372036854775808 WITHSCORES",
    "LPOP list 9223372036854775807",
    "ZPOPMAX zset 9223372036854775807",
    "LATENCY HISTOGRAM N",
];

/// The words of a line, with two numbers in their places.
fn words(line: &str, first: &str, second: &str) -> Vec<String> {
    let number = |part: &str| match part {
        "N" => first.to_owned(),
        "M" => second.to_owned(),
        other => other.to_owned(),
    };
    let word = |word: &str| match word {
        "N-M" => format!("{first}-{second}"),
        _ => word.strip_prefix('#').map_or_else(|| number(word), |at| format!("#{}", number(at))),
    };
    line.split_whitespace().map(word).collect()
}

#[test]
fn numbers_at_the_ends_of_their_ranges() {
    let fill = [
        "SELECT 0",
        "RPUSH list a b c a",
        "ZADD zset 1 a 2 b 3 c",
        "SADD set a b c",
        "HSET hash a 1 b 2",
        "XADD stream 1-1 f v",
        "XGROUP CREATE stream group 0",
        "XREADGROUP GROUP group me STREAMS stream >",
        "GEOADD geo 1 1 a 2 2 b",
        "SET number 1",
        "SET string abcdefgh",
    ];
    with_servers(&[("proto-max-bulk-len", "1mb")], |server| {
        let mut client = server.client();
        for line in COMMANDS {
            for line in fill {
                client.call(&words(line, "", "")).expect("a reply");
            }
            for (at, one) in EXTREMES.iter().enumerate() {
                let other = EXTREMES[(at + line.len()) % EXTREMES.len()];
                for (first, second) in [(one, &other), (&other, one), (one, one)] {
                    let words = words(line, first, second);
                    let begin = Instant::now();
                    let reply = client.call(&words);
                    assert!(reply.is_ok(), "{words:?}: {reply:?}");
                    assert!(begin.elapsed() < LATEST, "{words:?} took {:?}", begin.elapsed());
                }
            }
        }
        client.quit();
        assert!(resident(server) < 400 * MIB, "{} bytes are resident", resident(server));
    });
}

#[test]
fn a_queue_that_never_runs_is_bounded() {
    with_servers(&[("client-query-buffer-limit", "2mb")], |server| {
        let mut stream = connect(server);
        let set = encode(&["SET".to_owned(), "key".to_owned(), "x".repeat(1000)]);
        let pipeline = [encode(&["MULTI"]), set.repeat(4000)].concat();
        // The server closes in the middle of it.
        let _ = stream.write_all(&pipeline);
        let replies = read_to_end(&mut stream);
        assert!(replies.len() < 2100 * b"+QUEUED\r\n".len(), "{} bytes", replies.len());
        let closed = || number(server, "stats", "client_query_buffer_limit_disconnections");
        assert_eq!(closed(), 1);
        assert_eq!(server.client().call(&["EXISTS", "key"]).expect("a reply"), b":0\r\n");
    });
}

/// Elements of each of the four large values.
const ELEMENTS: usize = 250_000;
const ELEMENTS_PER_COMMAND: usize = 500;
/// A release build stays below a millisecond.
const TURN_CPU_MAX_USEC: u64 = 30_000;

/// The longest turn of any core, in microseconds of processor time.
fn longest_turn(server: &Server) -> u64 {
    let mut client = server.client();
    let text = client.call(&["INFO", "cores"]).expect("a reply");
    client.quit();
    let text = String::from_utf8(text).expect("text");
    let fields = text.split([',', '\r', '\n']);
    let turns = fields.filter_map(|field| field.strip_prefix("turn_cpu_max_usec="));
    turns.map(|micros| micros.parse::<u64>().expect("a number")).max().expect("a core")
}

fn fill(client: &mut Client, names: &[String]) {
    let commands = ["RPUSH", "SADD", "ZADD", "HSET"];
    for (command, name) in commands.iter().zip(names) {
        for start in (0..ELEMENTS).step_by(ELEMENTS_PER_COMMAND) {
            let mut words = vec![(*command).to_owned(), name.clone()];
            for number in start..start + ELEMENTS_PER_COMMAND {
                match *command {
                    "ZADD" => words.extend([number.to_string(), format!("member:{number}")]),
                    "HSET" => words.extend([format!("field:{number}"), number.to_string()]),
                    _ => words.push(format!("element:{number}")),
                }
            }
            client.call(&words).expect("a reply");
        }
    }
}

#[test]
fn large_collections_go_in_slices() {
    with_servers(&[], |server| {
        let mut client = server.client();
        let names: Vec<String> = keys();
        let before = number(server, "memory", "used_memory");
        fill(&mut client, &names);
        client.call(&["CONFIG", "RESETSTAT"]).expect("a reply");
        // Each type goes in another way with one core than with four.
        let first = number(server, "cores", "cores") as usize / 4;
        for (at, name) in names.iter().enumerate() {
            let words = match (first + at) % 4 {
                0 => vec!["DEL", name],
                1 => vec!["PEXPIRE", name, "1"],
                2 => vec!["SET", name, "small"],
                _ => vec!["UNLINK", name],
            };
            client.call(&words).expect("a reply");
        }
        let is_back = || number(server, "memory", "used_memory") < before + 2 * MIB;
        wait_until("the memory of a million elements", is_back);
        let longest = longest_turn(server);
        assert!(longest < TURN_CPU_MAX_USEC, "a turn of {longest} us");
        client.quit();
    });
}

/// Deleted neighbours leave pages in part empty: the allocator still has them, which INFO tells apart from what is used.
#[test]
fn pages_that_are_in_part_empty_are_shown_and_the_empty_ones_given_back() {
    const KEYS: usize = 30_000;
    with_servers(&[], |server| {
        let held = |field: &str| number(server, "memory", field);
        let mut client = server.client();
        let value = "v".repeat(1000);
        let set: Vec<u8> =
            (0..KEYS).flat_map(|key| encode(&["SET", &format!("key:{key}"), &value])).collect();
        client.send(&set).expect("sent");
        (0..KEYS).for_each(|_| assert_eq!(client.read_reply().expect("a reply"), b"+OK\r\n"));
        wait_until("resident pages", || held("used_memory_rss") > 30_000_000);
        let used = held("allocator_allocated");
        let gone = (0..KEYS).filter(|key| key % 4 > 0).map(|key| format!("key:{key}"));
        let words: Vec<String> = std::iter::once("DEL".to_owned()).chain(gone).collect();
        let reply = client.call(&words).expect("a reply");
        assert_eq!(reply, format!(":{}\r\n", KEYS / 4 * 3).into_bytes());
        wait_until("they are freed", || held("allocator_allocated") < used / 2);
        let (used, active) = (held("allocator_allocated"), held("allocator_active"));
        assert!(active > 2 * used, "{active} for {used}");
        let resident = held("allocator_resident");
        assert!(active <= resident, "{active} of {resident}");
        assert_eq!(client.call(&["FLUSHALL"]).expect("a reply"), b"+OK\r\n");
        assert_eq!(client.call(&["MEMORY", "PURGE"]).expect("a reply"), b"+OK\r\n");
        wait_until("they are given back", || held("allocator_active") + 15_000_000 < active);
    });
}
