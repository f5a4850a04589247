//! Commands that the operator has renamed or taken away: no way leads to their old names.
//!
//! Invariant: what is gone is an unknown command for clients, inside MULTI and in scripts alike; rules
//! of ACL go on speaking of the names of the records.

use super::support::client::Client;
use super::support::server::Server;
use super::{kill, must_end, start};

const HIDDEN: &str = "b840fc02d524045429941cc15f59e41cb7be6c52";

fn text(client: &mut Client, argv: &[&str]) -> String {
    let reply = client.call(argv).unwrap_or_else(|error| panic!("{argv:?}: {error}"));
    String::from_utf8_lossy(&reply).into_owned()
}

/// The harness takes pairs of a directive and one value: the second name comes from a file.
fn with_renamed(test: impl Fn(&Server)) {
    for cores in [1, 4] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("renamed.conf");
        let lines = format!(
            "rename-command CONFIG {HIDDEN}\nrename-command FLUSHALL \"\"\nrename-command get fetch\n"
        );
        std::fs::write(&file, lines).expect("a file");
        let include = file.to_str().expect("a path in ASCII");
        let mut server = start(cores, &[("include", include)]);
        test(&server);
        kill(server.pid(), "TERM");
        must_end(&mut server);
    }
}

#[test]
fn old_names_mean_nothing_by_any_way() {
    with_renamed(|server| {
        let mut client = server.client();
        assert_eq!(text(&mut client, &["SET", "k", "v"]), "+OK\r\n");
        for gone in [&["CONFIG", "GET", "port"][..], &["FLUSHALL"], &["GET", "k"]] {
            let reply = text(&mut client, gone);
            assert!(reply.starts_with("-ERR unknown command"), "{gone:?}: {reply}");
            let words: Vec<String> = gone.iter().map(|word| format!("'{word}'")).collect();
            let script = format!("return redis.call({})", words.join(","));
            let reply = text(&mut client, &["EVAL", &script, "0"]);
            assert!(
                reply.contains("Unknown Redis command called from script"),
                "{gone:?}: {reply}"
            );
        }
        assert_eq!(text(&mut client, &["MULTI"]), "+OK\r\n");
        assert!(text(&mut client, &["FLUSHALL"]).starts_with("-ERR unknown command"));
        assert!(text(&mut client, &["EXEC"]).starts_with("-EXECABORT"));
        assert_eq!(text(&mut client, &["FETCH", "k"]), "$1\r\nv\r\n");
        assert_eq!(
            text(&mut client, &["EVAL", "return redis.call('fetch', KEYS[1])", "1", "k"]),
            "$1\r\nv\r\n"
        );
        assert!(text(&mut client, &[HIDDEN, "GET", "port"]).starts_with("*2\r\n"));
        assert!(text(&mut client, &[&HIDDEN.to_uppercase(), "GET", "port"]).starts_with("*2\r\n"));
    });
}

#[test]
fn rules_speak_of_the_names_of_the_records() {
    with_renamed(|server| {
        let mut client = server.client();
        let rules = ["ACL", "SETUSER", "u", "on", "nopass", "~*", "+@all", "-get", "-config|set"];
        assert_eq!(text(&mut client, &rules), "+OK\r\n");
        assert_eq!(text(&mut client, &["AUTH", "u", "x"]), "+OK\r\n");
        assert!(text(&mut client, &["fetch", "k"]).starts_with("-NOPERM"));
        assert!(text(&mut client, &[HIDDEN, "SET", "maxmemory", "1"]).starts_with("-NOPERM"));
        assert!(text(&mut client, &[HIDDEN, "GET", "maxmemory"]).starts_with("*2\r\n"));
    });
}

#[test]
fn lists_of_commands_leave_out_what_is_gone() {
    with_renamed(|server| {
        let mut client = server.client();
        let info = text(&mut client, &["COMMAND", "INFO", "flushall", "fetch"]);
        assert!(info.starts_with("*2\r\n$-1\r\n*10\r\n$3\r\nget\r\n"), "{info}");
        assert!(!text(&mut client, &["COMMAND", "LIST"]).contains("$8\r\nflushall\r\n"));
    });
}
