//! A run of bytes that can be cut and pasted: what packed encodings are written over, so that the
//! same code changes a vector and the bytes inside an entry.
//! Invariant: `splice` changes nothing outside of what it replaces, but may move the whole run.

/// Bytes in one piece.
pub trait Run {
    /// All of them.
    fn bytes(&self) -> &[u8];

    /// All of them, to be changed in place.
    fn bytes_mut(&mut self) -> &mut [u8];

    /// Replaces `removed` bytes at `at` by `pieces`, one behind the other.
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
        let old = self.len();
        let behind = at + removed;
        assert!(behind <= old, "what is replaced is there");
        let inserted = pieces.iter().map(|piece| piece.len()).sum::<usize>();
        let new = old - removed + inserted;
        if inserted > removed {
            reserve(self, inserted - removed);
            self.resize(new, 0);
        }
        self.copy_within(behind..old, at + inserted);
        self.truncate(new);
        let mut to = at;
        for piece in pieces {
            self[to..to + piece.len()].copy_from_slice(piece);
            to += piece.len();
        }
    }
}

/// Makes room in steps of an eighth: packed runs are many, and memory is what they are for.
fn reserve(run: &mut Vec<u8>, more: usize) {
    let needed = run.len() + more;
    if needed > run.capacity() {
        run.reserve_exact(needed + needed / 8 - run.len());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn splices_as_vectors_do(
            bytes: Vec<u8>,
            (at, removed) in (0usize..300, 0usize..300),
            pieces: Vec<Vec<u8>>,
        ) {
            let at = at.min(bytes.len());
            let removed = removed.min(bytes.len() - at);
            let mut model = bytes.clone();
            model.splice(at..at + removed, pieces.concat());
            let mut run = bytes;
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            Run::splice(&mut run, at, removed, &pieces);
            prop_assert_eq!(run, model);
        }
    }
}
