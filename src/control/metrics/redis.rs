//! The metrics that redis_exporter shows of a server, under the same names.
//!
//! Invariant: made from what INFO, CONFIG GET, SLOWLOG and LATENCY answer, as that program makes them;
//! a field that INFO does not have is not shown. Source: the list of metrics of redis_exporter 1.7x.

use std::collections::BTreeMap;

use super::exposition::{Exposition, Kind};
use crate::observe::latency::Latency;
use crate::observe::report::{CommandLatency, CoreReport, ProcessReport};

/// Adds all of them. Without the report of the first core the server counts as down.
pub(super) fn describe(text: &mut Exposition, reports: &[CoreReport]) {
    let process = reports.iter().find_map(|report| report.process.as_ref());
    add(text, Kind::Gauge, "up", &[], u8::from(process.is_some()));
    add(text, Kind::Gauge, "exporter_last_scrape_error", &[("err", "")], 0);
    slow_log(text, reports);
    latency_events(text, reports);
    let Some(ProcessReport { info, settings, latencies }) = process else { return };
    let info = Info::parse(&String::from_utf8_lossy(info));
    info.describe(text);
    for (name, value) in settings {
        setting(text, name, value);
    }
    for latency in latencies {
        command_latency(text, latency, &info);
    }
}

fn add(
    text: &mut Exposition,
    kind: Kind,
    name: &str,
    labels: &[(&str, &str)],
    value: impl std::fmt::Display,
) {
    let help = format!("{name} as redis_exporter shows it");
    text.add((kind, &format!("redis_{name}"), &help), labels, value);
}

/// INFO, by section: names and values.
struct Info {
    fields: Vec<(String, String)>,
}

impl Info {
    fn parse(text: &str) -> Info {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let fields = lines.filter_map(|line| line.split_once(':'));
        Info { fields: fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect() }
    }

    fn get(&self, name: &str) -> &str {
        let found = self.fields.iter().find(|(field, _)| field == name);
        found.map_or("", |(_, value)| value)
    }

    fn describe(&self, text: &mut Exposition) {
        let names: BTreeMap<&str, (Kind, &str)> = (GAUGES.iter())
            .map(|(field, name)| (*field, (Kind::Gauge, *name)))
            .chain(COUNTERS.iter().map(|(field, name)| (*field, (Kind::Counter, *name))))
            .collect();
        for (field, value) in &self.fields {
            if let Some((kind, name)) = names.get(&field[..]) {
                let name = if name.is_empty() { field } else { *name };
                if let Some(value) = number(value) {
                    add(text, *kind, name, &[], value);
                }
            } else if let Some(cmd) = field.strip_prefix("cmdstat_") {
                command_calls(text, cmd, &parts_of(value));
            } else if let Some(err) = field.strip_prefix("errorstat_") {
                let count = parts_of(value).get("count").copied().unwrap_or("0").to_owned();
                add(text, Kind::Counter, "errors_total", &[("err", err)], count);
            } else if is_numbered(field, "db") {
                keyspace(text, field, &parts_of(value));
            } else if is_numbered(field, "slave") {
                replica(text, &parts_of(value));
            }
        }
        if let Some(uptime) = number(self.get("uptime_in_seconds")) {
            let now = number(self.get("server_time_usec")).unwrap_or(0.0) / 1e6;
            add(text, Kind::Gauge, "start_time_seconds", &[], (now - uptime).floor());
        }
        if let Some(micros) = number(self.get("latest_fork_usec")) {
            add(text, Kind::Gauge, "latest_fork_seconds", &[], micros / 1e6);
        }
        let labels: Vec<(&str, &str)> =
            INSTANCE_LABELS.iter().map(|name| (*name, self.get(name))).collect();
        add(text, Kind::Gauge, "instance_info", &labels, 1);
        if self.get("role") == "slave" {
            self.link_to_primary(text);
        }
    }

    /// What only a replica has.
    fn link_to_primary(&self, text: &mut Exposition) {
        let (host, port) = (self.get("master_host"), self.get("master_port"));
        let primary = [("master_host", host), ("master_port", port)];
        let read_only = ("read_only", self.get("slave_read_only"));
        add(text, Kind::Gauge, "slave_info", &[primary[0], primary[1], read_only], 1);
        let is_up = u8::from(self.get("master_link_status") == "up");
        add(text, Kind::Gauge, "master_link_up", &primary, is_up);
        for (field, name) in [
            ("master_last_io_seconds_ago", "master_last_io_seconds_ago"),
            ("master_sync_in_progress", "master_sync_in_progress"),
            ("slave_repl_offset", "slave_repl_offset"),
        ] {
            if let Some(value) = number(self.get(field)) {
                add(text, Kind::Gauge, name, &primary, value);
            }
        }
    }
}

