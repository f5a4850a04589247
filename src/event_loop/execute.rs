//! Runs what was staged, and batches: each command where its keys are.
//!
//! Invariant: of one client, a command runs only after the one before it has; when it cannot run
//! here and now, it leaves in a batch together with everything behind it.

use super::notes::take_notes;
use super::stage::Item;
use super::transact::watch_more;
use super::{Core, Ticket};
use crate::base::time::Clock;
use crate::command::context::{Keyspace, Request};
use crate::dispatch::call::Worker;
use crate::dispatch::evict::Admission;
use crate::dispatch::route::Place;
use crate::dispatch::table::{Registered, Way};
use crate::observe::log;
use crate::resp::error::ProtocolError;
use crate::resp::reply::Reply;
use crate::ring::Ring;
use crate::store::key::Key;
use crate::txn::batch::{Address, Batch, Blocked, REPLY_BYTES_MAX};
use crate::txn::cores::CoreSet;
use crate::txn::loan::{Loan, Waiting};

/// Commands that run under one loan, about: other cores wait for their partitions.
const COMMANDS_PER_LOAN_MAX: usize = 1024;
/// Those of one batch among them, at most.
const BATCH_COMMANDS_PER_LOAN_MAX: usize = 256;
/// Tables smaller than this stay in the processor's cache: prefetching them costs more than it gives.
const PREFETCH_KEYS_MIN: usize = 10_000;

/// Commands whose keys are fetched together: what they touch fits the processor's first cache.
const PREFETCHED_AT_ONCE: usize = 128;

/// What became of a staged command.
enum Staying {
    /// It ran, or was refused.
    Ran,
    /// It does not run, nor does what is behind it: the client goes.
    Ends,
    /// It cannot run here and now.
    Leaves,
    /// It ran, and the control plane has its reply.
    Waits(Request),
    /// It found nothing and waits for a key.
    Blocks(Blocked),
}

/// What the log says of an HTTP request, in the words that operators look for.
const HTTP_WARNING: &str = "Possible SECURITY ATTACK detected. It looks like somebody is sending POST or Host: commands to Redis. This is likely due to an attacker attempting to use Cross Protocol Scripting to compromise your Redis instance. Connection aborted.";

/// Where the next command of a batch leads.
enum Next {
    /// It ran; look at the one behind it.
    Again,
    /// All have run, or the next one needs the client's socket.
    Home,
    /// To another core.
    Core(usize),
    /// CLIENT PAUSE holds the next command back.
    Paused,
    /// The next command waits for this core's partition.
    Seat,
    /// The next command waits for a loan of these partitions.
    Loan(CoreSet),
    /// The next command names a key that is kept for somebody else.
    KeptBack,
    /// The next command runs a script, when all that was staged has run.
    Script,
    /// The next command waits for a key.
    Blocked(Blocked),
}

impl<R: Ring, C: Clock> Core<R, C> {
    /// Runs the commands of this turn, those of one client after the other.
    pub(super) fn run_staged(&mut self) {
        if self.stage.commands.is_empty() {
            return;
        }
        self.worker.start_clock();
        let commands = std::mem::take(&mut self.stage.commands);
        let (mut at, mut fetched) = (0, 0);
        while at < commands.len() {
            let client = commands[at].client;
            let count = commands[at..].iter().take_while(|one| one.client == client).count();
            if at + count > fetched {
                fetched = commands.len().min(at + count.max(PREFETCHED_AT_ONCE));
                self.prefetch(&commands[at..fetched]);
            }
            self.run_client(client, &commands[at..at + count]);
            at += count;
        }
        // All of them have run: a reduced turn of a script may stage others.
        let mut commands = commands;
        commands.clear();
        self.stage.commands = commands;
    }

    /// Fetches the buckets of all keys, then the entries, while the memory bus has time.
    fn prefetch(&mut self, commands: &[super::stage::Staged]) {
        let Some(partition) = self.seat.partition() else { return };
        if partition.db(0).len() < PREFETCH_KEYS_MIN || commands.len() < 2 {
            return;
        }
        // Of a client's commands those run here that come before the first one for another core.
        let (core, map) = (self.worker.core, self.map);
        let positions = || {
            let mut leaves = None;
            commands.iter().filter_map(move |staged| match staged.item {
                Item::Command { position: Some(position), .. } => {
                    if map.owner_of(position) != core {
                        leaves = Some(staged.client);
                    }
                    (leaves != Some(staged.client)).then_some(position)
                }
                _ => None,
            })
        };
        let key = |position| Key { bytes: &[], position };
        let db = partition.db(0);
        positions().for_each(|position| db.prefetch_bucket(&key(position)));
        positions().for_each(|position| db.prefetch_entry(&key(position)));
    }

