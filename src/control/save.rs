//! Writes saves: pieces of all cores into one file, which takes the old one's place when it is safe.
//!
//! Invariant: a record that one core sends in several pieces stands in one place; nothing of a save
//! that failed, or is not wanted any more, is left behind.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc::UnboundedReceiver;

use super::aof::rewrite::Keeper;
use super::files::Files;
use super::load::JournalDesk;
use super::runtime::File;
use super::send::{Way, Wire};
use super::{Ask, Desk, Done, answer};
use crate::base::sys;
use crate::observe::log;
use crate::observe::server::ServerFacts;
use crate::persist::aof::files::AofFiles;
use crate::persist::load::RewriteOrder;
use crate::persist::save::{Piece, Save, Target, Writer, put_in_place};
use crate::persist::storage::{Storage, StorageError, Stored};

/// What the writer of saves is told.
pub(super) enum Message {
    /// To be written.
    Piece(Arc<Save>, Piece),
    /// The files of the AOF, as they were loaded.
    Files(AofFiles<Files>),
    /// A rewrite of the AOF is to begin; who has asked hears of it.
    Rewrite(RewriteOrder),
    /// The process ends: what is not finished goes.
    End(tokio::sync::oneshot::Sender<()>),
}

/// Where the pieces of a save go.
enum Sink<F> {
    /// To a file.
    File(Writer<F>),
    /// To replicas.
    Wire(Wire),
}

/// The save that is being written.
struct Job<F> {
    save: Arc<Save>,
    /// The file, until it is whole.
    beside: PathBuf,
    /// None after a failure.
    writer: Option<Sink<F>>,
    /// Pieces that wait, by partition.
    waiting: Vec<VecDeque<Piece>>,
    /// The partition that is in the middle of a record.
    holder: Option<usize>,
    /// Partitions that have not sent their last piece.
    left: usize,
    began: Instant,
}

/// Writes all saves of the process, one after the other, and keeps the files of the AOF.
pub(super) struct SaveWriter {
    pub(super) server: Arc<ServerFacts>,
    pub(super) event_fds: Vec<i32>,
    pub(super) desks: Rc<Vec<Desk>>,
    pub(super) journal: JournalDesk,
    pub(super) way: Arc<Way>,
    pub(super) keeper: Keeper,
}

impl SaveWriter {
    pub(super) async fn run(mut self, mut messages: UnboundedReceiver<Message>) {
        let storage = Files;
        let mut job: Option<Job<<Files as Storage>::File>> = None;
        while let Some(message) = messages.recv().await {
            let (save, piece) = match message {
                Message::Piece(save, piece) => (save, piece),
                Message::Files(files) => {
                    self.keeper.take(files);
                    continue;
                }
                Message::Rewrite(order) => {
                    self.begin_rewrite(&order).await;
                    continue;
                }
                Message::End(done) => {
                    if let Some(open) = job {
                        self.drop_files(&storage, &open.save, &open.beside).await;
                    }
                    let _ = done.send(());
                    return;
                }
            };
            if job.is_none() {
                job = Some(begin(&storage, save, self.server.pid, &self.way).await);
            }
            let Some(open) = &mut job else { continue };
            let persistence = &self.server.persistence;
            if persistence.cancelled.load(Ordering::Acquire) {
                open.save.cancel();
            }
            open.waiting[piece.partition].push_back(piece);
            if let Err(error) = open.write_waiting(&storage).await {
                open.fail(&error);
            }
            persistence.saved_keys.store(open.save.keys_done(), Ordering::Relaxed);
            if open.left == 0
                && let Some(done) = job.take()
            {
                self.end(&storage, done).await;
            }
        }
    }

    /// Opens what a rewrite needs, and has the writer of the journal begin it.
    async fn begin_rewrite(&mut self, order: &RewriteOrder) {
        let rewrites = &self.server.journal.rewrites;
        let outcome = if let Some(opened) = self.keeper.open(order).await {
            rewrites.count.fetch_add(1, Ordering::Relaxed);
            self.journal.put(opened);
            Ok(Done::Rewrite)
        } else {
            rewrites.failed.store(true, Ordering::Relaxed);
            rewrites.failures.fetch_add(1, Ordering::Relaxed);
            self.server.persistence.end();
            Err(NOT_REWRITTEN.to_owned())
        };
        if let Some((core, ticket)) = order.asker {
            answer(&self.desks, Ask { core, ticket }, outcome);
        }
        self.wake();
    }

