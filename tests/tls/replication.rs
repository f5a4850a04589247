//! Replicas over encrypted links: `tls-replication`.

use super::{Secure, wait_for, with_servers};

fn has(server: &Secure, key: &str, value: &str) {
    let expected = format!("${}\r\n{value}", value.len());
    wait_for("the replica has it", || {
        let mut client = server.client();
        (client.text(&["GET", key]) == expected).then_some(())
    });
}

#[test]
fn a_replica_follows_over_an_encrypted_link() {
    with_servers(&[], |primary| {
        for cores in [1, 4] {
            let mut client = primary.client();
            let large = "x".repeat(300_000);
            assert_eq!(client.text(&["SET", "before", &large]), "+OK");
            let replica = primary.start_beside(cores, &[("tls-replication", "yes")]);
            let port = primary.port.to_string();
            let mut there = replica.client();
            assert_eq!(there.text(&["REPLICAOF", "127.0.0.1", &port]), "+OK");
            has(&replica, "before", &large);
            assert_eq!(client.text(&["SET", "after", &large]), "+OK");
            has(&replica, "after", &large);
            assert_eq!(client.text(&["SET", "after", "small"]), "+OK");
            has(&replica, "after", "small");
        }
    });
}

#[test]
fn a_replica_that_does_not_encrypt_is_turned_away() {
    with_servers(&[], |primary| {
        let replica = primary.start_beside(1, &[]);
        let port = primary.port.to_string();
        assert_eq!(replica.client().text(&["REPLICAOF", "127.0.0.1", &port]), "+OK");
        primary.wait_for_log("Error accepting a client connection: ");
        let link = replica.server.info("replication", "master_link_status");
        assert_eq!(link.as_deref(), Some("down"));
    });
}
