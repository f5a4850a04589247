//! The table of entries: the owner of every entry of one database.
//! Invariant: each payload in `words` is the address of a live entry that this table owns, and of no
//! other; that is what the unsafe blocks stand on. A word is volatile exactly if its entry or a
//! field of it expires, and an entry is counted exactly if a field of it does.
//! Source: own.

use std::marker::PhantomData;
use std::mem::ManuallyDrop;

use super::{Entry, EntryRef, NewValue, ValueRef};
use crate::base::sys;
use crate::base::time::Millis;
use crate::encoding::run::Run;
use crate::encoding::table::{self, Fate, Place, Position, Table};
use crate::store::key::{Hasher, Key};
use crate::store::snapshot::{Output, Walk};
use crate::types::{Collection, Value, WrongType, place};

/// Entries by key.
pub struct EntryTable {
    words: Table,
    volatile: usize,
    /// Entries with fields that expire.
    counted: usize,
    /// No volatile entry expires before this, except those that an unfinished round of expiry has
    /// yet to come to (see `expire.rs`).
    next_expiry: i64,
    /// How far a save has written the table, if there is one (see `snapshot.rs`).
    walk: Option<Box<Walk>>,
}

impl Default for EntryTable {
    fn default() -> Self {
        Self { words: Table::default(), volatile: 0, counted: 0, next_expiry: i64::MAX, walk: None }
    }
}

/// What a visitor decides about a volatile entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stays.
    Keep,
    /// It goes.
    Remove,
}

/// Where an entry comes from that had to be there.
pub enum Origin {
    /// It was there.
    Found,
    /// It was made.
    Made,
    /// It was made for this one, which was stale.
    Replaced(Entry),
}

/// An entry of a table, to be changed. The table follows where the entry moves.
pub struct EntryMut<'a> {
    table: &'a mut EntryTable,
    position: Position,
    place: Place,
    /// The entry at `place`, which the table owns.
    entry: ManuallyDrop<Entry>,
}

impl EntryTable {
    /// Entries held.
    #[inline]
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// True if no entry is held.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Entries that have an expiry.
    #[inline]
    pub fn volatile(&self) -> usize {
        self.volatile
    }

    /// Hashes with fields that expire. Source: INFO keyspace, subexpiry.
    #[inline]
    pub fn with_volatile_fields(&self) -> usize {
        self.counted
    }

    /// The bound before which no entry expires, as `set_next_expiry` and later changes left it.
    #[inline]
    pub fn next_expiry(&self) -> Millis {
        Millis(self.next_expiry)
    }

    /// Replaces the bound, for a round of expiry, which computes it anew.
    pub fn set_next_expiry(&mut self, bound: Millis) {
        self.next_expiry = bound.0;
    }

    /// A save begins to write the table.
    pub fn begin_walk(&mut self, walk: Walk) {
        self.walk = Some(Box::new(walk));
    }

    /// How far a save has written the table.
    pub fn walk(&self) -> Option<&Walk> {
        self.walk.as_deref()
    }

    /// The same, to go on.
    pub fn walk_mut(&mut self) -> Option<&mut Walk> {
        self.walk.as_deref_mut()
    }

    /// The save has written all of the table.
    pub fn end_walk(&mut self) {
        self.walk = None;
    }

    /// Writes the next entries that bear no tag of the save, about `count`, and tags them; the units of
    /// work that it took.
    pub fn walk_step(&mut self, count: usize, output: &mut Output) -> usize {
        let Some(walk) = &mut self.walk else { return 0 };
        let mut units = 1;
        let mut found = std::mem::take(&mut walk.found);
        let next = self.words.scan(walk.cursor, count, |address| {
            sys::prefetch(std::ptr::without_provenance(address as usize));
            found.push(address);
        });
        for address in found.drain(..) {
            units += 1;
            // SAFETY: the table owns the entry; ManuallyDrop leaves it the owner, and `&mut self` makes
            // this the only way to the entry.
            let mut entry = ManuallyDrop::new(unsafe { Entry::from_address(address) });
            if entry.view().epoch() != walk.epoch() {
                units += walk.write(entry.view(), output);
                entry.set_epoch(walk.epoch());
            }
        }
        walk.found = found;
        walk.cursor = next;
        walk.is_at_end = next == 0;
        units
    }

