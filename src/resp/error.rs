//! What a peer did wrong on the wire: answered once, then the connection closes.
//!
//! Invariant: the only place that holds the texts of protocol errors. Source: the replies of stock
//! servers.

use std::fmt;

/// A violation of the protocol; `Display` gives the text behind `-ERR Protocol error: `.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// No line end within the inline limit.
    InlineTooBig,
    /// An inline command with an open quote.
    UnbalancedQuotes,
    /// No line end within the limit behind `*`.
    MultibulkCountTooBig,
    /// The count behind `*` is no number or out of range.
    MultibulkLength,
    /// More arguments than a client may send before it has authenticated.
    UnauthenticatedMultibulkLength,
    /// No line end within the limit behind `$`.
    BulkCountTooBig,
    /// An argument that does not begin with `$`.
    ExpectedDollar(u8),
    /// The length behind `$` is no number or out of range.
    BulkLength,
    /// An HTTP request: a web page makes a browser send commands. Closed without an answer.
    Http,
    /// A longer argument than a client may send before it has authenticated.
    UnauthenticatedBulkLength,
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InlineTooBig => f.write_str("too big inline request"),
            Self::UnbalancedQuotes => f.write_str("unbalanced quotes in request"),
            Self::MultibulkCountTooBig => f.write_str("too big mbulk count string"),
            Self::MultibulkLength => f.write_str("invalid multibulk length"),
            Self::UnauthenticatedMultibulkLength => f.write_str("unauthenticated multibulk length"),
            Self::BulkCountTooBig => f.write_str("too big bulk count string"),
            // A byte that is no printable ASCII would break the reply line.
            Self::ExpectedDollar(byte) if byte.is_ascii_graphic() || *byte == b' ' => {
                write!(f, "expected '$', got '{}'", char::from(*byte))
            }
            Self::ExpectedDollar(_) => f.write_str("expected '$', got ' '"),
            Self::BulkLength => f.write_str("invalid bulk length"),
            Self::Http => f.write_str("HTTP request"),
            Self::UnauthenticatedBulkLength => f.write_str("unauthenticated bulk length"),
        }
    }
}
