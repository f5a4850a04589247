//! The writer of the journal: blocks of all cores, in the order of their numbers, as groups at the end
//! of a file.
//!
//! Invariant: a group is written when all before it have been, so that a process that is killed
//! leaves no hole; what `written` and `synced` tell grows in the order of the numbers. Two groups may
//! be under way: the second is written while the first is synced. Nothing is written to a file before
//! the one before it is synced, so that a power cut leaves no hole either. A write that failed is
//! tried again when somebody says so, at the same place; after a sync that failed nothing is written
//! any more, since nobody knows what the disk holds, until a file begins for which that does not
//! matter.
//!
//! It does no I/O: it says which operation comes next, and is told what became of it.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::RawFd;

use bytes::Bytes;

use super::annotation::{Heading, LINE_BYTES_MAX};
use super::block::{Block, Cut, JournalFile, Lines, write_select};

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Write all of `bytes` at `offset`; `syncs`: and then sync the file.
    Write {
        /// Names the group.
        slot: u32,
        /// The file.
        fd: RawFd,
        /// Where.
        offset: u64,
        /// What.
        bytes: Bytes,
        /// With a sync behind it, which fails if not all was written.
        syncs: bool,
    },
    /// Sync the file.
    Sync {
        /// The file.
        fd: RawFd,
    },
    /// Close the file.
    Close {
        /// The file.
        fd: RawFd,
    },
    /// Cut the file behind what was written, since it was filled with zeros ahead, and close it.
    Trim {
        /// The file.
        fd: RawFd,
        /// Its length.
        len: u64,
    },
    /// Fill the file with zeros ahead of what is written, and tell when they are on the disk: then a
    /// sync of what takes their place changes nothing but data.
    Fill {
        /// The file.
        fd: RawFd,
        /// Which of all files it is.
        file: u64,
        /// Where the zeros begin.
        from: u64,
        /// Where they end.
        to: u64,
    },
}

/// How a group is to be written.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Each group is synced.
    pub syncs: bool,
    /// The time to note, in seconds, if it is noted at all.
    pub time: Option<i64>,
}

/// What failed.
#[derive(Debug)]
pub enum Failure {
    /// A write.
    Write(io::Error),
    /// A write, after so many bytes of so many: there is no room.
    Short(usize, usize),
    /// A sync.
    Sync(io::Error),
}

/// What keeps the writer from going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// A write failed.
    Write,
    /// A sync failed.
    Sync,
}

/// A group under way.
#[derive(Debug)]
struct Group {
    slot: u32,
    fd: RawFd,
    /// Where what is left goes.
    offset: u64,
    /// What is left.
    bytes: Bytes,
    /// The number of its last block.
    last: u64,
    syncs: bool,
    is_synced: bool,
    /// Operations under way.
    ops: u8,
    tries: u8,
}

impl Group {
    fn is_written(&self) -> bool {
        self.bytes.is_empty()
    }

    fn is_done(&self) -> bool {
        self.is_written() && (self.is_synced || !self.syncs)
    }
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
    /// All blocks up to this number are here.
    bound: u64,
    groups: VecDeque<Group>,
    /// The file that comes next, as soon as this one is done with.
    cut: Option<(u64, Box<Cut>)>,
    /// The first cut that waits behind which nothing of before counts.
    fresh_cut: Option<u64>,
    /// Cuts that have come and have not been made.
    cuts: usize,
    /// Bytes of all files before this one, and before the one that comes next.
    bytes_before: u64,
    bytes_before_next: Option<u64>,
    /// The number up to which a sync under way covers.
    sync: Option<u64>,
    /// Which of all files is written.
    file_number: u64,
    /// The file holds zeros up to here, or what has taken their place.
    filled: u64,
    /// More of them are being written from here on: nothing else may be.
    filling: Option<u64>,
    to_close: Vec<Action>,
    written: u64,
    synced: u64,
    trouble: Option<Trouble>,
}

impl Writer {
    /// The first file to append to, and the bytes of all files before it.
    pub fn open(&mut self, file: JournalFile, bytes_before: u64) {
        (self.file, self.db, self.bytes_before) = (Some(file), None, bytes_before);
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
        let is_quiet = self.groups.is_empty() && self.cut.is_none() && self.sync.is_none();
        is_quiet && self.waiting.is_empty() && self.to_close.is_empty()
    }

    /// The number up to which everything is in the kernel, and that up to which it is synced.
    pub fn progress(&self) -> (u64, u64) {
        (self.written, self.synced)
    }

    /// Bytes that have not been handed to the kernel.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Bytes that are not in the kernel.
    pub fn queued_bytes(&self) -> usize {
        self.waiting_bytes + self.groups.iter().map(|group| group.bytes.len()).sum::<usize>()
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
        Some(self.leave(&file))
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
        self.sync.is_some() || self.groups.iter().any(|group| group.syncs && group.is_written())
    }

