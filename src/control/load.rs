//! Loads a file: reads it, finds its records, and gives each core the keys that it owns.
//!
//! Invariant: one file at a time; no more is read while a core has enough to do; the end is told when
//! all cores have made their keys. Log lines are those that scripts wait for.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio_uring::fs::File;

use super::files::Files;
use super::journal;
use crate::base::slot::Slot;
use crate::base::sys;
use crate::base::time::Millis;
use crate::observe::log;
use crate::observe::server::ServerFacts;
use crate::persist::aof::block::JournalFile;
use crate::persist::load::{Load, LoadOrder, Records};
use crate::persist::rdb::file::{FileReader, Record};

/// Where the keys of each core go.
pub(super) struct Loader {
    pub(super) desks: Vec<Sender<(Arc<Load>, Records)>>,
    pub(super) event_fds: Vec<i32>,
    pub(super) server: Arc<ServerFacts>,
    /// The owner of a slot.
    pub(super) owner: Box<dyn Fn(Slot) -> usize + Send>,
    /// There are TCP sockets, and a Unix socket.
    pub(super) listens: (bool, bool),
    /// Where the writer of the journal finds its file.
    pub(super) journal: JournalDesk,
}

/// Why a file was not loaded.
#[derive(Debug)]
pub(super) enum NotLoaded {
    /// There is none.
    Missing,
    /// It cannot be read, or is wrong.
    Broken(String),
}

/// The bytes of a file that are read at once.
const READ_BYTES: usize = 256 << 10;
/// How long the reader waits for a core that has enough to do.
const PAUSE: Duration = Duration::from_micros(200);

impl Loader {
    /// Loads a file. All cores go on as before when this returns.
    pub(super) async fn load(&self, order: &LoadOrder) -> Result<(), NotLoaded> {
        let began = Instant::now();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = Millis(now.as_millis() as i64);
        let load = Arc::new(Load::new(self.desks.len(), order.merge, Some(now)));
        let outcome = self.read(order, &load, now).await;
        let persistence = &self.server.persistence;
        if outcome.is_ok() {
            let keys = load.keys.load(Ordering::Acquire);
            let expired = load.expired.load(Ordering::Acquire);
            persistence.keys_loaded.store(keys, Ordering::Relaxed);
            persistence.keys_expired.store(expired, Ordering::Relaxed);
            log::notice(format!("Done loading RDB, keys loaded: {keys}, keys expired: {expired}."));
            let seconds = began.elapsed().as_secs_f64();
            log::notice(format!("DB loaded from disk: {seconds:.3} seconds"));
        }
        // After a failure at the start the process ends: nobody is to see half of the data.
        if order.asker.is_some() || !matches!(outcome, Err(NotLoaded::Broken(_))) {
            while !load.is_settled() {
                tokio::time::sleep(PAUSE).await;
            }
            if let Some(place) = order.aof.as_ref().filter(|place| place.opens) {
                match journal::create(&Files, place).await {
                    Ok(file) => self.open_journal(file),
                    Err(error) => return Err(NotLoaded::Broken(error.to_string())),
                }
            }
            let changes = self.server.sum(|stats| stats.dirty.get());
            persistence.changes_saved.store(changes, Ordering::Relaxed);
            persistence.loading.store(false, Ordering::Release);
            self.wake();
        }
        outcome
    }

    /// From here on what clients change is journaled.
    fn open_journal(&self, file: JournalFile) {
        if let Ok(mut desk) = self.journal.lock() {
            *desk = Some(file);
        }
        self.server.journal.turn_on(true);
    }

    /// Clients are served from here on.
    pub(super) fn tell_ready(&self) {
        let ready = |what: &str| log::notice(format!("Ready to accept connections {what}"));
        if self.listens.0 {
            ready("tcp");
        }
        if self.listens.1 {
            ready("unix");
        }
    }

    fn wake(&self) {
        self.event_fds.iter().for_each(|fd| sys::write_event(*fd));
    }

