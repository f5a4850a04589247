//! Our server as a primary of replicas with an rdb channel: the stream goes on while the snapshot comes
//! over a connection of its own, and whichever of the two ends first, nothing false is followed.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ironring::base::crc::crc64;
use ironring::observe::replication::MAIN_CHANNELS_MAX;

use crate::converge::{seed, write_for};
use crate::data::assert_same;
use crate::proxy::Proxy;
use crate::support::client::encode;
use crate::support::server::{Program as Binary, Server};
use crate::support::wait::DEADLINE;
use crate::{CORES, ask, call, follow, info, oracle, start, wait_in_sync, wait_until};

/// What the log says when a snapshot begins for rdb channels.
const RDB_CHANNELS: &str = "Starting BGSAVE for SYNC with target: replicas sockets (rdb-channel)";

/// One connection of a replica that is nothing but its bytes.
struct Wire(BufReader<TcpStream>);

impl Wire {
    fn to(server: &Server) -> Wire {
        let stream = TcpStream::connect(("127.0.0.1", server.port())).expect("it listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a socket");
        Wire(BufReader::new(stream))
    }

    /// A connection that the primary knows as a main channel, and the client id that it was told.
    fn main_channel(server: &Server) -> (Wire, String) {
        let mut wire = Wire::to(server);
        let capabilities = "REPLCONF capa eof capa psync2 capa rdb-channel-repl";
        assert_eq!(wire.call(capabilities), "+OK");
        let answer = wire.call("PSYNC ? -1");
        let id = answer.strip_prefix("+RDBCHANNELSYNC ").unwrap_or_else(|| panic!("{answer}"));
        (wire, id.to_owned())
    }

    /// An rdb channel that waits for its snapshot.
    fn rdb_channel(server: &Server, main: &str) -> Wire {
        let mut wire = Wire::to(server);
        let names = format!(
            "REPLCONF capa eof rdb-only 1 rdb-channel 1 main-ch-client-id {main} listening-port 7"
        );
        assert_eq!(wire.call(&names), "+OK");
        wire.send("PSYNC ? -1");
        wire
    }

    fn send(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        self.0.get_mut().write_all(&encode(&words)).expect("it is sent");
    }

    fn call(&mut self, line: &str) -> String {
        self.send(line);
        self.line()
    }

    /// The next line; empty ones only say that the server lives.
    fn line(&mut self) -> String {
        loop {
            let mut line = Vec::new();
            self.0.read_until(b'\n', &mut line).expect("a line");
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            if !text.is_empty() {
                return text;
            }
            assert!(!line.is_empty(), "the connection has ended");
        }
    }

    /// The offset at which the snapshot begins, and the mark that will stand behind it.
    fn begin_snapshot(&mut self) -> (u64, String) {
        let answer = self.line();
        let offset = answer.rsplit(' ').next().and_then(|word| word.parse().ok());
        let offset = offset.filter(|_| answer.starts_with("+FULLRESYNC "));
        let head = self.line();
        let mark = head.strip_prefix("$EOF:").unwrap_or_else(|| panic!("{head}"));
        (offset.unwrap_or_else(|| panic!("{answer}")), mark.to_owned())
    }

    /// The snapshot, which is whole.
    fn snapshot(&mut self, mark: &str) -> Vec<u8> {
        let (mut snapshot, mut chunk) = (Vec::new(), vec![0; 1 << 16]);
        while !snapshot.ends_with(mark.as_bytes()) {
            let count = self.0.read(&mut chunk).expect("more of it");
            assert!(count > 0, "it is cut behind {} bytes", snapshot.len());
            snapshot.extend_from_slice(&chunk[..count]);
        }
        snapshot.truncate(snapshot.len() - mark.len());
        let (body, sum) = snapshot.split_last_chunk::<8>().expect("a checksum");
        assert_eq!(crc64(0, body), u64::from_le_bytes(*sum));
        snapshot
    }

