//! How saving and loading are: what INFO tells, what gates ask, and what is under way.
//! Invariant: the one who begins a save or a load takes its flag; the control plane gives it back when
//! the end is in force. Source: INFO persistence.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering};

/// One process' saves and loads.
#[derive(Debug)]
pub struct Persistence {
    /// A file is being loaded: most commands are refused.
    pub loading: AtomicBool,
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
    /// A save is under way.
    pub saving: AtomicBool,
    /// A save is to begin when none is under way.
    pub scheduled: AtomicBool,
    /// The save under way is not wanted any more.
    pub cancelled: AtomicBool,
    /// Unix time in seconds at which it began.
    pub saving_since: AtomicI64,
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

/// The bit of `Persistence::ending` that a signal sets beside its flags.
pub const ENDING: u32 = 1 << 31;

impl Persistence {
    /// Nothing is under way; `started` is the Unix time of the start in seconds.
    pub fn new(started: i64) -> Persistence {
        Persistence {
            loading: AtomicBool::new(false),
            loading_since: AtomicI64::new(0),
            loading_bytes: AtomicU64::new(0),
            loaded_bytes: AtomicU64::new(0),
            keys_loaded: AtomicU64::new(0),
            keys_expired: AtomicU64::new(0),
            saving: AtomicBool::new(false),
            scheduled: AtomicBool::new(false),
            cancelled: AtomicBool::new(false),
            saving_since: AtomicI64::new(0),
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

    /// True if a save is under way.
    pub fn is_saving(&self) -> bool {
        self.saving.load(Ordering::Acquire)
    }

    /// Takes the right to save. False if somebody has it. The epoch of the save, which no entry bears.
    pub fn begin_save(&self, now: i64) -> Option<u8> {
        if self.saving.swap(true, Ordering::AcqRel) {
            return None;
        }
        let epoch = self.epoch.load(Ordering::Relaxed) % u8::MAX + 1;
        self.epoch.store(epoch, Ordering::Relaxed);
        self.scheduled.store(false, Ordering::Relaxed);
        self.cancelled.store(false, Ordering::Relaxed);
        self.saving_since.store(now, Ordering::Relaxed);
        self.last_try.store(now, Ordering::Relaxed);
        self.saved_keys.store(0, Ordering::Relaxed);
        self.saves.fetch_add(1, Ordering::Relaxed);
        Some(epoch)
    }

    /// A save is to begin as soon as can be; the one under way is not wanted any more.
    pub fn supersede(&self) {
        if self.is_saving() {
            self.cancelled.store(true, Ordering::Release);
        }
        self.scheduled.store(true, Ordering::Release);
    }

    /// Begins a load.
    pub fn begin_load(&self, now: i64) {
        self.keys_loaded.store(0, Ordering::Relaxed);
        self.keys_expired.store(0, Ordering::Relaxed);
        self.loading_bytes.store(0, Ordering::Relaxed);
        self.loaded_bytes.store(0, Ordering::Relaxed);
        self.loading_since.store(now, Ordering::Relaxed);
        self.loading.store(true, Ordering::Release);
    }
}
