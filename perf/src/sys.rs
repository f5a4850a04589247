//! The system calls that the standard library lacks: processor affinity, epoll, limits, death signal.
//! Invariant: the only file with unsafe code; every face of it is safe.
//! Source: sched_setaffinity(2), epoll(7), setrlimit(2), prctl(2).
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Restricts the calling thread to these processors. Fails if the machine has none of them.
pub(crate) fn pin_thread(cpus: &[usize]) -> io::Result<()> {
    set_affinity(&cpu_set(cpus))
}

/// Makes the process that `command` will start run only on these processors, and die when the
/// thread that started it dies, so that an interrupted run leaves no server behind.
pub(crate) fn confine(command: &mut Command, cpus: &[usize]) {
    let set = cpu_set(cpus);
    // SAFETY: between fork and exec the closure makes two plain system calls on a value that it
    // owns; it allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(io::Error::last_os_error());
            }
            set_affinity(&set)
        });
    }
}

/// Raises the limit of open descriptors to what the system grants: thousands of clients need it.
pub(crate) fn raise_descriptor_limit() -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls take a pointer to a live `rlimit` of ours.
    let failed = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) != 0 || {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) != 0
        }
    };
    if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// One epoll instance, edge-triggered: a reader must read until a read comes back short.
pub(crate) struct Epoll {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Epoll {
    /// An epoll instance that reports at most `events_max` tokens a wait.
    pub(crate) fn new(events_max: usize) -> io::Result<Epoll> {
        // SAFETY: takes no pointer.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is fresh, and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Epoll { fd, events: vec![libc::epoll_event { events: 0, u64: 0 }; events_max.max(1)] })
    }

    /// Reports `token` whenever `fd` becomes readable, or writable after it was full.
    pub(crate) fn add(&self, fd: RawFd, token: usize) -> io::Result<()> {
        let flags = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;
        let mut event = libc::epoll_event { events: flags as u32, u64: token as u64 };
        // SAFETY: `event` lives through the call; the kernel copies it.
        let rc = unsafe {
            libc::epoll_ctl(self.fd.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event)
        };
        if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Waits at most `timeout_ms`, and gives the number of tokens that are ready.
    pub(crate) fn wait(&mut self, timeout_ms: i32) -> io::Result<usize> {
        // SAFETY: the pointer and the count describe `events`, which nobody else touches.
        let n = unsafe {
            libc::epoll_wait(
                self.fd.as_raw_fd(),
                self.events.as_mut_ptr(),
                self.events.len() as i32,
                timeout_ms,
            )
        };
        if n >= 0 {
            return Ok(n as usize);
        }
        let error = io::Error::last_os_error();
        if error.kind() == io::ErrorKind::Interrupted { Ok(0) } else { Err(error) }
    }

    /// The token of the `index`th event of the last wait.
    pub(crate) fn token(&self, index: usize) -> usize {
        self.events[index].u64 as usize
    }
}

fn cpu_set(cpus: &[usize]) -> libc::cpu_set_t {
    // SAFETY: a cpu_set_t is an array of integers, for which all zeroes are valid.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    for &cpu in cpus {
        assert!(cpu < libc::CPU_SETSIZE as usize);
        // SAFETY: the assertion keeps the bit inside the set.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    set
}

fn set_affinity(set: &libc::cpu_set_t) -> io::Result<()> {
    // SAFETY: the pointer is to a live set, and the size is its own.
    let rc =
        unsafe { libc::sched_setaffinity(0, mem::size_of::<libc::cpu_set_t>(), &raw const *set) };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
