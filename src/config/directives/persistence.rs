//! Snapshots and the append-only file.

use super::super::choices::{AppendFsync, RdbVersionCheck};
use super::*;

pub(super) const DIRECTIVES: &[Directive] = &[
    Directive::new("dir", Kind::Directory, ".").protected().denied_when_loading().always_written(),
    Directive::new("save", Kind::Save, "3600 1 300 100 60 10000").always_written(),
    text("dbfilename", "dump.rdb").protected().check(base_name_of_rdb),
    yes_no("stop-writes-on-bgsave-error", "yes"),
    yes_no("rdbcompression", "yes"),
    yes_no("rdbchecksum", "yes").immutable(),
    choice("rdb-version-check", RdbVersionCheck::CHOICES, "strict"),
    yes_no("rdb-save-incremental-fsync", "yes"),
    int("rdb-key-save-delay", i32::MIN as i64, INT_MAX, "0").hidden(),
    int("key-load-delay", i32::MIN as i64, INT_MAX, "0").hidden(),
    int("loading-process-events-interval-bytes", 1024, INT_MAX, "524288").hidden().inert(),
    yes_no("appendonly", "no"),
    text("appendfilename", "appendonly.aof").immutable().check(base_name_of_aof),
    text("appenddirname", "appendonlydir").immutable().check(base_name_of_aof_dir),
    choice("appendfsync", AppendFsync::CHOICES, "everysec"),
    yes_no("no-appendfsync-on-rewrite", "no"),
    int("auto-aof-rewrite-percentage", 0, INT_MAX, "100"),
    memory("auto-aof-rewrite-min-size", 0, LONG_MAX_BYTES, "64mb"),
    yes_no("aof-load-truncated", "yes"),
    yes_no("aof-use-rdb-preamble", "yes"),
    yes_no("aof-timestamp-enabled", "no"),
    yes_no("aof-rewrite-incremental-fsync", "yes"),
    yes_no("aof-disable-auto-gc", "no").hidden(),
];

fn base_name_of_rdb(value: Value) -> Result<Value, &'static str> {
    base_name(value, None, "dbfilename can't be a path, just a filename")
}

fn base_name_of_aof(value: Value) -> Result<Value, &'static str> {
    base_name(
        value,
        Some("appendfilename can't be empty"),
        "appendfilename can't be a path, just a filename",
    )
}

fn base_name_of_aof_dir(value: Value) -> Result<Value, &'static str> {
    base_name(
        value,
        Some("appenddirname can't be empty"),
        "appenddirname can't be a path, just a dirname",
    )
}

/// Refuses separators, so that a client cannot make the server write elsewhere than in `dir`.
fn base_name(
    value: Value,
    when_empty: Option<&'static str>,
    when_path: &'static str,
) -> Result<Value, &'static str> {
    let Value::Text(name) = &value else { unreachable!("a file name is text") };
    match when_empty {
        Some(reason) if name.is_empty() => Err(reason),
        _ if memchr::memchr2(b'/', b'\\', name).is_some() => Err(when_path),
        _ => Ok(value),
    }
}
