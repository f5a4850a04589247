//! The bounded queue between two cores: one sender, one receiver, no locks. And [`Parked`], by
//! which a sender learns whether the receiving core must be woken.
//!
//! Invariant: `head <= tail <= head + capacity` (wrapping); the cells from `head` to `tail` hold
//! values, all others hold none. Only the receiver moves `head`, only the sender moves `tail`; each
//! keeps a copy of the other's index and reads the shared one only when the copy says empty or
//! full, so that the cache line of an index changes hands once a burst instead of once a message.
//! Source: Lamport, "Specifying Concurrent Program Modules" (1983); cached indices: Lee et al.,
//! "MCRingBuffer" (2010).
//!
//! ```text
//! cells  | . | . | v | v | v | . | . | . |      index of a cell: position & mask
//!                  ^ head      ^ tail
//! ```

#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::mem::MaybeUninit;

use sync::{Arc, AtomicBool, AtomicUsize, Ordering, UnsafeCell, fence};

/// A queue for `capacity` values (rounded up to a power of two, at least 1).
pub fn channel<T: Send>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let capacity = capacity.next_power_of_two();
    let ring = Arc::new(Ring {
        head: Padded(AtomicUsize::new(0)),
        tail: Padded(AtomicUsize::new(0)),
        cells: (0..capacity).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
    });
    let sender = Sender { ring: Arc::clone(&ring), tail: 0, head_seen: 0 };
    (sender, Receiver { ring, head: 0, tail_seen: 0 })
}

/// The sending end; it is not `Clone`, which is what makes the queue single-producer.
pub struct Sender<T> {
    ring: Arc<Ring<T>>,
    /// Where the next value goes; the shared tail, of which this is the only writer.
    tail: usize,
    /// A value that the shared head has had; it may have moved on.
    head_seen: usize,
}

impl<T: Send> Sender<T> {
    /// Appends a value; gives it back when the queue is full.
    #[inline]
    pub fn push(&mut self, value: T) -> Result<(), T> {
        let result = self.place(value);
        self.publish();
        result
    }

    /// Moves values from the front of `values` into the queue, as many as fit, and shows all of them
    /// to the receiver at once. True if there were any that fitted.
    #[inline]
    pub fn push_from(&mut self, values: &mut VecDeque<T>) -> bool {
        let before = self.tail;
        while let Some(value) = values.pop_front() {
            if let Err(value) = self.place(value) {
                values.push_front(value);
                break;
            }
        }
        if self.tail == before {
            return false;
        }
        self.publish();
        true
    }

    /// Writes a value into its cell, where the receiver does not see it yet.
    #[inline]
    fn place(&mut self, value: T) -> Result<(), T> {
        let capacity = self.ring.cells.len();
        if self.tail.wrapping_sub(self.head_seen) == capacity {
            // Acquire: the receiver's read of the cell comes before our write to it.
            self.head_seen = self.ring.head.0.load(Ordering::Acquire);
            if self.tail.wrapping_sub(self.head_seen) == capacity {
                return Err(value);
            }
        }
        let cell = &self.ring.cells[self.tail & (capacity - 1)];
        // SAFETY: `tail - head < capacity`, so this cell holds no value and the receiver, which
        // touches only cells below the published tail, does not look at it until `publish`.
        // There is no other sender. Writing a MaybeUninit drops nothing.
        cell.with_mut(|cell| unsafe { (*cell).write(value) });
        self.tail = self.tail.wrapping_add(1);
        Ok(())
    }

    /// Shows the receiver all that was placed.
    #[inline]
    fn publish(&mut self) {
        // Release: the writes of the cells come before the receiver sees the new tail.
        self.ring.tail.0.store(self.tail, Ordering::Release);
    }
}

/// The receiving end; it is not `Clone`, which is what makes the queue single-consumer.
pub struct Receiver<T> {
    ring: Arc<Ring<T>>,
    /// Where the next value is; the shared head, of which this is the only writer.
    head: usize,
    /// A value that the shared tail has had; it may have moved on.
    tail_seen: usize,
}

impl<T: Send> Receiver<T> {
    /// Takes the oldest value; None when there is none yet.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        if self.head == self.tail_seen {
            // Acquire: the sender's write of the cell comes before our read of it.
            self.tail_seen = self.ring.tail.0.load(Ordering::Acquire);
            if self.head == self.tail_seen {
                return None;
            }
        }
        let cell = &self.ring.cells[self.head & (self.ring.cells.len() - 1)];
        // SAFETY: `head < tail`, so the sender has written this cell and published that; it writes
        // it again only after the store below. The value is moved out once, since the head moves on
        // and there is no other receiver.
        let value = cell.with_mut(|cell| unsafe { (*cell).assume_init_read() });
        self.head = self.head.wrapping_add(1);
        // Release: the read of the cell comes before the sender sees the new head.
        self.ring.head.0.store(self.head, Ordering::Release);
        Some(value)
    }

    /// Whether nothing is waiting now. After `Parked::park` a false "empty" is impossible for a
    /// value whose sender does not wake us.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.head == self.tail_seen && self.head == self.ring.tail.0.load(Ordering::Acquire)
    }
}

