//! A disk that tears writes, fails operations and forgets what was not synced.
//!
//! Invariant: of what a crash finds unsynced, any part may survive: of a write none of its sectors,
//! some first ones, or all, each write for itself; of the changes to names the first ones, in their
//! order, as a journaling file system keeps them. All chance comes from the seed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::{Ready, ready};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::storage::{Storage, StorageError, Stored};
use crate::base::rng::Rng;

/// What a disk writes in one piece.
const SECTOR_BYTES: usize = 512;

/// The contents of a file, whatever its names.
#[derive(Clone, Debug, Default)]
struct Contents {
    seen: Vec<u8>,
    synced: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Point(PathBuf, usize),
    Drop(PathBuf),
}

#[derive(Debug)]
struct Disk {
    files: Vec<Contents>,
    names: BTreeMap<PathBuf, usize>,
    synced_names: BTreeMap<PathBuf, usize>,
    unsynced_names: Vec<NameChange>,
    rng: Rng,
    operations: u64,
    fails_at: Option<u64>,
    crashes_at: Option<u64>,
}

/// A disk and what is on it; clones are the same disk.
#[derive(Clone, Debug)]
pub struct SimulatedDisk(Rc<RefCell<Disk>>);

/// A file of a simulated disk.
#[derive(Debug)]
pub struct SimulatedFile {
    path: PathBuf,
    number: usize,
}

impl SimulatedDisk {
    /// An empty disk; the seed decides what survives a crash.
    pub fn new(seed: u64) -> SimulatedDisk {
        SimulatedDisk(Rc::new(RefCell::new(Disk {
            files: Vec::new(),
            names: BTreeMap::new(),
            synced_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            rng: Rng::new(seed),
            operations: 0,
            fails_at: None,
            crashes_at: None,
        })))
    }

    /// Puts a file on the disk, safe from any crash.
    pub fn put(&self, path: &Path, contents: &[u8]) {
        let mut disk = self.0.borrow_mut();
        let number = disk.files.len();
        let (seen, synced) = (contents.to_vec(), contents.to_vec());
        disk.files.push(Contents { seen, synced, unsynced: Vec::new() });
        disk.names.insert(path.to_owned(), number);
        disk.synced_names.insert(path.to_owned(), number);
    }

    /// Operations so far.
    pub fn operations(&self) -> u64 {
        self.0.borrow().operations
    }

    /// The operation after so many others fails; a write may have been done in part.
    pub fn fail_at(&self, operation: u64) {
        self.0.borrow_mut().fails_at = Some(operation);
    }

    /// The machine stops in the operation after so many others: it fails, and so does all behind it.
    pub fn crash_at(&self, operation: u64) {
        self.0.borrow_mut().crashes_at = Some(operation);
    }

    /// What is on the disk when the machine has started again.
    #[must_use]
    pub fn after_crash(&self) -> SimulatedDisk {
        let mut disk = self.0.borrow_mut();
        let Disk { files, synced_names, unsynced_names, rng, .. } = &mut *disk;
        let again = SimulatedDisk::new(rng.next_u64());
        let mut names = synced_names.clone();
        let kept = rng.below(unsynced_names.len() as u64 + 1) as usize;
        unsynced_names[..kept].iter().for_each(|change| change.apply(&mut names));
        for (path, number) in names {
            again.put(&path, &survived(&files[number], rng));
        }
        again
    }

    /// What a file holds, as whoever reads it now would see it; None if there is none.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let disk = self.0.borrow();
        disk.names.get(path).map(|number| disk.files[*number].seen.clone())
    }

    /// The names on the disk.
    pub fn names(&self) -> Vec<PathBuf> {
        self.0.borrow().names.keys().cloned().collect()
    }
}

