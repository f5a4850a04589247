//! Glob patterns as KEYS, SCAN, PSUBSCRIBE and ACL have them: `*`, `?`, `[a-z]`, `[^a]`, `\`.
//! Invariant: the result is the one a stock server gives, for broken patterns too; no recursion, no
//! allocation, and at most |pattern| * |string| steps.
//!
//! Only `*` takes a variable number of bytes, so a mismatch needs to go back to the last `*` alone
//! and let it take one byte more: what an earlier `*` could give up, the last one can take.

/// Whether all of `string` matches `pattern`; `nocase` takes ASCII letters of either case as equal.
///
/// As in a stock server: an empty string matches only the empty pattern (not `*`), a class without
/// its `]` ends with the pattern, a `\` at the end stands for itself, ranges may be reversed and
/// compare bytes as signed, an escaped byte in a class keeps its case, and a pattern with more than
/// 1000 `*` before others matches nothing.
pub fn stringmatch(pattern: &[u8], string: &[u8], nocase: bool) -> bool {
    if string.is_empty() {
        return pattern.is_empty();
    }
    let (mut at, mut from) = (0, 0);
    // Where to go on after the last `*`: in the pattern, and in the string.
    let mut star: Option<(usize, usize)> = None;
    let mut stars = 0;
    while from < string.len() {
        if pattern.get(at) == Some(&b'*') {
            at += run_of_stars(&pattern[at..]);
            if at == pattern.len() {
                return true;
            }
            stars += 1;
            if stars > STARS_MAX {
                return false;
            }
            star = Some((at, from));
            continue;
        }
        if let Some(taken) = match_one(&pattern[at..], string[from], nocase) {
            at += taken;
            from += 1;
        } else {
            let Some((after_star, start)) = star else { return false };
            (at, from) = (after_star, start + 1);
            star = Some((at, from));
        }
    }
    at + run_of_stars(&pattern[at..]) == pattern.len()
}

fn run_of_stars(pattern: &[u8]) -> usize {
    pattern.iter().take_while(|&&byte| byte == b'*').count()
}

/// Matches `byte` against the first element of `pattern`, which is not `*`: how long the element
/// is, or None when it does not match or there is none.
#[inline]
fn match_one(pattern: &[u8], byte: u8, nocase: bool) -> Option<usize> {
    match pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'[', class @ ..] => {
            let (matches, len) = match_class(class, byte, nocase);
            matches.then_some(1 + len)
        }
        [b'\\', escaped, ..] => equal(*escaped, byte, nocase).then_some(2),
        [literal, ..] => equal(*literal, byte, nocase).then_some(1),
    }
}

/// Whether `byte` is in the class that begins after its `[`, and how long the class is from there,
/// its `]` included.
fn match_class(class: &[u8], byte: u8, nocase: bool) -> (bool, usize) {
    let negated = class.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut found = false;
    loop {
        let taken = match &class[at..] {
            [] => break,
            [b'\\', escaped, ..] => {
                found |= *escaped == byte;
                2
            }
            [b']', ..] => {
                at += 1;
                break;
            }
            [start, b'-', end, ..] => {
                found |= in_range(*start, *end, byte, nocase);
                3
            }
            [member, ..] => {
                found |= equal(*member, byte, nocase);
                1
            }
        };
        at += taken;
    }
    (found != negated, at)
}

fn in_range(start: u8, end: u8, byte: u8, nocase: bool) -> bool {
    let (low, high) = ((start as i8).min(end as i8), (start as i8).max(end as i8));
    // The ends change places before their case is folded, so [Z-a] is empty without case.
    let fold = |byte: i8| if nocase { (byte as u8).to_ascii_lowercase() as i8 } else { byte };
    (fold(low)..=fold(high)).contains(&fold(byte as i8))
}

#[inline]
fn equal(left: u8, right: u8, nocase: bool) -> bool {
    left == right || (nocase && left.eq_ignore_ascii_case(&right))
}

