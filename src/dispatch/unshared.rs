//! What clients of a writable replica write to it alone.
//!
//! Invariant: behind each of their commands, the partition of each of its keys knows whether that one
//! has an expiry; see store/unshared.rs. Source: slave_expires_tracked_keys of Redis 8.0.

use super::table::Registered;
use crate::base::slot::Slot;
use crate::command::context::Keyspace;
use crate::command::{Args, Flags, keyspec};

/// A client of a writable replica has run a command: what it has written here only is deleted here
/// when it expires.
#[cold]
pub(super) fn note_unshared(
    keyspace: &mut Keyspace<'_>,
    db: usize,
    (registered, args): (&Registered, Args<'_>),
) {
    if !registered.command.flags.has(Flags::WRITE) {
        return;
    }
    // Words that name no keys have written none.
    let _ = keyspec::keys_of(registered.command.keys, args, |index, _| {
        let key = args.get(index);
        if let Some(partition) = keyspace.holder(Slot::of(key).get()) {
            partition.note_unshared(db, key);
        }
    });
}
