//! Every error that a command answers with, once.
//!
//! Invariant: texts are exact to the byte; a lower layer's small error becomes one of these at `?`.
//! Source: the replies of stock servers.

use crate::types::WrongType;

/// An error reply. `Written` means that the handler has written a text of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum CommandError {
    /// The reply holds the error already, since its text carries arguments.
    Written,
    WrongType,
    Syntax,
    NotAnInteger,
    MigrateKeyNotEmpty,
    MigrateCannotWait,
    NotAFloat,
    NotPositive,
    TimeoutNotAFloat,
    DiscardWithoutMulti,
    ExecWithoutMulti,
    NestedMulti,
    WatchInsideMulti,
    NotInsideTransaction,
    ExecAborted,
    Unblocked,
    UnblockedByRole,
    SsubscribeDenied,
    ValueOutOfRange,
    Overflow,
    DecrementOverflow,
    NanOrInfinity,
    ScoreNotANumber,
    ValueIsNanOrInfinity,
    HashValueNotAnInteger,
    HashValueNotAFloat,
    HsetexManyExpiries,
    HsetexManyConditions,
    MissingExpireTime,
    StringTooLong,
    OffsetOutOfRange,
    BitOffset,
    BitValue,
    BitArgument,
    BitopNotKeys,
    FieldType,
    FieldOverflow,
    FieldReadOnly,
    NotHyperLogLog,
    CorruptedHyperLogLog,
    BusyKey,
    InvalidTtl,
    InvalidIdleTime,
    InvalidFrequency,
    DumpFooter,
    BadDataFormat,
    NotInScripts,
    BusyScript,
    BusyFunction,
    NoSuchKey,
    NoTable,
    SameObject,
    DbIndexOutOfRange,
    InvalidDbIndex,
    InvalidCursor,
    InvalidFirstDb,
    InvalidSecondDb,
    OutOfMemory,
    TooManyPushes,
    Loading,
    NoPrimaryLink,
    ReadOnly,
    PrimaryDown,
    SavesFail,
    SaveInProgress,
    FilterNeedsEof,
    WaitOnReplica,
    WaitaofOnReplica,
    WaitaofWithoutFile,
    NotZeroOrOne,
    SyncWhileFailingOver,
    TakeOverByPrimary,
    TakeOverOfOther,
    FailingOver,
    NoFailover,
    FailoverTimeout,
    FailoverOnReplica,
    FailoverWithoutReplicas,
    FailoverForce,
    FailoverTarget,
    FailoverTargetOffline,
    RoleWhileFailingOver,
    RoleOfReplica,
    NoReplicas,
    /// BGREWRITEAOF while another one is under way.
    RewriteInProgress,
    /// BGSAVE while a snapshot for something else is under way.
    OtherSnapshot,
    NoSaveToCancel,
    ReloadOptions,
    NoAuth,
    LcsMixedOptions,
    IntOutOfRange,
    ExpireNxMixed,
    ExpireGtAndLt,
    NoValuesOnlyForHscan,
    IdleTimeNotTracked,
    FrequencyNotTracked,
    ClusterDisabled,
    MoveInCluster,
    CopyInCluster,
    SwapdbInCluster,
    WrongPass,
    NoPasswordConfigured,
    InternalConnection,
    ProtocolVersion,
    NoProto,
    HelloNoAuth,
    PingArity,
    SelectInCluster,
    ClientName,
    ClientIdNotPositive,
    InvalidClientId,
    MaxAgeNotAnInteger,
    MaxAgeNotPositive,
    IdleNotAnInteger,
    IdleNotPositive,
    NoSuchClient,
    NotInImportMode,
    PauseMode,
    UnblockReason,
    TimeoutNotAnInteger,
    TimeoutNegative,
    TimeoutOutOfRange,
    LogCount,
    MonitorInside,
    TrackingRedirectTwice,
    TrackingRedirectMissing,
    TrackingPrefixWithoutBcast,
    TrackingSwitchesBcast,
    TrackingBcastWithOptions,
    TrackingBothOptions,
    TrackingSwitchesOptions,
    CachingWithoutTracking,
    CachingYesWithoutOptin,
    CachingNoWithoutOptout,
    CommandLogType,
    InvalidCommandSpecified,
    NoKeyArguments,
    InvalidArgumentCount,
    InvalidArgumentsSpecified,
    NoConfigFile,
    NoShutdownInProgress,
    ModuleNotLoaded,
    ModuleNotFound,
    PackedThreshold,
    NoMemoryForTable,
    OutOfRangeDatabase,
    IndexOutOfRange,
    RankZero,
    CountNegative,
    MaxlenNegative,
    NumkeysNotPositive,
    CountNotPositive,
    OutsideSymmetricLong,
    InvalidStreamId,
    XaddArity,
    XaddZeroId,
    XaddIdTooSmall,
    StreamExhausted,
    ElementsTooLarge,
    MaxlenAndMinid,
    TrimMaxlenNegative,
    TrimLimitNegative,
    LimitWithoutTrim,
    XtrimWithoutTrim,
    LimitWithoutTilde,
    IntervalStart,
    IntervalEnd,
    UnbalancedXread,
    UnbalancedXreadgroup,
    XreadGroupOption,
    XreadNoackOption,
    XreadgroupWithoutGroup,
    XreadgroupDollar,
    XreadgroupPlus,
    XreadGreater,
    EntriesReadNegative,
    XgroupNeedsKey,
    BusyGroup,
    EntriesAddedNegative,
    XsetidBelowGiven,
    XsetidBelowDeleted,
    XsetidBelowTop,
    EntriesAddedBelowLength,
    XclaimMinIdle,
    XclaimIdle,
    XclaimTime,
    XclaimRetryCount,
    XautoclaimMinIdle,
    XautoclaimCount,
    SortByDenied,
    SortGetDenied,
    UsernameBlanks,
    DefaultUserStays,
    PasswordBits,
    NoAclFile,
    NoScript,
    TooManyScriptKeys,
    NegativeScriptKeys,
    NoFunction,
    BadScriptKeys,
}

