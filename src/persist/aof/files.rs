//! The files of an AOF, and the steps from one set of them to the next.
//!
//! Invariant: at any instant the manifest on the disk names files that are there, and that make all
//! data which was acknowledged. So a file is safe before it is named, and is removed when it is not
//! needed any more by what is named. A step that fails may have taken place on the disk: what it has
//! made is kept as history, under a number that is not given again. Source: Redis 8.0.6.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::manifest::{Manifest, manifest_name, temporary_incr_name, temporary_name};
use crate::persist::storage::{Storage, Stored, replace};

/// What becomes of the journal when its base is rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rewrite {
    /// It goes on in a file behind all others, which the manifest names beforehand.
    Within,
    /// It begins anew, in a file that gets its name together with the base: what was written before
    /// does not count any more, and was perhaps lost.
    Anew,
    /// There is none.
    BaseAlone,
}

/// The files of an AOF.
#[derive(Debug)]
pub struct AofFiles<S> {
    storage: S,
    directory: PathBuf,
    filename: Vec<u8>,
    manifest: Manifest,
    /// The manifest as it is on the disk.
    written: Vec<u8>,
}

impl<S: Storage> AofFiles<S> {
    /// The files that this manifest names; `written` is its text, empty where there is none.
    pub fn new(
        storage: S,
        (directory, filename): (PathBuf, Vec<u8>),
        manifest: Manifest,
        written: Vec<u8>,
    ) -> AofFiles<S> {
        AofFiles { storage, directory, filename, manifest, written }
    }

    /// What the manifest says.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The same, to be changed; what was changed counts when it has been written.
    pub fn manifest_mut(&mut self) -> &mut Manifest {
        &mut self.manifest
    }

    /// Where a file of this name is.
    pub fn path_of(&self, name: &[u8]) -> PathBuf {
        self.directory.join(std::ffi::OsStr::from_bytes(name))
    }

    /// Writes the manifest, if it has changed.
    pub async fn write_manifest(&mut self) -> Stored<()> {
        let text = self.manifest.to_bytes();
        if text != self.written {
            let path = self.path_of(&manifest_name(&self.filename));
            let beside = self.path_of(&temporary_name(&self.filename));
            // Until it is known to be safe, either may be there.
            self.written.clear();
            replace(&self.storage, &path, &beside, text.clone()).await?;
            self.written = text;
        }
        Ok(())
    }

    /// Has another manifest take the place of this one.
    async fn exchange(&mut self, next: Manifest) -> Stored<()> {
        let before = std::mem::replace(&mut self.manifest, next);
        let written = self.write_manifest().await;
        if written.is_err() {
            self.manifest = before;
        }
        written
    }

    /// Makes the file that the journal goes on in, behind the cut of a rewrite; its name.
    pub async fn add_incr(&mut self, rewrite: Rewrite) -> Stored<Vec<u8>> {
        let mut next = self.manifest.clone();
        let name = match rewrite {
            Rewrite::Within => next.next_incr(&self.filename, Some(0)).name.clone(),
            Rewrite::Anew | Rewrite::BaseAlone => temporary_incr_name(&self.filename),
        };
        let path = self.path_of(&name);
        if rewrite != Rewrite::Within {
            // One that is left of an attempt before may still be written to.
            let _ = self.storage.remove(&path).await;
        }
        let mut file = self.storage.create(&path).await?;
        self.storage.sync(&mut file).await?;
        self.storage.close(file).await?;
        match rewrite {
            Rewrite::Within => self.exchange(next).await?,
            Rewrite::Anew | Rewrite::BaseAlone => self.storage.sync_directory(&path).await?,
        }
        Ok(name)
    }

    /// Takes a whole file, a snapshot or commands, as the base of all that comes behind the cut of its
    /// rewrite; its name, and that of the file that has got one with it.
    pub async fn install(
        &mut self,
        beside: &Path,
        rewrite: Rewrite,
        is_rdb: bool,
    ) -> Stored<(Vec<u8>, Option<Vec<u8>>)> {
        let mut next = self.manifest.clone();
        let base = next.next_base(&self.filename, is_rdb).name.clone();
        let (kept, incr) = match rewrite {
            Rewrite::Within => (1, None),
            Rewrite::Anew => (1, Some(next.next_incr(&self.filename, Some(0)).name.clone())),
            Rewrite::BaseAlone => (0, None),
        };
        next.retire_incr(kept);
        let installed = async {
            let path = self.path_of(&base);
            self.storage.rename(beside, &path).await?;
            if let Some(incr) = &incr {
                let temporary = self.path_of(&temporary_incr_name(&self.filename));
                self.storage.rename(&temporary, &self.path_of(incr)).await?;
            }
            self.storage.sync_directory(&path).await?;
            self.exchange(next).await
        };
        if let Err(error) = installed.await {
            self.manifest.spoil(&self.filename, is_rdb, incr.is_some());
            return Err(error);
        }
        Ok((base, incr))
    }

