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
use super::{Done, broken};
use crate::base::crc::crc64;
use crate::base::sys::reason;
use crate::observe::log;
use crate::observe::server::REDIS_VERSION;
use crate::persist::aof::block::JournalFile;
use crate::persist::aof::manifest::{Manifest, manifest_name, temporary_name};
use crate::persist::load::AofPlace;
use crate::persist::rdb::VERSION_MIN;
use crate::persist::rdb::file::{Checksum, magic, preamble};
use crate::persist::storage::{Storage, replace};

/// The files of an AOF.
pub(super) struct Directory<'a> {
    pub(super) place: &'a AofPlace,
    pub(super) manifest: Manifest,
    /// The manifest as it is on the disk.
    written: Vec<u8>,
}

impl<'a> Directory<'a> {
    /// Reads the manifest. An empty one is what there is without a file.
    pub(super) fn open(place: &'a AofPlace) -> Done<Directory<'a>> {
        let path = place.directory.join(name_of(&manifest_name(&place.filename)));
        let written = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Directory { place, manifest: Manifest::default(), written: Vec::new() });
            }
            Err(error) => {
                return Err(broken(format!(
                    "Fatal error: can't open the AOF manifest file {} for reading: {}",
                    path.display(),
                    reason(&error)
                )));
            }
        };
        let manifest = Manifest::parse(&written).map_err(|error| {
            let mut lines = error.log_lines();
            let last = lines.pop().unwrap_or_default();
            lines.into_iter().for_each(log::warning);
            broken(last)
        })?;
        Ok(Directory { place, manifest, written })
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
        let is_begun = self.manifest.incr.is_empty()
            && self.manifest.base.as_ref().is_some_and(|base| base.name == self.place.filename)
            && !inside.exists();
        if !old.exists() || !self.place.opens || !(self.manifest.is_empty() || is_begun) {
            return Ok(());
        }
        self.make()?;
        self.manifest.adopt(&self.place.filename);
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
        let name = self.manifest.next_base(&self.place.filename, true).name.clone();
        let path = self.path_of(&name);
        let made = match data {
            Some(data) => fs::copy(data, &path).map(|_| ()),
            None => fs::write(&path, empty_rdb()),
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
    pub(super) async fn open_last(&mut self) -> Done<JournalFile> {
        self.make()?;
        let is_new = self.manifest.incr.is_empty();
        if is_new {
            self.manifest.next_incr(&self.place.filename, Some(0));
        }
        let name = match self.manifest.incr.last_mut() {
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
        let offset = file.metadata().map_err(cannot)?.len();
        self.write_manifest().await?;
        let what = if is_new { "Creating" } else { "Opening" };
        log::notice(format!("{what} AOF incr file {shown} on server start"));
        self.remove_history().await?;
        let mut bytes_before = 0;
        for info in self.manifest.files().filter(|info| info.name != name) {
            bytes_before += self.size_of(&info.name)?;
        }
        Ok(JournalFile { fd: file.into_raw_fd(), offset, bytes_before })
    }

    async fn remove_history(&mut self) -> Done<()> {
        for info in std::mem::take(&mut self.manifest.history) {
            let shown = String::from_utf8_lossy(&info.name);
            log::notice(format!("Removing the history file {shown} in the background"));
            // One that stays is not named any more, and does no harm.
            let _ = fs::remove_file(self.path_of(&info.name));
        }
        self.write_manifest().await
    }

    /// Writes the manifest, if it has changed.
    async fn write_manifest(&mut self) -> Done<()> {
        let text = self.manifest.to_bytes();
        if text == self.written {
            return Ok(());
        }
        let path = self.path_of(&manifest_name(&self.place.filename));
        let beside = self.path_of(&temporary_name(&self.place.filename));
        let replaced = replace(&Files, &path, &beside, text.clone()).await;
        replaced.map_err(|error| broken(format!("Can't write the AOF manifest file {error}")))?;
        self.written = text;
        Ok(())
    }

    fn make(&self) -> Done<()> {
        let directory = &self.place.directory;
        match fs::create_dir(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(broken(format!(
                "Can't open or create append-only dir {}: {}",
                directory.display(),
                reason(&error)
            ))),
            _ => Ok(()),
        }
    }

    async fn sync(&self, path: &Path) -> Done<()> {
        let synced = Files.sync_directory(path).await;
        synced.map_err(|error| broken(format!("Fail to fsync AOF directory {error}")))
    }

    pub(super) fn path_of(&self, name: &[u8]) -> PathBuf {
        self.place.directory.join(name_of(name))
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
