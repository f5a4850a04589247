//! Bases as commands (`aof-use-rdb-preamble no`): they make what the snapshots would.

use std::fs;
use std::path::Path;

use super::journal::journaling;
use super::replay::{change_all, refused, state};
use super::rewrite::wait_for_rewrite;
use super::*;

const COMMANDS: [(&str, &str); 1] = [("aof-use-rdb-preamble", "no")];
const BASE: &str = "appendonlydir/appendonly.aof";

/// Deliveries of a group as lines: id, consumer, how often.
const PENDING: &str = "local lines = {} \
    for _, p in ipairs(redis.call('XPENDING', KEYS[1], 'g', '-', '+', 100)) do \
    lines[#lines + 1] = p[1] .. ' ' .. p[2] .. ' ' .. p[4] end return lines";

fn rewrite(server: &Server) {
    let reply = call(&mut server.client(), "BGREWRITEAOF");
    assert_eq!(reply, "+Background append only file rewriting started");
    wait_for_rewrite(server);
}

/// The base of this number, which is there as commands and not as a snapshot.
fn base(dir: &Path, number: usize) -> Vec<u8> {
    assert!(!dir.join(format!("{BASE}.{number}.base.rdb")).exists());
    fs::read(dir.join(format!("{BASE}.{number}.base.aof"))).expect("the base")
}

/// What only groups and fields know, idle times aside.
fn readers(client: &mut Client) -> Vec<String> {
    let mut known = Vec::new();
    for line in ["XINFO STREAM groups", "XINFO GROUPS groups", "XINFO STREAM drained"] {
        known.push(call(client, line));
    }
    let pending = client.call(&["EVAL", PENDING, "1", "groups"]).expect("a reply");
    known.push(String::from_utf8_lossy(&pending).into_owned());
    known.push(call(client, "HPEXPIRETIME timed FIELDS 3 a b c"));
    known.push(call(client, "PEXPIRETIME string0"));
    known
}

fn fill_readers(client: &mut Client) {
    for line in [
        "XADD groups 1-1 f v",
        "XADD groups 2-1 f v g w",
        "XADD groups 3-0 f v",
        "XADD groups 4-0 f v",
        "XGROUP CREATE groups g 0",
        "XGROUP CREATE groups unread $",
        "XGROUP CREATECONSUMER groups unread idle",
        "XREADGROUP GROUP g one COUNT 3 STREAMS groups >",
        "XCLAIM groups g two 0 2-1 RETRYCOUNT 7",
        "XDEL groups 4-0",
        "XADD drained 9-9 f v",
        "XDEL drained 9-9",
        "HSET timed a 1 b 2 c 3",
        "HPEXPIREAT timed 2000000000000 FIELDS 2 a b",
        "PEXPIREAT string0 2000000000001",
    ] {
        let reply = call(client, line);
        assert!(!reply.starts_with('-'), "{line}: {reply}");
    }
}

#[test]
fn commands_make_what_a_snapshot_would() {
    for (cores, other) in [(1, 4), (4, 1)] {
        let dir = tempfile::tempdir().expect("a directory");
        let mut server = journaling(&Program::Ours { cores }, dir.path(), &COMMANDS);
        assert_eq!(base(dir.path(), 1), b"", "an empty data set has no commands");
        let mut client = server.client();
        fill(&mut client, false);
        change_all(&mut client);
        rewrite(&server);
        call(&mut client, "APPEND string0 behind");
        let expected = state(&server);
        let written = base(dir.path(), 2);
        assert!(written.starts_with(b"#CRC:"), "each group has its checksum");
        assert!(written.windows(5).any(|bytes| bytes == b"RPUSH"));
        end(&mut server, "SHUTDOWN NOSAVE");
        for stock in oracles() {
            let mut theirs = journaling(&Program::Stock(stock.clone()), dir.path(), &COMMANDS);
            assert_eq!(state(&theirs), expected, "{stock:?} reads ours");
            end(&mut theirs, "SHUTDOWN NOSAVE");
        }
        let mut server = journaling(&Program::Ours { cores: other }, dir.path(), &COMMANDS);
        assert_eq!(state(&server), expected, "{cores} cores, then {other}");
        let mut client = server.client();
        fill_readers(&mut client);
        let (expected, known) = (state(&server), readers(&mut client));
        rewrite(&server);
        base(dir.path(), 3);
        end(&mut server, "SHUTDOWN NOSAVE");
        let mut server = journaling(&Program::Ours { cores }, dir.path(), &COMMANDS);
        assert_eq!(state(&server), expected, "{cores} cores, once more");
        assert_eq!(readers(&mut server.client()), known, "{cores} cores");
        // Back to snapshots, while it runs.
        assert_eq!(call(&mut server.client(), "CONFIG SET aof-use-rdb-preamble yes"), "+OK");
        rewrite(&server);
        let snapshot = fs::read(dir.path().join(format!("{BASE}.4.base.rdb"))).expect("a base");
        assert!(snapshot.starts_with(b"REDIS"));
        assert_eq!(call(&mut server.client(), "DEBUG LOADAOF"), "+OK");
        assert_eq!(state(&server), expected);
        end(&mut server, "SHUTDOWN NOSAVE");
    }
}

#[test]
fn a_wrong_bit_in_a_base_is_damage() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut server = journaling(&Program::Ours { cores: 1 }, dir.path(), &COMMANDS);
    let mut client = server.client();
    for number in 0..100 {
        call(&mut client, &format!("SET key{number} value{number}"));
    }
    rewrite(&server);
    end(&mut server, "SHUTDOWN NOSAVE");
    let path = dir.path().join(format!("{BASE}.2.base.aof"));
    let whole = fs::read(&path).expect("the base");
    for at in [whole.len() / 3, whole.len() - 3] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&path, bytes).expect("the base is changed");
        for cores in CORES {
            let log = refused(dir.path(), cores, &[]);
            assert!(log.contains("Bad file format reading the append only file"), "{log}");
        }
    }
}
