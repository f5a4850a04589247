//! The link of a replica to its primary: bytes and time in, bytes and decisions out.
//!
//! Invariant: whatever comes in, the machine needs no more memory than one line; what it does not
//! expect is a fault, and a fault ends the link. The driver sends what it is told to, in order.
//! Source: Redis 8.0.6 and Valkey 9.1, replication handshake, PSYNC of version 2.
//!
//! ```text
//! PING            -> +PONG
//! AUTH, REPLCONF  -> a line for each; only AUTH has to succeed
//! PSYNC           -> +CONTINUE [id] .......................... stream
//!                 -> +FULLRESYNC id offset, $length or $EOF:mark, snapshot, stream
//!                 -> +RDBCHANNELSYNC client .................. stream
//! ```
//!
//! In the last case the snapshot comes over a connection of its own, the channel:
//!
//! ```text
//! AUTH, REPLCONF  -> a line for each, which has to be good
//! PSYNC ? -1      -> +FULLRESYNC id offset, $length or $EOF:mark, snapshot
//! ```

use super::identity::{ReplicationId, psync_offset};
use crate::base::number::parse_u64;

/// What a replica says of itself.
#[derive(Clone, Debug, Default)]
pub struct Introduction {
    /// The user to log in as; empty for the default one.
    pub user: Vec<u8>,
    /// The password; empty without a login.
    pub password: Vec<u8>,
    /// The port that it announces.
    pub port: u16,
    /// The address that it announces; empty if the socket's will do.
    pub address: Vec<u8>,
    /// Its version.
    pub version: &'static str,
    /// It takes a snapshot over a connection of its own.
    pub offers_channel: bool,
}

impl Introduction {
    /// The request that logs in; empty without a password.
    fn login(&self) -> Vec<u8> {
        match (&self.user[..], &self.password[..]) {
            (_, b"") => Vec::new(),
            (b"", password) => request(&[b"AUTH", password]),
            (user, password) => request(&[b"AUTH", user, password]),
        }
    }
}

/// Where the replica's data stands in some history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The history.
    pub id: ReplicationId,
    /// Bytes of it that have taken effect.
    pub offset: u64,
}

/// What has come to light.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// To be sent.
    Send(Vec<u8>),
    /// The two sides know each other: PSYNC is to be sent.
    Introduced,
    /// The primary goes on where the replica stands, under this name if one is given.
    Continues(Option<ReplicationId>),
    /// The primary sends a snapshot of this position.
    Begins(Position),
    /// It sends one to who opens a channel and names this client; all the rest belongs to the
    /// stream behind it.
    Channel(u64),
    /// So many bytes of a snapshot follow; None if it ends with a mark.
    Snapshot(Option<u64>),
    /// The bytes that were used belong to the snapshot.
    Part,
    /// These bytes of it came before, and were thought to be the mark.
    Kept(Vec<u8>),
    /// The snapshot is complete.
    Complete,
    /// All the rest belongs to the stream.
    Stream,
    /// The primary does not know something that is not needed; for the log.
    Ignored(String),
}

/// Why a link ends, in the words of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault(pub String);

/// What the next line answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Ping,
    Auth,
    /// REPLCONF with this word.
    Replconf(&'static str),
    /// REPLCONF that opens a channel.
    Channel,
    Psync,
    /// The line before a snapshot.
    Length,
}

#[derive(Clone, Debug)]
enum State {
    Line(Asked),
    /// So many bytes of the snapshot are left.
    Counted(u64),
    /// The snapshot ends with this mark, of which so many bytes may have come.
    Marked(Box<[u8; MARK_BYTES]>, Vec<u8>),
    Streaming,
}

/// The machine.
#[derive(Debug)]
pub struct Link {
    introduction: Introduction,
    position: Option<Position>,
    /// What is still to be answered behind the present line, in order.
    asked: Vec<Asked>,
    is_introduced: bool,
    state: State,
    line: Vec<u8>,
}

