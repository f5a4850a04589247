//! FAILOVER, SHUTDOWN and WAITAOF: nothing that was acknowledged is lost when a role changes hands or a
//! server ends.

use std::time::{Duration, Instant};

use crate::data::assert_same;
use crate::sentinel::signal;
use crate::support::server::{Program as Binary, Server};
use crate::{
    CORES, ask, call, follow, info, oracle, start, wait_for_link, wait_in_sync, wait_until,
};

const OURS: fn(usize) -> Binary = |cores| Binary::Ours { cores };

/// A primary and its replica, with some data.
fn pair(primary: &Binary, replica: &Binary, options: &[(&str, &str)]) -> (Server, Server) {
    let (primary, replica) = (start(primary, options), start(replica, options));
    for at in 0..100 {
        ask(&primary, &format!("SET key{at} {at}"));
    }
    follow(&replica, primary.port());
    wait_in_sync(&primary, &replica);
    (primary, replica)
}

fn wait_for_state(server: &Server, state: &str) {
    wait_until(state, || info(server, "master_failover_state") == state);
}

/// Hands the role over while somebody writes, and looks whether all agree.
fn hand_over(primary: &Server, replica: &Server, to_whom: &str) {
    let before = info(replica, "master_replid");
    let syncs = replica.info("stats", "sync_full");
    let mut writer = primary.client();
    for at in 0..50 {
        call(&mut writer, &format!("RPUSH list {at}"));
    }
    wait_until("the primary counts on it", || {
        ask(primary, "INFO replication").contains("state=online")
    });
    assert_eq!(ask(primary, to_whom), "+OK");
    // Held back from here on, and then there is nobody who takes it.
    writer.send_command(&["RPUSH", "list", "late"]).expect("it is sent");
    wait_until("the replica is the primary", || info(replica, "role") == "master");
    wait_for_state(primary, "no-failover");
    let reply = writer.read_reply().expect("a reply");
    assert!(reply.starts_with(b"-READONLY"), "{}", String::from_utf8_lossy(&reply));
    assert_eq!(info(primary, "role"), "slave");
    assert_eq!(info(primary, "master_port"), replica.port().to_string());
    assert_eq!(ask(replica, "RPUSH list more"), ":51");
    wait_in_sync(replica, primary);
    assert_eq!(info(replica, "master_replid2"), before);
    assert_eq!(replica.info("stats", "sync_full"), syncs, "it goes on where it was");
    assert_same(replica, primary, to_whom);
}