struct Ring<T> {
    head: Padded<AtomicUsize>,
    tail: Padded<AtomicUsize>,
    cells: Box<[UnsafeCell<MaybeUninit<T>>]>,
}

// SAFETY: a cell is touched by one thread at a time: by the sender while it is outside of
// [head, tail), by the receiver while it is inside, and the Release/Acquire pairs on `head` and
// `tail` order one's access before the other's. Values only cross threads by move: T: Send is
// enough.
unsafe impl<T: Send> Send for Ring<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Ring<T> {}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        // Both ends are gone, and dropping their Arcs has ordered all they did before this.
        let tail = self.tail.0.load(Ordering::Relaxed);
        let mut head = self.head.0.load(Ordering::Relaxed);
        while head != tail {
            let cell = &self.cells[head & (self.cells.len() - 1)];
            // SAFETY: cells from head to tail hold values, and nobody else is left to take them.
            cell.with_mut(|cell| unsafe { (*cell).assume_init_drop() });
            head = head.wrapping_add(1);
        }
    }
}

/// Keeps what one core writes off the cache lines that another reads; 128, since processors fetch
/// lines in pairs.
#[repr(align(128))]
struct Padded<T>(T);

/// Says that a core waits, or is about to, and must be woken when something is sent to it.
///
/// The receiver calls `park`, looks at all its queues once more, waits only if all are empty, and
/// calls `unpark` when it goes on. A sender calls `must_wake` after its pushes. Of a push and a
/// park that happen at once, the fences let at least one side see the other: either the receiver
/// finds the value, or the sender finds the flag (Dekker's mutual exclusion).
pub struct Parked(AtomicBool);

impl Parked {
    /// The flag of a core that is running.
    pub fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Announces that the caller is about to wait. It must look at its queues after this.
    #[inline]
    pub fn park(&self) {
        // All changes of the flag are read-modify-writes: one chain, so that a sender's late change
        // is never taken for one that came after this. It costs nothing next to a wait.
        self.0.swap(true, Ordering::AcqRel);
        fence(Ordering::SeqCst);
    }

    /// Takes the announcement back.
    #[inline]
    pub fn unpark(&self) {
        self.0.swap(false, Ordering::AcqRel);
    }

    /// Whether the core waits, or is about to.
    pub fn is_parked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Whether the caller, who has just pushed, must wake the receiver. Of several senders one is
    /// told to.
    #[inline]
    pub fn must_wake(&self) -> bool {
        fence(Ordering::SeqCst);
        // The plain load keeps the flag's line shared while the receiver runs, the common case.
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::AcqRel)
    }
}

impl Default for Parked {
    fn default() -> Self {
        Self::new()
    }
}

/// What the queue is built of: std's types, with the cell's interface of loom.
#[cfg(not(loom))]
mod sync {
    pub(super) use std::sync::Arc;
    pub(super) use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};

    pub(super) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(super) fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        #[inline(always)]
        pub(super) fn with_mut<R>(&self, access: impl FnOnce(*mut T) -> R) -> R {
            access(self.0.get())
        }
    }
}