/// What a crash leaves of a file.
fn survived(file: &Contents, rng: &mut Rng) -> Vec<u8> {
    let mut contents = file.synced.clone();
    for (offset, bytes) in &file.unsynced {
        let sectors = bytes.len().div_ceil(SECTOR_BYTES);
        let kept = rng.below(sectors as u64 + 1) as usize * SECTOR_BYTES;
        overwrite(&mut contents, *offset, &bytes[..kept.min(bytes.len())]);
    }
    contents
}

fn overwrite(contents: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let end = offset + bytes.len();
    if contents.len() < end {
        contents.resize(end, 0);
    }
    contents[offset..end].copy_from_slice(bytes);
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            NameChange::Point(path, number) => {
                names.insert(path.clone(), *number);
            }
            NameChange::Drop(path) => {
                names.remove(path);
            }
        }
    }
}

impl Disk {
    /// One more operation; an error if it is one that fails.
    fn step(&mut self) -> io::Result<()> {
        let operation = self.operations;
        self.operations += 1;
        if self.crashes_at.is_some_and(|at| operation >= at) {
            return Err(io::Error::other("the machine has stopped"));
        }
        if self.fails_at == Some(operation) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        Ok(())
    }

    fn change_names(&mut self, changes: impl IntoIterator<Item = NameChange>) {
        for change in changes {
            change.apply(&mut self.names);
            self.unsynced_names.push(change);
        }
    }

    fn create(&mut self, path: &Path) -> io::Result<usize> {
        self.step()?;
        let number = self.files.len();
        self.files.push(Contents::default());
        self.change_names([NameChange::Point(path.to_owned(), number)]);
        Ok(number)
    }

    fn write(&mut self, number: usize, offset: usize, mut bytes: Vec<u8>) -> io::Result<()> {
        let outcome = self.step();
        if outcome.is_err() {
            bytes.truncate(self.rng.below(bytes.len() as u64 + 1) as usize);
        }
        let file = &mut self.files[number];
        overwrite(&mut file.seen, offset, &bytes);
        file.unsynced.push((offset, bytes));
        outcome
    }

    fn sync(&mut self, number: usize) -> io::Result<()> {
        self.step()?;
        let file = &mut self.files[number];
        file.synced.clone_from(&file.seen);
        file.unsynced.clear();
        Ok(())
    }

    fn number_of(&self, path: &Path) -> io::Result<usize> {
        let found = self.names.get(path).copied();
        found.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))
    }

    fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        self.step()?;
        Ok(self.files[self.number_of(path)?].seen.clone())
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        let number = self.number_of(from)?;
        // A rename is one change of the directory: a crash keeps both sides of it or none.
        self.names.remove(from);
        self.change_names([NameChange::Point(to.to_owned(), number)]);
        self.unsynced_names.push(NameChange::Drop(from.to_owned()));
        Ok(())
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.step()?;
        self.number_of(path)?;
        self.change_names([NameChange::Drop(path.to_owned())]);
        Ok(())
    }

    fn sync_names(&mut self) -> io::Result<()> {
        self.step()?;
        self.synced_names.clone_from(&self.names);
        self.unsynced_names.clear();
        Ok(())
    }
}

impl SimulatedDisk {
    fn run<T>(
        &self,
        path: &Path,
        offset: Option<u64>,
        operation: impl FnOnce(&mut Disk) -> io::Result<T>,
    ) -> Ready<Stored<T>> {
        let outcome = operation(&mut self.0.borrow_mut());
        ready(outcome.map_err(|source| StorageError { path: path.to_owned(), offset, source }))
    }
}

impl Storage for SimulatedDisk {
    type File = SimulatedFile;

    async fn create(&self, path: &Path) -> Stored<SimulatedFile> {
        let number = self.run(path, None, |disk| disk.create(path)).await?;
        Ok(SimulatedFile { path: path.to_owned(), number })
    }

    async fn write_at(&self, file: &mut SimulatedFile, offset: u64, bytes: Vec<u8>) -> Stored<()> {
        let at = offset as usize;
        self.run(&file.path, Some(offset), |disk| disk.write(file.number, at, bytes)).await
    }

