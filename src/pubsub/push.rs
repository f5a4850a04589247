//! What is pushed to clients: messages of pub/sub, with what else reaches clients unasked.
//!
//! Invariant: a push says what is written, and to whom by name; it is made where it was caused, and
//! never changes. What a client gets of a message is written once, whoever gets it: RESP2 and RESP3
//! differ in the first byte alone.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::{Kind, Name};
use crate::base::core_set::CoreSet;

/// A payload of this size is shared by all who get it, instead of being copied.
const SHARED_BYTES_MIN: usize = 16 * 1024;

/// What one turn pushes, but for its last push.
const TURN_BYTES_MAX: u64 = 32 << 20;

/// Something for clients, on its way to their homes.
#[derive(Clone, Debug)]
pub enum Push {
    /// A message to whoever listens.
    Message(Arc<Publication>),
    /// A line for whoever watches all commands, its end included.
    Monitor(Arc<[u8]>),
    /// Lines were lost: whoever watches all commands is told nothing more.
    LinesLost,
}

impl Push {
    /// Memory that it takes until it has been delivered, about.
    pub fn bytes(&self) -> u64 {
        let text = match self {
            Push::Message(publication) => publication.bytes(),
            Push::Monitor(line) => line.len(),
            Push::LinesLost => 0,
        };
        (size_of::<Push>() + text) as u64
    }
}

/// What a turn of a core has caused, in its order, with the cores that it is for.
#[derive(Debug, Default)]
pub struct Pushes {
    list: Vec<(CoreSet, Push)>,
    /// Of all in the list.
    bytes: u64,
}

impl Pushes {
    /// True without any.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Adds one for the clients of these cores.
    pub fn add(&mut self, to: CoreSet, push: Push) {
        self.bytes += push.bytes();
        self.list.push((to, push));
    }

    /// Adds a message, if somebody gets it; how many do.
    #[inline]
    pub fn publish(&mut self, published: Option<(u64, CoreSet, Publication)>) -> u64 {
        let Some((count, to, publication)) = published else { return 0 };
        self.add(to, Push::Message(Arc::new(publication)));
        count
    }

    /// True if the turn has pushed so much that the rest has to wait for the next one.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.bytes > TURN_BYTES_MAX
    }

    /// Memory of all of them, about.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes all of them.
    pub fn drain(&mut self) -> impl Iterator<Item = (CoreSet, Push)> {
        self.bytes = 0;
        self.list.drain(..)
    }
}

/// A message, as it is written to those who hear it.
#[derive(Debug)]
pub struct Publication {
    /// Channel or Shard.
    pub kind: Kind,
    /// There are clients that listen to the channel itself.
    pub to_channel: bool,
    /// The patterns that match it.
    pub patterns: Vec<Name>,
    /// The version of the directory that its receivers were counted by.
    pub version: u64,
    /// `*3 $7 message $4 name $5 hello`, in RESP; without the payload if that is shared.
    text: Box<[u8]>,
    /// Where the name of the channel stands.
    name: Range<usize>,
    /// From where on the text is the same for patterns: the length of the name.
    tail: usize,
    /// A large payload.
    shared: Option<Bytes>,
}

impl Publication {
    /// A message to a channel, and to patterns that match it.
    pub fn new(
        kind: Kind,
        (channel, to_channel): (&[u8], bool),
        patterns: Vec<Name>,
        payload: &[u8],
        version: u64,
    ) -> Publication {
        let head: &[u8] = match kind {
            Kind::Shard => b"*3\r\n$8\r\nsmessage\r\n",
            Kind::Channel | Kind::Pattern => b"*3\r\n$7\r\nmessage\r\n",
        };
        let is_shared = payload.len() >= SHARED_BYTES_MIN;
        let inline = if is_shared { 0 } else { payload.len() };
        let mut text = Vec::with_capacity(head.len() + channel.len() + inline + HEADERS_BYTES);
        text.extend_from_slice(head);
        bulk_header(&mut text, channel.len());
        let name = text.len()..text.len() + channel.len();
        text.extend_from_slice(channel);
        text.extend_from_slice(b"\r\n");
        bulk_header(&mut text, payload.len());
        let shared = is_shared.then(|| Bytes::copy_from_slice(payload));
        if !is_shared {
            text.extend_from_slice(payload);
            text.extend_from_slice(b"\r\n");
        }
        let text = text.into_boxed_slice();
        Publication { kind, to_channel, patterns, version, text, name, tail: head.len(), shared }
    }

    /// Memory of its texts.
    fn bytes(&self) -> usize {
        let patterns: usize = self.patterns.iter().map(|_| size_of::<Name>()).sum();
        let shared = self.shared.as_ref().map_or(0, Bytes::len);
        size_of::<Publication>() + self.text.len() + patterns + shared
    }

    /// The channel.
    pub fn channel(&self) -> &[u8] {
        &self.text[self.name.clone()]
    }

    /// What those get who listen to the channel: text in RESP2, and a payload with its line end to
    /// follow, if it is shared.
    #[inline]
    pub fn message(&self) -> (&[u8], Option<&Bytes>) {
        (&self.text, self.shared.as_ref())
    }

    /// What those get who listen to a pattern, to be written behind `pattern_head`.
    #[inline]
    pub fn tail(&self) -> (&[u8], Option<&Bytes>) {
        (&self.text[self.tail..], self.shared.as_ref())
    }
}

/// Room for the lengths of a name and a payload, and their line ends.
const HEADERS_BYTES: usize = 48;

/// The beginning of what those get who listen to a pattern, in RESP2.
pub fn pattern_head(pattern: &[u8]) -> Vec<u8> {
    let mut head = b"*4\r\n$8\r\npmessage\r\n".to_vec();
    bulk_header(&mut head, pattern.len());
    head.extend_from_slice(pattern);
    head.extend_from_slice(b"\r\n");
    head
}

fn bulk_header(out: &mut Vec<u8>, len: usize) {
    let mut digits = itoa::Buffer::new();
    out.push(b'$');
    out.extend_from_slice(digits.format(len).as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_written_once_for_channels_and_patterns() {
        let payload = b"hello";
        let one = Publication::new(Kind::Channel, (b"news", true), Vec::new(), payload, 1);
        assert_eq!(one.channel(), b"news");
        assert_eq!(one.message().0, b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n");
        let behind = [&pattern_head(b"n*")[..], one.tail().0].concat();
        let whole = b"*4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n$4\r\nnews\r\n$5\r\nhello\r\n";
        assert_eq!(behind, whole);
    }

    #[test]
    fn a_large_payload_is_shared() {
        let payload = vec![b'x'; SHARED_BYTES_MIN];
        let one = Publication::new(Kind::Shard, (b"s", true), Vec::new(), &payload, 1);
        let (text, shared) = one.message();
        assert_eq!(text, b"*3\r\n$8\r\nsmessage\r\n$1\r\ns\r\n$16384\r\n");
        assert_eq!(shared.expect("a shared payload"), &payload);
    }
}
