//! The kernel's io_uring as a `Ring`.
//!
//! Invariant: one instance per core, made and used on that core's thread only. Set-up flags as
//! measured (docs/decisions/0001): SINGLE_ISSUER, DEFER_TASKRUN, COOP_TASKRUN, TASKRUN_FLAG,
//! SUBMIT_ALL and, where the kernel has it, NO_SQARRAY; a registered ring descriptor; multishot
//! accept and receive. Needs Linux 6.1. Source: io_uring(7), io_uring_setup(2).
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use bytes::Bytes;
use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue, types};

use super::buffers::{BufferLease, BufferRing, GROUP};
use super::{Backend, Completion, Kind, Op, Ring, Token, Wait};

const SQ_ENTRIES: u32 = 1024;
const CQ_ENTRIES: u32 = 8192;
/// What one write takes, at most; a whole number of pages below what the kernel allows.
const WRITE_BYTES_MAX: u32 = 1 << 30;
/// An enter that runs what the kernel has put off.
const GETEVENTS: u32 = EnterFlags::GETEVENTS.bits();

/// One core's io_uring.
pub struct KernelRing {
    // Dropped first: the kernel lets go of everything below.
    ring: IoUring,
    buffers: BufferRing,
    peers: Vec<RawFd>,
    event_fd: RawFd,
    event_value: Box<u64>,
    output: Vec<u8>,
    sends: Vec<Option<Bytes>>,
    receives: Vec<Option<Vec<u8>>>,
    writes: Vec<Option<Bytes>>,
    overflow_seen: u32,
}

impl Backend for KernelRing {
    fn open(event_fd: RawFd) -> io::Result<KernelRing> {
        let ring = build()?;
        ring.submitter().register_ring_fd()?;
        let buffers = BufferRing::register(&ring.submitter())?;
        Ok(KernelRing {
            ring,
            buffers,
            peers: Vec::new(),
            event_fd,
            event_value: Box::new(0),
            output: Vec::new(),
            sends: Vec::new(),
            receives: Vec::new(),
            writes: Vec::new(),
            overflow_seen: 0,
        })
    }

    fn wake_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }

    fn refusal(error: &io::Error) -> String {
        let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
            .is_ok_and(|text| matches!(text.trim(), "1" | "2"));
        match error.raw_os_error() {
            Some(libc::EPERM) if disabled => {
                "io_uring is switched off by kernel.io_uring_disabled: run sysctl -w kernel.io_uring_disabled=0".into()
            }
            Some(libc::EPERM | libc::EACCES) => {
                "io_uring is refused by a seccomp filter or security module: allow io_uring_setup, io_uring_enter and io_uring_register for this process".into()
            }
            Some(libc::ENOSYS) => {
                "this kernel has no io_uring, or a seccomp filter hides it: run Linux 6.1 or newer and allow the io_uring system calls".into()
            }
            Some(libc::EINVAL) => {
                "this kernel's io_uring is too old (DEFER_TASKRUN and buffer rings are needed): run Linux 6.1 or newer".into()
            }
            Some(libc::ENOMEM) => {
                "io_uring got no memory: raise RLIMIT_MEMLOCK (ulimit -l) or free memory".into()
            }
            _ => format!("io_uring cannot be set up: {error}"),
        }
    }

    fn set_peers(&mut self, peers: Vec<RawFd>) {
        self.peers = peers;
    }
}

