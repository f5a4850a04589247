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
    SameObject,
    DbIndexOutOfRange,
    InvalidDbIndex,
    InvalidCursor,
    InvalidFirstDb,
    InvalidSecondDb,
    OutOfMemory,
    NoAuth,
    LcsMixedOptions,
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