impl Link {
    /// A link over a socket that is open, and what is sent first.
    pub fn new(introduction: Introduction) -> (Link, Vec<u8>) {
        let link = Link {
            introduction,
            position: None,
            asked: Vec::new(),
            is_introduced: false,
            state: State::Line(Asked::Ping),
            line: Vec::new(),
        };
        (link, request(&[b"PING"]))
    }

    /// A channel over a socket that is open, for the link that the primary knows as this client, and
    /// what is sent first.
    pub fn channel(introduction: Introduction, client: u64) -> (Link, Vec<u8>) {
        let (client, port) = (client.to_string(), introduction.port.to_string());
        let (mut requests, mut asked) = (introduction.login(), vec![Asked::Psync, Asked::Channel]);
        if !requests.is_empty() {
            asked.push(Asked::Auth);
        }
        requests.extend(request(&[
            b"REPLCONF",
            b"capa",
            b"eof",
            b"rdb-only",
            b"1",
            b"rdb-channel",
            b"1",
            b"main-ch-client-id",
            client.as_bytes(),
            b"listening-port",
            port.as_bytes(),
        ]));
        let introduction = Introduction { offers_channel: false, ..introduction };
        let (mut link, _) = Link::new(introduction);
        link.asked = asked;
        link.next();
        (link, requests)
    }

    /// What asks the server to be the primary, and to go on where our data stands.
    pub fn psync_failover(&mut self, position: Position) -> Vec<u8> {
        self.position = Some(position);
        let (id, wanted) = (position.id.to_string(), psync_offset(position.offset).to_string());
        request(&[b"PSYNC", id.as_bytes(), wanted.as_bytes(), b"FAILOVER"])
    }

    /// What PSYNC asks for, of a replica whose data stands there, or nowhere.
    pub fn psync(&mut self, position: Option<Position>) -> Vec<u8> {
        self.position = position;
        match position {
            None => request(&[b"PSYNC", b"?", b"-1"]),
            Some(Position { id, offset }) => {
                let wanted = psync_offset(offset).to_string();
                request(&[b"PSYNC", id.to_string().as_bytes(), wanted.as_bytes()])
            }
        }
    }

    /// Reads on in `bytes`: how many were used, and what was found with them. To be called until
    /// nothing is used or found.
    pub fn step(&mut self, bytes: &[u8]) -> Result<(usize, Option<Event>), Fault> {
        match &mut self.state {
            State::Streaming => Ok((0, Some(Event::Stream))),
            State::Counted(left) => {
                let part = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                if part == 0 && *left > 0 {
                    return Ok((0, None));
                }
                *left -= part as u64;
                if part == 0 {
                    self.state = State::Streaming;
                    return Ok((0, Some(Event::Complete)));
                }
                Ok((part, Some(Event::Part)))
            }
            State::Marked(mark, held) => {
                let (used, event) = marked(mark, held, bytes);
                if event == Some(Event::Complete) {
                    self.state = State::Streaming;
                }
                Ok((used, event))
            }
            State::Line(Asked::Psync) if !self.is_introduced => {
                self.is_introduced = true;
                Ok((0, Some(Event::Introduced)))
            }
            State::Line(asked) => {
                let asked = *asked;
                let room = LINE_BYTES_MAX - self.line.len();
                let part = &bytes[..bytes.len().min(room)];
                let Some(end) = memchr::memchr(b'\n', part) else {
                    if bytes.len() >= room {
                        return Err(Fault("The primary sends a line without an end".into()));
                    }
                    self.line.extend_from_slice(part);
                    return Ok((part.len(), None));
                };
                self.line.extend_from_slice(&part[..end]);
                let line = std::mem::take(&mut self.line);
                let line = line.strip_suffix(b"\r").unwrap_or(&line);
                // An empty one keeps the link alive while the primary has nothing to say.
                let event = if line.is_empty() { None } else { self.take_line(asked, line)? };
                Ok((end + 1, event))
            }
        }
    }