impl KernelRing {
    fn submit_entry(&mut self, entry: &squeue::Entry) {
        loop {
            // SAFETY: whatever the entry points to stays valid until its completion is reaped: the
            // turn's output lies in `self.output` until the next turn, buffers that are sent, written
            // or filled in `self.sends`, `self.writes` and `self.receives`, the event value in its box.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                return;
            }
            self.enter(0, None);
        }
    }

    fn enter(&mut self, want: usize, timeout: Option<Duration>) {
        let result = match timeout {
            Some(timeout) if want > 0 => {
                let limit = types::Timespec::from(timeout);
                let args = types::SubmitArgs::new().timespec(&limit);
                self.ring.submitter().submit_with_args(want, &args)
            }
            _ if want > 0 => self.ring.submit_and_wait(want),
            // Under DEFER_TASKRUN only an enter that asks for events runs deferred work. One that asks for
            // none of them arms no timer, which costs more than the rest of the call.
            _ => {
                let count = self.ring.submission().len() as u32;
                // SAFETY: no argument is passed; what the entries point to is valid, see `submit_entry`.
                unsafe { self.ring.submitter().enter::<()>(count, 0, GETEVENTS, None) }
            }
        };
        if let Err(error) = result {
            match error.raw_os_error() {
                Some(libc::EINTR | libc::ETIME | libc::EBUSY | libc::EAGAIN) => {}
                _ => panic!("io_uring_enter failed: {error}"),
            }
        }
    }

    fn keep<T>(slots: &mut Vec<Option<T>>, token: Token, value: T) {
        let index = token.index() as usize;
        if slots.len() <= index {
            slots.resize_with(index + 1, || None);
        }
        assert!(slots[index].is_none(), "one owned transfer a token at a time");
        slots[index] = Some(value);
    }
}

