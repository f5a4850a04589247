//! Walking keys: SCAN, RANDOMKEY and the keys of one hash slot.
//! Invariant: a cursor holds no state on the server; it names a hash slot, so it tells which
//! partition is next. What a scan promises stands at the head of `encoding/table.rs`.
//! Source: SCAN, CLUSTER COUNTKEYSINSLOT, CLUSTER GETKEYSINSLOT.

use super::db::Db;
use super::entry::EntryRef;
use super::partition::Partition;
use crate::base::slot::Slot;
use crate::base::time::Millis;
use crate::encoding::table::Table;

impl Partition {
    /// One step of SCAN through a database: gives at least `count` entries where there are so many
    /// near, expired ones included. Returns the next cursor, which may name another partition's
    /// slot; 0 begins and ends. Any number is a valid cursor.
    pub fn scan(
        &self,
        db: usize,
        cursor: u64,
        count: usize,
        emit: impl FnMut(EntryRef<'_>),
    ) -> u64 {
        let cursor = if Table::slot_of_cursor(cursor) < self.first_slot().get() {
            Table::cursor_of_slot(self.first_slot().get())
        } else {
            cursor
        };
        let last = self.last_slot().get();
        if Table::slot_of_cursor(cursor) <= last {
            let next = self.db(db).entries.scan(cursor, count, emit);
            if next != 0 && Table::slot_of_cursor(next) <= last {
                // A segment's range may begin in another partition's slots.
                return Table::cursor_not_before(next, self.first_slot().get());
            }
        }
        if u32::from(last) + 1 < Slot::COUNT { Table::cursor_of_slot(last + 1) } else { 0 }
    }

    /// The slot whose owner serves a cursor.
    pub fn slot_of_cursor(cursor: u64) -> u16 {
        Table::slot_of_cursor(cursor)
    }
}

impl Db {
    /// One step through the entries of this database alone: see `Table::scan`.
    pub fn scan(&self, cursor: u64, count: usize, emit: impl FnMut(EntryRef<'_>)) -> u64 {
        self.entries.scan(cursor, count, emit)
    }

    /// Keys in a hash slot, expired ones included. Looks only at the segments of the slot.
    pub fn count_keys_in_slot(&self, slot: Slot) -> usize {
        self.entries.count_in_slot(slot.get(), |key| Slot::of(key).get())
    }

    /// Gives up to `count` entries of a hash slot. O(entries given), and those of at most one
    /// segment where small slots share it.
    pub fn keys_in_slot(&self, slot: Slot, count: usize, mut emit: impl FnMut(EntryRef<'_>)) {
        let mut given = 0;
        let mut cursor = Table::cursor_of_slot(slot.get());
        while given < count {
            cursor = self.entries.scan(cursor, count - given, |entry| {
                if given < count && Slot::of(entry.key()).get() == slot.get() {
                    given += 1;
                    emit(entry);
                }
            });
            if cursor == 0 || Table::slot_of_cursor(cursor) != slot.get() {
                return;
            }
        }
    }

    /// A key, each with the same probability, by numbers from `random`; one that has expired only
    /// after many tries. Source: RANDOMKEY.
    pub fn random(&self, now: Millis, mut random: impl FnMut() -> u64) -> Option<EntryRef<'_>> {
        let mut entry = self.entries.random(&mut random)?;
        for _ in 0..RANDOM_TRIES {
            if !entry.is_expired(now) {
                break;
            }
            entry = self.entries.random(&mut random)?;
        }
        Some(entry)
    }

    /// Any key, each with the same probability, expired or not: a candidate of eviction.
    pub fn sample(&self, random: impl FnMut() -> u64) -> Option<EntryRef<'_>> {
        self.entries.random(random)
    }
}

/// Where all keys have expired, RANDOMKEY gives up. Source: Redis' own bound.
const RANDOM_TRIES: usize = 100;
