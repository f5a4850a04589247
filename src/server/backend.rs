//! Which way to the kernel the process takes: io_uring, or epoll where that is refused.
//!
//! Invariant: chosen once, before anything starts; cores and control plane take the same way.

use crate::config::choices::IoBackend;
use crate::ring::Backend;
use crate::ring::kernel::{self, KernelRing};

/// What was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    IoUring,
    /// With what the log says about it.
    Epoll(String),
}

impl Way {
    /// As INFO names it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Way::IoUring => "io_uring",
            Way::Epoll(_) => "epoll",
        }
    }
}

/// Chooses; an error says why the configured way is closed.
pub(super) fn choose(configured: IoBackend) -> Result<Way, String> {
    match (configured, kernel::probe()) {
        (IoBackend::Epoll, _) => Ok(Way::Epoll("Using epoll, as io-backend says.".into())),
        (_, Ok(())) => Ok(Way::IoUring),
        (IoBackend::IoUring, Err(error)) => Err(KernelRing::refusal(&error)),
        (IoBackend::Auto, Err(error)) => {
            let reason = KernelRing::refusal(&error);
            Ok(Way::Epoll(format!("{reason}. Using epoll instead: {LOST}.")))
        }
    }
}

/// What epoll costs.
const LOST: &str = "everything works, at about an eighth more CPU time for a request without pipelining, with more system calls and with files written by threads";