    /// Reads the stream until it has had this word; all bytes so far.
    fn stream_until(&mut self, word: &str) -> Vec<u8> {
        let (mut stream, mut chunk) = (Vec::new(), [0; 4096]);
        while memchr::memmem::find(&stream, word.as_bytes()).is_none() {
            let count = self.0.read(&mut chunk).expect("more of the stream");
            assert!(count > 0, "the stream has ended");
            stream.extend_from_slice(&chunk[..count]);
        }
        stream
    }

    fn wait_for_end(&mut self) {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
}

/// A primary whose snapshot is more than sockets and the server keep of it.
fn large_primary(cores: usize) -> Server {
    let primary = start(&Binary::Ours { cores }, &[("rdbcompression", "no")]);
    ask(&primary, "DEBUG POPULATE 4000 key 10000");
    primary
}

fn is_online(primary: &Server) -> bool {
    info(primary, "slave0").contains(",state=online,")
}

fn wait_for_log(server: &Server, words: &str) {
    wait_until(words, || server.log().contains(words));
}

fn count(server: &Server, name: &str) -> String {
    server.info("stats", name).unwrap_or_default()
}

#[test]
fn the_stream_goes_on_while_nobody_reads_the_snapshot() {
    for cores in CORES {
        let primary = large_primary(cores);
        let (mut main, id) = Wire::main_channel(&primary);
        assert!(info(&primary, "slave0").contains(",state=wait_bgsave,"));
        assert_eq!(count(&primary, "sync_full"), "0");
        let mut channel = Wire::rdb_channel(&primary, &id);
        let (offset, mark) = channel.begin_snapshot();
        assert!(info(&primary, "slave0").contains(",state=send_bulk_and_stream,"));
        assert_eq!(info(&primary, "connected_slaves"), "1");
        assert_eq!(info(&primary, "slave1"), "");
        assert_eq!(count(&primary, "sync_full"), "1");
        let listed = ask(&primary, "CLIENT LIST TYPE replica");
        assert!(listed.contains(" flags=S ") && listed.contains(" flags=SC "), "{listed}");

        let mut client = primary.client();
        for round in 0..100 {
            call(&mut client, &format!("SET behind{round} it"));
        }
        let stream = main.stream_until("behind99");
        assert!(stream.starts_with(b"*2\r\n$6\r\nSELECT\r\n"), "{}", stream.escape_ascii());
        assert_eq!(call(&mut client, "WAIT 1 50"), ":0");
        assert!(ask(&primary, "ROLE").ends_with("*0"));

        main.send(&format!("REPLCONF ACK {}", offset + 1));
        wait_until("it is online", || is_online(&primary));
        assert_eq!(primary.info("persistence", "rdb_bgsave_in_progress").as_deref(), Some("1"));
        let end: u64 = info(&primary, "master_repl_offset").parse().expect("an offset");
        main.send(&format!("REPLCONF ACK {end}"));
        wait_until("it is counted", || call(&mut client, "WAIT 1 50") == ":1");

        let snapshot = channel.snapshot(&mark);
        assert!(memchr::memmem::find(&snapshot, b"behind").is_none());
        drop(channel);
        call(&mut client, "SET last word");
        main.stream_until("last");
        assert!(is_online(&primary));
    }
}

#[test]
fn the_end_of_the_snapshot_puts_it_online() {
    for cores in CORES {
        let primary = start(&Binary::Ours { cores }, &[]);
        ask(&primary, "SET a 1");
        let (_main, id) = Wire::main_channel(&primary);
        let mut channel = Wire::rdb_channel(&primary, &id);
        let (_, mark) = channel.begin_snapshot();
        channel.snapshot(&mark);
        wait_until("it is online", || is_online(&primary));
        assert_eq!(info(&primary, "connected_slaves"), "1");
    }
}

#[test]
fn what_is_no_rdb_channel_is_refused() {
    for cores in CORES {
        let primary = start(&Binary::Ours { cores }, &[]);
        let (main, id) = Wire::main_channel(&primary);
        let mut wire = Wire::to(&primary);
        for (words, answer) in [
            ("main-ch-client-id 0", "-ERR Unrecognized RDB client id: 0"),
            ("main-ch-client-id -1", "-ERR Unrecognized RDB client id: -1"),
            ("main-ch-client-id 999999", "-ERR Unrecognized RDB client id: 999999"),
            ("main-ch-client-id x", "-ERR value is not an integer or out of range"),
            ("rdb-channel 2", "-ERR value is out of range, value must between 0 and 1"),
            ("rdb-channel x", "-ERR value is not an integer or out of range"),
            ("rdb-channel 0", "+OK"),
        ] {
            assert_eq!(wire.call(&format!("REPLCONF {words}")), answer);
        }
        let names = format!("REPLCONF main-ch-client-id {id}");
        assert_eq!(wire.call(&names), "+OK");
        drop(main);
        let refused = format!("-ERR Unrecognized RDB client id: {id}");
        wait_until("the main channel has gone", || wire.call(&names) == refused);
        assert_eq!(wire.call("REPLCONF rdb-channel 1 capa eof"), "+OK");
        wire.send("PSYNC ? -1");
        let (_, mark) = wire.begin_snapshot();
        wire.snapshot(&mark);
        wait_for_log(&primary, "but it has no associated main channel");
        for (directive, value) in [("repl-diskless-sync", "no"), ("repl-rdb-channel", "no")] {
            ask(&primary, &format!("CONFIG SET {directive} {value}"));
            let mut wire = Wire::to(&primary);
            assert_eq!(wire.call("REPLCONF capa eof capa rdb-channel-repl"), "+OK");
            let answer = wire.call("PSYNC ? -1");
            assert!(answer.starts_with("+FULLRESYNC "), "{directive}: {answer}");
            ask(&primary, &format!("CONFIG SET {directive} yes"));
        }
    }
}

#[test]
fn a_main_channel_ends_with_its_rdb_channel() {
    for cores in CORES {
        let primary = large_primary(cores);
        let (mut main, id) = Wire::main_channel(&primary);
        let mut channel = Wire::rdb_channel(&primary, &id);
        channel.begin_snapshot();
        drop(channel);
        main.wait_for_end();
        wait_until("all is over", || {
            info(&primary, "connected_slaves") == "0"
                && primary.info("persistence", "rdb_bgsave_in_progress").as_deref() == Some("0")
        });
    }
}

#[test]
fn what_is_kept_for_an_rdb_channel_that_nobody_reads_is_bounded() {
    for cores in CORES {
        let primary = large_primary(cores);
        let mut client = primary.client();
        let limit = ["CONFIG", "SET", "client-output-buffer-limit", "replica 4mb 0 0"];
        assert_eq!(client.call(&limit).expect("a reply"), b"+OK\r\n");
        let (mut main, id) = Wire::main_channel(&primary);
        let mut channel = Wire::rdb_channel(&primary, &id);
        channel.begin_snapshot();
        for key in 0..4000 {
            call(&mut client, &format!("SET key:{key} short"));
        }
        wait_for_log(&primary, "for overcoming of output buffer limits.");
        main.wait_for_end();
    }
}

#[test]
fn an_rdb_channel_without_its_main_channel_is_a_replica_of_its_own() {
    for cores in CORES {
        let primary = large_primary(cores);
        let (main, id) = Wire::main_channel(&primary);
        let mut channel = Wire::rdb_channel(&primary, &id);
        let (_, mark) = channel.begin_snapshot();
        drop(main);
        wait_until("it is listed", || info(&primary, "slave0").contains("port=7,state=send_bulk,"));
        assert_eq!(info(&primary, "connected_slaves"), "1");
        channel.snapshot(&mark);
        wait_until("it is served", || info(&primary, "slave0").is_empty());
    }
}

#[test]
fn rdb_channels_share_a_snapshot_among_themselves() {
    for cores in CORES {
        let patient =
            [("repl-diskless-sync-delay", "100"), ("repl-diskless-sync-max-replicas", "2")];
        let primary = start(&Binary::Ours { cores }, &patient);
        ask(&primary, "SET a 1");
        let mains = [Wire::main_channel(&primary), Wire::main_channel(&primary)];
        let mut first = Wire::rdb_channel(&primary, &mains[0].1);
        wait_until("the first one is first", || count(&primary, "sync_full") == "1");
        let mut other = Wire::to(&primary);
        assert_eq!(other.call("REPLCONF capa eof"), "+OK");
        other.send("PSYNC ? -1");
        let mut second = Wire::rdb_channel(&primary, &mains[1].1);
        let (head, mark) = first.begin_snapshot();
        assert_eq!(second.begin_snapshot(), (head, mark.clone()));
        assert_eq!(first.snapshot(&mark), second.snapshot(&mark));
        for (mut main, _) in mains {
            ask(&primary, "SET after it");
            main.stream_until("after");
        }
        ask(&primary, "CONFIG SET repl-diskless-sync-delay 0");
        let (_, mark) = other.begin_snapshot();
        other.snapshot(&mark);
        wait_for_log(&primary, "with target: replicas sockets\n");
        assert_eq!(primary.log().matches(RDB_CHANNELS).count(), 1);
    }
}

#[test]
fn a_main_channel_does_not_wait_for_ever() {
    for cores in CORES {
        let primary = start(&Binary::Ours { cores }, &[("repl-timeout", "1")]);
        let (mut main, _) = Wire::main_channel(&primary);
        main.wait_for_end();
        wait_for_log(&primary, "Disconnecting timedout replica (full sync)");
    }
}

#[test]
fn who_finds_no_room_to_wait_gets_all_over_one_connection() {
    for cores in CORES {
        let primary = start(&Binary::Ours { cores }, &[]);
        let waiting: Vec<_> =
            (0..MAIN_CHANNELS_MAX).map(|_| Wire::main_channel(&primary)).collect();
        let mut wire = Wire::to(&primary);
        assert_eq!(wire.call("REPLCONF capa eof capa rdb-channel-repl"), "+OK");
        let answer = wire.call("PSYNC ? -1");
        assert!(answer.starts_with("+FULLRESYNC "), "{answer}");
        drop(waiting);
    }
}

#[test]
fn a_stock_replica_with_an_rdb_channel_holds_the_same() {
    let Some(stock) = oracle() else { return };
    for cores in CORES {
        let slow = [("rdb-key-save-delay", "500"), ("repl-backlog-size", "64mb")];
        let primary = start(&Binary::Ours { cores }, &slow);
        let replica = start(&stock, &[]);
        if ask(&replica, "CONFIG SET repl-rdb-channel yes") != "+OK" {
            return println!("SKIPPED: the stock server knows no rdb channels");
        }
        ask(&primary, "DEBUG POPULATE 2000 key 1000");
        let proxy = Proxy::to(primary.port());
        let seed = seed();
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Acquire) {
                    write_for(&primary, &replica, seed);
                }
            });
            follow(&replica, proxy.port());
            wait_until("it is online", || is_online(&primary));
            is_over.store(true, Ordering::Release);
        });
        wait_in_sync(&primary, &replica);
        assert_same(&primary, &replica, &format!("{cores} cores, seed {seed}"));
        wait_for_log(&primary, RDB_CHANNELS);
        proxy.cut();
        ask(&primary, "SET after the-cut");
        wait_in_sync(&primary, &replica);
        assert_same(&primary, &replica, "after a cut");
        let counts = ["sync_full", "sync_partial_ok"].map(|name| count(&primary, name));
        assert_eq!(counts, ["1", "1"]);
    }
}
