//! What one client has subscribed to.
//!
//! Invariant: changed by its own commands alone, before other cores hear of it; so it is what CLIENT
//! LIST shows and what the replies of SUBSCRIBE count. Source: the Pub/Sub page of Redis 8.0.

use std::collections::BTreeSet;

use super::{Kind, Name};

/// Names of all kinds.
#[derive(Clone, Debug, Default)]
pub struct Subscriptions {
    names: [BTreeSet<Name>; 3],
}

impl Subscriptions {
    /// Names of a kind.
    #[inline]
    pub fn len(&self, kind: Kind) -> usize {
        self.names[kind as usize].len()
    }

    /// True without any name.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.names.iter().all(BTreeSet::is_empty)
    }

    /// What a reply of SUBSCRIBE and its kin counts: channels and patterns together, shard channels
    /// alone.
    pub fn counted_with(&self, kind: Kind) -> usize {
        match kind {
            Kind::Shard => self.len(Kind::Shard),
            Kind::Channel | Kind::Pattern => self.len(Kind::Channel) + self.len(Kind::Pattern),
        }
    }

    /// True if a name is among them.
    pub fn contains(&self, kind: Kind, name: &[u8]) -> bool {
        self.names[kind as usize].contains(name)
    }

    /// Adds a name that is not among them.
    pub fn insert(&mut self, kind: Kind, name: Name) {
        self.names[kind as usize].insert(name);
    }

    /// Takes a name out. None if it is not among them.
    pub fn take(&mut self, kind: Kind, name: &[u8]) -> Option<Name> {
        self.names[kind as usize].take(name)
    }

    /// Takes any name of a kind out. None if there is none.
    pub fn take_first(&mut self, kind: Kind) -> Option<Name> {
        self.names[kind as usize].pop_first()
    }

    /// The names of a kind.
    pub fn names(&self, kind: Kind) -> impl Iterator<Item = &Name> {
        self.names[kind as usize].iter()
    }

    /// Bytes that they take here, about; the names themselves are shared.
    pub fn held_bytes(&self) -> usize {
        self.names.iter().map(|names| names.len() * 2 * size_of::<Name>()).sum()
    }
}
