//! The snapshot of a partition: its keys as they were at one instant, written in slices while
//! commands go on changing them.
//!
//! Invariant: each key that was there at the instant is written exactly once, as it was then. Every
//! table walks its own entries in scan order, which neither growth nor removals make lose a key, and
//! tags what it has written with the epoch of the save; whoever is about to change or remove an
//! entry without that tag has its old state written first. What comes into a table that is not at
//! its end bears the tag already. So a table may change its database (SWAPDB), and one that was
//! emptied goes on here until it is written (FLUSHALL). Large values are cloned, which shares their
//! parts, and the clone is written in slices.
//!
//! Epochs: a walk comes to its end even if the save is not wanted any more, and then only tags; so at
//! the next instant no entry bears the next epoch.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::access::{idle_seconds, lfu_counter};
use super::budget::Budget;
use super::entry::{EntryRef, EntryTable};
use super::graveyard::Graveyard;
use super::partition::Partition;
use crate::base::time::Millis;
use crate::persist::rdb::encode::{Slices, version_for};
use crate::persist::rdb::{Encoder, VERSION_MIN, opcode};
use crate::persist::save::{Piece, Save, Usage};
use crate::types::{Value, ValueRef};

/// A partition's part of a save.
pub struct Snapshot {
    save: Arc<Save>,
    /// The partition's number.
    number: usize,
    output: Output,
    /// The large value that is being written.
    current: Option<Slices>,
    /// Tables that were emptied before they were written.
    pub(super) flushed: VecDeque<EntryTable>,
}

/// How far a table is written.
pub struct Walk {
    save: Arc<Save>,
    number: usize,
    /// The database that the table was at the instant.
    db: usize,
    now: Millis,
    pub(super) cursor: u64,
    /// Addresses of the entries that are looked at next; empty between two steps.
    pub(super) found: Vec<u64>,
    /// All entries bear the tag.
    pub(super) is_at_end: bool,
    /// What was written because it was about to change.
    preserved: Output,
    large: VecDeque<Large>,
}

/// A value that is written in slices, and what stands before it.
struct Large {
    head: Vec<u8>,
    version: u16,
    value: Box<Value>,
}

/// Records of keys, each run of one database behind its number.
pub struct Output {
    encoder: Encoder,
    db: Option<usize>,
}

impl Output {
    /// Nothing yet. Strings up to `compressed_max` bytes are compressed; 0 is none.
    fn new(save: &Save, compressed_max: u64) -> Output {
        let encoder = Encoder::new(VERSION_MIN, save.compresses && compressed_max > 0);
        Output { encoder: encoder.compressing_up_to(compressed_max), db: None }
    }

    /// What follows belongs to this database.
    fn select(&mut self, db: usize) {
        if self.db.replace(db) != Some(db) {
            self.encoder.byte(opcode::SELECTDB);
            self.encoder.length(db as u64);
        }
    }

    fn is_full(&self) -> bool {
        self.encoder.len() >= PIECE_BYTES
    }

    /// A piece of what was written. The next one stands anywhere in the file, unless it goes on with
    /// the same record.
    fn take(&mut self, save: &Save, number: usize, continues: bool) -> Piece {
        self.db = None;
        Piece::new(save, number, self.encoder.take_pieces(), continues)
    }
}

impl Walk {
    fn new(save: Arc<Save>, number: usize, db: usize, now: Millis) -> Walk {
        let preserved = Output::new(&save, COMPRESSED_WHILE_WAITING_MAX);
        let large = VecDeque::new();
        let found = Vec::new();
        Walk { save, number, db, now, cursor: 0, found, is_at_end: false, preserved, large }
    }

    /// The tag of what is written.
    #[inline]
    pub(super) fn epoch(&self) -> u8 {
        self.save.epoch
    }

    /// Writes an entry that is about to change or to go.
    pub(super) fn preserve(&mut self, entry: EntryRef<'_>) {
        let empty = Output::new(&self.save, 0);
        let mut preserved = std::mem::replace(&mut self.preserved, empty);
        self.write(entry, &mut preserved);
        self.preserved = preserved;
    }

