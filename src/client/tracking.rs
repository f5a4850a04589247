//! How the keys that a client reads are tracked.
//!
//! Invariant: what the cores that run its commands have to know is a few bits, which travel with
//! them; the rest stays at home. Source: CLIENT TRACKING of Redis 8.0.

/// Which keys are tracked for a client, and what it is told of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tracking(u8);

impl Tracking {
    /// Something is tracked.
    pub const ON: Tracking = Tracking(1);
    /// Keys with prefixes, whether it reads them or not.
    pub const BCAST: Tracking = Tracking(1 << 1);
    /// Only what it reads behind CLIENT CACHING YES.
    pub const OPTIN: Tracking = Tracking(1 << 2);
    /// Not what it reads behind CLIENT CACHING NO.
    pub const OPTOUT: Tracking = Tracking(1 << 3);
    /// Not what it changes itself.
    pub const NOLOOP: Tracking = Tracking(1 << 4);
    /// The next command is what CLIENT CACHING speaks of.
    pub const CACHING: Tracking = Tracking(1 << 5);
    /// Another client is told.
    pub const REDIRECT: Tracking = Tracking(1 << 6);
    /// That one has gone.
    pub const BROKEN: Tracking = Tracking(1 << 7);

    /// Both together.
    #[must_use]
    pub const fn with(self, other: Tracking) -> Tracking {
        Tracking(self.0 | other.0)
    }

    /// Without what `other` holds.
    #[must_use]
    pub const fn without(self, other: Tracking) -> Tracking {
        Tracking(self.0 & !other.0)
    }

    /// True if all of `other` is set.
    #[inline]
    pub const fn has(self, other: Tracking) -> bool {
        self.0 & other.0 == other.0
    }

    /// True if something is tracked.
    #[inline]
    pub const fn is_on(self) -> bool {
        self.has(Tracking::ON)
    }

    /// True if the keys that a command reads now are to be remembered.
    pub const fn remembers(self) -> bool {
        let caching = self.has(Tracking::CACHING);
        self.is_on()
            && !self.has(Tracking::BCAST)
            && (!self.has(Tracking::OPTIN) || caching)
            && (!self.has(Tracking::OPTOUT) || !caching)
    }
}

/// Who is told instead of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// Its id.
    pub id: u64,
    /// The core that it lives on.
    pub home: usize,
    /// Its place there.
    pub place: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered() {
        let on = Tracking::ON;
        assert!(on.remembers() && !Tracking::default().remembers());
        assert!(!on.with(Tracking::BCAST).remembers());
        assert!(!on.with(Tracking::OPTIN).remembers());
        assert!(on.with(Tracking::OPTIN).with(Tracking::CACHING).remembers());
        assert!(on.with(Tracking::OPTOUT).remembers());
        assert!(!on.with(Tracking::OPTOUT).with(Tracking::CACHING).remembers());
        assert!(!on.with(Tracking::CACHING).without(Tracking::CACHING).has(Tracking::CACHING));
    }
}
