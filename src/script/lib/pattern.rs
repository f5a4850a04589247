//! Lua 5.1's patterns, matched with an explicit stack of choices.
//!
//! Invariant: matching never recurses; its depth is at most [`CHOICES_MAX`], its memory belongs to the
//! interpreter, and every step is charged, so that a pattern built to explode is interrupted like any
//! loop. The results, and the moment at which each error is found, are those of Lua's own matcher,
//! which recurses: a choice here is a call there. A pattern ends at its first zero byte.
//! Source: Lua 5.1 reference manual, section 5.4.1, and a stock server's answers.

use super::list::List;
use super::stack::Stack;

/// Most captures of a pattern (Lua's LUA_MAXCAPTURES).
const CAPTURES_MAX: usize = 32;

/// Most choices open at once; far more than Lua's own matcher has stack for.
const CHOICES_MAX: usize = 100_000;

/// Escapes a character, or begins a class.
const ESCAPE: u8 = b'%';

/// Items that a run of single characters tries between two charges.
const RUN_PER_CHARGE: usize = 1024;

/// One matcher: a subject, a pattern, and the captures of the last match.
pub(super) struct Matcher<'l> {
    stack: Stack<'l>,
    subject: &'l [u8],
    pattern: &'l [u8],
    level: usize,
    captures: [Capture; CAPTURES_MAX],
    choices: List<'l, Choice, 16>,
}

/// Where a capture began, and what became of it.
#[derive(Clone, Copy)]
struct Capture {
    start: usize,
    end: End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Its closing parenthesis has not been met.
    Open,
    /// `()`: it captures the position.
    Position,
    /// So many bytes.
    Length(usize),
}

/// What to do when all that follows has failed.
#[derive(Clone, Copy)]
enum Choice {
    /// `x*`: `count` repetitions from `base` failed with what comes at `next`; try one fewer.
    Most { base: usize, count: usize, next: usize },
    /// `x-`: stopping at `at` failed; try one more of the item.
    Fewest { at: usize, item: usize, after: usize },
    /// `x?`: with one failed; go on without at `next`.
    Once { at: usize, next: usize },
    /// A capture began: undo.
    Opened,
    /// This capture ended: it is open again.
    Closed(usize),
}

/// The outcome of one item.
enum Step {
    /// Go on with the subject here and the pattern there.
    Go(usize, usize),
    /// The pattern is at its end; the match ends here.
    Done(usize),
    Fail,
}

/// One capture as a value.
pub(super) enum Captured<'l> {
    /// Bytes of the subject.
    Bytes(&'l [u8]),
    /// A position, 1-based.
    Position(usize),
}

impl<'l> Matcher<'l> {
    /// A matcher of `pattern`, without its anchor, on `subject`. Takes one slot of the stack.
    pub(super) fn new(stack: Stack<'l>, subject: &'l [u8], pattern: &'l [u8]) -> Self {
        let blank = Capture { start: 0, end: End::Open };
        let captures = [blank; CAPTURES_MAX];
        let choices = List::new(stack);
        Self { stack, subject, pattern: until_zero(pattern), level: 0, captures, choices }
    }

    /// Tries the pattern at `start` alone: where the match ends.
    pub(super) fn at(&mut self, start: usize) -> Option<usize> {
        self.level = 0;
        self.choices.clear();
        self.stack.charge(1);
        let mut step = self.step(start, 0);
        loop {
            step = match step {
                Step::Go(subject, pattern) => self.step(subject, pattern),
                Step::Done(end) => return Some(end),
                Step::Fail => self.retry()?,
            };
        }
    }

    /// How many values the captures are: the whole match counts where there is none and `whole`.
    pub(super) fn count(&self, whole: bool) -> usize {
        if self.level == 0 && whole { 1 } else { self.level }
    }

