//! Replication as every core sees it: the history that this server has, and how far it has come.
//!
//! Invariant: the core that keeps the stream is the one writer, but for the history's name, which a
//! load or DEBUG may change; a reader never sees half a name.

use std::fmt;
use std::sync::atomic::{
    AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release, SeqCst},
    fence,
};

use super::log;
use crate::base::core_set::{CORES_MAX, CoreSet};
use crate::base::sys;

/// Forty hexadecimal digits that name a history of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReplicationId([u32; ID_WORDS]);

/// A step of a full synchronization at which tests may have the process stop. Source: DEBUG REPL-PAUSE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SyncStep {
    /// A primary has begun the snapshot.
    AfterFork = 1,
    /// A replica is about to ask for a snapshot over a channel.
    BeforeChannel = 2,
    /// A replica has what it kept of the stream take effect.
    OnKeptStream = 4,
}

/// How a failover stands. Source: FAILOVER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FailoverState {
    /// None is under way.
    None,
    /// Writes are held back until a replica has everything.
    WaitingForSync,
    /// A replica is asked to be the primary.
    InProgress,
}

impl FailoverState {
    const ALL: [FailoverState; 3] =
        [FailoverState::None, FailoverState::WaitingForSync, FailoverState::InProgress];

    /// As INFO calls it.
    pub fn name(self) -> &'static str {
        match self {
            FailoverState::None => "no-failover",
            FailoverState::WaitingForSync => "waiting-for-sync",
            FailoverState::InProgress => "failover-in-progress",
        }
    }
}

/// Replicas that WAIT counts, at most.
const COUNTED_MAX: usize = 64;
/// Main channels that wait for their rdb channels, at most. Who comes then gets its snapshot without one.
pub const MAIN_CHANNELS_MAX: usize = 64;
/// Eight digits each.
const ID_WORDS: usize = 5;
/// Digits of an id.
pub const ID_DIGITS: usize = 8 * ID_WORDS;

impl ReplicationId {
    /// The id that no history has.
    pub const NONE: ReplicationId = ReplicationId([0; ID_WORDS]);

    /// An id of these random numbers.
    pub fn new(words: [u32; ID_WORDS]) -> ReplicationId {
        ReplicationId(words)
    }

    /// The id that these digits name, in either case.
    pub fn parse(digits: &[u8]) -> Option<ReplicationId> {
        if digits.len() != ID_DIGITS {
            return None;
        }
        let mut words = [0u32; ID_WORDS];
        for (at, digit) in digits.iter().enumerate() {
            let value = (*digit as char).to_digit(16)?;
            words[at / 8] = words[at / 8] << 4 | value;
        }
        Some(ReplicationId(words))
    }
}

impl fmt::Display for ReplicationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|word| write!(f, "{word:08x}"))
    }
}

/// The history that a server has, and the one that it has gone on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// What it is called.
    pub id: ReplicationId,
    /// What it was called before.
    pub former: ReplicationId,
    /// Up to which offset, as PSYNC counts them, the former name is good; -1 without one.
    pub former_until: i64,
}

impl History {
    /// A history that begins.
    pub fn new(id: ReplicationId) -> History {
        History { id, former: ReplicationId::NONE, former_until: -1 }
    }
}

/// The replication of the process.
#[derive(Debug)]
pub struct Replication {
    /// Odd while the history changes.
    version: AtomicU64,
    id: [AtomicU32; ID_WORDS],
    former: [AtomicU32; ID_WORDS],
    former_until: AtomicI64,
    /// Bytes of the history so far.
    pub offset: AtomicU64,
    /// There is a stream: what commands change becomes lines of it.
    feeds: AtomicBool,
    /// The backlog is kept.
    pub has_backlog: AtomicBool,
    /// The offset of its first byte, as PSYNC counts them: from 1 on.
    pub backlog_first: AtomicU64,
    /// Bytes that it holds.
    pub backlog_len: AtomicU64,
    /// Bytes that it takes, with what is only kept for replicas that are behind.
    pub backlog_bytes: AtomicU64,
    /// For each replica that follows the stream, the number of the last block that it has, and one
    /// more; 0 is nobody.
    acked: Box<[AtomicU64; COUNTED_MAX]>,
    /// The same for what its append-only file has on disk.
    acked_synced: Box<[AtomicU64; COUNTED_MAX]>,
    /// How often these places were about to be filled anew, or had been; odd in between.
    listings: AtomicU64,
    /// Clients that wait for their rdb channels; 0 is nobody.
    main_channels: Box<[AtomicU64; MAIN_CHANNELS_MAX]>,
    /// Cores that wait for one of these to rise.
    waiting: [AtomicU64; CORES_MAX / 64],
    /// Replicas that are attached, in any state: their connections.
    pub replicas: AtomicU32,
    /// Those among them that are rdb channels of others.
    pub rdb_channels: AtomicU32,
    /// Bytes that their connections hold.
    pub replica_bytes: AtomicU64,
    /// Those that have everything and said so not long ago. Source: min-replicas-max-lag.
    pub good_replicas: AtomicU32,
    /// The number of the state of a failover.
    failover: AtomicU8,
    /// The steps at which the process stops.
    stops_at: AtomicU8,
    /// Unix time in milliseconds until which the end of the process waits for replicas; 0 if it does
    /// not.
    pub ends_at: AtomicI64,
    /// Full resynchronizations.
    pub syncs_full: AtomicU64,
    /// Partial ones.
    pub syncs_partial: AtomicU64,
    /// Partial ones that were asked for and were not possible.
    pub syncs_refused: AtomicU64,
}

