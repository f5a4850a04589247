//! What HOTKEYS collects: on which keys the commands of a session have spent time and bytes.
//!
//! Invariant: whether a session is under way follows from its plan, the time and when it was stopped,
//! which every core knows alike; what a core has counted is its own, and is joined when somebody asks.
//! Sources: HOTKEYS of Redis 8.6; "Efficient Computation of Frequent and Top-k Elements in Data
//! Streams" (Space-Saving), with weights.

use std::collections::BTreeMap;

use crate::base::time::Millis;

/// Keys that a core counts, for each that is shown.
const COUNTED_PER_SHOWN: usize = 10;
/// A longer key is not counted.
const KEY_BYTES_MAX: usize = 64 * 1024;
const NANOS_PER_MICRO: u64 = 1000;

/// What an operator has ordered.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Time is counted.
    pub cpu: bool,
    /// Bytes are.
    pub net: bool,
    /// Keys that are shown of each.
    pub count: usize,
    /// Milliseconds after which the session ends by itself.
    pub duration: Option<i64>,
    /// Of so many commands about one is looked at.
    pub ratio: u64,
    /// When it began.
    pub started: Millis,
    /// CPU time of the process until then in microseconds: in user mode, and in the kernel.
    pub cpu_before: (u64, u64),
}

/// What the keys of one metric have come to.
#[derive(Clone, Debug, Default)]
pub struct Top {
    counted: Vec<(u64, Box<[u8]>, u64)>,
    total: u64,
}

impl Top {
    /// Adds to a key, whose hash this is. Beyond `room` keys the least one gives its place.
    fn add(&mut self, (key, hash): (&[u8], u64), weight: u64, room: usize) {
        self.total += weight;
        if let Some(known) =
            self.counted.iter_mut().find(|(at, own, _)| *at == hash && **own == *key)
        {
            known.2 += weight;
        } else if self.counted.len() < room {
            self.counted.push((hash, key.into(), weight));
        } else if let Some(least) = self.counted.iter_mut().min_by_key(|(.., weight)| *weight) {
            *least = (hash, key.into(), least.2 + weight);
        }
    }

    /// All that was counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// What the cores' counts come to: the keys with the most, in that order.
    pub fn joined<'a>(cores: impl Iterator<Item = &'a Top>, shown: usize) -> Vec<(Vec<u8>, u64)> {
        let mut sums: BTreeMap<&[u8], u64> = BTreeMap::new();
        for (_, key, weight) in cores.flat_map(|top| &top.counted) {
            *sums.entry(key).or_default() += weight;
        }
        let mut keys: Vec<(Vec<u8>, u64)> =
            sums.into_iter().map(|(key, weight)| (key.to_vec(), weight)).collect();
        keys.sort_by_key(|(_, weight)| std::cmp::Reverse(*weight));
        keys.truncate(shown);
        keys
    }
}

/// A session, and what one core has counted in it.
#[derive(Clone, Debug)]
pub struct HotKeySession {
    /// What was ordered.
    pub plan: Plan,
    stopped: Option<Millis>,
    /// Nanoseconds of all commands with keys.
    pub nanos: u64,
    /// Bytes of their requests and replies.
    pub bytes: u64,
    /// Nanoseconds by key.
    pub by_time: Top,
    /// Bytes by key.
    pub by_bytes: Top,
}

impl HotKeySession {
    /// A session that begins.
    pub fn begin(plan: Plan) -> HotKeySession {
        let (by_time, by_bytes) = (Top::default(), Top::default());
        HotKeySession { plan, stopped: None, nanos: 0, bytes: 0, by_time, by_bytes }
    }

    /// True while commands are counted.
    pub fn is_active(&self, now: Millis) -> bool {
        let has_time = |duration: i64| now.0 < self.plan.started.0.saturating_add(duration);
        self.stopped.is_none() && self.plan.duration.is_none_or(has_time)
    }

    /// Milliseconds that it has lasted.
    pub fn lasted(&self, now: Millis) -> i64 {
        let until = self.stopped.unwrap_or(now);
        let lasted = until.0.saturating_sub(self.plan.started.0);
        self.plan.duration.map_or(lasted, |duration| lasted.min(duration))
    }

