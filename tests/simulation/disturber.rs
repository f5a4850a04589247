//! A client that does to the server what must not show in the replies of the others: pauses them,
//! asks every core for something, holds all partitions.
//!
//! Invariant: it gets as many replies as it sends commands; none of them changes a key of others.

use ironring::base::rng::Rng;
use ironring::resp::request;
use ironring::ring::simulated::{ClientEnd, SimNet};

use crate::program::has;
use crate::support::reply;

/// What it may send. Nothing whose reply depends on the machine: a seed would not replay.
const COMMANDS: &[&str] = &[
    "CLIENT PAUSE 3",
    "CLIENT PAUSE 20 WRITE",
    "CLIENT UNPAUSE",
    "CLIENT NO-EVICT on",
    "CONFIG SET maxmemory-samples 6",
    "DBSIZE",
    "KEYS nothing*",
    "SELECT 9",
    "FLUSHDB",
    "SWAPDB 10 11",
    "SCAN 0",
    "PING",
];

/// Such a client.
#[derive(Debug)]
pub(crate) struct Disturber {
    end: ClientEnd,
    requests: Vec<u8>,
    sent: usize,
    received: Vec<u8>,
    unanswered: usize,
}

impl Disturber {
    /// One with random commands; it selects its own database first, which FLUSHDB then empties.
    pub(crate) fn random(rng: &mut Rng, net: &SimNet, password: &str) -> Disturber {
        let known: Vec<Vec<&str>> = COMMANDS
            .iter()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .filter(|words| has(words[0]))
            .collect();
        let mut requests = request::encode(&["AUTH", password]);
        requests.extend(request::encode(&["SELECT", "9"]));
        let count = rng.below(20) as usize;
        for _ in 0..count {
            requests.extend(request::encode(&known[rng.below(known.len() as u64) as usize]));
        }
        let unanswered = count + 2;
        Disturber { end: net.connect(), requests, sent: 0, received: Vec::new(), unanswered }
    }

    /// Sends or reads a piece. False if it has nothing to do.
    pub(crate) fn act(&mut self, rng: &mut Rng, net: &SimNet) -> bool {
        let bytes = net.read(self.end, usize::MAX);
        self.received.extend_from_slice(&bytes);
        while let Some(length) = reply::complete_length(&self.received).expect("RESP") {
            self.received.drain(..length);
            self.unanswered -= 1;
        }
        let left = self.requests.len() - self.sent;
        if left > 0 {
            let next = self.sent + 1 + rng.below(left.min(50) as u64) as usize;
            net.send(self.end, &self.requests[self.sent..next]);
            self.sent = next;
        }
        left > 0 || !bytes.is_empty()
    }

    /// It has got every reply.
    pub(crate) fn is_done(&self) -> bool {
        self.unanswered == 0 && self.sent == self.requests.len()
    }

    /// Closes its socket.
    pub(crate) fn leave(&self, net: &SimNet) {
        net.close(self.end);
    }
}
