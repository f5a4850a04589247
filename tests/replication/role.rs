//! What a replica lets its clients do, what it says of itself, and how roles change.

use crate::data::assert_same;
use crate::support::server::{Program as Binary, Server};
use crate::{
    CORES, ask, call, follow, info, oracle, start, wait_for_link, wait_in_sync, wait_until,
};

const READONLY: &str = "-READONLY You can't write against a read only replica.";
const MASTERDOWN: &str =
    "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.";

/// A port where nobody listens: that of a server that has ended.
fn dead_port() -> u16 {
    start(&Binary::Ours { cores: 1 }, &[]).port()
}

fn sync_pair(cores: usize, options: &[(&str, &str)]) -> Option<(Server, Server)> {
    let primary = start(&oracle()?, &[]);
    let replica = start(&Binary::Ours { cores }, options);
    follow(&replica, primary.port());
    wait_for_link(&replica);
    Some((primary, replica))
}

#[test]
fn a_replica_refuses_writes_at_the_gate_that_stock_has() {
    for cores in CORES {
        let replica = start(&Binary::Ours { cores }, &[]);
        let mut client = replica.client();
        assert_eq!(call(&mut client, "SET kept 1"), "+OK");
        follow(&replica, dead_port());
        assert_eq!(call(&mut client, "SET a 1"), READONLY);
        assert_eq!(call(&mut client, "GET kept"), "$1\r\n1");
        assert_eq!(call(&mut client, "BLPOP none 0"), READONLY);
        assert_eq!(call(&mut client, "PUBLISH ch x"), ":0");
        // Inside a transaction, and scripts of both kinds.
        assert_eq!(call(&mut client, "MULTI"), "+OK");
        assert_eq!(call(&mut client, "SET a 1"), READONLY);
        let aborted = "-EXECABORT Transaction discarded because of previous errors.";
        assert_eq!(call(&mut client, "EXEC"), aborted);
        let mut eval = |script: &str| {
            let reply = client.call(&["EVAL", script, "1", "a"]).expect("a reply");
            String::from_utf8_lossy(&reply).trim_end().to_owned()
        };
        assert!(eval("return redis.call('set', KEYS[1], 1)").starts_with(READONLY));
        assert_eq!(eval("return redis.call('get', KEYS[1])"), "$-1");
        let declared = "#!lua\nreturn redis.call('get', KEYS[1])";
        assert_eq!(eval(declared), READONLY);
        assert_eq!(eval("#!lua flags=no-writes\nreturn redis.call('get', KEYS[1])"), "$-1");
        // A queue that was filled on a primary.
        assert_eq!(call(&mut client, "REPLICAOF NO ONE"), "+OK");
        assert_eq!(call(&mut client, "MULTI"), "+OK");
        assert_eq!(call(&mut client, "SET a 1"), "+QUEUED");
        follow(&replica, dead_port());
        let text = format!("-EXECABORT Transaction discarded because of: {}", &READONLY[1..]);
        assert_eq!(call(&mut client, "EXEC"), text);
        ask(&replica, "CONFIG SET replica-read-only no");
        assert_eq!(call(&mut client, "SET a 1"), "+OK");
    }
}

#[test]
fn old_data_is_shown_only_if_that_is_allowed() {
    for cores in CORES {
        let replica = start(&Binary::Ours { cores }, &[("replica-serve-stale-data", "no")]);
        let mut client = replica.client();
        call(&mut client, "SET kept 1");
        follow(&replica, dead_port());
        assert_eq!(call(&mut client, "GET kept"), MASTERDOWN);
        assert_eq!(call(&mut client, "SET kept 1"), READONLY);
        assert_eq!(call(&mut client, "PING"), MASTERDOWN);
        assert!(call(&mut client, "INFO replication").contains("master_link_status:down"));
        assert!(call(&mut client, "ROLE").contains("slave"));
        let mut eval = |script: &str| {
            let reply = client.call(&["EVAL", script, "0"]).expect("a reply");
            String::from_utf8_lossy(&reply).trim_end().to_owned()
        };
        assert_eq!(eval("return 1"), MASTERDOWN);
        assert_eq!(eval("#!lua flags=no-writes\nreturn 1"), MASTERDOWN);
        assert_eq!(eval("#!lua flags=no-writes,allow-stale\nreturn 1"), ":1");
        ask(&replica, "CONFIG SET replica-serve-stale-data yes");
        assert_eq!(call(&mut client, "GET kept"), "$1\r\n1");
    }
}

