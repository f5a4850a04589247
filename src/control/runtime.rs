//! What the control thread runs on: tokio-uring, or plain tokio where io_uring is refused; and files on
//! both.
//!
//! Invariant: the only file that names tokio_uring, and the only one that knows which of the two it is.
//! On plain tokio, what may wait for a disk waits on a thread of tokio's pool.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

thread_local! {
    /// True on a thread that runs tokio-uring.
    static HAS_RING: Cell<bool> = const { Cell::new(false) };
}

/// Runs the control plane on this thread until `work` is done.
pub(super) fn run(has_ring: bool, work: impl Future<Output = ()>) {
    HAS_RING.set(has_ring);
    if has_ring {
        return tokio_uring::start(work);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.unwrap_or_else(|error| panic!("tokio cannot start: {error}"));
    tokio::task::LocalSet::new().block_on(&runtime, work);
}

/// Does what may wait for a disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// What a file is opened for.
#[derive(Clone, Copy)]
enum Purpose {
    Read,
    Create,
    CreateNew,
    Append,
}

/// A file that is open.
pub(super) enum File {
    Ring(tokio_uring::fs::File),
    Plain(Arc<std::fs::File>),
}

impl File {
    /// Opens a file to be read.
    pub(super) async fn open(path: impl AsRef<Path>) -> io::Result<File> {
        File::open_for(path.as_ref(), Purpose::Read).await
    }

    /// An empty file, whatever was there before, to be written.
    pub(super) async fn create(path: impl AsRef<Path>) -> io::Result<File> {
        File::open_for(path.as_ref(), Purpose::Create).await
    }

    /// A file that was not there before, to be written and read.
    pub(super) async fn create_new(path: impl AsRef<Path>) -> io::Result<File> {
        File::open_for(path.as_ref(), Purpose::CreateNew).await
    }

    /// Opens or makes a file that is written at its end, whatever the place of a write.
    pub(super) async fn append(path: impl AsRef<Path>) -> io::Result<File> {
        File::open_for(path.as_ref(), Purpose::Append).await
    }

    /// A file that was opened by other means.
    pub(super) fn from_std(file: std::fs::File) -> File {
        if HAS_RING.get() {
            File::Ring(tokio_uring::fs::File::from_std(file))
        } else {
            File::Plain(Arc::new(file))
        }
    }

    async fn open_for(path: &Path, purpose: Purpose) -> io::Result<File> {
        if HAS_RING.get() {
            let mut options = tokio_uring::fs::OpenOptions::new();
            let options = match purpose {
                Purpose::Read => options.read(true),
                Purpose::Create => options.write(true).create(true).truncate(true),
                Purpose::CreateNew => options.read(true).write(true).create_new(true),
                Purpose::Append => options.append(true).create(true),
            };
            return options.open(path).await.map(File::Ring);
        }
        let mut options = std::fs::OpenOptions::new();
        match purpose {
            Purpose::Read => options.read(true),
            Purpose::Create => options.write(true).create(true).truncate(true),
            Purpose::CreateNew => options.read(true).write(true).create_new(true),
            Purpose::Append => options.append(true).create(true),
        };
        let path = path.to_owned();
        blocking(move || options.open(path)).await.map(|file| File::Plain(Arc::new(file)))
    }

    /// Reads into the spare room of `buffer`, which comes back with what was read; 0 at the end.
    pub(super) async fn read_at(&self, buffer: Vec<u8>, at: u64) -> (io::Result<usize>, Vec<u8>) {
        match self {
            File::Ring(file) => file.read_at(buffer, at).await,
            File::Plain(file) => {
                let (file, room) = (file.clone(), buffer.capacity());
                let read = blocking(move || {
                    let mut buffer = buffer;
                    buffer.resize(room, 0);
                    let count = file.read_at(&mut buffer, at)?;
                    buffer.truncate(count);
                    Ok((count, buffer))
                });
                match read.await {
                    Ok((count, buffer)) => (Ok(count), buffer),
                    Err(error) => (Err(error), Vec::with_capacity(room)),
                }
            }
        }
    }

    /// Writes all of `bytes`.
    pub(super) async fn write_all_at(&self, bytes: Vec<u8>, at: u64) -> io::Result<()> {
        match self {
            File::Ring(file) => file.write_all_at(bytes, at).await.0,
            File::Plain(file) => {
                let file = file.clone();
                blocking(move || file.write_all_at(&bytes, at)).await
            }
        }
    }

    /// Returns when all that was written would survive a crash.
    pub(super) async fn sync_all(&self) -> io::Result<()> {
        match self {
            File::Ring(file) => file.sync_all().await,
            File::Plain(file) => {
                let file = file.clone();
                blocking(move || file.sync_all()).await
            }
        }
    }

    /// The same for what the file holds, without what only its owner or its times are.
    pub(super) async fn sync_data(&self) -> io::Result<()> {
        match self {
            File::Ring(file) => file.sync_data().await,
            File::Plain(file) => {
                let file = file.clone();
                blocking(move || file.sync_data()).await
            }
        }
    }

    /// Closes the file.
    pub(super) async fn close(self) -> io::Result<()> {
        match self {
            File::Ring(file) => file.close().await,
            File::Plain(file) => {
                blocking(move || {
                    drop(file);
                    Ok(())
                })
                .await
            }
        }
    }
}

/// Gives a file another name, in place of the file that may have it.
pub(super) async fn rename(from: &Path, to: &Path) -> io::Result<()> {
    if HAS_RING.get() {
        return tokio_uring::fs::rename(from, to).await;
    }
    let (from, to) = (from.to_owned(), to.to_owned());
    blocking(move || std::fs::rename(from, to)).await
}

/// Removes a file.
pub(super) async fn remove(path: &Path) -> io::Result<()> {
    if HAS_RING.get() {
        return tokio_uring::fs::remove_file(path).await;
    }
    let path = path.to_owned();
    blocking(move || std::fs::remove_file(path)).await
}
