//! Scripts of batches: they run on this core's stack, with their partitions at hand.
//!
//! Invariant: while a script runs, the core's own seat is empty or not needed; all that the script
//! asks for comes through `Running`, one thing at a time.

use super::{Core, OpenWhole};
use crate::base::time::Clock;
use crate::client::{ConnectionFacts, Session, SessionFacts};
use crate::command::context::{Keyspace, Request};
use crate::command::whole::Job;
use crate::command::{Args, Handler, ScriptSource};
use crate::commands::scripting;
use crate::dispatch::call::Worker;
use crate::dispatch::script::{Inside, Named, Run, words_of};
use crate::dispatch::table::{Registered, Way};
use crate::observe::log::{self, Level};
use crate::resp::Proto;
use crate::resp::reply::{Reply, ReplyBuffer};
use crate::ring::Ring;
use crate::script::{Call, Caller, Refusal, Verdict, Words};
use crate::txn::batch::Batch;

/// A script that runs on this core.
struct Running<'a, R: Ring, C: Clock> {
    core: &'a mut Core<R, C>,
    keyspace: Keyspace<'a>,
    run: Run,
}

impl<R: Ring, C: Clock> Core<R, C> {
    /// Runs a script and writes its reply; the partitions of its keys are at hand.
    pub(super) fn run_script(
        &mut self,
        mut keyspace: Keyspace<'_>,
        (registered, args): (&'static Registered, Args<'_>),
        facts: &mut SessionFacts,
        inside_exec: bool,
        replies: &mut ReplyBuffer,
    ) {
        let begun = self.worker.begin_script((registered, args), facts, inside_exec, replies);
        let Some((mut engine, run)) = begun else { return };
        let start = replies.bytes.len();
        let (keys, arguments) = words_of(args, run.keys);
        let name = run.name;
        let call = Call {
            function: run.function,
            name: &name,
            keys,
            arguments,
            as_globals: true,
            limits: self.worker.scripts.limits(),
        };
        let mut running = Running { core: self, keyspace: keyspace.reborrow(), run };
        let mut reply = Reply::new(replies, facts.proto);
        let outcome = engine.run(call, &mut running, &mut reply);
        let run = running.run;
        self.worker.scripts.give_back(engine);
        let ended = (run, outcome);
        self.worker.end_script((registered, args), &mut keyspace, ended, facts, (replies, start));
    }

    /// Runs the next command of a batch, a script.
    pub(super) fn run_batch_script(
        &mut self,
        keyspace: Keyspace<'_>,
        registered: &'static Registered,
        batch: &mut Batch,
    ) {
        let Some((args, facts, replies)) = batch.peek_split() else { return };
        self.run_script(keyspace, (registered, args), facts, false, replies);
        batch.denials.append(&mut self.worker.denials);
        batch.ran(registered.full_name);
    }

    /// True if the next command of a batch brings a script that has to be made known first.
    pub(super) fn brings_script(&self, registered: &Registered, args: Args<'_>) -> bool {
        match registered.command.handler {
            Handler::Script(call) => self.worker.named_script(call, args) == Named::New,
            _ => false,
        }
    }

    /// Makes the script known to all cores that the next command of a batch brings, and goes on with
    /// the batch then. Gives it back if there is nothing to be made known, since it does not compile.
    pub(super) fn bring_script(
        &mut self,
        mut batch: Box<Batch>,
        registered: &'static Registered,
    ) -> Option<Box<Batch>> {
        let (args, facts, replies) = batch.peek_split()?;
        match self.worker.new_script(args.get(1)) {
            Ok(job) => {
                self.start_whole(OpenWhole::before(batch), job);
                None
            }
            Err(text) => {
                self.worker.show_always(facts, registered, args);
                self.worker.fail_with(registered, facts, replies, &text);
                batch.ran(registered.full_name);
                Some(batch)
            }
        }
    }

    /// Makes the scripts known to all cores that a transaction brings, one after the other. Gives the
    /// batch back when there is none left, or no transaction.
    pub(super) fn bring_scripts_of_exec(&mut self, batch: Box<Batch>) -> Option<Box<Batch>> {
        let Some(job) = self.script_of_transaction(&batch) else { return Some(batch) };
        self.start_whole(OpenWhole::before(batch), job);
        None
    }

    /// Makes a script known that a transaction brings and nobody knows.
    fn script_of_transaction(&mut self, batch: &Batch) -> Option<Job> {
        let transaction = batch.transaction.as_ref()?;
        let worker = &mut self.worker;
        let brings = |registered: &Registered, args: Args<'_>| match registered.command.handler {
            Handler::Script(call) if call.source == ScriptSource::Body => {
                worker.named_script(call, args) == Named::New
            }
            _ => false,
        };
        let bodies: Vec<Vec<u8>> = transaction
            .queued()
            .filter(|(id, args)| brings(&worker.table.all()[usize::from(*id)], *args))
            .map(|(_, args)| args.get(1).to_vec())
            .collect();
        // One that does not compile says so when its turn comes.
        bodies.iter().find_map(|body| worker.new_script(body).ok())
    }
}

impl Worker {
    /// Has all cores know a script that EVAL brings. An error is the line of the reply.
    fn new_script(&mut self, body: &[u8]) -> Result<Job, Vec<u8>> {
        scripting::bring(&mut self.scripts, self.table, body, true, self.now)
    }
}

impl<R: Ring, C: Clock> Running<'_, R, C> {
    /// Runs a command of the session, or this core's part of one of the whole server.
    fn run_session(
        &mut self,
        registered: &'static Registered,
        args: Args<'_>,
        replies: &mut ReplyBuffer,
    ) {
        let worker = &mut self.core.worker;
        let mut session = Session::new(self.run.facts.id, worker.now, true);
        session.facts = self.run.facts;
        let held = ConnectionFacts::default();
        worker.enter_script(true);
        if registered.way == Way::Home {
            let request = worker.session(&mut session, held, registered, args, replies);
            // What would leave the core cannot be called from scripts.
            debug_assert!(request.is_none_or(|one| matches!(one, Request::Unwatch)));
        } else if let Some(job) = worker.begin_whole(&mut session, held, registered, args, replies)
        {
            let part = self.core.run_part(&job);
            let parts = (args, vec![part]);
            self.core.worker.gather_whole(&mut session, registered, parts, replies);
        }
        self.core.worker.enter_script(false);
        self.run.facts.db = session.facts.db;
    }
}

impl<R: Ring, C: Clock> Caller for Running<'_, R, C> {
    fn call(
        &mut self,
        words: Words<'_>,
        proto: Proto,
        replies: &mut ReplyBuffer,
    ) -> Result<(), Refusal> {
        let args = Args::new(words.bytes, words.ranges, &[]);
        self.run.facts.proto = proto;
        let Running { core, keyspace, run } = self;
        match core.worker.call_inside(run, keyspace, args, replies)? {
            Inside::Done => {}
            Inside::Session(registered) => self.run_session(registered, args, replies),
        }
        Ok(())
    }

    fn may(&mut self, words: Words<'_>) -> Option<bool> {
        let args = Args::new(words.bytes, words.ranges, &[]);
        self.core.worker.may_inside(&self.run, args)
    }

    fn log(&mut self, level: Level, text: &[u8]) {
        log::write(level, || String::from_utf8_lossy(text).into_owned());
    }

    fn propagate_to(&mut self, places: u8) {
        self.run.places = places;
    }

    fn interrupt(&mut self) -> Verdict {
        Verdict::GoOn
    }
}
