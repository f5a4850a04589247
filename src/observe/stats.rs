//! Per-core counters, summed only when somebody asks.
//!
//! Invariant: each counter has one writer, the core that owns it, and is stored before the replies
//! of the turn leave; so whoever has seen a reply finds it counted. Relaxed order is enough: the
//! reply's way through the kernel, or a mailbox, orders the rest.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use super::errors::ErrorStats;
use super::phases::Phases;

/// A counter with one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds; only the owner may.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Takes away; only the owner may.
    #[inline]
    pub fn sub(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(n), Relaxed);
    }

    /// Replaces; only the owner may.
    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// Raises to `n` if that is more; only the owner may.
    #[inline]
    pub fn raise(&self, n: u64) {
        if n > self.get() {
            self.set(n);
        }
    }

    /// The value.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

macro_rules! counters {
    ($(#[$struct_doc:meta])* $name:ident { $($(#[$doc:meta])* $field:ident,)* }) => {
        $(#[$struct_doc])*
        #[derive(Debug, Default)]
        pub struct $name { $($(#[$doc])* pub $field: Counter,)* }

        impl $name {
            /// Back to zero (CONFIG RESETSTAT); only the owner may.
            pub fn reset(&self) {
                $(self.$field.set(0);)*
            }
        }
    };
}

counters! {
    /// What CONFIG RESETSTAT sets back.
    Totals {
        /// Connections that were accepted.
        connections,
        /// Connections refused for maxclients.
        rejected_connections,
        /// Commands that ran.
        commands,
        /// Bytes read from clients.
        net_input_bytes,
        /// Bytes sent to clients.
        net_output_bytes,
        /// Bytes of the stream and of snapshots sent to replicas.
        net_repl_output_bytes,
        /// Reads of a key that was there.
        keyspace_hits,
        /// Reads of a key that was not.
        keyspace_misses,
        /// Keys that expired.
        expired_keys,
        /// Fields of hashes that expired.
        expired_subkeys,
        /// Keys that were evicted.
        evicted_keys,
        /// Clients that were evicted.
        evicted_clients,
        /// Scripts that EVAL brought and others took the place of.
        evicted_scripts,
        /// Expiry slices that ended with work left.
        expired_time_cap_reached,
        /// CPU nanoseconds spent on active expiry.
        expire_cycle_nanos,
        /// Error replies.
        error_replies,
        /// Error replies outside of commands (protocol errors).
        unexpected_error_replies,
        /// Completed receives.
        reads,
        /// Sends.
        writes,
        /// Values that were freed in slices.
        lazyfreed,
        /// Clients closed for their query buffer.
        query_buffer_disconnections,
        /// Clients closed for their output.
        output_buffer_disconnections,
        /// Batches sent to another core.
        hops,
        /// Partitions lent.
        loans,
        /// Wakes sent to parked cores.
        wakes,
        /// Turns of the event loop.
        turns,
        /// Nanoseconds of all turns, waiting excluded.
        turn_nanos,
        /// Nanoseconds of all turns spent in commands.
        turn_command_nanos,
        /// Nanoseconds of all turns spent in housekeeping.
        turn_house_nanos,
        /// Slices of housekeeping that took longer than they should.
        slice_overruns,
        /// The longest turn in nanoseconds.
        turn_nanos_max,
        /// The most commands of one turn.
        turn_commands_max,
        /// The longest turn in nanoseconds of the thread's CPU time.
        turn_cpu_nanos_max,
        /// Receives that found no free buffer.
        recv_no_buffers,
        /// Completions lost to a full queue and fetched late.
        cq_overflows,
        /// Sends that did not go out in one piece.
        short_sends,
    }
}

counters! {
    /// What was refused for want of permissions; CONFIG RESETSTAT leaves these alone.
    Denials {
        /// Logins with a wrong name or password.
        auth,
        /// Commands.
        commands,
        /// Keys.
        keys,
        /// Channels.
        channels,
        /// Databases.
        databases,
        /// Users that a certificate names.
        certificate,
    }
}

counters! {
    /// Calls of one command.
    CommandTotals {
        /// Calls that ran.
        calls,
        /// Nanoseconds in its handler.
        nanos,
        /// Refused before they ran.
        rejected,
        /// Ended with an error.
        failed,
    }
}

/// One command's counters and, once it ran, its latency histogram.
#[derive(Debug, Default)]
pub struct CommandStats {
    /// Sums.
    pub totals: CommandTotals,
    histogram: OnceLock<Box<Histogram>>,
}

impl CommandStats {
    /// Counts a call that took `nanos`; `track` also files it in the histogram.
    #[inline]
    pub fn record(&self, nanos: u64, track: bool) {
        self.totals.calls.add(1);
        self.totals.nanos.add(nanos);
        if track {
            self.histogram.get_or_init(Box::default).record(nanos);
        }
    }

    /// The latency histogram, if any call was filed.
    pub fn histogram(&self) -> Option<&Histogram> {
        self.histogram.get().map(|boxed| &**boxed)
    }

    /// Back to zero; only the owner may.
    pub fn reset(&self) {
        self.totals.reset();
        if let Some(histogram) = self.histogram.get() {
            histogram.reset();
        }
    }
}

/// Sub-buckets of each power of two: a relative error below one in 32.
const SUB_BUCKETS: usize = 32;
const SUB_BITS: u32 = SUB_BUCKETS.trailing_zeros();
/// Values up to 2^36 ns, a minute; longer ones count as that.
const OCTAVES: usize = 32;

/// A log-linear histogram of nanoseconds with one writer and any readers.
#[derive(Debug)]
pub struct Histogram {
    counts: [Counter; OCTAVES * SUB_BUCKETS],
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { counts: std::array::from_fn(|_| Counter::default()) }
    }
}

impl Histogram {
    #[inline]
    fn bucket(nanos: u64) -> usize {
        if nanos < SUB_BUCKETS as u64 {
            return nanos as usize;
        }
        let exponent = nanos.ilog2();
        let octave = (exponent - SUB_BITS + 1) as usize;
        let sub = (nanos >> (exponent - SUB_BITS)) as usize & (SUB_BUCKETS - 1);
        (octave * SUB_BUCKETS + sub).min(OCTAVES * SUB_BUCKETS - 1)
    }

    /// The highest value that falls into bucket `index`.
    pub fn highest(index: usize) -> u64 {
        let (octave, sub) = (index / SUB_BUCKETS, (index % SUB_BUCKETS) as u64);
        if octave == 0 {
            return sub;
        }
        let shift = octave as u32 - 1;
        ((SUB_BUCKETS as u64 + sub + 1) << shift) - 1
    }

    /// Files one value.
    #[inline]
    pub fn record(&self, nanos: u64) {
        self.counts[Self::bucket(nanos)].add(1);
    }

    /// Adds the counts to `sums`, one per bucket.
    pub fn add_to(&self, sums: &mut Vec<u64>) {
        sums.resize(self.counts.len(), 0);
        for (sum, count) in sums.iter_mut().zip(&self.counts) {
            *sum += count.get();
        }
    }

    /// Back to zero; only the owner may.
    pub fn reset(&self) {
        for count in &self.counts {
            count.set(0);
        }
    }
}

/// The value in nanoseconds below which `percent` of `sums` (from `Histogram::add_to`) lie.
pub fn percentile(sums: &[u64], percent: f64) -> u64 {
    let total: u64 = sums.iter().sum();
    let rank = ((percent / 100.0) * total as f64).ceil().max(1.0) as u64;
    let mut seen = 0;
    for (index, count) in sums.iter().enumerate() {
        seen += count;
        if seen >= rank {
            return Histogram::highest(index);
        }
    }
    0
}

/// What one database holds on one core.
#[derive(Debug, Default)]
pub struct DbGauges {
    /// Keys.
    pub keys: Counter,
    /// Keys with an expiry.
    pub expires: Counter,
    /// Hashes with fields that expire.
    pub subexpiry: Counter,
    /// Mean time to live in milliseconds.
    pub avg_ttl: Counter,
    /// Bytes of the table, without the entries; looked at once a second.
    pub table_bytes: Counter,
}

/// Rates, as the sums of sixteen samples a tenth of a second apart.
#[derive(Debug, Default)]
pub struct Rates {
    /// Commands per second.
    pub commands: Counter,
    /// Bytes read per second.
    pub input_bytes: Counter,
    /// Bytes sent per second.
    pub output_bytes: Counter,
    /// Turns per second.
    pub turns: Counter,
    /// Mean nanoseconds of a turn.
    pub turn_nanos: Counter,
}

/// Everything that one core counts.
#[derive(Debug)]
#[repr(align(128))]
pub struct CoreStats {
    /// Since the start or CONFIG RESETSTAT.
    pub totals: Totals,
    /// What was refused for want of permissions.
    pub denials: Denials,
    /// Clients that live here.
    pub clients: Counter,
    /// Clients that were sent here and have not arrived yet, counted by the accepting core.
    pub clients_assigned: Counter,
    /// Clients that wait in a blocking command.
    pub blocked_clients: Counter,
    /// Those of them whose wait ends by itself.
    pub timed_clients: Counter,
    /// Clients that have subscribed to something.
    pub pubsub_clients: Counter,
    /// Bytes that the interpreter of scripts holds.
    pub script_engine_bytes: Counter,
    /// Bytes that the core's interpreter of functions holds.
    pub function_engine_bytes: Counter,
    /// Clients that watch keys.
    pub watching_clients: Counter,
    /// Keys of the partition that somebody watches.
    pub watched_keys: Counter,
    /// Clients that have tracking on.
    pub tracking_clients: Counter,
    /// Keys of the partition that clients keep.
    pub tracked_keys: Counter,
    /// The same, each as often as it is kept.
    pub tracked_items: Counter,
    /// Keys with an expiry that only this server knows of, on a writable replica.
    pub unshared_keys: Counter,
    /// Prefixes that clients want to hear of; the same on every core.
    pub tracked_prefixes: Counter,
    /// Keys of the partition that somebody waits for.
    pub blocking_keys: Counter,
    /// Those of them whose deletion somebody wants to hear of.
    pub blocking_keys_on_nokey: Counter,
    /// Changes since the start, for rdb_changes_since_last_save.
    pub dirty: Counter,
    /// The largest query buffer of late.
    pub max_input_bytes: Counter,
    /// The largest output of late.
    pub max_output_bytes: Counter,
    /// Bytes that clients hold.
    pub clients_bytes: Counter,
    /// The most that a client holds that may be evicted for it; `u64::MAX` where the core knows of no
    /// limit.
    pub largest_client_bytes: Counter,
    /// 1 on a core that knows that this server is a replica.
    pub follows: Counter,
    /// How soon the partition's best candidate for eviction is to go; 0 if none is known.
    pub eviction_score: Counter,
    /// Values that wait to be freed.
    pub lazyfree_pending: Counter,
    /// User and system CPU time of the thread in microseconds.
    pub cpu_user_micros: Counter,
    /// See `cpu_user_micros`.
    pub cpu_sys_micros: Counter,
    /// What each database holds.
    pub dbs: Box<[DbGauges]>,
    /// Rates of late.
    pub rates: Rates,
    /// Messages to other cores that have not left, and work that waits for the partition.
    pub queued: Counter,
    /// Remarkable commands in the slow log.
    pub slow_commands: Counter,
    /// Nanoseconds of each turn.
    pub turn_lengths: Histogram,
    /// What the time of commands goes to.
    pub phases: Phases,
    /// By command, at its number in the table.
    pub commands: Box<[CommandStats]>,
    /// By error code.
    pub errors: ErrorStats,
    /// One more than the number of the command that runs, or ran last, and its client.
    running: (Counter, Counter),
}

impl CoreStats {
    /// A command of a client begins.
    #[inline]
    pub fn begins(&self, command: usize, client: u64) {
        self.running.0.set(command as u64 + 1);
        self.running.1.set(client);
    }

    /// The number of the command that runs, or ran last, and its client.
    pub fn running(&self) -> (Option<usize>, u64) {
        (self.running.0.get().checked_sub(1).map(|number| number as usize), self.running.1.get())
    }

    /// Zeros for so many commands and databases.
    pub fn new(commands: usize, databases: usize) -> Self {
        CoreStats {
            totals: Totals::default(),
            denials: Denials::default(),
            clients: Counter::default(),
            clients_assigned: Counter::default(),
            blocked_clients: Counter::default(),
            timed_clients: Counter::default(),
            pubsub_clients: Counter::default(),
            script_engine_bytes: Counter::default(),
            function_engine_bytes: Counter::default(),
            watching_clients: Counter::default(),
            watched_keys: Counter::default(),
            tracking_clients: Counter::default(),
            tracked_keys: Counter::default(),
            unshared_keys: Counter::default(),
            tracked_items: Counter::default(),
            tracked_prefixes: Counter::default(),
            blocking_keys: Counter::default(),
            blocking_keys_on_nokey: Counter::default(),
            dirty: Counter::default(),
            max_input_bytes: Counter::default(),
            max_output_bytes: Counter::default(),
            clients_bytes: Counter::default(),
            largest_client_bytes: Counter::default(),
            follows: Counter::default(),
            eviction_score: Counter::default(),
            lazyfree_pending: Counter::default(),
            cpu_user_micros: Counter::default(),
            cpu_sys_micros: Counter::default(),
            dbs: (0..databases).map(|_| DbGauges::default()).collect(),
            rates: Rates::default(),
            queued: Counter::default(),
            slow_commands: Counter::default(),
            turn_lengths: Histogram::default(),
            phases: Phases::default(),
            commands: (0..commands).map(|_| CommandStats::default()).collect(),
            errors: ErrorStats::default(),
            running: Default::default(),
        }
    }

    /// Counts an error reply by its line, without `-`; only the owner may.
    pub fn count_error(&self, line: &[u8]) {
        self.totals.error_replies.add(1);
        // The codes that were forgotten count as freed in slices, as in Redis.
        self.totals.lazyfreed.add(self.errors.count(line) as u64);
    }

    /// CONFIG RESETSTAT; only the owner may.
    pub fn reset(&self) {
        self.totals.reset();
        self.turn_lengths.reset();
        self.phases.reset();
        for command in &self.commands {
            command.reset();
        }
        self.errors.reset();
    }
}

/// A signed gauge that any thread may change.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Adds and returns the new value.
    pub fn add(&self, n: i64) -> i64 {
        self.0.fetch_add(n, Relaxed) + n
    }

    /// The value.
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_bucket_holds_what_it_says() {
        for nanos in [0, 1, 31, 32, 33, 63, 64, 1000, 123_456, 1 << 35] {
            let bucket = Histogram::bucket(nanos);
            assert!(Histogram::highest(bucket) >= nanos, "{nanos}");
            assert!(bucket == 0 || Histogram::highest(bucket - 1) < nanos, "{nanos}");
        }
    }

    #[test]
    fn percentiles_of_a_ramp() {
        let histogram = Histogram::default();
        for nanos in 1..=1000 {
            histogram.record(nanos);
        }
        let mut sums = Vec::new();
        histogram.add_to(&mut sums);
        let median = percentile(&sums, 50.0);
        assert!((480..=520).contains(&median), "{median}");
        assert!((990..=1030).contains(&percentile(&sums, 99.9)));
    }
}
