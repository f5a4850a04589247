//! The metrics that only this server has: what each core does, and what the time of commands goes to.
//!
//! Invariant: read where the cores publish it. Every name is in docs/METRICS.md.

use super::exposition::{Exposition, Kind};
use crate::observe::phases::{Phase, Timings};
use crate::observe::report::CoreReport;
use crate::observe::server::ServerFacts;
use crate::observe::stats::{CoreStats, Histogram};

/// Adds all of them.
pub(super) fn describe(text: &mut Exposition, server: &ServerFacts, reports: &[CoreReport]) {
    let gauge = |name, help| (Kind::Gauge, name, help);
    text.add(gauge("ironring_cores", "Cores of the server."), &[], server.stats.len());
    for (core, stats) in server.stats.iter().enumerate() {
        let core = core.to_string();
        let labels = &[("core", &core[..])];
        for (kind, name, help, value) in VALUES {
            text.add((*kind, name, help), labels, value(stats));
        }
        turn_lengths(text, labels, stats);
        for phase in Phase::ALL {
            if let Some(timings) = stats.phases.of(phase) {
                let labels = [labels[0], ("phase", phase.name())];
                command_latency(text, &labels, timings);
            }
        }
    }
    for report in reports {
        let core = report.core.to_string();
        for (kind, sum) in report.keys.survey().types() {
            let labels = &[("core", &core[..]), ("type", *kind)];
            text.add(gauge("ironring_sampled_keys", KEYS_HELP), labels, sum.keys);
            text.add(gauge("ironring_sampled_key_bytes", BYTES_HELP), labels, sum.bytes);
        }
    }
}

const KEYS_HELP: &str = "Keys of each type, as the last walk over them found.";
const BYTES_HELP: &str = "Bytes of the keys of each type, as the last walk over them found.";

type Value = fn(&CoreStats) -> f64;

/// One value a core each.
const VALUES: &[(Kind, &str, &str, Value)] = &[
    (
        Kind::Counter,
        "ironring_core_busy_seconds_total",
        "Time in turns, waiting left out.",
        |one| one.totals.turn_nanos.get() as f64 / 1e9,
    ),
    (Kind::Counter, "ironring_core_cpu_user_seconds_total", "The thread's user time.", |one| {
        one.cpu_user_micros.get() as f64 / 1e6
    }),
    (Kind::Counter, "ironring_core_cpu_sys_seconds_total", "The thread's system time.", |one| {
        one.cpu_sys_micros.get() as f64 / 1e6
    }),
    (Kind::Counter, "ironring_core_commands_total", "Commands that ran.", |one| {
        one.totals.commands.get() as f64
    }),
    (Kind::Counter, "ironring_core_command_seconds_total", "Time in commands.", |one| {
        one.totals.turn_command_nanos.get() as f64 / 1e9
    }),
    (Kind::Counter, "ironring_core_housekeeping_seconds_total", "Time in housekeeping.", |one| {
        one.totals.turn_house_nanos.get() as f64 / 1e9
    }),
    (
        Kind::Counter,
        "ironring_core_slice_overruns_total",
        "Slices of housekeeping of more than a millisecond.",
        |one| one.totals.slice_overruns.get() as f64,
    ),
    (Kind::Counter, "ironring_core_hops_total", "Batches sent to another core.", |one| {
        one.totals.hops.get() as f64
    }),
    (Kind::Counter, "ironring_core_loans_total", "Partitions lent.", |one| {
        one.totals.loans.get() as f64
    }),
    (Kind::Counter, "ironring_core_wakes_total", "Wakes sent to parked cores.", |one| {
        one.totals.wakes.get() as f64
    }),
    (Kind::Counter, "ironring_core_short_sends_total", "Sends that were cut short.", |one| {
        one.totals.short_sends.get() as f64
    }),
    (
        Kind::Counter,
        "ironring_core_no_buffers_total",
        "Receives that found no free buffer.",
        |one| one.totals.recv_no_buffers.get() as f64,
    ),
    (Kind::Gauge, "ironring_core_queue_depth", "Messages and batches that wait.", |one| {
        one.queued.get() as f64
    }),
    (Kind::Gauge, "ironring_core_clients", "Clients that live here.", |one| {
        one.clients.get() as f64
    }),
    (Kind::Gauge, "ironring_core_client_bytes", "Bytes that they hold.", |one| {
        one.clients_bytes.get() as f64
    }),
    (Kind::Gauge, "ironring_core_keys", "Keys of the partition.", |one| {
        one.dbs.iter().map(|db| db.keys.get()).sum::<u64>() as f64
    }),
];

fn turn_lengths(text: &mut Exposition, labels: &[(&str, &str)], stats: &CoreStats) {
    let seconds = stats.totals.turn_nanos.get() as f64 / 1e9;
    let (count, buckets) = buckets(&stats.turn_lengths);
    text.histogram(
        ("ironring_core_turn_seconds", "Length of turns."),
        labels,
        buckets.into_iter(),
        (count, seconds),
    );
}

fn command_latency(text: &mut Exposition, labels: &[(&str, &str)], timings: &Timings) {
    let (count, buckets) = buckets(&timings.histogram);
    text.histogram(
        (
            "ironring_command_latency_seconds",
            "Sampled commands, from the read of the request to the send of the reply.",
        ),
        labels,
        buckets.into_iter(),
        (count, timings.nanos.get() as f64 / 1e9),
    );
}

/// How many values there are, and how many up to the end of each bucket, in seconds.
fn buckets(histogram: &Histogram) -> (u64, Vec<(f64, u64)>) {
    let mut counts = Vec::new();
    histogram.add_to(&mut counts);
    let (mut at, mut sum) = (0, 0);
    let cumulated = ENDS_NANOS.iter().map(|end| {
        while at < counts.len() && Histogram::highest(at) <= *end {
            sum += counts[at];
            at += 1;
        }
        (*end as f64 / 1e9, sum)
    });
    let cumulated = cumulated.collect();
    (counts.iter().sum(), cumulated)
}

/// Ends of the buckets that are shown.
const ENDS_NANOS: &[u64] = &[
    1_000,
    2_000,
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    1_000_000_000,
    10_000_000_000,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_cumulate() {
        let histogram = Histogram::default();
        for nanos in [500, 1_500, 1_500, 3_000_000, 60_000_000_000] {
            histogram.record(nanos);
        }
        let (count, buckets) = buckets(&histogram);
        assert_eq!((count, buckets.len()), (5, ENDS_NANOS.len()));
        assert_eq!((buckets[0], buckets[1]), ((1e-6, 1), (2e-6, 3)));
        assert_eq!(buckets.last(), Some(&(10.0, 4)));
    }
}
