//! The tls-* directives: what the server starts with, what CONFIG SET changes while clients are
//! connected, what it refuses.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustls::HandshakeKind;

use super::client::{Identity, TlsClient, config};
use super::support::server::free_port;
use super::support::wait::wait_until;
use super::{Secure, with_servers};

const NOT_UPDATED: &str = "Unable to update TLS configuration. Check server logs.";

fn server_name(client: &TlsClient) -> Vec<u8> {
    client.stream.conn.peer_certificates().expect("it has shown one")[0].to_vec()
}

#[test]
fn certificates_change_without_a_client_noticing() {
    with_servers(&[], |secure| {
        let mut before = secure.client();
        assert_eq!(before.text(&["PING"]), "+PONG");
        let (cert, key) = (secure.files.path("other.crt"), secure.files.path("other.key"));
        let pairs = [("tls-cert-file", cert.as_str()), ("tls-key-file", key.as_str())];
        assert_eq!(secure.config_set(&pairs), "+OK");
        let mut after = secure.client();
        assert_eq!(after.text(&["PING"]), "+PONG");
        assert_ne!(server_name(&before), server_name(&after));
        assert_eq!(before.text(&["PING"]), "+PONG");
        // The same names again read the files again.
        std::fs::copy(secure.files.path("server.crt"), &cert).expect("a copy");
        std::fs::copy(secure.files.path("server.key"), &key).expect("a copy");
        assert_eq!(secure.config_set(&pairs), "+OK");
        assert_eq!(server_name(&secure.client()), server_name(&before));
    });
}

#[test]
fn files_that_have_changed_are_read_again() {
    with_servers(&[("tls-auto-reload-interval", "1")], |secure| {
        let mut before = secure.client();
        let (cert, key) = (secure.files.path("other.crt"), secure.files.path("other.key"));
        let pairs = [("tls-cert-file", cert.as_str()), ("tls-key-file", key.as_str())];
        assert_eq!(secure.config_set(&pairs), "+OK");
        assert_ne!(server_name(&secure.client()), server_name(&before));
        // In between they do not fit each other, and the former ones are used.
        std::fs::copy(secure.files.path("server.crt"), &cert).expect("a copy");
        secure.wait_for_log("key values mismatch");
        assert_ne!(server_name(&secure.client()), server_name(&before));
        std::fs::copy(secure.files.path("server.key"), &key).expect("a copy");
        wait_until("they are used", || server_name(&secure.client()) == server_name(&before));
        secure.wait_for_log("TLS materials reloaded successfully");
        assert_eq!(before.text(&["PING"]), "+PONG");
    });
}

#[test]
fn files_that_do_not_fit_change_nothing() {
    with_servers(&[], |secure| {
        let other = secure.files.path("other.crt");
        let refused = [
            vec![("tls-cert-file", other.as_str())],
            vec![("tls-key-file", "/nowhere/key")],
            vec![("maxmemory", "100mb"), ("tls-ca-cert-file", "/nowhere/ca")],
            vec![("tls-protocols", "TLSv9")],
            vec![("tls-protocols", "TLSv1.1")],
            vec![("tls-ciphers", "NOTHING")],
            vec![("tls-ciphersuites", "NOTHING")],
        ];
        for pairs in refused {
            let reply = secure.config_set(&pairs);
            assert!(
                reply.starts_with("-ERR CONFIG SET failed") && reply.ends_with(NOT_UPDATED),
                "{pairs:?}: {reply}"
            );
        }
        let reply = secure.server.client().call(&["CONFIG", "GET", "maxmemory"]).expect("a reply");
        assert!(reply.ends_with(b"$1\r\n0\r\n"), "nothing of a refused change is kept");
        assert_eq!(secure.client().text(&["PING"]), "+PONG");
        secure.wait_for_log("Failed to load private key");
    });
}