    fn run_client(&mut self, client: u32, commands: &[super::stage::Staged]) {
        self.run_commands(client, commands);
        self.report_notes(client);
    }

    fn run_commands(&mut self, client: u32, commands: &[super::stage::Staged]) {
        if let Some(connection) = self.clients.get(client) {
            connection.is_staged = false;
        }
        self.push_own();
        self.take_letters_for(client, true);
        self.write_held_of(client);
        self.begin_segment(client);
        for (at, staged) in commands.iter().enumerate() {
            if self.worker.is_exhausted() {
                self.end_segment(client);
                if self.clients.get(client).is_some_and(|one| one.goes_on()) {
                    self.put_off(client, &commands[at..]);
                }
                return;
            }
            let id = match staged.item {
                Item::Broken(error) => {
                    if self.clients.get(client).is_some_and(|one| one.goes_on()) {
                        self.broken(client, error);
                    }
                    break;
                }
                Item::Command { id, .. } => id,
            };
            if self.replies.len() > REPLY_BYTES_MAX {
                self.end_segment(client);
                let Some(connection) = self.clients.get(client) else { return };
                if connection.goes_on() && connection.must_stall() {
                    self.stall(client, &commands[at..]);
                    return;
                }
                self.begin_segment(client);
            }
            let registered = id.map(|id| &self.worker.table.all()[id as usize]);
            match self.run_here(client, registered, staged) {
                Staying::Ran => {
                    self.push_between(client);
                    self.take_letters_between(client);
                }
                Staying::Ends => break,
                Staying::Leaves => {
                    self.end_segment(client);
                    self.leave(client, &commands[at..]);
                    return;
                }
                Staying::Blocks(blocked) => {
                    self.end_segment(client);
                    if let Some(mut batch) = self.pack(client, &commands[at..]) {
                        batch.blocked = Some(blocked);
                        self.came_home(batch);
                    }
                    return;
                }
                Staying::Waits(request) => {
                    self.end_segment(client);
                    if let Some(batch) = self.pack(client, &commands[at + 1..]) {
                        self.ask(Ticket { batch, held: None }, request);
                    }
                    return;
                }
            }
        }
        self.end_segment(client);
    }

    /// Runs one staged command at its client's home, if it can run here and now.
    #[inline]
    fn run_here(
        &mut self,
        client: u32,
        registered: Option<&'static Registered>,
        staged: &super::stage::Staged,
    ) -> Staying {
        let Core { clients, stage, ring, worker, seat, replies, map, .. } = self;
        let Some(connection) = clients.get(client) else { return Staying::Ends };
        if !connection.goes_on() {
            return Staying::Ends;
        }
        let position = match staged.item {
            Item::Command { position, .. } => position,
            Item::Broken(_) => None,
        };
        if position.is_some_and(|position| map.owner_of(position) != worker.core) {
            return Staying::Leaves;
        }
        let args = stage.args(staged, ring);
        let facts = &mut connection.session.facts;
        if worker.refuse(registered, args, facts, replies) {
            self.report_denials(client);
            if registered.is_some_and(|one| one.way == Way::Exec) {
                self.discard(client, true);
            }
            return Staying::Ran;
        }
        let Some(registered) = registered else { return Staying::Ran };
        if worker.switches.pause.is_some() && worker.is_paused(registered) {
            return Staying::Leaves;
        }
        if facts.in_multi
            && worker.enqueue((registered, args), facts, &mut connection.queue, *map, replies)
        {
            self.check_query_buffer(client);
            return Staying::Ran;
        }
        // A script runs while the core goes on with others, so its words move to a batch.
        if matches!(registered.way, Way::Exec | Way::Script) {
            return Staying::Leaves;
        }
        match worker.place(registered, args, position, facts, *map) {
            Place::Core(owner) if owner == worker.core => {
                let Some(partition) = seat.partition() else { return Staying::Leaves };
                worker.hint(position);
                connection.session.last_command = registered.full_name;
                connection.session.commands += 1;
                let mut keyspace = Keyspace::One(partition);
                match worker.admit(&mut keyspace, facts, (registered, args), replies) {
                    Admission::Runs => {}
                    Admission::Refused => return Staying::Ran,
                    Admission::KeptBack => return Staying::Leaves,
                }
                let suspension =
                    worker.keyed(keyspace.reborrow(), facts, registered, args, replies);
                if !worker.watched.is_empty() {
                    watch_more(&mut connection.watched, &mut worker.watched, &worker.stats);
                }
                if let Some(suspension) = suspension {
                    let who =
                        Address { home: worker.core, client, generation: connection.generation };
                    let command = (registered, args);
                    return Staying::Blocks(worker.wait(
                        keyspace,
                        suspension,
                        (who, *facts),
                        command,
                    ));
                }
            }
            Place::Here => {
                connection.session.last_command = registered.full_name;
                connection.session.commands += 1;
                worker.hint(None);
                worker.keyed(Keyspace::Lent(&mut []), facts, registered, args, replies);
            }
            Place::Home => {
                connection.session.last_command = registered.full_name;
                connection.session.commands += 1;
                let held = connection.facts(worker.core);
                let session = &mut connection.session;
                let request = worker.session(session, held, registered, args, replies);
                Worker::settle_caching(&mut session.facts, registered);
                connection.closing |= connection.session.close_after_reply;
                self.report_denials(client);
                match request {
                    None => {}
                    Some(Request::Shutdown) => self.control.shut_down(),
                    Some(Request::Discard) => self.discard(client, true),
                    Some(Request::Unwatch) => self.discard(client, false),
                    Some(request) => return Staying::Waits(request),
                }
            }
            Place::Core(_) | Place::Loan(_) | Place::Whole => return Staying::Leaves,
        }
        Staying::Ran
    }

