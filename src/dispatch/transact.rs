//! MULTI and EXEC: which commands are queued, and how a queue runs with its partitions at hand.
//!
//! Invariant: gates are passed when a command is queued (an error there ends the transaction), those of
//! the server's state by EXEC for all, that of permissions when it runs (an error there is its reply);
//! whoever waits for what a transaction did is served
//! behind its last command. Source: MULTI, EXEC, WATCH, "errors inside a transaction".

use super::call::settle_reply_mode as settle;
use super::route::{self, Place};
use super::table::{Registered, Way};
use super::worker::Worker;
use crate::client::{ReplyMode, SessionFacts};
use crate::command::context::Keyspace;
use crate::command::{Args, CommandError, Denied, Flags};
use crate::resp::reply::{Reply, ReplyBuffer};
use crate::txn::cores::{CoreSet, SlotMap};
use crate::txn::multi::Transaction;

impl Worker {
    /// Queues a command of a client that is inside MULTI. False if the command is one that runs even
    /// there.
    pub fn enqueue(
        &mut self,
        (registered, args): (&Registered, Args<'_>),
        facts: &mut SessionFacts,
        queue: &mut Option<Box<Transaction>>,
        map: SlotMap,
        buffer: &mut ReplyBuffer,
    ) -> bool {
        if RUN_INSIDE.contains(&registered.full_name) {
            return false;
        }
        if registered.full_name == "watch" {
            // It runs, and fails; the transaction goes on.
            self.fail(Some(registered), facts, buffer, CommandError::WatchInsideMulti);
            return true;
        }
        self.queue((registered, args), queue.get_or_insert_default(), map);
        let start = buffer.bytes.len();
        Reply::new(buffer, facts.proto).simple("QUEUED");
        settle(facts, buffer, start);
        true
    }

    /// Adds a command to a transaction.
    pub fn queue(
        &mut self,
        (registered, args): (&Registered, Args<'_>),
        transaction: &mut Transaction,
        map: SlotMap,
    ) {
        let (owners, needs_home) = match (registered.way, route::place(registered, args, map)) {
            (Way::Located, _) => (CoreSet::all(map.cores()), false),
            (Way::Script, _) => (self.queued_script_owners(registered, args, map), false),
            (_, Place::Core(owner)) => (CoreSet::one(owner), false),
            (_, Place::Loan(owners)) => (owners, false),
            (_, Place::Here) => (CoreSet::default(), false),
            (_, Place::Home | Place::Whole) => (CoreSet::default(), true),
        };
        let (id, flags) = (registered.id as u16, self.flags_of(registered, args));
        transaction.push(args, (id, flags), owners, needs_home);
    }

    /// Begins to run a transaction: compares what is watched, writes the reply's head. False if a
    /// watched key has changed, and nothing runs.
    pub fn begin_exec(
        &mut self,
        keyspace: &mut Keyspace<'_>,
        facts: &mut SessionFacts,
        transaction: &mut Transaction,
        buffer: &mut ReplyBuffer,
    ) -> bool {
        if transaction.followed.is_some() && !self.begin_followed(transaction) {
            return false;
        }
        // The replies of the parts are one reply, which is kept or dropped as a whole.
        let mode = std::mem::replace(&mut facts.reply_mode, ReplyMode::On);
        transaction.muted = Some((mode, buffer.bytes.len()));
        let mut unchanged = true;
        let watches = !transaction.watched.is_empty();
        for watched in std::mem::take(&mut transaction.watched) {
            let key = self.hasher.key(&watched.key);
            let partition = keyspace.partition(key.position);
            let entry = partition.db(watched.db).peek(&key);
            // A key that has expired meanwhile has changed, though nobody has noticed.
            let expired = entry.is_some_and(|entry| entry.is_expired(self.now));
            unchanged &= partition.watchers().is_unchanged(&watched, expired);
            partition.watchers_mut().unwatch(&watched);
        }
        if let Some(text) = self.exec_error(keyspace, facts, transaction) {
            self.reply_error(Some(self.exec_command()), facts, buffer, text);
            return false;
        }
        let mut reply = Reply::new(buffer, facts.proto);
        if unchanged {
            reply.array(transaction.len());
        } else {
            reply.null_array();
        }
        if watches && self.scribe.is_on {
            // Whether these have changed is what the reply tells.
            self.scribe.gate = self.gate_of_all();
        }
        if unchanged {
            self.scribe.open_unit();
        }
        unchanged
    }

    /// Why the commands of a transaction may not run for now; they are not asked again one by one.
    fn exec_error(
        &mut self,
        keyspace: &mut Keyspace<'_>,
        facts: &SessionFacts,
        transaction: &Transaction,
    ) -> Option<Vec<u8>> {
        self.look_for_end_of_load();
        let (any, all) = transaction.flags()?;
        if !self.has_room(keyspace, any.has(Flags::DENYOOM)) {
            return Some(CommandError::OutOfMemory.text().into());
        }
        if self.cannot_save(any) && !facts.replays {
            return Some(self.misconfigured());
        }
        if self.lacks_replicas(any, facts) {
            return Some(CommandError::NoReplicas.text().into());
        }
        if self.is_read_only(any, facts) {
            return Some(CommandError::ReadOnly.text().into());
        }
        self.cannot_run_yet((any, all), facts).map(|error| error.text().into())
    }

    /// Runs the next command of a transaction if it is one of keys; false if it needs the session, or is
    /// a script.
    pub fn exec_one(
        &mut self,
        keyspace: &mut Keyspace<'_>,
        facts: &mut SessionFacts,
        transaction: &mut Transaction,
        buffer: &mut ReplyBuffer,
    ) -> bool {
        let Some((id, args)) = transaction.peek() else { return false };
        let registered = &self.table.all()[usize::from(id)];
        if matches!(registered.way, Way::Home | Way::Whole | Way::Script) {
            return false;
        }
        if !self.refuse_inside(registered, args, facts, buffer) {
            self.hint(None);
            let suspension = self.run(keyspace.reborrow(), facts, registered, args, buffer);
            self.note_changes(keyspace);
            self.remember_if(keyspace, facts, (registered, args));
            if let Some(suspension) = suspension {
                // Nothing blocks here: it is answered as if its time were up.
                self.migration = None;
                let mut reply = Reply::new(buffer, facts.proto);
                match suspension.denied {
                    Denied::Null => reply.null(),
                    Denied::NullArray => reply.null_array(),
                    Denied::Error(error) => reply.error(error.text()),
                }
                self.count(registered, false);
            }
        }
        transaction.advance();
        true
    }

    /// The gates for a command that runs in a transaction.
    pub fn refuse_inside(
        &mut self,
        registered: &'static Registered,
        args: Args<'_>,
        facts: &mut SessionFacts,
        buffer: &mut ReplyBuffer,
    ) -> bool {
        self.inside(|worker| {
            worker.refuse_forbidden(registered, args, facts, buffer)
                || worker.busy.is_some() && worker.refuse_busy(registered, args, facts, buffer)
        })
    }

    /// Ends a transaction: serves who waited for what it did.
    pub fn end_exec(
        &mut self,
        keyspace: &mut Keyspace<'_>,
        facts: &mut SessionFacts,
        transaction: &Transaction,
        buffer: &mut ReplyBuffer,
    ) {
        if let Some((mode, start)) = transaction.muted {
            let inside = facts.reply_mode;
            facts.reply_mode = mode;
            settle(facts, buffer, start);
            match inside {
                ReplyMode::On if transaction.skips_next => facts.reply_mode = ReplyMode::Skip,
                ReplyMode::On => {}
                chosen => facts.reply_mode = chosen,
            }
        }
        Self::settle_caching(facts, self.exec_command());
        self.count(self.exec_command(), false);
        self.scribe.close_unit();
        self.end_followed(transaction);
        let mut ready = std::mem::take(&mut self.ready).into();
        self.serve_ready(keyspace, &mut ready);
    }

    /// Shows EXEC, behind what it has run, to whoever watches all commands.
    #[inline]
    pub fn show_exec(&mut self, facts: &SessionFacts, args: Args<'_>) {
        if !self.monitors.is_empty() {
            self.show(facts, self.exec_command(), args);
        }
    }

    fn exec_command(&self) -> &'static Registered {
        self.table.command(b"EXEC").expect("a command of ours")
    }
}

/// Commands that run inside MULTI instead of being queued.
const RUN_INSIDE: &[&str] = &["exec", "discard", "multi", "quit", "reset"];
