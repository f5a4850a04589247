//! Clients that wait in blocking commands, at their home: until they are served, their time is up,
//! somebody wakes them, or they go.
//!
//! Invariant: whoever takes the waiter's claim decides how the wait ends, and nobody else does; the
//! client's batch stays here meanwhile, with the command that waits as its next.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::acks::answer_acks;
use super::{Core, Message};
use crate::base::gate::Gate;
use crate::base::slot::Slot;
use crate::base::time::{Clock, Millis};
use crate::command::CommandError;
use crate::dispatch::serve::Served;
use crate::ring::Ring;
use crate::store::waiters::Waiter;
use crate::txn::batch::{Batch, Blocked};
use crate::txn::cores::CoreSet;
use crate::txn::loan::Waiting;

/// Waits that end in one turn, at most; those that are left end in the next.
const ENDS_PER_TURN_MAX: usize = 256;

/// When waits end by themselves: the deadline and the client's id, and its place and incarnation.
pub(super) type Deadlines = BTreeMap<(Millis, u64), (u32, u32)>;

/// Why a wait ends without having been served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Its time is up, or CLIENT UNBLOCK pretends so; or replicas have what they are to have.
    Timeout,
    /// CLIENT UNBLOCK ERROR.
    Error,
    /// The server is a replica now.
    Role,
}

impl<R: Ring, C: Clock> Core<R, C> {
    /// A batch is home whose next command waits.
    pub(super) fn block(&mut self, batch: Box<Batch>) {
        let Some(connection) = self.clients.of(batch.client, batch.generation) else {
            return self.abandon(batch);
        };
        let Some(blocked) = &batch.blocked else { return };
        if let Some(served) = connection.served.take() {
            return self.end_served(batch, served);
        }
        let id = connection.session.facts.id;
        if let Some(deadline) = blocked.deadline {
            self.deadlines.insert((deadline, id), (batch.client, batch.generation));
        }
        connection.session.blocked = true;
        let command = usize::from(blocked.waiter.command);
        connection.session.last_command = self.worker.table.all()[command].full_name;
        connection.session.wait = Some(blocked.waiter.claim.clone());
        if connection.hung_up {
            self.doomed.push(batch.client);
        }
        let (client, generation) = (batch.client, batch.generation);
        if blocked.acks.is_some() {
            self.asking.push((client, generation));
        }
        connection.blocked = Some(batch);
        self.worker.stats.blocked_clients.add(1);
    }

    /// Ends the waits whose time has come, and tells of those that were served here.
    pub(super) fn settle_waits(&mut self) {
        for _ in 0..ENDS_PER_TURN_MAX {
            if self.worker.served.is_empty() && !self.has_due_deadline() {
                break;
            }
            for served in std::mem::take(&mut self.worker.served) {
                let home = served.waiter.home;
                if home == self.worker.core {
                    self.served(served);
                } else {
                    self.mail.post(home, Message::Served(served));
                }
            }
            self.end_due();
        }
        for waiter in std::mem::take(&mut self.worker.reserved) {
            let owners = self.worker.owners_of(&waiter, self.map);
            self.coordinator.want_for_waiter(owners, waiter);
        }
        self.retry_kept_back();
    }

    /// True if waits are left to be ended.
    pub(super) fn has_ends(&self) -> bool {
        !self.worker.served.is_empty() || self.has_due_deadline()
    }

    /// Milliseconds until the first wait ends by itself.
    pub(super) fn until_deadline(&self) -> Option<u64> {
        let ((deadline, _), _) = self.deadlines.first_key_value()?;
        // It ends behind its last millisecond, never before the time that was asked for.
        Some(deadline.0.saturating_sub(self.worker.now.0).saturating_add(1).max(0) as u64)
    }

    fn has_due_deadline(&self) -> bool {
        let first = self.deadlines.first_key_value();
        first.is_some_and(|((deadline, _), _)| *deadline < self.worker.now)
    }

    fn end_due(&mut self) {
        for _ in 0..ENDS_PER_TURN_MAX {
            if !self.has_due_deadline() {
                return;
            }
            let Some((_, (client, generation))) = self.deadlines.pop_first() else { return };
            let Some(connection) = self.clients.of(client, generation) else { continue };
            let taken = connection.session.wait.as_ref().is_some_and(|claim| claim.take().is_ok());
            // Where somebody else has the claim, the reply is on its way, or the client waits on and
            // is looked at again.
            if taken {
                self.end_unserved(client, End::Timeout);
            } else if let Some(batch) = &mut connection.blocked
                && let Some(Blocked { waiter, deadline, .. }) = &mut batch.blocked
            {
                let again = Millis(self.worker.now.0 + 1);
                *deadline = Some(again);
                self.deadlines.insert((again, waiter.facts.id), (client, generation));
            }
        }
    }

    /// A client's wait for replicas is over.
    pub(super) fn end_acked(&mut self, client: u32) {
        let Some(connection) = self.clients.get(client) else { return };
        if connection.session.wait.as_ref().is_some_and(|claim| claim.take().is_ok()) {
            self.end_unserved(client, End::Timeout);
        }
    }

    /// CLIENT UNBLOCK has taken the claim of a client.
    pub(super) fn end_woken(&mut self) {
        for (client, end) in std::mem::take(&mut self.clients.woken) {
            if end == End::Role
                && let Some(connection) = self.clients.get(client)
            {
                connection.session.close_after_reply = true;
            }
            self.end_unserved(client, end);
        }
    }

