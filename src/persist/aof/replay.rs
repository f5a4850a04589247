//! Commands of an AOF on their way to the cores that run them again.
//!
//! Invariant: the commands of one key keep their order. Those of one core's keys go to that core, one
//! piece behind the other; any other command waits until all before it have run, and all behind it
//! wait for it. Nobody looks on while a file is loaded, so the commands of a transaction need not
//! stay together: the scanner has seen its end before its first command runs.

use super::scan::Words;

/// Where a command runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// There is no such command.
    Unknown,
    /// It selects a database.
    Select,
    /// It begins or ends a transaction.
    Bracket,
    /// On this core; its number in the table of commands.
    Owner(usize, u16),
    /// On one core that has all partitions.
    Everywhere(u16),
}

/// Says where a command runs, given its words, one behind the other, and the length of each.
pub type Router = Box<dyn FnMut(&[u8], &[u32]) -> Route + Send>;

/// The words of the command that is being read.
#[derive(Debug, Default)]
pub struct Line {
    bytes: Vec<u8>,
    words: Vec<u32>,
    used: usize,
}

impl Words for Line {
    fn part(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn end(&mut self) {
        // One that does not fit makes the line too long, which is found out before it is used.
        self.words.push(u32::try_from(self.bytes.len() - self.used).unwrap_or(u32::MAX));
        self.used = self.bytes.len();
    }
}

impl Line {
    /// True if its words are too many bytes to be run.
    pub fn is_too_long(&self) -> bool {
        self.bytes.len() > LINE_BYTES_MAX || self.words.len() > LINE_WORDS_MAX
    }

    /// The words, one behind the other, and their lengths.
    pub fn words(&self) -> (&[u8], &[u32]) {
        (&self.bytes, &self.words)
    }

    /// A word.
    pub fn word(&self, index: usize) -> Option<&[u8]> {
        let before = self.words.get(..index)?.iter().map(|len| *len as usize).sum::<usize>();
        self.bytes[before..].get(..*self.words.get(index)? as usize)
    }

    /// The next command begins.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.words.clear();
        self.used = 0;
        if self.bytes.capacity() > PIECE_BYTES {
            self.bytes = Vec::new();
        }
    }
}

/// Some commands for one core.
#[derive(Debug, Default)]
pub struct Lines {
    /// They need all partitions; all of them are of one database.
    pub is_serial: bool,
    bytes: Vec<u8>,
    words: Vec<u32>,
    heads: Vec<Head>,
}

#[derive(Debug)]
struct Head {
    db: u32,
    id: u16,
    words: u32,
    bytes: u32,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub struct LineRef<'a> {
    /// Its database.
    pub db: usize,
    /// Its number in the table of commands.
    pub id: u16,
    /// Its words, one behind the other.
    pub bytes: &'a [u8],
    /// The length of each.
    pub words: &'a [u32],
}

impl Lines {
    /// Commands that need all partitions.
    pub fn serial() -> Lines {
        Lines { is_serial: true, ..Lines::default() }
    }

    /// Adds a command.
    pub fn push(&mut self, db: usize, id: u16, line: &Line) {
        self.bytes.extend_from_slice(&line.bytes);
        self.words.extend_from_slice(&line.words);
        let (words, bytes) = (line.words.len() as u32, line.bytes.len() as u32);
        self.heads.push(Head { db: db as u32, id, words, bytes });
    }

    /// Adds others behind these.
    pub fn append(&mut self, mut others: Lines) {
        self.bytes.append(&mut others.bytes);
        self.words.append(&mut others.words);
        self.heads.append(&mut others.heads);
    }

    /// True without any.
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// True if it is worth sending.
    pub fn is_full(&self) -> bool {
        let lines = if self.is_serial { SERIAL_LINES } else { PIECE_LINES };
        self.bytes.len() >= PIECE_BYTES || self.heads.len() >= lines
    }

    /// The database of the first one.
    pub fn db(&self) -> Option<usize> {
        self.heads.first().map(|head| head.db as usize)
    }

    /// What counts against the bound of what is under way.
    pub fn weight(&self) -> u64 {
        let words = self.words.len() * size_of::<u32>();
        (self.bytes.len() + words + self.heads.len() * size_of::<Head>()).max(1) as u64
    }

    /// The commands, in order.
    pub fn iter(&self) -> impl Iterator<Item = LineRef<'_>> {
        let (mut bytes, mut words) = (&self.bytes[..], &self.words[..]);
        self.heads.iter().map(move |head| {
            let (own_bytes, own_words);
            (own_bytes, bytes) = bytes.split_at(head.bytes as usize);
            (own_words, words) = words.split_at(head.words as usize);
            LineRef { db: head.db as usize, id: head.id, bytes: own_bytes, words: own_words }
        })
    }
}

/// Places of words have 32 bits.
const LINE_BYTES_MAX: usize = 1 << 31;
/// Words of no bytes take memory, too.
const LINE_WORDS_MAX: usize = 1 << 27;
/// Commands are sent when they are so many bytes, or so many.
const PIECE_BYTES: usize = 64 << 10;
const PIECE_LINES: usize = 256;
/// Those that all cores wait for are worth more of them.
const SERIAL_LINES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_pushed_comes_out() {
        let (mut line, mut lines) = (Line::default(), Lines::default());
        for (db, words) in [(3, vec!["SET", "key", ""]), (0, vec!["DEL", "key"])] {
            line.clear();
            for word in &words {
                line.part(word.as_bytes());
                line.end();
            }
            assert_eq!(line.word(1), Some(b"key".as_slice()));
            assert_eq!(line.word(words.len()), None);
            lines.push(db, 7, &line);
        }
        let found: Vec<_> =
            lines.iter().map(|one| (one.db, one.id, one.bytes, one.words)).collect();
        let expected: [(usize, u16, &[u8], &[u32]); 2] =
            [(3, 7, b"SETkey", &[3, 3, 0]), (0, 7, b"DELkey", &[3, 3])];
        assert_eq!(found, expected);
        assert_eq!(lines.db(), Some(3));
    }
}
