//! Loads an AOF: finds its files, gives each core the commands of its keys, and opens the file that
//! is appended to.
//!
//! Invariant: data that is there is loaded, or the start fails and says what to do; never does a
//! server start silently without it. No command of a file runs before the file was read to its end
//! and its tail judged. A file is cut only where a crash has torn it, and where the configuration
//! allows that. Log lines are those of stock servers. Source: Redis 8.0.6.

mod directory;
mod feeder;
pub(super) mod rewrite;
pub(super) mod room;

use std::fs::OpenOptions;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::load::{Loader, NotLoaded, Pace, READ_BYTES, Rdb};
use super::runtime::File;
use crate::base::sys::reason;
use crate::observe::log;
use crate::persist::aof::scan::{Found, Scanner, State, Verdict, Verifier};
use crate::persist::load::{AofPlace, Load, LoadOrder, Piece, Records};
use directory::Directory;
use feeder::Feeder;

type Done<T> = Result<T, NotLoaded>;

impl Loader {
    /// Loads an AOF. Where it is the server's own and there is none, one begins: with the data of the
    /// RDB file, if there is one.
    pub(super) async fn load_aof(&self, order: &LoadOrder, place: &AofPlace) -> Done<()> {
        let began = Instant::now();
        let mut directory = Directory::open(place)?;
        if directory.manifest().is_empty() {
            directory.refuse_orphans()?;
        }
        directory.adopt_old_file().await?;
        if !directory.manifest().is_empty() {
            self.load_files(order, &mut directory).await?;
            let seconds = began.elapsed().as_secs_f64();
            log::notice(format!("DB loaded from append only file: {seconds:.3} seconds"));
        } else if !place.opens {
            return Err(NotLoaded::Missing);
        } else {
            let found = self.load_rdb(order).await;
            if let Err(NotLoaded::Broken(_)) = found {
                return found;
            }
            let data = found.is_ok().then_some(&*order.path);
            directory.begin(data)?;
        }
        if place.opens {
            let first = directory.open_last().await?;
            self.open_journal(first, directory.files);
        }
        Ok(())
    }

    async fn load_files(&self, order: &LoadOrder, directory: &mut Directory<'_>) -> Done<()> {
        let names: Vec<Vec<u8>> =
            directory.manifest().files().map(|one| one.name.clone()).collect();
        let mut sizes = Vec::new();
        for name in &names {
            sizes.push(directory.size_of(name)?);
        }
        let total = sizes.iter().sum();
        self.server.persistence.loading_bytes.store(total, Ordering::Relaxed);
        if order.flushes {
            let load = Arc::new(Load::new(self.desks.len(), true, None));
            for core in 0..self.desks.len() {
                self.send(&load, core, Piece::Records(Records::first(true)));
            }
            self.settle(&load).await;
        }
        for (at, name) in names.iter().enumerate() {
            let kind = if at == 0 && directory.manifest().base.is_some() { "base" } else { "incr" };
            let began = Instant::now();
            let is_last = sizes[at + 1..].iter().all(|size| *size == 0);
            if sizes[at] == 0 {
                continue;
            }
            let mut part = Part {
                loader: self,
                order,
                name: String::from_utf8_lossy(name).into_owned(),
                path: directory.path_of(name),
                is_base: kind == "base",
                is_old: *name == directory.place.filename,
                opens: directory.place.opens,
                len: sizes[at],
            };
            part.load(directory.place.truncates, is_last).await?;
            let (name, seconds) = (&part.name, began.elapsed().as_secs_f64());
            log::notice(format!("DB loaded from {kind} file {name}: {seconds:.3} seconds"));
        }
        Ok(())
    }
}

/// A file of an AOF that is loaded.
struct Part<'a> {
    loader: &'a Loader,
    order: &'a LoadOrder,
    name: String,
    path: PathBuf,
    /// Others go on behind it.
    is_base: bool,
    /// It is from before there were several files.
    is_old: bool,
    /// It is the server's own from here on.
    opens: bool,
    len: u64,
}

