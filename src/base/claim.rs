//! A claim: of those who share it, exactly one takes it, and may try first whether it has a use.
//! Invariant: once taken it stays so; while it is held nobody else holds or takes it.

use std::sync::atomic::{AtomicU8, Ordering};

/// What several may want and one gets.
#[derive(Debug, Default)]
pub struct Claim(AtomicU8);

/// Why a claim cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Somebody tries, and may give it back.
    Held,
    /// Somebody has it for good.
    Taken,
}

impl Claim {
    /// Takes it for good.
    pub fn take(&self) -> Result<(), Refused> {
        self.change(OPEN, TAKEN)
    }

    /// Holds it, to `keep` it or `give_back`.
    pub fn hold(&self) -> Result<(), Refused> {
        self.change(OPEN, HELD)
    }

    /// Whoever holds it takes it for good.
    pub fn keep(&self) {
        assert!(self.change(HELD, TAKEN).is_ok(), "it is held");
    }

    /// Whoever holds it gives it back to whoever comes next.
    pub fn give_back(&self) {
        assert!(self.change(HELD, OPEN).is_ok(), "it is held");
    }

    fn change(&self, from: u8, to: u8) -> Result<(), Refused> {
        match self.0.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(()),
            Err(TAKEN) => Err(Refused::Taken),
            Err(_) => Err(Refused::Held),
        }
    }
}

const OPEN: u8 = 0;
const HELD: u8 = 1;
const TAKEN: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_gets_it() {
        let claim = Claim::default();
        assert_eq!(claim.hold(), Ok(()));
        assert_eq!((claim.hold(), claim.take()), (Err(Refused::Held), Err(Refused::Held)));
        claim.give_back();
        assert_eq!(claim.take(), Ok(()));
        assert_eq!((claim.hold(), claim.take()), (Err(Refused::Taken), Err(Refused::Taken)));
    }
}