/// The value of a field: a number, or a state that is good (1) or bad (0).
fn number(value: &str) -> Option<f64> {
    match value {
        "ok" | "up" => Some(1.0),
        "err" | "fail" | "down" => Some(0.0),
        value => value.parse().ok(),
    }
}

/// `a=1,b=2`.
fn parts_of(value: &str) -> BTreeMap<&str, &str> {
    value.split(',').filter_map(|part| part.split_once('=')).collect()
}

fn is_numbered(field: &str, prefix: &str) -> bool {
    let digits = field.strip_prefix(prefix);
    digits.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
}

fn command_calls(text: &mut Exposition, cmd: &str, parts: &BTreeMap<&str, &str>) {
    let value = |name: &str| parts.get(name).and_then(|value| number(value)).unwrap_or(0.0);
    let labels = &[("cmd", cmd)];
    add(text, Kind::Counter, "commands_total", labels, value("calls"));
    let seconds = value("usec") / 1e6;
    add(text, Kind::Counter, "commands_duration_seconds_total", labels, seconds);
    add(text, Kind::Counter, "commands_rejected_calls_total", labels, value("rejected_calls"));
    add(text, Kind::Counter, "commands_failed_calls_total", labels, value("failed_calls"));
}

fn keyspace(text: &mut Exposition, db: &str, parts: &BTreeMap<&str, &str>) {
    // Of servers that keep some keys elsewhere.
    add(text, Kind::Gauge, "db_keys_cached", &[("db", db)], 0);
    for (part, name, divisor) in [
        ("keys", "db_keys", 1.0),
        ("expires", "db_keys_expiring", 1.0),
        ("avg_ttl", "db_avg_ttl_seconds", 1000.0),
        ("subexpiry", "db_keys_with_expiring_items", 1.0),
    ] {
        if let Some(value) = parts.get(part).and_then(|value| number(value)) {
            add(text, Kind::Gauge, name, &[("db", db)], value / divisor);
        }
    }
}

fn replica(text: &mut Exposition, parts: &BTreeMap<&str, &str>) {
    let part = |name: &str| parts.get(name).copied().unwrap_or("");
    let labels =
        [("slave_ip", part("ip")), ("slave_port", part("port")), ("slave_state", part("state"))];
    for (name, field) in
        [("connected_slave_offset_bytes", "offset"), ("connected_slave_lag_seconds", "lag")]
    {
        if let Some(value) = number(part(field)) {
            add(text, Kind::Gauge, name, &labels, value);
        }
    }
}

fn setting(text: &mut Exposition, name: &str, value: &str) {
    if name != "client-output-buffer-limit" {
        let metric = format!("config_{}", name.replace('-', "_"));
        if let Some(value) = number(value) {
            add(text, Kind::Gauge, &metric, &[], value);
        }
        return;
    }
    let words: Vec<&str> = value.split(' ').collect();
    for limit in words.chunks_exact(4) {
        let [class, hard, soft, seconds] = limit else { continue };
        let metric = "config_client_output_buffer_limit_bytes";
        add(text, Kind::Gauge, metric, &[("class", class), ("limit", "hard")], hard);
        let labels = &[("class", *class), ("limit", "soft")];
        add(text, Kind::Gauge, metric, labels, soft);
        let metric = "config_client_output_buffer_limit_overcome_seconds";
        add(text, Kind::Gauge, metric, labels, seconds);
    }
}

fn command_latency(text: &mut Exposition, latency: &CommandLatency, info: &Info) {
    let labels = &[("cmd", latency.name)];
    let total = info.get(&format!("cmdstat_{}", latency.name));
    let micros = parts_of(total).get("usec").and_then(|value| number(value)).unwrap_or(0.0);
    let buckets = latency.buckets.iter().map(|(end, count)| (*end as f64, *count));
    text.histogram(
        ("redis_commands_latencies_usec", "Microseconds of each call, by command"),
        labels,
        buckets,
        (latency.calls, micros),
    );
    let percentiles = info.get(&format!("latency_percentiles_usec_{}", latency.name));
    let quantiles: Vec<(f64, f64)> = (parts_of(percentiles).into_iter())
        .filter_map(|(name, value)| Some((number(name.strip_prefix('p')?)?, number(value)?)))
        .collect();
    if !quantiles.is_empty() {
        text.summary(
            ("redis_latency_percentiles_usec", "Percentiles of the microseconds of calls"),
            labels,
            &quantiles,
            (latency.calls, micros),
        );
    }
}

