//! The command logs: the last commands that took long, and those with a large request or reply.
//!
//! Invariant: an entry lies on its client's home core, which alone knows the client's address and
//! name; numbers are given by one counter a log for the whole process, when the command ends. So the
//! log of the process is what the cores hold, by number, and never longer than its limit.
//! Source: SLOWLOG of Redis 8.0, COMMANDLOG of Valkey 9.1.

use std::collections::VecDeque;
use std::sync::Arc;

/// Words of an entry, the last of which counts those that were left out.
pub const WORDS_MAX: usize = 32;
/// Bytes of each word, before it says how many were left out.
pub const WORD_BYTES_MAX: usize = 128;

/// Logs.
pub const KINDS: usize = 3;

/// Which log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogKind {
    /// Commands that took long.
    Slow,
    /// Commands with a large request.
    LargeRequest,
    /// Commands with a large reply.
    LargeReply,
}

impl LogKind {
    /// All of them.
    pub const ALL: [LogKind; KINDS] = [LogKind::Slow, LogKind::LargeRequest, LogKind::LargeReply];

    /// The log of this name, in any case. Source: COMMANDLOG.
    pub fn of(name: &[u8]) -> Option<LogKind> {
        LogKind::ALL.into_iter().find(|kind| kind.name().as_bytes().eq_ignore_ascii_case(name))
    }

    /// As COMMANDLOG names it.
    pub fn name(self) -> &'static str {
        match self {
            LogKind::Slow => "slow",
            LogKind::LargeRequest => "large-request",
            LogKind::LargeReply => "large-reply",
        }
    }
}

/// What the time of a command went to, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// From when its core took up what the client had sent, without what is below.
    pub queue: u64,
    /// On the way between cores.
    pub hop: u64,
    /// Waiting for partitions that were lent, or to be lent.
    pub loan: u64,
    /// Running.
    pub execution: u64,
}

/// One entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoggedCommand {
    /// Its number; never used again, and higher the later the command ended.
    pub id: u64,
    /// When, in seconds since the epoch.
    pub seconds: i64,
    /// Microseconds, or bytes.
    pub value: u64,
    /// The request, cut to the limits above and without secrets.
    pub words: Vec<Vec<u8>>,
    /// The client's address.
    pub addr: String,
    /// The client's name.
    pub name: Vec<u8>,
    /// What its time went to.
    pub spent: Spent,
}

/// An entry on its way to the home core of its client.
#[derive(Clone, Debug)]
pub struct Note {
    /// Which log it is for.
    pub kind: LogKind,
    /// When the command began to run, in ticks.
    pub started: u64,
    /// The entry, without the client's address and name.
    pub entry: LoggedCommand,
}

/// One core's part of the logs.
#[derive(Debug, Default)]
pub struct CommandLog {
    logs: [VecDeque<Arc<LoggedCommand>>; KINDS],
}

impl CommandLog {
    /// Files an entry, and forgets the oldest ones beyond `len_max`.
    pub fn add(&mut self, kind: LogKind, entry: LoggedCommand, len_max: usize) {
        let log = &mut self.logs[kind as usize];
        log.push_back(Arc::new(entry));
        while log.len() > len_max {
            log.pop_front();
        }
    }

    /// The last `count` entries of this core, in no order.
    pub fn newest(&self, kind: LogKind, count: usize) -> Vec<Arc<LoggedCommand>> {
        self.logs[kind as usize].iter().rev().take(count).cloned().collect()
    }

    /// Entries of this core.
    pub fn len(&self, kind: LogKind) -> usize {
        self.logs[kind as usize].len()
    }

    /// Forgets a log.
    pub fn clear(&mut self, kind: LogKind) {
        self.logs[kind as usize].clear();
    }
}

/// What all cores hold of a log, the newest first, at most `count` entries.
pub fn gather(mut entries: Vec<Arc<LoggedCommand>>, count: usize) -> Vec<Arc<LoggedCommand>> {
    entries.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.id));
    entries.truncate(count);
    entries
}

/// What an entry shows of a word of `len` bytes that begins with `head`.
pub fn shown_word(head: &[u8], len: u64) -> Vec<u8> {
    let max = WORD_BYTES_MAX as u64;
    if len <= max {
        return head.to_vec();
    }
    let mut word = head[..WORD_BYTES_MAX].to_vec();
    word.extend_from_slice(format!("... ({} more bytes)", len - max).as_bytes());
    word
}

/// The last word of an entry whose request has so many words, if that is more than fit. None if all
/// do.
pub fn rest_word(words: usize) -> Option<Vec<u8>> {
    let left_out = words.checked_sub(WORDS_MAX - 1).filter(|left| *left > 1)?;
    Some(format!("... ({left_out} more arguments)").into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: u64) -> LoggedCommand {
        LoggedCommand { id, ..LoggedCommand::default() }
    }

    #[test]
    fn the_cores_parts_are_one_log() {
        let (mut one, mut two) = (CommandLog::default(), CommandLog::default());
        for id in 0..10 {
            let log = if id % 3 == 0 { &mut one } else { &mut two };
            log.add(LogKind::Slow, entry(id), 4);
        }
        assert_eq!((one.len(LogKind::Slow), two.len(LogKind::Slow)), (4, 4));
        let mut all = one.newest(LogKind::Slow, 4);
        all.extend(two.newest(LogKind::Slow, 4));
        let ids: Vec<u64> = gather(all, 4).iter().map(|one| one.id).collect();
        assert_eq!(ids, [9, 8, 7, 6]);
        one.clear(LogKind::Slow);
        assert_eq!(one.len(LogKind::Slow), 0);
        one.add(LogKind::Slow, entry(11), 0);
        assert_eq!(one.len(LogKind::Slow), 0);
    }

    #[test]
    fn words_are_cut_as_stock_cuts_them() {
        assert_eq!(rest_word(32), None);
        assert_eq!(rest_word(33), Some(b"... (2 more arguments)".to_vec()));
        assert_eq!(rest_word(35), Some(b"... (4 more arguments)".to_vec()));
        let long = [b'x'; 130];
        assert_eq!(shown_word(&long[..128], 128), &long[..128]);
        let cut = [&long[..128], b"... (2 more bytes)"].concat();
        assert_eq!(shown_word(&long, 130), cut);
    }
}