    async fn sync(&self, file: &mut SimulatedFile) -> Stored<()> {
        self.run(&file.path, None, |disk| disk.sync(file.number)).await
    }

    async fn close(&self, file: SimulatedFile) -> Stored<()> {
        self.run(&file.path, None, Disk::step).await
    }

    async fn read(&self, path: &Path) -> Stored<Vec<u8>> {
        self.run(path, Some(0), |disk| disk.read(path)).await
    }

    async fn rename(&self, from: &Path, to: &Path) -> Stored<()> {
        self.run(from, None, |disk| disk.rename(from, to)).await
    }

    async fn remove(&self, path: &Path) -> Stored<()> {
        self.run(path, None, |disk| disk.remove(path)).await
    }

    async fn sync_directory(&self, path: &Path) -> Stored<()> {
        self.run(path, None, Disk::sync_names).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::storage::replace;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    /// Operations of this disk never wait.
    fn now<T>(future: impl Future<Output = T>) -> T {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("a simulated operation waited"),
        }
    }

    const SEEDS: u64 = 50;
    const PATH: &str = "/data/file";

    fn old_and_new() -> (Vec<u8>, Vec<u8>) {
        (vec![b'o'; 3 * SECTOR_BYTES + 7], vec![b'n'; 5 * SECTOR_BYTES + 1])
    }

    fn disk_with_old(seed: u64) -> SimulatedDisk {
        let disk = SimulatedDisk::new(seed);
        disk.put(Path::new(PATH), &old_and_new().0);
        disk
    }

    fn replaced(disk: &SimulatedDisk) -> Stored<()> {
        now(replace(disk, Path::new(PATH), Path::new("/data/file.tmp"), old_and_new().1))
    }

    fn contents(disk: &SimulatedDisk) -> Vec<u8> {
        disk.contents(Path::new(PATH)).expect("the file is there")
    }

    #[test]
    fn a_crash_at_any_step_leaves_the_old_file_or_the_new_one() {
        let (old, new) = old_and_new();
        let (mut olds, mut news) = (0, 0);
        for seed in 0..SEEDS {
            for step in 0.. {
                let disk = disk_with_old(seed);
                disk.crash_at(step);
                let outcome = replaced(&disk);
                let found = contents(&disk.after_crash());
                assert!(found == old || found == new, "seed {seed}, crash at step {step}");
                if outcome.is_ok() {
                    assert_eq!(found, new, "seed {seed}: it was said to be safe");
                    break;
                }
                *if found == old { &mut olds } else { &mut news } += 1;
            }
        }
        assert!(olds > 0 && news > 0, "both happen: {olds} {news}");
    }

    #[test]
    fn a_failure_at_any_step_is_told_and_leaves_no_half() {
        let (old, new) = old_and_new();
        for step in 0.. {
            let disk = disk_with_old(step);
            disk.fail_at(step);
            let outcome = replaced(&disk);
            let found = contents(&disk);
            assert!(found == old || found == new, "failure at step {step}");
            assert_eq!(disk.names(), [Path::new(PATH)], "nothing is left beside it");
            match outcome {
                Ok(()) => break,
                Err(error) => assert_eq!(error.source.raw_os_error(), Some(libc::EIO)),
            }
        }
    }

    /// The test of the test: a file that is renamed unsynced is found torn.
    #[test]
    fn without_a_sync_a_crash_tears_the_file() {
        let (old, new) = old_and_new();
        let torn = (0..SEEDS).any(|seed| {
            let disk = disk_with_old(seed);
            let beside = Path::new("/data/file.tmp");
            now(async {
                let mut file = disk.create(beside).await?;
                disk.write_at(&mut file, 0, new.clone()).await?;
                disk.close(file).await?;
                disk.rename(beside, Path::new(PATH)).await?;
                disk.sync_directory(beside).await
            })
            .expect("nothing fails");
            let found = contents(&disk.after_crash());
            found != old && found != new
        });
        assert!(torn);
    }
}
