//! What is remembered of commands that took long, or had a large request or reply.
//!
//! Invariant: a command that is not remarkable pays three comparisons. What is remarkable becomes a
//! note, which goes to the home of its client with the replies; only there it is filed. Source:
//! SLOWLOG and LATENCY of Redis 8.0, COMMANDLOG of Valkey 9.1.

use super::table::Registered;
use super::worker::Worker;
use crate::base::time::{TickRate, Ticks};
use crate::client::SessionFacts;
use crate::command::args::ArgValue;
use crate::command::secret::{REDACTED, secret_words};
use crate::command::{Args, Flags, keyspec};
use crate::config::{Config, directives};
use crate::observe::command_log::{self, LogKind, LoggedCommand, Note, Spent, WORDS_MAX};
use crate::observe::hotkeys::HotKeySession;

/// Keys of one command that HOTKEYS counts.
const HOT_KEYS_MAX: usize = 256;
const NANOS_PER_MICRO: u64 = 1_000;
const NANOS_PER_MILLI: u64 = 1_000_000;

/// From where on a command is remarkable; `u64::MAX` where nothing is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The lower one of the two below.
    nanos: u64,
    /// SLOWLOG, in nanoseconds.
    slow: u64,
    /// LATENCY, in nanoseconds.
    latency: u64,
    /// Bytes of a request.
    request: u64,
    /// Bytes of a reply.
    reply: u64,
}

impl Limits {
    /// The limits that a configuration sets.
    pub(super) fn of(config: &Config) -> Limits {
        let limit = |threshold: i64, len_max: usize, unit: u64| match u64::try_from(threshold) {
            Ok(threshold) if len_max > 0 => threshold.saturating_mul(unit),
            _ => u64::MAX,
        };
        let slow = limit(config.slowlog_log_slower_than, config.slowlog_max_len, NANOS_PER_MICRO);
        let latency = match config.latency_monitor_threshold {
            0 => u64::MAX,
            millis => millis.saturating_mul(NANOS_PER_MILLI),
        };
        let requests = config.commandlog_large_request_max_len;
        let replies = config.commandlog_large_reply_max_len;
        Limits {
            nanos: slow.min(latency),
            slow,
            latency,
            request: limit(config.commandlog_request_larger_than, requests, 1),
            reply: limit(config.commandlog_reply_larger_than, replies, 1),
        }
    }
}

/// The time of a command that has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    /// What it took.
    pub(super) nanos: u64,
    /// When it began, in ticks.
    pub(super) started: u64,
}

impl Worker {
    /// The configuration, or who watches, has changed.
    pub fn limits_changed(&mut self) {
        self.limits = Limits::of(&self.config);
        let counts = |session: &HotKeySession| session.is_active(self.now);
        if !self.monitors.is_empty() || self.hotkeys.as_deref().is_some_and(counts) {
            // Everything is looked at.
            self.limits.nanos = 0;
        }
    }

