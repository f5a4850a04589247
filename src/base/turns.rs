//! One order for what the turns of all cores send out: numbers, and up to which of them everything
//! has been posted.
//!
//! Invariant: for every number up to `settled()` the messages of its turn are in the queues of their
//! receivers, for whoever looks there after it has asked.
//!
//! Proof. A core's mark is `FREE`, or below every number of its own that is not posted: it stores the
//! last number that was given before it takes one, if its mark is free, and when messages have
//! been posted it moves the mark up to what is left. `settled` reads the last number, then the
//! marks; all of these are sequentially consistent. Let `n` be at most the result, and taken by core
//! `c`. Since `n` was given when the last number was read, the look at `c`'s mark sees what stood
//! there when `c` took `n`, or a later store. The former is below `n`, and so would be the result.
//! The latter, being `n` at least, was made when `n` had been posted, and that happens before the
//! look.
//! Source: the marks are hazard eras in small (Ramalhete and Correia, 2017), asked for a minimum.

use sync::{AtomicU64, Ordering::SeqCst};

/// No number of this core is on its way.
const FREE: u64 = u64::MAX;

/// A mark on a cache line of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Mark(AtomicU64);

/// The numbers of the turns of all cores.
#[derive(Debug)]
pub struct Turns {
    last: AtomicU64,
    marks: Box<[Mark]>,
}

impl Turns {
    /// For so many cores; the first number is 1.
    pub fn new(cores: usize) -> Turns {
        let marks = (0..cores).map(|_| Mark(AtomicU64::new(FREE))).collect();
        Turns { last: AtomicU64::new(0), marks }
    }

    /// The number of a turn of `core`, which has something to send out.
    pub fn take(&self, core: usize) -> u64 {
        let mark = &self.marks[core].0;
        // One that is held stands for older messages, which have not all been posted.
        if mark.load(SeqCst) == FREE {
            mark.store(self.last.load(SeqCst), SeqCst);
        }
        self.last.fetch_add(1, SeqCst) + 1
    }

    /// All messages of `core`'s numbers have been posted, but those of `left` and later ones.
    pub fn posted(&self, core: usize, left: Option<u64>) {
        self.marks[core].0.store(left.map_or(FREE, |left| left - 1), SeqCst);
    }

    /// The number up to which all messages have been posted.
    pub fn settled(&self) -> u64 {
        let last = self.last.load(SeqCst);
        self.marks.iter().map(|mark| mark.0.load(SeqCst)).fold(last, u64::min)
    }
}

/// What the marks are built of.
#[cfg(not(loom))]
mod sync {
    pub(super) use std::sync::atomic::{AtomicU64, Ordering};
}

/// Loom's types, which try every interleaving that the memory model allows.
#[cfg(loom)]
mod sync {
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering};
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_number_settles_when_it_and_all_before_it_have_been_posted() {
        let turns = Turns::new(3);
        assert_eq!(turns.settled(), 0);
        assert_eq!((turns.take(0), turns.take(1), turns.take(0)), (1, 2, 3));
        assert_eq!(turns.settled(), 0);
        turns.posted(1, None);
        assert_eq!(turns.settled(), 0);
        turns.posted(0, Some(3));
        assert_eq!(turns.settled(), 2);
        turns.posted(0, None);
        assert_eq!(turns.settled(), 3);
        assert_eq!(turns.take(2), 4);
        assert_eq!(turns.settled(), 3);
    }

    #[test]
    fn what_has_settled_is_there_for_other_threads() {
        const ROUNDS: u64 = if cfg!(miri) { 50 } else { 20_000 };
        let turns = Turns::new(3);
        let posted: Vec<AtomicU64> = (0..2).map(|_| AtomicU64::new(0)).collect();
        let done: Vec<AtomicU64> = (0..=2 * ROUNDS).map(|_| AtomicU64::new(0)).collect();
        std::thread::scope(|scope| {
            for core in 0..2 {
                let (turns, posted, done) = (&turns, &posted, &done);
                scope.spawn(move || {
                    for _ in 0..ROUNDS {
                        let number = turns.take(core);
                        done[number as usize].store(1, SeqCst);
                        posted[core].store(number, SeqCst);
                        turns.posted(core, None);
                    }
                });
            }
            let mut seen = 0;
            while seen < 2 * ROUNDS {
                let settled = turns.settled();
                for number in seen + 1..=settled {
                    assert_eq!(done[number as usize].load(SeqCst), 1, "number {number}");
                }
                seen = settled;
            }
        });
    }
}

/// Run by `ci/loom.sh` (in tests/loom); every test is repeated for every interleaving. Loom takes
/// sequentially consistent accesses for acquiring and releasing ones, which allow more.
#[cfg(all(test, loom))]
mod tests {
    use super::*;
    use loom::sync::Arc;
    use loom::sync::atomic::Ordering::Relaxed;
    use loom::thread;

    /// What a turn posts, by its number: seen only by those who are ordered behind it.
    type Posted = Arc<Vec<AtomicU64>>;

    fn nothing_posted(numbers: usize) -> Posted {
        Arc::new((0..=numbers).map(|_| AtomicU64::new(0)).collect())
    }

    fn post(posted: &Posted, number: u64) {
        posted[number as usize].store(1, Relaxed);
    }

    /// Everything up to what has settled is there; how far that is.
    fn look(turns: &Turns, posted: &Posted) -> u64 {
        let settled = turns.settled();
        for number in 1..=settled {
            assert_eq!(posted[number as usize].load(Relaxed), 1, "number {number}");
        }
        settled
    }

    #[test]
    fn turns_that_have_settled_were_posted() {
        let mut bounded = loom::model::Builder::new();
        bounded.preemption_bound = Some(3);
        bounded.check(|| {
            let (turns, posted) = (Arc::new(Turns::new(3)), nothing_posted(4));
            let senders: Vec<_> = (0..2)
                .map(|core| {
                    let (turns, posted) = (Arc::clone(&turns), Arc::clone(&posted));
                    thread::spawn(move || {
                        for _ in 0..2 {
                            let number = turns.take(core);
                            post(&posted, number);
                            turns.posted(core, None);
                        }
                    })
                })
                .collect();
            let first = look(&turns, &posted);
            assert!(look(&turns, &posted) >= first, "what has settled has settled for good");
            assert!(senders.into_iter().all(|sender| sender.join().is_ok()));
            assert_eq!(look(&turns, &posted), 4);
        });
    }

    /// A core whose queues are full holds a number back while it takes the next one.
    #[test]
    fn turns_wait_for_what_a_full_queue_holds_back() {
        let mut bounded = loom::model::Builder::new();
        bounded.preemption_bound = Some(3);
        bounded.check(|| {
            let (turns, posted) = (Arc::new(Turns::new(2)), nothing_posted(3));
            let slow = {
                let (turns, posted) = (Arc::clone(&turns), Arc::clone(&posted));
                thread::spawn(move || {
                    let first = turns.take(0);
                    turns.posted(0, Some(first));
                    let second = turns.take(0);
                    post(&posted, first);
                    turns.posted(0, Some(second));
                    post(&posted, second);
                    turns.posted(0, None);
                })
            };
            let quick = {
                let (turns, posted) = (Arc::clone(&turns), Arc::clone(&posted));
                thread::spawn(move || {
                    let number = turns.take(1);
                    post(&posted, number);
                    turns.posted(1, None);
                })
            };
            look(&turns, &posted);
            look(&turns, &posted);
            assert!(slow.join().is_ok() && quick.join().is_ok());
            assert_eq!(look(&turns, &posted), 3);
        });
    }
}
