//! Loads an AOF: finds its files, gives each core the commands of its keys, and opens the file that
//! is appended to.
//!
//! Invariant: data that is there is loaded, or the start fails and says what to do; never does a
//! server start silently without it. No command of a file runs before the file was read to its end
//! and its tail judged. A file is cut only where a crash has torn it, and where the configuration
//! allows that. Log lines are those of stock servers. Source: Redis 8.0.6.

use std::cell::RefMut;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::IntoRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio_uring::fs::File;

use super::files::Files;
use super::load::{Loader, NotLoaded, READ_BYTES, Rdb, reason};
use crate::base::crc::crc64;
use crate::base::number::parse_u64;
use crate::observe::log;
use crate::observe::server::REDIS_VERSION;
use crate::persist::aof::block::JournalFile;
use crate::persist::aof::manifest::{Manifest, manifest_name, temporary_name};
use crate::persist::aof::replay::{Line, Lines, Route, Router};
use crate::persist::aof::scan::{Found, Scanner, State, Verdict, Verifier};
use crate::persist::load::{AofPlace, Load, LoadOrder, Piece, Records};
use crate::persist::rdb::VERSION_MIN;
use crate::persist::rdb::file::{Checksum, magic, preamble};
use crate::persist::storage::{Storage, replace};

/// The files of an AOF.
struct Directory<'a> {
    place: &'a AofPlace,
    manifest: Manifest,
    /// The manifest as it is on the disk.
    written: Vec<u8>,
}

type Done<T> = Result<T, NotLoaded>;

impl Loader {
    /// Loads an AOF. Where it is the server's own and there is none, one begins: with the data of the
    /// RDB file, if there is one.
    pub(super) async fn load_aof(&self, order: &LoadOrder, place: &AofPlace) -> Done<()> {
        let began = Instant::now();
        let mut directory = Directory::open(place)?;
        if directory.manifest.is_empty() {
            directory.refuse_orphans()?;
        }
        directory.adopt_old_file().await?;
        if !directory.manifest.is_empty() {
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
            directory.begin(data).await?;
        }
        if place.opens {
            let journal = directory.open_last().await?;
            self.open_journal(journal);
        }
        Ok(())
    }

    async fn load_files(&self, order: &LoadOrder, directory: &mut Directory<'_>) -> Done<()> {
        let names: Vec<Vec<u8>> = directory.manifest.files().map(|one| one.name.clone()).collect();
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
            let kind = if at == 0 && directory.manifest.base.is_some() { "base" } else { "incr" };
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
            State::Whole => return Ok(()),
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
        Ok(())
    }

    /// Runs the commands between two bytes, which are whole.
    async fn replay(&self, file: &File, begin: u64, end: u64) -> Done<()> {
        let mut chunks = Chunks::new(file, begin, end);
        let mut scanner = Scanner::new(begin);
        let mut feeder = Feeder::new(self);
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
        if verdict.state != State::Whole {
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

/// Gives the commands of a file to the cores.
struct Feeder<'a> {
    part: &'a Part<'a>,
    load: Arc<Load>,
    line: Line,
    db: usize,
    /// For the owners of keys.
    lines: Vec<Lines>,
    /// For all partitions together; what comes behind a command that needs them goes along, until
    /// this is full: to wait for all cores costs more than to run on one.
    serial: Option<Lines>,
}

impl<'a> Feeder<'a> {
    fn new(part: &'a Part<'a>) -> Feeder<'a> {
        let cores = part.loader.desks.len();
        Feeder {
            part,
            load: Arc::new(Load::new(cores, true, None)),
            line: Line::default(),
            db: 0,
            lines: (0..cores).map(|_| Lines::default()).collect(),
            serial: None,
        }
    }

    fn router(&self) -> RefMut<'_, Router> {
        self.part.loader.router.borrow_mut()
    }

    /// Takes the command that is complete, and began at `offset`.
    async fn take(&mut self, offset: u64) -> Done<()> {
        let name = &self.part.name;
        if self.line.is_too_long() {
            return Err(broken(format!("AOF {name}: the command at byte {offset} is too long")));
        }
        let (bytes, words) = self.line.words();
        let route = self.router()(bytes, words);
        match route {
            Route::Unknown => {
                let command = String::from_utf8_lossy(self.line.word(0).unwrap_or_default());
                return Err(broken(format!(
                    "Unknown command '{command}' reading the append only file {name} at byte {offset}"
                )));
            }
            Route::Bracket => {}
            Route::Select => {
                let count = self.part.order.databases;
                let index = self.line.word(1).and_then(parse_u64).unwrap_or(u64::MAX);
                let known = usize::try_from(index).ok().filter(|index| *index < count);
                self.db = known.ok_or_else(|| {
                    broken(format!(
                        "FATAL: Data file was created with a Redis server configured to handle more than {count} databases. Exiting"
                    ))
                })?;
            }
            Route::Owner(core, id) => self.push(core, id).await,
            Route::Everywhere(id) => self.push_serial(id).await,
        }
        self.line.clear();
        Ok(())
    }

