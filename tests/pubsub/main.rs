//! Pub/sub on a real server of several cores: one order for everybody, counts that are true, slow
//! subscribers, crowds.
//!
//! Invariant: a message says who published it and its number there, so that none can be lost, come
//! twice or in another order unseen. `PUBSUB_ROUNDS` makes the runs longer.

mod churn;
mod crowd;
mod order;
mod slow;
#[path = "../support/mod.rs"]
mod support;

use support::client::Client;
use support::reply::Node;
use support::server::{Program, Server};
use support::wait::wait_until;

/// Cores of the larger server.
const CORES: usize = 4;
/// Rounds of an ordinary run: a few seconds in all.
const ROUNDS: u64 = 40;

fn rounds() -> u64 {
    support::env("PUBSUB_ROUNDS").and_then(|text| text.parse().ok()).unwrap_or(ROUNDS)
}

/// Runs `test` on servers with one core and with several.
fn with_servers(options: &[(&str, &str)], test: impl Fn(&Server)) {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let options: Vec<(String, String)> = options.iter().map(owned).collect();
    for cores in [1, CORES] {
        let server = Server::start(&Program::Ours { cores }, &options);
        test(&server);
        assert!(!server.log().contains("panicked"), "{}", server.log());
    }
}

/// Splits a line at its blanks and calls it.
fn call(client: &mut Client, line: &str) -> Node {
    send(client, line);
    read(client)
}

fn send(client: &mut Client, line: &str) {
    client.send_command(&line.split_whitespace().collect::<Vec<_>>()).expect("a command is sent");
}

/// The next reply or push.
fn read(client: &mut Client) -> Node {
    Node::parse(&client.read_reply().expect("a reply"))
}

/// The number in a reply.
fn integer(node: &Node) -> u64 {
    text(node).parse().expect("an integer")
}

fn text(node: &Node) -> String {
    String::from_utf8(node.text.clone()).expect("the tests send text")
}

/// The words of a push.
fn words(node: &Node) -> Vec<String> {
    node.elements.iter().map(text).collect()
}

/// How many listen to a channel.
fn listeners(client: &mut Client, channel: &str) -> u64 {
    let reply = call(client, &format!("PUBSUB NUMSUB {channel}"));
    integer(&reply.elements[1])
}
