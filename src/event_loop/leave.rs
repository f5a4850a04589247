//! Closed clients leave what they have subscribed to, in pieces.
//!
//! Invariant: no core has more than about one piece of this core's closed clients before it at a time,
//! however many names they had and however late it is.

use std::collections::BTreeMap;

use super::travel::SEQUENCER;
use super::{Core, Message};
use crate::base::time::Clock;
use crate::commands::pubsub::subscribe::{Leaving, NAMES_PER_PIECE_MAX};
use crate::ring::Ring;

/// What closed clients of a core have subscribed to and not left.
#[derive(Debug, Default)]
pub(super) struct Departures {
    waiting: Vec<Leaving>,
    /// Pieces that are being left, by their numbers.
    under_way: BTreeMap<u64, Piece>,
    /// Names in them.
    names: usize,
}

#[derive(Debug)]
struct Piece {
    names: usize,
    /// Cores that have not left it.
    cores: usize,
}

impl Departures {
    /// Nothing is left to leave.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.under_way.is_empty()
    }

    /// True if a piece can be left now.
    pub(super) fn is_due(&self) -> bool {
        !self.waiting.is_empty() && self.names < NAMES_PER_PIECE_MAX
    }

    /// A core has done its part of what has this number. False if it was none of the pieces.
    pub(super) fn part_done(&mut self, number: u64) -> bool {
        let Some(piece) = self.under_way.get_mut(&number) else { return false };
        piece.cores -= 1;
        if piece.cores == 0 {
            self.names -= piece.names;
            self.under_way.remove(&number);
        }
        true
    }
}

impl<R: Ring, C: Clock> Core<R, C> {
    /// A client that goes leaves what it has subscribed to.
    pub(super) fn leave_channels(&mut self, index: u32) {
        let core = self.worker.core;
        let Some(connection) = self.clients.get(index) else { return };
        connection.held.clear();
        self.worker.stats.pubsub_clients.sub(connection.session.facts.subscribed.into());
        if let Some(leaving) = Leaving::of_closed(&mut connection.session, core) {
            self.departures.waiting.push(leaving);
            self.leave_more();
        }
    }

    /// Leaves pieces, as many as cores take at once.
    pub(super) fn leave_more(&mut self) {
        while self.departures.is_due()
            && let Some(mut leaving) = self.departures.waiting.pop()
        {
            if let Some((names, job)) = leaving.next_piece() {
                let (id, cores) = (self.whole_id(), self.mail.cores());
                self.departures.names += names;
                self.departures.under_way.insert(id.number, Piece { names, cores });
                self.mail.post(SEQUENCER, Message::WholeRequest(id, job));
            }
            if !leaving.is_over() {
                self.departures.waiting.push(leaving);
            }
        }
    }
}
