//! A load: what the control plane, which reads the file, and the cores, which make the values, share.
//!
//! Invariant: records stay undecoded until they are at their owner; what is under way to a core is
//! bounded by `QUEUED_BYTES_MAX`, but for a single larger record.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::aof::base::Form;
use super::aof::files::Rewrite;
use super::aof::replay::Lines;
use super::rdb::Checks;
use super::rdb::file::{Fault, FileError, KeyRecord};
use crate::base::time::Millis;

/// What becomes of the records of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// They become keys that clients find.
    Serve,
    /// They are only looked at: nothing is kept.
    Trial,
    /// They become keys beside those that clients find, until they take their place.
    Aside,
}

/// One load.
#[derive(Debug)]
pub struct Load {
    /// Keys and libraries that are there already are replaced. Source: DEBUG RELOAD MERGE.
    pub replaces: bool,
    /// What becomes of the records.
    pub aim: Aim,
    /// The time at which a key counts as expired. None keeps such keys.
    pub now: Option<Millis>,
    /// Bytes under way to each core.
    pub queued: Vec<AtomicU64>,
    /// Keys that were made.
    pub keys: AtomicU64,
    /// Keys that had expired and were left out.
    pub expired: AtomicU64,
    /// Keys that had no elements and were left out.
    pub skipped: AtomicU64,
    /// The first thing that was wrong.
    failed: OnceLock<FileError>,
}

impl Load {
    /// A load that begins, for so many cores.
    pub fn new(cores: usize, replaces: bool, now: Option<Millis>) -> Load {
        Load {
            aim: Aim::Serve,
            replaces,
            now,
            queued: (0..cores).map(|_| AtomicU64::new(0)).collect(),
            keys: AtomicU64::new(0),
            expired: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            failed: OnceLock::new(),
        }
    }

    /// A load of what a primary has sent, all of which is kept, or of which it is only seen whether it
    /// is good.
    pub fn of_primary(cores: usize, aim: Aim) -> Load {
        Load { aim, ..Load::new(cores, true, None) }
    }

    /// A record is wrong.
    pub fn fail(&self, offset: u64, fault: Fault) {
        // The first one is the one to tell of.
        let _ = self.failed.set(FileError { offset, fault });
    }

    /// What was wrong, if anything was.
    pub fn failure(&self) -> Option<&FileError> {
        self.failed.get()
    }

    /// True if a core has enough to do.
    pub fn is_full(&self, core: usize) -> bool {
        self.queued[core].load(Ordering::Acquire) > QUEUED_BYTES_MAX
    }

    /// True if nothing is under way.
    pub fn is_settled(&self) -> bool {
        self.queued.iter().all(|queued| queued.load(Ordering::Acquire) == 0)
    }
}

/// What to load.
#[derive(Debug)]
pub struct LoadOrder {
    /// The AOF, which is loaded instead of the file. None without one.
    pub aof: Option<AofPlace>,
    /// The file.
    pub path: PathBuf,
    /// Keys and libraries that are there already are replaced.
    pub merge: bool,
    /// Libraries that are there are dropped first; somebody has seen to the keys.
    pub flushes: bool,
    /// What is checked of it.
    pub checks: Checks,
    /// What has expired is kept: it lives until a primary says that it went.
    pub keeps_expired: bool,
    /// A primary starts with this file: its replicas can go on where the file says that it stood.
    pub resumes: bool,
    /// Databases of the server.
    pub databases: usize,
    /// Who waits for it: a core and its ticket. None at the start.
    pub asker: Option<(usize, u64)>,
}

/// Where an AOF is, and how it is loaded.
#[derive(Debug)]
pub struct AofPlace {
    /// The directory. Source: appenddirname.
    pub directory: PathBuf,
    /// What its files are named after. Source: appendfilename.
    pub filename: Vec<u8>,
    /// A torn tail is cut off. Source: aof-load-truncated.
    pub truncates: bool,
    /// It is the data from the start on, and is appended to afterwards.
    pub opens: bool,
    /// A base is written as commands. Source: aof-use-rdb-preamble.
    pub as_commands: bool,
}