    /// It ends, if it has not.
    pub fn stop(&mut self, now: Millis) {
        self.stopped = self.stopped.or(Some(now));
    }

    /// A command with keys, which took so many nanoseconds and bytes. `is_sampled` tells whether its
    /// keys count, too.
    pub fn add(&mut self, keys: &[(&[u8], u64)], (nanos, bytes): (u64, u64), is_sampled: bool) {
        if keys.is_empty() {
            return;
        }
        self.nanos += nanos;
        self.bytes += bytes;
        if !is_sampled {
            return;
        }
        let room = self.plan.count * COUNTED_PER_SHOWN;
        let each = keys.len() as u64;
        for key in keys.iter().filter(|(key, _)| key.len() <= KEY_BYTES_MAX) {
            if self.plan.cpu {
                self.by_time.add(*key, nanos / each, room);
            }
            if self.plan.net {
                self.by_bytes.add(*key, bytes / each, room);
            }
        }
    }
}

/// Microseconds, as they are shown: nothing that was counted is nothing.
pub fn micros(nanos: u64) -> u64 {
    nanos.div_ceil(NANOS_PER_MICRO)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(duration: Option<i64>) -> Plan {
        let (started, cpu_before) = (Millis(1000), (0, 0));
        Plan { cpu: true, net: true, count: 2, duration, ratio: 1, started, cpu_before }
    }

    #[test]
    fn a_session_ends_when_it_is_stopped_or_its_time_is_over() {
        let mut session = HotKeySession::begin(plan(Some(500)));
        assert!(session.is_active(Millis(1499)) && !session.is_active(Millis(1500)));
        assert_eq!((session.lasted(Millis(1100)), session.lasted(Millis(9000))), (100, 500));
        session.stop(Millis(1200));
        session.stop(Millis(1300));
        assert!(!session.is_active(Millis(1201)));
        assert_eq!(session.lasted(Millis(9000)), 200);
        assert!(HotKeySession::begin(plan(None)).is_active(Millis(i64::MAX)));
    }

    #[test]
    fn keys_share_what_their_command_took_and_cores_are_joined() {
        let mut cores = [HotKeySession::begin(plan(None)), HotKeySession::begin(plan(None))];
        cores[0].add(&[(b"a", 1), (b"b", 2)], (4000, 100), true);
        cores[0].add(&[(b"a", 1)], (1000, 10), false);
        cores[1].add(&[(b"c", 3)], (3000, 200), true);
        cores[1].add(&[(b"a", 1)], (7000, 1), true);
        cores[1].add(&[], (7000, 1), true);
        let top = Top::joined(cores.iter().map(|core| &core.by_time), 2);
        assert_eq!(top, [(b"a".to_vec(), 9000), (b"c".to_vec(), 3000)]);
        let top = Top::joined(cores.iter().map(|core| &core.by_bytes), 9);
        assert_eq!(top.iter().map(|(_, bytes)| *bytes).collect::<Vec<_>>(), [200, 51, 50]);
        assert_eq!((cores[0].nanos, cores[0].bytes, cores[1].nanos), (5000, 110, 10_000));
        assert_eq!((cores[0].by_time.total(), micros(1), micros(2000)), (4000, 1, 2));
    }

    #[test]
    fn hot_keys_stay_among_many_others() {
        let mut session = HotKeySession::begin(plan(None));
        for at in 0..10_000u64 {
            let name = if at % 3 == 0 { 0 } else { at };
            session.add(&[(&name.to_le_bytes(), name)], (10, 10), true);
        }
        assert_eq!(session.by_time.counted.len(), 20);
        let top = Top::joined([&session.by_time].into_iter(), 1);
        assert_eq!(top[0].0, 0u64.to_le_bytes());
        session.add(&[(&[0; KEY_BYTES_MAX + 1], 5)], (1 << 40, 1), true);
        assert_eq!(Top::joined([&session.by_time].into_iter(), 1)[0].0, 0u64.to_le_bytes());
    }
}
