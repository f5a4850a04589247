//! Simulated files as rings see them: writes that take part, fail and come late, syncs that fail.
//!
//! Invariant: what a completed sync covered survives every crash: the writes that had ended when it
//! began. Of the sectors that were written since, a crash keeps each as it was then or after any later
//! write. A durable write has two steps, and a sync of its own, which covers nothing but it.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;

use crate::base::rng::Rng;
use crate::ring::{Fd, Token};

/// How likely each fault is, in thousandths, and what is wrong always.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskFaults {
    /// A write takes fewer bytes than it was given.
    pub short_write: u64,
    /// A write is interrupted.
    pub interrupted: u64,
    /// A write finds no room.
    pub no_room: u64,
    /// A sync fails.
    pub failed_sync: u64,
    /// A sync says that all is well, and has done nothing: for tests of tests.
    pub forgets: bool,
    /// Nothing comes to its end.
    pub stalls: bool,
}

/// One file.
#[derive(Debug, Default)]
struct File {
    contents: Vec<u8>,
    synced: Vec<u8>,
    /// What was written and not synced since: the place of each in the order of all writes, and where.
    unsynced: BTreeMap<usize, (usize, Bytes)>,
    /// All writes.
    writes: usize,
}

impl File {
    /// These writes are not waited for any more: they are on the disk, or lost.
    fn settle(&mut self, writes: Range<usize>, are_kept: bool) {
        for at in writes {
            if let Some((offset, bytes)) = self.unsynced.remove(&at)
                && are_kept
            {
                write_at(&mut self.synced, offset, &bytes);
            }
        }
    }

    /// The sector that begins at this byte, as it was after so many writes since the last sync.
    fn sector_after(&self, writes: usize, begin: usize, sector: &mut [u8]) {
        let end = begin + sector.len();
        let kept = &self.synced[begin.min(self.synced.len())..end.min(self.synced.len())];
        sector.fill(0);
        sector[..kept.len()].copy_from_slice(kept);
        for (offset, bytes) in self.unsynced.values().take(writes) {
            let (from, to) = (begin.max(*offset), end.min(offset + bytes.len()));
            if from < to {
                sector[from - begin..to - begin]
                    .copy_from_slice(&bytes[from - offset..to - offset]);
            }
        }
    }
}

/// An operation under way.
#[derive(Debug)]
struct Transfer {
    core: usize,
    fd: Fd,
    token: Token,
    step: Step,
}

/// What an operation does next.
#[derive(Debug)]
enum Step {
    /// Writes these bytes there, and if it is durable syncs them then.
    Write { offset: u64, bytes: Bytes, durable: bool },
    /// Syncs these of all writes, and has this result.
    Sync { covers: Range<usize>, result: i32 },
    /// Changes nothing that can be relied on.
    WriteBack,
}

/// A completion of a disk operation: the core, the token, the result.
pub(super) type Done = (usize, Token, i32);

/// All files of a simulated machine.
#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) faults: DiskFaults,
    files: BTreeMap<Fd, File>,
    under_way: Vec<Transfer>,
}

impl Disk {
    /// An open file with these contents, which are synced.
    pub(super) fn open(&mut self, fd: Fd, contents: &[u8]) {
        let file = File { contents: contents.into(), synced: contents.into(), ..File::default() };
        self.files.insert(fd, file);
    }

    /// True if this descriptor is that of a file.
    pub(super) fn has(&self, fd: Fd) -> bool {
        self.files.contains_key(&fd)
    }

    /// What the file holds for whoever reads it on the same machine.
    pub(super) fn contents(&self, fd: Fd) -> Option<Vec<u8>> {
        Some(self.files.get(&fd)?.contents.clone())
    }

