//! A ring without a kernel: simulated sockets whose every delay, split and failure comes from a seed.
//!
//! Invariant: a [`SimRing`] does whatever the contract of [`Ring`] allows and nothing else, and it
//! asserts what the contract asks of its user: a lease is released once and not looked at again,
//! the turn's output stays until every failed send of it was reaped, a client has one owned
//! transfer of a kind, a descriptor is closed once, after what was under way on it was cancelled.
//! One thread: all rings of a [`SimNet`] share its state. Source: the fault injection of
//! FoundationDB's simulator (Zhou et al., "FoundationDB", SIGMOD 2021, section 4); faults that are
//! likely in one run and absent in the next: Groce et al., "Swarm Testing" (ISSTA 2012).

mod disk;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use bytes::Bytes;
use disk::Disk;
pub use disk::DiskFaults;

use super::leases::Leases;
use super::{BufferLease, Completion, Fd, Kind, Op, Ring, Token, Wait};
use crate::base::rng::Rng;
use crate::base::time::{Clock, Nanos, SimClock};

/// Simulated descriptors begin here: far beyond those of the process.
const FIRST_FD: Fd = 1 << 30;
/// What released receive memory is overwritten with, so that a late look at it shows.
const POISON: u8 = 0xdb;
/// Bytes of one completed receive, at most, unless the seed wants small pieces.
const RECEIVE_BYTES_MAX: usize = 64 * 1024;

/// How likely each fault is, in thousandths, and how small the queues are.
#[derive(Clone, Debug)]
pub struct Faults {
    /// A receive completes with at most these many bytes.
    pub receive_bytes_max: usize,
    /// Room for replies in a socket, at most.
    pub window_bytes_max: usize,
    /// Receive buffers of a core, and the size of each.
    pub buffers: (u16, u32),
    /// One buffer serves several receives.
    pub incremental: bool,
    /// Entries of the submission queue; a full one is submitted within a push.
    pub submissions_max: usize,
    /// Entries of the completion queue; the rest comes late.
    pub completions_max: usize,
    /// A receive ends with ENOBUFS though there are buffers.
    pub no_buffers: u64,
    /// A multishot operation ends with a completion that succeeded.
    pub multishot_ends: u64,
    /// Data is delivered between a cancellation and its completion.
    pub data_after_cancel: u64,
    /// A send takes less than there is room for.
    pub short_send: u64,
    /// An operation is interrupted.
    pub interrupted: u64,
    /// An accept finds no free descriptor.
    pub no_descriptors: u64,
}

impl Faults {
    /// None at all.
    pub fn none() -> Faults {
        Faults {
            receive_bytes_max: RECEIVE_BYTES_MAX,
            window_bytes_max: 4 * 1024 * 1024,
            buffers: (64, RECEIVE_BYTES_MAX as u32),
            incremental: true,
            submissions_max: 1024,
            completions_max: 8192,
            no_buffers: 0,
            multishot_ends: 0,
            data_after_cancel: 0,
            short_send: 0,
            interrupted: 0,
            no_descriptors: 0,
        }
    }

    /// Some, by chance; each is absent in many runs, so that it hides none of the others.
    pub fn random(rng: &mut Rng) -> Faults {
        let mut one_of = |choices: &[usize]| choices[rng.below(choices.len() as u64) as usize];
        Faults {
            receive_bytes_max: one_of(&[RECEIVE_BYTES_MAX, 4096, 100, 7]),
            window_bytes_max: one_of(&[4 * 1024 * 1024, 100_000, 2000, 50]),
            buffers: (one_of(&[64, 2, 1]) as u16, one_of(&[RECEIVE_BYTES_MAX, 4096, 64]) as u32),
            incremental: one_of(&[0, 1]) == 1,
            submissions_max: one_of(&[1024, 4, 1]),
            completions_max: one_of(&[8192, 8, 1]),
            no_buffers: one_of(&[0, 0, 50, 300]) as u64,
            multishot_ends: one_of(&[0, 0, 50, 500]) as u64,
            data_after_cancel: one_of(&[0, 500]) as u64,
            short_send: one_of(&[0, 0, 100, 500]) as u64,
            interrupted: one_of(&[0, 0, 50]) as u64,
            no_descriptors: one_of(&[0, 0, 200]) as u64,
        }
    }
}

