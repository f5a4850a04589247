//! Where a command runs: by the slots of its keys.
//!
//! Invariant: the same request leads to the same place on every core.

use super::table::{Registered, Way};
use crate::base::slot::Slot;
use crate::command::keyspec;
use crate::command::{Args, Handler};
use crate::txn::cores::{CoreSet, SlotMap};

/// Where a command runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On the client's home core.
    Home,
    /// On one owner core.
    Core(usize),
    /// On any core that holds all these partitions.
    Loan(CoreSet),
    /// Wherever its batch is.
    Here,
    /// On every core a part.
    Whole,
}

/// Where `args` runs. A request whose keys cannot be found runs at home, where its handler answers
/// with the error.
#[inline]
pub fn place(registered: &Registered, args: Args<'_>, map: SlotMap) -> Place {
    match registered.way {
        // Where a script runs depends on what is known of it (`Worker::script_place`).
        Way::Home | Way::Exec | Way::Script => Place::Home,
        Way::OneKey(index) if map.cores() == 1 || usize::from(index) >= args.len() => {
            Place::Core(0)
        }
        Way::OneKey(index) => Place::Core(map.owner(Slot::of(args.get(usize::from(index))))),
        Way::Keys | Way::Keyspace | Way::Reaching if map.cores() == 1 => Place::Core(0),
        Way::Keys => by_keys(registered, args, map),
        Way::Keyspace => Place::Loan(CoreSet::all(map.cores())),
        Way::Reaching => match registered.command.handler {
            Handler::Reaching(reaches, _) if reaches(args) => {
                Place::Loan(CoreSet::all(map.cores()))
            }
            _ => by_keys(registered, args, map),
        },
        Way::Located => match registered.command.handler {
            Handler::Located(locate, _) => {
                Place::Core(locate(args).map_or(0, |slot| map.owner(slot)))
            }
            _ => Place::Home,
        },
        Way::Migrating => match by_keys(registered, args, map) {
            Place::Core(owner) => Place::Loan(CoreSet::one(owner)),
            place => place,
        },
        Way::Here => Place::Here,
        Way::Whole => Place::Whole,
    }
}

fn by_keys(registered: &Registered, args: Args<'_>, map: SlotMap) -> Place {
    let mut owners = CoreSet::default();
    // A spec that does not fit names no keys, as PFMERGE's sources where there are none.
    let _ = keyspec::keys_of(registered.command.keys, args, |index, _| {
        owners.insert(map.owner(Slot::of(args.get(index))));
    });
    // A request that names no keys, or wrongly, touches none: any partition will do for its error.
    match owners.len() {
        0 => Place::Core(0),
        1 => Place::Core(owners.iter().next().unwrap_or(0)),
        _ => Place::Loan(owners),
    }
}
