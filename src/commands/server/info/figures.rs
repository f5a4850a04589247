//! Sections of INFO that sum counters: Stats, Commandstats, Errorstats, Latencystats, Keyspace, Cores.
//!
//! Invariant: a sum is over all cores, each of which is the only writer of its counters.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use super::{InfoFacts, Report};
use crate::command::{CommandTable, Listed};
use crate::observe::errors::shown;
use crate::observe::phases::Phase;
use crate::observe::stats::{
    CommandTotals, CoreStats, Counter, Denials, Rates, Totals, percentile,
};
use crate::pubsub::Kind;

pub(super) fn stats(cx: &InfoFacts<'_>, report: &mut Report) {
    let total = |counter: fn(&Totals) -> &Counter| cx.server.sum(|one| counter(&one.totals).get());
    let rate = |counter: fn(&Rates) -> &Counter| cx.server.sum(|one| counter(&one.rates).get());
    let kilobytes = |bytes: u64| format!("{:.2}", bytes as f64 / 1024.0);
    report.field("total_connections_received", total(|t| &t.connections));
    report.field("total_commands_processed", total(|t| &t.commands));
    report.field("instantaneous_ops_per_sec", rate(|r| &r.commands));
    report.field("total_net_input_bytes", total(|t| &t.net_input_bytes));
    report.field("total_net_output_bytes", total(|t| &t.net_output_bytes));
    let from_primary = cx.server.primary_link.input_bytes.load(Relaxed);
    report.field("total_net_repl_input_bytes", from_primary);
    report.field("total_net_repl_output_bytes", total(|t| &t.net_repl_output_bytes));
    report.field("instantaneous_input_kbps", kilobytes(rate(|r| &r.input_bytes)));
    report.field("instantaneous_output_kbps", kilobytes(rate(|r| &r.output_bytes)));
    report.field("instantaneous_input_repl_kbps", kilobytes(0));
    report.field("instantaneous_output_repl_kbps", kilobytes(0));
    report.field("rejected_connections", total(|t| &t.rejected_connections));
    let syncs = &cx.server.replication;
    report.field("sync_full", syncs.syncs_full.load(Relaxed));
    report.field("sync_partial_ok", syncs.syncs_partial.load(Relaxed));
    report.field("sync_partial_err", syncs.syncs_refused.load(Relaxed));
    report.field("expired_subkeys", total(|t| &t.expired_subkeys));
    report.field("expired_keys", total(|t| &t.expired_keys));
    report.field("expired_stale_perc", "0.00");
    report.field("expired_time_cap_reached_count", total(|t| &t.expired_time_cap_reached));
    report.field("expire_cycle_cpu_milliseconds", total(|t| &t.expire_cycle_nanos) / 1_000_000);
    report.field("evicted_keys", total(|t| &t.evicted_keys));
    report.field("evicted_clients", total(|t| &t.evicted_clients));
    report.field("evicted_scripts", total(|t| &t.evicted_scripts));
    report.zeros(&["total_eviction_exceeded_time", "current_eviction_exceeded_time"]);
    report.field("keyspace_hits", total(|t| &t.keyspace_hits));
    report.field("keyspace_misses", total(|t| &t.keyspace_misses));
    let listened = |kind| cx.directory.len(kind) as u64;
    report.field("pubsub_channels", listened(Kind::Channel));
    report.field("pubsub_patterns", listened(Kind::Pattern));
    report.field("pubsubshard_channels", listened(Kind::Shard));
    report.zeros(&["latest_fork_usec"]);
    report.field("total_forks", cx.server.persistence.snapshots.load(Relaxed));
    report.field("migrate_cached_sockets", cx.server.migrate_sockets.load(Relaxed));
    let unshared = cx.server.sum(|one| one.unshared_keys.get());
    report.field("slave_expires_tracked_keys", unshared);
    report.zeros(NOT_COUNTED);
    report.field("tracking_total_keys", cx.server.sum(|one| one.tracked_keys.get()));
    report.field("tracking_total_items", cx.server.sum(|one| one.tracked_items.get()));
    report.field("tracking_total_prefixes", cx.stats.tracked_prefixes.get());
    report.field("unexpected_error_replies", total(|t| &t.unexpected_error_replies));
    report.field("total_error_replies", total(|t| &t.error_replies));
    report.field("dump_payload_sanitizations", 0);
    report.field("total_reads_processed", total(|t| &t.reads));
    report.field("total_writes_processed", total(|t| &t.writes));
    report.zeros(&["io_threaded_reads_processed", "io_threaded_writes_processed"]);
    let closed_for_input = total(|t| &t.query_buffer_disconnections);
    report.field("client_query_buffer_limit_disconnections", closed_for_input);
    let closed_for_output = total(|t| &t.output_buffer_disconnections);
    report.field("client_output_buffer_limit_disconnections", closed_for_output);
    report.zeros(&["reply_buffer_shrinks", "reply_buffer_expands"]);
    report.field("eventloop_cycles", total(|t| &t.turns));
    report.field("eventloop_duration_sum", total(|t| &t.turn_nanos) / 1000);
    report.field("eventloop_duration_cmd_sum", total(|t| &t.turn_command_nanos) / 1000);
    // Of one core, as of the one loop of a stock server.
    let cores = cx.server.stats.len().max(1) as u64;
    report.field("instantaneous_eventloop_cycles_per_sec", rate(|r| &r.turns).div_ceil(cores));
    let mean_nanos = rate(|r| &r.turn_nanos) / cores;
    report.field("instantaneous_eventloop_duration_usec", mean_nanos / 1000);
    let denied = |count: fn(&Denials) -> &Counter| cx.server.sum(|one| count(&one.denials).get());
    report.field("acl_access_denied_auth", denied(|of| &of.auth));
    report.field("acl_access_denied_cmd", denied(|of| &of.commands));
    report.field("acl_access_denied_key", denied(|of| &of.keys));
    report.field("acl_access_denied_channel", denied(|of| &of.channels));
    report.field("acl_access_denied_db", denied(|of| &of.databases));
    report.field("acl_access_denied_tls_cert", denied(|of| &of.certificate));
}

