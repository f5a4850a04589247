//! What a blocking command that found nothing waits for.
//! Invariant: a handler that leaves one has written no reply and reported no effect; it runs again,
//! from the start, when one of the keys has changed. Source: BLPOP and its kin, XREAD BLOCK.

use super::CommandError;
use crate::base::time::Millis;
pub use crate::store::waiters::Wants;

/// What a command is answered with at once where nothing may wait: inside EXEC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// A null array.
    NullArray,
    /// A null.
    Null,
    /// An error.
    Error(CommandError),
}

/// A command that waits.
#[derive(Debug)]
pub struct Suspension {
    /// The words that are the keys it waits for. Where the command names others, too, it runs again
    /// only with the partitions of all of them; else with that of a key that changed (see
    /// `Context::is_at_hand`).
    pub keys: Vec<usize>,
    /// What it can be served with.
    pub wants: Wants,
    /// Until when; then the reply is a null array. None is for ever.
    pub deadline: Option<Millis>,
    /// What it is answered with where it may not wait.
    pub denied: Denied,
    /// It runs again, too, when a key is deleted or changes its type.
    pub wakes_on_delete: bool,
    /// Words that it has instead when it runs again (XREAD's `$`).
    pub replaced: Vec<(usize, Vec<u8>)>,
}

impl Suspension {
    /// That of a command that waits for no key, but for the control plane.
    pub fn away(denied: Denied) -> Suspension {
        Suspension {
            keys: Vec::new(),
            wants: Wants::List,
            deadline: None,
            denied,
            wakes_on_delete: false,
            replaced: Vec::new(),
        }
    }
}
