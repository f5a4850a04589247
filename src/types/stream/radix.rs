//! How many nodes a stock server's radix tree has for a set of keys: what XINFO STREAM shows.
//! Invariant: a count, no tree.
//! Source: XINFO STREAM of a stock server for many sets of ids.
//!
//! ```text
//! keys 0x01FF, 0x0203, 0x0204:   (root: branch) -01-> "FF" -> (leaf)
//!                                               -02-> (branch) -03-> (leaf)
//!                                                              -04-> (leaf)
//! ```
//! A leaf for each key, a node for each place where keys part, and one for each run of at least one
//! byte between two of these, or before the first.

/// Bytes of a key: a stream id.
const KEY_BYTES: usize = 16;

/// Nodes of the tree that holds `keys`, which ascend. O(keys).
pub(super) fn nodes(keys: impl Iterator<Item = [u8; KEY_BYTES]>) -> usize {
    // How many bytes lead to each branch on the last key's path.
    let mut branches: Vec<usize> = Vec::with_capacity(KEY_BYTES);
    let mut last: Option<[u8; KEY_BYTES]> = None;
    let mut nodes = 0;
    for key in keys {
        nodes += 1;
        if let Some(last) = last.replace(key) {
            let shared = last.iter().zip(key).take_while(|(one, other)| **one == *other).count();
            nodes += close(&mut branches, shared);
        }
    }
    if last.is_none() {
        // The root.
        return 1;
    }
    let below = branches
        .iter()
        .rev()
        .fold((nodes, KEY_BYTES), |(nodes, below), branch| (nodes + run(*branch, below), *branch));
    below.0 + usize::from(below.1 > 0)
}

/// Counts what only the last key's path has below its first `shared` bytes, and makes that a branch.
fn close(branches: &mut Vec<usize>, shared: usize) -> usize {
    let mut nodes = 0;
    let mut below = KEY_BYTES;
    while let Some(branch) = branches.pop_if(|branch| *branch > shared) {
        nodes += run(branch, below);
        below = branch;
    }
    if branches.last() != Some(&shared) {
        branches.push(shared);
        nodes += 1;
    }
    nodes + run(shared, below)
}

/// The node between a branch, one byte of which leads on, and what is `below`, if a byte is left.
fn run(branch: usize, below: usize) -> usize {
    usize::from(below > branch + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(keys: &[u128]) -> usize {
        nodes(keys.iter().map(|key| key.to_be_bytes()))
    }

    #[test]
    fn counts_what_a_stock_server_counts() {
        assert_eq!(count(&[]), 1);
        assert_eq!(count(&[1]), 2);
        assert_eq!(count(&[1, 2]), 4);
        assert_eq!(count(&[1, 2, 3]), 5);
        assert_eq!(count(&[1, 2, 0x100]), 7);
        assert_eq!(count(&[1, 1 << 120]), 5);
        assert_eq!(count(&[1, 0x1_0000, 0x1_0001]), 8);
    }
}
