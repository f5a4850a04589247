//! Sections of INFO about the process: Server, Clients, Memory, Persistence, Replication, CPU.
//!
//! Invariant: a field whose feature does not exist yet says what is true without it.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::super::memory_figures::{Excess, MemoryFigures};
use super::{InfoFacts, Report};
use crate::base::sys;
use crate::config::value::Endpoint;
use crate::observe::link::LinkState;
use crate::observe::persistence::Purpose;
use crate::observe::server::{IRONRING_VERSION, REDIS_VERSION};
use crate::tls::Context;

/// Bits of the access clock that INFO shows.
const LRU_CLOCK_MASK: i64 = (1 << 24) - 1;
const SECONDS_PER_DAY: i64 = 24 * 3600;

pub(super) fn server(cx: &InfoFacts<'_>, report: &mut Report) {
    let (facts, config) = (cx.server, cx.config);
    let uptime = cx.now.seconds() - facts.started.seconds();
    report.field("redis_version", REDIS_VERSION);
    report.field("server_name", "ironring");
    report.field("ironring_version", IRONRING_VERSION);
    report.field("redis_git_sha1", "00000000");
    report.field("redis_git_dirty", 0);
    report.field("redis_build_id", "0000000000000000");
    report.field("redis_mode", "standalone");
    report.field("os", &facts.os);
    report.field("arch_bits", usize::BITS);
    report.field("monotonic_clock", "POSIX clock_gettime");
    report.field("multiplexing_api", facts.process.multiplexing);
    report.field("atomicvar_api", "rust-core");
    report.field("gcc_version", "0.0.0");
    report.field("process_id", facts.pid);
    report.field("process_supervised", facts.process.supervised);
    report.field("run_id", &facts.run_id);
    report.field("tcp_port", if config.port == 0 { config.tls_port } else { config.port });
    report.field("server_time_usec", cx.wall.0);
    report.field("uptime_in_seconds", uptime);
    report.field("uptime_in_days", uptime / SECONDS_PER_DAY);
    report.field("hz", config.hz);
    report.field("configured_hz", config.hz);
    report.field("lru_clock", cx.now.seconds() & LRU_CLOCK_MASK);
    report.field("executable", &facts.executable);
    report.field("config_file", &facts.config_file);
    let ends_at = facts.replication.ends_at.load(Relaxed);
    if ends_at != 0 {
        report.field("shutdown_in_milliseconds", ends_at - cx.now.0);
    }
    report.field("io_threads_active", 0);
    report.field("availability_zone", String::from_utf8_lossy(&config.availability_zone));
    listeners(cx, report);
}

fn listeners(cx: &InfoFacts<'_>, report: &mut Report) {
    let config = cx.config;
    let mut number = 0;
    let mut bind = String::new();
    for address in &config.bind {
        bind.push_str(",bind=");
        bind.push_str(&String::from_utf8_lossy(address));
    }
    if config.port != 0 {
        report.field("listener0", format_args!("name=tcp{bind},port={}", config.port));
        number += 1;
    }
    if !config.unixsocket.is_empty() {
        let path = String::from_utf8_lossy(&config.unixsocket);
        report.field(format_args!("listener{number}"), format_args!("name=unix,bind={path}"));
        number += 1;
    }
    if config.tls_port != 0 {
        let place = format_args!("name=tls{bind},port={}", config.tls_port);
        report.field(format_args!("listener{number}"), place);
    }
}

/// The certificates in use; the section is Valkey's.
pub(super) fn tls(cx: &InfoFacts<'_>, report: &mut Report) {
    let context = cx.tls.filter(|_| Context::is_needed(cx.config));
    let certificates = [
        ("server_cert", context.and_then(|context| context.server_certificate.as_ref())),
        ("client_cert", context.and_then(|context| context.client_certificate.as_ref())),
        ("ca_cert", context.and_then(|context| context.authority.as_ref())),
    ];
    for (name, facts) in certificates {
        let serial = facts.map_or("none", |facts| &facts.serial);
        let left = facts.map_or(0, |facts| (facts.expires - cx.now.seconds()).max(0));
        report.field(format_args!("tls_{name}_serial"), serial);
        report.field(format_args!("tls_{name}_expires_in_seconds"), left);
    }
}

