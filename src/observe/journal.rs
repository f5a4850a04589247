//! The journal as every core sees it: how far it has come, and what INFO tells of it.
//!
//! Invariant: `written` and `synced` only grow, and the core that writes the journal alone raises
//! them; a core that waits for them says so before it looks again, and is woken by the next rise.

use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicI64, AtomicU8, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
};

use crate::base::core_set::{CORES_MAX, CoreSet};
use crate::base::gate::Gate;

/// How the journal stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// There is none.
    Off,
    /// It has begun; its base is being written, and nothing would be loaded before that is whole.
    Starting,
    /// It is whole.
    On,
    /// A sync has failed: nobody knows what the disk holds, and nothing more is written. A new base
    /// and a new file have to take its place.
    Lost,
    /// They are being written.
    Renewing,
}

const STATES: [State; 5] = [State::Off, State::Starting, State::On, State::Lost, State::Renewing];

/// The journal of the process.
#[derive(Debug, Default)]
pub struct Journal {
    /// The number of its state.
    state: AtomicU8,
    /// The last number that a turn with changes has taken.
    last: AtomicU64,
    /// The changes of all turns up to this number are in the kernel.
    written: AtomicU64,
    /// They would survive a power cut.
    synced: AtomicU64,
    /// Cores that wait for one of these to rise.
    waiting: [AtomicU64; CORES_MAX / 64],
    /// Cores that have ended: their last changes are with the writer.
    ended: AtomicU64,
    /// Bytes of all files that the manifest names, but for what has not been written.
    pub size: AtomicU64,
    /// The same after the last rewrite, or the start.
    pub base_size: AtomicU64,
    /// Bytes that wait to be written.
    pub waiting_bytes: AtomicU64,
    /// A sync is under way.
    pub is_syncing: AtomicBool,
    /// Syncs that were due while one was under way.
    pub delayed_syncs: AtomicU64,
    /// The last write or sync failed.
    pub failed: AtomicBool,
    /// Why, as the system numbers it.
    pub error: AtomicI32,
    /// So many bytes wait to be written that changes have to wait, too.
    pub is_choked: AtomicBool,
    /// How bases are rewritten.
    pub rewrites: Rewrites,
}

/// How bases are rewritten. Source: INFO persistence.
#[derive(Debug)]
pub struct Rewrites {
    /// One is to begin when no snapshot is under way.
    pub scheduled: AtomicBool,
    /// Those that were begun.
    pub count: AtomicU64,
    /// The last one failed.
    pub failed: AtomicBool,
    /// So many have failed in a row.
    pub failures: AtomicU64,
    /// Seconds that the last one took; -1 without one.
    pub last_seconds: AtomicI64,
    /// Bytes of the base that was written last, until the writer has heard of it; 0 then.
    pub base_bytes: AtomicU64,
}

impl Default for Rewrites {
    fn default() -> Rewrites {
        Rewrites {
            scheduled: AtomicBool::default(),
            count: AtomicU64::default(),
            failed: AtomicBool::default(),
            failures: AtomicU64::default(),
            last_seconds: AtomicI64::new(-1),
            base_bytes: AtomicU64::default(),
        }
    }
}

impl Rewrites {
    /// One has ended, after so many seconds.
    pub fn ended(&self, is_good: bool, seconds: i64) {
        self.failed.store(!is_good, Relaxed);
        self.last_seconds.store(seconds, Relaxed);
        if is_good {
            self.failures.store(0, Relaxed);
        } else {
            self.failures.fetch_add(1, Relaxed);
        }
    }
}

impl Journal {
    /// How it stands.
    #[inline]
    pub fn state(&self) -> State {
        STATES[usize::from(self.state.load(Acquire))]
    }

    /// From here on it stands like this.
    pub fn enter(&self, state: State) {
        self.state.store(state as u8, Release);
    }

    /// True unless there is none.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.state() != State::Off
    }

    /// True if what commands change is journaled.
    #[inline]
    pub fn takes_lines(&self) -> bool {
        !matches!(self.state(), State::Off | State::Lost)
    }

    /// True if it holds nothing that would count after a crash until its base is whole.
    pub fn needs_base(&self) -> bool {
        matches!(self.state(), State::Starting | State::Lost | State::Renewing)
    }

    /// True if writes are refused.
    #[inline]
    pub fn refuses(&self) -> bool {
        self.failed.load(Relaxed) && self.is_on()
    }

    /// The base is whole, and so is the journal, unless that has been lost meanwhile. True if writes
    /// were refused until now.
    pub fn has_base(&self) -> bool {
        let on = State::On as u8;
        let leaves =
            |from: State| self.state.compare_exchange(from as u8, on, AcqRel, Acquire).is_ok();
        let was_refused = leaves(State::Renewing);
        if was_refused {
            self.failed.store(false, Release);
        } else {
            leaves(State::Starting);
        }
        was_refused
    }

    /// What had failed has been made good. True if writes were refused until now.
    pub fn has_recovered(&self) -> bool {
        let is_lost = matches!(self.state(), State::Lost | State::Renewing);
        !is_lost && self.failed.swap(false, AcqRel)
    }

    /// A turn with changes has taken this number, and has not let anything out.
    pub fn took(&self, number: u64) {
        self.last.fetch_max(number, SeqCst);
    }

    /// What somebody has to wait for who may have seen any change.
    pub fn last(&self) -> Gate {
        Gate::of(self.last.load(SeqCst))
    }

    /// How far the changes are in the kernel, or if `is_synced` says so, synced.
    pub fn covered(&self, is_synced: bool) -> u64 {
        if is_synced { self.synced.load(SeqCst) } else { self.written.load(SeqCst) }
    }

    /// True if what is behind this gate would survive a power cut.
    pub fn has_synced(&self, gate: Gate) -> bool {
        let counts = gate.is_open() || !self.needs_base();
        self.is_on() && counts && gate.is_covered(self.covered(true))
    }

    /// The writer has come so far. Who waits for that has to be woken.
    pub fn advance(&self, written: u64, synced: u64) -> CoreSet {
        self.written.store(written, SeqCst);
        self.synced.store(synced, SeqCst);
        let [low, high] = &self.waiting;
        let bits = |word: &AtomicU64| u128::from(word.swap(0, SeqCst));
        CoreSet::of_bits(bits(low) | bits(high) << 64)
    }

    /// A core waits for the writer. It has to look once more how far that has come.
    pub fn wait(&self, core: usize) {
        self.waiting[core / 64].fetch_or(1 << (core % 64), SeqCst);
    }

    /// A core has sent all that it will ever send.
    pub fn end(&self) {
        self.ended.fetch_add(1, SeqCst);
    }

    /// Cores that have sent all that they will ever send.
    pub fn ended(&self) -> u64 {
        self.ended.load(SeqCst)
    }

    /// Bytes of the journal, with what waits to be written.
    pub fn bytes(&self) -> u64 {
        self.size.load(Relaxed) + self.waiting_bytes.load(Relaxed)
    }
}
