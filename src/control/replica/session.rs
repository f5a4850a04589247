//! One link: its socket, driven by the machine of `replication::link`.
//!
//! Invariant: no more is read while the cores have enough to do, or while a snapshot is loaded; then
//! the primary is told that somebody is still there.

use std::cell::Cell;
use std::net::Shutdown;
use std::rc::Rc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::Duration;

use tokio::time::timeout;
use tokio_uring::net::TcpStream;

use super::snapshot::Receiving;
use super::{PAUSE, Replica, unix_seconds};
use crate::base::sys;
use crate::config::value::Endpoint;
use crate::control::migrate::connect;
use crate::observe::link::LinkState;
use crate::observe::log;
use crate::persist::migration::Target;
use crate::replication::chunk::{FromPrimary, Reader};
use crate::replication::identity::ReplicationId;
use crate::replication::link::{Event, Fault, Introduction, Link, Position, acknowledgement};

/// What is read at once.
const READ_BYTES: usize = 256 << 10;
/// Bytes of the stream that wait for the cores, at most.
const QUEUED_BYTES_MAX: u64 = 4 << 20;
/// How often the primary hears of the replica. Source: Redis' replicationCron.
const ACK_PERIOD: Duration = Duration::from_secs(1);
/// The version that the replica names. Source: what Valkey's primaries ask for.
const VERSION: &str = "9.1.2";

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
    stream: TcpStream,
    pub(super) term: u64,
    says: Cell<Says>,
    is_closed: Cell<bool>,
}

impl Session {
    /// Opens the socket of a link.
    pub(super) async fn open(
        replica: Rc<Replica>,
        primary: &Endpoint,
        term: u64,
    ) -> Result<Session, String> {
        let limit = Duration::from_secs(replica.config().repl_timeout.into());
        let host = String::from_utf8_lossy(&primary.host).into_owned();
        let target = Target { host, port: primary.port };
        let stream = match timeout(limit, connect(&target)).await {
            Err(_) => return Err("Timeout connecting to the MASTER...".into()),
            Ok(Err(error)) => {
                return Err(format!("Error condition on socket for SYNC: {}", sys::reason(&error)));
            }
            Ok(Ok(stream)) => stream,
        };
        // Small messages, each of which somebody waits for.
        let _ = stream.set_nodelay(true);
        log::notice("Non blocking connect for SYNC fired the event.");
        let (says, is_closed) = (Cell::new(Says::Nothing), Cell::new(false));
        Ok(Session { replica, stream, term, says, is_closed })
    }

    /// Ends it.
    pub(super) fn close(&self) {
        if !self.is_closed.replace(true) {
            // What still waits for the socket comes to its end.
            let _ = self.stream.shutdown(Shutdown::Both);
        }
    }

