//! A partition: the keys of a contiguous range of hash slots, in all databases.
//! Invariant: `Send`, and never shared: a partition moves between cores in a `Box`, by value, and
//! whoever has it is the only one who can see its keys.

use super::budget::Budget;
use super::db::Db;
use super::evict::EvictionPool;
use super::expire::ExpireCursor;
use super::graveyard::Graveyard;
use super::key::Hasher;
use super::marks::Marks;
use super::snapshot::Snapshot;
use super::tracking::Tracked;
use super::unshared::Unshared;
use super::waiters::Waiters;
use super::watchers::{Change, Watchers};
use crate::base::slot::Slot;
use crate::base::time::Millis;

/// A core's part of the keyspace.
pub struct Partition {
    first_slot: Slot,
    last_slot: Slot,
    pub(super) dbs: Vec<Db>,
    hasher: Hasher,
    pub(super) graveyard: Graveyard,
    pub(super) expire: ExpireCursor,
    pub(super) eviction: EvictionPool,
    waiters: Waiters,
    watchers: Watchers,
    tracked: Tracked,
    marks: Marks,
    pub(super) unshared: Unshared,
    /// Databases handed out to be changed since somebody asked, by the low bits of their index.
    touched: u64,
    /// What a load has put aside, by database.
    pub(super) aside: Option<Vec<Db>>,
    /// Its part of a save, until that is written.
    pub(super) snapshot: Option<Box<Snapshot>>,
}

const fn assert_send<T: Send>() {}
const _: () = assert_send::<Partition>();

impl Partition {
    /// An empty partition of the slots from `first_slot` to `last_slot`, both included.
    pub fn new(first_slot: Slot, last_slot: Slot, databases: usize, hasher: Hasher) -> Self {
        assert!(first_slot.get() <= last_slot.get() && databases > 0, "a range that is not empty");
        Self {
            first_slot,
            last_slot,
            dbs: (0..databases).map(|_| Db::new(hasher)).collect(),
            hasher,
            graveyard: Graveyard::default(),
            expire: ExpireCursor::default(),
            eviction: EvictionPool::default(),
            waiters: Waiters::default(),
            watchers: Watchers::default(),
            tracked: Tracked::default(),
            marks: Marks::default(),
            unshared: Unshared::default(),
            touched: u64::MAX,
            aside: None,
            snapshot: None,
        }
    }

    /// The first slot of the range.
    pub fn first_slot(&self) -> Slot {
        self.first_slot
    }

    /// The last slot of the range.
    pub fn last_slot(&self) -> Slot {
        self.last_slot
    }

    /// True if the keys of this slot are here.
    pub fn covers(&self, slot: Slot) -> bool {
        (self.first_slot.get()..=self.last_slot.get()).contains(&slot.get())
    }

    /// Whether a slot belongs to the partition.
    pub fn covers_slot(&self, slot: u16) -> bool {
        (self.first_slot.get()..=self.last_slot.get()).contains(&slot)
    }

    /// The hasher of all its keys.
    pub fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    /// The databases, by index.
    pub fn dbs(&self) -> &[Db] {
        &self.dbs
    }

    /// A database; `index` is below the number of databases, which SELECT checks.
    #[inline]
    pub fn db(&self, index: usize) -> &Db {
        &self.dbs[index]
    }

    /// A database, to be changed.
    #[inline]
    pub fn db_mut(&mut self, index: usize) -> &mut Db {
        self.touched |= touch_of(index);
        &mut self.dbs[index]
    }

    /// The databases that may have changed since this was asked last, with their indexes; all at the
    /// first time.
    pub fn take_touched(&mut self) -> impl Iterator<Item = (usize, &Db)> {
        let touched = std::mem::take(&mut self.touched);
        let dbs = if touched == 0 { &[][..] } else { &self.dbs[..] };
        dbs.iter().enumerate().filter(move |(index, _)| touched & touch_of(*index) != 0)
    }

    /// All databases may have changed.
    pub(super) fn touch_all(&mut self) {
        self.touched = u64::MAX;
    }

    /// Two different databases, for MOVE and COPY; None if the indexes are equal.
    pub fn db_pair_mut(&mut self, one: usize, other: usize) -> Option<[&mut Db; 2]> {
        self.touched |= touch_of(one) | touch_of(other);
        self.dbs.get_disjoint_mut([one, other]).ok()
    }

    /// What waits to be freed.
    pub fn graveyard(&mut self) -> &mut Graveyard {
        &mut self.graveyard
    }

    /// Objects that wait to be freed.
    pub fn pending(&self) -> usize {
        self.graveyard.pending()
    }

