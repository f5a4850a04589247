//! The log: lines as Redis words them, written by the control plane.
//!
//! Invariant: a core only formats and hands over; it never writes to a file. Line format:
//! `pid:role day month year hour:minute:second.millis level message`, level one of `. - * #`.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// How important a line is; the order is that of `loglevel`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Level {
    Debug,
    Verbose,
    Notice,
    Warning,
    Nothing,
}

impl Level {
    /// The mark that stands before the message.
    pub const fn mark(self) -> char {
        match self {
            Level::Debug => '.',
            Level::Verbose => '-',
            Level::Notice => '*',
            Level::Warning | Level::Nothing => '#',
        }
    }
}

/// Takes finished lines.
pub type Sink = Box<dyn Fn(Level, String) + Send + Sync>;

static SINK: OnceLock<Sink> = OnceLock::new();
static LEVEL: AtomicU8 = AtomicU8::new(Level::Notice as u8);

/// Names who takes the lines; the first call counts.
pub fn install(sink: Sink) {
    let _ = SINK.set(sink);
}

/// Lines below `level` are dropped from now on.
pub fn set_level(level: Level) {
    LEVEL.store(level as u8, Relaxed);
}

/// True if a line of `level` would be written.
#[inline]
pub fn enabled(level: Level) -> bool {
    level as u8 >= LEVEL.load(Relaxed)
}

/// Logs one message.
pub fn write(level: Level, message: impl FnOnce() -> String) {
    if enabled(level)
        && let Some(sink) = SINK.get()
    {
        sink(level, message());
    }
}

/// Logs a notice.
pub fn notice(message: impl Into<String>) {
    write(Level::Notice, || message.into());
}

/// Logs a warning.
pub fn warning(message: impl Into<String>) {
    write(Level::Warning, || message.into());
}
