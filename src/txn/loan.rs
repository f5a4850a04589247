//! Loans: partitions handed, by value, to the core that runs a command on several of them.
//!
//! Invariant: the sequencer passes every request to its owners in one order, and each owner lends in
//! the order in which it was asked; so two coordinators never wait for each other. A partition is
//! either in its seat or with exactly one coordinator.

use std::collections::VecDeque;
use std::sync::Arc;

use super::batch::Batch;
use super::cores::CoreSet;
use crate::base::time::Millis;
use crate::command::session_context::SaveOrder;
use crate::store::partition::Partition;
use crate::store::waiters::Waiter;
use crate::store::watchers::Watched;

/// Names a loan of one coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoanId {
    /// The coordinator.
    pub coordinator: usize,
    /// Its number there.
    pub number: u64,
}

/// A request for partitions, on its way to the sequencer and from there to each owner.
#[derive(Clone, Copy, Debug)]
pub struct LoanRequest {
    /// Who asks.
    pub id: LoanId,
    /// Whose partitions are needed.
    pub owners: CoreSet,
}

/// What waits in front of a partition's seat, in the order of arrival.
#[derive(Debug)]
pub enum Waiting {
    /// Commands for this partition.
    Batch(Box<Batch>),
    /// A coordinator.
    Loan(LoanId),
    /// One that waits for its keys no more.
    Forget(Arc<Waiter>),
    /// A key that is watched once less.
    Unwatch(Watched),
}

/// The place of a core's own partition.
pub struct Seat {
    partition: Option<Box<Partition>>,
    queue: VecDeque<Waiting>,
}

impl Seat {
    /// The partition is here.
    pub fn new(partition: Box<Partition>) -> Seat {
        Seat { partition: Some(partition), queue: VecDeque::new() }
    }

    /// The partition, unless it is lent or somebody waits for it already.
    #[inline]
    pub fn partition(&mut self) -> Option<&mut Partition> {
        if self.queue.is_empty() { self.partition.as_deref_mut() } else { None }
    }

    /// The partition, if it is here; for what may overtake those who wait.
    pub fn partition_now(&mut self) -> Option<&mut Partition> {
        self.partition.as_deref_mut()
    }

    /// True if commands can run on the partition at once.
    #[inline]
    pub fn is_free(&self) -> bool {
        self.partition.is_some() && self.queue.is_empty()
    }

    /// How many wait for the partition.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// True if the partition is here and somebody waits for it.
    pub fn is_due(&self) -> bool {
        self.partition.is_some() && !self.queue.is_empty()
    }

    /// Puts somebody at the end of the queue.
    pub fn wait(&mut self, who: Waiting) {
        self.queue.push_back(who);
    }

    /// The first who waits, if the partition is here.
    pub fn take_next(&mut self) -> Option<Waiting> {
        self.partition.as_ref()?;
        self.queue.pop_front()
    }

    /// Takes the batches out of the queue; who else waits keeps its place.
    pub fn take_batches(&mut self) -> Vec<Box<Batch>> {
        let mut batches = Vec::new();
        for waiting in std::mem::take(&mut self.queue) {
            match waiting {
                Waiting::Batch(batch) => batches.push(batch),
                other => self.queue.push_back(other),
            }
        }
        batches
    }

    /// Lends the partition.
    pub fn lend(&mut self) -> Box<Partition> {
        self.partition.take().expect("a partition is lent from its seat only")
    }

    /// The partition comes back.
    pub fn give_back(&mut self, partition: Box<Partition>) {
        assert!(self.partition.is_none(), "a partition has one seat");
        self.partition = Some(partition);
    }
}

/// A transaction that waits for its partitions, at the coordinator.
pub struct Loan {
    /// Its name.
    pub id: LoanId,
    /// Whose partitions it needs.
    pub owners: CoreSet,
    /// What is to run.
    pub batches: Vec<Box<Batch>>,
    /// Those whose keys are reserved for them; they come before the batches.
    pub waiters: Vec<Arc<Waiter>>,
    /// The saves that begin.
    pub saves: Vec<WantedSave>,
    /// The partitions that have come, in the order of their slots.
    pub partitions: Vec<Box<Partition>>,
    /// The latest time of those that came.
    pub time: Millis,
    /// Nobody wants it any more: what comes goes back, and so many have not come.
    pub given_up: Option<usize>,
}

/// What the coming of a partition means for its loan.
pub enum Arrival {
    /// Others are still to come.
    Waits,
    /// All have come.
    Complete(Loan),
    /// Nobody wants it any more.
    GoesBack(Box<Partition>),
}

