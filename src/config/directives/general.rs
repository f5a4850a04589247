//! The process: how it runs, logs, shows itself and stops.

use super::super::choices::{
    LogFormat, LogLevel, LogTimestampFormat, OOM_SCORE_ADJ, ProtectedAction, SHUTDOWN_ON_SIGNAL,
    Supervised, SyslogFacility,
};
use super::super::proc_title;
use super::*;

pub(super) const DIRECTIVES: &[Directive] = &[
    yes_no("daemonize", "no").immutable(),
    choice("supervised", Supervised::CHOICES, "no").immutable(),
    optional_text("pidfile").immutable(),
    choice("loglevel", LogLevel::CHOICES, "notice"),
    text("logfile", "").immutable(),
    choice("log-format", LogFormat::CHOICES, "legacy"),
    choice("log-timestamp-format", LogTimestampFormat::CHOICES, "legacy"),
    yes_no("syslog-enabled", "no").immutable(),
    text("syslog-ident", "redis").immutable(),
    choice("syslog-facility", SyslogFacility::CHOICES, "local0").immutable(),
    yes_no("hide-user-data-from-log", "no"),
    yes_no("crash-log-enabled", "yes"),
    yes_no("crash-memcheck-enabled", "yes").inert(),
    yes_no("use-exit-on-panic", "no").hidden().inert(),
    yes_no("always-show-logo", "no").immutable(),
    yes_no("set-proc-title", "yes").immutable(),
    text("proc-title-template", "{title} {listen-addr} {server-mode}").check(known_proc_title),
    text("locale-collate", "").pending(),
    text("ignore-warnings", "").inert(),
    int("hz", 0, INT_MAX, "10").check(hz_within_bounds),
    yes_no("dynamic-hz", "yes").inert(),
    // The cores take the place of the I/O threads.
    int("io-threads", 1, 128, "1").immutable().inert(),
    int("prefetch-batch-max-size", 0, 128, "16").inert(),
    optional_text("server-cpulist").alias("server_cpulist").immutable(),
    optional_text("bio-cpulist").alias("bio_cpulist").immutable().inert(),
    optional_text("aof-rewrite-cpulist").alias("aof_rewrite_cpulist").immutable().inert(),
    optional_text("bgsave-cpulist").alias("bgsave_cpulist").immutable().inert(),
    choice("oom-score-adj", OOM_SCORE_ADJ, "no"),
    Directive::new("oom-score-adj-values", Kind::OomScores, "0 200 800"),
    yes_no("disable-thp", "yes").immutable(),
    yes_no("jemalloc-bg-thread", "yes").inert(),
    int("shutdown-timeout", 0, INT_MAX, "10"),
    Directive::new("shutdown-on-sigint", Kind::Flags(SHUTDOWN_ON_SIGNAL), "default"),
    Directive::new("shutdown-on-sigterm", Kind::Flags(SHUTDOWN_ON_SIGNAL), "default"),
    choice("enable-protected-configs", ProtectedAction::CHOICES, "no").immutable(),
    choice("enable-debug-command", ProtectedAction::CHOICES, "no").immutable(),
    choice("enable-module-command", ProtectedAction::CHOICES, "no").immutable().inert(),
    int("watchdog-period", 0, INT_MAX, "0").hidden(),
    yes_no("extended-redis-compatibility", "no").inert(),
    text("availability-zone", ""),
];

const HZ_MIN: i64 = 1;
const HZ_MAX: i64 = 500;

/// A rate out of bounds is no error in Redis either, but taken as the nearest good one.
fn hz_within_bounds(value: Value) -> Result<Value, &'static str> {
    let Value::Int(hz) = value else { unreachable!("hz is a number") };
    Ok(Value::Int(hz.clamp(HZ_MIN, HZ_MAX)))
}

fn known_proc_title(value: Value) -> Result<Value, &'static str> {
    let Value::Text(template) = &value else { unreachable!("proc-title-template is text") };
    if proc_title::is_valid(template) {
        Ok(value)
    } else {
        Err("template format is invalid or contains unknown variables")
    }
}