/// A stock server gives up at this depth of recursion, of which each `*` takes one.
const STARS_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition: a `*` takes any number of bytes, tried in turn.
    fn model(pattern: &[u8], string: &[u8], nocase: bool) -> bool {
        match (pattern, string) {
            (_, []) => pattern.iter().all(|&byte| byte == b'*'),
            ([b'*', rest @ ..], _) => {
                (0..=string.len()).any(|taken| model(rest, &string[taken..], nocase))
            }
            (_, [byte, rest @ ..]) => match_one(pattern, *byte, nocase)
                .is_some_and(|taken| model(&pattern[taken..], rest, nocase)),
        }
    }

    /// Each line: pattern, string, and whether a stock server matches them.
    #[test]
    fn matches_what_a_stock_server_matches() {
        let cases: &[(&str, &str, bool)] = &[
            ("*", "a", true),
            ("a*", "a", true),
            ("a**", "a", true),
            ("*?", "a", true),
            ("a*?", "a", false),
            ("h?llo", "hello", true),
            ("h[ae]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[b-a]llo", "hallo", true),
            ("[a-", "-", true),
            ("[a-", "a", true),
            ("[a-", "b", false),
            ("[a", "a", true),
            ("[", "a", false),
            ("[]", "a", false),
            ("[^]", "a", true),
            ("[^", "a", true),
            ("[]]", "]", false),
            ("[\\]]", "]", true),
            ("[a-]]", "a]", false),
            ("[a-]]", "^", true),
            ("[\\", "\\", true),
            ("a\\", "a\\", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("*\\", "x\\", true),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXbXbXd", false),
            ("", "a", false),
        ];
        for &(pattern, string, expected) in cases {
            let found = stringmatch(pattern.as_bytes(), string.as_bytes(), false);
            assert_eq!(found, expected, "{pattern} {string}");
        }
        assert!(stringmatch(b"", b"", false));
        assert!(!stringmatch(b"*", b"", false));
    }

    #[test]
    fn case_is_folded_as_a_stock_server_folds_it() {
        assert!(stringmatch(b"HeLLo", b"hEllO", true));
        assert!(stringmatch(b"[A-C]", b"b", true));
        assert!(!stringmatch(b"[\\B]", b"b", true));
        assert!(stringmatch(b"[\\B]", b"B", true));
        assert!(!stringmatch(b"[Z-a]", b"z", true));
        assert!(stringmatch(&[b'[', 0x80, b'-', b'a', b']'], b"Z", false));
        assert!(!stringmatch(&[b'[', b'a', b'-', 0xff, b']'], &[0x80], false));
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let pattern = b"a*".repeat(500);
        let mut string = vec![b'a'; 20_000];
        string.push(b'b');
        assert!(stringmatch(&pattern, &string, false));
        let pattern = [&pattern[..], b"c"].concat();
        assert!(!stringmatch(&pattern, &string, false));
        assert!(stringmatch(&b"a*".repeat(1001), &string, false));
        assert!(!stringmatch(&b"a*".repeat(1002), &string, false));
    }

    fn element() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            "*", "*", "?", "a", "b", "A", "\\", "\\*", "[", "]", "^", "-", "[ab]", "[^a]", "[b-a]",
            "[A-b]", "[\\]]", "[a-", "\u{e9}",
        ])
    }

    proptest! {
        #[test]
        fn equals_the_recursive_definition(
            pattern in prop::collection::vec(element(), 0..8),
            string in "[abAB*\\[\\]^\\\\-]{1,8}",
            nocase: bool,
        ) {
            let pattern = pattern.concat();
            let expected = model(pattern.as_bytes(), string.as_bytes(), nocase);
            let found = stringmatch(pattern.as_bytes(), string.as_bytes(), nocase);
            prop_assert_eq!(found, expected, "{} {}", pattern, string);
        }
    }
}
