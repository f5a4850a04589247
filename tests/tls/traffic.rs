//! What clients do once they are connected: requests of all sizes, pipelines, pushes, the end.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::client::{Identity, TlsClient};
use super::support::client::encode;
use super::{wait_for, with_servers};

#[test]
fn requests_are_answered_whatever_their_size() {
    with_servers(&[], |secure| {
        let mut client = secure.client();
        assert_eq!(client.text(&["PING"]), "+PONG");
        for size in [0, 1, 16_383, 16_384, 16_385, 100_000, 3_000_000, 20_000_000] {
            let value = vec![b'v'; size];
            let key = format!("k{size}");
            assert_eq!(
                client.call(&[b"SET", key.as_bytes(), &value]).expect("a reply"),
                b"+OK\r\n"
            );
            let reply = client.call(&["GET", &key]).expect("a reply");
            assert_eq!(reply.len(), size + format!("${size}\r\n\r\n").len(), "{size} bytes");
            assert!(reply.ends_with(&[&value[..], b"\r\n"].concat()), "{size} bytes");
        }
    });
}

#[test]
fn pipelines_are_answered_in_order() {
    with_servers(&[], |secure| {
        let mut client = secure.client();
        let count = 5000;
        let requests = (0..count).map(|n| encode(&["INCR", &format!("{{{}}}n", n % 7)]));
        let requests: Vec<u8> = requests.flatten().collect();
        client.send(&requests).expect("it is sent");
        for n in 0..count {
            let expected = format!(":{}\r\n", n / 7 + 1);
            assert_eq!(client.read_reply().expect("a reply"), expected.as_bytes(), "reply {n}");
        }
    });
}

#[test]
fn bytes_that_come_one_by_one_make_a_request() {
    with_servers(&[], |secure| {
        let mut client = secure.client();
        for byte in encode(&["SET", "slow", "value"]) {
            client.send(&[byte]).expect("it is sent");
        }
        assert_eq!(client.read_reply().expect("a reply"), b"+OK\r\n");
    });
}

#[test]
fn who_does_not_read_gets_everything_later() {
    with_servers(&[], |secure| {
        let mut client = secure.client();
        assert_eq!(
            client.call(&[&b"SET"[..], b"big", &vec![b'x'; 1_000_000]]).expect("a reply"),
            b"+OK\r\n"
        );
        let request = encode(&["GET", "big"]);
        client.send(&request.repeat(40)).expect("it is sent");
        for n in 0..40 {
            assert_eq!(client.read_reply().expect("a reply").len(), 1_000_012, "reply {n}");
        }
        assert_eq!(client.text(&["PING"]), "+PONG");
    });
}

#[test]
fn pushes_arrive() {
    with_servers(&[], |secure| {
        let (mut subscriber, mut monitor, mut client) =
            (secure.client(), secure.client(), secure.client());
        assert!(subscriber.text(&["SUBSCRIBE", "news"]).ends_with(":1"));
        assert_eq!(monitor.text(&["MONITOR"]), "+OK");
        let text = "x".repeat(50_000);
        assert_eq!(client.text(&["PUBLISH", "news", &text]), ":1");
        let message = subscriber.read_reply().expect("a message");
        assert!(message.ends_with(format!("{text}\r\n").as_bytes()));
        let line = monitor.read_reply().expect("a line");
        assert!(String::from_utf8_lossy(&line).contains("\"PUBLISH\" \"news\""));
    });
}

#[test]
fn clients_of_both_ports_see_the_same_data() {
    with_servers(&[], |secure| {
        let mut client = secure.client();
        assert_eq!(client.text(&["SET", "both", "1"]), "+OK");
        let reply = secure.server.client().call(&["INCR", "both"]).expect("a reply");
        assert_eq!(reply, b":2\r\n");
        let list = client.text(&["CLIENT", "LIST"]);
        assert!(list.contains(&format!("laddr=127.0.0.1:{}", secure.port)), "{list}");
        assert_eq!(client.text(&["MULTI"]), "+OK");
        assert_eq!(client.text(&["INCR", "both"]), "+QUEUED");
        assert_eq!(client.text(&["EXEC"]), "*1\r\n:3");
    });
}

#[test]
fn the_end_is_told() {
    with_servers(&[], |secure| {
        let mut client = secure.client();
        assert_eq!(client.text(&["QUIT"]), "+OK");
        // An end that was not told of would be an error here.
        assert_eq!(client.stream.read(&mut [0; 1]).expect("a proper end"), 0);
        let mut client = secure.client();
        assert_eq!(client.text(&["PING"]), "+PONG");
        client.stream.conn.send_close_notify();
        client.stream.flush().expect("it is sent");
        assert_eq!(client.stream.read(&mut [0; 1]).expect("a proper end"), 0);
        wait_for("both have gone", || {
            (secure.server.info("clients", "connected_clients")? == "1").then_some(())
        });
    });
}

#[test]
fn keys_are_renewed_on_the_way() {
    with_servers(&[], |secure| {
        let mut client = secure.client();
        for n in 1..20 {
            client.stream.conn.refresh_traffic_keys().expect("TLS 1.3 can");
            assert_eq!(client.text(&["INCR", "renewed"]), format!(":{n}"));
        }
    });
}

#[test]
fn replies_wait_for_the_journal() {
    for policy in ["always", "everysec"] {
        with_servers(&[("appendonly", "yes"), ("appendfsync", policy)], |secure| {
            let mut client = secure.client();
            let requests: Vec<u8> =
                (0..500).flat_map(|n| encode(&["SET", &format!("k{n}"), "value"])).collect();
            client.send(&requests).expect("it is sent");
            for _ in 0..500 {
                assert_eq!(client.read_reply().expect("a reply"), b"+OK\r\n");
            }
            assert_eq!(client.text(&["GET", "k499"]), "$5\r\nvalue");
        });
    }
}

#[test]
fn a_plain_client_on_the_encrypted_port_is_turned_away() {
    with_servers(&[], |secure| {
        let mut plain = TcpStream::connect(("127.0.0.1", secure.port)).expect("it connects");
        plain.write_all(b"*1\r\n$4\r\nPING\r\n").expect("it is sent");
        let mut answer = Vec::new();
        let _ = plain.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"+PONG"), "{answer:?}");
        secure.wait_for_log("Error accepting a client connection: ");
        let mut client = secure.client();
        assert_eq!(client.text(&["PING"]), "+PONG");
        assert!(TlsClient::connect(secure.server.port(), &secure.files, Identity::Nobody).is_err());
    });
}