impl CommandError {
    /// A script runs for too long, or a function does.
    pub fn busy(is_function: bool) -> CommandError {
        if is_function { Self::BusyFunction } else { Self::BusyScript }
    }

    /// The reply line, without `-` and line end. Empty for `Written`.
    pub fn text(self) -> &'static str {
        match self {
            Self::Written => "",
            Self::NoScript => "NOSCRIPT No matching script. Please use EVAL.",
            Self::NoFunction => "ERR Function not found",
            Self::BadScriptKeys => "ERR Bad number of keys provided",
            Self::TooManyScriptKeys => "ERR Number of keys can't be greater than number of args",
            Self::NegativeScriptKeys => "ERR Number of keys can't be negative",
            Self::WrongType => "WRONGTYPE Operation against a key holding the wrong kind of value",
            Self::Syntax => "ERR syntax error",
            Self::MigrateKeyNotEmpty => {
                "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string"
            }
            Self::MigrateCannotWait => {
                "ERR MIGRATE is not allowed inside a transaction or a script"
            }
            Self::NotAnInteger => "ERR value is not an integer or out of range",
            Self::NotAFloat => "ERR value is not a valid float",
            Self::DiscardWithoutMulti => "ERR DISCARD without MULTI",
            Self::ExecWithoutMulti => "ERR EXEC without MULTI",
            Self::NestedMulti => "ERR MULTI calls can not be nested",
            Self::WatchInsideMulti => "ERR WATCH inside MULTI is not allowed",
            Self::NotInsideTransaction => "ERR Command not allowed inside a transaction",
            Self::ExecAborted => "EXECABORT Transaction discarded because of previous errors.",
            Self::TimeoutNotAFloat => "ERR timeout is not a float or out of range",
            Self::SsubscribeDenied => "ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client",
            Self::UnblockedByRole => {
                "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)"
            }
            Self::Unblocked => "UNBLOCKED client unblocked via CLIENT UNBLOCK",
            Self::NotPositive => "ERR value is out of range, must be positive",
            Self::ValueOutOfRange => "ERR value is out of range",
            Self::Overflow => "ERR increment or decrement would overflow",
            Self::DecrementOverflow => "ERR decrement would overflow",
            Self::NanOrInfinity => "ERR increment would produce NaN or Infinity",
            Self::ScoreNotANumber => "ERR resulting score is not a number (NaN)",
            Self::ValueIsNanOrInfinity => "ERR value is NaN or Infinity",
            Self::HashValueNotAnInteger => "ERR hash value is not an integer",
            Self::HashValueNotAFloat => "ERR hash value is not a float",
            Self::HsetexManyExpiries => {
                "ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified"
            }
            Self::HsetexManyConditions => "ERR Only one of FXX or FNX arguments can be specified",
            Self::MissingExpireTime => "ERR missing expire time",
            Self::StringTooLong => "ERR string exceeds maximum allowed size (proto-max-bulk-len)",
            Self::OffsetOutOfRange => "ERR offset is out of range",
            Self::BitOffset => "ERR bit offset is not an integer or out of range",
            Self::BitValue => "ERR bit is not an integer or out of range",
            Self::BitArgument => "ERR The bit argument must be 1 or 0.",
            Self::BitopNotKeys => "ERR BITOP NOT must be called with a single source key.",
            Self::FieldType => {
                "ERR Invalid bitfield type. Use something like i16 u8. \
                 Note that u64 is not supported but i64 is."
            }
            Self::FieldOverflow => "ERR Invalid OVERFLOW type specified",
            Self::FieldReadOnly => "ERR BITFIELD_RO only supports the GET subcommand",
            Self::NotHyperLogLog => "WRONGTYPE Key is not a valid HyperLogLog string value.",
            Self::CorruptedHyperLogLog => "INVALIDOBJ Corrupted HLL object detected",
            Self::BusyKey => "BUSYKEY Target key name already exists.",
            Self::InvalidTtl => "ERR Invalid TTL value, must be >= 0",
            Self::InvalidIdleTime => "ERR Invalid IDLETIME value, must be >= 0",
            Self::InvalidFrequency => "ERR Invalid FREQ value, must be >= 0 and <= 255",
            Self::DumpFooter => "ERR DUMP payload version or checksum are wrong",
            Self::BadDataFormat => "ERR Bad data format",
            Self::BusyScript => {
                "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."
            }
            Self::BusyFunction => {
                "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE."
            }
            Self::NotInScripts => "ERR This Redis command is not allowed from script",
            Self::NoSuchKey => "ERR no such key",
            Self::NoTable => {
                "ERR The value stored at the specified key is not represented using an hash table"
            }
            Self::SameObject => "ERR source and destination objects are the same",
            Self::DbIndexOutOfRange => "ERR DB index is out of range",
            Self::InvalidDbIndex => "ERR invalid DB index",
            Self::InvalidCursor => "ERR invalid cursor",
            Self::InvalidFirstDb => "ERR invalid first DB index",
            Self::InvalidSecondDb => "ERR invalid second DB index",
            Self::OutOfMemory => "OOM command not allowed when used memory > 'maxmemory'.",
            Self::TooManyPushes => "ERR too many messages of one script or transaction",
            Self::NoPrimaryLink => "NOMASTERLINK Can't SYNC while not connected with my master",
            Self::ReadOnly => "READONLY You can't write against a read only replica.",
            Self::PrimaryDown => {
                "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."
            }
            Self::Loading => "LOADING Redis is loading the dataset in memory",
            Self::SavesFail => {
                "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to \
                 persist to disk. Commands that may modify the data set are disabled, because this \
                 instance is configured to report errors during writes if RDB snapshotting fails \
                 (stop-writes-on-bgsave-error option). Please check the Redis logs for details \
                 about the RDB error."
            }
            Self::WaitOnReplica => {
                "ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is configured to be writable (which is not the default) writes to replicas are just local and are not propagated."
            }
            Self::WaitaofOnReplica => {
                "ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are just local and are not propagated."
            }
            Self::WaitaofWithoutFile => {
                "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled."
            }
            Self::NotZeroOrOne => "ERR value is out of range, value must between 0 and 1",
            Self::SyncWhileFailingOver => "NOMASTERLINK Can't SYNC while failing over",
            Self::TakeOverByPrimary => "ERR PSYNC FAILOVER can't be sent to a master.",
            Self::TakeOverOfOther => "ERR PSYNC FAILOVER replid must match my replid.",
            Self::FailingOver => "ERR FAILOVER already in progress.",
            Self::NoFailover => "ERR No failover in progress.",
            Self::FailoverTimeout => "ERR FAILOVER timeout must be greater than 0",
            Self::FailoverOnReplica => "ERR FAILOVER is not valid when server is a replica.",
            Self::FailoverWithoutReplicas => "ERR FAILOVER requires connected replicas.",
            Self::FailoverForce => {
                "ERR FAILOVER with force option requires both a timeout and target HOST and IP."
            }
            Self::FailoverTarget => "ERR FAILOVER target HOST and PORT is not a replica.",
            Self::FailoverTargetOffline => "ERR FAILOVER target replica is not online.",
            Self::RoleWhileFailingOver => "ERR REPLICAOF not allowed while failing over.",
            Self::RoleOfReplica => "ERR Command is not valid when client is a replica.",
            Self::FilterNeedsEof => "ERR Filtered replica requires EOF capability",
            Self::NoReplicas => "NOREPLICAS Not enough good replicas to write.",
            Self::SaveInProgress => "ERR Background save already in progress",
            Self::RewriteInProgress => {
                "ERR Background append only file rewriting already in progress"
            }
            Self::OtherSnapshot => {
                "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in order to schedule a BGSAVE whenever possible."
            }
            Self::NoSaveToCancel => {
                "ERR Background saving is currently not in progress or scheduled"
            }
            Self::ReloadOptions => {
                "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options."
            }
            Self::NoAuth => "NOAUTH Authentication required.",
            Self::LcsMixedOptions => {
                "ERR If you want both the length and indexes, please just use IDX."
            }
            Self::IntOutOfRange => {
                "ERR value is out of range, value must between -2147483648 and 2147483647"
            }
            Self::ExpireNxMixed => {
                "ERR NX and XX, GT or LT options at the same time are not compatible"
            }
            Self::ExpireGtAndLt => "ERR GT and LT options at the same time are not compatible",
            Self::NoValuesOnlyForHscan => "ERR NOVALUES option can only be used in HSCAN",
            Self::IdleTimeNotTracked => {
                "ERR An LFU maxmemory policy is selected, idle time not tracked. \
                 Please note that when switching between policies at \
                 runtime LRU and LFU data will take some time to adjust."
            }
            Self::FrequencyNotTracked => {
                "ERR An LFU maxmemory policy is not selected, access frequency not tracked. \
                 Please note that when switching between policies at \
                 runtime LRU and LFU data will take some time to adjust."
            }
            Self::ClusterDisabled => "ERR This instance has cluster support disabled",
            Self::MoveInCluster => "ERR MOVE is not allowed in cluster mode",
            Self::CopyInCluster => "ERR Copying to another database is not allowed in cluster mode",
            Self::SwapdbInCluster => "ERR SWAPDB is not allowed in cluster mode",
            Self::WrongPass => "WRONGPASS invalid username-password pair or user is disabled.",
            Self::NoPasswordConfigured => {
                "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?"
            }
            Self::InternalConnection => {
                "ERR Cannot authenticate as an internal connection on non-cluster instances"
            }
            Self::ProtocolVersion => "ERR Protocol version is not an integer or out of range",
            Self::NoProto => "NOPROTO unsupported protocol version",
            Self::HelloNoAuth => {
                "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time"
            }
            Self::PingArity => "ERR wrong number of arguments for 'ping' command",
            Self::SelectInCluster => "ERR SELECT is not allowed in cluster mode",
            Self::ClientName => {
                "ERR Client names cannot contain spaces, newlines or special characters."
            }
            Self::ClientIdNotPositive => "ERR client-id should be greater than 0",
            Self::InvalidClientId => "ERR Invalid client ID",
            Self::MaxAgeNotAnInteger => "ERR maxage is not an integer or out of range",
            Self::MaxAgeNotPositive => "ERR maxage should be greater than 0",
            Self::IdleNotAnInteger => "ERR idle is not an integer or out of range",
            Self::IdleNotPositive => "ERR idle should be greater than 0",
            Self::NoSuchClient => "ERR No such client",
            Self::NotInImportMode => "ERR Server is not in import mode",
            Self::PauseMode => "ERR CLIENT PAUSE mode must be WRITE or ALL",
            Self::UnblockReason => "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR",
            Self::TimeoutNotAnInteger => "ERR timeout is not an integer or out of range",
            Self::TimeoutNegative => "ERR timeout is negative",
            Self::TrackingRedirectTwice => {
                "ERR A client can only redirect to a single other client"
            }
            Self::TrackingRedirectMissing => {
                "ERR The client ID you want redirect to does not exist"
            }
            Self::TrackingPrefixWithoutBcast => {
                "ERR PREFIX option requires BCAST mode to be enabled"
            }
            Self::TrackingSwitchesBcast => {
                "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a different mode."
            }
            Self::TrackingBcastWithOptions => "ERR OPTIN and OPTOUT are not compatible with BCAST",
            Self::TrackingBothOptions => "ERR You can't specify both OPTIN mode and OPTOUT mode",
            Self::TrackingSwitchesOptions => {
                "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with a different mode."
            }
            Self::CachingWithoutTracking => {
                "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled"
            }
            Self::CachingYesWithoutOptin => {
                "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode."
            }
            Self::CachingNoWithoutOptout => {
                "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode."
            }
            Self::MonitorInside => "ERR MONITOR isn't allowed for DENY BLOCKING client",
            Self::LogCount => "ERR count should be greater than or equal to -1",
            Self::CommandLogType => {
                "ERR type should be one of the following: slow, large-request, large-reply"
            }
            Self::TimeoutOutOfRange => "ERR timeout is out of range",
            Self::InvalidCommandSpecified => "ERR Invalid command specified",
            Self::NoKeyArguments => "ERR The command has no key arguments",
            Self::InvalidArgumentCount => "ERR Invalid number of arguments specified for command",
            Self::NoShutdownInProgress => "ERR No shutdown in progress.",
            Self::ModuleNotLoaded => {
                "ERR Error loading the extension. Please check the server logs."
            }
            Self::ModuleNotFound => "ERR Error unloading module: no such module with that name",
            Self::PackedThreshold => {
                "ERR argument must be a memory value bigger than 1 and smaller than 4gb"
            }
            Self::NoMemoryForTable => "ERR OOM in dictTryExpand",
            Self::OutOfRangeDatabase => "ERR Out of range database",
            Self::IndexOutOfRange => "ERR index out of range",
            Self::RankZero => {
                "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list"
            }
            Self::CountNegative => "ERR COUNT can't be negative",
            Self::MaxlenNegative => "ERR MAXLEN can't be negative",
            Self::NumkeysNotPositive => "ERR numkeys should be greater than 0",
            Self::CountNotPositive => "ERR count should be greater than 0",
            Self::OutsideSymmetricLong => {
                "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807"
            }
            Self::InvalidStreamId => "ERR Invalid stream ID specified as stream command argument",
            Self::XaddArity => "ERR wrong number of arguments for 'xadd' command",
            Self::XaddZeroId => "ERR The ID specified in XADD must be greater than 0-0",
            Self::XaddIdTooSmall => {
                "ERR The ID specified in XADD is equal or smaller than the target stream top item"
            }
            Self::StreamExhausted => {
                "ERR The stream has exhausted the last possible ID, unable to add more items"
            }
            Self::ElementsTooLarge => "ERR Elements are too large to be stored",
            Self::MaxlenAndMinid => {
                "ERR syntax error, MAXLEN and MINID options at the same time are not compatible"
            }
            Self::TrimMaxlenNegative => "ERR The MAXLEN argument must be >= 0.",
            Self::TrimLimitNegative => "ERR The LIMIT argument must be >= 0.",
            Self::LimitWithoutTrim => {
                "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy"
            }
            Self::XtrimWithoutTrim => {
                "ERR syntax error, XTRIM must be called with a trimming strategy"
            }
            Self::LimitWithoutTilde => {
                "ERR syntax error, LIMIT cannot be used without the special ~ option"
            }
            Self::IntervalStart => "ERR invalid start ID for the interval",
            Self::IntervalEnd => "ERR invalid end ID for the interval",
            Self::UnbalancedXread => {
                "ERR Unbalanced 'xread' list of streams: for each stream key an ID, '+', or '$' must be specified."
            }
            Self::UnbalancedXreadgroup => {
                "ERR Unbalanced 'xreadgroup' list of streams: for each stream key an ID or '>' must be specified."
            }
            Self::XreadGroupOption => {
                "ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead."
            }
            Self::XreadNoackOption => {
                "ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead."
            }
            Self::XreadgroupWithoutGroup => "ERR Missing GROUP option for XREADGROUP",
            Self::XreadgroupDollar => {
                "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would just return an empty result set."
            }
            Self::XreadgroupPlus => {
                "ERR The + ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by specifying a proper ID, or use the > ID to get new messages. The + ID would just return an empty result set."
            }
            Self::XreadGreater => {
                "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option."
            }
            Self::EntriesReadNegative => "ERR value for ENTRIESREAD must be positive or -1",
            Self::XgroupNeedsKey => {
                "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option to create an empty stream automatically."
            }
            Self::BusyGroup => "BUSYGROUP Consumer Group name already exists",
            Self::EntriesAddedNegative => "ERR entries_added must be positive",
            Self::XsetidBelowGiven => {
                "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id"
            }
            Self::XsetidBelowDeleted => {
                "ERR The ID specified in XSETID is smaller than current max_deleted_entry_id"
            }
            Self::XsetidBelowTop => {
                "ERR The ID specified in XSETID is smaller than the target stream top item"
            }
            Self::EntriesAddedBelowLength => {
                "ERR The entries_added specified in XSETID is smaller than the target stream length"
            }
            Self::XclaimMinIdle => "ERR Invalid min-idle-time argument for XCLAIM",
            Self::XclaimIdle => "ERR Invalid IDLE option argument for XCLAIM",
            Self::XclaimTime => "ERR Invalid TIME option argument for XCLAIM",
            Self::XclaimRetryCount => "ERR Invalid RETRYCOUNT option argument for XCLAIM",
            Self::XautoclaimMinIdle => "ERR Invalid min-idle-time argument for XAUTOCLAIM",
            Self::XautoclaimCount => "ERR COUNT must be > 0",
            Self::SortByDenied => {
                "ERR BY option of SORT denied due to insufficient ACL permissions."
            }
            Self::SortGetDenied => {
                "ERR GET option of SORT denied due to insufficient ACL permissions."
            }
            Self::UsernameBlanks => "ERR Usernames can't contain spaces or null characters",
            Self::DefaultUserStays => "ERR The 'default' user cannot be removed",
            Self::PasswordBits => {
                "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096"
            }
            Self::NoAclFile => {
                "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in order to store users in the Redis configuration."
            }
            Self::NoConfigFile => "ERR The server is running without a config file",
            Self::InvalidArgumentsSpecified => "ERR Invalid arguments specified for command",
        }
    }
}

impl From<WrongType> for CommandError {
    fn from(WrongType: WrongType) -> Self {
        CommandError::WrongType
    }
}
