//! Active expiry: deletes keys and fields of hashes that have expired and that nobody asks for, in
//! slices.
//! Invariant: each segment of a table keeps a lower bound of its next expiry, and each table one of
//! all its segments, so nothing is touched that cannot have expired; no segment is looked at twice
//! within a second. Source: Redis' EXPIRE ("How Redis expires keys"), by bounds instead of samples.
//!
//! A round goes through the ranges of one table and computes the table's bound anew: it begins by
//! setting the bound to "never", from where insertions lower it, and ends by lowering it to the
//! least bound that it has met. Hashes that it meets with fields to expire are remembered, and have
//! their turn first.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use super::budget::Budget;
use super::entry::{EntryRef, Verdict};
use super::partition::Partition;
use crate::base::time::Millis;
use crate::types::hash::HashMut;

/// Where active expiry stands in a partition.
#[derive(Default)]
pub struct ExpireCursor {
    db: usize,
    round: Option<Round>,
    /// Keys of hashes with fields to expire, with their databases.
    hashes: VecDeque<(usize, Box<[u8]>)>,
}

/// A round through one table.
struct Round {
    /// The next range begins here.
    prefix: u32,
    /// The least bound met so far.
    next_expiry: i64,
}

/// What expires, told before it is gone.
#[derive(Clone, Copy)]
pub enum Expiring<'a> {
    /// A key.
    Key(EntryRef<'a>),
    /// A field of the hash at a key.
    Field(&'a [u8], &'a [u8]),
    /// The fields before were those of this hash, which goes with them if the flag says so.
    Fields(&'a [u8], bool),
}

/// What a slice did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Keys deleted.
    pub keys: usize,
    /// Fields deleted.
    pub fields: usize,
    /// True if nothing more is due: the next slice can wait.
    pub done: bool,
}

/// Deletes expired keys and fields until the budget is spent or nothing more is due. `on_expired` is
/// told of each, by database: to count, announce and propagate.
pub fn expire_slice(
    partition: &mut Partition,
    now: Millis,
    budget: &mut Budget,
    mut on_expired: impl FnMut(usize, Expiring<'_>),
) -> Expired {
    let mut expired = Expired::default();
    let mut idle_dbs = 0;
    while idle_dbs < partition.dbs.len() {
        expired.fields += expire_fields(partition, now, budget, &mut on_expired);
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
    expired.fields += expire_fields(partition, now, budget, &mut on_expired);
    expired.done = partition.expire.hashes.is_empty();
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

/// Deletes expired fields of the hashes that a round has met.
fn expire_fields(
    partition: &mut Partition,
    now: Millis,
    budget: &mut Budget,
    on_expired: &mut impl FnMut(usize, Expiring<'_>),
) -> usize {
    let Partition { dbs, graveyard, expire: cursor, .. } = partition;
    let mut fields = 0;
    while !budget.is_spent()
        && let Some((db, key)) = cursor.hashes.front()
    {
        let (db, units) = (*db, budget.left());
        let hash = dbs[db].key(key);
        let quota = units.div_ceil(UNITS_PER_DELETION);
        let mut count = 0;
        if let Some(mut entry) = dbs[db].entries.lookup_mut(&hash)
            && let Ok(mut hash) = HashMut::of(&mut entry)
        {
            count = hash.expire(now.0, quota, |field| on_expired(db, Expiring::Field(key, field)));
            let emptied = hash.view().is_empty();
            if count > 0 {
                on_expired(db, Expiring::Fields(key, emptied));
            }
            entry.note_fields();
            if emptied {
                graveyard.bury(entry.remove());
            }
        }
        fields += count;
        budget.spend(1 + count * UNITS_PER_DELETION);
        if count < quota {
            cursor.hashes.pop_front();
        }
    }
    fields
}

/// Deletes what has expired in the round's next range; at the end of the table the round ends.
fn visit_range(
    partition: &mut Partition,
    now: Millis,
    budget: &mut Budget,
    on_expired: &mut impl FnMut(usize, Expiring<'_>),
) -> usize {
    let Partition { dbs, graveyard, expire: cursor, .. } = partition;
    let ExpireCursor { db: index, round: Some(round), hashes } = cursor else { return 0 };
    let index = *index;
    let db = &mut dbs[index];
    let prefix = round.prefix;
    let mut keys = 0;
    budget.spend(1);
    if let Some(range) = db.entries.range(prefix)
        && range.next_expiry < now.0
    {
        let (mut ttl, mut timed) = (0, 0);
        let not_before = Millis(now.0.saturating_add(REVISIT_MILLIS));
        let judge = |entry: EntryRef<'_>| {
            if entry.is_expired(now) {
                return Verdict::Remove;
            }
            if let Some(expiry) = entry.expiry() {
                ttl += i128::from(expiry.0) - i128::from(now.0);
                timed += 1;
            }
            if entry.next_field_expiry().is_some_and(|next| next <= now) {
                hashes.push_back((index, entry.key().into()));
            }
            Verdict::Keep
        };
        let visited = db.entries.visit_volatile(prefix, not_before, judge, |entry| {
            keys += 1;
            on_expired(index, Expiring::Key(entry.view()));
            graveyard.bury(entry);
        });
        budget.spend(visited + keys * UNITS_PER_DELETION);
        if timed > 0 {
            let mean = ttl / timed;
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
/// where nobody asks for it. Tests of stock servers wait for a second.
const REVISIT_MILLIS: i64 = 700;
/// Deleting a key, telling of it and freeing it, beside touching it.
const UNITS_PER_DELETION: usize = 4;
