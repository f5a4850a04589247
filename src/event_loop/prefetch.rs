//! Fetching into the processor's cache what the commands of a turn will read, before they run.
//!
//! Invariant: nothing depends on it. What is fetched may be the wrong entry or the wrong member, and
//! what a command needs may not be fetched; then it waits for memory itself.
//! What is fetched for many commands at once comes at the speed of the memory bus, and not one after
//! the other.

use super::Core;
use super::stage::{Item, Staged};
use crate::base::time::Clock;
use crate::encoding::Prefetch;
use crate::ring::Ring;
use crate::store::key::Key;
use crate::txn::batch::Batch;

/// Tables smaller than this stay in the processor's cache: prefetching them costs more than it gives.
const PREFETCH_KEYS_MIN: usize = 10_000;

impl<R: Ring, C: Clock> Core<R, C> {
    /// Fetches what commands will read while the memory bus has time: keys, then members.
    pub(super) fn prefetch(&mut self, commands: &[Staged]) {
        if commands.len() < 2 {
            return;
        }
        self.prefetch_keys(commands);
        if self.stage.has_members {
            self.prefetch_members(commands);
        }
    }

    /// Fetches the buckets of all keys, then the entries.
    fn prefetch_keys(&mut self, commands: &[Staged]) {
        let Some(partition) = self.seat.partition() else { return };
        if partition.db(0).len() < PREFETCH_KEYS_MIN {
            return;
        }
        // Of a client's commands those run here that come before the first one for another core.
        let (core, map) = (self.worker.core, self.map);
        let positions = || {
            let mut leaves = None;
            commands.iter().filter_map(move |staged| match staged.item {
                Item::Command { position: Some(position), .. } => {
                    if map.owner_of(position) != core {
                        leaves = Some(staged.client);
                    }
                    (leaves != Some(staged.client)).then_some(position)
                }
                _ => None,
            })
        };
        let key = |position| Key { bytes: &[], position };
        let db = partition.db(0);
        positions().for_each(|position| db.prefetch_bucket(&key(position)));
        positions().for_each(|position| db.prefetch_entry(&key(position)));
    }

    /// Fetches what leads to the members of large collections, and the members.
    fn prefetch_members(&mut self, commands: &[Staged]) {
        let Core { seat, stage, ring, members, .. } = self;
        let Some(partition) = seat.partition() else { return };
        let db = partition.db(0);
        members.clear();
        for staged in commands {
            let Item::Command { position: Some(position), member: word @ 1.., .. } = staged.item
            else {
                continue;
            };
            let member = stage.args(staged, ring).opt(usize::from(word));
            let (Some(member), Some(value)) = (member, db.probable_value(position)) else {
                continue;
            };
            members.extend(value.distant_hash(member).map(|hash| (position, hash)));
        }
        for step in Prefetch::STEPS {
            for (position, hash) in &*members {
                if let Some(value) = db.probable_value(*position) {
                    value.prefetch(*hash, step);
                }
            }
        }
    }

    /// Fetches what batches and their keys need, one step for all of them after the other.
    pub(super) fn prefetch_arrived(&mut self, arrived: &[Box<Batch>]) {
        arrived.iter().for_each(|batch| batch.prefetch_next());
        arrived.iter().for_each(|batch| batch.prefetch_words());
        let (core, map) = (self.worker.core, self.map);
        let Some(partition) = self.seat.partition() else { return };
        if partition.db(0).len() < PREFETCH_KEYS_MIN {
            return;
        }
        let positions = || {
            arrived.iter().flat_map(|batch| {
                let own = batch.next_positions().take_while(|one| map.owner_of(*one) == core);
                own.map(|position| (batch.facts.db, Key { bytes: &[], position }))
            })
        };
        positions().for_each(|(db, key)| partition.db(db).prefetch_bucket(&key));
        positions().for_each(|(db, key)| partition.db(db).prefetch_entry(&key));
    }
}