/// One simulated connection, as its client names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientEnd(usize);

/// The simulated network and kernel of one process. Clones share it.
#[derive(Clone)]
pub struct SimNet {
    world: Rc<RefCell<World>>,
}

impl SimNet {
    /// A network for so many cores, with this clock, in which `seed` decides everything.
    pub fn new(seed: u64, cores: usize, faults: Faults, clock: SimClock) -> SimNet {
        let cores = (0..cores).map(|_| CoreSide::new(&faults)).collect();
        let world = World {
            rng: Rng::new(seed),
            faults,
            clock,
            cores,
            sockets: Vec::new(),
            descriptors: BTreeMap::new(),
            backlog: VecDeque::new(),
            disk: Disk::default(),
        };
        SimNet { world: Rc::new(RefCell::new(world)) }
    }

    /// The ring of a core.
    pub fn ring(&self, core: usize) -> SimRing {
        let (count, size) = self.world.borrow().faults.buffers;
        SimRing {
            world: self.world.clone(),
            core,
            memory: vec![POISON; count as usize * size as usize],
            buffer_size: size as usize,
            live: BTreeSet::new(),
            output: Vec::new(),
            queue: Vec::new(),
            receives: BTreeMap::new(),
            landed: BTreeMap::new(),
            sends: BTreeMap::new(),
            writes: BTreeMap::new(),
        }
    }

    /// A client connects.
    pub fn connect(&self) -> ClientEnd {
        let mut world = self.world.borrow_mut();
        let max = world.faults.window_bytes_max as u64;
        let window = 1 + world.rng.below(max) as usize;
        let end = world.sockets.len();
        world.sockets.push(Socket { window, ..Socket::default() });
        world.backlog.push_back(end);
        ClientEnd(end)
    }

    /// A client sends.
    pub fn send(&self, end: ClientEnd, bytes: &[u8]) {
        let mut world = self.world.borrow_mut();
        let socket = &mut world.sockets[end.0];
        if !socket.server_closed {
            socket.to_server.extend(bytes);
        }
    }

    /// A client reads at most `limit` bytes.
    pub fn read(&self, end: ClientEnd, limit: usize) -> Vec<u8> {
        let mut world = self.world.borrow_mut();
        let received = &mut world.sockets[end.0].to_client;
        let count = received.len().min(limit);
        received.drain(..count).collect()
    }

    /// A client has sent its last byte; it still reads.
    pub fn finish_sending(&self, end: ClientEnd) {
        self.world.borrow_mut().sockets[end.0].finished = true;
    }

    /// A client closes its socket; what is sent to it from now on is refused.
    pub fn close(&self, end: ClientEnd) {
        let mut world = self.world.borrow_mut();
        let socket = &mut world.sockets[end.0];
        (socket.finished, socket.gone) = (true, true);
    }

    /// A client vanishes; what it sent and was not received is lost.
    pub fn reset(&self, end: ClientEnd) {
        let mut world = self.world.borrow_mut();
        let socket = &mut world.sockets[end.0];
        (socket.finished, socket.gone, socket.reset) = (true, true, true);
        socket.to_server.clear();
    }

    /// The server has closed its end, and everything that it sent was read.
    pub fn is_at_end(&self, end: ClientEnd) -> bool {
        let world = self.world.borrow();
        let socket = &world.sockets[end.0];
        socket.server_closed && socket.to_client.is_empty()
    }

    /// Bytes that wait for the client.
    pub fn readable(&self, end: ClientEnd) -> usize {
        self.world.borrow().sockets[end.0].to_client.len()
    }

    /// Writes to the eventfd of a core.
    pub fn write_event(&self, core: usize) {
        let mut world = self.world.borrow_mut();
        if let Some(token) = world.cores[core].event.take() {
            world.complete(core, Completion { token, result: 8, more: false, lease: None }, None);
        }
    }

    /// Lets one thing happen that may happen now, which one by chance. False if there is none.
    pub fn step(&self) -> bool {
        self.world.borrow_mut().step()
    }

