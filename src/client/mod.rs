//! The state of one client, without its socket.
//!
//! Invariant: nothing here reads or writes a socket; `net/` owns the connection and embeds this.

pub mod info;
pub mod replica;
pub mod session;
pub mod tracking;

pub use replica::Replica;
pub use session::{ConnectionFacts, ConnectionTable, ReplyMode, Session, SessionFacts, Verdict};
