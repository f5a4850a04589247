//! The ring: the data plane's boundary to the kernel, and the seam that a simulator implements.
//!
//! Invariant: `ring/kernel.rs` and `ring/buffers.rs` are the only users of io_uring, `ring/epoll.rs` of
//! epoll, for machines that refuse io_uring. The trait is defined by what it promises, not by how a
//! kernel does it:
//! - a lease shows bytes that nobody writes to until it is released;
//! - a buffer that was handed over is ours again when its completion has been reaped;
//! - the output of a turn has left, or its failure is reaped, before the next turn's output is
//!   handed over;
//! - completions are queued, never run from inside a call.

pub mod buffers;
pub mod epoll;
pub mod kernel;
mod leases;
mod mapping;
pub mod simulated;
#[cfg(test)]
mod tests;
pub mod token;

use std::io;
use std::time::Duration;

use bytes::Bytes;

pub use buffers::BufferLease;
pub use token::{Kind, Token};

/// A file descriptor.
pub type Fd = std::os::fd::RawFd;

/// One operation to submit.
#[derive(Debug)]
pub enum Op {
    /// Accepts until it is cancelled or fails; each completion's result is a descriptor.
    Accept {
        /// The listening socket.
        listener: Fd,
        /// Names it.
        token: Token,
    },
    /// Receives until it is cancelled, fails or runs out of buffers; each completion has a lease.
    Recv {
        /// The socket.
        fd: Fd,
        /// Names it.
        token: Token,
    },
    /// Receives once, behind the bytes that `buffer` holds.
    RecvInto {
        /// The socket.
        fd: Fd,
        /// Names it.
        token: Token,
        /// Comes back from `take_received`.
        buffer: Vec<u8>,
        /// Bytes to receive, at most; the buffer has room for them.
        limit: usize,
    },
    /// Sends a part of the turn's output now or not at all. Completes only with an error or if less
    /// than `len` went out.
    SendTurn {
        /// The socket.
        fd: Fd,
        /// Names it.
        token: Token,
        /// First byte in the output of the turn.
        start: usize,
        /// Bytes.
        len: usize,
    },
    /// Sends `bytes`; waits for room as long as it takes.
    Send {
        /// The socket.
        fd: Fd,
        /// Names it.
        token: Token,
        /// What is sent.
        bytes: Bytes,
    },
    /// Cancels the operation that `token` names; it completes with `ECANCELED`, or as it would have.
    Cancel {
        /// The operation.
        token: Token,
    },
    /// Closes a descriptor; ends what is under way on it. Its peer may see that a turn later.
    Close {
        /// The socket.
        fd: Fd,
    },
    /// Makes another core's wait return.
    Wake {
        /// That core's number.
        core: usize,
    },
    /// Writes `bytes` to a file; may write fewer of them. If it is durable, an error may be that of the
    /// write or of the sync behind it.
    Write {
        /// The file.
        fd: Fd,
        /// Names it.
        token: Token,
        /// Where.
        offset: u64,
        /// What is written.
        bytes: Bytes,
        /// Completes when what it has written would survive a power cut; of what was written to the file
        /// before, that is not said.
        durable: bool,
    },
    /// Completes when the bytes that were written to a file before would survive a power cut.
    Sync {
        /// The file.
        fd: Fd,
        /// Names it.
        token: Token,
    },
    /// Completes when the kernel has begun to write these bytes of a file to the disk; what fails is told
    /// to the next `Sync`.
    WriteBack {
        /// The file.
        fd: Fd,
        /// Names it.
        token: Token,
        /// Where they begin.
        offset: u64,
        /// How many they are.
        len: u32,
    },
    /// Completes when somebody writes to the eventfd; to be armed again.
    Event {
        /// Names it.
        token: Token,
    },
}

/// What became of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The operation.
    pub token: Token,
    /// Bytes or a descriptor, or a negative error number.
    pub result: i32,
    /// More completions of the same operation will follow.
    pub more: bool,
    /// The received bytes.
    pub lease: Option<BufferLease>,
}

/// How long `submit_and_wait` may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all: there is work to do.
    No,
    /// Until a completion, at most so long.
    Upto(Duration),
}

/// A ring that a core of a real process opens for itself.
pub trait Backend: Ring + Sized {
    /// Sets up a ring on the calling thread, which alone uses it. `event_fd` is the eventfd that
    /// threads beside the cores write to.
    fn open(event_fd: Fd) -> io::Result<Self>;

    /// What the rings of other cores need for their wakes.
    fn wake_fd(&self) -> Fd;

    /// Says in one line why a ring could not be opened, and what to do.
    fn refusal(error: &io::Error) -> String;

    /// Names the `wake_fd` of all cores, by core.
    fn set_peers(&mut self, peers: Vec<Fd>);
}

/// One core's way to the kernel.
pub trait Ring {
    /// Queues an operation for the next submission.
    fn push(&mut self, op: Op);

    /// The output that was handed over last; what a failed `SendTurn` left can be read from it.
    fn last_output(&self) -> &[u8];

    /// Hands over the output of the turn, for `SendTurn`, and gives back an empty buffer.
    fn turn_output(&mut self, output: Vec<u8>) -> Vec<u8> {
        let mut last = self.swap_output(output);
        last.clear();
        last
    }

    /// The same, with what the other buffer has held.
    fn swap_output(&mut self, output: Vec<u8>) -> Vec<u8>;

    /// Submits everything that was pushed and waits as `wait` says.
    fn submit_and_wait(&mut self, wait: Wait);

    /// Submits everything that was pushed and polls so many times, each a pause of the processor. True
    /// as soon as a wait would not wait, or `has_work` says that there is other work.
    fn spin(&mut self, times: u32, has_work: &mut dyn FnMut() -> bool) -> bool;

    /// The next completion.
    fn reap(&mut self) -> Option<Completion>;

    /// True if the completion queue ran over since the last call (nothing is lost, only late).
    fn overflowed(&mut self) -> bool;

    /// The bytes of a lease.
    fn bytes(&self, lease: &BufferLease) -> &[u8];

    /// Gives a lease back; the kernel may fill its buffer again after the next `publish`.
    fn release(&mut self, lease: BufferLease);

    /// Lets the kernel have the buffers that were released.
    fn publish(&mut self);

    /// The buffer of a completed `RecvInto`, with the received bytes behind the earlier ones.
    fn take_received(&mut self, token: Token, received: usize) -> Vec<u8>;

    /// Ends the hold on the bytes of a completed `Send`.
    fn finish_send(&mut self, token: Token);

    /// Ends the hold on the bytes of a completed `Write`.
    fn finish_write(&mut self, token: Token);
}
