//! The work that one slice of housekeeping may do.
//! Invariant: counted in units of work, not in time, so that a seed replays. A unit is a line of
//! memory touched, some tens of nanoseconds.

/// Units of work left in a slice.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    units: usize,
}

impl Budget {
    /// A budget of so many units.
    pub fn new(units: usize) -> Self {
        Self { units }
    }

    /// Units left.
    pub fn left(&self) -> usize {
        self.units
    }

    /// True if nothing is left.
    pub fn is_spent(&self) -> bool {
        self.units == 0
    }

    /// Takes units away; what is missing is forgiven.
    pub fn spend(&mut self, units: usize) {
        self.units = self.units.saturating_sub(units);
    }
}
