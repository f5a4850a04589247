//! Scripts that run for too long, as every core sees them: which partitions they hold, and whether one
//! is to end.
//!
//! Invariant: a script that is told to end has not written, and does not write afterwards: `WROTE` and
//! `KILLED` are taken from `RUNNING` alone, and by one of the two. Source: SCRIPT KILL, UNKILLABLE.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64};

/// The scripts of all cores that run for too long.
#[derive(Debug)]
pub struct BusyScripts {
    count: AtomicU32,
    cores: Vec<BusyScript>,
}

/// A place for the script of one core.
#[derive(Debug, Default)]
struct BusyScript {
    phase: AtomicU8,
    is_function: AtomicBool,
    held: [AtomicU64; 2],
}

const IDLE: u8 = 0;
const RUNNING: u8 = 1;
const WROTE: u8 = 2;
const KILLED: u8 = 3;

/// What becomes of an order to end the scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kill {
    /// None runs for too long.
    NothingRuns,
    /// It ends.
    Done,
    /// It has written.
    HasWritten,
    /// It is of the other kind: a function where a script was to end, or the other way round.
    OtherKind,
}

impl BusyScripts {
    /// None runs, on so many cores.
    pub fn new(cores: usize) -> BusyScripts {
        BusyScripts {
            count: AtomicU32::new(0),
            cores: (0..cores).map(|_| BusyScript::default()).collect(),
        }
    }

    /// The script of a core has run for too long; it holds the partitions of these cores, a bit each.
    pub fn begin(&self, core: usize, held: u128, has_written: bool, is_function: bool) {
        let place = &self.cores[core];
        place.held[0].store(held as u64, Relaxed);
        place.held[1].store((held >> 64) as u64, Relaxed);
        place.is_function.store(is_function, Relaxed);
        place.phase.store(if has_written { WROTE } else { RUNNING }, Release);
        self.count.fetch_add(1, Release);
    }

    /// It has ended.
    pub fn end(&self, core: usize) {
        self.cores[core].phase.store(IDLE, Release);
        self.count.fetch_sub(1, Release);
    }

    /// True if any runs.
    #[inline]
    pub fn any(&self) -> bool {
        self.count.load(Acquire) != 0
    }

    /// The partitions that are held by scripts which run for too long, and whether the last of those
    /// is a function.
    pub fn held(&self) -> (u128, bool) {
        let (mut held, mut is_function) = (0, false);
        for place in &self.cores {
            if place.phase.load(Acquire) != IDLE {
                let high = u128::from(place.held[1].load(Relaxed));
                held |= high << 64 | u128::from(place.held[0].load(Relaxed));
                is_function = place.is_function.load(Relaxed);
            }
        }
        (held, is_function)
    }

    /// The script of a core is about to write. False if it is to end instead.
    pub fn may_write(&self, core: usize) -> bool {
        let phase = &self.cores[core].phase;
        phase.compare_exchange(RUNNING, WROTE, AcqRel, Acquire) != Err(KILLED)
    }

    /// True if the script of a core is to end.
    pub fn is_killed(&self, core: usize) -> bool {
        self.cores[core].phase.load(Acquire) == KILLED
    }

    /// Tells the scripts to end that have not written: those of EVAL, or functions.
    pub fn kill(&self, functions: bool) -> Kill {
        let mut outcome = Kill::NothingRuns;
        for place in &self.cores {
            if place.phase.load(Acquire) == IDLE {
                continue;
            }
            let is_meant = place.is_function.load(Relaxed) == functions;
            let this = if is_meant {
                match place.phase.compare_exchange(RUNNING, KILLED, AcqRel, Acquire) {
                    Ok(_) | Err(KILLED) => Kill::Done,
                    Err(WROTE) => Kill::HasWritten,
                    Err(_) => continue,
                }
            } else {
                Kill::OtherKind
            };
            if outcome != Kill::Done {
                outcome = this;
            }
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_that_has_written_is_not_killed() {
        let busy = BusyScripts::new(2);
        assert_eq!(busy.kill(false), Kill::NothingRuns);
        busy.begin(1, 0b10, false, false);
        assert_eq!((busy.any(), busy.held()), (true, (0b10, false)));
        assert_eq!(busy.kill(true), Kill::OtherKind);
        assert!(busy.may_write(1));
        assert_eq!(busy.kill(false), Kill::HasWritten);
        busy.end(1);
        busy.begin(1, 0b11, false, false);
        assert_eq!(busy.kill(false), Kill::Done);
        assert!(busy.is_killed(1) && !busy.may_write(1) && !busy.is_killed(0));
        busy.end(1);
        assert!(!busy.any());
    }
}
