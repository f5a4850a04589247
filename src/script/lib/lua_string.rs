//! `string.find`, `match`, `gmatch`, `gsub`, and the functions of `string` whose work grows with the
//! size of a string, in our own words: bounded, charged, without recursion.
//!
//! Invariant: results and errors are those of Lua 5.1; what is cheap or bounded in Lua's own library
//! (`byte`, `char`, `dump`, `format`, `len`, `sub`) stays Lua's own. Source: Lua 5.1 reference manual,
//! section 5.4, and a stock server's answers.

use std::ffi::c_int;

use super::list::{BYTES_PER_STEP, Buffer};
use super::pattern::{Captured, Matcher, until_zero};
use super::stack::{self, Kind, Stack, entry, functions, upvalue};

/// Replaces functions of the global table `string`, which also is the metatable's of strings.
pub fn install(lua: &mlua::Lua) -> mlua::Result<()> {
    stack::install(
        lua,
        c"string",
        functions![
            c"find" => find,
            c"gmatch" => gmatch,
            c"gsub" => gsub,
            c"lower" => lower,
            c"match" => first_match,
            c"rep" => rep,
            c"reverse" => reverse,
            c"upper" => upper,
        ],
        // The old name of gmatch, one function under two names.
        |stack| {
            stack.get_field(-1, c"gmatch");
            stack.set_field(-2, c"gfind");
        },
    )
}

fn find(stack: Stack<'_>) -> c_int {
    search(stack, true)
}

fn first_match(stack: Stack<'_>) -> c_int {
    search(stack, false)
}

/// The first match from a start: its place and captures (`places`), or its captures.
fn search(stack: Stack<'_>, places: bool) -> c_int {
    let subject = stack.check_bytes(1);
    let pattern = stack.check_bytes(2);
    let init = position(stack.integer_or(3, 1), subject.len());
    let init = init.saturating_sub(1).min(subject.len());
    let plain = || stack.truth(4) || !until_zero(pattern).iter().any(|byte| SPECIAL.contains(byte));
    if places && plain() {
        stack.charge((subject.len() - init) / BYTES_PER_STEP);
        let Some(offset) = memchr::memmem::find(&subject[init..], pattern) else {
            stack.push_nil();
            return 1;
        };
        stack.push_number((init + offset + 1) as f64);
        stack.push_number((init + offset + pattern.len()) as f64);
        return 2;
    }
    let (anchored, pattern) = anchor(pattern);
    let mut matcher = Matcher::new(stack, subject, pattern);
    let starts = if anchored { init..=init } else { init..=subject.len() };
    for start in starts {
        if let Some(end) = matcher.at(start) {
            if !places {
                return push_captures(stack, &matcher, true, start, end);
            }
            stack.push_number((start + 1) as f64);
            stack.push_number(end as f64);
            return push_captures(stack, &matcher, false, start, end) + 2;
        }
    }
    stack.push_nil();
    1
}

/// An iterator over all matches: a function with the subject, the pattern and the next start.
fn gmatch(stack: Stack<'_>) -> c_int {
    stack.check_bytes(1);
    stack.check_bytes(2);
    stack.set_top(2);
    stack.push_number(0.0);
    stack.push_closure(entry!(gmatch_next), 3);
    1
}

fn gmatch_next(stack: Stack<'_>) -> c_int {
    let (Some(subject), Some(pattern)) = (stack.bytes(upvalue(1)), stack.bytes(upvalue(2))) else {
        return 0;
    };
    let from = stack.integer(upvalue(3)) as usize;
    let mut matcher = Matcher::new(stack, subject, pattern);
    for start in from..=subject.len() {
        if let Some(end) = matcher.at(start) {
            // An empty match goes on by one at least.
            let next = if end == start { end + 1 } else { end };
            stack.push_number(next as f64);
            stack.replace(upvalue(3));
            return push_captures(stack, &matcher, true, start, end);
        }
    }
    0
}

fn gsub(stack: Stack<'_>) -> c_int {
    let subject = stack.check_bytes(1);
    let pattern = stack.check_bytes(2);
    let kind = stack.kind(3);
    let most = stack.integer_or(4, subject.len() as i64 + 1) as i32;
    if !matches!(kind, Kind::Number | Kind::String | Kind::Function | Kind::Table) {
        stack.argument_error(3, format_args!("string/function/table expected"));
    }
    let (anchored, pattern) = anchor(pattern);
    let mut matcher = Matcher::new(stack, subject, pattern);
    let mut result = Buffer::new(stack);
    let mut at = 0;
    let mut count = 0;
    while count < most {
        let end = matcher.at(at);
        if let Some(end) = end {
            count += 1;
            add_replacement(stack, &matcher, &mut result, at, end, kind);
        }
        match end {
            Some(end) if end > at => at = end,
            _ => match subject.get(at) {
                Some(&byte) => {
                    result.push(byte);
                    at += 1;
                }
                None => break,
            },
        }
        if anchored {
            break;
        }
    }
    result.extend(&subject[at..]);
    result.push_result();
    stack.push_number(f64::from(count));
    2
}

