//! What the writes of a turn did, as the commands that do it again.
//!
//! Invariant: lines stand in the order in which the commands ran; the first one is for database
//! `first_db`, and SELECT stands inside wherever the database changes. What one command, transaction
//! or script did in several lines stands between MULTI and EXEC. Source: Redis 8.0.6.

use std::mem;

use super::files::Rewrite;
use crate::base::number::write_u64;

/// Lines, and the databases that the first and the last of them are for.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    bytes: Vec<u8>,
    count: usize,
    units: usize,
    first_db: usize,
    last_db: usize,
    /// The first one is MULTI.
    begins_unit: bool,
}

/// A word of a line: one piece, or several.
pub enum Word<'a> {
    /// One.
    Bytes(&'a [u8]),
    /// Several, with their length.
    Chunks(u64, &'a [bytes::Bytes]),
}

impl Lines {
    /// True without any line.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// What was asked for one by one: commands, transactions and scripts.
    pub fn units(&self) -> usize {
        self.units
    }

    /// Their bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What stands before the rest of the lines where `selected` is selected, and the rest: the
    /// database of the first line is selected, behind MULTI if that is how they begin, as stock servers
    /// do it.
    pub fn opened(&self, selected: Option<usize>) -> (Vec<u8>, &[u8]) {
        let mut opening = Vec::new();
        if selected == Some(self.first_db) {
            return (opening, &self.bytes);
        }
        let (multi, rest) = self.bytes.split_at(if self.begins_unit { MULTI.len() } else { 0 });
        opening.extend_from_slice(multi);
        write_select(&mut opening, self.first_db);
        (opening, rest)
    }

    /// The database that is selected behind the last line.
    pub fn last_db(&self) -> usize {
        self.last_db
    }

    /// Adds a line of plain words.
    pub fn add<'a>(&mut self, db: usize, words: impl ExactSizeIterator<Item = &'a [u8]>) {
        self.add_words(db, words.map(Word::Bytes));
    }

    /// Adds a line.
    pub fn add_words<'a>(&mut self, db: usize, words: impl ExactSizeIterator<Item = Word<'a>>) {
        self.enter(db);
        self.count += 1;
        self.units += 1;
        self.bytes.push(b'*');
        self.end_count(words.len() as u64);
        for word in words {
            self.bytes.push(b'$');
            match word {
                Word::Bytes(bytes) => {
                    self.end_count(bytes.len() as u64);
                    self.bytes.extend_from_slice(bytes);
                }
                Word::Chunks(len, chunks) => {
                    self.end_count(len);
                    chunks.iter().for_each(|chunk| self.bytes.extend_from_slice(chunk));
                }
            }
            self.bytes.extend_from_slice(b"\r\n");
        }
    }

    /// Adds what belongs together, and leaves it empty.
    pub fn add_unit(&mut self, unit: &mut Lines) {
        if unit.is_empty() {
            return;
        }
        let is_several = unit.count > 1;
        if is_several {
            self.begins_unit |= self.count == 0;
            self.bytes.extend_from_slice(MULTI);
        }
        self.enter(unit.first_db);
        self.bytes.extend_from_slice(&unit.bytes);
        if is_several {
            self.bytes.extend_from_slice(EXEC);
        }
        self.count += unit.count;
        self.units += 1;
        self.last_db = unit.last_db;
        unit.bytes.clear();
        (unit.count, unit.units) = (0, 0);
    }

    /// The next line selects its database, whichever is selected now.
    pub fn forget_db(&mut self) {
        self.last_db = usize::MAX;
    }

    /// Takes all lines; room for as many is kept.
    pub fn take(&mut self) -> Lines {
        let kept = Vec::with_capacity(self.bytes.len().min(KEPT_BYTES_MAX));
        mem::replace(self, Lines { bytes: kept, ..Lines::default() })
    }

    /// What comes next is for this database.
    fn enter(&mut self, db: usize) {
        if self.count == 0 {
            self.first_db = db;
        } else if self.last_db != db {
            write_select(&mut self.bytes, db);
        }
        self.last_db = db;
    }

    fn end_count(&mut self, count: u64) {
        write_u64(&mut self.bytes, count);
        self.bytes.extend_from_slice(b"\r\n");
    }
}

/// Appends the line that selects a database.
pub fn write_select(bytes: &mut Vec<u8>, db: usize) {
    let mut digits = Vec::new();
    write_u64(&mut digits, db as u64);
    bytes.extend_from_slice(b"*2\r\n$6\r\nSELECT\r\n$");
    write_u64(bytes, digits.len() as u64);
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&digits);
    bytes.extend_from_slice(b"\r\n");
}

