//! One encrypted connection: records in, plain bytes out, and the other way round.
//!
//! Invariant: a record is sealed only when nothing sealed before it can be overtaken, since records
//! carry their place in their key; so `outgoing` leaves in front of whatever is sealed next. What is
//! incomplete of a record waits in `incoming`, which is bounded by the length of one record.

use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncryptError, UnbufferedStatus};
use rustls::{ClientConfig, CommonState, ServerConfig};

/// Room for what a record adds to 16 KiB of content, and for an alert or key update in front.
const OVERHEAD_BYTES: usize = 64;
/// The longest content of one record.
const RECORD_BYTES: usize = 16 * 1024;
/// The longest record with everything around its content, twice: handshake messages span records.
const INCOMING_BYTES_MAX: usize = 64 * 1024 + 2 * (RECORD_BYTES + 2048);

/// The peer broke the rules, or is not to be trusted.
#[derive(Debug)]
pub struct Broken(rustls::Error);

impl std::fmt::Display for Broken {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(out)
    }
}

enum Side {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// An encrypted connection.
pub struct Session {
    side: Side,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    /// The peer has said that nothing more will come.
    is_closed_by_peer: bool,
    /// We have.
    has_said_goodbye: bool,
    /// The peer broke the rules: nothing is sealed any more.
    is_broken: bool,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Keys are secrets.
        out.debug_struct("Session").finish_non_exhaustive()
    }
}

/// What was left to do with a piece of input.
enum Next {
    /// More of it.
    Again,
    /// Nothing.
    Wait,
    /// Nothing ever.
    Closed,
}

impl Session {
    /// The server's side of a connection that begins.
    pub fn accept(config: &Arc<ServerConfig>) -> Result<Session, Broken> {
        let side = UnbufferedServerConnection::new(config.clone()).map_err(Broken)?;
        Ok(Session::new(Side::Server(side)))
    }

    /// The client's side of a connection to `host` that begins: what it sends first is in
    /// [`take_outgoing`](Session::take_outgoing).
    pub fn connect(config: &Arc<ClientConfig>, host: &str) -> Result<Session, Broken> {
        let invalid = |_| Broken(rustls::Error::General(format!("invalid host name {host}")));
        let name = ServerName::try_from(host.to_owned()).map_err(invalid)?;
        let side = UnbufferedClientConnection::new(config.clone(), name).map_err(Broken)?;
        let mut session = Session::new(Side::Client(side));
        session.open(&[], &mut Vec::new(), &mut |_| {})?;
        Ok(session)
    }

    fn new(side: Side) -> Session {
        Session {
            side,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            is_closed_by_peer: false,
            has_said_goodbye: false,
            is_broken: false,
        }
    }

    fn state(&self) -> &CommonState {
        match &self.side {
            Side::Server(side) => side,
            Side::Client(side) => side,
        }
    }

    /// True until both sides may send.
    pub fn is_handshaking(&self) -> bool {
        self.state().is_handshaking()
    }

    /// True if the peer has said that nothing more will come.
    pub fn is_closed_by_peer(&self) -> bool {
        self.is_closed_by_peer
    }

