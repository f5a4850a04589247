//! The sockets that the server listens on, and the file of one of them.
//!
//! Invariant: either all that is configured is open, or the start ends with what could not be opened;
//! only an address that may be missing is passed over.

use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use super::host;
use crate::base::listening::{ListeningSocket, Name, SocketOptions};
use crate::base::sys;
use crate::config::Config;
use crate::net::listener::Listener;
use crate::observe::log;

/// How often an address in use is tried: together about a second.
const BIND_TRIES: u32 = 50;
const BIND_PAUSE: Duration = Duration::from_millis(20);

/// Opens all listening sockets; an address with `-` before it may be missing.
pub(super) fn listen(config: &Config) -> Result<Vec<Listener>, String> {
    if config.port != 0 && config.port == config.tls_port {
        return Err(format!("Failed listening on port {} (tls), aborting.", config.port));
    }
    let mut sockets = Vec::new();
    for name in config.listening_names(host::resolve) {
        let socket = open(&name, config.socket_options()).map_err(|error| {
            let port = name.address.map_or(config.port, |address| address.port());
            log::warning(format!(
                "Warning: Could not create server TCP listening socket {}:{port}: bind: {}",
                name.text,
                sys::reason(&error)
            ));
            let way = if port == config.tls_port { "tls" } else { "tcp" };
            format!("Failed listening on port {port} ({way}), aborting.")
        })?;
        sockets.extend(socket);
    }
    if !config.unixsocket.is_empty() {
        let path = String::from_utf8_lossy(&config.unixsocket);
        let access = (config.unixsocketperm, group_of(config)?);
        let opened = ListeningSocket::unix(&path, access, config.tcp_backlog);
        sockets.push(opened.map_err(|error| {
            format!("Failed opening Unix socket: bind: {}", sys::reason(&error))
        })?);
    }
    if sockets.is_empty() {
        return Err("Configured to not listen anywhere, exiting.".into());
    }
    Ok(sockets.into_iter().map(|socket| Listener::new(Arc::new(socket))).collect())
}

/// The group of users that the Unix socket is for, if one is named.
fn group_of(config: &Config) -> Result<Option<u32>, String> {
    let name = String::from_utf8_lossy(&config.unixsocketgroup);
    if name.is_empty() {
        return Ok(None);
    }
    match sys::group_id(&name) {
        None => Err(format!("Failed opening Unix socket: getgrnam error for group '{name}'")),
        group => Ok(group),
    }
}

/// Listens on an address. One in use is tried again for a while: the kernel takes a moment to close what
/// the ring of a killed process still listens on, and scripts start the next one at once.
fn open(name: &Name, options: SocketOptions) -> io::Result<Option<ListeningSocket>> {
    for _ in 0..BIND_TRIES {
        match name.open(options) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                std::thread::sleep(BIND_PAUSE);
            }
            result => return result,
        }
    }
    name.open(options)
}

/// Listens for those who want metrics.
pub(super) fn listen_for_metrics(config: &Config) -> Result<Vec<TcpListener>, String> {
    let mut sockets = Vec::new();
    for name in config.metrics_names(host::resolve) {
        let opened = match name.address {
            Some(address) => TcpListener::bind(address),
            None => Err(io::Error::new(ErrorKind::NotFound, "Name or service not known")),
        };
        match opened {
            Ok(socket) => sockets.push(socket),
            Err(_) if name.is_optional => {}
            Err(error) => {
                return Err(format!(
                    "Could not listen for metrics on {}:{}: {}",
                    name.text,
                    config.metrics_port,
                    sys::reason(&error)
                ));
            }
        }
    }
    Ok(sockets)
}

/// Removes the file of the Unix socket, if there is one: nobody can connect any more.
pub(super) fn remove_file(unix_socket: &[u8]) {
    if !unix_socket.is_empty() {
        log::notice("Removing the unix socket file.");
        host::remove_file(unix_socket);
    }
}
