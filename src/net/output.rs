//! What waits to be sent to a client that could not take it at once.
//!
//! Invariant: at most one owned send is under way; what is behind it keeps its order.

use std::collections::VecDeque;

use bytes::Bytes;

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
        }
    }

    /// Puts back the rest of what was sent in part.
    pub fn push_front(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.queued_bytes += bytes.len();
            self.queue.push_front(bytes);
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
        let first = self.queue.pop_front()?;
        self.sending = true;
        let joinable = |queue: &VecDeque<Bytes>, len: usize| {
            queue.front().is_some_and(|next| len + next.len() <= JOIN_BYTES)
        };
        if !joinable(&self.queue, first.len()) {
            return Some(first);
        }
        let mut joined = first.to_vec();
        while joinable(&self.queue, joined.len()) {
            if let Some(next) = self.queue.pop_front() {
                joined.extend_from_slice(&next);
            }
        }
        Some(Bytes::from(joined))
    }

    /// The send under way has ended: `sent` bytes of `piece` went out, the rest comes first again.
    pub fn sent(&mut self, piece: &Bytes, sent: usize) {
        self.sending = false;
        self.queued_bytes -= piece.len();
        self.push_front(piece.slice(sent..));
    }
}