impl Loan {
    /// A partition has come. True if it was the last.
    pub fn arrive(&mut self, partition: Box<Partition>, time: Millis) -> bool {
        self.time = self.time.max(time);
        let at = self.partitions.partition_point(|one| one.first_slot() < partition.first_slot());
        self.partitions.insert(at, partition);
        self.partitions.len() == self.owners.len()
    }
}

/// A save that begins when all partitions are here.
#[derive(Clone, Copy, Debug)]
pub struct WantedSave {
    /// The command that waits for it: its home core, and its number there.
    pub asker: Option<(usize, u64)>,
    /// What is wanted.
    pub order: SaveOrder,
}

/// What one turn needs a loan for.
#[derive(Default)]
struct Gathering {
    owners: CoreSet,
    batches: Vec<Box<Batch>>,
    waiters: Vec<Arc<Waiter>>,
    saves: Vec<WantedSave>,
}

/// The loans that a coordinator has asked for.
pub struct Coordinator {
    core: usize,
    last: u64,
    gathering: Option<Gathering>,
    open: VecDeque<Loan>,
}

impl Coordinator {
    /// No loan yet.
    pub fn new(core: usize) -> Coordinator {
        Coordinator { core, last: 0, gathering: None, open: VecDeque::new() }
    }

    /// Notes that `batch` needs the partitions of `owners`. All that come until the next request share
    /// it.
    pub fn want(&mut self, owners: CoreSet, batch: Box<Batch>) {
        let gathering = self.gathering.get_or_insert_default();
        gathering.owners.extend(owners);
        gathering.batches.push(batch);
    }

    /// The same for one whose key is reserved.
    pub fn want_for_waiter(&mut self, owners: CoreSet, waiter: Arc<Waiter>) {
        let gathering = self.gathering.get_or_insert_default();
        gathering.owners.extend(owners);
        gathering.waiters.push(waiter);
    }

    /// The same for a save, which needs all partitions.
    pub fn want_save(&mut self, all: CoreSet, save: WantedSave) {
        let gathering = self.gathering.get_or_insert_default();
        gathering.owners.extend(all);
        gathering.saves.push(save);
    }

    /// The request that is due, if there is one: while a loan is under way, who needs partitions is
    /// gathered for the next, since a loan costs the same for one command as for many.
    pub fn request(&mut self) -> Option<LoanRequest> {
        if self.open.iter().any(|loan| loan.given_up.is_none()) {
            return None;
        }
        let Gathering { owners, batches, waiters, saves } = self.gathering.take()?;
        self.last += 1;
        let id = LoanId { coordinator: self.core, number: self.last };
        self.open.push_back(Loan {
            id,
            owners,
            batches,
            waiters,
            saves,
            partitions: Vec::with_capacity(owners.len()),
            time: Millis(0),
            given_up: None,
        });
        Some(LoanRequest { id, owners })
    }

    /// A partition has come.
    pub fn arrive(&mut self, id: LoanId, partition: Box<Partition>, time: Millis) -> Arrival {
        let at = self.open.iter().position(|loan| loan.id == id).expect("only what was asked for");
        if let Some(missing) = &mut self.open[at].given_up {
            *missing -= 1;
            if *missing == 0 {
                self.open.remove(at);
            }
            return Arrival::GoesBack(partition);
        }
        if !self.open[at].arrive(partition, time) {
            return Arrival::Waits;
        }
        self.open.remove(at).map_or(Arrival::Waits, Arrival::Complete)
    }

    /// Nobody is to wait any longer for the partitions of `held`: the batches that did, and the
    /// partitions that have come for them in vain.
    pub fn give_up(&mut self, held: CoreSet) -> (Vec<Box<Batch>>, Vec<Box<Partition>>) {
        let (mut batches, mut partitions) = (Vec::new(), Vec::new());
        for loan in self.open.iter_mut().filter(|loan| loan.owners.meets(held)) {
            if loan.given_up.is_some() {
                continue;
            }
            batches.append(&mut loan.batches);
            // Those whose keys are reserved wait on.
            if loan.waiters.is_empty() {
                loan.given_up = Some(loan.owners.len() - loan.partitions.len());
                partitions.append(&mut loan.partitions);
            }
        }
        if let Some(gathering) = self.gathering.as_mut().filter(|one| one.owners.meets(held)) {
            batches.append(&mut gathering.batches);
            if gathering.waiters.is_empty() {
                self.gathering = None;
            }
        }
        (batches, partitions)
    }

    /// A loan that was asked for and is not complete.
    pub fn open(&mut self, id: LoanId) -> &mut Loan {
        let found = self.open.iter_mut().find(|loan| loan.id == id);
        found.expect("only what was asked for")
    }

    /// True if nothing is asked for.
    pub fn is_idle(&self) -> bool {
        self.gathering.is_none() && self.open.is_empty()
    }
}
