//! One link: its socket, driven by the machine of `replication::link`.
//!
//! Invariant: no more is read while the cores have enough to do, or while a snapshot is loaded; then
//! the primary is told that somebody is still there. (With a channel more is read meanwhile, and kept:
//! see there.)

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, Notify};
use tokio::time::timeout;

use super::snapshot::Receiving;
use super::{PAUSE, Replica, unix_seconds};
use crate::base::sys;
use crate::config::Config;
use crate::config::value::Endpoint;
use crate::control::handshake;
use crate::control::migrate::connect;
use crate::observe::link::LinkState;
use crate::observe::log;
use crate::observe::replication::FailoverState;
use crate::persist::migration::Target;
use crate::replication::chunk::{FromPrimary, Reader};
use crate::replication::identity::ReplicationId;
use crate::replication::link::{Event, Fault, Introduction, Link, Position, acknowledgement};
use crate::tls;

/// What is read at once.
pub(super) const READ_BYTES: usize = 256 << 10;
/// Bytes of the stream that wait for the cores, at most.
const QUEUED_BYTES_MAX: u64 = 4 << 20;
/// How often the primary hears of the replica. Source: Redis' replicationCron.
const ACK_PERIOD: Duration = Duration::from_secs(1);
/// How often a primary that says nothing is looked at. Source: the same.
const LOOK_PERIOD: Duration = Duration::from_secs(1);
/// The version that the replica names. Source: what Valkey's primaries ask for.
const VERSION: &str = "9.1.2";

/// Encrypts a link; the certificates are read anew for each.
async fn secure(stream: &TcpStream, config: &Config, host: &str) -> Result<tls::Session, String> {
    let context = tls::Context::load(config);
    let context = context.map_err(|_| "the certificates cannot be used".to_owned())?;
    let rules = context.client.ok_or("no authority says whom to trust")?;
    let mut session = tls::Session::connect(&rules, host).map_err(|error| error.to_string())?;
    let done = handshake::connect(stream, &mut session).await;
    done.map(|()| session).map_err(|error| error.to_string())
}

/// What the primary is told from time to time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    Nothing,
    /// That the replica is busy.
    Newlines,
    /// How far it is.
    Offsets,
}

/// See above.
pub(super) struct Session {
    pub(super) replica: Rc<Replica>,
    /// Where it leads.
    pub(super) primary: Endpoint,
    stream: TcpStream,
    /// With `tls-replication`.
    sealing: Option<RefCell<tls::Session>>,
    /// Held by whoever writes: a message, or a record, goes out to its end.
    writing: Mutex<()>,
    pub(super) term: u64,
    says: Cell<Says>,
    is_closed: Cell<bool>,
    /// That this has become true is told to one who waits for it.
    closed: Notify,
}

impl Session {
    /// Opens the socket of a link.
    pub(super) async fn open(
        replica: Rc<Replica>,
        primary: &Endpoint,
        term: u64,
    ) -> Result<Session, String> {
        let config = replica.config();
        let limit = Duration::from_secs(config.repl_timeout.into());
        let host = String::from_utf8_lossy(&primary.host).into_owned();
        let target = Target { host, port: primary.port };
        let stream =
            match timeout(limit, connect(&target, &config.bind_source_addr, config.repl_mptcp))
                .await
            {
                Err(_) => return Err("Timeout connecting to the MASTER...".into()),
                Ok(Err(error)) => {
                    return Err(format!(
                        "Error condition on socket for SYNC: {}",
                        sys::reason(&error)
                    ));
                }
                Ok(Ok(stream)) => stream,
            };
        // Small messages, each of which somebody waits for.
        let _ = stream.set_nodelay(true);
        let mut sealing = None;
        if config.tls_replication {
            let secured = timeout(limit, secure(&stream, &config, &target.host)).await;
            let secured = secured.unwrap_or_else(|_| Err("it took too long".to_owned()));
            let refused = |reason| format!("Error condition on socket for SYNC: {reason}");
            sealing = Some(RefCell::new(secured.map_err(refused)?));
        }
        Ok(Session {
            replica,
            primary: primary.clone(),
            stream,
            sealing,
            writing: Mutex::new(()),
            term,
            says: Cell::new(Says::Nothing),
            is_closed: Cell::new(false),
            closed: Notify::new(),
        })
    }