    /// The entry of a key.
    #[inline]
    pub fn lookup(&self, key: &Key<'_>) -> Option<EntryRef<'_>> {
        let (_, address) = self.find(key)?;
        // SAFETY: the table owns the entry; `&self` keeps it unchanged for the result's life.
        Some(unsafe { EntryRef::from_address(address) })
    }

    /// The entry of a key that has this position: the one that was met there, or in theory another.
    pub fn lookup_at(&self, hasher: &Hasher, position: Position) -> Option<EntryRef<'_>> {
        // Many keys of a segment share what the table itself knows of a position.
        let (_, address) = self.words.find(position, |address| {
            // SAFETY: the table owns the entry; `&self` keeps it unchanged during the call.
            let view: EntryRef<'_> = unsafe { EntryRef::from_address(address) };
            hasher.key(view.key()).position == position
        })?;
        // SAFETY: the table owns the entry; `&self` keeps it unchanged for the result's life.
        Some(unsafe { EntryRef::from_address(address) })
    }

    /// The entry of a key, to be changed.
    #[inline(always)]
    pub fn lookup_mut(&mut self, key: &Key<'_>) -> Option<EntryMut<'_>> {
        let (place, address) = self.find(key)?;
        // SAFETY: the table owns the entry; ManuallyDrop leaves it the owner, and `&mut self` makes
        // the result the only way to the entry.
        let entry = ManuallyDrop::new(unsafe { Entry::from_address(address) });
        Some(EntryMut { table: self, position: key.position, place, entry })
    }

    /// See `Table::reserve`.
    pub fn reserve(&mut self, count: usize) {
        self.words.reserve(count);
    }

    /// Adds an entry whose key is not there yet.
    #[inline]
    pub fn insert(&mut self, hasher: &Hasher, position: Position, mut entry: Entry) {
        if let Some(walk) = &self.walk {
            // It was not there at the instant of the save.
            entry.set_epoch(walk.epoch());
        }
        let expiry = entry.view().due().map(|due| due.0);
        if let Some(expiry) = expiry {
            self.volatile += usize::from(entry.view().expiry().is_some());
            self.next_expiry = self.next_expiry.min(expiry);
            let counted = entry.view().next_field_expiry().is_some();
            self.counted += usize::from(counted);
            entry.set_counted(counted);
        }
        let address = entry.into_address();
        self.words.insert(position, address, expiry, |address| {
            // SAFETY: the table owns the entry and nothing changes it during this call.
            let view: EntryRef<'_> = unsafe { EntryRef::from_address(address) };
            hasher.key(view.key()).position
        });
    }

    /// The entry of a key, to be changed; one that `make` makes, if there is none or a stale one.
    #[inline]
    pub fn lookup_or_insert(
        &mut self,
        hasher: &Hasher,
        key: &Key<'_>,
        is_stale: impl FnOnce(EntryRef<'_>) -> bool,
        make: impl FnOnce() -> Entry,
    ) -> (EntryMut<'_>, Origin) {
        // What is found is a number, which does not borrow the table.
        let found = self.find(key).filter(|(_, address)| {
            // SAFETY: the table owns the entry and nothing changes it during this call.
            !is_stale(unsafe { EntryRef::from_address(*address) })
        });
        let (place, address, origin) = if let Some((place, address)) = found {
            (place, address, Origin::Found)
        } else {
            let stale = self.remove(key);
            self.insert(hasher, key.position, make());
            let (place, address) = self.find(key).expect("it has just been made");
            (place, address, stale.map_or(Origin::Made, Origin::Replaced))
        };
        // SAFETY: as in `lookup_mut`.
        let entry = ManuallyDrop::new(unsafe { Entry::from_address(address) });
        (EntryMut { table: self, position: key.position, place, entry }, origin)
    }

    /// Takes out the entry of a key.
    pub fn remove(&mut self, key: &Key<'_>) -> Option<Entry> {
        Some(self.lookup_mut(key)?.remove())
    }

    /// Fetches what `prefetch_bucket` reads.
    pub fn prefetch_segment(&self, position: Position) {
        self.words.prefetch_segment(position);
    }

    /// Fetches what a lookup at this position reads first.
    #[inline]
    pub fn prefetch_bucket(&self, position: Position) {
        self.words.prefetch_bucket(position);
    }

    /// Fetches the entry that a lookup at this position will probably compare; reads the bucket.
    #[inline]
    pub fn prefetch_entry(&self, position: Position) {
        if let Some(address) = self.words.candidate(position) {
            // Its first two lines, which hold all of most entries.
            sys::prefetch(std::ptr::without_provenance(address as usize));
            sys::prefetch(std::ptr::without_provenance(address as usize + sys::CACHE_LINE));
        }
    }

    /// The entry that a lookup at this position will probably compare.
    #[inline]
    pub fn candidate(&self, position: Position) -> Option<EntryRef<'_>> {
        let address = self.words.candidate(position)?;
        // SAFETY: the table owns the entry; `&self` keeps it unchanged for the result's life.
        Some(unsafe { EntryRef::from_address(address) })
    }

    /// One step of a scan: see `Table::scan`.
    pub fn scan(&self, cursor: u64, count: usize, mut emit: impl FnMut(EntryRef<'_>)) -> u64 {
        // SAFETY: the table owns the entry; `&self` keeps it unchanged during the call.
        self.words.scan(cursor, count, |address| emit(unsafe { EntryRef::from_address(address) }))
    }

    /// The number of entries whose keys lie in a hash slot. `slot_of` is asked where slots share.
    pub fn count_in_slot(&self, slot: u16, slot_of: impl Fn(&[u8]) -> u16) -> usize {
        self.words.count_in_slot(slot, |address| {
            // SAFETY: the table owns the entry; `&self` keeps it unchanged during the call.
            let view: EntryRef<'_> = unsafe { EntryRef::from_address(address) };
            slot_of(view.key()) == slot
        })
    }

    /// An entry, each with the same probability.
    pub fn random(&self, random: impl FnMut() -> u64) -> Option<EntryRef<'_>> {
        // SAFETY: the table owns the entry; `&self` keeps it unchanged for the result's life.
        self.words.random(random).map(|address| unsafe { EntryRef::from_address(address) })
    }

    /// Gives some volatile entries: see `Table::sample_volatile`.
    pub fn sample_volatile(
        &self,
        start: Position,
        limits: (usize, usize),
        random: impl FnMut() -> u64,
        mut emit: impl FnMut(EntryRef<'_>),
    ) -> usize {
        self.words.sample_volatile(start, limits, random, |address| {
            // SAFETY: the table owns the entry; `&self` keeps it unchanged during the call.
            emit(unsafe { EntryRef::from_address(address) });
        })
    }

    /// What is known of the range of entries that holds `prefix`: see `Table::range`.
    #[inline]
    pub fn range(&self, prefix: u32) -> Option<table::Range> {
        self.words.range(prefix)
    }

    /// Asks about every volatile entry in the range that holds `prefix`, and gives away the removed
    /// ones. Returns the number asked about. `not_before` is the earliest next expiry to remember.
    pub fn visit_volatile(
        &mut self,
        prefix: u32,
        not_before: Millis,
        mut judge: impl FnMut(EntryRef<'_>) -> Verdict,
        mut removed: impl FnMut(Entry),
    ) -> usize {
        let (volatile, counted) = (&mut self.volatile, &mut self.counted);
        let walk = &mut self.walk;
        self.words.visit_volatile(
            prefix,
            not_before.0,
            |address| {
                // SAFETY: the table owns the entry and nothing changes it during this call.
                let view: EntryRef<'_> = unsafe { EntryRef::from_address(address) };
                match judge(view) {
                    Verdict::Keep => Fate::Keep(view.due().map_or(i64::MAX, |due| due.0)),
                    Verdict::Remove => Fate::Remove,
                }
            },
            |address| {
                // SAFETY: the word has just left the table, so its entry has no other owner.
                let entry = unsafe { Entry::from_address(address) };
                *volatile -= usize::from(entry.view().expiry().is_some());
                *counted -= usize::from(entry.view().is_counted());
                if let Some(walk) = walk
                    && entry.view().epoch() != walk.epoch()
                {
                    walk.preserve(entry.view());
                }
                removed(entry);
            },
        )
    }

    /// Frees one segment's entries, giving boxed values to `boxed`; returns how many entries went, 0
    /// when none is left. Between two calls only this and `len` make sense.
    pub fn free_segment(&mut self, mut boxed: impl FnMut(Box<Value>)) -> usize {
        let before = self.words.len();
        self.words.drain_segment(|address| {
            // SAFETY: the word has just left the table, so its entry has no other owner.
            let mut entry = unsafe { Entry::from_address(address) };
            if let Some(value) = entry.take_boxed() {
                boxed(value);
            }
        });
        self.volatile = self.volatile.min(self.words.len());
        self.counted = self.counted.min(self.words.len());
        before - self.words.len()
    }

    /// Bytes of the table itself, without its entries.
    pub fn bytes(&self) -> usize {
        self.words.bytes()
    }

    /// Remembers when the entry at a place is to be looked at.
    fn note_due(&mut self, place: Place, due: Option<Millis>) {
        self.words.set_expiry(place, due.map(|due| due.0));
        if let Some(due) = due {
            self.next_expiry = self.next_expiry.min(due.0);
        }
    }

    #[inline(always)]
    fn find(&self, key: &Key<'_>) -> Option<(Place, u64)> {
        self.words.find(key.position, |address| {
            // SAFETY: the table owns the entry; `&self` keeps it unchanged during the call.
            let view: EntryRef<'_> = unsafe { EntryRef::from_address(address) };
            view.key() == key.bytes
        })
    }
}

impl Run for EntryMut<'_> {
    #[inline]
    fn bytes(&self) -> &[u8] {
        match self.entry.view().value() {
            ValueRef::Packed(_, bytes) => bytes,
            _ => &[],
        }
    }

    #[inline]
    fn bytes_mut(&mut self) -> &mut [u8] {
        self.preserve();
        self.entry.packed_mut()
    }

    #[inline]
    fn splice(&mut self, at: usize, removed: usize, pieces: &[&[u8]]) {
        self.change(|entry| entry.splice(at, removed, pieces));
    }
}

impl place::Place for EntryMut<'_> {
    #[inline]
    fn value(&self) -> ValueRef<'_> {
        self.entry.view().value()
    }

