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
        // One that is left of an attempt before may still be written to.
        let _ = self.storage.remove(&path).await;
        let mut file = self.storage.create(&path).await?;
        self.storage.sync(&mut file).await?;
        self.storage.close(file).await?;
        match rewrite {
            Rewrite::Within => self.exchange(next).await?,
            Rewrite::Anew | Rewrite::BaseAlone => self.storage.sync_directory(&path).await?,
        }
        Ok(name)
    }

    /// Takes a whole file as the base of all that comes behind the cut of its rewrite; its name, and
    /// that of the file that has got one with it.
    pub async fn install(
        &mut self,
        beside: &Path,
        rewrite: Rewrite,
    ) -> Stored<(Vec<u8>, Option<Vec<u8>>)> {
        let mut next = self.manifest.clone();
        let base = next.next_base(&self.filename, true).name.clone();
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
            self.manifest.spoil(&self.filename, incr.is_some());
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
