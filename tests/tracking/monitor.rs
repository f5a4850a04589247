//! Clients that watch all commands while others send them to every core.

use std::time::{Duration, Instant};

use crate::call;
use crate::support::client::Client;
use crate::support::server::Server;

const WRITERS: usize = 4;

/// Sends numbered commands until the time is over; how many.
fn write(server: &Server, writer: usize, until: Instant) -> usize {
    let mut client = server.client();
    let mut sent = 0;
    while Instant::now() < until {
        // Keys of all partitions, alone and together.
        for key in 0..5 {
            call(&mut client, &format!("SET {writer}:{key} {sent}"));
            sent += 1;
        }
        call(&mut client, &format!("MSET {writer}:a {sent} {writer}:b {sent}"));
        sent += 1;
    }
    sent
}

fn watch(server: &Server) -> Client {
    let mut client = server.client();
    assert_eq!(call(&mut client, "MONITOR"), b"+OK\r\n");
    client
}

/// The lines up to the last command, without their times.
fn lines(client: &mut Client) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let line = String::from_utf8(client.read_reply().expect("a line")).expect("ASCII");
        let (_, shown) = line.trim_end().split_once(' ').expect("a time and the rest");
        if shown.contains("\"the end\"") {
            return lines;
        }
        lines.push(shown.to_owned());
    }
}

/// The numbers that the commands of a writer carry, in the order of the lines.
fn numbers_of(lines: &[String], writer: usize) -> Vec<usize> {
    let mark = format!("\"{writer}:");
    let of_writer = lines.iter().filter(|line| line.contains(&mark));
    let number = |line: &String| line.rsplit('"').nth(1).and_then(|word| word.parse().ok());
    of_writer.map(|line| number(line).expect("each ends with a number")).collect()
}

pub(crate) fn run(server: &Server, time: Duration) {
    let until = Instant::now() + time;
    let mut watchers: Vec<Client> = (0..3).map(|_| watch(server)).collect();
    let sent: Vec<usize> = std::thread::scope(|scope| {
        let writers: Vec<_> =
            (0..WRITERS).map(|writer| scope.spawn(move || write(server, writer, until))).collect();
        // Who does not read meanwhile gets everything, too.
        writers.into_iter().map(|writer| writer.join().expect("a writer ends")).collect()
    });
    let mut last = server.client();
    last.call(&["ECHO", "the end"]).expect("a reply");
    let seen: Vec<Vec<String>> = watchers.iter_mut().map(lines).collect();
    assert!(seen.iter().all(|one| *one == seen[0]), "two who watch saw two orders");
    for (writer, sent) in sent.into_iter().enumerate() {
        let numbers = numbers_of(&seen[0], writer);
        assert_eq!(numbers, (0..sent).collect::<Vec<_>>(), "writer {writer}");
    }
}