    /// Writes an entry; the units of work that it took.
    pub(super) fn write(&mut self, entry: EntryRef<'_>, output: &mut Output) -> usize {
        if self.save.is_cancelled() {
            return 1;
        }
        let progress = &self.save.progress[self.number];
        progress.keys.fetch_add(1, Relaxed);
        let value = entry.value();
        let version = version_for(value);
        self.save.needs(version);
        if let ValueRef::Boxed(boxed) = value
            && is_large(boxed)
        {
            let mut encoder = Encoder::new(version, false);
            self.head(&mut encoder, entry);
            let head = encoder.into_pieces().concat();
            self.large.push_back(Large { head, version, value: Box::new(boxed.clone()) });
            return UNITS_PER_CLONE;
        }
        let before = output.encoder.len();
        output.select(self.db);
        output.encoder.set_version(version);
        self.head(&mut output.encoder, entry);
        output.encoder.value(value);
        let written = output.encoder.len() - before;
        progress.queued.fetch_add(written as u64, Relaxed);
        // What was compressed is short, and cost as much as it was long.
        let read = match value {
            ValueRef::Str(bytes) | ValueRef::Packed(_, bytes) => bytes.len(),
            ValueRef::Boxed(Value::String(string)) => string.len() as usize,
            ValueRef::Int(_) | ValueRef::Boxed(_) => 0,
        };
        UNITS_PER_KEY + written.max(read) / self.save.bytes_per_unit()
    }

    /// What stands before the value.
    fn head(&self, encoder: &mut Encoder, entry: EntryRef<'_>) {
        if let Some(expiry) = entry.expiry() {
            encoder.byte(opcode::EXPIRETIME_MS);
            encoder.millis(expiry.0);
        }
        match self.save.usage {
            Usage::Untold => {}
            Usage::Idle => {
                encoder.byte(opcode::IDLE);
                encoder.length(u64::from(idle_seconds(entry.access(), self.now)));
            }
            Usage::Frequency { decay_minutes } => {
                encoder.byte(opcode::FREQ);
                encoder.byte(lfu_counter(entry.access(), self.now, decay_minutes) as u8);
            }
        }
        encoder.byte(encoder.kind(entry.value()));
        encoder.string(entry.key());
    }

    /// Forgets what was not written, since nobody wants it.
    fn drop_output(&mut self, graveyard: &mut Graveyard) {
        self.preserved = Output::new(&self.save, 0);
        self.large.drain(..).for_each(|large| graveyard.bury_value(large.value));
    }

    fn is_done(&self) -> bool {
        self.is_at_end && self.large.is_empty() && self.preserved.encoder.is_empty()
    }
}

impl Snapshot {
    fn send(&self, piece: Piece, emit: &mut impl FnMut(&Arc<Save>, Piece)) {
        if !piece.bytes.is_empty() && !self.save.is_cancelled() {
            emit(&self.save, piece);
        }
    }

    fn queued(&self) -> u64 {
        self.save.progress[self.number].queued.load(Relaxed)
    }

    fn walk_max(&self) -> u64 {
        walk_max(&self.save)
    }

    /// Writes some more of the large value; the units of work that it took.
    fn write_large(
        &mut self,
        graveyard: &mut Graveyard,
        emit: &mut impl FnMut(&Arc<Save>, Piece),
    ) -> usize {
        let Some(mut slices) = self.current.take() else { return 0 };
        let before = self.output.encoder.len();
        slices.step(&mut self.output.encoder, ELEMENTS_PER_STEP);
        let written = self.output.encoder.len() - before;
        self.save.progress[self.number].queued.fetch_add(written as u64, Relaxed);
        let is_done = slices.is_done();
        if is_done || self.output.is_full() {
            let piece = self.output.take(&self.save, self.number, !is_done);
            self.send(piece, emit);
        }
        if is_done {
            graveyard.bury_value(slices.into_value());
        } else {
            self.current = Some(slices);
        }
        ELEMENTS_PER_STEP + written / self.save.bytes_per_unit()
    }
}

/// Bytes of a partition that may wait to be written while it is walked.
fn walk_max(save: &Save) -> u64 {
    (WALK_QUEUED_BYTES / save.progress.len() as u64).max(QUEUED_BYTES_MIN)
}

/// Bytes that wait to be written beyond those: old states of what has changed.
pub fn overdue_bytes(save: &Save) -> u64 {
    let queued = save.progress.iter().map(|one| one.queued.load(Relaxed));
    queued.map(|queued| queued.saturating_sub(walk_max(save))).sum()
}

