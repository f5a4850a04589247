//! Rewrites of an AOF as the control plane sees them: the file that comes behind the cut, and what
//! becomes of a base that is whole.
//!
//! Invariant: as in `persist::aof::files`. What the cores are told has taken place on the disk. Log
//! lines are those of stock servers. Source: Redis 8.0.6.

use std::fs::{self, OpenOptions};
use std::os::fd::IntoRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::files::Files;
use super::super::runtime::File;
use super::directory::{log_removed, make, read_files};
use crate::base::sys::reason;
use crate::observe::log;
use crate::observe::server::ServerFacts;
use crate::persist::aof::base::{Form, NotWritten, write_commands};
use crate::persist::aof::block::{JournalFile, Opened};
use crate::persist::aof::files::{AofFiles, Rewrite};
use crate::persist::aof::manifest::temporary_incr_name;
use crate::persist::load::RewriteOrder;
use crate::persist::storage::{Storage, StorageError};

/// Keeps the files of the AOF.
pub(in crate::control) struct Keeper {
    /// None until one is loaded or rewritten.
    files: Option<AofFiles<Files>>,
    keeps_history: bool,
    filename: Vec<u8>,
    /// How the base that is being written is to be put into commands. None leaves it a snapshot.
    form: Option<Form>,
    server: Arc<ServerFacts>,
}

impl Keeper {
    pub(in crate::control) fn new(server: Arc<ServerFacts>) -> Keeper {
        Keeper { files: None, keeps_history: false, filename: Vec::new(), form: None, server }
    }

    /// The files that were loaded.
    pub(in crate::control) fn take(&mut self, files: AofFiles<Files>) {
        self.files = Some(files);
    }

    /// Opens what a rewrite needs. None if that cannot be, which the log says.
    pub(in crate::control) async fn open(&mut self, order: &RewriteOrder) -> Option<Opened> {
        let opened = self.open_next(order).await;
        opened.map_err(log::warning).ok()
    }

    async fn open_next(&mut self, order: &RewriteOrder) -> Result<Opened, String> {
        self.keeps_history = order.keeps_history;
        self.filename.clone_from(&order.place.filename);
        self.form = order.place.as_commands.then_some(order.form);
        make(&order.place)?;
        let files = match &mut self.files {
            Some(files) => files,
            none => none.insert(read_files(&order.place)?),
        };
        if order.rewrite == Rewrite::BaseAlone {
            return Ok(Opened::Next(order.rewrite, None));
        }
        if let (Rewrite::Within, Some(last)) = (order.rewrite, files.manifest().incr.last())
            && let Ok(file) = File::open(files.path_of(&last.name)).await
        {
            // So little is left to be synced when the writer goes over to the next file.
            let _ = file.sync_data().await;
            let _ = file.close().await;
        }
        let added = files.add_incr(order.rewrite).await;
        let name = added.map_err(|error| format!("Can't open the append-only file {error}"))?;
        let shown = String::from_utf8_lossy(&name);
        let file = OpenOptions::new().write(true).open(files.path_of(&name));
        let file = file.map_err(|error| {
            format!("Can't open the append-only file {shown}: {}", reason(&error))
        })?;
        log::notice(format!("Creating AOF incr file {shown} on background rewrite"));
        Ok(Opened::Next(order.rewrite, Some(JournalFile { fd: file.into_raw_fd(), offset: 0 })))
    }

    /// Puts a whole snapshot of so many bytes into the form that a base is to have; its length then.
    async fn form(&self, (beside, len): (&Path, u64)) -> Result<u64, String> {
        let Some(form) = self.form else { return Ok(len) };
        let (from, server) = (beside.to_owned(), self.server.clone());
        let to = PathBuf::from(format!("temp-rewriteaof-{}.aof", server.pid));
        let write = move || {
            let is_wanted = || {
                let is_cancelled = server.persistence.cancelled.load(Ordering::Acquire);
                !is_cancelled && !server.shutdown.load(Ordering::Relaxed)
            };
            let written = put_into_commands((&from, &to), form, is_wanted);
            if written.is_err() {
                let _ = fs::remove_file(&to);
            }
            written
        };
        let written = tokio::task::spawn_blocking(write).await;
        written.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    /// A whole base of so many bytes takes the place of all before its cut.
    pub(in crate::control) async fn install(
        &mut self,
        (beside, len): (&Path, u64),
        rewrite: Rewrite,
    ) -> Result<(), ()> {
        let len = self.form((beside, len)).await.map_err(|reason| {
            // Who has cancelled it has said so.
            if !self.server.persistence.cancelled.load(Ordering::Acquire) {
                log::warning(format!("Write error writing append only file on disk: {reason}"));
            }
        })?;
        let Some(files) = &mut self.files else { return Err(()) };
        log::notice("Background AOF rewrite terminated with success");
        let installed = files.install(beside, rewrite, self.form.is_none()).await;
        let (base, incr) = installed.map_err(|error| log_failure(beside, &error))?;
        let base = String::from_utf8_lossy(&base);
        log::notice(format!(
            "Successfully renamed the temporary AOF base file {} into {base}",
            beside.display()
        ));
        if let Some(incr) = incr {
            let temporary = temporary_incr_name(&self.filename);
            log::notice(format!(
                "Successfully renamed the temporary AOF incr file {} into {}",
                String::from_utf8_lossy(&temporary),
                String::from_utf8_lossy(&incr)
            ));
        }
        let journal = &self.server.journal;
        journal.rewrites.base_bytes.store(len, Ordering::Release);
        if journal.has_base() {
            log::notice("AOF write error looks solved, Redis can write again.");
        }
        if !self.keeps_history {
            match files.remove_history().await {
                Ok(removed) => log_removed(&removed),
                Err(error) => log::warning(format!("Error removing history files: {error}")),
            }
        }
        log::notice("Background AOF rewrite finished successfully");
        Ok(())
    }

    /// A base was not finished: a file that waited for it to get its name goes, too.
    pub(in crate::control) async fn give_up(&mut self, rewrite: Rewrite) {
        if let (Rewrite::Anew, Some(files)) = (rewrite, &self.files) {
            let _ = Files.remove(&files.path_of(&temporary_incr_name(&self.filename))).await;
        }
    }
}

/// Writes the snapshot in one file as commands, which take its place; their length.
fn put_into_commands(
    (from, to): (&Path, &Path),
    form: Form,
    is_wanted: impl Fn() -> bool,
) -> Result<u64, NotWritten> {
    let (snapshot, commands) = (fs::File::open(from)?, fs::File::create(to)?);
    let len = write_commands(&snapshot, &commands, form, is_wanted)?;
    commands.sync_all()?;
    fs::rename(to, from)?;
    Ok(len)
}

fn log_failure(beside: &Path, error: &StorageError) {
    log::warning(format!(
        "Error trying to put the temporary AOF base file {} in its place: {error}",
        beside.display()
    ));
}