    /// What a power cut now might leave of it.
    pub(super) fn after_power_cut(&self, fd: Fd, rng: &mut Rng) -> Option<Vec<u8>> {
        let file = self.files.get(&fd)?;
        let writes = &file.unsynced;
        let Some(first) = writes.values().map(|(offset, _)| *offset).min() else {
            return Some(file.synced.clone());
        };
        let mut left = file.synced.clone();
        left.resize(file.contents.len(), 0);
        for begin in (first - first % SECTOR_BYTES..left.len()).step_by(SECTOR_BYTES) {
            // Most are as they were first or last: that they are from between is seldom.
            let kept = match rng.below(8) {
                0..3 => 0,
                3..6 => writes.len(),
                _ => rng.below(writes.len() as u64 + 1) as usize,
            };
            let end = left.len().min(begin + SECTOR_BYTES);
            file.sector_after(kept, begin, &mut left[begin..end]);
        }
        // The length of a file is written as late as what stands at its end.
        let len = file.synced.len() as u64;
        left.truncate((len + rng.below(left.len() as u64 - len + 1)) as usize);
        Some(left)
    }

    /// True if an operation may complete.
    pub(super) fn is_busy(&self) -> bool {
        !self.under_way.is_empty() && !self.faults.stalls
    }

    pub(super) fn write(
        &mut self,
        core: usize,
        (fd, token): (Fd, Token),
        (offset, bytes): (u64, Bytes),
        durable: bool,
    ) {
        assert!(!bytes.is_empty(), "an empty write");
        self.under_way.push(Transfer {
            core,
            fd,
            token,
            step: Step::Write { offset, bytes, durable },
        });
    }

    pub(super) fn sync(&mut self, core: usize, fd: Fd, token: Token) {
        let file = self.files.get(&fd).expect("a sync of a file that is not open");
        let step = Step::Sync { covers: 0..file.writes, result: 0 };
        self.under_way.push(Transfer { core, fd, token, step });
    }

    pub(super) fn write_back(&mut self, core: usize, fd: Fd, token: Token) {
        self.under_way.push(Transfer { core, fd, token, step: Step::WriteBack });
    }

    /// Lets one operation that is under way get on, which one by chance; what became of it, if it ends.
    pub(super) fn step(&mut self, rng: &mut Rng) -> Option<Done> {
        let at = rng.below(self.under_way.len() as u64) as usize;
        let Transfer { core, fd, token, step } = self.under_way.remove(at);
        let faults = self.faults;
        let mut happens = |thousandths: u64| rng.below(1000) < thousandths;
        let file = self.files.get_mut(&fd).expect("an operation on a file that is not open");
        let (offset, bytes, durable) = match step {
            Step::Write { offset, bytes, durable } => (offset, bytes, durable),
            Step::WriteBack => return Some((core, token, 0)),
            Step::Sync { covers, result } => {
                if happens(faults.failed_sync) {
                    // What was to be synced may be gone, and nobody will hear of it again.
                    file.settle(covers, false);
                    let error = [libc::EIO, libc::ENOSPC][rng.below(2) as usize];
                    return Some((core, token, -error));
                }
                if !faults.forgets {
                    file.settle(covers, true);
                }
                return Some((core, token, result));
            }
        };
        if happens(faults.interrupted) {
            return Some((core, token, -libc::EINTR));
        }
        if happens(faults.no_room) {
            return Some((core, token, -libc::ENOSPC));
        }
        let mut count = bytes.len();
        if happens(faults.short_write) {
            // As in the page cache it ends where a sector does.
            let short = 1 + rng.below(bytes.len() as u64) as usize;
            let end = (offset as usize + short).next_multiple_of(SECTOR_BYTES);
            count = count.min(end - offset as usize);
        }
        let (written, result) = (bytes.slice(..count), count as i32);
        write_at(&mut file.contents, offset as usize, &written);
        let number = file.writes;
        file.unsynced.insert(number, (offset as usize, written));
        file.writes += 1;
        if !durable {
            return Some((core, token, result));
        }
        let step = Step::Sync { covers: number..number + 1, result };
        self.under_way.push(Transfer { core, fd, token, step });
        None
    }
}

/// What a disk writes in one piece.
const SECTOR_BYTES: usize = 512;

fn write_at(contents: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let end = offset + bytes.len();
    contents.resize(contents.len().max(end), 0);
    contents[offset..end].copy_from_slice(bytes);
}