    /// True if something is in the kernel that has not been synced.
    pub fn is_unsynced(&self) -> bool {
        self.synced < self.written
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
        if let Some(group) = self.groups.iter_mut().find(|one| one.ops == 0 && !one.is_written()) {
            return Some(group.write());
        }
        loop {
            if self.cut.is_some() {
                let action = self.change_file();
                if action.is_some() || self.cut.is_some() {
                    return action;
                }
            }
            let is_free = self.groups.iter().all(Group::is_written);
            if !is_free || self.groups.len() >= GROUPS_MAX {
                return None;
            }
            let action = self.begin_group(wanted);
            if action.is_some() || self.cut.is_none() {
                return action;
            }
        }
    }

    /// A write of a group has ended: bytes, or a negative error number.
    pub fn wrote(&mut self, slot: u32, result: i32) -> Option<Failure> {
        let group = self.groups.iter_mut().find(|group| group.slot == slot)?;
        group.ops -= 1;
        let failure = match result {
            1.. => {
                let len = group.bytes.len();
                let count = (result as usize).min(len);
                group.bytes = group.bytes.slice(count..);
                group.offset += count as u64;
                group.tries += 1;
                let is_short = count < len && group.tries > TRIES_MAX;
                is_short.then_some(Failure::Short(count, len))
            }
            error if is_passing(error) && group.tries < TRIES_MAX => {
                group.tries += 1;
                None
            }
            0 => Some(Failure::Short(0, group.bytes.len())),
            error => Some(Failure::Write(io::Error::from_raw_os_error(-error))),
        };
        self.settle(failure)
    }

    /// A sync has ended, of a group if it has a slot.
    pub fn was_synced(&mut self, slot: Option<u32>, result: i32) -> Option<Failure> {
        let failed = || Some(Failure::Sync(io::Error::from_raw_os_error(-result)));
        let failure = match slot {
            None => {
                let last = self.sync.take()?;
                if result < 0 {
                    failed()
                } else {
                    self.synced = self.synced.max(last);
                    None
                }
            }
            Some(slot) => {
                let group = self.groups.iter_mut().find(|group| group.slot == slot)?;
                group.ops -= 1;
                // Behind a write that was cut short it is cancelled, and comes again.
                group.is_synced = result >= 0 && group.is_written();
                if result < 0 && group.is_written() { failed() } else { None }
            }
        };
        self.settle(failure)
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
        for group in self.groups.iter().take_while(|group| group.is_written()) {
            self.written = group.last;
        }
        while let Some(group) = self.groups.front()
            && group.is_done()
        {
            if group.syncs {
                self.synced = group.last;
            }
            self.groups.pop_front();
        }
        failure
    }

    /// Tries a write again that failed.
    pub fn retry(&mut self) {
        if self.trouble == Some(Trouble::Write) {
            self.trouble = None;
            self.groups.iter_mut().for_each(|group| group.tries = 0);
        }
    }

    /// True if nothing has failed that has not been made good.
    pub fn is_sound(&self) -> bool {
        self.trouble.is_none() && self.groups.iter().all(Group::is_written)
    }

    /// Begins a group of what is due.
    fn begin_group(&mut self, wanted: Wanted) -> Option<Action> {
        if self.file.is_none() && self.cuts == 0 || self.reaches_filling() {
            return None;
        }
        let mut bytes = vec![0; LINE_BYTES_MAX];
        let mut last = None;
        while bytes.len() < GROUP_BYTES_MAX
            && let Some(first) = self.waiting.first_entry()
            && *first.key() <= self.bound
        {
            let (number, block) = first.remove_entry();
            last = Some(number);
            self.waiting_bytes -= block.len();
            self.append(&mut bytes, &block.lines);
            if let Some(cut) = block.cut {
                last = Some(cut.last_before(number));
                self.cut = Some((number, cut));
                break;
            }
        }
        let last = last?;
        if bytes.len() == LINE_BYTES_MAX {
            return None;
        }
        let time = wanted.time.filter(|now| self.time.is_none_or(|noted| noted < *now));
        self.time = time.or(self.time);
        let mut heading = Heading::new(time);
        heading.cover(&bytes[LINE_BYTES_MAX..]);
        let heading = heading.into_bytes();
        let start = LINE_BYTES_MAX - heading.len();
        bytes[start..LINE_BYTES_MAX].copy_from_slice(&heading);
        let bytes = Bytes::from(bytes).slice(start..);
        let is_free = |slot: &u32| self.groups.iter().all(|group| group.slot != *slot);
        let slot = (0..GROUPS_MAX as u32).find(is_free)?;
        let file = self.file.as_mut()?;
        let mut group = Group {
            slot,
            fd: file.fd,
            offset: file.offset,
            bytes,
            last,
            syncs: wanted.syncs,
            is_synced: false,
            ops: 0,
            tries: 0,
        };
        file.offset += group.bytes.len() as u64;
        let action = group.write();
        self.groups.push_back(group);
        Some(action)
    }