    async fn push(&mut self, core: usize, id: u16) {
        if self.serial.is_some() {
            return self.push_serial(id).await;
        }
        self.lines[core].push(self.db, id, &self.line);
        if self.lines[core].is_full() {
            self.part.loader.wait_for_room(&self.load, core).await;
            self.send(core);
        }
    }

    async fn push_serial(&mut self, id: u16) {
        if self.serial.as_ref().is_some_and(|lines| lines.db() != Some(self.db)) {
            self.run_serial().await;
        }
        if self.serial.is_none() {
            self.drain().await;
        }
        let lines = self.serial.get_or_insert_with(Lines::serial);
        lines.push(self.db, id, &self.line);
        if lines.is_full() {
            self.run_serial().await;
        }
    }

    /// Has the commands run that need all partitions.
    async fn run_serial(&mut self) {
        if let Some(lines) = self.serial.take() {
            self.part.loader.send(&self.load, 0, Piece::Lines(lines));
            self.part.loader.settle(&self.load).await;
        }
    }

    fn send(&mut self, core: usize) {
        let lines = std::mem::take(&mut self.lines[core]);
        self.part.loader.send(&self.load, core, Piece::Lines(lines));
    }

    /// Waits until all commands have run that were given to the owners of their keys.
    async fn drain(&mut self) {
        for core in 0..self.lines.len() {
            if !self.lines[core].is_empty() {
                self.send(core);
            }
        }
        self.part.loader.settle(&self.load).await;
    }

    async fn finish(mut self) {
        self.run_serial().await;
        self.drain().await;
    }
}

