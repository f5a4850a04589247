//! A snapshot of the primary: received into a file, looked through, put in place of the data.
//!
//! Invariant: the data goes only when the file is whole and every record of it can be decoded; the
//! file goes, unless it becomes that of the server (`disabled`). `repl-diskless-load` says what clients
//! see meanwhile, and whether the new data is made beside the old; without that, memory does not grow
//! with the snapshot.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release, SeqCst};

use super::session::{Session, lost};
use super::{PAUSE, Replica, unix_seconds};
use crate::base::sys;
use crate::config::Config;
use crate::config::choices::DisklessLoad;
use crate::control::files::Files;
use crate::control::load::{Loader, NotLoaded, Rdb};
use crate::control::runtime::File;
use crate::observe::link::LinkState;
use crate::observe::log;
use crate::persist::load::{Aim, Load, LoadOrder, Piece, Records};
use crate::persist::rdb::Checks;
use crate::persist::save::put_in_place;
use crate::persist::storage::StorageError;
use crate::replication::chunk::FromPrimary;
use crate::replication::link::{Fault, Position};

/// What clients see while this server gets its data from a primary. Source: repl-diskless-load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    /// The data that is there.
    Data,
    /// That data, and INFO says that another state of it is on its way.
    Former,
    /// An error: the server is loading.
    Loading,
}

impl Sight {
    /// What they see while a snapshot of this history comes.
    fn of(replica: &Replica, position: Option<Position>) -> Sight {
        let server = &replica.loader.server;
        let keys = || server.sum(|core| core.dbs.iter().map(|db| db.keys.get()).sum());
        match replica.config().repl_diskless_load {
            DisklessLoad::Disabled => Sight::Data,
            DisklessLoad::OnEmptyDb if keys() > 0 => Sight::Data,
            DisklessLoad::OnEmptyDb | DisklessLoad::FlushBeforeLoad => Sight::Loading,
            DisklessLoad::Swapdb => {
                let ours = server.replication.history().id;
                let is_former = position.is_some_and(|position| position.id == ours);
                if is_former { Sight::Former } else { Sight::Loading }
            }
        }
    }
}

/// See above.
pub(super) struct Receiving {
    loader: Rc<Loader>,
    file: Option<File>,
    path: PathBuf,
    written: u64,
    sight: Sight,
    /// Its data is made beside the old.
    is_aside: bool,
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.show(Sight::Data);
        // Nobody can do anything about a file that stays. To free a large one takes its time, which
        // comes when the last handle goes.
        let file = std::fs::File::open(&self.path);
        let _ = std::fs::remove_file(&self.path);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || drop(file));
        }
    }
}

impl Receiving {
    /// Makes room for a snapshot of so many bytes, or of an unknown number.
    pub(super) async fn begin(
        replica: &Replica,
        position: Option<Position>,
        length: Option<u64>,
    ) -> Result<Receiving, Fault> {
        let place = if replica.config().repl_diskless_load == DisklessLoad::Disabled {
            "to disk"
        } else {
            "to parser"
        };
        log::notice(match length {
            Some(length) => {
                format!("MASTER <-> REPLICA sync: receiving {length} bytes from master {place}")
            }
            None => format!(
                "MASTER <-> REPLICA sync: receiving streamed RDB from master with EOF {place}"
            ),
        });
        let link = replica.link();
        let total = length.map_or(0, |length| i64::try_from(length).unwrap_or(i64::MAX));
        link.sync_total.store(total, Relaxed);
        link.sync_read.store(0, Relaxed);
        let name = format!("temp-{}.{}.rdb", unix_seconds(), std::process::id());
        // It stays where it is if the server goes to another directory meanwhile.
        let path = std::env::current_dir().unwrap_or_default().join(name);
        let opened = File::create_new(&path).await;
        let file = opened.map_err(|error| {
            let reason = sys::reason(&error);
            Fault(format!(
                "Opening the temp file needed for MASTER <-> REPLICA synchronization: {reason}"
            ))
        })?;
        let is_aside = replica.config().repl_diskless_load == DisklessLoad::Swapdb;
        let (loader, file) = (replica.loader.clone(), Some(file));
        let sight = Sight::Data;
        let mut receiving = Receiving { loader, file, path, written: 0, sight, is_aside };
        let sight = Sight::of(replica, position);
        if sight == Sight::Loading {
            replica.wait_for_data().await;
        }
        receiving.show(sight);
        let announced = &receiving.loader.server.persistence.loading_bytes;
        announced.store(length.unwrap_or(0), Relaxed);
        Ok(receiving)
    }