impl Replication {
    /// A server with a history of its own.
    pub fn new(id: ReplicationId) -> Replication {
        let replication = Replication {
            version: AtomicU64::new(0),
            id: Default::default(),
            former: Default::default(),
            former_until: AtomicI64::new(-1),
            offset: AtomicU64::new(0),
            feeds: AtomicBool::new(false),
            has_backlog: AtomicBool::new(false),
            backlog_first: AtomicU64::new(0),
            backlog_len: AtomicU64::new(0),
            backlog_bytes: AtomicU64::new(0),
            acked: Box::new([const { AtomicU64::new(0) }; COUNTED_MAX]),
            acked_synced: Box::new([const { AtomicU64::new(0) }; COUNTED_MAX]),
            listings: AtomicU64::new(0),
            main_channels: Box::new([const { AtomicU64::new(0) }; MAIN_CHANNELS_MAX]),
            waiting: Default::default(),
            replicas: AtomicU32::new(0),
            rdb_channels: AtomicU32::new(0),
            replica_bytes: AtomicU64::new(0),
            good_replicas: AtomicU32::new(0),
            failover: AtomicU8::new(0),
            stops_at: AtomicU8::new(0),
            ends_at: AtomicI64::new(0),
            syncs_full: AtomicU64::new(0),
            syncs_partial: AtomicU64::new(0),
            syncs_refused: AtomicU64::new(0),
        };
        replication.publish(History::new(id));
        replication
    }

    /// The process stops at this step, too; None: at none any more.
    pub fn stop_at(&self, step: Option<SyncStep>) {
        match step {
            None => self.stops_at.store(0, Relaxed),
            Some(step) => {
                self.stops_at.fetch_or(step as u8, Relaxed);
            }
        }
    }

    /// Stops the process, until somebody continues it, if that is wanted at this step. True if it did.
    pub fn stop_if_wanted(&self, step: SyncStep) -> bool {
        let stops = self.stops_at.load(Relaxed) & step as u8 != 0;
        if stops {
            log::notice("Process is about to stop.");
            sys::process::stop();
            log::notice("Process has been continued.");
        }
        stops
    }

    /// The history as it is now.
    pub fn history(&self) -> History {
        loop {
            let before = self.version.load(Acquire);
            let words = |from: &[AtomicU32; ID_WORDS]| {
                ReplicationId(std::array::from_fn(|at| from[at].load(Relaxed)))
            };
            let history = History {
                id: words(&self.id),
                former: words(&self.former),
                former_until: self.former_until.load(Relaxed),
            };
            fence(Acquire);
            if before.is_multiple_of(2) && self.version.load(Relaxed) == before {
                return history;
            }
            std::hint::spin_loop();
        }
    }

    /// The history is another one from now on.
    pub fn publish(&self, history: History) {
        // Nobody who changes it takes longer than this function does.
        let is_mine = |version: u64| version.is_multiple_of(2).then_some(version + 1);
        while self.version.fetch_update(Acquire, Relaxed, is_mine).is_err() {
            std::hint::spin_loop();
        }
        fence(Release);
        for (places, id) in [(&self.id, history.id), (&self.former, history.former)] {
            for (place, word) in places.iter().zip(id.0) {
                place.store(word, Relaxed);
            }
        }
        self.former_until.store(history.former_until, Relaxed);
        self.version.fetch_add(1, Release);
    }

    /// How a failover stands.
    pub fn failover(&self) -> FailoverState {
        FailoverState::ALL[usize::from(self.failover.load(SeqCst))]
    }

