//! Who may come in through a listening socket.
//!
//! Invariant: what is accepted is looked at here, before it becomes a client.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use socket2::{SockAddr, SockRef, TcpKeepalive};

use super::sealing::Sealing;
use crate::base::listening::{ListeningSocket, Place};
use crate::config::Config;
use crate::observe::server::ServerFacts;
use crate::ring::Fd;

/// The answer to one client too many.
pub const TOO_MANY: &str = "-ERR max number of clients reached\r\n";
/// The answer to a stranger, where neither password nor address says who may come in.
const PROTECTED: &str = "-DENIED Redis is running in protected mode because protected mode is enabled and no password is set for the default user. In this mode connections are only accepted from the loopback interface. If you want to connect from external computers to Redis you may adopt one of the following solutions: 1) Just disable protected mode sending the command 'CONFIG SET protected-mode no' from the loopback interface by connecting to Redis from the same host the server is running, however MAKE SURE Redis is not publicly accessible from internet if you do so. Use CONFIG REWRITE to make this change permanent. 2) Alternatively you can just disable the protected mode by editing the Redis configuration file, and setting the protected mode option to 'no', and then restarting the server. 3) If you started the server manually just for testing, restart it with the '--protected-mode no' option. 4) Setup a an authentication password for the default user. NOTE: You only need to do one of the above things in order for the server to start accepting connections from the outside.\r\n";

/// A descriptor that was accepted, with what the accepting core learned of it.
#[derive(Debug)]
pub struct Accepted {
    /// The socket.
    pub fd: Fd,
    /// The peer's address.
    pub addr: String,
    /// The address that it connected to.
    pub laddr: String,
    /// Came through the unix socket.
    pub unix: bool,
    /// An error to answer before it is closed; None for a client that is welcome.
    pub refusal: Option<&'static str>,
    /// Its keys, if it is encrypted.
    pub sealing: Option<Box<Sealing>>,
}

/// A socket that a core accepts on.
#[derive(Debug)]
pub struct Listener {
    socket: Arc<ListeningSocket>,
    /// Nobody can connect any more; it goes when the ring has let go of it.
    pub is_stopped: bool,
}

impl Listener {
    /// Accepts on this socket.
    pub fn new(socket: Arc<ListeningSocket>) -> Listener {
        Listener { socket, is_stopped: false }
    }

    /// The descriptor.
    pub fn fd(&self) -> Fd {
        self.socket.fd()
    }

    /// Where it listens.
    pub fn place(&self) -> &Place {
        &self.socket.place
    }

    /// True if those who come in here are to be encrypted.
    pub fn is_secure(&self, config: &Config) -> bool {
        let port = config.tls_port;
        port != 0 && matches!(self.place(), Place::Tcp(address) if address.port() == port)
    }

    /// Lets nobody connect any more.
    pub fn stop(&mut self) {
        self.is_stopped = true;
        self.socket.stop();
    }

    /// Looks at a client that was accepted here: who it is, and whether it may stay. `nopass` is true
    /// if the default user needs no password.
    pub fn admit(&self, fd: Fd, config: &Config, server: &ServerFacts, nopass: bool) -> Accepted {
        // SockRef borrows; the descriptor stays the ring's.
        let borrowed = crate::base::sys::borrow_fd(fd);
        let socket = SockRef::from(&borrowed);
        let unix = matches!(self.place(), Place::Unix(_));
        let name =
            |address: io::Result<SockAddr>| address.ok().and_then(|address| address.as_socket());
        let (peer, local) = (name(socket.peer_addr()), name(socket.local_addr()));
        if !unix && config.tcp_keepalive > 0 {
            let seconds = u64::from(config.tcp_keepalive.unsigned_abs());
            let keepalive = TcpKeepalive::new()
                .with_time(std::time::Duration::from_secs(seconds))
                .with_interval(std::time::Duration::from_secs((seconds / 3).max(1)))
                .with_retries(3);
            // A socket that cannot be kept alive still works.
            let _ = socket.set_tcp_keepalive(&keepalive);
        }
        let shown = |address: Option<SocketAddr>| match (self.place(), address) {
            (Place::Unix(path), _) => format!("{path}:0"),
            (_, Some(address)) => format!("{}:{}", plain_ip(address.ip()), address.port()),
            (_, None) => "?:0".to_owned(),
        };
        let clients: i64 = server.clients.iter().map(crate::observe::stats::Gauge::get).sum();
        let loopback = unix || peer.is_some_and(|peer| plain_ip(peer.ip()).is_loopback());
        let refusal = if clients >= i64::from(config.maxclients) {
            Some(TOO_MANY)
        } else if config.protected_mode && nopass && !loopback {
            Some(PROTECTED)
        } else {
            None
        };
        Accepted { fd, addr: shown(peer), laddr: shown(local), unix, refusal, sealing: None }
    }
}

/// Whether small packets go out at once on a connection.
pub fn set_nodelay(fd: Fd, nodelay: bool) -> io::Result<()> {
    let borrowed = crate::base::sys::borrow_fd(fd);
    SockRef::from(&borrowed).set_tcp_nodelay(nodelay)
}

/// An IPv4 address that came in an IPv6 one is shown as itself.
fn plain_ip(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, IpAddr::V4),
        IpAddr::V4(_) => ip,
    }
}
