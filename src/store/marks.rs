//! Which turn last changed the keys of a partition, so that whoever reads one waits for that turn's
//! changes to be safe and for no others.
//!
//! Invariant: the mark of a key is at least the number of the last turn that changed it, or pending.
//! Keys share marks by their hashes: a reader may wait for somebody else's change, never too short.
//! Without a journal nothing is allocated.

use super::key::Position;
use crate::base::gate::Gate;

/// A key of a partition shares its mark with one in so many others.
const MARKS: usize = 4096;

/// The marks of one partition.
#[derive(Debug, Default)]
pub struct Marks {
    /// Empty until the first change is marked.
    marks: Vec<Gate>,
    /// Those that wait for their number.
    pending: Vec<u16>,
    /// All keys may have changed.
    floor: Gate,
}

impl Marks {
    /// What a reader of this key has to wait for.
    #[inline]
    pub fn of(&self, position: Position) -> Gate {
        self.marks.get(place(position)).map_or(self.floor, |mark| self.floor.max(*mark))
    }

    /// The turn under way changes this key.
    pub fn mark(&mut self, position: Position) {
        if self.marks.is_empty() {
            self.marks.resize(MARKS, Gate::OPEN);
        }
        let place = place(position);
        if self.marks[place] != Gate::PENDING {
            self.marks[place] = Gate::PENDING;
            self.pending.push(place as u16);
        }
    }

    /// The turn under way may change every key.
    pub fn mark_all(&mut self) {
        self.floor = Gate::PENDING;
    }

    /// The turn has taken this number.
    pub fn resolve(&mut self, number: u64) {
        self.floor = self.floor.resolved(number);
        for place in self.pending.drain(..) {
            self.marks[usize::from(place)] = Gate::of(number);
        }
    }
}

fn place(position: Position) -> usize {
    usize::from(position.fingerprint()) % MARKS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_waits_for_the_last_change_of_its_key() {
        let mut marks = Marks::default();
        let (one, other) = (Position::new(1, 7), Position::new(1, 8));
        assert_eq!(marks.of(one), Gate::OPEN);
        marks.mark(one);
        marks.mark(one);
        assert_eq!((marks.of(one), marks.of(other)), (Gate::PENDING, Gate::OPEN));
        marks.resolve(5);
        assert_eq!((marks.of(one), marks.of(other)), (Gate::of(5), Gate::OPEN));
        marks.mark_all();
        assert_eq!(marks.of(other), Gate::PENDING);
        marks.resolve(9);
        assert_eq!((marks.of(one), marks.of(other)), (Gate::of(9), Gate::of(9)));
        marks.resolve(11);
        assert_eq!(marks.of(other), Gate::of(9), "what has its number keeps it");
    }
}
