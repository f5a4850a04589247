//! Files as a seam: what the control plane does to them, so that a simulated disk can stand in.
//!
//! Invariant: the trait promises what POSIX does and no more. What was written is safe after `sync` of
//! the file; a new, renamed or removed name is safe after `sync_directory`; until then a crash may keep
//! any part of it. Source: fsync(2), rename(2).

use std::fmt;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};

/// What went wrong, and where.
#[derive(Debug)]
pub struct StorageError {
    /// The file or directory.
    pub path: PathBuf,
    /// The byte at which a write or read began, if it was one.
    pub offset: Option<u64>,
    /// Why, as the system says it.
    pub source: io::Error,
}

impl StorageError {
    /// An error about a whole file.
    pub fn of(path: &Path, source: io::Error) -> StorageError {
        StorageError { path: path.to_owned(), offset: None, source }
    }

    /// An error at a byte of a file.
    pub fn at(path: &Path, offset: u64, source: io::Error) -> StorageError {
        StorageError { path: path.to_owned(), offset: Some(offset), source }
    }
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.offset {
            None => write!(f, "{}: {}", self.path.display(), self.source),
            Some(offset) => write!(f, "{} at byte {offset}: {}", self.path.display(), self.source),
        }
    }
}

impl std::error::Error for StorageError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// What an operation leads to.
pub type Stored<T> = Result<T, StorageError>;

/// Files of one process.
pub trait Storage {
    /// A file that is open for writing.
    type File;

    /// An empty file of this name, whatever was there before.
    fn create(&self, path: &Path) -> impl Future<Output = Stored<Self::File>>;

    /// Writes all of `bytes` from byte `offset` on.
    fn write_at(
        &self,
        file: &mut Self::File,
        offset: u64,
        bytes: Vec<u8>,
    ) -> impl Future<Output = Stored<()>>;

    /// Returns when all that was written to the file would survive a crash.
    fn sync(&self, file: &mut Self::File) -> impl Future<Output = Stored<()>>;

    /// Closes a file; says nothing of what becomes of its contents.
    fn close(&self, file: Self::File) -> impl Future<Output = Stored<()>>;

    /// The whole contents of a file.
    fn read(&self, path: &Path) -> impl Future<Output = Stored<Vec<u8>>>;

    /// Gives a file another name, in one step, in place of the file that may have it.
    fn rename(&self, from: &Path, to: &Path) -> impl Future<Output = Stored<()>>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> impl Future<Output = Stored<()>>;

    /// Returns when the names in the directory of `path` would survive a crash.
    fn sync_directory(&self, path: &Path) -> impl Future<Output = Stored<()>>;
}

/// Replaces a file: whoever reads it meanwhile, or after a crash, finds the old contents or the new
/// ones, never a part. `beside` is an unused name in the same directory.
pub async fn replace<S: Storage>(
    storage: &S,
    path: &Path,
    beside: &Path,
    contents: Vec<u8>,
) -> Stored<()> {
    let written = async {
        let mut file = storage.create(beside).await?;
        storage.write_at(&mut file, 0, contents).await?;
        storage.sync(&mut file).await?;
        storage.close(file).await?;
        storage.rename(beside, path).await
    };
    if let Err(error) = written.await {
        // The first error is the one to tell of.
        let _ = storage.remove(beside).await;
        return Err(error);
    }
    storage.sync_directory(path).await
}
