//! Sends keys to other servers, for MIGRATE.
//!
//! Invariant: a key counts as arrived only if the other server has said so, and so it is with its
//! database and the password before it. Sockets are kept for a while; one that was closed meanwhile is
//! opened anew, once, if nothing was answered on it. Source: MIGRATE of Redis 8.0.6.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use socket2::Type;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::base::listening::stream_socket;
use crate::observe::server::ServerFacts;
use crate::persist::migration::{Outcome, Parcel, Target, push_count, push_word};

/// Sockets that are kept. Source: Redis.
const LINKS_MAX: usize = 64;
/// How long they are kept without being used. Source: Redis.
const LINK_IDLE_MAX: Duration = Duration::from_secs(10);
/// How often they are looked at.
const LINK_ROUND: Duration = Duration::from_secs(1);
/// Bytes that are sent at once.
const WRITE_BYTES: usize = 64 << 10;
/// A line of a reply is not longer.
const LINE_BYTES_MAX: usize = 16 << 10;
const NOT_CONNECTED: &str = "IOERR error or timeout connecting to the client";

/// The sockets to other servers that nobody uses at the moment.
pub(super) struct Links {
    server: Arc<ServerFacts>,
    idle: RefCell<BTreeMap<Target, Link>>,
}

/// A connection to another server.
struct Link {
    stream: TcpStream,
    /// The database that it has selected, if that is known.
    selected: Option<i64>,
    used: Instant,
    /// What was received beyond the last line.
    received: Vec<u8>,
}

/// The socket failed.
struct Broken {
    /// While sending.
    writing: bool,
    /// Nothing went wrong but that time was up.
    timed_out: bool,
}

impl Links {
    /// No socket is kept yet; how many are is told in INFO.
    pub(super) fn new(server: Arc<ServerFacts>) -> Links {
        Links { server, idle: RefCell::default() }
    }

    /// Sends a parcel; what became of its keys.
    pub(super) async fn send(&self, parcel: &Parcel) -> Outcome {
        let mut may_retry = true;
        loop {
            let Some(mut link) = self.link(parcel).await else {
                let error = Some(NOT_CONNECTED.to_owned());
                return Outcome { arrived: Vec::new(), error };
            };
            match link.deliver(parcel).await {
                (outcome, None) => {
                    self.keep(parcel.target.clone(), link);
                    return outcome;
                }
                (mut outcome, Some(broken)) => {
                    // What still waits for the socket comes to its end.
                    let _ = link.stream.shutdown().await;
                    let is_untouched = outcome.arrived.is_empty() && outcome.error.is_none();
                    if is_untouched && !broken.timed_out && std::mem::take(&mut may_retry) {
                        continue;
                    }
                    let doing = if broken.writing { "writing" } else { "reading" };
                    outcome.error.get_or_insert_with(|| {
                        format!("IOERR error or timeout {doing} to target instance")
                    });
                    return outcome;
                }
            }
        }
    }

    /// A connection that nobody uses, or a new one.
    async fn link(&self, parcel: &Parcel) -> Option<Link> {
        let known = self.idle.borrow_mut().remove(&parcel.target);
        match known {
            Some(link) => Some(link),
            None => Link::open(&parcel.target, parcel.timeout).await.ok(),
        }
    }

    fn keep(&self, target: Target, mut link: Link) {
        link.used = Instant::now();
        let mut idle = self.idle.borrow_mut();
        if idle.len() >= LINKS_MAX {
            let oldest = idle.iter().min_by_key(|(_, link)| link.used);
            if let Some(target) = oldest.map(|(target, _)| target.clone()) {
                idle.remove(&target);
            }
        }
        idle.insert(target, link);
        self.server.migrate_sockets.store(idle.len() as u64, Relaxed);
    }

    /// Closes what has not been used for long, round after round.
    pub(super) async fn watch(&self) {
        let mut rounds = tokio::time::interval(LINK_ROUND);
        loop {
            rounds.tick().await;
            let mut idle = self.idle.borrow_mut();
            idle.retain(|_, link| link.used.elapsed() < LINK_IDLE_MAX);
            self.server.migrate_sockets.store(idle.len() as u64, Relaxed);
        }
    }
}

impl Link {
    async fn open(target: &Target, limit: Duration) -> io::Result<Link> {
        let stream = timeout(limit, connect(target, b"", false)).await??;
        stream.set_nodelay(true)?;
        Ok(Link { stream, selected: None, used: Instant::now(), received: Vec::new() })
    }

