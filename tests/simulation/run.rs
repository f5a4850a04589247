//! Lets a server and its clients take steps in an order that the seed decides, until all is said.
//!
//! Invariant: time passes by itself only a little; when nobody can do anything, everybody must have
//! got what they wait for. So a lost wake or a client that is never served again is found, and is
//! not hidden by the next timer.

use ironring::base::rng::Rng;
use ironring::ring::simulated::{ClientEnd, Faults, SimNet};

use crate::disturber::Disturber;
use crate::program::{Program, READS_BYTES, Shape};
use crate::schedule::{Schedule, any_of, pass_time};
use crate::server::Server;

/// Steps of a run, at most: more means that somebody is busy with nothing.
pub(crate) const STEPS_MAX: usize = 3_000_000;

/// Timers that may have to run out before CLIENT PAUSE lets everybody go on.
const PAUSES_MAX: usize = 1000;

/// How a client's connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It leaves when it has all replies.
    Polite,
    /// It sends its last byte early and still gets every reply.
    HalfClosed,
    /// It quits or breaks the protocol behind its last command.
    Ended,
    /// It closes its socket after so many bytes.
    ClosedAfter(usize),
    /// It vanishes after so many bytes.
    ResetAfter(usize),
}

/// A client that runs a program.
#[derive(Debug)]
pub(crate) struct Client {
    end: ClientEnd,
    requests: Vec<u8>,
    sent: usize,
    replies: Vec<u8>,
    got: usize,
    ending: Ending,
    /// Reads nothing before everybody waits for it.
    lazy: bool,
    /// Bytes of one send, at most.
    piece_max: u64,
    left: bool,
}

impl Client {
    fn random(rng: &mut Rng, net: &SimNet, number: usize, shape: Shape) -> Client {
        let mut program = Program::random(rng, number, shape);
        let total = program.requests.len();
        let ending = match rng.below(8) {
            0 => Ending::HalfClosed,
            1 => Ending::Ended,
            2 => Ending::ClosedAfter(rng.below(total as u64 + 1) as usize),
            3 => Ending::ResetAfter(rng.below(total as u64 + 1) as usize),
            _ => Ending::Polite,
        };
        if ending == Ending::Ended {
            program.end(rng);
        }
        let pieces = [1, 10, 1000, 1_000_000];
        Client {
            end: net.connect(),
            requests: program.requests,
            sent: 0,
            replies: program.replies,
            got: 0,
            ending,
            lazy: rng.below(5) == 0,
            piece_max: pieces[rng.below(pieces.len() as u64) as usize].max(total as u64 / 1000),
            left: false,
        }
    }

    /// Sends a piece. False if it has nothing to send.
    fn send(&mut self, rng: &mut Rng, net: &SimNet) -> bool {
        let limit = match self.ending {
            Ending::ClosedAfter(limit) | Ending::ResetAfter(limit) => limit,
            _ => self.requests.len(),
        };
        if self.left || self.sent == limit && !self.leaves_early() {
            return false;
        }
        if self.sent < limit {
            let most = (limit - self.sent).min(self.piece_max as usize) as u64;
            let len = 1 + rng.below(most) as usize;
            net.send(self.end, &self.requests[self.sent..self.sent + len]);
            self.sent += len;
        } else {
            self.leave_early(net);
        }
        true
    }

    fn leaves_early(&self) -> bool {
        matches!(self.ending, Ending::HalfClosed | Ending::ClosedAfter(_) | Ending::ResetAfter(_))
    }

    fn leave_early(&mut self, net: &SimNet) {
        self.left = true;
        match self.ending {
            Ending::ClosedAfter(_) => net.close(self.end),
            Ending::ResetAfter(_) => net.reset(self.end),
            _ => net.finish_sending(self.end),
        }
    }

    /// Reads a piece and compares it. False if there is none.
    fn read(&mut self, rng: &mut Rng, net: &SimNet) -> bool {
        let readable = net.readable(self.end);
        if readable == 0 {
            return false;
        }
        let most = readable.min(self.piece_max as usize) as u64;
        let bytes = net.read(self.end, 1 + rng.below(most) as usize);
        let expected = self.replies.get(self.got..self.got + bytes.len()).unwrap_or_default();
        if bytes != expected {
            let same = bytes.iter().zip(expected).take_while(|(one, two)| one == two).count();
            let shown = |bytes: &[u8]| {
                let from = same.min(bytes.len());
                bytes[from..(from + 60).min(bytes.len())].escape_ascii().to_string()
            };
            panic!(
                "{:?}, at reply byte {} of {}: got {:?}, expected {:?}",
                self.end,
                self.got + same,
                self.replies.len(),
                shown(&bytes),
                shown(self.replies.get(self.got..).unwrap_or_default())
            );
        }
        self.got += bytes.len();
        true
    }

