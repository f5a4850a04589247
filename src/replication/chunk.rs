//! Cuts the stream of a primary into chunks, each of which takes effect at one instant.
//!
//! Invariant: chunks together are the stream, byte for byte; a chunk ends behind a command and never
//! inside a transaction. Nothing is kept but what is not complete and what the driver has not taken;
//! what would not fit memory's bounds is a fault.
//!
//! ```text
//! SET a 1 | MULTI INCR a INCR b EXEC | SET c 1 | SET d
//! '------------ one chunk ------------------'   '-- waits for its end
//! ```

use std::collections::VecDeque;

use bytes::Bytes;

use super::link::{Fault, Position};
use crate::base::number::parse_u64;
use crate::persist::aof::replay::{Line, Lines, Route, Router};
use crate::persist::aof::scan::{Found, Scanner};
use crate::persist::load::Replacement;

/// A piece of the stream.
#[derive(Debug)]
pub struct Chunk {
    /// Which link it came over.
    pub term: u64,
    /// Its commands.
    pub lines: Lines,
    /// Its bytes.
    pub bytes: Bytes,
    /// The offset behind it.
    pub end: u64,
    /// The database that is selected behind it.
    pub db: usize,
    /// The primary wants to hear how far the replica is.
    pub asks: bool,
}

/// What the control plane has for the cores.
#[derive(Debug)]
pub enum FromPrimary {
    /// A piece of the stream.
    Chunk(Box<Chunk>),
    /// The stream is followed from now on, over this socket.
    Attached {
        /// The primary's address.
        addr: String,
        /// Ours.
        laddr: String,
        /// The descriptor.
        fd: i32,
    },
    /// Or not any more.
    Detached,
    /// All data is to go: that of the primary is about to be loaded.
    Replace(Replacement),
    /// The data of the primary has been loaded, and its history is ours.
    Adopt {
        /// Which link it came over.
        term: u64,
        /// Where it stands.
        position: Position,
        /// The database that is selected there.
        db: usize,
    },
    /// A primary is started with a file that belongs to this history: its replicas can go on there.
    Resume(Position),
    /// The server that is to take the place of this one has agreed, or has not.
    Verdict {
        /// Which link that came over.
        term: u64,
        /// It is the primary now.
        accepts: bool,
    },
    /// The primary goes on with our history, under its present name.
    GoOn {
        /// Which link that came over.
        term: u64,
        /// Where it stands.
        position: Position,
    },
}

/// Reads the stream.
#[derive(Debug)]
pub struct Reader {
    term: u64,
    databases: usize,
    scanner: Scanner,
    line: Line,
    /// A command is being read, or a newline before one was seen.
    is_inside: bool,
    db: usize,
    /// Commands that can be taken.
    open: Lines,
    /// Those of the transaction that is not complete.
    block: Option<Lines>,
    /// Bytes that have not been taken; the first `whole` can be.
    bytes: Vec<u8>,
    whole: usize,
    /// The database behind these, and the offset before them.
    whole_db: usize,
    offset: u64,
    asks: bool,
    ready: VecDeque<Chunk>,
    /// What the log should hear of, once.
    unknown: Option<String>,
}

impl Reader {
    /// A reader of the stream from `offset` on, where this database is selected.
    pub fn new(term: u64, offset: u64, db: usize, databases: usize) -> Reader {
        Reader {
            term,
            databases,
            scanner: Scanner::new(offset),
            line: Line::default(),
            is_inside: false,
            db,
            open: Lines::default(),
            block: None,
            bytes: Vec::new(),
            whole: 0,
            whole_db: db,
            offset,
            asks: false,
            ready: VecDeque::new(),
            unknown: None,
        }
    }

    /// The offset behind all bytes that were fed.
    pub fn read(&self) -> u64 {
        let ready: usize = self.ready.iter().map(|chunk| chunk.bytes.len()).sum();
        self.offset + (self.bytes.len() + ready) as u64
    }

    /// Takes the next bytes.
    pub fn feed(&mut self, mut bytes: &[u8], router: &mut Router) -> Result<(), Fault> {
        while let Some(first) = bytes.first() {
            if !self.is_inside && matches!(first, b'\r' | b'\n') {
                // Empty lines mean nothing, and count.
                self.consume(&bytes[..1]);
                self.end_unit();
                bytes = &bytes[1..];
                continue;
            }
            if !self.is_inside && *first != b'*' {
                return Err(Fault(format!(
                    "The stream of the primary is not made of commands at offset {}",
                    self.read()
                )));
            }
            self.is_inside = true;
            let (used, found) = self
                .scanner
                .step(bytes, &mut self.line)
                .map_err(|fault| Fault(format!("The stream of the primary is broken: {fault}")))?;
            self.consume(&bytes[..used]);
            bytes = &bytes[used..];
            if self.line.is_too_long() {
                return Err(Fault("A command of the primary is too long".into()));
            }
            if let Some(Found::Command(_)) = found {
                self.is_inside = false;
                self.take_command(router)?;
                self.line.clear();
            }
        }
        Ok(())
    }

