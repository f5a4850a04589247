//! A socket of a client: what it asks, what each reply is for, and how the client goes.
//!
//! Invariant: as many replies come as requests were sent, in their order; a push is no reply. Who
//! vanishes does so between any two bytes that it sends.

use std::collections::VecDeque;

use ironring::base::rng::Rng;
use ironring::ring::simulated::{ClientEnd, SimNet};

use crate::support::client::encode;
use crate::support::reply::{self, Node};

/// Lists, a bit for the number of each.
pub(crate) type ListSet = u8;

/// What a reply is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Nothing but that it is no error.
    Nothing,
    /// It is the client's own id.
    Id,
    /// The client's push of this number is acknowledged.
    Pushed(usize),
    /// It has at most so many elements, which the client has taken; for those of these lists it
    /// waits without an end.
    Takes { most: usize, waits_for: ListSet },
    /// It is the value of a key that the client keeps.
    Keeps(usize),
    /// What was told to the client before it must be known.
    Barrier,
    /// It is all of the list of this number.
    List(usize),
}

/// One client's end of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) end: ClientEnd,
    /// What the replies are for that are still to come.
    pub(crate) asked: VecDeque<Purpose>,
    /// It has gone, or the server has closed it.
    pub(crate) left: bool,
    requests: Vec<u8>,
    sent: usize,
    received: Vec<u8>,
    piece_max: u64,
    vanishes_after: Option<usize>,
}

impl Peer {
    /// One that stays until the server closes it.
    pub(crate) fn new(rng: &mut Rng, net: &SimNet) -> Peer {
        Peer {
            end: net.connect(),
            asked: VecDeque::new(),
            left: false,
            requests: Vec::new(),
            sent: 0,
            received: Vec::new(),
            piece_max: [20, 200, 10_000][rng.below(3) as usize],
            vanishes_after: None,
        }
    }

    /// It vanishes when it has sent this many bytes more than it has to send now, or a few less.
    pub(crate) fn vanish_after(&mut self, bytes: usize) {
        self.vanishes_after = Some(self.requests.len() + bytes);
    }

    /// Something to be sent, and what its reply is for.
    pub(crate) fn ask(&mut self, words: &[&str], purpose: Purpose) {
        self.requests.extend(encode(words));
        self.asked.push_back(purpose);
    }

    /// A transaction; its reply is for `purpose`.
    pub(crate) fn transact(&mut self, commands: &[&[&str]], purpose: Purpose) {
        self.ask(&["MULTI"], Purpose::Nothing);
        commands.iter().for_each(|words| self.ask(words, Purpose::Nothing));
        self.ask(&["EXEC"], purpose);
    }

    /// Sends a piece of what there is to send, or vanishes. False if there is nothing.
    pub(crate) fn send(&mut self, rng: &mut Rng, net: &SimNet) -> bool {
        if self.left {
            return false;
        }
        if self.vanishes_after.is_some_and(|limit| limit <= self.sent) {
            self.left = true;
            if rng.below(2) == 0 {
                net.reset(self.end);
            } else {
                net.close(self.end);
            }
            return true;
        }
        let end = self.vanishes_after.unwrap_or(usize::MAX).min(self.requests.len());
        if self.sent == end {
            return false;
        }
        let most = (end - self.sent).min(self.piece_max as usize) as u64;
        let next = self.sent + 1 + rng.below(most) as usize;
        net.send(self.end, &self.requests[self.sent..next]);
        self.sent = next;
        true
    }

    /// Reads everything that has come; what is whole of it goes to `nodes`, a push or a reply with
    /// what it is for. False if nothing has come.
    pub(crate) fn read(&mut self, net: &SimNet, nodes: &mut Vec<(Option<Purpose>, Node)>) -> bool {
        if self.left {
            return false;
        }
        let bytes = net.read(self.end, usize::MAX);
        self.received.extend_from_slice(&bytes);
        while let Ok(Some(length)) = reply::complete_length(&self.received) {
            let rest = self.received.split_off(length);
            let node = Node::parse(&std::mem::replace(&mut self.received, rest));
            let purpose = if is_push(&node) {
                None
            } else {
                Some(self.asked.pop_front().expect("no reply but what was asked for"))
            };
            let text = String::from_utf8_lossy(&node.text);
            let is_error = node.kind == b'-' && !text.starts_with("UNBLOCKED");
            assert!(!is_error, "{:?} {purpose:?}: {text}", self.end);
            nodes.push((purpose, node));
        }
        self.left = net.is_at_end(self.end);
        !bytes.is_empty()
    }

    /// Nothing is to be sent, and nothing is to come.
    pub(crate) fn is_quiet(&self) -> bool {
        self.left || self.sent == self.requests.len() && self.asked.is_empty()
    }
}

/// True of what comes unasked: pushes of RESP3, and messages of RESP2.
fn is_push(node: &Node) -> bool {
    let first = node.elements.first().map_or(&b""[..], |first| &first.text);
    let is_message = matches!(first, b"message" | b"pmessage");
    // The replies to SUBSCRIBE and its kin are pushes, too, of RESP3.
    node.kind == b'>' && !first.ends_with(b"subscribe") || is_message && node.kind == b'*'
}
