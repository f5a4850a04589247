//! Simulated files as rings see them: writes that take part, fail and come late, syncs that fail.
//!
//! Invariant: what a completed sync covered survives every crash; of what was written since the last
//! one, a crash keeps any part. A sync linked to a write begins when that has written all.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::base::rng::Rng;
use crate::ring::{Fd, Token};

/// How likely each fault is, in thousandths, and what a power cut leaves.
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
    /// Of what was written behind the end of a file a power cut keeps a first part, as a file system
    /// does that journals the lengths of files; else any part of each write.
    pub keeps_order: bool,
    /// Nothing comes to its end.
    pub stalls: bool,
}

/// One file.
#[derive(Debug, Default)]
struct File {
    contents: Vec<u8>,
    synced: Vec<u8>,
    /// What was written since the last sync, in order.
    unsynced: Vec<(usize, Bytes)>,
}

/// An operation under way.
#[derive(Debug)]
struct Transfer {
    core: usize,
    fd: Fd,
    token: Token,
    /// None for a sync.
    write: Option<(u64, Bytes)>,
    /// The sync that follows.
    linked: Option<Token>,
    expects_link: bool,
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
        let file =
            File { contents: contents.into(), synced: contents.into(), unsynced: Vec::new() };
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
        let mut contents = file.synced.clone();
        for (offset, bytes) in &file.unsynced {
            if self.faults.keeps_order && *offset > contents.len() {
                break;
            }
            let kept = match rng.below(3) {
                0 => 0,
                1 => bytes.len(),
                _ => rng.below(bytes.len() as u64 + 1) as usize,
            };
            write_at(&mut contents, *offset, &bytes[..kept]);
        }
        Some(contents)
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
        linked: bool,
    ) {
        assert!(!bytes.is_empty(), "an empty write");
        let write = Some((offset, bytes));
        let transfer = Transfer { core, fd, token, write, linked: None, expects_link: linked };
        self.under_way.push(transfer);
    }

    pub(super) fn sync(&mut self, core: usize, fd: Fd, token: Token) {
        let last = self.under_way.last_mut().filter(|one| one.expects_link);
        if let Some(write) = last {
            assert_eq!((write.core, write.fd), (core, fd), "a link reaches over to another file");
            (write.linked, write.expects_link) = (Some(token), false);
            return;
        }
        let sync = Transfer { core, fd, token, write: None, linked: None, expects_link: false };
        self.under_way.push(sync);
    }

    /// Lets one operation that is under way come to its end, which one by chance.
    pub(super) fn step(&mut self, rng: &mut Rng) -> Vec<Done> {
        let at = rng.below(self.under_way.len() as u64) as usize;
        let Transfer { core, fd, token, write, linked, .. } = self.under_way.remove(at);
        let faults = self.faults;
        let mut happens = |thousandths: u64| rng.below(1000) < thousandths;
        let file = self.files.get_mut(&fd).expect("an operation on a file that is not open");
        let Some((offset, bytes)) = write else {
            if happens(faults.failed_sync) {
                // What was to be synced may be gone, and nobody will hear of it again.
                file.unsynced.clear();
                return vec![(core, token, -libc::EIO)];
            }
            file.synced.clone_from(&file.contents);
            file.unsynced.clear();
            return vec![(core, token, 0)];
        };
        let mut count = bytes.len();
        let mut result = None;
        if happens(faults.interrupted) {
            (count, result) = (0, Some(-libc::EINTR));
        } else if happens(faults.no_room) {
            (count, result) = (0, Some(-libc::ENOSPC));
        } else if happens(faults.short_write) {
            count = 1 + rng.below(bytes.len() as u64) as usize;
        }
        let written = bytes.slice(..count);
        write_at(&mut file.contents, offset as usize, &written);
        file.unsynced.push((offset as usize, written));
        let mut done = vec![(core, token, result.unwrap_or(count as i32))];
        if let Some(sync) = linked {
            if count == bytes.len() {
                self.sync(core, fd, sync);
            } else {
                done.push((core, sync, -libc::ECANCELED));
            }
        }
        done
    }
}

fn write_at(contents: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let end = offset + bytes.len();
    contents.resize(contents.len().max(end), 0);
    contents[offset..end].copy_from_slice(bytes);
}
