//! What a file is worth: whole, torn by a crash, or damaged.
//!
//! Invariant: a crash leaves a torn tail: the file ends early, or in zeros, or, since two groups are
//! written at a time, a group ends in zeros and the next one stands behind it. Everything else that is
//! not as written is damage, which nobody may cut away unasked, since data stands behind it.

use super::super::annotation::Annotation;
use super::{Fault, Found, Scanner};

/// What a file is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is whole; what may stand behind its end holds nothing.
    Whole,
    /// It is whole, and goes on in zeros: it was filled ahead of what was to be written.
    Blank,
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
    /// Behind zeros that stand for the end of what is wrong: where a group begins, and its first
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
            None => scanner.misled().map_or(torn, State::Damaged),
            Some(wrong) if wrong.next.is_none() && wrong.filled <= scanner.safe => State::Blank,
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
                self.is_damage = self.filled >= self.reach || byte != b'#';
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

/// The lines in front of a group have no more bytes.
const HEADING_BYTES_MAX: usize = 80;
