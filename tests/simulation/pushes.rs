//! Publishers and subscribers: one order for all, counts that are true, answers behind questions.
//!
//! Invariant: a message says who published it and its number there. Subscribers that stay listen
//! before anybody publishes; others come and go meanwhile. Integers in replies to publishers are
//! counts of receivers, and nothing else is.

use std::collections::HashMap;

use ironring::base::rng::Rng;
use ironring::event_loop::Sabotage;
use ironring::ring::simulated::{ClientEnd, Faults, SimNet};

use crate::run::{STEPS_MAX, end};
use crate::schedule::{Schedule, any_of, pass_time};
use crate::server::Server;
use crate::support::client::encode;
use crate::support::reply::{self, Node};

const CHANNELS: u64 = 4;
/// The channel whose messages are answered, and the one that the answers go to.
const QUESTIONS: &str = "c0";
const ANSWERS: &str = "answers";

/// A channel and what was published there.
type Message = (Vec<u8>, Vec<u8>);

/// What a client is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Listens to everything from the start.
    Stays,
    /// Subscribes and leaves again.
    Roams,
    /// Publishes.
    Publishes,
    /// Publishes an answer to every message to one channel.
    Answers,
}

struct Client {
    end: ClientEnd,
    role: Role,
    requests: Vec<u8>,
    sent: usize,
    received: Vec<u8>,
    /// Replies that are still to come.
    missing: usize,
    heard: Vec<Message>,
    counted: u64,
    piece_max: u64,
}

impl Client {
    fn new(rng: &mut Rng, net: &SimNet, role: Role) -> Client {
        Client {
            end: net.connect(),
            role,
            requests: Vec::new(),
            sent: 0,
            received: Vec::new(),
            missing: 0,
            heard: Vec::new(),
            counted: 0,
            piece_max: [20, 200, 10_000][rng.below(3) as usize],
        }
    }

    fn ask(&mut self, words: &[&str]) {
        self.requests.extend(encode(words));
        self.missing += 1;
    }

    fn listener(rng: &mut Rng, net: &SimNet) -> Client {
        let mut client = Client::new(rng, net, Role::Stays);
        if rng.below(2) == 0 {
            client.ask(&["HELLO", "3"]);
        }
        if rng.below(2) == 0 {
            client.ask(&["PSUBSCRIBE", "*"]);
        } else {
            (0..CHANNELS).for_each(|one| client.ask(&["SUBSCRIBE", &format!("c{one}")]));
            client.ask(&["SUBSCRIBE", ANSWERS]);
        }
        client
    }

    fn roamer(rng: &mut Rng, net: &SimNet) -> Client {
        let mut client = Client::new(rng, net, Role::Roams);
        for _ in 0..rng.below(20) {
            let name = format!("c{}", rng.below(CHANNELS));
            let verb = ["SUBSCRIBE", "UNSUBSCRIBE", "PSUBSCRIBE", "PUNSUBSCRIBE"];
            client.ask(&[verb[rng.below(4) as usize], &name]);
        }
        client
    }

    fn answerer(rng: &mut Rng, net: &SimNet) -> Client {
        let mut client = Client::new(rng, net, Role::Answers);
        client.ask(&["HELLO", "3"]);
        client.ask(&["SUBSCRIBE", QUESTIONS]);
        client
    }

    fn publisher(rng: &mut Rng, net: &SimNet, number: usize) -> Client {
        let mut client = Client::new(rng, net, Role::Publishes);
        let in_transactions = rng.below(3) == 0;
        for at in 0..rng.below(15) {
            let channel = format!("c{}", rng.below(CHANNELS));
            let payload = format!("{number}:{at}");
            let key = format!("key{}", rng.below(50));
            if in_transactions {
                client.ask(&["MULTI"]);
            }
            client.ask(&["SET", &key, &payload]);
            client.ask(&["PUBLISH", &channel, &payload]);
            if in_transactions {
                client.ask(&["EXEC"]);
            }
            // The batch travels on.
            client.ask(&["GET", &format!("key{}", rng.below(50))]);
        }
        client
    }

    fn act(&mut self, rng: &mut Rng, net: &SimNet, may_publish: bool) -> bool {
        let reads_first = rng.below(2) == 0;
        reads_first && self.read(net) || self.send(rng, net, may_publish) || self.read(net)
    }

    fn send(&mut self, rng: &mut Rng, net: &SimNet, may_publish: bool) -> bool {
        let left = self.requests.len() - self.sent;
        if left == 0 || self.role == Role::Publishes && !may_publish {
            return false;
        }
        let len = 1 + rng.below((left as u64).min(self.piece_max)) as usize;
        net.send(self.end, &self.requests[self.sent..self.sent + len]);
        self.sent += len;
        true
    }

    fn read(&mut self, net: &SimNet) -> bool {
        let bytes = net.read(self.end, usize::MAX);
        self.received.extend_from_slice(&bytes);
        while let Ok(Some(length)) = reply::complete_length(&self.received) {
            let rest = self.received.split_off(length);
            let one = std::mem::replace(&mut self.received, rest);
            self.take(&Node::parse(&one));
        }
        !bytes.is_empty()
    }

