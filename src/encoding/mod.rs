//! How data lies in memory. Invariant: layouts only; no clock, no I/O, no Redis command.

pub mod bptree;
pub mod dict;
pub mod gap;
pub mod intset;
pub mod listpack;
pub mod lzf;
pub mod member_map;
pub mod run;
pub mod shared;
pub mod table;
pub mod ziplist;
pub mod zipmap;

/// How far the parts of a large collection are fetched into the cache that lead to a member: each
/// step reads what the one before it fetched, so a run of members takes one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefetch {
    /// What tells in which part the member is.
    Way,
    /// What tells where in the part.
    Index,
    /// The member.
    Member,
}

impl Prefetch {
    /// All steps, in order.
    pub const STEPS: [Prefetch; 3] = [Prefetch::Way, Prefetch::Index, Prefetch::Member];
}
