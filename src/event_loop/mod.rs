//! One turn of a core: reap, take mail, stage, run, keep house, send, wait.
//!
//! Invariant: nothing on this path blocks, reads a file or takes a lock; whatever a turn caused
//! leaves only in `before_sleep`. A core is `io` (ring, clients, mail) and a seat for its partition,
//! which may be lent: nothing in `io` can reach the partition.

mod acks;
mod batches;
mod block;
mod client_memory;
mod clients;
mod cron;
mod everywhere;
mod execute;
mod feeder;
mod follow;
mod handover;
mod input;
mod journal;
mod leave;
mod leftovers;
mod limits;
mod loan;
mod mail;
mod migrate;
mod notes;
mod output;
mod probe;
mod process;
mod push;
mod rdb_channel;
mod refusals;
mod replay;
mod replicas;
mod rewrite;
mod sabotage;
mod save;
mod script;
mod secure;
mod stage;
mod sync;
mod tracking;
mod transact;
mod travel;

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use slab::Slab;

pub use clients::Clients;
pub use mail::{Mail, Message, mailbox_capacity};
pub use process::follow_log;
pub use replay::load_order;
#[doc(hidden)]
pub use sabotage::Sabotage;

use crate::acl::Log;
use crate::base::time::{Clock, Nanos};
use crate::command::session_context::Request;
use crate::command::whole::Job;
use crate::config::Config;
use crate::dispatch::worker::{Identity, Worker};
use crate::net::listener::Listener;
use crate::observe::command_log::CommandLog;
use crate::observe::keys::KeySamples;
use crate::persist::aof::block::Opened;
use crate::persist::load::{Load, LoadOrder, Piece, RewriteOrder};
use crate::persist::migration::Outcome;
use crate::persist::save::{Outgoing, Piece as SavePiece, Save};
use crate::replication::chunk::FromPrimary;
use crate::resp::reply::ReplyBuffer;
use crate::ring::{BufferLease, Kind, Op, Ring, Token, Wait};
use crate::store::partition::Partition;
use crate::tls::{self, Newcomer, Secured};
use crate::txn::batch::Batch;
use crate::txn::cores::SlotMap;
use crate::txn::loan::{Coordinator, Seat};
use block::Deadlines;
use client_memory::ClientMemory;
use cron::Cron;
use everywhere::{OpenWhole, Then};
use feeder::Feeder;
use handover::Handing;
use journal::Desk;
use leave::Departures;
use probe::Probe;
use push::Inbox;
use stage::Stage;
use transact::Held;

/// Messages of one turn from one core, at most.
const MESSAGES_PER_TURN_MAX: usize = 256;
/// A core that serves so few clients and batches polls for the next one before it sleeps.
const LONE_CLIENTS_MAX: usize = 2;
/// How often it polls: about 45 us on a 3 GHz machine, and a lone client's next request comes sooner.
const SPINS_LONE: u32 = 2000;
/// The same among many clients: longer costs more than the wake that it saves.
const SPINS_BRIEF: u32 = 100;
/// How often commands that wait for room are tried again.
const KEPT_BACK_WAIT: Duration = Duration::from_millis(1);
/// Shorter waits would cost more than they save.
const WAIT_MIN: Duration = Duration::from_micros(100);
/// Used batches that are kept for the next ones.
const SPARE_BATCHES_MAX: usize = 64;
/// A used batch that grew beyond this is given back.
const SPARE_BYTES_MAX: usize = 128 * 1024;

/// A command that the control plane answers.
struct Ticket {
    batch: Box<Batch>,
    /// The partitions of the transaction that it is part of.
    held: Option<Held>,
    /// What is done behind what the answer leads to on every core.
    then: Then,
    /// Its client counts as blocked.
    blocks: bool,
}

impl Ticket {
    /// A command that is answered with what became of it.
    fn of(batch: Box<Batch>, held: Option<Held>) -> Ticket {
        Ticket { batch, held, then: Then::Ok, blocks: false }
    }
}

