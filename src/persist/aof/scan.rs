//! Finds the commands of an AOF whose bytes come in pieces, and what is wrong with it.
//!
//! Invariant: nothing is kept but a part of a line, so memory does not grow with what a file
//! announces. `safe` is the end of what is whole: no command, group or transaction reaches over it.
//!
//! A crash leaves a torn tail: the file ends early, or in zeros, or, since two groups are written at a
//! time, a group ends in zeros and the next one stands behind it. Everything else that is not as
//! written is damage, which nobody may cut away unasked, since data stands behind it.

use std::fmt;

use super::annotation::{Annotation, LINE_BYTES_MAX};
use crate::base::crc::crc64;
use crate::base::number::parse_u64;

/// Who wants the words of the commands, part by part.
pub trait Words {
    /// A part of a word.
    fn part(&mut self, bytes: &[u8]);
    /// The word is complete.
    fn end(&mut self);
}

impl Words for () {
    fn part(&mut self, _: &[u8]) {}
    fn end(&mut self) {}
}

/// What has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A command, whose words have been told; it began at this byte.
    Command(u64),
    /// A line with a time, which began at this byte; seconds.
    Time(u64, i64),
    /// Another line.
    Line,
}

/// Reads commands and annotations.
#[derive(Debug)]
pub struct Scanner {
    /// The next byte.
    offset: u64,
    /// The end of what is whole.
    safe: u64,
    expects: Expects,
    /// What is there of a line that is not complete.
    line: Vec<u8>,
    /// Where the command or annotation began that is being read.
    began: u64,
    /// Words that the command still has.
    words_left: u64,
    /// The first word of the command, as far as it matters.
    name: Vec<u8>,
    is_in_name: bool,
    in_multi: bool,
    group: Option<Group>,
    /// The checksum of the group so far, or of the time line that a group may follow.
    crc: u64,
}

#[derive(Clone, Copy, Debug)]
struct Group {
    began: u64,
    end: u64,
    crc: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expects {
    /// A command or an annotation.
    Start,
    /// The length of a word.
    Length,
    /// So many bytes of a word.
    Word(u64),
    /// The end of the line behind a word; so many bytes of it.
    WordEnd(u64),
}

impl Scanner {
    /// A scanner whose first byte stands at `offset` of the file.
    pub fn new(offset: u64) -> Scanner {
        Scanner {
            offset,
            safe: offset,
            expects: Expects::Start,
            line: Vec::new(),
            began: offset,
            words_left: 0,
            name: Vec::new(),
            is_in_name: false,
            in_multi: false,
            group: None,
            crc: 0,
        }
    }

    /// Reads on in `chunk`: how much of it was used, and what was complete with that. With None all
    /// was used.
    pub fn step(
        &mut self,
        chunk: &[u8],
        words: &mut impl Words,
    ) -> Result<(usize, Option<Found>), Fault> {
        let was_in_group = self.group.is_some();
        let (mut used, mut found) = (0, None);
        while used < chunk.len() && found.is_none() {
            let before = used;
            found = self.read_piece(chunk, &mut used, words)?;
            self.offset += (used - before) as u64;
        }
        if was_in_group {
            self.crc = crc64(self.crc, &chunk[..used]);
        }
        if let Some(found) = found {
            self.end_unit(found)?;
        }
        Ok((used, found))
    }

