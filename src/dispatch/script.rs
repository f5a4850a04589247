//! Scripts on a core: one begins, if it may, and ends.
//!
//! Invariant: time stands still for a script; who waits for what it did is served behind it. Source:
//! "Scripting with Lua".

mod busy;
mod calls;
mod place;

pub use busy::Busy;
pub use calls::Inside;
use place::script_call;
pub use place::{Named, words_of};

use super::call::{settle_reply_mode, written};
use super::gates::EXEC;
use super::table::Registered;
use super::worker::Worker;
use crate::base::time::Millis;
use crate::client::{ReplyMode, SessionFacts};
use crate::command::context::Keyspace;
use crate::command::{Args, CommandError, Flags, ScriptCall};
use crate::commands::scripting::function;
use crate::persist::load::{Aim, Load, Records};
use crate::persist::rdb::file::Fault;
use crate::resp::Proto;
use crate::resp::reply::ReplyBuffer;
use crate::script::{Change, Engine, Errors, Function, Reach, ScriptFlags};

/// What a script is told that may not run while the data may be old.
const STRANDED: &[u8] = b"MASTERDOWN Link with MASTER is down, replica-serve-stale-data is set to 'no' and 'allow-stale' flag is not set on the script.";

/// A script that runs.
pub struct Run {
    /// What its commands see of the client.
    pub facts: SessionFacts,
    /// The compiled script.
    pub function: Function,
    /// Its name in errors.
    pub name: Name,
    /// The full name of the command that its client sent.
    pub(super) sent: &'static str,
    /// How many keys it was given.
    pub keys: usize,
    /// It has called a command that writes.
    pub has_written: bool,
    /// Where its writes are propagated to; the sum of `REPL_AOF` and `REPL_REPLICA`.
    pub places: u8,
    is_read_only: bool,
    allows_oom: bool,
    memory_was_full: bool,
    inside_exec: bool,
    /// What it does belongs together, and to nothing larger.
    is_unit: bool,
    /// The time, which stands still.
    now: Millis,
    /// When it began, for the statistics.
    tick: u64,
}

/// What names a script that runs.
#[derive(Clone, Debug)]
pub enum Name {
    /// The digest of a script, in hexadecimal.
    Digest([u8; 40]),
    /// The name of a function.
    Function(Box<[u8]>),
}

impl Name {
    /// As errors show it.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Name::Digest(digest) => digest,
            Name::Function(name) => name,
        }
    }

    /// True if it names a function.
    pub fn is_function(&self) -> bool {
        matches!(self, Name::Function(_))
    }
}

impl Worker {
    /// Takes over the libraries of a file, as every core does.
    pub fn load_libraries(&mut self, load: &Load, records: &Records) {
        if records.flushes {
            // Nothing can stand in the way of dropping all.
            let _ = self.functions.apply(&Change::Flush);
        }
        for text in &records.libraries {
            let (functions, table) = (&mut self.functions, self.table);
            let outcome = if load.aim == Aim::Serve {
                function::load_text(functions, table, text, load.replaces)
            } else {
                function::try_text(functions, table, text)
            };
            if let Err(line) = outcome {
                let line = String::from_utf8_lossy(&line);
                let reason = line.strip_prefix("ERR ").unwrap_or(&line);
                load.fail(0, Fault::Function(reason.to_owned()));
            }
        }
    }

    /// Begins to run a script: the checks in front of it. None if one has failed; then the error is
    /// written. What is given back goes to `end_script`.
    pub fn begin_script(
        &mut self,
        (registered, args): (&'static Registered, Args<'_>),
        facts: &mut SessionFacts,
        inside_exec: bool,
        buffer: &mut ReplyBuffer,
    ) -> Option<(Box<Engine>, Run)> {
        let call = script_call(registered);
        // Its commands are shown behind it.
        self.show_always(facts, registered, args);
        let sent = if inside_exec { EXEC } else { registered.full_name };
        let begun = self.prepare_script(call, args, facts, (inside_exec, sent));
        match begun {
            Ok(begun) => Some(begun),
            Err(text) => {
                self.fail_with(registered, facts, buffer, &text);
                None
            }
        }
    }