impl Partition {
    /// The instant of a save: from here on the old state of whatever changes is kept for it. `number`
    /// is that of the partition among all.
    pub fn begin_snapshot(&mut self, save: &Arc<Save>, number: usize, now: Millis) {
        assert!(self.snapshot.is_none(), "one save at a time");
        for (index, db) in self.dbs.iter_mut().enumerate() {
            if !db.is_empty() {
                db.entries.begin_walk(Walk::new(save.clone(), number, index, now));
            }
        }
        self.snapshot = Some(Box::new(Snapshot {
            save: save.clone(),
            number,
            output: Output::new(save, COMPRESSED_MAX),
            current: None,
            flushed: VecDeque::new(),
        }));
    }

    /// The save is not wanted any more.
    pub fn cancel_snapshot(&self) {
        if let Some(snapshot) = &self.snapshot {
            snapshot.save.cancel();
        }
    }

    /// True if a part of a save is left to be written.
    #[inline]
    pub fn has_snapshot(&self) -> bool {
        self.snapshot.is_some()
    }

    /// True if so much waits for the disk that nothing may be added: writes have to wait.
    #[inline]
    pub fn is_choked(&self) -> bool {
        self.snapshot.as_ref().is_some_and(|snapshot| {
            let waits = !snapshot.save.is_for_replicas() && !snapshot.save.is_cancelled();
            waits && snapshot.queued() > snapshot.walk_max() * CHOKE_FACTOR
        })
    }

    /// The save of which a part is left to be written.
    pub fn saves(&self) -> Option<&Arc<Save>> {
        self.snapshot.as_ref().map(|snapshot| &snapshot.save)
    }

    /// Writes some more, and hands over what is a piece. True if something is left.
    pub fn snapshot_slice(
        &mut self,
        budget: &mut Budget,
        emit: &mut impl FnMut(&Arc<Save>, Piece),
    ) -> bool {
        let Some(mut snapshot) = self.snapshot.take() else { return false };
        while !budget.is_spent() {
            if snapshot.save.is_cancelled() {
                self.drop_snapshot_output(&mut snapshot);
            } else if snapshot.queued().saturating_sub(self.unsent(&snapshot)) > snapshot.walk_max()
            {
                self.send_preserved(&mut snapshot, true, emit);
                break;
            }
            if snapshot.current.is_some() {
                budget.spend(snapshot.write_large(&mut self.graveyard, emit));
            } else if let Some(units) = self.walk_some(&mut snapshot, emit) {
                budget.spend(units.max(1));
            } else {
                self.end_snapshot(snapshot, emit);
                return false;
            }
        }
        self.snapshot = Some(snapshot);
        true
    }

    /// Bytes that were encoded and not handed over: the disk does not know of them yet.
    fn unsent(&self, snapshot: &Snapshot) -> u64 {
        let own = self.dbs.iter().map(|db| &db.entries);
        let walks = own.chain(&snapshot.flushed).filter_map(EntryTable::walk);
        let preserved: usize = walks.map(|walk| walk.preserved.encoder.len()).sum();
        (preserved + snapshot.output.encoder.len()) as u64
    }

    /// Goes on with the first table that is not at its end; the units of work that it took. None if
    /// all are.
    fn walk_some(
        &mut self,
        snapshot: &mut Snapshot,
        emit: &mut impl FnMut(&Arc<Save>, Piece),
    ) -> Option<usize> {
        if snapshot.output.is_full() {
            let piece = snapshot.output.take(&snapshot.save, snapshot.number, false);
            snapshot.send(piece, emit);
        }
        self.send_preserved(snapshot, false, emit);
        if let Some((db, large)) = self.next_large(snapshot) {
            let before = snapshot.output.encoder.len();
            snapshot.output.select(db);
            snapshot.output.encoder.raw(&large.head);
            snapshot.output.encoder.set_version(large.version);
            let written = (snapshot.output.encoder.len() - before) as u64;
            snapshot.save.progress[snapshot.number].queued.fetch_add(written, Relaxed);
            snapshot.current = Some(Slices::new(large.value));
            return Some(1);
        }
        let own = self.dbs.iter_mut().map(|db| &mut db.entries);
        for table in own.chain(&mut snapshot.flushed) {
            if table.walk().is_some_and(|walk| !walk.is_at_end) {
                return Some(table.walk_step(KEYS_PER_STEP, &mut snapshot.output));
            }
        }
        None
    }

