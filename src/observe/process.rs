//! How the process was started, and what signals and watchdog are to do: facts that outlive no restart.
//!
//! Invariant: fixed at the start, but for atomics that follow the configuration.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::base::mailbox::Parked;

/// What is known of the process.
pub struct ProcessFacts {
    /// How the cores reach the kernel: `io_uring` or `epoll`.
    pub multiplexing: &'static str,
    /// By whom it was found to be supervised: `no`, `upstart` or `systemd`.
    pub supervised: &'static str,
    /// What SIGINT and SIGTERM ask of SHUTDOWN.
    pub signal_flags: [AtomicU32; 2],
    /// A turn that takes so many milliseconds is logged; 0 for none.
    pub watchdog_millis: AtomicU64,
    /// By core: it waits.
    pub parked: Arc<[Parked]>,
}

impl ProcessFacts {
    /// A process of so many cores.
    pub fn new(multiplexing: &'static str, supervised: &'static str, cores: usize) -> Self {
        ProcessFacts {
            multiplexing,
            supervised,
            signal_flags: Default::default(),
            watchdog_millis: AtomicU64::new(0),
            parked: (0..cores).map(|_| Parked::new()).collect(),
        }
    }

    /// Changes what signals ask for.
    pub fn set_signal_flags(&self, [int, term]: [u32; 2]) {
        self.signal_flags[0].store(int, Relaxed);
        self.signal_flags[1].store(term, Relaxed);
    }
}

impl fmt::Debug for ProcessFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, supervised: {}", self.multiplexing, self.supervised)
    }
}
