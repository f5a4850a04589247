//! Ten thousand subscribers of one channel, a hundred thousand channels of one subscriber; nobody
//! else waits for them.

use std::time::{Duration, Instant};

use ironring::base::sys;

use super::support::client::{Client, encode};
use super::support::server::Server;
use super::{call, integer, listeners, read, wait_until, with_servers, words};

const SUBSCRIBERS: u64 = 10_000;
const CHANNELS: u64 = 100_000;
const CHANNELS_AT_ONCE: u64 = 1000;
/// What a channel of one subscriber may cost, with its name on every core of four.
const CHANNEL_BYTES_MAX: u64 = 700;
/// Nobody waits longer for a reply, though the server is built without optimisation and shares its
/// processors.
const REPLY_TIME_MAX: Duration = Duration::from_millis(500);

#[test]
fn ten_thousand_subscribers_hear_one_channel() {
    // Each has a descriptor here and one in the server.
    let open = sys::raise_open_files(SUBSCRIBERS + 500);
    let count = SUBSCRIBERS.min(open.saturating_sub(500));
    with_servers(&[("maxclients", "10100")], |server| {
        let mut clients: Vec<Client> = (0..count).map(|_| server.client()).collect();
        for client in &mut clients {
            client.send_command(&["SUBSCRIBE", "all"]).expect("a command is sent");
        }
        for client in &mut clients {
            assert_eq!(words(&read(client))[0], "subscribe");
        }
        let mut publisher = server.client();
        for number in 0..3 {
            let reply = call(&mut publisher, &format!("PUBLISH all {number}"));
            assert_eq!(integer(&reply), count);
        }
        for client in &mut clients {
            for number in 0..3 {
                assert_eq!(words(&read(client)), ["message", "all", &number.to_string()]);
            }
        }
        drop(clients);
        wait_until("all have left", || listeners(&mut publisher, "all") == 0);
    });
}

/// Subscribes to all channels, many with one command.
fn subscribe_to_all(client: &mut Client) {
    for first in (0..CHANNELS).step_by(CHANNELS_AT_ONCE as usize) {
        let mut argv = vec!["SUBSCRIBE".to_owned()];
        argv.extend((first..first + CHANNELS_AT_ONCE).map(|number| format!("channel{number}")));
        client.send(&encode(&argv)).expect("a command is sent");
        for _ in 0..CHANNELS_AT_ONCE {
            assert_eq!(words(&read(client))[0], "subscribe");
        }
    }
}

fn used_memory(server: &Server) -> u64 {
    let text = server.info("memory", "used_memory").expect("a field of INFO");
    text.parse().expect("a number")
}

#[test]
fn one_client_hears_a_hundred_thousand_channels() {
    with_servers(&[], |server| {
        let mut client = server.client();
        let mut publisher = server.client();
        let before = used_memory(server);
        subscribe_to_all(&mut client);
        let of_one = used_memory(server).saturating_sub(before) / CHANNELS;
        println!("{of_one} bytes a channel");
        assert!(of_one <= CHANNEL_BYTES_MAX, "{of_one} bytes a channel");
        for number in [0, CHANNELS / 2, CHANNELS - 1] {
            let reply = call(&mut publisher, &format!("PUBLISH channel{number} x"));
            assert_eq!(integer(&reply), 1);
            assert_eq!(words(&read(&mut client))[1], format!("channel{number}"));
        }
        client.send_command(&["UNSUBSCRIBE"]).expect("a command is sent");
        for _ in 0..CHANNELS {
            assert_eq!(words(&read(&mut client))[0], "unsubscribe");
        }
        let none = server.info("stats", "pubsub_channels");
        assert_eq!(none.as_deref(), Some("0"));
        wait_until("memory is given back", || used_memory(server) < before + CHANNELS * 20);
    });
}

#[test]
fn nobody_waits_while_a_hundred_thousand_channels_are_left() {
    with_servers(&[], |server| {
        let mut client = server.client();
        let mut other = server.client();
        let before = used_memory(server);
        subscribe_to_all(&mut client);
        drop(client);
        let mut slowest = Duration::ZERO;
        wait_until("all have been left", || {
            let began = Instant::now();
            let channels = call(&mut other, "PUBSUB NUMSUB channel0 channel99999");
            slowest = slowest.max(began.elapsed());
            channels.elements.iter().skip(1).step_by(2).all(|count| integer(count) == 0)
                && server.info("stats", "pubsub_channels").as_deref() == Some("0")
        });
        println!("a reply took {slowest:?}");
        assert!(slowest < REPLY_TIME_MAX, "a reply took {slowest:?}");
        wait_until("memory is given back", || used_memory(server) < before + CHANNELS * 20);
    });
}
