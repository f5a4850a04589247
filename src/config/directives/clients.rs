//! Clients: who may connect, and what one of them may cost.

use super::super::choices::{AclPubsubDefault, SanitizeDumpPayload};
use super::*;

pub(super) const DIRECTIVES: &[Directive] = &[
    optional_text("requirepass").sensitive(),
    text("aclfile", "").immutable(),
    int("acllog-max-len", 0, LONG_MAX, "128"),
    choice("acl-pubsub-default", AclPubsubDefault::CHOICES, "resetchannels"),
    int("maxclients", 1, UINT_MAX, "10000"),
    int("timeout", 0, INT_MAX, "0"),
    memory("client-query-buffer-limit", 1 << 20, LONG_MAX_BYTES, "1gb"),
    Directive::new(
        "client-output-buffer-limit",
        Kind::BufferLimits,
        "normal 0 0 0 replica 256mb 64mb 60 pubsub 32mb 8mb 60",
    ),
    Directive::new("maxmemory-clients", Kind::MemoryOrPercent, "0"),
    memory("proto-max-bulk-len", 1 << 20, LONG_MAX_BYTES, "512mb"),
    int("client-default-resp", 2, 3, "2").hidden().immutable(),
    int("tracking-table-max-keys", 0, LONG_MAX, "1000000"),
    Directive::new("notify-keyspace-events", Kind::Notify, ""),
    choice("sanitize-dump-payload", SanitizeDumpPayload::CHOICES, "no"),
    int("busy-reply-threshold", 0, LONG_MAX, "5000").alias("lua-time-limit"),
    yes_no("lua-enable-deprecated-api", "no").hidden().immutable().pending(),
    yes_no("import-mode", "no"),
];
