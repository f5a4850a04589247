//! What the start needs of the system: files, names, quotas, chance.
//!
//! Invariant: used before the cores run, and by the control plane; never on a core.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::net::{IpAddr, ToSocketAddrs};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::acl::file::Declarations;
use crate::base::sys;
use crate::config::Host;
use crate::dispatch::table::Table;

/// The system that the configuration is loaded on.
pub(super) struct SystemHost {
    /// The commands under the names that the configuration gives them.
    pub(super) table: Table,
    /// The users that the configuration declares.
    pub(super) declared: Declarations,
}

impl SystemHost {
    /// A host on which nothing has been loaded.
    pub(super) fn new() -> SystemHost {
        SystemHost { table: Table::build(), declared: Declarations::default() }
    }
}

impl Host for SystemHost {
    fn read_file(&mut self, path: &[u8]) -> Result<Vec<u8>, String> {
        read_file(path)
    }

    fn read_stdin(&mut self) -> Result<Vec<u8>, String> {
        let mut text = Vec::new();
        io::stdin().read_to_end(&mut text).map_err(|error| sys::reason(&error))?;
        Ok(text)
    }

    fn glob(&mut self, pattern: &[u8]) -> Vec<Vec<u8>> {
        let path = self::path(pattern);
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return Vec::new();
        };
        let directory = if directory.as_os_str().is_empty() { ".".as_ref() } else { directory };
        let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
        let mut found: Vec<Vec<u8>> = entries
            .flatten()
            .filter(|entry| {
                let file = entry.file_name();
                let hidden =
                    file.as_bytes().starts_with(b".") && !name.as_bytes().starts_with(b".");
                !hidden && crate::base::glob::stringmatch(name.as_bytes(), file.as_bytes(), false)
            })
            .map(|entry| entry.path().as_os_str().as_bytes().to_vec())
            .collect();
        found.sort();
        found
    }

    fn current_dir(&mut self) -> Vec<u8> {
        std::env::current_dir().map_or(b"/".to_vec(), |dir| dir.as_os_str().as_bytes().to_vec())
    }

    fn enter_dir(&mut self, path: &[u8]) -> Result<Vec<u8>, String> {
        std::env::set_current_dir(self::path(path)).map_err(|error| sys::reason(&error))?;
        Ok(self.current_dir())
    }

    fn try_append(&mut self, path: &[u8]) -> Result<(), String> {
        let opened = std::fs::OpenOptions::new().append(true).create(true).open(self::path(path));
        opened.map(drop).map_err(|error| sys::reason(&error))
    }

    fn rename_command(&mut self, old: &[u8], new: &[u8]) -> Result<(), String> {
        self.table.rename(old, new)
    }

    fn declare_user(&mut self, words: &[&[u8]]) -> Result<(), String> {
        self.declared.declare(words, self.table.catalogue())
    }
}

/// The whole file.
pub(super) fn read_file(path: &[u8]) -> Result<Vec<u8>, String> {
    std::fs::read(self::path(path)).map_err(|error| sys::reason(&error))
}

/// Bytes as a path.
pub(super) fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

/// Removes a file that may be gone already.
pub(super) fn remove_file(bytes: &[u8]) {
    let _ = std::fs::remove_file(path(bytes));
}

/// The address of a `bind` name that is a host's.
pub(super) fn resolve(name: &str) -> Option<IpAddr> {
    (name, 0).to_socket_addrs().ok()?.next().map(|address| address.ip())
}

/// Processors that the cgroup's quota is worth, rounded up. None without a quota.
pub(super) fn cpu_quota() -> Option<usize> {
    let text = std::fs::read_to_string("/sys/fs/cgroup/cpu.max").ok()?;
    let mut words = text.split_whitespace();
    let quota: usize = words.next()?.parse().ok()?;
    let period: usize = words.next()?.parse().ok()?;
    (period > 0).then(|| quota.div_ceil(period).max(1))
}

/// Bytes that nobody can guess.
pub(super) fn random_bytes(bytes: &mut [u8]) {
    let mut source = std::fs::File::open("/dev/urandom").expect("/dev/urandom is there");
    source.read_exact(bytes).expect("/dev/urandom never ends");
}