/// Loom's types, which try every interleaving that the memory model allows.
#[cfg(loom)]
mod sync {
    pub(super) use loom::cell::UnsafeCell;
    pub(super) use loom::sync::Arc;
    pub(super) use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_full_queue_gives_the_value_back() {
        let (mut sender, mut receiver) = channel(3);
        for n in 0..4 {
            assert_eq!(sender.push(n), Ok(()));
        }
        assert_eq!(sender.push(9), Err(9));
        assert_eq!(receiver.pop(), Some(0));
        assert_eq!(sender.push(4), Ok(()));
        assert_eq!(std::iter::from_fn(|| receiver.pop()).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert!(receiver.is_empty());
    }

    #[test]
    fn what_was_not_received_is_dropped_once() {
        let counted = std::sync::Arc::new(());
        let (mut sender, mut receiver) = channel(8);
        for _ in 0..5 {
            assert!(sender.push(std::sync::Arc::clone(&counted)).is_ok());
        }
        drop(receiver.pop());
        assert_eq!(std::sync::Arc::strong_count(&counted), 5);
        drop((sender, receiver));
        assert_eq!(std::sync::Arc::strong_count(&counted), 1);
    }

    #[test]
    fn many_values_are_pushed_as_far_as_they_fit() {
        let (mut sender, mut receiver) = channel(4);
        let mut values: VecDeque<u32> = (0..6).collect();
        assert!(sender.push_from(&mut values));
        assert_eq!((values.len(), sender.push_from(&mut values)), (2, false));
        assert_eq!(receiver.pop(), Some(0));
        assert!(sender.push_from(&mut values));
        assert_eq!(std::iter::from_fn(|| receiver.pop()).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(values, [5]);
    }

    #[test]
    fn values_cross_threads_in_order() {
        const COUNT: usize = if cfg!(miri) { 100 } else { 100_000 };
        let (mut sender, mut receiver) = channel(16);
        let sending = std::thread::spawn(move || {
            for n in 0..COUNT {
                let mut value = Box::new(n);
                while let Err(back) = sender.push(value) {
                    value = back;
                    std::thread::yield_now();
                }
            }
        });
        for n in 0..COUNT {
            let value = loop {
                match receiver.pop() {
                    Some(value) => break value,
                    None => std::thread::yield_now(),
                }
            };
            assert_eq!(*value, n);
        }
        assert!(sending.join().is_ok() && receiver.is_empty());
    }

    #[test]
    fn only_a_parked_receiver_is_woken_and_once() {
        let parked = Parked::new();
        assert!(!parked.must_wake());
        parked.park();
        assert!(parked.must_wake());
        assert!(!parked.must_wake());
        parked.park();
        parked.unpark();
        assert!(!parked.must_wake());
    }

    proptest! {
        #[test]
        fn behaves_as_a_bounded_vecdeque(
            capacity in 0usize..9,
            pushes in prop::collection::vec(any::<bool>(), 0..200),
        ) {
            let (mut sender, mut receiver) = channel(capacity);
            let (mut model, bound) = (VecDeque::new(), capacity.next_power_of_two());
            for (n, push) in pushes.into_iter().enumerate() {
                if push {
                    let fits = model.len() < bound;
                    prop_assert_eq!(sender.push(n), if fits { Ok(()) } else { Err(n) });
                    model.extend(fits.then_some(n));
                } else {
                    prop_assert_eq!(receiver.pop(), model.pop_front());
                }
                prop_assert_eq!(receiver.is_empty(), model.is_empty());
            }
        }
    }
}

/// Run by `ci/loom.sh` (in tests/loom); every test is repeated for every interleaving.
#[cfg(all(test, loom))]
mod tests {
    use super::*;
    use loom::thread;

    #[test]
    fn mailbox_values_cross_in_order_and_cells_are_reused() {
        loom::model(|| {
            let (mut sender, mut receiver) = channel(2);
            let sending = thread::spawn(move || {
                for n in 0..3 {
                    let mut value = Box::new(n);
                    while let Err(back) = sender.push(value) {
                        value = back;
                        thread::yield_now();
                    }
                }
            });
            let mut expected = 0;
            while expected < 3 {
                match receiver.pop() {
                    Some(value) => {
                        assert_eq!(*value, expected);
                        expected += 1;
                    }
                    None => thread::yield_now(),
                }
            }
            assert!(sending.join().is_ok() && receiver.is_empty());
        });
    }

    #[test]
    fn mailbox_drops_what_was_left() {
        loom::model(|| {
            let counted = Arc::new(());
            let (mut sender, mut receiver) = channel(2);
            let value = Arc::clone(&counted);
            let sending = thread::spawn(move || {
                assert!(sender.push(Arc::clone(&value)).is_ok());
                assert!(sender.push(value).is_ok());
            });
            drop(receiver.pop());
            drop(receiver);
            assert!(sending.join().is_ok());
            assert_eq!(Arc::strong_count(&counted), 1);
        });
    }

    /// Two senders and a receiver that waits for what each sends: a lost wake is a deadlock, which
    /// loom reports.
    #[test]
    fn mailbox_loses_no_wake() {
        // All schedules of three threads take too long; bugs show with few preemptions (CHESS).
        let mut bounded = loom::model::Builder::new();
        bounded.preemption_bound = Some(3);
        bounded.check(|| {
            let parked = Arc::new(Parked::new());
            let wake = Arc::new(loom::sync::Notify::new());
            let mut receivers = Vec::new();
            let mut senders = Vec::new();
            for n in 0..2 {
                let (mut sender, receiver) = channel(1);
                receivers.push(receiver);
                let (parked, wake) = (Arc::clone(&parked), Arc::clone(&wake));
                senders.push(thread::spawn(move || {
                    assert_eq!(sender.push(n), Ok(()));
                    if parked.must_wake() {
                        wake.notify();
                    }
                }));
            }
            let mut received = 0;
            while received < 2 {
                parked.park();
                if receivers.iter().all(Receiver::is_empty) {
                    wake.wait();
                }
                parked.unpark();
                received += receivers.iter_mut().filter_map(Receiver::pop).count();
            }
            assert!(senders.into_iter().all(|sender| sender.join().is_ok()));
        });
    }
}
