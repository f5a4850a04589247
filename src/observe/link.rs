//! The link to the primary as every core sees it: how it is, how far it has come, and whether what
//! comes over it still counts.
//!
//! Invariant: what a primary sends takes effect in pieces, one after the other; each asks `begin`
//! first, so that nothing more of a link takes effect when `cut` has returned and `is_running` says no.

use std::sync::atomic::{
    AtomicBool, AtomicI64, AtomicU8, AtomicU64, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};

/// How the link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum LinkState {
    /// The next try is to come.
    Connect,
    /// The socket is being opened.
    Connecting,
    /// The two sides introduce themselves.
    Handshake,
    /// A snapshot is on its way, or is looked through.
    Sync,
    /// The stream is followed.
    Connected,
}

impl LinkState {
    const ALL: [LinkState; 5] = [
        LinkState::Connect,
        LinkState::Connecting,
        LinkState::Handshake,
        LinkState::Sync,
        LinkState::Connected,
    ];

    /// As ROLE calls it.
    pub fn name(self) -> &'static str {
        match self {
            LinkState::Connect => "connect",
            LinkState::Connecting => "connecting",
            LinkState::Handshake => "handshake",
            LinkState::Sync => "sync",
            LinkState::Connected => "connected",
        }
    }
}

/// The link to the primary.
#[derive(Debug, Default)]
pub struct PrimaryLink {
    state: AtomicU8,
    /// Unix time in seconds at which something came last; 0 before.
    pub last_io: AtomicI64,
    /// Unix time in seconds since which it is down; 0 if it never was up.
    pub down_since: AtomicI64,
    /// Bytes of the snapshot; -1 if nobody knows.
    pub sync_total: AtomicI64,
    /// Bytes of it that have come.
    pub sync_read: AtomicU64,
    /// See `keeps`.
    pub kept: AtomicU64,
    /// The most that this ever was.
    pub kept_peak: AtomicU64,
    /// Bytes of the history that have come.
    pub read: AtomicU64,
    /// Bytes of the history that have taken effect.
    pub applied: AtomicU64,
    /// Bytes of it that are in the append-only file, on disk; -1 without one.
    pub synced: AtomicI64,
    /// Bytes of the stream that wait for the cores.
    pub queued: AtomicU64,
    /// The database that is selected there.
    pub db: AtomicUsize,
    /// Bytes that were received over links, snapshots included. Source: total_net_repl_input_bytes.
    pub input_bytes: AtomicU64,
    /// Which link counts.
    term: AtomicU64,
    is_running: AtomicBool,
    /// Data sets that have made room for the next one.
    pub cleared: AtomicU64,
    /// A snapshot is looked through by all cores, or takes the place of the data.
    pub on_trial: AtomicBool,
}

impl PrimaryLink {
    /// How it is.
    pub fn state(&self) -> LinkState {
        LinkState::ALL[usize::from(self.state.load(SeqCst))]
    }

    /// How it is from now on.
    pub fn set_state(&self, state: LinkState) {
        self.state.store(state as u8, SeqCst);
    }

    /// True if the stream is followed.
    pub fn is_up(&self) -> bool {
        self.state() == LinkState::Connected
    }

    /// Which link counts.
    pub fn term(&self) -> u64 {
        self.term.load(SeqCst)
    }

    /// Nothing that has not begun takes effect any more; which link is the next one to count.
    pub fn cut(&self) -> u64 {
        self.term.fetch_add(1, SeqCst) + 1
    }

    /// A piece of this link is about to take effect. False if it must not.
    pub fn begin(&self, term: u64) -> bool {
        self.is_running.store(true, SeqCst);
        let counts = self.term() == term;
        if !counts {
            self.is_running.store(false, SeqCst);
        }
        counts
    }

    /// The piece that has begun has taken effect, and is accounted for. False if none had begun.
    pub fn end(&self) -> bool {
        self.is_running.swap(false, SeqCst)
    }

    /// True while a piece takes effect.
    pub fn is_running(&self) -> bool {
        self.is_running.load(SeqCst)
    }

    /// So many bytes of memory hold the stream that comes before its snapshot is in place.
    pub fn keeps(&self, bytes: u64) {
        self.kept.store(bytes, Relaxed);
        self.kept_peak.fetch_max(bytes, Relaxed);
    }

    /// Something came, at this Unix time in seconds.
    pub fn heard(&self, now: i64, bytes: usize) {
        self.last_io.store(now, Relaxed);
        self.input_bytes.fetch_add(bytes as u64, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_cut_does_not_begin() {
        let link = PrimaryLink::default();
        let term = link.cut();
        assert!(link.begin(term) && link.is_running());
        let next = link.cut();
        assert!(link.is_running(), "what has begun comes to its end");
        assert!(link.end() && !link.end());
        assert!(!link.begin(term) && !link.is_running());
        assert!(link.begin(next));
    }

    #[test]
    fn states_keep_their_names() {
        let link = PrimaryLink::default();
        for state in LinkState::ALL {
            link.set_state(state);
            assert_eq!(link.state(), state);
        }
        assert!(link.is_up());
    }
}
