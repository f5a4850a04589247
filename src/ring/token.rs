//! `user_data` of an operation: what it is for, which incarnation, which index.
//!
//! Invariant: a token of a closed client never matches the next client of the same index, since the
//! generation differs. Layout: `| kind u8 | generation u24 | index u32 |`.

/// What an operation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Accepting on a listener; the index names it.
    Accept = 1,
    /// Receiving into the buffer ring.
    Recv = 2,
    /// Receiving into a buffer that the operation owns.
    RecvInto = 3,
    /// Sending from the turn's output; completes only if something went wrong.
    SendTurn = 4,
    /// Sending a buffer that the operation owns.
    Send = 5,
    /// A wake from another core.
    Wake = 6,
    /// The eventfd that other threads write to.
    Event = 7,
    /// Writing to the journal.
    Write = 8,
    /// Syncing the journal.
    Sync = 9,
    /// As `Recv`, on an encrypted connection.
    RecvSealed = 10,
    /// Nobody looks at the completion.
    Ignored = 11,
}

/// Names an operation in its completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(u64);

const GENERATION_MASK: u32 = 0x00ff_ffff;

impl Token {
    /// A token; only the low 24 bits of `generation` count.
    #[inline]
    pub fn new(kind: Kind, generation: u32, index: u32) -> Token {
        let generation = u64::from(generation & GENERATION_MASK);
        Token((kind as u64) << 56 | generation << 32 | u64::from(index))
    }

    /// From a completion. None if no token of ours has this form.
    #[inline]
    pub fn from_user_data(user_data: u64) -> Option<Token> {
        (1..=Kind::Ignored as u64).contains(&(user_data >> 56)).then_some(Token(user_data))
    }

    /// For a submission.
    #[inline]
    pub fn user_data(self) -> u64 {
        self.0
    }

    /// What the operation is for.
    #[inline]
    pub fn kind(self) -> Kind {
        match self.0 >> 56 {
            1 => Kind::Accept,
            2 => Kind::Recv,
            3 => Kind::RecvInto,
            4 => Kind::SendTurn,
            5 => Kind::Send,
            6 => Kind::Wake,
            7 => Kind::Event,
            8 => Kind::Write,
            9 => Kind::Sync,
            10 => Kind::RecvSealed,
            _ => Kind::Ignored,
        }
    }

    /// True if it was made with this generation.
    #[inline]
    pub fn is_of(self, generation: u32) -> bool {
        (self.0 >> 32) as u32 & GENERATION_MASK == generation & GENERATION_MASK
    }

    /// Which client or listener.
    #[inline]
    pub fn index(self) -> u32 {
        self.0 as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_gives_back_what_it_was_made_of() {
        let token = Token::new(Kind::Recv, 0x0112_3456, 77);
        assert_eq!((token.kind(), token.index()), (Kind::Recv, 77));
        assert!(token.is_of(0x0012_3456));
        assert!(!token.is_of(0x0012_3457));
        assert_eq!(Token::from_user_data(token.user_data()), Some(token));
        assert_eq!(Token::from_user_data(0), None);
    }
}
