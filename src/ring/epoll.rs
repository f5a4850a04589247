//! epoll as a `Ring`, for machines that refuse io_uring.
//!
//! Invariant: one instance per core, used on that core's thread only. Operations run in the order in
//! which they were pushed, at the next submission: what can be done at once is done at once, the rest
//! when its descriptor is ready. A descriptor is watched, level-triggered, for exactly what is armed on
//! it. The two eventfds are edge-triggered and never read: a write to one is an edge, whatever it
//! counts. Files are written and synced by threads (`epoll/files.rs`). Source: epoll(7).

mod calls;
mod files;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::leases::Leases;
use super::mapping::Mapping;
use super::{Backend, BufferLease, Completion, Fd, Op, Ring, Token, Wait};
use crate::base::sys;
use calls::{EDGE, ENDED, Events, IN, OUT, Poll};
use files::{Files, Job};

/// Descriptors of one look at what is ready; the others come with the next.
const EVENTS_MAX: usize = 1024;
/// Connections that are taken from a listener at once.
const ACCEPTS_MAX: usize = 64;
/// Receive buffers of a core, and the bytes of each.
const BUFFERS: (u16, u32) = (64, 64 * 1024);
/// With less room a receive begins the next buffer.
const ROOM_MIN: u32 = 4 * 1024;
/// Pauses of the processor between two looks while spinning: a look is a system call.
const PAUSES: u32 = 16;
/// Names of the eventfds; sockets are named by their descriptor.
const WAKES: u64 = u64::MAX;
const EVENT: u64 = u64::MAX - 1;

/// One core's epoll instance.
pub struct EpollRing {
    poll: Poll,
    /// The eventfd that other cores and the threads for files write to.
    wakes: Arc<OwnedFd>,
    /// Those of all cores.
    peers: Vec<RawFd>,
    queue: Vec<Op>,
    completions: VecDeque<Completion>,
    /// By descriptor.
    sockets: Vec<Socket>,
    /// Where what can be cancelled is armed.
    armed: BTreeMap<u64, Fd>,
    /// Sockets whose watch may have to change.
    touched: Vec<Fd>,
    /// Buffers of completed receives, by index.
    received: BTreeMap<u32, Vec<u8>>,
    event: Option<Token>,
    /// The last spin has found what there is.
    has_looked: bool,
    /// Somebody has written to the eventfd while nothing was armed.
    is_event_due: bool,
    leases: Leases,
    memory: Mapping,
    output: Vec<u8>,
    files: Files,
    /// Descriptors of files.
    written: BTreeSet<Fd>,
    /// Sockets that are closed by the next submission: as on an io_uring, the peer sees the end of its
    /// connection a turn after what the end led to was posted to other cores.
    closing: Vec<Fd>,
}

/// What is armed on a descriptor.
#[derive(Default)]
struct Socket {
    watched: Events,
    reading: Option<Reading>,
    sending: Option<Sending>,
}

struct Reading {
    token: Token,
    how: Way,
}

/// What is done when there is something to read.
enum Way {
    Accept,
    Lease,
    Into(Vec<u8>, usize),
}

struct Sending {
    token: Token,
    bytes: Bytes,
    sent: usize,
}

impl Backend for EpollRing {
    fn open(event_fd: RawFd) -> io::Result<EpollRing> {
        let poll = Poll::new(EVENTS_MAX)?;
        let wakes = Arc::new(sys::event_fd()?);
        poll.change(wakes.as_raw_fd(), WAKES, (0, IN | EDGE))?;
        poll.change(event_fd, EVENT, (0, IN | EDGE))?;
        Ok(EpollRing {
            poll,
            files: Files::new(wakes.clone()),
            wakes,
            peers: Vec::new(),
            queue: Vec::new(),
            completions: VecDeque::new(),
            sockets: Vec::new(),
            armed: BTreeMap::new(),
            touched: Vec::new(),
            received: BTreeMap::new(),
            event: None,
            has_looked: false,
            is_event_due: false,
            leases: Leases::new(BUFFERS),
            memory: Mapping::new(BUFFERS.0 as usize * BUFFERS.1 as usize)?,
            output: Vec::new(),
            written: BTreeSet::new(),
            closing: Vec::new(),
        })
    }

