//! The commands that a script calls: the gates of each, and what runs it.
//!
//! Invariant: they pass the gates one by one, as the script's client; time stands still for them.
//! Source: "Scripting with Lua"; the texts, and the order of the gates, are those of stock servers.

use std::sync::atomic::Ordering::Relaxed;

use super::Run;
use crate::acl::log::Place as DenialPlace;
use crate::base::slot::Slot;
use crate::command::context::Keyspace;
use crate::command::{Args, CommandError, Denied, Flags, keyspec, permission};
use crate::dispatch::table::{Registered, Way};
use crate::dispatch::worker::Worker;
use crate::resp::reply::{Reply, ReplyBuffer};
use crate::script::Refusal;
use crate::script::interrupt::KILLED;

/// What became of a command that a script called.
pub enum Inside {
    /// It has written its reply.
    Done,
    /// It needs a session, or what is of the whole server.
    Session(&'static Registered),
}

impl Worker {
    /// Runs a command that a script calls, and writes its reply.
    pub fn call_inside(
        &mut self,
        run: &mut Run,
        keyspace: &mut Keyspace<'_>,
        args: Args<'_>,
        buffer: &mut ReplyBuffer,
    ) -> Result<Inside, Refusal> {
        let registered = self.gates_inside(run, keyspace, args)?;
        if matches!(registered.way, Way::Home | Way::Whole) {
            return Ok(Inside::Session(registered));
        }
        self.hint(None);
        let now = std::mem::replace(&mut self.now, run.now);
        let facts = &mut run.facts;
        self.in_script = true;
        self.scribe.is_muted = run.places == 0;
        let suspension = self.run(keyspace.reborrow(), facts, registered, args, buffer);
        self.now = now;
        if self.is_heard(keyspace) {
            self.note_changes(keyspace);
        }
        self.in_script = false;
        self.scribe.is_muted = false;
        self.remember_if(keyspace, &run.facts, (registered, args));
        if let Some(suspension) = suspension {
            // Nothing blocks here: it is answered as if its time were up.
            self.migration = None;
            let mut reply = Reply::new(buffer, run.facts.proto);
            match suspension.denied {
                Denied::Null => reply.null(),
                Denied::NullArray => reply.null_array(),
                Denied::Error(error) => reply.error(error.text()),
            }
            self.count(registered, false);
        }
        Ok(Inside::Done)
    }

