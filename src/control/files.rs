//! Files of the control plane: the log, the configuration file, the ACL file.
//!
//! Invariant: a file that is replaced is whole at any instant: written beside, synced, renamed.

use std::io;
use std::path::{Path, PathBuf};

use super::runtime::{self, File};
use crate::acl::file::{self, FileUsers};
use crate::acl::{Defaults, Users};
use crate::base::sys;
use crate::config::{Config, rewrite};
use crate::persist::storage::{Storage, StorageError, Stored, replace};

/// Appends lines to the log file, or writes them to standard output.
pub(super) struct LogWriter {
    path: Option<PathBuf>,
}

impl LogWriter {
    pub(super) fn new(path: Option<PathBuf>) -> LogWriter {
        LogWriter { path }
    }

    /// Writes one line. A log that cannot be written is no reason to stop.
    pub(super) async fn write(&mut self, line: String) {
        let Some(path) = &self.path else {
            print!("{line}");
            return;
        };
        // Opened for each line, so that the file may be moved away and rotated.
        if let Ok(file) = File::append(path).await {
            let _ = file.write_all_at(line.into_bytes(), 0).await;
            let _ = file.close().await;
        }
    }
}

/// Writes the configuration into the file that it came from; comments and order stay.
pub(super) async fn rewrite_config<S: Storage>(
    storage: &S,
    path: &Path,
    (config, users, writes_defaults): (&Config, &Users, bool),
) -> Stored<()> {
    if path.as_os_str().is_empty() {
        let reason = io::Error::other("The server is running without a config file");
        return Err(StorageError::of(path, reason));
    }
    let old = match storage.read(path).await {
        Ok(old) => old,
        Err(error) if error.source.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    // Where there is an ACL file, users stand in that one alone.
    let written = users.iter().filter(|_| config.aclfile.is_empty());
    let lines: Vec<Vec<u8>> =
        written.map(|named| [&*named.name, b" ", &named.user.text()].concat()).collect();
    write_whole(storage, path, rewrite(&old, config, &lines, writes_defaults)).await
}

/// Writes the ACL file, as a whole.
pub(super) async fn save_users<S: Storage>(storage: &S, path: &Path, users: &Users) -> Stored<()> {
    write_whole(storage, path, file::write(users)).await
}

async fn write_whole<S: Storage>(storage: &S, path: &Path, contents: Vec<u8>) -> Stored<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.tmp", std::process::id()));
    replace(storage, path, Path::new(&beside), contents).await
}

/// The users in the ACL file at `path`; an error is what ACL LOAD answers.
pub(super) async fn load_users<S: Storage>(
    storage: &S,
    path: &Path,
    users: &Users,
    defaults: Defaults,
) -> Result<FileUsers, String> {
    let name = path.as_os_str().as_encoded_bytes();
    let text = storage.read(path).await.map_err(|error| {
        let reason = sys::reason(&error.source);
        format!("ERR Error loading ACLs, opening file '{}': {reason}", path.display())
    })?;
    let parsed = file::parse(&text, name, users.catalogue(), defaults);
    parsed.map_err(|report| format!("ERR {}", String::from_utf8_lossy(&report)))
}

/// Resident memory of the process in bytes. Source: proc(5), /proc/self/statm.
pub(super) async fn resident_memory() -> Option<u64> {
    let statm = read(Path::new("/proc/self/statm")).await.ok()?;
    let pages = std::str::from_utf8(&statm).ok()?.split_ascii_whitespace().nth(1)?;
    Some(pages.parse::<u64>().ok()? * sys::page_bytes())
}

async fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path).await?;
    let mut contents = Vec::new();
    loop {
        let at = contents.len() as u64;
        // Memory for a read counts against `maxmemory`: a short file takes little of it.
        let room = contents.len().clamp(READ_BYTES_MIN, READ_BYTES_MAX);
        let (result, buffer) = file.read_at(Vec::with_capacity(room), at).await;
        if result? == 0 {
            file.close().await?;
            return Ok(contents);
        }
        contents.extend_from_slice(&buffer);
    }
}