    fn wake_fd(&self) -> RawFd {
        self.wakes.as_raw_fd()
    }

    fn refusal(error: &io::Error) -> String {
        format!("epoll cannot be set up: {}", sys::reason(error))
    }

    fn set_peers(&mut self, peers: Vec<RawFd>) {
        self.peers = peers;
    }
}

impl EpollRing {
    fn complete(&mut self, token: Token, result: i32, more: bool) {
        self.completions.push_back(Completion { token, result, more, lease: None });
    }

    fn socket(&mut self, fd: Fd) -> &mut Socket {
        let index = fd as usize;
        if self.sockets.len() <= index {
            self.sockets.resize_with(index + 1, Socket::default);
        }
        &mut self.sockets[index]
    }

    /// Does everything that was pushed, as far as it can be done now.
    fn submit(&mut self) {
        for fd in std::mem::take(&mut self.closing) {
            // The kernel forgets a closed descriptor by itself.
            self.socket(fd).watched = 0;
            calls::close(fd);
        }
        let mut queue = std::mem::take(&mut self.queue);
        for op in queue.drain(..) {
            self.start(op);
        }
        self.queue = queue;
        for fd in std::mem::take(&mut self.touched) {
            self.watch(fd);
        }
    }

    fn start(&mut self, op: Op) {
        match op {
            Op::Accept { listener, token } => {
                // What a listener that cannot be changed does is not worse than to wait for a client.
                let _ = calls::never_block(listener);
                self.arm(listener, Reading { token, how: Way::Accept });
            }
            Op::Recv { fd, token } => self.arm(fd, Reading { token, how: Way::Lease }),
            Op::RecvInto { fd, token, buffer, limit } => {
                self.arm(fd, Reading { token, how: Way::Into(buffer, limit) });
                // The rest of a large word has often come already.
                self.read(fd);
            }
            Op::SendTurn { fd, token, start, len } => {
                let sent = calls::send(fd, &self.output[start..start + len]);
                let result = result_of(sent);
                if result != len as i32 {
                    self.complete(token, result, false);
                }
            }
            Op::Send { fd, token, bytes } => {
                let sending = &mut self.socket(fd).sending;
                assert!(sending.is_none(), "two sends on one socket would mix up its bytes");
                *sending = Some(Sending { token, bytes, sent: 0 });
                self.armed.insert(token.user_data(), fd);
                self.touched.push(fd);
                self.write(fd);
            }
            Op::Cancel { token } => self.cancel(token),
            Op::Close { fd } => self.close(fd),
            Op::Wake { core } => sys::write_event(self.peers[core]),
            Op::Write { fd, token, offset, bytes, durable } => {
                self.written.insert(fd);
                self.files.start(Job::Write { fd, token, offset, bytes, durable });
            }
            Op::Sync { fd, token } => {
                self.written.insert(fd);
                self.files.start(Job::Sync { fd, token });
            }
            Op::WriteBack { fd, token, offset, len } => {
                self.files.start(Job::WriteBack { fd, token, offset, len });
            }
            Op::Event { token } => {
                self.event = Some(token);
                self.tell_event();
            }
        }
    }

    fn arm(&mut self, fd: Fd, reading: Reading) {
        self.armed.insert(reading.token.user_data(), fd);
        let armed = &mut self.socket(fd).reading;
        assert!(armed.is_none(), "two receives on one socket would mix up its bytes");
        *armed = Some(reading);
        self.touched.push(fd);
    }

