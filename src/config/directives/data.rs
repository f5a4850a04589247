//! The keyspace: databases, and when a value changes its encoding.

use super::*;

pub(super) const DIRECTIVES: &[Directive] = &[
    int("databases", 1, INT_MAX, "16").immutable(),
    int("hash-max-listpack-entries", 0, LONG_MAX, "512").alias("hash-max-ziplist-entries"),
    memory("hash-max-listpack-value", 0, LONG_MAX_BYTES, "64").alias("hash-max-ziplist-value"),
    int("list-max-listpack-size", i32::MIN as i64, INT_MAX, "-2").alias("list-max-ziplist-size"),
    int("list-compress-depth", 0, INT_MAX, "0"),
    int("set-max-intset-entries", 0, LONG_MAX, "512"),
    int("set-max-listpack-entries", 0, LONG_MAX, "128"),
    int("set-max-listpack-value", 0, LONG_MAX, "64"),
    int("zset-max-listpack-entries", 0, LONG_MAX, "128").alias("zset-max-ziplist-entries"),
    memory("zset-max-listpack-value", 0, LONG_MAX_BYTES, "64").alias("zset-max-ziplist-value"),
    memory("hll-sparse-max-bytes", 0, LONG_MAX_BYTES, "3000"),
    memory("stream-node-max-bytes", 0, LONG_MAX_BYTES, "4096"),
    int("stream-node-max-entries", 0, LONG_MAX, "100"),
    optional_text("hash-seed").immutable().restates().pending().check(short_hash_seed),
];

/// Source: Valkey 9.1.
const HASH_SEED_BYTES_MAX: usize = 256;

fn short_hash_seed(value: Value) -> Result<Value, &'static str> {
    match &value {
        Value::Text(seed) if seed.len() > HASH_SEED_BYTES_MAX => {
            Err("hash-seed must be less than or equal to 256 characters")
        }
        _ => Ok(value),
    }
}
