//! One order for all subscribers, in which causes come before what they caused.

use std::thread;

use super::support::client::{Client, encode};
use super::support::server::Server;
use super::{call, integer, read, rounds, text, with_servers, words};

const CHANNELS: u64 = 8;
const PUBLISHERS: u64 = 5;
/// Messages of one pipeline.
const BURST: u64 = 8;

/// A message: who published it, and its number there.
type Message = (String, u64, u64);

fn message(words: &[String]) -> Option<Message> {
    let (channel, payload) = match words {
        [kind, channel, payload] if kind == "message" => (channel, payload),
        [kind, _, channel, payload] if kind == "pmessage" => (channel, payload),
        _ => return None,
    };
    let (publisher, number) = payload.split_once(':').expect("publisher and number");
    Some((channel.clone(), publisher.parse().ok()?, number.parse().ok()?))
}

/// Publishes numbers in pipelines, to channels in turn, with keys of all partitions between.
fn publish(mut client: Client, publisher: u64, bursts: u64, receivers: u64) {
    let mut number = 0;
    for burst in 0..bursts {
        let mut bytes = Vec::new();
        for _ in 0..BURST {
            let payload = format!("{publisher}:{number}");
            let channel = format!("c{}", (number * 3 + publisher) % CHANNELS);
            let seen = number.to_string();
            bytes.extend(encode(&["SET", &format!("data{publisher}"), &seen]));
            bytes.extend(encode(&["PUBLISH", &channel, &payload]));
            bytes.extend(encode(&["INCR", &format!("other{}", number + burst)]));
            number += 1;
        }
        client.send(&bytes).expect("a pipeline is sent");
        for _ in 0..BURST {
            assert_eq!(text(&read(&mut client)), "OK");
            assert_eq!(integer(&read(&mut client)), receivers);
            read(&mut client);
        }
    }
}

/// Reads so many messages; whatever was set before a message is there when it has come.
fn subscribe(mut client: Client, mut reader: Client, count: u64) -> Vec<Message> {
    let mut seen = Vec::new();
    while (seen.len() as u64) < count {
        let Some(one) = message(&words(&read(&mut client))) else { continue };
        if seen.len().is_multiple_of(16) {
            let data = call(&mut reader, &format!("GET data{}", one.1));
            assert!(integer(&data) >= one.2, "the message came before what was set before it");
        }
        seen.push(one);
    }
    seen
}

fn one_order(server: &Server) {
    let bursts = rounds();
    let count = PUBLISHERS * bursts * BURST;
    let channels: Vec<String> = (0..CHANNELS).map(|number| format!("c{number}")).collect();
    let mut subscribers = Vec::new();
    for number in 0..6 {
        let mut client = server.client();
        if number % 3 == 0 {
            call(&mut client, "HELLO 3");
        }
        if number % 2 == 0 {
            call(&mut client, &format!("SUBSCRIBE {}", channels.join(" ")));
        } else {
            call(&mut client, "PSUBSCRIBE c*");
        }
        let reader = server.client();
        subscribers.push(thread::spawn(move || subscribe(client, reader, count)));
    }
    // All have subscribed: the acknowledgement of the last channel may still be unread.
    let mut control = server.client();
    super::wait_until("all listen", || super::listeners(&mut control, "c7") == 3);
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|publisher| {
            let client = server.client();
            thread::spawn(move || publish(client, publisher, bursts, 6))
        })
        .collect();
    publishers.into_iter().for_each(|one| one.join().expect("a publisher ends"));
    let orders: Vec<Vec<Message>> =
        subscribers.into_iter().map(|one| one.join().expect("a subscriber ends")).collect();
    for publisher in 0..PUBLISHERS {
        let of_one = orders[0].iter().filter(|one| one.1 == publisher).map(|one| one.2);
        assert!(of_one.eq(0..bursts * BURST), "the order of publisher {publisher}");
    }
    for order in &orders[1..] {
        assert!(*order == orders[0], "two subscribers saw different orders");
    }
}

#[test]
fn all_subscribers_see_one_order() {
    with_servers(&[], one_order);
}

/// Whoever publishes because of a message comes behind it, for everybody.
fn echoes(server: &Server) {
    let rounds = rounds() * 4;
    let mut echo = server.client();
    call(&mut echo, "SUBSCRIBE ping");
    let mut answering = server.client();
    let echoing = thread::spawn(move || {
        for _ in 0..rounds {
            let number = words(&read(&mut echo)).pop().expect("a payload");
            call(&mut answering, &format!("PUBLISH pong {number}"));
        }
    });
    let mut observer = server.client();
    call(&mut observer, "SUBSCRIBE ping pong");
    read(&mut observer);
    let mut asking = server.client();
    for number in 0..rounds {
        call(&mut asking, &format!("PUBLISH ping {number}"));
    }
    echoing.join().expect("the echo ends");
    let (mut pings, mut pongs) = (0, 0);
    while pongs < rounds {
        let words = words(&read(&mut observer));
        if words[1] == "ping" {
            pings += 1;
        } else {
            assert_eq!(words[2], pongs.to_string());
            pongs += 1;
            assert!(pings >= pongs, "an answer came before its question");
        }
    }
}

#[test]
fn an_answer_comes_behind_its_question() {
    with_servers(&[], echoes);
}