    fn take(&mut self, node: &Node) {
        let words: Vec<&[u8]> = node.elements.iter().map(|one| one.text.as_slice()).collect();
        match words[..] {
            [b"message", channel, payload] | [b"pmessage", _, channel, payload] => {
                self.heard.push((channel.to_vec(), payload.to_vec()));
                if self.role == Role::Answers {
                    let payload = String::from_utf8_lossy(payload).into_owned();
                    self.ask(&["PUBLISH", ANSWERS, &payload]);
                }
            }
            _ => {
                self.missing =
                    self.missing.checked_sub(1).expect("no reply but what was asked for");
                if matches!(self.role, Role::Publishes | Role::Answers)
                    && words.first() != Some(&&b"subscribe"[..])
                {
                    self.counted += integers(node);
                }
            }
        }
    }

    fn is_done(&self) -> bool {
        self.missing == 0 && self.sent == self.requests.len()
    }
}

/// The sum of the integers in a reply that is no map.
fn integers(node: &Node) -> u64 {
    match node.kind {
        b':' => std::str::from_utf8(&node.text).expect("digits").parse().expect("a count"),
        b'*' => node.elements.iter().map(integers).sum(),
        _ => 0,
    }
}

/// Lets random clients publish and listen on a server of so many cores.
pub(crate) fn pushes(seed: u64, cores: usize, sabotage: Sabotage) {
    let mut rng = Rng::new(seed);
    let mut faults = if rng.below(2) == 0 { Faults::none() } else { Faults::random(&mut rng) };
    faults.receive_bytes_max = faults.receive_bytes_max.max(100);
    let mailbox = [1, 2, 256][rng.below(3) as usize];
    let mut server = Server::start(&mut rng, cores, mailbox, faults, "");
    server.cores.iter_mut().for_each(|core| core.sabotage(sabotage));
    let net = server.net.clone();
    let mut clients = Vec::new();
    for _ in 0..2 + rng.below(3) {
        clients.push(Client::listener(&mut rng, &net));
    }
    for _ in 0..rng.below(3) {
        clients.push(Client::roamer(&mut rng, &net));
    }
    if rng.below(2) == 0 {
        clients.push(Client::answerer(&mut rng, &net));
    }
    for number in 0..1 + rng.below(4) as usize {
        clients.push(Client::publisher(&mut rng, &net, number));
    }
    let mut schedule = Schedule::new(&mut rng, cores);
    let mut idle_rounds = 0;
    loop {
        assert!(schedule.steps < STEPS_MAX as u64, "{STEPS_MAX} steps were not enough");
        let waits_for_all = |one: &Client| matches!(one.role, Role::Stays | Role::Answers);
        let may_publish = clients.iter().filter(|one| waits_for_all(one)).all(Client::is_done)
            || clients.iter().any(|one| one.role == Role::Publishes && one.sent > 0);
        let moved = schedule.step(&mut rng, &mut server, |rng, net, _| {
            any_of(rng, &mut clients, |client, rng| client.act(rng, net, may_publish))
        });
        if moved {
            continue;
        }
        if net.has_backlog() {
            pass_time(&server);
        } else if clients.iter().all(Client::is_done) || idle_rounds > 0 {
            break;
        } else {
            idle_rounds += 1;
            pass_time(&server);
        }
    }
    let waiting = clients.iter().filter(|one| !one.is_done()).map(|one| (one.role, one.missing));
    assert_eq!(waiting.collect::<Vec<_>>(), [], "nobody can do anything, but these wait");
    clients.iter().for_each(|client| net.close(client.end));
    end(&mut rng, server);
    check(&clients);
}

fn check(clients: &[Client]) {
    let counted: u64 = clients.iter().map(|one| one.counted).sum();
    let heard: usize = clients.iter().map(|one| one.heard.len()).sum();
    assert_eq!(counted, heard as u64, "PUBLISH counted other receivers than there were");
    let stays: Vec<&Client> = clients.iter().filter(|one| one.role == Role::Stays).collect();
    for one in &stays[1..] {
        assert_eq!(one.heard, stays[0].heard, "two subscribers saw different orders");
    }
    let order: HashMap<&Message, usize> =
        stays[0].heard.iter().enumerate().map(|(at, one)| (one, at)).collect();
    for client in clients {
        let mut of_publisher: HashMap<&[u8], u64> = HashMap::new();
        let places = client.heard.iter().map(|one| order[one]);
        assert!(places.is_sorted(), "somebody saw another order");
        for (channel, payload) in &client.heard {
            let (publisher, number) = payload.split_at(
                payload.iter().position(|byte| *byte == b':').expect("publisher and number"),
            );
            let number: u64 =
                std::str::from_utf8(&number[1..]).expect("digits").parse().expect("a number");
            if channel == ANSWERS.as_bytes() {
                let question = (QUESTIONS.as_bytes().to_vec(), payload.clone());
                let answer = (channel.clone(), payload.clone());
                assert!(order[&question] < order[&answer], "an answer before its question");
            } else if let Some(before) = of_publisher.insert(publisher, number) {
                // Who listens to a channel and to a pattern that matches it hears twice.
                assert!(before <= number, "the messages of one publisher changed places");
            }
        }
    }
}