impl Part<'_> {
    async fn load(&mut self, truncates: bool, is_last: bool) -> Done<()> {
        let name = &self.name;
        let file = File::open(&self.path).await.map_err(|error| {
            let reason = reason(&error);
            broken(format!(
                "Fatal error: can't open the append log file {name} for reading: {reason}"
            ))
        })?;
        let (first, head) = file.read_at(Vec::with_capacity(RDB_MARKS[1].len()), 0).await;
        first.map_err(|error| self.unreadable(&error))?;
        let is_rdb = RDB_MARKS.iter().any(|mark| head.starts_with(mark));
        let begin = if is_rdb { self.load_snapshot(&file).await? } else { 0 };
        let verdict = self.verify(&file, begin).await?;
        // A base of ours was whole on the disk before anything named it: it lacks no tail.
        let is_last = is_last && !(self.is_base && head.starts_with(b"#"));
        self.judge(&verdict, truncates, is_last)?;
        self.replay(&file, begin, verdict.safe).await?;
        let _ = file.close().await;
        // A file that is being appended to is left alone.
        if self.opens && verdict.safe < verdict.len && is_last {
            self.cut(&verdict)?;
        }
        Ok(())
    }

    /// Loads the snapshot that the file begins with; where it ends.
    async fn load_snapshot(&self, file: &File) -> Done<u64> {
        log::notice(if self.is_old {
            "Reading RDB preamble from AOF file..."
        } else {
            "Reading RDB base file on AOF loading..."
        });
        // What has expired is kept: the commands behind it say when it went.
        let load = Arc::new(Load::new(self.loader.desks.len(), self.order.merge, None));
        let rdb = Rdb {
            file,
            path: &self.path,
            flushes: false,
            checks: self.order.checks,
            resumes: false,
            databases: self.order.databases,
        };
        match self.loader.read_rdb(&rdb, &load).await {
            Err(NotLoaded::Broken(reason)) => {
                log::warning(reason);
                let what = if self.is_old { "preamble of the AOF" } else { "base" };
                let name = &self.name;
                Err(broken(format!(
                    "Error reading the RDB {what} file {name}, AOF loading aborted"
                )))
            }
            Ok(end) if self.is_old => {
                log::notice("Reading the remaining AOF tail...");
                Ok(end)
            }
            other => other,
        }
    }

    async fn verify(&self, file: &File, begin: u64) -> Done<Verdict> {
        let mut verifier = Verifier::new(begin);
        let mut chunks = Chunks::new(file, begin, self.len);
        while let Some(chunk) = chunks.next().await.map_err(|error| self.unreadable(&error))? {
            verifier.feed(chunk);
        }
        Ok(verifier.finish())
    }

    /// Decides whether the file is loaded.
    fn judge(&self, verdict: &Verdict, truncates: bool, is_last: bool) -> Done<()> {
        let name = &self.name;
        let in_multi = match verdict.state {
            State::Whole | State::Blank => return Ok(()),
            State::Torn { in_multi } => in_multi,
            State::Damaged(fault) => {
                return Err(broken(format!(
                    "Bad file format reading the append only file {name}: {fault}. Make a backup of your AOF file, then use ironring --check-aof --fix <filename.manifest>"
                )));
            }
        };
        if in_multi {
            log::warning(format!("Revert incomplete MULTI/EXEC transaction in AOF file {name}"));
        }
        if !truncates {
            return Err(broken(format!(
                "Unexpected end of file reading the append only file {name}, whole up to byte {}. You can: 1) Make a backup of your AOF file, then use ironring --check-aof --fix <filename.manifest>. 2) Alternatively you can set the 'aof-load-truncated' configuration option to yes and restart the server.",
                verdict.safe
            )));
        }
        if !is_last {
            log::warning(format!("AOF {name} is torn at byte {}", verdict.safe));
            return Err(broken("Fatal error: the truncated file is not the last file".into()));
        }
        log::warning(format!("!!! Warning: short read while loading the AOF file {name}!!!"));
        let offset = verdict.safe;
        log::warning(format!("!!! Truncating the AOF {name} at offset {offset} !!!"));
        let dropped = verdict.filled.saturating_sub(offset);
        log::warning(format!("AOF {name}: {dropped} bytes behind that are dropped"));
        Ok(())
    }

    /// Runs the commands between two bytes, which are whole.
    async fn replay(&self, file: &File, begin: u64, end: u64) -> Done<()> {
        let mut chunks = Chunks::new(file, begin, end);
        let mut scanner = Scanner::new(begin);
        let mut feeder = Feeder::new(self);
        let mut pace = Pace::default();
        while let Some(mut chunk) = chunks.next().await.map_err(|error| self.unreadable(&error))? {
            let persistence = &self.loader.server.persistence;
            persistence.loaded_bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            while !chunk.is_empty() {
                let (used, found) = scanner
                    .step(chunk, &mut feeder.line)
                    .map_err(|fault| broken(format!("AOF {} has changed: {fault}", self.name)))?;
                chunk = &chunk[used..];
                if let Some(Found::Command(offset)) = found {
                    feeder.take(offset).await?;
                    pace.keep(&persistence.key_load_micros).await;
                }
            }
        }
        feeder.finish().await;
        Ok(())
    }

    /// Cuts a torn tail off.
    fn cut(&self, verdict: &Verdict) -> Done<()> {
        let cut = || {
            let file = OpenOptions::new().write(true).open(&self.path)?;
            file.set_len(verdict.safe)?;
            file.sync_all()
        };
        let name = &self.name;
        cut().map_err(|error| {
            broken(format!("Error truncating the AOF file {name}: {}", reason(&error)))
        })?;
        if matches!(verdict.state, State::Torn { .. }) {
            log::warning(format!("AOF {name} loaded anyway because aof-load-truncated is enabled"));
        }
        Ok(())
    }

    fn unreadable(&self, error: &io::Error) -> NotLoaded {
        let (name, reason) = (&self.name, reason(error));
        broken(format!("Unrecoverable error reading the append only file {name}: {reason}"))
    }
}

/// The bytes of a file from one place to another.
struct Chunks<'a> {
    file: &'a File,
    offset: u64,
    end: u64,
    buffer: Vec<u8>,
}

impl<'a> Chunks<'a> {
    fn new(file: &'a File, offset: u64, end: u64) -> Chunks<'a> {
        Chunks { file, offset, end, buffer: Vec::with_capacity(READ_BYTES) }
    }

    /// The next ones. None at the end.
    async fn next(&mut self) -> io::Result<Option<&[u8]>> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let (result, filled) = self.file.read_at(buffer, self.offset).await;
        self.buffer = filled;
        let left = usize::try_from(self.end - self.offset).unwrap_or(usize::MAX);
        let count = result?.min(left);
        self.offset += count as u64;
        Ok((count > 0).then(|| &self.buffer[..count]))
    }
}

fn broken(reason: String) -> NotLoaded {
    NotLoaded::Broken(reason)
}

/// What a snapshot begins with.
const RDB_MARKS: [&[u8]; 2] = [b"REDIS", b"VALKEY"];
