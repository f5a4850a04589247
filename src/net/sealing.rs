//! The encrypted side of a connection: its keys, and what is sealed and under way.
//!
//! Invariant: output waits in plain and is sealed when it is sent, so that records leave in the order
//! in which they were sealed; a piece that was sealed goes out to its end before anything else does.

use bytes::Bytes;

use super::connection::Connection;
use super::output::Output;
use crate::tls::{Broken, Session};

/// What an encrypted connection has beside others.
#[derive(Debug)]
pub struct Sealing {
    /// Its keys.
    pub session: Session,
    /// The piece under way as it waited in the output.
    under_way: Bytes,
}

impl Sealing {
    /// That of a connection whose handshake is done.
    pub fn new(session: Session) -> Sealing {
        Sealing { session, under_way: Bytes::new() }
    }
}

impl Connection {
    /// Takes in what was received on an encrypted connection; see [`Session::open`].
    pub fn open(&mut self, received: &[u8], scratch: &mut Vec<u8>) -> Result<(), Broken> {
        let Connection { sealing, input, .. } = self;
        match sealing {
            Some(sealing) => {
                sealing.session.open(received, scratch, &mut |plain| input.receive(plain))
            }
            None => unreachable!("only records of encrypted connections are opened"),
        }
    }

    /// The next piece to send, if none is under way; an encrypted connection that closes says so
    /// behind its last one.
    pub fn begin_send(&mut self) -> Option<Bytes> {
        let Connection { sealing, output, closing, .. } = self;
        let Some(sealing) = sealing else { return output.begin_send() };
        if output.is_sending() {
            return None;
        }
        let plain = output.begin_send().unwrap_or_default();
        if plain.is_empty() {
            if *closing && output.is_empty() {
                sealing.session.say_goodbye();
            }
            if !sealing.session.has_outgoing() {
                return None;
            }
            output.begin_other(0);
        }
        let mut sealed = Vec::new();
        if sealing.session.seal(&plain, &mut sealed).is_none() {
            // Nothing can be sealed any more: what waits is lost.
            *closing = true;
            *output = Output::default();
            if sealed.is_empty() {
                return None;
            }
            output.begin_other(0);
            sealing.under_way = Bytes::new();
            return Some(Bytes::from(sealed));
        }
        sealing.under_way = plain;
        Some(Bytes::from(sealed))
    }

    /// The rest of sealed replies that did not go out with their turn: it is under way from now on.
    pub fn begin_rest(&mut self, rest: Bytes) {
        self.output.begin_other(rest.len());
        if let Some(sealing) = &mut self.sealing {
            sealing.under_way = rest.clone();
        }
        self.sending = rest;
    }

    /// The send under way has ended with `sent` bytes; what is left of a sealed piece, to be sent at
    /// once.
    pub fn end_send(&mut self, sent: usize) -> Option<Bytes> {
        let piece = std::mem::take(&mut self.sending);
        let Some(sealing) = &mut self.sealing else {
            self.output.sent(&piece, sent);
            return None;
        };
        if sent < piece.len() {
            self.sending = piece.slice(sent..);
            return Some(self.sending.clone());
        }
        let plain = std::mem::take(&mut sealing.under_way);
        self.output.sent(&plain, plain.len());
        None
    }
}
