//! The weaknesses that advisories about Redis and Valkey name since 2018, each tried by its number:
//! in `scripts`, in `values`, on `connections`, around `permissions`. Those of
//! encrypted connections are in `tests/tls/hostile.rs`, that of a unix socket in `sockets.rs`.
//!
//! Invariant: each attack ends in a reply, after which the server answers within a second and the
//! guard keys are as they were. Not listed are attacks on what is not here: redis-cli, other
//! platforms, memory allocators of 32 bits, modules, the cluster bus, RDMA.

mod connections;
mod permissions;
mod scripts;
mod values;

use std::time::{Duration, Instant};

use super::support::client::Client;
use super::support::server::Server;
use super::with_servers;

/// Whoever asks behind an attack waits no longer.
const PATIENCE: Duration = Duration::from_secs(1);

fn text(client: &mut Client, argv: &[&str]) -> String {
    let reply = client.call(argv).unwrap_or_else(|error| panic!("{argv:?}: {error}"));
    String::from_utf8_lossy(&reply).into_owned()
}

/// Sends each request on servers with one core and with four; its reply begins as it says.
fn withstands(options: &[(&str, &str)], attacks: &[(&[&str], &str)]) {
    with_servers(options, |server| {
        let mut client = guarded(server);
        for (argv, expected) in attacks {
            let reply = text(&mut client, argv);
            assert!(reply.starts_with(expected), "{argv:?}: {reply}");
        }
        must_be_unharmed(server);
    });
}

/// A client of a server that holds the guard keys.
fn guarded(server: &Server) -> Client {
    let mut client = server.client();
    assert_eq!(text(&mut client, &["SET", "guard", "value"]), "+OK\r\n");
    assert_eq!(text(&mut client, &["RPUSH", "{guard}list", "a", "b"]), ":2\r\n");
    client
}

fn must_be_unharmed(server: &Server) {
    let began = Instant::now();
    let mut client = server.client();
    assert_eq!(text(&mut client, &["GET", "guard"]), "$5\r\nvalue\r\n");
    let list = text(&mut client, &["LRANGE", "{guard}list", "0", "-1"]);
    assert_eq!(list, "*2\r\n$1\r\na\r\n$1\r\nb\r\n");
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
}
