//! Scripts of batches: they run on this core's stack, with their partitions at hand.
//!
//! Invariant: while a script runs, the core's own seat is empty or not needed; all that the script
//! asks for comes through `Running`, one thing at a time.

use super::acks::answer_acks;
use super::{Core, Message, OpenWhole};
use crate::base::gate::Gate;
use crate::base::time::{Clock, Millis, Nanos};
use crate::client::{ConnectionFacts, Session, SessionFacts};
use crate::command::context::Keyspace;
use crate::command::session_context::Request;
use crate::command::whole::Job;
use crate::command::{Args, CommandError, Handler, ScriptSource};
use crate::commands::scripting;
use crate::dispatch::script::{Inside, Named, Run, words_of};
use crate::dispatch::table::{Registered, Way};
use crate::dispatch::worker::Worker;
use crate::observe::log::{self, Level};
use crate::resp::Proto;
use crate::resp::reply::{Reply, ReplyBuffer};
use crate::ring::{Ring, Wait};
use crate::script::{Call, Caller, Refusal, RunningFunction, Verdict, Words};
use crate::txn::batch::{Acks, Batch};
use crate::txn::cores::CoreSet;

const NANOS_PER_MILLI: u64 = 1_000_000;

/// A script that runs on this core.
struct Running<'a, R: Ring, C: Clock> {
    core: &'a mut Core<R, C>,
    keyspace: Keyspace<'a>,
    run: Run,
    /// The request that runs it.
    args: Args<'a>,
    /// When it was first asked whether it has run for long.
    began: Option<Nanos>,
    /// It has run for too long, and everybody knows.
    is_busy: bool,
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
        keyspace.prefetch(&self.worker.hasher, run.facts.db, words_of(args, run.keys).0);
        let name = run.name.clone();
        let call = Call {
            function: run.function,
            name: name.as_bytes(),
            keys,
            arguments,
            as_globals: !name.is_function(),
            limits: self.worker.scripts.limits(),
        };
        let keyspace_now = keyspace.reborrow();
        let mut running =
            Running { core: self, keyspace: keyspace_now, run, args, began: None, is_busy: false };
        let mut reply = Reply::new(replies, facts.proto);
        let errors = engine.run(call, &mut running, &mut reply);
        let Running { run, is_busy, .. } = running;
        if is_busy {
            self.worker.set_busy(&run, None);
            self.worker.functions.set_running(None);
        }
        self.worker.give_back(engine, &name);
        let ended = (run, errors);
        self.worker.end_script((registered, args), &mut keyspace, ended, facts, (replies, start));
    }

    /// Runs the scripts that had to wait until all that was staged had run.
    pub(super) fn run_scripts(&mut self) {
        self.runs_scripts = true;
        while let Some(batch) = self.scripts_due.pop_front() {
            self.run_batch(batch);
        }
        self.runs_scripts = false;
    }

    /// A turn within a script that has run for too long: who came meanwhile is told so, and may end
    /// it. No partition is touched: the script has this core's, or it is elsewhere.
    fn breathe(&mut self) {
        // What the script's reply waits for is not for those who are answered now.
        let gate = self.worker.scribe.gate.take();
        self.mail.unpark();
        self.read_clock();
        self.reap();
        self.take_mail();
        self.run_received();
        self.answer_waiting();
        self.before_sleep();
        self.worker.scribe.gate.raise(gate);
        self.ring.submit_and_wait(Wait::No);
    }

    /// Those who wait for a partition of a script that runs for too long are told so.
    pub(super) fn answer_waiting(&mut self) {
        let Some(busy) = self.worker.busy() else { return };
        let mut batches = if busy.held.contains(self.worker.core) {
            self.seat.take_batches()
        } else {
            Vec::new()
        };
        let (waiting, partitions) = self.coordinator.give_up(busy.held);
        batches.extend(waiting);
        if busy.is_here {
            // What stood behind the script, in this turn or in its loan.
            batches.extend(self.scripts_due.drain(..));
            batches.extend(self.loan_batches.drain(..));
            batches.append(&mut self.loan_done);
        }
        self.return_partitions(partitions);
        for batch in batches {
            self.run_batch(batch);
        }
    }

    /// Refuses EXEC if its transaction has to wait for a script that runs for too long.
    pub(super) fn refuse_busy_exec(&mut self, batch: &mut Batch, needed: CoreSet) -> bool {
        if !self.worker.busy().is_some_and(|busy| busy.held.meets(needed)) {
            return false;
        }
        let Some((_, facts, replies)) = batch.peek_split() else { return false };
        self.worker.refuse_exec(facts, replies);
        batch.refused(&mut self.worker.denials);
        self.drop_transaction(batch);
        true
    }

    /// The transaction of a batch whose EXEC was refused will never run.
    pub(super) fn drop_transaction(&mut self, batch: &mut Batch) {
        if let Some(mut transaction) = batch.transaction.take() {
            self.unwatch(std::mem::take(&mut transaction.watched));
        }
    }

    /// Runs the next command of a batch, a script.
    pub(super) fn run_batch_script(
        &mut self,
        mut keyspace: Keyspace<'_>,
        registered: &'static Registered,
        batch: &mut Batch,
    ) {
        let Some((args, facts, replies)) = batch.peek_split() else { return };
        self.run_script(keyspace.reborrow(), (registered, args), facts, false, replies);
        self.sabotage_script(keyspace, registered, batch);
        batch.denials.append(&mut self.worker.denials);
        batch.ran(registered.full_name);
    }

    /// True if the next command of a batch brings a script that has to be made known first.
    pub(super) fn brings_script(&self, registered: &Registered, args: Args<'_>) -> bool {
        match registered.command.handler {
            Handler::Script(call) if registered.command.accepts(args.len()) => {
                self.worker.named_script(call, args) == Named::New
            }
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
            match request {
                // Nothing waits in a script: the reply is what is so now.
                Some(Request::AwaitAcks(wanted)) => {
                    let acks = Acks { target: Gate::OPEN, wanted };
                    answer_acks(worker, &acks, &mut Reply::new(replies, self.run.facts.proto));
                }
                None | Some(Request::Unwatch) => {}
                // What would leave the core cannot be called from scripts, unless DEBUG allows it.
                Some(_) => {
                    let mut reply = Reply::new(replies, self.run.facts.proto);
                    reply.error(CommandError::NotInScripts.text());
                }
            }
        } else if let Some(job) = worker.begin_whole(&mut session, held, registered, args, replies)
        {
            let part = self.core.run_part(&job);
            // DEBUG SLEEP, where a script may call it.
            self.core.stand_still();
            let parts = (args, vec![part]);
            self.core.worker.gather_whole(&mut session, registered, parts, replies);
        }
        self.core.worker.enter_script(false);
        self.run.facts.db = session.facts.db;
    }
}