    /// Reads a line, or a part of a word; `used` moves on. Faults are told with the offset before it.
    fn read_piece(
        &mut self,
        chunk: &[u8],
        used: &mut usize,
        words: &mut impl Words,
    ) -> Result<Option<Found>, Fault> {
        let rest = &chunk[*used..];
        match self.expects {
            Expects::Start | Expects::Length => {
                let first = *self.line.first().unwrap_or(&rest[0]);
                let max = self.check_first_byte(first)?;
                let end = memchr::memchr2(b'\n', 0, rest);
                if let Some(zero) = end.filter(|end| rest[*end] == 0) {
                    // Where a write was cut, not what somebody wrote.
                    let seen = self.offset + zero as u64 + 1;
                    return Err(Fault { offset: self.line_began(), reason: Reason::CutLine, seen });
                }
                let part = &rest[..end.map_or(rest.len(), |end| end + 1)];
                if self.line.len() + part.len() > max {
                    let offset = self.line_began();
                    let seen = offset + max as u64;
                    return Err(Fault { offset, reason: Reason::LongLine, seen });
                }
                *used += part.len();
                if end.is_none() {
                    self.line.extend_from_slice(part);
                    return Ok(None);
                }
                let behind = self.offset + part.len() as u64;
                if self.line.is_empty() {
                    return self.read_line(part, behind);
                }
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(part);
                self.read_line(&line, behind)
            }
            Expects::Word(left) => {
                let part = &rest[..rest.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
                *used += part.len();
                self.note_name(part);
                words.part(part);
                let left = left - part.len() as u64;
                self.expects = if left == 0 {
                    words.end();
                    self.is_in_name = false;
                    Expects::WordEnd(2)
                } else {
                    Expects::Word(left)
                };
                Ok(None)
            }
            Expects::WordEnd(left) => {
                if rest[0] != if left == 2 { b'\r' } else { b'\n' } {
                    return Err(self.fault(Reason::NoWordEnd, self.offset + 1));
                }
                *used += 1;
                if left == 2 {
                    self.expects = Expects::WordEnd(1);
                    return Ok(None);
                }
                self.words_left -= 1;
                self.expects = if self.words_left == 0 { Expects::Start } else { Expects::Length };
                Ok((self.words_left == 0).then_some(Found::Command(self.began)))
            }
        }
    }

    /// The longest line that may begin so.
    fn check_first_byte(&mut self, byte: u8) -> Result<usize, Fault> {
        let is_first = self.line.is_empty();
        match (self.expects, byte) {
            (Expects::Start, b'*' | b'#') => {
                if is_first {
                    self.began = self.offset;
                }
                Ok(if byte == b'#' { LINE_BYTES_MAX } else { NUMBER_BYTES_MAX })
            }
            (Expects::Length, b'$') => Ok(NUMBER_BYTES_MAX),
            (Expects::Length, _) => Err(self.fault(Reason::NoWord, self.offset + 1)),
            _ => Err(self.fault(Reason::NoStart, self.offset + 1)),
        }
    }

    fn line_began(&self) -> u64 {
        self.offset - self.line.len() as u64
    }

    /// Takes a whole line, which ends before byte `behind`.
    fn read_line(&mut self, line: &[u8], behind: u64) -> Result<Option<Found>, Fault> {
        if self.expects == Expects::Start && line[0] == b'#' {
            return self.read_annotation(line, behind).map(Some);
        }
        let bad =
            Fault { offset: behind - line.len() as u64, reason: Reason::BadNumber, seen: behind };
        let number = line[1..].strip_suffix(b"\r\n").and_then(parse_u64).ok_or(bad)?;
        if self.expects == Expects::Start {
            if number == 0 || number > WORDS_MAX {
                return Err(bad);
            }
            self.words_left = number;
            self.name.clear();
            self.is_in_name = true;
            self.expects = Expects::Length;
            return Ok(None);
        }
        let end = behind.checked_add(number).and_then(|end| end.checked_add(2)).ok_or(bad)?;
        if self.group.is_some_and(|group| end > group.end) {
            return Err(bad);
        }
        self.expects = Expects::Word(number);
        Ok(None)
    }

    fn read_annotation(&mut self, line: &[u8], behind: u64) -> Result<Found, Fault> {
        let damaged = Fault { offset: self.began, reason: Reason::BadAnnotation, seen: behind };
        match Annotation::parse(line).map_err(|_| damaged)? {
            Annotation::Time(seconds) => {
                if self.group.is_none() {
                    self.crc = crc64(0, line);
                }
                Ok(Found::Time(self.began, seconds))
            }
            Annotation::Group { .. } if self.group.is_some() => Err(damaged),
            Annotation::Group { len, crc } => {
                let end = behind.checked_add(len).ok_or(damaged)?;
                self.group = Some(Group { began: self.began, end, crc });
                Ok(Found::Line)
            }
            Annotation::Other => Ok(Found::Line),
        }
    }

    fn note_name(&mut self, part: &[u8]) {
        if self.is_in_name && self.name.len() < NAME_BYTES {
            let room = NAME_BYTES - self.name.len();
            self.name.extend_from_slice(&part[..part.len().min(room)]);
        }
    }

    /// A command or annotation is complete.
    fn end_unit(&mut self, found: Found) -> Result<(), Fault> {
        if let Found::Command(_) = found {
            if self.name.eq_ignore_ascii_case(b"MULTI") {
                self.in_multi = true;
            } else if self.name.eq_ignore_ascii_case(b"EXEC") {
                self.in_multi = false;
            }
        }
        if let Some(group) = self.group {
            if self.offset > group.end {
                return Err(group.fault(Reason::BadLength));
            }
            if self.offset == group.end {
                if self.crc != group.crc {
                    return Err(group.fault(Reason::BadChecksum));
                }
                self.group = None;
            }
        }
        // A time line may belong to the group behind it.
        let is_time = matches!(found, Found::Time(..));
        if self.group.is_none() && !is_time {
            self.crc = 0;
            if !self.in_multi {
                self.safe = self.offset;
            }
        }
        Ok(())
    }

    /// What stands at the next byte is wrong, as far as byte `seen` says.
    fn fault(&self, reason: Reason, seen: u64) -> Fault {
        Fault { offset: self.offset, reason, seen }
    }

    /// True if nothing that counts has begun and not ended.
    fn is_between(&self) -> bool {
        let is_start = self.expects == Expects::Start && self.line.is_empty();
        is_start && self.group.is_none() && !self.in_multi
    }
}

impl Group {
    fn fault(&self, reason: Reason) -> Fault {
        Fault { offset: self.began, reason, seen: self.end }
    }
}

/// What is wrong with a file, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The byte.
    pub offset: u64,
    reason: Reason,
    /// The end of the bytes that say so.
    seen: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    NoStart,
    NoWord,
    NoWordEnd,
    CutLine,
    LongLine,
    BadNumber,
    BadAnnotation,
    BadLength,
    BadChecksum,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.reason {
            Reason::NoStart => "neither a command nor an annotation",
            Reason::NoWord => "no length of a word",
            Reason::NoWordEnd => "a word that does not end where it should",
            Reason::CutLine => "a line that does not end",
            Reason::LongLine => "a line that is too long",
            Reason::BadNumber => "a number that cannot be",
            Reason::BadAnnotation => "an annotation that is damaged",
            Reason::BadLength => "a group that is longer than announced",
            Reason::BadChecksum => "a group whose checksum is wrong",
        };
        write!(f, "{what} at byte {}", self.offset)
    }
}

