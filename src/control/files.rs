//! Files of the control plane: the log, the configuration file, the ACL file.
//!
//! Invariant: a file that is replaced is whole at any instant: written beside, synced, renamed.

use std::io;
use std::path::{Path, PathBuf};

use tokio_uring::fs::{File, OpenOptions};

use crate::acl::file::{self, FileUsers};
use crate::acl::{Defaults, Users};
use crate::base::sys;
use crate::config::{Config, rewrite};

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
        if let Ok(file) = OpenOptions::new().append(true).create(true).open(path).await {
            let (_, _) = file.write_all_at(line.into_bytes(), u64::MAX).await;
            let _ = file.close().await;
        }
    }
}

/// Writes the configuration into the file that it came from; comments and order stay.
pub(super) async fn rewrite_config(path: &Path, config: &Config, users: &Users) -> io::Result<()> {
    if path.as_os_str().is_empty() {
        return Err(io::Error::other("The server is running without a config file"));
    }
    let old = match read(path).await {
        Ok(old) => old,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    // Where there is an ACL file, users stand in that one alone.
    let written = users.iter().filter(|_| config.aclfile.is_empty());
    let lines: Vec<Vec<u8>> =
        written.map(|named| [&*named.name, b" ", &named.user.text()].concat()).collect();
    replace(path, rewrite(&old, config, &lines)).await
}

/// The users in the ACL file at `path`; an error is what ACL LOAD answers.
pub(super) async fn load_users(
    path: &Path,
    users: &Users,
    defaults: Defaults,
) -> Result<FileUsers, String> {
    let name = path.as_os_str().as_encoded_bytes();
    let text = read(path).await.map_err(|error| {
        let reason = error.to_string();
        let reason = reason.split(" (os error").next().unwrap_or_default();
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
        let (result, buffer) = file.read_at(Vec::with_capacity(64 * 1024), at).await;
        if result? == 0 {
            file.close().await?;
            return Ok(contents);
        }
        contents.extend_from_slice(&buffer);
    }
}

/// Gives the file at `path` these contents, as a whole.
pub(super) async fn replace(path: &Path, contents: Vec<u8>) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.tmp", std::process::id()));
    let beside = PathBuf::from(beside);
    let file = File::create(&beside).await?;
    let (result, _) = file.write_all_at(contents, 0).await;
    result?;
    file.sync_all().await?;
    file.close().await?;
    tokio_uring::fs::rename(&beside, path).await?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = File::open(directory.unwrap_or(Path::new("."))).await?;
    directory.sync_all().await?;
    directory.close().await
}