    /// Removes the files that are not needed any more, and their names; which ones.
    pub async fn remove_history(&mut self) -> Stored<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        for info in std::mem::take(&mut self.manifest.history) {
            // One that stays is not named any more, and does no harm.
            let _ = self.storage.remove(&self.path_of(&info.name)).await;
            names.push(info.name);
        }
        self.write_manifest().await?;
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::persist::simulated::SimulatedDisk;

    const OLD_BASE: &str = "aof/a.1.base.rdb";
    const OLD_INCR: &str = "aof/a.1.incr.aof";
    const MANIFEST: &str = "aof/a.manifest";
    const BESIDE: &str = "temp";
    const NEW: &[u8] = b"all data at the cut";

    /// Operations of a simulated disk never wait.
    fn now<T>(future: impl Future<Output = T>) -> T {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("a simulated operation waited"),
        }
    }

    /// A disk with an AOF of a base and an incr file.
    fn disk(seed: u64) -> SimulatedDisk {
        let disk = SimulatedDisk::new(seed);
        let mut manifest = Manifest::default();
        manifest.next_base(b"a", true);
        manifest.next_incr(b"a", Some(0));
        disk.put(Path::new(MANIFEST), &manifest.to_bytes());
        disk.put(Path::new(OLD_BASE), b"base");
        disk.put(Path::new(OLD_INCR), b"incr");
        disk
    }

    fn files(disk: &SimulatedDisk) -> AofFiles<SimulatedDisk> {
        let text = disk.contents(Path::new(MANIFEST)).expect("a manifest");
        let manifest = Manifest::parse(&text).expect("a whole manifest");
        AofFiles::new(disk.clone(), (PathBuf::from("aof"), b"a".to_vec()), manifest, text)
    }

    /// Up to where a rewrite got.
    async fn rewritten(
        files: &mut AofFiles<SimulatedDisk>,
        disk: &SimulatedDisk,
        rewrite: Rewrite,
    ) -> Stored<()> {
        if rewrite != Rewrite::BaseAlone {
            files.add_incr(rewrite).await?;
        }
        let beside = Path::new(BESIDE);
        let mut base = disk.create(beside).await?;
        disk.write_at(&mut base, 0, NEW.to_vec()).await?;
        disk.sync(&mut base).await?;
        disk.close(base).await?;
        files.install(beside, rewrite, true).await?;
        files.remove_history().await.map(drop)
    }

    /// What the manifest names is there and belongs together. True if it is the new base.
    fn check(disk: &SimulatedDisk, rewrite: Rewrite) -> bool {
        let text = disk.contents(Path::new(MANIFEST)).expect("a manifest");
        let manifest = Manifest::parse(&text).expect("a whole manifest");
        let contents = |info: &super::super::manifest::FileInfo| {
            let path = Path::new("aof").join(String::from_utf8_lossy(&info.name).into_owned());
            disk.contents(&path).expect("what is named is there")
        };
        let base = contents(manifest.base.as_ref().expect("a base"));
        let incr: Vec<Vec<u8>> = manifest.incr.iter().map(contents).collect();
        if base == NEW {
            let expected = usize::from(rewrite != Rewrite::BaseAlone);
            assert!(incr.len() == expected && incr.iter().all(Vec::is_empty), "{manifest:?}");
            return true;
        }
        assert_eq!((&base[..], &incr[0][..]), (&b"base"[..], &b"incr"[..]));
        assert!(incr[1..].iter().all(Vec::is_empty), "{manifest:?}");
        false
    }

    #[test]
    fn a_crash_at_any_step_leaves_the_old_files_or_the_new_ones() {
        for rewrite in [Rewrite::Within, Rewrite::Anew, Rewrite::BaseAlone] {
            let (mut olds, mut news) = (0, 0);
            for (seed, step) in (0..30).flat_map(|seed| (0..40).map(move |step| (seed, step))) {
                let disk = disk(seed);
                disk.crash_at(step);
                let outcome = now(rewritten(&mut files(&disk), &disk, rewrite));
                let is_new = check(&disk.after_crash(), rewrite);
                assert!(outcome.is_err() || is_new, "seed {seed}, step {step}");
                *if is_new { &mut news } else { &mut olds } += 1;
            }
            assert!(olds > 0 && news > 0, "both happen: {olds} {news}");
        }
    }

    #[test]
    fn a_failure_at_any_step_leaves_files_that_can_be_rewritten() {
        for rewrite in [Rewrite::Within, Rewrite::Anew, Rewrite::BaseAlone] {
            for step in 0..40 {
                for seed in 0..5 {
                    let disk = disk(seed);
                    disk.fail_at(step);
                    let mut files = files(&disk);
                    let first = now(rewritten(&mut files, &disk, rewrite));
                    check(&disk, rewrite);
                    check(&disk.after_crash(), rewrite);
                    if first.is_err() {
                        now(rewritten(&mut files, &disk, rewrite)).expect("it fails once");
                    }
                    assert!(check(&disk, rewrite) && check(&disk.after_crash(), rewrite));
                    let kept = 2 + usize::from(rewrite != Rewrite::BaseAlone);
                    let names = disk.names();
                    assert!(first.is_ok() || names.len() == kept, "step {step}: {names:?}");
                }
            }
        }
    }
}