impl Ring for KernelRing {
    fn push(&mut self, op: Op) {
        let (entry, token) = match op {
            Op::Accept { listener, token } => (
                opcode::AcceptMulti::new(types::Fd(listener))
                    .flags(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK)
                    .build(),
                token,
            ),
            Op::Recv { fd, token } => (opcode::RecvMulti::new(types::Fd(fd), GROUP).build(), token),
            Op::RecvInto { fd, token, mut buffer, limit } => {
                let spare = &mut buffer.spare_capacity_mut()[..limit];
                let (start, len) = (spare.as_mut_ptr().cast(), limit as u32);
                Self::keep(&mut self.receives, token, buffer);
                (opcode::Recv::new(types::Fd(fd), start, len).build(), token)
            }
            Op::SendTurn { fd, token, start, len } => {
                let bytes = &self.output[start..start + len];
                let entry = opcode::Send::new(types::Fd(fd), bytes.as_ptr(), len as u32)
                    .flags(libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
                    .build();
                (entry.flags(squeue::Flags::SKIP_SUCCESS), token)
            }
            Op::Send { fd, token, bytes } => {
                let entry = opcode::Send::new(types::Fd(fd), bytes.as_ptr(), bytes.len() as u32)
                    .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
                    .build();
                Self::keep(&mut self.sends, token, bytes);
                (entry, token)
            }
            Op::Cancel { token } => (
                opcode::AsyncCancel::new(token.user_data()).build(),
                Token::new(Kind::Ignored, 0, 0),
            ),
            Op::Close { fd } => {
                (opcode::Close::new(types::Fd(fd)).build(), Token::new(Kind::Ignored, 0, 0))
            }
            Op::Wake { core } => {
                let wake = Token::new(Kind::Wake, 0, 0).user_data();
                let entry =
                    opcode::MsgRingData::new(types::Fd(self.peers[core]), 0, wake, None).build();
                (entry.flags(squeue::Flags::SKIP_SUCCESS), Token::new(Kind::Ignored, 0, 0))
            }
            Op::Write { fd, token, offset, bytes, durable } => {
                // What does not fit the field is left for the next write.
                let len =
                    u32::try_from(bytes.len()).unwrap_or(WRITE_BYTES_MAX).min(WRITE_BYTES_MAX);
                let entry = opcode::Write::new(types::Fd(fd), bytes.as_ptr(), len).offset(offset);
                let entry = entry.rw_flags(if durable { libc::RWF_DSYNC } else { 0 });
                Self::keep(&mut self.writes, token, bytes);
                (entry.build(), token)
            }
            Op::Sync { fd, token } => (
                opcode::Fsync::new(types::Fd(fd)).flags(types::FsyncFlags::DATASYNC).build(),
                token,
            ),
            Op::WriteBack { fd, token, offset, len } => {
                let entry = opcode::SyncFileRange::new(types::Fd(fd), len).offset(offset);
                (entry.flags(libc::SYNC_FILE_RANGE_WRITE).build(), token)
            }
            Op::Event { token } => {
                let value: *mut u64 = &raw mut *self.event_value;
                (opcode::Read::new(types::Fd(self.event_fd), value.cast(), 8).build(), token)
            }
        };
        self.submit_entry(&entry.user_data(token.user_data()));
    }

    fn last_output(&self) -> &[u8] {
        &self.output
    }

    fn swap_output(&mut self, output: Vec<u8>) -> Vec<u8> {
        std::mem::replace(&mut self.output, output)
    }

    fn submit_and_wait(&mut self, wait: Wait) {
        match wait {
            // Without anything to submit or to run, an enter would do nothing.
            Wait::No if self.ring.submission().is_empty() && !self.ring.submission().taskrun() => {}
            Wait::No => self.enter(0, None),
            Wait::Upto(timeout) => self.enter(1, Some(timeout)),
        }
        // A failed SendTurn must be reaped before the next turn's output replaces this one.
        while self.ring.submission().cq_overflow() && !self.ring.completion().is_full() {
            self.enter(0, None);
        }
    }

    fn spin(&mut self, times: u32, has_work: &mut dyn FnMut() -> bool) -> bool {
        if !self.ring.submission().is_empty() {
            self.enter(0, None);
        }
        for _ in 0..times {
            let mut queue = self.ring.completion();
            queue.sync();
            let found = !queue.is_empty();
            drop(queue);
            // Deferred work is run by the next enter; then there will be a completion.
            if found || self.ring.submission().taskrun() || has_work() {
                return true;
            }
            std::hint::spin_loop();
        }
        false
    }

    #[inline]
    fn reap(&mut self) -> Option<Completion> {
        let mut next = self.ring.completion().next();
        if next.is_none() && self.ring.submission().cq_overflow() {
            // What did not fit comes now: a failed SendTurn may be among it.
            self.enter(0, None);
            next = self.ring.completion().next();
        }
        let entry: cqueue::Entry = next?;
        let Some(token) = Token::from_user_data(entry.user_data()) else {
            panic!("a completion that belongs to no operation of ours");
        };
        let (result, flags) = (entry.result(), entry.flags());
        let lease = match cqueue::buffer_select(flags) {
            Some(buffer) if result >= 0 => Some(self.buffers.lease(buffer, result as u32, flags)),
            _ => None,
        };
        Some(Completion { token, result, more: cqueue::more(flags), lease })
    }

    fn overflowed(&mut self) -> bool {
        let count = self.ring.completion().overflow();
        std::mem::replace(&mut self.overflow_seen, count) != count
    }

    #[inline]
    fn bytes(&self, lease: &BufferLease) -> &[u8] {
        self.buffers.bytes(lease)
    }

    #[inline]
    fn release(&mut self, lease: BufferLease) {
        self.buffers.release(lease);
    }

    #[inline]
    fn publish(&mut self) {
        self.buffers.publish();
    }

    fn take_received(&mut self, token: Token, received: usize) -> Vec<u8> {
        let slot = self.receives.get_mut(token.index() as usize).and_then(Option::take);
        let mut buffer = slot.expect("a receive that completed had a buffer");
        assert!(received <= buffer.capacity() - buffer.len());
        // SAFETY: the kernel wrote `received` bytes behind the earlier ones, into spare capacity.
        unsafe { buffer.set_len(buffer.len() + received) };
        buffer
    }

    fn finish_send(&mut self, token: Token) {
        let slot = self.sends.get_mut(token.index() as usize).and_then(Option::take);
        assert!(slot.is_some(), "a send that completed had bytes");
    }

    fn finish_write(&mut self, token: Token) {
        let slot = self.writes.get_mut(token.index() as usize).and_then(Option::take);
        assert!(slot.is_some(), "a write that completed had bytes");
    }
}

fn build() -> io::Result<IoUring> {
    let builder = |no_sqarray: bool| {
        let mut builder = IoUring::builder();
        builder
            .setup_cqsize(CQ_ENTRIES)
            .setup_submit_all()
            .setup_single_issuer()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_defer_taskrun();
        if no_sqarray {
            builder.setup_no_sqarray();
        }
        builder.build(SQ_ENTRIES)
    };
    // NO_SQARRAY is newer (6.6) than the minimum.
    builder(true).or_else(|error| match error.raw_os_error() {
        Some(libc::EINVAL) => builder(false),
        _ => Err(error),
    })
}

/// Whether this process gets rings at all.
pub fn probe() -> io::Result<()> {
    // Nobody reads the eventfd of this one.
    KernelRing::open(-1).map(drop)
}
