//! Snapshots for replicas, on their way to the core that sends them.
//!
//! Invariant: no more than `AHEAD_MAX` bytes are on the way; who writes waits for the slowest replica,
//! or for the snapshot to be given up. Order: what was written first arrives first.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};

use bytes::Bytes;
use tokio::sync::Notify;

use super::runtime::File;
use crate::base::sys;
use crate::observe::log;
use crate::persist::rdb::file::{Checksum, MAGIC_LEN};
use crate::persist::save::{Outgoing, Piece, Save};

/// Bytes on the way, at most; one piece more may be.
const AHEAD_MAX: u64 = 4 << 20;
/// Bytes of a file that are read at once.
const READ_BYTES: usize = 256 * 1024;

/// The way between the control plane and the core that sends.
pub(super) struct Way {
    sender: Sender<Outgoing>,
    receiver: Mutex<Receiver<Outgoing>>,
    /// Bytes that were handed over, and those that all replicas have been sent.
    handed: AtomicU64,
    taken: AtomicU64,
    is_unwanted: AtomicBool,
    room: Notify,
    event_fd: RawFd,
}

impl Way {
    /// A way to the core that this eventfd wakes.
    pub(super) fn new(event_fd: RawFd) -> Arc<Way> {
        let (sender, receiver) = channel();
        Arc::new(Way {
            sender,
            receiver: Mutex::new(receiver),
            handed: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            is_unwanted: AtomicBool::new(false),
            room: Notify::new(),
            event_fd,
        })
    }

    /// What comes next. Only one core asks, so the lock is never waited for.
    pub(super) fn next(&self) -> Option<Outgoing> {
        self.receiver.try_lock().ok()?.try_recv().ok()
    }

    /// So many bytes more have been sent to all replicas.
    pub(super) fn took(&self, bytes: u64) {
        self.taken.fetch_add(bytes, SeqCst);
        self.room.notify_one();
    }

    /// Nobody wants the snapshot under way any more.
    pub(super) fn give_up(&self) {
        self.is_unwanted.store(true, SeqCst);
        self.room.notify_one();
    }

    fn is_unwanted(&self) -> bool {
        self.is_unwanted.load(SeqCst)
    }

    fn hand_over(&self, outgoing: Outgoing) {
        if self.sender.send(outgoing).is_ok() {
            sys::write_event(self.event_fd);
        }
    }

    /// Hands bytes over as soon as there is room for them, unless nobody wants them any more.
    async fn send(&self, bytes: Bytes) {
        while self.handed.load(SeqCst) - self.taken.load(SeqCst) > AHEAD_MAX {
            self.room.notified().await;
        }
        if self.is_unwanted() {
            return;
        }
        self.handed.fetch_add(bytes.len() as u64, SeqCst);
        self.hand_over(Outgoing::Bytes(bytes));
    }

    /// All that was wanted has been handed over.
    pub(super) fn end(&self, is_whole: bool) {
        self.is_unwanted.store(false, SeqCst);
        self.hand_over(Outgoing::End { is_whole });
    }

    /// Sends a whole file.
    pub(super) async fn send_file(&self, file: File, len: u64) {
        self.hand_over(Outgoing::Length(len));
        let mut offset = 0;
        while offset < len && !self.is_unwanted() {
            let (read, buffer) = file.read_at(vec![0; READ_BYTES], offset).await;
            let Ok(count @ 1..) = read else {
                log::warning("Read error sending DB to replica");
                return self.end(false);
            };
            offset += count as u64;
            self.send(Bytes::from(buffer).slice(..count)).await;
        }
        let _ = file.close().await;
        self.end(offset >= len);
    }
}

/// The pieces of a snapshot that is sent as it is written.
pub(super) struct Wire {
    way: Arc<Way>,
    checksum: Checksum,
    len: u64,
    head: [u8; MAGIC_LEN],
}

impl Wire {
    /// Sends what stands before the pieces.
    pub(super) async fn begin(way: Arc<Way>, save: &Save) -> Wire {
        let mut wire = Wire { way, checksum: Checksum::default(), len: 0, head: save.magic() };
        wire.way.send(Bytes::copy_from_slice(&wire.head)).await;
        let preamble = Bytes::copy_from_slice(&save.preamble);
        wire.write(Piece::new(save, 0, vec![preamble], false)).await;
        wire
    }

    /// Sends a piece.
    pub(super) async fn write(&mut self, piece: Piece) {
        self.checksum.add(piece.crc, piece.len);
        self.len += piece.len;
        for bytes in piece.bytes {
            self.way.send(bytes).await;
        }
    }

    /// Sends what stands behind the pieces.
    pub(super) async fn finish(self, save: &Save) {
        let checksum = save.checksums.then_some(self.checksum);
        let end = Checksum::end(checksum, &self.head, self.len);
        self.way.send(Bytes::copy_from_slice(&end)).await;
    }
}
