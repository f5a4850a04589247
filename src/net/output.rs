//! What waits to be sent to a client that could not take it at once.
//!
//! Invariant: at most one owned send is under way; what is behind it keeps its order. A piece that
//! waits for the journal is not sent before it may be, nor is what is behind it.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::base::gate::Gate;
use crate::resp::frames::Frame;
use crate::resp::reply::ReplyBuffer;

/// A client with more output than this is not executed for: its reader has to catch up.
pub const STALL_BYTES: usize = 256 * 1024;
/// Small pieces are joined up to this size before they are sent.
const JOIN_BYTES: usize = 64 * 1024;

/// The output queue of one client.
#[derive(Debug, Default)]
pub struct Output {
    queue: VecDeque<Bytes>,
    queued_bytes: usize,
    sending: bool,
    /// Pieces at the front of the queue that may be sent.
    ready: usize,
    /// What those behind them wait for, and how many do.
    gates: VecDeque<(Gate, usize)>,
}

impl Output {
    /// True if nothing waits and nothing is under way: replies may go out with the turn.
    #[inline]
    pub fn is_idle(&self) -> bool {
        !self.sending && self.queue.is_empty()
    }

    /// Bytes that have not left.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Pieces that wait.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// True without any piece.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// A send is under way.
    pub fn is_sending(&self) -> bool {
        self.sending
    }

