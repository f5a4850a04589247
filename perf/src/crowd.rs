//! Clients that write as fast as they can, and one that asks for a small value beside them.
//!
//! Invariant: one probe at a time, on a fixed beat where the last answer allows it; nobody writes the
//! key that it reads. A writer has one batch in flight.

use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::load::{self, Connection};
use crate::server::Server;
use crate::workload::{Keys, Mix, Random, Workload};
use crate::{Result, sys};

/// Who writes what.
pub(crate) struct Writers<'a> {
    /// Clients.
    pub(crate) count: usize,
    /// What they send, as in a scenario.
    pub(crate) write: &'a str,
    /// Commands in flight of each.
    pub(crate) pipeline: usize,
    /// Keys that they write, evenly.
    pub(crate) keys: u64,
    /// Bytes of a value.
    pub(crate) value_bytes: usize,
}

/// What was seen in a while.
pub(crate) struct Tally {
    /// Latencies of probes, in nanoseconds.
    pub(crate) probes: Histogram<u64>,
    /// Latencies of the writers' batches.
    pub(crate) writes: Histogram<u64>,
    /// Writes that were answered.
    pub(crate) written: u64,
}

impl Tally {
    /// Nothing yet.
    pub(crate) fn new() -> Tally {
        Tally { probes: load::new_histogram(), writes: load::new_histogram(), written: 0 }
    }

    /// With what was seen in another while.
    pub(crate) fn add(&mut self, other: &Tally) -> Result<()> {
        self.probes.add(&other.probes)?;
        self.writes.add(&other.writes)?;
        self.written += other.written;
        Ok(())
    }
}

/// The clients on their way: writers first, the probe last.
pub(crate) struct Crowd {
    epoll: sys::Epoll,
    clients: Vec<Connection>,
    write: Workload,
    get: Workload,
    buffer: Vec<u8>,
    beat: Duration,
    next_probe: Instant,
    heard: Instant,
}

impl Crowd {
    /// Connects, and has every writer send its first batch; `beat` is that of the probe.
    pub(crate) fn start(server: &Server, writers: &Writers<'_>, beat: Duration) -> Result<Crowd> {
        sys::raise_descriptor_limit()?;
        server.fill(PROBE_KEY, PROBE_KEY + 1, writers.value_bytes)?;
        let epoll = sys::Epoll::new(writers.count + 1)?;
        let mut clients = Vec::new();
        for token in 0..=writers.count {
            let client = Connection::open(server.port)?;
            epoll.add(client.stream.as_raw_fd(), token)?;
            clients.push(client);
        }
        let workload = |command: &str, pipeline, keys| -> Result<Workload> {
            Ok(Workload::new(&Mix::parse(command)?, pipeline, writers.value_bytes, keys))
        };
        let now = Instant::now();
        let uniform = Keys::Uniform { below: writers.keys, random: Random::new(writers.keys) };
        let mut crowd = Crowd {
            epoll,
            clients,
            write: workload(writers.write, writers.pipeline, uniform)?,
            get: workload("get", 1, Keys::sequence(PROBE_KEY, PROBE_KEY + 1))?,
            buffer: vec![0; load::buffer_bytes()],
            beat,
            next_probe: now,
            heard: now,
        };
        for token in 0..writers.count {
            crowd.clients[token].send(&mut crowd.write, false, now)?;
        }
        Ok(crowd)
    }

    /// Goes on until the time has come. What is in flight then stays so.
    pub(crate) fn turn_until(&mut self, end: Instant, tally: &mut Tally) -> Result<()> {
        self.heard = Instant::now();
        loop {
            let ready = self.epoll.wait(1)?;
            for i in 0..ready {
                self.serve(self.epoll.token(i), tally)?;
            }
            let now = Instant::now();
            let probe = self.clients.last_mut().expect("the probe is one of the clients");
            if now >= self.next_probe && probe.outstanding == 0 {
                self.get.set_keys(Keys::sequence(PROBE_KEY, PROBE_KEY + 1));
                probe.send(&mut self.get, false, now)?;
                self.next_probe = now + self.beat;
            }
            if now.saturating_duration_since(self.heard) > load::SILENCE {
                return Err(format!("no reply for {} s", load::SILENCE.as_secs()).into());
            }
            if now >= end {
                return Ok(());
            }
        }
    }

    fn serve(&mut self, token: usize, tally: &mut Tally) -> Result<()> {
        let is_probe = token + 1 == self.clients.len();
        let client = &mut self.clients[token];
        let replies = client.serve(&mut self.buffer)?;
        if replies == 0 {
            return Ok(());
        }
        let now = Instant::now();
        self.heard = now;
        let took = (now - client.sent_at).as_nanos() as u64;
        if is_probe {
            tally.probes.saturating_record(took);
            return Ok(());
        }
        tally.written += replies;
        if client.outstanding > 0 {
            return Ok(());
        }
        tally.writes.saturating_record(took);
        client.send(&mut self.write, false, now)
    }
}

/// The key of the probe, which nobody writes.
const PROBE_KEY: u64 = 999_999_999_999;
