//! The slow log, the other command logs, and latency.

use super::*;

pub(super) const DIRECTIVES: &[Directive] = &[
    int("slowlog-log-slower-than", -1, LONG_MAX, "10000").alias("commandlog-execution-slower-than"),
    int("slowlog-max-len", 0, LONG_MAX, "128").alias("commandlog-slow-execution-max-len"),
    int("commandlog-request-larger-than", -1, LONG_MAX, "1048576"),
    int("commandlog-large-request-max-len", 0, LONG_MAX, "128"),
    int("commandlog-reply-larger-than", -1, LONG_MAX, "1048576"),
    int("commandlog-large-reply-max-len", 0, LONG_MAX, "128"),
    int("latency-monitor-threshold", 0, LONG_MAX, "0"),
    yes_no("latency-tracking", "yes"),
    Directive::new("latency-tracking-info-percentiles", Kind::Percentiles, "50 99 99.9")
        .always_written(),
];
