//! Which partitions a script may touch, read out of its text.
//!
//! Invariant: whatever is not understood may touch everything. A script that touches only what it was
//! given calls commands by constant names, with keys that are written `KEYS[...]`, or are locals
//! bound to that once and for all; it neither hands `KEYS` or `redis` around nor loads more code.
//! What this overlooks is refused when it is called (`dispatch/script.rs`), never executed.

mod lexer;
mod library;

use std::collections::{BTreeMap, BTreeSet};

use crate::command::keyspec::{Begin, Find};
use crate::command::{Access, CommandTable, Handler, KeySpec, catalog};
use crate::script::Reach;
use lexer::{Token, tokens};
pub(super) use library::reach_of_library;

/// Names whose use means that anything may happen.
const DANGEROUS: &[&[u8]] = &[
    b"_G",
    b"load",
    b"loadstring",
    b"loadfile",
    b"dofile",
    b"getfenv",
    b"setfenv",
    b"require",
    b"debug",
];
/// Names that this relies on: a script that binds one of them is not understood.
const RELIED_ON: &[&[u8]] =
    &[b"redis", b"server", b"KEYS", b"ipairs", b"pairs", b"unpack", b"next", b"table", b"select"];
/// Members of `redis` that call commands.
const CALLS: &[&[u8]] = &[b"call", b"pcall"];
/// More text than this is not looked at.
const CODE_BYTES_MAX: usize = 1 << 20;

/// What the code of a script may touch.
pub(super) fn reach(table: &dyn CommandTable, code: &[u8]) -> Reach {
    if code.len() > CODE_BYTES_MAX {
        return Reach::Everything;
    }
    tokens(code).map_or(Reach::Everything, |tokens| reach_of_tokens(table, tokens))
}

fn reach_of_tokens(table: &dyn CommandTable, tokens: Vec<Token<'_>>) -> Reach {
    let mut scan = Scan { tokens, table, keys: BTreeSet::new(), calls: BTreeSet::new() };
    match scan.bindings().and_then(|()| scan.uses()) {
        None => Reach::Everything,
        Some(true) => Reach::Declared,
        Some(false) => Reach::Nothing,
    }
}

/// A script under examination. Its methods answer None where they do not understand.
struct Scan<'c> {
    tokens: Vec<Token<'c>>,
    table: &'c dyn CommandTable,
    /// Locals that are keys.
    keys: BTreeSet<&'c [u8]>,
    /// Locals that are redis.call or redis.pcall.
    calls: BTreeSet<&'c [u8]>,
}

/// What a name is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    Key,
    Call,
    Other,
}