    /// Puts the rest of a client's commands into a batch and sets it on its way.
    fn leave(&mut self, client: u32, rest: &[super::stage::Staged]) {
        if let Some(batch) = self.pack(client, rest) {
            self.run_batch(batch);
        }
    }

    /// The turn has lasted long enough: the rest of a client's commands runs in the next one.
    fn put_off(&mut self, client: u32, rest: &[super::stage::Staged]) {
        if let Some(batch) = self.pack(client, rest) {
            self.mail.post(self.worker.core, super::Message::Batch(batch));
        }
    }

    fn stall(&mut self, client: u32, rest: &[super::stage::Staged]) {
        let batch = self.pack(client, rest);
        if let Some(connection) = self.clients.get(client) {
            connection.away = false;
            connection.stalled = batch;
        }
    }

    fn pack(&mut self, client: u32, rest: &[super::stage::Staged]) -> Option<Box<Batch>> {
        let mut batch = self.new_batch(client)?;
        batch.travel.since = self.worker.turn_tick();
        for staged in rest {
            match staged.item {
                Item::Command { id, position } => {
                    batch.push(self.stage.args(staged, &self.ring), id, position);
                }
                Item::Broken(error) => {
                    // Nothing that came behind it counts.
                    batch.break_with(error);
                    break;
                }
            }
        }
        self.sabotage_batch(&mut batch);
        Some(batch)
    }

    /// Answers a broken protocol and lets the connection end.
    pub(super) fn broken(&mut self, client: u32, error: ProtocolError) {
        let Some(connection) = self.clients.get(client) else { return };
        if error == ProtocolError::Http {
            log::warning(HTTP_WARNING);
            connection.closing = true;
            return;
        }
        let text = format!("ERR Protocol error: {error}");
        let session = &connection.session;
        log::write(log::Level::Verbose, || {
            format!(
                "Protocol error ({error}) from client: id={} addr={}",
                session.facts.id, session.addr
            )
        });
        self.worker.stats.totals.unexpected_error_replies.add(1);
        self.worker.stats.totals.error_replies.add(1);
        self.worker.stats.errors.count(text.as_bytes());
        Reply::new(&mut self.replies, session.facts.proto).error(text);
        connection.closing = true;
    }

    /// Runs the batches that have come. What they need is fetched first, for all of them: it was last
    /// written to on another core.
    pub(super) fn run_arrived(&mut self) {
        if self.arrived.is_empty() {
            return;
        }
        let mut arrived = std::mem::take(&mut self.arrived);
        self.served += arrived.len();
        self.prefetch_arrived(&arrived);
        arrived.drain(..).for_each(|batch| self.run_batch(batch));
        self.arrived = arrived;
    }

