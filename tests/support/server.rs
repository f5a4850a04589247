//! A server as a child process: started on a free port, waited for, killed on drop.
//!
//! Invariant: a `Server` that exists has answered PING. Its files live in a temporary directory that
//! goes with it, and its log is shown when the test that holds it panics.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::client::Client;
use super::env;
use super::wait::wait_until;

/// Which program to start.
#[derive(Clone, Debug)]
pub(crate) enum Program {
    /// The server under test with this number of cores. `IRONRING_BIN` names another binary, and
    /// `IRONRING_STOCK=1` says that this binary is a stock server, which has no `--cores`.
    Ours {
        /// Value of `--cores`.
        cores: usize,
    },
    /// A stock Redis or Valkey server at this path.
    Stock(PathBuf),
}

/// A running server.
pub(crate) struct Server {
    child: Child,
    port: u16,
    dir: tempfile::TempDir,
}

impl Server {
    /// Starts `program` with `options` (pairs of directive and value, without the dashes) behind the
    /// usual ones, and returns when it answers PING. Panics with the log when it does not.
    pub(crate) fn start(program: &Program, options: &[(String, String)]) -> Self {
        for _ in 0..PORT_ATTEMPTS {
            if let Some(server) = Self::try_start(program, options) {
                return server;
            }
        }
        panic!("{program:?}: no attempt out of {PORT_ATTEMPTS} could bind its port");
    }

    /// The same with a configuration file, which the server may rewrite, in place of options.
    pub(crate) fn start_with_file(program: &Program, file: &Path) -> Self {
        Self::restart_with_file(program, file, free_port())
    }

    /// The same on a port that is known.
    pub(crate) fn restart_with_file(program: &Program, file: &Path, port: u16) -> Self {
        let command = |dir: &Path| {
            let mut command = program.bare_command();
            command.arg(file).args(["--port", &port.to_string(), "--save", "", "--dir"]).arg(dir);
            command
        };
        Self::spawn(program, port, command).expect("its port is free")
    }

    /// None when another process took the port between our choosing it and the server's bind.
    fn try_start(program: &Program, options: &[(String, String)]) -> Option<Self> {
        let port = free_port();
        let command = |dir: &Path| {
            let mut command = program.command();
            command.args(["--port", &port.to_string(), "--save", "", "--dir"]).arg(dir);
            for (name, value) in options {
                command.arg(format!("--{name}"));
                command.arg(if value == "\"\"" { "" } else { value });
            }
            command
        };
        Self::spawn(program, port, command)
    }

    fn spawn(program: &Program, port: u16, command: impl Fn(&Path) -> Command) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let log = File::create(dir.path().join(LOG_NAME)).expect("a log file");
        let mut command = command(dir.path());
        command.stdin(Stdio::null());
        command.stdout(log.try_clone().expect("the log file again")).stderr(log);
        let child = command.spawn().unwrap_or_else(|e| panic!("cannot start {program:?}: {e}"));
        let mut server = Self { child, port, dir };
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            if server.answers_ping() {
                return Some(server);
            }
            let exited = server.child.try_wait().expect("state of the child");
            if exited.is_some() && server.log().contains("in use") {
                return None;
            }
            assert!(
                exited.is_none() && Instant::now() < deadline,
                "{program:?} did not become ready ({exited:?}); its log:\n{}",
                server.log()
            );
            std::thread::sleep(POLL_PAUSE);
        }
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the process to end of its own accord. None if it has not until `deadline`.
    pub(crate) fn exit_status(&mut self, deadline: Instant) -> Option<ExitStatus> {
        loop {
            let exited = self.child.try_wait().expect("state of the child");
            if exited.is_some() || Instant::now() > deadline {
                return exited;
            }
            std::thread::sleep(POLL_PAUSE);
        }
    }

    /// Address of the server.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A new connection, in RESP2 as every connection begins.
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.port).unwrap_or_else(|e| panic!("port {}: {e}", self.port))
    }

    /// The server's working directory.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Everything that the server has printed so far.
    pub(crate) fn log(&self) -> String {
        let bytes = fs::read(self.dir.path().join(LOG_NAME)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until a text stands in the log, which is written behind what it tells of.
    pub(crate) fn must_log(&self, text: &str) {
        wait_until(&format!("{text:?} in the log"), || self.log().contains(text));
    }

    /// One field of INFO, as text.
    pub(crate) fn info(&self, section: &str, field: &str) -> Option<String> {
        let mut client = self.client();
        let reply = client.call(&["INFO", section]).ok()?;
        client.quit();
        let text = String::from_utf8_lossy(&reply);
        let value = |line: &str| Some(line.strip_prefix(field)?.strip_prefix(':')?.to_owned());
        text.lines().find_map(value)
    }

    fn answers_ping(&self) -> bool {
        let Ok(mut client) = Client::connect(self.port) else { return false };
        let ready = client.call(&["PING"]).is_ok_and(|reply| match &reply[..] {
            loading if loading.starts_with(b"-LOADING") => false,
            // Whoever may not ask is not told: NOAUTH, DENIED.
            error if error.starts_with(b"-") => self.log().contains("Ready to accept connections"),
            _ => self.is_asked(&mut client),
        });
        client.quit();
        ready
    }

    /// True if it is this server that a client talks to: another one may have taken its port, while
    /// this one is about to give up.
    fn is_asked(&self, client: &mut Client) -> bool {
        let pid = format!("process_id:{}\r\n", self.child.id());
        client.call(&["INFO", "server"]).is_ok_and(|reply| match &reply[..] {
            // It may be renamed, or not allowed.
            [b'-', ..] => self.log().contains("Ready to accept connections"),
            info => String::from_utf8_lossy(info).contains(&pid),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The child may be gone already; then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..];
            eprintln!("last log lines of the server on port {}:\n{}", self.port, tail.join("\n"));
        }
    }
}

impl Program {
    /// Without any argument; a server of ours then has as many cores as its file says.
    fn bare_command(&self) -> Command {
        match self {
            Self::Stock(path) => Command::new(path),
            Self::Ours { .. } => {
                let built = env!("CARGO_BIN_EXE_ironring").to_owned();
                Command::new(env("IRONRING_BIN").unwrap_or(built))
            }
        }
    }

    fn command(&self) -> Command {
        let mut command = self.bare_command();
        if let Self::Ours { cores } = self
            && env("IRONRING_STOCK").is_none()
        {
            command.args(["--cores", &cores.to_string()]).args(backend());
        }
        command
    }
}

/// The options that say how the server reaches the kernel: `IO_BACKEND=epoll` runs a test without
/// io_uring.
pub(crate) fn backend() -> Vec<String> {
    env("IO_BACKEND").map_or(Vec::new(), |name| vec!["--io-backend".into(), name])
}

/// A port that was free a moment ago, and that no other test of this process was given.
pub(crate) fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        if GIVEN.lock().expect("nobody panics with it").insert(port) {
            return port;
        }
    }
}

const LOG_NAME: &str = "server.log";
const LOG_TAIL_LINES: usize = 30;
const PORT_ATTEMPTS: usize = 5;
/// A debug build on a busy machine with two processors starts in well under a second.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// Between two tries to connect: short against a start, long against a connect.
const POLL_PAUSE: Duration = Duration::from_millis(3);
