//! What a SORT asks for: its options, and the patterns that name other keys.
//!
//! Invariant: no number of a request decides about an allocation; a window never exceeds what there
//! is. Patterns end at a NUL where they are searched, as a stock server's do.

use std::ops::Range;

use crate::base::words::c_string;
use crate::command::{Args, CommandError};

/// The options of SORT and SORT_RO.
#[derive(Debug)]
pub(super) struct Request<'q> {
    /// The keys of what is compared in place of the elements.
    pub(super) by: Option<KeyPattern<'q>>,
    /// A BY pattern named no key: nothing is sorted, whatever a later one names.
    pub(super) unsorted: bool,
    /// The patterns that name what is given in place of the elements.
    pub(super) gets: Vec<Pattern<'q>>,
    /// Elements that are passed over.
    offset: i64,
    /// Elements that are given at most; negative for all.
    count: i64,
    /// From the last to the first.
    pub(super) descending: bool,
    /// As strings, not as numbers.
    pub(super) alpha: bool,
    /// The word that names where the result is stored.
    pub(super) store: Option<usize>,
}

impl<'q> Request<'q> {
    /// Reads the words from 2 on. SORT_RO has no STORE. Without `may_reach` the client's user may not
    /// have keys read that no word names.
    pub(super) fn parse(args: Args<'q>, may_reach: bool) -> Result<Self, CommandError> {
        let mut request = Request {
            by: None,
            unsorted: false,
            gets: Vec::new(),
            offset: 0,
            count: -1,
            descending: false,
            alpha: false,
            store: None,
        };
        let may_store = !args.is(0, "SORT_RO");
        let mut at = 2;
        while at < args.len() {
            let value = args.opt(at + 1);
            at += match value {
                _ if args.is(at, "ASC") => {
                    request.descending = false;
                    1
                }
                _ if args.is(at, "DESC") => {
                    request.descending = true;
                    1
                }
                _ if args.is(at, "ALPHA") => {
                    request.alpha = true;
                    1
                }
                Some(_) if args.is(at, "LIMIT") && at + 2 < args.len() => {
                    request.offset = args.integer(at + 1)?;
                    request.count = args.integer(at + 2)?;
                    3
                }
                Some(_) if args.is(at, "STORE") && may_store => {
                    request.store = Some(at + 1);
                    2
                }
                Some(pattern) if args.is(at, "BY") => {
                    request.by = KeyPattern::parse(pattern);
                    request.unsorted |= request.by.is_none();
                    if request.by.is_some() && !may_reach {
                        return Err(CommandError::SortByDenied);
                    }
                    2
                }
                Some(_) if args.is(at, "GET") && !may_reach => {
                    return Err(CommandError::SortGetDenied);
                }
                Some(pattern) if args.is(at, "GET") => {
                    request.gets.push(Pattern::of(pattern));
                    2
                }
                _ => return Err(CommandError::Syntax),
            };
        }
        Ok(request)
    }

    /// True if keys are looked up that no word names.
    pub(super) fn reaches(&self) -> bool {
        let gets_keys = || self.gets.iter().any(|pattern| matches!(pattern, Pattern::Key(_)));
        self.by.is_some() && !self.unsorted || gets_keys()
    }

    /// The elements of `len` that are given, by their place in the order.
    pub(super) fn window(&self, len: usize) -> Range<usize> {
        let clamped = |number: i64| usize::try_from(number).unwrap_or(usize::MAX).min(len);
        let start = clamped(self.offset.max(0));
        let count = if self.count < 0 { len } else { clamped(self.count) };
        start..start.saturating_add(count).min(len)
    }
}

/// What is given in place of an element.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pattern<'q> {
    /// The element.
    Itself,
    /// Nothing: the pattern has no place for the element.
    Nothing,
    /// What a key holds.
    Key(KeyPattern<'q>),
}

/// A pattern of keys: the element stands between two texts.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyPattern<'q> {
    before: &'q [u8],
    behind: &'q [u8],
    /// The field, if the keys hold hashes.
    pub(super) field: Option<&'q [u8]>,
}

impl<'q> Pattern<'q> {
    fn of(pattern: &'q [u8]) -> Self {
        match c_string(pattern) {
            b"#" => Pattern::Itself,
            _ => KeyPattern::parse(pattern).map_or(Pattern::Nothing, Pattern::Key),
        }
    }
}

impl<'q> KeyPattern<'q> {
    /// None without a `*`, which the element takes the place of.
    fn parse(pattern: &'q [u8]) -> Option<Self> {
        let text = c_string(pattern);
        let star = memchr::memchr(b'*', text)?;
        let (before, behind) = (&pattern[..star], &pattern[star + 1..]);
        let arrow = memchr::memmem::find(&text[star + 1..], b"->");
        // An arrow that ends the text is a part of the key.
        match arrow.filter(|arrow| star + 1 + arrow + 2 < text.len()) {
            None => Some(KeyPattern { before, behind, field: None }),
            Some(arrow) => {
                let (behind, field) = (&behind[..arrow], Some(&behind[arrow + 2..]));
                Some(KeyPattern { before, behind, field })
            }
        }
    }

    /// The key for an element, into `key`.
    pub(super) fn write_key(&self, element: &[u8], key: &mut Vec<u8>) {
        key.clear();
        key.extend_from_slice(self.before);
        key.extend_from_slice(element);
        key.extend_from_slice(self.behind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(offset: i64, count: i64, len: usize) -> Range<usize> {
        let mut request = Request::parse(Args::new(b"", &[], &[]), true).expect("no options");
        (request.offset, request.count) = (offset, count);
        request.window(len)
    }

    #[test]
    fn windows_lie_within_what_there_is() {
        assert_eq!(window(0, -1, 5), 0..5);
        assert_eq!(window(2, 2, 5), 2..4);
        assert_eq!(window(-7, 2, 5), 0..2);
        assert_eq!(window(3, i64::MIN, 5), 3..5);
        assert_eq!(window(i64::MIN, i64::MAX, 5), 0..5);
        assert!(window(i64::MAX, i64::MAX, 5).is_empty());
        assert!(window(1, 0, 5).is_empty());
        assert!(window(0, -1, 0).is_empty());
    }

    #[test]
    fn patterns_are_cut_where_a_stock_server_cuts_them() {
        let cut = |pattern| {
            let found = KeyPattern::parse(pattern)?;
            let mut key = Vec::new();
            found.write_key(b"x", &mut key);
            Some((key, found.field.map(<[u8]>::to_vec)))
        };
        let plain = |key: &[u8]| Some((key.to_vec(), None));
        let field = |key: &[u8], field: &[u8]| Some((key.to_vec(), Some(field.to_vec())));
        assert_eq!(cut(b"w_*"), plain(b"w_x"));
        assert_eq!(cut(b"*"), plain(b"x"));
        assert_eq!(cut(b"a*b*c"), plain(b"axb*c"));
        assert_eq!(cut(b"h_*->f"), field(b"h_x", b"f"));
        assert_eq!(cut(b"h_*s->f->g"), field(b"h_xs", b"f->g"));
        assert_eq!(cut(b"h_*->"), plain(b"h_x->"));
        assert_eq!(cut(b"a->b*"), plain(b"a->bx"));
        assert_eq!(cut(b"nothing"), None);
        assert_eq!(cut(b"a\0*"), None);
        assert_eq!(cut(b"*\0->f"), plain(b"x\0->f"));
        assert_eq!(cut(b"*->\0f"), plain(b"x->\0f"));
        assert_eq!(cut(b"*->f\0g"), field(b"x", b"f\0g"));
    }
}
