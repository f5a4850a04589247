//! The process as the system sees it: supervisors, signals, the background, its log, its last words, and a
//! kernel that refuses io_uring.
//!
//! Invariant: each test runs with one core and with four; a test waits for what it expects, and for
//! nothing else.
#![allow(unsafe_code, reason = "a filter of system calls is set between fork and exec")]

mod hotkeys;
mod refusal;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use support::client::call;
use support::server::{Program, Server, backend};
use support::wait::{DEADLINE, wait_until};

const CORES: [usize; 2] = [1, 4];

fn start(cores: usize, options: &[(&str, &str)]) -> Server {
    let mut all = vec![("enable-debug-command", "yes")];
    all.extend(options);
    let owned: Vec<(String, String)> =
        all.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Server::start(&Program::Ours { cores }, &owned)
}

fn send_signal(pid: u32, signal: &str) {
    let status = Command::new("kill").args([signal, &pid.to_string()]).status();
    assert!(status.expect("kill runs").success());
}

fn is_alive(pid: u32) -> bool {
    // A process that nobody has waited for yet is not.
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// What a process shows as its title.
fn title(pid: u32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).trim_end_matches('\0').to_owned()
}

#[test]
fn signals_end_it_in_order() {
    for cores in CORES {
        for (signal, name) in [("-TERM", "SIGTERM"), ("-INT", "SIGINT")] {
            let mut server = start(cores, &[]);
            send_signal(server.pid(), "-HUP");
            assert_eq!(call(&mut server.client(), "PING"), "+PONG");
            send_signal(server.pid(), signal);
            let status = server.exit_status(Instant::now() + DEADLINE).expect("it ends");
            assert_eq!(status.code(), Some(0));
            let log = server.log();
            assert!(log.contains(&format!("Received {name} scheduling shutdown...")), "{log}");
            assert!(log.contains("bye bye"), "{log}");
        }
    }
}

#[test]
fn what_a_signal_asks_for_follows_the_configuration() {
    for cores in CORES {
        let mut server = start(cores, &[]);
        let mut client = server.client();
        assert_eq!(call(&mut client, "SET a b"), "+OK");
        assert_eq!(call(&mut client, "CONFIG SET shutdown-on-sigterm save"), "+OK");
        send_signal(server.pid(), "-TERM");
        assert!(server.exit_status(Instant::now() + DEADLINE).expect("it ends").success());
        assert!(server.dir().join("dump.rdb").exists(), "{}", server.log());
    }
}

#[test]
fn who_insists_ends_it_at_once() {
    for cores in CORES {
        let mut server = start(cores, &[("shutdown-on-sigint", "save")]);
        let mut client = server.client();
        assert!(call(&mut client, "DEBUG POPULATE 50000 key 200").starts_with('+'));
        send_signal(server.pid(), "-INT");
        wait_until("line of the first signal", || server.log().contains("Received SIGINT"));
        send_signal(server.pid(), "-INT");
        let status = server.exit_status(Instant::now() + DEADLINE).expect("it ends");
        // The save may have been faster.
        if status.code() != Some(0) {
            assert_eq!(status.code(), Some(1));
            server.must_log("You insist... exiting now.");
            let files = fs::read_dir(server.dir()).expect("a directory").flatten();
            let left: Vec<_> = files.map(|file| file.file_name()).collect();
            assert!(left.iter().all(|name| !name.to_string_lossy().starts_with("temp-")));
        }
    }
}

#[test]
fn a_crash_leaves_a_report() {
    for cores in CORES {
        for (command, words) in [
            ("DEBUG SEGFAULT", "crashed by signal: 11"),
            ("DEBUG PANIC", "Guru Meditation: called by Unit Test"),
            ("DEBUG ASSERT", "=== ASSERTION FAILED ==="),
        ] {
            let mut server = start(cores, &[]);
            let mut client = server.client();
            assert_eq!(call(&mut client, "SET a b"), "+OK");
            let command: Vec<&str> = command.split(' ').collect();
            assert!(client.call(&command).is_err(), "nobody is left to answer");
            let status = server.exit_status(Instant::now() + DEADLINE).expect("it ends");
            assert!(matches!(status.signal(), Some(libc::SIGSEGV | libc::SIGABRT)), "{status}");
            let log = server.log();
            for part in [
                "=== REDIS BUG REPORT START",
                words,
                "STACK TRACE DONE",
                "last command 'debug' of client",
                "=== REDIS BUG REPORT END",
            ] {
                assert_eq!(log.matches(part).count(), 1, "{part}:\n{log}");
            }
            assert!(log.contains("commands/server/debug.rs:"), "the stack has names:\n{log}");
            assert_eq!(log.matches(": last command '").count(), cores, "{log}");
            assert_eq!(log.contains("REGISTERS"), words.starts_with("crashed"), "{log}");
        }
    }
}