fn slow_log(text: &mut Exposition, reports: &[CoreReport]) {
    let entries = || reports.iter().flat_map(|report| &report.slow);
    let newest = entries().max_by_key(|entry| entry.id);
    add(text, Kind::Gauge, "slowlog_length", &[], entries().count());
    add(text, Kind::Gauge, "slowlog_last_id", &[], newest.map_or(0, |entry| entry.id));
    let seconds = newest.map_or(0.0, |entry| entry.value as f64 / 1e6);
    add(text, Kind::Gauge, "last_slow_execution_duration_seconds", &[], seconds);
}

fn latency_events(text: &mut Exposition, reports: &[CoreReport]) {
    let mut events = Latency::default();
    reports.iter().for_each(|report| events.join(&report.latency));
    for (event, series) in events.iter() {
        if let Some(last) = series.samples().last() {
            let labels = &[("event_name", event)];
            add(text, Kind::Gauge, "latency_spike_last", labels, last.seconds);
            let seconds = last.millis as f64 / 1000.0;
            add(text, Kind::Gauge, "latency_spike_duration_seconds", labels, seconds);
        }
    }
}

const INSTANCE_LABELS: &[&str] = &[
    "role",
    "redis_version",
    "redis_build_id",
    "redis_mode",
    "os",
    "maxmemory_policy",
    "tcp_port",
    "run_id",
    "process_id",
    "master_replid",
];

