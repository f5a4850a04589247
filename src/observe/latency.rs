//! What took long, as LATENCY shows it: for each event the worst latency of its last seconds.
//!
//! Invariant: a core files what happened on it; the cores' series are joined second by second, the
//! worst of each counting. Source: LATENCY of Redis 8.0, "latency monitoring".

use std::collections::BTreeMap;

/// Seconds of an event that are kept, as many as Redis keeps.
pub const SAMPLES_MAX: usize = 160;

/// The worst latency of one second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Seconds since the epoch.
    pub seconds: i64,
    /// Milliseconds.
    pub millis: u64,
}

/// The last seconds of an event, ascending, and the worst latency since the last reset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Series {
    samples: Vec<Sample>,
    worst: u64,
}

impl Series {
    /// Files a latency.
    pub fn add(&mut self, seconds: i64, millis: u64) {
        self.worst = self.worst.max(millis);
        match self.samples.last_mut() {
            Some(last) if last.seconds >= seconds => last.millis = last.millis.max(millis),
            _ => self.samples.push(Sample { seconds, millis }),
        }
        if self.samples.len() > SAMPLES_MAX {
            self.samples.remove(0);
        }
    }

    /// What two cores saw of one event.
    #[must_use]
    pub fn joined(&self, other: &Series) -> Series {
        let mut seconds = BTreeMap::new();
        for sample in self.samples.iter().chain(&other.samples) {
            let worst = seconds.entry(sample.seconds).or_insert(0);
            *worst = sample.millis.max(*worst);
        }
        let samples = seconds.into_iter().map(|(seconds, millis)| Sample { seconds, millis });
        let mut samples: Vec<Sample> = samples.collect();
        samples.drain(..samples.len().saturating_sub(SAMPLES_MAX));
        Series { samples, worst: self.worst.max(other.worst) }
    }

    /// The samples, the oldest first. Never empty once something was filed.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// The worst latency in milliseconds.
    pub fn worst(&self) -> u64 {
        self.worst
    }
}

/// The series of events, by name.
#[derive(Clone, Debug, Default)]
pub struct Latency {
    events: BTreeMap<&'static str, Series>,
}

impl Latency {
    /// Files a latency of `event`.
    pub fn add(&mut self, event: &'static str, seconds: i64, millis: u64) {
        self.events.entry(event).or_default().add(seconds, millis);
    }

    /// Adds what another core saw.
    pub fn join(&mut self, other: &Latency) {
        for (event, series) in &other.events {
            let own = self.events.entry(event).or_default();
            *own = own.joined(series);
        }
    }

    /// The series of an event; names are told apart by their case.
    pub fn of(&self, event: &[u8]) -> Option<(&'static str, &Series)> {
        self.iter().find(|(name, _)| name.as_bytes() == event)
    }

    /// All events by their names.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Series)> {
        self.events.iter().map(|(event, series)| (*event, series))
    }

    /// Forgets the events that `meant` says yes to; which they were.
    pub fn reset(&mut self, meant: impl Fn(&str) -> bool) -> Vec<&'static str> {
        let gone: Vec<&'static str> =
            self.events.keys().copied().filter(|event| meant(event)).collect();
        gone.iter().for_each(|event| drop(self.events.remove(event)));
        gone
    }

    /// True without any event.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_one_sample_and_cores_are_joined() {
        let (mut one, mut two) = (Latency::default(), Latency::default());
        for (seconds, millis) in [(1, 5), (1, 3), (2, 9)] {
            one.add("command", seconds, millis);
        }
        two.add("command", 1, 7);
        two.add("fork", 3, 1);
        one.join(&two);
        let (_, series) = one.of(b"command").expect("filed above");
        let seen: Vec<_> = series.samples().iter().map(|one| (one.seconds, one.millis)).collect();
        assert_eq!((seen, series.worst()), (vec![(1, 7), (2, 9)], 9));
        assert_eq!(one.reset(|event| event == "fork"), ["fork"]);
        assert!(one.of(b"fork").is_none() && one.of(b"COMMAND").is_none());
    }

    #[test]
    fn a_series_is_bounded() {
        let mut series = Series::default();
        (0..1000).for_each(|seconds| series.add(seconds, 1));
        assert_eq!(series.samples().len(), SAMPLES_MAX);
        assert_eq!(series.joined(&series).samples().len(), SAMPLES_MAX);
        assert_eq!(series.samples()[0].seconds, 1000 - SAMPLES_MAX as i64);
    }
}
