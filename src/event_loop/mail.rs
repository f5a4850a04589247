//! What cores send each other, and the queues that it goes through.
//!
//! Invariant: what is posted in a turn leaves with `flush`, in order; a full queue is never waited
//! on: the rest stays in the overflow list of that peer and goes first next time.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::acl::Denial;
use crate::base::mailbox::{Parked, Receiver, Sender};
use crate::base::time::Millis;
use crate::command::whole::{Job, Part};
use crate::dispatch::serve::Served;
use crate::net::listener::Accepted;
use crate::store::partition::Partition;
use crate::store::waiters::Waiter;
use crate::store::watchers::Watched;
use crate::txn::batch::Batch;
use crate::txn::cores::CoreSet;
use crate::txn::loan::{LoanId, LoanRequest};

/// Messages between two cores that have not been taken out, at most.
pub const MAILBOX_CAPACITY: usize = 1024;

/// Names a command with a part on every core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WholeId {
    /// The home core of its client.
    pub home: usize,
    /// Its number there.
    pub number: u64,
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
    /// To everybody: a script runs for too long, somewhere.
    Busy,
}

/// One core's ends of all queues.
pub struct Mail {
    core: usize,
    senders: Vec<Option<Sender<Message>>>,
    receivers: Vec<Option<Receiver<Message>>>,
    outbox: Vec<VecDeque<Message>>,
    parked: Arc<[Parked]>,
}

impl Mail {
    /// The queues of `core`; its own places are None.
    pub fn new(
        core: usize,
        senders: Vec<Option<Sender<Message>>>,
        receivers: Vec<Option<Receiver<Message>>>,
        parked: Arc<[Parked]>,
    ) -> Mail {
        let outbox = senders.iter().map(|_| VecDeque::new()).collect();
        Mail { core, senders, receivers, outbox, parked }
    }

    /// Leaves a message for `core`, which may be this one.
    pub fn post(&mut self, core: usize, message: Message) {
        self.outbox[core].push_back(message);
    }

    /// The next message that another core, or this one, has left here.
    pub fn take(&mut self, from: usize) -> Option<Message> {
        match &mut self.receivers[from] {
            Some(receiver) => receiver.pop(),
            None => self.outbox[self.core].pop_front(),
        }
    }

    /// Messages from a core that may be taken now: all but what this core leaves for itself from
    /// now on.
    pub fn waiting(&self, from: usize) -> usize {
        if from == self.core { self.outbox[from].len() } else { usize::MAX }
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
        wake
    }

    /// Messages that did not fit into a queue, or wait for this core itself.
    pub fn has_backlog(&self) -> bool {
        self.outbox.iter().any(|messages| !messages.is_empty())
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