/// Fields of INFO and the gauges that they become; an empty name is that of the field.
const GAUGES: &[(&str, &str)] = &[
    ("uptime_in_seconds", ""),
    ("process_id", ""),
    ("io_threads_active", ""),
    ("hz", ""),
    ("cluster_enabled", ""),
    ("cluster_connections", ""),
    ("total_system_memory", "total_system_memory_bytes"),
    ("configured_hz", ""),
    ("connected_clients", ""),
    ("blocked_clients", ""),
    ("maxclients", "max_clients"),
    ("tracking_clients", ""),
    ("clients_in_timeout_table", ""),
    ("pubsub_clients", ""),
    ("watching_clients", ""),
    ("total_watched_keys", ""),
    ("total_blocking_keys", ""),
    ("total_blocking_keys_on_nokey", ""),
    ("client_recent_max_output_buffer", "client_recent_max_output_buffer_bytes"),
    ("client_recent_max_input_buffer", "client_recent_max_input_buffer_bytes"),
    ("allocator_active", "allocator_active_bytes"),
    ("allocator_allocated", "allocator_allocated_bytes"),
    ("allocator_resident", "allocator_resident_bytes"),
    ("allocator_muzzy", "allocator_muzzy_bytes"),
    ("allocator_frag_ratio", ""),
    ("allocator_frag_bytes", ""),
    ("allocator_rss_ratio", ""),
    ("allocator_rss_bytes", ""),
    ("used_memory", "memory_used_bytes"),
    ("used_memory_rss", "memory_used_rss_bytes"),
    ("used_memory_peak", "memory_used_peak_bytes"),
    ("used_memory_lua", "memory_used_lua_bytes"),
    ("used_memory_vm_eval", "memory_used_vm_eval_bytes"),
    ("used_memory_scripts_eval", "memory_used_scripts_eval_bytes"),
    ("used_memory_overhead", "memory_used_overhead_bytes"),
    ("used_memory_startup", "memory_used_startup_bytes"),
    ("used_memory_dataset", "memory_used_dataset_bytes"),
    ("used_memory_vm_functions", "memory_used_vm_functions_bytes"),
    ("used_memory_scripts", "memory_used_scripts_bytes"),
    ("used_memory_functions", "memory_used_functions_bytes"),
    ("used_memory_vm_total", "memory_used_vm_total"),
    ("number_of_cached_scripts", ""),
    ("number_of_functions", ""),
    ("number_of_libraries", ""),
    ("maxmemory", "memory_max_bytes"),
    ("mem_fragmentation_ratio", ""),
    ("mem_fragmentation_bytes", ""),
    ("mem_clients_slaves", ""),
    ("mem_clients_normal", ""),
    ("mem_cluster_links", "mem_cluster_links_bytes"),
    ("mem_aof_buffer", "mem_aof_buffer_bytes"),
    ("mem_replication_backlog", "mem_replication_backlog_bytes"),
    ("mem_not_counted_for_evict", "mem_not_counted_for_eviction_bytes"),
    ("mem_total_replication_buffers", "mem_total_replication_buffers_bytes"),
    ("mem_overhead_db_hashtable_rehashing", "mem_overhead_db_hashtable_rehashing_bytes"),
    ("lazyfree_pending_objects", ""),
    ("lazyfreed_objects", ""),
    ("active_defrag_running", ""),
    ("migrate_cached_sockets", "migrate_cached_sockets_total"),
    ("active_defrag_hits", "defrag_hits"),
    ("active_defrag_misses", "defrag_misses"),
    ("active_defrag_key_hits", "defrag_key_hits"),
    ("active_defrag_key_misses", "defrag_key_misses"),
    ("expired_stale_perc", "expired_stale_percentage"),
    ("loading", "loading_dump_file"),
    ("async_loading", ""),
    ("rdb_changes_since_last_save", ""),
    ("rdb_bgsave_in_progress", ""),
    ("rdb_last_save_time", "rdb_last_save_timestamp_seconds"),
    ("rdb_last_bgsave_status", ""),
    ("rdb_last_bgsave_time_sec", "rdb_last_bgsave_duration_sec"),
    ("rdb_current_bgsave_time_sec", "rdb_current_bgsave_duration_sec"),
    ("rdb_saves", "rdb_saves_total"),
    ("rdb_last_cow_size", "rdb_last_cow_size_bytes"),
    ("rdb_last_load_keys_expired", "rdb_last_load_expired_keys"),
    ("rdb_last_load_keys_loaded", "rdb_last_load_loaded_keys"),
    ("aof_enabled", ""),
    ("aof_rewrite_in_progress", ""),
    ("aof_rewrite_scheduled", ""),
    ("aof_last_rewrite_time_sec", "aof_last_rewrite_duration_sec"),
    ("aof_current_rewrite_time_sec", "aof_current_rewrite_duration_sec"),
    ("aof_last_cow_size", "aof_last_cow_size_bytes"),
    ("aof_current_size", "aof_current_size_bytes"),
    ("aof_base_size", "aof_base_size_bytes"),
    ("aof_pending_rewrite", ""),
    ("aof_buffer_length", ""),
    ("aof_pending_bio_fsync", ""),
    ("aof_delayed_fsync", ""),
    ("aof_last_bgrewrite_status", ""),
    ("aof_last_write_status", ""),
    ("module_fork_in_progress", ""),
    ("module_fork_last_cow_size", ""),
    ("current_eviction_exceeded_time", "current_eviction_exceeded_time_ms"),
    ("pubsub_channels", ""),
    ("pubsub_patterns", ""),
    ("pubsubshard_channels", ""),
    ("latest_fork_usec", ""),
    ("tracking_total_keys", ""),
    ("tracking_total_items", ""),
    ("tracking_total_prefixes", ""),
    ("instantaneous_eventloop_cycles_per_sec", ""),
    ("instantaneous_eventloop_duration_usec", ""),
    ("connected_slaves", ""),
    ("repl_backlog_size", "replication_backlog_bytes"),
    ("repl_backlog_active", "repl_backlog_is_active"),
    ("repl_backlog_first_byte_offset", ""),
    ("repl_backlog_histlen", "repl_backlog_history_bytes"),
    ("master_repl_offset", ""),
    ("second_repl_offset", ""),
    ("slave_expires_tracked_keys", ""),
    ("slave_priority", ""),
    ("sync_full", "replica_resyncs_full"),
    ("sync_partial_ok", "replica_partial_resync_accepted"),
    ("sync_partial_err", "replica_partial_resync_denied"),
];

