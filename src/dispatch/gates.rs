//! The gates that a command passes where it runs, in Redis' order: is it known, is it well formed, may
//! its client run it, is there memory, are saves in order, does something else stand in its way.
//!
//! Invariant: a command that is refused has its error written, is counted, and has changed nothing.

use std::sync::atomic::Ordering;

use super::table::Registered;
use super::worker::Worker;
use crate::acl::log::Place as DenialPlace;
use crate::acl::{Denial, Denied, Reason};
use crate::base::sys;
use crate::base::words::c_string;
use crate::client::SessionFacts;
use crate::command::permission::{self, Asked};
use crate::command::{Args, CommandError, Flags};
use crate::resp::reply::ReplyBuffer;

/// Commands that have gates of their own.
const GUARDED: Flags = Flags::PROTECTED.with(Flags::NO_MULTI);
/// What a client has sent whose transaction runs.
pub(super) const EXEC: &str = "exec";
/// Bytes of a command's name, and of its arguments together, in the error for an unknown one.
const QUOTED_BYTES_MAX: usize = 128;

impl Worker {
    /// The gates: true if the command was refused, and its error is written.
    #[inline]
    pub fn refuse(
        &mut self,
        found: Option<&'static Registered>,
        args: Args<'_>,
        facts: &mut SessionFacts,
        buffer: &mut ReplyBuffer,
    ) -> bool {
        let Some(registered) = found else {
            self.reply_error(None, facts, buffer, unknown_command(args));
            return true;
        };
        let command = registered.command;
        if command.is_container() && args.len() > 1 {
            let text = unknown_subcommand(command.name, args);
            self.reply_error(None, facts, buffer, text);
            return true;
        }
        if !command.accepts(args.len()) {
            let text =
                format!("ERR wrong number of arguments for '{}' command", registered.full_name);
            self.reply_error(Some(registered), facts, buffer, text.into_bytes());
            return true;
        }
        if command.flags.any(GUARDED) && self.refuse_guarded(registered, facts, buffer) {
            return true;
        }
        if self.refuse_forbidden(registered, args, facts, buffer) {
            return true;
        }
        let is_odd = self.is_restricted | facts.subscribed | facts.monitoring;
        if is_odd || self.busy.is_some() || self.is_out_of_memory() {
            return self.refuse_for_now(registered, args, facts, buffer);
        }
        false
    }

    /// The gates of commands that one needs leave for, or that cannot be queued.
    #[cold]
    fn refuse_guarded(
        &mut self,
        registered: &Registered,
        facts: &mut SessionFacts,
        buffer: &mut ReplyBuffer,
    ) -> bool {
        let flags = registered.command.flags;
        let text = if flags.has(Flags::PROTECTED)
            && let Some(text) = self.protection(registered, facts)
        {
            text
        } else if flags.has(Flags::NO_MULTI) && facts.in_multi {
            let error = self.login_error(registered, facts);
            error.unwrap_or(CommandError::NotInsideTransaction).text().into()
        } else {
            return false;
        };
        self.reply_error(Some(registered), facts, buffer, text);
        true
    }

    /// The gates of a state of the server, or of the client, that passes.
    #[cold]
    fn refuse_for_now(
        &mut self,
        registered: &'static Registered,
        args: Args<'_>,
        facts: &mut SessionFacts,
        buffer: &mut ReplyBuffer,
    ) -> bool {
        self.look_for_end_of_load();
        let flags = self.flags_of(registered, args);
        let is_probe = self.saves_fail && registered.full_name == "ping";
        let text = if self.is_out_of_memory() && flags.has(Flags::DENYOOM) {
            Some(CommandError::OutOfMemory.text().into())
        } else if (is_probe || self.cannot_save(flags)) && !facts.replays {
            Some(self.misconfigured())
        } else if self.lacks_replicas(flags, facts) {
            Some(CommandError::NoReplicas.text().into())
        } else if self.is_read_only(flags, facts) {
            Some(CommandError::ReadOnly.text().into())
        } else if facts.subscribed && self.refuse_to_subscriber(registered, facts, buffer) {
            return true;
        } else {
            self.cannot_run_yet((flags, flags), facts).map(|error| error.text().into())
        };
        if let Some(text) = text {
            self.reply_error(Some(registered), facts, buffer, text);
            return true;
        }
        self.busy.is_some() && self.refuse_busy(registered, args, facts, buffer)
            || facts.monitoring && self.refuse_to_monitor(registered, facts, buffer)
    }