    fn append(&mut self, bytes: &mut Vec<u8>, lines: &Lines) {
        if lines.is_empty() {
            return;
        }
        if self.db != Some(lines.first_db()) {
            write_select(bytes, lines.first_db());
        }
        bytes.extend_from_slice(lines.bytes());
        self.db = Some(lines.last_db());
    }

    /// Goes over to the next file when all of this one is on the disk.
    fn change_file(&mut self) -> Option<Action> {
        if !self.groups.is_empty() || self.sync.is_some() {
            return None;
        }
        if self.file.is_some() && self.is_unsynced() {
            return self.begin_sync();
        }
        let (number, cut) = self.cut.take()?;
        self.make_cut(number, *cut);
        self.to_close.pop()
    }

    /// Gives up what could not be written, if a cut has come behind which it does not count.
    fn give_up(&mut self) {
        let is_quiet = self.groups.iter().all(|group| group.ops == 0) && self.sync.is_none();
        let is_open = |(_, cut): &(u64, Box<Cut>)| cut.is_fresh;
        if !is_quiet {
            return;
        }
        if !self.cut.as_ref().is_some_and(is_open) {
            let Some(number) = self.fresh_cut.filter(|number| *number <= self.bound) else {
                return;
            };
            let behind = self.waiting.split_off(&(number + 1));
            for (at, block) in std::mem::replace(&mut self.waiting, behind) {
                self.waiting_bytes -= block.len();
                if let Some(cut) = block.cut {
                    self.drop_cut();
                    self.cut = Some((at, cut));
                }
            }
        }
        let Some((number, cut)) = self.cut.take() else { return };
        self.groups.clear();
        self.trouble = None;
        self.make_cut(number, *cut);
    }

    /// A cut is given up: its file is closed, and never written to.
    fn drop_cut(&mut self) {
        if let Some((_, cut)) = self.cut.take() {
            self.cuts -= 1;
            self.to_close.extend(cut.file.map(|file| Action::Close { fd: file.fd }));
        }
    }

    /// All before the cut is done with, one way or another: its file is written from here on.
    fn make_cut(&mut self, number: u64, cut: Cut) {
        let last = cut.last_before(number);
        let Cut { file, is_fresh, lines } = cut;
        (self.written, self.synced) = (self.written.max(last), self.synced.max(last));
        self.cuts -= 1;
        if self.fresh_cut.is_some_and(|fresh| fresh <= number) {
            self.fresh_cut = None;
        }
        let before = if is_fresh { 0 } else { self.size() };
        self.bytes_before = self.bytes_before_next.take().unwrap_or(before);
        let old = std::mem::replace(&mut self.file, file);
        let left = old.map(|old| self.leave(&old));
        self.to_close.extend(left);
        self.file_number += 1;
        (self.filled, self.filling) = (0, None);
        self.db = None;
        if !lines.is_empty() {
            self.add(number, Block { lines, cut: None });
        }
    }
}

impl Group {
    fn write(&mut self) -> Action {
        self.ops = 1 + u8::from(self.syncs);
        Action::Write {
            slot: self.slot,
            fd: self.fd,
            offset: self.offset,
            bytes: self.bytes.clone(),
            syncs: self.syncs,
        }
    }
}

impl Block {
    fn len(&self) -> usize {
        let behind = self.cut.as_ref().map_or(0, |cut| cut.lines.bytes().len());
        self.lines.bytes().len() + behind
    }
}

impl Cut {
    /// The number up to which all is in the file before, if the block has this number.
    fn last_before(&self, number: u64) -> u64 {
        number - u64::from(!self.lines.is_empty())
    }
}

fn is_passing(error: i32) -> bool {
    matches!(-error, libc::EINTR | libc::EAGAIN | libc::ECANCELED)
}

/// Groups under way: one is written while another one is synced.
const GROUPS_MAX: usize = 2;
/// A group that has so many bytes is written as it is.
const GROUP_BYTES_MAX: usize = 4 << 20;
/// Writes that were interrupted or cut short, in a row, before that counts as a failure.
const TRIES_MAX: u8 = 16;
/// The line that selects a database has no more bytes.
const SELECT_BYTES_MAX: usize = 48;
/// Zeros that are written ahead at once.
const SEGMENT_BYTES: u64 = 8 << 20;
/// A file that was not filled yet may grow so much while it is.
const SLACK_BYTES: u64 = 1 << 20;