/// A pipe that nobody writes to stands for a file system that does not answer.
#[test]
fn a_file_that_is_not_there_yet_holds_nobody_up() {
    with_servers(&[], |secure| {
        let pipe = secure.files.path("pipe");
        let made = Command::new("mkfifo").arg(&pipe).status();
        assert!(made.is_ok_and(|status| status.success()), "a pipe");
        let mut waits = secure.server.client();
        waits.send_command(&["CONFIG", "SET", "tls-cert-file", &pipe]).expect("sent");
        // Some on every core.
        let others: Vec<_> = (0..8).map(|_| secure.server.client()).collect();
        for mut other in others {
            assert_eq!(other.call(&["PING"]).expect("a reply"), b"+PONG\r\n");
            assert_eq!(other.call(&["CONFIG", "SET", "hz", "20"]).expect("a reply"), b"+OK\r\n");
        }
        std::fs::write(&pipe, "no certificate").expect("somebody reads");
        let reply = waits.read_reply().expect("a reply");
        assert!(reply.starts_with(b"-ERR CONFIG SET failed"), "{}", reply.escape_ascii());
        assert_eq!(secure.client().text(&["PING"]), "+PONG");
    });
}

#[test]
fn the_port_opens_and_closes() {
    with_servers(&[], |secure| {
        let mut client = secure.client();
        let other = free_port();
        assert_eq!(secure.config_set(&[("tls-port", &other.to_string())]), "+OK");
        let there = TlsClient::connect(other, &secure.files, Identity::Named("client"));
        assert_eq!(there.expect("a handshake").text(&["PING"]), "+PONG");
        assert!(TlsClient::connect(secure.port, &secure.files, Identity::Nobody).is_err());
        assert_eq!(client.text(&["PING"]), "+PONG");
        assert_eq!(secure.config_set(&[("tls-port", "0")]), "+OK");
        assert!(TlsClient::connect(other, &secure.files, Identity::Nobody).is_err());
        let plain = secure.server.port().to_string();
        let reply = secure.config_set(&[("tls-port", &plain)]);
        assert!(reply.ends_with("Unable to listen on this port. Check server logs."), "{reply}");
        assert_eq!(secure.config_set(&[("tls-port", &other.to_string())]), "+OK");
        let there = TlsClient::connect(other, &secure.files, Identity::Named("client"));
        assert_eq!(there.expect("a handshake").text(&["PING"]), "+PONG");
    });
}

#[test]
fn protocols_and_ciphers_are_those_that_are_named() {
    let suite = |client: &TlsClient| {
        format!("{:?}", client.stream.conn.negotiated_cipher_suite().expect("one").suite())
    };
    let old = [("tls-protocols", "TLSv1.2"), ("tls-ciphers", "ECDHE-ECDSA-AES128-GCM-SHA256")];
    with_servers(&old, |secure| {
        let mut client = secure.client();
        assert_eq!(client.text(&["PING"]), "+PONG");
        assert_eq!(suite(&client), "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256");
        let new = [("tls-protocols", "TLSv1.3"), ("tls-ciphersuites", "TLS_AES_128_GCM_SHA256")];
        assert_eq!(secure.config_set(&new), "+OK");
        let mut client = secure.client();
        assert_eq!(client.text(&["PING"]), "+PONG");
        assert_eq!(suite(&client), "TLS13_AES_128_GCM_SHA256");
    });
}

#[test]
fn sessions_are_taken_up_again_if_they_are_kept() {
    for (caching, expected) in [("yes", HandshakeKind::Resumed), ("no", HandshakeKind::Full)] {
        for protocol in ["TLSv1.2", "TLSv1.3"] {
            let options = [("tls-session-caching", caching), ("tls-protocols", protocol)];
            with_servers(&options, |secure| {
                let rules = Arc::new(config(&secure.files, Identity::Named("client")));
                let connect = || TlsClient::connect_by(secure.port, rules.clone());
                let mut first = connect().expect("a handshake");
                assert_eq!(first.text(&["PING"]), "+PONG");
                let mut second = connect().expect("a handshake");
                assert_eq!(second.text(&["PING"]), "+PONG");
                let kind = second.stream.conn.handshake_kind();
                assert_eq!(kind, Some(expected), "{protocol}, caching {caching}");
            });
        }
    }
}