    fn wake(&self) {
        self.event_fds.iter().for_each(|fd| sys::write_event(*fd));
    }

    /// Nothing of a snapshot that did not come to its end is left behind.
    async fn drop_files(&mut self, storage: &Files, save: &Save, beside: &Path) {
        if save.is_for_replicas() {
            self.way.end(false);
        }
        // It may not even have been made.
        let _ = storage.remove(beside).await;
        if let Target::AofBase(rewrite) = save.target {
            self.keeper.give_up(rewrite).await;
        }
    }

    /// All partitions have sent all: the file is finished and put in its place, or goes.
    async fn end(&mut self, storage: &Files, job: Job<<Files as Storage>::File>) {
        let Job { save, writer, beside, began, .. } = job;
        let is_unwanted = save.is_cancelled() && writer.is_some();
        let outcome = match writer {
            Some(Sink::File(writer)) if !is_unwanted => {
                self.settle(storage, writer, (&save, &beside)).await
            }
            Some(Sink::Wire(wire)) if !is_unwanted => {
                wire.finish(&save).await;
                self.way.end(true);
                Ok(())
            }
            _ => Err(()),
        };
        // It may have been cancelled meanwhile.
        let is_cancelled = self.server.persistence.cancelled.load(Ordering::Acquire);
        let is_unwanted = is_unwanted || outcome.is_err() && is_cancelled;
        if outcome.is_err() {
            self.drop_files(storage, &save, &beside).await;
        }
        let (seconds, ended) = (began.elapsed().as_secs() as i64, (outcome, is_unwanted));
        match &save.target {
            Target::Dump(_) => tell_dump(&self.server, &save, ended, seconds),
            Target::AofBase(_) => tell_rewrite(&self.server, ended, seconds),
            Target::Replicas { .. } if ended.0.is_ok() => {
                log::notice("Background RDB transfer terminated with success");
            }
            Target::Replicas { .. } => log::warning("Background transfer error"),
        }
        self.server.persistence.end();
        self.wake();
    }

    /// Finishes a file whose pieces have all been written, and has its target get it.
    async fn settle(
        &mut self,
        storage: &Files,
        writer: Writer<<Files as Storage>::File>,
        (save, beside): (&Save, &Path),
    ) -> Result<(), ()> {
        let finished = writer.finish(storage, save).await;
        let len = finished.map_err(|error| log_failure(&error))?;
        match &save.target {
            Target::Dump(path) => {
                let placed = put_in_place(storage, beside, &beside.with_file_name(path)).await;
                placed.map_err(|error| log_failure(&error))
            }
            Target::AofBase(rewrite) => {
                log::notice(format!(
                    "Successfully created the temporary AOF base file {}",
                    beside.display()
                ));
                self.keeper.install((beside, len), *rewrite).await
            }
            Target::Replicas { .. } => {
                let sent = send_file(storage, (beside, len), &self.way).await;
                sent.map_err(|error| log_failure(&error))
            }
        }
    }
}

async fn begin<S: Storage>(storage: &S, save: Arc<Save>, pid: u32, way: &Arc<Way>) -> Job<S::File> {
    let beside = match save.target {
        // It is put in its place where it was begun, if the server goes to another directory meanwhile.
        Target::Dump(_) | Target::Replicas { .. } => {
            std::env::current_dir().unwrap_or_default().join(format!("temp-{pid}.rdb"))
        }
        Target::AofBase(_) => PathBuf::from(format!("temp-rewriteaof-bg-{pid}.aof")),
    };
    let created = match save.target {
        Target::Replicas { is_diskless: true } => {
            Ok(Sink::Wire(Wire::begin(way.clone(), &save).await))
        }
        _ => Writer::create(storage, &save, &beside).await.map(Sink::File),
    };
    let partitions = save.progress.len();
    let mut job = Job {
        save,
        beside,
        writer: None,
        waiting: (0..partitions).map(|_| VecDeque::new()).collect(),
        holder: None,
        left: partitions,
        began: Instant::now(),
    };
    match created {
        Ok(writer) => job.writer = Some(writer),
        Err(error) => {
            let directory = std::env::current_dir().unwrap_or_default();
            log::warning(format!(
                "Failed opening the temp RDB file {} (in server root dir {}) for saving: {}",
                job.beside.display(),
                directory.display(),
                sys::reason(&error.source)
            ));
            job.save.cancel();
        }
    }
    job
}