    /// The command that a script calls, if it may.
    fn gates_inside(
        &mut self,
        run: &mut Run,
        keyspace: &mut Keyspace<'_>,
        args: Args<'_>,
    ) -> Result<&'static Registered, Refusal> {
        let Some(registered) = self.lookup_inside(args) else {
            return Err(
                self.refuse_in_script(None, b"ERR Unknown Redis command called from script")
            );
        };
        let command = registered.command;
        let of = Some(registered);
        if !command.accepts(args.len()) {
            let text = b"ERR Wrong number of args calling Redis command from script";
            return Err(self.refuse_in_script(of, text));
        }
        // Whatever DEBUG allows, scripts run neither within each other nor transactions.
        let is_never = matches!(registered.way, Way::Exec | Way::Script);
        let is_allowed = self.server.scripts_call_all.load(Relaxed) && !is_never;
        if command.flags.has(Flags::NOSCRIPT) && !is_allowed {
            let text = CommandError::NotInScripts.text().as_bytes();
            return Err(self.refuse_in_script(of, text));
        }
        if self.is_stranded && !command.flags.has(Flags::STALE) {
            let text = b"ERR Can not execute the command on a stale replica";
            return Err(self.refuse_in_script(of, text));
        }
        if let Err(denied) = self.check(registered, args, &run.facts) {
            let named = self.users.get(run.facts.user);
            let username = named.map(|named| named.name.to_vec()).unwrap_or_default();
            let text = permission::refusal(denied, &username, registered.full_name);
            let reason = text.strip_prefix(b"NOPERM ").unwrap_or(&text);
            let text = [b"ERR ACL failure in script: ", reason].concat();
            let place = (DenialPlace::Script, run.sent);
            let denial = self.denied((denied, username), place, registered, args);
            self.denials.push(denial);
            return Err(self.refuse_in_script(of, &text));
        }
        let writes = command.flags.has(Flags::WRITE);
        if run.is_read_only && (writes || command.flags.has(Flags::MAY_REPLICATE)) {
            let text = b"ERR Write commands are not allowed from read-only scripts.";
            return Err(self.refuse_in_script(of, text));
        }
        if !run.has_written && self.is_read_only(command.flags, &run.facts) {
            return Err(self.refuse_in_script(of, CommandError::ReadOnly.text().as_bytes()));
        }
        if !run.has_written && self.cannot_save(command.flags) {
            return Err(self.refuse_in_script(of, &self.misconfigured()));
        }
        if !run.has_written && self.lacks_replicas(command.flags, &run.facts) {
            return Err(self.refuse_in_script(of, CommandError::NoReplicas.text().as_bytes()));
        }
        if command.flags.has(Flags::DENYOOM)
            && run.memory_was_full
            && !run.allows_oom
            && !run.has_written
        {
            return Err(self.refuse_in_script(of, CommandError::OutOfMemory.text().as_bytes()));
        }
        if self.has_pushed_too_much(command.flags) {
            return Err(self.refuse_in_script(of, CommandError::TooManyPushes.text().as_bytes()));
        }
        if !self.is_at_hand(keyspace, registered, args) {
            let text = b"ERR Script attempted to access a key that it did not declare";
            return Err(self.refuse_in_script(of, text));
        }
        if writes && !run.has_written && self.busy.is_some_and(|busy| busy.is_here) {
            // It may be killed until now, and not from here on.
            if !self.server.busy.may_write(self.core) {
                return Err(Refusal(format!("ERR {KILLED}").into_bytes()));
            }
        }
        run.has_written |= writes;
        Ok(registered)
    }

    /// As for a client, but a container alone with an unknown subcommand is unknown.
    fn lookup_inside(&self, args: Args<'_>) -> Option<&'static Registered> {
        let found = self.table.lookup(args)?;
        let is_unknown = found.command.is_container() && args.len() > 1;
        (!is_unknown).then_some(found)
    }

    /// True if the partitions of all keys that a command may touch are here. They are, unless what
    /// was read out of the script's text was wrong.
    fn is_at_hand(
        &self,
        keyspace: &mut Keyspace<'_>,
        registered: &Registered,
        args: Args<'_>,
    ) -> bool {
        let cores = self.server.stats.len();
        if cores == 1 || keyspace.held() == cores {
            return true;
        }
        match registered.way {
            Way::Home | Way::Whole | Way::Here => true,
            Way::Keyspace | Way::Located | Way::Reaching | Way::Exec | Way::Script => false,
            Way::OneKey(index) => {
                let key = args.opt(usize::from(index));
                key.is_none_or(|key| keyspace.holder(Slot::of(key).get()).is_some())
            }
            Way::Keys | Way::Migrating => {
                let mut here = true;
                // What names its keys wrongly touches none.
                let _ = keyspec::keys_of(registered.command.keys, args, |index, _| {
                    here &= keyspace.holder(Slot::of(args.get(index)).get()).is_some();
                });
                here
            }
        }
    }

    /// Counts a command that a script may not run.
    fn refuse_in_script(&self, registered: Option<&Registered>, line: &[u8]) -> Refusal {
        self.stats.count_error(line);
        if let Some(registered) = registered {
            self.stats.commands[registered.id].totals.rejected.add(1);
        }
        Refusal(line.to_vec())
    }

    /// Whether the client of a script may run a command. None if there is no such command.
    pub fn may_inside(&self, run: &Run, args: Args<'_>) -> Option<bool> {
        let registered = self.lookup_inside(args)?;
        Some(self.check(registered, args, &run.facts).is_ok())
    }
}