/// Fields of Stats between the keys of writable replicas and the errors: there is nothing to count yet.
const NOT_COUNTED: &[&str] = &[
    "active_defrag_hits",
    "active_defrag_misses",
    "active_defrag_key_hits",
    "active_defrag_key_misses",
    "total_active_defrag_time",
    "current_active_defrag_time",
];

/// Every command and subcommand with the numbers that it counts under.
pub(in crate::commands::server) fn counted(table: &dyn CommandTable) -> Vec<(Listed, Vec<usize>)> {
    let mut counted = Vec::new();
    for command in table.commands() {
        let (hidden, parts): (Vec<_>, Vec<_>) =
            table.parts(command).into_iter().partition(|part| part.command.hidden);
        let numbers = std::iter::once(command).chain(hidden).map(|one| one.number).collect();
        counted.push((command, numbers));
        counted.extend(parts.into_iter().map(|part| (part, vec![part.number])));
    }
    counted
}

pub(super) fn commandstats(cx: &InfoFacts<'_>, report: &mut Report) {
    for (command, numbers) in counted(cx.table) {
        let sum = |counter: fn(&CommandTotals) -> &Counter| {
            let of_core = |one: &CoreStats| -> u64 {
                numbers.iter().map(|at| counter(&one.commands[*at].totals).get()).sum()
            };
            cx.server.sum(of_core)
        };
        let (calls, micros) = (sum(|t| &t.calls), sum(|t| &t.nanos) / 1000);
        let (rejected, failed) = (sum(|t| &t.rejected), sum(|t| &t.failed));
        if calls == 0 && rejected == 0 && failed == 0 {
            continue;
        }
        let mean = if calls == 0 { 0.0 } else { micros as f64 / calls as f64 };
        report.field(
            format_args!("cmdstat_{}", command.full_name),
            format_args!(
                "calls={calls},usec={micros},usec_per_call={mean:.2},rejected_calls={rejected},failed_calls={failed}"
            ),
        );
    }
}

pub(super) fn errorstats(cx: &InfoFacts<'_>, report: &mut Report) {
    let mut sums = BTreeMap::new();
    for stats in &cx.server.stats {
        for (code, count) in stats.errors.all() {
            *sums.entry(code).or_insert(0) += count;
        }
    }
    for (code, count) in sums {
        report.field(format_args!("errorstat_{}", shown(&code)), format_args!("count={count}"));
    }
}

pub(super) fn latencystats(cx: &InfoFacts<'_>, report: &mut Report) {
    if !cx.config.latency_tracking {
        return;
    }
    for (command, numbers) in counted(cx.table) {
        let mut sums = Vec::new();
        for stats in &cx.server.stats {
            let histograms = numbers.iter().filter_map(|at| stats.commands[*at].histogram());
            histograms.for_each(|histogram| histogram.add_to(&mut sums));
        }
        if sums.iter().all(|count| *count == 0) {
            continue;
        }
        let shown: Vec<String> = (cx.config.latency_tracking_info_percentiles.iter())
            .map(|percent| {
                let micros = percentile(&sums, *percent) as f64 / 1000.0;
                format!("p{}={micros:.3}", percent_text(*percent))
            })
            .collect();
        let name = format_args!("latency_percentiles_usec_{}", command.full_name);
        report.field(name, shown.join(","));
    }
}

