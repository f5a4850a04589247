//! The promises of `Ring`, asked of every backend: io_uring where the machine has it, and epoll.
//!
//! Invariant: a test knows nothing of the backend; sockets and files are real ones.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::epoll::EpollRing;
use super::kernel::{self, KernelRing};
use super::{Backend, Completion, Kind, Op, Token, Wait};
use crate::base::sys;

const DEADLINE: Duration = Duration::from_secs(20);

/// Runs a check on every backend that the machine has.
macro_rules! on_all {
    ($($name:ident)+) => {$(
        #[test]
        fn $name() {
            checks::$name::<EpollRing>();
            if kernel::probe().is_ok() {
                checks::$name::<KernelRing>();
            }
        }
    )+};
}

on_all! {
    a_listener_gives_connections_until_it_stops
    bytes_come_in_leases_and_the_end_once
    a_receive_into_a_buffer_stands_behind_what_it_holds
    a_cancelled_receive_ends_and_another_begins
    a_send_of_the_turn_tells_only_of_failures
    a_long_send_waits_for_its_reader
    a_send_to_nobody_fails
    an_event_is_told_once_however_often_it_was_written
    a_core_wakes_another
    files_are_written_and_synced
    a_write_that_fails_says_why
    leases_run_out_and_come_back
    a_spin_finds_what_a_wait_would
}

/// A ring with its eventfd.
struct Bench<R> {
    ring: R,
    event: OwnedFd,
    reaped: VecDeque<Completion>,
}

impl<R: Backend> Bench<R> {
    fn new() -> Bench<R> {
        let event = sys::event_fd().expect("an eventfd");
        let mut ring = R::open(event.as_raw_fd()).expect("a ring");
        ring.set_peers(vec![ring.wake_fd()]);
        Bench { ring, event, reaped: VecDeque::new() }
    }

    /// Turns until something completes that somebody looks at.
    fn next(&mut self) -> Completion {
        let deadline = Instant::now() + DEADLINE;
        loop {
            while let Some(completion) = self.ring.reap() {
                if !matches!(completion.token.kind(), Kind::Ignored | Kind::Wake) {
                    self.reaped.push_back(completion);
                }
            }
            if let Some(completion) = self.reaped.pop_front() {
                return completion;
            }
            assert!(Instant::now() < deadline, "nothing completes");
            self.ring.submit_and_wait(Wait::Upto(Duration::from_millis(50)));
        }
    }

    /// Submits; asserts that nothing completes.
    fn quiet(&mut self) {
        self.ring.submit_and_wait(Wait::Upto(Duration::from_millis(20)));
        while let Some(completion) = self.ring.reap() {
            assert!(
                matches!(completion.token.kind(), Kind::Ignored | Kind::Wake),
                "{completion:?}"
            );
        }
    }

    /// Receives until `wanted` bytes have come.
    fn receive(&mut self, token: Token, wanted: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < wanted {
            let completion = self.next();
            assert_eq!((completion.token, completion.more), (token, true));
            let lease = completion.lease.expect("bytes");
            assert_eq!(completion.result as usize, self.ring.bytes(&lease).len());
            bytes.extend_from_slice(self.ring.bytes(&lease));
            self.ring.release(lease);
            self.ring.publish();
        }
        bytes
    }
}

fn token(kind: Kind) -> Token {
    Token::new(kind, 3, 5)
}

/// Two connected sockets, of which the ring's does not block.
fn pair() -> (UnixStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("sockets");
    ours.set_nonblocking(true).expect("a flag");
    (ours, theirs)
}

