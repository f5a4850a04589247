//! Listening sockets: which addresses a list of names means, and what has to be opened and closed when
//! it changes.
//!
//! Invariant: a change leaves alone what stays, and what is new is open before anything old is closed;
//! only what an old socket itself stands in the way of is opened behind that. Source: `bind`, `port`
//! and their change at run time in Redis 8.0.6.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// What sockets that listen have in common, whatever their addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// How many may wait to be accepted. Source: tcp-backlog.
    pub backlog: i32,
    /// The mark of all packets, for rules of the system; 0 = none. Source: socket-mark-id.
    pub mark: u32,
    /// Clients may come over several paths at once. Source: mptcp.
    pub multipath: bool,
}

/// A name that is to be listened on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// As it was given, without the `-` of an optional one.
    pub text: String,
    /// What it means; None if nobody knows it.
    pub address: Option<SocketAddr>,
    /// The machine may lack this address.
    pub is_optional: bool,
}

impl Name {
    /// The names of a `bind` list. `resolve` looks up those that are neither `*` nor an address.
    pub fn all<'a>(
        list: impl Iterator<Item = &'a [u8]>,
        port: u16,
        resolve: impl Fn(&str) -> Option<IpAddr>,
    ) -> Vec<Name> {
        list.map(|name| {
            let name = String::from_utf8_lossy(name);
            let (text, is_optional) = match name.strip_prefix('-') {
                Some(text) => (text, true),
                None => (&*name, false),
            };
            let address = any_address(text).or_else(|| text.parse().ok()).or_else(|| resolve(text));
            let address = address.map(|ip| SocketAddr::new(ip, port));
            Name { text: text.to_owned(), address, is_optional }
        })
        .collect()
    }

    /// Listens there; None where an optional address is missing.
    pub fn open(&self, options: SocketOptions) -> io::Result<Option<ListeningSocket>> {
        let unknown = || io::Error::new(io::ErrorKind::NotFound, "Name or service not known");
        let opened = match self.address {
            Some(address) => ListeningSocket::tcp(address, options),
            None => Err(unknown()),
        };
        match opened {
            Ok(socket) => Ok(Some(socket)),
            Err(error) if self.is_optional && is_missing_address(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A socket of `own` keeps this name from being listened on.
    fn overlaps(&self, own: &SocketAddr) -> bool {
        self.address.is_some_and(|address| {
            address.port() == own.port()
                && address.is_ipv4() == own.is_ipv4()
                && (address.ip().is_unspecified() || own.ip().is_unspecified())
        })
    }
}

/// The address that a `bind` name without one stands for.
pub fn any_address(name: &str) -> Option<IpAddr> {
    match name {
        "*" => Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        "::*" => Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        _ => None,
    }
}

/// The address, or its family, does not exist on this machine.
fn is_missing_address(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT | libc::ENOPROTOOPT)
    )
}

/// Where a socket listens.
#[derive(Debug)]
pub enum Place {
    /// On a TCP address.
    Tcp(SocketAddr),
    /// On the unix socket of this path.
    Unix(String),
}

/// A socket that listens.
#[derive(Debug)]
pub struct ListeningSocket {
    socket: Socket,
    /// Where.
    pub place: Place,
}

impl ListeningSocket {
    /// Listens on a TCP address.
    pub fn tcp(address: SocketAddr, options: SocketOptions) -> io::Result<ListeningSocket> {
        let socket = stream_socket(address, Type::STREAM, options.multipath)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        // Inherited by what is accepted.
        socket.set_tcp_nodelay(true)?;
        if options.mark != 0 {
            // It takes a privilege; as at a stock server, who lacks it goes without the mark.
            let _ = socket.set_mark(options.mark);
        }
        socket.bind(&address.into())?;
        socket.listen(options.backlog)?;
        Ok(ListeningSocket { socket, place: Place::Tcp(address) })
    }

    /// Listens on a unix socket; `mode` 0 leaves its permissions to umask, no `group` leaves it to that of
    /// the server.
    pub fn unix(
        path: &str,
        (mode, group): (u32, Option<u32>),
        backlog: i32,
    ) -> io::Result<ListeningSocket> {
        let _ = std::fs::remove_file(path);
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        if mode != 0 {
            std::fs::set_permissions(Path::new(path), std::fs::Permissions::from_mode(mode))?;
        }
        if group.is_some() {
            std::os::unix::fs::chown(path, None, group)?;
        }
        // Last: until then nobody can connect, whatever umask says.
        socket.listen(backlog)?;
        Ok(ListeningSocket { socket, place: Place::Unix(path.to_owned()) })
    }

