//! How far a group has read: its counter of entries, and what is left.
//! Invariant: a number is given only where it is certain; a deleted entry ahead makes it unknown.
//! Source: entries-read and lag of XINFO GROUPS.

use super::Stream;
use super::group::Group;
use super::id::StreamId;

impl Stream {
    /// How many entries were ever added up to `id`. None if that cannot be known.
    pub fn entries_up_to(&self, id: StreamId) -> Option<u64> {
        let facts = self.facts;
        if facts.entries_added == 0 {
            return Some(0);
        }
        if facts.length == 0 && id <= facts.last_id {
            return Some(facts.entries_added);
        }
        if !id.is_zero() && id < facts.max_deleted_id || id > facts.last_id {
            return None;
        }
        if id == facts.last_id {
            return Some(facts.entries_added);
        }
        let is_whole = facts.max_deleted_id.is_zero() || facts.max_deleted_id < facts.first_id;
        let before_first = facts.entries_added.wrapping_sub(facts.length);
        match id.cmp(&facts.first_id) {
            std::cmp::Ordering::Less if is_whole => Some(before_first),
            std::cmp::Ordering::Equal if is_whole => Some(before_first.wrapping_add(1)),
            _ => None,
        }
    }

    /// True if XDEL deleted an entry from `start` on.
    fn has_deleted_from(&self, start: StreamId) -> bool {
        let facts = self.facts;
        facts.length > 0 && !facts.max_deleted_id.is_zero() && start <= facts.max_deleted_id
    }

    /// Entries that a group has still to read. None if that cannot be known.
    pub fn lag(&self, group: &Group) -> Option<i64> {
        let facts = self.facts;
        if facts.entries_added == 0 || facts.length == 0 {
            return Some(0);
        }
        if group.last_id < facts.first_id && facts.max_deleted_id < facts.first_id {
            return Some(facts.length as i64);
        }
        let read = match group.entries_read {
            Some(read) if !self.has_deleted_from(group.last_id) => Some(read),
            _ => self.entries_up_to(group.last_id),
        };
        read.map(|read| facts.entries_added.wrapping_sub(read) as i64)
    }

    /// The counter of a group that stood at `last` with `read` entries, once it has read `id`.
    pub fn entries_read_after(
        &self,
        (last, read): (StreamId, Option<u64>),
        id: StreamId,
    ) -> Option<u64> {
        match read {
            Some(read) if last >= self.facts.first_id && !self.has_deleted_from(last) => {
                Some(read.wrapping_add(1))
            }
            _ if self.facts.entries_added > 0 => self.entries_up_to(id),
            _ => read,
        }
    }
}
