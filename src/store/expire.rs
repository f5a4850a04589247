//! Active expiry: deletes keys that have expired and that nobody asks for, in slices.
//! Invariant: each segment of a table keeps a lower bound of its next expiry, and each table one of
//! all its segments, so nothing is touched that cannot have expired; no segment is looked at twice
//! within a second. Source: Redis' EXPIRE ("How Redis expires keys"), by bounds instead of samples.
//!
//! A round goes through the ranges of one table and computes the table's bound anew: it begins by
//! setting the bound to "never", from where insertions lower it, and ends by lowering it to the
//! least bound that it has met.

#[cfg(test)]
mod tests;

use super::budget::Budget;
use super::entry::{EntryRef, Verdict};
use super::partition::Partition;
use crate::base::time::Millis;

/// Where active expiry stands in a partition.
#[derive(Default)]
pub struct ExpireCursor {
    db: usize,
    round: Option<Round>,
}

/// A round through one table.
struct Round {
    /// The next range begins here.
    prefix: u32,
    /// The least bound met so far.
    next_expiry: i64,
}

/// What a slice did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Keys deleted.
    pub keys: usize,
    /// True if nothing more is due: the next slice can wait.
    pub done: bool,
}

/// Deletes expired keys until the budget is spent or nothing more is due. `on_expired` is told of
/// each, by database, before it is gone: to count, announce and propagate.
pub fn expire_slice(
    partition: &mut Partition,
    now: Millis,
    budget: &mut Budget,
    mut on_expired: impl FnMut(usize, EntryRef<'_>),
) -> Expired {
    let mut expired = Expired::default();
    let mut idle_dbs = 0;
    while idle_dbs < partition.dbs.len() {
        if budget.is_spent() {
            return expired;
        }
        if !begin_round(partition, now) {
            idle_dbs += 1;
            partition.expire.db = (partition.expire.db + 1) % partition.dbs.len();
            continue;
        }
        idle_dbs = 0;
        expired.keys += visit_range(partition, now, budget, &mut on_expired);
        partition.touch_all();
    }
    expired.done = true;
    expired
}

/// True if a round is under way in the cursor's database, or one is due and has begun.
fn begin_round(partition: &mut Partition, now: Millis) -> bool {
    let cursor = &mut partition.expire;
    if cursor.round.is_some() {
        return true;
    }
    let entries = &mut partition.dbs[cursor.db].entries;
    if entries.is_empty() || entries.next_expiry() >= now {
        return false;
    }
    entries.set_next_expiry(Millis(i64::MAX));
    cursor.round = Some(Round { prefix: 0, next_expiry: i64::MAX });
    true
}

/// Deletes what has expired in the round's next range; at the end of the table the round ends.
fn visit_range(
    partition: &mut Partition,
    now: Millis,
    budget: &mut Budget,
    on_expired: &mut impl FnMut(usize, EntryRef<'_>),
) -> usize {
    let Partition { dbs, graveyard, expire: cursor, .. } = partition;
    let Some(round) = &mut cursor.round else { return 0 };
    let index = cursor.db;
    let db = &mut dbs[index];
    let prefix = round.prefix;
    let mut keys = 0;
    budget.spend(1);
    if let Some(range) = db.entries.range(prefix)
        && range.next_expiry < now.0
    {
        let mut ttl = 0;
        let not_before = Millis(now.0.saturating_add(REVISIT_MILLIS));
        let judge = |entry: EntryRef<'_>| {
            if entry.is_expired(now) {
                return Verdict::Remove;
            }
            ttl += entry.expiry().map_or(0, |expiry| i128::from(expiry.0) - i128::from(now.0));
            Verdict::Keep
        };
        let visited = db.entries.visit_volatile(prefix, not_before, judge, |entry| {
            keys += 1;
            on_expired(index, entry.view());
            graveyard.bury(entry);
        });
        budget.spend(visited + keys * UNITS_PER_DELETION);
        if visited > keys {
            let mean = ttl / (visited - keys) as i128;
            db.note_ttl(i64::try_from(mean).unwrap_or(i64::MAX));
        }
    }
    // After the visit, since deletions may have merged the range with others.
    let range = db.entries.range(prefix);
    let next_expiry = range.map_or(i64::MAX, |range| range.next_expiry);
    round.next_expiry = round.next_expiry.min(next_expiry);
    if let Some(prefix) = range.and_then(|range| range.next) {
        round.prefix = prefix;
    } else {
        let bound = db.entries.next_expiry().0.min(round.next_expiry);
        db.entries.set_next_expiry(Millis(bound));
        cursor.round = None;
    }
    keys
}

/// A segment that has just been looked at waits this long: a key may outlive its expiry by as much
/// where nobody asks for it.
const REVISIT_MILLIS: i64 = 1000;
/// Deleting a key, telling of it and freeing it, beside touching it.
const UNITS_PER_DELETION: usize = 4;