#[test]
fn replicaof_answers_as_stock_does() {
    for cores in CORES {
        let replica = start(&Binary::Ours { cores }, &[]);
        let port = dead_port();
        let mut client = replica.client();
        assert_eq!(call(&mut client, "REPLICAOF NO ONE"), "+OK");
        assert_eq!(call(&mut client, "REPLICAOF 127.0.0.1 x"), "-ERR Invalid master port");
        assert_eq!(call(&mut client, "REPLICAOF 127.0.0.1 65536"), "-ERR Invalid master port");
        assert_eq!(call(&mut client, &format!("SLAVEOF 127.0.0.1 {port}")), "+OK");
        let again = "+OK Already connected to specified master";
        assert_eq!(call(&mut client, &format!("REPLICAOF 127.0.0.1 {port}")), again);
        let shown = call(&mut client, "CONFIG GET replicaof");
        assert!(shown.contains(&format!("127.0.0.1 {port}")), "{shown}");
        let hello = call(&mut client, "HELLO 2");
        assert!(hello.contains("replica"), "{hello}");
        // As Sentinel sends it.
        for line in ["MULTI", "SLAVEOF NO ONE", "CLIENT KILL TYPE pubsub", "PING"] {
            call(&mut client, line);
        }
        let reply = call(&mut client, "EXEC");
        assert_eq!(reply, "*3\r\n+OK\r\n:0\r\n+PONG", "{reply}");
        assert_eq!(info(&replica, "role"), "master");
    }
}

#[test]
fn whoever_waits_on_a_primary_is_sent_away_when_it_becomes_a_replica() {
    for cores in CORES {
        let server = start(&Binary::Ours { cores }, &[]);
        let mut waiting = server.client();
        waiting.send_command(&["BLPOP", "list", "0"]).expect("it is sent");
        wait_until("it waits", || {
            server.info("clients", "blocked_clients").as_deref() == Some("1")
        });
        follow(&server, dead_port());
        let reply = waiting.read_reply().expect("a reply");
        let text = "-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)\r\n";
        assert_eq!(String::from_utf8_lossy(&reply), text);
        assert!(waiting.read_reply().is_err(), "and the connection ends");
    }
}

#[test]
fn the_link_to_the_primary_is_a_client_that_can_be_killed() {
    for cores in CORES {
        let Some((primary, replica)) = sync_pair(cores, &[]) else { return };
        let line = ask(&replica, "CLIENT LIST TYPE master");
        assert!(line.contains(&format!("addr=127.0.0.1:{} ", primary.port())), "{line}");
        assert!(line.contains(" flags=M "), "{line}");
        assert_eq!(ask(&replica, "CLIENT KILL TYPE master"), ":1");
        wait_until("it is opened again", || {
            primary.info("stats", "sync_partial_ok") == Some("1".into())
        });
        wait_in_sync(&primary, &replica);
        ask(&replica, "REPLICAOF NO ONE");
        assert_eq!(ask(&replica, "CLIENT KILL TYPE master"), ":0");
    }
}

#[test]
fn who_tracks_keys_hears_that_all_data_is_another() {
    for cores in CORES {
        let Some(stock) = oracle() else { return };
        let (primary, replica) = (start(&stock, &[]), start(&Binary::Ours { cores }, &[]));
        let mut reader = replica.client();
        for line in ["HELLO 3", "CLIENT TRACKING ON", "GET key"] {
            call(&mut reader, line);
        }
        follow(&replica, primary.port());
        wait_for_link(&replica);
        let push = reader.read_reply().expect("a push");
        assert_eq!(String::from_utf8_lossy(&push), ">2\r\n$10\r\ninvalidate\r\n_\r\n");
    }
}

#[test]
fn what_has_expired_is_hidden_and_stays_until_the_primary_says_so() {
    for cores in CORES {
        let Some((primary, replica)) = sync_pair(cores, &[]) else { return };
        ask(&primary, "DEBUG SET-ACTIVE-EXPIRE 0");
        ask(&primary, "SET short x PX 20");
        ask(&primary, "SET long x EX 1000");
        wait_in_sync(&primary, &replica);
        wait_until("it is hidden", || ask(&replica, "GET short") == "$-1");
        assert_eq!(ask(&replica, "EXISTS short"), ":0");
        assert_eq!(ask(&replica, "DBSIZE"), ":2");
        assert_eq!(ask(&primary, "GET short"), "$-1");
        wait_until("it goes", || ask(&replica, "DBSIZE") == ":1");
    }
}

#[test]
fn a_promoted_replica_keeps_its_data_and_its_history() {
    for cores in CORES {
        let Some((primary, replica)) = sync_pair(cores, &[]) else { return };
        for at in 0..100 {
            ask(&primary, &format!("SET key{at} {at}"));
        }
        wait_in_sync(&primary, &replica);
        let (id, offset) = (info(&primary, "master_replid"), info(&primary, "master_repl_offset"));
        assert_eq!(info(&replica, "master_replid"), id);
        assert_eq!(ask(&replica, "REPLICAOF NO ONE"), "+OK");
        assert_eq!(info(&replica, "role"), "master");
        assert_ne!(info(&replica, "master_replid"), id);
        assert_eq!(info(&replica, "master_replid2"), id);
        assert_eq!(info(&replica, "master_repl_offset"), offset);
        let next = offset.parse::<i64>().expect("a number") + 1;
        assert_eq!(info(&replica, "second_repl_offset"), next.to_string());
        assert_eq!(ask(&replica, "SET key5 mine"), "+OK");
        assert_eq!(ask(&primary, "GET key5"), "$1\r\n5");
        // What it has written alone does not survive that it follows again.
        follow(&replica, primary.port());
        wait_in_sync(&primary, &replica);
        assert_same(&primary, &replica, "after coming back");
    }
}