#[test]
fn the_role_changes_hands_and_nothing_is_lost() {
    let stock = oracle();
    for cores in CORES {
        let ours = OURS(cores);
        let mut pairs = vec![(OURS(cores), OURS(5 - cores))];
        if stock.is_some() {
            let theirs = || oracle().expect("it is there");
            pairs.extend([(OURS(cores), theirs()), (theirs(), ours)]);
        }
        for (first, second) in pairs {
            let (primary, replica) = pair(&first, &second, &[]);
            hand_over(&primary, &replica, &format!("FAILOVER TO 127.0.0.1 {}", replica.port()));
            ask(&replica, "DEL list");
            wait_in_sync(&replica, &primary);
            hand_over(&replica, &primary, "FAILOVER TIMEOUT 60000");
        }
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for cores in CORES {
        let (primary, replica) = pair(&OURS(cores), &OURS(cores), &[]);
        let port = replica.port();
        for (line, reply) in [
            ("FAILOVER ABORT", "-ERR No failover in progress.".to_owned()),
            ("FAILOVER TIMEOUT 0", "-ERR FAILOVER timeout must be greater than 0".to_owned()),
            ("FAILOVER TO 127.0.0.1", "-ERR syntax error".to_owned()),
            (
                "FAILOVER TO 127.0.0.1 1",
                "-ERR FAILOVER target HOST and PORT is not a replica.".to_owned(),
            ),
            (
                "FAILOVER FORCE TIMEOUT 5",
                "-ERR FAILOVER with force option requires both a timeout and target HOST and IP."
                    .to_owned(),
            ),
            ("PSYNC x 1 FAILOVER", "-ERR PSYNC FAILOVER can't be sent to a master.".to_owned()),
        ] {
            assert_eq!(ask(&primary, line), reply, "{line}");
        }
        let error = "-ERR FAILOVER is not valid when server is a replica.";
        assert_eq!(ask(&replica, "FAILOVER"), error);
        let error = "-ERR PSYNC FAILOVER replid must match my replid.";
        assert_eq!(ask(&replica, "PSYNC x 1 FAILOVER"), error);
        let lone = start(&OURS(cores), &[]);
        assert_eq!(ask(&lone, "FAILOVER"), "-ERR FAILOVER requires connected replicas.");
        // While one is under way.
        signal(&replica, "STOP");
        ask(&primary, "SET a 1");
        assert_eq!(ask(&primary, &format!("FAILOVER TO 127.0.0.1 {port}")), "+OK");
        assert_eq!(info(&primary, "master_failover_state"), "waiting-for-sync");
        assert_eq!(ask(&primary, "FAILOVER"), "-ERR FAILOVER already in progress.");
        let error = "-ERR REPLICAOF not allowed while failing over.";
        assert_eq!(ask(&primary, "REPLICAOF NO ONE"), error);
        assert_eq!(ask(&primary, "PSYNC ? -1"), "-NOMASTERLINK Can't SYNC while failing over");
        assert_eq!(ask(&primary, "GET a"), "$1\r\n1");
        // CLIENT UNPAUSE is about CLIENT PAUSE.
        assert_eq!(ask(&primary, "CLIENT UNPAUSE"), "+OK");
        let mut writer = primary.client();
        writer.send_command(&["SET", "a", "2"]).expect("it is sent");
        wait_until("it is held back", || {
            primary.info("clients", "blocked_clients").as_deref() == Some("1")
        });
        assert_eq!(ask(&primary, "FAILOVER ABORT"), "+OK");
        assert_eq!(writer.read_reply().expect("a reply"), b"+OK\r\n");
        signal(&replica, "CONT");
        wait_in_sync(&primary, &replica);
        assert_same(&primary, &replica, "nothing has happened");
    }
}

#[test]
fn a_failover_that_the_replica_does_not_answer_comes_to_nothing() {
    for cores in CORES {
        let (primary, replica) = pair(&OURS(cores), &OURS(cores), &[]);
        let syncs = primary.info("stats", "sync_full");
        signal(&replica, "STOP");
        ask(&primary, "SET a 1");
        let target = format!("FAILOVER TO 127.0.0.1 {}", replica.port());
        assert_eq!(ask(&primary, &format!("{target} TIMEOUT 50")), "+OK");
        wait_for_state(&primary, "no-failover");
        assert_eq!(info(&primary, "role"), "master");
        // Forced, it is asked although it lacks something.
        assert_eq!(ask(&primary, &format!("{target} TIMEOUT 50 FORCE")), "+OK");
        wait_for_state(&primary, "failover-in-progress");
        assert_eq!(ask(&primary, "FAILOVER ABORT"), "+OK");
        assert_eq!(info(&primary, "role"), "master");
        assert_eq!(info(&primary, "master_failover_state"), "no-failover");
        assert_eq!(ask(&primary, "SET b 1"), "+OK");
        signal(&replica, "CONT");
        wait_until("somebody is the primary", || {
            info(&replica, "role") == "slave" && info(&replica, "master_link_status") == "up"
        });
        wait_in_sync(&primary, &replica);
        assert_eq!(primary.info("stats", "sync_full"), syncs, "it goes on where it was");
        assert_same(&primary, &replica, "as before");
        // One that refuses.
        ask(&replica, "ACL SETUSER default -psync");
        signal(&replica, "STOP");
        ask(&primary, "SET c 1");
        assert_eq!(ask(&primary, &target), "+OK");
        let mut writer = primary.client();
        writer.send_command(&["SET", "c", "2"]).expect("it is sent");
        wait_until("it is held back", || {
            primary.info("clients", "blocked_clients").as_deref() == Some("1")
        });
        signal(&replica, "CONT");
        assert_eq!(writer.read_reply().expect("a reply"), b"+OK\r\n", "behind all of that");
        wait_for_state(&primary, "no-failover");
        wait_until("it is a primary again", || info(&primary, "role") == "master");
        primary.must_log("Failover target rejected psync request");
    }
}

#[test]
fn who_was_a_primary_in_between_does_not_go_on_where_it_was_before() {
    for cores in CORES {
        let (first, second) = pair(&OURS(cores), &OURS(cores), &[]);
        let third = start(&OURS(cores), &[]);
        follow(&third, second.port());
        wait_in_sync(&second, &third);
        ask(&second, "REPLICAOF NO ONE");
        wait_in_sync(&second, &third);
        // Both have a history that begins with that of the first.
        ask(&third, "REPLICAOF NO ONE");
        ask(&third, "SET alone 1");
        ask(&second, "SET other 1");
        follow(&third, second.port());
        wait_in_sync(&second, &third);
        assert_same(&second, &third, "what it wrote alone is gone");
        assert_eq!(ask(&first, "DBSIZE"), ":100");
    }
}

#[test]
fn the_end_waits_for_replicas() {
    for cores in CORES {
        let (mut primary, replica) = pair(&OURS(cores), &OURS(cores), &[("save", "\"\"")]);
        signal(&replica, "STOP");
        ask(&primary, "SET last 1");
        let mut ending = primary.client();
        ending.send_command(&["SHUTDOWN"]).expect("it is sent");
        wait_until("it waits", || primary.info("server", "shutdown_in_milliseconds").is_some());
        assert_eq!(primary.info("clients", "blocked_clients").as_deref(), Some("1"));
        assert_eq!(ask(&primary, "SHUTDOWN ABORT"), "+OK");
        let reply = ending.read_reply().expect("a reply");
        assert_eq!(reply, b"-ERR Errors trying to SHUTDOWN. Check logs.\r\n");
        assert_eq!(ask(&primary, "SHUTDOWN ABORT"), "-ERR No shutdown in progress.");
        assert_eq!(ask(&primary, "SET last 2"), "+OK");
        assert_eq!(primary.info("server", "shutdown_in_milliseconds"), None);
        // By a signal, and then the replica has all.
        signal(&primary, "TERM");
        wait_until("it waits", || primary.info("server", "shutdown_in_milliseconds").is_some());
        signal(&replica, "CONT");
        let deadline = Instant::now() + Duration::from_secs(20);
        assert!(primary.exit_status(deadline).is_some_and(|status| status.success()));
        assert_eq!(ask(&replica, "GET last"), "$1\r\n2");
        let log = primary.log();
        assert!(log.contains("Waiting for replicas before shutting down."), "{log}");
        assert!(log.contains("1 of 1 replicas are in sync when shutting down."), "{log}");
    }
}

#[test]
fn the_end_does_not_wait_for_ever() {
    for cores in CORES {
        for (timeout, words) in
            [("1", &["SHUTDOWN"][..]), ("0", &["SHUTDOWN"]), ("60", &["SHUTDOWN", "NOW"])]
        {
            let options = [("save", "\"\""), ("shutdown-timeout", timeout)];
            let (mut primary, replica) = pair(&OURS(cores), &OURS(1), &options);
            signal(&replica, "STOP");
            ask(&primary, "SET last 1");
            primary.client().send_command(words).expect("it is sent");
            let deadline = Instant::now() + Duration::from_secs(20);
            assert!(primary.exit_status(deadline).is_some_and(|status| status.success()));
            let log = primary.log();
            assert!(log.contains("Lagging replica 127.0.0.1:"), "{log}");
            assert!(log.contains("0 of 1 replicas are in sync when shutting down."), "{log}");
            signal(&replica, "CONT");
        }
    }
}

#[test]
fn waitaof_knows_what_is_on_which_disk() {
    let stock = oracle();
    for cores in CORES {
        let mut replicas = vec![OURS(cores)];
        if stock.is_some() && cores == 1 {
            replicas.push(oracle().expect("it is there"));
        }
        for other in replicas {
            let replica = start(&other, &[]);
            if ask(&replica, "WAITAOF 0 0 0").starts_with("-ERR unknown command") {
                println!("SKIPPED: this stock server does not tell of its file");
                continue;
            }
            let options = [("appendonly", "yes"), ("appendfsync", "always")];
            let primary = start(&OURS(cores), &options);
            let mut client = primary.client();
            assert_eq!(call(&mut client, "SET before 1"), "+OK");
            wait_until("its file is whole", || ask(&primary, "WAITAOF 1 0 1") == "*2\r\n:1\r\n:0");
            assert_eq!(call(&mut client, "WAITAOF 1 0 0"), "*2\r\n:1\r\n:0");
            assert_eq!(call(&mut client, "WAITAOF 0 1 20"), "*2\r\n:1\r\n:0");
            follow(&replica, primary.port());
            wait_for_link(&replica);
            call(&mut client, "SET a 1");
            assert_eq!(call(&mut client, "WAIT 1 0"), ":1");
            assert_eq!(call(&mut client, "WAITAOF 1 1 20"), "*2\r\n:1\r\n:0", "it has no file");
            ask(&replica, "CONFIG SET appendonly yes");
            assert_eq!(call(&mut client, "WAITAOF 1 1 0"), "*2\r\n:1\r\n:1");
            call(&mut client, "SET a 2");
            assert_eq!(call(&mut client, "WAITAOF 1 1 0"), "*2\r\n:1\r\n:1");
            // Written when nobody followed.
            let late = start(&other, &[("appendonly", "yes")]);
            call(&mut client, "SET a 3");
            follow(&late, primary.port());
            assert_eq!(call(&mut client, "WAITAOF 1 2 0"), "*2\r\n:1\r\n:2");
        }
    }
}
