//! A box that any core drops letters into and one core empties, without locks.
//!
//! Invariant: what was dropped before a message was sent is in the box for whoever has received that
//! message. A letter is reachable from `head` until it is taken, and then by its taker alone.
//! Source: Treiber, "Systems Programming: Coping with Parallelism" (1986); since letters are only
//! taken all at once, no letter's address can come back under a sender's hands.
//!
//! ```text
//! head -> | third | -> | second | -> | first | -> null
//! ```

#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ptr;

use sync::{AtomicPtr, Ordering};

struct Letter<T> {
    value: T,
    next: *mut Letter<T>,
}

/// Letters from any thread to one.
#[derive(Debug)]
pub struct Letterbox<T> {
    head: AtomicPtr<Letter<T>>,
    /// It owns letters.
    owns: PhantomData<T>,
}

// SAFETY: shared, a box only hands values from one thread to another: a value is moved in by `drop_in`
// and moved out by `take_all`, and never seen by two threads at once.
unsafe impl<T: Send> Sync for Letterbox<T> {}

impl<T: Send> Letterbox<T> {
    /// An empty box.
    pub fn new() -> Self {
        Letterbox { head: AtomicPtr::new(ptr::null_mut()), owns: PhantomData }
    }

    /// Drops a letter in; true if the box was empty.
    pub fn drop_in(&self, value: T) -> bool {
        let letter = Box::into_raw(Box::new(Letter { value, next: ptr::null_mut() }));
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            // SAFETY: `letter` came from a box above and nobody else knows it until the exchange
            // below succeeds, behind which it is not touched here.
            unsafe { (*letter).next = head };
            // Release: the letter is written before anybody can find it.
            match self.head.compare_exchange_weak(
                head,
                letter,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return head.is_null(),
                Err(now) => head = now,
            }
        }
    }

    /// True if there is no letter.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.head.load(Ordering::Acquire).is_null()
    }

    /// Takes all letters, in the order in which they were dropped in.
    pub fn take_all(&self) -> Vec<T> {
        // Acquire: what was written before a letter was dropped in is seen here. The exchanges of
        // other senders in between continue the release of the ones before them.
        let mut next = self.head.swap(ptr::null_mut(), Ordering::Acquire);
        let mut letters = Vec::new();
        while !next.is_null() {
            // SAFETY: the swap has made this thread the only one that knows the list; each letter
            // came from a box and is taken once.
            let letter = *unsafe { Box::from_raw(next) };
            letters.push(letter.value);
            next = letter.next;
        }
        letters.reverse();
        letters
    }
}

impl<T: Send> Default for Letterbox<T> {
    fn default() -> Self {
        Letterbox::new()
    }
}

impl<T> Drop for Letterbox<T> {
    fn drop(&mut self) {
        // Whoever gave the box up has ordered all that was done with it before this.
        let mut next = self.head.load(Ordering::Relaxed);
        while !next.is_null() {
            // SAFETY: nobody else has the box any more; each letter came from a box, once.
            next = unsafe { Box::from_raw(next) }.next;
        }
    }
}

/// What the box is built of.
#[cfg(not(loom))]
mod sync {
    pub(super) use std::sync::atomic::{AtomicPtr, Ordering};
}

/// Loom's types, which try every interleaving that the memory model allows.
#[cfg(loom)]
mod sync {
    pub(super) use loom::sync::atomic::{AtomicPtr, Ordering};
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn letters_come_in_their_order_and_are_freed() {
        let letters = Letterbox::new();
        let value = Arc::new(());
        assert!(letters.is_empty() && letters.drop_in((1, value.clone())));
        assert!(!letters.drop_in((2, value.clone())));
        let numbers: Vec<i32> = letters.take_all().into_iter().map(|(number, _)| number).collect();
        assert_eq!(numbers, [1, 2]);
        assert!(letters.is_empty() && letters.take_all().is_empty());
        letters.drop_in((3, value.clone()));
        drop(letters);
        assert_eq!(Arc::strong_count(&value), 1);
    }

