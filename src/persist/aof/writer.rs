//! The writer of the journal: blocks of all cores, in the order of their numbers, as groups at the end
//! of a file.
//!
//! Invariant: a group is written when all before it have been, so that a process that is killed
//! leaves no hole; what `written` and `synced` tell grows in the order of the numbers. One group is
//! under way: what comes meanwhile is the next one, so each sync is for as many as there are. Nothing
//! is written to a file before the one before it is synced, so that a power cut leaves no hole either.
//! Each group says up to where the file was synced when it was begun, and one without commands, behind
//! the last one, that all of it was. A write that failed is tried again when somebody says so, at the
//! same place; after a sync that failed nothing is written any more, since nobody knows what the disk
//! holds, until a file begins for which that does not matter.
//!
//! It does no I/O: it says which operation comes next, and is told what became of it.

mod action;
mod cut;
mod group;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;

pub use action::{Action, Failure, Wanted};
use group::{Group, Point};

use super::annotation::{Heading, LINE_BYTES_MAX, write_synced};
use super::block::{Block, Cut, JournalFile, Lines};
use super::gather::Gathering;
use crate::base::time::Nanos;

/// What keeps the writer from going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// A write failed.
    Write,
    /// A sync failed.
    Sync,
}

/// See above.
#[derive(Debug, Default)]
pub struct Writer {
    file: Option<JournalFile>,
    /// The database that is selected at the end of the file.
    db: Option<usize>,
    /// The second that was noted last.
    time: Option<i64>,
    waiting: BTreeMap<u64, Block>,
    waiting_bytes: usize,
    /// Commands and transactions among what waits.
    waiting_units: usize,
    /// All blocks up to this number are here.
    bound: u64,
    group: Option<Group>,
    /// For whom the next one waits, and how long it does.
    gathering: Gathering,
    gathers_until: Option<Nanos>,
    /// The file that comes next, as soon as this one is done with.
    cut: Option<(u64, Box<Cut>)>,
    /// The first cut that waits behind which nothing of before counts.
    fresh_cut: Option<u64>,
    /// Cuts that have come and have not been made.
    cuts: usize,
    /// Bytes of all files before this one, and before the one that comes next.
    bytes_before: u64,
    bytes_before_next: Option<u64>,
    /// Up to where a sync under way covers.
    sync: Option<Point>,
    /// Which of all files is written.
    file_number: u64,
    /// The file holds zeros up to here, or what has taken their place.
    filled: u64,
    /// More of them are being written from here on: nothing else may be.
    filling: Option<u64>,
    to_close: Vec<Action>,
    written: Point,
    synced: Point,
    /// The kernel has begun to write the file to the disk up to here.
    written_back: u64,
    /// It is being told to: one at a time, so that they do not pile up where the disk hangs.
    is_writing_back: bool,
    /// No line behind its groups says that they were synced.
    is_unsealed: bool,
    trouble: Option<Trouble>,
}

impl Writer {
    /// The first file to append to, and the bytes of all files before it.
    pub fn open(&mut self, file: JournalFile, bytes_before: u64) {
        (self.db, self.bytes_before) = (None, bytes_before);
        self.begin_file(Some(file));
    }

    /// What comes goes to this file, which is synced as far as it is there.
    fn begin_file(&mut self, file: Option<JournalFile>) -> Option<JournalFile> {
        let offset = file.as_ref().map_or(0, |file| file.offset);
        (self.written.offset, self.synced.offset, self.is_unsealed) = (offset, offset, false);
        self.written_back = offset;
        std::mem::replace(&mut self.file, file)
    }

    /// A base of so many bytes has taken the place of all files before the last cut.
    pub fn rebase(&mut self, bytes: u64) {
        if self.cuts > 0 {
            self.bytes_before_next = Some(bytes);
        } else {
            self.bytes_before = bytes;
        }
    }

    /// A block has come.
    pub fn add(&mut self, number: u64, block: Block) {
        self.waiting_bytes += block.len();
        self.waiting_units += block.lines.units();
        if let Some(cut) = &block.cut {
            self.cuts += 1;
            if cut.is_fresh {
                self.fresh_cut = Some(self.fresh_cut.map_or(number, |first| first.min(number)));
            }
        }
        self.waiting.insert(number, block);
    }

    /// All blocks up to this number have come.
    pub fn advance(&mut self, bound: u64) {
        self.bound = self.bound.max(bound);
    }

    /// True if blocks wait for others that come before them.
    pub fn waits_for_others(&self) -> bool {
        self.waiting.first_key_value().is_some_and(|(first, _)| *first > self.bound)
    }