    /// The match `start..end` itself.
    pub(super) fn whole(&self, start: usize, end: usize) -> Captured<'l> {
        Captured::Bytes(&self.subject[start..end])
    }

    /// The capture `index`, 0-based; the whole match, `start..end`, where the pattern has none.
    pub(super) fn capture(&self, index: usize, start: usize, end: usize) -> Captured<'l> {
        if index >= self.level {
            if index != 0 {
                self.stack.raise(format_args!("invalid capture index"));
            }
            return self.whole(start, end);
        }
        let capture = self.captures[index];
        match capture.end {
            End::Open => self.stack.raise(format_args!("unfinished capture")),
            End::Position => Captured::Position(capture.start + 1),
            End::Length(length) => {
                Captured::Bytes(&self.subject[capture.start..capture.start + length])
            }
        }
    }

    /// The pattern's byte, 0 at its end, as Lua reads it.
    fn item(&self, at: usize) -> u8 {
        self.pattern.get(at).copied().unwrap_or(0)
    }

    fn step(&mut self, subject: usize, item: usize) -> Step {
        let Some(&byte) = self.pattern.get(item) else {
            return Step::Done(subject);
        };
        let next = self.item(item + 1);
        match byte {
            b'(' if next == b')' => self.open(subject, item + 2, End::Position),
            b'(' => self.open(subject, item + 1, End::Open),
            b')' => self.close(subject, item + 1),
            ESCAPE if next == b'b' => self.balance(subject, item + 2),
            ESCAPE if next == b'f' => self.frontier(subject, item + 2),
            ESCAPE if next.is_ascii_digit() => self.again(subject, next, item + 2),
            b'$' if item + 1 == self.pattern.len() => {
                if subject == self.subject.len() {
                    Step::Done(subject)
                } else {
                    Step::Fail
                }
            }
            _ => self.single_item(subject, item),
        }
    }

    /// A single-character item with its quantifier, if it has one.
    fn single_item(&mut self, subject: usize, item: usize) -> Step {
        let after = self.class_end(item);
        self.stack.charge(after - item);
        let matches = self.single(subject, item, after);
        match self.item(after) {
            b'?' => {
                if !matches {
                    return Step::Go(subject, after + 1);
                }
                self.choose(Choice::Once { at: subject, next: after + 1 });
                Step::Go(subject + 1, after + 1)
            }
            b'*' => self.most(subject, item, after),
            b'+' if matches => self.most(subject + 1, item, after),
            b'+' => Step::Fail,
            b'-' => {
                self.choose(Choice::Fewest { at: subject, item, after });
                Step::Go(subject, after + 1)
            }
            _ if matches => Step::Go(subject + 1, after),
            _ => Step::Fail,
        }
    }

    /// As many of the item as there are, then fewer.
    fn most(&mut self, base: usize, item: usize, after: usize) -> Step {
        let mut count = 0;
        while self.single(base + count, item, after) {
            count += 1;
            if count.is_multiple_of(RUN_PER_CHARGE) {
                self.stack.charge(RUN_PER_CHARGE.saturating_mul(after - item));
            }
        }
        if count > 0 {
            self.choose(Choice::Most { base, count, next: after + 1 });
        }
        Step::Go(base + count, after + 1)
    }

    /// Goes back to the last choice that has an alternative; none when all are used up.
    fn retry(&mut self) -> Option<Step> {
        loop {
            self.stack.charge(1);
            match self.choices.last_mut()? {
                Choice::Most { base, count, next } => {
                    *count -= 1;
                    let step = Step::Go(*base + *count, *next);
                    if *count == 0 {
                        self.choices.pop();
                    }
                    return Some(step);
                }
                Choice::Fewest { at, item, after } => {
                    let (tried, item, after) = (*at, *item, *after);
                    *at += 1;
                    self.stack.charge(after - item);
                    if self.single(tried, item, after) {
                        return Some(Step::Go(tried + 1, after + 1));
                    }
                }
                Choice::Once { at, next } => {
                    let step = Step::Go(*at, *next);
                    self.choices.pop();
                    return Some(step);
                }
                Choice::Opened => self.level -= 1,
                Choice::Closed(index) => {
                    let index = *index;
                    self.captures[index].end = End::Open;
                }
            }
            self.choices.pop();
        }
    }

    fn choose(&mut self, choice: Choice) {
        if self.choices.len() == CHOICES_MAX {
            self.stack.raise(format_args!("pattern too complex"));
        }
        self.choices.push(choice);
    }

    fn open(&mut self, subject: usize, next: usize, end: End) -> Step {
        if self.level >= CAPTURES_MAX {
            self.stack.raise(format_args!("too many captures"));
        }
        self.captures[self.level] = Capture { start: subject, end };
        self.level += 1;
        self.choose(Choice::Opened);
        Step::Go(subject, next)
    }

    fn close(&mut self, subject: usize, next: usize) -> Step {
        let open = self.captures[..self.level].iter().rposition(|capture| capture.end == End::Open);
        let Some(index) = open else {
            self.stack.raise(format_args!("invalid pattern capture"));
        };
        self.captures[index].end = End::Length(subject - self.captures[index].start);
        self.choose(Choice::Closed(index));
        Step::Go(subject, next)
    }

    /// `%bxy`, `item` behind the b.
    fn balance(&mut self, subject: usize, item: usize) -> Step {
        let (Some(&open), Some(&close)) = (self.pattern.get(item), self.pattern.get(item + 1))
        else {
            self.stack.raise(format_args!("unbalanced pattern"));
        };
        if self.subject.get(subject) != Some(&open) {
            return Step::Fail;
        }
        let mut depth = 1_usize;
        for (offset, &byte) in self.subject[subject + 1..].iter().enumerate() {
            if byte == close {
                depth -= 1;
                if depth == 0 {
                    self.stack.charge(offset);
                    return Step::Go(subject + offset + 2, item + 2);
                }
            } else if byte == open {
                depth += 1;
            }
        }
        self.stack.charge(self.subject.len() - subject);
        Step::Fail
    }

    /// `%f[set]`, `item` behind the f.
    fn frontier(&mut self, subject: usize, item: usize) -> Step {
        if self.item(item) != b'[' {
            self.stack.raise(format_args!("missing '[' after '%f' in pattern"));
        }
        let after = self.class_end(item);
        self.stack.charge(after - item);
        let before = if subject == 0 { 0 } else { self.subject[subject - 1] };
        let here = self.subject.get(subject).copied().unwrap_or(0);
        if self.in_set(before, item, after - 1) || !self.in_set(here, item, after - 1) {
            return Step::Fail;
        }
        Step::Go(subject, after)
    }

    /// `%1`: what the capture has, once more.
    fn again(&mut self, subject: usize, digit: u8, next: usize) -> Step {
        let index = usize::from(digit).wrapping_sub(usize::from(b'1'));
        if index >= self.level || self.captures[index].end == End::Open {
            self.stack.raise(format_args!("invalid capture index"));
        }
        let Capture { start, end } = self.captures[index];
        // A position capture is longer than any subject, as Lua counts it, so it never matches.
        let End::Length(length) = end else { return Step::Fail };
        self.stack.charge(length / 16);
        if self.subject[subject..].starts_with(&self.subject[start..start + length]) {
            Step::Go(subject + length, next)
        } else {
            Step::Fail
        }
    }

    /// Where the single-character item at `item` ends.
    fn class_end(&self, item: usize) -> usize {
        let mut at = item + 1;
        match self.item(item) {
            ESCAPE => {
                if at >= self.pattern.len() {
                    self.stack.raise(format_args!("malformed pattern (ends with '%')"));
                }
                at + 1
            }
            b'[' => {
                if self.item(at) == b'^' {
                    at += 1;
                }
                // The first character of a set is one of it, also if it is `]`.
                loop {
                    if at >= self.pattern.len() {
                        self.stack.raise(format_args!("malformed pattern (missing ']')"));
                    }
                    at += 1;
                    if self.item(at - 1) == ESCAPE && at < self.pattern.len() {
                        at += 1;
                    }
                    if self.item(at) == b']' {
                        return at + 1;
                    }
                }
            }
            _ => at,
        }
    }

    /// Whether the subject has a byte here that the item `item..after` matches.
    fn single(&self, subject: usize, item: usize, after: usize) -> bool {
        let Some(&byte) = self.subject.get(subject) else { return false };
        match self.item(item) {
            b'.' => true,
            ESCAPE => in_class(byte, self.item(item + 1)),
            b'[' => self.in_set(byte, item, after - 1),
            literal => literal == byte,
        }
    }

    /// Whether the set, from its `[` to the `]` at `close`, has the byte.
    fn in_set(&self, byte: u8, item: usize, close: usize) -> bool {
        let mut at = item + 1;
        let wanted = self.item(at) != b'^';
        if !wanted {
            at += 1;
        }
        while at < close {
            let first = self.item(at);
            if first == ESCAPE {
                if in_class(byte, self.item(at + 1)) {
                    return wanted;
                }
                at += 2;
            } else if self.item(at + 1) == b'-' && at + 2 < close {
                if (first..=self.item(at + 2)).contains(&byte) {
                    return wanted;
                }
                at += 3;
            } else {
                if first == byte {
                    return wanted;
                }
                at += 1;
            }
        }
        !wanted
    }
}

/// What comes before the first zero byte: a C string, as Lua reads patterns.
pub(super) fn until_zero(bytes: &[u8]) -> &[u8] {
    memchr::memchr(0, bytes).map_or(bytes, |end| &bytes[..end])
}

/// Whether a byte is of the class that `%class` names; another character stands for itself.
fn in_class(byte: u8, class: u8) -> bool {
    let found = match class.to_ascii_lowercase() {
        b'a' => byte.is_ascii_alphabetic(),
        b'c' => byte.is_ascii_control(),
        b'd' => byte.is_ascii_digit(),
        b'l' => byte.is_ascii_lowercase(),
        b'p' => byte.is_ascii_punctuation(),
        b's' => matches!(byte, b' ' | 9..=13),
        b'u' => byte.is_ascii_uppercase(),
        b'w' => byte.is_ascii_alphanumeric(),
        b'x' => byte.is_ascii_hexdigit(),
        b'z' => byte == 0,
        _ => return class == byte,
    };
    found != class.is_ascii_uppercase()
}
