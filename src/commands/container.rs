//! What all containers of subcommands answer alike: HELP, and a request in no form that there is.
//!
//! Invariant: both name the container as a stock server does.

use crate::base::words::c_string;
use crate::command::Args;
use crate::resp::reply::Reply;

/// Answers HELP of `container` with one line for each of `lines`, between those that every HELP has.
/// An indented line belongs to the one before.
pub(super) fn help(reply: &mut Reply<'_>, container: &str, lines: &[&str]) {
    reply.array(lines.len() + 3);
    reply.simple(&format!("{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for line in lines {
        reply.simple(line);
    }
    reply.simple("HELP");
    reply.simple("    Print this help.");
}

/// The error for a subcommand whose words make none of its forms.
pub(super) fn wrong_form(args: Args<'_>) -> Vec<u8> {
    let container = args.get(0).to_ascii_uppercase();
    let head: &[u8] = b"ERR unknown subcommand or wrong number of arguments for '";
    [head, quoted(args.get(1)), b"'. Try ", c_string(&container), b" HELP."].concat()
}

/// What an error repeats of a word.
pub(super) fn quoted(word: &[u8]) -> &[u8] {
    c_string(&word[..word.len().min(QUOTED_BYTES_MAX)])
}

/// Bytes of a word that an error repeats.
const QUOTED_BYTES_MAX: usize = 128;
