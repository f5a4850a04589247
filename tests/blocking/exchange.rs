//! Many who push and many who wait: every element is received once, or lies in a key at the end.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use ironring::base::rng::Rng;

use super::support::client::{Client, encode};
use super::support::server::Server;
use super::{call, elements, names, read, rounds, wait_for_blocked, with_servers};

/// The keys of an exchange, one of each kind on each partition.
struct Keys {
    lists: Vec<String>,
    targets: Vec<String>,
    sorted: Vec<String>,
    stream: String,
}

impl Keys {
    fn new() -> Self {
        let stream = names("stream").swap_remove(2);
        Keys { lists: names("list"), targets: names("target"), sorted: names("zset"), stream }
    }
}

fn one_of<'a>(rng: &mut Rng, keys: &'a [String]) -> &'a str {
    &keys[rng.below(keys.len() as u64) as usize]
}

/// All keys, beginning anywhere.
fn rotated(rng: &mut Rng, keys: &[String]) -> String {
    let mut keys = keys.to_vec();
    let middle = rng.below(keys.len() as u64) as usize;
    keys.rotate_left(middle);
    keys.join(" ")
}

/// Sends lines as one request and reads their replies.
fn call_all(client: &mut Client, lines: &[String]) -> Vec<String> {
    let words = |line: &String| encode(&line.split_whitespace().collect::<Vec<_>>());
    client.send(&lines.iter().flat_map(words).collect::<Vec<u8>>()).expect("a pipeline is sent");
    lines.iter().map(|_| read(client)).collect()
}

/// What a pusher pushed: elements of lists and sorted sets, and those of the stream.
#[derive(Default)]
struct Pushed {
    elements: Vec<String>,
    entries: Vec<String>,
}

/// Pushes in every way that there is.
fn push(mut client: Client, number: usize, keys: &Keys) -> Pushed {
    let mut rng = Rng::new(number as u64);
    let mut pushed = Pushed::default();
    let own = names(&format!("own{number}."));
    for round in 0..rounds() {
        let fresh: Vec<String> = (0..3).map(|at| format!("e{number}.{round}.{at}")).collect();
        let [one, two, three] = [&fresh[0], &fresh[1], &fresh[2]];
        let list = one_of(&mut rng, &keys.lists);
        let other = one_of(&mut rng, &keys.lists);
        let zset = one_of(&mut rng, &keys.sorted);
        let own = one_of(&mut rng, &own);
        let (count, lines) = match rng.below(10) {
            0 => (1, vec![format!("LPUSH {list} {one}")]),
            1 => (3, vec![format!("RPUSH {list} {one} {two} {three}")]),
            2 => {
                let inside = [
                    "MULTI".to_owned(),
                    format!("RPUSH {list} {one}"),
                    format!("ZADD {zset} 1 {two}"),
                    format!("RPUSH {other} {three}"),
                    "EXEC".to_owned(),
                ];
                (3, inside.to_vec())
            }
            3 => {
                // Where the key exists, it is left alone, and the element goes behind it.
                let made = format!("RENAMENX {own} {list}");
                (
                    1,
                    vec![
                        format!("RPUSH {own} {one}"),
                        made,
                        format!("LMOVE {own} {list} LEFT RIGHT"),
                    ],
                )
            }
            4 => (1, vec![format!("RPUSH {own} {one}"), format!("LMOVE {own} {list} LEFT RIGHT")]),
            5 => {
                let copied = call_all(
                    &mut client,
                    &[format!("RPUSH {own} {one} {two}"), format!("COPY {own} {list}")],
                );
                let last = if copied[1] == ":1\r\n" {
                    vec![format!("DEL {own}")]
                } else {
                    vec![format!("LMOVE {own} {list} LEFT RIGHT"); 2]
                };
                (2, last)
            }
            6 => {
                let each = fresh.iter().zip(keys.lists.iter().rev());
                (3, each.map(|(one, list)| format!("RPUSH {list} {one}")).collect())
            }
            7 => (3, vec![format!("ZADD {zset} 1 {one} 2 {two} 3 {three}")]),
            8 => (
                1,
                vec![
                    format!("ZADD {own} 1 {one}"),
                    format!("ZUNIONSTORE {own}.sum 1 {own}"),
                    format!("DEL {own} {own}.sum"),
                    format!("ZADD {zset} 0 {one}"),
                ],
            ),
            _ => {
                let lines = [one, two].map(|one| format!("XADD {} * f {one}", keys.stream));
                pushed.entries.extend([one.clone(), two.clone()]);
                (0, lines.to_vec())
            }
        };
        for reply in call_all(&mut client, &lines) {
            let is_error = reply.starts_with('-') && !reply.contains("no such key");
            assert!(!is_error, "{lines:?}: {reply}");
        }
        pushed.elements.extend_from_slice(&fresh[..count]);
    }
    pushed
}

