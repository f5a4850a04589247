//! What clients see that have sent MONITOR: a line for each command, behind it.
//!
//! Invariant: lines are pushes of the turn that their commands ran in, so that all who watch see one
//! order; no secret is in them. While nobody watches, a command pays nothing: the limit beyond which
//! a command is looked at is lowered as soon as somebody does. Source: MONITOR of Redis 8.0.

use super::note::secrets_of;
use super::table::Registered;
use super::worker::Worker;
use crate::base::words::push_quoted;
use crate::client::SessionFacts;
use crate::command::args::ArgValue;
use crate::command::secret::REDACTED;
use crate::command::{Args, Flags};
use crate::pubsub::Push;

const MICROS_PER_SECOND: i64 = 1_000_000;

impl Worker {
    /// Shows a command that has run, unless it is one that is never shown.
    pub(super) fn show(&mut self, facts: &SessionFacts, registered: &Registered, args: Args<'_>) {
        let hidden = Flags::ADMIN.with(Flags::SKIP_MONITOR);
        if self.waiter.is_none() && !self.runs_again && !registered.command.flags.any(hidden) {
            self.show_always(facts, registered, args);
        }
    }

    /// A command of a script begins to run with a session, or has ended.
    pub fn enter_script(&mut self, enters: bool) {
        self.in_script = enters;
    }

    /// Shows a command.
    pub fn show_always(&mut self, facts: &SessionFacts, registered: &Registered, args: Args<'_>) {
        if self.monitors.is_empty() || self.loses_line() {
            return;
        }
        let since = self.tick_rate.nanos(self.last_tick.saturating_sub(self.turn_tick)) / 1000;
        let micros = self.wall.0.saturating_add(i64::try_from(since).unwrap_or(0));
        let (seconds, rest) = (micros / MICROS_PER_SECOND, micros % MICROS_PER_SECOND);
        let mut line = format!("+{seconds}.{rest:06} [{} ", facts.db).into_bytes();
        match facts.peer {
            _ if self.in_script => line.extend_from_slice(b"lua"),
            Some(peer) => line.extend_from_slice(peer.to_string().as_bytes()),
            None => {
                line.extend_from_slice(b"unix:");
                line.extend_from_slice(&self.config.unixsocket);
            }
        }
        line.push(b']');
        let secret = secrets_of(registered, args);
        for at in 0..args.len() {
            line.push(b' ');
            match args.value(at) {
                _ if secret.contains(&at) => push_quoted(&mut line, REDACTED),
                ArgValue::Bytes(bytes) => push_quoted(&mut line, bytes),
                ArgValue::Big(big) => push_quoted(&mut line, &big.to_vec()),
            }
        }
        line.extend_from_slice(b"\r\n");
        self.pushes.add(self.monitors.homes(), Push::Monitor(line.into()));
    }
}
