//! The directory of an AOF: its manifest, its files, and how it begins.
//!
//! Invariant: the manifest names a file before anything of it counts, and what it names is safe.
//! Where there are files, nothing begins anew over them. Source: Redis 8.0.6.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::IntoRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::super::files::Files;
use super::{Done, NotLoaded, broken};
use crate::base::crc::crc64;
use crate::base::sys::reason;
use crate::observe::log;
use crate::observe::server::REDIS_VERSION;
use crate::persist::aof::block::{JournalFile, Opened};
use crate::persist::aof::files::AofFiles;
use crate::persist::aof::manifest::{Manifest, manifest_name};
use crate::persist::load::AofPlace;
use crate::persist::rdb::VERSION_MIN;
use crate::persist::rdb::file::{Checksum, magic, preamble};
use crate::persist::storage::{Storage, StorageError};

/// The files of an AOF, as it is loaded.
pub(super) struct Directory<'a> {
    pub(super) place: &'a AofPlace,
    pub(super) files: AofFiles<Files>,
}

impl<'a> Directory<'a> {
    /// Reads the manifest. An empty one is what there is without a file.
    pub(super) fn open(place: &'a AofPlace) -> Done<Directory<'a>> {
        Ok(Directory { place, files: read_files(place).map_err(broken)? })
    }

    pub(super) fn manifest(&self) -> &Manifest {
        self.files.manifest()
    }

    /// Without a manifest that names files there must be none: nobody could say in which order they
    /// belong.
    pub(super) fn refuse_orphans(&self) -> Done<()> {
        let Ok(entries) = fs::read_dir(&self.place.directory) else { return Ok(()) };
        let orphan = entries.flatten().map(|entry| entry.file_name()).find(|name| {
            let rest = name.as_bytes().strip_prefix(&*self.place.filename);
            rest.is_some_and(|rest| rest.ends_with(b".aof") || rest.ends_with(b".rdb"))
        });
        let Some(orphan) = orphan else { return Ok(()) };
        let manifest = manifest_name(&self.place.filename);
        Err(broken(format!(
            "The AOF file {} is there, but the manifest {} that has to name it is missing or empty. Restore the manifest, or move the files of {} away to start without their data. Exiting.",
            orphan.display(),
            String::from_utf8_lossy(&manifest),
            self.place.directory.display()
        )))
    }

    /// Takes up the single file of servers before Redis 7, which lies beside the directory.
    pub(super) async fn adopt_old_file(&mut self) -> Done<()> {
        let old = name_of(&self.place.filename);
        let inside = self.path_of(&self.place.filename);
        // A crash may have come between the two steps.
        let manifest = self.manifest();
        let is_begun = manifest.incr.is_empty()
            && manifest.base.as_ref().is_some_and(|base| base.name == self.place.filename)
            && !inside.exists();
        if !old.exists() || !self.place.opens || !(manifest.is_empty() || is_begun) {
            return Ok(());
        }
        self.make()?;
        self.files.manifest_mut().adopt(&self.place.filename);
        self.write_manifest().await?;
        let (file, directory) = (old.display(), self.place.directory.display());
        fs::rename(&old, &inside).map_err(|error| {
            let reason = reason(&error);
            broken(format!(
                "Error trying to move the old AOF file {file} into dir {directory}: {reason}"
            ))
        })?;
        self.sync(&inside).await?;
        log::notice(format!(
            "Successfully migrated an old-style AOF file ({file}) into the AOF directory ({directory})."
        ));
        Ok(())
    }

    /// Begins an AOF whose base is an RDB file, or empty.
    pub(super) fn begin(&mut self, data: Option<&Path>) -> Done<()> {
        self.make()?;
        let manifest = self.files.manifest_mut();
        let is_rdb = data.is_some() || !self.place.as_commands;
        let name = manifest.next_base(&self.place.filename, is_rdb).name.clone();
        let path = self.path_of(&name);
        let made = match data {
            Some(data) => fs::copy(data, &path).map(|_| ()),
            None => fs::write(&path, if is_rdb { empty_rdb() } else { Vec::new() }),
        };
        let synced = made.and_then(|()| fs::File::open(&path)?.sync_all());
        let shown = String::from_utf8_lossy(&name);
        synced.map_err(|error| {
            broken(format!("Can't write the AOF base file {shown}: {}", reason(&error)))
        })?;
        log::notice(format!("Creating AOF base file {shown} on server start"));
        Ok(())
    }

    /// Opens the file that is appended to, and removes what is not needed any more.
    pub(super) async fn open_last(&mut self) -> Done<Opened> {
        self.make()?;
        let manifest = self.files.manifest_mut();
        let is_new = manifest.incr.is_empty();
        if is_new {
            manifest.next_incr(&self.place.filename, Some(0));
        }
        let name = match manifest.incr.last_mut() {
            None => unreachable!("there is one now"),
            Some(last) => {
                last.end_offset = None;
                last.name.clone()
            }
        };
        let (path, shown) = (self.path_of(&name), String::from_utf8_lossy(&name).into_owned());
        let cannot = |error: io::Error| {
            broken(format!("Can't open the append-only file {shown}: {}", reason(&error)))
        };
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(cannot)?;
        // What was loaded stays: a process that was killed may have left it in the page cache.
        let offset = file.sync_all().and_then(|()| file.metadata()).map_err(cannot)?.len();
        self.write_manifest().await?;
        let what = if is_new { "Creating" } else { "Opening" };
        log::notice(format!("{what} AOF incr file {shown} on server start"));
        let removed = self.files.remove_history().await.map_err(|error| not_written(&error))?;
        log_removed(&removed);
        let mut bytes_before = 0;
        for info in self.manifest().files().filter(|info| info.name != name) {
            bytes_before += self.size_of(&info.name)?;
        }
        Ok(Opened::First(JournalFile { fd: file.into_raw_fd(), offset }, bytes_before))
    }

    async fn write_manifest(&mut self) -> Done<()> {
        self.files.write_manifest().await.map_err(|error| not_written(&error))
    }

    fn make(&self) -> Done<()> {
        make(self.place).map_err(broken)
    }

    async fn sync(&self, path: &Path) -> Done<()> {
        let synced = Files.sync_directory(path).await;
        synced.map_err(|error| broken(format!("Fail to fsync AOF directory {error}")))
    }

    pub(super) fn path_of(&self, name: &[u8]) -> PathBuf {
        self.files.path_of(name)
    }

    pub(super) fn size_of(&self, name: &[u8]) -> Done<u64> {
        let found = fs::metadata(self.path_of(name));
        found.map(|data| data.len()).map_err(|error| {
            broken(format!(
                "Unable to obtain the AOF file {} length. stat: {}",
                String::from_utf8_lossy(name),
                reason(&error)
            ))
        })
    }
}

/// Makes the directory, if it is not there.
pub(super) fn make(place: &AofPlace) -> Result<(), String> {
    match fs::create_dir(&place.directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(format!(
            "Can't open or create append-only dir {}: {}",
            place.directory.display(),
            reason(&error)
        )),
        _ => Ok(()),
    }
}

/// The files that the manifest of a directory names: none where there is no manifest.
pub(super) fn read_files(place: &AofPlace) -> Result<AofFiles<Files>, String> {
    let path = place.directory.join(name_of(&manifest_name(&place.filename)));
    let (manifest, text) = match fs::read(&path) {
        Ok(text) => (Manifest::parse(&text), text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            (Ok(Manifest::default()), Vec::new())
        }
        Err(error) => {
            return Err(format!(
                "Fatal error: can't open the AOF manifest file {} for reading: {}",
                path.display(),
                reason(&error)
            ));
        }
    };
    let manifest = manifest.map_err(|error| {
        let mut lines = error.log_lines();
        let last = lines.pop().unwrap_or_default();
        lines.into_iter().for_each(log::warning);
        last
    })?;
    let named = (place.directory.clone(), place.filename.clone());
    Ok(AofFiles::new(Files, named, manifest, text))
}

fn not_written(error: &StorageError) -> NotLoaded {
    broken(format!("Can't write the AOF manifest file {error}"))
}

/// Tells of files that were not needed any more.
pub(super) fn log_removed(names: &[Vec<u8>]) {
    for name in names {
        let shown = String::from_utf8_lossy(name);
        log::notice(format!("Removing the history file {shown} in the background"));
    }
}

fn name_of(name: &[u8]) -> PathBuf {
    std::ffi::OsStr::from_bytes(name).into()
}

/// An RDB file without keys.
fn empty_rdb() -> Vec<u8> {
    let facts: [(&str, &[u8]); 3] =
        [("redis-ver", REDIS_VERSION.as_bytes()), ("redis-bits", b"64"), ("aof-base", b"1")];
    let (magic, body) = (magic(VERSION_MIN), preamble(&facts, &[], &[]));
    let mut checksum = Checksum::default();
    checksum.add(crc64(0, &body), body.len() as u64);
    let end = Checksum::end(Some(checksum), &magic, body.len() as u64);
    [&magic[..], &body, &end].concat()
}
