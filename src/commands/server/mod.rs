//! The server itself: what it can do, how it is configured, how it is.
//!
//! Invariant: these commands report what the cores have published and change what is replaced whole;
//! none of them reads another core's memory.

pub mod acl;
pub mod command;
pub mod command_log;
pub mod config;
pub mod debug;
pub mod info;
pub mod latency;
pub mod lolwut;
pub mod memory;
mod memory_figures;
pub mod module;
pub mod monitor;
pub mod persistence;
pub mod process;

use std::sync::Arc;

use crate::command::whole::{Job, Part};
use crate::command::{Args, Command, CommandError, Flags, Group, SessionContext};
use crate::resp::reply::Reply;

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

/// Bytes of a subcommand's name that an error repeats.
const QUOTED_BYTES_MAX: usize = 128;

/// The error for a subcommand of `container` with a wrong number of words.
fn wrong_form(container: &str, args: Args<'_>) -> Vec<u8> {
    let name = args.get(1);
    let name = &name[..name.len().min(QUOTED_BYTES_MAX)];
    let head: &[u8] = b"ERR unknown subcommand or wrong number of arguments for '";
    [head, name, b"'. Try ", container.as_bytes(), b" HELP."].concat()
}

/// Answers HELP of `container` with one line for each of `lines`, between those that every HELP has.
/// An indented line belongs to the one before.
pub(crate) fn help(reply: &mut Reply<'_>, container: &str, lines: &[&str]) {
    reply.array(lines.len() + 3);
    reply.simple(&format!("{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for line in lines {
        reply.simple(line);
    }
    reply.simple("HELP");
    reply.simple("    Print this help.");
}