    /// Takes a step. False if it has none to take; `drain` is true when everybody waits for those who
    /// only read when they must.
    fn act(&mut self, rng: &mut Rng, net: &SimNet, drain: bool) -> bool {
        let reads = drain || !self.lazy;
        let send_first = rng.below(2) == 0;
        send_first && self.send(rng, net) || reads && self.read(rng, net) || self.send(rng, net)
    }

    /// True if nothing is missing.
    fn is_done(&self, net: &SimNet) -> bool {
        let has_all = self.sent == self.requests.len() && self.got == self.replies.len();
        match self.ending {
            Ending::Polite => has_all,
            Ending::HalfClosed => has_all && self.left && net.is_at_end(self.end),
            Ending::Ended => has_all && net.is_at_end(self.end),
            Ending::ClosedAfter(_) | Ending::ResetAfter(_) => self.left,
        }
    }
}

/// Runs random programs on a server of so many cores.
pub(crate) fn programs(seed: u64, cores: usize) {
    let mut rng = Rng::new(seed);
    let faults = if rng.below(4) == 0 { Faults::none() } else { Faults::random(&mut rng) };
    let mailbox = [1, 2, 256][rng.below(3) as usize];
    let size = rng.below(3) as usize;
    let slow_io = faults.receive_bytes_max < 4096 || faults.window_bytes_max < 100_000;
    let shape = Shape {
        commands_max: [3, 20, 300][size],
        value_bytes_max: if slow_io { 100 } else { [200_000, READS_BYTES, 1000][size] },
        inline: rng.below(2) == 0,
        password: if rng.below(4) == 0 { "secret" } else { "" },
        key_bytes_max: if slow_io || size > 0 { 0 } else { 100_000 },
    };
    let mut server = Server::start(&mut rng, cores, mailbox, faults, shape.password);
    let clients = 1 + rng.below(8) as usize;
    let net = server.net.clone();
    let mut clients: Vec<Client> =
        (0..clients).map(|number| Client::random(&mut rng, &net, number, shape)).collect();
    let mut disturber =
        (rng.below(3) == 0).then(|| Disturber::random(&mut rng, &net, shape.password));
    if disturber.is_some() {
        // A pause drops whom it holds back when they hang up.
        let half = clients.iter_mut().filter(|client| client.ending == Ending::HalfClosed);
        half.for_each(|client| client.ending = Ending::Polite);
    }
    let (mut drain, mut pauses) = (false, 0);
    let mut schedule = Schedule::new(&mut rng, cores);
    for _ in 0..STEPS_MAX {
        let moved = schedule.step(&mut rng, &mut server, |rng, net, _| {
            disturber.as_mut().is_some_and(|one| rng.below(4) == 0 && one.act(rng, net))
                || any_of(rng, &mut clients, |client, rng| client.act(rng, net, drain))
                || disturber.as_mut().is_some_and(|one| one.act(rng, net))
        });
        if moved {
            continue;
        }
        let undisturbed = disturber.as_ref().is_none_or(Disturber::is_done);
        if undisturbed && clients.iter().all(|client| client.is_done(&net)) {
            clients.iter().filter(|one| !one.left).for_each(|one| net.close(one.end));
            disturber.iter().for_each(|one| one.leave(&net));
            return end(&mut rng, server);
        }
        if !drain {
            drain = true;
        } else if net.has_backlog() {
            pass_time(&server);
        } else if disturber.is_some() && pauses < PAUSES_MAX {
            pauses += 1;
            pass_time(&server);
        } else {
            break;
        }
    }
    let waiting: Vec<String> = clients
        .iter()
        .filter(|client| !client.is_done(&net))
        .map(|client| brief(client, &net))
        .collect();
    panic!("after {} steps nobody does anything for {disturber:?} {waiting:#?}", schedule.steps);
}

fn brief(client: &Client, net: &SimNet) -> String {
    format!(
        "{:?} {:?}: sent {} of {}, got {} of {}",
        client.end,
        client.ending,
        client.sent,
        client.requests.len(),
        client.got,
        client.replies.len()
    ) + if net.is_at_end(client.end) { ", closed" } else { "" }
}

/// Everybody leaves; nothing may be left of them.
pub(crate) fn end(rng: &mut Rng, mut server: Server) {
    let net = server.net.clone();
    let mut schedule = Schedule::new(rng, server.cores.len());
    let mut pauses = 0;
    for _ in 0..STEPS_MAX {
        if !schedule.step(rng, &mut server, |_, _, _| false) {
            if !net.has_backlog() {
                let left = server.leftovers();
                if left.is_empty() {
                    net.assert_quiet();
                    assert_eq!(server.clients(), 0, "the server counts clients that are gone");
                    return;
                }
                // What a pause has held back goes when it ends.
                pauses += 1;
                assert!(pauses < PAUSES_MAX, "the server keeps by core: {left:?}");
            }
            pass_time(&server);
        }
    }
    panic!("the server goes on without clients");
}
