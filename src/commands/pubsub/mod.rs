//! Pub/sub: subscribing, publishing, and looking at who listens.
//!
//! Invariant: a change of subscriptions is known to every core before it is acknowledged; publishing
//! needs no other core, and counts exactly those who get the message. Source: the Pub/Sub page and
//! the command reference of Redis 8.0.6.

pub mod publish;
pub mod show;
pub mod subscribe;
