//! From a request's words to the handler that answers them: the table, the gates, the way.
//!
//! Invariant: decides where a command runs and whether it may; contains no command and moves no
//! message.

pub mod call;
mod choke;
pub mod evict;
mod gates;
pub mod journal;
mod monitor;
mod note;
pub mod notify;
pub mod replay;
pub mod route;
pub mod script;
pub mod serve;
mod subscriber;
pub mod table;
pub mod track;
pub mod transact;
mod unshared;
pub mod worker;