    fn prefetch_arrived(&mut self, arrived: &[Box<Batch>]) {
        arrived.iter().for_each(|batch| batch.prefetch_next());
        arrived.iter().for_each(|batch| batch.prefetch_words());
        let (core, map) = (self.worker.core, self.map);
        let Some(partition) = self.seat.partition() else { return };
        if partition.db(0).len() < PREFETCH_KEYS_MIN {
            return;
        }
        let positions = || {
            arrived.iter().flat_map(|batch| {
                let own = batch.next_positions().take_while(|one| map.owner_of(*one) == core);
                own.map(|position| (batch.facts.db, Key { bytes: &[], position }))
            })
        };
        positions().for_each(|(db, key)| partition.db(db).prefetch_bucket(&key));
        positions().for_each(|(db, key)| partition.db(db).prefetch_entry(&key));
    }

    /// Runs a batch as far as it gets here, and sends it on.
    pub(super) fn run_batch(&mut self, batch: Box<Batch>) {
        if batch.blocked.is_none() {
            self.run_batch_now(batch, false);
        } else if batch.home == self.worker.core {
            self.came_home(batch);
        } else {
            self.mail.post(batch.home, super::Message::Batch(batch));
        }
    }

    /// The same; `served` is true for a batch whose turn at the partition has come, past those who
    /// wait behind it.
    pub(super) fn run_batch_now(&mut self, batch: Box<Batch>, served: bool) {
        if let Some(batch) = self.run_until_home(batch, served) {
            self.came_home(batch);
        }
    }

    /// Runs a batch as far as it gets without its client. Gives it back if it is home and has to go
    /// on there; None if it is on its way, or waits.
    pub(super) fn run_until_home(
        &mut self,
        mut batch: Box<Batch>,
        served: bool,
    ) -> Option<Box<Batch>> {
        self.worker.now = self.worker.now.max(batch.time);
        self.worker.start_clock();
        if served {
            batch.travel.end_wait(self.worker.last_tick());
        } else {
            batch.travel.arrive(self.worker.last_tick());
        }
        loop {
            if !batch.is_alive() {
                self.abandon(batch);
                return None;
            }
            if self.worker.is_exhausted() {
                self.mail.post(self.worker.core, super::Message::Batch(batch));
                return None;
            }
            let next = if batch.replies.len() > REPLY_BYTES_MAX {
                Next::Home
            } else {
                self.step(&mut batch, served)
            };
            take_notes(&mut self.worker, &mut batch);
            self.tell_batch(&mut batch);
            let core = match next {
                Next::Again => continue,
                Next::Home if batch.home == self.worker.core => return Some(batch),
                Next::Home => batch.home,
                Next::Core(core) => core,
                Next::Paused => {
                    self.pause_batch(batch);
                    return None;
                }
                Next::Seat => {
                    batch.travel.left = self.worker.last_tick();
                    self.seat.wait(Waiting::Batch(batch));
                    return None;
                }
                Next::Loan(owners) => {
                    batch.travel.left = self.worker.last_tick();
                    self.coordinator.want(owners, batch);
                    return None;
                }
                Next::KeptBack => {
                    self.kept_back.push(batch);
                    return None;
                }
                Next::Script => {
                    self.scripts_due.push_back(batch);
                    return None;
                }
                Next::Blocked(blocked) => {
                    batch.blocked = Some(blocked);
                    if batch.home == self.worker.core {
                        return Some(batch);
                    }
                    batch.home
                }
            };
            if batch.home == self.worker.core {
                self.take_replies_along(&mut batch);
            }
            batch.time = self.worker.now;
            batch.travel.left = self.worker.last_tick();
            self.worker.stats.totals.hops.add(1);
            self.mail.post(core, super::Message::Batch(batch));
            return None;
        }
    }

