//! What cores send each other, and the queues that it goes through.
//!
//! Invariant: what is posted in a turn leaves with `flush`, in order; a full queue is never waited
//! on: the rest stays in the overflow list of that peer and goes first next time.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Answer;
use super::replicas::Moving;
use crate::acl::Denial;
use crate::base::gate::Gate;
use crate::base::mailbox::{Parked, Receiver, Sender};
use crate::base::time::Millis;
use crate::base::turns::Turns;
use crate::command::session_context::Handover;
use crate::command::whole::{Job, Part};
use crate::dispatch::serve::Served;
use crate::net::listener::Accepted;
use crate::persist::aof::block::Block;
use crate::pubsub::tracking::Letterboxes;
use crate::pubsub::{Invalidation, Push};
use crate::store::partition::Partition;
use crate::store::waiters::Waiter;
use crate::store::watchers::Watched;
use crate::txn::batch::Batch;
use crate::txn::cores::CoreSet;
use crate::txn::loan::{LoanId, LoanRequest, WantedSave};

/// Messages between two cores that have not been taken out, at most: as many as a turn takes.
pub(super) const MAILBOX_CAPACITY_MAX: usize = 256;
/// Messages from all others to one core, so that queues cost memory in proportion to the cores.
const MAILBOXES_CAPACITY: usize = 1024;
/// Two cores that talk should not wait for each other's turns.
const MAILBOX_CAPACITY_MIN: usize = 32;

/// How many messages the queue between two of so many cores holds.
pub fn mailbox_capacity(cores: usize) -> usize {
    (MAILBOXES_CAPACITY / cores.max(1)).clamp(MAILBOX_CAPACITY_MIN, MAILBOX_CAPACITY_MAX)
}

/// Names a command with a part on every core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WholeId {
    /// The home core of its client.
    pub home: usize,
    /// Its number there.
    pub number: u64,
}

impl WholeId {
    /// Nobody waits for it.
    pub fn silent(home: usize) -> WholeId {
        WholeId { home, number: 0 }
    }

    /// True if nobody waits for it.
    pub fn is_silent(self) -> bool {
        self.number == 0
    }
}

/// A message from core to core.
pub enum Message {
    /// Commands to run here, or coming home.
    Batch(Box<Batch>),
    /// To the sequencer: pass this on to the owners.
    LoanRequest(LoanRequest),
    /// To an owner: lend your partition.
    Lend(LoanId),
    /// To a coordinator: a partition, and the time at which it was last used.
    Lent(LoanId, Box<Partition>, Millis),
    /// To an owner: your partition, and the time at which it was last used.
    Return(Box<Partition>, Millis),
    /// A new client.
    Accepted(Box<Accepted>),
    /// To the sequencer: have this done on every core.
    WholeRequest(WholeId, Job),
    /// Do this.
    Whole(WholeId, Job),
    /// To the home core: a part was done.
    WholeDone(WholeId, usize, Part),
    /// To the home core: a client's wait was served.
    Served(Served),
    /// To the core that keeps the log of refusals.
    Denied(Box<Denial>),
    /// To an owner: this one waits for its keys no more.
    Forget(Arc<Waiter>),
    /// To an owner: this key is watched once less.
    Unwatch(Watched),
    /// To a home core: look into your letterbox.
    Letters,
    /// To an owner: memory is above its limit, and you have what can go.
    Evict,
    /// To the home of the largest client: clients hold more than they may.
    EvictClients,
    /// To a home core: what a turn pushes to clients there, with the number of the turn, and what
    /// that has to wait for.
    Pushes(u64, Gate, Vec<Push>),
    /// To the writer of the journal: what a turn did, with its number.
    Block(u64, Box<Block>),
    /// To the core that keeps the stream: a client that wants to be a replica.
    Moving(Box<Moving>),
    /// To the same: have the replicas say how far they are, when they have been sent what this turn
    /// did.
    AskReplicas(u64),
    /// To the same: send this line to the replicas.
    Feed(Vec<Vec<u8>>),
    /// To the same: hand over, or end. The home core of the command that asks, and its number there.
    Handover(Handover, (usize, u64)),
    /// To the same: write all data to a file, or read it again.
    Save(WantedSave),
    /// To a home core: the answer to a command with this number.
    Answered(u64, Result<Answer, String>),
    /// To everybody: a script runs for too long, somewhere.
    Busy,
}

/// One core's ends of all queues.
pub struct Mail {
    core: usize,
    senders: Vec<Option<Sender<Message>>>,
    receivers: Vec<Option<Receiver<Message>>>,
    outbox: Vec<VecDeque<Message>>,
    /// How many messages of each outbox are of earlier turns.
    kept: Vec<usize>,
    turns: Arc<Turns>,
    /// Messages of a number that this core has taken have not left.
    numbered: bool,
    letterboxes: Letterboxes,
    parked: Arc<[Parked]>,
}

impl Mail {
    /// The queues of `core`; its own places are None.
    pub fn new(
        core: usize,
        senders: Vec<Option<Sender<Message>>>,
        receivers: Vec<Option<Receiver<Message>>>,
        (parked, turns, letterboxes): (Arc<[Parked]>, Arc<Turns>, Letterboxes),
    ) -> Mail {
        let outbox = senders.iter().map(|_| VecDeque::new()).collect();
        let kept = vec![0; senders.len()];
        Mail { core, senders, receivers, outbox, kept, turns, numbered: false, letterboxes, parked }
    }

