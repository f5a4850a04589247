//! The last bytes of the stream, for replicas to be sent from and to go on from.
//!
//! Invariant: the bytes from `first` to `end` are here, without gaps. As many as the limit says are
//! kept, and beyond that those which a replica has not been sent: all replicas are sent from the same
//! memory, and have a place in it, not a copy.
//!
//! ```text
//! first                                               end
//!   | sealed chunk | sealed chunk (of a long block) | tail |
//!          ^ a replica's place
//! ```

use std::collections::VecDeque;

use bytes::Bytes;

/// See above.
#[derive(Debug)]
pub struct Backlog {
    /// Offset of the first byte: bytes of the history that are not here any more.
    first: u64,
    /// Full chunks, with the offset at which each begins.
    sealed: VecDeque<(u64, Bytes)>,
    tail: Vec<u8>,
    /// Offset behind the last byte.
    end: u64,
    /// Bytes of a chunk, at most.
    chunk_bytes_max: usize,
}

impl Backlog {
    /// A backlog of a history of so many bytes; it has none of them.
    pub fn new(offset: u64) -> Backlog {
        let (sealed, tail) = (VecDeque::new(), Vec::new());
        Backlog { first: offset, sealed, tail, end: offset, chunk_bytes_max: CHUNK_BYTES }
    }

    /// The offset of the first byte that is here.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The offset behind the last byte.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Bytes that are here.
    pub fn len(&self) -> u64 {
        self.end - self.first
    }

    /// True if it has nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory that it takes.
    pub fn held_bytes(&self) -> u64 {
        let sealed = self.len() - self.tail.len() as u64;
        sealed + (self.tail.capacity() + self.sealed.capacity() * ENTRY_BYTES) as u64
    }

    /// Appends bytes. Chunks are filled to their ends, so that they hold what they take.
    pub fn append(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.tail.capacity() == 0 {
                let longer = bytes.len().min(self.chunk_bytes_max);
                self.tail.reserve_exact(CHUNK_BYTES.max(longer));
            }
            let room = self.tail.capacity() - self.tail.len();
            let (first, rest) = bytes.split_at(room.min(bytes.len()));
            self.tail.extend_from_slice(first);
            self.end += first.len() as u64;
            bytes = rest;
            if self.tail.len() == self.tail.capacity() {
                self.seal();
            }
        }
    }

    /// Appends bytes that need not be copied if they are many.
    pub fn append_owned(&mut self, bytes: Bytes) {
        if bytes.len() < CHUNK_BYTES {
            return self.append(&bytes);
        }
        self.seal();
        self.sealed.push_back((self.end, bytes.clone()));
        self.end += bytes.len() as u64;
    }

    /// What is in the tail becomes a chunk.
    fn seal(&mut self) {
        if !self.tail.is_empty() {
            let mut bytes = std::mem::take(&mut self.tail);
            bytes.shrink_to_fit();
            self.sealed.push_back((self.end - bytes.len() as u64, Bytes::from(bytes)));
        }
    }

    /// Forgets what is older than `limit` bytes, but nothing from offset `held` on.
    pub fn trim(&mut self, limit: u64, held: u64) {
        let part = usize::try_from(limit / CHUNKS_MIN).unwrap_or(usize::MAX);
        self.chunk_bytes_max = part.clamp(CHUNK_BYTES, CHUNK_BYTES_MAX);
        while let Some((start, chunk)) = self.sealed.front() {
            let behind = start + chunk.len() as u64;
            // Whole chunks go, so that what is left is never less than the limit.
            if self.end - behind < limit || behind > held {
                break;
            }
            self.first = behind;
            self.sealed.pop_front();
        }
        // A replica that stood still has made it long.
        if self.sealed.capacity() > SEALED_MIN.max(4 * self.sealed.len()) {
            self.sealed.shrink_to(SEALED_MIN.max(2 * self.sealed.len()));
        }
    }

    /// Bytes from `offset` on, some of them if there are many. None if they are not here, or there are
    /// none yet.
    pub fn read(&self, offset: u64) -> Option<Bytes> {
        if offset < self.first || offset >= self.end {
            return None;
        }
        let tail_start = self.end - self.tail.len() as u64;
        if offset >= tail_start {
            // Short, and it grows on: so it is copied.
            return Some(Bytes::copy_from_slice(&self.tail[(offset - tail_start) as usize..]));
        }
        let at = self.sealed.partition_point(|(start, _)| *start <= offset) - 1;
        let (start, chunk) = &self.sealed[at];
        Some(chunk.slice((offset - start) as usize..))
    }
}

/// Bytes of a chunk, if blocks are not longer.
const CHUNK_BYTES: usize = 16 * 1024;
/// Room for so many chunks is kept.
const SEALED_MIN: usize = 64;
/// Longer blocks are this many chunks of a full backlog, or more: they go in parts, too.
const CHUNKS_MIN: u64 = 16;
/// Worth a send of its own.
const CHUNK_BYTES_MAX: usize = 1 << 20;
/// What an entry of the queue takes.
const ENTRY_BYTES: usize = size_of::<(u64, Bytes)>();

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_all(backlog: &Backlog, mut from: u64) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(bytes) = backlog.read(from) {
            assert!(!bytes.is_empty());
            from += bytes.len() as u64;
            all.extend_from_slice(&bytes);
        }
        all
    }

    #[test]
    fn what_was_never_here_cannot_be_read() {
        let mut backlog = Backlog::new(100);
        assert!(backlog.is_empty() && backlog.read(100).is_none());
        backlog.append(b"abc");
        assert_eq!((backlog.first(), backlog.end()), (100, 103));
        assert!(backlog.read(99).is_none() && backlog.read(103).is_none());
        assert_eq!(read_all(&backlog, 101), b"bc");
    }

    proptest! {
        #[test]
        fn it_is_the_end_of_what_was_appended(
            sizes in prop::collection::vec((0usize..40_000, any::<bool>()), 1..60),
            limit in 0u64..200_000,
            lag in 0u64..400_000,
        ) {
            let mut all = vec![0; 7];
            let mut backlog = Backlog::new(7);
            for (number, (size, owned)) in sizes.into_iter().enumerate() {
                let bytes = vec![number as u8; size];
                all.extend_from_slice(&bytes);
                if owned { backlog.append_owned(bytes.into()) } else { backlog.append(&bytes) }
                let held = (all.len() as u64).saturating_sub(lag);
                let first = backlog.first();
                backlog.trim(limit, held.max(first));
                prop_assert_eq!(backlog.end(), all.len() as u64);
                prop_assert!(backlog.first() <= held.max(first));
                prop_assert!(backlog.first() == first || backlog.len() >= limit);
                prop_assert!(backlog.len() <= limit.max(lag) + 2 * 40_000);
            }
            let first = backlog.first();
            let middle = first + backlog.len() / 2;
            prop_assert_eq!(read_all(&backlog, first), &all[first as usize..]);
            prop_assert_eq!(read_all(&backlog, middle), &all[middle as usize..]);
        }
    }
}