    /// This is what clients see from here on.
    fn show(&mut self, sight: Sight) {
        let persistence = &self.loader.server.persistence;
        match std::mem::replace(&mut self.sight, sight) {
            before if before == sight => return,
            Sight::Data => {}
            Sight::Former => persistence.async_loading.store(false, Release),
            Sight::Loading => self.loader.stop_loading(),
        }
        match sight {
            Sight::Data => {}
            Sight::Former => persistence.begin_async_load(unix_seconds()),
            Sight::Loading => persistence.begin_load(unix_seconds()),
        }
        self.loader.wake();
    }

    /// Keeps the next bytes.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let Some(file) = &self.file else { return Ok(()) };
        let written = file.write_all_at(bytes.to_vec(), self.written).await;
        written.map_err(|error| {
            let reason = sys::reason(&error);
            Fault(format!(
                "Write error or short write writing to the DB dump file needed for MASTER <-> REPLICA synchronization: {reason}"
            ))
        })?;
        self.written += bytes.len() as u64;
        let server = &self.loader.server;
        server.primary_link.sync_read.store(self.written, Relaxed);
        if self.sight != Sight::Data {
            server.persistence.loaded_bytes.store(self.written, Relaxed);
        }
        Ok(())
    }

    /// Looks the snapshot through, then has it take the place of the data; from here on the server's
    /// history is that of the primary, at this position.
    pub(super) async fn take_place(
        mut self,
        session: &Rc<Session>,
        position: Position,
    ) -> Result<(), Fault> {
        let (replica, loader, term) = (&session.replica, self.loader.clone(), session.term);
        let _alone = replica.placing.lock().await;
        let link = &loader.server.primary_link;
        link.on_trial.store(true, SeqCst);
        let placed = self.replace_data(replica, term).await;
        link.on_trial.store(false, SeqCst);
        placed?;
        let db = loader.history.take().map_or(0, |(_, db)| db);
        loader.order(FromPrimary::Adopt { term, position, db });
        while loader.server.replication.history().id != position.id && link.term() == term {
            tokio::time::sleep(PAUSE).await;
        }
        if replica.config().repl_diskless_load == DisklessLoad::Disabled {
            self.keep(&replica.config()).await;
        }
        // Whoever sees the link up is not told any more that data is being loaded.
        self.show(Sight::Data);
        link.set_state(LinkState::Connected);
        Ok(())
    }

    /// The file becomes that of the server, which starts with it again, unless no data is to stay there.
    async fn keep(&self, config: &Config) {
        if config.rdb_del_sync_files && config.save.is_empty() && !config.appendonly {
            log::notice(
                "Removing the RDB file obtained from the master. This replica has persistence disabled",
            );
            return;
        }
        let path = self.path.with_file_name(OsStr::from_bytes(&config.dbfilename));
        let synced = async {
            let file = File::open(&self.path).await?;
            file.sync_all().await?;
            file.close().await
        };
        let kept = match synced.await {
            Ok(()) => put_in_place(&Files, &self.path, &path).await,
            Err(error) => Err(StorageError::of(&self.path, error)),
        };
        if let Err(error) = kept {
            let reason = sys::reason(&error.source);
            log::warning(format!(
                "Failed trying to rename the temp DB into {} in MASTER <-> REPLICA synchronization: {reason}",
                path.display()
            ));
        }
    }

    async fn replace_data(&mut self, replica: &Replica, term: u64) -> Result<(), Fault> {
        if self.sight != Sight::Loading {
            replica.wait_for_data().await;
        }
        let tried = self.look_through(&replica.config()).await;
        let outcome = match tried {
            Err(reason) => Err(Fault(format!(
                "The snapshot of the primary is not good, and the data stays: {reason}"
            ))),
            Ok(()) if replica.link().term() != term => Err(lost()),
            Ok(()) if self.is_aside => self.swap(replica, term).await,
            Ok(()) => return self.load(replica, term).await,
        };
        if outcome.is_err() && self.is_aside {
            self.tell_cores(|| Piece::DropAside).await;
        }
        outcome
    }

    /// Has every record decoded; what is made of it is put aside, or not kept.
    async fn look_through(&mut self, config: &Config) -> Result<(), String> {
        let Some(file) = self.file.take() else { return Err("there is no file".into()) };
        let loader = &self.loader;
        let aim = if self.is_aside { Aim::Aside } else { Aim::Trial };
        let load = Arc::new(Load::of_primary(loader.desks.len(), aim));
        let rdb = Rdb {
            file: &file,
            path: &self.path,
            flushes: false,
            checks: Checks { sum: true, version: config.rdb_version_check },
            resumes: false,
            databases: config.databases,
        };
        let read = loader.read_rdb(&rdb, &load).await;
        let _ = file.close().await;
        match read {
            Ok(end) if end == self.written => Ok(()),
            Ok(end) => Err(format!("it ends at byte {end} of {}", self.written)),
            Err(error) => Err(reason_of(&error)),
        }
    }

    /// What was put aside takes the place of the data.
    async fn swap(&self, replica: &Replica, term: u64) -> Result<(), Fault> {
        log::notice("MASTER <-> REPLICA sync: Swapping active DB with loaded DB");
        let libraries = self.loader.libraries.take();
        if !replica.clear(term, self.sight == Sight::Loading, true).await {
            return Err(lost());
        }
        let taken_over = || Piece::Records(Records::of_libraries(libraries.clone()));
        self.tell_cores(taken_over).await;
        log::notice("MASTER <-> REPLICA sync: Discarding old DB in background");
        Ok(())
    }

    /// Loads the file when the data has gone.
    async fn load(&mut self, replica: &Replica, term: u64) -> Result<(), Fault> {
        log::notice("MASTER <-> REPLICA sync: Flushing old data");
        if !replica.clear(term, self.sight == Sight::Loading, false).await {
            return Err(lost());
        }
        // The core that has cleared it away has said so.
        self.sight = Sight::Loading;
        log::notice("MASTER <-> REPLICA sync: Loading DB in memory");
        let config = replica.config();
        let order = LoadOrder {
            aof: None,
            path: self.path.clone(),
            merge: true,
            flushes: true,
            checks: Checks { sum: config.rdbchecksum, version: config.rdb_version_check },
            keeps_expired: true,
            resumes: false,
            databases: config.databases,
            asker: None,
        };
        let loaded = self.loader.load_rdb(&order).await;
        if let Err(error) = loaded {
            let reason = reason_of(&error);
            replica.clear(term, true, false).await;
            return Err(Fault(format!(
                "Failed trying to load the MASTER synchronization DB from disk: {reason}"
            )));
        }
        Ok(())
    }

    /// Gives every core a piece, and waits until they have taken it.
    async fn tell_cores(&self, piece: impl Fn() -> Piece) {
        let cores = self.loader.desks.len();
        let load = Arc::new(Load::of_primary(cores, Aim::Serve));
        (0..cores).for_each(|core| self.loader.send(&load, core, piece()));
        self.loader.settle(&load).await;
        if let Some(error) = load.failure() {
            log::warning(format!("A library of the primary is not good: {error}"));
        }
    }
}

fn reason_of(error: &NotLoaded) -> String {
    match error {
        NotLoaded::Missing => io::Error::from(io::ErrorKind::NotFound).to_string(),
        NotLoaded::Broken(reason) => reason.clone(),
    }
}
