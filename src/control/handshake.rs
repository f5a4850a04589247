//! Handshakes of encrypted connections, on a thread of their own, below the cores' priority.
//!
//! Invariant: a core only hands a socket over and gets it back with its keys. So many connections as
//! one likes may say nothing; of those that have begun to speak so many at once are served, each for
//! a bounded time. Whoever fails is closed here, and its place among the clients is free again.
//! Source: log lines of Redis 8.0.

use std::io;
use std::net::TcpStream as StdStream;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::base::{alloc, sys};
use crate::observe::log;
use crate::observe::server::ServerFacts;
use crate::tls::{Context, Newcomer, Secured, Session, certificate};

/// Handshakes that have begun, at once: each holds keys and buffers of about 20 KiB.
const BEGUN_MAX: usize = 1024;
/// From the connection to the end of its handshake; as long as a slow line needs.
const TIME_MAX: Duration = Duration::from_secs(10);
/// What is received at once.
const RECEIVED_BYTES_MAX: usize = 8 * 1024;
/// The type of the record that a handshake begins with: RFC 8446, section 5.1.
const HANDSHAKE: u8 = 22;
/// Below that of the cores, which share the processors with this thread.
const NICENESS: i32 = 10;

/// The door to one core: where those who are through go in, and how it hears of them.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) secured: Sender<Box<Secured>>,
    pub(super) event_fd: i32,
}

/// What encrypted connections need; the thread that does their handshakes starts with the first.
pub(super) struct Security {
    pub(super) context: Option<Arc<Context>>,
    handshakes: Option<Handshakes>,
    doors: Vec<Door>,
    server: Arc<ServerFacts>,
}

impl Security {
    pub(super) fn new(doors: Vec<Door>, server: Arc<ServerFacts>) -> Security {
        Security { context: None, handshakes: None, doors, server }
    }

    /// Does the handshake of a connection.
    pub(super) fn begin(&mut self, newcomer: Newcomer) {
        if self.handshakes.is_none() {
            match Handshakes::start(self.doors.clone(), self.server.clone()) {
                Ok(started) => self.handshakes = Some(started),
                // Descriptors may have run out: the next one may have more luck.
                Err(error) => log::warning(format!(
                    "Error accepting a client connection: {}",
                    sys::reason(&error)
                )),
            }
        }
        match (&self.handshakes, &self.context) {
            (Some(handshakes), Some(context)) => handshakes.begin(context.clone(), newcomer),
            // Dropped, it is closed; its place among the clients is free again.
            _ => {
                self.server.clients[newcomer.core].add(-1);
            }
        }
    }
}

/// The way to the thread.
pub(super) struct Handshakes {
    newcomers: UnboundedSender<(Arc<Context>, Newcomer)>,
}

impl Handshakes {
    /// Starts the thread; it ends when this is dropped.
    pub(super) fn start(doors: Vec<Door>, server: Arc<ServerFacts>) -> io::Result<Handshakes> {
        let (newcomers, receiver) = unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name("handshakes".into()).spawn(move || {
            alloc::register_thread();
            sys::lower_priority(NICENESS);
            runtime.block_on(serve(receiver, doors, server));
        })?;
        Ok(Handshakes { newcomers })
    }

    /// Does the handshake of a connection.
    pub(super) fn begin(&self, context: Arc<Context>, newcomer: Newcomer) {
        let _ = self.newcomers.send((context, newcomer));
    }
}

async fn serve(
    mut newcomers: UnboundedReceiver<(Arc<Context>, Newcomer)>,
    doors: Vec<Door>,
    server: Arc<ServerFacts>,
) {
    let doors: Arc<[Door]> = doors.into();
    let begun = Arc::new(Semaphore::new(BEGUN_MAX));
    while let Some((context, newcomer)) = newcomers.recv().await {
        let (doors, server, begun) = (doors.clone(), server.clone(), begun.clone());
        tokio::spawn(async move {
            let Newcomer { socket, addr, laddr, refusal, core } = newcomer;
            let shaken = async {
                let stream = StdStream::from(socket);
                shake(TcpStream::from_std(stream)?, &context, &begun).await
            };
            match tokio::time::timeout(TIME_MAX, shaken).await {
                Ok(Ok((stream, session, early))) => {
                    let users = session.peer_certificate().map_or(Vec::new(), |certificate| {
                        certificate::users_of(certificate, context.users_from)
                    });
                    let socket = stream.into();
                    let newcomer = Newcomer { socket, addr, laddr, refusal, core };
                    let secured = Box::new(Secured { newcomer, session, early, users });
                    let _ = doors[core].secured.send(secured);
                    sys::write_event(doors[core].event_fd);
                }
                failed => {
                    server.clients[core].add(-1);
                    let reason = match failed {
                        Ok(Err(error)) => error.to_string(),
                        _ => "the handshake took too long".to_owned(),
                    };
                    log::warning(format!(
                        "Error accepting a client connection: {reason} (addr={addr} laddr={laddr})"
                    ));
                }
            }
        });
    }
}

/// Does a handshake; the socket, with its keys and what has come behind.
async fn shake(
    stream: TcpStream,
    context: &Context,
    begun: &Semaphore,
) -> io::Result<(StdStream, Session, Vec<u8>)> {
    // Nothing is held for those who have not said a word; whoever speaks plainly is not answered in records.
    let mut first = [0; 1];
    if stream.peek(&mut first).await? == 1 && first[0] != HANDSHAKE {
        return Err(io::Error::other("not a handshake"));
    }
    let _permit = begun.acquire().await.map_err(io::Error::other)?;
    let mut session = Session::accept(&context.server).map_err(|error| broken(&error))?;
    let mut early = Vec::new();
    go_through(&stream, &mut session, &mut early).await?;
    Ok((stream.into_std()?, session, early))
}

/// Connects the client's side of `session` over a socket.
pub(super) async fn connect(stream: &TcpStream, session: &mut Session) -> io::Result<()> {
    send(stream, &session.take_outgoing()).await?;
    go_through(stream, session, &mut Vec::new()).await
}

/// Goes on with a handshake to its end; `early` gets what has come behind it, in plain.
async fn go_through(
    stream: &TcpStream,
    session: &mut Session,
    early: &mut Vec<u8>,
) -> io::Result<()> {
    let (mut received, mut scratch) = (vec![0; RECEIVED_BYTES_MAX], Vec::new());
    while session.is_handshaking() {
        stream.readable().await?;
        let count = match stream.try_read(&mut received) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        let mut take = |plain: &[u8]| early.extend_from_slice(plain);
        let outcome = session.open(&received[..count], &mut scratch, &mut take);
        let sent = send(stream, &session.take_outgoing()).await;
        outcome.map_err(|error| broken(&error))?;
        sent?;
        // Others have waited meanwhile: signing takes its time.
        tokio::task::yield_now().await;
    }
    Ok(())
}

pub(super) fn broken(error: &crate::tls::Broken) -> io::Error {
    io::Error::other(error.to_string())
}

pub(super) async fn send(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