/// What one client received.
#[derive(Default)]
struct Received {
    /// For good.
    elements: Vec<String>,
    /// Moved on to another list.
    moved: Vec<String>,
    /// Of the stream.
    entries: Vec<String>,
}

/// Waits in every way that there is, until nobody pushes any more and nothing comes.
fn receive(mut client: Client, number: usize, keys: &Keys, pushers: &AtomicUsize) -> Received {
    let mut rng = Rng::new(1000 + number as u64);
    let mut received = Received::default();
    loop {
        let at_end = pushers.load(Ordering::SeqCst) == 0;
        let timeout = if at_end { "0.01" } else { ["0.001", "0.02", "1"][rng.below(3) as usize] };
        let lists = rotated(&mut rng, &keys.lists);
        let list = one_of(&mut rng, &keys.lists);
        let target = one_of(&mut rng, &keys.targets);
        let sorted = rotated(&mut rng, &keys.sorted);
        let targets = rotated(&mut rng, &keys.targets);
        let line = match number % 8 {
            0 => format!("BLPOP {lists} {timeout}"),
            1 => format!("BRPOP {lists} {timeout}"),
            2 => format!("BLMOVE {list} {target} RIGHT LEFT {timeout}"),
            3 => format!("BRPOPLPUSH {list} {target} {timeout}"),
            4 => format!("BLMPOP {timeout} 4 {lists} LEFT COUNT 3"),
            5 if rng.below(2) == 0 => format!("BZPOPMIN {sorted} {timeout}"),
            5 => format!("BZMPOP {timeout} 4 {sorted} MAX COUNT 2"),
            6 => {
                let millis = if at_end { 10 } else { [1, 20, 1000][rng.below(3) as usize] };
                let group = format!("XREADGROUP GROUP g reader{number} BLOCK {millis} COUNT 3");
                format!("{group} STREAMS {} >", keys.stream)
            }
            _ => format!("BLPOP {targets} {timeout}"),
        };
        let reply = call(&mut client, &line);
        assert!(!reply.starts_with('-'), "{line}: {reply}");
        let got = elements(&reply);
        match number % 8 {
            2 | 3 => received.moved.extend(got),
            6 => received.entries.extend(got),
            _ => received.elements.extend(got),
        }
        if at_end && reply == "*-1\r\n" {
            return received;
        }
    }
}

/// Everything that still lies in the keys.
fn left(client: &mut Client, lists: &[String], sorted: &[String]) -> Vec<String> {
    let lists = lists.iter().map(|list| format!("LRANGE {list} 0 -1"));
    let lines: Vec<String> =
        lists.chain(sorted.iter().map(|zset| format!("ZRANGE {zset} 0 -1"))).collect();
    call_all(client, &lines).iter().flat_map(|reply| elements(reply).collect::<Vec<_>>()).collect()
}

fn assert_same(what: &str, mut expected: Vec<String>, mut found: Vec<String>) {
    expected.sort();
    found.sort();
    let differs = expected.iter().zip(&found).find(|(one, other)| one != other);
    assert!(expected == found, "{what}: {} and {}, {differs:?}", expected.len(), found.len());
}