impl<F> Job<F> {
    async fn write_waiting<S: Storage<File = F>>(&mut self, storage: &S) -> Stored<()> {
        loop {
            let next = match self.holder {
                Some(partition) => Some(partition),
                None => self.waiting.iter().position(|pieces| !pieces.is_empty()),
            };
            let Some(partition) = next else { return Ok(()) };
            let Some(piece) = self.waiting[partition].pop_front() else { return Ok(()) };
            self.holder = piece.continues.then_some(partition);
            self.left -= usize::from(piece.is_last);
            if piece.is_last {
                self.holder = None;
            }
            let len = piece.len;
            let written = match &mut self.writer {
                Some(Sink::File(writer)) if !self.save.is_cancelled() => {
                    writer.write(storage, &self.save, piece).await
                }
                Some(Sink::Wire(wire)) if !self.save.is_cancelled() => {
                    wire.write(piece).await;
                    Ok(())
                }
                _ => Ok(()),
            };
            self.save.progress[partition].queued.fetch_sub(len, Ordering::Relaxed);
            if let Err(error) = written {
                self.fail(&error);
            }
            if self.save.is_cancelled() {
                // Who was in the middle of a record sends nothing more of it.
                self.holder = None;
            }
        }
    }

    fn fail(&mut self, error: &StorageError) {
        log_failure(error);
        self.writer = None;
        self.save.cancel();
    }
}

/// Sends a whole file to replicas, which nobody else needs: it has no name any more then.
async fn send_file(storage: &Files, (path, len): (&Path, u64), way: &Arc<Way>) -> Stored<()> {
    let opened = File::open(path).await;
    let file = opened.map_err(|error| StorageError::of(path, error))?;
    storage.remove(path).await?;
    let way = way.clone();
    tokio::task::spawn_local(async move { way.send_file(file, len).await });
    Ok(())
}

fn log_failure(error: &StorageError) {
    let reason = sys::reason(&error.source);
    log::warning(format!("Write error while saving DB to the disk: {reason}"));
}

/// Says how a save of the RDB file has ended.
fn tell_dump(
    server: &ServerFacts,
    save: &Save,
    (outcome, is_unwanted): (Result<(), ()>, bool),
    seconds: i64,
) {
    let persistence = &server.persistence;
    if outcome.is_ok() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        persistence.last_save.store(now as i64, Ordering::Relaxed);
        persistence.changes_saved.store(save.changes, Ordering::Relaxed);
        persistence.failed.store(false, Ordering::Release);
        log::notice("DB saved on disk");
        if !save.is_urgent {
            log::notice("Background saving terminated with success");
        }
    } else if is_unwanted {
        log::warning("Background saving was cancelled");
    } else if !save.is_urgent {
        persistence.failed.store(true, Ordering::Release);
        log::warning("Background saving error");
    }
    persistence.was_saved.store(outcome.is_ok(), Ordering::Release);
    if !save.is_urgent {
        persistence.last_seconds.store(seconds, Ordering::Relaxed);
    }
}

/// Says how a rewrite of the AOF has ended.
fn tell_rewrite(
    server: &ServerFacts,
    (outcome, is_unwanted): (Result<(), ()>, bool),
    seconds: i64,
) {
    if is_unwanted {
        server.journal.rewrites.last_seconds.store(seconds, Ordering::Relaxed);
        return log::warning("Background AOF rewrite was cancelled");
    }
    server.journal.rewrites.ended(outcome.is_ok(), seconds);
    if outcome.is_err() {
        log::warning("Background AOF rewrite terminated with error");
    }
}

/// What BGREWRITEAOF answers where a file cannot be made. Source: Redis.
const NOT_REWRITTEN: &str = "ERR Can't execute an AOF background rewriting. Please check the server logs for more information.";
