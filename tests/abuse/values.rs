//! Large words and large values: split anywhere, among small commands, abandoned, too large; and
//! the memory that comes back.

use std::io::Write;
use std::net::TcpStream;
use std::thread;

use super::garbage::keys;
use super::support::client::encode;
use super::support::server::Server;
use super::{connect, expect, number, read_to_end, wait_for_nobody, wait_until, with_servers};

const MIB: usize = 1 << 20;

fn bulk(bytes: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// Bytes that differ from place to place.
fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at ^ at >> 8 ^ at >> 16) as u8).collect()
}

/// Sends in pieces of these sizes, over and over, from a thread of its own.
fn send_in_pieces(stream: &TcpStream, bytes: Vec<u8>, sizes: &'static [usize]) {
    let mut stream = stream.try_clone().expect("the same socket");
    thread::spawn(move || {
        let mut rest = &bytes[..];
        for size in sizes.iter().cycle() {
            let (piece, later) = rest.split_at(rest.len().min(*size));
            stream.write_all(piece).expect("sent");
            if later.is_empty() {
                return;
            }
            rest = later;
        }
    });
}

#[test]
fn large_words_stand_among_small_commands() {
    const SPLITS: [&[usize]; 4] =
        [&[usize::MAX], &[1, 65_535, 65_536, 65_537], &[7, 200_000, 3], &[16_384]];
    with_servers(&[], |server| {
        for (split, size) in SPLITS.into_iter().zip([200_000, MIB, 3 * MIB + 1, 16 * MIB]) {
            let (mut requests, mut replies) = (Vec::new(), Vec::new());
            let value = content(size);
            for key in keys() {
                let key = key.as_bytes();
                let (middle, end) = (size / 2, (size / 2 + 99).to_string());
                let offset = middle.to_string();
                let mut ask = |words: &[&[u8]], reply: Vec<u8>| {
                    requests.extend(encode(words));
                    replies.extend(reply);
                };
                ask(&[b"PING"], b"+PONG\r\n".to_vec());
                ask(&[b"SET", key, &value], b"+OK\r\n".to_vec());
                ask(&[b"STRLEN", key], format!(":{size}\r\n").into_bytes());
                ask(&[b"GET", key], bulk(&value));
                ask(
                    &[b"GETRANGE", key, offset.as_bytes(), end.as_bytes()],
                    bulk(&value[middle..middle + 100]),
                );
                ask(&[b"APPEND", key, &value], format!(":{}\r\n", 2 * size).into_bytes());
                ask(&[b"SETRANGE", key, b"3", &value], format!(":{}\r\n", 2 * size).into_bytes());
                ask(
                    &[b"GETRANGE", key, b"0", b"102"],
                    bulk(&[&value[..3], &value[..100]].concat()),
                );
                // A large word where none is expected, and one that is a key.
                ask(&[b"ECHO", &value], bulk(&value));
                ask(&[b"EXISTS", &value], b":0\r\n".to_vec());
                ask(&[b"DEL", key], b":1\r\n".to_vec());
            }
            let mut stream = connect(server);
            send_in_pieces(&stream, requests, split);
            expect(&mut stream, &replies);
        }
        wait_for_nobody(server);
    });
}

#[test]
fn memory_of_a_large_value_comes_back() {
    with_servers(&[], |server| {
        let value = content(100 * MIB);
        let before = number(server, "memory", "used_memory");
        let near = before + (2 * MIB) as u64;
        let is_back = || number(server, "memory", "used_memory") < near;
        let mut client = server.client();
        for key in keys() {
            let key = key.as_bytes();
            client.call(&[b"SET", key, &value]).expect("stored");
            assert!(!is_back(), "the value is held");
            assert_eq!(client.call(&[b"GET", key]).expect("a value").len(), value.len() + 14);
            client.call(&[b"DEL", key]).expect("deleted");
            wait_until("the memory of a value", is_back);
        }
        client.quit();
        abandon(server, &value);
        wait_until("the memory of an abandoned word", is_back);
    });
}

