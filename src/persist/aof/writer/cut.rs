//! Cuts: where the writer goes over to another file.
//!
//! Invariant: nothing is written to a file before the one before it is synced, so that a power cut
//! leaves no hole between them; unless what was before a cut does not count any more.

use super::{Action, Block, Cut, Writer};

impl Writer {
    /// Goes over to the next file when all of this one is on the disk.
    pub(super) fn change_file(&mut self) -> Option<Action> {
        if self.group.is_some() || self.sync.is_some() {
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
    pub(super) fn give_up(&mut self) {
        let is_quiet =
            self.group.as_ref().is_none_or(|one| !one.is_under_way) && self.sync.is_none();
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
                self.waiting_units -= block.lines.units();
                if let Some(cut) = block.cut {
                    self.drop_cut();
                    self.cut = Some((at, cut));
                }
            }
        }
        let Some((number, cut)) = self.cut.take() else { return };
        self.group = None;
        // Nobody knows where its last whole group ends.
        (self.trouble, self.filled, self.filling) = (None, 0, None);
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
        self.written.number = self.written.number.max(last);
        self.synced.number = self.synced.number.max(last);
        self.cuts -= 1;
        if self.fresh_cut.is_some_and(|fresh| fresh <= number) {
            self.fresh_cut = None;
        }
        let before = if is_fresh { 0 } else { self.size() };
        self.bytes_before = self.bytes_before_next.take().unwrap_or(before);
        let old = self.begin_file(file);
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

impl Block {
    pub(super) fn len(&self) -> usize {
        let behind = self.cut.as_ref().map_or(0, |cut| cut.lines.bytes().len());
        self.lines.bytes().len() + behind
    }
}

impl Cut {
    /// The number up to which all is in the file before, if the block has this number.
    pub(super) fn last_before(&self, number: u64) -> u64 {
        number - u64::from(!self.lines.is_empty())
    }
}
