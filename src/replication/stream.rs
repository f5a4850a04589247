//! The stream that replicas follow: what commands did, or, on a replica, the very bytes of its
//! primary.
//!
//! Invariant: the offset is that of the history; it grows by what is fed and by nothing else. What is
//! fed as lines selects its database; the bytes of a primary are passed on as they came, so that a
//! replica of a replica has the same offsets. A block is fed behind all blocks of lower numbers.
//! Source: Redis 8.0.6.

use std::collections::VecDeque;

use bytes::Bytes;

use super::backlog::Backlog;
use crate::persist::aof::block::Lines;

/// See above.
#[derive(Debug)]
pub struct Stream {
    /// Bytes of the history so far.
    offset: u64,
    backlog: Option<Backlog>,
    /// The database that is selected at the end of the stream.
    db: Option<usize>,
    /// Where blocks end that somebody may ask for: their numbers, and the offsets behind them.
    ends: VecDeque<(u64, u64)>,
    /// The number of the last block.
    last: u64,
}

impl Stream {
    /// The stream of a history of so many bytes.
    pub fn new(offset: u64) -> Stream {
        Stream { offset, backlog: None, db: None, ends: VecDeque::new(), last: 0 }
    }

    /// Bytes of the history so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The backlog, if one is kept.
    pub fn backlog(&self) -> Option<&Backlog> {
        self.backlog.as_ref()
    }

    /// Keeps what comes from now on.
    pub fn begin_backlog(&mut self) {
        if self.backlog.is_none() {
            self.backlog = Some(Backlog::new(self.offset));
            // What it takes must not grow with what is done.
            self.ends.reserve_exact(ENDS_MAX);
        }
    }

    /// Keeps nothing any more.
    pub fn end_backlog(&mut self) {
        self.backlog = None;
        self.ends.clear();
    }

    /// The history is another one, and has so many bytes: that of a primary, or of a file.
    pub fn restart(&mut self, offset: u64) {
        let had_backlog = self.backlog.is_some();
        *self = Stream { last: self.last, ..Stream::new(offset) };
        if had_backlog {
            self.begin_backlog();
        }
    }

    /// The next lines select their database even if it has not changed: a replica that has only a
    /// snapshot knows of none.
    pub fn forget_db(&mut self) {
        self.db = None;
    }

    /// The database that is selected at the end of the stream.
    pub fn db(&self) -> Option<usize> {
        self.db
    }

    /// The database is known, from the primary whose bytes are passed on or from a file.
    pub fn set_db(&mut self, db: Option<usize>) {
        self.db = db;
    }

    /// Feeds what a turn did.
    pub fn feed(&mut self, number: u64, lines: &Lines) {
        if !lines.is_empty() {
            let (opening, rest) = lines.opened(self.db);
            self.db = Some(lines.last_db());
            self.append(&opening);
            self.append(rest);
        }
        self.note_end(number);
    }

    /// All blocks up to this number are part of the history so far, fed or not.
    pub fn note_end(&mut self, number: u64) {
        if self.ends.len() == ENDS_MAX {
            self.ends.pop_front();
        }
        self.ends.push_back((number, self.offset));
        self.last = number;
    }

