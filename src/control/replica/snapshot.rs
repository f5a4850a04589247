//! A snapshot of the primary: received into a file, looked through, loaded in place of the data.
//!
//! Invariant: the data goes only when the file is whole and every record of it can be decoded; the
//! file goes in any case. Memory does not grow with the snapshot.

use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use tokio_uring::fs::{File, OpenOptions};

use super::session::Session;
use super::{PAUSE, unix_seconds};
use crate::base::sys;
use crate::control::load::{Loader, NotLoaded, Rdb};
use crate::observe::link::{LinkState, PrimaryLink};
use crate::observe::log;
use crate::persist::load::{Load, LoadOrder};
use crate::replication::chunk::FromPrimary;
use crate::replication::link::{Fault, Position};

/// See above.
pub(super) struct Receiving {
    file: Option<File>,
    path: PathBuf,
    written: u64,
}

impl Drop for Receiving {
    fn drop(&mut self) {
        // Nobody can do anything about a file that stays.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Receiving {
    /// Makes room for a snapshot of so many bytes, or of an unknown number.
    pub(super) async fn begin(link: &PrimaryLink, length: Option<u64>) -> Result<Receiving, Fault> {
        log::notice(match length {
            Some(length) => {
                format!("MASTER <-> REPLICA sync: receiving {length} bytes from master to disk")
            }
            None => "MASTER <-> REPLICA sync: receiving streamed RDB from master with EOF to disk"
                .into(),
        });
        let total = length.map_or(0, |length| i64::try_from(length).unwrap_or(i64::MAX));
        link.sync_total.store(total, Relaxed);
        link.sync_read.store(0, Relaxed);
        let name = format!("temp-{}.{}.rdb", unix_seconds(), std::process::id());
        let path = PathBuf::from(name);
        let opened = OpenOptions::new().read(true).write(true).create_new(true).open(&path).await;
        let file = opened.map_err(|error| {
            let reason = sys::reason(&error);
            Fault(format!(
                "Opening the temp file needed for MASTER <-> REPLICA synchronization: {reason}"
            ))
        })?;
        Ok(Receiving { file: Some(file), path, written: 0 })
    }

    /// Keeps the next bytes.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let Some(file) = &self.file else { return Ok(()) };
        let (result, bytes) = file.write_all_at(bytes.to_vec(), self.written).await;
        result.map_err(|error| {
            let reason = sys::reason(&error);
            Fault(format!(
                "Write error or short write writing to the DB dump file needed for MASTER <-> REPLICA synchronization: {reason}"
            ))
        })?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Looks the snapshot through, then loads it in place of the data; from here on the server's
    /// history is that of the primary, at this position.
    pub(super) async fn take_place(
        mut self,
        session: &Rc<Session>,
        position: Position,
    ) -> Result<(), Fault> {
        let Some(file) = self.file.take() else { return Ok(()) };
        let (replica, loader) = (&session.replica, &*session.replica.loader);
        let link = &loader.server.primary_link;
        let config = replica.config();
        replica.wait_for_data().await;
        link.on_trial.store(true, SeqCst);
        let tried = self.look_through(loader, &file, config.databases).await;
        link.on_trial.store(false, SeqCst);
        let _ = file.close().await;
        tried.map_err(|reason| {
            Fault(format!("The snapshot of the primary is not good, and the data stays: {reason}"))
        })?;
        if link.term() != session.term {
            return Err(Fault("Connection with master lost.".into()));
        }
        log::notice("MASTER <-> REPLICA sync: Flushing old data");
        if !replica.clear(session.term, false).await {
            return Err(Fault("Connection with master lost.".into()));
        }
        log::notice("MASTER <-> REPLICA sync: Loading DB in memory");
        let order = LoadOrder {
            aof: None,
            path: self.path.clone(),
            merge: true,
            flushes: true,
            checks: config.rdbchecksum,
            databases: config.databases,
            asker: None,
        };
        let loaded = loader.load_rdb(&order).await;
        if let Err(error) = loaded {
            let reason = reason_of(&error);
            replica.clear(session.term, true).await;
            loader.end_load();
            return Err(Fault(format!(
                "Failed trying to load the MASTER synchronization DB from disk: {reason}"
            )));
        }
        let db = loader.history.take().map_or(0, |(_, db)| db);
        let term = session.term;
        replica.order(FromPrimary::Adopt { term, position, db });
        while loader.server.replication.history().id != position.id && link.term() == term {
            tokio::time::sleep(PAUSE).await;
        }
        link.set_state(LinkState::Connected);
        loader.end_load();
        Ok(())
    }

    /// Has every record decoded, and nothing kept.
    async fn look_through(
        &self,
        loader: &Loader,
        file: &File,
        databases: usize,
    ) -> Result<(), String> {
        let load = Arc::new(Load::trial(loader.desks.len()));
        let rdb = Rdb { file, path: &self.path, flushes: false, checks: true, databases };
        match loader.read_rdb(&rdb, &load).await {
            Ok(end) if end == self.written => Ok(()),
            Ok(end) => Err(format!("it ends at byte {end} of {}", self.written)),
            Err(error) => Err(reason_of(&error)),
        }
    }
}

fn reason_of(error: &NotLoaded) -> String {
    match error {
        NotLoaded::Missing => io::Error::from(io::ErrorKind::NotFound).to_string(),
        NotLoaded::Broken(reason) => reason.clone(),
    }
}
