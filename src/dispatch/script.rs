//! Scripts on a core: where one runs, whether it may, and the gates of the commands that it calls.
//!
//! Invariant: a script's commands pass the gates one by one, as its client; time stands still for it;
//! who waits for what it did is served behind it. Source: "Scripting with Lua"; the texts, and the
//! order of the gates, are those of stock servers.

use super::call::{Worker, settle_reply_mode, written};
use super::route::Place;
use super::table::{Registered, Way};
use crate::acl::log::Place as DenialPlace;
use crate::base::number;
use crate::base::slot::Slot;
use crate::base::time::Millis;
use crate::client::{ReplyMode, SessionFacts};
use crate::command::context::Keyspace;
use crate::command::permission;
use crate::command::{
    Args, CommandError, Denied, Flags, Handler, ScriptCall, ScriptSource, keyspec,
};
use crate::commands::scripting::function;
use crate::persist::load::{Load, Records};
use crate::persist::rdb::file::Fault;
use crate::resp::Proto;
use crate::resp::reply::{Reply, ReplyBuffer};
use crate::script::interrupt::KILLED;
use crate::script::{
    Change, Engine, Function, FunctionId, Outcome, Reach, Refusal, ScriptFlags, ScriptId, shebang,
};
use crate::txn::cores::{CoreSet, SlotMap};

/// The bit of `Run::places` that stands for the journal.
const TO_JOURNAL: u8 = 1;
/// Where the keys of EVAL and its kin begin.
const FIRST_KEY: usize = 3;

/// What a request for a script comes to before anything runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// This script, with so many keys.
    Known(ScriptId, usize),
    /// This function, with so many keys.
    Function(FunctionId, usize),
    /// EVAL brings a script that is not known yet.
    New,
    /// Nothing: the request is wrong.
    Wrong(CommandError),
}

/// A script that runs.
pub struct Run {
    /// What its commands see of the client.
    pub facts: SessionFacts,
    /// The compiled script.
    pub function: Function,
    /// Its name in errors.
    pub name: Name,
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

/// Scripts that run for too long, as a core sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy {
    /// One of them runs here.
    pub is_here: bool,
    /// The partitions that they hold.
    pub held: CoreSet,
    /// The last of them is a function.
    pub is_function: bool,
}

impl Busy {
    /// What a command is answered with that has to wait for them.
    pub fn text(self) -> &'static str {
        if self.is_function {
            "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE."
        } else {
            "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."
        }
    }
}

/// What became of a command that a script called.
pub enum Inside {
    /// It has written its reply.
    Done,
    /// It needs a session, or what is of the whole server.
    Session(&'static Registered),
}

impl Worker {
    /// Which script a request names.
    #[inline]
    pub fn named_script(&self, call: ScriptCall, args: Args<'_>) -> Named {
        let text = args.get(1);
        if call.source == ScriptSource::Digest && text.len() != 40 {
            return Named::Wrong(CommandError::NoScript);
        }
        let function = match call.source {
            ScriptSource::Function => match self.functions.find(text) {
                None => return Named::Wrong(CommandError::NoFunction),
                found => found,
            },
            ScriptSource::Body | ScriptSource::Digest => None,
        };
        let Some(keys) = number::parse_i64(args.get(2)) else {
            let is_function = call.source == ScriptSource::Function;
            let bad = CommandError::BadScriptKeys;
            return Named::Wrong(if is_function { bad } else { CommandError::NotAnInteger });
        };
        if keys > (args.len() - FIRST_KEY) as i64 {
            return Named::Wrong(CommandError::TooManyScriptKeys);
        }
        let Ok(keys) = usize::try_from(keys) else {
            return Named::Wrong(CommandError::NegativeScriptKeys);
        };
        if let Some(id) = function {
            return Named::Function(id, keys);
        }
        match call.source {
            ScriptSource::Body => match self.scripts.find_body(text) {
                Some(id) => Named::Known(id, keys),
                None => Named::New,
            },
            ScriptSource::Digest | ScriptSource::Function => match self.scripts.find(text) {
                Some(id) => Named::Known(id, keys),
                None => Named::Wrong(CommandError::NoScript),
            },
        }
    }