pub(super) fn clients(cx: &InfoFacts<'_>, report: &mut Report) {
    let server = cx.server;
    let connected: i64 = server.clients.iter().map(crate::observe::stats::Gauge::get).sum();
    let highest = |buffer: fn(&crate::observe::stats::CoreStats) -> u64| {
        server.stats.iter().map(|stats| buffer(stats)).max().unwrap_or(0)
    };
    let replicas = i64::from(server.replication.replicas.load(Relaxed));
    report.field("connected_clients", (connected - replicas).max(0));
    report.field("cluster_connections", 0);
    report.field("maxclients", cx.config.maxclients);
    report.field("client_recent_max_input_buffer", highest(|stats| stats.max_input_bytes.get()));
    report.field("client_recent_max_output_buffer", highest(|stats| stats.max_output_bytes.get()));
    report.field("blocked_clients", server.sum(|stats| stats.blocked_clients.get()));
    report.field("tracking_clients", server.sum(|stats| stats.tracking_clients.get()));
    report.field("pubsub_clients", cx.server.sum(|one| one.pubsub_clients.get()));
    report.field("watching_clients", server.sum(|stats| stats.watching_clients.get()));
    report.field("clients_in_timeout_table", server.sum(|stats| stats.timed_clients.get()));
    report.field("total_watched_keys", server.sum(|stats| stats.watched_keys.get()));
    report.field("total_blocking_keys", server.sum(|stats| stats.blocking_keys.get()));
    let on_nokey = server.sum(|stats| stats.blocking_keys_on_nokey.get());
    report.field("total_blocking_keys_on_nokey", on_nokey);
}

pub(super) fn memory(cx: &InfoFacts<'_>, report: &mut Report) {
    let figures = MemoryFigures::take(cx.server, cx.config, (cx.scripts, cx.functions));
    report.size("used_memory", figures.used);
    report.size("used_memory_rss", figures.resident);
    report.size("used_memory_peak", figures.peak);
    report.field("used_memory_peak_perc", format_args!("{:.2}%", figures.peak_percent()));
    report.field("used_memory_overhead", figures.overhead());
    report.field("used_memory_startup", figures.startup);
    report.field("used_memory_dataset", figures.dataset());
    report.field("used_memory_dataset_perc", format_args!("{:.2}%", figures.dataset_percent()));
    report.field("allocator_allocated", figures.used);
    report.field("allocator_active", figures.active);
    report.field("allocator_resident", figures.resident);
    report.field("allocator_muzzy", 0);
    report.size("total_system_memory", cx.server.system_memory);
    scripts_memory(cx, report);
    report.field("maxmemory", cx.config.maxmemory);
    report.human("maxmemory", cx.config.maxmemory);
    report.field("maxmemory_policy", cx.config.text_of("maxmemory-policy"));
    for (name, excess) in [
        ("allocator_frag", figures.in_pages()),
        ("allocator_rss", figures.beside_pages()),
        ("rss_overhead", Excess { ratio: 1.0, bytes: 0 }),
        ("mem_fragmentation", figures.fragmentation()),
    ] {
        report.field(format!("{name}_ratio"), format_args!("{:.2}", excess.ratio));
        report.field(format!("{name}_bytes"), excess.bytes);
    }
    let not_counted = cx.server.not_counted_for_evict(cx.config.repl_backlog_size);
    report.field("mem_not_counted_for_evict", not_counted);
    report.field("mem_replication_backlog", figures.backlog);
    let buffers = cx.server.replication.backlog_bytes.load(Relaxed);
    report.field("mem_total_replication_buffers", buffers + figures.full_sync);
    report.field("mem_replica_full_sync_buffer", figures.full_sync);
    report.field("mem_clients_slaves", figures.replicas);
    report.field("mem_clients_normal", figures.clients);
    report.zeros(&["mem_cluster_links"]);
    report.field("mem_aof_buffer", figures.journal);
    report.field("mem_allocator", "mimalloc");
    report.zeros(&["mem_overhead_db_hashtable_rehashing", "active_defrag_running"]);
    let pending = cx.server.sum(|stats| stats.lazyfree_pending.get());
    report.field("lazyfree_pending_objects", pending);
    report.field("lazyfreed_objects", cx.server.sum(|stats| stats.totals.lazyfreed.get()));
}

/// The interpreters of all cores, and the scripts and libraries, which all cores share.
fn scripts_memory(cx: &InfoFacts<'_>, report: &mut Report) {
    let engines = cx.server.sum(|stats| stats.script_engine_bytes.get());
    let function_engines = cx.server.sum(|stats| stats.function_engine_bytes.get());
    let scripts = cx.scripts.script_bytes() as u64;
    let libraries = cx.functions.library_bytes() as u64;
    report.field("used_memory_lua", engines);
    report.field("used_memory_vm_eval", engines);
    report.human("used_memory_lua", engines);
    report.field("used_memory_scripts_eval", scripts);
    report.field("number_of_cached_scripts", cx.scripts.len());
    report.field("number_of_functions", cx.functions.len());
    report.field("number_of_libraries", cx.functions.all().len());
    report.field("used_memory_vm_functions", function_engines);
    report.size("used_memory_vm_total", engines + function_engines);
    report.field("used_memory_functions", libraries);
    report.size("used_memory_scripts", scripts + libraries);
}

