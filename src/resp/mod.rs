//! RESP2 and RESP3: bytes in, values out, and back.
//!
//! Invariant: pure functions over byte slices; nothing here allocates for a whole request, reads a
//! socket or knows a command. Source: the Redis serialization protocol specification.

pub mod error;
pub mod frames;
pub mod reply;
pub mod request;

/// The protocol version that a client speaks, chosen by HELLO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proto {
    /// The protocol that every connection starts with.
    #[default]
    Resp2,
    /// The typed protocol: maps, sets, doubles, booleans, pushes.
    Resp3,
}
