//! Who was refused what: the entries of ACL LOG.
//!
//! Invariant: the newest entry is first; what repeats within a minute is one entry with a count. One
//! core keeps the log of the process, and is told of every refusal. Source: ACL LOG of Redis 8.0.

use std::collections::VecDeque;

use crate::base::time::Millis;

/// Entries that a refusal is compared with.
const COMPARED_MAX: usize = 10;
/// Refusals further apart are told of apart.
const TOGETHER_MILLIS: i64 = 60_000;

/// Why somebody was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The database is not the user's to use (Valkey).
    Database,
    /// The command is not.
    Command,
    /// The key is not.
    Key,
    /// The channel is not.
    Channel,
    /// No such user and password.
    Auth,
    /// The user that a certificate names is not there (Valkey).
    Certificate,
}

impl Reason {
    /// As ACL LOG prints it.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Database => "database",
            Reason::Command => "command",
            Reason::Key => "key",
            Reason::Channel => "channel",
            Reason::Auth => "auth",
            Reason::Certificate => "tls-cert",
        }
    }
}

/// A request that its user may not run: why, and which of its words is the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied {
    /// Why.
    pub reason: Reason,
    /// The key, channel or database; 0 for the command itself.
    pub word: usize,
}

/// Where a command stood that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A client sent it.
    TopLevel,
    /// In a transaction.
    Multi,
    /// In a script.
    Script,
}

impl Place {
    /// As ACL LOG prints it.
    pub fn name(self) -> &'static str {
        match self {
            Place::TopLevel => "toplevel",
            Place::Multi => "multi",
            Place::Script => "lua",
        }
    }
}

/// One refusal, on its way to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Why.
    pub reason: Reason,
    /// Where the command stood.
    pub place: Place,
    /// The command, key or channel.
    pub object: Vec<u8>,
    /// The user, as which the client was logged in or tried to log in.
    pub username: Vec<u8>,
    /// When.
    pub time: Millis,
    /// The full name of the command that the client sent: EXEC or EVAL, if this one stood inside.
    pub command: &'static str,
    /// The client's line in CLIENT LIST; written at its home.
    pub client: Vec<u8>,
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// The last refusal of its kind.
    pub denial: Denial,
    /// How many there were.
    pub count: u64,
    /// Its number; never used again.
    pub id: u64,
    /// When the first one was.
    pub created: Millis,
}

/// The log.
#[derive(Debug, Default)]
pub struct Log {
    entries: VecDeque<LogEntry>,
    next_id: u64,
}

impl Log {
    /// Files a refusal, and forgets the oldest entries beyond `len_max`.
    pub fn add(&mut self, denial: Denial, len_max: usize) {
        if len_max > 0 {
            let compared = self.entries.iter().take(COMPARED_MAX);
            let known = compared.into_iter().position(|one| is_alike(&one.denial, &denial));
            let entry = if let Some(entry) = known.and_then(|at| self.entries.remove(at)) {
                LogEntry { denial, count: entry.count + 1, ..entry }
            } else {
                let (id, created) = (self.next_id, denial.time);
                self.next_id += 1;
                LogEntry { denial, count: 1, id, created }
            };
            self.entries.push_front(entry);
        }
        self.entries.truncate(len_max);
    }

    /// The newest entries, at most `count`.
    pub fn newest(&self, count: usize) -> Vec<LogEntry> {
        self.entries.iter().take(count).cloned().collect()
    }

    /// ACL LOG RESET.
    pub fn clear(&mut self) {
        self.entries.clear();
    }
}

fn is_alike(known: &Denial, new: &Denial) -> bool {
    known.reason == new.reason
        && known.place == new.place
        && (known.time.0 - new.time.0).abs() <= TOGETHER_MILLIS
        && known.object == new.object
        && known.username == new.username
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denial(object: &[u8], time: i64) -> Denial {
        Denial {
            reason: Reason::Key,
            place: Place::TopLevel,
            object: object.to_vec(),
            username: b"alice".to_vec(),
            time: Millis(time),
            command: "get",
            client: Vec::new(),
        }
    }

    #[test]
    fn what_repeats_within_a_minute_is_one_entry() {
        let mut log = Log::default();
        log.add(denial(b"a", 0), 10);
        log.add(denial(b"b", 1), 10);
        log.add(denial(b"a", 60_000), 10);
        let newest = log.newest(10);
        let seen: Vec<_> = newest.iter().map(|one| (one.id, one.count, one.created.0)).collect();
        assert_eq!(seen, [(0, 2, 0), (1, 1, 1)]);
        log.add(denial(b"a", 120_001), 10);
        assert_eq!(log.newest(1)[0].id, 2);
    }

    #[test]
    fn it_is_as_long_as_it_may_be() {
        let mut log = Log::default();
        (0..20).for_each(|at| log.add(denial(&[at], 0), 3));
        assert_eq!(log.newest(usize::MAX).len(), 3);
        log.add(denial(b"x", 0), 0);
        assert!(log.newest(usize::MAX).is_empty());
    }
}