    /// True if nothing waits and nothing is under way.
    pub fn is_idle(&self) -> bool {
        let is_quiet = self.group.is_none() && self.cut.is_none() && self.sync.is_none();
        is_quiet && self.waiting.is_empty() && self.to_close.is_empty()
    }

    /// The number up to which everything is in the kernel, and that up to which it is synced.
    pub fn progress(&self) -> (u64, u64) {
        (self.written.number, self.synced.number)
    }

    /// A group is kept back until then.
    pub fn gathers_until(&self) -> Option<Nanos> {
        self.gathers_until
    }

    /// Bytes that have not been handed to the kernel.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Bytes that are not in the kernel.
    pub fn queued_bytes(&self) -> usize {
        self.waiting_bytes + self.group.as_ref().map_or(0, |group| group.bytes.len())
    }

    /// Bytes of all files, as far as they were handed to the kernel.
    pub fn size(&self) -> u64 {
        self.bytes_before + self.file.as_ref().map_or(0, |file| file.offset)
    }

    /// Has the file filled with zeros ahead, if there is little left of them.
    pub fn begin_fill(&mut self) -> Option<Action> {
        let file = self.file.as_ref()?;
        let is_filled = self.filled.saturating_sub(file.offset) > SEGMENT_BYTES / 2;
        if is_filled || self.filling.is_some() || self.trouble.is_some() || self.cuts > 0 {
            return None;
        }
        let from = self.filled.max(file.offset + SLACK_BYTES);
        self.filling = Some(from);
        let to = from + SEGMENT_BYTES;
        Some(Action::Fill { fd: file.fd, file: self.file_number, from, to })
    }

    /// A file has been filled up to here, or has not.
    pub fn was_filled(&mut self, file: u64, to: Option<u64>) {
        if file == self.file_number {
            self.filling = None;
            self.filled = to.unwrap_or(self.filled);
        }
    }

    /// Nothing is written any more: what the file needs then, if it was filled ahead.
    pub fn end(&mut self) -> Option<Action> {
        let file = self.file.take()?;
        let is_known = self.trouble.is_none();
        Some(if is_known { self.leave(&file) } else { Action::Close { fd: file.fd } })
    }

    /// What is to be done with a file behind its last group.
    fn leave(&self, file: &JournalFile) -> Action {
        if self.filled > file.offset || self.filling.is_some() {
            Action::Trim { fd: file.fd, len: file.offset }
        } else {
            Action::Close { fd: file.fd }
        }
    }

    /// True if what is due might reach the place where zeros are being written.
    fn reaches_filling(&self) -> bool {
        let selects = self.waiting.len() * SELECT_BYTES_MAX;
        let due = (LINE_BYTES_MAX + self.waiting_bytes + selects) as u64;
        let offset = self.file.as_ref().map_or(0, |file| file.offset);
        self.filling.is_some_and(|from| offset + due > from)
    }

    /// True if a sync of its own, or of a group, is under way.
    pub fn is_syncing(&self) -> bool {
        self.sync.is_some() || self.syncs_group()
    }

    /// True if a group is under way that is safe when its write ends.
    pub fn syncs_group(&self) -> bool {
        self.group.as_ref().is_some_and(|group| group.syncs && group.is_under_way)
    }

    /// True if something is in the kernel that has not been synced.
    pub fn is_unsynced(&self) -> bool {
        self.synced.number < self.written.number
    }

    /// Begins to sync what has been written.
    pub fn begin_sync(&mut self) -> Option<Action> {
        let fd = self.file.as_ref()?.fd;
        if self.trouble.is_some() || self.sync.is_some() || !self.is_unsynced() {
            return None;
        }
        self.sync = Some(self.written);
        Some(Action::Sync { fd })
    }

    /// Has the kernel begin to write what it has, if that is much: a sync finds little left to do then,
    /// and takes the processor for a short time only.
    pub fn begin_write_back(&mut self) -> Option<Action> {
        let fd = self.file.as_ref()?.fd;
        // The last page is still written to.
        let end = self.written.offset / PAGE_BYTES * PAGE_BYTES;
        let offset = self.written_back.max(self.synced.offset);
        let is_much = end >= offset + WRITE_BACK_BYTES;
        if self.trouble.is_some() || self.is_writing_back || !is_much {
            return None;
        }
        (self.written_back, self.is_writing_back) = (end, true);
        let len = u32::try_from(end - offset).unwrap_or(u32::MAX);
        Some(Action::WriteBack { fd, offset, len })
    }