    /// Where a script runs. At home if it has to be made known to all cores first.
    pub fn script_place(&self, registered: &Registered, args: Args<'_>, map: SlotMap) -> Place {
        let (reach, keys) = match self.named_script(script_call(registered), args) {
            Named::New => return Place::Home,
            Named::Wrong(_) => return Place::Core(self.core),
            Named::Known(..) | Named::Function(..) if map.cores() == 1 => return Place::Core(0),
            Named::Known(id, keys) => (self.scripts.get(id).reach, keys),
            Named::Function(id, keys) => (self.functions.library(id).reach, keys),
        };
        match reach {
            Reach::Nothing => Place::Core(self.core),
            Reach::Everything => Place::Loan(CoreSet::all(map.cores())),
            Reach::Declared => {
                let owners = owners_of(args, keys, map);
                match (owners.len(), owners.iter().next()) {
                    (0, _) | (_, None) => Place::Core(self.core),
                    (1, Some(owner)) => Place::Core(owner),
                    _ => Place::Loan(owners),
                }
            }
        }
    }

    /// The partitions that a script needs that is queued by MULTI, when it is not known what will be
    /// known of it then.
    pub fn queued_script_owners(
        &self,
        registered: &Registered,
        args: Args<'_>,
        map: SlotMap,
    ) -> CoreSet {
        match self.script_place(registered, args, map) {
            Place::Core(owner) => CoreSet::one(owner),
            Place::Loan(owners) => owners,
            Place::Here => CoreSet::default(),
            Place::Home | Place::Whole => CoreSet::all(map.cores()),
        }
    }

    /// True if a script is refused when memory is at its limit: it says what it needs, and not that it
    /// can do without memory. One of old is refused when it calls a command that needs some.
    pub(super) fn script_needs_memory(&self, registered: &Registered, args: Args<'_>) -> bool {
        let flags = match self.named_script(script_call(registered), args) {
            Named::Known(id, _) => self.scripts.get(id).flags,
            Named::Function(id, _) => self.functions.declared(id).flags,
            Named::New => match shebang::parse(args.get(1)) {
                Ok(line) => line.flags,
                Err(_) => return false,
            },
            Named::Wrong(_) => return false,
        };
        let frees = [ScriptFlags::COMPATIBLE, ScriptFlags::NO_WRITES, ScriptFlags::ALLOW_OOM];
        !frees.into_iter().any(|one| flags.has(one))
    }

    /// Looks whether a script runs for too long, here or elsewhere.
    #[inline]
    pub fn look_for_busy(&mut self) {
        if self.server.busy.any() {
            let (held, is_function) = self.server.busy.held();
            let is_here = self.busy.is_some_and(|busy| busy.is_here);
            self.busy = Some(Busy { is_here, held: CoreSet::of_bits(held), is_function });
        } else {
            self.busy = None;
        }
    }

    /// The scripts that run for too long.
    #[inline]
    pub fn busy(&self) -> Option<Busy> {
        self.busy
    }

    /// A script runs for too long here, and holds these partitions; or has ended.
    pub fn set_busy(&mut self, run: &Run, held: Option<CoreSet>) {
        if let Some(held) = held {
            let is_function = run.name.is_function();
            self.server.busy.begin(self.core, held.bits(), run.has_written, is_function);
            self.busy = Some(Busy { is_here: true, held, is_function });
        } else {
            self.server.busy.end(self.core);
            self.busy = None;
        }
        self.look_for_busy();
    }

    /// The gate of scripts that run for too long: true if the command has to wait for one, and the
    /// error is written. Where a script runs, everything waits but what may end it.
    #[cold]
    pub(super) fn refuse_busy(
        &mut self,
        registered: &'static Registered,
        args: Args<'_>,
        facts: &mut SessionFacts,
        buffer: &mut ReplyBuffer,
    ) -> bool {
        let Some(busy) = self.busy else { return false };
        let is_allowed = registered.command.flags.has(Flags::ALLOW_BUSY);
        let map = SlotMap::new(self.server.stats.len());
        let waits = match self.place(registered, args, None, facts, map) {
            Place::Core(owner) => busy.held.contains(owner),
            Place::Loan(owners) => owners.meets(busy.held),
            Place::Whole => !is_allowed,
            Place::Home | Place::Here => false,
        };
        if !waits && (is_allowed || !busy.is_here) {
            return false;
        }
        let text = busy.text().as_bytes().to_vec();
        self.reply_error(Some(registered), facts, buffer, text);
        true
    }

