//! First come, first served; before any later command; and not later than the time-out says.

use std::thread;
use std::time::{Duration, Instant};

use super::support::client::{Client, encode};
use super::support::server::Server;
use super::{call, elements, names, read, wait_for_blocked, with_servers};

/// Lines as one request.
fn pipeline(lines: &[String]) -> Vec<u8> {
    lines.iter().flat_map(|line| encode(&line.split_whitespace().collect::<Vec<_>>())).collect()
}

/// Clients that wait in these commands, in this order.
fn waiting(server: &Server, lines: &[String]) -> Vec<Client> {
    let block = |(at, line): (usize, &String)| {
        let mut client = server.client();
        client.send(&pipeline(std::slice::from_ref(line))).expect("a command is sent");
        wait_for_blocked(server, at as u64 + 1);
        client
    };
    lines.iter().enumerate().map(block).collect()
}

#[test]
fn who_came_first_is_served_first() {
    with_servers(|server| {
        let (keys, others) = (names("list"), names("other"));
        for (at, key) in keys.iter().enumerate() {
            let (other, target) = (&others[(at + 1) % 4], &others[(at + 2) % 4]);
            let lines = [
                format!("BLPOP {key} 0"),
                format!("BLMOVE {key} {target} LEFT RIGHT 0"),
                format!("BLPOP {other} {key} 0"),
                format!("BLMPOP 0 2 {other} {key} LEFT"),
                format!("BLMOVE {key} {target} LEFT RIGHT 60"),
                format!("BLPOP {key} {other} 60"),
            ];
            let pushes = [
                vec![format!("RPUSH {key} e0 e1 e2 e3 e4 e5")],
                (0..6).map(|number| format!("RPUSH {key} e{number}")).collect(),
                vec![
                    "MULTI".to_owned(),
                    format!("RPUSH {key} e0 e1 e2"),
                    format!("RPUSH {key} e3 e4 e5"),
                    "EXEC".to_owned(),
                ],
                vec![
                    format!("RPUSH {target}.1 e0 e1 e2 e3 e4 e5"),
                    format!("RENAME {target}.1 {key}"),
                ],
            ];
            for push in pushes {
                let mut clients = waiting(server, &lines);
                let mut pusher = server.client();
                pusher.send(&pipeline(&push)).expect("a pipeline is sent");
                push.iter().for_each(|_| assert!(!read(&mut pusher).starts_with('-')));
                for (number, client) in clients.iter_mut().enumerate() {
                    let got: Vec<String> = elements(&read(client)).collect();
                    assert_eq!(got, [format!("e{number}")], "{} after {push:?}", lines[number]);
                }
                let moved = call(&mut pusher, &format!("LRANGE {target} 0 -1"));
                assert_eq!(elements(&moved).collect::<Vec<_>>(), ["e1", "e4"]);
                assert_eq!(call(&mut pusher, &format!("DEL {target} {key}")), ":1\r\n");
            }
        }
    });
}

#[test]
fn a_later_command_finds_a_waiter_served() {
    with_servers(|server| {
        let (keys, others) = (names("list"), names("other"));
        // Clients live on all cores, and keys lie on all partitions.
        let mut pushers: Vec<Client> = (0..4).map(|_| server.client()).collect();
        for round in 0..16 {
            let (key, other) = (&keys[round % 4], &others[(round / 4 + round + 1) % 4]);
            for wait in [
                format!("BLPOP {other} {key} 0"),
                format!("BLMOVE {key} {other} LEFT RIGHT 0"),
                format!("BRPOPLPUSH {key} {other} 0"),
            ] {
                let mut clients = waiting(server, std::slice::from_ref(&wait));
                let lines = [
                    format!("RPUSH {key} e{round}"),
                    format!("LLEN {key}"),
                    format!("LPOP {key}"),
                    format!("LPOP {other}"),
                ];
                let pusher = &mut pushers[round / 4];
                pusher.send(&pipeline(&lines)).expect("a pipeline is sent");
                let replies: Vec<String> = lines.iter().map(|_| read(pusher)).collect();
                assert_eq!(replies[..3], [":1\r\n", ":0\r\n", "$-1\r\n"], "{wait}");
                let moves = !wait.starts_with("BLPOP");
                assert_eq!(elements(&replies[3]).count(), usize::from(moves), "{wait}");
                assert_eq!(elements(&read(&mut clients[0])).count(), 1, "{wait}");
            }
        }
    });
}

#[test]
fn a_transaction_serves_behind_its_last_command() {
    with_servers(|server| {
        let (keys, others) = (names("list"), names("other"));
        for (key, other) in keys.iter().zip(others.iter().rev()) {
            let wait = [format!("BLPOP {other} {key} 0"), format!("BLPOP {key} 0")];
            let mut clients = waiting(server, &wait);
            let lines = [
                "MULTI".to_owned(),
                format!("RPUSH {key} e0 e1"),
                format!("LLEN {key}"),
                format!("RPUSH {other} e2"),
                format!("LPOP {key}"),
                // Nothing blocks inside.
                format!("BLPOP {key} 0"),
                format!("RPUSH {key} e3"),
                "EXEC".to_owned(),
                format!("EXISTS {key} {other}"),
            ];
            let mut pusher = server.client();
            pusher.send(&pipeline(&lines)).expect("a pipeline is sent");
            let replies: Vec<String> = lines.iter().map(|_| read(&mut pusher)).collect();
            let exec = format!(
                "*6\r\n:2\r\n:2\r\n:1\r\n$2\r\ne0\r\n*2\r\n${}\r\n{key}\r\n$2\r\ne1\r\n:1\r\n",
                key.len()
            );
            assert_eq!(replies[7], exec);
            assert_eq!(replies[8], ":0\r\n");
            // The first one runs as if it had come after EXEC: it looks at its first key first.
            let got =
                clients.iter_mut().flat_map(|client| elements(&read(client)).collect::<Vec<_>>());
            assert_eq!(got.collect::<Vec<_>>(), ["e2", "e3"]);
        }
    });
}

#[test]
fn time_outs_are_kept() {
    const EARLIEST: Duration = Duration::from_millis(100);
    const LATEST: Duration = Duration::from_millis(400);
    with_servers(|server| {
        let (keys, others) = (&names("list"), &names("other"));
        thread::scope(|scope| {
            for at in 0..4 {
                scope.spawn(move || {
                    let mut client = server.client();
                    for line in [
                        format!("BLPOP {} 0.1", keys[at]),
                        format!("BLPOP {} {} {} 0.1", keys[at], others[(at + 1) % 4], keys[3]),
                        format!("BLMOVE {} {} LEFT LEFT 0.1", keys[at], others[(at + 1) % 4]),
                        format!("BZPOPMIN {} {} 0.1", keys[at], others[(at + 1) % 4]),
                        format!("XREAD BLOCK 100 STREAMS {} {} $ $", keys[at], others[0]),
                    ] {
                        let begin = Instant::now();
                        assert_eq!(call(&mut client, &line), "*-1\r\n", "{line}");
                        let took = begin.elapsed();
                        assert!((EARLIEST..LATEST).contains(&took), "{line} took {took:?}");
                    }
                });
            }
        });
    });
}