    /// Ends a wait whose claim this core has taken.
    fn end_unserved(&mut self, client: u32, end: End) {
        let Some(batch) = self.unblock(client) else { return };
        let Some(Blocked { waiter, acks, .. }) = &batch.blocked else { return };
        let (waiter, acks) = (waiter.clone(), *acks);
        let mut served = Served {
            full_name: self.worker.table.all()[usize::from(waiter.command)].full_name,
            reply_mode: waiter.facts.reply_mode,
            replies: std::mem::take(&mut self.spare_replies),
            time: self.worker.now,
            denial: None,
            notes: Vec::new(),
            gate: Gate::OPEN,
            waiter: waiter.clone(),
        };
        self.worker.answer_wait(&mut served, |worker, reply| match end {
            End::Error => reply.error(CommandError::Unblocked.text()),
            End::Role => reply.error(CommandError::UnblockedByRole.text()),
            End::Timeout => match acks {
                Some(acks) => answer_acks(worker, &acks, reply),
                None => reply.null_array(),
            },
        });
        self.forget_everywhere(&waiter);
        self.end_wait(batch, served);
    }

    /// A waiter of a client of this core was served.
    pub(super) fn served(&mut self, served: Served) {
        self.worker.now = self.worker.now.max(served.time);
        let waiter = served.waiter.clone();
        let Some(connection) = self.clients.of(waiter.client, waiter.generation) else { return };
        if connection.is_dead {
            return;
        }
        if connection.blocked.is_none() {
            // Its batch is still on the way home.
            connection.served = Some(served);
            return;
        }
        if let Some(batch) = self.unblock(waiter.client) {
            self.end_served(batch, served);
        }
    }

    /// Whoever served a waiter has taken it off the queues at hand; other partitions may have more.
    fn end_served(&mut self, batch: Box<Batch>, served: Served) {
        if self.waited_on(&served.waiter).len() > 1 {
            self.forget_everywhere(&served.waiter);
        }
        self.end_wait(batch, served);
    }

    /// The client of a batch that waited goes on.
    fn end_wait(&mut self, mut batch: Box<Batch>, served: Served) {
        batch.blocked = None;
        batch.notes.extend(served.notes);
        batch.gate.raise(served.gate);
        batch.denials.extend(served.denial);
        batch.facts.reply_mode = served.reply_mode;
        batch.replies.append_from(&served.replies, 0);
        self.spare_replies = served.replies;
        self.spare_replies.clear();
        batch.ran(served.full_name);
        self.came_home(batch);
    }

    /// Takes the batch of a client that waits; the client is shown as blocked no more.
    fn unblock(&mut self, client: u32) -> Option<Box<Batch>> {
        let connection = self.clients.get(client)?;
        let batch = connection.blocked.take()?;
        connection.session.blocked = false;
        connection.session.wait = None;
        if let Some(deadline) = batch.blocked.as_ref().and_then(|blocked| blocked.deadline) {
            self.deadlines.remove(&(deadline, connection.session.facts.id));
        }
        self.worker.stats.blocked_clients.sub(1);
        Some(batch)
    }

    /// A client that waits goes: nothing is served to it from here on, unless that has happened.
    pub(super) fn stop_waiting(&mut self, client: u32) {
        if let Some(batch) = self.unblock(client) {
            self.abandon(batch);
        }
    }

    /// A batch has nobody to come home to: it watches nothing and waits for nothing any more.
    pub(super) fn abandon(&mut self, mut batch: Box<Batch>) {
        if self.keeps_vanished() {
            return self.keep_spare(batch);
        }
        self.unwatch(std::mem::take(&mut batch.watched));
        if let Some(transaction) = &mut batch.transaction {
            let watched = std::mem::take(&mut transaction.watched);
            self.unwatch(watched);
        }
        if let Some(Blocked { waiter, .. }) = &batch.blocked {
            // Where somebody else has it, what was served is lost with the client, as its reply is.
            let _ = waiter.claim.take();
            self.forget_everywhere(&waiter.clone());
        }
        self.keep_spare(batch);
    }

    fn waited_on(&self, waiter: &Waiter) -> CoreSet {
        let mut owners = CoreSet::default();
        waiter.keys().for_each(|key| owners.insert(self.map.owner(Slot::of(key))));
        owners
    }

    /// Has a waiter taken off all queues that it may stand in.
    fn forget_everywhere(&mut self, waiter: &Arc<Waiter>) {
        for owner in self.waited_on(waiter).iter() {
            if owner == self.worker.core {
                self.forget(waiter.clone());
            } else {
                self.mail.post(owner, Message::Forget(waiter.clone()));
            }
        }
    }

    /// Takes a waiter off the queues of this core's partition.
    pub(super) fn forget(&mut self, waiter: Arc<Waiter>) {
        match self.seat.partition_now() {
            None => self.seat.wait(Waiting::Forget(waiter)),
            Some(partition) => {
                for key in waiter.keys() {
                    partition.waiters_mut().remove(key, &waiter);
                }
            }
        }
    }

    /// Commands that named a reserved key are tried again when no key is reserved any more.
    fn retry_kept_back(&mut self) {
        let is_free = |one: &crate::store::partition::Partition| !one.keeps_back();
        let waits = self.kept_back.is_empty() || self.worker.is_choked();
        if waits || !self.seat.partition().is_some_and(|one| is_free(one)) {
            return;
        }
        for batch in std::mem::take(&mut self.kept_back) {
            self.run_batch(batch);
        }
    }
}
