//! The closed-loop generator: one thread, one epoll, one batch in flight per connection.
//! Invariant: the steady state allocates nothing, and its only system calls are epoll_wait, one
//! read per arrival and one write per batch. A latency is that of a batch: from the write of its
//! requests until its last reply was read.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::Result;
use crate::resp::Walker;
use crate::sys::{Epoll, raise_descriptor_limit};
use crate::workload::Workload;

/// One read takes at most this much; edge-triggered readiness ends with a shorter one.
const READ_BYTES: usize = 256 * 1024;
/// Room before the read buffer for a header line that came in two pieces.
const HEADER_BYTES_MAX: usize = 4 * 1024;
/// A server that says nothing for this long is taken for hung.
pub(crate) const SILENCE: Duration = Duration::from_secs(20);
/// Longest latency that the histogram tells apart, in nanoseconds.
const LATENCY_MAX: u64 = 60_000_000_000;

/// How to load a server.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Port on the loopback address.
    pub(crate) port: u16,
    /// Clients, each with one batch in flight.
    pub(crate) connections: usize,
    /// Loaded but not measured, before the window.
    pub(crate) warm: Duration,
    /// Length of the measured window.
    pub(crate) window: Duration,
    /// Compare every reply with what it must be; costs CPU, so never when measuring.
    pub(crate) verify: bool,
}

/// What a window showed.
pub(crate) struct Outcome {
    /// Commands answered.
    pub(crate) operations: u64,
    /// Null replies among them, in the whole run: keys that a fill should have put there.
    pub(crate) nulls: u64,
    /// The window as it was, in seconds.
    pub(crate) seconds: f64,
    /// What `cpu` told at its end less what it told at its start.
    pub(crate) server_cpu: Duration,
    /// This thread's own CPU time.
    pub(crate) own_cpu: Duration,
    /// Latencies of batches, in nanoseconds.
    pub(crate) latency: Histogram<u64>,
}

/// Loads a server for a warm-up and a window; `cpu` reads the server's CPU time at its two ends.
pub(crate) fn run(
    options: &Options,
    workload: &mut Workload,
    mut cpu: impl FnMut() -> Result<Duration>,
) -> Result<Outcome> {
    raise_descriptor_limit()?;
    let mut generator = Generator::connect(options)?;
    generator.start(workload)?;
    generator.turn_until(workload, Instant::now() + options.warm)?;

    generator.latency = Some(new_histogram());
    generator.operations = 0;
    let (cpu_start, own_start, start) = (cpu()?, thread_cpu()?, Instant::now());
    generator.turn_until(workload, start + options.window)?;
    let (seconds, server_cpu) = (start.elapsed().as_secs_f64(), cpu()?.saturating_sub(cpu_start));
    let own_cpu = thread_cpu()?.saturating_sub(own_start);
    let (operations, latency) = (generator.operations, generator.latency.take());

    generator.drain(workload)?;
    Ok(Outcome {
        operations,
        nulls: generator.nulls,
        seconds,
        server_cpu,
        own_cpu,
        latency: latency.unwrap_or_else(new_histogram),
    })
}

/// A histogram for latencies in nanoseconds, precise to one per cent.
pub(crate) fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX, 2).expect("the bounds are constants")
}

/// CPU time of the calling thread; the first number of schedstat, in nanoseconds.
fn thread_cpu() -> Result<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let first = text.split_whitespace().next().unwrap_or_default();
    Ok(Duration::from_nanos(first.parse()?))
}

struct Generator {
    epoll: Epoll,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
    verify: bool,
    draining: bool,
    in_flight: usize,
    operations: u64,
    nulls: u64,
    latency: Option<Histogram<u64>>,
}

impl Generator {
    fn connect(options: &Options) -> Result<Generator> {
        let epoll = Epoll::new(options.connections.min(1024))?;
        let mut connections = Vec::with_capacity(options.connections);
        for token in 0..options.connections {
            let connection = Connection::open(options.port)?;
            epoll.add(connection.stream.as_raw_fd(), token)?;
            connections.push(connection);
        }
        Ok(Generator {
            epoll,
            connections,
            buffer: vec![0; HEADER_BYTES_MAX + READ_BYTES],
            verify: options.verify,
            draining: false,
            in_flight: 0,
            operations: 0,
            nulls: 0,
            latency: None,
        })
    }

