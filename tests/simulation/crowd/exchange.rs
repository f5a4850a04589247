//! Who pushes elements to lists and publishes them, and who takes them, by every way that there is:
//! plain and blocking commands, transactions, scripts with and without declared keys.
//!
//! Invariant: an element says who pushed it and its number there, and is pushed and published once.

use ironring::base::rng::Rng;

use super::peer::{Peer, Purpose};
use crate::support::reply::Node;

/// Where elements are published.
pub(crate) const CHANNEL: &str = "news";
/// What tells an element from the name of a key.
const ELEMENT: &str = "e:";

/// What one request of a pusher is to do, all or nothing.
#[derive(Debug)]
pub(crate) struct Push {
    /// The elements.
    pub(crate) elements: Vec<String>,
    /// The one that is published, too.
    pub(crate) message: Option<String>,
    /// It has a reply.
    pub(crate) acknowledged: bool,
}

/// Who pushes.
#[derive(Debug)]
pub(crate) struct Pusher {
    pub(crate) number: usize,
    /// Requests that are still to come.
    pub(crate) rounds: u64,
    pub(crate) pushes: Vec<Push>,
    elements: usize,
}

impl Pusher {
    pub(crate) fn new(rng: &mut Rng, number: usize) -> Pusher {
        Pusher { number, rounds: rng.below(12), pushes: Vec::new(), elements: 0 }
    }

    fn element(&mut self) -> String {
        self.elements += 1;
        format!("{ELEMENT}{}:{}", self.number, self.elements)
    }

    /// Notes what a request does; what its reply is for.
    fn note(&mut self, elements: &[&String], message: Option<&String>) -> Purpose {
        let elements = elements.iter().map(|one| (*one).clone()).collect();
        self.pushes.push(Push { elements, message: message.cloned(), acknowledged: false });
        Purpose::Pushed(self.pushes.len() - 1)
    }

    /// The next request. The last list is the pusher's own.
    pub(crate) fn next(&mut self, rng: &mut Rng, peer: &mut Peer, lists: &[String], own: &str) {
        self.rounds -= 1;
        let (first, second) = (self.element(), self.element());
        let (one, other) = (any(rng, lists), any(rng, lists));
        match rng.below(7) {
            0 => {
                let purpose = self.note(&[&first], None);
                peer.ask(&["RPUSH", one, &first], purpose);
            }
            1 => {
                let purpose = self.note(&[&first, &second], None);
                peer.ask(&["LPUSH", one, &first, &second], purpose);
            }
            2 => {
                let purpose = self.note(&[&first, &second], Some(&first));
                let commands: [&[&str]; 3] = [
                    &["RPUSH", one, &first],
                    &["PUBLISH", CHANNEL, &first],
                    &["RPUSH", other, &second],
                ];
                peer.transact(&commands, purpose);
            }
            3 => {
                let purpose = self.note(&[&first, &second], Some(&first));
                peer.ask(&["EVAL", PUSH_DECLARED, "2", one, other, &first, &second], purpose);
            }
            4 => {
                let purpose = self.note(&[&first, &second], Some(&first));
                peer.ask(&["EVAL", PUSH_UNDECLARED, "0", one, other, &first, &second], purpose);
            }
            5 => {
                let purpose = self.note(&[&first], None);
                peer.ask(&["RPUSH", own, &first], purpose);
                peer.ask(&["LMOVE", own, one, "LEFT", "RIGHT"], Purpose::Nothing);
            }
            _ => {
                let purpose = self.note(&[], Some(&first));
                peer.ask(&["PUBLISH", CHANNEL, &first], purpose);
            }
        }
    }
}

/// Who takes.
#[derive(Debug)]
pub(crate) struct Taker {
    /// Requests that are still to come.
    pub(crate) rounds: u64,
    pub(crate) taken: Vec<String>,
}

impl Taker {
    pub(crate) fn new(rng: &mut Rng) -> Taker {
        Taker { rounds: rng.below(12), taken: Vec::new() }
    }

