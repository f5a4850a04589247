//! What the configuration says of the process as a whole, and core 0 sees to.
//!
//! Invariant: follows a configuration as soon as core 0 has it. It touches memory, dispositions of
//! signals, and one file of /proc that no disk stands behind.

use std::sync::atomic::Ordering::Relaxed;

use crate::base::sys;
use crate::config::choices::{LogFormat, LogLevel, LogTimestampFormat};
use crate::config::{Config, proc_title};
use crate::observe::log::{self, Form, Level, Stamp};
use crate::observe::server::ServerFacts;

/// The value of `oom-score-adj` that adds to what was there at the start.
const OOM_SCORE_RELATIVE: u32 = 1;

/// The process is as `config` says from here on.
pub(super) fn follow(config: &Config, server: &ServerFacts) {
    follow_log(config);
    let process = &server.process;
    process.set_signal_flags([config.shutdown_on_sigint.0, config.shutdown_on_sigterm.0]);
    // A period shorter than two rounds of periodic work would bark at nothing.
    let least = 2 * 1000 / u64::from(config.hz);
    let watchdog = match config.watchdog_period {
        0 => 0,
        millis => u64::from(millis).max(least),
    };
    process.watchdog_millis.store(watchdog, Relaxed);
    server.persistence.key_load_micros.store(config.key_load_delay, Relaxed);
    sys::crash::enable(config.crash_log_enabled);
    if config.set_proc_title {
        let file = (!server.config_file.is_empty()).then_some(server.config_file.as_bytes());
        sys::process::set_title(|program| proc_title(config, program, file));
    }
    let is_relative = config.oom_score_adj == OOM_SCORE_RELATIVE;
    let score = config.oom_score_adj_values[usize::from(config.replicaof.is_some())];
    let score = (config.oom_score_adj != 0).then_some((score, is_relative));
    if let Err(error) = sys::process::adjust_oom_score(score) {
        log::warning(error);
    }
}

/// What is logged, and how.
pub fn follow_log(config: &Config) {
    log::set_level(match config.loglevel {
        LogLevel::Debug => Level::Debug,
        LogLevel::Verbose => Level::Verbose,
        LogLevel::Notice => Level::Notice,
        LogLevel::Warning => Level::Warning,
        LogLevel::Nothing => Level::Nothing,
    });
    let form = match config.log_format {
        LogFormat::Legacy => Form::Legacy,
        LogFormat::Logfmt => Form::Logfmt,
        LogFormat::Json => Form::Json,
    };
    let stamp = match config.log_timestamp_format {
        LogTimestampFormat::Legacy => Stamp::Legacy,
        LogTimestampFormat::Iso8601 => Stamp::Iso8601,
        LogTimestampFormat::Milliseconds => Stamp::Milliseconds,
    };
    log::set_form(form, stamp);
}