/// Six digits behind the point, without the zeros at the end.
fn percent_text(percent: f64) -> String {
    format!("{percent:.6}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// What those ask for who look into the server itself.
pub(super) fn debug(cx: &InfoFacts<'_>, report: &mut Report) {
    let total = |counter: fn(&Totals) -> &Counter| cx.server.sum(|one| counter(&one.totals).get());
    let highest = |counter: fn(&Totals) -> &Counter| {
        cx.server.stats.iter().map(|one| counter(&one.totals).get()).max().unwrap_or(0)
    };
    report.field("eventloop_duration_aof_sum", 0);
    report.field("eventloop_duration_cron_sum", total(|t| &t.turn_house_nanos) / 1000);
    report.field("eventloop_duration_max", highest(|t| &t.turn_nanos_max) / 1000);
    report.field("eventloop_cmd_per_cycle_max", highest(|t| &t.turn_commands_max));
    let engines =
        cx.server.sum(|one| one.script_engine_bytes.get() + one.function_engine_bytes.get());
    report.field("allocator_allocated_lua", engines);
    report.field("allocator_active_lua", engines);
    report.zeros(&["allocator_resident_lua", "allocator_frag_bytes_lua"]);
}

pub(super) fn keyspace(cx: &InfoFacts<'_>, report: &mut Report) {
    for db in 0..cx.config.databases {
        let gauges = || cx.server.stats.iter().filter_map(|stats| stats.dbs.get(db));
        let keys: u64 = gauges().map(|one| one.keys.get()).sum();
        let expires: u64 = gauges().map(|one| one.expires.get()).sum();
        let subexpiry: u64 = gauges().map(|one| one.subexpiry.get()).sum();
        if keys == 0 && expires == 0 {
            continue;
        }
        // The mean of the cores' means, each by the number of keys that it is the mean of.
        let weigh = |one: &crate::observe::stats::DbGauges| {
            u128::from(one.avg_ttl.get()) * u128::from(one.expires.get())
        };
        let avg_ttl = gauges().map(weigh).sum::<u128>() / u128::from(expires.max(1));
        report.field(
            format_args!("db{db}"),
            format_args!("keys={keys},expires={expires},avg_ttl={avg_ttl},subexpiry={subexpiry}"),
        );
    }
}

pub(super) fn key_sizes(_cx: &InfoFacts<'_>, report: &mut Report) {
    let sizes = std::mem::take(&mut report.key_sizes);
    for (db, kind, keys) in sizes.iter() {
        let told: Vec<String> =
            keys.iter().map(|(size, keys)| format!("{}={keys}", power_text(*size))).collect();
        report.field(format_args!("db{db}_{}", kind.distribution()), told.join(","));
    }
}

/// A power of 2 as INFO names it: 512, 1K, 64M.
fn power_text(power: u64) -> String {
    let thousands = power.checked_ilog2().unwrap_or(0) / 10;
    let unit = ["", "K", "M", "G", "T", "P", "E"][thousands as usize];
    format!("{}{unit}", power >> (10 * thousands))
}

/// What each core reads from clients and writes to them.
pub(super) fn threads(cx: &InfoFacts<'_>, report: &mut Report) {
    for (core, stats) in cx.server.stats.iter().enumerate() {
        let (clients, totals) = (stats.clients.get(), &stats.totals);
        let (reads, writes) = (totals.reads.get(), totals.writes.get());
        report.field(
            format_args!("io_thread_{core}"),
            format_args!("clients={clients},reads={reads},writes={writes}"),
        );
    }
}

pub(super) fn cores(cx: &InfoFacts<'_>, report: &mut Report) {
    report.field("cores", cx.server.stats.len());
    for (core, stats) in cx.server.stats.iter().enumerate() {
        let (totals, rates) = (&stats.totals, &stats.rates);
        let keys: u64 = stats.dbs.iter().map(|db| db.keys.get()).sum();
        report.field(
            format_args!("core{core}"),
            format_args!(
                "clients={},keys={keys},commands={},ops_per_sec={},turns={},hops={},loans={},wakes={},turn_cpu_max_usec={},cpu_user_usec={},cpu_sys_usec={},recv_no_buffers={},short_sends={},queued={},slice_overruns={}",
                stats.clients.get(),
                totals.commands.get(),
                rates.commands.get(),
                totals.turns.get(),
                totals.hops.get(),
                totals.loans.get(),
                totals.wakes.get(),
                totals.turn_cpu_nanos_max.get() / 1000,
                stats.cpu_user_micros.get(),
                stats.cpu_sys_micros.get(),
                totals.recv_no_buffers.get(),
                totals.short_sends.get(),
                stats.queued.get(),
                totals.slice_overruns.get(),
            ),
        );
    }
    latency_phases(cx, report);
}

/// What the time of sampled commands went to, from the read of the request to the send of the reply.
fn latency_phases(cx: &InfoFacts<'_>, report: &mut Report) {
    for phase in Phase::ALL {
        let mut sums = Vec::new();
        let timings = cx.server.stats.iter().filter_map(|stats| stats.phases.of(phase));
        timings.for_each(|timing| timing.histogram.add_to(&mut sums));
        let micros = |percent| percentile(&sums, percent) as f64 / 1000.0;
        report.field(
            format_args!("latency_{}", phase.name()),
            format_args!(
                "samples={},p50_usec={:.3},p99_usec={:.3},p99.9_usec={:.3}",
                sums.iter().sum::<u64>(),
                micros(50.0),
                micros(99.0),
                micros(99.9),
            ),
        );
    }
}