#[test]
fn an_encrypted_key_needs_its_password() {
    with_servers(&[], |secure| {
        secure.files.lock_key("server", "secret");
        let locked = secure.files.path("server.locked");
        let reply = secure.config_set(&[("tls-key-file", &locked)]);
        assert!(reply.ends_with(NOT_UPDATED), "{reply}");
        secure.wait_for_log("it is encrypted, and there is no password");
        let wrong = [("tls-key-file", locked.as_str()), ("tls-key-file-pass", "wrong")];
        assert!(secure.config_set(&wrong).ends_with(NOT_UPDATED));
        let right = [("tls-key-file", locked.as_str()), ("tls-key-file-pass", "secret")];
        assert_eq!(secure.config_set(&right), "+OK");
        assert_eq!(secure.client().text(&["PING"]), "+PONG");
        assert!(!secure.server.log().contains("secret"), "passwords are not logged");
    });
}

#[test]
fn authorities_may_lie_in_a_directory() {
    with_servers(&[], |secure| {
        let dir = secure.files.dir().join("authorities");
        std::fs::create_dir(&dir).expect("a directory");
        std::fs::copy(secure.files.path("ca.crt"), dir.join("any-name.pem")).expect("a copy");
        std::fs::write(dir.join("README"), "no certificate").expect("a file");
        let dir = dir.to_str().expect("a path in ASCII").to_owned();
        let pairs = [("tls-ca-cert-file", ""), ("tls-ca-cert-dir", dir.as_str())];
        assert_eq!(secure.config_set(&pairs), "+OK");
        assert_eq!(secure.client().text(&["PING"]), "+PONG");
    });
}

#[test]
fn a_server_that_cannot_encrypt_does_not_start() {
    let files = super::Certificates::new();
    let (cert, key) = (files.path("server.crt"), files.path("server.key"));
    let cases: [(&[&str], &str); 4] = [
        (&[], "No tls-cert-file configured!"),
        (&["--tls-cert-file", &cert], "No tls-key-file configured!"),
        (
            &["--tls-cert-file", &cert, "--tls-key-file", &key],
            "Either tls-ca-cert-file or tls-ca-cert-dir must be specified",
        ),
        (
            &["--tls-cert-file", &cert, "--tls-key-file", "/nowhere", "--tls-auth-clients", "no"],
            "Failed to load private key: /nowhere: No such file or directory",
        ),
    ];
    for (options, expected) in cases {
        let binary = std::env::var("IRONRING_BIN");
        let done = Command::new(binary.as_deref().unwrap_or(env!("CARGO_BIN_EXE_ironring")))
            .args(["--port", "0", "--save", "", "--tls-port", &free_port().to_string()])
            .args(options)
            .current_dir(files.dir())
            .stdin(Stdio::null())
            .output()
            .expect("the program");
        let log = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(!done.status.success() && log.contains(expected), "{options:?}: {log}");
        assert!(log.contains("Failed to configure TLS. Check logs for more info."), "{log}");
    }
}

#[test]
fn the_encrypted_port_may_be_the_only_one() {
    let files = super::Certificates::new();
    let port = free_port();
    let binary = std::env::var("IRONRING_BIN");
    let child = Command::new(binary.as_deref().unwrap_or(env!("CARGO_BIN_EXE_ironring")))
        .args(["--port", "0", "--save", "", "--tls-port", &port.to_string()])
        .args(["--tls-cert-file", &files.path("server.crt")])
        .args(["--tls-key-file", &files.path("server.key")])
        .args(["--tls-ca-cert-file", &files.path("ca.crt")])
        .current_dir(files.dir())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("the program");
    let _child = Killed(child);
    let mut client = super::wait_for("a handshake", || {
        TlsClient::connect(port, &files, Identity::Named("client")).ok()
    });
    wait_until("it is ready", || client.text(&["PING"]) == "+PONG");
    assert!(client.text(&["INFO", "server"]).contains(&format!("tcp_port:{port}\r\n")));
}

/// A process that ends with the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// INFO's fields of Valkey 9.1.
#[test]
fn info_tells_of_the_certificates() {
    with_servers(&[], |secure: &Secure| {
        let serial = secure.server.info("tls", "tls_server_cert_serial").expect("a field");
        assert!(!serial.is_empty() && serial != "none", "{serial}");
        let left = secure.server.info("tls", "tls_server_cert_expires_in_seconds");
        let left: i64 = left.and_then(|left| left.parse().ok()).expect("a number");
        assert!((800_000..=864_000).contains(&left), "{left}");
    });
}
