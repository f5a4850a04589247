//! One core on a ring without kernel and without chance: what it receives was prepared, what it sends
//! is counted and forgotten.
//!
//! Invariant: in a warm core neither the ring nor its script allocates, so that what is counted or
//! timed in a turn is the core's.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use ironring::base::mailbox::Parked;
use ironring::base::rng::Rng;
use ironring::base::siphash::HashKey;
use ironring::base::slot::Slot;
use ironring::base::time::{SimClock, TickRate};
use ironring::base::turns::Turns;
use ironring::dispatch::table::table;
use ironring::dispatch::worker::Identity;
use ironring::event_loop::{Core, Mail, Parts};
use ironring::pubsub::tracking::letterboxes;
use ironring::resp::request::encode;
use ironring::ring::{BufferLease, Completion, Fd, Kind, Op, Ring, Token, Wait};
use ironring::store::key::Hasher;
use ironring::store::partition::Partition;

use super::parts;

/// Scripted descriptors begin here: far beyond those of the process.
const FIRST_FD: Fd = 1 << 30;
/// Commands of one prepared request, at most: what a client may run in one turn.
const COMMANDS_PER_TURN_MAX: usize = 1024;

/// What happens next to the ring, and what it has seen.
#[derive(Default)]
struct Script {
    completions: VecDeque<Completion>,
    accepting: Option<Token>,
    /// Tokens of the armed receives, by client.
    receiving: Vec<Option<Token>>,
    sent_bytes: u64,
}

impl Script {
    fn complete(&mut self, token: Token, result: usize, lease: Option<BufferLease>) {
        let more = matches!(token.kind(), Kind::Recv | Kind::Accept);
        self.completions.push_back(Completion { token, result: result as i32, more, lease });
    }
}

/// A ring that follows a script.
pub(crate) struct ScriptedRing {
    script: Rc<RefCell<Script>>,
    requests: Vec<Vec<u8>>,
    output: Vec<u8>,
}

impl Ring for ScriptedRing {
    fn push(&mut self, op: Op) {
        let mut script = self.script.borrow_mut();
        match op {
            Op::Accept { token, .. } => script.accepting = Some(token),
            Op::Recv { fd, token } => script.receiving[(fd - FIRST_FD) as usize] = Some(token),
            Op::SendTurn { len, .. } => script.sent_bytes += len as u64,
            Op::Send { token, bytes, .. } => {
                script.sent_bytes += bytes.len() as u64;
                script.complete(token, bytes.len(), None);
            }
            // Nobody leaves, and no other core is there.
            Op::Cancel { .. } | Op::Close { .. } | Op::Wake { .. } | Op::Event { .. } => {}
            Op::Write { .. } | Op::Sync { .. } | Op::WriteBack { .. } => {
                unreachable!("nothing is journaled")
            }
            Op::RecvInto { .. } => unreachable!("every prepared request arrives as a whole"),
        }
    }

    fn last_output(&self) -> &[u8] {
        &self.output
    }

    fn swap_output(&mut self, output: Vec<u8>) -> Vec<u8> {
        std::mem::replace(&mut self.output, output)
    }

    fn submit_and_wait(&mut self, _wait: Wait) {}

    fn spin(&mut self, _times: u32, _has_work: &mut dyn FnMut() -> bool) -> bool {
        false
    }

    fn reap(&mut self) -> Option<Completion> {
        self.script.borrow_mut().completions.pop_front()
    }

    fn overflowed(&mut self) -> bool {
        false
    }

    #[inline]
    fn bytes(&self, lease: &BufferLease) -> &[u8] {
        &self.requests[lease.buffer as usize]
    }

    fn release(&mut self, _lease: BufferLease) {}

    fn publish(&mut self) {}

    fn take_received(&mut self, _token: Token, _received: usize) -> Vec<u8> {
        unreachable!("no receive into a buffer was begun")
    }

    fn finish_send(&mut self, _token: Token) {}

    fn finish_write(&mut self, _token: Token) {}
}

/// A core with its clients, and the requests that they can send.
pub(crate) struct Scripted {
    core: Core<ScriptedRing, SimClock>,
    script: Rc<RefCell<Script>>,
    request_bytes: Vec<u32>,
}

impl Scripted {
    /// A core with so many clients, which will send `requests`, each of at most
    /// `COMMANDS_PER_TURN_MAX` commands.
    pub(crate) fn new(clients: usize, requests: Vec<Vec<u8>>) -> Scripted {
        let script = Rc::new(RefCell::new(Script::default()));
        let request_bytes = requests.iter().map(|one| one.len() as u32).collect();
        let ring = ScriptedRing { script: script.clone(), requests, output: Vec::new() };
        let mut core = core(ring);
        core.start();
        {
            let mut script = script.borrow_mut();
            script.receiving.resize(clients, None);
            let token = script.accepting.expect("core 0 accepts");
            for client in 0..clients {
                script.complete(token, FIRST_FD as usize + client, None);
            }
        }
        let mut scripted = Scripted { core, script, request_bytes };
        // They are accepted in one turn and taken in in the next.
        scripted.turn();
        scripted.turn();
        assert!(
            scripted.script.borrow().receiving.iter().all(Option::is_some),
            "all are listened to"
        );
        scripted
    }

    /// Lets a client send a request; it is received in the next turn.
    pub(crate) fn send(&self, client: usize, request: usize) {
        let mut script = self.script.borrow_mut();
        let token = script.receiving[client].expect("its receive is armed");
        let len = self.request_bytes[request];
        let lease = BufferLease { buffer: request as u16, start: 0, len, last: true };
        script.complete(token, len as usize, Some(lease));
    }

    /// Lets the core turn once; the bytes that it sent.
    pub(crate) fn turn(&mut self) -> u64 {
        let before = self.script.borrow().sent_bytes;
        self.core.turn();
        self.script.borrow().sent_bytes - before
    }
}

/// Commands as one request, the way a client sends a pipeline.
pub(crate) fn pipeline(commands: &[Vec<Vec<u8>>]) -> Vec<u8> {
    assert!(commands.len() <= COMMANDS_PER_TURN_MAX, "one turn runs them all");
    commands.iter().flat_map(|words| encode(words)).collect()
}

/// Core 0 of one.
fn core(ring: ScriptedRing) -> Core<ScriptedRing, SimClock> {
    let config = parts::config();
    let hasher = Hasher::new(HashKey { k0: 1, k1: 2 });
    let slot = |number| Slot::from_number(number).expect("a slot");
    let partition = Partition::new(slot(0), slot(16383), config.databases, hasher);
    Core::new(Parts {
        ring,
        clock: SimClock::new(parts::WALL_AT_START),
        identity: Identity {
            core: 0,
            tls: None,
            users: table().first_users(&config),
            server: Arc::new(parts::facts(1, config.databases)),
            config,
            hasher,
            rng: Rng::new(3),
            // No command is long: a turn ends when its commands have run.
            tick_rate: TickRate::constant(0),
        },
        partition: Box::new(partition),
        mail: Mail::new(
            0,
            vec![None],
            vec![None],
            (Arc::new([Parked::new()]), Arc::new(Turns::new(1)), letterboxes(1)),
        ),
        listeners: vec![parts::listener()],
        control: Arc::new(parts::NoControl),
        may_spin: false,
    })
}