pub(super) fn persistence(cx: &InfoFacts<'_>, report: &mut Report) {
    let persistence = &cx.server.persistence;
    let is_loading = persistence.is_loading();
    report.field("loading", u8::from(is_loading));
    let is_async = persistence.is_async_loading();
    report.field("async_loading", u8::from(is_async));
    report.zeros(&["current_cow_peak", "current_cow_size", "current_cow_size_age"]);
    // A snapshot for replicas counts as one.
    let is_saving = persistence.is_saving() || persistence.is_busy_with(Purpose::Replicas);
    let is_busy = persistence.is_busy();
    let of_save = |count: &AtomicU64| if is_busy { count.load(Relaxed) } else { 0 };
    let (done, keys) = (of_save(&persistence.saved_keys), of_save(&persistence.save_keys));
    let percent = if keys == 0 { 0.0 } else { done as f64 / keys as f64 * 100.0 };
    report.field("current_fork_perc", format_args!("{percent:.2}"));
    report.field("current_save_keys_processed", done);
    report.field("current_save_keys_total", keys);
    report.field("rdb_changes_since_last_save", cx.server.unsaved_changes());
    report.field("rdb_bgsave_in_progress", u8::from(is_saving));
    report.field("rdb_last_save_time", persistence.last_save.load(Relaxed));
    let failed = persistence.failed.load(Relaxed);
    report.field("rdb_last_bgsave_status", if failed { "err" } else { "ok" });
    report.field("rdb_last_bgsave_time_sec", persistence.last_seconds.load(Relaxed));
    let since = cx.now.seconds() - persistence.since.load(Relaxed);
    report.field("rdb_current_bgsave_time_sec", if is_saving { since } else { -1 });
    report.field("rdb_saves", persistence.saves.load(Relaxed));
    report.zeros(&["rdb_last_cow_size"]);
    report.field("rdb_last_load_keys_expired", persistence.keys_expired.load(Relaxed));
    report.field("rdb_last_load_keys_loaded", persistence.keys_loaded.load(Relaxed));
    report.field("aof_enabled", u8::from(cx.config.appendonly));
    append_only(cx, report);
    if is_loading || is_async {
        loading(cx, report);
    }
}

/// How the append-only file is.
fn append_only(cx: &InfoFacts<'_>, report: &mut Report) {
    let (journal, persistence) = (&cx.server.journal, &cx.server.persistence);
    let rewrites = &journal.rewrites;
    let is_rewriting = persistence.is_busy_with(Purpose::AofBase);
    let is_scheduled = rewrites.scheduled.load(Relaxed);
    report.field("aof_rewrite_in_progress", u8::from(is_rewriting));
    report.field("aof_rewrite_scheduled", u8::from(is_scheduled));
    report.field("aof_last_rewrite_time_sec", rewrites.last_seconds.load(Relaxed));
    let since = cx.now.seconds() - persistence.since.load(Relaxed);
    report.field("aof_current_rewrite_time_sec", if is_rewriting { since } else { -1 });
    let status = |failed: bool| if failed { "err" } else { "ok" };
    report.field("aof_last_bgrewrite_status", status(rewrites.failed.load(Relaxed)));
    report.field("aof_rewrites", rewrites.count.load(Relaxed));
    report.field("aof_rewrites_consecutive_failures", rewrites.failures.load(Relaxed));
    report.field("aof_last_write_status", status(journal.failed.load(Relaxed)));
    report.zeros(&["aof_last_cow_size", "module_fork_in_progress", "module_fork_last_cow_size"]);
    if journal.is_on() {
        report.field("aof_current_size", journal.bytes());
        report.field("aof_base_size", journal.base_size.load(Relaxed));
        report.field("aof_pending_rewrite", u8::from(is_scheduled));
        report.field("aof_buffer_length", journal.waiting_bytes.load(Relaxed));
        report.field("aof_pending_bio_fsync", u8::from(journal.is_syncing.load(Relaxed)));
        report.field("aof_delayed_fsync", journal.delayed_syncs.load(Relaxed));
    }
}

/// How far a file is loaded.
fn loading(cx: &InfoFacts<'_>, report: &mut Report) {
    let persistence = &cx.server.persistence;
    let (bytes, done) = (&persistence.loading_bytes, &persistence.loaded_bytes);
    let (bytes, done) = (bytes.load(Relaxed), done.load(Relaxed));
    let began = persistence.loading_since.load(Relaxed);
    let elapsed = (cx.now.seconds() - began).max(0) as u64;
    let left = bytes.saturating_sub(done);
    // As long as nothing is known, one second.
    let eta = elapsed.saturating_mul(left).checked_div(done).unwrap_or(1);
    report.field("loading_start_time", began);
    report.field("loading_total_bytes", bytes);
    report.field("loading_rdb_used_mem", 0);
    report.field("loading_loaded_bytes", done);
    let percent = if bytes == 0 { 0.0 } else { done as f64 / bytes as f64 * 100.0 };
    report.field("loading_loaded_perc", format_args!("{percent:.2}"));
    report.field("loading_eta_seconds", eta);
}

