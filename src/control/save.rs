//! Writes saves: pieces of all cores into one file, which takes the old one's place when it is safe.
//!
//! Invariant: a record that one core sends in several pieces stands in one place; nothing of a save
//! that failed, or is not wanted any more, is left behind.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc::UnboundedReceiver;

use crate::base::sys;
use crate::observe::log;
use crate::observe::server::ServerFacts;
use crate::persist::save::{Piece, Save, Target, Writer, put_in_place};
use crate::persist::storage::{Storage, StorageError, Stored};

/// A piece of a save, or the end of all.
pub(super) enum Message {
    /// To be written.
    Piece(Arc<Save>, Piece),
    /// The process ends: what is not finished goes.
    End(tokio::sync::oneshot::Sender<()>),
}

/// The save that is being written.
struct Job<F> {
    save: Arc<Save>,
    /// None after a failure.
    writer: Option<Writer<F>>,
    /// Pieces that wait, by partition.
    waiting: Vec<VecDeque<Piece>>,
    /// The partition that is in the middle of a record.
    holder: Option<usize>,
    /// Partitions that have not sent their last piece.
    left: usize,
    began: Instant,
}

/// Writes all saves of the process, one after the other.
pub(super) async fn write_saves<S: Storage>(
    storage: S,
    mut messages: UnboundedReceiver<Message>,
    server: Arc<ServerFacts>,
    event_fds: Vec<i32>,
) {
    let beside = PathBuf::from(format!("temp-{}.rdb", server.pid));
    let mut job: Option<Job<S::File>> = None;
    while let Some(message) = messages.recv().await {
        let (save, piece) = match message {
            Message::Piece(save, piece) => (save, piece),
            Message::End(done) => {
                if job.is_some_and(|job| job.writer.is_some()) {
                    let _ = storage.remove(&beside).await;
                }
                let _ = done.send(());
                return;
            }
        };
        if job.is_none() {
            job = Some(begin(&storage, save, &beside).await);
        }
        let Some(open) = &mut job else { continue };
        if server.persistence.cancelled.load(Ordering::Acquire) {
            open.save.cancel();
        }
        open.waiting[piece.partition].push_back(piece);
        if let Err(error) = open.write_waiting(&storage).await {
            open.fail(&error);
        }
        server.persistence.saved_keys.store(open.save.keys_done(), Ordering::Relaxed);
        if open.left == 0
            && let Some(done) = job.take()
        {
            end(&storage, done, &beside, &server).await;
            event_fds.iter().for_each(|fd| sys::write_event(*fd));
        }
    }
}

async fn begin<S: Storage>(storage: &S, save: Arc<Save>, beside: &Path) -> Job<S::File> {
    let created = Writer::create(storage, &save, beside).await;
    let partitions = save.progress.len();
    let mut job = Job {
        save,
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
                beside.display(),
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
                Some(writer) if !self.save.is_cancelled() => {
                    writer.write(storage, &self.save, piece).await
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

/// All partitions have sent all: the file is finished and put in its place, or goes.
async fn end<S: Storage>(storage: &S, job: Job<S::File>, beside: &Path, server: &ServerFacts) {
    let is_unwanted = job.save.is_cancelled() && job.writer.is_some();
    let outcome = match job.writer {
        Some(writer) if !is_unwanted => settle(storage, writer, &job.save, beside).await,
        _ => Err(()),
    };
    if outcome.is_err() {
        // It may not even have been made.
        let _ = storage.remove(beside).await;
    }
    let seconds = job.began.elapsed().as_secs() as i64;
    match &job.save.target {
        Target::Dump(_) => tell_dump(server, &job.save, (outcome, is_unwanted), seconds),
        Target::AofBase => {}
    }
    server.persistence.end();
}

/// Finishes a file whose pieces have all been written, and has its target get it.
async fn settle<S: Storage>(
    storage: &S,
    writer: Writer<S::File>,
    save: &Save,
    beside: &Path,
) -> Result<(), ()> {
    let settled = async {
        writer.finish(storage, save).await?;
        match &save.target {
            Target::Dump(path) => put_in_place(storage, beside, path).await,
            Target::AofBase => Ok(()),
        }
    };
    settled.await.map_err(|error| log_failure(&error))
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