    fn cancel(&mut self, token: Token) {
        let Some(fd) = self.armed.get(&token.user_data()).copied() else { return };
        if self.socket(fd).reading.as_ref().is_some_and(|reading| reading.token == token) {
            self.end_reading(fd, -libc::ECANCELED);
        } else {
            self.end_sending(fd, -libc::ECANCELED);
        }
    }

    fn close(&mut self, fd: Fd) {
        if self.written.remove(&fd) {
            return self.files.start(Job::Close(fd));
        }
        self.end_reading(fd, -libc::ECANCELED);
        self.end_sending(fd, -libc::ECANCELED);
        self.closing.push(fd);
    }

    /// Watches a socket for what is armed on it, and no more.
    fn watch(&mut self, fd: Fd) {
        let socket = self.socket(fd);
        let mut wanted = 0;
        if socket.reading.is_some() {
            wanted |= IN;
        }
        if socket.sending.is_some() {
            wanted |= OUT;
        }
        let watched = std::mem::replace(&mut socket.watched, wanted);
        if watched == wanted {
            return;
        }
        if let Err(error) = self.poll.change(fd, fd as u64, (watched, wanted)) {
            self.socket(fd).watched = 0;
            let result = result_of(Err(error));
            self.end_reading(fd, result);
            self.end_sending(fd, result);
        }
    }

    fn end_reading(&mut self, fd: Fd, result: i32) {
        let Some(reading) = self.socket(fd).reading.take() else { return };
        if let Way::Into(buffer, _) = reading.how {
            self.received.insert(reading.token.index(), buffer);
        }
        self.armed.remove(&reading.token.user_data());
        self.touched.push(fd);
        self.complete(reading.token, result, false);
    }

    /// What went out is reported before what then failed.
    fn end_sending(&mut self, fd: Fd, failure: i32) {
        let Some(sending) = self.socket(fd).sending.take() else { return };
        self.armed.remove(&sending.token.user_data());
        self.touched.push(fd);
        let result = if sending.sent > 0 { sending.sent as i32 } else { failure };
        self.complete(sending.token, result, false);
    }

    /// Reads once from a descriptor that may have something.
    fn read(&mut self, fd: Fd) {
        let Some(reading) = &mut self.socket(fd).reading else { return };
        let token = reading.token;
        match &mut reading.how {
            Way::Accept => self.accept(fd, token),
            Way::Lease => self.receive(fd, token),
            Way::Into(buffer, limit) => {
                let received = calls::receive_behind(fd, buffer, *limit);
                if !must_wait(&received) {
                    self.end_reading(fd, result_of(received));
                }
            }
        }
    }