    /// Leaves a message for `core`, which may be this one.
    pub fn post(&mut self, core: usize, message: Message) {
        self.outbox[core].push_back(message);
    }

    /// Leaves a message for `core` that goes before all others of this turn.
    pub fn post_first(&mut self, core: usize, message: Message) {
        self.outbox[core].insert(self.kept[core], message);
        // Nothing else is posted so.
        self.kept[core] += 1;
    }

    /// The turn has taken this number: what is about to leave waits for that from now on.
    pub fn resolve_gates(&mut self, number: u64) {
        for (kept, messages) in self.kept.iter().zip(&mut self.outbox) {
            for message in messages.iter_mut().skip(*kept) {
                match message {
                    Message::Batch(batch) => batch.gate = batch.gate.resolved(number),
                    Message::Served(served) => served.gate = served.gate.resolved(number),
                    Message::Lent(_, partition, _) | Message::Return(partition, _) => {
                        partition.marks_mut().resolve(number);
                    }
                    _ => {}
                }
            }
        }
    }

    /// Drops a letter into a core's box, where it is before anything that leaves this core from now on
    /// can be anywhere.
    pub fn drop_letter(&mut self, core: usize, letter: Vec<Invalidation>) {
        if self.letterboxes[core].drop_in(letter) {
            self.post(core, Message::Letters);
        }
    }

    /// True if there are letters for this core.
    #[inline]
    pub fn has_letters(&self) -> bool {
        !self.letterboxes[self.core].is_empty()
    }

    /// Takes the letters for this core.
    pub fn take_letters(&self) -> Vec<Vec<Invalidation>> {
        self.letterboxes[self.core].take_all()
    }

    /// The number of this turn, which posts something that has a place in the order of all cores.
    /// What is posted under it leaves with the next `flush`.
    pub fn take_number(&mut self) -> u64 {
        self.numbered = true;
        self.turns.take(self.core)
    }

    /// The number up to which everything that was posted under it is in the queues to this core.
    pub fn settled(&self) -> u64 {
        self.turns.settled()
    }

    /// Of what this core has left for itself, what is there now may be taken from now on.
    pub fn begin_taking(&mut self) {
        self.kept[self.core] = self.outbox[self.core].len();
    }

    /// Messages that this core has left for itself and may take now.
    pub fn left_here(&self) -> usize {
        self.kept[self.core]
    }

    /// The next message that another core, or this one, has left here.
    pub fn take(&mut self, from: usize) -> Option<Message> {
        if let Some(receiver) = &mut self.receivers[from] {
            return receiver.pop();
        }
        self.kept[from] = self.kept[from].checked_sub(1)?;
        self.outbox[from].pop_front()
    }

    /// True if nothing of this core waits to be taken.
    pub fn is_empty_from(&self, from: usize) -> bool {
        self.receivers[from].as_ref().is_none_or(Receiver::is_empty)
    }

    /// Cores.
    pub fn cores(&self) -> usize {
        self.senders.len()
    }

    /// Sends what was posted; the cores that have to be woken for it.
    pub fn flush(&mut self) -> CoreSet {
        let mut wake = CoreSet::default();
        for (core, sender) in self.senders.iter_mut().enumerate() {
            let Some(sender) = sender else { continue };
            if sender.push_from(&mut self.outbox[core]) && self.parked[core].must_wake() {
                wake.insert(core);
            }
        }
        for (kept, left) in self.kept.iter_mut().zip(&self.outbox) {
            *kept = left.len();
        }
        self.settle();
        wake
    }

    /// Says of what has a number how far it has left.
    fn settle(&mut self) {
        if !self.numbered {
            return;
        }
        let number = |message: &Message| match message {
            Message::Pushes(number, ..) | Message::Block(number, _) => Some(*number),
            _ => None,
        };
        let others = self.outbox.iter().enumerate().filter(|(core, _)| *core != self.core);
        let left = others.filter_map(|(_, messages)| messages.iter().find_map(number)).min();
        self.turns.posted(self.core, left);
        self.numbered = left.is_some();
    }

    /// Messages that did not fit into a queue, or wait for this core itself.
    pub fn has_backlog(&self) -> bool {
        self.outbox.iter().any(|messages| !messages.is_empty())
    }

    /// Messages of this core that no other one has taken over.
    pub fn waiting(&self) -> usize {
        self.outbox.iter().map(VecDeque::len).sum()
    }

    /// True if another core has left a message.
    pub fn has_come(&self) -> bool {
        self.receivers.iter().flatten().any(|receiver| !receiver.is_empty())
    }

    /// Tells the others that this core is about to wait. False if a message came meanwhile.
    pub fn park(&mut self) -> bool {
        if self.senders.len() == 1 {
            return true;
        }
        self.parked[self.core].park();
        let idle = self.receivers.iter().flatten().all(Receiver::is_empty);
        if !idle {
            self.unpark();
        }
        idle
    }

    /// This core runs again.
    pub fn unpark(&mut self) {
        if self.senders.len() > 1 {
            self.parked[self.core].unpark();
        }
    }
}
