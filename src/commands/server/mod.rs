//! The server itself: what it can do, how it is configured, how it is.
//!
//! Invariant: these commands report what the cores have published and change what is replaced whole;
//! none of them reads another core's memory.

pub mod acl;
pub mod command;
pub mod command_log;
pub mod config;
pub mod debug;
pub mod hotkeys;
pub mod info;
pub mod latency;
pub mod lolwut;
pub mod memory;
mod memory_figures;
pub mod module;
pub mod monitor;
pub mod persistence;
pub mod process;
pub mod report;

use std::sync::Arc;

use crate::command::whole::{Job, Part};
use crate::command::{Args, Command, CommandError, Flags, Group, SessionContext};

/// What most commands of an operator may do and when.
const OPERATOR: Flags = Flags::ADMIN.with(Flags::NOSCRIPT).with(Flags::LOADING).with(Flags::STALE);
/// When HELP and its kin may run.
const ALWAYS: Flags = Flags::LOADING.with(Flags::STALE);

/// What the records of this group share.
const BASE: Command = Command { group: Group::Server, ..Command::BASE };

/// Begins a command that reports what all cores hold: a core publishes that before it runs a part, so
/// the part itself has nothing to do.
fn publish(_cx: &mut SessionContext<'_>, _args: Args<'_>) -> Result<Job, CommandError> {
    Ok(Arc::new(|_| Part::Done))
}