    /// The next request.
    pub(crate) fn next(&mut self, rng: &mut Rng, peer: &mut Peer, lists: &[String]) {
        self.rounds -= 1;
        let middle = rng.below(lists.len() as u64) as usize;
        let all: Vec<&str> = lists[middle..].iter().chain(lists).map(String::as_str).collect();
        let all = &all[..lists.len()];
        let (one, other) = (any(rng, lists), any(rng, lists));
        let seconds = ["0", "0.001", "0.02", "1"][rng.below(4) as usize];
        let endless = |names: &[&str]| {
            let is_named = |at: &usize| seconds == "0" && names.contains(&lists[*at].as_str());
            (0..lists.len()).filter(is_named).fold(0, |set, at| set | 1 << at)
        };
        let at_once = Purpose::Takes { most: 2, waits_for: 0 };
        match rng.below(9) {
            0 | 1 => {
                let words = [&["BLPOP"], all, &[seconds]].concat();
                peer.ask(&words, Purpose::Takes { most: 1, waits_for: endless(all) });
            }
            2 => {
                let count = lists.len().to_string();
                let end = [["LEFT", "RIGHT"][rng.below(2) as usize], "COUNT", "2"];
                let words = [&["BLMPOP", seconds, &count], all, &end].concat();
                peer.ask(&words, Purpose::Takes { most: 2, waits_for: endless(all) });
            }
            3 => {
                let words = ["BLMOVE", one, other, "LEFT", "RIGHT", seconds];
                peer.ask(&words, Purpose::Takes { most: 0, waits_for: endless(&[one]) });
            }
            4 => peer.ask(&["EVAL", TAKE_DECLARED, "2", one, other], at_once),
            5 => peer.ask(&["EVAL", TAKE_UNDECLARED, "0", one, other], at_once),
            6 => {
                let commands: [&[&str]; 2] = [&["LPOP", one], &["RPOP", other]];
                peer.transact(&commands, at_once);
            }
            7 => {
                peer.ask(&["WATCH", one, other], Purpose::Nothing);
                peer.ask(&["LRANGE", one, "0", "-1"], Purpose::Nothing);
                let commands: [&[&str]; 1] = [&["BLPOP", one, other, "0"]];
                peer.transact(&commands, at_once);
            }
            _ => peer.ask(&["LPOP", one], at_once),
        }
    }

    /// Takes up what a reply brought.
    pub(crate) fn take(&mut self, most: usize, node: &Node) {
        let before = self.taken.len();
        // What BLMOVE shows lies in another list.
        if most > 0 {
            collect(node, &mut self.taken);
        }
        assert!(self.taken.len() - before <= most, "more elements than were asked for");
    }
}

/// Every element in a reply.
pub(crate) fn collect(node: &Node, elements: &mut Vec<String>) {
    if node.kind == b'$' && node.text.starts_with(ELEMENT.as_bytes()) {
        elements.push(String::from_utf8_lossy(&node.text).into_owned());
    }
    node.elements.iter().for_each(|one| collect(one, elements));
}

/// One of several names.
pub(crate) fn any<'a>(rng: &mut Rng, names: &'a [String]) -> &'a str {
    &names[rng.below(names.len() as u64) as usize]
}

const PUSH_DECLARED: &str = "redis.call('RPUSH', KEYS[1], ARGV[1])
    redis.call('RPUSH', KEYS[2], ARGV[2])
    return redis.call('PUBLISH', 'news', ARGV[1])";
const PUSH_UNDECLARED: &str = "redis.call('RPUSH', ARGV[1], ARGV[3])
    redis.call('RPUSH', ARGV[2], ARGV[4])
    return redis.call('PUBLISH', 'news', ARGV[3])";
const TAKE_DECLARED: &str =
    "return {redis.call('LPOP', KEYS[1]) or '', redis.call('RPOP', KEYS[2]) or ''}";
const TAKE_UNDECLARED: &str =
    "return {redis.call('LPOP', ARGV[1]) or '', redis.call('RPOP', ARGV[2]) or ''}";
