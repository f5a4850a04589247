//! Writes and syncs of files, on threads of their own: epoll knows no files, and a core waits for none.
//!
//! Invariant: a job is done by one thread; jobs beside each other run in no order, as on an io_uring. The
//! threads begin with the first job, and end with the ring.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::mpsc::{Receiver, SendError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::calls;
use crate::base::{alloc, sys};
use crate::ring::{Fd, Token};

/// A group of a journal is under way, beside it a sync of the whole file and a write-back, and one job to
/// spare.
const THREADS: usize = 4;

/// What a thread does with a file.
pub(super) enum Job {
    /// See `Op::Write`.
    Write { fd: Fd, token: Token, offset: u64, bytes: Bytes, durable: bool },
    /// See `Op::Sync`.
    Sync { fd: Fd, token: Token },
    /// See `Op::WriteBack`.
    WriteBack { fd: Fd, token: Token, offset: u64, len: u32 },
    /// Closing may free what is large, and take its time.
    Close(Fd),
}

/// What became of a job.
pub(super) type Outcome = (Token, i32);

/// The jobs of one ring.
pub(super) struct Files {
    jobs: Option<Sender<Job>>,
    outcomes: (Sender<Outcome>, Receiver<Outcome>),
    /// Written to when an outcome is there.
    wakes: Arc<OwnedFd>,
    under_way: usize,
}

impl Files {
    pub(super) fn new(wakes: Arc<OwnedFd>) -> Files {
        Files { jobs: None, outcomes: channel(), wakes, under_way: 0 }
    }

    /// Gives a job to a thread.
    pub(super) fn start(&mut self, job: Job) {
        self.under_way += usize::from(!matches!(job, Job::Close(_)));
        let jobs = match self.jobs.take() {
            Some(jobs) => jobs,
            None => self.start_threads(),
        };
        match jobs.send(job) {
            Ok(()) => self.jobs = Some(jobs),
            // Not one thread could be started: the next job tries again.
            Err(SendError(job)) => refuse(job, &self.outcomes.0),
        }
    }

    fn start_threads(&self) -> Sender<Job> {
        let (jobs, queue) = channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        for number in 0..THREADS {
            let (queue, outcomes) = (queue.clone(), self.outcomes.0.clone());
            let wakes = self.wakes.clone();
            let thread = std::thread::Builder::new().name(format!("files-{number}"));
            // With fewer of them jobs wait longer.
            let _ = thread.spawn(move || {
                alloc::register_thread();
                sys::unpin_thread();
                loop {
                    let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(job) = job else { return };
                    work(job, &outcomes);
                    sys::write_event(wakes.as_raw_fd());
                }
            });
        }
        jobs
    }

    /// The next outcome, if there is one.
    pub(super) fn finished(&mut self) -> Option<Outcome> {
        if self.under_way == 0 {
            return None;
        }
        let outcome = self.outcomes.1.try_recv().ok()?;
        self.under_way -= 1;
        Some(outcome)
    }
}

/// Ends a job that nobody can do.
fn refuse(job: Job, outcomes: &Sender<Outcome>) {
    match job {
        Job::Close(fd) => calls::close(fd),
        Job::Write { token, .. } | Job::Sync { token, .. } | Job::WriteBack { token, .. } => {
            // The receiving end is beside this one.
            let _ = outcomes.send((token, -libc::EAGAIN));
        }
    }
}

fn work(job: Job, outcomes: &Sender<Outcome>) {
    let outcome = match job {
        Job::Close(fd) => return calls::close(fd),
        Job::Write { fd, token, offset, bytes, durable } => {
            let written = until_done(|| calls::write_at(fd, &bytes, offset, durable));
            (token, super::result_of(written))
        }
        Job::Sync { fd, token } => {
            (token, super::result_of(until_done(|| calls::sync(fd)).map(|()| 0)))
        }
        Job::WriteBack { fd, token, offset, len } => {
            // Where the file has been closed meanwhile, it does no harm to another one.
            calls::write_back(fd, offset, len);
            (token, 0)
        }
    };
    // Nobody listens any more when the ring has ended.
    let _ = outcomes.send(outcome);
}

/// Tries again after a signal.
fn until_done<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
