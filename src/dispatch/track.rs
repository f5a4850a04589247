//! Which keys clients have read, and who is told when they change.
//!
//! Invariant: a key is remembered behind the command that read it, under ownership of its partition,
//! and whoever changes it later takes the readers out and tells them; so no change is missed. Where
//! nobody tracks and nobody follows a prefix, a command pays one test. Source: tracking.c's
//! behaviour in Redis 8.0; docs/decisions/0014-tracking.md.

use std::cmp::Reverse;
use std::sync::Arc;

use super::table::Registered;
use super::worker::Worker;
use crate::base::slot::Slot;
use crate::client::SessionFacts;
use crate::client::tracking::Tracking;
use crate::command::context::Keyspace;
use crate::command::{Args, Flags, Group, keyspec};
use crate::pubsub::tracking::Invalidation;
use crate::resp::Proto;
use crate::resp::reply::{Reply, ReplyBuffer};
use crate::store::partition::Partition;
use crate::store::tracking::Reader;
use crate::txn::cores::SlotMap;

/// Keys that are forgotten for one that is remembered, or in a slice, at most.
const EVICTED_AT_ONCE_MAX: u64 = 100;

impl Worker {
    /// True if somebody wants to know which keys of these partitions change.
    #[inline]
    pub(super) fn is_heard(&self, keyspace: &Keyspace<'_>) -> bool {
        keyspace.has_listeners() || !self.prefixes.is_empty()
    }