/// A rewrite of an AOF that is to begin.
#[derive(Debug)]
pub struct RewriteOrder {
    /// What becomes of the journal.
    pub rewrite: Rewrite,
    /// Where the files are.
    pub place: AofPlace,
    /// Files that are not needed any more stay. Source: aof-disable-auto-gc.
    pub keeps_history: bool,
    /// How the base is written if it is written as commands.
    pub form: Form,
    /// Who waits for it: a core and its ticket.
    pub asker: Option<(usize, u64)>,
}

/// An order to let all data go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// Which link the new data came over.
    pub term: u64,
    /// How many such orders there were.
    pub number: u64,
    /// The load that it belongs to is what is under way.
    pub within_load: bool,
    /// What takes the place of the data was put aside; else it is loaded when the data has gone.
    pub swaps: bool,
}

/// What goes to a core.
#[derive(Debug)]
pub enum Piece {
    /// Keys.
    Records(Records),
    /// Commands.
    Lines(Lines),
    /// What was put aside is not wanted any more.
    DropAside,
}

impl Piece {
    /// What counts against the bound.
    pub fn weight(&self) -> u64 {
        match self {
            Piece::Records(records) => records.weight(),
            Piece::Lines(lines) => lines.weight(),
            Piece::DropAside => 1,
        }
    }
}

/// Some keys of one core, and what every core has to know.
#[derive(Debug, Default)]
pub struct Records {
    /// These are the first ones: libraries that are there already are dropped.
    pub flushes: bool,
    /// The texts of libraries of functions, which every core gets.
    pub libraries: Vec<Vec<u8>>,
    /// How many keys the databases will have here, about, before they have any.
    pub sizes: Vec<(usize, usize)>,
    bytes: Vec<u8>,
    records: Vec<Record>,
}

#[derive(Debug)]
struct Record {
    offset: u64,
    db: usize,
    expiry: Option<Millis>,
    idle: Option<u64>,
    frequency: Option<u8>,
    kind: u8,
    key_len: usize,
    value_len: usize,
}

impl Records {
    /// The first ones of a load.
    pub fn first(flushes: bool) -> Records {
        Records { flushes, ..Records::default() }
    }

    /// These libraries, in place of those that are there.
    pub fn of_libraries(libraries: Vec<Vec<u8>>) -> Records {
        Records { flushes: true, libraries, ..Records::default() }
    }

    /// Adds a key of a database.
    pub fn push(&mut self, db: usize, record: &KeyRecord<'_>) {
        self.bytes.extend_from_slice(&record.key);
        self.bytes.extend_from_slice(record.value);
        self.records.push(Record {
            offset: record.offset,
            db,
            expiry: record.expiry,
            idle: record.idle,
            frequency: record.frequency,
            kind: record.kind,
            key_len: record.key.len(),
            value_len: record.value.len(),
        });
    }

    /// Keys.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// True without anything to do.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.libraries.is_empty() && !self.flushes
    }

    /// True if it is worth sending.
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= PIECE_BYTES || self.records.len() >= PIECE_KEYS
    }

    /// What counts against the bound.
    pub fn weight(&self) -> u64 {
        let libraries: usize = self.libraries.iter().map(Vec::len).sum();
        (self.bytes.len() + libraries + self.records.len() * size_of::<Record>()).max(1) as u64
    }

    /// The keys with their databases.
    pub fn iter(&self) -> impl Iterator<Item = (usize, KeyRecord<'_>)> {
        let mut rest = &self.bytes[..];
        self.records.iter().map(move |record| {
            let (key, behind) = rest.split_at(record.key_len);
            let (value, behind) = behind.split_at(record.value_len);
            rest = behind;
            let key_record = KeyRecord {
                offset: record.offset,
                expiry: record.expiry,
                idle: record.idle,
                frequency: record.frequency,
                kind: record.kind,
                key: key.into(),
                value,
            };
            (record.db, key_record)
        })
    }
}

/// What is under way to a core, at most.
const QUEUED_BYTES_MAX: u64 = 4 << 20;
/// Keys are sent when they are so many bytes, or so many.
const PIECE_BYTES: usize = 64 << 10;
const PIECE_KEYS: usize = 256;