    #[test]
    fn each_sender_keeps_its_order() {
        const EACH: u64 = if cfg!(miri) { 100 } else { 20_000 };
        let letters = Letterbox::new();
        let mut last = [0; 3];
        std::thread::scope(|scope| {
            for sender in 0..last.len() {
                let letters = &letters;
                scope.spawn(move || {
                    (1..=EACH).for_each(|at| {
                        letters.drop_in((sender, at));
                    });
                });
            }
            while last != [EACH; 3] {
                for (sender, at) in letters.take_all() {
                    assert_eq!(at, last[sender] + 1);
                    last[sender] = at;
                }
            }
        });
    }
}

/// Run by `ci/loom.sh` (in tests/loom); every test is repeated for every interleaving.
#[cfg(all(test, loom))]
mod tests {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::{Arc, Notify};
    use loom::thread;

    /// What a sender writes without atomics before it drops it in: loom reports whoever looks at it
    /// without being ordered behind that.
    struct Written(UnsafeCell<(usize, u32)>);

    // SAFETY: a letter is in one thread at a time; that is what is tested.
    unsafe impl Send for Written {}

    fn written(sender: usize, number: u32) -> Written {
        let cell = UnsafeCell::new((0, 0));
        // SAFETY: nobody else knows the cell.
        cell.with_mut(|cell| unsafe { *cell = (sender, number) });
        Written(cell)
    }

    fn read(letter: &Written) -> (usize, u32) {
        // SAFETY: the letter was taken, so its sender does not touch it any more.
        letter.0.with(|cell| unsafe { *cell })
    }

    /// Two senders, and a taker who sleeps until somebody says that the box was empty.
    #[test]
    fn letterbox_keeps_each_senders_order_and_loses_no_wake() {
        /// Letters of each sender.
        const LAST: [u32; 2] = [2, 1];
        let mut bounded = loom::model::Builder::new();
        bounded.preemption_bound = Some(3);
        bounded.check(|| {
            let letters = Arc::new(Letterbox::new());
            let wake = Arc::new(Notify::new());
            let senders: Vec<_> = (0..2)
                .map(|sender| {
                    let (letters, wake) = (Arc::clone(&letters), Arc::clone(&wake));
                    thread::spawn(move || {
                        for number in 1..=LAST[sender] {
                            if letters.drop_in(written(sender, number)) {
                                wake.notify();
                            }
                        }
                    })
                })
                .collect();
            let mut last = [0; 2];
            while last != LAST {
                if letters.is_empty() {
                    wake.wait();
                }
                for letter in letters.take_all() {
                    let (sender, number) = read(&letter);
                    assert_eq!(number, last[sender] + 1);
                    last[sender] = number;
                }
            }
            assert!(senders.into_iter().all(|sender| sender.join().is_ok()));
            assert!(letters.is_empty());
        });
    }

    /// Who has received a message finds what was dropped in before it was sent, though another
    /// core has dropped something in between or taken all there was.
    #[test]
    fn letterbox_holds_what_was_dropped_in_before_a_message() {
        use loom::sync::atomic::AtomicBool;

        loom::model(|| {
            let letters = Arc::new(Letterbox::new());
            let sent = Arc::new(AtomicBool::new(false));
            let other = {
                let letters = Arc::clone(&letters);
                thread::spawn(move || letters.drop_in(written(1, 1)))
            };
            let sender = {
                let (letters, sent) = (Arc::clone(&letters), Arc::clone(&sent));
                thread::spawn(move || {
                    letters.drop_in(written(0, 1));
                    sent.store(true, Ordering::Release);
                })
            };
            let before: Vec<_> = letters.take_all().iter().map(read).collect();
            if sent.load(Ordering::Acquire) {
                let after = letters.take_all().iter().map(read).collect::<Vec<_>>();
                assert!(before.contains(&(0, 1)) || after.contains(&(0, 1)));
            }
            assert!(other.join().is_ok() && sender.join().is_ok());
        });
    }
}