    fn accept(&mut self, listener: Fd, token: Token) {
        for _ in 0..ACCEPTS_MAX {
            let accepted = calls::accept(listener);
            match accepted {
                Ok(fd) => self.complete(token, fd, true),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_) if must_wait(&accepted) => return,
                Err(error) => return self.end_reading(listener, result_of(Err(error))),
            }
        }
    }

    fn receive(&mut self, fd: Fd, token: Token) {
        let Some((buffer, filled)) = self.leases.next() else {
            return self.end_reading(fd, -libc::ENOBUFS);
        };
        let size = self.leases.size;
        let room = BufferLease { buffer, start: filled, len: size - filled, last: true };
        let received = calls::receive(fd, &mut self.memory.bytes_mut()[room.place(size as usize)]);
        match received {
            Ok(len @ 1..) => {
                let left = room.len - len as u32;
                let lease = Some(self.leases.lease(len as u32, left < ROOM_MIN));
                let result = len as i32;
                self.completions.push_back(Completion { token, result, more: true, lease });
            }
            _ if must_wait(&received) => {}
            end => self.end_reading(fd, result_of(end)),
        }
    }

    /// Sends what a socket takes.
    fn write(&mut self, fd: Fd) {
        let Some(sending) = &mut self.socket(fd).sending else { return };
        let sent = calls::send(fd, &sending.bytes[sending.sent..]);
        if must_wait(&sent) {
            return;
        }
        match sent {
            Ok(count) => {
                sending.sent += count;
                if sending.sent == sending.bytes.len() {
                    self.end_sending(fd, 0);
                }
            }
            Err(error) => self.end_sending(fd, result_of(Err(error))),
        }
    }

    /// Looks what is ready, after waiting for it for as long as `timeout`, and does it.
    fn look(&mut self, timeout: Duration) {
        let found = self.poll.wait(timeout);
        for at in 0..found {
            let (name, events) = self.poll.ready(at);
            match name {
                WAKES => {}
                EVENT => {
                    self.is_event_due = true;
                    self.tell_event();
                }
                fd => {
                    let fd = fd as Fd;
                    if events & (IN | ENDED) != 0 {
                        self.read(fd);
                    }
                    if events & (OUT | ENDED) != 0 {
                        self.write(fd);
                    }
                }
            }
        }
        for fd in std::mem::take(&mut self.touched) {
            self.watch(fd);
        }
        self.take_outcomes();
    }

    fn tell_event(&mut self) {
        if self.is_event_due
            && let Some(token) = self.event.take()
        {
            self.is_event_due = false;
            self.complete(token, size_of::<u64>() as i32, false);
        }
    }

    fn take_outcomes(&mut self) {
        while let Some((token, result)) = self.files.finished() {
            self.complete(token, result, false);
        }
    }
}

impl Ring for EpollRing {
    #[inline]
    fn push(&mut self, op: Op) {
        self.queue.push(op);
    }

    fn last_output(&self) -> &[u8] {
        &self.output
    }

    fn swap_output(&mut self, output: Vec<u8>) -> Vec<u8> {
        std::mem::replace(&mut self.output, output)
    }

    fn submit_and_wait(&mut self, wait: Wait) {
        self.submit();
        self.take_outcomes();
        match wait {
            Wait::Upto(timeout) if self.completions.is_empty() && self.closing.is_empty() => {
                self.look(timeout);
            }
            _ if std::mem::take(&mut self.has_looked) => {}
            _ => self.look(Duration::ZERO),
        }
    }

    fn spin(&mut self, times: u32, has_work: &mut dyn FnMut() -> bool) -> bool {
        self.submit();
        for pause in 0..times {
            if pause % PAUSES == 0 {
                self.look(Duration::ZERO);
            }
            if !self.completions.is_empty() || has_work() {
                self.has_looked = true;
                return true;
            }
            std::hint::spin_loop();
        }
        false
    }

    #[inline]
    fn reap(&mut self) -> Option<Completion> {
        self.completions.pop_front()
    }

    fn overflowed(&mut self) -> bool {
        false
    }

    #[inline]
    fn bytes(&self, lease: &BufferLease) -> &[u8] {
        &self.memory.bytes()[lease.place(self.leases.size as usize)]
    }

    #[inline]
    fn release(&mut self, lease: BufferLease) {
        self.leases.release(lease.buffer);
    }

    #[inline]
    fn publish(&mut self) {
        self.leases.publish();
    }

    fn take_received(&mut self, token: Token, _received: usize) -> Vec<u8> {
        self.received.remove(&token.index()).expect("a receive that completed had a buffer")
    }

    // A completion here is the end of the hold.
    fn finish_send(&mut self, _token: Token) {}

    fn finish_write(&mut self, _token: Token) {}
}

/// True if a call found nothing to do yet.
fn must_wait<T>(result: &io::Result<T>) -> bool {
    let waits = |error: &io::Error| {
        matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
    };
    result.as_ref().is_err_and(waits)
}

/// As a completion says it: a count, or a negative error number.
fn result_of(result: io::Result<usize>) -> i32 {
    match result {
        Ok(count) => count as i32,
        Err(error) => -error.raw_os_error().unwrap_or(libc::EIO),
    }
}