    /// A core does not wait, or what it waits for has come.
    pub fn is_awake(&self, core: usize) -> bool {
        let mut world = self.world.borrow_mut();
        let now = world.clock.monotonic();
        let core = &world.cores[core];
        !core.completions.is_empty()
            || !core.late.is_empty()
            || core.waits_until.is_none_or(|until| until <= now)
    }

    /// When the first core wakes by itself, if nothing happens.
    pub fn next_timeout(&self) -> Option<Nanos> {
        self.world.borrow().cores.iter().filter_map(|core| core.waits_until).min()
    }

    /// Makes a file that the server may write to, with these contents.
    pub fn open_file(&self, fd: Fd, contents: &[u8], faults: DiskFaults) {
        let disk = &mut self.world.borrow_mut().disk;
        disk.faults = faults;
        disk.open(fd, contents);
    }

    /// What a file holds now; what it would after a power cut if `power_cut` says so.
    pub fn file(&self, fd: Fd, power_cut: bool) -> Option<Vec<u8>> {
        let World { disk, rng, .. } = &mut *self.world.borrow_mut();
        if power_cut { disk.after_power_cut(fd, rng) } else { disk.contents(fd) }
    }

    /// A client waits to be accepted.
    pub fn has_backlog(&self) -> bool {
        !self.world.borrow().backlog.is_empty()
    }

    /// Descriptors that the server has not closed.
    pub fn open_descriptors(&self) -> usize {
        self.world.borrow().descriptors.len()
    }

    /// Asserts that nothing is under way and no buffer is held, as it must be without clients.
    pub fn assert_quiet(&self) {
        let world = self.world.borrow();
        assert!(world.descriptors.is_empty(), "a descriptor was never closed");
        for (number, socket) in world.sockets.iter().enumerate() {
            let idle = socket.receiving.is_none() && socket.sending.is_none();
            assert!(idle, "an operation of socket {number} never ended: {socket:?}");
        }
        for (number, core) in world.cores.iter().enumerate() {
            let quiet = core.completions.is_empty() && core.late.is_empty();
            assert!(quiet, "core {number} did not reap everything");
            assert_eq!(core.buffers.held(), 0, "core {number} did not release every lease");
        }
    }
}

/// A receive that is armed.
#[derive(Clone, Copy, Debug)]
struct Receiving {
    core: usize,
    token: Token,
    /// Bytes, at most, of a receive into a buffer of its own; None for a multishot one.
    limit: Option<usize>,
    cancelled: bool,
}

/// An owned send under way.
#[derive(Debug)]
struct Sending {
    core: usize,
    token: Token,
    bytes: Bytes,
    sent: usize,
    cancelled: bool,
}

/// Both ends of a connection.
#[derive(Debug, Default)]
struct Socket {
    to_server: VecDeque<u8>,
    to_client: VecDeque<u8>,
    window: usize,
    finished: bool,
    gone: bool,
    reset: bool,
    server_closed: bool,
    receiving: Option<Receiving>,
    sending: Option<Sending>,
}

impl Socket {
    fn room(&self) -> usize {
        self.window.saturating_sub(self.to_client.len())
    }

    /// What a send meets, if not room.
    fn send_error(&self) -> Option<i32> {
        match (self.reset, self.gone) {
            (true, _) => Some(-libc::ECONNRESET),
            (false, true) => Some(-libc::EPIPE),
            (false, false) => None,
        }
    }
}

/// A completion with the bytes that the kernel wrote for it.
type Arrival = (Completion, Option<Vec<u8>>);

/// What the kernel keeps for one core.
#[derive(Debug)]
struct CoreSide {
    completions: VecDeque<Arrival>,
    late: VecDeque<Arrival>,
    overflowed: bool,
    accepting: Vec<Token>,
    event: Option<Token>,
    wakes: usize,
    waits_until: Option<Nanos>,
    failed_turn_sends: usize,
    buffers: Leases,
}

