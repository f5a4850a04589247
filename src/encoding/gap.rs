//! A run of bytes with room at both ends, for what is pushed and popped there.
//!
//! Invariant: the run is what lies from `start` to the end of the buffer; a splice moves what lies
//! before or behind it, whichever is shorter. So a queue's pop at one end and push at the other move
//! a few bytes, where a plain vector would move everything.
//!
//! ```text
//! | room in front | bytes of the run | capacity of the vector |
//!                 ^ start
//! ```

use super::run::Run;
use crate::base::alloc::class_size;

/// The run. Its allocation is a whole size class: the rest of a class would be lost anyway.
#[derive(Clone, Debug, Default)]
pub struct GapRun {
    buffer: Vec<u8>,
    start: usize,
}

impl GapRun {
    /// Gives back the room at both ends.
    pub fn shrink(&mut self) {
        if class_size(self.len()) < self.bytes_allocated() {
            self.move_to(self.len(), 0);
        }
    }

    /// Bytes of the run.
    #[inline]
    pub fn len(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// True without any byte.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the allocation.
    pub fn bytes_allocated(&self) -> usize {
        class_size(self.buffer.capacity())
    }

    /// The run as a vector.
    pub fn into_vec(mut self) -> Vec<u8> {
        self.buffer.drain(..self.start);
        self.buffer
    }

    /// Gives the run `added` more bytes in front of offset `at`, of which it does not matter what
    /// they are, by moving what lies before.
    fn open_in_front(&mut self, at: usize, added: usize) {
        if self.start < added {
            let room = self.buffer.capacity() - self.len();
            if room >= added {
                // There is room, but behind: half of what is left goes to each end.
                self.slide_to(added + (room - added) / 2);
            } else {
                let capacity = class_size(self.len() + added);
                self.move_to(capacity, capacity - self.len());
            }
        }
        let start = self.start - added;
        self.buffer.copy_within(self.start..self.start + at, start);
        self.start = start;
    }

    /// The same by moving what lies behind.
    fn open_behind(&mut self, at: usize, added: usize) {
        if self.buffer.capacity() - self.buffer.len() < added {
            let room = self.buffer.capacity() - self.len();
            if room >= added {
                self.slide_to((room - added) / 2);
            } else {
                self.move_to(class_size(self.len() + added), 0);
            }
        }
        let (from, end) = (self.start + at, self.buffer.len());
        self.buffer.resize(end + added, 0);
        self.buffer.copy_within(from..end, from + added);
    }

    /// Moves the run within its buffer.
    fn slide_to(&mut self, start: usize) {
        let len = self.len();
        if self.buffer.len() < start + len {
            self.buffer.resize(start + len, 0);
        }
        self.buffer.copy_within(self.start..self.start + len, start);
        self.buffer.truncate(start + len);
        self.start = start;
    }

    /// Moves the run to a buffer of `capacity`.
    fn move_to(&mut self, capacity: usize, start: usize) {
        let mut buffer = Vec::with_capacity(capacity);
        buffer.resize(start, 0);
        buffer.extend_from_slice(self.bytes());
        *self = GapRun { buffer, start };
    }
}

impl From<Vec<u8>> for GapRun {
    fn from(buffer: Vec<u8>) -> Self {
        GapRun { buffer, start: 0 }
    }
}

impl From<&[u8]> for GapRun {
    fn from(bytes: &[u8]) -> Self {
        let mut buffer = Vec::with_capacity(class_size(bytes.len()));
        buffer.extend_from_slice(bytes);
        GapRun { buffer, start: 0 }
    }
}

impl Run for GapRun {
    #[inline]
    fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    #[inline]
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..]
    }

    fn splice(&mut self, at: usize, removed: usize, pieces: &[&[u8]]) {
        let behind = self.len() - removed - at;
        let added: usize = pieces.iter().map(|piece| piece.len()).sum();
        if removed == 0 && behind == 1 && self.buffer.capacity() - self.buffer.len() >= added {
            // A push behind everything but the mark of the end, which is most of what happens.
            let last = self.buffer.pop();
            pieces.iter().for_each(|piece| self.buffer.extend_from_slice(piece));
            self.buffer.extend(last);
            return;
        }
        if added >= removed {
            // The removed bytes are overwritten, so the run opens behind or before them.
            if at < behind {
                self.open_in_front(at, added - removed);
            } else {
                self.open_behind(at + removed, added - removed);
            }
        } else if at < behind {
            let start = self.start + removed - added;
            self.buffer.copy_within(self.start..self.start + at, start);
            self.start = start;
        } else {
            let from = self.start + at;
            let len = self.buffer.len();
            self.buffer.copy_within(from + removed.., from + added);
            self.buffer.truncate(len + added - removed);
        }
        let mut to = self.start + at;
        for piece in pieces {
            self.buffer[to..to + piece.len()].copy_from_slice(piece);
            to += piece.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_queue_does_not_grow() {
        let mut run = GapRun::from([0u8; 800].as_slice());
        let allocated = run.bytes_allocated();
        for step in 0..10_000u32 {
            let end = run.len();
            Run::splice(&mut run, end - 1, 0, &[&step.to_le_bytes()]);
            Run::splice(&mut run, 6, 4, &[]);
        }
        assert_eq!(run.len(), 800);
        assert!(run.bytes_allocated() <= allocated * 5 / 4);
    }

    proptest! {
        #[test]
        fn splices_as_vectors_do(
            steps in prop::collection::vec(
                (any::<prop::sample::Index>(), 0usize..60, prop::collection::vec(any::<u8>(), 0..90)),
                1..60,
            ),
        ) {
            let (mut run, mut model) = (GapRun::default(), Vec::new());
            for (step, (at, removed, piece)) in steps.into_iter().enumerate() {
                let at = at.index(model.len() + 1);
                let removed = removed.min(model.len() - at);
                model.splice(at..at + removed, piece.iter().copied());
                let (one, other) = piece.split_at(piece.len() / 2);
                Run::splice(&mut run, at, removed, &[one, other]);
                if step % 7 == 0 {
                    run.shrink();
                    prop_assert!(run.bytes_allocated() <= class_size(run.len()));
                }
                prop_assert_eq!(run.bytes(), &model);
                prop_assert_eq!(run.bytes_mut(), &model);
                prop_assert_eq!(run.clone().into_vec(), model.clone());
            }
        }
    }
}
