//! Connections as state machines: completions in, operations out.
//!
//! Invariant: the only place that knows which bytes of a client are where: in the kernel, in its
//! query buffer, parsed, or on their way out.

pub mod connection;
pub mod input;
pub mod listener;
pub mod output;
pub mod sealing;
