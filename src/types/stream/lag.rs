//! How far a group has read: its counter of entries, and what is left.
//! Invariant: a number is given only where it is certain; a deleted entry ahead makes it unknown.
//! Source: entries-read and lag of XINFO GROUPS.

use super::Facts;
use super::group::Group;
use super::id::StreamId;

impl Facts {
    /// How many entries were ever added up to `id`. None if that cannot be known.
    pub fn entries_up_to(self, id: StreamId) -> Option<u64> {
        if self.entries_added == 0 {
            return Some(0);
        }
        if self.length == 0 && id <= self.last_id {
            return Some(self.entries_added);
        }
        if !id.is_zero() && id < self.max_deleted_id || id > self.last_id {
            return None;
        }
        if id == self.last_id {
            return Some(self.entries_added);
        }
        let is_whole = self.max_deleted_id.is_zero() || self.max_deleted_id < self.first_id;
        let before_first = self.entries_added.wrapping_sub(self.length);
        match id.cmp(&self.first_id) {
            std::cmp::Ordering::Less if is_whole => Some(before_first),
            std::cmp::Ordering::Equal if is_whole => Some(before_first.wrapping_add(1)),
            _ => None,
        }
    }

    /// True if XDEL deleted an entry from `start` on.
    fn has_deleted_from(self, start: StreamId) -> bool {
        self.length > 0 && !self.max_deleted_id.is_zero() && start <= self.max_deleted_id
    }

    /// Entries that a group has still to read. None if that cannot be known.
    pub fn lag(self, group: &Group) -> Option<i64> {
        if self.entries_added == 0 || self.length == 0 {
            return Some(0);
        }
        if group.last_id < self.first_id && self.max_deleted_id < self.first_id {
            return Some(self.length as i64);
        }
        let read = match group.entries_read {
            Some(read) if !self.has_deleted_from(group.last_id) => Some(read),
            _ => self.entries_up_to(group.last_id),
        };
        read.map(|read| self.entries_added.wrapping_sub(read) as i64)
    }

    /// The counter of a group that stood at `last` with `read` entries, once it has read `id`.
    pub fn entries_read_after(
        self,
        (last, read): (StreamId, Option<u64>),
        id: StreamId,
    ) -> Option<u64> {
        match read {
            Some(read) if last >= self.first_id && !self.has_deleted_from(last) => {
                Some(read.wrapping_add(1))
            }
            _ if self.entries_added > 0 => self.entries_up_to(id),
            _ => read,
        }
    }
}