    fn take_line(&mut self, asked: Asked, line: &[u8]) -> Result<Option<Event>, Fault> {
        let text = || String::from_utf8_lossy(line).into_owned();
        let is_error = line.starts_with(b"-");
        match asked {
            Asked::Ping => {
                // A server that wants a password first is there, too.
                let codes: [&[u8]; 3] = [b"-NOAUTH", b"-NOPERM", b"-ERR operation not permitted"];
                if is_error && !codes.iter().any(|code| line.starts_with(code)) {
                    return Err(Fault(format!("Error reply to PING from master: '{}'", text())));
                }
                if !is_error && !line.starts_with(b"+") {
                    return Err(unexpected("PING", line));
                }
                Ok(Some(Event::Send(self.introduce())))
            }
            Asked::Auth if is_error => Err(Fault(format!("Unable to AUTH to MASTER: {}", text()))),
            Asked::Channel if is_error => {
                Err(Fault(format!("Master replied error to replconf: {}", text())))
            }
            Asked::Auth | Asked::Channel => {
                self.next();
                Ok(None)
            }
            Asked::Replconf(word) => {
                self.next();
                Ok(is_error.then(|| {
                    Event::Ignored(format!(
                        "(Non critical) Master does not understand REPLCONF {word}: {}",
                        text()
                    ))
                }))
            }
            Asked::Psync => self.take_answer(line).map(Some),
            Asked::Length => self.take_length(line).map(Some),
        }
    }