    /// Remembers what a command has read, if its client has tracking on.
    #[inline]
    pub(super) fn remember_if(
        &mut self,
        keyspace: &mut Keyspace<'_>,
        facts: &SessionFacts,
        command: (&Registered, Args<'_>),
    ) {
        if facts.tracking.is_on() {
            self.remember(keyspace, facts, command);
        }
    }

    /// What a client has changed itself, while it waited or its batch was away, is told behind the reply,
    /// which is on its way to the client's home. What others have changed is told before its next
    /// reply, since that may know of it.
    #[inline]
    pub fn tell_own(&mut self, facts: &SessionFacts, replies: &mut ReplyBuffer) {
        if !self.invalidations.is_empty() && hears_itself(facts) {
            for key in self.invalidations.take_own_keys_of(facts.id) {
                write_push(replies, Some(&[key]), b"_\r\n");
            }
        }
    }

    /// The command of a client that has tracking on has run: what it read is remembered.
    #[cold]
    pub(super) fn remember(
        &mut self,
        keyspace: &mut Keyspace<'_>,
        facts: &SessionFacts,
        (registered, args): (&Registered, Args<'_>),
    ) {
        let command = registered.command;
        let reads = command.flags.has(Flags::READONLY) && !command.flags.has(Flags::PUBSUB);
        // A script's commands remember for themselves.
        if !reads || !facts.tracking.remembers() || command.group == Group::Scripting {
            return;
        }
        let reader = Reader { id: facts.id, home: facts.home, run: facts.run };
        let mut touched = Vec::new();
        let found = keyspec::keys_of(command.keys, args, |index, _| {
            let slot = Slot::of(args.get(index));
            if let Some(partition) = keyspace.holder(slot.get()) {
                partition.tracked_mut().remember(args.get(index), reader);
                touched.push(slot);
            }
        });
        if found.is_ok() {
            touched.into_iter().for_each(|slot| self.forget_too_many(keyspace, slot));
        }
    }

    /// Keeps tracking-table-max-keys, which counts the keys of all partitions: where a key was added,
    /// others are forgotten, and their readers are told as if they had changed.
    fn forget_too_many(&mut self, keyspace: &mut Keyspace<'_>, slot: Slot) {
        let max = self.config.tracking_table_max_keys;
        if max == 0 {
            return;
        }
        let Some(partition) = keyspace.holder(slot.get()) else { return };
        let owner = SlotMap::new(self.server.stats.len()).owner(slot);
        let excess =
            (partition.tracked().len() as u64 + self.tracked_elsewhere(owner)).saturating_sub(max);
        self.forget_tracked(partition, excess);
    }

    /// The same for a limit that was lowered, a part at a time: each core forgets in proportion to
    /// what it keeps, and of what cannot be shared out the fullest. True if there are too many yet.
    pub fn forget_tracked_slice(&mut self, partition: &mut Partition) -> bool {
        let max = self.config.tracking_table_max_keys;
        let own = partition.tracked().len() as u64;
        if max == 0 || own == 0 {
            return false;
        }
        let total = own + self.tracked_elsewhere(self.core);
        let excess = total.saturating_sub(max);
        let counts = self.server.stats.iter().map(|stats| stats.tracked_keys.get());
        let fullest = counts.enumerate().max_by_key(|(core, keys)| (*keys, Reverse(*core)));
        let share = (u128::from(excess) * u128::from(own) / u128::from(total)) as u64;
        let is_fullest = fullest.is_some_and(|(core, _)| core == self.core);
        self.forget_tracked(partition, if is_fullest { share.max(excess.min(1)) } else { share });
        excess > 0
    }

    /// Keys whose readers the other cores remember.
    fn tracked_elsewhere(&self, owner: usize) -> u64 {
        let others = self.server.stats.iter().enumerate().filter(|(core, _)| *core != owner);
        others.map(|(_, stats)| stats.tracked_keys.get()).sum()
    }

    fn forget_tracked(&mut self, partition: &mut Partition, count: u64) {
        for _ in 0..count.min(EVICTED_AT_ONCE_MAX) {
            let Some((key, readers)) = partition.tracked_mut().evict(self.rng.next_u64()) else {
                return;
            };
            self.tell_readers(&key, readers, 0);
        }
    }

    /// A key was changed by client `by`, or by nobody: who has read it is told. Who
    /// follows a prefix with NOLOOP hears nonetheless of keys that its own commands find expired, and
    /// of what its scripts write, as of Redis.
    #[cold]
    pub(super) fn invalidate(
        &mut self,
        keyspace: &mut Keyspace<'_>,
        key: &[u8],
        by: u64,
        by_itself: bool,
    ) {
        let author = if by_itself || self.in_script { 0 } else { by };
        if !self.prefixes.is_empty() {
            self.prefixes.note(key, author);
        }
        let Some(partition) = keyspace.holder(Slot::of(key).get()) else { return };
        if partition.tracked().is_empty() {
            return;
        }
        let mut readers = partition.tracked_mut().take(key);
        if self.noloop {
            readers.retain(|reader| reader.id != by);
        }
        self.tell_readers(key, readers, by);
    }

    /// Those who have read a key are told that client `by` has changed it.
    fn tell_readers(&mut self, key: &[u8], readers: Vec<Reader>, by: u64) {
        if readers.is_empty() {
            return;
        }
        let key: Arc<[u8]> = key.into();
        for Reader { id, home, run } in readers {
            let one = Invalidation::Key { id, run, key: key.clone(), by };
            self.invalidations.add(usize::from(home), one);
        }
    }

    /// What CLIENT CACHING has said is over behind the command that it was about; a transaction is
    /// one.
    #[inline]
    pub fn settle_caching(facts: &mut SessionFacts, registered: &Registered) {
        let is_over = !facts.in_multi && !registered.full_name.starts_with("client");
        if is_over && facts.tracking.has(Tracking::CACHING) {
            facts.tracking = facts.tracking.without(Tracking::CACHING);
        }
    }
}

/// True if a client is told of single keys on its own connection.
fn hears_itself(facts: &SessionFacts) -> bool {
    let tracking = facts.tracking;
    let others = tracking.has(Tracking::REDIRECT) || tracking.has(Tracking::BCAST);
    tracking.is_on() && !others && facts.proto == Proto::Resp3
}

/// `>2 invalidate *n key...`, or a null instead of the keys.
pub fn write_push(push: &mut ReplyBuffer, keys: Option<&[Arc<[u8]>]>, null: &[u8]) {
    let mut reply = Reply::new(push, Proto::Resp3);
    reply.push(2);
    reply.bulk(b"invalidate");
    write_keys(&mut reply, keys, null);
}

/// The keys of an invalidation.
pub fn write_keys(reply: &mut Reply<'_>, keys: Option<&[Arc<[u8]>]>, null: &[u8]) {
    match keys {
        None => reply.raw(null),
        Some(keys) => {
            reply.array(keys.len());
            keys.iter().for_each(|key| reply.bulk(key));
        }
    }
}
