//! Concurrent clients on shared keys; the checker says whether one thread could have served them.
//!
//! Invariant: the keys lie on different partitions, so that commands on several of them need loans
//! and pipelines travel. Time is counted in steps of the schedule.

use ironring::base::rng::Rng;
use ironring::event_loop::Sabotage;
use ironring::ring::simulated::{ClientEnd, Faults, SimNet};

use crate::checker::{self, Operation};
use crate::model::Command;
use crate::run::{STEPS_MAX, end};
use crate::schedule::{Schedule, any_of, pass_time};
use crate::server::{Server, names};
use crate::support::reply;

/// A client that records what it asked and what it got.
struct Recorder {
    end: ClientEnd,
    operations: Vec<Operation>,
    /// Its commands, one behind the other, and where each begins.
    requests: Vec<u8>,
    begins: Vec<usize>,
    /// Replies to each.
    replies: Vec<usize>,
    sent: usize,
    answered: usize,
    /// Replies to the next one that is not answered.
    heard: usize,
    received: Vec<u8>,
    /// Commands under way, at most.
    depth: usize,
    piece_max: u64,
    /// It vanishes when it has sent so many bytes.
    vanishes_after: Option<usize>,
    left: bool,
}

impl Recorder {
    fn random(
        rng: &mut Rng,
        net: &SimNet,
        number: usize,
        names: &[Vec<u8>],
        in_transactions: bool,
    ) -> Recorder {
        let count = 4 + rng.below(12) as usize;
        let (mut operations, mut requests) = (Vec::new(), Vec::new());
        let (mut begins, mut replies) = (Vec::new(), Vec::new());
        for at in 0..count {
            let unique = (number * 100 + at) as u64 + 1;
            let command = if in_transactions {
                Command::random(rng, names.len(), number, unique)
            } else {
                Command::plain(rng, names.len(), unique)
            };
            let sends = command.requests(names);
            begins.push(requests.len());
            replies.push(sends.len());
            requests.extend(sends.concat());
            operations.push(Operation { command, invoked: 0, returned: None });
        }
        let total = requests.len() as u64;
        Recorder {
            end: net.connect(),
            operations,
            requests,
            begins,
            replies,
            sent: 0,
            answered: 0,
            heard: 0,
            received: Vec::new(),
            depth: [1, 3, 100][rng.below(3) as usize],
            piece_max: [20, 100, 10_000][rng.below(3) as usize],
            vanishes_after: (rng.below(8) == 0).then(|| rng.below(total + 1) as usize),
            left: false,
        }
    }

    /// Sends a piece of the next commands. False if enough are under way.
    fn send(&mut self, rng: &mut Rng, net: &SimNet, step: u64) -> bool {
        if self.left {
            return false;
        }
        if self.vanishes_after.is_some_and(|limit| limit <= self.sent) {
            self.left = true;
            net.reset(self.end);
            return true;
        }
        let limit = self.begins.get(self.answered + self.depth).copied();
        let limit = limit.unwrap_or(self.requests.len()).max(self.sent);
        if limit == self.sent {
            return false;
        }
        let most = (limit - self.sent).min(self.piece_max as usize) as u64;
        let next = self.sent + 1 + rng.below(most) as usize;
        for (operation, begin) in self.operations.iter_mut().zip(&self.begins) {
            if (self.sent..next).contains(begin) {
                operation.invoked = step;
            }
        }
        net.send(self.end, &self.requests[self.sent..next]);
        self.sent = next;
        true
    }

    /// Reads everything that is there. False if that is nothing.
    fn read(&mut self, net: &SimNet, step: u64) -> bool {
        let bytes = net.read(self.end, usize::MAX);
        self.received.extend_from_slice(&bytes);
        while let Ok(Some(length)) = reply::complete_length(&self.received) {
            let rest = self.received.split_off(length);
            let reply = std::mem::replace(&mut self.received, rest);
            self.heard += 1;
            if self.heard == self.replies[self.answered] {
                self.operations[self.answered].returned = Some((step, reply));
                self.answered += 1;
                self.heard = 0;
            }
        }
        !bytes.is_empty()
    }

    /// Takes a step. False if it has none to take.
    fn act(&mut self, rng: &mut Rng, net: &SimNet, step: u64) -> bool {
        let reads_first = rng.below(2) == 0;
        reads_first && self.read(net, step)
            || self.send(rng, net, step)
            || !reads_first && self.read(net, step)
    }

    /// True if it waits for nothing.
    fn is_done(&self) -> bool {
        self.left || self.answered == self.operations.len()
    }

    /// What it did until it left.
    fn history(self) -> Vec<Operation> {
        let begun = self.begins.iter().filter(|begin| **begin < self.sent).count();
        self.operations.into_iter().take(begun).collect()
    }
}

/// Records a random history on a server of so many cores, broken on purpose or not, and checks it.
pub(crate) fn history(seed: u64, cores: usize, sabotage: Sabotage) -> Result<(), String> {
    let mut rng = Rng::new(seed);
    let mut faults = if rng.below(2) == 0 { Faults::none() } else { Faults::random(&mut rng) };
    // A pipeline that arrives in crumbs does not travel.
    faults.receive_bytes_max = faults.receive_bytes_max.max(100);
    let mailbox = [1, 2, 256][rng.below(3) as usize];
    let mut server = Server::start(&mut rng, cores, mailbox, faults, "");
    server.cores.iter_mut().for_each(|core| core.sabotage(sabotage));
    let keys = 2 + rng.below(3) as usize;
    let names: Vec<Vec<u8>> =
        names("key", keys, cores).into_iter().map(String::into_bytes).collect();
    let net = server.net.clone();
    let in_transactions = rng.below(2) == 0;
    let mut clients: Vec<Recorder> = (0..2 + rng.below(4) as usize)
        .map(|number| Recorder::random(&mut rng, &net, number, &names, in_transactions))
        .collect();
    let mut schedule = Schedule::new(&mut rng, cores);
    while !clients.iter().all(Recorder::is_done) {
        assert!(schedule.steps < STEPS_MAX as u64, "{STEPS_MAX} steps were not enough");
        let moved = schedule.step(&mut rng, &mut server, |rng, net, step| {
            any_of(rng, &mut clients, |client, rng| client.act(rng, net, step))
        });
        if !moved {
            assert!(net.has_backlog(), "nobody can do anything, but a client waits");
            pass_time(&server);
        }
    }
    clients.iter().filter(|client| !client.left).for_each(|client| net.close(client.end));
    end(&mut rng, server);
    let histories: Vec<_> = clients.into_iter().map(Recorder::history).collect();
    checker::check(&histories, keys)
}
