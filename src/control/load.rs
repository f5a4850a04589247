//! Loads an RDB file: reads it, finds its records, and gives each core the keys that it owns.
//!
//! Invariant: one load at a time; no more is read while a core has enough to do; the end is told when
//! all cores have made their keys. Log lines are those that scripts wait for.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc::UnboundedSender;

use super::files::Files;
use super::runtime::File;
use super::save;
use crate::base::number::parse_u64;
use crate::base::slot::Slot;
use crate::base::sys;
use crate::base::time::Millis;
use crate::observe::journal::State;
use crate::observe::log;
use crate::observe::replication::ReplicationId;
use crate::observe::server::ServerFacts;
use crate::persist::aof::block::Opened;
use crate::persist::aof::files::AofFiles;
use crate::persist::aof::replay::Router;
use crate::persist::load::{Aim, Load, LoadOrder, Piece, Records};
use crate::persist::rdb::Checks;
use crate::persist::rdb::file::{FileReader, Record};
use crate::replication::chunk::FromPrimary;
use crate::replication::link::Position;

/// Where the keys of each core go.
pub(super) struct Loader {
    pub(super) desks: Vec<Sender<(Arc<Load>, Piece)>>,
    pub(super) event_fds: Vec<i32>,
    pub(super) server: Arc<ServerFacts>,
    /// The owner of a slot.
    pub(super) owner: Box<dyn Fn(Slot) -> usize + Send>,
    /// Where the commands of an AOF run.
    pub(super) router: RefCell<Router>,
    /// Where the data of the last file stood in some history, and the database that was selected there.
    pub(super) history: Cell<Option<(Position, usize)>>,
    /// The libraries of the last file whose records were put aside.
    pub(super) libraries: Cell<Vec<Vec<u8>>>,
    /// There are TCP sockets, and a Unix socket.
    pub(super) listens: (bool, bool),
    /// Where the writer of the journal finds its file.
    pub(super) journal: JournalDesk,
    /// Who writes saves, and keeps the files of the AOF.
    pub(super) saves: UnboundedSender<save::Message>,
    /// What the core that keeps the stream is to do about the data and its history.
    pub(super) orders: Sender<FromPrimary>,
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
pub(super) const READ_BYTES: usize = 256 << 10;
/// No key with its value is shorter.
const KEY_BYTES_MIN: u64 = 3;
/// A shorter sleep than this is put off.
const PACE_STEP_MIN: Duration = Duration::from_millis(2);
/// After so long another pace is noticed.
const PACE_STEP_MAX: Duration = Duration::from_millis(20);
/// The core that keeps the stream.
const FOLLOWER: usize = 0;
/// How long the reader waits for a core that has enough to do.
const PAUSE: Duration = Duration::from_micros(200);

/// An RDB file, or the first part of an AOF, and how it is read.
pub(super) struct Rdb<'a> {
    pub(super) file: &'a File,
    pub(super) path: &'a Path,
    /// Libraries that are there are dropped first.
    pub(super) flushes: bool,
    /// What is checked of it.
    pub(super) checks: Checks,
    /// See `LoadOrder`.
    pub(super) resumes: bool,
    /// Databases of the server.
    pub(super) databases: usize,
}

impl Loader {
    /// Loads what is to be loaded. All cores go on as before when this returns, unless it fails at the
    /// start: then the process ends, and nobody is to see half of the data.
    pub(super) async fn load(&self, order: &LoadOrder) -> Result<(), NotLoaded> {
        self.history.set(None);
        let outcome = match &order.aof {
            Some(place) => self.load_aof(order, place).await,
            None => self.load_rdb(order).await,
        };
        if order.asker.is_some() || !matches!(outcome, Err(NotLoaded::Broken(_))) {
            self.end_load();
        }
        outcome
    }

    /// What was loaded is what the cores serve from here on.
    pub(super) fn end_load(&self) {
        let changes = self.server.sum(|stats| stats.dirty.get());
        let persistence = &self.server.persistence;
        persistence.changes_saved.store(changes, Ordering::Relaxed);
        self.stop_loading();
    }

    /// Nothing is being loaded any more, whatever came of it.
    pub(super) fn stop_loading(&self) {
        self.server.persistence.loading.store(false, Ordering::Release);
        self.wake();
    }

