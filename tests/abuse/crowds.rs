//! Many clients: silent ones, one too many, more than there are descriptors, idle ones; and how they
//! are spread over the cores.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use super::support::server::Server;
use super::{
    connect, expect, number, read_to_end, resident, start, wait_for, wait_for_nobody, wait_until,
    with_servers,
};

/// Resident memory that one silent connection may cost.
const CONNECTION_BYTES_MAX: u64 = 16 * 1024;

/// Sets the limit of open files of a process.
fn limit_files(pid: u32, files: u64) -> bool {
    let pid = pid.to_string();
    let limit = format!("--nofile={files}:");
    Command::new("prlimit").args(["--pid", &pid, &limit]).status().is_ok_and(|s| s.success())
}

#[test]
fn silent_connections_cost_little() {
    const WANTED: usize = 10_000;
    const FEWER: usize = 2_000;
    let count = if limit_files(std::process::id(), WANTED as u64 + 1_000) { WANTED } else { FEWER };
    with_servers(&[("maxclients", "11000"), ("tcp-backlog", "1024")], |server| {
        let before = resident(server);
        let streams: Vec<TcpStream> = (0..count).map(|_| connect(server)).collect();
        let connected = || number(server, "clients", "connected_clients") as usize;
        wait_until("all are connected", || connected() == count + 1);
        let each = resident(server).saturating_sub(before) / count as u64;
        assert!(each < CONNECTION_BYTES_MAX, "{each} bytes for each of {count} connections");
        let mut client = connect(server);
        let began = Instant::now();
        for _ in 0..200 {
            client.write_all(b"PING\r\n").expect("sent");
            expect(&mut client, b"+PONG\r\n");
        }
        assert!(began.elapsed() < Duration::from_secs(2), "{:?} for 200 PINGs", began.elapsed());
        drop((streams, client));
        wait_for_nobody(server);
    });
}

/// A connection that was refused with `error`, read until its end.
fn refused(server: &Server) -> Vec<u8> {
    read_to_end(&mut connect(server))
}

#[test]
fn one_client_too_many_is_told_so() {
    const TOO_MANY: &[u8] = b"-ERR max number of clients reached\r\n";
    with_servers(&[("maxclients", "20")], |server| {
        let mut asking = server.client();
        let mut streams: Vec<TcpStream> = (0..19).map(|_| connect(server)).collect();
        for stream in &mut streams {
            stream.write_all(b"PING\r\n").expect("sent");
            expect(stream, b"+PONG\r\n");
        }
        for _ in 0..30 {
            assert_eq!(refused(server), TOO_MANY);
        }
        let mut info = |section: &str, field: &str| {
            let text = asking.call(&["INFO", section]).expect("INFO");
            let text = String::from_utf8_lossy(&text).into_owned();
            let value = text.lines().find_map(|line| line.strip_prefix(field)).expect("the field");
            value.trim_start_matches(':').parse::<u64>().expect("a number")
        };
        wait_until("the refused ones gone", || info("clients", "connected_clients") == 20);
        assert_eq!(info("stats", "rejected_connections"), 30);
        drop(streams.pop());
        wait_until("room for one", || info("clients", "connected_clients") == 19);
        let mut stream = connect(server);
        stream.write_all(b"PING\r\n").expect("sent");
        expect(&mut stream, b"+PONG\r\n");
        assert_eq!(refused(server), TOO_MANY);
    });
}

#[test]
fn more_clients_than_descriptors_are_not_promised() {
    let server = start(1, &[("maxclients", "4000000000")]);
    let mut client = server.client();
    let reply = client.call(&["CONFIG", "GET", "maxclients"]).expect("a reply");
    let text = String::from_utf8_lossy(&reply).into_owned();
    let clients: u64 = text.lines().last().and_then(|n| n.parse().ok()).expect("a number");
    assert!(clients < 2_000_000_000, "{clients}");
    let line = format!("maxclients has been reduced to {clients} to compensate for low ulimit.");
    server.must_log(&line);
}

#[test]
fn idle_clients_are_closed() {
    with_servers(&[("timeout", "1"), ("tcp-keepalive", "60")], |server| {
        let mut idle: Vec<TcpStream> = (0..8).map(|_| connect(server)).collect();
        let mut busy = connect(server);
        wait_until("only the busy one is left, and who asks", || {
            busy.write_all(b"PING\r\n").expect("sent");
            expect(&mut busy, b"+PONG\r\n");
            number(server, "clients", "connected_clients") == 2
        });
        for stream in &mut idle {
            assert_eq!(stream.read(&mut [0; 1]).expect("an orderly end"), 0);
        }
    });
}

/// Clients of each core, from CLIENT LIST.
fn spread(server: &Server) -> Vec<usize> {
    let mut client = server.client();
    let reply = client.call(&["CLIENT", "LIST"]).expect("a list");
    client.quit();
    let text = String::from_utf8_lossy(&reply).into_owned();
    let mut counts = vec![0; 4];
    for line in text.lines() {
        let threads = line.split(' ').find_map(|field| field.strip_prefix("io-thread="));
        if let Some(core) = threads.and_then(|core| core.parse::<usize>().ok()) {
            counts[core] += 1;
        }
    }
    counts
}

#[test]
fn clients_are_spread_evenly() {
    let server = start(4, &[]);
    let even = |clients: usize| {
        wait_for("an even spread", || {
            let counts = spread(&server);
            let all: usize = counts.iter().sum();
            // The one that asks is among them.
            let mean = all as f64 / 4.0;
            let most = *counts.iter().max().expect("four") as f64;
            (all == clients + 1 && most <= (1.2 * mean).ceil()).then_some(())
        });
    };
    let mut streams: Vec<TcpStream> = (0..50).map(|_| connect(&server)).collect();
    even(50);
    // Those of few cores leave: the new ones fill the gaps.
    let mut number = 0;
    streams.retain(|_| {
        number += 1;
        number % 4 < 2
    });
    wait_until("half of them gone", || spread(&server).iter().sum::<usize>() == 26);
    streams.extend((0..25).map(|_| connect(&server)));
    even(50);
    drop(streams);
    wait_for_nobody(&server);
}