    #[inline]
    fn boxed_mut(&mut self) -> Option<&mut Value> {
        self.preserve();
        self.entry.value_mut().filter(|value| !matches!(value, Value::Packed(..)))
    }

    fn put(&mut self, collection: Collection) {
        self.set_value(NewValue::from(collection));
    }
}

impl Drop for EntryTable {
    fn drop(&mut self) {
        while self.free_segment(drop) > 0 {}
    }
}

impl<'a> EntryMut<'a> {
    /// A view of the entry.
    #[inline]
    pub fn view(&self) -> EntryRef<'_> {
        self.entry.view()
    }

    /// A view for as long as the table is borrowed.
    #[inline]
    pub fn into_view(self) -> EntryRef<'a> {
        // The table owns the entry, and its borrow passes from `self` to the result.
        EntryRef(self.entry.0, PhantomData)
    }

    /// Has a save write the entry before it changes.
    #[inline(always)]
    fn preserve(&mut self) {
        if self.table.walk.is_some() {
            self.preserve_now();
        }
    }

    #[cold]
    fn preserve_now(&mut self) {
        if let Some(walk) = &mut self.table.walk
            && self.entry.view().epoch() != walk.epoch()
        {
            walk.preserve(self.entry.view());
            self.entry.set_epoch(walk.epoch());
        }
    }

    /// Takes the entry out of the table.
    pub fn remove(mut self) -> Entry {
        self.preserve();
        let address = self.table.words.remove(self.position, self.place);
        self.table.volatile -= usize::from(self.entry.view().expiry().is_some());
        self.table.counted -= usize::from(self.entry.view().is_counted());
        // SAFETY: the word has just left the table, and the alias in `self` ends here.
        unsafe { Entry::from_address(address) }
    }

    /// Puts another entry of the same key in this one's place and returns the old one.
    pub fn exchange(mut self, mut entry: Entry) -> Entry {
        self.preserve();
        if let Some(walk) = &self.table.walk {
            entry.set_epoch(walk.epoch());
        }
        assert!(self.view().key() == entry.view().key(), "the place belongs to the key");
        let was = self.view().expiry();
        let is = entry.view().expiry();
        let old = self.table.words.payload(self.place);
        let counted = entry.view().next_field_expiry().is_some();
        self.table.counted += usize::from(counted);
        self.table.counted -= usize::from(self.view().is_counted());
        entry.set_counted(counted);
        let due = entry.view().due();
        self.table.words.replace(self.place, entry.into_address());
        self.table.volatile += usize::from(is.is_some());
        self.table.volatile -= usize::from(was.is_some());
        self.table.note_due(self.place, due);
        // SAFETY: the word now holds the new entry, and the alias in `self` ends here.
        unsafe { Entry::from_address(old) }
    }

    /// `Entry::set`.
    #[inline]
    pub fn set(&mut self, value: NewValue<'_>, expiry: Option<Millis>) -> Option<Box<Value>> {
        let was = self.view().expiry();
        let old = self.change(|entry| entry.set(value, expiry));
        self.note_expiry(was, expiry);
        self.note_fields();
        old
    }

    /// `Entry::set_value`.
    pub fn set_value(&mut self, value: NewValue<'_>) -> Option<Box<Value>> {
        let old = self.change(|entry| entry.set_value(value));
        self.note_fields();
        old
    }

    /// `Entry::set_expiry`.
    pub fn set_expiry(&mut self, expiry: Option<Millis>) {
        let was = self.view().expiry();
        self.change(|entry| entry.set_expiry(expiry));
        self.note_expiry(was, expiry);
    }

    /// Tells the table what the entry says of fields that expire: to be called after a change of such
    /// a hash in place.
    #[inline]
    pub fn note_fields(&mut self) {
        let view = self.entry.view();
        let (was, is) = (view.is_counted(), view.next_field_expiry().is_some());
        if was || is {
            let due = view.due();
            self.entry.set_counted(is);
            self.table.counted += usize::from(is);
            self.table.counted -= usize::from(was);
            self.table.note_due(self.place, due);
        }
    }

    /// `Entry::value_mut`.
    pub fn value_mut(&mut self) -> Option<&mut Value> {
        self.preserve();
        self.entry.value_mut()
    }

    /// `Entry::str_mut`.
    pub fn str_mut(&mut self) -> Option<&mut [u8]> {
        self.preserve();
        self.entry.str_mut()
    }

    /// `Entry::append`.
    pub fn append(&mut self, bytes: &[u8]) -> Result<u64, WrongType> {
        self.change(|entry| entry.append(bytes))
    }

    /// `Entry::write_at`.
    pub fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<u64, WrongType> {
        self.change(|entry| entry.write_at(offset, bytes))
    }

    /// `Entry::set_epoch`.
    #[inline]
    pub fn set_epoch(&mut self, epoch: u8) {
        self.entry.set_epoch(epoch);
    }

    /// `Entry::set_access`.
    #[inline]
    pub fn set_access(&mut self, access: u32) {
        self.entry.set_access(access);
    }

    /// Changes the entry and tells the table where it has moved. The old address is not read again.
    #[inline]
    fn change<R>(&mut self, change: impl FnOnce(&mut Entry) -> R) -> R {
        self.preserve();
        let before = self.entry.0;
        let result = change(&mut self.entry);
        if self.entry.0 != before {
            let address = self.entry.0.as_ptr().expose_provenance() as u64;
            self.table.words.replace(self.place, address);
        }
        result
    }

    #[inline]
    fn note_expiry(&mut self, was: Option<Millis>, is: Option<Millis>) {
        if was == is {
            return;
        }
        self.table.volatile += usize::from(is.is_some());
        self.table.volatile -= usize::from(was.is_some());
        let due = self.entry.view().due();
        self.table.note_due(self.place, due);
    }
}
