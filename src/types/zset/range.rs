//! Ranges of a sorted set: by score and by the bytes of members.
//!
//! Invariant: a bound is never NaN.
//! Source: ZRANGEBYSCORE and ZRANGEBYLEX.

use crate::base::words::c_string;

/// Members by score or by bytes.
#[derive(Clone, Copy, Debug)]
pub enum Range<'a> {
    /// By score.
    Score(ScoreBound, ScoreBound),
    /// By bytes; means something only where all scores are equal.
    Lex(LexBound<'a>, LexBound<'a>),
}

/// One end of a range of scores.
#[derive(Clone, Copy, Debug)]
pub struct ScoreBound {
    /// The score there.
    pub score: f64,
    /// The score itself lies outside.
    pub exclusive: bool,
}

impl ScoreBound {
    /// A decimal number, "(" before it if it is exclusive. What is beyond a double is infinite or 0,
    /// and no digits at all are 0. None for anything else. Source: ZRANGEBYSCORE of a stock server.
    pub fn parse(word: &[u8]) -> Option<Self> {
        let (number, exclusive) = match word {
            [b'(', number @ ..] => (number, true),
            number => (number, false),
        };
        let number = c_string(number);
        let score = match number {
            [] => 0.0,
            number => std::str::from_utf8(number).ok()?.parse::<f64>().ok()?,
        };
        (!score.is_nan()).then_some(ScoreBound { score, exclusive })
    }

    /// As a lower end: true if `score` lies in the range.
    #[inline]
    pub fn is_below(&self, score: f64) -> bool {
        if self.exclusive { self.score < score } else { self.score <= score }
    }

    /// As an upper end: true if `score` lies in the range.
    #[inline]
    pub fn is_above(&self, score: f64) -> bool {
        if self.exclusive { self.score > score } else { self.score >= score }
    }
}

/// One end of a range of members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LexBound<'a> {
    /// Before all members.
    Least,
    /// At a member, which lies inside.
    Including(&'a [u8]),
    /// At a member, which lies outside.
    Excluding(&'a [u8]),
    /// Behind all members.
    Greatest,
}

impl<'a> LexBound<'a> {
    /// "-", "+", or a member behind "[" or "(". None for anything else.
    pub fn parse(word: &'a [u8]) -> Option<Self> {
        match word {
            [b'-'] | [b'-', 0, ..] => Some(LexBound::Least),
            [b'+'] | [b'+', 0, ..] => Some(LexBound::Greatest),
            [b'[', member @ ..] => Some(LexBound::Including(member)),
            [b'(', member @ ..] => Some(LexBound::Excluding(member)),
            _ => None,
        }
    }

    /// As a lower end: true if `member` lies in the range.
    #[inline]
    pub fn is_below(&self, member: &[u8]) -> bool {
        match self {
            LexBound::Least => true,
            LexBound::Including(bound) => *bound <= member,
            LexBound::Excluding(bound) => *bound < member,
            LexBound::Greatest => false,
        }
    }

    /// As an upper end: true if `member` lies in the range.
    #[inline]
    pub fn is_above(&self, member: &[u8]) -> bool {
        match self {
            LexBound::Least => false,
            LexBound::Including(bound) => *bound >= member,
            LexBound::Excluding(bound) => *bound > member,
            LexBound::Greatest => true,
        }
    }
}

impl Range<'_> {
    /// True if no member can lie in the range.
    pub fn is_empty(&self) -> bool {
        match self {
            Range::Score(min, max) => {
                min.score > max.score || min.score >= max.score && (min.exclusive || max.exclusive)
            }
            Range::Lex(LexBound::Greatest, _) | Range::Lex(_, LexBound::Least) => true,
            Range::Lex(LexBound::Least, _) | Range::Lex(_, LexBound::Greatest) => false,
            Range::Lex(LexBound::Including(min), LexBound::Including(max)) => min > max,
            Range::Lex(
                LexBound::Including(min) | LexBound::Excluding(min),
                LexBound::Including(max) | LexBound::Excluding(max),
            ) => min >= max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_scores_are_read_as_a_stock_server_reads_them() {
        let score =
            |word: &str| ScoreBound::parse(word.as_bytes()).map(|it| (it.score, it.exclusive));
        assert_eq!(score("(1.5"), Some((1.5, true)));
        assert_eq!(score("+.5e1"), Some((5.0, false)));
        assert_eq!(score("1."), Some((1.0, false)));
        assert_eq!(score("("), Some((0.0, true)));
        assert_eq!(score(""), Some((0.0, false)));
        assert_eq!(score("(-inf"), Some((f64::NEG_INFINITY, true)));
        assert_eq!(score("1e400"), Some((f64::INFINITY, false)));
        assert_eq!(score("1e-400"), Some((0.0, false)));
        for word in ["nan", "(nan", " 1", "1 ", "0x10", "1e", ".", "+", "-", "infin", "((1", "1_0"]
        {
            assert_eq!(score(word), None, "{word}");
        }
    }

    #[test]
    fn bounds_of_members_need_their_sign() {
        assert_eq!(LexBound::parse(b"-"), Some(LexBound::Least));
        assert_eq!(LexBound::parse(b"[a"), Some(LexBound::Including(b"a")));
        assert_eq!(LexBound::parse(b"("), Some(LexBound::Excluding(b"")));
        for word in ["", "a", "+a", "-a", "1"] {
            assert_eq!(LexBound::parse(word.as_bytes()), None, "{word}");
        }
    }
}
