//! Encrypted connections against a real server: who gets in, what is told, what changes while clients
//! are connected, and what hostile peers can do before anybody knows them.
//!
//! Invariant: each test runs with one core and with four; certificates are made anew by the openssl
//! program; nothing waits for luck, every wait polls for what it waits for until a deadline.

mod certificates;
mod client;
mod directives;
mod hostile;
mod replication;
#[path = "../support/mod.rs"]
mod support;
mod traffic;
mod users;

use std::sync::Arc;

use certificates::Certificates;
use client::{Identity, TlsClient};
use support::server::{Program, Server, free_port};
use support::wait::{DEADLINE, wait_for};

/// A server with an encrypted port beside the plain one.
struct Secure {
    server: Server,
    port: u16,
    files: Arc<Certificates>,
}

impl Secure {
    fn start(cores: usize, options: &[(&str, &str)]) -> Secure {
        Secure::start_with(Arc::new(Certificates::new()), cores, options)
    }

    /// Another server with the same certificates.
    fn start_beside(&self, cores: usize, options: &[(&str, &str)]) -> Secure {
        Secure::start_with(self.files.clone(), cores, options)
    }

    fn start_with(files: Arc<Certificates>, cores: usize, options: &[(&str, &str)]) -> Secure {
        let port = free_port();
        let mut all = vec![
            ("tls-port".to_owned(), port.to_string()),
            ("tls-cert-file".to_owned(), files.path("server.crt")),
            ("tls-key-file".to_owned(), files.path("server.key")),
            ("tls-ca-cert-file".to_owned(), files.path("ca.crt")),
        ];
        all.extend(options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let server = Server::start(&Program::Ours { cores }, &all);
        Secure { server, port, files }
    }

    /// A client with the certificate that everybody has here.
    fn client(&self) -> TlsClient {
        self.client_as(Identity::Named("client"))
    }

    fn client_as(&self, identity: Identity) -> TlsClient {
        TlsClient::connect(self.port, &self.files, identity).expect("a handshake")
    }

    /// What the server's log says; waits for `text`.
    fn wait_for_log(&self, text: &str) -> String {
        wait_for(text, || Some(self.server.log()).filter(|log| log.contains(text)))
    }

    /// CONFIG SET on the plain port; the reply.
    fn config_set(&self, pairs: &[(&str, &str)]) -> String {
        let mut words = vec!["CONFIG", "SET"];
        pairs.iter().for_each(|(name, value)| words.extend([*name, *value]));
        let reply = self.server.client().call(&words).expect("a reply");
        String::from_utf8_lossy(&reply).trim_end().to_owned()
    }
}

/// Runs `test` with one core and with four.
fn with_servers(options: &[(&str, &str)], test: impl Fn(&Secure)) {
    for cores in [1, 4] {
        let secure = Secure::start(cores, options);
        test(&secure);
        assert!(!secure.server.log().contains("panicked"), "{}", secure.server.log());
    }
}
