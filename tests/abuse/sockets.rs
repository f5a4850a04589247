//! Where a server listens, and what it says when it cannot.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use super::support::server::{backend, free_port};
use super::{DEADLINE, connect, end, expect, read_to_end, start, wait_for, wait_until};

/// A server that is started with exactly these arguments, and killed on drop.
struct Bare {
    child: Child,
    dir: tempfile::TempDir,
}

impl Drop for Bare {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Bare {
    fn start(args: &[&str]) -> Self {
        Self::spawn(Command::new(env!("CARGO_BIN_EXE_ironring")), args)
    }

    /// Lets a shell prepare the process before it becomes the server.
    fn start_in_shell(script: &str, args: &[&str]) -> Self {
        let mut command = Command::new("bash");
        let script = format!("{script}; exec \"$0\" \"$@\"");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_ironring")]);
        Self::spawn(command, args)
    }

    fn spawn(mut command: Command, args: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let log = fs::File::create(dir.path().join("log")).expect("a log");
        command.args(args).args(backend()).args(["--save", "", "--dir"]).arg(dir.path());
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        Bare { child: command.spawn().expect("a server"), dir }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    fn wait_until_ready(&self) {
        wait_until("a ready server", || self.log().contains("Ready to accept connections"));
    }
}

/// What a server says that cannot start.
fn fails(args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ironring"));
    let Output { status, stdout, .. } = command.args(args).output().expect("a server");
    let text = String::from_utf8_lossy(&stdout).into_owned();
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(!text.contains("panicked"), "{text}");
    text
}

fn ping(address: impl ToSocketAddrs) -> Option<()> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(DEADLINE)).ok()?;
    stream.write_all(b"PING\r\n").ok()?;
    let mut reply = [0; 7];
    stream.read_exact(&mut reply).ok()?;
    (&reply == b"+PONG\r\n").then_some(())
}

/// The address from which this machine speaks to others, if it has one. Nothing is sent.
fn outer_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("198.51.100.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_loopback())
}

#[test]
fn a_unix_socket_alone_is_enough() {
    for cores in ["1", "4"] {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("socket");
        let text = path.to_str().expect("a path of text");
        let mut server = Bare::start(&[
            "--port",
            "0",
            "--unixsocket",
            text,
            "--unixsocketperm",
            "700",
            "--cores",
            cores,
        ]);
        server.wait_until_ready();
        let mode = fs::metadata(&path).expect("a socket file").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let mut stream = UnixStream::connect(&path).expect("a connection");
        stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
        stream.write_all(b"PING\r\nSET k v\r\nCLIENT LIST\r\nQUIT\r\n").expect("sent");
        let mut replies = String::new();
        stream.read_to_string(&mut replies).expect("replies");
        assert!(replies.starts_with("+PONG\r\n+OK\r\n"), "{replies}");
        assert!(replies.contains(&format!("addr={text}:0")), "{replies}");
        assert!(replies.contains("flags=U"), "{replies}");
        super::kill(server.child.id(), "TERM");
        let status = wait_for("the end", || server.child.try_wait().expect("a state"));
        assert!(status.success() && !Path::new(text).exists(), "{}", server.log());
        assert!(server.log().contains("Removing the unix socket file."), "{}", server.log());
    }
}

/// Whoever gets through at all meets the permissions that were asked for, however early.
#[test]
fn cve_2023_45145_permissions_come_before_the_first_client() {
    for _ in 0..5 {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("socket");
        let text = path.to_str().expect("a path of text");
        let args = ["--port", "0", "--unixsocket", text, "--unixsocketperm", "700"];
        let _server = Bare::start_in_shell("umask 0", &args);
        let deadline = Instant::now() + DEADLINE;
        while UnixStream::connect(&path).is_err() {
            assert!(Instant::now() < deadline, "nobody listens");
        }
        let mode = fs::metadata(&path).expect("a socket file").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}

#[test]
fn a_server_without_descriptors_accepts_again_later() {
    const CLIENTS: usize = 20;
    let port = free_port();
    for cores in ["1", "4"] {
        // Inherited descriptors take the place of clients that maxclients promises.
        let server = Bare::start_in_shell(
            "ulimit -n 64; for fd in {20..55}; do eval \"exec $fd</dev/null\"; done",
            &["--port", &port.to_string(), "--cores", cores, "--maxclients", "30"],
        );
        server.wait_until_ready();
        let streams = || (0..CLIENTS).map(|_| TcpStream::connect(("127.0.0.1", port)));
        let mut streams: Vec<TcpStream> = streams().map(|s| s.expect("queued")).collect();
        let line = "Error accepting a client connection: Too many open files\n";
        wait_until("a line of the log", || server.log().contains(line));
        let mut served = 0;
        while !streams.is_empty() {
            let mut stream = streams.remove(0);
            stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
            stream.write_all(b"PING\r\n").expect("sent");
            let mut reply = [0; 7];
            stream.read_exact(&mut reply).expect("accepted, as soon as others have gone");
            served += 1;
        }
        assert_eq!(served, CLIENTS);
        // Ten rounds a second, one line a round: not one line a try.
        let lines = server.log().lines().filter(|l| l.contains(line.trim_end())).count();
        assert!(lines < 200, "{lines} lines");
    }
}

#[test]
fn several_addresses_are_bound() {
    let port = free_port();
    let text = port.to_string();
    let server = Bare::start(&[
        "--bind",
        "127.0.0.1 127.0.0.2 -::1 -192.0.2.77",
        "--port",
        &text,
        "--cores",
        "4",
    ]);
    server.wait_until_ready();
    assert!(ping(("127.0.0.1", port)).is_some());
    assert!(ping(("127.0.0.2", port)).is_some());
    assert!(ping(("127.0.0.3", port)).is_none());
    if TcpListener::bind("[::1]:0").is_ok() {
        assert!(ping(("::1", port)).is_some());
    }
}

#[test]
fn what_cannot_be_bound_is_said() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let log = fails(&["--bind", "127.0.0.1", "--port", &port, "--cores", "2"]);
    let line = "Could not create server TCP listening socket 127.0.0.1:";
    assert!(log.contains(line) && log.contains("bind: Address already in use\n"), "{log}");
    assert!(log.contains("Failed listening on port"), "{log}");
    let log = fails(&["--bind", "192.0.2.77", "--port", &free_port().to_string()]);
    assert!(log.contains("bind: Cannot assign requested address\n"), "{log}");
    let log = fails(&["--port", "0"]);
    assert!(log.contains("Configured to not listen anywhere, exiting."), "{log}");
    let log = fails(&["--port", "0", "--unixsocket", "/nowhere/at/all"]);
    assert!(log.contains("Failed opening Unix socket: bind: No such file or directory"), "{log}");
}