    /// The next large value that somebody, or the walk, has come upon.
    fn next_large(&mut self, snapshot: &mut Snapshot) -> Option<(usize, Large)> {
        let own = self.dbs.iter_mut().map(|db| &mut db.entries);
        own.chain(&mut snapshot.flushed).find_map(|table| {
            let walk = table.walk_mut()?;
            walk.large.pop_front().map(|large| (walk.db, large))
        })
    }

    /// Hands over what was written because it was about to change, if that is worth a piece or
    /// `all` is wanted. Not in the middle of a large value.
    fn send_preserved(
        &mut self,
        snapshot: &mut Snapshot,
        all: bool,
        emit: &mut impl FnMut(&Arc<Save>, Piece),
    ) {
        if snapshot.current.is_some() {
            return;
        }
        let mut pieces = Vec::new();
        let own = self.dbs.iter_mut().map(|db| &mut db.entries);
        for table in own.chain(&mut snapshot.flushed) {
            let Some(walk) = table.walk_mut() else { continue };
            if walk.preserved.is_full() || all && !walk.preserved.encoder.is_empty() {
                pieces.push(walk.preserved.take(&snapshot.save, snapshot.number, false));
            }
        }
        pieces.into_iter().for_each(|piece| snapshot.send(piece, emit));
    }

    /// All tables are at their ends, and all large values are written.
    fn end_snapshot(
        &mut self,
        mut snapshot: Box<Snapshot>,
        emit: &mut impl FnMut(&Arc<Save>, Piece),
    ) {
        self.send_preserved(&mut snapshot, true, emit);
        for db in &mut self.dbs {
            assert!(db.entries.walk().is_none_or(Walk::is_done), "all was written");
            db.entries.end_walk();
        }
        for mut table in snapshot.flushed.drain(..) {
            table.end_walk();
            self.graveyard.bury_table(table);
        }
        let mut last = snapshot.output.take(&snapshot.save, snapshot.number, false);
        last.is_last = true;
        if snapshot.save.is_cancelled() {
            last.bytes.clear();
        }
        emit(&snapshot.save, last);
    }

    fn drop_snapshot_output(&mut self, snapshot: &mut Snapshot) {
        snapshot.output = Output::new(&snapshot.save, 0);
        if let Some(slices) = snapshot.current.take() {
            self.graveyard.bury_value(slices.into_value());
        }
        let Partition { dbs, graveyard, .. } = self;
        let own = dbs.iter_mut().map(|db| &mut db.entries);
        for table in own.chain(&mut snapshot.flushed) {
            if let Some(walk) = table.walk_mut() {
                walk.drop_output(graveyard);
            }
        }
    }
}

/// True for a value that is not written in one step.
fn is_large(value: &Value) -> bool {
    match value {
        Value::String(string) => string.len() > LARGE_BYTES,
        Value::Packed(..) => false,
        Value::List(list) => list.len() > LARGE_ELEMENTS || list.node_count() > LARGE_NODES,
        Value::Set(dict) | Value::Hash(dict) => dict.len() as u64 > LARGE_ELEMENTS,
        Value::SortedSet(set) => set.len() > LARGE_ELEMENTS,
        Value::Stream(stream) => {
            stream.block_count() > LARGE_NODES
                || stream.groups.iter().any(|(_, group)| group.pending().len() > LARGE_NODES)
        }
    }
}

/// A piece is handed over when it has so many bytes.
const PIECE_BYTES: usize = 64 << 10;
/// Bytes of all partitions that may wait for the disk while they are walked.
const WALK_QUEUED_BYTES: u64 = 8 << 20;
/// The least share of a partition.
const QUEUED_BYTES_MIN: u64 = 512 << 10;
/// Writes wait when so many times that much does.
const CHOKE_FACTOR: u64 = 3;
/// Strings up to so many bytes are compressed, in less than half a millisecond.
const COMPRESSED_MAX: u64 = 64 << 10;
/// The same while a client waits for its write: a microsecond.
const COMPRESSED_WHILE_WAITING_MAX: u64 = 256;
/// Keys that one step through a table looks at, about: enough that they are fetched together.
const KEYS_PER_STEP: usize = 16;
/// Elements of a large value that one step writes, about.
const ELEMENTS_PER_STEP: usize = 128;
const UNITS_PER_KEY: usize = 3;
const UNITS_PER_CLONE: usize = 16;
const LARGE_BYTES: u64 = 64 << 10;
const LARGE_ELEMENTS: u64 = 256;
const LARGE_NODES: usize = 8;
