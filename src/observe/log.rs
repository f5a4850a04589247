//! The log: lines as Redis words them, written by the control plane.
//!
//! Invariant: a core only formats and hands over; it never writes to a file. Line format:
//! `pid:role day month year hour:minute:second.millis level message`, level one of `. - * #`; or as
//! `log-format` says (`log/line.rs`).

mod line;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering::Relaxed};

pub use line::Line;

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

impl Level {
    /// Its name in forms that have names for levels.
    pub const fn name(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Verbose => "info",
            Level::Notice => "notice",
            Level::Warning | Level::Nothing => "warning",
        }
    }

    /// Its number in syslog. Source: RFC 5424.
    pub const fn priority(self) -> i32 {
        match self {
            Level::Debug => 7,
            Level::Verbose => 6,
            Level::Notice => 5,
            Level::Warning | Level::Nothing => 4,
        }
    }
}

/// How a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Form {
    Legacy,
    Logfmt,
    Json,
}

/// How its time is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Stamp {
    Legacy,
    Iso8601,
    Milliseconds,
}

/// Takes messages.
pub type Sink = Box<dyn Fn(Level, String) + Send + Sync>;

static SINK: OnceLock<Sink> = OnceLock::new();
static LEVEL: AtomicU8 = AtomicU8::new(Level::Notice as u8);
static FORM: AtomicU8 = AtomicU8::new(Form::Legacy as u8);
static STAMP: AtomicU8 = AtomicU8::new(Stamp::Legacy as u8);
static UTC_OFFSET: AtomicI64 = AtomicI64::new(0);

/// Lines are written like this from now on.
pub fn set_form(form: Form, stamp: Stamp) {
    FORM.store(form as u8, Relaxed);
    STAMP.store(stamp as u8, Relaxed);
}

/// Seconds that local time is ahead of UTC.
pub fn set_utc_offset(seconds: i64) {
    UTC_OFFSET.store(seconds, Relaxed);
}

/// A message of a process, a replica or not, as a line of now, given in milliseconds since 1970.
pub fn line((pid, follows): (u32, bool), millis: i64, level: Level, message: &str) -> String {
    let form = match FORM.load(Relaxed) {
        1 => Form::Logfmt,
        2 => Form::Json,
        _ => Form::Legacy,
    };
    let stamp = match STAMP.load(Relaxed) {
        1 => Stamp::Iso8601,
        2 => Stamp::Milliseconds,
        _ => Stamp::Legacy,
    };
    let utc_offset = UTC_OFFSET.load(Relaxed);
    Line { pid, follows, millis, utc_offset, level, message }.write(form, stamp)
}

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