    fn prepare_script(
        &mut self,
        call: ScriptCall,
        args: Args<'_>,
        facts: &SessionFacts,
        (inside_exec, sent): (bool, &'static str),
    ) -> Result<(Box<Engine>, Run), Vec<u8>> {
        let text = |error: CommandError| error.text().as_bytes().to_vec();
        let named = self.named_script(call, args);
        let (flags, name, keys) = match named {
            Named::Known(id, keys) => {
                let script = self.scripts.get(id);
                (script.flags, Name::Digest(script.sha.hex()), keys)
            }
            Named::Function(id, keys) => {
                let declared = self.functions.declared(id);
                (declared.flags, Name::Function(declared.name.clone()), keys)
            }
            Named::Wrong(error) => return Err(text(error)),
            // Forgotten on its way, or not to be compiled: what is wrong is said here.
            Named::New => {
                let body = args.get(1);
                let reach = |_: &[u8]| Reach::Everything;
                let script = self.scripts.prepare(body, true, self.now.0 as u64, reach)?;
                self.scripts.insert(&script, &[]);
                return self.prepare_script(call, args, facts, (inside_exec, sent));
            }
        };
        let is_compatible = flags.has(ScriptFlags::COMPATIBLE);
        let no_writes = flags.has(ScriptFlags::NO_WRITES);
        let allows_oom = flags.has(ScriptFlags::ALLOW_OOM);
        if self.is_stranded && is_compatible {
            return Err(CommandError::PrimaryDown.text().into());
        }
        if self.is_stranded && !flags.has(ScriptFlags::ALLOW_STALE) {
            return Err(STRANDED.to_vec());
        }
        if !is_compatible && !no_writes && self.is_read_only(Flags::WRITE, facts) {
            return Err(b"READONLY Can not run script with write flag on readonly replica".to_vec());
        }
        if !is_compatible && !no_writes && call.is_read_only {
            return Err(
                b"ERR Can not execute a script with write flag using *_ro command.".to_vec()
            );
        }
        let (engine, function) = match named {
            Named::Function(id, _) => {
                let mut engine = self.functions.take_engine();
                let function = self.functions.function(id, &mut engine);
                (engine, function)
            }
            Named::Known(id, _) => {
                self.scripts.touch(id, self.now.0 as u64);
                let mut engine = self.scripts.take_engine();
                let function = self.scripts.function(id, &mut engine);
                (engine, function)
            }
            Named::New | Named::Wrong(_) => unreachable!("looked at above"),
        };
        let function = match function {
            Ok(function) => function,
            Err(error) => {
                self.give_back(engine, &name);
                return Err(error);
            }
        };
        let facts = SessionFacts {
            proto: Proto::Resp2,
            reply_mode: ReplyMode::On,
            in_multi: false,
            multi_failed: false,
            ..*facts
        };
        let run = Run {
            facts,
            function,
            name,
            sent,
            keys,
            has_written: false,
            places: 3,
            is_read_only: call.is_read_only || no_writes,
            allows_oom,
            memory_was_full: self.is_out_of_memory(),
            inside_exec,
            is_unit: self.scribe.open_unit(),
            now: self.now,
            tick: self.last_tick,
        };
        Ok((engine, run))
    }

    /// Takes the interpreter back that a script of this name has run in.
    pub fn give_back(&mut self, engine: Box<Engine>, name: &Name) {
        match name {
            Name::Digest(_) => self.scripts.give_back(engine),
            Name::Function(_) => self.functions.give_back(engine),
        }
    }

    /// Ends a script whose reply has been written from `start` on.
    pub fn end_script(
        &mut self,
        (registered, args): (&'static Registered, Args<'_>),
        keyspace: &mut Keyspace<'_>,
        (run, errors): (Run, Errors),
        facts: &mut SessionFacts,
        (buffer, start): (&mut ReplyBuffer, usize),
    ) {
        for line in &errors.fresh {
            self.stats.count_error(line);
        }
        self.last_tick = run.tick;
        let taken = self.count(registered, !errors.fresh.is_empty());
        // Each that a command of its own has counted fails the script once more.
        self.stats.commands[registered.id].totals.failed.add(errors.known);
        self.look_at(facts, (registered, args), taken, written(buffer, start));
        settle_reply_mode(facts, buffer, start);
        if !run.inside_exec {
            Self::settle_caching(facts, registered);
        }
        if run.is_unit {
            self.scribe.close_unit();
        }
        if !run.inside_exec && !self.ready.is_empty() {
            let mut ready = std::mem::take(&mut self.ready).into();
            self.serve_ready(keyspace, &mut ready);
        }
    }
}