    /// The requests behind PING, all at once.
    fn introduce(&mut self) -> Vec<u8> {
        let Introduction { port, address, version, offers_channel, .. } = &self.introduction;
        let (mut requests, mut asked) = (self.introduction.login(), Vec::new());
        if !requests.is_empty() {
            asked.push(Asked::Auth);
        }
        let port = port.to_string();
        let mut says: Vec<(&'static str, Vec<&[u8]>)> =
            vec![("listening-port", vec![port.as_bytes()])];
        if !address.is_empty() {
            says.push(("ip-address", vec![address]));
        }
        let mut can: Vec<&[u8]> = vec![b"eof", b"capa", b"psync2"];
        if *offers_channel {
            can.extend([b"capa".as_slice(), b"rdb-channel-repl"]);
        }
        says.push(("capa", can));
        says.push(("version", vec![version.as_bytes()]));
        for (word, values) in says {
            let mut words: Vec<&[u8]> = vec![b"REPLCONF", word.as_bytes()];
            words.extend(values);
            requests.extend(request(&words));
            asked.push(Asked::Replconf(word));
        }
        asked.push(Asked::Psync);
        asked.reverse();
        self.asked = asked;
        self.next();
        requests
    }

    fn next(&mut self) {
        let asked = self.asked.pop().unwrap_or(Asked::Psync);
        self.state = State::Line(asked);
    }

    fn take_answer(&mut self, line: &[u8]) -> Result<Event, Fault> {
        let text = String::from_utf8_lossy(line);
        let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
        match words.next().unwrap_or_default() {
            b"+FULLRESYNC" => {
                let id = words.next().and_then(ReplicationId::parse);
                let offset = words.next().and_then(parse_u64);
                let (Some(id), Some(offset)) = (id, offset) else {
                    return Err(Fault(format!(
                        "Master replied with wrong +FULLRESYNC syntax: {text}"
                    )));
                };
                self.state = State::Line(Asked::Length);
                Ok(Event::Begins(Position { id, offset }))
            }
            b"+CONTINUE" if self.position.is_some() => {
                let id = match words.next() {
                    None => None,
                    Some(word) => Some(ReplicationId::parse(word).ok_or_else(|| {
                        Fault(format!("Master replied with wrong +CONTINUE syntax: {text}"))
                    })?),
                };
                self.state = State::Streaming;
                Ok(Event::Continues(id))
            }
            b"+RDBCHANNELSYNC" if self.introduction.offers_channel => {
                let client = words.next().and_then(parse_u64).ok_or_else(|| {
                    Fault(format!("Master replied with wrong +RDBCHANNELSYNC syntax: {text}"))
                })?;
                self.state = State::Streaming;
                Ok(Event::Channel(client))
            }
            b"-NOMASTERLINK" | b"-LOADING" => Err(Fault(format!(
                "Master is currently unable to PSYNC but should be in the future: {text}"
            ))),
            _ if line.starts_with(b"-") => Err(Fault(format!(
                "Master does not support PSYNC or is in error state (reply: {text})"
            ))),
            _ => Err(unexpected("PSYNC", line)),
        }
    }

    fn take_length(&mut self, line: &[u8]) -> Result<Event, Fault> {
        let text = || String::from_utf8_lossy(line);
        if line.starts_with(b"-") {
            return Err(Fault(format!(
                "MASTER aborted replication with an error: {}",
                String::from_utf8_lossy(&line[1..])
            )));
        }
        if let Some(mark) = line.strip_prefix(b"$EOF:") {
            let mark = mark.try_into().map_err(|_| bad_protocol(&text()))?;
            self.state = State::Marked(Box::new(mark), Vec::new());
            return Ok(Event::Snapshot(None));
        }
        let length = line.strip_prefix(b"$").and_then(parse_u64);
        let length = length.ok_or_else(|| bad_protocol(&text()))?;
        self.state = State::Counted(length);
        Ok(Event::Snapshot(Some(length)))
    }
}

/// Reads on in a snapshot that ends with a mark; `held` are the last bytes, if they may belong to it.
fn marked(mark: &[u8; MARK_BYTES], held: &mut Vec<u8>, bytes: &[u8]) -> (usize, Option<Event>) {
    if !held.is_empty() {
        let missing = MARK_BYTES - held.len();
        let part = &bytes[..bytes.len().min(missing)];
        let matches = mark[held.len()..].starts_with(part);
        if matches && part.len() == missing {
            held.clear();
            return (part.len(), Some(Event::Complete));
        }
        if matches {
            held.extend_from_slice(part);
            return (part.len(), None);
        }
        // It was none; another one may begin inside of what was held.
        let mut all = std::mem::take(held);
        all.extend_from_slice(part);
        let kept = (1..=all.len()).find(|at| mark.starts_with(&all[*at..])).unwrap_or(all.len());
        *held = all.split_off(kept);
        return (part.len(), Some(Event::Kept(all)));
    }
    if bytes.is_empty() {
        return (0, None);
    }
    if let Some(at) = memchr::memmem::find(bytes, mark) {
        return match at {
            0 => (MARK_BYTES, Some(Event::Complete)),
            at => (at, Some(Event::Part)),
        };
    }
    let from = bytes.len().saturating_sub(MARK_BYTES - 1);
    let tail = (from..bytes.len()).find(|at| mark.starts_with(&bytes[*at..]));
    let end = tail.unwrap_or(bytes.len());
    if end == 0 {
        held.extend_from_slice(bytes);
        return (bytes.len(), None);
    }
    (end, Some(Event::Part))
}

/// A request in the form of clients.
pub fn request(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// What tells the primary how far the replica is, and if it has one, its append-only file.
pub fn acknowledgement(applied: u64, synced: Option<u64>) -> Vec<u8> {
    let applied = applied.to_string();
    let mut words: Vec<&[u8]> = vec![b"REPLCONF", b"ACK", applied.as_bytes()];
    let synced = synced.map(|synced| synced.to_string());
    words.extend(synced.iter().flat_map(|synced| [b"FACK", synced.as_bytes()]));
    request(&words)
}

fn unexpected(request: &str, line: &[u8]) -> Fault {
    let shown = String::from_utf8_lossy(&line[..line.len().min(SHOWN_BYTES)]);
    Fault(format!("Unexpected reply to {request} from master: {shown}"))
}

fn bad_protocol(line: &str) -> Fault {
    Fault(format!(
        "Bad protocol from MASTER, the first byte is not '$' (we received '{line}'), are you sure the host and port are right?"
    ))
}

/// A line of the handshake is not longer: an id, an offset, or an error of some words.
const LINE_BYTES_MAX: usize = 1024;
/// Bytes of a line that the log shows.
const SHOWN_BYTES: usize = 128;
/// Bytes of the mark behind a snapshot of unknown length.
const MARK_BYTES: usize = 40;

#[cfg(test)]
mod tests;
