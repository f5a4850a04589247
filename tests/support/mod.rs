//! What the integration tests share: a server of our own or a stock one as a child process, a raw
//! RESP client, the readable form of replies and commands, and a core without a kernel.
//!
//! Invariant: nothing here interprets a reply beyond its framing. What comes from the socket is
//! compared as bytes, so a difference no client library would notice is still a difference.
#![allow(dead_code, reason = "each test binary uses its own part of the harness")]

pub(crate) mod client;
pub(crate) mod parts;
pub(crate) mod quote;
pub(crate) mod reply;
pub(crate) mod scripted;
pub(crate) mod server;
pub(crate) mod wait;

/// The value of an environment variable, or None when it is unset or empty.
pub(crate) fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
