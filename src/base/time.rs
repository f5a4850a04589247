//! Instants, and the clocks that tell them. Invariant: this is the only file that reads a clock;
//! everybody else is given a [`Clock`], or the time itself, so that a simulation decides what time
//! it is.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::sys;

/// Wall-clock time in milliseconds since the Unix epoch: expiry times, LASTSAVE's clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Millis(pub i64);

/// Wall-clock time in microseconds since the Unix epoch: TIME, stream entry ids.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Micros(pub i64);

/// Monotonic time in nanoseconds since an origin that all clocks of the process share: timers,
/// budgets. Never goes back; says nothing about the date.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Nanos(pub u64);

impl Millis {
    /// Whole seconds since the epoch, rounded down.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }
}

impl Micros {
    /// Whole milliseconds since the epoch, rounded down.
    #[inline]
    pub fn millis(self) -> Millis {
        Millis(self.0.div_euclid(1000))
    }
}

impl Nanos {
    /// Nanoseconds from `earlier` to this; 0 when `earlier` is later.
    #[inline]
    pub fn since(self, earlier: Nanos) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The instant `nanos` nanoseconds after this; the last there is when that is past the end.
    #[inline]
    #[must_use]
    pub fn after(self, nanos: u64) -> Nanos {
        Nanos(self.0.saturating_add(nanos))
    }
}

/// Who is asked for the time.
pub trait Clock {
    /// The wall clock. It may jump, also backwards, when the machine's clock is set.
    fn wall(&mut self) -> Micros;
    /// The monotonic clock.
    fn monotonic(&mut self) -> Nanos;
    /// Lets this much time pass: the core stands still (DEBUG SLEEP).
    fn sleep(&mut self, nanos: u64);
}

/// The clocks of the kernel (`CLOCK_REALTIME` and `CLOCK_MONOTONIC`).
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// A clock that shares its origin with every other `SystemClock` of the process.
    pub fn new() -> Self {
        Self { origin: origin() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn wall(&mut self) -> Micros {
        let micros = |span: Duration| i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => Micros(micros(since)),
            Err(before) => Micros(-micros(before.duration())),
        }
    }

    fn monotonic(&mut self) -> Nanos {
        Nanos(nanos_since(self.origin))
    }

    fn sleep(&mut self, nanos: u64) {
        // Asked for by DEBUG SLEEP and AOF-FLUSH-SLEEP alone: that a core stands still is what they are for.
        std::thread::sleep(Duration::from_nanos(nanos));
    }
}

/// A simulated clock: both its times derive from one instant, which moves only when told to. Clones
/// share that instant.
#[derive(Clone, Debug)]
pub struct SimClock {
    now: Rc<Cell<Nanos>>,
    wall_at_origin: Micros,
}

impl SimClock {
    /// A clock at monotonic 0, when the wall shows `wall_at_origin`.
    pub fn new(wall_at_origin: Micros) -> Self {
        Self { now: Rc::default(), wall_at_origin }
    }

    /// Moves the time forward, for every clone.
    pub fn advance(&self, nanos: u64) {
        self.set(self.now.get().after(nanos));
    }

    /// Sets the time, for every clone. It must not go back: it is a monotonic clock.
    pub fn set(&self, now: Nanos) {
        assert!(now >= self.now.get(), "simulated time went back");
        self.now.set(now);
    }
}

impl Clock for SimClock {
    fn wall(&mut self) -> Micros {
        let elapsed_micros = (self.now.get().0 / 1000) as i64;
        Micros(self.wall_at_origin.0.saturating_add(elapsed_micros))
    }

    fn monotonic(&mut self) -> Nanos {
        self.now.get()
    }

    fn sleep(&mut self, nanos: u64) {
        self.advance(nanos);
    }
}

/// The cheapest clock there is, for the time of each command: the processor's counter where it runs
/// at a constant rate, else the monotonic clock. Its unit is known to [`TickRate`] only.
pub struct Ticks;

impl Ticks {
    /// The counter now. Only differences mean something.
    #[inline]
    pub fn now() -> u64 {
        if *COUNTS_TSC.get_or_init(sys::has_invariant_tsc) {
            sys::read_tsc()
        } else {
            nanos_since(origin())
        }
    }
}

/// How long a tick is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TickRate {
    /// Nanoseconds per tick, times 2^32.
    nanos_per_tick: u64,
    /// Added to every difference: what a simulation wants things to take.
    nanos_each: u64,
}

impl TickRate {
    /// Measures the rate; takes `CALIBRATION` of spinning, except where a tick is a nanosecond.
    pub fn calibrate() -> Self {
        let first = TickSample::take();
        loop {
            let last = TickSample::take();
            if last.nanos - first.nanos >= CALIBRATION.as_nanos() as u64 {
                return Self::between(first, last);
            }
            std::hint::spin_loop();
        }
    }

    /// The rate from two samples; the further apart, the better: keep the first of the process, and
    /// take a new one now and then to refine a quick calibration.
    pub fn between(first: TickSample, last: TickSample) -> Self {
        let nanos = u128::from(last.nanos.saturating_sub(first.nanos));
        let ticks = u128::from(last.ticks.saturating_sub(first.ticks));
        let scaled = (nanos << RATE_SHIFT).checked_div(ticks);
        // Two samples of one moment tell nothing: a tick is taken for a nanosecond then.
        let nanos_per_tick = scaled.filter(|&rate| rate > 0).unwrap_or(1 << RATE_SHIFT);
        Self { nanos_per_tick: u64::try_from(nanos_per_tick).unwrap_or(u64::MAX), nanos_each: 0 }
    }

