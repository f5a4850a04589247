//! A stock Sentinel watches a primary of ours with a stock replica and one of ours.
//!
//! Invariant: whatever becomes of the primary, one replica takes over, the other one follows it, and the
//! old primary comes back as a replica with its role in its configuration file; what WAIT has confirmed
//! is there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::client::Client;
use crate::support::env;
use crate::support::server::{Program as Binary, Server, free_port};
use crate::{ask, call, follow, info, oracle, start, wait_for_link, wait_until};

/// A Sentinel that runs.
struct Sentinel {
    child: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program: `SENTINEL`, or the one beside the stock server.
fn program() -> Option<PathBuf> {
    let Some(Binary::Stock(server)) = oracle() else { return None };
    let beside = server.with_file_name("redis-sentinel");
    let path = env("SENTINEL").map_or(beside, PathBuf::from);
    if !path.exists() {
        println!("SKIPPED: there is no Sentinel at {}", path.display());
        return None;
    }
    Some(path)
}

fn watch(program: &Path, primary: u16) -> Sentinel {
    let dir = tempfile::tempdir().expect("a directory");
    let port = free_port();
    let file = dir.path().join("sentinel.conf");
    let text = format!(
        "port {port}\ndir {}\nsentinel monitor ours 127.0.0.1 {primary} 1\n\
         sentinel down-after-milliseconds ours 1000\nsentinel failover-timeout ours 5000\n",
        dir.path().display()
    );
    fs::write(&file, text).expect("a file");
    let mut command = Command::new(program);
    command.arg(&file).stdin(Stdio::null()).stdout(Stdio::null());
    let child = command.spawn().expect("a Sentinel");
    Sentinel { child, port, _dir: dir }
}

impl Sentinel {
    fn ask(&self, line: &str) -> String {
        match Client::connect(self.port) {
            Ok(mut client) => call(&mut client, line),
            Err(_) => String::new(),
        }
    }

    fn primary(&self) -> Option<u16> {
        let reply = self.ask("SENTINEL get-master-addr-by-name ours");
        reply.lines().last().and_then(|port| port.parse().ok())
    }
}

/// A primary and a replica of ours with configuration files, a stock replica, and their Sentinel.
fn fail_over(kill: impl Fn(&mut Server), revive: impl Fn(Server, &Path) -> Server) {
    let (Some(program), Some(stock)) = (program(), oracle()) else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("primary.conf");
    fs::write(&file, "cores 2\nrepl-diskless-sync-delay 0\n").expect("a file");
    let mut primary = Server::start_with_file(&Binary::Ours { cores: 2 }, &file);
    let old_port = primary.port();
    let ours = start(&Binary::Ours { cores: 2 }, &[("replica-priority", "10")]);
    let other = start(&stock, &[]);
    for replica in [&ours, &other] {
        follow(replica, old_port);
        wait_for_link(replica);
    }
    let sentinel = watch(&program, old_port);
    wait_until("the Sentinel knows both replicas", || {
        sentinel.ask("SENTINEL master ours").contains("num-slaves\r\n$1\r\n2")
    });
    let mut client = primary.client();
    for at in 0..50 {
        assert_eq!(call(&mut client, &format!("SET key{at} {at}")), "+OK");
    }
    assert_eq!(call(&mut client, "WAIT 2 5000"), ":2");
    kill(&mut primary);
    wait_until("another one is the primary", || {
        sentinel.primary() == Some(ours.port()) && info(&ours, "role") == "master"
    });
    for at in 0..50 {
        assert!(ask(&ours, &format!("GET key{at}")).ends_with(&at.to_string()), "key{at}");
    }
    wait_until("the stock replica follows it", || {
        info(&other, "master_port") == ours.port().to_string()
            && info(&other, "master_link_status") == "up"
    });
    assert_eq!(ours.info("stats", "sync_full").as_deref(), Some("0"), "it goes on where it is");
    let old = revive(primary, &file);
    wait_until("the old primary is a replica", || {
        info(&old, "master_port") == ours.port().to_string()
            && info(&old, "master_link_status") == "up"
    });
    wait_until("its file says so", || {
        let text = fs::read_to_string(&file).unwrap_or_default();
        text.contains(&format!("replicaof 127.0.0.1 {}", ours.port()))
    });
    assert_eq!(ask(&ours, "SET after 1"), "+OK");
    wait_until("it gets what is written", || ask(&old, "GET after") == "$1\r\n1");
}

pub(crate) fn signal(server: &Server, name: &str) {
    let status =
        Command::new("kill").args([&format!("-{name}"), &server.pid().to_string()]).status();
    assert!(status.is_ok_and(|status| status.success()));
    if name == "STOP" {
        // The process goes on for a moment after the signal was sent.
        let tasks = format!("/proc/{}/task", server.pid());
        let is_stopped = |one: std::io::Result<std::fs::DirEntry>| {
            let stat = std::fs::read_to_string(one.expect("a thread").path().join("stat"));
            stat.is_ok_and(|stat| stat.contains(") T "))
        };
        wait_until("all its threads stand still", || {
            std::fs::read_dir(&tasks).expect("its threads").all(is_stopped)
        });
    }
}

#[test]
fn it_fails_over_when_the_primary_is_killed() {
    fail_over(
        |primary| signal(primary, "KILL"),
        |primary, file| {
            let port = primary.port();
            drop(primary);
            Server::restart_with_file(&Binary::Ours { cores: 2 }, file, port)
        },
    );
}

#[test]
fn it_fails_over_when_the_primary_stands_still() {
    fail_over(
        |primary| signal(primary, "STOP"),
        |primary, _| {
            signal(&primary, "CONT");
            primary
        },
    );
}
