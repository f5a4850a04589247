//! Encrypted connections: certificates and rules, handshakes, records.
//!
//! Invariant: the only user of rustls; bytes in, bytes out, without a socket or a clock of its own. A [`Context`] never
//! changes: new certificates make another one, and connections keep the one that they began with.
//! Way in: `context` (what the directives say), `session` (one connection), `certificate` (what a
//! peer's certificate says), `verify` (who is trusted), `ciphers` (OpenSSL's names). Source: tls-* in redis.conf of Redis 8.0
//! and Valkey 9.1; RFC 8446, RFC 5246.

pub mod certificate;
mod ciphers;
pub mod context;
mod direct;
mod session;
mod session_cache;
mod verify;

use std::os::fd::OwnedFd;

pub use context::Context;
pub use session::{Broken, Session};

/// A connection whose handshake has not been done.
#[derive(Debug)]
pub struct Newcomer {
    /// Its socket, not blocking.
    pub socket: OwnedFd,
    /// The peer's address.
    pub addr: String,
    /// The address that it connected to.
    pub laddr: String,
    /// An error to answer behind the handshake, before it is closed.
    pub refusal: Option<&'static str>,
    /// The core that it is to live on.
    pub core: usize,
}

/// A connection behind its handshake.
#[derive(Debug)]
pub struct Secured {
    /// Who it is.
    pub newcomer: Newcomer,
    /// Its keys.
    pub session: Session,
    /// What it has sent behind the handshake, in plain.
    pub early: Vec<u8>,
    /// The names of users that its certificate offers, the first that exists counts.
    pub users: Vec<Vec<u8>>,
}