impl<R: Ring, C: Clock> Running<'_, R, C> {
    /// The script has run for too long: all cores are told which partitions it holds.
    fn become_busy(&mut self, millis: u64) {
        let name = String::from_utf8_lossy(self.run.name.as_bytes());
        let container = if self.run.name.is_function() { "FUNCTION" } else { "SCRIPT" };
        log::warning(format!(
            "Slow script detected: still in execution after {millis} milliseconds. You can try killing the script using the {container} KILL command. Script name is: {name}."
        ));
        if self.run.name.is_function() {
            let worker = &mut self.core.worker;
            worker.functions.set_running(Some(RunningFunction {
                name: self.run.name.as_bytes().into(),
                words: self.args.iter_from(0).map(<[u8]>::to_vec).collect(),
                began: Millis(worker.now.0 - millis as i64),
            }));
        }
        let mut held = CoreSet::default();
        let map = self.core.map;
        for partition in self.keyspace.partitions() {
            held.insert(map.owner(partition.first_slot()));
        }
        self.is_busy = true;
        self.core.worker.set_busy(&self.run, Some(held));
        let own = self.core.worker.core;
        for core in (0..map.cores()).filter(|core| *core != own) {
            self.core.mail.post(core, Message::Busy);
        }
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
        let Running { core, keyspace, run, .. } = self;
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
        let threshold = self.core.worker.config.busy_reply_threshold;
        if threshold == 0 {
            return Verdict::GoOn;
        }
        let now = self.core.monotonic();
        let millis = now.since(*self.began.get_or_insert(now)) / NANOS_PER_MILLI;
        if !self.is_busy {
            if millis < threshold {
                return Verdict::GoOn;
            }
            self.become_busy(millis);
        }
        self.core.breathe();
        let worker = &self.core.worker;
        let ends = worker.server.busy.is_killed(worker.core) || worker.is_shutting_down();
        if ends { Verdict::Killed } else { Verdict::GoOn }
    }
}
