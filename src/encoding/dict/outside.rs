//! The elements of a segment that are too large for it, each in allocations of its own.
//! Invariant: a number that `add` gave stays until `take`; numbers are used again.

use std::sync::Arc;

use crate::base::alloc::class_size;

/// A large element.
#[derive(Clone)]
pub(super) struct Large {
    pub(super) field: Arc<[u8]>,
    pub(super) value: Arc<[u8]>,
}

impl Large {
    pub(super) fn new(field: &[u8], value: &[u8]) -> Self {
        Self { field: field.into(), value: value.into() }
    }

    /// Bytes allocated, with the two counters of each `Arc`.
    fn bytes(&self) -> usize {
        let header = 2 * size_of::<usize>();
        class_size(self.field.len() + header) + class_size(self.value.len() + header)
    }
}

/// Large elements by number.
#[derive(Clone, Default)]
pub(super) struct Outside {
    slots: Vec<Option<Large>>,
    held: usize,
    bytes: usize,
}

impl Outside {
    pub(super) fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Keeps an element and returns its number.
    pub(super) fn add(&mut self, large: Large) -> usize {
        self.held += 1;
        self.bytes += large.bytes();
        if let Some(free) = self.slots.iter().position(Option::is_none) {
            self.slots[free] = Some(large);
            return free;
        }
        self.slots.push(Some(large));
        self.slots.len() - 1
    }

    /// Takes the element with a number out.
    pub(super) fn take(&mut self, number: usize) -> Large {
        let large = self.slots[number].take().expect("a number names an element");
        self.held -= 1;
        self.bytes -= large.bytes();
        large
    }

    pub(super) fn large(&self, number: usize) -> &Large {
        self.slots[number].as_ref().expect("a number names an element")
    }

    pub(super) fn value_mut(&mut self, number: usize) -> &mut [u8] {
        let large = self.slots[number].as_mut().expect("a number names an element");
        Arc::make_mut(&mut large.value)
    }

    /// Bytes allocated, its own included, without the spare room of the list.
    pub(super) fn bytes(&self) -> usize {
        let slots = self.slots.len() * size_of::<Option<Large>>();
        self.bytes + class_size(slots) + class_size(size_of::<Self>())
    }
}
