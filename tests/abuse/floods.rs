//! Clients that send and do not read: the server stops executing for them, then reading from them,
//! holds little for each, and is there for everybody else. When they read, every reply comes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::garbage::keys;
use super::support::client::encode;
use super::support::server::Server;
use super::{
    DEADLINE, connect, cpu_ticks, expect, number, resident, send_what_fits, wait_for_nobody,
    wait_until, with_servers,
};

/// What the server may hold for one client that does not read: its bound of input and of output,
/// what the kernel had handed over before it was told to stop, and the allocator's rounding.
const HELD_BYTES_MAX: u64 = 24 << 20;
/// A counter that stands still for so long has come to rest.
const STILL: Duration = Duration::from_millis(200);

/// A request that is repeated, and its reply.
struct Flood {
    request: Vec<u8>,
    reply: Vec<u8>,
    count: usize,
}

fn bulk(bytes: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

fn floods(server: &Server) -> Vec<Flood> {
    let keys = keys();
    let mut client = server.client();
    let sizes = [1_000, 20_000, 100_000, 3];
    let values: Vec<Vec<u8>> = (b'a'..).zip(sizes).map(|(byte, size)| vec![byte; size]).collect();
    for (key, value) in keys.iter().zip(&values) {
        client.call(&[b"SET", key.as_bytes(), value]).expect("stored");
    }
    client.quit();
    let get = |at: usize, count| Flood {
        request: encode(&["GET", &keys[at]]),
        reply: bulk(&values[at]),
        count,
    };
    let mut all = [&b"*4\r\n"[..]].concat();
    for value in &values {
        all.extend(bulk(value));
    }
    vec![
        get(0, 30_000),
        get(2, 1_000),
        Flood { request: encode(&["PING"]), reply: b"+PONG\r\n".to_vec(), count: 1_500_000 },
        Flood {
            request: encode(&["MGET", &keys[0], &keys[1], &keys[2], &keys[3]]),
            reply: all,
            count: 1_000,
        },
    ]
}

/// A connection that takes few bytes before its owner reads them.
fn connect_with_little_room(server: &Server) -> TcpStream {
    let stream = connect(server);
    SockRef::from(&stream).set_recv_buffer_size(256 * 1024).expect("a small buffer");
    stream
}

/// Every so often a number, so that a reply that is lost, doubled or late is seen.
fn pipeline(flood: &Flood) -> (Vec<u8>, Vec<u8>) {
    const MARK_EVERY: usize = 50;
    let (mut requests, mut replies) = (Vec::new(), Vec::new());
    for number in 0..flood.count {
        requests.extend_from_slice(&flood.request);
        replies.extend_from_slice(&flood.reply);
        if number % MARK_EVERY == 0 {
            let mark = number.to_string();
            requests.extend(encode(&["ECHO", &mark]));
            replies.extend(bulk(mark.as_bytes()));
        }
    }
    (requests, replies)
}

/// Waits until a counter grows by at most `slack` in a while. However slow the machine is, what can be
/// done comes to its end.
fn wait_until_still(what: &str, slack: u64, counter: impl Fn() -> u64) {
    let deadline = Instant::now() + DEADLINE * 10;
    let mut before = counter();
    loop {
        thread::sleep(STILL);
        let now = counter();
        if now - before <= slack {
            return;
        }
        assert!(Instant::now() < deadline, "{what} do not come to rest: {before}, then {now}");
        before = now;
    }
}

/// Nothing is done for those who do not read, and others are served.
fn must_be_calm(server: &Server) {
    // What asks for the figures counts, too.
    wait_until_still("commands", 9, || number(server, "stats", "total_commands_processed"));
    wait_until_still("the processor", 6, || cpu_ticks(server));
    let mut client = connect(server);
    let began = Instant::now();
    for _ in 0..100 {
        client.write_all(b"PING\r\n").expect("sent");
        expect(&mut client, b"+PONG\r\n");
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{:?} for 100 PINGs", began.elapsed());
}

/// Reads what was announced, comparing as it comes, while the rest of the requests is sent.
fn read_all(stream: &mut TcpStream, unsent: &[u8], expected: &[u8]) {
    let mut sender = stream.try_clone().expect("the same socket");
    thread::scope(|scope| {
        scope.spawn(move || sender.write_all(unsent).expect("the rest is sent"));
        let mut chunk = vec![0; 1 << 18];
        let mut at = 0;
        while at < expected.len() {
            let count = stream.read(&mut chunk).expect("more replies");
            assert!(count > 0, "closed after {at} of {} bytes", expected.len());
            let same = expected.get(at..at + count) == Some(&chunk[..count]);
            assert!(same, "another reply than expected behind byte {at}");
            at += count;
        }
    });
}

#[test]
fn who_does_not_read_waits_and_then_gets_everything() {
    with_servers(&[], |server| {
        for flood in floods(server) {
            let (requests, replies) = pipeline(&flood);
            let before = resident(server);
            let mut stream = connect_with_little_room(server);
            let written = number(server, "stats", "total_net_output_bytes");
            let sent = send_what_fits(&mut stream, &requests);
            must_be_calm(server);
            let written = number(server, "stats", "total_net_output_bytes") - written;
            assert!(written < replies.len() as u64, "the kernel's buffers take it all: send more");
            let grown = resident(server).saturating_sub(before);
            assert!(grown < HELD_BYTES_MAX, "{grown} bytes are held for one client");
            read_all(&mut stream, &requests[sent..], &replies);
            drop(stream);
        }
        wait_for_nobody(server);
    });
}

#[test]
fn a_long_pipeline_runs_before_its_sender_reads() {
    with_servers(&[], |server| {
        // More than the kernel takes of it.
        let (count, value) = (9_000, vec![b'v'; 1_000]);
        let mut client = server.client();
        client.call(&[&b"SET"[..], b"k", &value]).expect("stored");
        client.quit();
        let mut stream = connect_with_little_room(server);
        stream.write_all(&encode(&["GET", "k"]).repeat(count)).expect("all of it is sent");
        let ran = || number(server, "stats", "total_commands_processed");
        wait_until("all of it has run", || ran() >= count as u64);
        read_all(&mut stream, &[], &bulk(&value).repeat(count));
    });
}

#[test]
fn a_hundred_who_do_not_read_are_bounded_and_can_be_killed() {
    const CLIENTS: usize = 100;
    with_servers(&[], |server| {
        let before = resident(server);
        let pipelines: Vec<_> = floods(server)
            .into_iter()
            .map(|flood| pipeline(&Flood { count: flood.count.min(200_000), ..flood }).0)
            .collect();
        let mut streams: Vec<TcpStream> =
            (0..CLIENTS).map(|_| connect_with_little_room(server)).collect();
        for stream in &streams {
            stream.set_nonblocking(true).expect("non-blocking");
        }
        // A few rounds over all of them, so that the server has to turn between them.
        for round in 0..40 {
            for (at, stream) in streams.iter_mut().enumerate() {
                let bytes = &pipelines[at % pipelines.len()];
                let piece = &bytes[round * bytes.len() / 40..(round + 1) * bytes.len() / 40];
                // A piece that does not fit as a whole leaves a broken request: garbage, too.
                let _ = stream.write(piece);
            }
        }
        must_be_calm(server);
        let grown = resident(server).saturating_sub(before);
        assert!(grown < CLIENTS as u64 * (2 << 20), "{grown} bytes for {CLIENTS} clients");
        let mut client = server.client();
        let listed = client.call(&["CLIENT", "LIST"]).expect("a list");
        let lines = String::from_utf8_lossy(&listed).lines().count();
        assert!(lines > CLIENTS / 2, "{}", listed.escape_ascii());
        client.call(&["CLIENT", "KILL", "SKIPME", "yes", "TYPE", "normal"]).expect("killed");
        client.quit();
        wait_for_nobody(server);
        assert!(number(server, "clients", "connected_clients") == 1);
    });
}
