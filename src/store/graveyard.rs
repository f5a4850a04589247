//! What has been deleted and not been freed yet.
//! Invariant: nothing here can be reached by a key; freeing one slice takes bounded time.
//! Source: UNLINK and the lazyfree directives, which here cover DEL and FLUSHALL too.

use std::collections::VecDeque;

use super::budget::Budget;
use super::entry::{Entry, EntryTable};
use crate::types::Value;

/// Large values and whole tables that wait to be freed.
#[derive(Default)]
pub struct Graveyard {
    values: VecDeque<Box<Value>>,
    tables: VecDeque<EntryTable>,
}

impl Graveyard {
    /// Frees an entry; a large value waits here.
    #[inline]
    pub fn bury(&mut self, mut entry: Entry) {
        if let Some(value) = entry.take_boxed() {
            self.bury_value(value);
        }
    }

    /// Frees a small value; a large one waits here.
    pub fn bury_value(&mut self, mut value: Box<Value>) {
        if value.free_slice(PARTS_FREED_AT_ONCE) == 0 {
            self.values.push_back(value);
        }
    }

    /// Takes over a whole table.
    pub fn bury_table(&mut self, table: EntryTable) {
        if !table.is_empty() {
            self.tables.push_back(table);
        }
    }

    /// Objects that wait. Source: INFO lazyfree_pending_objects.
    pub fn pending(&self) -> usize {
        self.values.len() + self.tables.iter().map(EntryTable::len).sum::<usize>()
    }

    /// Frees what the budget allows; returns the number of objects freed.
    pub fn free_slice(&mut self, budget: &mut Budget) -> usize {
        let before = self.pending();
        while !budget.is_spent() {
            if let Some(value) = self.values.front_mut() {
                let units = budget.left();
                let left = value.free_slice(units);
                budget.spend(units - left);
                if left > 0 {
                    budget.spend(1);
                    self.values.pop_front();
                }
            } else if let Some(table) = self.tables.front_mut() {
                let values = &mut self.values;
                let freed = table.free_segment(|value| values.push_back(value));
                budget.spend(freed + 1);
                if freed == 0 {
                    self.tables.pop_front();
                }
            } else {
                break;
            }
        }
        before.saturating_sub(self.pending())
    }
}

/// A value of so few chunks is freed when it is deleted: waiting would cost more.
const PARTS_FREED_AT_ONCE: usize = 4;