/// A word that is announced, sent in part, and never finished.
fn abandon(server: &Server, value: &[u8]) {
    let mut stream = connect(server);
    stream.write_all(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$500000000\r\n").expect("sent");
    stream.write_all(value).expect("sent");
    wait_until("the part of it is held", || {
        number(server, "memory", "used_memory") > value.len() as u64
    });
}

#[test]
fn limits_of_words_and_of_waiting_input_are_kept() {
    let options = [("proto-max-bulk-len", "1mb"), ("client-query-buffer-limit", "1mb")];
    with_servers(&options, |server| {
        let mut stream = connect(server);
        stream.write_all(b"*2\r\n$4\r\nECHO\r\n$1048577\r\n").expect("sent");
        assert_eq!(read_to_end(&mut stream), b"-ERR Protocol error: invalid bulk length\r\n");
        let mut stream = connect(server);
        // With its line end it is as long as the limit.
        let value = content(MIB - 2);
        stream.write_all(&encode(&[&b"ECHO"[..], &value])).expect("sent");
        expect(&mut stream, &bulk(&value));
        let mut stream = connect(server);
        let _ = stream.write_all(&encode(&[&b"ECHO"[..], &content(MIB - 1)]));
        assert_eq!(read_to_end(&mut stream), b"");

        // Many small words, the last of which never comes.
        let mut stream = connect(server);
        let mut words = b"*2000000\r\n".to_vec();
        (0..300_000).for_each(|_| words.extend_from_slice(b"$1\r\nx\r\n"));
        // The server closes in the middle of it.
        let _ = stream.write_all(&words);
        assert_eq!(read_to_end(&mut stream), b"");
        assert_eq!(number(server, "stats", "client_query_buffer_limit_disconnections"), 2);
        let line = "Closing client that reached max query buffer length";
        wait_until("a line of the log", || server.log().contains(line));
        wait_until("all gone but one", || number(server, "clients", "connected_clients") == 2);
    });
}

#[test]
fn strangers_send_little_and_learn_nothing() {
    with_servers(&[("requirepass", "secret")], |server| {
        let noauth = b"-NOAUTH Authentication required.\r\n";
        let mut stream = connect(server);
        let small = [encode(&["GET", "k"]), encode(&["SET", "k", "v"]), b"FLUSHALL\r\n".to_vec()];
        stream.write_all(&small.concat().repeat(100)).expect("sent");
        expect(&mut stream, &noauth.repeat(300));
        let words = [vec!["DEL"], vec!["x"; 9]].concat();
        stream.write_all(&encode(&words)).expect("sent");
        expect(&mut stream, noauth);
        let word = content(16 * 1024);
        stream.write_all(&encode(&[&b"ECHO"[..], &word])).expect("sent");
        expect(&mut stream, noauth);

        // What follows AUTH in the same pipeline counts, and may be large.
        let large = content(300_000);
        let mut pipeline = encode(&["AUTH", "secret"]);
        pipeline.extend(encode(&[&b"SET"[..], b"k", &large]));
        pipeline.extend(encode(&vec!["EXISTS"; 50]));
        stream.write_all(&pipeline).expect("sent");
        expect(&mut stream, b"+OK\r\n+OK\r\n:0\r\n");

        for (sent, error) in [
            ("*11\r\n", "unauthenticated multibulk length"),
            ("*2\r\n$16385\r\n", "unauthenticated bulk length"),
            ("*2\r\n$4\r\nECHO\r\n$16385\r\n", "unauthenticated bulk length"),
        ] {
            let mut stream = connect(server);
            stream.write_all(sent.as_bytes()).expect("sent");
            let expected = format!("-ERR Protocol error: {error}\r\n");
            assert_eq!(read_to_end(&mut stream), expected.as_bytes());
        }
    });
}
