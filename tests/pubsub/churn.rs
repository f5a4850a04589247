//! Subscribers that come and go: every count of PUBLISH is true, and nobody gets a message behind the
//! reply to UNSUBSCRIBE.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::support::client::Client;
use super::support::server::Server;
use super::{call, integer, listeners, read, rounds, send, wait_until, with_servers, words};

const CLIENTS: usize = 6;
const PUBLISHERS: usize = 3;

/// Subscribes and leaves again, over and over; how many messages came.
fn come_and_go(mut client: Client, rounds: u64, shard: bool) -> u64 {
    let (prefix, message) = if shard { ("S", "smessage") } else { ("", "message") };
    let mut heard = 0;
    for round in 0..rounds {
        let name = ["a", "b"][round as usize % 2];
        let subscribed = words(&call(&mut client, &format!("{prefix}SUBSCRIBE {name}")));
        assert!(subscribed[0].ends_with("subscribe"), "{subscribed:?} came before its answer");
        if round % 3 == 0 {
            assert_eq!(words(&read(&mut client))[0], message);
            heard += 1;
        }
        send(&mut client, &format!("{prefix}UNSUBSCRIBE"));
        loop {
            let words = words(&read(&mut client));
            if words[0] != message {
                break;
            }
            heard += 1;
        }
    }
    // Nothing else came.
    assert_eq!(super::text(&call(&mut client, "PING")), "PONG");
    heard
}

fn counts_are_true(server: &Server, shard: bool) {
    let stop = Arc::new(AtomicBool::new(false));
    let command = if shard { "SPUBLISH" } else { "PUBLISH" };
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|_| {
            let (mut client, stop) = (server.client(), stop.clone());
            thread::spawn(move || {
                let mut counted = 0;
                while !stop.load(Ordering::Relaxed) {
                    for channel in ["a", "b"] {
                        counted += integer(&call(&mut client, &format!("{command} {channel} x")));
                    }
                }
                counted
            })
        })
        .collect();
    let rounds = rounds() * 5;
    let subscribers: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let client = server.client();
            thread::spawn(move || come_and_go(client, rounds, shard))
        })
        .collect();
    let heard: u64 = subscribers.into_iter().map(|one| one.join().expect("it ends")).sum();
    stop.store(true, Ordering::Relaxed);
    let counted: u64 = publishers.into_iter().map(|one| one.join().expect("it ends")).sum();
    assert_eq!(heard, counted, "PUBLISH counted other receivers than there were");
}

#[test]
fn counts_are_true_while_subscribers_come_and_go() {
    with_servers(&[], |server| counts_are_true(server, false));
}

#[test]
fn counts_are_true_for_shard_channels_too() {
    with_servers(&[], |server| counts_are_true(server, true));
}

#[test]
fn who_vanishes_listens_no_more() {
    with_servers(&[], |server| {
        let mut control = server.client();
        let mut clients: Vec<Client> = (0..20).map(|_| server.client()).collect();
        for client in &mut clients {
            call(client, "SUBSCRIBE a");
            call(client, "PSUBSCRIBE p*");
            call(client, "SSUBSCRIBE s");
        }
        assert_eq!(listeners(&mut control, "a"), 20);
        assert_eq!(server.info("clients", "pubsub_clients").as_deref(), Some("20"));
        assert_eq!(server.info("stats", "pubsub_patterns").as_deref(), Some("1"));
        drop(clients);
        wait_until("all have left", || listeners(&mut control, "a") == 0);
        for (field, section) in [
            ("pubsub_clients", "clients"),
            ("pubsub_channels", "stats"),
            ("pubsub_patterns", "stats"),
            ("pubsubshard_channels", "stats"),
        ] {
            wait_until(field, || server.info(section, field).as_deref() == Some("0"));
        }
        assert_eq!(integer(&call(&mut control, "PUBLISH a x")), 0);
    });
}