#[test]
fn every_element_is_received_once() {
    const PUSHERS: usize = 4;
    const RECEIVERS: usize = 16;
    with_servers(|server| {
        let keys = &Keys::new();
        let mut client = server.client();
        let made = call(&mut client, &format!("XGROUP CREATE {} g 0 MKSTREAM", keys.stream));
        assert_eq!(made, "+OK\r\n");
        let pushing = &AtomicUsize::new(PUSHERS);
        let (pushed, received) = thread::scope(|scope| {
            let receivers: Vec<_> = (0..RECEIVERS)
                .map(|number| {
                    let client = server.client();
                    scope.spawn(move || receive(client, number, keys, pushing))
                })
                .collect();
            let pushers: Vec<_> = (0..PUSHERS)
                .map(|number| {
                    let client = server.client();
                    scope.spawn(move || {
                        let pushed = push(client, number, keys);
                        pushing.fetch_sub(1, Ordering::SeqCst);
                        pushed
                    })
                })
                .collect();
            let mut pushed = Pushed::default();
            for pusher in pushers {
                let Pushed { elements, entries } = pusher.join().expect("a pusher");
                pushed.elements.extend(elements);
                pushed.entries.extend(entries);
            }
            let mut received = Received::default();
            for receiver in receivers {
                let Received { elements, moved, entries } = receiver.join().expect("a receiver");
                received.elements.extend(elements);
                received.moved.extend(moved);
                received.entries.extend(entries);
            }
            (pushed, received)
        });
        assert!(!received.moved.is_empty(), "nothing was moved");
        let mut all = received.elements;
        all.extend(left(&mut client, &[&keys.lists[..], &keys.targets].concat(), &keys.sorted));
        assert_same("elements", pushed.elements, all);
        let rest = format!("XREADGROUP GROUP g last COUNT 10000 STREAMS {} >", keys.stream);
        let mut entries = received.entries;
        entries.extend(elements(&call(&mut client, &rest)));
        assert_same("entries of the stream", pushed.entries, entries);
    });
}

/// How a waiting client was disturbed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It closes its own connection.
    Leaves,
    /// CLIENT KILL.
    Killed,
    /// CLIENT UNBLOCK TIMEOUT.
    TimedOut,
    /// CLIENT UNBLOCK ERROR.
    Failed,
}

/// What clients got that were disturbed while they waited.
#[derive(Default)]
struct Disturbed {
    elements: Vec<String>,
    moved: Vec<String>,
    /// Waits that ended with the client: each may have taken one element along.
    lost_max: usize,
    unblocked: usize,
}

/// Waits again and again, and each time is disturbed in some way at about the time it is served.
fn be_disturbed(server: &Server, number: usize, keys: &Keys, pushers: &AtomicUsize) -> Disturbed {
    let mut rng = Rng::new(2000 + number as u64);
    let mut outcome = Disturbed::default();
    let (mut client, mut other) = (server.client(), server.client());
    while pushers.load(Ordering::SeqCst) > 0 {
        let moves = rng.below(3) == 0;
        let line = if moves {
            let (list, target) = (one_of(&mut rng, &keys.lists), one_of(&mut rng, &keys.targets));
            format!("BLMOVE {list} {target} LEFT LEFT 0.2")
        } else {
            format!("BLPOP {} 0.2", rotated(&mut rng, &keys.lists))
        };
        let id = call(&mut client, "CLIENT ID").trim_start_matches(':').trim_end().to_owned();
        client.send_command(&line.split_whitespace().collect::<Vec<_>>()).expect("sent");
        dawdle(&mut other, rng.below(6));
        let fate =
            [Fate::Leaves, Fate::Killed, Fate::TimedOut, Fate::Failed][rng.below(4) as usize];
        let asked = match fate {
            Fate::Leaves => None,
            Fate::Killed => Some(format!("CLIENT KILL ID {id}")),
            Fate::TimedOut => Some(format!("CLIENT UNBLOCK {id} TIMEOUT")),
            Fate::Failed => Some(format!("CLIENT UNBLOCK {id} ERROR")),
        };
        let done = asked.map(|asked| call(&mut other, &asked));
        let mut answer = None;
        if fate != Fate::Leaves {
            answer = client.read_reply().ok().map(|reply| String::from_utf8(reply).expect("text"));
        }
        match &answer {
            Some(reply) if reply.starts_with('-') => {
                assert!(fate == Fate::Failed && reply.starts_with("-UNBLOCKED"), "{reply}");
                outcome.unblocked += 1;
            }
            Some(reply) if moves => outcome.moved.extend(elements(reply)),
            Some(reply) => outcome.elements.extend(elements(reply)),
            None => {
                assert!(matches!(fate, Fate::Leaves | Fate::Killed), "the server closed: {line}");
                outcome.lost_max += usize::from(!moves);
            }
        }
        if matches!(fate, Fate::Leaves | Fate::Killed) {
            assert!(done.is_none_or(|done| done == ":1\r\n"), "it was there to be killed");
            client = server.client();
        }
    }
    outcome
}

