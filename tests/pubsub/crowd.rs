//! Ten thousand subscribers of one channel, a hundred thousand channels of one subscriber; nobody
//! else waits for them.

use ironring::base::sys;

use super::support::client::{Client, encode};
use super::support::server::Server;
use super::{call, integer, listeners, read, text, wait_until, with_servers, words};

const SUBSCRIBERS: u64 = 10_000;
const CHANNELS: u64 = 100_000;
const CHANNELS_AT_ONCE: u64 = 1000;
/// What a channel of one subscriber may cost, with its name on every core of four.
const CHANNEL_BYTES_MAX: u64 = 700;
/// CPU microseconds of a turn, though the server is built without optimisation; to leave all channels
/// at once takes ten times as long.
const TURN_CPU_MAX: u64 = 50_000;

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
    let ways: [fn(Client) -> Option<Client>; 3] =
        [|_| None, |client| sent(client, "UNSUBSCRIBE"), |client| sent(client, "RESET")];
    with_servers(&[], |server| {
        let mut other = server.client();
        let before = used_memory(server);
        for way in ways {
            let mut client = server.client();
            subscribe_to_all(&mut client);
            assert_eq!(text(&call(&mut other, "CONFIG RESETSTAT")), "OK");
            let client = way(client);
            wait_until("all have been left", || {
                server.info("stats", "pubsub_channels").as_deref() == Some("0")
            });
            let longest = longest_turn(server);
            println!("a turn took {longest} CPU us");
            assert!(longest < TURN_CPU_MAX, "a turn took {longest} CPU us");
            drop(client);
            wait_until("memory is given back", || used_memory(server) < before + CHANNELS * 20);
        }
    });
}

/// CPU microseconds of the longest turn of any core.
fn longest_turn(server: &Server) -> u64 {
    let cores = (0..4).filter_map(|core| server.info("cores", &format!("core{core}")));
    let turns = cores.filter_map(|line| {
        let value = line.split(',').find_map(|field| field.strip_prefix("turn_cpu_max_usec="))?;
        value.parse().ok()
    });
    turns.max().expect("a core tells of its turns")
}

fn sent(mut client: Client, word: &str) -> Option<Client> {
    client.send_command(&[word]).expect("a command is sent");
    Some(client)
}

/// So many channels are joined and left in several pieces.
const CHANNELS_IN_PIECES: usize = 5000;

#[test]
fn who_joins_and_leaves_in_pieces_gets_what_counted_it() {
    with_servers(&[], |server| {
        let names: Vec<String> = (0..CHANNELS_IN_PIECES).map(|at| format!("piece{at}")).collect();
        let mut client = server.client();
        for verb in ["SUBSCRIBE", "UNSUBSCRIBE", "SUBSCRIBE", "UNSUBSCRIBE ALL"] {
            let mut argv: Vec<&str> = verb.split(' ').take(1).collect();
            if verb != "UNSUBSCRIBE ALL" {
                argv.extend(names.iter().map(String::as_str));
            }
            client.send_command(&argv).expect("a command is sent");
            let mut publisher = server.client();
            let publish = |name: &String| encode(&["PUBLISH", name, "x"]);
            publisher.send(&names.iter().flat_map(publish).collect::<Vec<u8>>()).expect("sent");
            let counted: u64 = names.iter().map(|_| integer(&read(&mut publisher))).sum();
            let (mut heard, mut answered) = (0, 0);
            while heard < counted || answered < names.len() {
                let push = words(&read(&mut client));
                if push[0] == "message" {
                    // None overtakes the reply that it is counted by, none comes behind the last.
                    let due = if verb.starts_with("UN") { 0 } else { names.len() };
                    assert_eq!(answered, due, "{verb}: {push:?}");
                    heard += 1;
                } else {
                    answered += 1;
                }
            }
            let left = if verb.starts_with("UN") { 0 } else { names.len() };
            assert_eq!(server.info("stats", "pubsub_channels"), Some(left.to_string()));
        }
        // In RESP2 a subscriber may only listen; it listens to nothing any more.
        client.send_command(&["ECHO", "over"]).expect("a command is sent");
        assert_eq!(text(&read(&mut client)), "over");
    });
}