    /// Follows the primary until the link ends, and why it did.
    pub(super) async fn run(self: &Rc<Self>) -> Fault {
        tokio_uring::spawn(self.clone().speak());
        match self.listen().await {
            Err(fault) => fault,
            Ok(()) => Fault("Connection with master lost.".into()),
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

    fn acknowledgement(&self) -> Vec<u8> {
        acknowledgement(self.replica.link().applied.load(SeqCst))
    }

    async fn send(&self, bytes: Vec<u8>) -> Result<(), Fault> {
        let limit = Duration::from_secs(self.replica.config().repl_timeout.into());
        let sent = timeout(limit, self.stream.write_all(bytes)).await;
        let sent = sent.map_or(Err(None), |(result, _)| result.map_err(Some));
        sent.map_err(|error| {
            let reason = error.map_or("timed out".to_owned(), |error| sys::reason(&error));
            Fault(format!("Sending command to master in replication handshake: {reason}"))
        })
    }

    fn introduction(&self) -> Introduction {
        let config = self.replica.config();
        let announced = config.replica_announce_port;
        Introduction {
            user: config.masteruser.clone(),
            password: config.masterauth.clone(),
            port: if announced == 0 { config.port } else { announced },
            address: config.replica_announce_ip.clone(),
            version: VERSION,
        }
    }

    async fn listen(self: &Rc<Self>) -> Result<(), Fault> {
        let (mut link, first) = Link::new(self.introduction());
        self.replica.link().set_state(LinkState::Handshake);
        self.send(first).await?;
        let mut step = Step { link: &mut link, position: None, snapshot: None, reader: None };
        let mut buffer = Vec::with_capacity(READ_BYTES);
        loop {
            let limit = Duration::from_secs(self.replica.config().repl_timeout.into());
            let Ok((result, filled)) = timeout(limit, self.stream.read(buffer)).await else {
                return Err(Fault(step.late().into()));
            };
            let count = result
                .map_err(|error| Fault(format!("Reading from master: {}", sys::reason(&error))))?;
            if count == 0 {
                return Ok(());
            }
            self.replica.link().heard(unix_seconds(), count);
            self.take(&mut step, &filled[..count]).await?;
            buffer = filled;
            buffer.clear();
        }
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
                Some(Event::Continues(id)) => self.go_on(step, id),
                Some(Event::Begins(position)) => {
                    self.replica.link().set_state(LinkState::Sync);
                    let Position { id, offset } = position;
                    log::notice(format!("Full resync from master: {id}:{offset}"));
                    step.position = Some(position);
                }
                Some(Event::Snapshot(length)) => {
                    step.snapshot = Some(Receiving::begin(self.replica.link(), length).await?);
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
        let request = step.link.psync(step.position);
        self.send(request).await
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
        self.replica.order(FromPrimary::GoOn { term, position: Position { id, offset } });
        self.follow_from(step, position.offset);
        log::notice("MASTER <-> REPLICA sync: Master accepted a Partial Resynchronization.");
    }

    fn follow_from(&self, step: &mut Step<'_>, offset: u64) {
        let link = self.replica.link();
        let databases = self.replica.config().databases;
        step.reader = Some(Reader::new(self.term, offset, link.db.load(SeqCst), databases));
        link.read.store(offset, Relaxed);
        link.set_state(LinkState::Connected);
        self.replica.wake();
        self.says.set(Says::Offsets);
    }

    async fn keep(&self, step: &mut Step<'_>, part: &[u8]) -> Result<(), Fault> {
        let Some(snapshot) = &mut step.snapshot else { return Ok(()) };
        self.replica.link().sync_read.fetch_add(part.len() as u64, Relaxed);
        snapshot.write(part).await
    }

    /// A snapshot is complete: it takes the place of the data, if it is good.
    async fn load(self: &Rc<Self>, step: &mut Step<'_>) -> Result<(), Fault> {
        let (Some(snapshot), Some(position)) = (step.snapshot.take(), step.position) else {
            return Ok(());
        };
        self.says.set(Says::Newlines);
        snapshot.take_place(self, position).await?;
        self.follow_from(step, position.offset);
        log::notice("MASTER <-> REPLICA sync: Finished with success");
        self.send(self.acknowledgement()).await
    }

    async fn take_stream(&self, reader: &mut Reader, bytes: &[u8]) -> Result<(), Fault> {
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
            self.replica.order(FromPrimary::Chunk(Box::new(chunk)));
        }
        while link.queued.load(SeqCst) > QUEUED_BYTES_MAX && !self.is_closed.get() {
            tokio::time::sleep(PAUSE).await;
        }
        fed
    }
}

/// How far a link is.
struct Step<'a> {
    link: &'a mut Link,
    /// Where our data stands, or will when the snapshot has been loaded.
    position: Option<Position>,
    snapshot: Option<Receiving>,
    reader: Option<Reader>,
}

impl Step<'_> {
    /// What the log says when nothing has come for too long.
    fn late(&self) -> &'static str {
        if self.reader.is_some() {
            "MASTER timeout: no data nor PING received..."
        } else if self.snapshot.is_some() {
            "Timeout receiving bulk data from MASTER... If the problem persists try to set the 'repl-timeout' parameter in redis.conf to a larger value."
        } else {
            "Timeout connecting to the MASTER..."
        }
    }
}