impl CoreSide {
    fn new(faults: &Faults) -> CoreSide {
        CoreSide {
            completions: VecDeque::new(),
            late: VecDeque::new(),
            overflowed: false,
            accepting: Vec::new(),
            event: None,
            wakes: 0,
            waits_until: None,
            failed_turn_sends: 0,
            buffers: Leases::new(faults.buffers),
        }
    }
}

/// Something that may happen next.
#[derive(Clone, Copy)]
enum Event {
    Accept { core: usize, at: usize },
    Receive(usize),
    Send(usize),
    Wake(usize),
    Disk,
}

struct World {
    rng: Rng,
    faults: Faults,
    clock: SimClock,
    cores: Vec<CoreSide>,
    sockets: Vec<Socket>,
    descriptors: BTreeMap<Fd, usize>,
    backlog: VecDeque<usize>,
    disk: Disk,
}

impl World {
    fn happens(&mut self, thousandths: u64) -> bool {
        self.rng.below(1000) < thousandths
    }

    fn complete(&mut self, core: usize, completion: Completion, bytes: Option<Vec<u8>>) {
        let completions_max = self.faults.completions_max;
        let side = &mut self.cores[core];
        // A failed send of the turn's output is never late: the contract says so.
        if completion.token.kind() == Kind::SendTurn {
            side.failed_turn_sends += 1;
            side.completions.push_back((completion, bytes));
        } else if side.late.is_empty() && side.completions.len() < completions_max {
            side.completions.push_back((completion, bytes));
        } else {
            side.overflowed = true;
            side.late.push_back((completion, bytes));
        }
    }

    fn finish(&mut self, core: usize, token: Token, result: i32) {
        self.complete(core, Completion { token, result, more: false, lease: None }, None);
    }

    fn step(&mut self) -> bool {
        let mut events = Vec::new();
        for (core, side) in self.cores.iter().enumerate() {
            if !self.backlog.is_empty() {
                events.extend((0..side.accepting.len()).map(|at| Event::Accept { core, at }));
            }
            if side.wakes > 0 {
                events.push(Event::Wake(core));
            }
        }
        for (number, socket) in self.sockets.iter().enumerate() {
            if socket.receiving.is_some_and(|receiving| {
                receiving.cancelled || socket.finished || !socket.to_server.is_empty()
            }) {
                events.push(Event::Receive(number));
            }
            if socket.sending.as_ref().is_some_and(|sending| {
                sending.cancelled || socket.send_error().is_some() || socket.room() > 0
            }) {
                events.push(Event::Send(number));
            }
        }
        if self.disk.is_busy() {
            events.push(Event::Disk);
        }
        if events.is_empty() {
            return false;
        }
        match events[self.rng.below(events.len() as u64) as usize] {
            Event::Accept { core, at } => self.accept(core, at),
            Event::Receive(number) => self.receive(number),
            Event::Send(number) => self.send(number),
            Event::Wake(core) => {
                self.cores[core].wakes -= 1;
                self.finish(core, Token::new(Kind::Wake, 0, 0), 0);
            }
            Event::Disk => {
                if let Some((core, token, result)) = self.disk.step(&mut self.rng) {
                    self.finish(core, token, result);
                }
            }
        }
        true
    }

    fn accept(&mut self, core: usize, at: usize) {
        let token = self.cores[core].accepting[at];
        if self.happens(self.faults.no_descriptors) {
            self.cores[core].accepting.remove(at);
            return self.finish(core, token, -libc::EMFILE);
        }
        let Some(number) = self.backlog.pop_front() else { return };
        // The lowest free number, as in a kernel: a stale use of a closed one meets a stranger.
        let fd = (FIRST_FD..Fd::MAX).find(|fd| !self.descriptors.contains_key(fd));
        let fd = fd.expect("fewer than two thousand million clients");
        self.descriptors.insert(fd, number);
        let more = !self.happens(self.faults.multishot_ends);
        if !more {
            self.cores[core].accepting.remove(at);
        }
        self.complete(core, Completion { token, result: fd, more, lease: None }, None);
    }

