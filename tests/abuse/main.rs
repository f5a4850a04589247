//! Hostile and careless clients against a real server: garbage, announcements, clients that vanish,
//! that never read, that never send, that are too many. The server answers as it should, stays
//! small, serves everybody else and ends in order.
//!
//! Invariant: each test runs with one core and with four; nothing waits for luck, every wait polls
//! for what it waits for until a deadline; no server ends with a panic in its log.

mod advisories;
mod client_memory;
mod crowds;
mod ending;
mod eviction;
mod extremes;
mod floods;
mod functions;
mod garbage;
mod metrics;
mod permissions;
mod pushes;
mod renamed;
mod scripts;
mod sockets;
#[path = "../support/mod.rs"]
mod support;
mod values;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use socket2::SockRef;
use support::server::{Program, Server};
use support::wait::{DEADLINE, POLL_PAUSE, wait_for, wait_until};

/// An orderly end takes no longer.
const END_DEADLINE: Duration = Duration::from_secs(2);

/// Runs `test` on servers with one core and with four, then ends each and looks at its log.
fn with_servers(options: &[(&str, &str)], test: impl Fn(&Server)) {
    for cores in [1, 4] {
        let server = start(cores, options);
        test(&server);
        end(server, "TERM");
    }
}

fn start(cores: usize, options: &[(&str, &str)]) -> Server {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let options: Vec<_> = options.iter().map(owned).collect();
    Server::start(&Program::Ours { cores }, &options)
}

/// Ends a server with a signal: it must exit with 0, soon, and without a panic in its log.
fn end(mut server: Server, signal: &str) {
    kill(server.pid(), signal);
    must_end(&mut server);
}

fn must_end(server: &mut Server) {
    let status = server.exit_status(Instant::now() + END_DEADLINE);
    assert!(!server.log().contains("panicked"), "{}", server.log());
    let status = status.unwrap_or_else(|| panic!("no end in {END_DEADLINE:?}"));
    assert!(status.success(), "{status}");
    server.must_log("is now ready to exit, bye bye...");
}

fn kill(pid: u32, signal: &str) {
    let sent = Command::new("kill").args(["-s", signal, &pid.to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()), "kill {pid}");
}

/// A bare connection with a deadline for reads and writes.
fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", server.port())).expect("a connection");
    stream.set_nodelay(true).expect("no delay");
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline for reads");
    stream.set_write_timeout(Some(DEADLINE)).expect("a deadline for writes");
    stream
}

/// Closes a connection with a reset.
fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("linger");
}

/// Everything until the server closes the connection.
fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let mut chunk = vec![0; 1 << 16];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return all,
            Ok(count) => all.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return all,
            Err(error) => panic!("the server did not close: {error}; {} bytes", all.len()),
        }
    }
}

/// Exactly these bytes come next.
fn expect(stream: &mut TcpStream, expected: &[u8]) {
    let mut found = vec![0; expected.len()];
    stream.read_exact(&mut found).expect("the reply");
    assert!(found == expected, "expected {}, found {}", shown(expected), shown(&found));
}

fn shown(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(200)].escape_ascii().to_string()
}

/// Sends until the server takes no more for a while, or all is sent; how many bytes went out.
fn send_what_fits(stream: &mut TcpStream, bytes: &[u8]) -> usize {
    const STUCK: Duration = Duration::from_millis(250);
    stream.set_nonblocking(true).expect("non-blocking");
    let (mut sent, mut moved) = (0, Instant::now());
    while sent < bytes.len() && moved.elapsed() < STUCK {
        match stream.write(&bytes[sent..]) {
            Ok(count) => (sent, moved) = (sent + count, Instant::now()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(POLL_PAUSE),
            Err(error) => panic!("{error} after {sent} bytes"),
        }
    }
    stream.set_nonblocking(false).expect("blocking");
    sent
}

/// Resident memory of a process, in bytes.
fn resident(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("a number") * 1024
}

/// Processor time of a process so far, in hundredths of a second.
fn cpu_ticks(server: &Server) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", server.pid())).expect("its stat");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    fields[11..13].iter().map(|field| field.parse::<u64>().expect("ticks")).sum()
}

/// A number of INFO.
fn number(server: &Server, section: &str, field: &str) -> u64 {
    server.info(section, field).and_then(|text| text.parse().ok()).expect("a number of INFO")
}

/// Waits until only the connection that asks is left.
fn wait_for_nobody(server: &Server) {
    wait_until("all clients gone", || number(server, "clients", "connected_clients") == 1);
}
