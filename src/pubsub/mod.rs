//! Who hears what: channels, patterns and shard channels, and what is pushed to clients.
//!
//! Invariant: knows clients by their core, place and id, and nothing else of them. The directory
//! (how many listen, by core) is the same on every core after the same changes; who they are is
//! known at their home alone. Source: the Pub/Sub page of Redis 8.0; docs/decisions/0010-pushes.md.
//!
//! Way in: `push` (what travels), `directory` (the counts), `hearers` (a core's own subscribers),
//! `subscriptions` (what one client has subscribed to).

pub mod directory;
pub mod hearers;
pub mod monitors;
mod names;
pub mod push;
pub mod subscriptions;
pub mod tracking;

use std::sync::Arc;

pub use directory::Directory;
pub use hearers::{Hearer, Hearers};
pub use monitors::Monitors;
pub use push::{Publication, Push, Pushes};
pub use subscriptions::Subscriptions;
pub use tracking::{Follower, Invalidation, Invalidations, Prefixes, Trackers};

/// The name of a channel or a pattern, shared by all who know it.
pub type Name = Arc<[u8]>;

/// The namespaces that names live in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// SUBSCRIBE.
    Channel,
    /// PSUBSCRIBE.
    Pattern,
    /// SSUBSCRIBE.
    Shard,
}

impl Kind {
    /// Every kind, in the order in which tables hold them.
    pub const ALL: [Kind; 3] = [Kind::Channel, Kind::Pattern, Kind::Shard];
}

/// A client begins to listen to names, or stops.
#[derive(Clone, Debug)]
pub struct Change {
    /// Its home core.
    pub home: usize,
    /// Its place there.
    pub client: u32,
    /// Its id.
    pub id: u64,
    /// It begins.
    pub joins: bool,
    /// Names to which it did not listen before, or did; each once, by kind.
    pub names: [Vec<Name>; 3],
}

impl Change {
    /// One that names nothing yet.
    pub fn new((home, client, id): (usize, u32, u64), joins: bool) -> Change {
        Change { home, client, id, joins, names: [const { Vec::new() }; 3] }
    }

    /// Every name with its kind.
    pub fn each(&self) -> impl Iterator<Item = (Kind, &Name)> {
        let of_kind = |kind: Kind| self.names[kind as usize].iter().map(move |name| (kind, name));
        Kind::ALL.into_iter().flat_map(of_kind)
    }

    /// True if nothing changes.
    pub fn is_empty(&self) -> bool {
        self.names.iter().all(Vec::is_empty)
    }
}