#[test]
fn a_signal_from_outside_is_reported_unless_nobody_wants_it() {
    for cores in CORES {
        let mut server = start(cores, &[]);
        send_signal(server.pid(), "-ABRT");
        let status = server.exit_status(Instant::now() + DEADLINE).expect("it ends");
        assert_eq!(status.signal(), Some(libc::SIGABRT));
        server.must_log("crashed by signal: 6");
        server.must_log("Killed by PID:");
        let mut server = start(cores, &[]);
        assert_eq!(call(&mut server.client(), "CONFIG SET crash-log-enabled no"), "+OK");
        send_signal(server.pid(), "-ABRT");
        let status = server.exit_status(Instant::now() + DEADLINE).expect("it ends");
        assert_eq!(status.signal(), Some(libc::SIGABRT));
        assert!(!server.log().contains("BUG REPORT"), "{}", server.log());
    }
}

#[test]
fn a_turn_that_takes_too_long_is_told_of() {
    for cores in CORES {
        let server = start(cores, &[]);
        let mut client = server.client();
        assert_eq!(call(&mut client, "CONFIG SET watchdog-period 200"), "+OK");
        assert_eq!(call(&mut client, "DEBUG SLEEP 0.9"), "+OK");
        wait_until("report of each core", || {
            let log = server.log();
            log.matches("--- WATCHDOG TIMER EXPIRED ---").count() >= cores
                && log.contains("last command 'debug' of client")
        });
        let log = server.log();
        assert_eq!(log.matches("--- WATCHDOG TIMER EXPIRED ---").count(), cores, "{log}");
        assert!(log.contains("last command 'debug' of client"), "{log}");
        assert_eq!(call(&mut client, "CONFIG SET watchdog-period 0"), "+OK");
        assert_eq!(call(&mut client, "DEBUG SLEEP 0.5"), "+OK");
        assert_eq!(server.log().matches("WATCHDOG").count(), cores);
        send_signal(server.pid(), "-ALRM");
        wait_until("stack of each core", || {
            server.log().matches("STACK TRACE DONE").count() > 2 * cores - 1
        });
        server.must_log("Received SIGALRM");
        assert_eq!(call(&mut client, "PING"), "+PONG");
    }
}

#[test]
fn the_log_has_the_form_that_is_configured() {
    for cores in CORES {
        let server = start(cores, &[("log-format", "json"), ("log-timestamp-format", "iso8601")]);
        for line in server.log().lines() {
            let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
            assert_eq!(line["pid"], server.pid());
            assert!(line["timestamp"].as_str().is_some_and(|time| time.contains('T')), "{line}");
        }
        let mut client = server.client();
        assert_eq!(call(&mut client, "CONFIG SET log-format logfmt"), "+OK");
        assert_eq!(call(&mut client, "DEBUG LOG say\"hi"), "+OK");
        let wanted = "level=warning message=\"DEBUG LOG: say'hi\"";
        wait_until("line as logfmt", || server.log().contains(wanted));
        assert_eq!(call(&mut client, "CONFIG SET log-format legacy loglevel nothing"), "+OK");
        assert_eq!(call(&mut client, "DEBUG LOG unheard"), "+OK");
        assert_eq!(call(&mut client, "CONFIG SET loglevel notice"), "+OK");
        assert_eq!(call(&mut client, "DEBUG LOG heard"), "+OK");
        wait_until("line", || server.log().contains("# DEBUG LOG: heard"));
        assert!(!server.log().contains("unheard"));
    }
}

#[test]
fn a_log_file_may_be_moved_away() {
    for cores in CORES {
        let dir = tempfile::tempdir().expect("a directory");
        let (log, old) = (dir.path().join("a.log"), dir.path().join("a.log.1"));
        let server = start(cores, &[("logfile", log.to_str().expect("text"))]);
        let mut client = server.client();
        let text = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        wait_until("line", || text(&log).contains("Ready to accept"));
        fs::rename(&log, &old).expect("renamed");
        assert_eq!(call(&mut client, "DEBUG LOG after"), "+OK");
        wait_until("new file", || text(&log).contains("DEBUG LOG: after"));
        assert!(!text(&old).contains("after"));
    }
}

#[test]
fn the_title_follows_the_configuration() {
    for cores in CORES {
        let server = start(cores, &[]);
        wait_until("title", || title(server.pid()).contains(&format!("*:{}", server.port())));
        let mut client = server.client();
        let template = ["CONFIG", "SET", "proc-title-template", "{port}/{server-mode}/mine"];
        assert_eq!(client.call(&template).expect("a reply"), b"+OK\r\n");
        assert_eq!(title(server.pid()), format!("{}//mine", server.port()));
    }
}

