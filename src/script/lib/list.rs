//! What grows in a library: a list in the frame, and in memory of the interpreter when it is long.
//!
//! Invariant: nothing to drop, as for all that the libraries hold (`stack.rs`): the memory is counted
//! by the interpreter's limit and collected by it.

use std::ffi::c_int;
use std::mem::MaybeUninit;

use super::stack::Stack;

/// A list that grows: its first `N` elements in the frame, more in memory of the interpreter, which a
/// slot of the stack keeps alive.
pub(super) struct List<'l, T: Copy, const N: usize> {
    stack: Stack<'l>,
    slot: c_int,
    /// Null while the list is in the frame.
    large: *mut T,
    length: usize,
    capacity: usize,
    small: [MaybeUninit<T>; N],
}

/// Bytes of a result.
pub(super) type Buffer<'l> = List<'l, u8, 1024>;

impl<'l, T: Copy, const N: usize> List<'l, T, N> {
    /// An empty list; takes one slot of the stack.
    pub(super) fn new(stack: Stack<'l>) -> Self {
        stack.push_nil();
        Self {
            stack,
            slot: stack.top(),
            large: std::ptr::null_mut(),
            length: 0,
            capacity: N,
            small: [const { MaybeUninit::uninit() }; N],
        }
    }

    /// How many elements there are.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// The elements.
    pub(super) fn as_slice(&self) -> &[T] {
        // SAFETY: the first `length` elements of the place were written.
        unsafe { std::slice::from_raw_parts(self.place(), self.length) }
    }

    /// The last element, for change.
    pub(super) fn last_mut(&mut self) -> Option<&mut T> {
        let last = self.length.checked_sub(1)?;
        // SAFETY: `last` is below `length`, and all those were written.
        Some(unsafe { &mut *self.place_mut().add(last) })
    }

    /// Adds one element.
    pub(super) fn push(&mut self, element: T) {
        self.reserve(1);
        // SAFETY: `reserve` made room behind `length`.
        unsafe { self.place_mut().add(self.length).write(element) };
        self.length += 1;
    }

    /// Adds all elements.
    pub(super) fn extend(&mut self, elements: &[T]) {
        self.reserve(elements.len());
        // SAFETY: `reserve` made room behind `length`; the source is borrowed, so it is elsewhere.
        unsafe {
            let end = self.place_mut().add(self.length);
            end.copy_from_nonoverlapping(elements.as_ptr(), elements.len());
        }
        self.length += elements.len();
    }

    /// Takes the last element.
    pub(super) fn pop(&mut self) -> Option<T> {
        let last = *self.last_mut()?;
        self.length -= 1;
        Some(last)
    }

    /// Forgets the elements, keeps the room.
    pub(super) fn clear(&mut self) {
        self.length = 0;
    }

    /// Makes room for `more` elements; the interpreter's error where there is no memory for them.
    pub(super) fn reserve(&mut self, more: usize) {
        if self.capacity - self.length < more {
            self.grow(more);
        }
    }

    #[cold]
    fn grow(&mut self, more: usize) {
        let needed = self.length.checked_add(more).map(|needed| needed.max(self.capacity * 2));
        let Some(capacity) = needed.filter(|needed| *needed <= SIZE_MAX / size_of::<T>()) else {
            self.stack.raise(format_args!("not enough memory"));
        };
        self.stack.charge(capacity * size_of::<T>() / BYTES_PER_STEP);
        self.stack.need_stack(1, c"no room for a buffer");
        let place = self.stack.push_memory::<T>(capacity);
        // SAFETY: the new memory holds more than `length` elements and stays alive in the slot that
        // the old memory leaves.
        unsafe { place.copy_from_nonoverlapping(self.place(), self.length) };
        self.stack.replace(self.slot);
        self.large = place;
        self.capacity = capacity;
    }

    fn place(&self) -> *const T {
        if self.large.is_null() { self.small.as_ptr().cast() } else { self.large }
    }

    fn place_mut(&mut self) -> *mut T {
        if self.large.is_null() { self.small.as_mut_ptr().cast() } else { self.large }
    }
}

impl Buffer<'_> {
    /// Pushes the bytes as a string.
    pub(super) fn push_result(&self) {
        self.stack.push_bytes(self.as_slice());
    }

    /// Adds `count` copies of `bytes`.
    pub(super) fn extend_repeated(&mut self, bytes: &[u8], count: usize) {
        let Some(total) = bytes.len().checked_mul(count) else {
            self.stack.raise(format_args!("resulting string too large"));
        };
        if total == 0 {
            return;
        }
        self.reserve(total);
        let start = self.length;
        self.extend(bytes);
        while self.length - start < total {
            let step = (self.length - start).min(total - (self.length - start));
            self.stack.charge(step / BYTES_PER_STEP);
            // SAFETY: `total` bytes are reserved from `start`; the source, `step` bytes from `start`,
            // was written and ends before the target.
            unsafe {
                let from = self.place().add(start);
                self.place_mut().add(self.length).copy_from_nonoverlapping(from, step);
            }
            self.length += step;
        }
    }
}

/// What one step copies, at least.
pub(super) const BYTES_PER_STEP: usize = 16;

/// No buffer is larger, whatever the interpreter's limit.
const SIZE_MAX: usize = 1 << 40;
