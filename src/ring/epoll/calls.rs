//! The system calls of the epoll ring, as functions that are safe to call.
//!
//! Invariant: none of them waits but `Poll::wait`; a descriptor that is wrong gives an error, never
//! anything worse. Source: epoll(7), accept4(2), send(2), recv(2), pwrite(2), fdatasync(2).
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use crate::ring::Fd;

/// The result of a call that is negative when it failed.
fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn counted(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// What a descriptor is watched for, and what has become of it: `EPOLLIN` and its kin.
pub(super) type Events = u32;

pub(super) const IN: Events = libc::EPOLLIN as u32;
pub(super) const OUT: Events = libc::EPOLLOUT as u32;
pub(super) const EDGE: Events = libc::EPOLLET as u32;
/// Reported whether they were asked for or not: reading or writing says what is wrong.
pub(super) const ENDED: Events = (libc::EPOLLHUP | libc::EPOLLERR) as u32;

/// A descriptor that is ready: its name and its events.
pub(super) type Ready = (u64, Events);

/// An epoll instance.
#[derive(Debug)]
pub(super) struct Poll {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Poll {
    /// Reports so many descriptors at once, at most.
    pub(super) fn new(events_max: usize) -> io::Result<Poll> {
        // SAFETY: a system call without pointers; the descriptor is new and belongs to nobody else.
        let fd = unsafe {
            let fd = checked(libc::epoll_create1(libc::EPOLL_CLOEXEC))?;
            OwnedFd::from_raw_fd(fd)
        };
        Ok(Poll { fd, events: vec![libc::epoll_event { events: 0, u64: 0 }; events_max] })
    }

    /// Watches a descriptor for other events than before.
    pub(super) fn change(&self, fd: Fd, name: u64, (old, new): (Events, Events)) -> io::Result<()> {
        let call = match (old, new) {
            (0, _) => libc::EPOLL_CTL_ADD,
            // Else its end would be reported over and over.
            (_, 0) => libc::EPOLL_CTL_DEL,
            _ => libc::EPOLL_CTL_MOD,
        };
        let mut event = libc::epoll_event { events: new, u64: name };
        // SAFETY: the kernel reads one event, which `event` is.
        let done = unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), call, fd, &raw mut event) };
        checked(done).map(drop)
    }

    /// Waits for descriptors, at most so long, in whole milliseconds rounded up; how many are ready.
    /// An interrupted wait finds none.
    pub(super) fn wait(&mut self, timeout: Duration) -> usize {
        let millis = timeout.as_nanos().div_ceil(1_000_000);
        let millis = libc::c_int::try_from(millis).unwrap_or(libc::c_int::MAX);
        let (events, room) = (self.events.as_mut_ptr(), self.events.len() as libc::c_int);
        // SAFETY: the kernel writes at most `room` events to where `events` points.
        let found = unsafe { libc::epoll_wait(self.fd.as_raw_fd(), events, room, millis) };
        match checked(found) {
            Ok(found) => found as usize,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => panic!("epoll_wait failed: {error}"),
        }
    }

    /// One of those that the last wait has found.
    pub(super) fn ready(&self, at: usize) -> Ready {
        let event = self.events[at];
        (event.u64, event.events)
    }
}

/// Accepts a connection; its socket does not block.
pub(super) fn accept(listener: Fd) -> io::Result<Fd> {
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: null pointers say that the address is not wanted.
    let fd = unsafe { libc::accept4(listener, std::ptr::null_mut(), std::ptr::null_mut(), flags) };
    checked(fd)
}

/// Makes calls on a descriptor return instead of waiting.
pub(super) fn never_block(fd: Fd) -> io::Result<()> {
    // SAFETY: system calls without pointers.
    unsafe {
        let flags = checked(libc::fcntl(fd, libc::F_GETFL))?;
        checked(libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK)).map(drop)
    }
}

/// Sends what goes out without waiting.
pub(super) fn send(fd: Fd, bytes: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the kernel reads at most `bytes.len()` bytes from where `bytes` points.
    counted(unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), flags) })
}

/// Receives what is there.
pub(super) fn receive(fd: Fd, into: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the kernel writes at most `into.len()` bytes to where `into` points.
    counted(unsafe { libc::recv(fd, into.as_mut_ptr().cast(), into.len(), libc::MSG_DONTWAIT) })
}

/// Receives what is there behind the bytes of `buffer`, which has room for `limit` more.
pub(super) fn receive_behind(fd: Fd, buffer: &mut Vec<u8>, limit: usize) -> io::Result<usize> {
    let spare = &mut buffer.spare_capacity_mut()[..limit];
    let start = spare.as_mut_ptr().cast();
    // SAFETY: the kernel writes at most `limit` bytes to where `spare` points, and says how many of
    // them it has written.
    unsafe {
        let received = counted(libc::recv(fd, start, limit, libc::MSG_DONTWAIT))?;
        buffer.set_len(buffer.len() + received);
        Ok(received)
    }
}

/// Closes a descriptor that belongs to the caller.
pub(super) fn close(fd: Fd) {
    // SAFETY: a system call without pointers. Nobody else uses the descriptor: whoever has it closed
    // has given it up.
    unsafe { libc::close(fd) };
}

/// Writes to a file; if it is to be durable, returns when what was written would survive a power cut.
pub(super) fn write_at(fd: Fd, bytes: &[u8], offset: u64, durable: bool) -> io::Result<usize> {
    let one = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let flags = if durable { libc::RWF_DSYNC } else { 0 };
    // SAFETY: the kernel reads one `iovec`, and at most `bytes.len()` bytes from where it points.
    counted(unsafe { libc::pwritev2(fd, &raw const one, 1, offset as libc::off_t, flags) })
}

/// Has the kernel begin to write a part of a file to the disk; what fails is told to the next sync.
pub(super) fn write_back(fd: Fd, offset: u64, len: u32) {
    let (offset, len) = (offset as libc::off64_t, libc::off64_t::from(len));
    // SAFETY: a system call without pointers.
    unsafe { libc::sync_file_range(fd, offset, len, libc::SYNC_FILE_RANGE_WRITE) };
}

/// Returns when what was written to a file would survive a power cut.
pub(super) fn sync(fd: Fd) -> io::Result<()> {
    // SAFETY: a system call without pointers.
    checked(unsafe { libc::fdatasync(fd) }).map(drop)
}