/// The same for counters.
const COUNTERS: &[(&str, &str)] = &[
    ("total_connections_received", "connections_received_total"),
    ("total_commands_processed", "commands_processed_total"),
    ("rejected_connections", "rejected_connections_total"),
    ("total_net_input_bytes", "net_input_bytes_total"),
    ("total_net_output_bytes", "net_output_bytes_total"),
    ("total_net_repl_input_bytes", "net_repl_input_bytes_total"),
    ("total_net_repl_output_bytes", "net_repl_output_bytes_total"),
    ("expired_subkeys", "expired_subkeys_total"),
    ("expired_keys", "expired_keys_total"),
    ("expired_time_cap_reached_count", "expired_time_cap_reached_total"),
    ("expire_cycle_cpu_milliseconds", "expire_cycle_cpu_time_ms_total"),
    ("evicted_keys", "evicted_keys_total"),
    ("evicted_clients", "evicted_clients_total"),
    ("evicted_scripts", "evicted_scripts_total"),
    ("total_eviction_exceeded_time", "eviction_exceeded_time_ms_total"),
    ("keyspace_hits", "keyspace_hits_total"),
    ("keyspace_misses", "keyspace_misses_total"),
    ("eventloop_cycles", "eventloop_cycles_total"),
    ("eventloop_duration_sum", "eventloop_duration_sum_usec_total"),
    ("eventloop_duration_cmd_sum", "eventloop_duration_cmd_sum_usec_total"),
    ("used_cpu_sys", "cpu_sys_seconds_total"),
    ("used_cpu_user", "cpu_user_seconds_total"),
    ("used_cpu_sys_children", "cpu_sys_children_seconds_total"),
    ("used_cpu_user_children", "cpu_user_children_seconds_total"),
    ("used_cpu_sys_main_thread", "cpu_sys_main_thread_seconds_total"),
    ("used_cpu_user_main_thread", "cpu_user_main_thread_seconds_total"),
    ("unexpected_error_replies", ""),
    ("total_error_replies", ""),
    ("dump_payload_sanitizations", ""),
    ("total_reads_processed", ""),
    ("total_writes_processed", ""),
    ("io_threaded_reads_processed", ""),
    ("io_threaded_writes_processed", ""),
    ("client_query_buffer_limit_disconnections", "client_query_buffer_limit_disconnections_total"),
    (
        "client_output_buffer_limit_disconnections",
        "client_output_buffer_limit_disconnections_total",
    ),
    ("reply_buffer_shrinks", "reply_buffer_shrinks_total"),
    ("reply_buffer_expands", "reply_buffer_expands_total"),
    ("acl_access_denied_auth", "acl_access_denied_auth_total"),
    ("acl_access_denied_cmd", "acl_access_denied_cmd_total"),
    ("acl_access_denied_key", "acl_access_denied_key_total"),
    ("acl_access_denied_channel", "acl_access_denied_channel_total"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_becomes_the_metrics_of_redis_exporter() {
        let info = "# Server\r\nredis_version:8.0.6\r\nuptime_in_seconds:5\r\n\r\n# Memory\r\n\
            used_memory:1024\r\n# Persistence\r\nrdb_last_bgsave_status:err\r\n# Commandstats\r\n\
            cmdstat_config|get:calls=2,usec=3000000,usec_per_call=1.50,rejected_calls=1,failed_calls=0\r\n\
            # Keyspace\r\ndb3:keys=7,expires=1,avg_ttl=2000,subexpiry=0\r\nslave0:ip=1.2.3.4,port=6,state=online,offset=9,lag=1\r\n\
            errorstat_ERR:count=4\r\n";
        let mut text = Exposition::default();
        Info::parse(info).describe(&mut text);
        let text = text.finish();
        for line in [
            "redis_memory_used_bytes 1024",
            "redis_rdb_last_bgsave_status 0",
            "redis_commands_total{cmd=\"config|get\"} 2",
            "redis_commands_duration_seconds_total{cmd=\"config|get\"} 3",
            "redis_commands_rejected_calls_total{cmd=\"config|get\"} 1",
            "redis_db_keys{db=\"db3\"} 7",
            "redis_db_avg_ttl_seconds{db=\"db3\"} 2",
            "redis_errors_total{err=\"ERR\"} 4",
            "redis_connected_slave_offset_bytes{slave_ip=\"1.2.3.4\",slave_port=\"6\",slave_state=\"online\"} 9",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        assert!(text.contains("redis_instance_info{role=\"\",redis_version=\"8.0.6\""), "{text}");
    }

    #[test]
    fn settings_become_gauges() {
        let mut text = Exposition::default();
        setting(&mut text, "io-threads", "1");
        setting(&mut text, "client-output-buffer-limit", "normal 0 0 0 slave 5 6 60");
        let text = text.finish();
        assert!(text.contains("redis_config_io_threads 1\n"), "{text}");
        let hard = "_limit_bytes{class=\"slave\",limit=\"hard\"} 5\n";
        assert!(text.contains(hard), "{text}");
        assert!(text.contains("_overcome_seconds{class=\"slave\",limit=\"soft\"} 60\n"), "{text}");
    }
}
