//! The files of the journal: a new one for the writer, in the directory of the AOF.
//!
//! Invariant: the manifest names a file before anything of it counts, and what it names is safe.

use std::os::fd::IntoRawFd;
use std::path::{Path, PathBuf};

use crate::persist::aof::block::JournalFile;
use crate::persist::aof::manifest::{Manifest, manifest_name, temporary_name};
use crate::persist::load::AofPlace;
use crate::persist::rdb::VERSION_MIN;
use crate::persist::rdb::file::{Checksum, magic, preamble};
use crate::persist::storage::{Storage, StorageError, Stored, replace};

/// Makes the files of a server that begins without data: an empty base and an empty incr file.
pub(super) async fn create<S: Storage>(storage: &S, place: &AofPlace) -> Stored<JournalFile> {
    std::fs::create_dir_all(&place.directory)
        .map_err(|error| StorageError::of(&place.directory, error))?;
    let mut manifest = Manifest::default();
    let base = in_directory(place, &manifest.next_base(&place.filename, true).name);
    let contents = empty_base();
    let bytes_before = contents.len() as u64;
    let mut file = storage.create(&base).await?;
    storage.write_at(&mut file, 0, contents).await?;
    storage.sync(&mut file).await?;
    storage.close(file).await?;
    let incr = in_directory(place, &manifest.next_incr(&place.filename, None).name);
    let file = create_incr(&incr, bytes_before)?;
    write_manifest(storage, place, &manifest).await?;
    Ok(file)
}

/// Puts a manifest in its place.
async fn write_manifest<S: Storage>(
    storage: &S,
    place: &AofPlace,
    manifest: &Manifest,
) -> Stored<()> {
    let path = in_directory(place, &manifest_name(&place.filename));
    let beside = in_directory(place, &temporary_name(&place.filename));
    replace(storage, &path, &beside, manifest.to_bytes()).await
}

/// A new file for the writer.
fn create_incr(path: &Path, bytes_before: u64) -> Stored<JournalFile> {
    let file = std::fs::File::create(path).map_err(|error| StorageError::of(path, error))?;
    Ok(JournalFile { fd: file.into_raw_fd(), offset: 0, bytes_before })
}

/// A base without any key.
fn empty_base() -> Vec<u8> {
    let magic = magic(VERSION_MIN);
    let body = preamble(&[("aof-base", b"1")], &[], &[]);
    let mut checksum = Checksum::default();
    checksum.add(crate::base::crc::crc64(0, &body), body.len() as u64);
    let end = Checksum::end(Some(checksum), &magic, body.len() as u64);
    [&magic[..], &body, &end].concat()
}

fn in_directory(place: &AofPlace, name: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    place.directory.join(std::ffi::OsStr::from_bytes(name))
}