const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";
/// Room that is made for the next turn's lines at once, at most.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// What a turn did, for the writer.
#[derive(Debug)]
pub struct Block {
    /// Up to the cut, if there is one.
    pub lines: Lines,
    /// Behind these lines another file begins.
    pub cut: Option<Box<Cut>>,
}

/// Where another file begins, or the journal ends.
#[derive(Debug)]
pub struct Cut {
    /// The file. None if nothing is journaled any more.
    pub file: Option<JournalFile>,
    /// Nothing of before counts any more: what could not be written of it is given up.
    pub is_fresh: bool,
    /// What the rest of the turn did.
    pub lines: Lines,
}

/// An open file that the journal is appended to.
#[derive(Debug)]
pub struct JournalFile {
    /// Its descriptor; the writer closes it.
    pub fd: std::os::fd::RawFd,
    /// Where the next group begins. All before it is synced.
    pub offset: u64,
}

/// What was opened for the journal.
#[derive(Debug)]
pub enum Opened {
    /// All has been loaded: the file that is appended to, and the bytes of all files before it.
    First(JournalFile, u64),
    /// A file, by its number, has been filled with zeros up to a place, or could not be.
    Filled(u64, Option<u64>),
    /// A rewrite can begin, with the file that comes behind its cut, if there is one.
    Next(Rewrite, Option<JournalFile>),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(lines: &mut Lines, db: usize, text: &str) {
        let words: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
        lines.add(db, words.into_iter());
    }

    fn text(lines: &Lines) -> String {
        String::from_utf8_lossy(lines.bytes()).replace("\r\n", "|")
    }

    #[test]
    fn lines_are_requests_and_select_their_databases() {
        let mut lines = Lines::default();
        line(&mut lines, 3, "SET a b");
        line(&mut lines, 3, "DEL a");
        line(&mut lines, 10, "DEL b");
        assert_eq!((lines.opened(Some(3)).0.len(), lines.last_db()), (0, 10));
        let expected = "*3|$3|SET|$1|a|$1|b|*2|$3|DEL|$1|a|*2|$6|SELECT|$2|10|*2|$3|DEL|$1|b|";
        assert_eq!(text(&lines), expected);
        assert_eq!(text(&lines.take()), expected);
        assert!(lines.is_empty() && lines.bytes().is_empty());
    }

    #[test]
    fn what_belongs_together_is_a_transaction() {
        let (mut lines, mut unit) = (Lines::default(), Lines::default());
        line(&mut unit, 1, "DEL a");
        lines.add_unit(&mut unit);
        assert_eq!(text(&lines), "*2|$3|DEL|$1|a|");
        line(&mut unit, 0, "DEL b");
        line(&mut unit, 1, "DEL c");
        lines.add_unit(&mut unit);
        lines.add_unit(&mut unit);
        let expected = "*2|$3|DEL|$1|a|*1|$5|MULTI|*2|$6|SELECT|$1|0|*2|$3|DEL|$1|b|\
                        *2|$6|SELECT|$1|1|*2|$3|DEL|$1|c|*1|$4|EXEC|";
        assert_eq!((text(&lines).as_str(), lines.units()), (expected, 2));
        assert_eq!((lines.opened(Some(1)).0.len(), lines.last_db()), (0, 1));
    }

    #[test]
    fn a_database_is_selected_inside_the_transaction_that_needs_it() {
        let opened = |lines: &Lines, selected| {
            let (opening, rest) = lines.opened(selected);
            String::from_utf8_lossy(&[&opening, rest].concat()).replace("\r\n", "|")
        };
        let (mut lines, mut unit) = (Lines::default(), Lines::default());
        line(&mut unit, 1, "DEL a");
        line(&mut unit, 1, "DEL b");
        lines.add_unit(&mut unit);
        let rest = "*2|$3|DEL|$1|a|*2|$3|DEL|$1|b|*1|$4|EXEC|";
        assert_eq!(opened(&lines, Some(1)), format!("*1|$5|MULTI|{rest}"));
        for selected in [None, Some(0)] {
            let expected = format!("*1|$5|MULTI|*2|$6|SELECT|$1|1|{rest}");
            assert_eq!(opened(&lines, selected), expected);
        }
        lines.take();
        line(&mut lines, 1, "DEL a");
        assert_eq!(opened(&lines, None), "*2|$6|SELECT|$1|1|*2|$3|DEL|$1|a|");
    }

    #[test]
    fn a_word_may_come_in_pieces() {
        let mut lines = Lines::default();
        let chunks = [bytes::Bytes::from_static(b"ab"), bytes::Bytes::from_static(b"c")];
        lines.add_words(0, [Word::Bytes(b"SET"), Word::Chunks(3, &chunks)].into_iter());
        assert_eq!(text(&lines), "*2|$3|SET|$3|abc|");
    }
}