/// What the control plane answers.
pub enum Answer {
    /// It was done.
    Done,
    /// It was done, and leads to this on every core.
    Everywhere(Job),
    /// It was begun, and this is the reply.
    Said(&'static str),
    /// Keys were sent to another server, or were not.
    Migrated(Outcome),
}

/// What the event loop asks of the control plane; answers come back through the eventfd.
pub trait Control {
    /// Does what a command asks for; `answer` tells the core that asked of the outcome.
    fn ask(&self, core: usize, ticket: u64, request: Request);
    /// The next answer for `core`: the ticket, and what went wrong.
    fn answer(&self, core: usize) -> Option<(u64, Result<Answer, String>)>;
    /// Writes a piece of a save.
    fn save(&self, save: &Arc<Save>, piece: SavePiece);
    /// Begins to load a file.
    fn load(&self, order: LoadOrder);
    /// What comes next of a file for `core`.
    fn loaded(&self, core: usize) -> Option<(Arc<Load>, Piece)>;
    /// What has come of the primary.
    fn followed(&self) -> Option<FromPrimary> {
        None
    }
    /// Ends the link to the primary, which is opened again.
    fn end_link(&self) {}
    /// What the primary wants to hear of has taken effect.
    fn acknowledge(&self) {}
    /// The configuration is this one from now on.
    fn configured(&self, _config: &Arc<Config>) {}
    /// Opens what a rewrite of the AOF needs; who calls has the right to the next snapshot.
    fn rewrite(&self, order: RewriteOrder);
    /// Fills a file of the journal, by its number, with zeros between two places.
    fn fill(&self, fd: OwnedFd, number: u64, place: (u64, u64));
    /// Cuts a file of the journal behind its last group.
    fn trim(&self, fd: OwnedFd, len: u64);
    /// What was opened for the journal.
    fn journal(&self) -> Option<Opened>;
    /// What comes next of a snapshot for replicas. Only the core that sends it asks.
    fn outgoing(&self) -> Option<Outgoing> {
        None
    }
    /// So many bytes of it have been sent to all of them.
    fn took(&self, _bytes: u64) {}
    /// Nobody wants it any more.
    fn give_up(&self) {}
    /// Those who connect from now on find these certificates.
    fn use_tls(&self, _context: Arc<tls::Context>) {}
    /// Does the handshake of a connection.
    fn secure(&self, _newcomer: Newcomer) {}
    /// The next connection for `core` that is through its handshake.
    fn secured(&self, _core: usize) -> Option<Box<Secured>> {
        None
    }
    /// What the control plane wants to know of `core`: a part that sends it there.
    fn inquiry(&self, _core: usize) -> Option<Job> {
        None
    }
    /// The process is to end: wake everybody.
    fn shut_down(&self);
}

/// What a core is built of.
pub struct Parts<R, C> {
    /// Its way to the kernel.
    pub ring: R,
    /// Its clock.
    pub clock: C,
    /// Who its worker is.
    pub identity: Identity,
    /// Its partition.
    pub partition: Box<Partition>,
    /// Its ends of the mailboxes.
    pub mail: Mail,
    /// The sockets that it accepts on; only core 0 has any.
    pub listeners: Vec<Listener>,
    /// The control plane.
    pub control: Arc<dyn Control + Send + Sync>,
    /// Poll before waiting: false with more threads than processors.
    pub may_spin: bool,
}

/// One pinned thread of the data plane.
pub struct Core<R: Ring, C: Clock> {
    ring: R,
    clock: C,
    worker: Worker,
    map: SlotMap,
    seat: Seat,
    clients: Clients,
    client_memory: ClientMemory,
    /// What its clients may leave unread together, beyond what each of them may anyway.
    allowance_bytes: usize,
    mail: Mail,
    coordinator: Coordinator,
    listeners: Slab<Listener>,
    control: Arc<dyn Control + Send + Sync>,
    /// What clients have sent since the last turn, in the order in which it came.
    received: VecDeque<(Token, BufferLease)>,
    stage: Stage,
    /// The replies of this turn, of all clients.
    replies: ReplyBuffer,
    /// Bytes of the longest turn since the buffer was looked at.
    longest_replies: usize,
    /// Clients with replies in this turn, or output to go on with.
    dirty: Vec<u32>,
    /// Clients with input that has not been parsed.
    ready: Vec<u32>,
    /// Clients whose receive has to be armed again.
    rearm: Vec<u32>,
    /// Clients to be closed at the end of the turn.
    doomed: Vec<u32>,
    /// Clients whose peer has sent its last byte, to be closed unless something of theirs still runs.
    hung_up: Vec<u32>,
    /// The journal, and who waits for it.
    desk: Desk,
    /// The stream, and the replicas that follow it.
    feeder: Feeder,
    /// What waits until they have everything.
    handing: Handing,
    /// Clients that wait for replicas, and those that have begun to in this turn.
    awaiting: Vec<(u32, u32)>,
    asking: Vec<(u32, u32)>,
    /// What closed clients have subscribed to and have not left yet.
    departures: Departures,
    /// Pushes on their way to clients.
    inbox: Inbox,
    /// Batches that have come in this turn.
    arrived: Vec<Box<Batch>>,
    /// Batches held by CLIENT PAUSE.
    paused: Vec<Box<Batch>>,
    wholes: BTreeMap<u64, OpenWhole>,
    tickets: BTreeMap<u64, Ticket>,
    /// When clients that wait stop waiting.
    deadlines: Deadlines,
    /// Batches whose next command runs a script, once all that was staged has run.
    scripts_due: VecDeque<Box<Batch>>,
    /// They run now.
    runs_scripts: bool,
    /// Batches of a loan that have not had their turn, and those that have; to be answered when a
    /// script before them runs for too long.
    loan_batches: VecDeque<Box<Batch>>,
    loan_done: Vec<Box<Batch>>,
    /// Batches whose next command names a key that is kept for a waiter.
    kept_back: Vec<Box<Batch>>,
    spare_replies: ReplyBuffer,
    last_number: u64,
    spare_batches: Vec<Box<Batch>>,
    /// The log of refusals; that of one core alone is used.
    acl_log: Log,
    /// The remarkable commands of the clients that live here.
    command_log: CommandLog,
    cron: Cron,
    probe: Probe,
    key_samples: KeySamples,
    /// Commands of an AOF that need all partitions, while they run.
    serial: Option<replay::Serial>,
    /// What comes of the primary.
    follower: follow::Follower,
    /// Rewrites of the AOF.
    rewriting: rewrite::Rewriting,
    /// A save that commands of keys wait for.
    holding: Option<save::Holding>,
    /// What has been saved before the end, and must not change any more.
    kept_to_the_end: Vec<Box<Partition>>,
    /// There is more to do than the turn had time for.
    has_more: bool,
    may_spin: bool,
    sabotage: Sabotage,
    /// Clients whose connection is encrypted.
    secured_clients: usize,
    /// The second in which the files of certificates were looked at last.
    certificates_seen: i64,
    /// Room for records on their way in and out.
    records: Vec<u8>,
    /// Clients and batches served in this turn.
    served: usize,
}

impl<R: Ring, C: Clock> Core<R, C> {
    /// A core that has not begun to turn.
    pub fn new(parts: Parts<R, C>) -> Core<R, C> {
        let core = parts.identity.core;
        let cores = parts.mail.cores();
        Core {
            ring: parts.ring,
            clock: parts.clock,
            worker: Worker::new(parts.identity),
            map: SlotMap::new(cores),
            seat: Seat::new(parts.partition),
            clients: Clients::new(core),
            client_memory: ClientMemory::default(),
            allowance_bytes: 0,
            mail: parts.mail,
            coordinator: Coordinator::new(core),
            listeners: parts.listeners.into_iter().enumerate().collect(),
            control: parts.control,
            received: VecDeque::new(),
            stage: Stage::default(),
            replies: ReplyBuffer::default(),
            longest_replies: 0,
            dirty: Vec::new(),
            ready: Vec::new(),
            rearm: Vec::new(),
            doomed: Vec::new(),
            hung_up: Vec::new(),
            desk: Desk::new(core, cores),
            feeder: Feeder::new(),
            handing: Handing::default(),
            awaiting: Vec::new(),
            asking: Vec::new(),
            departures: Departures::default(),
            inbox: Inbox::new(cores),
            arrived: Vec::new(),
            paused: Vec::new(),
            wholes: BTreeMap::new(),
            tickets: BTreeMap::new(),
            deadlines: Deadlines::new(),
            scripts_due: VecDeque::new(),
            runs_scripts: false,
            loan_batches: VecDeque::new(),
            loan_done: Vec::new(),
            kept_back: Vec::new(),
            spare_replies: ReplyBuffer::default(),
            last_number: 0,
            spare_batches: Vec::new(),
            acl_log: Log::default(),
            command_log: CommandLog::default(),
            cron: Cron::new(),
            probe: Probe::default(),
            key_samples: KeySamples::default(),
            serial: None,
            follower: follow::Follower::default(),
            rewriting: rewrite::Rewriting::default(),
            holding: None,
            kept_to_the_end: Vec::new(),
            has_more: false,
            may_spin: parts.may_spin,
            sabotage: Sabotage::None,
            secured_clients: 0,
            certificates_seen: 0,
            records: Vec::new(),
            served: 0,
        }
    }

