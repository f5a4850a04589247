//! The status page and its figures.
//!
//! Invariant: the page is one text that never changes and holds nothing of the server; names of keys
//! and clients reach it only as JSON strings, which it shows as text.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::history::History;
use crate::observe::command_log::gather;
use crate::observe::report::CoreReport;
use crate::observe::server::{IRONRING_VERSION, ServerFacts};

/// The page; it asks for `status.json` every other second.
pub(super) const PAGE: &str = include_str!("status.html");

/// Rows of each list.
const ROWS_MAX: usize = 20;
/// Rows of a list beside another one.
const SHORT_ROWS_MAX: usize = 10;

/// Everything that the page shows.
pub(super) fn figures(server: &ServerFacts, reports: &[CoreReport], history: &History) -> Value {
    let process = reports.iter().find_map(|report| report.process.as_ref());
    let info = process.map(|process| String::from_utf8_lossy(&process.info)).unwrap_or_default();
    let fields: BTreeMap<&str, &str> =
        info.lines().filter_map(|line| line.split_once(':')).collect();
    let shown = SHOWN.iter().filter_map(|name| Some((*name, *fields.get(name)?)));
    json!({
        "version": IRONRING_VERSION,
        "info": shown.collect::<BTreeMap<_, _>>(),
        "keyspace": fields.iter().filter(|(name, _)| is_db(name)).collect::<BTreeMap<_, _>>(),
        "cores": server.stats.iter().map(|stats| json!({
            "clients": stats.clients.get(),
            "keys": stats.dbs.iter().map(|db| db.keys.get()).sum::<u64>(),
            "ops": stats.rates.commands.get(),
            "queued": stats.queued.get(),
            "hops": stats.totals.hops.get(),
            "loans": stats.totals.loans.get(),
            "overruns": stats.totals.slice_overruns.get(),
            "longest_turn_usec": stats.totals.turn_nanos_max.get() / 1000,
        })).collect::<Vec<_>>(),
        "silent": server.stats.len() - reports.len(),
        "history": history.samples(),
        "types": types(reports),
        "hot": hot_keys(reports),
        "large": large_keys(reports),
        "slow": slow_log(reports),
        "clients": clients(reports),
    })
}

/// Fields of INFO that the page shows.
const SHOWN: &[&str] = &[
    "redis_version",
    "role",
    "tcp_port",
    "process_id",
    "uptime_in_seconds",
    "connected_clients",
    "blocked_clients",
    "maxclients",
    "evicted_clients",
    "used_memory",
    "used_memory_rss",
    "used_memory_peak",
    "maxmemory",
    "maxmemory_policy",
    "mem_clients_normal",
    "mem_fragmentation_ratio",
    "instantaneous_ops_per_sec",
    "total_commands_processed",
    "keyspace_hits",
    "keyspace_misses",
    "evicted_keys",
    "expired_keys",
    "total_error_replies",
    "loading",
    "rdb_bgsave_in_progress",
    "rdb_last_save_time",
    "rdb_last_bgsave_status",
    "rdb_last_bgsave_time_sec",
    "rdb_changes_since_last_save",
    "aof_enabled",
    "aof_last_write_status",
    "aof_current_size",
    "aof_rewrite_in_progress",
    "connected_slaves",
];

fn is_db(name: &str) -> bool {
    let number = name.strip_prefix("db");
    number.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Bytes as text that a person can read; what is no text becomes escapes.
fn shown(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() {
                text.extend(character.escape_default());
            } else {
                text.push(character);
            }
        }
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}

fn types(reports: &[CoreReport]) -> Value {
    let mut sums: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for (kind, sum) in reports.iter().flat_map(|report| report.keys.survey().types()) {
        let (keys, bytes) = sums.entry(kind).or_default();
        (*keys, *bytes) = (*keys + sum.keys, *bytes + sum.bytes);
    }
    let row = |(kind, (keys, bytes))| json!({"type": kind, "keys": keys, "bytes": bytes});
    sums.into_iter().map(row).collect()
}

fn hot_keys(reports: &[CoreReport]) -> Value {
    let samples: u64 = reports.iter().map(|report| report.keys.hot.samples()).sum();
    let mut sums = BTreeMap::new();
    for (key, count) in reports.iter().flat_map(|report| report.keys.hot.top()) {
        *sums.entry(key).or_insert(0) += count;
    }
    let mut keys: Vec<_> = sums.into_iter().collect();
    keys.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let row = |(key, count): (crate::observe::keys::ShownKey, u64)| {
        let share = count as f64 / samples.max(1) as f64;
        json!({"db": key.db, "key": shown(&key.key), "share": share})
    };
    keys.into_iter().take(SHORT_ROWS_MAX).map(row).collect()
}

fn large_keys(reports: &[CoreReport]) -> Value {
    let mut keys: Vec<_> = reports.iter().flat_map(|one| one.keys.survey().large()).collect();
    keys.sort_by_key(|(_, bytes, _)| std::cmp::Reverse(*bytes));
    let row = |(key, bytes, kind): (&crate::observe::keys::ShownKey, u64, &str)| json!({"db": key.db, "key": shown(&key.key), "bytes": bytes, "type": kind});
    keys.into_iter().take(SHORT_ROWS_MAX).map(row).collect()
}

fn slow_log(reports: &[CoreReport]) -> Value {
    let entries = reports.iter().flat_map(|report| report.slow.iter().cloned()).collect();
    let rows = gather(entries, ROWS_MAX).into_iter().map(|entry| {
        let words: Vec<String> = entry.words.iter().map(|word| shown(word)).collect();
        json!({
            "id": entry.id,
            "seconds": entry.seconds,
            "usec": entry.value,
            "command": words.join(" "),
            "addr": entry.addr,
            "name": shown(&entry.name),
        })
    });
    rows.collect()
}

fn clients(reports: &[CoreReport]) -> Value {
    let mut rows: Vec<_> = reports
        .iter()
        .flat_map(|report| report.clients.iter().map(move |row| (report.core, row)))
        .collect();
    rows.sort_by_key(|(_, row)| std::cmp::Reverse(row.bytes));
    let rows = rows.into_iter().take(ROWS_MAX).map(|(core, row)| {
        json!({
            "id": row.id,
            "addr": row.addr,
            "name": shown(&row.name),
            "age": row.age_seconds,
            "idle": row.idle_seconds,
            "flags": row.flags,
            "bytes": row.bytes,
            "commands": row.commands,
            "command": row.last_command,
            "core": core,
        })
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        assert!(PAGE.is_ascii());
        let foreign = [
            "src=",
            "@import",
            "url(",
            "<link rel=\"stylesheet",
            "//cdn",
            "innerHTML",
            "document.write",
        ];
        for way in foreign {
            assert!(!PAGE.contains(way), "{way}");
        }
    }

    #[test]
    fn what_is_no_text_is_shown_escaped() {
        assert_eq!(shown(b"a\n\xff<b>"), "a\\n\\xff<b>");
        assert_eq!(shown("\u{20ac}\u{7f}".as_bytes()), "\u{20ac}\\u{7f}");
    }
}