/// What one read of a file asks for.
const READ_BYTES_MIN: usize = 256;
const READ_BYTES_MAX: usize = 64 * 1024;

/// The files of this machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Files;

/// A file that is open for writing.
pub(super) struct OpenFile {
    file: File,
    path: PathBuf,
}

impl Storage for Files {
    type File = OpenFile;

    async fn create(&self, path: &Path) -> Stored<OpenFile> {
        let file = File::create(path).await.map_err(|error| StorageError::of(path, error))?;
        Ok(OpenFile { file, path: path.to_owned() })
    }

    async fn write_at(&self, file: &mut OpenFile, offset: u64, bytes: Vec<u8>) -> Stored<()> {
        let written = file.file.write_all_at(bytes, offset).await;
        written.map_err(|error| StorageError::at(&file.path, offset, error))
    }

    async fn sync(&self, file: &mut OpenFile) -> Stored<()> {
        file.file.sync_all().await.map_err(|error| StorageError::of(&file.path, error))
    }

    async fn close(&self, file: OpenFile) -> Stored<()> {
        file.file.close().await.map_err(|error| StorageError::of(&file.path, error))
    }

    async fn read(&self, path: &Path) -> Stored<Vec<u8>> {
        read(path).await.map_err(|error| StorageError::of(path, error))
    }

    async fn rename(&self, from: &Path, to: &Path) -> Stored<()> {
        let renamed = runtime::rename(from, to).await;
        renamed.map_err(|error| StorageError::of(from, error))
    }

    async fn remove(&self, path: &Path) -> Stored<()> {
        let removed = runtime::remove(path).await;
        removed.map_err(|error| StorageError::of(path, error))
    }

    async fn sync_directory(&self, path: &Path) -> Stored<()> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = parent.unwrap_or(Path::new("."));
        let synced = async {
            let directory = File::open(directory).await?;
            directory.sync_all().await?;
            directory.close().await
        };
        synced.await.map_err(|error| StorageError::of(directory, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acl::Catalogue;
    use crate::persist::simulated::SimulatedDisk;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    const OLD: &[u8] = b"# mine\nmaxmemory 1gb\nhz 50\n";

    fn rewritten(disk: &SimulatedDisk, path: &Path) -> Stored<()> {
        let config = Config::default();
        let users = Users::new(Box::leak(Box::new(Catalogue::new(vec![], vec![]))));
        let future = pin!(rewrite_config(disk, path, (&config, &users, false)));
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => panic!("a simulated operation waited"),
        }
    }

    #[test]
    fn a_crash_in_a_rewrite_leaves_a_whole_file() {
        let path = Path::new("/etc/ironring.conf");
        let whole = SimulatedDisk::new(0);
        whole.put(path, OLD);
        rewritten(&whole, path).expect("nothing fails");
        let new = whole.contents(path).expect("it was written");
        assert!(new.starts_with(b"# mine\n") && new != OLD);
        for seed in 0..20 {
            for step in 0..=whole.operations() {
                let disk = SimulatedDisk::new(seed);
                disk.put(path, OLD);
                disk.crash_at(step);
                let outcome = rewritten(&disk, path);
                let found = disk.after_crash().contents(path).expect("a file is there");
                assert!(found == OLD || found == new, "seed {seed}, crash at step {step}");
                assert!(outcome.is_err() || found == new, "seed {seed}: it was said to be safe");
            }
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_made() {
        let (disk, path) = (SimulatedDisk::new(1), Path::new("new.conf"));
        rewritten(&disk, path).expect("nothing fails");
        assert!(disk.after_crash().contents(path).is_some());
        assert!(rewritten(&disk, Path::new("")).is_err(), "no file was named at the start");
    }
}
