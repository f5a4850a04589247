//! A raw RESP client: bytes out, and exactly one complete reply in at a time, as bytes.
//!
//! Invariant: a byte that was received is handed out once, in order; nothing is decoded.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::reply;

/// One connection.
pub(crate) struct Client {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Client {
    /// Connects to a server on this machine.
    pub(crate) fn connect(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REPLY_DEADLINE))?;
        Ok(Self { stream, received: Vec::new() })
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends one command as an array of bulk strings.
    pub(crate) fn send_command<A: AsRef<[u8]>>(&mut self, argv: &[A]) -> io::Result<()> {
        self.send(&encode(argv))
    }

    /// Sends one command and reads one reply.
    pub(crate) fn call<A: AsRef<[u8]>>(&mut self, argv: &[A]) -> io::Result<Vec<u8>> {
        self.send_command(argv)?;
        self.read_reply()
    }

    /// The next complete reply or push, framing included; an attribute comes together with the
    /// reply that it precedes. `UnexpectedEof` when the server closed the connection, `TimedOut`
    /// when no reply came in time, `InvalidData` when what came is not RESP.
    pub(crate) fn read_reply(&mut self) -> io::Result<Vec<u8>> {
        loop {
            let complete = reply::complete_length(&self.received)
                .map_err(|e| io::Error::new(ErrorKind::InvalidData, e))?;
            if let Some(length) = complete {
                let rest = self.received.split_off(length);
                return Ok(std::mem::replace(&mut self.received, rest));
            }
            let mut chunk = vec![0; READ_BYTES];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.received.extend_from_slice(&chunk[..count]),
                // The machine may have been stopped for a while.
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    return Err(ErrorKind::TimedOut.into());
                }
                Err(e) if e.kind() == ErrorKind::ConnectionReset => {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// Every complete reply or push that has arrived, without waiting for more. `UnexpectedEof` when
    /// the server closed the connection and everything was handed out.
    pub(crate) fn arrived(&mut self) -> io::Result<Vec<Vec<u8>>> {
        self.stream.set_nonblocking(true)?;
        let mut chunk = vec![0; READ_BYTES];
        let end = loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => break Some(ErrorKind::UnexpectedEof),
                Ok(count) => self.received.extend_from_slice(&chunk[..count]),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break None,
                Err(_) => break Some(ErrorKind::UnexpectedEof),
            }
        };
        self.stream.set_nonblocking(false)?;
        let mut replies = Vec::new();
        while let Some(length) = reply::complete_length(&self.received)
            .map_err(|e| io::Error::new(ErrorKind::InvalidData, e))?
        {
            let rest = self.received.split_off(length);
            replies.push(std::mem::replace(&mut self.received, rest));
        }
        match end {
            Some(kind) if replies.is_empty() => Err(kind.into()),
            _ => Ok(replies),
        }
    }

    /// Says QUIT and waits until the server has closed the connection, so that it no longer counts
    /// as a client.
    pub(crate) fn quit(&mut self) {
        if self.send_command(&["QUIT"]).is_ok() {
            while self.read_reply().is_ok() {}
        }
    }

    /// What has been received and not yet been read as a reply.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.received
    }
}

/// Sends the words of a line as a command; the reply as text, without the end of its last line.
/// Panics when there is none.
pub(crate) fn call(client: &mut Client, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let reply = client.call(&words).unwrap_or_else(|error| panic!("{line}: {error}"));
    String::from_utf8_lossy(&reply).trim_end().to_owned()
}

/// A command as an array of bulk strings.
pub(crate) fn encode<A: AsRef<[u8]>>(argv: &[A]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", argv.len()).into_bytes();
    for arg in argv {
        let arg = arg.as_ref();
        bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        bytes.extend_from_slice(arg);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

const READ_BYTES: usize = 64 * 1024;
/// No reply of a test takes longer unless the server hangs.
const REPLY_DEADLINE: Duration = Duration::from_secs(10);