    /// Looks at a command that has just ended and answered with so many bytes.
    #[inline]
    pub(super) fn look_at(
        &mut self,
        facts: &SessionFacts,
        (registered, args): (&Registered, Args<'_>),
        taken: Taken,
        reply_bytes: usize,
    ) {
        let Limits { nanos, request, reply, .. } = self.limits;
        if taken.nanos >= nanos || reply_bytes as u64 >= reply || may_reach(args, request) {
            self.show(facts, registered, args);
            self.note((registered, args), taken, reply_bytes as u64);
        }
    }

    /// Counts a command for HOTKEYS: those of scripts are part of the script, as it names its keys.
    fn count_hot(
        &mut self,
        (registered, args): (&Registered, Args<'_>),
        nanos: u64,
        reply_bytes: u64,
    ) {
        let now = self.now;
        if self.hotkeys.as_ref().is_some_and(|session| !session.is_active(now)) {
            // Its time is over: commands need not be looked at for it any more.
            return self.limits_changed();
        }
        let Some(session) = &self.hotkeys else { return };
        let ratio = session.plan.ratio;
        let is_sampled = ratio == 1 || self.rng.next_u64().is_multiple_of(ratio);
        let hasher = self.hasher.hash_key();
        let mut keys = Vec::new();
        let found = keyspec::keys_of(registered.command.keys, args, |index, _| {
            // Of very many keys the first ones stand for all.
            if keys.len() < HOT_KEYS_MAX {
                let key = args.get(index);
                keys.push((key, hasher.hash(key)));
            }
        });
        let Some(session) = &mut self.hotkeys else { return };
        if found.is_ok() && !self.in_script {
            let bytes = args.request_bytes() + reply_bytes;
            session.add(&keys, (nanos, bytes), is_sampled);
        }
    }

    #[cold]
    fn note(
        &mut self,
        (registered, args): (&Registered, Args<'_>),
        Taken { nanos, started }: Taken,
        reply_bytes: u64,
    ) {
        let flags = registered.command.flags;
        if self.hotkeys.is_some() {
            self.count_hot((registered, args), nanos, reply_bytes);
        }
        if nanos >= self.limits.latency {
            let event = if flags.has(Flags::FAST) { "fast-command" } else { "command" };
            self.latency.add(event, self.now.seconds(), nanos / NANOS_PER_MILLI);
        }
        if flags.has(Flags::SKIP_SLOWLOG) {
            return;
        }
        let request_bytes = args.request_bytes();
        for (kind, reached, value) in [
            (LogKind::Slow, nanos >= self.limits.slow, nanos / NANOS_PER_MICRO),
            (LogKind::LargeRequest, request_bytes >= self.limits.request, request_bytes),
            (LogKind::LargeReply, reply_bytes >= self.limits.reply, reply_bytes),
        ] {
            if !reached {
                continue;
            }
            let entry = LoggedCommand {
                id: self.server.next_logged(kind),
                seconds: self.now.seconds(),
                value,
                words: shown_words(registered, args),
                spent: Spent { execution: nanos, ..Spent::default() },
                ..LoggedCommand::default()
            };
            self.notes.push(Note { kind, started, entry });
        }
    }

    /// Files how long something took that is no command, and began at `began`.
    pub fn note_latency_since(&mut self, event: &'static str, began: u64) {
        if self.limits.latency < u64::MAX {
            let nanos = self.tick_rate.nanos(Ticks::now().wrapping_sub(began));
            self.note_latency(event, nanos);
        }
    }

    /// Files how long something took that is no command.
    pub fn note_latency(&mut self, event: &'static str, nanos: u64) {
        if nanos >= self.limits.latency {
            self.latency.add(event, self.now.seconds(), nanos / NANOS_PER_MILLI);
        }
    }

    /// How long a tick is.
    pub fn tick_rate(&self) -> TickRate {
        self.tick_rate
    }

    /// When this turn began, in ticks.
    #[inline]
    pub fn turn_tick(&self) -> u64 {
        self.turn_tick
    }

    /// The last look at the clock, in ticks: the end of the last command or the begin of what runs.
    #[inline]
    pub fn last_tick(&self) -> u64 {
        self.last_tick
    }

    /// Completes notes of commands whose client sent them at `since`, of which they were under way,
    /// or waited for partitions, for so many ticks.
    #[cold]
    pub fn complete_notes(&self, notes: &mut [Note], (since, hop, loan): (u64, u64, u64)) {
        let nanos = |ticks| self.tick_rate.nanos(ticks);
        for note in notes {
            let waited = note.started.saturating_sub(since).saturating_sub(hop + loan);
            let Spent { queue, hop: hops, loan: loans, .. } = &mut note.entry.spent;
            (*queue, *hops, *loans) = (nanos(waited), nanos(hop), nanos(loan));
        }
    }
}

/// False if a request has surely fewer bytes on the wire than `limit`.
#[inline]
fn may_reach(args: Args<'_>, limit: u64) -> bool {
    limit != u64::MAX && (args.spanned() >= limit || !args.big().is_empty())
}

/// The words of a request that are not to be shown.
pub(super) fn secrets_of(registered: &Registered, args: Args<'_>) -> Vec<usize> {
    secret_words(registered.full_name, args, directives::is_sensitive)
}

/// The words of a request as logs show them.
fn shown_words(registered: &Registered, args: Args<'_>) -> Vec<Vec<u8>> {
    let secret = secrets_of(registered, args);
    let rest = command_log::rest_word(args.len());
    let shown = if rest.is_some() { WORDS_MAX - 1 } else { args.len() };
    let word = |at: usize| match args.value(at) {
        _ if secret.contains(&at) => REDACTED.to_vec(),
        ArgValue::Bytes(bytes) => command_log::shown_word(bytes, bytes.len() as u64),
        ArgValue::Big(big) => {
            command_log::shown_word(&big.head(command_log::WORD_BYTES_MAX), big.len())
        }
    };
    (0..shown).map(word).chain(rest).collect()
}
