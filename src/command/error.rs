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
    NotAFloat,
    NotPositive,
    ValueOutOfRange,
    Overflow,
    DecrementOverflow,
    NanOrInfinity,
    StringTooLong,
    OffsetOutOfRange,
    NoSuchKey,
    NoTable,
    SameObject,
    DbIndexOutOfRange,
    InvalidDbIndex,
    InvalidCursor,
    InvalidFirstDb,
    InvalidSecondDb,
    OutOfMemory,
    NoAuth,
    LcsMixedOptions,
    IntOutOfRange,
    ExpireNxMixed,
    ExpireGtAndLt,
    NoValuesOnlyForHscan,
    IdleTimeNotTracked,
    FrequencyNotTracked,
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
}

impl CommandError {
    /// The reply line, without `-` and line end. Empty for `Written`.
    pub fn text(self) -> &'static str {
        match self {
            Self::Written => "",
            Self::WrongType => "WRONGTYPE Operation against a key holding the wrong kind of value",
            Self::Syntax => "ERR syntax error",
            Self::NotAnInteger => "ERR value is not an integer or out of range",
            Self::NotAFloat => "ERR value is not a valid float",
            Self::NotPositive => "ERR value is out of range, must be positive",
            Self::ValueOutOfRange => "ERR value is out of range",
            Self::Overflow => "ERR increment or decrement would overflow",
            Self::DecrementOverflow => "ERR decrement would overflow",
            Self::NanOrInfinity => "ERR increment would produce NaN or Infinity",
            Self::StringTooLong => "ERR string exceeds maximum allowed size (proto-max-bulk-len)",
            Self::OffsetOutOfRange => "ERR offset is out of range",
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
