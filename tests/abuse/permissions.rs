//! Users that are changed or deleted while their clients are connected, on every core; and what
//! only files and logs show of users.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;

use super::{start, wait_until, with_servers};
use crate::support::client::Client;
use crate::support::server::Server;

/// Enough that every core has some.
const CLIENTS: usize = 12;
/// Keys on partitions of all cores.
const KEYS: usize = 16;

/// Clients that are logged in as alice.
fn log_in(server: &Server) -> Vec<Client> {
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| server.client()).collect();
    for client in &mut clients {
        assert_eq!(client.call(&["AUTH", "alice", "pw"]).expect("a reply"), b"+OK\r\n");
    }
    clients
}

fn text(client: &mut Client, argv: &[&str]) -> String {
    String::from_utf8_lossy(&client.call(argv).expect("a reply")).into_owned()
}

/// The cores that clients live on.
fn cores_of(list: &str) -> BTreeSet<&str> {
    list.split_whitespace().filter(|word| word.starts_with("io-thread=")).collect()
}

#[test]
fn a_change_counts_from_the_next_command_on_for_every_client() {
    for cores in [1, 4] {
        let server = start(cores, &[]);
        let mut admin = server.client();
        text(&mut admin, &["ACL", "SETUSER", "alice", "on", ">pw", "+@all", "~*"]);
        let mut clients = log_in(&server);
        let list = text(&mut admin, &["CLIENT", "LIST", "USER", "alice"]);
        assert_eq!(cores_of(&list).len(), cores, "{list}");
        for (rule, allowed) in [("-get", false), ("+get", true)] {
            assert_eq!(text(&mut admin, &["ACL", "SETUSER", "alice", rule]), "+OK\r\n");
            for client in &mut clients {
                for key in 0..KEYS {
                    let reply = text(client, &["GET", &format!("key:{key}")]);
                    let denied = "-NOPERM User alice has no permissions to run the 'get' command";
                    assert_eq!(!reply.starts_with(denied), allowed, "{reply}");
                }
            }
        }
    }
}

#[test]
fn the_rest_of_a_pipeline_is_asked_again() {
    with_servers(&[], |server| {
        let mut admin = server.client();
        text(&mut admin, &["ACL", "SETUSER", "alice", "on", ">pw", "+@all", "~*"]);
        let mut client = server.client();
        text(&mut client, &["AUTH", "alice", "pw"]);
        // It takes its own permissions away, between commands for all partitions.
        let mut pipeline = Vec::new();
        let mut add = |words: &[&str]| pipeline.extend(crate::support::client::encode(words));
        (0..KEYS).for_each(|key| add(&["SET", &format!("key:{key}"), "v"]));
        add(&["ACL", "SETUSER", "alice", "-set"]);
        (0..KEYS).for_each(|key| add(&["SET", &format!("key:{key}"), "w"]));
        client.send(&pipeline).expect("sent");
        (0..=KEYS).for_each(|_| assert_eq!(client.read_reply().expect("a reply"), b"+OK\r\n"));
        for _ in 0..KEYS {
            let reply = client.read_reply().expect("a reply");
            assert!(reply.starts_with(b"-NOPERM "), "{}", reply.escape_ascii());
        }
        for key in 0..KEYS {
            assert_eq!(text(&mut admin, &["GET", &format!("key:{key}")]), "$1\r\nv\r\n");
        }
        // All refusals are in the log, whichever core they were made on.
        let log = text(&mut admin, &["ACL", "LOG"]);
        assert!(log.starts_with("*1\r\n"), "{log}");
        assert!(log.contains(&format!("$5\r\ncount\r\n:{KEYS}\r\n")), "{log}");
        assert!(log.contains("cmd=set user=alice"), "{log}");
        let denied = super::number(server, "stats", "acl_access_denied_cmd");
        assert_eq!(denied, KEYS as u64);
    });
}

#[test]
fn the_clients_of_a_deleted_user_go_on_every_core() {
    with_servers(&[], |server| {
        let mut admin = server.client();
        text(&mut admin, &["ACL", "SETUSER", "alice", "on", ">pw", "+@all", "~*"]);
        let mut clients = log_in(server);
        assert_eq!(text(&mut admin, &["ACL", "DELUSER", "alice"]), ":1\r\n");
        for client in &mut clients {
            // What it sends now is not answered, even if it is sent before the end is seen.
            let end = client.call(&["SET", "key", "v"]).expect_err("the end of the connection");
            let ends =
                [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
            assert!(ends.contains(&end.kind()), "{end}");
        }
        assert_eq!(text(&mut admin, &["EXISTS", "key"]), ":0\r\n");
        wait_until("nobody is left", || {
            text(&mut admin, &["CLIENT", "LIST"]).matches("user=").count() == 1
        });
    });
}

#[test]
fn users_come_from_the_acl_file_and_go_there() {
    for cores in [1, 4] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("users.acl");
        let path = path.to_str().expect("text");
        fs::write(path, "user alice on nopass ~* +@all\nuser bob on nopass +ping\n")
            .expect("a file");
        let server = start(cores, &[("aclfile", path)]);
        let (mut admin, mut bob) = (server.client(), server.client());
        assert_eq!(text(&mut bob, &["AUTH", "bob", "x"]), "+OK\r\n");
        assert_eq!(text(&mut admin, &["ACL", "SETUSER", "carol", "on"]), "+OK\r\n");
        assert_eq!(text(&mut admin, &["ACL", "SAVE"]), "+OK\r\n");
        let saved = fs::read_to_string(path).expect("the file");
        assert!(saved.contains("user carol on sanitize-payload resetchannels -@all\n"), "{saved}");
        fs::write(path, "user alice off nope\n").expect("a file");
        let report = text(&mut admin, &["ACL", "LOAD"]);
        assert!(report.contains("users.acl:1: Syntax error. WARNING: ACL errors"), "{report}");
        assert_eq!(text(&mut bob, &["PING"]), "+PONG\r\n");
        fs::write(path, "user alice on nopass ~* +@all\n").expect("a file");
        assert_eq!(text(&mut admin, &["ACL", "LOAD"]), "+OK\r\n");
        assert!(bob.call(&["PING"]).is_err(), "there is no bob any more");
        let users = text(&mut admin, &["ACL", "USERS"]);
        assert_eq!(users, "*2\r\n$5\r\nalice\r\n$7\r\ndefault\r\n");
    }
}
