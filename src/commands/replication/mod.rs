//! Replication: becoming a replica of this server, what clients may ask of the replicas, and handing over.
//!
//! Invariant: nothing here sends a byte of the stream; the core that keeps it does.

pub mod failover;
pub mod replconf;
pub mod replicaof;
pub mod role;
pub mod sync;
pub mod wait;

use crate::command::{Command, Group};

/// What the records of this group share.
const BASE: Command = Command { group: Group::Server, ..Command::BASE };