    /// A rate at which every difference is `nanos`, for simulations: no real clock decides.
    pub fn constant(nanos: u64) -> Self {
        Self { nanos_per_tick: 0, nanos_each: nanos }
    }

    /// A difference of ticks in nanoseconds, rounded down.
    #[inline]
    pub fn nanos(self, ticks_delta: u64) -> u64 {
        let scaled = u128::from(ticks_delta) * u128::from(self.nanos_per_tick);
        let nanos = u64::try_from(scaled >> RATE_SHIFT).unwrap_or(u64::MAX);
        nanos.saturating_add(self.nanos_each)
    }

    /// About how many ticks so many nanoseconds are; none where no real clock decides.
    pub fn ticks(self, nanos: u64) -> u64 {
        let scaled = u128::from(nanos) << RATE_SHIFT;
        let ticks = scaled.checked_div(u128::from(self.nanos_per_tick)).unwrap_or(0);
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }
}

impl fmt::Display for TickRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6} ns per tick", self.nanos_per_tick as f64 / (1u64 << RATE_SHIFT) as f64)
    }
}

/// One moment, read on both clocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TickSample {
    ticks: u64,
    nanos: u64,
}

impl TickSample {
    /// Reads both clocks: the best of a few tries, since an interrupt may come between two reads.
    pub fn take() -> Self {
        let origin = origin();
        let mut best = Self { ticks: 0, nanos: 0 };
        let mut narrowest = u64::MAX;
        for _ in 0..SAMPLE_TRIES {
            let before = Ticks::now();
            let nanos = nanos_since(origin);
            let width = Ticks::now().saturating_sub(before);
            if width < narrowest {
                narrowest = width;
                best = Self { ticks: before + width / 2, nanos };
            }
        }
        best
    }
}

/// What all monotonic times of the process count from.
fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}

fn nanos_since(origin: Instant) -> u64 {
    u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

static COUNTS_TSC: OnceLock<bool> = OnceLock::new();
const RATE_SHIFT: u32 = 32;
/// Long enough to be right to about one part in 10^4, short enough for nobody to notice at start.
const CALIBRATION: Duration = Duration::from_millis(3);
const SAMPLE_TRIES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_the_epoch_round_down() {
        assert_eq!(Micros(1_999).millis(), Millis(1));
        assert_eq!(Micros(-1).millis(), Millis(-1));
        assert_eq!(Millis(-1).seconds(), -1);
        assert_eq!(Nanos(5).since(Nanos(9)), 0);
        assert_eq!(Nanos(5).after(u64::MAX), Nanos(u64::MAX));
    }

    #[test]
    fn the_system_clock_is_in_this_century_and_goes_on() {
        let (mut clock, mut other) = (SystemClock::new(), SystemClock::new());
        assert!(clock.wall() > Micros(1_700_000_000_000_000));
        let first = clock.monotonic();
        let second = other.monotonic();
        assert!(first <= second && second <= clock.monotonic());
    }

    #[test]
    fn clones_of_a_simulated_clock_share_one_instant() {
        let mut clock = SimClock::new(Micros(1_000_000));
        let mut same = clock.clone();
        clock.advance(2_500);
        assert_eq!((same.wall(), same.monotonic()), (Micros(1_000_002), Nanos(2_500)));
        same.set(Nanos(9_000));
        assert_eq!((clock.wall(), clock.monotonic()), (Micros(1_000_009), Nanos(9_000)));
    }

    #[test]
    #[should_panic(expected = "simulated time went back")]
    fn simulated_time_does_not_go_back() {
        let clock = SimClock::new(Micros(0));
        clock.set(Nanos(2));
        clock.set(Nanos(1));
    }

    #[test]
    fn ticks_measure_what_the_monotonic_clock_measures() {
        let rate = TickRate::calibrate();
        let first = TickSample::take();
        while TickSample::take().nanos - first.nanos < 2_000_000 {}
        let last = TickSample::take();
        let (by_ticks, by_clock) = (rate.nanos(last.ticks - first.ticks), last.nanos - first.nanos);
        // Generous, for loaded machines; a wrong unit is off by far more.
        assert!(by_ticks.abs_diff(by_clock) < by_clock / 4, "{by_ticks} {by_clock} {rate}");
    }

    #[test]
    fn rates_are_exact_and_never_zero() {
        let at = |ticks, nanos| TickSample { ticks, nanos };
        let half = TickRate::between(at(100, 7), at(2_100, 1_007));
        assert_eq!((half.nanos(3), half.nanos(2_000)), (1, 1_000));
        assert_eq!(half.nanos(u64::MAX), u64::MAX / 2);
        assert_eq!(TickRate::between(at(5, 5), at(5, 5)).nanos(9), 9);
        assert_eq!(TickRate::between(at(9, 9), at(5, 5)).nanos(9), 9);
        assert_eq!(TickRate::constant(7).nanos(u64::MAX), 7);
    }
}
