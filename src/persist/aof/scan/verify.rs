//! What a file is worth: whole, torn by a crash, or damaged.
//!
//! Invariant: what was synced is never cut away. Where a file is not whole, what stands behind says
//! whether it was synced up to there: then something has damaged it. Otherwise a crash may have torn
//! it, which ends a file early, or in zeros, or leaves sectors of zeros where they had not been written
//! yet. Whatever else is wrong there is damage, too: nobody cuts it away unasked.

mod behind;
mod sectors;

use super::{Fault, Found, Reason, Scanner};
use behind::Behind;
use sectors::Sectors;

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
    /// The end of its last byte that is not zero.
    pub filled: u64,
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
    sectors: Sectors,
    wrong: Option<Wrong>,
}

/// What is wrong.
#[derive(Debug)]
struct Wrong {
    fault: Fault,
    /// The end of what is wrong: of a group, if it is in one.
    reach: u64,
    behind: Behind,
}

impl Verifier {
    /// A verifier whose first byte stands at `offset` of the file.
    pub fn new(offset: u64) -> Verifier {
        let (scanner, sectors) = (Scanner::new(offset), Sectors::new(offset));
        Verifier { scanner, latest: None, too_late: None, sectors, wrong: None }
    }

    /// The same, looking for what happened after a time, in seconds.
    pub fn until(offset: u64, latest: i64) -> Verifier {
        Verifier { latest: Some(latest), ..Verifier::new(offset) }
    }

    /// The next bytes of the file.
    pub fn feed(&mut self, chunk: &[u8]) {
        let mut rest = chunk;
        while self.wrong.is_none() && !rest.is_empty() {
            let safe = self.scanner.safe;
            match self.scanner.step(rest, &mut ()) {
                Ok((used, found)) => {
                    self.sectors.feed(&rest[..used], safe, u64::MAX);
                    rest = &rest[used..];
                    self.note_time(found);
                }
                Err(fault) => {
                    let reach = self.scanner.group.map_or(fault.seen, |group| group.end);
                    // The bytes in front of it have told what they are.
                    let seen = fault.seen - self.sectors.offset();
                    let behind = Behind::new(fault.seen);
                    let wrong = self.wrong.insert(Wrong { fault, reach, behind });
                    wrong.behind.feed(&rest[seen as usize..]);
                    self.sectors.feed(rest, safe, reach);
                    return;
                }
            }
        }
        if let Some(wrong) = &mut self.wrong {
            wrong.behind.feed(rest);
            self.sectors.feed(rest, self.scanner.safe, wrong.reach);
        }
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
    pub fn finish(mut self) -> Verdict {
        let state = self.state();
        let Verifier { scanner, too_late, sectors, .. } = self;
        let (filled, len) = (sectors.filled(), sectors.offset());
        Verdict { state, safe: scanner.safe, filled, len, too_late }
    }

    fn state(&mut self) -> State {
        let Verifier { scanner, sectors, wrong, .. } = self;
        let torn = State::Torn { in_multi: scanner.in_multi };
        let Some(Wrong { fault, reach, behind }) = wrong else {
            let is_whole = scanner.is_between();
            return if is_whole {
                State::Whole
            } else {
                scanner.misled().or(scanner.ended_early()).map_or(torn, State::Damaged)
            };
        };
        if sectors.filled() <= scanner.safe {
            return State::Blank;
        }
        behind.finish();
        let ends_there = sectors.filled() < sectors.offset().min(*reach);
        if fault.reason != Reason::BadLength
            && let Some(misled) = scanner.ended_early()
        {
            return State::Damaged(Fault { seen: fault.seen, ..misled });
        }
        // Whoever writes commands without groups does not say how much of them is synced; behind such
        // commands something has to say that it is ours.
        let is_plain = scanner.is_in_plain_commands()
            || scanner.is_after_plain_command() && !behind.has_sync_line();
        let lacks_sectors =
            sectors.has_lost(scanner.safe) && !is_plain && !behind.has_silent_group();
        let was_synced = behind.synced_upto() > scanner.safe || fault.reason == Reason::BadLength;
        let is_torn = !was_synced && (ends_there || lacks_sectors);
        if is_torn { torn } else { State::Damaged(*fault) }
    }
}
