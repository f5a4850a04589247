//! Which history a server has: its name, the name that it had before, and what a replica may go on
//! with.
//!
//! Invariant: two servers that have the same name and the same number of bytes have the same data.
//! Offsets are bytes of the history so far; the offsets of PSYNC name the next byte and begin with 1.
//! Source: Redis 8.0.6, PSYNC of version 2.

pub use crate::observe::replication::{History, ReplicationId};

impl History {
    /// The history goes another way: nobody can go on with it.
    pub fn begin_anew(&mut self, id: ReplicationId) {
        *self = History::new(id);
    }

    /// What comes behind `offset` is this server's own, since it is no replica any more. Who has
    /// followed the same primary as far as that can still go on here.
    pub fn shift(&mut self, id: ReplicationId, offset: u64) {
        self.former = self.id;
        self.former_until = psync_offset(offset);
        self.id = id;
    }

    /// The primary calls what comes behind `offset` by another name. Nothing changes if it does not.
    pub fn follow(&mut self, id: ReplicationId, offset: u64) {
        if id != self.id {
            self.shift(id, offset);
        }
    }

    /// True if the byte that PSYNC asks for belongs to this history, whether it was written yet or not.
    pub fn holds(&self, id: ReplicationId, wanted: i64) -> bool {
        id == self.id
            || id == self.former
                && self.former != ReplicationId::NONE
                && wanted <= self.former_until
    }
}

/// How PSYNC calls the byte behind so many.
pub fn psync_offset(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ReplicationId = ReplicationId::NONE;

    fn id(number: u32) -> ReplicationId {
        ReplicationId::new([number; 5])
    }

    #[test]
    fn a_promoted_server_holds_what_its_primary_had_written() {
        let mut history = History::new(id(1));
        assert!(history.holds(id(1), 1000) && !history.holds(id(2), 1) && !history.holds(A, 1));
        history.shift(id(2), 99);
        assert_eq!(history.former_until, 100);
        assert!(history.holds(id(1), 100) && !history.holds(id(1), 101));
        assert!(history.holds(id(2), 101));
        history.follow(id(2), 150);
        assert_eq!(history.former, id(1));
        history.follow(id(3), 150);
        assert!(history.holds(id(2), 151) && !history.holds(id(1), 1));
        history.begin_anew(id(4));
        assert!(!history.holds(id(3), 1) && !history.holds(A, -1));
    }
}
