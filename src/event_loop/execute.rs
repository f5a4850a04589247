//! Runs what was staged: the commands of this core's clients whose keys are here.
//!
//! Invariant: of one client, a command runs only after the one before it has; when it cannot run
//! here and now, it leaves in a batch together with everything behind it.

use super::stage::{COMMANDS_AT_ONCE, Item, Staged};
use super::transact::watch_more;
use super::{Core, Ticket};
use crate::base::time::Clock;
use crate::command::context::Keyspace;
use crate::command::session_context::Request;
use crate::dispatch::evict::Admission;
use crate::dispatch::route::Place;
use crate::dispatch::table::{Registered, Way};
use crate::dispatch::worker::Worker;
use crate::observe::log;
use crate::resp::error::ProtocolError;
use crate::resp::reply::Reply;
use crate::ring::Ring;
use crate::store::key::Key;
use crate::store::prefetch::{prefetch, prefetch_members};
use crate::txn::batch::{Address, Batch, Blocked, REPLY_BYTES_MAX};

/// How often nobody looks for large collections after there were none.
const REST: u8 = 15;

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

impl<R: Ring, C: Clock> Core<R, C> {
    /// Runs what was staged, the commands of one client after those of another.
    pub(super) fn run_staged(&mut self) {
        let commands = std::mem::take(&mut self.stage.commands);
        if commands.is_empty() {
            return self.stage.clear(commands, &mut self.ring);
        }
        self.worker.start_clock();
        let (mut at, mut fetched) = (0, 0);
        let sampled = self.pick_sample(commands.len());
        while at < commands.len() {
            let client = commands[at].client;
            let count = commands[at..].iter().take_while(|one| one.client == client).count();
            if at + count > fetched {
                fetched = commands.len().min(at + count.max(COMMANDS_AT_ONCE));
                self.fetch(&commands[at..fetched]);
            }
            let staged = &commands[at..at + count];
            match sampled.wrapping_sub(at) {
                sampled if sampled < count => self.run_sampled(client, staged, sampled),
                _ => self.run_client(client, staged),
            }
            at += count;
        }
        self.stage.clear(commands, &mut self.ring);
    }

    /// Fetches what the lookups of these commands read, while the memory bus has time.
    fn fetch(&mut self, commands: &[Staged]) {
        let Core { clients, stage, ring, worker, seat, map, .. } = self;
        let Some(partition) = seat.partition() else { return };
        let Some(first) = commands.first().filter(|_| commands.len() > 1) else { return };
        // Nearly always all clients have selected the same one.
        let db = clients.get(first.client).map_or(0, |connection| connection.session.facts.db);
        let db = partition.db(db);
        // Of a client's commands those run here that come before the first one for another core.
        let (core, map) = (worker.core, *map);
        let own = || {
            let mut leaves = None;
            commands.iter().filter_map(move |staged| match staged.item {
                Item::Command { position: Some(position), member, .. } => {
                    if map.owner_of(position) != core {
                        leaves = Some(staged.client);
                    }
                    (leaves != Some(staged.client)).then_some((staged, position, member))
                }
                _ => None,
            })
        };
        prefetch(|| own().map(|(_, position, _)| (db, position)));
        if stage.names_members && stage.rest == 0 {
            let members = own().filter(|(.., member)| *member > 0);
            let found = prefetch_members(members.filter_map(|(staged, position, member)| {
                let args = stage.args(staged, ring);
                let key = Key { bytes: args.get(1), position };
                Some((db, key, args.opt(member.into())?))
            }));
            stage.rest = if found { 0 } else { REST };
        } else if stage.names_members {
            stage.rest -= 1;
        }
    }

    pub(super) fn run_client(&mut self, client: u32, commands: &[Staged]) {
        self.run_commands(client, commands);
        self.report_notes(client);
    }

    fn run_commands(&mut self, client: u32, commands: &[Staged]) {
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
                        self.ask(Ticket::of(batch, None), request);
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
        staged: &Staged,
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
        // Replicas are never held back: what a pause waits for may be what they say.
        let may_pause = worker.switches.pause.is_some() && !connection.session.is_replica();
        let facts = &mut connection.session.facts;
        if worker.refuse(registered, args, facts, replies) {
            self.report_denials(client);
            if registered.is_some_and(|one| one.way == Way::Exec) {
                self.discard(client, true);
            }
            return Staying::Ran;
        }
        let Some(registered) = registered else { return Staying::Ran };
        if may_pause && worker.is_paused(registered, args) {
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
                    let more = &mut worker.watched;
                    let again = watch_more(&mut connection.watched, more, &worker.stats);
                    self.unwatch(again);
                    return Staying::Ran;
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
            Place::Here if worker.has_to_wait(registered) => return Staying::Leaves,
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
                    Some(Request::AwaitAcks(wanted)) => {
                        self.end_segment(client);
                        let acks = self.acks_for(client, wanted);
                        let Core { clients, stage, ring, worker, .. } = self;
                        let Some(connection) = clients.get(client) else { return Staying::Ends };
                        let generation = connection.generation;
                        let who = Address { home: worker.core, client, generation };
                        let command = (registered, stage.args(staged, ring));
                        let who = (who, connection.session.facts);
                        return Staying::Blocks(worker.wait_for_acks(wanted, acks, who, command));
                    }
                    Some(request) => return Staying::Waits(request),
                }
            }
            Place::Core(_) | Place::Loan(_) | Place::Whole => return Staying::Leaves,
        }
        Staying::Ran
    }

    /// Puts the rest of a client's commands into a batch and sets it on its way.
    fn leave(&mut self, client: u32, rest: &[Staged]) {
        if let Some(batch) = self.pack(client, rest) {
            self.run_batch(batch);
        }
    }

    /// The turn has lasted long enough: the rest of a client's commands runs in the next one.
    fn put_off(&mut self, client: u32, rest: &[Staged]) {
        if let Some(batch) = self.pack(client, rest) {
            self.mail.post(self.worker.core, super::Message::Batch(batch));
        }
    }

    fn stall(&mut self, client: u32, rest: &[Staged]) {
        let batch = self.pack(client, rest);
        if let Some(connection) = self.clients.get(client) {
            connection.away = false;
            connection.stalled = batch;
        }
    }

    fn pack(&mut self, client: u32, rest: &[Staged]) -> Option<Box<Batch>> {
        let mut batch = self.new_batch(client)?;
        batch.travel.since = self.worker.turn_tick();
        for staged in rest {
            match staged.item {
                Item::Command { id, position, .. } => {
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
        self.worker.stats.count_error(text.as_bytes());
        Reply::new(&mut self.replies, session.facts.proto).error(text);
        connection.closing = true;
    }
}