    /// Runs the next command of a batch, if it can run here without its client's socket.
    fn step(&mut self, batch: &mut Batch, served: bool) -> Next {
        let is_home = batch.home == self.worker.core;
        if batch.facts.in_multi {
            return if is_home && self.is_next_paused(batch) { Next::Paused } else { Next::Home };
        }
        let Core { worker, seat, map, .. } = self;
        let (id, address, position) = (batch.next_id(), batch.address(), batch.next_position());
        // Its gates are passed where its key is; but a pause holds it at home.
        if worker.switches.pause.is_none()
            && let Some(owner) = position.map(|position| map.owner_of(position))
            && owner != worker.core
        {
            return Next::Core(owner);
        }
        let Some((args, facts, replies)) = batch.peek_split() else { return Next::Home };
        let registered = id.map(|id| &worker.table.all()[usize::from(id)]);
        if worker.refuse(registered, args, facts, replies) {
            batch.refused(&mut worker.denials);
            self.drop_transaction(batch);
            return Next::Again;
        }
        let Some(registered) = registered else { return Next::Home };
        if worker.is_paused(registered) {
            // It waits at home, where its client is shown as blocked.
            return if is_home { Next::Paused } else { Next::Home };
        }
        if registered.way == Way::Exec {
            return self.step_exec(batch, served);
        }
        let place = worker.place(registered, args, position, facts, *map);
        let is_here = place == Place::Core(worker.core);
        if registered.way == Way::Script && is_here && !served && !self.runs_scripts {
            return Next::Script;
        }
        match place {
            Place::Home | Place::Whole => Next::Home,
            Place::Here => {
                worker.hint(None);
                worker.keyed(Keyspace::Lent(&mut []), facts, registered, args, replies);
                batch.ran(registered.full_name);
                Next::Again
            }
            Place::Loan(owners) => Next::Loan(owners),
            Place::Core(owner) if owner != worker.core => Next::Core(owner),
            Place::Core(_) => {
                let seated = if served { seat.partition_now() } else { seat.partition() };
                let Some(partition) = seated else { return Next::Seat };
                worker.hint(position);
                let mut keyspace = Keyspace::One(partition);
                match worker.admit(&mut keyspace, facts, (registered, args), replies) {
                    Admission::Runs => {}
                    Admission::Refused => {
                        batch.advance();
                        return Next::Again;
                    }
                    Admission::KeptBack => return Next::KeptBack,
                }
                if registered.way == Way::Script {
                    let mut partition = seat.lend();
                    self.run_batch_script(Keyspace::One(&mut partition), registered, batch);
                    self.seat.give_back(partition);
                    return Next::Again;
                }
                let suspension =
                    worker.keyed(keyspace.reborrow(), facts, registered, args, replies);
                if let Some(suspension) = suspension {
                    let command = (registered, args);
                    let who = (address, *facts);
                    return Next::Blocked(worker.wait(keyspace, suspension, who, command));
                }
                batch.watched.append(&mut worker.watched);
                batch.ran(registered.full_name);
                Next::Again
            }
        }
    }

    /// True if CLIENT PAUSE holds the next command of a batch back.
    pub(super) fn is_next_paused(&self, batch: &Batch) -> bool {
        let next = batch.next_id().map(|id| &self.worker.table.all()[usize::from(id)]);
        next.is_some_and(|registered| self.worker.is_paused(registered))
    }

    /// True if CLIENT PAUSE holds the transaction of a batch back.
    pub(super) fn is_transaction_paused(&self, batch: &Batch) -> bool {
        let transaction = batch.transaction.as_ref();
        transaction.is_some_and(|one| one.is_fresh() && self.worker.is_exec_paused(one))
    }

    /// Runs the transaction of a batch if its keys are here and it needs no session.
    fn step_exec(&mut self, batch: &mut Batch, served: bool) -> Next {
        let core = self.worker.core;
        if self.is_transaction_paused(batch) {
            return if batch.home == core { Next::Paused } else { Next::Home };
        }
        let Some(owners) = self.exec_owners(batch) else {
            let stays = batch.transaction.is_some() && batch.home == core;
            if stays {
                let needed = self.exec_at_home(batch);
                return if self.refuse_busy_exec(batch, needed) {
                    Next::Again
                } else {
                    Next::Loan(needed)
                };
            }
            return Next::Home;
        };
        if self.refuse_busy_exec(batch, owners) {
            return Next::Again;
        }
        if owners != CoreSet::one(core) {
            let mut cores = owners.iter();
            return match (cores.next(), cores.next()) {
                (Some(owner), None) => Next::Core(owner),
                _ => Next::Loan(owners),
            };
        }
        let seated = if served { self.seat.partition_now() } else { self.seat.partition() };
        let Some(partition) = seated else { return Next::Seat };
        if partition.keeps_back() {
            return Next::KeptBack;
        }
        let mut partition = self.seat.lend();
        self.run_exec(Keyspace::One(&mut partition), batch);
        self.seat.give_back(partition);
        Next::Again
    }