    /// Who waits for its keys.
    #[inline]
    pub fn waiters(&self) -> &Waiters {
        &self.waiters
    }

    /// The same, to be changed.
    pub fn waiters_mut(&mut self) -> &mut Waiters {
        &mut self.waiters
    }

    /// Which of its keys are watched, and their versions.
    #[inline]
    pub fn watchers(&self) -> &Watchers {
        &self.watchers
    }

    /// The same, to be changed.
    pub fn watchers_mut(&mut self) -> &mut Watchers {
        &mut self.watchers
    }

    /// Which of its keys clients have read and keep.
    #[inline]
    pub fn tracked(&self) -> &Tracked {
        &self.tracked
    }

    /// The same, to be changed.
    pub fn tracked_mut(&mut self) -> &mut Tracked {
        &mut self.tracked
    }

    /// Which turns have last changed its keys.
    #[inline]
    pub fn marks(&self) -> &Marks {
        &self.marks
    }

    /// The same, to be changed.
    #[inline]
    pub fn marks_mut(&mut self) -> &mut Marks {
        &mut self.marks
    }

    /// A key of a database has changed: who watches it does not miss that.
    pub fn touch_watched(&mut self, db: usize, key: &[u8]) {
        let Self { watchers, dbs, hasher, .. } = self;
        watchers.touch(db, key, || match dbs[db].peek(&hasher.key(key)) {
            Some(_) => Change::Written,
            None => Change::Gone,
        });
    }

    /// Exchanges the contents of two databases. Source: SWAPDB.
    pub fn swap_dbs(&mut self, one: usize, other: usize, now: Millis) {
        let Self { watchers, dbs, .. } = self;
        replace_watched(watchers, (one, &dbs[one]), Some((&dbs[other], now)));
        replace_watched(watchers, (other, &dbs[other]), Some((&dbs[one], now)));
        self.touched |= touch_of(one) | touch_of(other);
        self.dbs.swap(one, other);
        self.forget_rounds();
    }

    /// A database is another one from now on; what it held is freed in slices.
    pub(super) fn replace(&mut self, index: usize, db: Db, now: Millis) {
        replace_watched(&mut self.watchers, (index, &self.dbs[index]), Some((&db, now)));
        self.bury(index);
        self.dbs[index] = db;
        self.forget_rounds();
    }

    /// A round of expiry may be half way through a database that is another one now.
    fn forget_rounds(&mut self) {
        self.expire = ExpireCursor::default();
        self.dbs.iter_mut().for_each(Db::forget_next_expiry);
    }

    /// True if commands may have to wait: a key is kept for somebody, or a save for the disk.
    #[inline]
    pub fn keeps_back(&self) -> bool {
        self.waiters.has_reservations() || self.is_choked()
    }

    /// Empties a database; what it held is freed in slices. Source: FLUSHDB.
    pub fn flush(&mut self, index: usize) {
        replace_watched(&mut self.watchers, (index, &self.dbs[index]), None);
        self.bury(index);
    }

    /// What a database holds waits to be freed, or to be written to a save first.
    fn bury(&mut self, index: usize) {
        let table = self.db_mut(index).flush();
        match &mut self.snapshot {
            Some(snapshot) if table.walk().is_some() => snapshot.flushed.push_back(table),
            _ => self.graveyard.bury_table(table),
        }
    }

    /// Empties all databases. Source: FLUSHALL.
    pub fn flush_all(&mut self) {
        self.unshared.clear();
        for index in 0..self.dbs.len() {
            self.flush(index);
        }
    }

    /// Frees some of what has been deleted; returns the number of objects freed.
    pub fn free_slice(&mut self, budget: &mut Budget) -> usize {
        self.graveyard.free_slice(budget)
    }
}

/// The watched keys of a database change that are there now, or will be when it holds what `next` holds
/// at this time. Source: FLUSHDB, SWAPDB.
fn replace_watched(
    watchers: &mut Watchers,
    (index, here): (usize, &Db),
    next: Option<(&Db, Millis)>,
) {
    watchers.touch_where(index, |key| {
        let is_there = here.peek(&here.key(key)).is_some();
        let comes = next.and_then(|(next, now)| Some((next.peek(&next.key(key))?, now)));
        match comes {
            Some((entry, now)) if !entry.is_expired(now) => Some(Change::Written),
            Some(_) if !is_there => Some(Change::CameExpired),
            _ => is_there.then_some(Change::Gone),
        }
    });
}

#[inline(always)]
fn touch_of(index: usize) -> u64 {
    1 << (index % u64::BITS as usize)
}
