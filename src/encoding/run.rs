//! A run of bytes that can be cut and pasted: a vector, or the bytes of an entry.
//! Invariant: encodings write through this seam only, so they do not know where their bytes lie.

/// Bytes in one piece whose middle can be replaced.
pub trait Run {
    /// The bytes.
    fn bytes(&self) -> &[u8];

    /// The bytes, to be overwritten in place.
    fn bytes_mut(&mut self) -> &mut [u8];

    /// Replaces `removed` bytes at `at` by `pieces`, one behind the other. The range lies within the
    /// bytes.
    fn splice(&mut self, at: usize, removed: usize, pieces: &[&[u8]]);
}

impl Run for Vec<u8> {
    #[inline]
    fn bytes(&self) -> &[u8] {
        self
    }

    #[inline]
    fn bytes_mut(&mut self) -> &mut [u8] {
        self
    }

    fn splice(&mut self, at: usize, removed: usize, pieces: &[&[u8]]) {
        let added: usize = pieces.iter().map(|piece| piece.len()).sum();
        let len = self.len();
        let tail = at + removed;
        if added > removed {
            let grown = len + added - removed;
            if grown > self.capacity() {
                // An eighth, since memory is worth more here than the copies that doubling saves.
                self.reserve_exact(added - removed + len / 8);
            }
            self.resize(grown, 0);
        }
        self.copy_within(tail..len, at + added);
        self.truncate(len + added - removed);
        let mut to = at;
        for piece in pieces {
            self[to..to + piece.len()].copy_from_slice(piece);
            to += piece.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_is_cut_and_pasted() {
        let mut run = b"0123456789".to_vec();
        Run::splice(&mut run, 2, 3, &[b"ab", b"", b"cdef"]);
        assert_eq!(run.bytes(), b"01abcdef56789");
        Run::splice(&mut run, 2, 6, &[b"x"]);
        assert_eq!(run.bytes(), b"01x56789");
        Run::splice(&mut run, 8, 0, &[b"end"]);
        Run::splice(&mut run, 0, 2, &[]);
        assert_eq!(run.bytes(), b"x56789end");
        Run::splice(&mut run, 0, 9, &[b"123456789"]);
        assert_eq!(run.bytes_mut(), b"123456789");
    }
}