    fn receive(&mut self, number: usize) {
        let Some(receiving) = self.sockets[number].receiving else { return };
        let Receiving { core, token, limit, cancelled } = receiving;
        let arrived = self.sockets[number].to_server.len();
        let end = |world: &mut World, result| {
            world.sockets[number].receiving = None;
            world.finish(core, token, result);
        };
        if cancelled && (arrived == 0 || !self.happens(self.faults.data_after_cancel)) {
            return end(self, -libc::ECANCELED);
        }
        if self.happens(self.faults.interrupted) {
            return end(self, if limit.is_some() { -libc::EINTR } else { -libc::EAGAIN });
        }
        if self.sockets[number].reset {
            return end(self, -libc::ECONNRESET);
        }
        if arrived == 0 {
            return end(self, 0);
        }
        let room = match limit {
            Some(limit) => Some(limit),
            None if self.happens(self.faults.no_buffers) => None,
            None => self.cores[core].buffers.room().map(|room| room as usize),
        };
        let Some(room) = room else { return end(self, -libc::ENOBUFS) };
        let most = arrived.min(room).min(self.faults.receive_bytes_max);
        // Whole and split receives are equally likely.
        let len = if self.happens(500) { most } else { 1 + self.rng.below(most as u64) as usize };
        let bytes: Vec<u8> = self.sockets[number].to_server.drain(..len).collect();
        let lease = limit.is_none().then(|| {
            let last = !self.faults.incremental || self.rng.below(8) == 0;
            self.cores[core].buffers.lease(len as u32, last)
        });
        let more = limit.is_none() && !self.happens(self.faults.multishot_ends);
        if !more {
            self.sockets[number].receiving = None;
        }
        self.complete(core, Completion { token, result: len as i32, more, lease }, Some(bytes));
    }

    fn send(&mut self, number: usize) {
        let short = self.happens(self.faults.short_send);
        let interrupted = self.happens(self.faults.interrupted);
        let socket = &mut self.sockets[number];
        let (room, error) = (socket.room(), socket.send_error());
        let Some(sending) = &mut socket.sending else { return };
        let (core, token) = (sending.core, sending.token);
        let left = sending.bytes.len() - sending.sent;
        let mut ended = sending.cancelled || error.is_some() || short || interrupted;
        if error.is_none() && !sending.cancelled && !interrupted {
            let most = left.min(room);
            let now = if most == 0 { 0 } else { 1 + self.rng.below(most as u64) as usize };
            socket.to_client.extend(&sending.bytes[sending.sent..sending.sent + now]);
            sending.sent += now;
            ended |= sending.sent == sending.bytes.len();
        }
        if !ended {
            return;
        }
        // What went out is reported before what then failed.
        let result = match (sending.sent, error) {
            (0, Some(error)) => error,
            (0, None) if sending.cancelled => -libc::ECANCELED,
            (0, None) => -libc::EINTR,
            (sent, _) => sent as i32,
        };
        socket.sending = None;
        self.finish(core, token, result);
    }

    fn socket(&mut self, fd: Fd) -> usize {
        *self.descriptors.get(&fd).expect("an operation on a descriptor that is closed")
    }

    fn arm_receive(&mut self, fd: Fd, receiving: Receiving) {
        let number = self.socket(fd);
        let socket = &mut self.sockets[number];
        assert!(socket.receiving.is_none(), "two receives on one socket would mix up its bytes");
        socket.receiving = Some(receiving);
    }

    fn send_turn(&mut self, core: usize, (fd, token): (Fd, Token), bytes: &[u8]) {
        let short = self.happens(self.faults.short_send);
        let number = self.socket(fd);
        let socket = &mut self.sockets[number];
        assert!(socket.sending.is_none(), "a turn's send would overtake what is under way");
        if let Some(error) = socket.send_error() {
            return self.finish(core, token, error);
        }
        let mut sent = socket.room().min(bytes.len());
        if short && sent > 0 {
            sent = self.rng.below(sent as u64) as usize;
        }
        let socket = &mut self.sockets[number];
        socket.to_client.extend(&bytes[..sent]);
        if sent < bytes.len() {
            self.finish(core, token, if sent == 0 { -libc::EAGAIN } else { sent as i32 });
        }
    }