    /// The peer's own certificate, DER, if it has shown one.
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        Some(self.state().peer_certificates()?.first()?)
    }

    /// Bytes held, about.
    pub fn held_bytes(&self) -> usize {
        size_of::<Session>() + self.incoming.capacity() + self.outgoing.capacity()
    }

    /// Takes in what was received; `take` gets the plain bytes. `scratch` is any buffer, whose memory
    /// is used instead of the session's own where nothing is left of a record.
    pub fn open(
        &mut self,
        bytes: &[u8],
        scratch: &mut Vec<u8>,
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Broken> {
        if self.is_broken || self.is_closed_by_peer {
            // Nobody looks at what comes behind the end.
            return Ok(());
        }
        let mut buffer = std::mem::take(&mut self.incoming);
        let is_own = !buffer.is_empty();
        if !is_own {
            buffer = std::mem::take(scratch);
            buffer.clear();
        }
        buffer.extend_from_slice(bytes);
        let (outcome, used) = self.open_all(&mut buffer, take);
        if is_own {
            buffer.drain(..used);
            self.incoming = buffer;
        } else {
            self.incoming.extend_from_slice(&buffer[used..]);
            *scratch = buffer;
        }
        if self.incoming.is_empty() {
            self.incoming = Vec::new();
        }
        if self.incoming.len() > INCOMING_BYTES_MAX {
            self.is_broken = true;
            return Err(Broken(rustls::Error::General("message too long".into())));
        }
        outcome
    }

    /// Handles every whole record of `buffer`; how much of it is done with.
    fn open_all(
        &mut self,
        buffer: &mut [u8],
        take: &mut dyn FnMut(&[u8]),
    ) -> (Result<(), Broken>, usize) {
        let mut used = 0;
        loop {
            let input = &mut buffer[used..];
            let goodbye = &mut self.is_closed_by_peer;
            let (step, discard) = match &mut self.side {
                Side::Server(side) => {
                    advance(side.process_tls_records(input), &mut self.outgoing, goodbye, take)
                }
                Side::Client(side) => {
                    advance(side.process_tls_records(input), &mut self.outgoing, goodbye, take)
                }
            };
            used += discard;
            match step {
                Ok(Next::Again) => {}
                Ok(Next::Wait) if !self.is_closed_by_peer => return (Ok(()), used),
                Ok(Next::Wait | Next::Closed) => return (Ok(()), buffer.len()),
                Err(error) => {
                    self.is_broken = true;
                    self.tell_peer();
                    return (Err(Broken(error)), buffer.len());
                }
            }
        }
    }

    /// Behind an error: the alert that says so, if there is one.
    fn tell_peer(&mut self) {
        let mut closed = false;
        let _ = match &mut self.side {
            Side::Server(side) => advance(
                side.process_tls_records(&mut []),
                &mut self.outgoing,
                &mut closed,
                &mut |_| {},
            ),
            Side::Client(side) => advance(
                side.process_tls_records(&mut []),
                &mut self.outgoing,
                &mut closed,
                &mut |_| {},
            ),
        };
    }

    /// True if records of the protocol itself wait to be sent.
    pub fn has_outgoing(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// The records of the protocol itself that wait to be sent.
    pub fn take_outgoing(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.outgoing)
    }

    /// Appends `plain` to `sealed` as records, behind those of the protocol itself. None if nothing
    /// can be sent any more.
    pub fn seal(&mut self, plain: &[u8], sealed: &mut Vec<u8>) -> Option<()> {
        sealed.append(&mut self.outgoing);
        if plain.is_empty() {
            return Some(());
        }
        let start = sealed.len();
        let mut room = plain.len() + (plain.len() / RECORD_BYTES + 1) * OVERHEAD_BYTES;
        loop {
            sealed.resize(start + room, 0);
            let place = &mut sealed[start..];
            let outcome = self.with_writer(|writer| writer.encrypt(plain, place))?;
            match outcome {
                Ok(written) => {
                    sealed.truncate(start + written);
                    return Some(());
                }
                Err(EncryptError::InsufficientSize(needed)) => room = needed.required_size,
                Err(EncryptError::EncryptExhausted) => return None,
            }
        }
    }

    /// Tells the peer, once, that nothing more will come.
    pub fn say_goodbye(&mut self) {
        if std::mem::replace(&mut self.has_said_goodbye, true) {
            return;
        }
        let mut record = [0; OVERHEAD_BYTES];
        let place = &mut record[..];
        if let Some(Ok(written)) = self.with_writer(|writer| writer.queue_close_notify(place)) {
            self.outgoing.extend_from_slice(&record[..written]);
        }
    }

    /// Lets `write` write; None if this connection does not send now.
    fn with_writer<T>(&mut self, write: impl FnOnce(&mut dyn Writer) -> T) -> Option<T> {
        if self.is_broken {
            return None;
        }
        match &mut self.side {
            Side::Server(side) => writer_of(side.process_tls_records(&mut []), write),
            Side::Client(side) => writer_of(side.process_tls_records(&mut []), write),
        }
    }
}

/// What both sides of a connection can write.
trait Writer {
    fn encrypt(&mut self, plain: &[u8], place: &mut [u8]) -> Result<usize, EncryptError>;
    fn queue_close_notify(&mut self, place: &mut [u8]) -> Result<usize, EncryptError>;
}

impl<Data> Writer for rustls::unbuffered::WriteTraffic<'_, Data> {
    fn encrypt(&mut self, plain: &[u8], place: &mut [u8]) -> Result<usize, EncryptError> {
        self.encrypt(plain, place)
    }

    fn queue_close_notify(&mut self, place: &mut [u8]) -> Result<usize, EncryptError> {
        self.queue_close_notify(place)
    }
}

/// All records of the protocol were taken when they came up, so a side that may write says so at once.
fn writer_of<Data, T>(
    status: UnbufferedStatus<'_, '_, Data>,
    write: impl FnOnce(&mut dyn Writer) -> T,
) -> Option<T> {
    match status.state {
        Ok(ConnectionState::WriteTraffic(mut writer)) => Some(write(&mut writer)),
        _ => None,
    }
}

/// Does what one state of the connection asks for; what comes next, and how much of the input is done
/// with.
fn advance<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    outgoing: &mut Vec<u8>,
    is_closed_by_peer: &mut bool,
    take: &mut dyn FnMut(&[u8]),
) -> (Result<Next, rustls::Error>, usize) {
    let mut discard = status.discard;
    let state = match status.state {
        Ok(state) => state,
        Err(error) => return (Err(error), discard),
    };
    let next = match state {
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                match record {
                    Ok(record) => {
                        discard += record.discard;
                        take(record.payload);
                    }
                    Err(error) => return (Err(error), discard),
                }
            }
            Next::Again
        }
        ConnectionState::EncodeTlsData(mut data) => {
            let start = outgoing.len();
            let mut room = RECORD_BYTES + OVERHEAD_BYTES;
            loop {
                outgoing.resize(start + room, 0);
                match data.encode(&mut outgoing[start..]) {
                    Ok(written) => {
                        outgoing.truncate(start + written);
                        break;
                    }
                    Err(rustls::unbuffered::EncodeError::InsufficientSize(needed)) => {
                        room = needed.required_size;
                    }
                    Err(error) => {
                        outgoing.truncate(start);
                        return (Err(rustls::Error::General(error.to_string())), discard);
                    }
                }
            }
            Next::Again
        }
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            Next::Again
        }
        ConnectionState::PeerClosed => {
            *is_closed_by_peer = true;
            Next::Again
        }
        ConnectionState::Closed => {
            *is_closed_by_peer = true;
            Next::Closed
        }
        // Replies are never early: that data could be replayed, and is not offered.
        ConnectionState::ReadEarlyData(_)
        | ConnectionState::BlockedHandshake
        | ConnectionState::WriteTraffic(_) => Next::Wait,
        // The enum may grow: nothing that this server asks for leads to another state.
        other => return (Err(rustls::Error::General(format!("unexpected {other:?}"))), discard),
    };
    (Ok(next), discard)
}