#[test]
fn the_role_survives_a_restart_through_the_configuration_file() {
    let Some(stock) = oracle() else { return };
    let primary = start(&stock, &[]);
    ask(&primary, "SET key value");
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("ironring.conf");
    std::fs::write(&file, "masterauth \"\"\n").expect("a file");
    let path = file.to_str().expect("a path that is text");
    {
        let replica = start(&Binary::Ours { cores: 2 }, &[("masteruser", "\"\"")]);
        follow(&replica, primary.port());
        assert_eq!(
            ask(&replica, "CONFIG REWRITE"),
            "-ERR The server is running without a config file"
        );
    }
    std::fs::write(&file, format!("replicaof 127.0.0.1 {}\n", primary.port())).expect("a file");
    let options = [("include", path)];
    let replica = start(&Binary::Ours { cores: 2 }, &options);
    wait_in_sync(&primary, &replica);
    assert_eq!(ask(&replica, "GET key"), "$5\r\nvalue");
}

#[test]
fn a_writable_replica_deletes_what_only_it_has() {
    for cores in CORES {
        let writable = [("replica-read-only", "no")];
        let Some((primary, replica)) = sync_pair(cores, &writable) else { return };
        ask(&primary, "DEBUG SET-ACTIVE-EXPIRE 0");
        ask(&primary, "SET theirs 1 PX 1");
        wait_in_sync(&primary, &replica);
        for number in 0..100 {
            assert_eq!(ask(&replica, &format!("SET own:{number} 1 PX 50")), "+OK");
        }
        assert_eq!(ask(&replica, "SET kept 1 EX 1000"), "+OK");
        // Nobody touches them.
        wait_until("keys of its own", || ask(&replica, "DBSIZE") == ":2");
        let kept = || replica.info("stats", "slave_expires_tracked_keys").unwrap_or_default();
        wait_until("one is known", || kept() == "1");
        assert_eq!(ask(&replica, "GET theirs"), "$-1");
        assert_eq!(ask(&replica, "DBSIZE"), ":2", "the primary has not deleted it");
        // As the primary, it deletes everything.
        ask(&replica, "REPLICAOF NO ONE");
        wait_until("the other one", || ask(&replica, "DBSIZE") == ":1");
        wait_until("nothing of its own", || kept() == "0");
    }
}

#[test]
fn a_writable_replica_deletes_nothing_else() {
    for cores in CORES {
        let writable = [("replica-read-only", "no")];
        let Some((primary, replica)) = sync_pair(cores, &writable) else { return };
        ask(&primary, "SET theirs 1 EX 1000");
        ask(&primary, "SET left 1 EX 1000");
        wait_in_sync(&primary, &replica);
        let kept = || replica.info("stats", "slave_expires_tracked_keys").unwrap_or_default();
        for line in ["INCR theirs", "SETNX theirs x", "LPUSH theirs x", "EXPIRE theirs 9 LT"] {
            ask(&replica, line);
        }
        // What has an expiry here, and another one there.
        wait_until("its expiry is another one", || kept() == "1");
        for line in ["SET own 1 EX 1000", "COPY own copy DB 1", "MOVE own 2"] {
            ask(&replica, line);
        }
        wait_until("both are known", || kept() == "3");
        assert_eq!(ask(&replica, "EXPIRE left -1"), ":1");
        wait_until("and one more", || kept() == "3" && ask(&replica, "DBSIZE") == ":1");
    }
}

#[test]
fn fields_that_have_expired_stay_on_a_replica() {
    for cores in CORES {
        let primary = start(&Binary::Ours { cores }, &[]);
        let replica = start(&Binary::Ours { cores }, &[]);
        ask(&primary, "DEBUG SET-ACTIVE-EXPIRE 0");
        follow(&replica, primary.port());
        ask(&primary, "HSET hash field value other value");
        ask(&primary, "HPEXPIRE hash 1 FIELDS 1 field");
        wait_in_sync(&primary, &replica);
        wait_until("its time has passed", || ask(&replica, "HGET hash field") == "$-1");
        assert_eq!(ask(&replica, "HMGET hash field other"), "*2\r\n$-1\r\n$5\r\nvalue");
        assert_eq!(ask(&replica, "HRANDFIELD hash 5"), "*1\r\n$5\r\nother");
        assert_eq!(ask(&replica, "HLEN hash"), ":2", "the primary has not deleted it");
        assert_eq!(ask(&primary, "HGET hash field"), "$-1");
        wait_in_sync(&primary, &replica);
        assert_eq!(ask(&replica, "HLEN hash"), ":1");
    }
}
