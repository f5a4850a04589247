//! The access clock of an entry: 28 bits that eviction orders keys by.
//! Invariant: no clock and no chance of its own; both are arguments.
//! Source: Redis, "Key eviction": approximated LRU, and LFU with Morris counters that decay.
//!
//! ```text
//! LRU: | seconds 24 | sixteenths 4 |                      wraps after 194 days
//! LFU: | 0 | minutes of the last decay 16 | counter 8 |   wraps after 45 days
//! ```
//! Whatever is shown of LRU is in seconds, as in stock servers. The sixteenths are for eviction: a cache
//! whose keys have all changed within a second or two chooses nearly by chance without them.

use super::entry::EntryRef;
use crate::base::time::Millis;

/// How accesses are recorded, by maxmemory-policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessPolicy {
    /// The time of the last access.
    Lru,
    /// A logarithmic count of accesses.
    Lfu {
        /// lfu-log-factor: the higher, the more accesses a step of the counter takes.
        log_factor: u32,
        /// lfu-decay-time: minutes after which the counter loses one; 0 is never.
        decay_minutes: u32,
    },
}

/// The moment of an access: what one command hands to its lookups.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// The time of the command.
    pub now: Millis,
    /// How accesses are recorded.
    pub policy: AccessPolicy,
    /// False for CLIENT NO-TOUCH and for lookups that are no accesses.
    pub touch: bool,
    /// Random bits, for the counter of LFU.
    pub chance: u32,
    /// What becomes of what has expired.
    pub stale: Stale,
}

#[cfg(test)]
impl Access {
    /// An ordinary access of a test.
    pub fn at(now: Millis) -> Access {
        let (policy, stale) = (AccessPolicy::Lru, Stale::Goes);
        Access { now, policy, touch: true, chance: 0, stale }
    }
}

/// What becomes of an entry whose time has passed, when it is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stale {
    /// It is deleted.
    Goes,
    /// It is taken for missing and left where it is. Source: CLIENT PAUSE; replicas.
    Stays,
    /// So it is by those who read; those who write delete it. Source: writable replicas, import-mode.
    Hides,
    /// It counts like any other: what is replayed says itself when something went.
    Lives,
}

impl Access {
    /// True if an entry counts as gone, since its time has passed.
    #[inline]
    pub fn is_gone(&self, entry: EntryRef<'_>) -> bool {
        entry.is_expired(self.now) && self.stale != Stale::Lives
    }

    /// The access clock of an entry made by this access.
    #[inline]
    pub fn initial(&self) -> u32 {
        self.policy.initial(self.now)
    }

    /// The access clock `clock` after this access.
    #[inline]
    pub fn touched(&self, clock: u32) -> u32 {
        if !self.touch {
            return clock;
        }
        self.policy.touched(clock, self.now, self.chance)
    }
}

impl AccessPolicy {
    /// The clock of an entry made now.
    #[inline]
    pub fn initial(self, now: Millis) -> u32 {
        match self {
            Self::Lru => lru_clock(now),
            Self::Lfu { .. } => lfu_minutes(now) << 8 | LFU_INITIAL,
        }
    }

    /// The clock `clock` after an access. `chance` are random bits.
    #[inline]
    pub fn touched(self, clock: u32, now: Millis, chance: u32) -> u32 {
        match self {
            Self::Lru => lru_clock(now),
            Self::Lfu { log_factor, decay_minutes } => {
                let counter = lfu_counter(clock, now, decay_minutes);
                let steps = u64::from(counter.saturating_sub(LFU_INITIAL));
                let odds = steps * u64::from(log_factor) + 1;
                let step = u64::from(chance) * odds < 1 << 32 && counter < LFU_MAX;
                lfu_minutes(now) << 8 | (counter + u32::from(step))
            }
        }
    }
}

/// Seconds since the last access that an LRU clock tells of. Source: OBJECT IDLETIME.
pub fn idle_seconds(clock: u32, now: Millis) -> u32 {
    (lru_clock(now) >> FRACTION_BITS).wrapping_sub(clock >> FRACTION_BITS) & SECONDS_MASK
}

/// The same in the clock's own units.
pub fn idle_units(clock: u32, now: Millis) -> u32 {
    lru_clock(now).wrapping_sub(clock) & CLOCK_MASK
}

