//! MIGRATE as a core sees it: a command that keeps the partitions of its keys while the control plane
//! talks to another server.
//!
//! Invariant: what was lent for it goes back when the outcome is known, also where the client has
//! gone meanwhile: what has arrived elsewhere is deleted here in any case.

use super::notes::take_notes;
use super::transact::Held;
use super::{Core, Ticket};
use crate::base::time::Clock;
use crate::command::context::Keyspace;
use crate::command::session_context::Request;
use crate::dispatch::evict::Admission;
use crate::persist::migration::{Migration, Outcome};
use crate::ring::Ring;
use crate::txn::batch::Batch;
use crate::txn::cores::CoreSet;

impl<R: Ring, C: Clock> Core<R, C> {
    /// Runs the next command of a batch, which migrates keys of these partitions. Gives back the
    /// partitions that it does not keep.
    pub(super) fn begin_migration(
        &mut self,
        mut batch: Box<Batch>,
        needed: CoreSet,
        mut lent: Held,
    ) -> Held {
        let worker = &mut self.worker;
        worker.start_clock();
        let id = batch.next_id().map(usize::from);
        let mut wanted = None;
        if let (Some((args, facts, replies)), Some(id)) = (batch.peek_split(), id) {
            let registered = &worker.table.all()[id];
            let mut keyspace = Keyspace::Lent(&mut lent);
            worker.hint(None);
            match worker.admit(&mut keyspace, facts, (registered, args), replies) {
                Admission::Runs => {
                    worker.keyed(keyspace, facts, registered, args, replies);
                    wanted = worker.migration.take();
                    if wanted.is_none() {
                        batch.ran(registered.full_name);
                    }
                }
                Admission::Refused => batch.advance(),
                Admission::KeptBack => {}
            }
        }
        self.settle_migration(&mut batch);
        let Some(Migration::Wanted(parcel)) = wanted else {
            self.loan_done.push(batch);
            return lent;
        };
        let map = self.map;
        let (kept, rest): (Held, Held) =
            lent.into_iter().partition(|one| needed.contains(map.owner(one.first_slot())));
        self.ask(Ticket::of(batch, Some(kept)), Request::Migrate(parcel));
        rest
    }

    /// The other server has answered, or has not: the command runs again, to its end.
    pub(super) fn end_migration(&mut self, mut batch: Box<Batch>, mut held: Held, end: Outcome) {
        let worker = &mut self.worker;
        worker.start_clock();
        let id = batch.next_id().map(usize::from);
        if let (Some((args, facts, replies)), Some(id)) = (batch.peek_split(), id) {
            let registered = &worker.table.all()[id];
            worker.hint(None);
            worker.migration = Some(Migration::Ended(end));
            worker.keyed_again(Keyspace::Lent(&mut held), facts, registered, args, replies);
            worker.migration = None;
            batch.ran(registered.full_name);
        }
        self.settle_migration(&mut batch);
        self.publish_lent(&mut held);
        self.return_partitions(held);
        self.run_batch(batch);
    }

    fn settle_migration(&mut self, batch: &mut Batch) {
        take_notes(&mut self.worker, batch);
        self.worker.tell_own(&batch.facts, &mut batch.replies);
        batch.time = self.worker.now;
    }
}