    /// Ends it.
    pub(super) fn close(&self) {
        if !self.is_closed.replace(true) {
            // What still waits for the socket comes to its end.
            let _ = SockRef::from(&self.stream).shutdown(Shutdown::Both);
            self.closed.notify_one();
        }
    }

    /// True if it was ended.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.get()
    }

    /// Waits until it is ended.
    pub(super) async fn wait_for_close(&self) {
        if !self.is_closed() {
            self.closed.notified().await;
        }
    }

    /// Follows the primary until the link ends, and why it did.
    pub(super) async fn run(self: &Rc<Self>) -> Fault {
        log::notice("Non blocking connect for SYNC fired the event.");
        tokio::task::spawn_local(self.clone().speak());
        match self.listen().await {
            Err(fault) => fault,
            Ok(()) => lost(),
        }
    }

    /// Tells the primary from time to time that somebody is there.
    async fn speak(self: Rc<Self>) {
        while !self.is_closed.get() {
            let asked = timeout(ACK_PERIOD, self.replica.asked.notified()).await.is_ok();
            let said = match self.says.get() {
                Says::Nothing => continue,
                Says::Newlines if asked => continue,
                Says::Newlines => b"\n".to_vec(),
                Says::Offsets => self.acknowledgement(),
            };
            if self.send(said).await.is_err() {
                return self.close();
            }
        }
    }

    pub(super) fn acknowledgement(&self) -> Vec<u8> {
        let link = self.replica.link();
        let synced = u64::try_from(link.synced.load(SeqCst)).ok();
        acknowledgement(link.applied.load(SeqCst), synced)
    }

    pub(super) async fn send(&self, bytes: Vec<u8>) -> Result<(), Fault> {
        let limit = Duration::from_secs(self.replica.config().repl_timeout.into());
        let sent = timeout(limit, self.write(&bytes)).await;
        let sent = sent.map_or(Err(None), |result| result.map_err(Some));
        sent.map_err(|error| {
            let reason = error.map_or("timed out".to_owned(), |error| sys::reason(&error));
            Fault(format!("Sending command to master in replication handshake: {reason}"))
        })
    }

    /// Waits for bytes, and reads what fits into the spare room of `buffer`. 0 at the end.
    pub(super) async fn read(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let Some(sealing) = &self.sealing else { return self.receive(buffer).await };
        let (mut sealed, before) = (Vec::with_capacity(buffer.capacity()), buffer.len());
        loop {
            let is_end = self.receive(&mut sealed).await? == 0;
            let mut session = sealing.borrow_mut();
            let mut take = |plain: &[u8]| buffer.extend_from_slice(plain);
            let opened = session.open(&sealed, &mut Vec::new(), &mut take);
            opened.map_err(|error| handshake::broken(&error))?;
            if buffer.len() > before || is_end || session.is_closed_by_peer() {
                return Ok(buffer.len() - before);
            }
            sealed.clear();
        }
    }

    async fn receive(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        loop {
            self.stream.readable().await?;
            match self.stream.try_read_buf(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
        }
    }

    async fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let _held = self.writing.lock().await;
        let Some(sealing) = &self.sealing else {
            return handshake::send(&self.stream, bytes).await;
        };
        let mut sealed = Vec::new();
        let done = sealing.borrow_mut().seal(bytes, &mut sealed);
        done.ok_or(io::ErrorKind::ConnectionAborted)?;
        handshake::send(&self.stream, &sealed).await
    }

    pub(super) fn introduction(&self) -> Introduction {
        let config = self.replica.config();
        let announced = config.replica_announce_port;
        let has_secure = config.tls_replication && config.tls_port != 0;
        let own = if has_secure { config.tls_port } else { config.port };
        Introduction {
            user: config.masteruser.clone(),
            password: config.masterauth.clone(),
            port: if announced == 0 { own } else { announced },
            address: config.replica_announce_ip.clone(),
            version: VERSION,
            offers_channel: config.repl_rdb_channel,
        }
    }

    async fn listen(self: &Rc<Self>) -> Result<(), Fault> {
        let (mut link, first) = Link::new(self.introduction());
        self.replica.link().set_state(LinkState::Handshake);
        self.send(first).await?;
        let mut step = Step {
            link: &mut link,
            position: None,
            snapshot: None,
            reader: None,
            hands_over: false,
        };
        let outcome = self.read_on(&mut step).await;
        self.replica.loader.order(FromPrimary::Detached);
        if step.hands_over {
            self.replica.loader.order(FromPrimary::Verdict { term: self.term, accepts: false });
        }
        outcome
    }

    async fn read_on(self: &Rc<Self>, step: &mut Step<'_>) -> Result<(), Fault> {
        let mut buffer = Vec::with_capacity(READ_BYTES);
        while self.hear(&mut buffer, || step.late()).await? > 0 {
            self.take(step, &buffer).await?;
            buffer.clear();
        }
        Ok(())
    }

    /// Waits for bytes as `read` does, but not for ever: the log says this when nothing has come for
    /// too long.
    pub(super) async fn hear(
        &self,
        buffer: &mut Vec<u8>,
        late: impl Fn() -> &'static str,
    ) -> Result<usize, Fault> {
        let heard = Instant::now();
        let received = loop {
            if let Ok(received) = timeout(LOOK_PERIOD, self.read(buffer)).await {
                break received;
            }
            // As it is by now: it may be another one than when the wait began.
            let limit = Duration::from_secs(self.replica.config().repl_timeout.into());
            if heard.elapsed() >= limit {
                return Err(Fault(late().into()));
            }
        };
        let count = received
            .map_err(|error| Fault(format!("Reading from master: {}", sys::reason(&error))))?;
        if count > 0 {
            self.replica.link().heard(unix_seconds(), count);
        }
        Ok(count)
    }

    /// Takes what has come.
    async fn take(self: &Rc<Self>, step: &mut Step<'_>, mut bytes: &[u8]) -> Result<(), Fault> {
        loop {
            if let Some(reader) = &mut step.reader {
                return self.take_stream(reader, bytes).await;
            }
            let (used, event) = step.link.step(bytes)?;
            let part = &bytes[..used];
            bytes = &bytes[used..];
            match event {
                None if used == 0 => return Ok(()),
                None => {}
                Some(Event::Send(request)) => {
                    log::notice("Master replied to PING, replication can continue...");
                    self.send(request).await?;
                }
                Some(Event::Ignored(text)) => log::write(log::Level::Verbose, || text.clone()),
                Some(Event::Introduced) => self.ask(step).await?,
                Some(Event::Continues(id)) => {
                    self.is_accepted(step);
                    self.go_on(step, id);
                }
                Some(Event::Channel(client)) => {
                    self.is_accepted(step);
                    return self.follow_beside_channel(step, client, bytes).await;
                }
                Some(Event::Begins(position)) => {
                    self.is_accepted(step);
                    self.replica.link().set_state(LinkState::Sync);
                    let Position { id, offset } = position;
                    log::notice(format!("Full resync from master: {id}:{offset}"));
                    step.position = Some(position);
                }
                Some(Event::Snapshot(length)) => {
                    let receiving = Receiving::begin(&self.replica, step.position, length);
                    step.snapshot = Some(receiving.await?);
                }
                Some(Event::Part) => self.keep(step, part).await?,
                Some(Event::Kept(part)) => self.keep(step, &part).await?,
                Some(Event::Complete) => self.load(step).await?,
                Some(Event::Stream) => {
                    return Err(Fault("The primary sends a stream of nothing".into()));
                }
            }
        }
    }

    /// Asks the primary to go on where our data stands.
    async fn ask(&self, step: &mut Step<'_>) -> Result<(), Fault> {
        let id = self.replica.loader.server.replication.history().id;
        let position = Position { id, offset: self.replica.link().applied.load(SeqCst) };
        log::notice(format!(
            "Trying a partial resynchronization (request {id}:{}).",
            position.offset + 1
        ));
        step.position = Some(position);
        let replication = &self.replica.loader.server.replication;
        step.hands_over = replication.failover() == FailoverState::InProgress;
        let request = if step.hands_over {
            step.link.psync_failover(position)
        } else {
            step.link.psync(step.position)
        };
        self.send(request).await
    }

    /// The server that was asked to take our place has done so.
    fn is_accepted(&self, step: &mut Step<'_>) {
        if std::mem::take(&mut step.hands_over) {
            self.replica.loader.order(FromPrimary::Verdict { term: self.term, accepts: true });
        }
    }

    /// The primary goes on where our data stands.
    fn go_on(&self, step: &mut Step<'_>, id: Option<ReplicationId>) {
        let Some(position) = step.position else { return };
        log::notice("Successful partial resynchronization with master.");
        let id = id.unwrap_or(position.id);
        if id != position.id {
            log::notice(format!("Master replication ID changed to {id}"));
        }
        let (term, offset) = (self.term, position.offset);
        self.replica.loader.order(FromPrimary::GoOn { term, position: Position { id, offset } });
        self.follow_from(step, position.offset);
        log::notice("MASTER <-> REPLICA sync: Master accepted a Partial Resynchronization.");
    }

    fn follow_from(&self, step: &mut Step<'_>, offset: u64) {
        let link = self.replica.link();
        let databases = self.replica.config().databases;
        step.reader = Some(Reader::new(self.term, offset, link.db.load(SeqCst), databases));
        link.read.store(offset, Relaxed);
        let shown = |address: io::Result<SocketAddr>| {
            address.map_or_else(|_| String::new(), |address| address.to_string())
        };
        self.replica.loader.order(FromPrimary::Attached {
            addr: shown(self.stream.peer_addr()),
            laddr: shown(self.stream.local_addr()),
            fd: self.stream.as_raw_fd(),
        });
        link.set_state(LinkState::Connected);
        self.replica.loader.wake();
        self.says.set(Says::Offsets);
    }

    async fn keep(&self, step: &mut Step<'_>, part: &[u8]) -> Result<(), Fault> {
        let Some(snapshot) = &mut step.snapshot else { return Ok(()) };
        snapshot.write(part).await
    }

    /// A snapshot is complete: it takes the place of the data, if it is good.
    async fn load(self: &Rc<Self>, step: &mut Step<'_>) -> Result<(), Fault> {
        self.place(step).await?;
        self.send(self.acknowledgement()).await
    }

    /// Puts a complete snapshot in place, and follows from there on.
    pub(super) async fn place(self: &Rc<Self>, step: &mut Step<'_>) -> Result<(), Fault> {
        let (Some(snapshot), Some(position)) = (step.snapshot.take(), step.position) else {
            return Ok(());
        };
        self.says.set(Says::Newlines);
        snapshot.take_place(self, position).await?;
        self.follow_from(step, position.offset);
        log::notice("MASTER <-> REPLICA sync: Finished with success");
        Ok(())
    }

    pub(super) async fn take_stream(&self, reader: &mut Reader, bytes: &[u8]) -> Result<(), Fault> {
        let (loader, link) = (&self.replica.loader, self.replica.link());
        let fed = reader.feed(bytes, &mut loader.router.borrow_mut());
        link.read.store(reader.read(), Relaxed);
        if let Some(name) = reader.take_unknown() {
            log::warning(format!(
                "== CRITICAL == This replica is sending an error to its master: 'ERR unknown command '{name}'' after processing the command '<unknown>'"
            ));
        }
        // What came before a fault is good.
        while let Some(chunk) = reader.take() {
            link.queued.fetch_add(chunk.bytes.len() as u64, SeqCst);
            self.replica.loader.order(FromPrimary::Chunk(Box::new(chunk)));
        }
        while link.queued.load(SeqCst) > QUEUED_BYTES_MAX && !self.is_closed.get() {
            tokio::time::sleep(PAUSE).await;
        }
        fed
    }
}

/// How far a link is.
pub(super) struct Step<'a> {
    link: &'a mut Link,
    /// Where our data stands, or will when the snapshot has been loaded.
    pub(super) position: Option<Position>,
    pub(super) snapshot: Option<Receiving>,
    pub(super) reader: Option<Reader>,
    /// The primary was asked to take our place, and has not answered.
    hands_over: bool,
}

impl Step<'_> {
    /// What the log says when nothing has come for too long.
    fn late(&self) -> &'static str {
        if self.reader.is_some() {
            "MASTER timeout: no data nor PING received..."
        } else {
            late(self.snapshot.is_some())
        }
    }
}

/// The same before there is a stream, for a snapshot that comes, or is still to come.
pub(super) fn late(has_snapshot: bool) -> &'static str {
    if has_snapshot {
        "Timeout receiving bulk data from MASTER... If the problem persists try to set the 'repl-timeout' parameter in redis.conf to a larger value."
    } else {
        "Timeout connecting to the MASTER..."
    }
}

/// What the log says when a primary has closed its connection.
pub(super) fn lost() -> Fault {
    Fault("Connection with master lost.".into())
}