#[test]
fn the_score_of_the_out_of_memory_killer_comes_and_goes() {
    for cores in CORES {
        let server = start(cores, &[]);
        let mut client = server.client();
        let score = || {
            let text = fs::read_to_string(format!("/proc/{}/oom_score_adj", server.pid()));
            text.expect("it runs").trim().parse::<i32>().expect("a number")
        };
        let before = score();
        let values = ["CONFIG", "SET", "oom-score-adj-values", "33 44 55"];
        assert_eq!(client.call(&values).expect("a reply"), b"+OK\r\n");
        assert_eq!(score(), before);
        assert_eq!(call(&mut client, "CONFIG SET oom-score-adj relative"), "+OK");
        assert_eq!(score(), (before + 33).min(1000));
        assert_eq!(call(&mut client, "CONFIG SET oom-score-adj absolute"), "+OK");
        // Below what it was at the start only root may go.
        assert!(score() == 33 || before > 33);
    }
}

#[test]
fn systemd_hears_when_it_is_ready_and_when_it_ends() {
    for cores in CORES {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(DEADLINE)).expect("a socket");
        let mut child = Command::new(env!("CARGO_BIN_EXE_ironring"))
            .args(["--port", "0", "--unixsocket", "s", "--save", "", "--supervised", "auto"])
            .args(["--daemonize", "yes", "--logfile", "log", "--cores", &cores.to_string()])
            .args(backend())
            .arg("--dir")
            .arg(dir.path())
            .env("NOTIFY_SOCKET", &path)
            .env_remove("UPSTART_JOB")
            .spawn()
            .expect("a server");
        let mut heard = String::new();
        let mut hear = |wanted: &str| {
            while !heard.contains(wanted) {
                let mut bytes = [0; 1000];
                let count = socket.recv(&mut bytes).unwrap_or_else(|e| panic!("{wanted}: {e}"));
                heard += &String::from_utf8_lossy(&bytes[..count]);
            }
        };
        hear("READY=1");
        // Whoever is supervised stays where it is.
        assert!(is_alive(child.id()));
        send_signal(child.id(), "-TERM");
        hear("STOPPING=1");
        assert!(child.wait().expect("it ends").success());
    }
}

#[test]
fn it_goes_to_the_background_and_leaves_its_number() {
    for cores in CORES {
        let dir = tempfile::tempdir().expect("a directory");
        let status = Command::new(env!("CARGO_BIN_EXE_ironring"))
            .args(["--port", "0", "--unixsocket", "s", "--save", "", "--daemonize", "yes"])
            .args(["--pidfile", "pid", "--logfile", "log", "--cores", &cores.to_string()])
            .args(backend())
            .arg("--dir")
            .arg(dir.path())
            .env_remove("NOTIFY_SOCKET")
            .status();
        assert_eq!(status.expect("it started").code(), Some(0));
        let text = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap_or_default();
        wait_until("ready server", || text("log").contains("Ready to accept connections unix"));
        let pid: u32 = text("pid").trim().parse().expect("a number");
        assert!(text("log").contains(&format!("pid={pid}, just started")), "{}", text("log"));
        send_signal(pid, "-TERM");
        wait_until("end", || !is_alive(pid));
        assert!(!dir.path().join("pid").exists());
    }
}

#[test]
fn the_system_is_looked_at() {
    let output = Command::new(env!("CARGO_BIN_EXE_ironring")).arg("--check-system").output();
    let output = output.expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.lines().count() >= 10 && text.lines().all(|line| line.starts_with('[')), "{text}");
    let is_bad = text.lines().any(|line| line.contains("] WARNING: "));
    assert_eq!(output.status.code(), Some(i32::from(is_bad)), "{text}");
}

#[test]
fn clients_may_come_over_several_paths_and_are_told_where_it_stands() {
    for cores in CORES {
        let options = [("mptcp", "yes"), ("socket-mark-id", "7"), ("availability-zone", "zone-1a")];
        // A kernel without it refuses the socket, and a server that has none to listen on ends.
        if !Path::new("/proc/sys/net/mptcp").exists() {
            return println!("SKIPPED: the kernel has no MPTCP");
        }
        let server = start(cores, &options);
        let hello = call(&mut server.client(), "HELLO 3");
        assert!(hello.ends_with("availability_zone\r\n$7\r\nzone-1a"), "{hello}");
        assert_eq!(server.info("server", "availability_zone").as_deref(), Some("zone-1a"));
        let none = ["CONFIG", "SET", "availability-zone", ""];
        assert_eq!(server.client().call(&none).expect("a reply"), b"+OK\r\n");
        assert!(!call(&mut server.client(), "HELLO 3").contains("zone"));
        let cases = std::fs::read_to_string("/proc/net/protocols").unwrap_or_default();
        let sockets = cases.lines().find(|line| line.starts_with("MPTCP "));
        let count = sockets.and_then(|line| line.split_whitespace().nth(2));
        assert_ne!(count, Some("0"), "it listens on one");
    }
}
