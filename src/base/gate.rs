//! What a reply waits for before it may leave: the number of the last turn whose changes it may show.
//!
//! Invariant: gates only rise. A turn that has not taken its number yet is `PENDING`; whoever still
//! finds a pending gate when a turn ends may take the last number that was given for it, since no
//! change leaves its core before its number was taken.

use std::mem;

/// The number that has to be safe first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gate(u64);

impl Gate {
    /// Nothing has to be.
    pub const OPEN: Gate = Gate(0);
    /// The number that the turn under way will take.
    pub const PENDING: Gate = Gate(u64::MAX);

    /// This number.
    #[inline]
    pub fn of(number: u64) -> Gate {
        Gate(number)
    }

    /// The number.
    #[inline]
    pub fn number(self) -> u64 {
        self.0
    }

    /// True if there is nothing to wait for.
    #[inline]
    pub fn is_open(self) -> bool {
        self.0 == 0
    }

    /// True if everything up to `covered` being safe is enough.
    #[inline]
    pub fn is_covered(self, covered: u64) -> bool {
        self.0 <= covered
    }

    /// Waits for `other`, too.
    #[inline]
    pub fn raise(&mut self, other: Gate) {
        self.0 = self.0.max(other.0);
    }

    /// Hands it over.
    #[inline]
    pub fn take(&mut self) -> Gate {
        mem::take(self)
    }

    /// The same once the turn has taken `number`.
    #[inline]
    pub fn resolved(self, number: u64) -> Gate {
        if self == Gate::PENDING { Gate(number) } else { self }
    }
}