    /// Arms what a core always listens to. Once, before the first turn.
    pub fn start(&mut self) {
        self.ring.push(Op::Event { token: Token::new(Kind::Event, 0, 0) });
        for index in 0..self.listeners.len() {
            self.arm_accept(index as u32);
        }
        self.read_clock();
        self.prepare_replies();
        self.tls_changed(None);
        self.config_changed();
        let core = self.worker.core;
        crate::observe::log::write(crate::observe::log::Level::Debug, || {
            format!("core {core} has started")
        });
    }

    /// Turns until the process is to end.
    pub fn run(&mut self) {
        self.start();
        while !self.worker.is_shutting_down() {
            self.turn();
        }
        self.end_journal();
        // Nobody gets in whom the end of the process would find.
        self.listeners.iter_mut().for_each(|(_, listener)| listener.stop());
        self.close_everything();
    }

    /// One turn, from the completions of the last wait to the next wait.
    pub fn turn(&mut self) {
        self.mail.unpark();
        let wait = self.work();
        let Core { ring, mail, .. } = self;
        // Polling pays for the next request of a lone client; with more, there is always one.
        let lone = self.may_spin && (1..=LONE_CLIENTS_MAX).contains(&self.served);
        // With more of them that would keep a processor busy whatever the load is.
        let brief = self.clients.len() > LONE_CLIENTS_MAX;
        let times = if brief { SPINS_BRIEF } else { SPINS_LONE };
        let found = lone && wait != Wait::No && ring.spin(times, &mut || mail.has_come());
        if found || wait == Wait::No || !mail.park() {
            return ring.submit_and_wait(Wait::No);
        }
        ring.submit_and_wait(wait);
    }