    /// Loads an RDB file.
    pub(super) async fn load_rdb(&self, order: &LoadOrder) -> Result<(), NotLoaded> {
        let began = Instant::now();
        let file = match File::open(&order.path).await {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(NotLoaded::Missing);
            }
            Err(error) => return Err(unreadable(&order.path, &error)),
        };
        let len = std::fs::metadata(&order.path).map_or(0, |data| data.len());
        self.server.persistence.loading_bytes.store(len, Ordering::Relaxed);
        let expires = (!order.keeps_expired).then(now);
        let load = Arc::new(Load::new(self.desks.len(), order.merge, expires));
        let rdb = Rdb {
            file: &file,
            path: &order.path,
            flushes: order.flushes,
            checks: order.checks,
            resumes: order.resumes,
            databases: order.databases,
        };
        let outcome = self.read_rdb(&rdb, &load).await;
        let _ = file.close().await;
        outcome?;
        let seconds = began.elapsed().as_secs_f64();
        log::notice(format!("DB loaded from disk: {seconds:.3} seconds"));
        Ok(())
    }

    /// From here on what clients change is journaled.
    pub(super) fn open_journal(&self, first: Opened, files: AofFiles<Files>) {
        let _ = self.saves.send(save::Message::Files(files));
        self.journal.put(first);
        self.server.journal.enter(State::On);
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

    /// Gives the core that keeps the stream something to do, in order.
    pub(super) fn order(&self, order: FromPrimary) {
        let _ = self.orders.send(order);
        sys::write_event(self.event_fds[FOLLOWER]);
    }

    /// Has all cores look at how things are.
    pub(super) fn wake(&self) {
        self.event_fds.iter().for_each(|fd| sys::write_event(*fd));
    }

    /// Replicas of this primary, which starts, can go on where its file stood: that is in force when
    /// this returns, so what is left out of the file is told to them.
    async fn resume(&self, position: Position) {
        self.order(FromPrimary::Resume(position));
        while self.server.replication.history().former != position.id {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Reads an RDB file to its end, which may not be that of the file; where that is.
    pub(super) async fn read_rdb(&self, rdb: &Rdb<'_>, load: &Arc<Load>) -> Result<u64, NotLoaded> {
        let outcome = self.read_records(rdb, load).await;
        self.settle(load).await;
        let end = outcome?;
        if let Some(error) = load.failure() {
            return Err(NotLoaded::Broken(error.to_string()));
        }
        if load.aim != Aim::Serve {
            return Ok(end);
        }
        let keys = load.keys.load(Ordering::Acquire);
        let expired = load.expired.load(Ordering::Acquire);
        let persistence = &self.server.persistence;
        persistence.keys_loaded.store(keys, Ordering::Relaxed);
        persistence.keys_expired.store(expired, Ordering::Relaxed);
        let skipped = match load.skipped.load(Ordering::Acquire) {
            0 => String::new(),
            skipped => format!(", empty keys skipped: {skipped}"),
        };
        let loaded = format!("keys loaded: {keys}, keys expired: {expired}{skipped}");
        log::notice(format!("Done loading RDB, {loaded}."));
        Ok(end)
    }

    async fn read_records(&self, rdb: &Rdb<'_>, load: &Arc<Load>) -> Result<u64, NotLoaded> {
        let persistence = &self.server.persistence;
        let sum = rdb.checks.sum && self.server.verifies_checksums();
        let mut reader = FileReader::new(Checks { sum, ..rdb.checks });
        self.history.set(None);
        self.libraries.take();
        let mut batch = Batch {
            history: (None, None, None),
            loader: self,
            load,
            records: (0..self.desks.len()).map(|_| Records::first(rdb.flushes)).collect(),
            db: 0,
            databases: rdb.databases,
            keys_max: persistence.loading_bytes.load(Ordering::Relaxed) / KEY_BYTES_MIN,
            now: now(),
        };
        let (mut offset, mut buffer) = (0, Vec::with_capacity(READ_BYTES));
        let mut pace = Pace::default();
        let mut resumes = rdb.resumes;
        loop {
            while let Some(record) =
                reader.next_record().map_err(|error| NotLoaded::Broken(error.to_string()))?
            {
                let is_key = matches!(record, Record::Key(_));
                // What the file says of itself stands in front of its keys.
                if resumes
                    && matches!(record, Record::Key(_) | Record::End(_))
                    && let Some((position, _)) = batch.position()
                {
                    resumes = false;
                    self.resume(position).await;
                }
                if batch.take(record)? {
                    batch.send_all();
                    return Ok(reader.position());
                }
                if is_key && load.aim != Aim::Trial {
                    pace.keep(&persistence.key_load_micros).await;
                }
                batch.send_full().await?;
            }
            let (result, filled) = rdb.file.read_at(buffer, offset).await;
            buffer = filled;
            match result {
                Ok(0) => reader.finish(),
                Ok(count) => {
                    offset += count as u64;
                    reader.feed(&buffer[..count]);
                    persistence.loaded_bytes.fetch_add(count as u64, Ordering::Relaxed);
                    let keys = load.keys.load(Ordering::Relaxed);
                    persistence.keys_loaded.store(keys, Ordering::Relaxed);
                }
                Err(error) => return Err(unreadable(rdb.path, &error)),
            }
            buffer.clear();
        }
    }

    /// Sends something to a core.
    pub(super) fn send(&self, load: &Arc<Load>, core: usize, piece: Piece) {
        load.queued[core].fetch_add(piece.weight(), Ordering::AcqRel);
        let _ = self.desks[core].send((load.clone(), piece));
        sys::write_event(self.event_fds[core]);
    }

    /// Waits until a core has room for more.
    pub(super) async fn wait_for_room(&self, load: &Load, core: usize) {
        while load.is_full(core) && load.failure().is_none() {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Waits until nothing is under way.
    pub(super) async fn settle(&self, load: &Load) {
        while !load.is_settled() {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// How far a load has to stay behind what the disk and the cores could do. Source: key-load-delay.
#[derive(Default)]
pub(super) struct Pace {
    /// What the keys that were read have to take, and have not taken yet.
    owed: Duration,
}

impl Pace {
    /// A key, or a command, was read, which takes so many microseconds; another number counts from the next step on.
    pub(super) async fn keep(&mut self, micros: &AtomicI64) {
        let wanted = || u64::try_from(micros.load(Ordering::Relaxed)).unwrap_or(0);
        if wanted() == 0 {
            self.owed = Duration::ZERO;
            return;
        }
        self.owed += Duration::from_micros(wanted());
        while self.owed >= PACE_STEP_MIN && wanted() > 0 {
            let step = self.owed.min(PACE_STEP_MAX);
            let began = Instant::now();
            tokio::time::sleep(step).await;
            self.owed = self.owed.saturating_sub(began.elapsed());
        }
    }
}

/// The time.
pub(super) fn now() -> Millis {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(now.as_millis() as i64)
}

fn unreadable(path: &Path, error: &io::Error) -> NotLoaded {
    let (path, reason) = (path.display(), sys::reason(error));
    NotLoaded::Broken(format!("Fatal error: can't open the RDB file {path} for reading: {reason}"))
}

/// Keys on their way to the cores.
struct Batch<'a> {
    loader: &'a Loader,
    load: &'a Arc<Load>,
    records: Vec<Records>,
    db: usize,
    databases: usize,
    /// More keys do not fit the file.
    keys_max: u64,
    now: Millis,
    /// What the file says of the history that it belongs to: name, offset, database.
    history: (Option<ReplicationId>, Option<u64>, Option<usize>),
}

impl Batch<'_> {
    /// Takes a record. True at the end of the file.
    fn take(&mut self, record: Record<'_>) -> Result<bool, NotLoaded> {
        match record {
            Record::Aux(..) if self.load.aim == Aim::Trial => {}
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
                if self.load.aim == Aim::Aside {
                    let mut libraries = self.loader.libraries.take();
                    libraries.push(text.to_vec());
                    self.loader.libraries.set(libraries);
                }
                self.records.iter_mut().for_each(|core| core.libraries.push(text.to_vec()));
            }
            Record::ModuleAux(id) => log::warning(format!(
                "The RDB file contains data of module {}, which is skipped",
                module_name(id)
            )),
            Record::ResizeDb(keys, _) => {
                // What is announced is believed as far as the file is long.
                let share = keys.min(self.keys_max) as usize / self.records.len();
                self.records.iter_mut().for_each(|core| core.sizes.push((self.db, share)));
            }
            Record::SlotInfo(..) => {}
            Record::Key(key) => {
                let core = (self.loader.owner)(Slot::of(&key.key));
                self.records[core].push(self.db, &key);
            }
            Record::End(is_checked) => {
                self.loader.history.set(self.position());
                if !is_checked && self.load.aim != Aim::Trial {
                    log::notice("RDB file was saved with checksum disabled: no check performed.");
                }
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Where the file says that its data stood, and the database that was selected there.
    fn position(&self) -> Option<(Position, usize)> {
        let (id, offset, db) = self.history;
        Some((Position { id: id?, offset: offset? }, db?))
    }

    /// What the file says of itself.
    fn tell(&mut self, name: &[u8], value: &[u8]) {
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
            b"repl-id" => self.history.0 = ReplicationId::parse(value),
            b"repl-offset" => self.history.1 = parse_u64(value),
            b"repl-stream-db" => {
                let db = parse_u64(value).and_then(|db| usize::try_from(db).ok());
                self.history.2 = db.filter(|db| *db < self.databases);
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
            self.loader.wait_for_room(self.load, core).await;
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
        self.loader.send(self.load, core, Piece::Records(records));
    }
}

/// A module's name: nine letters of six bits each, in front of ten bits of a version.
fn module_name(id: u64) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..9).map(|at| LETTERS[(id >> (58 - at * 6) & 63) as usize] as char).collect()
}

/// What was opened for the journal, until its writer takes it.
#[derive(Clone, Default)]
pub(super) struct JournalDesk(Arc<Mutex<VecDeque<Opened>>>);

impl JournalDesk {
    pub(super) fn put(&self, opened: Opened) {
        if let Ok(mut desk) = self.0.lock() {
            desk.push_back(opened);
        }
    }

    /// Only the writer asks, and what is put is short: a lock that is taken comes again at once.
    pub(super) fn take(&self) -> Option<Opened> {
        self.0.try_lock().ok()?.pop_front()
    }
}

/// The receiving end of a core, which alone uses it.
pub(super) type Desk = Mutex<std::sync::mpsc::Receiver<(Arc<Load>, Piece)>>;