    /// True if commands, of which any has these flags, may not run while saves fail.
    pub(super) fn cannot_save(&self, flags: Flags) -> bool {
        self.saves_fail && flags.has(Flags::WRITE)
    }

    /// Why writes are refused: what the disk says.
    #[cold]
    pub(super) fn misconfigured(&self) -> Vec<u8> {
        if self.snapshots_fail() {
            return CommandError::SavesFail.text().into();
        }
        self.journal_error()
    }

    /// What the disk said when the journal was written last, as an error for clients.
    pub fn journal_error(&self) -> Vec<u8> {
        let error = self.server.journal.error.load(Ordering::Relaxed);
        let reason = sys::reason(&std::io::Error::from_raw_os_error(error));
        format!("MISCONF Errors writing to the AOF file: {reason}").into_bytes()
    }

    /// True if commands, of which any has these flags, may not run since too few replicas would have
    /// what they do.
    pub(super) fn lacks_replicas(&self, flags: Flags, facts: &SessionFacts) -> bool {
        self.lacks_replicas && flags.has(Flags::WRITE) && !facts.replays
    }

    /// True if commands, of which any has these flags, may not run on a replica that only reads.
    pub(super) fn is_read_only(&self, flags: Flags, facts: &SessionFacts) -> bool {
        self.read_only && flags.has(Flags::WRITE) && !facts.replays
    }

    /// Nobody is told that a file is being loaded whom another core has told that it is not: that core
    /// looked later, in a turn of its own.
    pub(super) fn look_for_end_of_load(&mut self) {
        if self.loading && !self.server.persistence.is_loading() {
            self.check_persistence();
        }
    }

    /// Why commands, of which any has the first flags and each the second, may not run while the data
    /// may be old, or is loaded.
    pub(super) fn cannot_run_yet(
        &self,
        (any, all): (Flags, Flags),
        facts: &SessionFacts,
    ) -> Option<CommandError> {
        if facts.replays {
            return None;
        }
        if self.is_stranded && !all.has(Flags::STALE) {
            return Some(CommandError::PrimaryDown);
        }
        let is_refused = self.loading && !all.has(Flags::LOADING)
            || self.loads_aside && any.has(Flags::NO_ASYNC_LOADING);
        is_refused.then_some(CommandError::Loading)
    }

    /// The gate of permissions: true if the client has not logged in, or its user may not run this,
    /// and the error is written.
    #[inline]
    pub(super) fn refuse_forbidden(
        &mut self,
        registered: &Registered,
        args: Args<'_>,
        facts: &mut SessionFacts,
        buffer: &mut ReplyBuffer,
    ) -> bool {
        if facts.user == self.free_pass {
            return false;
        }
        let Some(text) = self.forbids(registered, args, facts) else { return false };
        self.reply_error(Some(registered), facts, buffer, text);
        true
    }

    /// The error for a client that has to log in before it runs a command.
    fn login_error(&self, registered: &Registered, facts: &SessionFacts) -> Option<CommandError> {
        let known = facts.authenticated
            || self.users.is_open()
            || registered.command.flags.has(Flags::NO_AUTH);
        let may = known && self.users.get(facts.user).is_some();
        (!may).then_some(CommandError::NoAuth)
    }