impl<'c> Scan<'c> {
    fn at(&self, index: usize) -> Token<'c> {
        self.tokens.get(index).copied().unwrap_or(Token::End)
    }

    fn name_at(&self, index: usize) -> Option<&'c [u8]> {
        match self.at(index) {
            Token::Name(name) => Some(name),
            _ => None,
        }
    }

    fn is(&self, index: usize, text: &str) -> bool {
        match self.at(index) {
            Token::Name(name) | Token::Op(name) => name == text.as_bytes(),
            _ => false,
        }
    }

    /// True for the token in front of `index`.
    fn is_before(&self, index: usize, text: &str) -> bool {
        index > 0 && self.is(index - 1, text)
    }

    /// Just behind the bracket that closes the one at `index`.
    fn behind_bracket(&self, index: usize) -> Option<usize> {
        let mut depth = 0_usize;
        for at in index..self.tokens.len() {
            match self.at(at) {
                Token::Op(b"(" | b"[" | b"{") => depth += 1,
                Token::Op(b")" | b"]" | b"}") => {
                    depth = depth.checked_sub(1)?;
                    if depth == 0 {
                        return Some(at + 1);
                    }
                }
                _ => {}
            }
        }
        None
    }

    /// Just behind `KEYS[...]`, if that stands at `index`.
    fn behind_key(&self, index: usize) -> Option<usize> {
        let begins = self.is(index, "KEYS") && self.is(index + 1, "[");
        if begins { self.behind_bracket(index + 1) } else { None }
    }

    /// True if an expression may end in front of `index`: what stands there does not go on with it.
    fn ends_expression(&self, index: usize) -> bool {
        match self.at(index) {
            Token::End => true,
            Token::Op(op) => matches!(op, b"," | b";" | b")" | b"}" | b"]"),
            Token::Name(name) => !matches!(name, b"and" | b"or"),
            Token::Text(_) | Token::Number => false,
        }
    }

    /// Finds what each name is bound to.
    fn bindings(&mut self) -> Option<()> {
        let mut bound: BTreeMap<&'c [u8], Bound> = BTreeMap::new();
        let mut bind = |name: &'c [u8], to: Bound| {
            let known = bound.entry(name).or_insert(to);
            if *known != to {
                *known = Bound::Other;
            }
        };
        for at in 0..self.tokens.len() {
            if self.is(at, "local") {
                self.bind_local(at, &mut bind);
            } else if self.is(at, "function") {
                self.bind_function(at, &mut bind)?;
            } else if self.is(at, "for") {
                self.bind_for(at, &mut bind);
            } else if self.is(at, "=") {
                self.bind_assigned(at, &mut bind)?;
            }
        }
        for (name, to) in bound {
            if RELIED_ON.contains(&name) {
                return None;
            }
            match to {
                Bound::Key => self.keys.insert(name),
                Bound::Call => self.calls.insert(name),
                Bound::Other => false,
            };
        }
        Some(())
    }

    /// `local a, b = KEYS[1], KEYS[2]`, `local call = redis.call`.
    fn bind_local(&self, at: usize, bind: &mut impl FnMut(&'c [u8], Bound)) {
        if self.is(at + 1, "function") {
            return;
        }
        let (names, next) = self.name_list(at + 1);
        let mut bound = vec![Bound::Other; names.len()];
        if self.is(next, "=") {
            let mut value = next + 1;
            if names.len() == 1 && self.is_call_member(value) && self.ends_expression(value + 3) {
                bound[0] = Bound::Call;
            }
            for place in &mut bound {
                let Some(behind) = self.behind_key(value).filter(|at| self.ends_expression(*at))
                else {
                    break;
                };
                *place = Bound::Key;
                if !self.is(behind, ",") {
                    break;
                }
                value = behind + 1;
            }
        }
        names.into_iter().zip(bound).for_each(|(name, to)| bind(name, to));
    }

    /// Names with commas between, and where the list ends.
    fn name_list(&self, mut at: usize) -> (Vec<&'c [u8]>, usize) {
        let mut names = Vec::new();
        while let Some(name) = self.name_at(at) {
            names.push(name);
            at += 1;
            if !self.is(at, ",") {
                break;
            }
            at += 1;
        }
        (names, at)
    }

    fn is_call_member(&self, at: usize) -> bool {
        (self.is(at, "redis") || self.is(at, "server"))
            && self.is(at + 1, ".")
            && self.name_at(at + 2).is_some_and(|name| CALLS.contains(&name))
    }

    /// `function name(a, b)`, `function(a, b)`.
    fn bind_function(&self, at: usize, bind: &mut impl FnMut(&'c [u8], Bound)) -> Option<()> {
        let mut next = at + 1;
        if let Some(name) = self.name_at(next) {
            bind(name, Bound::Other);
        }
        while !self.is(next, "(") {
            if self.at(next) == Token::End {
                return None;
            }
            next += 1;
        }
        self.name_list(next + 1).0.into_iter().for_each(|name| bind(name, Bound::Other));
        Some(())
    }

    /// `for i, key in ipairs(KEYS) do`, and loops over anything else.
    fn bind_for(&self, at: usize, bind: &mut impl FnMut(&'c [u8], Bound)) {
        let (names, next) = self.name_list(at + 1);
        let over_keys = self.is(next, "in") && self.is_walk_over_keys(next + 1);
        for (place, name) in names.into_iter().enumerate() {
            bind(name, if over_keys && place == 1 { Bound::Key } else { Bound::Other });
        }
    }

    /// `ipairs(KEYS) do`.
    fn is_walk_over_keys(&self, at: usize) -> bool {
        (self.is(at, "ipairs") || self.is(at, "pairs"))
            && self.is(at + 1, "(")
            && self.is(at + 2, "KEYS")
            && self.is(at + 3, ")")
            && self.is(at + 4, "do")
    }

    /// Whatever stands in front of a `=`, as far back as its statement may reach. What `local` and
    /// `for` bind is found here, too, and is left to them.
    fn bind_assigned(&self, at: usize, bind: &mut impl FnMut(&'c [u8], Bound)) -> Option<()> {
        let mut first = at;
        while let Some(name) = first.checked_sub(1).and_then(|at| self.name_at(at)) {
            if matches!(name, b"local" | b"for") {
                return Some(());
            }
            first -= 1;
            if first == 0 || !self.is(first - 1, ",") {
                break;
            }
            first -= 1;
        }
        if first > 0 && (self.is(first - 1, "local") || self.is(first - 1, "for")) {
            return Some(());
        }
        // Fields and elements: all names of the statement count as assigned.
        let mut back = at;
        let mut depth = 0_usize;
        while back > 0 {
            back -= 1;
            match self.at(back) {
                Token::Op(b")" | b"]" | b"}") => depth += 1,
                Token::Op(b"(" | b"[" | b"{") if depth == 0 => break,
                Token::Op(b"(" | b"[" | b"{") => depth -= 1,
                Token::Op(b";" | b"=") if depth == 0 => break,
                Token::Name(name) if depth == 0 => {
                    if lexer::KEYWORDS.contains(&name) {
                        break;
                    }
                    let is_field = self.is_before(back, ".") || self.is_before(back, ":");
                    let has_member = matches!(self.at(back + 1), Token::Op(b"." | b"[" | b":"));
                    if name == b"KEYS" && !is_field {
                        return None;
                    }
                    if !is_field && !has_member {
                        bind(name, Bound::Other);
                    }
                    // Two values side by side: the statement before has ended between them.
                    if matches!(
                        self.at(back.wrapping_sub(1)),
                        Token::Name(_)
                            | Token::Number
                            | Token::Text(_)
                            | Token::Op(b")" | b"]" | b"}")
                    ) {
                        break;
                    }
                }
                _ => {}
            }
        }
        Some(())
    }

    /// Looks at every use of a name that matters. True if a command with keys is called.
    fn uses(&self) -> Option<bool> {
        let mut touches = false;
        for at in 0..self.tokens.len() {
            let Some(name) = self.name_at(at) else { continue };
            if self.is_before(at, ".") || self.is_before(at, ":") {
                continue;
            }
            if DANGEROUS.contains(&name) {
                return None;
            }
            if name == b"KEYS" {
                self.check_keys(at)?;
            } else if name == b"redis" || name == b"server" {
                let member = self.name_at(at + 2).filter(|_| self.is(at + 1, "."))?;
                if CALLS.contains(&member) {
                    let is_alias = self.is_before(at, "=")
                        && at > 1
                        && self.name_at(at - 2).is_some_and(|name| self.calls.contains(name));
                    if !is_alias {
                        touches |= self.call(at + 3)?;
                    }
                }
            } else if self.calls.contains(name) && !self.is_before(at, "local") {
                touches |= self.call(at + 1)?;
            }
        }
        Some(touches)
    }

    /// A use of KEYS that neither changes it nor hands it on.
    fn check_keys(&self, at: usize) -> Option<()> {
        let read = self.behind_key(at).is_some_and(|behind| !self.is(behind, "="));
        let counted = self.is_before(at, "#");
        let walked = at >= 2 && self.is_walk_over_keys(at - 2) && at >= 3 && self.is(at - 3, "in");
        let spread = self.is_before(at, "(") && at >= 2 && self.is(at - 2, "unpack");
        (read || counted || walked || spread).then_some(())
    }

    /// The arguments of a call whose bracket is at `open`, as ranges of tokens.
    fn arguments(&self, open: usize) -> Option<Vec<(usize, usize)>> {
        if !self.is(open, "(") {
            return None;
        }
        let end = self.behind_bracket(open)? - 1;
        let (mut arguments, mut start, mut at) = (Vec::new(), open + 1, open + 1);
        while at < end {
            match self.at(at) {
                Token::Op(b"(" | b"[" | b"{") => at = self.behind_bracket(at)?,
                // A function's body has commas of its own.
                Token::Name(b"function") => return None,
                Token::Op(b",") => {
                    arguments.push((start, at));
                    at += 1;
                    start = at;
                }
                _ => at += 1,
            }
        }
        if start < end {
            arguments.push((start, end));
        }
        Some(arguments)
    }

    /// A call of a command. True if the command has keys; all of them are keys of the script then.
    fn call(&self, open: usize) -> Option<bool> {
        let arguments = self.arguments(open)?;
        let text = |index: usize| match arguments.get(index) {
            Some((start, end)) if end - start == 1 => match self.at(*start) {
                Token::Text(text) => Some(text),
                _ => None,
            },
            _ => None,
        };
        let name = text(0)?;
        let Some(found) = self.table.command(name) else { return Some(false) };
        let listed = if found.command.is_container() {
            let Some(part) = catalog::find(self.table, name, Some(text(1)?)) else {
                return Some(false);
            };
            part
        } else {
            found
        };
        let command = listed.command;
        if matches!(
            command.handler,
            Handler::Keyspace(_) | Handler::Located(..) | Handler::Reaching(..)
        ) {
            return None;
        }
        for spec in command.keys.iter().filter(|spec| !spec.access.has(Access::NOT_KEY)) {
            self.check_spec(spec, &arguments)?;
        }
        Some(!command.keys.is_empty())
    }

    /// The keys of a spec are keys of the script.
    fn check_spec(&self, spec: &KeySpec, arguments: &[(usize, usize)]) -> Option<()> {
        let Begin::Index(begin) = spec.begin else { return None };
        let begin = usize::from(begin);
        let is_open = self.is_open(arguments);
        match spec.find {
            Find::Unknown => None,
            Find::Range { last, step, .. } if last >= 0 => {
                let last = begin + last as usize;
                (begin..=last).step_by(usize::from(step)).try_for_each(|index| {
                    // An argument that is not there is an error when the command runs; unless the
                    // last one stands for several.
                    match arguments.get(index) {
                        Some(argument) => self.check_key(*argument),
                        None => (!is_open).then_some(()),
                    }
                })
            }
            Find::Range { last, step, limit } => {
                let end = (arguments.len() as i64 + i64::from(last) + 1).max(0) as usize;
                let keys = arguments.get(begin..end.max(begin)).unwrap_or_default();
                if limit > 1 || is_open && (step != 1 || last != -1) {
                    return None;
                }
                keys.iter().enumerate().step_by(usize::from(step)).try_for_each(
                    |(place, argument)| {
                        let is_last = begin + place + 1 == arguments.len();
                        if is_last && self.is_all_keys(*argument) {
                            return Some(());
                        }
                        self.check_key(*argument)
                    },
                )
            }
            Find::Keynum { count, first, step } => {
                let (count, first) = (begin + usize::from(count), begin + usize::from(first));
                let counter = *arguments.get(count)?;
                let all = *arguments.get(first)?;
                // Only where all keys of the script are the keys: `#KEYS, unpack(KEYS)`.
                let counts_all = counter.1 - counter.0 == 2
                    && self.is(counter.0, "#")
                    && self.is(counter.0 + 1, "KEYS");
                let is_last = first + 1 == arguments.len();
                (counts_all && step == 1 && is_last && self.is_all_keys(all)).then_some(())
            }
        }
    }

    /// True if the last argument may stand for several: a call, or `...`.
    fn is_open(&self, arguments: &[(usize, usize)]) -> bool {
        arguments.last().is_some_and(|(_, end)| {
            matches!(self.at(end - 1), Token::Op(b")" | b"..."))
                || matches!(self.at(end - 1), Token::Text(_) | Token::Op(b"}"))
                    && self.arguments_of_call_by_text(*end)
        })
    }

    /// True if what ends in front of `end` may be a call such as `f"x"` or `f{...}`.
    fn arguments_of_call_by_text(&self, end: usize) -> bool {
        end >= 2 && matches!(self.at(end - 2), Token::Name(_)) || self.is(end - 1, "}")
    }

    /// `unpack(KEYS)`.
    fn is_all_keys(&self, (start, end): (usize, usize)) -> bool {
        end - start == 4
            && self.is(start, "unpack")
            && self.is(start + 1, "(")
            && self.is(start + 2, "KEYS")
            && self.is(start + 3, ")")
    }

    /// `KEYS[...]`, or a local that is bound to that.
    fn check_key(&self, (start, end): (usize, usize)) -> Option<()> {
        let is_local =
            end - start == 1 && self.name_at(start).is_some_and(|name| self.keys.contains(name));
        (is_local || self.behind_key(start) == Some(end)).then_some(())
    }
}

#[cfg(test)]
mod tests;