    fn start(&mut self, workload: &mut Workload) -> Result<()> {
        for token in 0..self.connections.len() {
            self.connections[token].send(workload, self.verify, Instant::now())?;
            self.in_flight += 1;
        }
        Ok(())
    }

    /// Turns until the time has come; a server that falls silent is an error.
    fn turn_until(&mut self, workload: &mut Workload, end: Instant) -> Result<()> {
        let mut heard = Instant::now();
        loop {
            let ready = self.epoll.wait(100)?;
            for i in 0..ready {
                self.serve(self.epoll.token(i), workload)?;
            }
            let now = Instant::now();
            if ready > 0 {
                heard = now;
            } else if now - heard > SILENCE {
                return Err(format!("no reply for {} s", SILENCE.as_secs()).into());
            }
            if now >= end || (self.draining && self.in_flight == 0) {
                return Ok(());
            }
        }
    }

    /// Waits for the replies still to come: none may be missing, and no connection breaks.
    fn drain(&mut self, workload: &mut Workload) -> Result<()> {
        self.draining = true;
        if self.in_flight > 0 {
            self.turn_until(workload, Instant::now() + SILENCE)?;
        }
        match self.in_flight {
            0 => Ok(()),
            n => Err(format!("{n} batches were never answered").into()),
        }
    }

    #[inline]
    fn serve(&mut self, token: usize, workload: &mut Workload) -> Result<()> {
        let connection = &mut self.connections[token];
        connection.flush()?;
        let received = connection.receive(&mut self.buffer, self.verify)?;
        self.operations += received.replies;
        self.nulls += received.nulls;
        if received.replies == 0 || connection.outstanding > 0 {
            return Ok(());
        }
        if self.verify {
            workload.verify(connection.batch, &connection.keys, &connection.received)?;
            connection.received.clear();
        }
        let now = Instant::now();
        if let Some(latency) = &mut self.latency {
            latency.saturating_record((now - connection.sent_at).as_nanos() as u64);
        }
        if self.draining {
            self.in_flight -= 1;
            return Ok(());
        }
        connection.send(workload, self.verify, now)
    }
}

/// One client: a socket, and what is unfinished on it.
pub(crate) struct Connection {
    /// The socket, non-blocking.
    pub(crate) stream: TcpStream,
    /// When the batch in flight was sent.
    pub(crate) sent_at: Instant,
    /// Replies of the batch in flight that are still to come.
    pub(crate) outstanding: u64,
    walker: Walker,
    /// An incomplete header line, shown to the walker again.
    held: Vec<u8>,
    /// Requests that the socket did not take yet.
    unsent: Vec<u8>,
    /// For verification: the batch in flight, its keys, and its replies so far.
    batch: usize,
    keys: Vec<u64>,
    received: Vec<u8>,
}

/// What one readiness brought.
#[derive(Default)]
pub(crate) struct Received {
    /// Replies that ended.
    pub(crate) replies: u64,
    /// Null replies.
    pub(crate) nulls: u64,
}

impl Connection {
    /// Connects to the loopback address.
    pub(crate) fn open(port: u16) -> Result<Connection> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Connection {
            stream,
            sent_at: Instant::now(),
            outstanding: 0,
            walker: Walker::default(),
            held: Vec::new(),
            unsent: Vec::new(),
            batch: 0,
            keys: Vec::new(),
            received: Vec::new(),
        })
    }

    /// Sends the workload's next batch; `now` is when it counts as sent.
    #[inline]
    pub(crate) fn send(
        &mut self,
        workload: &mut Workload,
        verify: bool,
        now: Instant,
    ) -> Result<()> {
        let (batch, bytes, replies) = workload.next(verify.then_some(&mut self.keys));
        self.batch = batch;
        self.outstanding = replies;
        self.sent_at = now;
        let sent = write_some(&mut self.stream, bytes)?;
        if sent < bytes.len() {
            self.unsent.extend_from_slice(&bytes[sent..]);
        }
        Ok(())
    }

    /// Sends what did not fit before and reads everything that has come; how many replies that was.
    pub(crate) fn serve(&mut self, buffer: &mut [u8]) -> Result<u64> {
        self.flush()?;
        Ok(self.receive(buffer, false)?.replies)
    }

    /// Sends what did not fit before.
    #[inline]
    pub(crate) fn flush(&mut self) -> Result<()> {
        while !self.unsent.is_empty() {
            match write_some(&mut self.stream, &self.unsent)? {
                0 => break,
                sent => drop(self.unsent.drain(..sent)),
            }
        }
        Ok(())
    }

    /// Reads everything that has come. `buffer` holds [`buffer_bytes`] bytes; `keep` stores the
    /// bytes for verification.
    #[inline]
    pub(crate) fn receive(&mut self, buffer: &mut [u8], keep: bool) -> Result<Received> {
        let mut total = Received::default();
        loop {
            let from = HEADER_BYTES_MAX - self.held.len();
            buffer[from..HEADER_BYTES_MAX].copy_from_slice(&self.held);
            let n = match self.stream.read(&mut buffer[HEADER_BYTES_MAX..]) {
                Ok(0) => return Err("the server closed a connection".into()),
                Ok(n) => n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => return Err(e.into()),
            };
            if keep {
                self.received.extend_from_slice(&buffer[HEADER_BYTES_MAX..HEADER_BYTES_MAX + n]);
            }
            let bytes = &buffer[from..HEADER_BYTES_MAX + n];
            let walked = self.walker.walk(bytes)?;
            total.replies += walked.replies;
            total.nulls += walked.nulls;
            self.hold(&bytes[walked.consumed..])?;
            if n < READ_BYTES {
                break;
            }
        }
        if total.replies > self.outstanding {
            return Err("more replies came than were asked for".into());
        }
        self.outstanding -= total.replies;
        Ok(total)
    }

    fn hold(&mut self, rest: &[u8]) -> Result<()> {
        if rest.len() > HEADER_BYTES_MAX {
            return Err("a reply's header line does not end".into());
        }
        self.held.clear();
        self.held.extend_from_slice(rest);
        Ok(())
    }
}