#[test]
fn strangers_from_elsewhere_are_denied() {
    let Some(outer) = outer_address() else {
        eprintln!("SKIPPED: this machine has no address but loopback");
        return;
    };
    for cores in [1, 4] {
        let server = start(cores, &[("bind", "*"), ("protected-mode", "yes")]);
        let mut stream = TcpStream::connect((outer, server.port())).expect("a connection");
        stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
        let text = String::from_utf8(read_to_end(&mut stream)).expect("text");
        assert!(text.starts_with("-DENIED Redis is running in protected mode"), "{text}");
        let mut client = server.client();
        client.call(&["CONFIG", "SET", "requirepass", "secret"]).expect("set");
        let mut stream = TcpStream::connect((outer, server.port())).expect("a connection");
        stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
        stream.write_all(b"PING\r\nQUIT\r\n").expect("sent");
        let text = String::from_utf8(read_to_end(&mut stream)).expect("text");
        assert!(text.starts_with("-NOAUTH"), "{text}");
        client.call(&["CONFIG", "SET", "requirepass", ""]).expect("set");
        client.call(&["CONFIG", "SET", "protected-mode", "no"]).expect("set");
        assert!(ping((outer, server.port())).is_some());
        assert_eq!(super::number(&server, "stats", "rejected_connections"), 1);
    }
}

/// Sends one command on a connection of its own, and reads one line.
fn ask(port: u16, command: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).expect("sent");
    let text = String::from_utf8(read_to_end(&mut stream)).expect("text");
    text.lines().next().expect("a line").to_owned()
}

#[test]
fn ports_and_addresses_change_while_clients_stay() {
    for cores in [1, 4] {
        let server = start(cores, &[("bind", "127.0.0.1")]);
        let old = server.port();
        let mut stays = connect(&server);
        let new = free_port();
        assert_eq!(ask(old, &format!("CONFIG SET port {new}")), "+OK");
        wait_until("the old port is closed", || ping(("127.0.0.1", old)).is_none());
        assert_eq!(ask(new, "CONFIG SET bind *"), "+OK");
        assert!(ping(("127.0.0.2", new)).is_some());
        assert_eq!(ask(new, "CONFIG SET bind \"127.0.0.1 127.0.0.3 -192.0.2.77\""), "+OK");
        wait_until("no other address", || ping(("127.0.0.2", new)).is_none());
        assert!(ping(("127.0.0.3", new)).is_some());

        let taken = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let theirs = taken.local_addr().expect("its address").port();
        let reply = ask(new, &format!("CONFIG SET port {theirs}"));
        let reason = "(possibly related to argument 'port') - Unable to listen on this port. Check server logs.";
        assert_eq!(reply, format!("-ERR CONFIG SET failed {reason}"));
        let reply = ask(new, "CONFIG SET bind 999.999.999.999");
        let reason =
            "(possibly related to argument 'bind') - Failed to bind to specified addresses.";
        assert_eq!(reply, format!("-ERR CONFIG SET failed {reason}"));
        assert_eq!(ask(new, "CONFIG SET port 0"), "+OK");
        wait_until("nobody can connect", || ping(("127.0.0.3", new)).is_none());
        stays.write_all(format!("CONFIG SET port {old}\r\n").as_bytes()).expect("sent");
        expect(&mut stays, b"+OK\r\n");
        assert!(ping(("127.0.0.1", old)).is_some());
        end(server, "TERM");
    }
}
