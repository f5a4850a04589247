//! What clients of a writable replica write to it alone.
//!
//! Invariant: behind each of their commands, the partition of each of its keys knows whether that one
//! got an expiry from it; see store/unshared.rs. Source: slave_expires_tracked_keys of Redis 8.0.

use super::table::Registered;
use crate::base::slot::Slot;
use crate::base::time::Millis;
use crate::command::context::Keyspace;
use crate::command::{Args, Flags, keyspec};
use crate::store::partition::Partition;

/// The expiry of each key that a command names, in its database, or in each for a command that names
/// another one.
type Expiries = Vec<Option<Millis>>;

/// The expiries before a client of a writable replica runs a command. None if it changes nothing.
#[cold]
pub(super) fn expiries_before(
    keyspace: &mut Keyspace<'_>,
    db: usize,
    (registered, args): (&Registered, Args<'_>),
) -> Option<Expiries> {
    let mut expiries = Vec::new();
    if !registered.command.flags.has(Flags::WRITE) {
        return None;
    }
    for_each(keyspace, db, (registered, args), |partition, db, key| {
        expiries.push(partition.expiry_of(db, key));
    });
    Some(expiries)
}

/// The command has run: what it has given an expiry here only is deleted here when it expires.
#[cold]
pub(super) fn note_unshared(
    keyspace: &mut Keyspace<'_>,
    db: usize,
    command: (&Registered, Args<'_>),
    before: Expiries,
) {
    let mut before = before.into_iter();
    for_each(keyspace, db, command, |partition, db, key| {
        if before.next().flatten() != partition.expiry_of(db, key) {
            partition.note_unshared(db, key);
        }
    });
}

fn for_each(
    keyspace: &mut Keyspace<'_>,
    db: usize,
    (registered, args): (&Registered, Args<'_>),
    mut look: impl FnMut(&mut Partition, usize, &[u8]),
) {
    let names_db = matches!(registered.command.name, "COPY" | "MOVE");
    // Words that name no keys have written none.
    let _ = keyspec::keys_of(registered.command.keys, args, |index, _| {
        let key = args.get(index);
        if let Some(partition) = keyspace.holder(Slot::of(key).get()) {
            let dbs = if names_db { 0..partition.dbs().len() } else { db..db + 1 };
            dbs.for_each(|db| look(partition, db, key));
        }
    });
}
