//! Faults made on purpose, so that tests can show that they would notice them.
//!
//! Invariant: a server never sets one; where none is set, nothing here runs. A sabotaged command
//! still gets the reply that it should: only what other clients see goes wrong.

use super::Core;
use crate::base::slot::Slot;
use crate::base::time::{Clock, Millis};
use crate::command::Args;
use crate::command::context::Keyspace;
use crate::dispatch::table::Registered;
use crate::resp::reply::{Reply, ReplyBuffer};
use crate::ring::Ring;
use crate::store::partition::Partition;
use crate::store::watchers::Watched;
use crate::txn::batch::Batch;
use crate::txn::loan::{Arrival, LoanId};

/// What a core does wrong.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sabotage {
    /// Nothing.
    #[default]
    None,
    /// MSET on several partitions writes to each as it comes, and gives it back at once.
    SplitLoan,
    /// Of two SETs of one batch that follow each other, the second runs first.
    ReorderBatch,
    /// A script on several partitions runs twice.
    RepeatScript,
    /// Pushes are delivered as they come, whatever their number.
    EagerPushes,
    /// EXEC runs whatever has become of the keys that its client watches.
    BlindExec,
    /// What a client that has gone waited for and watched is kept.
    KeepVanished,
}

impl<R: Ring, C: Clock> Core<R, C> {
    /// Makes this core do something wrong.
    #[doc(hidden)]
    pub fn sabotage(&mut self, sabotage: Sabotage) {
        self.sabotage = sabotage;
    }

    /// A batch is about to leave.
    pub(super) fn sabotage_batch(&self, batch: &mut Batch) {
        if self.sabotage == Sabotage::ReorderBatch {
            batch.swap_pairs(|one, other| {
                one.is(0, "SET") && other.is(0, "SET") && one.opt(1) != other.opt(1)
            });
        }
    }

    /// True if pushes do not wait for those that have lower numbers.
    pub(super) fn is_eager(&self) -> bool {
        self.sabotage == Sabotage::EagerPushes
    }

    /// True if a batch without a client goes on waiting and watching.
    pub(super) fn keeps_vanished(&self) -> bool {
        self.sabotage == Sabotage::KeepVanished
    }

    /// EXEC is about to take over what its client watches.
    pub(super) fn sabotage_exec(&mut self, watched: &mut Vec<Watched>) {
        if self.sabotage == Sabotage::BlindExec {
            self.unwatch(std::mem::take(watched));
        }
    }

    /// A script has run, and runs again, unseen.
    pub(super) fn sabotage_script(
        &mut self,
        keyspace: Keyspace<'_>,
        registered: &'static Registered,
        batch: &mut Batch,
    ) {
        if self.sabotage == Sabotage::RepeatScript && matches!(keyspace, Keyspace::Lent(_)) {
            let Some((args, facts, _)) = batch.peek_split() else { return };
            let mut unseen = ReplyBuffer::default();
            self.run_script(keyspace, (registered, args), facts, false, &mut unseen);
        }
    }

    /// True if the partitions of this loan are not to be held together.
    pub(super) fn splits(&mut self, id: LoanId) -> bool {
        let is_mset = |args: Args<'_>| args.is(0, "MSET");
        self.sabotage == Sabotage::SplitLoan
            && self.coordinator.open(id).batches.iter().all(|one| one.peek().is_some_and(is_mset))
    }

    /// Runs each command of the loan on the one partition that has come, with empty ones in the
    /// place of the others, and gives it back.
    pub(super) fn lent_alone(&mut self, id: LoanId, partition: Box<Partition>, time: Millis) {
        self.worker.now = self.worker.now.max(time);
        let owner = self.map.owner(partition.first_slot());
        let others = self.coordinator.open(id).owners.iter().filter(|other| *other != owner);
        let mut lent: Vec<Box<Partition>> =
            others.map(|other| self.empty_partition(other)).collect();
        lent.push(partition);
        lent.sort_by_key(|one| one.first_slot());
        for batch in &mut self.coordinator.open(id).batches {
            let Some((args, facts, _)) = batch.peek_split() else { continue };
            if let Some(registered) = self.worker.table.lookup(args) {
                self.worker.hint(None);
                let mut unseen = ReplyBuffer::default();
                let keyspace = Keyspace::Lent(&mut lent);
                self.worker.keyed(keyspace, facts, registered, args, &mut unseen);
            }
        }
        let own = lent.into_iter().filter(|one| self.map.owner(one.first_slot()) == owner);
        self.return_partitions(own.collect());
        let stand_in = self.empty_partition(owner);
        let Arrival::Complete(loan) = self.coordinator.arrive(id, stand_in, time) else { return };
        for mut batch in loan.batches {
            Reply::new(&mut batch.replies, batch.facts.proto).ok();
            batch.ran("mset");
            self.run_batch(batch);
        }
    }

    fn empty_partition(&self, owner: usize) -> Box<Partition> {
        let slot = |number: u16| Slot::from_number(number.into()).expect("a slot of the map");
        let (first, last) = self.map.range(owner);
        let databases = self.worker.config.databases;
        Box::new(Partition::new(slot(first), slot(last), databases, self.worker.hasher))
    }
}
