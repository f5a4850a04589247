//! How saving and loading are: what INFO tells, what gates ask, and what is under way.
//! Invariant: who begins a snapshot or a load takes the right to it first; the control plane gives that
//! back when the end is in force. Source: INFO persistence.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering};

/// One process' saves and loads.
#[derive(Debug)]
pub struct Persistence {
    /// A file is being loaded: most commands are refused.
    pub loading: AtomicBool,
    /// A snapshot of the primary is put aside while the data is served. Source: INFO, async_loading.
    pub async_loading: AtomicBool,
    /// Unix time in seconds at which that began.
    pub loading_since: AtomicI64,
    /// Bytes of that file.
    pub loading_bytes: AtomicU64,
    /// Bytes of it that were read.
    pub loaded_bytes: AtomicU64,
    /// Keys that the last load made.
    pub keys_loaded: AtomicU64,
    /// Keys that the last load left out, since they had expired.
    pub keys_expired: AtomicU64,
    /// Microseconds that each key of a load takes at least.
    pub key_load_micros: AtomicI64,
    /// What the snapshot under way is for, as a number of `Purpose`; `NONE` without one.
    under_way: AtomicU8,
    /// Somebody keeps all partitions, for a save that clients wait for or to load: no base of the AOF
    /// can begin.
    pub is_held: AtomicBool,
    /// Snapshots since the start: where a stock server forks. Source: INFO, total_forks.
    pub snapshots: AtomicU64,
    /// A save is to begin when no snapshot is under way.
    pub scheduled: AtomicBool,
    /// The snapshot under way is not wanted any more.
    pub cancelled: AtomicBool,
    /// Unix time in seconds at which it began.
    pub since: AtomicI64,
    /// Keys that it writes.
    pub save_keys: AtomicU64,
    /// Keys that it has written.
    pub saved_keys: AtomicU64,
    /// Saves that were begun.
    pub saves: AtomicU64,
    /// Unix time in seconds of the last save that succeeded, or of the start.
    pub last_save: AtomicI64,
    /// Unix time in seconds at which a save was begun last.
    pub last_try: AtomicI64,
    /// The last save in the background failed, and none has succeeded since.
    pub failed: AtomicBool,
    /// The save that ended last has succeeded, whether clients waited for it or not.
    pub was_saved: AtomicBool,
    /// Seconds that the last save in the background took; -1 without one.
    pub last_seconds: AtomicI64,
    /// Changes up to the instant of the last save that succeeded, since the start.
    pub changes_saved: AtomicU64,
    /// The epoch of the last save.
    epoch: AtomicU8,
    /// A signal wants the process to end: its flags, with `ENDING`.
    pub ending: AtomicU32,
    /// The start failed: the process ends with an error.
    pub fatal: AtomicBool,
}

/// What a snapshot of all data is for. One is under way at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The RDB file.
    Dump = 1,
    /// The base of the AOF.
    AofBase = 2,
    /// Replicas.
    Replicas = 3,
}

/// No snapshot is under way.
const NONE: u8 = 0;

/// The bit of `Persistence::ending` that a signal sets beside its flags.
pub const ENDING: u32 = 1 << 31;

impl Persistence {
    /// Nothing is under way; `started` is the Unix time of the start in seconds, for the rest see the
    /// fields.
    pub fn new(started: i64, key_load_micros: i64) -> Persistence {
        Persistence {
            loading: AtomicBool::new(false),
            async_loading: AtomicBool::new(false),
            loading_since: AtomicI64::new(0),
            loading_bytes: AtomicU64::new(0),
            loaded_bytes: AtomicU64::new(0),
            keys_loaded: AtomicU64::new(0),
            keys_expired: AtomicU64::new(0),
            key_load_micros: AtomicI64::new(key_load_micros),
            under_way: AtomicU8::new(NONE),
            is_held: AtomicBool::new(false),
            snapshots: AtomicU64::new(0),
            scheduled: AtomicBool::new(false),
            cancelled: AtomicBool::new(false),
            since: AtomicI64::new(0),
            save_keys: AtomicU64::new(0),
            saved_keys: AtomicU64::new(0),
            saves: AtomicU64::new(0),
            last_save: AtomicI64::new(started),
            last_try: AtomicI64::new(0),
            failed: AtomicBool::new(false),
            was_saved: AtomicBool::new(false),
            last_seconds: AtomicI64::new(-1),
            changes_saved: AtomicU64::new(0),
            epoch: AtomicU8::new(0),
            ending: AtomicU32::new(0),
            fatal: AtomicBool::new(false),
        }
    }

