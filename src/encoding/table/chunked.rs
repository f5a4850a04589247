//! A growing array that never moves what it holds.
//! Invariant: all chunks but the last are full; so no push costs more than one small allocation,
//! and an array that grew leaves no memory behind.

use std::ops::{Index, IndexMut};

/// Items in one chunk.
const CHUNK: usize = 64;

/// An array in chunks.
pub(super) struct Chunked<T> {
    chunks: Vec<Vec<T>>,
}

impl<T> Default for Chunked<T> {
    fn default() -> Self {
        Self { chunks: Vec::new() }
    }
}

impl<T> Chunked<T> {
    /// Items held.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len())
    }

    pub(super) fn push(&mut self, item: T) {
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK => last.push(item),
            last => {
                // The first chunk grows with its items: most tables are small.
                let mut chunk = Vec::with_capacity(if last.is_some() { CHUNK } else { 1 });
                chunk.push(item);
                self.chunks.push(chunk);
            }
        }
    }

    pub(super) fn pop(&mut self) -> Option<T> {
        let last = self.chunks.last_mut()?;
        let item = last.pop();
        if last.is_empty() {
            self.chunks.pop();
        }
        item
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten()
    }

    /// The items from index `start` on.
    pub(super) fn iter_from(&self, start: usize) -> impl Iterator<Item = &T> {
        let chunks = self.chunks.get(start / CHUNK..).unwrap_or_default();
        chunks.iter().flatten().skip(start % CHUNK)
    }

    /// Bytes allocated, without what the items own.
    pub(super) fn bytes(&self) -> usize {
        let items: usize = self.chunks.iter().map(Vec::capacity).sum();
        items * size_of::<T>() + self.chunks.capacity() * size_of::<Vec<T>>()
    }
}

impl<T> Index<usize> for Chunked<T> {
    type Output = T;

    #[inline(always)]
    fn index(&self, at: usize) -> &T {
        &self.chunks[at / CHUNK][at % CHUNK]
    }
}

impl<T> IndexMut<usize> for Chunked<T> {
    #[inline(always)]
    fn index_mut(&mut self, at: usize) -> &mut T {
        &mut self.chunks[at / CHUNK][at % CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_a_vector_would() {
        let mut chunked = Chunked::default();
        for n in 0..1000usize {
            assert_eq!(chunked.len(), n);
            chunked.push(n);
        }
        chunked[500] += 1;
        assert_eq!((chunked[499], chunked[500], chunked[999]), (499, 501, 999));
        assert_eq!(chunked.iter().sum::<usize>(), 999 * 500 + 1);
        assert!(chunked.iter_from(700).copied().eq(700..1000));
        assert_eq!(chunked.iter_from(5000).next(), None);
        assert!(chunked.bytes() >= 1000 * size_of::<usize>());
        for n in (501..1000).rev() {
            assert_eq!(chunked.pop(), Some(n));
        }
        assert_eq!(chunked.len(), 501);
        while chunked.pop().is_some() {}
        assert_eq!((chunked.len(), chunked.pop()), (0, None));
    }
}
