//! A server that may not use io_uring, as in containers with the usual filter of system calls.
//!
//! Invariant: the kernel itself refuses; the server is not told.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use super::*;

/// A filter that answers EPERM to io_uring_setup and lets everything else through. Source: seccomp(2).
fn refuse_io_uring() -> std::io::Result<()> {
    const ALLOW: u32 = 0x7fff_0000;
    const ERRNO: u32 = 0x0005_0000;
    const MODE_FILTER: i32 = 2;
    let number = libc::SYS_io_uring_setup as u32;
    let statement =
        |code: u32, value| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k: value };
    let mut filter = [
        // The number of the call is the first word of what a filter sees.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        libc::sock_filter {
            code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
            jt: 0,
            jf: 1,
            k: number,
        },
        statement(libc::BPF_RET | libc::BPF_K, ERRNO | libc::EPERM as u32),
        statement(libc::BPF_RET | libc::BPF_K, ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: system calls; the second reads the program, which lives until it returns.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            | libc::prctl(libc::PR_SET_SECCOMP, MODE_FILTER, &raw const program)
    };
    if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// A server without io_uring, in a directory of its own.
struct Refused {
    child: Child,
    dir: tempfile::TempDir,
}

impl Refused {
    fn start(args: &[&str]) -> Refused {
        let dir = tempfile::tempdir().expect("a directory");
        let child = Refused::spawn(dir.path(), args);
        Refused { child, dir }
    }

    fn spawn(dir: &Path, args: &[&str]) -> Child {
        let log = fs::File::create(dir.join("log")).expect("a log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_ironring"));
        command.args(["--port", "0", "--unixsocket", "s", "--dir"]).arg(dir).args(args);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        // SAFETY: two system calls and no memory.
        unsafe { command.pre_exec(refuse_io_uring) };
        command.spawn().expect("a server")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// What redis' inline form of a command is answered, without its line end.
    fn ask(&self, line: &str) -> String {
        use std::io::{Read, Write};
        use std::os::unix::net::UnixStream;
        let mut stream = UnixStream::connect(self.dir.path().join("s")).expect("it listens");
        stream.write_all(format!("{line}\r\nQUIT\r\n").as_bytes()).expect("sent");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("answered");
        reply.trim_end().trim_end_matches("+OK").trim_end().to_owned()
    }

    fn end(&mut self) {
        send_signal(self.child.id(), "-TERM");
        assert!(self.child.wait().expect("it ends").success(), "{}", self.log());
    }
}

impl Drop for Refused {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn without_io_uring_epoll_takes_over_and_says_so() {
    for cores in ["1", "4"] {
        let args = ["--cores", cores, "--appendonly", "yes", "--appendfsync", "always"];
        let mut server = Refused::start(&args);
        wait_until("ready server", || server.log().contains("Ready to accept connections"));
        let log = server.log();
        let told = log.lines().filter(|line| line.contains("Using epoll instead")).count();
        assert!(told == 1 && log.contains("seccomp"), "{log}");
        assert!(server.ask("INFO server").contains("multiplexing_api:epoll"));
        assert_eq!(server.ask("SET a 1"), "+OK");
        assert_eq!(server.ask("BGSAVE"), "+Background saving started");
        wait_until("snapshot", || server.dir.path().join("dump.rdb").exists());
        server.end();
        server.child = Refused::spawn(server.dir.path(), &args);
        wait_until("ready server", || server.log().contains("Ready to accept connections"));
        assert_eq!(server.ask("GET a"), "$1\r\n1");
        server.end();
    }
}

#[test]
fn who_asks_for_io_uring_gets_it_or_nothing() {
    let mut server = Refused::start(&["--io-backend", "io_uring"]);
    assert_eq!(server.child.wait().expect("it ends").code(), Some(1));
    wait_until("the reason in the log", || {
        server.log().contains("io_uring is refused by a seccomp filter")
    });
}