    /// The kernel has begun to write back what it was told to.
    pub fn wrote_back(&mut self) {
        self.is_writing_back = false;
    }

    /// True if the next group waits for those that have just been answered.
    fn gathers(&mut self, wanted: Wanted) -> bool {
        let is_wanted = wanted.syncs && self.waiting_units > 0;
        let mut wait = || self.gathering.wait_until(wanted.now, self.waiting_units);
        self.gathers_until = if is_wanted { wait() } else { None };
        self.gathers_until.is_some()
    }

    /// What to do next, if anything can be done now.
    pub fn next(&mut self, wanted: Wanted) -> Option<Action> {
        if self.trouble.is_some() {
            self.give_up();
        }
        if let Some(action) = self.to_close.pop() {
            return Some(action);
        }
        if self.trouble.is_some() {
            return None;
        }
        if let Some(group) = &mut self.group
            && !group.is_under_way
        {
            return Some(group.write());
        }
        loop {
            if self.cut.is_some() {
                let action = self.change_file();
                if action.is_some() || self.cut.is_some() {
                    return action;
                }
            }
            // A group that is synced says so of nothing but itself.
            let is_behind = wanted.syncs && self.is_unsynced();
            if self.group.is_some() || is_behind || self.gathers(wanted) {
                return None;
            }
            let action = self.begin_group(wanted);
            if action.is_some() || self.cut.is_none() {
                return action;
            }
        }
    }

    /// A write of the group has ended: bytes, or a negative error number.
    pub fn wrote(&mut self, result: i32, now: Nanos) -> Option<Failure> {
        let group = self.group.as_mut()?;
        group.is_under_way = false;
        let failure = match (result, group.doubt) {
            (1.., Some(error)) if result as usize == group.bytes.len() => {
                Some(Failure::Sync(io::Error::from_raw_os_error(-error)))
            }
            (0.., Some(error)) => Some(Failure::Write(io::Error::from_raw_os_error(-error))),
            (1.., None) => {
                let len = group.bytes.len();
                let count = (result as usize).min(len);
                group.bytes = group.bytes.slice(count..);
                group.offset += count as u64;
                group.tries += 1;
                let is_short = count < len && group.tries > TRIES_MAX;
                is_short.then_some(Failure::Short(count, len))
            }
            (0, None) => Some(Failure::Short(0, group.bytes.len())),
            (error, _) if is_passing(error) && group.tries < TRIES_MAX => {
                group.tries += 1;
                None
            }
            (error, None) if group.syncs && may_be_of_write(error) => {
                group.doubt = Some(error);
                None
            }
            (error, None) if group.syncs => {
                Some(Failure::Sync(io::Error::from_raw_os_error(-error)))
            }
            (error, _) => Some(Failure::Write(io::Error::from_raw_os_error(-error))),
        };
        if group.syncs && group.is_written() {
            self.gathering.end(now, self.waiting_units);
        }
        self.settle(failure)
    }

    /// A sync of the file has ended.
    pub fn was_synced(&mut self, result: i32) -> Option<Failure> {
        let point = self.sync.take()?;
        let failed = result < 0;
        if !failed {
            self.was_synced_to(point);
        }
        self.settle(failed.then(|| Failure::Sync(io::Error::from_raw_os_error(-result))))
    }

    /// Takes over what has been done.
    fn settle(&mut self, failure: Option<Failure>) -> Option<Failure> {
        match failure {
            None => {}
            Some(Failure::Write(_) | Failure::Short(..)) if self.trouble.is_none() => {
                self.trouble = Some(Trouble::Write);
            }
            Some(Failure::Write(_) | Failure::Short(..)) => {}
            Some(Failure::Sync(_)) => self.trouble = Some(Trouble::Sync),
        }
        if self.trouble == Some(Trouble::Sync) {
            return failure;
        }
        if let Some(group) = self.group.take_if(|group| group.is_written()) {
            self.written = group.end();
            if group.syncs {
                self.was_synced_to(group.end());
            }
        }
        failure
    }

    fn was_synced_to(&mut self, point: Point) {
        if self.synced.offset < point.offset {
            self.synced = point;
        }
    }

    /// True if a write or a sync has failed that has not been made good.
    pub fn is_in_trouble(&self) -> bool {
        self.trouble.is_some()
    }

    /// Tries a write again that failed.
    pub fn retry(&mut self) {
        if self.trouble == Some(Trouble::Write) {
            self.trouble = None;
            self.group.iter_mut().for_each(|group| (group.tries, group.doubt) = (0, None));
        }
    }