    /// Sends all, then reads as many replies.
    async fn deliver(&mut self, parcel: &Parcel) -> (Outcome, Option<Broken>) {
        let mut outcome = Outcome::default();
        let selects = self.selected != Some(parcel.db);
        if let Err(broken) = self.write_all(parcel, selects).await {
            return (outcome, Some(broken));
        }
        let before = usize::from(!parcel.auth.is_empty()) + usize::from(selects);
        let mut refusal: Option<String> = None;
        for _ in 0..before {
            match self.read_line(parcel.timeout).await {
                Ok(line) => refusal = refusal.or(refusal_of(&line)),
                Err(broken) => return (outcome, Some(broken)),
            }
        }
        for word in &parcel.words {
            let line = match self.read_line(parcel.timeout).await {
                Ok(line) => line,
                Err(broken) => return (outcome, Some(broken)),
            };
            match refusal.clone().or(refusal_of(&line)) {
                None => outcome.arrived.push(*word),
                Some(error) => drop(outcome.error.get_or_insert(error)),
            }
        }
        self.selected = outcome.error.is_none().then_some(parcel.db);
        (outcome, None)
    }

    async fn write_all(&mut self, parcel: &Parcel, selects: bool) -> Result<(), Broken> {
        let mut buffer = Vec::with_capacity(WRITE_BYTES);
        if !parcel.auth.is_empty() {
            push_count(&mut buffer, 1 + parcel.auth.len());
            push_word(&mut buffer, b"AUTH");
            parcel.auth.iter().for_each(|word| push_word(&mut buffer, word));
        }
        if selects {
            push_count(&mut buffer, 2);
            push_word(&mut buffer, b"SELECT");
            push_word(&mut buffer, parcel.db.to_string().as_bytes());
        }
        for piece in parcel.requests.iter().flat_map(|bytes| bytes.chunks(WRITE_BYTES)) {
            if buffer.len() + piece.len() > WRITE_BYTES {
                buffer = self.write(buffer, parcel.timeout).await?;
            }
            buffer.extend_from_slice(piece);
        }
        self.write(buffer, parcel.timeout).await.map(drop)
    }

    /// Writes a buffer and gives it back, empty.
    async fn write(&mut self, mut buffer: Vec<u8>, limit: Duration) -> Result<Vec<u8>, Broken> {
        let broken = |timed_out| Broken { writing: true, timed_out };
        match timeout(limit, self.stream.write_all(&buffer)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(broken(false)),
            Err(_) => return Err(broken(true)),
        }
        buffer.clear();
        Ok(buffer)
    }

    /// A line of a reply, without its end.
    async fn read_line(&mut self, limit: Duration) -> Result<Vec<u8>, Broken> {
        let broken = |timed_out| Broken { writing: false, timed_out };
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.received.drain(..=end).collect();
                line.truncate(line.trim_ascii_end().len());
                return Ok(line);
            }
            if self.received.len() > LINE_BYTES_MAX {
                return Err(broken(false));
            }
            self.received.reserve(LINE_BYTES_MAX);
            match timeout(limit, self.stream.read_buf(&mut self.received)).await {
                Ok(Ok(1..)) => {}
                Ok(_) => return Err(broken(false)),
                Err(_) => return Err(broken(true)),
            }
        }
    }
}

/// What MIGRATE answers to a reply that is an error.
fn refusal_of(line: &[u8]) -> Option<String> {
    let text = line.strip_prefix(b"-")?;
    let text = String::from_utf8_lossy(text);
    Some(format!("ERR Target instance replied with error: {text}"))
}

/// Opens a socket to another server, from this address of ours if one is named and can be used.
/// `multipath` asks for several paths.
pub(super) async fn connect(
    target: &Target,
    source: &[u8],
    multipath: bool,
) -> io::Result<TcpStream> {
    let source = Target { host: String::from_utf8_lossy(source).into_owned(), port: 0 };
    let sources = if source.host.is_empty() {
        Vec::new()
    } else {
        addresses(&source).await.unwrap_or_default()
    };
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses(target).await? {
        let open = || -> io::Result<TcpSocket> {
            let socket = stream_socket(address, Type::STREAM.nonblocking(), multipath)?;
            Ok(TcpSocket::from_std_stream(socket.into()))
        };
        let bound = sources.iter().find_map(|source| {
            let socket = open().ok()?;
            // One that is no address of ours, or of another family, is passed over.
            socket.bind(*source).ok().map(|()| socket)
        });
        let mut opened = Err(io::Error::from(io::ErrorKind::AddrNotAvailable));
        if let Some(socket) = bound {
            opened = socket.connect(address).await;
        }
        // The address of ours that is wished for may not lead there.
        if opened.is_err() {
            opened = match open() {
                Ok(socket) => socket.connect(address).await,
                Err(error) => Err(error),
            };
        }
        match opened {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Names are looked up on a thread of their own, since that may take long.
async fn addresses(target: &Target) -> io::Result<Vec<SocketAddr>> {
    let Target { host, port } = target.clone();
    if let Ok(ip) = host.parse() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let look_up = move || Ok((host.as_str(), port).to_socket_addrs()?.collect());
    tokio::task::spawn_blocking(look_up).await.map_err(io::Error::other)?
}