    /// True if a file is being loaded.
    #[inline]
    pub fn is_loading(&self) -> bool {
        self.loading.load(Ordering::Acquire)
    }

    /// True if a snapshot of the primary is put aside.
    pub fn is_async_loading(&self) -> bool {
        self.async_loading.load(Ordering::Acquire)
    }

    /// True if a snapshot is under way, or about to begin.
    pub fn is_busy(&self) -> bool {
        self.under_way.load(Ordering::Acquire) != NONE
    }

    /// True if that is for the RDB file.
    pub fn is_saving(&self) -> bool {
        self.is_busy_with(Purpose::Dump)
    }

    /// True if that is for this.
    pub fn is_busy_with(&self, purpose: Purpose) -> bool {
        self.under_way.load(Ordering::Acquire) == purpose as u8
    }

    /// Takes the right to the next snapshot. False if somebody has it, or is in its way.
    pub fn begin(&self, purpose: Purpose, now: i64) -> bool {
        if purpose == Purpose::AofBase && self.is_held.load(Ordering::Acquire) {
            return false;
        }
        let taken = self.under_way.compare_exchange(
            NONE,
            purpose as u8,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        if taken.is_ok() {
            self.snapshots.fetch_add(1, Ordering::Relaxed);
            self.cancelled.store(false, Ordering::Relaxed);
            self.since.store(now, Ordering::Relaxed);
            self.saved_keys.store(0, Ordering::Relaxed);
            self.save_keys.store(0, Ordering::Relaxed);
            if purpose == Purpose::Dump {
                self.scheduled.store(false, Ordering::Relaxed);
                self.last_try.store(now, Ordering::Relaxed);
                self.saves.fetch_add(1, Ordering::Relaxed);
            }
        }
        taken.is_ok()
    }

    /// The snapshot has come to its end, which is in force.
    pub fn end(&self) {
        self.under_way.store(NONE, Ordering::Release);
    }

    /// The tag of the snapshot that begins, 1 to `most`, which no entry bears. Who asks has all partitions.
    pub fn next_epoch(&self, most: u8) -> u8 {
        let epoch = self.epoch.load(Ordering::Relaxed) % most + 1;
        self.epoch.store(epoch, Ordering::Relaxed);
        epoch
    }

    /// The save under way is not wanted any more.
    pub fn give_up_save(&self) {
        if self.is_saving() {
            self.cancelled.store(true, Ordering::Release);
        }
    }

    /// A save is to begin as soon as can be; the one under way is not wanted any more.
    pub fn supersede(&self) {
        self.give_up_save();
        self.scheduled.store(true, Ordering::Release);
    }

    /// Begins a load.
    pub fn begin_load(&self, now: i64) {
        self.count_load(now);
        self.loading.store(true, Ordering::Release);
    }

    /// The same, while the data is served.
    pub fn begin_async_load(&self, now: i64) {
        self.count_load(now);
        self.async_loading.store(true, Ordering::Release);
    }

    fn count_load(&self, now: i64) {
        self.keys_loaded.store(0, Ordering::Relaxed);
        self.keys_expired.store(0, Ordering::Relaxed);
        self.loading_bytes.store(0, Ordering::Relaxed);
        self.loaded_bytes.store(0, Ordering::Relaxed);
        self.loading_since.store(now, Ordering::Relaxed);
    }
}
