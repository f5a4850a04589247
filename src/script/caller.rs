//! What a script may do outside of its interpreter: the one way from Lua to the server.
//!
//! Invariant: whoever implements it has the partitions of every key that the script may name.

use super::interrupt::Verdict;
use crate::observe::log::Level;
use crate::resp::Proto;
use crate::resp::reply::ReplyBuffer;
use crate::resp::request::ArgRange;

/// Why a command was not run: the line of the error, its code first. It has been counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(pub Vec<u8>);

/// The words of a command that a script calls; at least one.
#[derive(Clone, Copy, Debug)]
pub struct Words<'a> {
    /// All of them.
    pub bytes: &'a [u8],
    /// Where each is.
    pub ranges: &'a [ArgRange],
}

/// Runs what a script asks for.
pub trait Caller {
    /// Runs a command and appends its reply, one whole RESP value, to `replies`.
    fn call(
        &mut self,
        words: Words<'_>,
        proto: Proto,
        replies: &mut ReplyBuffer,
    ) -> Result<(), Refusal>;

    /// Whether the user may run a command. None if there is no such command.
    fn may(&mut self, words: Words<'_>) -> Option<bool>;

    /// Writes a line to the log.
    fn log(&mut self, level: Level, text: &[u8]);

    /// Says where the writes that follow are propagated to: the sum of `REPL_AOF` and
    /// `REPL_REPLICA`. Source: redis.set_repl.
    fn propagate_to(&mut self, places: u8);

    /// Lets the core breathe if the script has run for long; whether the script goes on.
    fn interrupt(&mut self) -> Verdict;
}