    /// The next chunk, if anything is complete.
    pub fn take(&mut self) -> Option<Chunk> {
        self.close();
        let chunk = self.ready.pop_front()?;
        self.offset = chunk.end;
        Some(chunk)
    }

    /// What the primary sent that nobody knows, for the log.
    pub fn take_unknown(&mut self) -> Option<String> {
        self.unknown.take()
    }

    fn consume(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn take_command(&mut self, router: &mut Router) -> Result<(), Fault> {
        let is = |at: usize, name: &[u8]| {
            self.line.word(at).is_some_and(|word| word.eq_ignore_ascii_case(name))
        };
        if is(0, b"REPLCONF") {
            self.asks |= is(1, b"GETACK");
            self.end_unit();
            return Ok(());
        }
        if is(0, b"PING") {
            self.end_unit();
            return Ok(());
        }
        let (begins, ends) = (is(0, b"MULTI"), is(0, b"EXEC"));
        let (words, lens) = self.line.words();
        match router(words, lens) {
            Route::Unknown => {
                let name = String::from_utf8_lossy(self.line.word(0).unwrap_or_default());
                let name: String = name.chars().take(SHOWN_CHARS).collect();
                self.unknown.get_or_insert(name);
            }
            Route::Select => {
                let index = self.line.word(1).and_then(parse_u64).unwrap_or(u64::MAX);
                let known = usize::try_from(index).ok().filter(|index| *index < self.databases);
                self.db = known.ok_or_else(|| {
                    Fault(format!(
                        "The primary uses a database that is not here: the directive 'databases' says {}",
                        self.databases
                    ))
                })?;
            }
            Route::Bracket if begins => drop(self.block.get_or_insert_default()),
            Route::Bracket if ends => self.end_block(),
            Route::Bracket => {}
            Route::Owner(_, id) | Route::Everywhere(id) => {
                let lines = self.block.as_mut().unwrap_or(&mut self.open);
                lines.push(self.db, id, &self.line);
                if lines.weight() > BLOCK_BYTES_MAX {
                    return Err(Fault("A transaction of the primary is too long".into()));
                }
            }
        }
        self.end_unit();
        Ok(())
    }

    /// A transaction is complete. With what is there already it is one chunk if both are small.
    fn end_block(&mut self) {
        let Some(block) = self.block.take() else { return };
        if self.open.is_empty() {
            self.open = block;
        } else if self.open.weight() + block.weight() <= CHUNK_BYTES {
            self.open.append(block);
        } else {
            self.close();
            self.open = block;
        }
    }

    /// All that was read is complete, unless it is inside a transaction.
    fn end_unit(&mut self) {
        if self.block.is_some() {
            return;
        }
        self.whole = self.bytes.len();
        self.whole_db = self.db;
        if self.open.is_full() || self.whole >= CHUNK_BYTES as usize || self.asks {
            self.close();
        }
    }

    fn close(&mut self) {
        if self.whole == 0 {
            return;
        }
        let rest = self.bytes.split_off(self.whole);
        let mut bytes = std::mem::replace(&mut self.bytes, rest);
        // It may be kept for long, in a backlog that counts lengths.
        bytes.shrink_to_fit();
        let bytes = Bytes::from(bytes);
        let before: usize = self.ready.iter().map(|chunk| chunk.bytes.len()).sum();
        self.whole = 0;
        self.ready.push_back(Chunk {
            term: self.term,
            lines: std::mem::take(&mut self.open),
            end: self.offset + (before + bytes.len()) as u64,
            bytes,
            db: self.whole_db,
            asks: std::mem::take(&mut self.asks),
        });
    }
}

/// Commands become a chunk when they are so many bytes, so that a chunk is about half a millisecond of
/// work; a transaction may be longer.
const CHUNK_BYTES: u64 = 32 * 1024;
/// Places of words have 32 bits.
const BLOCK_BYTES_MAX: u64 = 1 << 31;
/// Characters of an unknown command's name that the log shows.
const SHOWN_CHARS: usize = 64;

#[cfg(test)]
mod tests;