    /// The descriptor.
    pub fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Nobody can connect any more, though operations may still hold the descriptor.
    pub fn stop(&self) {
        // What has been stopped already is as wanted.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }
}

/// A socket of the family of `address`, over several paths if the system knows how.
pub fn stream_socket(address: SocketAddr, kind: Type, multipath: bool) -> io::Result<Socket> {
    let protocol = if multipath { Protocol::MPTCP } else { Protocol::TCP };
    Socket::new(Domain::for_address(address), kind, Some(protocol))
}

/// What a change of the addresses asks of the core that accepts.
#[derive(Debug)]
pub struct Change {
    /// These stay; TCP sockets of other addresses stop.
    pub stays: BTreeSet<SocketAddr>,
    /// These are open already.
    pub opened: Vec<Arc<ListeningSocket>>,
    /// These can be opened when the old ones have stopped.
    pub blocked: Vec<Name>,
    /// How.
    pub options: SocketOptions,
}

impl Change {
    /// True if the change leaves this place alone.
    pub fn keeps(&self, place: &Place) -> bool {
        match place {
            Place::Tcp(address) => self.stays.contains(address),
            Place::Unix(_) => true,
        }
    }

    /// Opens what `new` has and `old` lacks. Fails with the name that cannot be listened on.
    pub fn open(
        old: &[Name],
        new: &[Name],
        options: SocketOptions,
    ) -> Result<Change, (Name, io::Error)> {
        let addresses = |names: &[Name]| -> BTreeSet<SocketAddr> {
            names.iter().filter_map(|name| name.address).collect()
        };
        let (before, after) = (addresses(old), addresses(new));
        let stays = before.intersection(&after).copied().collect();
        let mut change = Change { stays, opened: Vec::new(), blocked: Vec::new(), options };
        for name in new {
            if name.address.is_some_and(|address| change.stays.contains(&address)) {
                continue;
            }
            match name.open(options) {
                Ok(socket) => change.opened.extend(socket.map(Arc::new)),
                Err(error)
                    if error.kind() == io::ErrorKind::AddrInUse
                        && before.iter().any(|own| name.overlaps(own)) =>
                {
                    change.blocked.push(name.clone());
                }
                Err(error) => return Err((name.clone(), error)),
            }
        }
        Ok(change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: SocketOptions = SocketOptions { backlog: 5, mark: 0, multipath: false };

    fn names(list: &[&str], port: u16) -> Vec<Name> {
        Name::all(list.iter().map(|name| name.as_bytes()), port, |_| None)
    }

    /// A port that is free now.
    fn free_port() -> u16 {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
        socket.local_addr().expect("its address").port()
    }

    #[test]
    fn names_are_addresses_stars_or_looked_up() {
        let list = names(&["*", "-::*", "127.0.0.1", "nowhere"], 7);
        let shown: Vec<_> =
            list.iter().map(|name| name.address.map(|address| address.to_string())).collect();
        let expected = [Some("0.0.0.0:7"), Some("[::]:7"), Some("127.0.0.1:7"), None];
        assert_eq!(shown, expected.map(|text| text.map(str::to_owned)));
        assert!(list[1].is_optional && !list[2].is_optional);
        assert!(list[3].open(OPTIONS).is_err());
    }

    #[test]
    fn a_change_opens_what_is_new_and_waits_for_its_own() {
        let port = free_port();
        let old = names(&["127.0.0.1"], port);
        let first = Change::open(&[], &old, OPTIONS).expect("a free port");
        assert_eq!((first.opened.len(), first.blocked.len()), (1, 0));
        let wider = names(&["*"], port);
        let second = Change::open(&old, &wider, OPTIONS).expect("its own socket is in the way");
        assert_eq!((second.opened.len(), second.blocked.len()), (0, 1));
        first.opened[0].stop();
        assert!(second.blocked[0].open(OPTIONS).expect("nobody is in the way").is_some());
        let same = Change::open(&wider, &wider, OPTIONS).expect("nothing to open");
        assert_eq!((same.stays.len(), same.opened.len()), (1, 0));
    }

    #[test]
    fn another_ones_address_is_an_error() {
        let theirs = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
        let port = theirs.local_addr().expect("its address").port();
        let (name, error) =
            Change::open(&names(&["127.0.0.1"], 1), &names(&["127.0.0.1"], port), OPTIONS)
                .expect_err("in use");
        assert_eq!((name.text.as_str(), error.kind()), ("127.0.0.1", io::ErrorKind::AddrInUse));
    }
}