impl<'a> Directory<'a> {
    /// Reads the manifest. An empty one is what there is without a file.
    fn open(place: &'a AofPlace) -> Done<Directory<'a>> {
        let path = place.directory.join(name_of(&manifest_name(&place.filename)));
        let written = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Directory { place, manifest: Manifest::default(), written: Vec::new() });
            }
            Err(error) => {
                return Err(broken(format!(
                    "Fatal error: can't open the AOF manifest file {} for reading: {}",
                    path.display(),
                    reason(&error)
                )));
            }
        };
        let manifest = Manifest::parse(&written).map_err(|error| {
            let mut lines = error.log_lines();
            let last = lines.pop().unwrap_or_default();
            lines.into_iter().for_each(log::warning);
            broken(last)
        })?;
        Ok(Directory { place, manifest, written })
    }

    /// Without a manifest that names files there must be none: nobody could say in which order they
    /// belong.
    fn refuse_orphans(&self) -> Done<()> {
        let Ok(entries) = fs::read_dir(&self.place.directory) else { return Ok(()) };
        let orphan = entries.flatten().map(|entry| entry.file_name()).find(|name| {
            let rest = name.as_bytes().strip_prefix(&*self.place.filename);
            rest.is_some_and(|rest| rest.ends_with(b".aof") || rest.ends_with(b".rdb"))
        });
        let Some(orphan) = orphan else { return Ok(()) };
        let manifest = manifest_name(&self.place.filename);
        Err(broken(format!(
            "The AOF file {} is there, but the manifest {} that has to name it is missing or empty. Restore the manifest, or move the files of {} away to start without their data. Exiting.",
            orphan.display(),
            String::from_utf8_lossy(&manifest),
            self.place.directory.display()
        )))
    }

    /// Takes up the single file of servers before Redis 7, which lies beside the directory.
    async fn adopt_old_file(&mut self) -> Done<()> {
        let old = name_of(&self.place.filename);
        let inside = self.path_of(&self.place.filename);
        // A crash may have come between the two steps.
        let is_begun = self.manifest.incr.is_empty()
            && self.manifest.base.as_ref().is_some_and(|base| base.name == self.place.filename)
            && !inside.exists();
        if !old.exists() || !self.place.opens || !(self.manifest.is_empty() || is_begun) {
            return Ok(());
        }
        self.make()?;
        self.manifest.adopt(&self.place.filename);
        self.write_manifest().await?;
        let (file, directory) = (old.display(), self.place.directory.display());
        fs::rename(&old, &inside).map_err(|error| {
            let reason = reason(&error);
            broken(format!(
                "Error trying to move the old AOF file {file} into dir {directory}: {reason}"
            ))
        })?;
        self.sync(&inside).await?;
        log::notice(format!(
            "Successfully migrated an old-style AOF file ({file}) into the AOF directory ({directory})."
        ));
        Ok(())
    }

    /// Begins an AOF whose base is an RDB file, or empty.
    async fn begin(&mut self, data: Option<&Path>) -> Done<()> {
        self.make()?;
        let name = self.manifest.next_base(&self.place.filename, true).name.clone();
        let path = self.path_of(&name);
        let made = match data {
            Some(data) => fs::copy(data, &path).map(|_| ()),
            None => fs::write(&path, empty_rdb()),
        };
        let synced = made.and_then(|()| fs::File::open(&path)?.sync_all());
        let shown = String::from_utf8_lossy(&name);
        synced.map_err(|error| {
            broken(format!("Can't write the AOF base file {shown}: {}", reason(&error)))
        })?;
        log::notice(format!("Creating AOF base file {shown} on server start"));
        Ok(())
    }

    /// Opens the file that is appended to, and removes what is not needed any more.
    async fn open_last(&mut self) -> Done<JournalFile> {
        self.make()?;
        let is_new = self.manifest.incr.is_empty();
        if is_new {
            self.manifest.next_incr(&self.place.filename, Some(0));
        }
        let name = match self.manifest.incr.last_mut() {
            None => unreachable!("there is one now"),
            Some(last) => {
                last.end_offset = None;
                last.name.clone()
            }
        };
        let (path, shown) = (self.path_of(&name), String::from_utf8_lossy(&name).into_owned());
        let cannot = |error: io::Error| {
            broken(format!("Can't open the append-only file {shown}: {}", reason(&error)))
        };
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(cannot)?;
        let offset = file.metadata().map_err(cannot)?.len();
        self.write_manifest().await?;
        let what = if is_new { "Creating" } else { "Opening" };
        log::notice(format!("{what} AOF incr file {shown} on server start"));
        self.remove_history().await?;
        let mut bytes_before = 0;
        for info in self.manifest.files().filter(|info| info.name != name) {
            bytes_before += self.size_of(&info.name)?;
        }
        Ok(JournalFile { fd: file.into_raw_fd(), offset, bytes_before })
    }

    async fn remove_history(&mut self) -> Done<()> {
        for info in std::mem::take(&mut self.manifest.history) {
            let shown = String::from_utf8_lossy(&info.name);
            log::notice(format!("Removing the history file {shown} in the background"));
            // One that stays is not named any more, and does no harm.
            let _ = fs::remove_file(self.path_of(&info.name));
        }
        self.write_manifest().await
    }

    /// Writes the manifest, if it has changed.
    async fn write_manifest(&mut self) -> Done<()> {
        let text = self.manifest.to_bytes();
        if text == self.written {
            return Ok(());
        }
        let path = self.path_of(&manifest_name(&self.place.filename));
        let beside = self.path_of(&temporary_name(&self.place.filename));
        let replaced = replace(&Files, &path, &beside, text.clone()).await;
        replaced.map_err(|error| broken(format!("Can't write the AOF manifest file {error}")))?;
        self.written = text;
        Ok(())
    }

    fn make(&self) -> Done<()> {
        let directory = &self.place.directory;
        match fs::create_dir(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(broken(format!(
                "Can't open or create append-only dir {}: {}",
                directory.display(),
                reason(&error)
            ))),
            _ => Ok(()),
        }
    }

    async fn sync(&self, path: &Path) -> Done<()> {
        let synced = Files.sync_directory(path).await;
        synced.map_err(|error| broken(format!("Fail to fsync AOF directory {error}")))
    }

    fn path_of(&self, name: &[u8]) -> PathBuf {
        self.place.directory.join(name_of(name))
    }

    fn size_of(&self, name: &[u8]) -> Done<u64> {
        let found = fs::metadata(self.path_of(name));
        found.map(|data| data.len()).map_err(|error| {
            broken(format!(
                "Unable to obtain the AOF file {} length. stat: {}",
                String::from_utf8_lossy(name),
                reason(&error)
            ))
        })
    }
}

fn name_of(name: &[u8]) -> PathBuf {
    std::ffi::OsStr::from_bytes(name).into()
}

/// An RDB file without keys.
fn empty_rdb() -> Vec<u8> {
    let facts: [(&str, &[u8]); 3] =
        [("redis-ver", REDIS_VERSION.as_bytes()), ("redis-bits", b"64"), ("aof-base", b"1")];
    let (magic, body) = (magic(VERSION_MIN), preamble(&facts, &[], &[]));
    let mut checksum = Checksum::default();
    checksum.add(crc64(0, &body), body.len() as u64);
    let end = Checksum::end(Some(checksum), &magic, body.len() as u64);
    [&magic[..], &body, &end].concat()
}

fn broken(reason: String) -> NotLoaded {
    NotLoaded::Broken(reason)
}

/// What a snapshot begins with.
const RDB_MARKS: [&[u8]; 2] = [b"REDIS", b"VALKEY"];
