//! What a client has sent and we have not run: its query buffer and the large word under way.
//!
//! Invariant: the query buffer, behind what is done with, begins with the first byte of a command, or of the next one; the
//! content of a large word never enters it. What a client only announced is not allocated: chunks
//! grow as bytes arrive.

use bytes::Bytes;

use crate::command::args::BigArg;
use crate::resp::request::Partial;
use crate::types::string::{BigString, CHUNK_BYTES};

/// `\r\n` behind a word.
const LINE_END_BYTES: usize = 2;

/// Memory for a large word of which nothing has come yet.
const FIRST_ROOM_BYTES: usize = 4 * 1024;

/// A large word under way.
#[derive(Debug)]
struct BigWord {
    missing: usize,
    received: usize,
    chunks: Vec<Bytes>,
    tail: Vec<u8>,
}

impl BigWord {
    fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK_BYTES - self.tail.len()));
            if self.tail.capacity() - self.tail.len() < now.len() {
                // What has come vouches for as much again; the end is known, and fits.
                let room = self.missing.min(CHUNK_BYTES - self.tail.len());
                self.tail.reserve_exact(room.min(now.len().max(self.received)));
            }
            self.tail.extend_from_slice(now);
            self.missing -= now.len();
            self.received += now.len();
            self.seal_full_chunk();
            bytes = later;
        }
    }

    fn seal_full_chunk(&mut self) {
        if self.tail.len() == CHUNK_BYTES || self.missing == 0 {
            self.chunks.push(Bytes::from(std::mem::take(&mut self.tail)));
        }
    }
}

/// The input of one client.
#[derive(Debug, Default)]
pub struct Input {
    /// Bytes that are not parsed, or belong to a command that is not complete; but for the first
    /// `parsed` ones.
    pub query: Vec<u8>,
    /// Bytes at the beginning of `query` that are done with. Less than all of them, or 0.
    pub parsed: usize,
    /// What the parser knows of the command that `query` begins with.
    pub partial: Partial,
    big: Option<Box<BigWord>>,
    finished: Vec<BigArg>,
    skip: usize,
}

impl Input {
    /// True if a command may be parsed straight from the receive buffer.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.query.is_empty() && self.big.is_none() && self.skip == 0 && self.partial.is_fresh()
    }

    /// Takes received bytes in.
    pub fn receive(&mut self, mut bytes: &[u8]) {
        if let Some(big) = &mut self.big {
            let (content, rest) = bytes.split_at(bytes.len().min(big.missing));
            big.feed(content);
            self.finish_big_word();
            bytes = rest;
        }
        let skipped = bytes.len().min(self.skip);
        self.skip -= skipped;
        self.query.extend_from_slice(&bytes[skipped..]);
    }

    /// A word of `len` bytes, whose first bytes are `content`, is to be received beside the query
    /// buffer.
    pub fn begin_big_word(&mut self, len: usize, content: &[u8]) {
        let (content, rest) = content.split_at(content.len().min(len));
        let mut big = BigWord { missing: len, received: 0, chunks: Vec::new(), tail: Vec::new() };
        big.feed(content);
        self.big = Some(Box::new(big));
        self.finish_big_word();
        self.skip -= rest.len().min(self.skip);
        assert!(rest.len() <= LINE_END_BYTES, "a word with its line end is no big word");
    }

    fn finish_big_word(&mut self) {
        if self.big.as_ref().is_some_and(|big| big.missing == 0)
            && let Some(big) = self.big.take()
        {
            let index = self.partial.words();
            self.finished.push(BigArg { index, value: assemble(big.chunks) });
            self.partial.big_word_received();
            self.skip = LINE_END_BYTES;
        }
    }

    /// True if the command cannot go on before more bytes have come.
    pub fn is_inside_big_word(&self) -> bool {
        self.big.is_some() || self.skip > 0
    }

    /// Memory for the next bytes of the large word, and how many of them may be received into it.
    /// None without a word under way.
    pub fn big_word_buffer(&mut self) -> Option<(Vec<u8>, usize)> {
        let big = self.big.as_mut()?;
        // Memory follows what has come, so that an announcement alone costs next to nothing.
        let trusted = big.received.max(FIRST_ROOM_BYTES);
        let room = big.missing.min(CHUNK_BYTES - big.tail.len()).min(trusted);
        let mut buffer = std::mem::take(&mut big.tail);
        buffer.reserve_exact(room);
        Some((buffer, room))
    }

    /// The memory from `big_word_buffer` comes back with what was received.
    pub fn big_word_received(&mut self, buffer: Vec<u8>, received: usize) {
        if let Some(big) = &mut self.big {
            big.tail = buffer;
            big.missing -= received;
            big.received += received;
            big.seal_full_chunk();
            self.finish_big_word();
        }
    }

    /// The large words of the command that is complete now.
    pub fn take_finished(&mut self) -> Vec<BigArg> {
        std::mem::take(&mut self.finished)
    }

    /// Bytes held.
    pub fn held_bytes(&self) -> usize {
        let big =
            self.big.as_ref().map_or(0, |big| big.chunks.len() * CHUNK_BYTES + big.tail.len());
        let finished: u64 = self.finished.iter().map(|word| word.value.len()).sum();
        self.query.capacity() + big + finished as usize
    }

    /// Bytes that stock servers would have in their query buffer: the words before a large one are no
    /// longer in it.
    pub fn query_bytes(&self) -> usize {
        self.waiting_bytes().max(self.big_word_bytes())
    }

    /// Bytes of the large word under way, or of the last one whose command is not complete, with as
    /// much of its line end as has come.
    fn big_word_bytes(&self) -> usize {
        match (&self.big, self.finished.last()) {
            (Some(big), _) => big.received,
            (None, Some(word)) => word.value.len() as usize + LINE_END_BYTES - self.skip,
            (None, None) => 0,
        }
    }

    /// Bytes that the client has sent and that wait here.
    pub fn waiting_bytes(&self) -> usize {
        self.query.len() - self.parsed
    }
}

fn assemble(chunks: Vec<Bytes>) -> BigString {
    let mut value = BigString::new();
    for chunk in chunks {
        value.append_chunk(chunk);
    }
    value
}