    /// Runs all that waited for a loan, now that its partitions are here.
    pub(super) fn run_loan(&mut self, loan: Loan) {
        let Loan { owners, mut batches, waiters, saves, mut partitions, time, .. } = loan;
        self.worker.now = self.worker.now.max(time);
        for waiter in waiters {
            self.worker.start_clock();
            self.worker.serve_reserved(Keyspace::Lent(&mut partitions), &waiter);
        }
        let mut at_home = Vec::new();
        let share =
            (COMMANDS_PER_LOAN_MAX / (batches.len().max(1))).clamp(1, BATCH_COMMANDS_PER_LOAN_MAX);
        self.loan_batches.extend(batches.drain(..));
        while let Some(mut batch) = self.loan_batches.pop_front() {
            self.worker.now = self.worker.now.max(batch.time);
            self.worker.start_clock();
            batch.travel.end_wait(self.worker.last_tick());
            for ran in 0..share {
                let worker = &mut self.worker;
                // One command runs in any case, so that every loan gets somewhere.
                if worker.is_exhausted() && (ran > 0 || !self.loan_done.is_empty()) {
                    break;
                }
                if !batch.is_alive() || batch.replies.len() > REPLY_BYTES_MAX {
                    break;
                }
                let address = batch.address();
                let (id, position) = (batch.next_id(), batch.next_position());
                let Some((args, facts, replies)) = batch.peek_split() else { break };
                let registered = id.map(|id| &worker.table.all()[usize::from(id)]);
                if worker.refuse(registered, args, facts, replies) {
                    batch.refused(&mut worker.denials);
                    continue;
                }
                let Some(registered) = registered else { break };
                if registered.way == Way::Exec {
                    if self.is_transaction_paused(&batch) {
                        break;
                    }
                    let Some(needed) = self.exec_owners(&batch) else { break };
                    let lent = Keyspace::Lent(&mut partitions);
                    if !owners.covers(needed) || lent.has_reservations() {
                        break;
                    }
                    self.run_exec(lent, &mut batch);
                    continue;
                }
                let covered = match worker.place(registered, args, position, facts, self.map) {
                    Place::Core(owner) => owners.contains(owner),
                    Place::Loan(needed) => owners.covers(needed),
                    Place::Here => true,
                    Place::Home | Place::Whole => false,
                };
                if !covered || worker.is_paused(registered) {
                    break;
                }
                worker.hint(position);
                let mut keyspace = Keyspace::Lent(&mut partitions);
                match worker.admit(&mut keyspace, facts, (registered, args), replies) {
                    Admission::Runs => {}
                    Admission::Refused => {
                        batch.advance();
                        continue;
                    }
                    Admission::KeptBack => break,
                }
                if registered.way == Way::Script {
                    self.run_batch_script(keyspace, registered, &mut batch);
                    continue;
                }
                let suspension =
                    worker.keyed(keyspace.reborrow(), facts, registered, args, replies);
                if let Some(suspension) = suspension {
                    let command = (registered, args);
                    let who = (address, *facts);
                    batch.blocked = Some(worker.wait(keyspace, suspension, who, command));
                    break;
                }
                batch.watched.append(&mut worker.watched);
                batch.ran(registered.full_name);
            }
            take_notes(&mut self.worker, &mut batch);
            self.tell_batch(&mut batch);
            batch.time = self.worker.now;
            let needs_home = batch.transaction.as_ref().is_some_and(|one| one.needs_home());
            let list =
                if needs_home && batch.is_alive() { &mut at_home } else { &mut self.loan_done };
            list.push(batch);
        }
        let mut held = Some(partitions);
        for batch in at_home {
            match held.take() {
                Some(partitions) if owners.covers(self.exec_at_home(&batch)) => {
                    held = self.run_exec_at_home(batch, partitions);
                }
                other => {
                    held = other;
                    self.loan_done.push(batch);
                }
            }
        }
        for save in saves {
            if let Some(partitions) = held.take() {
                held = self.begin_wanted(save, partitions);
            } else {
                // Another save, or a transaction, has kept them.
                self.order_save(save.ticket, save.order);
            }
        }
        if let Some(mut partitions) = held {
            self.publish_lent(&mut partitions);
            self.return_partitions(partitions);
        }
        for batch in std::mem::take(&mut self.loan_done) {
            self.run_batch(batch);
        }
    }
}