    async fn read(
        &self,
        order: &LoadOrder,
        load: &Arc<Load>,
        now: Millis,
    ) -> Result<(), NotLoaded> {
        let path = order.path.display();
        let unreadable = |error: &io::Error| {
            let reason = error.to_string();
            let reason = reason.split(" (os error").next().unwrap_or_default().to_owned();
            NotLoaded::Broken(format!(
                "Fatal error: can't open the RDB file {path} for reading: {reason}"
            ))
        };
        let file = match File::open(&order.path).await {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(NotLoaded::Missing);
            }
            Err(error) => return Err(unreadable(&error)),
        };
        let len = tokio_uring::fs::statx(&order.path).await.map_or(0, |stat| stat.stx_size);
        let persistence = &self.server.persistence;
        persistence.loading_bytes.store(len, Ordering::Relaxed);
        let mut reader = FileReader::new(order.checks);
        let mut batch = Batch {
            loader: self,
            load,
            records: (0..self.desks.len()).map(|_| Records::first(order.flushes)).collect(),
            db: 0,
            databases: order.databases,
            now,
        };
        let (mut offset, mut buffer) = (0, Vec::with_capacity(READ_BYTES));
        loop {
            while let Some(record) =
                reader.next_record().map_err(|error| NotLoaded::Broken(error.to_string()))?
            {
                if batch.take(record)? {
                    batch.send_all();
                    while !load.is_settled() && load.failure().is_none() {
                        tokio::time::sleep(PAUSE).await;
                    }
                    let _ = file.close().await;
                    return match load.failure() {
                        Some(error) => Err(NotLoaded::Broken(error.to_string())),
                        None => Ok(()),
                    };
                }
                batch.send_full().await?;
            }
            let (result, filled) = file.read_at(buffer, offset).await;
            buffer = filled;
            match result {
                Ok(0) => reader.finish(),
                Ok(count) => {
                    offset += count as u64;
                    reader.feed(&buffer[..count]);
                    persistence.loaded_bytes.store(offset, Ordering::Relaxed);
                    let keys = load.keys.load(Ordering::Relaxed);
                    persistence.keys_loaded.store(keys, Ordering::Relaxed);
                }
                Err(error) => return Err(unreadable(&error)),
            }
            buffer.clear();
        }
    }
}

/// Keys on their way to the cores.
struct Batch<'a> {
    loader: &'a Loader,
    load: &'a Arc<Load>,
    records: Vec<Records>,
    db: usize,
    databases: usize,
    now: Millis,
}

impl Batch<'_> {
    /// Takes a record. True at the end of the file.
    fn take(&mut self, record: Record<'_>) -> Result<bool, NotLoaded> {
        match record {
            Record::Aux(name, value) => self.tell(&name, &value),
            Record::SelectDb(index) => {
                let known = usize::try_from(index).ok().filter(|index| *index < self.databases);
                self.db = known.ok_or_else(|| {
                    let count = self.databases;
                    NotLoaded::Broken(format!(
                        "FATAL: Data file was created with a Redis server configured to handle more than {count} databases. Exiting"
                    ))
                })?;
            }
            Record::Function(text) => {
                self.records.iter_mut().for_each(|core| core.libraries.push(text.to_vec()));
            }
            Record::ModuleAux(id) => log::warning(format!(
                "The RDB file contains data of module {}, which is skipped",
                module_name(id)
            )),
            Record::ResizeDb(..) | Record::SlotInfo(..) => {}
            Record::Key(key) => {
                let core = (self.loader.owner)(Slot::of(&key.key));
                self.records[core].push(self.db, &key);
            }
            Record::End(is_checked) => {
                if !is_checked {
                    log::notice("RDB file was saved with checksum disabled: no check performed.");
                }
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What the file says of itself.
    fn tell(&self, name: &[u8], value: &[u8]) {
        let text = String::from_utf8_lossy(value);
        let number = text.parse::<i64>().unwrap_or(0);
        match name {
            b"redis-ver" | b"valkey-ver" => {
                log::notice(format!("Loading RDB produced by version {text}"));
            }
            b"ctime" => {
                let age = self.now.seconds().saturating_sub(number).max(0);
                log::notice(format!("RDB age {age} seconds"));
            }
            b"used-mem" => {
                let megabytes = number as f64 / (1024.0 * 1024.0);
                log::notice(format!("RDB memory usage when created {megabytes:.2} Mb"));
            }
            _ => {}
        }
    }

    /// Sends what is worth it, and waits where a core has enough to do.
    async fn send_full(&mut self) -> Result<(), NotLoaded> {
        for core in 0..self.records.len() {
            if !self.records[core].is_full() {
                continue;
            }
            while self.load.is_full(core) && self.load.failure().is_none() {
                tokio::time::sleep(PAUSE).await;
            }
            if let Some(error) = self.load.failure() {
                return Err(NotLoaded::Broken(error.to_string()));
            }
            self.send(core);
        }
        Ok(())
    }

    fn send_all(&mut self) {
        for core in 0..self.records.len() {
            if !self.records[core].is_empty() {
                self.send(core);
            }
        }
    }

    fn send(&mut self, core: usize) {
        let records = std::mem::take(&mut self.records[core]);
        self.load.queued[core].fetch_add(records.weight(), Ordering::AcqRel);
        let _ = self.loader.desks[core].send((self.load.clone(), records));
        sys::write_event(self.loader.event_fds[core]);
    }
}

/// A module's name: nine letters of six bits each, in front of ten bits of a version.
fn module_name(id: u64) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..9).map(|at| LETTERS[(id >> (58 - at * 6) & 63) as usize] as char).collect()
}

/// The file that the writer of the journal is to append to, until it takes it.
pub(super) type JournalDesk = Arc<Mutex<Option<JournalFile>>>;

/// The receiving end of a core, which alone uses it.
pub(super) type Desk = Mutex<std::sync::mpsc::Receiver<(Arc<Load>, Records)>>;