/// What a file is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is whole; what may stand behind its end holds nothing.
    Whole,
    /// A crash has cut it: in a transaction, or anywhere else.
    Torn {
        /// The tail begins with a transaction that has no end.
        in_multi: bool,
    },
    /// Something in it is not what was written.
    Damaged(Fault),
}

/// What was found out about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What it is worth.
    pub state: State,
    /// The end of what is whole.
    pub safe: u64,
    /// Its length.
    pub len: u64,
    /// The first line with a later time than was asked for.
    pub too_late: Option<u64>,
}

/// Reads a file to its end to find out what it is worth.
#[derive(Debug)]
pub struct Verifier {
    scanner: Scanner,
    latest: Option<i64>,
    too_late: Option<u64>,
    wrong: Option<Wrong>,
    len: u64,
}

/// What is wrong, and what stands behind it.
#[derive(Debug)]
struct Wrong {
    fault: Fault,
    /// The end of what is wrong: of a group, if it is in one.
    reach: u64,
    /// The end of the last bytes that are not zero.
    filled: u64,
    /// Behind zeros that stand for the end of what is wrong: where something begins, and its first
    /// bytes.
    next: Option<(u64, Vec<u8>)>,
    /// There is too much behind it for a crash.
    is_damage: bool,
}

impl Verifier {
    /// A verifier whose first byte stands at `offset` of the file.
    pub fn new(offset: u64) -> Verifier {
        let scanner = Scanner::new(offset);
        Verifier { scanner, latest: None, too_late: None, wrong: None, len: offset }
    }

