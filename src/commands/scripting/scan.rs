//! Which partitions a script may touch, read out of its text.
//!
//! Invariant: whatever is not understood may touch everything.

use crate::command::CommandTable;
use crate::script::Reach;

/// What the code of a script may touch.
pub(super) fn reach(_table: &dyn CommandTable, _code: &[u8]) -> Reach {
    Reach::Everything
}