    /// Everything of a turn but the wait; how long to wait.
    fn work(&mut self) -> Wait {
        self.read_clock();
        self.worker.begin_memory_turn();
        self.worker.check_persistence();
        self.served = 0;
        self.reap();
        self.move_replicas();
        self.take_mail();
        self.run_received();
        self.run_scripts();
        self.answer_waiting();
        self.serve_seat();
        self.has_more = self.load_some();
        self.has_more |= self.go_on_holding();
        self.follow_some();
        self.keep_house();
        self.leave_more();
        self.settle_acks();
        self.settle_waits();
        self.run_scripts();
        self.before_sleep();
        self.stand_still();
        self.next_wait()
    }

    /// DEBUG SLEEP: the core stands still, after its mail has left, so that all cores do it at once.
    pub(super) fn stand_still(&mut self) {
        let nanos = std::mem::take(&mut self.worker.switches.stall_nanos);
        if nanos > 0 {
            self.clock.sleep(nanos);
        }
    }

    /// The time of this turn; never behind anything that was handled.
    fn read_clock(&mut self) {
        let wall = self.clock.wall();
        self.worker.wall = self.worker.wall.max(wall);
        self.worker.now = self.worker.now.max(wall.millis());
        self.cron.begin_turn(self.clock.monotonic());
        self.worker.start_turn();
        self.worker.look_for_busy();
    }