    /// The same, looking for what happened after a time, in seconds.
    pub fn until(offset: u64, latest: i64) -> Verifier {
        Verifier { latest: Some(latest), ..Verifier::new(offset) }
    }

    /// The next bytes of the file.
    pub fn feed(&mut self, chunk: &[u8]) {
        let mut rest = chunk;
        while self.wrong.is_none() && !rest.is_empty() {
            match self.scanner.step(rest, &mut ()) {
                Ok((used, found)) => {
                    rest = &rest[used..];
                    self.note_time(found);
                }
                Err(fault) => {
                    let reach = self.scanner.group.map_or(fault.seen, |group| group.end);
                    let (filled, next) = (self.len, None);
                    self.wrong = Some(Wrong { fault, reach, filled, next, is_damage: false });
                }
            }
        }
        if let Some(wrong) = &mut self.wrong {
            wrong.look_behind(self.len, chunk);
        }
        self.len += chunk.len() as u64;
    }

    fn note_time(&mut self, found: Option<Found>) {
        if let (Some(Found::Time(at, seconds)), Some(latest)) = (found, self.latest)
            && seconds > latest
            && self.scanner.group.is_none()
        {
            self.too_late.get_or_insert(at);
        }
    }

    /// The file has ended.
    pub fn finish(self) -> Verdict {
        let Verifier { scanner, too_late, wrong, len, .. } = self;
        let torn = State::Torn { in_multi: scanner.in_multi };
        let state = match wrong {
            None if scanner.is_between() => State::Whole,
            None => torn,
            Some(wrong) if wrong.is_torn(len) => torn,
            Some(wrong) => State::Damaged(wrong.fault),
        };
        Verdict { state, safe: scanner.safe, len, too_late }
    }
}

impl Wrong {
    /// Looks at bytes of the file, which begin at `offset`.
    fn look_behind(&mut self, offset: u64, chunk: &[u8]) {
        for (at, &byte) in (offset..).zip(chunk) {
            if self.is_damage {
                return;
            }
            if let Some((_, head)) = &mut self.next
                && head.len() < HEADING_BYTES_MAX
            {
                head.push(byte);
            }
            if byte == 0 {
                continue;
            }
            if at >= self.reach && self.next.is_none() {
                self.is_damage = self.filled >= self.reach;
                self.next = Some((at, vec![byte]));
            }
            self.filled = at + 1;
        }
    }

    /// True if a crash has left it like this, in a file of this length.
    fn is_torn(&self, len: u64) -> bool {
        match &self.next {
            _ if self.is_damage => false,
            None => self.filled < self.reach.min(len),
            Some((begin, head)) => self.filled <= end_of_group(*begin, head),
        }
    }
}

/// Where a group ends that begins with these bytes, at this place; it may be cut itself.
fn end_of_group(begin: u64, head: &[u8]) -> u64 {
    let mut behind = begin;
    for line in head.split_inclusive(|byte| *byte == b'\n') {
        behind += line.len() as u64;
        match Annotation::parse(line) {
            Ok(Annotation::Time(_)) => {}
            Ok(Annotation::Group { len, .. }) => return behind.saturating_add(len),
            _ => break,
        }
    }
    begin + HEADING_BYTES_MAX as u64
}

/// A line with a number: a mark, the digits of a u64, CRLF.
const NUMBER_BYTES_MAX: usize = 23;
/// Words of a command, at most. Source: Redis, which reads this count with `atoi`.
const WORDS_MAX: u64 = i32::MAX as u64;
/// The lines in front of a group have no more bytes.
const HEADING_BYTES_MAX: usize = 80;
/// So much of a command's name tells MULTI and EXEC from all others.
const NAME_BYTES: usize = 6;

#[cfg(test)]
mod tests;