    fn cancel(&mut self, core: usize, token: Token) {
        for socket in &mut self.sockets {
            if let Some(receiving) = &mut socket.receiving
                && (receiving.core, receiving.token) == (core, token)
            {
                receiving.cancelled = true;
            }
            if let Some(sending) = &mut socket.sending
                && (sending.core, sending.token) == (core, token)
            {
                sending.cancelled = true;
            }
        }
        self.finish(core, Token::new(Kind::Ignored, 0, 0), 0);
    }

    fn close(&mut self, core: usize, fd: Fd) {
        if self.disk.has(fd) {
            // What it holds is looked at when the machine has stopped.
            return self.finish(core, Token::new(Kind::Ignored, 0, 0), 0);
        }
        let number = self.socket(fd);
        self.descriptors.remove(&fd);
        let socket = &mut self.sockets[number];
        socket.server_closed = true;
        let receives = socket.receiving.is_some_and(|receiving| !receiving.cancelled);
        let sends = socket.sending.as_ref().is_some_and(|sending| !sending.cancelled);
        assert!(!receives && !sends, "an operation would keep the closed socket open");
        self.finish(core, Token::new(Kind::Ignored, 0, 0), 0);
    }
}

/// One core's ring on a [`SimNet`].
pub struct SimRing {
    world: Rc<RefCell<World>>,
    core: usize,
    memory: Vec<u8>,
    buffer_size: usize,
    /// Leases that are out: buffer, first byte, length.
    live: BTreeSet<(u16, u32, u32)>,
    output: Vec<u8>,
    queue: Vec<Op>,
    /// Buffers of receives, by client.
    receives: BTreeMap<u32, Vec<u8>>,
    /// Bytes of completed receives that were not fetched, by client.
    landed: BTreeMap<u32, Vec<u8>>,
    /// Sends, by client; true when completed.
    sends: BTreeMap<u32, bool>,
    /// Writes, the same way.
    writes: BTreeMap<u32, bool>,
}

impl SimRing {
    fn submit(&mut self) {
        for op in std::mem::take(&mut self.queue) {
            self.submit_one(op);
        }
    }

    fn submit_one(&mut self, op: Op) {
        let core = self.core;
        let mut world = self.world.borrow_mut();
        match op {
            Op::Accept { token, .. } => world.cores[core].accepting.push(token),
            Op::Recv { fd, token } => {
                let receiving = Receiving { core, token, limit: None, cancelled: false };
                world.arm_receive(fd, receiving);
            }
            Op::RecvInto { fd, token, buffer, limit } => {
                assert!(limit > 0 && buffer.capacity() - buffer.len() >= limit, "no room");
                let earlier = self.receives.insert(token.index(), buffer);
                assert!(earlier.is_none(), "one owned receive a client at a time");
                let receiving = Receiving { core, token, limit: Some(limit), cancelled: false };
                world.arm_receive(fd, receiving);
            }
            Op::SendTurn { fd, token, start, len } => {
                assert!(len > 0, "an empty send");
                world.send_turn(core, (fd, token), &self.output[start..start + len]);
            }
            Op::Send { fd, token, bytes } => {
                assert!(!bytes.is_empty(), "an empty send");
                let earlier = self.sends.insert(token.index(), false);
                assert!(earlier.is_none(), "one owned send a client at a time");
                let number = world.socket(fd);
                let socket = &mut world.sockets[number];
                assert!(socket.sending.is_none(), "two sends on one socket would mix up its bytes");
                socket.sending = Some(Sending { core, token, bytes, sent: 0, cancelled: false });
            }
            Op::Cancel { token } => world.cancel(core, token),
            Op::Close { fd } => world.close(core, fd),
            Op::Wake { core } => world.cores[core].wakes += 1,
            Op::Event { token } => world.cores[core].event = Some(token),
            Op::Write { fd, token, offset, bytes, durable } => {
                let earlier = self.writes.insert(token.index(), false);
                assert!(earlier.is_none(), "one write a token at a time");
                world.disk.write(core, (fd, token), (offset, bytes), durable);
            }
            Op::Sync { fd, token } => world.disk.sync(core, fd, token),
            // The disk may write anything at any time.
            Op::WriteBack { fd, token, .. } => world.disk.write_back(core, fd, token),
        }
    }
}