    /// Appends a piece.
    pub fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.queued_bytes += bytes.len();
            self.queue.push_back(bytes);
            match self.gates.back_mut() {
                None => self.ready += 1,
                Some((_, pieces)) => *pieces += 1,
            }
        }
    }

    /// What is appended from now on waits for `gate`, too.
    pub fn wait_for(&mut self, gate: Gate) {
        if self.gates.back().map_or(Gate::OPEN, |(last, _)| *last) < gate {
            self.gates.push_back((gate, 0));
        }
    }

    /// The turn has its number; nothing more of it is appended.
    pub fn resolve(&mut self, number: u64) {
        if let Some((gate, pieces)) = self.gates.back_mut() {
            *gate = gate.resolved(number);
            if *pieces == 0 {
                self.gates.pop_back();
            }
        }
    }

    /// What waits for no more than `covered` may be sent.
    pub fn release(&mut self, covered: u64) {
        while let Some((gate, pieces)) = self.gates.front()
            && gate.is_covered(covered)
        {
            self.ready += pieces;
            self.gates.pop_front();
        }
    }

    /// The journal fails: whatever reply waits for it becomes this error. False if that cannot be,
    /// since they do not end where pieces do; then they are gone.
    pub fn refuse_waiting(&mut self, error: &[u8]) -> bool {
        if self.gates.is_empty() {
            return true;
        }
        self.gates.clear();
        let waiting: Vec<Bytes> = self.queue.drain(self.ready..).collect();
        let waiting = waiting.concat();
        self.queued_bytes -= waiting.len();
        let (mut refused, mut rest) = (Vec::new(), waiting.as_slice());
        while let Some(frame) = Frame::first(rest) {
            let (bytes, behind) = rest.split_at(frame.len);
            refused.extend_from_slice(if frame.is_push { bytes } else { error });
            rest = behind;
        }
        self.push(Bytes::from(refused));
        rest.is_empty()
    }

    /// True if all that waits looks like what subscribers of RESP2 and MONITOR are told without asking:
    /// arrays, and lines that begin with a time.
    pub fn waits_unasked(&self) -> bool {
        let waiting: Vec<&[u8]> = self.queue.iter().skip(self.ready).map(AsRef::as_ref).collect();
        let waiting = waiting.concat();
        let mut rest = waiting.as_slice();
        while let Some(frame) = Frame::first(rest) {
            let is_line = rest[0] == b'+' && rest[1].is_ascii_digit();
            if !is_line && rest[0] != b'*' {
                return false;
            }
            rest = &rest[frame.len..];
        }
        rest.is_empty()
    }

    /// True if something waits for the journal.
    pub fn waits(&self) -> bool {
        !self.gates.is_empty()
    }

    /// True if all that waits may be sent, and is no more than `bytes`.
    pub fn is_ready(&self, bytes: usize) -> bool {
        !self.sending && self.gates.is_empty() && self.queued_bytes <= bytes
    }

    /// Takes all that waits, to be sent in another way.
    pub fn take_ready(&mut self, into: &mut Vec<u8>) {
        for piece in self.queue.drain(..self.ready) {
            self.queued_bytes -= piece.len();
            into.extend_from_slice(&piece);
        }
        self.ready = 0;
    }

    /// Puts back the rest of what was sent in part.
    pub fn push_front(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.queued_bytes += bytes.len();
            self.queue.push_front(bytes);
            self.ready += 1;
        }
    }

    /// Appends what `replies` holds from plain byte `start` on, with the values spliced in.
    pub fn push_replies(&mut self, replies: &ReplyBuffer, start: usize) {
        let mut from = start;
        for (position, value) in &replies.spliced {
            if *position >= start {
                self.push_copy(&replies.bytes[from..*position]);
                self.push(value.clone());
                from = *position;
            }
        }
        self.push_copy(&replies.bytes[from..]);
    }

    fn push_copy(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.push(Bytes::copy_from_slice(bytes));
        }
    }

    /// The next piece to send, if none is under way; small ones are joined.
    pub fn begin_send(&mut self) -> Option<Bytes> {
        if self.sending {
            return None;
        }
        let first = self.pop_ready(usize::MAX)?;
        self.sending = true;
        let Some(second) = self.pop_ready(JOIN_BYTES.saturating_sub(first.len())) else {
            return Some(first);
        };
        let mut joined = [&*first, &*second].concat();
        while let Some(next) = self.pop_ready(JOIN_BYTES.saturating_sub(joined.len())) {
            joined.extend_from_slice(&next);
        }
        Some(Bytes::from(joined))
    }

    /// The next piece, if it may be sent and has at most `bytes` bytes.
    fn pop_ready(&mut self, bytes: usize) -> Option<Bytes> {
        let is_next = self.ready > 0 && self.queue.front().is_some_and(|one| one.len() <= bytes);
        self.ready -= usize::from(is_next);
        if is_next { self.queue.pop_front() } else { None }
    }

    /// Something beside the queue is under way, which has `bytes` bytes; it ends as if it were of it.
    pub fn begin_other(&mut self, bytes: usize) {
        self.sending = true;
        self.queued_bytes += bytes;
    }

    /// The send under way has ended: `sent` bytes of `piece` went out, the rest comes first again.
    pub fn sent(&mut self, piece: &Bytes, sent: usize) {
        self.sending = false;
        self.queued_bytes -= piece.len();
        self.push_front(piece.slice(sent..));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_a_journal_that_fails_becomes_errors() {
        let mut output = Output::default();
        output.push(Bytes::from_static(b"+OK\r\n"));
        output.wait_for(Gate::of(7));
        output.push(Bytes::from_static(b"*2\r\n:1\r\n"));
        output.push(Bytes::from_static(b":2\r\n>1\r\n+push\r\n$1\r\na\r\n"));
        assert!(output.refuse_waiting(b"-NO\r\n"));
        assert!(!output.waits() && output.len() == 2);
        let sent = output.begin_send().expect("all of it may be sent");
        assert_eq!(sent, b"+OK\r\n-NO\r\n>1\r\n+push\r\n-NO\r\n".as_slice());
        output.sent(&sent, sent.len());
        assert_eq!(output.bytes(), 0);
        output.wait_for(Gate::of(8));
        output.push(Bytes::from_static(b"$5\r\na"));
        assert!(!output.refuse_waiting(b"-NO\r\n") && output.is_empty());
    }
}