/// Size of the buffer that [`Connection::receive`] wants.
pub(crate) const fn buffer_bytes() -> usize {
    HEADER_BYTES_MAX + READ_BYTES
}

/// Writes as much as the socket takes.
fn write_some(stream: &mut TcpStream, bytes: &[u8]) -> Result<usize> {
    match stream.write(bytes) {
        Ok(n) => Ok(n),
        Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(0),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::workload::{Keys, Mix};

    const PING_BYTES: usize = b"*1\r\n$4\r\nPING\r\n".len();

    /// A server that answers each PING, its bytes sent in pieces of `piece`; from the hundredth
    /// reply of a connection on it answers `then`.
    fn pong_server(piece: usize, then: &'static [u8]) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for stream in listener.incoming() {
                thread::spawn(move || answer(stream.unwrap(), piece, then));
            }
        });
        port
    }

    fn answer(mut stream: TcpStream, piece: usize, then: &[u8]) {
        stream.set_nodelay(true).unwrap();
        let (mut bytes, mut answered, mut buffer) = (0, 0, [0; 4096]);
        while let Ok(n @ 1..) = stream.read(&mut buffer) {
            bytes += n;
            let mut out = Vec::new();
            while answered < bytes / PING_BYTES {
                answered += 1;
                out.extend_from_slice(if answered < 100 { b"+PONG\r\n" } else { then });
            }
            for part in out.chunks(piece) {
                if stream.write_all(part).is_err() {
                    return;
                }
            }
        }
    }

    fn ping(port: u16, verify: bool) -> Result<Outcome> {
        let mix = Mix::parse("ping")?;
        let mut workload = Workload::new(&mix, 10, 3, Keys::parse("uniform", 1, 1)?);
        let (warm, window) = (Duration::from_millis(10), Duration::from_millis(100));
        let options = Options { port, connections: 3, warm, window, verify };
        run(&options, &mut workload, || Ok(Duration::ZERO))
    }

    #[test]
    fn replies_are_counted_wherever_they_are_cut() {
        for (piece, verify) in [(1, false), (5, true), (4096, false), (4096, true)] {
            let outcome = ping(pong_server(piece, b"+PONG\r\n"), verify).unwrap();
            assert!(outcome.operations >= 30, "pieces of {piece}: {}", outcome.operations);
            assert!(!outcome.latency.is_empty() && outcome.seconds >= 0.1);
        }
    }

    #[test]
    fn wrong_replies_end_the_run() {
        let message =
            |then, verify| ping(pong_server(4096, then), verify).err().unwrap().to_string();
        assert_eq!(message(b"-ERR no\r\n", false), "ERR no");
        assert!(message(b"+PONG\r\n+PONG\r\n", false).contains("more replies"));
        assert!(message(b"?\r\n", false).contains("not RESP2"));
        assert!(message(b"+PANG\r\n", true).contains("PANG"));
    }
}