    /// Refuses the EXEC of a transaction that has to wait for a script which runs for too long.
    pub fn refuse_exec(&mut self, facts: &mut SessionFacts, buffer: &mut ReplyBuffer) {
        let Some(busy) = self.busy else { return };
        let exec = self.table.command(b"EXEC");
        self.reply_error(exec, facts, buffer, busy.text().as_bytes().to_vec());
    }

    /// Takes over the libraries of a file, as every core does.
    pub fn load_libraries(&mut self, load: &Load, records: &Records) {
        if records.flushes {
            // Nothing can stand in the way of dropping all.
            let _ = self.functions.apply(&Change::Flush);
        }
        for text in &records.libraries {
            let (functions, table) = (&mut self.functions, self.table);
            let outcome = function::load_text(functions, table, text, load.replaces);
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
        let begun = self.prepare_script(call, args, facts, inside_exec);
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
        inside_exec: bool,
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
                return self.prepare_script(call, args, facts, inside_exec);
            }
        };
        let is_compatible = flags.has(ScriptFlags::COMPATIBLE);
        let no_writes = flags.has(ScriptFlags::NO_WRITES);
        let allows_oom = flags.has(ScriptFlags::ALLOW_OOM);
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
        (run, outcome): (Run, Outcome),
        facts: &mut SessionFacts,
        (buffer, start): (&mut ReplyBuffer, usize),
    ) {
        for line in &outcome.errors {
            self.stats.totals.error_replies.add(1);
            self.stats.errors.count(line);
        }
        self.last_tick = run.tick;
        let taken = self.count(registered, !outcome.errors.is_empty());
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
        self.scribe.is_muted = run.places & TO_JOURNAL == 0;
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
            let mut reply = Reply::new(buffer, run.facts.proto);
            match suspension.denied {
                Denied::Null => reply.null(),
                Denied::NullArray => reply.null_array(),
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
        if command.flags.has(Flags::NOSCRIPT) {
            let text = b"ERR This Redis command is not allowed from script";
            return Err(self.refuse_in_script(of, text));
        }
        if let Err(denied) = self.check(registered, args, &run.facts) {
            let named = self.users.get(run.facts.user);
            let username = named.map(|named| named.name.to_vec()).unwrap_or_default();
            let text = permission::refusal(denied, &username, registered.full_name);
            let reason = text.strip_prefix(b"NOPERM ").unwrap_or(&text);
            let text = [b"ERR ACL failure in script: ", reason].concat();
            let denial = self.denied((denied, username), DenialPlace::Script, registered, args);
            self.denials.push(denial);
            return Err(self.refuse_in_script(of, &text));
        }
        let writes = command.flags.has(Flags::WRITE);
        if run.is_read_only && (writes || command.flags.has(Flags::MAY_REPLICATE)) {
            let text = b"ERR Write commands are not allowed from read-only scripts.";
            return Err(self.refuse_in_script(of, text));
        }
        if writes && self.saves_fail {
            return Err(self.refuse_in_script(of, &self.misconfigured()));
        }
        if command.flags.has(Flags::DENYOOM)
            && run.memory_was_full
            && !run.allows_oom
            && !run.has_written
        {
            return Err(self.refuse_in_script(of, CommandError::OutOfMemory.text().as_bytes()));
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
            Way::Keys => {
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
        self.stats.totals.error_replies.add(1);
        self.stats.errors.count(line);
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

/// The keys of a request for a script, and its arguments.
pub fn words_of(
    args: Args<'_>,
    keys: usize,
) -> (impl ExactSizeIterator<Item = &[u8]>, impl ExactSizeIterator<Item = &[u8]>) {
    let behind = FIRST_KEY + keys;
    ((FIRST_KEY..behind).map(move |at| args.get(at)), args.iter_from(behind))
}

fn script_call(registered: &Registered) -> ScriptCall {
    match registered.command.handler {
        Handler::Script(call) => call,
        _ => unreachable!("only commands that run scripts are asked for one"),
    }
}

fn owners_of(args: Args<'_>, keys: usize, map: SlotMap) -> CoreSet {
    let mut owners = CoreSet::default();
    words_of(args, keys).0.for_each(|key| owners.insert(map.owner(Slot::of(key))));
    owners
}