/// Adds what a match is replaced by: what the function returns or the table has, unless it is nil or
/// false; or the text with its captures filled in.
fn add_replacement(
    stack: Stack<'_>,
    matcher: &Matcher<'_>,
    result: &mut Buffer<'_>,
    start: usize,
    end: usize,
    kind: Kind,
) {
    match kind {
        Kind::Function => {
            stack.push_value(3);
            let captures = push_captures(stack, matcher, true, start, end);
            stack.call(captures, 1);
        }
        Kind::Table => {
            push_capture(stack, matcher, 0, start, end);
            stack.get_table(3);
        }
        _ => return add_text(stack, matcher, result, start, end),
    }
    if stack.truth(-1) {
        if !stack.is_string(-1) {
            let name = stack.type_name(-1);
            stack.raise(format_args!("invalid replacement value (a {name})"));
        }
        result.extend(stack.bytes(-1).unwrap_or_default());
    } else if let Captured::Bytes(whole) = matcher.whole(start, end) {
        result.extend(whole);
    }
    stack.pop(1);
}

/// Adds the replacement text, `%0` to `%9` in it filled in.
fn add_text(
    stack: Stack<'_>,
    matcher: &Matcher<'_>,
    result: &mut Buffer<'_>,
    start: usize,
    end: usize,
) {
    let text = stack.bytes(3).unwrap_or_default();
    stack.charge(text.len() / BYTES_PER_STEP + 1);
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        if byte != b'%' {
            result.push(byte);
            continue;
        }
        // A lone escape at the end is followed by the zero that ends every string of Lua.
        let digit = bytes.next().copied().unwrap_or(0);
        let captured = match digit {
            b'0' => matcher.whole(start, end),
            b'1'..=b'9' => matcher.capture(usize::from(digit - b'1'), start, end),
            _ => {
                result.push(digit);
                continue;
            }
        };
        match captured {
            Captured::Bytes(bytes) => result.extend(bytes),
            Captured::Position(position) => {
                result.extend(itoa::Buffer::new().format(position).as_bytes());
            }
        }
    }
}

fn push_captures(
    stack: Stack<'_>,
    matcher: &Matcher<'_>,
    whole: bool,
    start: usize,
    end: usize,
) -> c_int {
    let count = matcher.count(whole);
    stack.need_stack(count as c_int, c"too many captures");
    for index in 0..count {
        push_capture(stack, matcher, index, start, end);
    }
    count as c_int
}

fn push_capture(stack: Stack<'_>, matcher: &Matcher<'_>, index: usize, start: usize, end: usize) {
    match matcher.capture(index, start, end) {
        Captured::Bytes(bytes) => stack.push_bytes(bytes),
        Captured::Position(position) => stack.push_number(position as f64),
    }
}

fn rep(stack: Stack<'_>) -> c_int {
    let bytes = stack.check_bytes(1);
    let count = stack.check_integer(2) as i32;
    let mut result = Buffer::new(stack);
    result.extend_repeated(bytes, usize::try_from(count).unwrap_or(0));
    result.push_result();
    1
}

fn lower(stack: Stack<'_>) -> c_int {
    map(stack, |byte| byte.to_ascii_lowercase())
}

fn upper(stack: Stack<'_>) -> c_int {
    map(stack, |byte| byte.to_ascii_uppercase())
}

fn map(stack: Stack<'_>, change: fn(u8) -> u8) -> c_int {
    let bytes = stack.check_bytes(1);
    stack.charge(bytes.len() / BYTES_PER_STEP);
    let mut result = Buffer::new(stack);
    result.reserve(bytes.len());
    for &byte in bytes {
        result.push(change(byte));
    }
    result.push_result();
    1
}

fn reverse(stack: Stack<'_>) -> c_int {
    let bytes = stack.check_bytes(1);
    stack.charge(bytes.len() / BYTES_PER_STEP);
    let mut result = Buffer::new(stack);
    result.reserve(bytes.len());
    for &byte in bytes.iter().rev() {
        result.push(byte);
    }
    result.push_result();
    1
}

/// Whether the pattern is anchored, and what follows the anchor.
fn anchor(pattern: &[u8]) -> (bool, &[u8]) {
    match pattern.strip_prefix(b"^") {
        Some(rest) => (true, rest),
        None => (false, pattern),
    }
}

/// A 1-based position, a negative one counted from the end; 0 where that is before the start.
fn position(position: i64, length: usize) -> usize {
    let from_end = if position < 0 { length as i64 + 1 } else { 0 };
    usize::try_from(position.saturating_add(from_end)).unwrap_or(0)
}

/// Characters that make a pattern more than plain text.
const SPECIAL: &[u8] = b"^$*+?.([%-";
