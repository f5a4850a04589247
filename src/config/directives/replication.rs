//! Replication: whom this server follows and how, and what its own replicas get.

use super::super::choices::DisklessLoad;
use super::*;

pub(super) const DIRECTIVES: &[Directive] = &[
    Directive::new("replicaof", Kind::ReplicaOf, "no one").alias("slaveof").immutable(),
    optional_text("masterauth").alias("primaryauth").sensitive(),
    optional_text("masteruser").alias("primaryuser").sensitive(),
    int("min-replicas-to-write", 0, INT_MAX, "0").alias("min-slaves-to-write"),
    int("min-replicas-max-lag", 0, INT_MAX, "10").alias("min-slaves-max-lag"),
    yes_no("replica-serve-stale-data", "yes").alias("slave-serve-stale-data"),
    yes_no("replica-read-only", "yes").alias("slave-read-only"),
    // What is replaced is freed in slices in any case.
    yes_no("replica-lazy-flush", "no").alias("slave-lazy-flush").inert(),
    yes_no("replica-ignore-maxmemory", "yes").alias("slave-ignore-maxmemory"),
    // Nothing that happens on a replica's disk, or that its primary sends, ends it.
    yes_no("replica-ignore-disk-write-errors", "no").inert(),
    int("replica-priority", 0, INT_MAX, "100").alias("slave-priority"),
    yes_no("replica-announced", "yes"),
    optional_text("replica-announce-ip").alias("slave-announce-ip"),
    int("replica-announce-port", 0, 65535, "0").alias("slave-announce-port"),
    memory("replica-full-sync-buffer-limit", 0, LONG_MAX_BYTES, "0"),
    yes_no("repl-disable-tcp-nodelay", "no"),
    yes_no("repl-diskless-sync", "yes"),
    int("repl-diskless-sync-delay", 0, INT_MAX, "5"),
    int("repl-diskless-sync-max-replicas", 0, INT_MAX, "0"),
    choice("repl-diskless-load", DisklessLoad::CHOICES, "disabled").denied_when_loading(),
    yes_no("repl-rdb-channel", "yes").hidden(),
    yes_no("dual-channel-replication-enabled", "no").pending(),
    yes_no("repl-mptcp", "no").immutable().restates(),
    int("repl-ping-replica-period", 1, INT_MAX, "10").alias("repl-ping-slave-period"),
    int("repl-timeout", 1, INT_MAX, "60"),
    memory("repl-backlog-size", 1, LONG_MAX_BYTES, "1mb"),
    int("repl-backlog-ttl", 0, LONG_MAX, "3600"),
    yes_no("rdb-del-sync-files", "no"),
    choice(
        "propagation-error-behavior",
        &[("ignore", 0), ("panic", 1), ("panic-on-replicas", 2)],
        "ignore",
    )
    .inert(),
];