    /// From here on it stands like this.
    pub fn enter_failover(&self, state: FailoverState) {
        self.failover.store(state as u8, SeqCst);
    }

    /// How many replicas have everything up to block `number`.
    pub fn count_acked(&self, number: u64) -> usize {
        self.count(self.acked.as_slice(), number)
    }

    /// How many have it on disk.
    pub fn count_synced(&self, number: u64) -> usize {
        self.count(self.acked_synced.as_slice(), number)
    }

    /// Places change hands when replicas come and go, and nobody is to count twice. While that lasts
    /// nobody counts: who waits is told to look again behind it.
    fn count(&self, places: &[AtomicU64], number: u64) -> usize {
        for _ in 0..LOOKS_MAX {
            let before = self.listings.load(SeqCst);
            let count = places.iter().filter(|acked| acked.load(SeqCst) > number).count();
            if before.is_multiple_of(2) && self.listings.load(SeqCst) == before {
                return count;
            }
            std::hint::spin_loop();
        }
        0
    }

    /// The numbers of the last blocks that each replica has, and has on disk. The cores that wait for
    /// more of them have to be woken.
    pub fn acknowledge(&self, numbers: impl Iterator<Item = (u64, u64)>) -> CoreSet {
        let mut numbers = numbers;
        self.listings.fetch_add(1, SeqCst);
        for (acked, synced) in self.acked.iter().zip(self.acked_synced.iter()) {
            let next = numbers.next();
            acked.store(next.map_or(0, |(number, _)| number + 1), SeqCst);
            synced.store(next.map_or(0, |(_, number)| number + 1), SeqCst);
        }
        self.listings.fetch_add(1, SeqCst);
        let [low, high] = &self.waiting;
        let bits = |word: &AtomicU64| u128::from(word.swap(0, SeqCst));
        CoreSet::of_bits(bits(low) | bits(high) << 64)
    }

    /// The clients that wait for their rdb channels.
    pub fn await_channels(&self, clients: impl Iterator<Item = u64>) {
        let mut clients = clients;
        for place in self.main_channels.iter() {
            place.store(clients.next().unwrap_or(0), Release);
        }
    }

    /// True if this client waits for its rdb channel.
    pub fn awaits_channel(&self, client: u64) -> bool {
        client != 0 && self.main_channels.iter().any(|place| place.load(Acquire) == client)
    }

    /// Source: CONFIG RESETSTAT.
    pub fn reset_counts(&self) {
        for count in [&self.syncs_full, &self.syncs_partial, &self.syncs_refused] {
            count.store(0, Relaxed);
        }
    }

    /// A core waits for replicas. It has to look once more how far they are.
    pub fn wait(&self, core: usize) {
        self.waiting[core / 64].fetch_or(1 << (core % 64), SeqCst);
    }

    /// True if what commands change becomes lines of the stream.
    #[inline]
    pub fn feeds(&self) -> bool {
        self.feeds.load(SeqCst)
    }

    /// From now on what commands change becomes lines of the stream, or not.
    pub fn feed(&self, feeds: bool) {
        self.feeds.store(feeds, SeqCst);
    }
}

/// How often a reader looks while the places of replicas are filled anew, which is soon done.
const LOOKS_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_forty_digits_in_either_case() {
        let id = ReplicationId::new([1, 0xabcd_ef01, 0, u32::MAX, 7]);
        let text = id.to_string();
        assert_eq!(text, "00000001abcdef0100000000ffffffff00000007");
        assert_eq!(ReplicationId::parse(text.as_bytes()), Some(id));
        assert_eq!(ReplicationId::parse(text.to_uppercase().as_bytes()), Some(id));
        assert_eq!(ReplicationId::parse(&text.as_bytes()[1..]), None);
        assert_eq!(ReplicationId::parse(text.replace('a', "g").as_bytes()), None);
    }

    #[test]
    fn a_reader_never_sees_half_a_history() {
        const ROUNDS: u32 = if cfg!(miri) { 100 } else { 20_000 };
        let of = |round: u32| History {
            id: ReplicationId([round; ID_WORDS]),
            former: ReplicationId([round; ID_WORDS]),
            former_until: round.into(),
        };
        let shared = Replication::new(ReplicationId::NONE);
        shared.publish(of(0));
        std::thread::scope(|scope| {
            scope.spawn(|| (0..=ROUNDS).for_each(|round| shared.publish(of(round))));
            loop {
                let seen = shared.history();
                assert_eq!(seen, of(seen.id.0[0]));
                if seen == of(ROUNDS) {
                    break;
                }
            }
        });
    }
}
