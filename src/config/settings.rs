//! The typed view of a configuration: one plain field for each directive that the server reads.
//! Invariant: a field always says what the directive of the same name says, since both are made
//! together. A directive that starts to work gets its line here.

use std::sync::Arc;

use super::choices::{
    AclPubsubDefault, AppendFsync, DisklessLoad, IoBackend, LogFormat, LogLevel,
    LogTimestampFormat, MaxmemoryPolicy, ProtectedAction, RdbVersionCheck, SanitizeDumpPayload,
    ShutdownFlags, Supervised, SyslogFacility, TlsAuthClients, TlsAuthClientsUser,
};
use super::directives;
use super::value::{BufferLimit, ClientMemory, Endpoint, NotifyFlags, SavePoint, Value};

/// The values of a configuration. What a change leaves alone it shares with the one before.
pub(super) type Values = Box<[Arc<Value>]>;

/// Declares [`Config`]: `field: type = reader "directive"`. A reader is a function below.
macro_rules! settings {
    ($($(#[$about:meta])* $field:ident: $type:ty = $read:ident $directive:literal,)+) => {
        /// The whole configuration. Never changes: [`Config::set`] makes another one.
        #[derive(Clone, Debug)]
        pub struct Config {
            values: Values,
            $(#[doc = concat!("`", $directive, "`")] $(#[$about])* pub $field: $type,)+
        }

        impl Config {
            /// Takes one value for each directive, in the order of [`directives::all`].
            pub(super) fn from_values(values: Values) -> Config {
                assert_eq!(values.len(), directives::all().len(), "one value for each directive");
                $(let $field = $read(value_of(&values, $directive));)+
                Config { values, $($field,)+ }
            }
        }
    };
}

settings! {
    /// Addresses to listen on; `*` is every IPv4 one, `-` before one says that it may be missing.
    bind: Vec<Vec<u8>> = list "bind",
    /// TCP port; 0 = none.
    port: u16 = number "port",
    /// TCP port for TLS; 0 = none.
    tls_port: u16 = number "tls-port",
    /// Paths of PEM files; empty = none.
    tls_cert_file: Vec<u8> = text "tls-cert-file",
    tls_key_file: Vec<u8> = text "tls-key-file",
    tls_key_file_pass: Vec<u8> = text "tls-key-file-pass",
    tls_client_cert_file: Vec<u8> = text "tls-client-cert-file",
    tls_client_key_file: Vec<u8> = text "tls-client-key-file",
    tls_client_key_file_pass: Vec<u8> = text "tls-client-key-file-pass",
    tls_dh_params_file: Vec<u8> = text "tls-dh-params-file",
    tls_ca_cert_file: Vec<u8> = text "tls-ca-cert-file",
    /// Each file in it is looked at.
    tls_ca_cert_dir: Vec<u8> = text "tls-ca-cert-dir",
    tls_auth_clients: TlsAuthClients = tls_auth_clients "tls-auth-clients",
    /// Seconds between two looks at the files of certificates; 0 = none.
    tls_auto_reload_interval: u32 = number "tls-auto-reload-interval",
    tls_auth_clients_user: TlsAuthClientsUser = tls_auth_clients_user "tls-auth-clients-user",
    tls_replication: bool = yes "tls-replication",
    tls_cluster: bool = yes "tls-cluster",
    tls_protocols: Vec<u8> = text "tls-protocols",
    /// OpenSSL's names, for TLS 1.2.
    tls_ciphers: Vec<u8> = text "tls-ciphers",
    /// The same for TLS 1.3.
    tls_ciphersuites: Vec<u8> = text "tls-ciphersuites",
    tls_prefer_server_ciphers: bool = yes "tls-prefer-server-ciphers",
    tls_session_caching: bool = yes "tls-session-caching",
    /// Sessions; 0 = as many as memory has room for.
    tls_session_cache_size: usize = number "tls-session-cache-size",
    /// Seconds; 0 = for ever.
    tls_session_cache_timeout: u64 = number "tls-session-cache-timeout",
    /// Path of the Unix socket; empty = none.
    unixsocket: Vec<u8> = text "unixsocket",
    /// Its file mode; 0 = as umask says.
    unixsocketperm: u32 = mode "unixsocketperm",
    /// The group of users that it belongs to; empty = the server's.
    unixsocketgroup: Vec<u8> = text "unixsocketgroup",
    /// The processors that the server may use, as in "0-6:2,7"; empty = those that it was given.
    server_cpulist: Vec<u8> = text "server-cpulist",
    /// The address of ours that links to a primary come from; empty = any.
    bind_source_addr: Vec<u8> = text "bind-source-addr",
    tcp_backlog: i32 = number "tcp-backlog",
    /// The mark of what the server sends to clients; 0 = none.
    socket_mark_id: u32 = number "socket-mark-id",
    /// Clients may come over several paths at once.
    mptcp: bool = yes "mptcp",
    /// So may the link to a primary.
    repl_mptcp: bool = yes "repl-mptcp",
    /// Seconds; 0 = off.
    tcp_keepalive: i32 = number "tcp-keepalive",
    protected_mode: bool = yes "protected-mode",
    /// TCP port of the metrics and the status page; 0 = none.
    metrics_port: u16 = number "metrics-port",
    /// Addresses to listen on there, as in `bind`.
    metrics_bind: Vec<Vec<u8>> = list "metrics-bind",

    daemonize: bool = yes "daemonize",
    supervised: Supervised = supervised "supervised",
    /// Empty = none.
    pidfile: Vec<u8> = text "pidfile",
    loglevel: LogLevel = loglevel "loglevel",
    /// Empty = standard output.
    logfile: Vec<u8> = text "logfile",
    log_format: LogFormat = log_format "log-format",
    log_timestamp_format: LogTimestampFormat = log_timestamp_format "log-timestamp-format",
    hide_user_data_from_log: bool = yes "hide-user-data-from-log",
    syslog_enabled: bool = yes "syslog-enabled",
    syslog_ident: Vec<u8> = text "syslog-ident",
    syslog_facility: SyslogFacility = syslog_facility "syslog-facility",
    always_show_logo: bool = yes "always-show-logo",
    set_proc_title: bool = yes "set-proc-title",
    proc_title_template: Vec<u8> = text "proc-title-template",
    crash_log_enabled: bool = yes "crash-log-enabled",
    /// Milliseconds that a turn may take; 0 = for ever.
    watchdog_period: u32 = number "watchdog-period",
    disable_thp: bool = yes "disable-thp",
    /// 0 = off, 1 = relative to the score at the start, 2 = absolute.
    oom_score_adj: u32 = word "oom-score-adj",
    /// Primary, replica, background work.
    oom_score_adj_values: [i32; 3] = oom_scores "oom-score-adj-values",
    /// Rounds of background work a second, 1 to 500.
    hz: u32 = number "hz",
    /// Seconds to wait for replicas.
    shutdown_timeout: u32 = number "shutdown-timeout",
    shutdown_on_sigint: ShutdownFlags = shutdown "shutdown-on-sigint",
    shutdown_on_sigterm: ShutdownFlags = shutdown "shutdown-on-sigterm",
    enable_protected_configs: ProtectedAction = protected "enable-protected-configs",
    enable_debug_command: ProtectedAction = protected "enable-debug-command",
    enable_module_command: ProtectedAction = protected "enable-module-command",
    io_backend: IoBackend = io_backend "io-backend",
    /// Cores to run on; 0 = all that the process may use.
    cores: usize = number "cores",

    /// Password of the default user; empty = none.
    requirepass: Vec<u8> = text "requirepass",
    /// Where ACL SAVE writes the users; empty = nowhere.
    aclfile: Vec<u8> = text "aclfile",
    acllog_max_len: usize = number "acllog-max-len",
    acl_pubsub_default: AclPubsubDefault = acl_pubsub_default "acl-pubsub-default",
    maxclients: u32 = number "maxclients",
    /// Seconds of idleness after which a client is disconnected; 0 = never.
    timeout: u32 = number "timeout",
    /// Bytes.
    client_query_buffer_limit: u64 = bytes "client-query-buffer-limit",
    /// Indexed by [`ClientClass`](super::value::ClientClass).
    client_output_buffer_limit: [BufferLimit; 3] = buffer_limits "client-output-buffer-limit",
    /// Bytes; greatest length of one argument.
    proto_max_bulk_len: u64 = bytes "proto-max-bulk-len",
    /// RESP version of a client before HELLO.
    client_default_resp: u8 = number "client-default-resp",
    import_mode: bool = yes "import-mode",
    /// Where the server stands, as HELLO and INFO tell it; empty = not told.
    availability_zone: Vec<u8> = text "availability-zone",
    tracking_table_max_keys: u64 = number "tracking-table-max-keys",
    notify_keyspace_events: NotifyFlags = notify "notify-keyspace-events",
    sanitize_dump_payload: SanitizeDumpPayload = sanitize "sanitize-dump-payload",
    /// Milliseconds that a script may run before others get BUSY; 0 = for ever.
    busy_reply_threshold: u64 = number "busy-reply-threshold",
    /// Bytes that an interpreter of scripts may hold; 0 = any number.
    script_memory_limit: u64 = bytes "script-memory-limit",

    /// All clients together.
    maxmemory_clients: ClientMemory = client_memory "maxmemory-clients",

    /// Bytes; 0 = no limit.
    maxmemory: u64 = bytes "maxmemory",
    maxmemory_policy: MaxmemoryPolicy = maxmemory_policy "maxmemory-policy",
    maxmemory_samples: u32 = number "maxmemory-samples",
    /// 0 (little latency) to 100 (evict until it fits).
    maxmemory_eviction_tenacity: u32 = number "maxmemory-eviction-tenacity",
    lfu_log_factor: u32 = number "lfu-log-factor",
    /// Minutes in which a counter falls by one; 0 = at every look.
    lfu_decay_time: u32 = number "lfu-decay-time",
    /// 1 to 10.
    active_expire_effort: u32 = number "active-expire-effort",
    lazyfree_lazy_eviction: bool = yes "lazyfree-lazy-eviction",
    lazyfree_lazy_expire: bool = yes "lazyfree-lazy-expire",
    lazyfree_lazy_server_del: bool = yes "lazyfree-lazy-server-del",
    lazyfree_lazy_user_del: bool = yes "lazyfree-lazy-user-del",
    lazyfree_lazy_user_flush: bool = yes "lazyfree-lazy-user-flush",

    databases: usize = number "databases",
    hash_max_listpack_entries: usize = number "hash-max-listpack-entries",
    /// Bytes.
    hash_max_listpack_value: u64 = bytes "hash-max-listpack-value",
    /// Entries of a list node, or if negative -1 to -5: 4, 8, 16, 32, 64 KiB.
    list_max_listpack_size: i32 = number "list-max-listpack-size",
    /// Nodes at either end that are not compressed; 0 = none is.
    list_compress_depth: u32 = number "list-compress-depth",
    set_max_intset_entries: usize = number "set-max-intset-entries",
    set_max_listpack_entries: usize = number "set-max-listpack-entries",
    /// Bytes.
    set_max_listpack_value: usize = number "set-max-listpack-value",
    zset_max_listpack_entries: usize = number "zset-max-listpack-entries",
    /// Bytes.
    zset_max_listpack_value: u64 = bytes "zset-max-listpack-value",
    /// Bytes, header included.
    hll_sparse_max_bytes: u64 = bytes "hll-sparse-max-bytes",
    /// Bytes; 0 = no limit.
    stream_node_max_bytes: u64 = bytes "stream-node-max-bytes",
    /// 0 = no limit.
    stream_node_max_entries: u64 = number "stream-node-max-entries",

    /// As given; absolute once the directory has been entered.
    dir: Vec<u8> = text "dir",
    dbfilename: Vec<u8> = text "dbfilename",
    save: Vec<SavePoint> = save_points "save",
    stop_writes_on_bgsave_error: bool = yes "stop-writes-on-bgsave-error",
    rdbcompression: bool = yes "rdbcompression",
    rdbchecksum: bool = yes "rdbchecksum",
    /// Without persistence a replica keeps no snapshot of its primary.
    rdb_del_sync_files: bool = yes "rdb-del-sync-files",
    /// Files and payloads of versions that are not known are refused.
    rdb_version_check: bool = is_strict "rdb-version-check",
    /// Microseconds that each key of a save in the background takes at least.
    rdb_key_save_delay: i64 = number "rdb-key-save-delay",
    /// Microseconds that each key of a load takes at least.
    key_load_delay: i64 = number "key-load-delay",
    rdb_save_incremental_fsync: bool = yes "rdb-save-incremental-fsync",
    appendonly: bool = yes "appendonly",
    appendfsync: AppendFsync = appendfsync "appendfsync",
    appendfilename: Vec<u8> = text "appendfilename",
    appenddirname: Vec<u8> = text "appenddirname",
    no_appendfsync_on_rewrite: bool = yes "no-appendfsync-on-rewrite",
    /// 0 = never by itself.
    auto_aof_rewrite_percentage: u64 = number "auto-aof-rewrite-percentage",
    /// Bytes.
    auto_aof_rewrite_min_size: u64 = bytes "auto-aof-rewrite-min-size",
    aof_disable_auto_gc: bool = yes "aof-disable-auto-gc",
    aof_rewrite_incremental_fsync: bool = yes "aof-rewrite-incremental-fsync",
    aof_load_truncated: bool = yes "aof-load-truncated",
    aof_use_rdb_preamble: bool = yes "aof-use-rdb-preamble",
    aof_timestamp_enabled: bool = yes "aof-timestamp-enabled",
    /// The primary that the server follows; None for a primary.
    replicaof: Option<Endpoint> = replicaof "replicaof",
    /// Password for the primary; empty = none.
    masterauth: Vec<u8> = text "masterauth",
    /// User to be there; empty = the default one.
    masteruser: Vec<u8> = text "masteruser",
    replica_serve_stale_data: bool = yes "replica-serve-stale-data",
    replica_read_only: bool = yes "replica-read-only",
    replica_ignore_maxmemory: bool = yes "replica-ignore-maxmemory",
    replica_priority: u32 = number "replica-priority",
    replica_announced: bool = yes "replica-announced",
    /// Empty = the address of the socket.
    replica_announce_ip: Vec<u8> = text "replica-announce-ip",
    /// 0 = `port`.
    replica_announce_port: u16 = number "replica-announce-port",
    min_replicas_to_write: u32 = number "min-replicas-to-write",
    /// Seconds.
    min_replicas_max_lag: u32 = number "min-replicas-max-lag",
    /// Bytes; 0 = what `client-output-buffer-limit` says of replicas.
    replica_full_sync_buffer_limit: u64 = bytes "replica-full-sync-buffer-limit",
    repl_disable_tcp_nodelay: bool = yes "repl-disable-tcp-nodelay",
    repl_diskless_sync: bool = yes "repl-diskless-sync",
    /// Seconds that a snapshot for replicas waits for more of them.
    repl_diskless_sync_delay: u32 = number "repl-diskless-sync-delay",
    /// So many replicas do not wait for more; 0 = any number does.
    repl_diskless_sync_max_replicas: u32 = number "repl-diskless-sync-max-replicas",
    /// A replica may get its snapshot over a connection of its own.
    repl_rdb_channel: bool = yes "repl-rdb-channel",
    repl_diskless_load: DisklessLoad = diskless_load "repl-diskless-load",
    /// Seconds.
    repl_ping_replica_period: u32 = number "repl-ping-replica-period",
    /// Seconds without a word after which a link is given up.
    repl_timeout: u32 = number "repl-timeout",
    /// Bytes.
    repl_backlog_size: u64 = bytes "repl-backlog-size",
    /// Seconds that the backlog is kept without replicas; 0 = for ever.
    repl_backlog_ttl: u64 = number "repl-backlog-ttl",
    cluster_enabled: bool = yes "cluster-enabled",

    /// Microseconds; 0 = everything, negative = nothing.
    slowlog_log_slower_than: i64 = number "slowlog-log-slower-than",
    slowlog_max_len: usize = number "slowlog-max-len",
    /// Bytes; 0 = everything, negative = nothing.
    commandlog_request_larger_than: i64 = number "commandlog-request-larger-than",
    commandlog_large_request_max_len: usize = number "commandlog-large-request-max-len",
    /// Bytes; 0 = everything, negative = nothing.
    commandlog_reply_larger_than: i64 = number "commandlog-reply-larger-than",
    commandlog_large_reply_max_len: usize = number "commandlog-large-reply-max-len",
    /// Milliseconds; 0 = off.
    latency_monitor_threshold: u64 = number "latency-monitor-threshold",
    latency_tracking: bool = yes "latency-tracking",
    /// Each from 0 to 100.
    latency_tracking_info_percentiles: Vec<f64> = percentiles "latency-tracking-info-percentiles",
}

impl Config {
    /// True if both name the same certificates, and how they are used.
    pub fn has_same_tls(&self, other: &Config) -> bool {
        directives::all()
            .iter()
            .zip(self.values.iter().zip(other.values.iter()))
            .all(|(directive, (own, others))| !directive.name.starts_with("tls-") || own == others)
    }

    /// All values, in the order of [`directives::all`].
    pub(super) fn values(&self) -> &[Arc<Value>] {
        &self.values
    }

    /// The value of the directive at an index of [`directives::all`].
    pub(super) fn value(&self, index: usize) -> &Value {
        &self.values[index]
    }

    /// The value of a directive as CONFIG GET prints it; for those without a field of their own.
    pub fn text_of(&self, name: &str) -> String {
        String::from_utf8_lossy(&value_of(&self.values, name).render()).into_owned()
    }

    /// Bytes that all clients may hold together. None without a limit.
    pub fn client_memory_limit(&self) -> Option<u64> {
        let limit = match self.maxmemory_clients {
            ClientMemory::Bytes(0) | ClientMemory::Percent(0) => return None,
            ClientMemory::Bytes(bytes) => bytes,
            ClientMemory::Percent(_) if self.maxmemory == 0 => return None,
            ClientMemory::Percent(percent) => {
                (u128::from(self.maxmemory) * u128::from(percent) / 100) as u64
            }
        };
        Some(limit.max(CLIENT_MEMORY_MIN))
    }

    /// The same configuration after `dir` was entered: `dir` is what the system calls it.
    #[must_use]
    pub fn with_dir(&self, dir: &[u8]) -> Config {
        let mut values = self.values.clone();
        let found = directives::find(b"dir").expect("dir is a directive");
        values[found.index] = Arc::new(Value::Text(dir.into()));
        Config::from_values(values)
    }

    /// The same configuration of a server that follows this primary, or none.
    #[must_use]
    pub fn with_replicaof(&self, primary: Option<Endpoint>) -> Config {
        let mut values = self.values.clone();
        let found = directives::find(b"replicaof").expect("replicaof is a directive");
        values[found.index] = Arc::new(Value::ReplicaOf(primary));
        Config::from_values(values)
    }

    /// The same configuration with room for fewer clients: as many as the system has descriptors for.
    #[must_use]
    pub fn with_maxclients(&self, maxclients: u32) -> Config {
        let mut values = self.values.clone();
        let found = directives::find(b"maxclients").expect("maxclients is a directive");
        values[found.index] = Arc::new(Value::Int(maxclients.into()));
        Config::from_values(values)
    }
}

/// With less nobody could talk to the server.
const CLIENT_MEMORY_MIN: u64 = 128 * 1024;

impl Default for Config {
    fn default() -> Self {
        Config::from_values(default_values())
    }
}

/// The values of a configuration in which nothing is said.
pub(super) fn default_values() -> Values {
    directives::all().iter().map(|entry| Arc::new(entry.default_value())).collect()
}

fn value_of<'a>(values: &'a [Arc<Value>], name: &str) -> &'a Value {
    let found = directives::find(name.as_bytes());
    &values[found.expect("a field names a directive").index]
}

/// The readers. That a directive's kind fits its field is our own affair: the first configuration
/// of any test or start would end in one of these assertions.
macro_rules! reader {
    ($read:ident, $type:ty, $pattern:pat => $value:expr) => {
        fn $read(value: &Value) -> $type {
            match value {
                $pattern => $value,
                other => unreachable!("a field of another kind than {other:?}"),
            }
        }
    };
}

reader!(yes, bool, Value::Bool(yes) => *yes);
reader!(bytes, u64, Value::Memory(bytes) => *bytes);
reader!(mode, u32, Value::Octal(mode) => *mode);
reader!(text, Vec<u8>, Value::Text(text) => text.clone());
reader!(list, Vec<Vec<u8>>, Value::List(words) => words.clone());
reader!(word, u32, Value::Choice(_, value) => *value);
reader!(shutdown, ShutdownFlags, Value::Flags(_, bits) => ShutdownFlags(*bits));
reader!(save_points, Vec<SavePoint>, Value::Save(points) => points.clone());
reader!(buffer_limits, [BufferLimit; 3], Value::BufferLimits(limits) => *limits);
reader!(oom_scores, [i32; 3], Value::OomScores(scores) => *scores);
reader!(notify, NotifyFlags, Value::Notify(flags) => *flags);
reader!(percentiles, Vec<f64>, Value::Percentiles(percentiles) => percentiles.clone());
reader!(replicaof, Option<Endpoint>, Value::ReplicaOf(primary) => primary.clone());

reader!(supervised, Supervised, Value::Choice(_, value) => Supervised::from_value(*value));
reader!(io_backend, IoBackend, Value::Choice(_, value) => IoBackend::from_value(*value));
reader!(loglevel, LogLevel, Value::Choice(_, value) => LogLevel::from_value(*value));
reader!(log_format, LogFormat, Value::Choice(_, value) => LogFormat::from_value(*value));
reader!(log_timestamp_format, LogTimestampFormat,
    Value::Choice(_, value) => LogTimestampFormat::from_value(*value));
reader!(syslog_facility, SyslogFacility,
    Value::Choice(_, value) => SyslogFacility::from_value(*value));
reader!(tls_auth_clients, TlsAuthClients,
    Value::Choice(_, value) => TlsAuthClients::from_value(*value));
reader!(tls_auth_clients_user, TlsAuthClientsUser,
    Value::Choice(_, value) => TlsAuthClientsUser::from_value(*value));
reader!(protected, ProtectedAction, Value::Choice(_, value) => ProtectedAction::from_value(*value));
reader!(acl_pubsub_default, AclPubsubDefault,
    Value::Choice(_, value) => AclPubsubDefault::from_value(*value));
reader!(sanitize, SanitizeDumpPayload,
    Value::Choice(_, value) => SanitizeDumpPayload::from_value(*value));
reader!(is_strict, bool,
    Value::Choice(_, value) => RdbVersionCheck::from_value(*value) == RdbVersionCheck::Strict);
reader!(maxmemory_policy, MaxmemoryPolicy,
    Value::Choice(_, value) => MaxmemoryPolicy::from_value(*value));
reader!(diskless_load, DisklessLoad, Value::Choice(_, value) => DisklessLoad::from_value(*value));
reader!(appendfsync, AppendFsync, Value::Choice(_, value) => AppendFsync::from_value(*value));

fn client_memory(value: &Value) -> ClientMemory {
    match value {
        Value::Memory(bytes) => ClientMemory::Bytes(*bytes),
        Value::Percent(percent) => ClientMemory::Percent(*percent),
        other => unreachable!("a field of another kind than {other:?}"),
    }
}

/// A number; the directive's bounds lie within those of the field.
fn number<T: TryFrom<i64>>(value: &Value) -> T {
    let Value::Int(number) = value else { unreachable!("a number is not {value:?}") };
    T::try_from(*number).ok().expect("the bounds of a directive fit its field")
}