    /// True if nothing has failed that has not been made good.
    pub fn is_sound(&self) -> bool {
        self.trouble.is_none() && self.group.is_none()
    }

    /// Begins a group of what is due.
    fn begin_group(&mut self, wanted: Wanted) -> Option<Action> {
        if self.file.is_none() && self.cuts == 0 || self.reaches_filling() {
            return None;
        }
        let mut bytes = self.begin_bytes();
        let begin = bytes.len();
        let mut last = None;
        let units_before = self.waiting_units;
        while bytes.len() < GROUP_BYTES_MAX
            && let Some(first) = self.waiting.first_entry()
            && *first.key() <= self.bound
        {
            let (number, block) = first.remove_entry();
            last = Some(number);
            self.waiting_bytes -= block.len();
            self.waiting_units -= block.lines.units();
            self.append(&mut bytes, &block.lines);
            if let Some(cut) = block.cut {
                last = Some(cut.last_before(number));
                self.cut = Some((number, cut));
                break;
            }
        }
        let last = last?;
        if bytes.len() == begin {
            return None;
        }
        self.gathering.begin(wanted.now, units_before - self.waiting_units);
        self.is_unsealed = true;
        self.write_group(bytes, last, wanted)
    }

    /// Says in the file that all of it was synced, when that is so and nothing else comes.
    pub fn seal(&mut self) -> Option<Action> {
        let is_all = self.is_idle() && !self.is_unsynced() && self.trouble.is_none();
        if !is_all || !std::mem::take(&mut self.is_unsealed) {
            return None;
        }
        let bytes = self.begin_bytes();
        let wanted = Wanted { syncs: true, time: None, now: Nanos(0) };
        self.write_group(bytes, self.written.number, wanted)
    }

    /// Room for a heading, and what each group begins with.
    fn begin_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; LINE_BYTES_MAX];
        let own = self.file.as_ref().map_or(0, |file| file.offset);
        write_synced(&mut bytes, self.synced.offset, own);
        bytes
    }

    /// Begins a group of these bytes, which has room in front for its heading.
    fn write_group(&mut self, mut bytes: Vec<u8>, last: u64, wanted: Wanted) -> Option<Action> {
        let time = wanted.time.filter(|now| self.time.is_none_or(|noted| noted < *now));
        self.time = time.or(self.time);
        let mut heading = Heading::new(time);
        heading.cover(&bytes[LINE_BYTES_MAX..]);
        let heading = heading.into_bytes();
        let start = LINE_BYTES_MAX - heading.len();
        bytes[start..LINE_BYTES_MAX].copy_from_slice(&heading);
        let bytes = Bytes::from(bytes).slice(start..);
        let file = self.file.as_mut()?;
        let group = self.group.insert(Group {
            fd: file.fd,
            offset: file.offset,
            bytes,
            last,
            syncs: wanted.syncs,
            is_under_way: false,
            doubt: None,
            tries: 0,
        });
        file.offset += group.bytes.len() as u64;
        Some(group.write())
    }

    fn append(&mut self, bytes: &mut Vec<u8>, lines: &Lines) {
        if lines.is_empty() {
            return;
        }
        let (opening, rest) = lines.opened(self.db);
        bytes.extend_from_slice(&opening);
        bytes.extend_from_slice(rest);
        self.db = Some(lines.last_db());
    }
}

fn is_passing(error: i32) -> bool {
    matches!(-error, libc::EINTR | libc::EAGAIN | libc::ECANCELED)
}

/// True if what a durable write that fails like this has failed at may be the write: there was no room, or
/// the file may not be written.
fn may_be_of_write(error: i32) -> bool {
    matches!(-error, libc::ENOSPC | libc::EDQUOT | libc::EFBIG | libc::EROFS | libc::EBADF)
}

/// A group that has so many bytes is written as it is.
const GROUP_BYTES_MAX: usize = 4 << 20;
/// Writes that were interrupted or cut short, in a row, before that counts as a failure.
const TRIES_MAX: u8 = 16;
/// So many bytes are written back at once, at least.
const WRITE_BACK_BYTES: u64 = 256 << 10;
const PAGE_BYTES: u64 = 4096;
/// The line that selects a database has no more bytes.
const SELECT_BYTES_MAX: usize = 48;
/// Zeros that are written ahead at once.
const SEGMENT_BYTES: u64 = 4 << 20;
/// A file that was not filled yet may grow so much while it is.
const SLACK_BYTES: u64 = 512 << 10;