impl Ring for SimRing {
    fn push(&mut self, op: Op) {
        if self.queue.len() >= self.world.borrow().faults.submissions_max {
            self.submit();
        }
        self.queue.push(op);
    }

    fn last_output(&self) -> &[u8] {
        &self.output
    }

    fn swap_output(&mut self, output: Vec<u8>) -> Vec<u8> {
        let failed = self.world.borrow().cores[self.core].failed_turn_sends;
        assert_eq!(failed, 0, "the output is replaced while a failed send of it is not reaped");
        std::mem::replace(&mut self.output, output)
    }

    fn submit_and_wait(&mut self, wait: Wait) {
        self.submit();
        let mut world = self.world.borrow_mut();
        let now = world.clock.monotonic();
        let completions_max = world.faults.completions_max;
        let side = &mut world.cores[self.core];
        while side.completions.len() < completions_max {
            let Some(late) = side.late.pop_front() else { break };
            side.completions.push_back(late);
        }
        side.waits_until = match wait {
            Wait::No => None,
            Wait::Upto(timeout) => {
                Some(now.after(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX)))
            }
        };
    }

    fn spin(&mut self, _times: u32, has_work: &mut dyn FnMut() -> bool) -> bool {
        self.submit();
        // Nothing comes while one simulated core polls: the others do not run meanwhile.
        has_work() || !self.world.borrow().cores[self.core].completions.is_empty()
    }

    fn reap(&mut self) -> Option<Completion> {
        let mut world = self.world.borrow_mut();
        let side = &mut world.cores[self.core];
        let (completion, bytes) = side.completions.pop_front()?;
        let index = completion.token.index();
        match completion.token.kind() {
            Kind::SendTurn => side.failed_turn_sends -= 1,
            Kind::Send => *self.sends.get_mut(&index).expect("it was submitted") = true,
            Kind::Write => *self.writes.get_mut(&index).expect("it was submitted") = true,
            Kind::RecvInto => {
                self.landed.insert(index, bytes.clone().unwrap_or_default());
            }
            Kind::Recv
            | Kind::RecvSealed
            | Kind::Accept
            | Kind::Wake
            | Kind::Event
            | Kind::Sync
            | Kind::Ignored => {}
        }
        drop(world);
        if let (Some(lease), Some(bytes)) = (completion.lease, bytes) {
            self.live.insert((lease.buffer, lease.start, lease.len));
            let range = lease.place(self.buffer_size);
            self.memory[range].copy_from_slice(&bytes);
        }
        Some(completion)
    }

    fn overflowed(&mut self) -> bool {
        std::mem::take(&mut self.world.borrow_mut().cores[self.core].overflowed)
    }

    fn bytes(&self, lease: &BufferLease) -> &[u8] {
        let live = self.live.contains(&(lease.buffer, lease.start, lease.len));
        assert!(live, "a look at a lease that was released");
        &self.memory[lease.place(self.buffer_size)]
    }

    fn release(&mut self, lease: BufferLease) {
        let live = self.live.remove(&(lease.buffer, lease.start, lease.len));
        assert!(live, "a lease is released once");
        let range = lease.place(self.buffer_size);
        self.memory[range].fill(POISON);
        self.world.borrow_mut().cores[self.core].buffers.release(lease.buffer);
    }

    fn publish(&mut self) {
        self.world.borrow_mut().cores[self.core].buffers.publish();
    }

    fn take_received(&mut self, token: Token, received: usize) -> Vec<u8> {
        let landed = self.landed.remove(&token.index()).expect("the receive has completed");
        assert_eq!(landed.len(), received, "the length is that of the completion");
        let mut buffer = self.receives.remove(&token.index()).expect("a receive had a buffer");
        buffer.extend_from_slice(&landed);
        buffer
    }

    fn finish_send(&mut self, token: Token) {
        let done = self.sends.remove(&token.index());
        assert_eq!(done, Some(true), "a send is finished once, after its completion");
    }

    fn finish_write(&mut self, token: Token) {
        let done = self.writes.remove(&token.index());
        assert_eq!(done, Some(true), "a write is finished once, after its completion");
    }
}