    /// Why a client may not run a command. None if it may.
    fn forbids(
        &mut self,
        registered: &Registered,
        args: Args<'_>,
        facts: &SessionFacts,
    ) -> Option<Vec<u8>> {
        if facts.replays {
            return None;
        }
        if let Some(error) = self.login_error(registered, facts) {
            return Some(error.text().into());
        }
        let named = self.users.get(facts.user)?;
        let denied = self.check(registered, args, facts).err()?;
        let text = if self.inside_exec {
            permission::changed_since(denied)
        } else {
            permission::refusal(denied, &named.name, registered.full_name)
        };
        let username = named.name.to_vec();
        let in_multi = self.inside_exec || facts.in_multi;
        let place = if in_multi { DenialPlace::Multi } else { DenialPlace::TopLevel };
        let sent = if self.inside_exec { EXEC } else { registered.full_name };
        let denial = self.denied((denied, username), (place, sent), registered, args);
        self.denials.push(denial);
        Some(text)
    }

    /// Whether a client's user may run a command: what EXEC and scripts ask for each of theirs. One
    /// that has been deleted may run none.
    #[inline]
    pub fn check(
        &self,
        registered: &Registered,
        args: Args<'_>,
        facts: &SessionFacts,
    ) -> Result<(), Denied> {
        if facts.user == self.free_pass || facts.replays {
            return Ok(());
        }
        let Some(named) = self.users.get(facts.user) else {
            return Err(Denied { reason: Reason::Command, word: 0 });
        };
        if named.unrestricted {
            return Ok(());
        }
        let command = registered.listed();
        let asked = Asked { command, args, db: facts.db, databases: self.config.databases };
        permission::check(&self.users, &named.user, &asked)
    }

    /// Counts a refusal, and says what the log has to know of it.
    #[cold]
    pub(super) fn denied(
        &self,
        (denied, username): (Denied, Vec<u8>),
        (place, sent): (DenialPlace, &'static str),
        registered: &Registered,
        args: Args<'_>,
    ) -> Denial {
        let of = &self.stats.denials;
        let counter = match denied.reason {
            Reason::Auth => &of.auth,
            Reason::Certificate => &of.certificate,
            Reason::Command => &of.commands,
            Reason::Key => &of.keys,
            Reason::Channel => &of.channels,
            Reason::Database => &of.databases,
        };
        counter.add(1);
        let object = match denied.word {
            0 => registered.full_name.as_bytes(),
            word => args.get(word),
        };
        Denial {
            reason: denied.reason,
            place,
            object: object.to_vec(),
            username,
            time: self.now,
            command: sent,
            client: Vec::new(),
        }
    }

    /// Why a protected command may not run. None if its directive allows it.
    #[cold]
    fn protection(&self, registered: &Registered, facts: &SessionFacts) -> Option<Vec<u8>> {
        let container = registered.full_name.split('|').next().unwrap_or_default();
        let action = match container {
            "debug" => self.config.enable_debug_command,
            _ => self.config.enable_module_command,
        };
        if action.allows(facts.local) {
            return None;
        }
        let name = container.to_ascii_uppercase();
        let text = format!(
            "ERR {name} command not allowed. If the enable-{container}-command option is set to \"local\", you can run it from a local connection, otherwise you need to set this option in the configuration file, and then restart the server."
        );
        Some(text.into_bytes())
    }
}

/// What C prints of a string, of its first `len` bytes.
fn printed(bytes: &[u8], len: usize) -> &[u8] {
    c_string(&bytes[..bytes.len().min(len)])
}

fn unknown_command(args: Args<'_>) -> Vec<u8> {
    let name = args.get(0);
    let mut text = b"ERR unknown command '".to_vec();
    text.extend_from_slice(printed(name, QUOTED_BYTES_MAX));
    text.extend_from_slice(b"', with args beginning with: ");
    let begin = text.len();
    for arg in args.iter_from(1) {
        let used = text.len() - begin;
        if used >= QUOTED_BYTES_MAX {
            break;
        }
        text.push(b'\'');
        text.extend_from_slice(printed(arg, QUOTED_BYTES_MAX - used));
        text.extend_from_slice(b"' ");
    }
    text
}

fn unknown_subcommand(container: &str, args: Args<'_>) -> Vec<u8> {
    let name = args.get(1);
    let mut text = b"ERR unknown subcommand '".to_vec();
    text.extend_from_slice(printed(name, QUOTED_BYTES_MAX));
    text.extend_from_slice(format!("'. Try {container} HELP.").as_bytes());
    text
}
