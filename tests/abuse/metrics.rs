//! The metrics port: what Prometheus and people are shown, names that are not what they seem, and
//! visitors that stay.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;

use super::support::server::{Server, free_port};
use super::{DEADLINE, end, start};

/// A name that would be markup, or break out of a label, if it were not shown as text.
const HOSTILE: &str = "<script>alert(1)</script>\"\\\n}";

/// Runs `test` on servers with one core and with four that answer on a port of their own.
fn with_metrics(test: impl Fn(&Server, u16)) {
    for cores in [1, 4] {
        let port = free_port();
        let server = start(cores, &[("metrics-port", &port.to_string())]);
        test(&server, port);
        end(server, "TERM");
    }
}

/// The answer to a request for `path` under this name of the host: head and body.
fn get(port: u16, path: &str, host: &str) -> (String, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
        .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (head.to_owned(), body.to_owned())
}

#[test]
fn metrics_are_well_formed_and_count_what_clients_do() {
    with_metrics(|server, port| {
        let mut client = server.client();
        for number in 0..100 {
            client.call(&["SET", &format!("key:{number}"), "x"]).expect("stored");
        }
        client.call(&["CLIENT", "SETNAME", "plain"]).expect("named");
        let (head, body) = get(port, "/metrics", "localhost");
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
        for line in
            ["redis_up 1", "redis_commands_total{cmd=\"set\"} 100", "redis_db_keys{db=\"db0\"} 100"]
        {
            assert!(body.lines().any(|found| found == line), "{line} in\n{body}");
        }
        for name in [
            "redis_memory_used_bytes ",
            "redis_instance_info{role=\"master\",redis_version=",
            "redis_config_maxclients ",
            "redis_slowlog_length ",
            "redis_commands_latencies_usec_bucket{cmd=\"set\",le=\"",
            "redis_latency_percentiles_usec{cmd=\"set\",quantile=\"99\"} ",
            "ironring_core_busy_seconds_total{core=\"0\"} ",
            "ironring_core_turn_seconds_bucket{core=\"0\",le=\"+Inf\"} ",
            "ironring_command_latency_seconds_count{core=\"0\",phase=\"queue\"} ",
        ] {
            assert!(body.contains(&format!("\n{name}")), "{name} in\n{body}");
        }
        let mut families = BTreeSet::new();
        for line in body.lines() {
            if let Some(family) = line.strip_prefix("# TYPE ") {
                assert!(families.insert(family.to_owned()), "twice: {family}");
            } else if !line.starts_with('#') {
                let value = line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
                assert!(value.is_some(), "{line}");
            }
        }
    });
}

#[test]
fn hostile_names_stay_text() {
    with_metrics(|server, port| {
        let mut client = server.client();
        client.call(&["SET", HOSTILE, "x"]).expect("stored");
        client.call(&["CONFIG", "SET", "slowlog-log-slower-than", "0"]).expect("a reply");
        client.call(&["GET", HOSTILE]).expect("a reply");
        client.call(&[HOSTILE, "x"]).expect("an error");
        let (_, page) = get(port, "/", "127.0.0.1");
        assert!(page.contains("<title>Ironring</title>"), "{page}");
        assert!(!page.contains("alert(1)"));
        let (head, figures) = get(port, "/status.json", "127.0.0.1");
        assert!(head.contains("content-security-policy: default-src 'none'"), "{head}");
        let figures: serde_json::Value = serde_json::from_str(&figures).expect("JSON");
        // The line end is shown as an escape.
        let shown = "<script>alert(1)</script>\"\\\\n}";
        let slow = figures["slow"].as_array().expect("a list");
        let is_shown = |row: &serde_json::Value| {
            row["command"].as_str().is_some_and(|command| command.contains(shown))
        };
        assert!(slow.iter().any(is_shown), "{slow:?}");
        let (_, metrics) = get(port, "/metrics", "127.0.0.1");
        assert!(!metrics.contains(HOSTILE));
    });
}

#[test]
fn only_this_machine_is_answered_and_nothing_can_be_done() {
    with_metrics(|server, port| {
        let (head, _) = get(port, "/metrics", "evil.example");
        assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
        let (head, _) = get(port, "/nothing", "localhost");
        assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        write!(stream, "POST /metrics HTTP/1.0\r\nContent-Length: 0\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.0 405 "), "{answer}");
        // Visitors that say nothing are few, and harm no client.
        let silent: Vec<_> =
            (0..100).map(|_| TcpStream::connect(("127.0.0.1", port)).expect("queued")).collect();
        assert_eq!(server.client().call(&["PING"]).expect("a reply"), b"+PONG\r\n");
        drop(silent);
        let (head, _) = get(port, "/metrics", "localhost");
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    });
}