#[test]
fn clients_that_go_take_nothing_along_but_their_own() {
    const PUSHERS: usize = 2;
    const WAITING: usize = 6;
    with_servers(|server| {
        let keys = &Keys::new();
        let pushing = &AtomicUsize::new(PUSHERS);
        let (pushed, outcomes) = thread::scope(|scope| {
            let waiting: Vec<_> = (0..WAITING)
                .map(|number| scope.spawn(move || be_disturbed(server, number, keys, pushing)))
                .collect();
            let pushers: Vec<_> = (0..PUSHERS)
                .map(|number| {
                    scope.spawn(move || {
                        let pushed = push_slowly(server.client(), number, keys);
                        pushing.fetch_sub(1, Ordering::SeqCst);
                        pushed
                    })
                })
                .collect();
            let pushed: Vec<String> =
                pushers.into_iter().flat_map(|pusher| pusher.join().expect("a pusher")).collect();
            let outcomes: Vec<Disturbed> =
                waiting.into_iter().map(|one| one.join().expect("a client")).collect();
            (pushed, outcomes)
        });
        wait_for_blocked(server, 0);
        let lost_max: usize = outcomes.iter().map(|one| one.lost_max).sum();
        assert!(outcomes.iter().any(|one| one.unblocked > 0), "nobody was unblocked");
        let received: Vec<String> = outcomes.iter().flat_map(|one| one.elements.clone()).collect();
        let moved: Vec<String> = outcomes.iter().flat_map(|one| one.moved.clone()).collect();
        let mut client = server.client();
        let on_targets = left(&mut client, &keys.targets, &[]);
        let unknown = moved.iter().find(|one| !on_targets.contains(one));
        assert_eq!(unknown, None, "what was moved lies in a target");
        let mut all = [received, on_targets, left(&mut client, &keys.lists, &[])].concat();
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count, "an element was received twice");
        assert!(all.iter().all(|one| pushed.contains(one)), "an element that nobody pushed");
        let lost = pushed.len() - count;
        assert!(lost <= lost_max, "{lost} of {} are lost with {lost_max} clients", pushed.len());
    });
}

/// Pushes one element at a time, in turn on each partition.
fn push_slowly(mut client: Client, number: usize, keys: &Keys) -> Vec<String> {
    let mut rng = Rng::new(number as u64);
    let mut pushed = Vec::new();
    for round in 0..rounds() * 3 {
        let (list, other) = (one_of(&mut rng, &keys.lists), one_of(&mut rng, &keys.lists));
        let [one, two] = [0, 1].map(|at| format!("e{number}.{round}.{at}"));
        let lines = [
            "MULTI".to_owned(),
            format!("RPUSH {list} {one}"),
            format!("RPUSH {other} {two}"),
            "EXEC".to_owned(),
        ];
        let lines = if rng.below(2) == 0 { &lines[..] } else { &lines[1..3] };
        let replies = call_all(&mut client, lines);
        assert!(replies.iter().all(|reply| !reply.starts_with('-')), "{replies:?}");
        pushed.extend([one, two]);
        dawdle(&mut client, rng.below(12));
    }
    pushed
}

/// Lets some time go by, as the server measures it.
fn dawdle(client: &mut Client, rounds: u64) {
    (0..rounds).for_each(|_| assert_eq!(call(client, "PING"), "+PONG\r\n"));
}
