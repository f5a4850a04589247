//! Follows a sample of the commands from the turn that read them to the send of their replies, and
//! counts their keys; walks over the keys of the partition for the large ones.
//!
//! Invariant: one client at most is followed at a time, from turn to turn; who is not pays one
//! comparison. The walk of a round is bounded.

use super::Core;
use super::stage::{Item, Staged};
use crate::base::time::{Clock, Nanos, Ticks};
use crate::command::keyspec;
use crate::observe::phases::SAMPLE_NANOS;
use crate::ring::Ring;
use crate::store::memory::entry_bytes;
use crate::txn::batch::Batch;

/// A client whose reply has not left after so long waits for something: it tells nothing of the
/// server.
const FOLLOWED_NANOS_MAX: u64 = 10_000_000_000;
/// Keys that one round of the walk looks at: some 10 us.
const WALKED_PER_ROUND: usize = 128;
/// Keys between two looks at how many these were.
const WALKED_AT_ONCE: usize = 8;
/// A value of this size is enough for one round.
const LARGE_BYTES: usize = 1 << 20;
/// Rounds until what is known of hot keys fades.
const FADING_ROUNDS: u64 = 100;

/// The client that is followed; times are ticks.
#[derive(Clone, Copy, Debug)]
struct Followed {
    client: u32,
    generation: u32,
    /// When its commands were read.
    since: u64,
    queue: u64,
    hop: u64,
    execution: u64,
    /// When the last of them had run.
    ended: u64,
    /// Its replies were seen waiting for the journal.
    waited: bool,
    /// When they might leave.
    durable: Option<u64>,
}

/// Who is followed, and when that began.
#[derive(Debug)]
pub(super) struct Probe {
    followed: Option<Followed>,
    began: Nanos,
    /// So many commands run before the one that is followed next, if one was chosen.
    skips: Option<usize>,
}

impl Default for Probe {
    fn default() -> Probe {
        Probe { followed: None, began: Nanos(0), skips: None }
    }
}

impl<R: Ring, C: Clock> Core<R, C> {
    /// Which of the commands that run now is followed; one beyond them all if none is.
    #[inline]
    pub(super) fn pick_sample(&mut self, commands: usize) -> usize {
        let now = self.cron.turn_began();
        let elapsed = now.since(self.probe.began);
        let is_free = self.probe.followed.is_none() || elapsed > FOLLOWED_NANOS_MAX;
        if elapsed < SAMPLE_NANOS || !is_free {
            return usize::MAX;
        }
        // Any command of a turn, of which these may be a part; it will be about as long as the last.
        let turn = self.stage.of_last_turn().max(commands);
        let skips = self.probe.skips.take();
        let skips = skips.unwrap_or_else(|| (self.worker.rng.next_u64() % turn as u64) as usize);
        if skips >= commands {
            self.probe.skips = Some(skips - commands);
            return usize::MAX;
        }
        self.probe.began = now;
        skips
    }

    /// Runs the commands of a client of whom one, at `sampled`, is followed.
    #[cold]
    pub(super) fn run_sampled(&mut self, client: u32, commands: &[Staged], sampled: usize) {
        self.count_key(&commands[sampled]);
        let since = self.worker.turn_tick();
        let began = self.worker.last_tick();
        self.run_client(client, commands);
        let ended = self.worker.last_tick();
        let Some(connection) = self.clients.get(client) else { return };
        self.probe.followed = Some(Followed {
            client,
            generation: connection.generation,
            since,
            queue: began.saturating_sub(since),
            hop: 0,
            execution: ended.saturating_sub(began),
            ended,
            waited: false,
            durable: None,
        });
    }

    fn count_key(&mut self, staged: &Staged) {
        let Item::Command { id: Some(id), .. } = staged.item else { return };
        let args = self.stage.args(staged, &self.ring);
        let mut first = None;
        let specs = self.worker.table.all()[usize::from(id)].command.keys;
        let found = keyspec::keys_of(specs, args, |index, _| {
            first = first.or(Some(index));
        });
        let (Some(index), Ok(())) = (first, found) else { return };
        let Some(connection) = self.clients.get(staged.client) else { return };
        let key = args.get(index);
        let hash = self.worker.hasher.hash_key().hash(key);
        self.key_samples.hot.add(connection.session.facts.db, key, hash);
    }

    /// The commands of a client that left its home have all run.
    #[inline]
    pub(super) fn follow_home(&mut self, batch: &Batch) {
        if let Some(followed) = &mut self.probe.followed
            && followed.client == batch.client
            && followed.generation == batch.generation
        {
            let now = self.worker.last_tick();
            followed.hop = batch.travel.hop + batch.travel.loan;
            let away = now.saturating_sub(followed.since);
            followed.execution = away.saturating_sub(followed.queue + followed.hop);
            followed.ended = now;
        }
    }

    /// At the end of a turn: where the replies of the client that is followed are.
    #[inline]
    pub(super) fn look_at_followed(&mut self) {
        if self.probe.followed.is_some() {
            self.probe.followed = self.follow();
        }
    }

    #[cold]
    fn follow(&mut self) -> Option<Followed> {
        let mut followed = self.probe.followed?;
        let connection = self.clients.of(followed.client, followed.generation)?;
        if connection.is_dead || connection.blocked.is_some() {
            return None;
        }
        if connection.away || connection.stalled.is_some() {
            return Some(followed);
        }
        let now = Ticks::now();
        if connection.output.waits() {
            followed.waited = true;
            return Some(followed);
        }
        let durable = if followed.waited { now } else { followed.ended };
        let durable = *followed.durable.get_or_insert(durable);
        if !connection.output.is_idle() {
            return Some(followed);
        }
        let Followed { queue, hop, execution, ended, .. } = followed;
        let rate = self.worker.tick_rate();
        let [queue, hop, execution, durability, send] =
            [queue, hop, execution, durable.saturating_sub(ended), now.saturating_sub(durable)]
                .map(|ticks| rate.nanos(ticks));
        let total = queue + hop + execution + durability + send;
        self.worker.stats.phases.record(&[total, queue, hop, execution, durability, send]);
        None
    }

    /// Walks over some keys.
    pub(super) fn survey_keys(&mut self, round: u64) {
        if round.is_multiple_of(FADING_ROUNDS) {
            self.key_samples.hot.fade();
        }
        let Some(partition) = self.seat.partition_now() else { return };
        let databases = partition.dbs().len();
        let samples = &mut self.key_samples;
        let mut walked = 0;
        while walked < WALKED_PER_ROUND {
            let (db, cursor) = samples.at;
            let survey = &mut samples.current;
            walked += WALKED_AT_ONCE;
            let next = partition.db(db).scan(cursor, WALKED_AT_ONCE, |entry| {
                let bytes = entry_bytes(entry);
                walked += if bytes >= LARGE_BYTES { WALKED_PER_ROUND } else { 0 };
                survey.add(db, entry.key(), (entry.type_name(), bytes as u64));
            });
            samples.go_on(if next == 0 { (db + 1, 0) } else { (db, next) }, databases);
            if samples.at == (0, 0) {
                return;
            }
        }
    }
}