pub(super) fn replication(cx: &InfoFacts<'_>, report: &mut Report) {
    let replication = &cx.server.replication;
    let history = replication.history();
    report.field("role", if cx.config.replicaof.is_some() { "slave" } else { "master" });
    if let Some(primary) = &cx.config.replicaof {
        of_replica(cx, primary, report);
    }
    let channels = replication.rdb_channels.load(Relaxed);
    let replicas = replication.replicas.load(Relaxed).saturating_sub(channels);
    report.field("connected_slaves", replicas);
    if cx.config.min_replicas_to_write > 0 && cx.config.min_replicas_max_lag > 0 {
        report.field("min_slaves_good_slaves", replication.good_replicas.load(Relaxed));
    }
    for (number, one) in std::mem::take(&mut report.replicas).iter().enumerate() {
        let (address, port) = (String::from_utf8_lossy(&one.address), one.port);
        let (state, acked, lag) = (one.state, one.acked, one.lag);
        let line = format!("ip={address},port={port},state={state},offset={acked},lag={lag}");
        report.field(format_args!("slave{number}"), line);
    }
    report.field("master_failover_state", replication.failover().name());
    report.field("master_replid", history.id);
    report.field("master_replid2", history.former);
    report.field("master_repl_offset", replication.offset.load(Relaxed));
    report.field("second_repl_offset", history.former_until);
    report.field("repl_backlog_active", i32::from(replication.has_backlog.load(Relaxed)));
    report.field("repl_backlog_size", cx.config.repl_backlog_size);
    let first = replication.backlog_first.load(Relaxed);
    report.field("repl_backlog_first_byte_offset", first);
    report.field("repl_backlog_histlen", replication.backlog_len.load(Relaxed));
}

/// What only a replica tells.
fn of_replica(cx: &InfoFacts<'_>, primary: &Endpoint, report: &mut Report) {
    let (link, now) = (&cx.server.primary_link, cx.now.seconds());
    let (state, applied) = (link.state(), link.applied.load(Relaxed));
    let is_up = state == LinkState::Connected;
    let seconds = |since: i64| (now - since).max(0);
    report.field("master_host", String::from_utf8_lossy(&primary.host));
    report.field("master_port", primary.port);
    report.field("master_link_status", if is_up { "up" } else { "down" });
    let idle = if is_up { seconds(link.last_io.load(Relaxed)) } else { -1 };
    report.field("master_last_io_seconds_ago", idle);
    let in_sync = state == LinkState::Sync;
    report.field("master_sync_in_progress", u8::from(in_sync));
    report.field("slave_read_repl_offset", link.read.load(Relaxed).max(applied));
    report.field("slave_repl_offset", applied);
    report.field("replica_full_sync_buffer_size", link.kept.load(Relaxed));
    report.field("replica_full_sync_buffer_peak", link.kept_peak.load(Relaxed));
    if in_sync {
        let (total, read) = (link.sync_total.load(Relaxed), link.sync_read.load(Relaxed) as i64);
        let percent = if total > 0 { read as f64 / total as f64 * 100.0 } else { 0.0 };
        report.field("master_sync_total_bytes", total);
        report.field("master_sync_read_bytes", read);
        report.field("master_sync_left_bytes", total - read);
        report.field("master_sync_perc", format_args!("{percent:.2}"));
        report.field("master_sync_last_io_seconds_ago", seconds(link.last_io.load(Relaxed)));
    }
    if !is_up {
        let since = link.down_since.load(Relaxed);
        let down = if since == 0 { -1 } else { seconds(since) };
        report.field("master_link_down_since_seconds", down);
    }
    report.field("slave_priority", cx.config.replica_priority);
    report.field("slave_read_only", u8::from(cx.config.replica_read_only));
    report.field("replica_announced", u8::from(cx.config.replica_announced));
}

pub(super) fn cpu(cx: &InfoFacts<'_>, report: &mut Report) {
    let (user, system) = sys::process_cpu_micros();
    seconds(report, "used_cpu_sys", system);
    seconds(report, "used_cpu_user", user);
    seconds(report, "used_cpu_sys_children", 0);
    seconds(report, "used_cpu_user_children", 0);
    // No thread is the main one; the first core stands for it.
    let first = &cx.server.stats[0];
    seconds(report, "used_cpu_sys_main_thread", first.cpu_sys_micros.get());
    seconds(report, "used_cpu_user_main_thread", first.cpu_user_micros.get());
}

fn seconds(report: &mut Report, name: &str, micros: u64) {
    report.field(name, format_args!("{}.{:06}", micros / 1_000_000, micros % 1_000_000));
}
