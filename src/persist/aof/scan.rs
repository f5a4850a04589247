//! Finds the commands of an AOF whose bytes come in pieces, and what is wrong with it.
//!
//! Invariant: nothing is kept but a part of a line, so memory does not grow with what a file
//! announces. `safe` is the end of what is whole: no command, group or transaction reaches over it.

mod verify;

use std::fmt;

use super::annotation::{Annotation, LINE_BYTES_MAX};
use crate::base::crc::crc64;
use crate::base::number::parse_u64;
pub use verify::{State, Verdict, Verifier};

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
    /// The last command that has ended stood in no group.
    is_after_plain: bool,
    /// The checksum of the group so far, or of the time line that a group may follow.
    crc: u64,
}

#[derive(Clone, Copy, Debug)]
struct Group {
    began: u64,
    end: u64,
    crc: u64,
    /// Its checksum was right at the end of a command before its end: by chance, or it ends there and
    /// its length is wrong.
    may_end_early: bool,
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
            is_after_plain: false,
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
                let room = max - self.line.len();
                let part = &rest[..rest.len().min(room)];
                let end = memchr::memchr2(b'\n', 0, part);
                let Some(end) = end else {
                    if rest.len() > room {
                        return Err(self.line_fault(Reason::LongLine, max));
                    }
                    self.line.extend_from_slice(part);
                    *used += part.len();
                    return Ok(None);
                };
                if part[end] == 0 {
                    // Where a write was cut, not what somebody wrote.
                    return Err(self.line_fault(Reason::CutLine, self.line.len() + end + 1));
                }
                let part = &part[..=end];
                *used += part.len();
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

    /// The line that is being read is wrong, as its first `seen` bytes say.
    fn line_fault(&self, reason: Reason, seen: usize) -> Fault {
        let offset = self.offset - self.line.len() as u64;
        Fault { offset, reason, seen: offset + seen as u64 }
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
                let (began, may_end_early) = (self.began, false);
                self.group = Some(Group { began, end, crc, may_end_early });
                Ok(Found::Line)
            }
            Annotation::Synced { .. } | Annotation::Other => Ok(Found::Line),
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
            let is_all_there = self.crc == group.crc;
            if self.offset > group.end {
                return Err(group.fault(Reason::BadLength, self.offset));
            }
            if self.offset < group.end {
                let may_end_early = group.may_end_early || is_all_there;
                self.group = Some(Group { may_end_early, ..group });
            } else if is_all_there {
                self.group = None;
            } else {
                let is_misled = group.may_end_early;
                let reason = if is_misled { Reason::BadLength } else { Reason::BadChecksum };
                return Err(group.fault(reason, self.offset));
            }
            self.is_after_plain = false;
        } else if let Found::Command(_) = found {
            self.is_after_plain = true;
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

    /// At the end of a file: a line that reaches over the end of its group.
    fn misled(&self) -> Option<Fault> {
        let group = self.group.filter(|group| self.offset >= group.end)?;
        Some(group.fault(Reason::BadLength, self.offset))
    }

    /// Where nothing that is right follows: a group whose line says that it does.
    fn ended_early(&self) -> Option<Fault> {
        let group = self.group.filter(|group| group.may_end_early)?;
        Some(group.fault(Reason::BadLength, self.offset))
    }

    /// True where a command has ended that stands in no group, and nothing else has begun.
    fn is_after_plain_command(&self) -> bool {
        self.group.is_none() && self.is_after_plain
    }

    /// True within commands that stand in no group.
    fn is_in_plain_commands(&self) -> bool {
        self.group.is_none() && (self.in_multi || self.expects != Expects::Start)
    }

    /// True if nothing that counts has begun and not ended.
    fn is_between(&self) -> bool {
        let is_start = self.expects == Expects::Start && self.line.is_empty();
        is_start && self.group.is_none() && !self.in_multi
    }
}

impl Group {
    fn fault(&self, reason: Reason, seen: u64) -> Fault {
        Fault { offset: self.began, reason, seen }
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
            Reason::BadLength => "a group whose length is wrong",
            Reason::BadChecksum => "a group whose checksum is wrong",
        };
        write!(f, "{what} at byte {}", self.offset)
    }
}

/// A line with a number: a mark, the digits of a u64, CRLF.
const NUMBER_BYTES_MAX: usize = 23;
/// Words of a command, at most. Source: Redis, which reads this count with `atoi`.
const WORDS_MAX: u64 = i32::MAX as u64;
/// So much of a command's name tells MULTI and EXEC from all others.
const NAME_BYTES: usize = 6;

#[cfg(test)]
mod tests;
