//! What the time of commands goes to, from the moment at which a turn has read them to that at which
//! their replies are handed to the kernel, as histograms.
//!
//! Invariant: a core files samples of its own clients, at most one in `SAMPLE_NANOS`; the parts of a
//! sample add up to its total. Nothing is held before the first sample.

use std::sync::OnceLock;

use super::stats::{Counter, Histogram};

/// So far apart are two samples of a core: they cost less than a thousandth of its time.
pub const SAMPLE_NANOS: u64 = 200_000;

/// A part of the time of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// All of it.
    Total,
    /// Read and parsed, behind other commands of its turn.
    Queue,
    /// On the way between cores, and waiting for partitions.
    Hop,
    /// Running.
    Execution,
    /// Its reply waited for the append-only file.
    Durability,
    /// Its reply waited for the end of the turn, or for its client to read earlier ones.
    Send,
}

impl Phase {
    /// All of them.
    pub const ALL: [Phase; 6] =
        [Phase::Total, Phase::Queue, Phase::Hop, Phase::Execution, Phase::Durability, Phase::Send];

    /// As INFO and the metrics name it.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Total => "total",
            Phase::Queue => "queue",
            Phase::Hop => "hop",
            Phase::Execution => "execution",
            Phase::Durability => "durability",
            Phase::Send => "send",
        }
    }

    /// The phase of a name, in any case.
    pub fn of(name: &[u8]) -> Option<Phase> {
        Phase::ALL.into_iter().find(|one| one.name().as_bytes().eq_ignore_ascii_case(name))
    }
}

/// Nanoseconds of each phase, by its place in [`Phase::ALL`].
pub type Sample = [u64; Phase::ALL.len()];

/// Values that were filed: how many of each size, and their sum.
#[derive(Debug, Default)]
pub struct Timings {
    /// How many of each size.
    pub histogram: Histogram,
    /// Their sum in nanoseconds.
    pub nanos: Counter,
}

/// One core's samples.
#[derive(Debug, Default)]
pub struct Phases(OnceLock<Box<[Timings; Phase::ALL.len()]>>);

impl Phases {
    /// Files a sample; only the owner may.
    pub fn record(&self, sample: &Sample) {
        let timings = self.0.get_or_init(Box::default);
        for (timing, nanos) in timings.iter().zip(sample) {
            timing.histogram.record(*nanos);
            timing.nanos.add(*nanos);
        }
    }

    /// What was filed of a phase. None before the first sample.
    pub fn of(&self, phase: Phase) -> Option<&Timings> {
        self.0.get().map(|timings| &timings[phase as usize])
    }

    /// Back to zero; only the owner may.
    pub fn reset(&self) {
        for timing in self.0.get().into_iter().flat_map(|timings| timings.iter()) {
            timing.histogram.reset();
            timing.nanos.set(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_phase_has_its_own_histogram() {
        let phases = Phases::default();
        assert!(phases.of(Phase::Total).is_none());
        phases.record(&[600, 100, 0, 200, 0, 300]);
        let nanos = |phase| phases.of(phase).map(|timing| timing.nanos.get());
        assert_eq!(nanos(Phase::Total), Some(600));
        assert_eq!(nanos(Phase::Send), Some(300));
        phases.reset();
        assert_eq!(nanos(Phase::Send), Some(0));
        assert_eq!(Phase::of(b"HOP"), Some(Phase::Hop));
        assert_eq!(Phase::of(b"nothing"), None);
    }
}
