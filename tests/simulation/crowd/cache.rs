//! Clients that keep what they read, as client libraries do, and the writers who make it old.
//!
//! Invariant: each key has one writer, who gives it ascending versions, its keys one after the other
//! in their order or all at once; so whoever has read one of them knows what the others hold at
//! least. A copy that is older than that should have been called back.

use std::collections::BTreeMap;

use ironring::base::rng::Rng;

use super::peer::{Peer, Purpose};
use crate::support::reply::Node;

/// Writers, each of whom has every second key.
pub(crate) const WRITERS: usize = 2;
/// Keys of a pipelined read.
const PIPELINED: u64 = 3;

/// Who writes.
#[derive(Debug)]
pub(crate) struct Writer {
    number: usize,
    /// Rounds that are still to come.
    pub(crate) rounds: u64,
    version: u64,
}

impl Writer {
    pub(crate) fn new(rng: &mut Rng, number: usize) -> Writer {
        Writer { number, rounds: rng.below(8), version: 0 }
    }

    /// Gives all keys their next version.
    pub(crate) fn next(&mut self, rng: &mut Rng, peer: &mut Peer, keys: &[String]) {
        self.rounds -= 1;
        self.version += 1;
        let version = self.version.to_string();
        let own: Vec<&str> =
            keys.iter().skip(self.number).step_by(WRITERS).map(String::as_str).collect();
        if rng.below(3) == 0 {
            let pairs = own.iter().flat_map(|key| [*key, version.as_str()]);
            let words: Vec<&str> = std::iter::once("MSET").chain(pairs).collect();
            return peer.ask(&words, Purpose::Nothing);
        }
        for key in own {
            match rng.below(5) {
                0 => {
                    let script = "return redis.call('SET', KEYS[1], ARGV[1])";
                    peer.ask(&["EVAL", script, "1", key, &version], Purpose::Nothing);
                }
                1 => {
                    let script = "return redis.call('SET', ARGV[1], ARGV[2])";
                    peer.ask(&["EVAL", script, "0", key, &version], Purpose::Nothing);
                }
                2 => peer.transact(&[&["SET", key, &version]], Purpose::Nothing),
                _ => peer.ask(&["SET", key, &version], Purpose::Nothing),
            }
        }
    }
}

/// Who reads, and keeps copies.
#[derive(Debug)]
pub(crate) struct Cache {
    /// Reads that are still to come.
    pub(crate) rounds: u64,
    copies: BTreeMap<usize, u64>,
    /// What each key holds at least, by what was read.
    known: Vec<u64>,
    /// What others do while it waits for a reply is told behind that.
    is_told_late: bool,
    /// It has not asked since what it may have been told late of.
    owes_barrier: bool,
}

impl Cache {
    /// Has the server track what `peer` reads.
    pub(crate) fn new(rng: &mut Rng, peer: &mut Peer, keys: usize) -> Cache {
        peer.ask(&["HELLO", "3"], Purpose::Nothing);
        let mode = ["OPTOUT", "NOLOOP", "BCAST"][rng.below(3) as usize];
        peer.ask(&["CLIENT", "TRACKING", "ON", mode], Purpose::Nothing);
        Cache {
            rounds: rng.below(20),
            copies: BTreeMap::new(),
            known: vec![0; keys],
            is_told_late: mode == "BCAST",
            owes_barrier: false,
        }
    }

    /// The next read.
    pub(crate) fn next(&mut self, rng: &mut Rng, peer: &mut Peer, keys: &[String]) {
        self.rounds -= 1;
        if std::mem::take(&mut self.owes_barrier) {
            return peer.ask(&["PING"], Purpose::Barrier);
        }
        let count = if rng.below(4) == 0 { PIPELINED } else { 1 };
        self.owes_barrier = self.is_told_late || count > 1;
        for _ in 0..count {
            let key = rng.below(keys.len() as u64) as usize;
            peer.ask(&["GET", &keys[key]], Purpose::Keeps(key));
        }
    }

    /// Takes a value up: what it says of the writer's other keys, and as a copy.
    pub(crate) fn keep(&mut self, key: usize, node: &Node) {
        let version = version(node);
        assert!(version >= self.known[key], "key {key} went back to {version}");
        for other in (key % WRITERS..self.known.len()).step_by(WRITERS) {
            let least = if other <= key { version } else { version.saturating_sub(1) };
            self.known[other] = self.known[other].max(least);
        }
        self.copies.insert(key, version);
        if !self.owes_barrier {
            self.check();
        }
    }

    /// Forgets what a push calls back.
    pub(crate) fn forget(&mut self, push: &Node, names: &[String]) {
        let [what, keys] = &push.elements[..] else { panic!("an invalidation has two words") };
        assert_eq!(what.text, b"invalidate");
        if keys.kind != b'*' {
            return self.copies.clear();
        }
        let is_named =
            |key: usize| keys.elements.iter().any(|one| one.text == names[key].as_bytes());
        self.copies.retain(|key, _| !is_named(*key));
    }

    /// No copy is older than what is known.
    pub(crate) fn check(&self) {
        for (key, version) in &self.copies {
            let known = self.known[*key];
            assert!(*version >= known, "a copy of key {key} is {version}, though {known} is known");
        }
    }

    /// When all is said, the copies are what the keys hold.
    pub(crate) fn check_against(&self, held: &[u64]) {
        for (key, version) in &self.copies {
            assert_eq!(*version, held[*key], "nobody called the copy of key {key} back");
        }
    }
}

/// The version in the reply to GET; 0 before the first.
pub(crate) fn version(node: &Node) -> u64 {
    std::str::from_utf8(&node.text).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}