    fn monotonic(&mut self) -> Nanos {
        self.clock.monotonic()
    }

    /// What the turn caused leaves: messages, replies, wakes.
    fn before_sleep(&mut self) {
        self.request_loan();
        self.ask_for_room();
        self.publish_gauges();
        self.end_hung_up();
        self.push_own();
        // Nothing runs from here on, and nothing has left.
        self.number_turn();
        self.post_invalidations();
        self.write_held();
        self.release_replies();
        self.ask_for_acks();
        self.serve_replicas();
        self.send_replies();
        self.close_doomed();
        self.evict_clients();
        self.stage.end_turn();
        self.ring.publish();
        self.rearm_receives();
        self.post_pushes();
        for core in self.mail.flush().iter() {
            self.worker.stats.totals.wakes.add(1);
            self.ring.push(Op::Wake { core });
        }
        self.has_more |= self.write_journal() | self.wait_for_writer();
        self.publish_turn();
    }

    fn next_wait(&mut self) -> Wait {
        let busy = !self.ready.is_empty() || self.mail.has_backlog() || self.seat.is_due();
        let busy = busy || self.has_ends() || self.inbox.is_due() || !self.scripts_due.is_empty();
        let busy = busy || self.has_more || self.departures.is_due();
        if busy || self.mail.has_come() {
            return Wait::No;
        }
        let mut wait = self.cron.until_next();
        if !self.kept_back.is_empty() {
            // Nobody tells when there is room again.
            wait = wait.min(KEPT_BACK_WAIT);
        }
        if let Some(millis) = self.until_deadline() {
            wait = wait.min(Duration::from_millis(millis));
        }
        if let Some(until) = self.until_group() {
            if until < WAIT_MIN {
                return Wait::No;
            }
            wait = wait.min(until);
        }
        Wait::Upto(wait.max(WAIT_MIN))
    }

    /// An empty batch for the commands of a client.
    fn new_batch(&mut self, client: u32) -> Option<Box<Batch>> {
        let core = self.worker.core;
        let connection = self.clients.get(client)?;
        let name = (core, client, connection.generation);
        let (facts, alive) = (connection.session.facts, connection.alive());
        connection.away = true;
        Some(match self.spare_batches.pop() {
            None => Box::new(Batch::new(name, facts, alive)),
            Some(mut batch) => {
                batch.reuse(name, facts, alive);
                batch
            }
        })
    }

    fn keep_spare(&mut self, mut batch: Box<Batch>) {
        if !batch.notes.is_empty() {
            // Its client has gone.
            self.file_notes(u32::MAX, std::mem::take(&mut batch.notes));
        }
        batch.clear();
        if self.spare_batches.len() < SPARE_BATCHES_MAX && batch.held_bytes() <= SPARE_BYTES_MAX {
            self.spare_batches.push(batch);
        }
    }

    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }
}