    /// The offset when these lines, which come next, will have been fed, and the database that will be
    /// selected there, if any is.
    pub fn place_behind<'l>(&self, lines: impl Iterator<Item = &'l Lines>) -> (u64, Option<usize>) {
        let (mut db, mut offset) = (self.db, self.offset);
        for lines in lines.filter(|lines| !lines.is_empty()) {
            let (opening, rest) = lines.opened(db);
            offset += (opening.len() + rest.len()) as u64;
            db = Some(lines.last_db());
        }
        (offset, db)
    }

    /// Feeds a line of the replication itself, which is for no database.
    pub fn feed_line(&mut self, words: &[&[u8]]) {
        let mut lines = Lines::default();
        lines.add(self.db.unwrap_or(0), words.iter().copied());
        self.append(lines.bytes());
    }

    /// Feeds bytes of the primary that this server follows.
    pub fn feed_verbatim(&mut self, bytes: Bytes) {
        self.offset += bytes.len() as u64;
        if let Some(backlog) = &mut self.backlog {
            backlog.append_owned(bytes);
        }
    }

    fn append(&mut self, bytes: &[u8]) {
        self.offset += bytes.len() as u64;
        if let Some(backlog) = &mut self.backlog {
            backlog.append(bytes);
        }
    }

    /// The number of the last block that was fed.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// The number of the last block that ends at `offset` or before. None if that was so long ago
    /// that nobody remembers.
    pub fn number_at(&self, offset: u64) -> Option<u64> {
        if offset >= self.offset {
            return Some(self.last);
        }
        let at = self.ends.partition_point(|(_, end)| *end <= offset);
        at.checked_sub(1).map(|last| self.ends[last].0)
    }

    /// The offset up to which no block has a higher number than `covered`. None if that was so long
    /// ago that nobody remembers.
    pub fn offset_before(&self, covered: u64) -> Option<u64> {
        let at = self.ends.partition_point(|(other, _)| *other <= covered);
        if at == self.ends.len() {
            return Some(self.offset);
        }
        at.checked_sub(1).map(|last| self.ends[last].1)
    }

    /// Forgets of the backlog what is older than `limit` bytes and what no replica needs that still
    /// has to be sent what comes behind `held`.
    pub fn trim(&mut self, limit: u64, held: u64) {
        if let Some(backlog) = &mut self.backlog {
            backlog.trim(limit, held);
        }
    }
}

/// Ends of blocks that are remembered: of more turns than any client's write is usually back.
const ENDS_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(entries: &[(usize, &str)]) -> Lines {
        let mut lines = Lines::default();
        for (db, text) in entries {
            let words: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
            lines.add(*db, words.into_iter());
        }
        lines
    }

    fn text(stream: &Stream, from: u64) -> String {
        let backlog = stream.backlog().expect("it is kept");
        let bytes = backlog.read(from).expect("they are here");
        String::from_utf8_lossy(&bytes).replace("\r\n", "|")
    }

    #[test]
    fn lines_select_their_database_and_count() {
        let mut stream = Stream::new(10);
        stream.feed(1, &lines(&[(0, "DEL lost")]));
        assert_eq!(stream.offset(), 10 + 23 + 23);
        let start = stream.offset();
        stream.begin_backlog();
        stream.feed(2, &lines(&[(0, "DEL a"), (3, "DEL b")]));
        stream.feed_line(&[b"PING"]);
        stream.feed(3, &lines(&[(3, "DEL c")]));
        stream.forget_db();
        stream.feed(4, &lines(&[(3, "DEL d")]));
        assert_eq!(
            text(&stream, start),
            "*2|$3|DEL|$1|a|*2|$6|SELECT|$1|3|*2|$3|DEL|$1|b|*1|$4|PING|*2|$3|DEL|$1|c|\
             *2|$6|SELECT|$1|3|*2|$3|DEL|$1|d|"
        );
        assert_eq!(stream.offset_before(2), Some(start + 63));
        assert_eq!(
            (stream.offset_before(0), stream.offset_before(9)),
            (None, Some(stream.offset()))
        );
        let numbers = [0, start + 62, start + 63, stream.offset()].map(|at| stream.number_at(at));
        assert_eq!(numbers, [None, Some(1), Some(2), Some(4)]);
    }

    #[test]
    fn it_is_known_before_where_lines_will_end() {
        let mut stream = Stream::new(0);
        let turns = [lines(&[(0, "DEL a")]), lines(&[]), lines(&[(0, "DEL b"), (1, "DEL c")])];
        let (expected, _) = stream.place_behind(turns.iter());
        turns.iter().enumerate().for_each(|(number, turn)| stream.feed(number as u64, turn));
        assert_eq!(stream.offset(), expected);
    }

    #[test]
    fn bytes_of_a_primary_are_passed_on_as_they_came() {
        let mut stream = Stream::new(0);
        stream.begin_backlog();
        stream.feed_verbatim(Bytes::from_static(b"*1\r\n$4\r\nPI"));
        stream.feed_verbatim(Bytes::from_static(b"NG\r\n"));
        assert_eq!(text(&stream, 0), "*1|$4|PING|");
        stream.restart(500);
        assert_eq!((stream.offset(), stream.backlog().map(Backlog::first)), (500, Some(500)));
    }
}