impl AccessPolicy {
    /// The clock as stock servers have it, 24 bits. Source: DEBUG OBJECT.
    pub fn stock_clock(self, clock: u32) -> u32 {
        match self {
            Self::Lru => clock >> FRACTION_BITS,
            Self::Lfu { .. } => clock,
        }
    }
}

/// An LRU clock that was last accessed this long ago. Source: RESTORE IDLETIME.
pub fn clock_of_idle(idle_seconds: u64, now: Millis) -> u32 {
    let idle = idle_seconds.min(u64::from(SECONDS_MASK)) as u32;
    lru_clock(now).wrapping_sub(idle << FRACTION_BITS) & CLOCK_MASK
}

/// The counter of an LFU clock, after its decay. Source: OBJECT FREQ.
pub fn lfu_counter(clock: u32, now: Millis, decay_minutes: u32) -> u32 {
    let elapsed = lfu_minutes(now).wrapping_sub(clock >> 8) & LFU_MINUTES_MASK;
    let periods = elapsed.checked_div(decay_minutes).unwrap_or(0);
    (clock & LFU_MAX).saturating_sub(periods)
}

/// An LFU clock with this counter. Source: RESTORE FREQ.
pub fn clock_of_frequency(counter: u8, now: Millis) -> u32 {
    lfu_minutes(now) << 8 | u32::from(counter)
}

#[inline]
fn lru_clock(now: Millis) -> u32 {
    ((now.0 << FRACTION_BITS) / 1000) as u32 & CLOCK_MASK
}

fn lfu_minutes(now: Millis) -> u32 {
    (now.0 / 60_000) as u32 & LFU_MINUTES_MASK
}

const FRACTION_BITS: u32 = 4;
const SECONDS_MASK: u32 = 0x00ff_ffff;
const CLOCK_MASK: u32 = SECONDS_MASK << FRACTION_BITS | 15;
const LFU_MINUTES_MASK: u32 = 0xffff;
const LFU_MAX: u32 = 255;
/// New keys start here, so that they are not evicted before they had a chance to be used.
const LFU_INITIAL: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    const LFU: AccessPolicy = AccessPolicy::Lfu { log_factor: 10, decay_minutes: 1 };

    #[test]
    fn idle_time_survives_the_wrap() {
        let wrap = i64::from(SECONDS_MASK) * 1000;
        let clock = AccessPolicy::Lru.initial(Millis(wrap));
        assert_eq!(idle_seconds(clock, Millis(wrap + 5000)), 5);
        assert_eq!(idle_seconds(clock_of_idle(77, Millis(1000)), Millis(1000)), 77);
        let longest = clock_of_idle(u64::MAX, Millis(1999));
        assert_eq!(idle_seconds(longest, Millis(1999)), SECONDS_MASK);
    }

    #[test]
    fn what_is_shown_of_lru_is_in_seconds() {
        let clock = AccessPolicy::Lru.initial(Millis(12_900));
        assert_eq!(AccessPolicy::Lru.stock_clock(clock), 12);
        // As the difference of two clocks of seconds.
        assert_eq!([12_999, 13_000, 13_999].map(|now| idle_seconds(clock, Millis(now))), [0, 1, 1]);
        assert_eq!([12_900, 13_000].map(|now| idle_units(clock, Millis(now))), [0, 2]);
    }

    #[test]
    fn counters_rise_by_chance_and_decay_by_time() {
        let clock = LFU.initial(Millis(0));
        assert_eq!(lfu_counter(LFU.touched(clock, Millis(0), u32::MAX), Millis(0), 1), 6);
        let six = clock_of_frequency(6, Millis(0));
        assert_eq!(lfu_counter(LFU.touched(six, Millis(0), u32::MAX), Millis(0), 1), 6);
        assert_eq!(lfu_counter(LFU.touched(six, Millis(0), 1), Millis(0), 1), 7);
        assert_eq!(lfu_counter(six, Millis(4 * 60_000), 1), 2);
        assert_eq!(lfu_counter(six, Millis(40 * 60_000), 0), 6);
        let most = clock_of_frequency(255, Millis(0));
        assert_eq!(lfu_counter(LFU.touched(most, Millis(0), 0), Millis(0), 1), 255);
    }
}