/// Bytes without a pattern that a mixed-up order would hide.
fn noise(len: usize) -> Vec<u8> {
    (0..len as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

mod checks {
    use super::*;

    pub(super) fn a_listener_gives_connections_until_it_stops<R: Backend>() {
        let mut bench = Bench::<R>::new();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let token = token(Kind::Accept);
        bench.ring.push(Op::Accept { listener: listener.as_raw_fd(), token });
        bench.quiet();
        for _ in 0..3 {
            let mut peer = TcpStream::connect(listener.local_addr().expect("it")).expect("it");
            let completion = bench.next();
            assert_eq!((completion.token, completion.more), (token, true));
            let recv = Token::new(Kind::Recv, 1, completion.result as u32);
            bench.ring.push(Op::Recv { fd: completion.result, token: recv });
            peer.write_all(b"x").expect("sent");
            assert_eq!(bench.receive(recv, 1), b"x");
            bench.ring.push(Op::Cancel { token: recv });
            bench.ring.push(Op::Close { fd: completion.result });
            assert_eq!(bench.next().result, -libc::ECANCELED);
            bench.quiet();
            assert_eq!(peer.read(&mut [0]).expect("the end"), 0);
        }
        let socket = socket2::SockRef::from(&listener);
        socket.shutdown(Shutdown::Both).expect("it listened");
        let completion = bench.next();
        assert!(completion.result < 0 && !completion.more, "{completion:?}");
    }

    pub(super) fn bytes_come_in_leases_and_the_end_once<R: Backend>() {
        let mut bench = Bench::<R>::new();
        let (ours, mut theirs) = pair();
        let token = token(Kind::Recv);
        bench.ring.push(Op::Recv { fd: ours.as_raw_fd(), token });
        bench.quiet();
        let sent = noise(1_500_000);
        let writer = std::thread::spawn({
            let sent = sent.clone();
            move || theirs.write_all(&sent).map(|()| theirs)
        });
        assert!(bench.receive(token, sent.len()) == sent);
        drop(writer.join().expect("it ran").expect("all was read"));
        let completion = bench.next();
        assert_eq!((completion.result, completion.more), (0, false));
        bench.quiet();
    }

    pub(super) fn a_receive_into_a_buffer_stands_behind_what_it_holds<R: Backend>() {
        let mut bench = Bench::<R>::new();
        let (ours, mut theirs) = pair();
        let token = token(Kind::RecvInto);
        for late in [false, true] {
            let mut buffer = Vec::with_capacity(100);
            buffer.extend_from_slice(b"held ");
            if !late {
                theirs.write_all(b"bytes").expect("sent");
            }
            bench.ring.push(Op::RecvInto { fd: ours.as_raw_fd(), token, buffer, limit: 5 });
            if late {
                bench.quiet();
                theirs.write_all(b"bytes").expect("sent");
            }
            let completion = bench.next();
            assert_eq!((completion.token, completion.result), (token, 5));
            assert_eq!(bench.ring.take_received(token, 5), b"held bytes");
        }
    }

    pub(super) fn a_cancelled_receive_ends_and_another_begins<R: Backend>() {
        let mut bench = Bench::<R>::new();
        let (ours, mut theirs) = pair();
        let (recv, into) = (token(Kind::Recv), token(Kind::RecvInto));
        let fd = ours.as_raw_fd();
        bench.ring.push(Op::Recv { fd, token: recv });
        bench.quiet();
        bench.ring.push(Op::Cancel { token: recv });
        let completion = bench.next();
        assert_eq!((completion.result, completion.more), (-libc::ECANCELED, false));
        theirs.write_all(b"12").expect("sent");
        bench.quiet();
        let buffer = Vec::with_capacity(1);
        bench.ring.push(Op::RecvInto { fd, token: into, buffer, limit: 1 });
        assert_eq!(bench.next().result, 1);
        assert_eq!(bench.ring.take_received(into, 1), b"1");
        bench.ring.push(Op::Recv { fd, token: recv });
        assert_eq!(bench.receive(recv, 1), b"2");
        bench.ring.push(Op::Cancel { token: recv });
        assert_eq!(bench.next().result, -libc::ECANCELED);
        bench.ring.push(Op::RecvInto { fd, token: into, buffer: Vec::with_capacity(9), limit: 9 });
        bench.quiet();
        bench.ring.push(Op::Cancel { token: into });
        assert_eq!(bench.next().result, -libc::ECANCELED);
        assert!(bench.ring.take_received(into, 0).is_empty());
    }

    pub(super) fn a_send_of_the_turn_tells_only_of_failures<R: Backend>() {
        let mut bench = Bench::<R>::new();
        let (ours, mut theirs) = pair();
        let (fd, token) = (ours.as_raw_fd(), token(Kind::SendTurn));
        bench.ring.turn_output(b"__hello".to_vec());
        bench.ring.push(Op::SendTurn { fd, token, start: 2, len: 5 });
        bench.quiet();
        let mut read = [0; 5];
        theirs.read_exact(&mut read).expect("it was sent");
        assert_eq!(&read, b"hello");
        let sent = noise(4_000_000);
        assert_eq!(bench.ring.turn_output(sent.clone()).len(), 0);
        bench.ring.push(Op::SendTurn { fd, token, start: 0, len: sent.len() });
        let completion = bench.next();
        let count = completion.result as usize;
        assert!(completion.result > 0 && count < sent.len(), "{completion:?}");
        assert_eq!(bench.ring.last_output().len(), sent.len());
        let mut read = vec![0; count];
        theirs.read_exact(&mut read).expect("it was sent");
        assert!(read == sent[..count]);
    }

    pub(super) fn a_long_send_waits_for_its_reader<R: Backend>() {
        let mut bench = Bench::<R>::new();
        let (ours, mut theirs) = pair();
        let (fd, token) = (ours.as_raw_fd(), token(Kind::Send));
        let sent = noise(4_000_000);
        bench.ring.push(Op::Send { fd, token, bytes: Bytes::from(sent.clone()) });
        bench.quiet();
        let reader = std::thread::spawn(move || {
            let mut read = vec![0; 4_000_000];
            theirs.read_exact(&mut read).map(|()| (read, theirs))
        });
        let completion = bench.next();
        assert_eq!((completion.token, completion.result), (token, 4_000_000));
        bench.ring.finish_send(token);
        let (read, theirs) = reader.join().expect("it ran").expect("it was sent");
        assert!(read == sent);
        // One that is cancelled tells how far it came.
        bench.ring.push(Op::Send { fd, token, bytes: Bytes::from(sent) });
        bench.quiet();
        bench.ring.push(Op::Cancel { token });
        let completion = bench.next();
        assert!(completion.result > 0 && completion.result < 4_000_000, "{completion:?}");
        bench.ring.finish_send(token);
        drop(theirs);
    }

    pub(super) fn a_send_to_nobody_fails<R: Backend>() {
        let mut bench = Bench::<R>::new();
        let (ours, theirs) = pair();
        drop(theirs);
        let (fd, token) = (ours.as_raw_fd(), token(Kind::Send));
        bench.ring.push(Op::Send { fd, token, bytes: Bytes::from_static(b"x") });
        assert_eq!(bench.next().result, -libc::EPIPE);
        bench.ring.finish_send(token);
    }

    pub(super) fn an_event_is_told_once_however_often_it_was_written<R: Backend>() {
        let mut bench = Bench::<R>::new();
        let token = token(Kind::Event);
        bench.ring.push(Op::Event { token });
        bench.quiet();
        for _ in 0..3 {
            sys::write_event(bench.event.as_raw_fd());
        }
        assert_eq!(bench.next().token, token);
        bench.ring.push(Op::Event { token });
        bench.quiet();
        sys::write_event(bench.event.as_raw_fd());
        assert_eq!(bench.next().token, token);
        sys::write_event(bench.event.as_raw_fd());
        bench.quiet();
        bench.ring.push(Op::Event { token });
        assert_eq!(bench.next().token, token);
    }

    pub(super) fn a_core_wakes_another<R: Backend>() {
        let (sender, names) = std::sync::mpsc::channel();
        let (woken, told) = std::sync::mpsc::channel();
        let sleeper = std::thread::spawn(move || {
            let mut bench = Bench::<R>::new();
            sender.send(bench.ring.wake_fd()).expect("somebody waits");
            let began = Instant::now();
            bench.ring.submit_and_wait(Wait::Upto(DEADLINE));
            woken.send(began.elapsed()).expect("somebody waits");
        });
        let mut bench = Bench::<R>::new();
        bench.ring.set_peers(vec![names.recv().expect("it runs")]);
        bench.ring.push(Op::Wake { core: 0 });
        bench.ring.submit_and_wait(Wait::No);
        let waited = told.recv_timeout(DEADLINE).expect("it was woken");
        assert!(waited < DEADLINE, "it woke by itself");
        sleeper.join().expect("it ends");
    }

    pub(super) fn files_are_written_and_synced<R: Backend>() {
        let mut bench = Bench::<R>::new();
        let file = tempfile::NamedTempFile::new().expect("a file");
        let fd = file.reopen().expect("the file").into_raw_fd();
        let (write, sync) = (token(Kind::Write), token(Kind::Sync));
        for (offset, durable) in [(0, true), (3, false)] {
            let bytes = Bytes::from_static(b"abc");
            bench.ring.push(Op::Write { fd, token: write, offset, bytes, durable });
            let completion = bench.next();
            assert_eq!((completion.token, completion.result), (write, 3));
            bench.ring.finish_write(write);
        }
        bench.ring.push(Op::Sync { fd, token: sync });
        let completion = bench.next();
        assert_eq!((completion.token, completion.result), (sync, 0));
        bench.ring.push(Op::Close { fd });
        bench.ring.submit_and_wait(Wait::No);
        assert_eq!(std::fs::read(file.path()).expect("the file"), b"abcabc");
    }

    pub(super) fn a_write_that_fails_says_why<R: Backend>() {
        let mut bench = Bench::<R>::new();
        let file = File::open("/dev/null").expect("it is there");
        let write = token(Kind::Write);
        for durable in [true, false] {
            let (fd, bytes) = (file.as_raw_fd(), Bytes::from_static(b"abc"));
            bench.ring.push(Op::Write { fd, token: write, offset: 0, bytes, durable });
            assert_eq!(bench.next().result, -libc::EBADF);
            bench.ring.finish_write(write);
        }
    }

    pub(super) fn leases_run_out_and_come_back<R: Backend>() {
        let mut bench = Bench::<R>::new();
        let (ours, mut theirs) = pair();
        let (fd, token) = (ours.as_raw_fd(), token(Kind::Recv));
        let writer = std::thread::spawn(move || theirs.write_all(&noise(8 << 20)).is_ok());
        bench.ring.push(Op::Recv { fd, token });
        let mut leases = Vec::new();
        let mut total = 0;
        loop {
            let completion = bench.next();
            let Some(lease) = completion.lease else {
                assert_eq!((completion.result, completion.more), (-libc::ENOBUFS, false));
                break;
            };
            total += completion.result as usize;
            leases.push(lease);
            if !completion.more {
                bench.ring.push(Op::Recv { fd, token });
            }
        }
        let sent = noise(8 << 20);
        let held: Vec<u8> =
            leases.iter().flat_map(|lease| bench.ring.bytes(lease).to_vec()).collect();
        assert!(held == sent[..total], "what is leased is not written to");
        leases.into_iter().for_each(|lease| bench.ring.release(lease));
        bench.ring.publish();
        bench.ring.push(Op::Recv { fd, token });
        let completion = bench.next();
        let lease = completion.lease.expect("there is room again");
        let len = completion.result as usize;
        assert!(bench.ring.bytes(&lease) == &sent[total..total + len]);
        bench.ring.push(Op::Cancel { token });
        bench.ring.push(Op::Close { fd: ours.into_raw_fd() });
        bench.ring.submit_and_wait(Wait::No);
        // A socket may be closed with the submission behind.
        bench.ring.submit_and_wait(Wait::No);
        writer.join().expect("it ends");
    }

    pub(super) fn a_spin_finds_what_a_wait_would<R: Backend>() {
        let mut bench = Bench::<R>::new();
        let (ours, mut theirs) = pair();
        let token = token(Kind::Recv);
        bench.ring.push(Op::Recv { fd: ours.as_raw_fd(), token });
        assert!(!bench.ring.spin(50, &mut || false));
        let mut looks = 0;
        assert!(bench.ring.spin(50, &mut || {
            looks += 1;
            looks == 10
        }));
        theirs.write_all(b"x").expect("sent");
        assert!(bench.ring.spin(u32::MAX, &mut || false));
        bench.ring.submit_and_wait(Wait::No);
        assert_eq!(bench.receive(token, 1), b"x");
    }
}
