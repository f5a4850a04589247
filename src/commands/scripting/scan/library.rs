//! Which partitions the functions of a library may touch: the same question, where a callback's first
//! parameter is what `KEYS` is to a script.
//!
//! Invariant: a name stands for the keys only if every function that has it as a parameter is a
//! callback, has it first, lies in no other function, and is called by FCALL alone. Then the text is
//! read as if the name were `KEYS`; whatever else is done with the name is not understood.

use std::collections::BTreeSet;

use super::CODE_BYTES_MAX;
use super::lexer::{Token, tokens};
use crate::command::CommandTable;
use crate::script::Reach;

/// What the functions of a library may touch.
pub(in crate::commands::scripting) fn reach_of_library(
    table: &dyn CommandTable,
    code: &[u8],
) -> Reach {
    if code.len() > CODE_BYTES_MAX {
        return Reach::Everything;
    }
    let read = tokens(code).map(Callbacks::new).and_then(Callbacks::into_script);
    read.map_or(Reach::Everything, |tokens| super::reach_of_tokens(table, tokens))
}

/// The functions that a library registers.
struct Callbacks<'c> {
    tokens: Vec<Token<'c>>,
}

impl<'c> Callbacks<'c> {
    fn new(tokens: Vec<Token<'c>>) -> Self {
        Callbacks { tokens }
    }

    /// The text with `KEYS` for the keys of callbacks. None where it is not understood.
    fn into_script(mut self) -> Option<Vec<Token<'c>>> {
        let mut keys: BTreeSet<&'c [u8]> = BTreeSet::new();
        let mut depth = Vec::new();
        for at in 0..self.tokens.len() {
            match self.name(at) {
                Some(b"function") => {
                    // What lies in another function may outlive its call, with its keys.
                    if depth.contains(&b"function".as_slice()) {
                        return None;
                    }
                    depth.push(b"function".as_slice());
                    if let Some(first) = self.keys_of_callback(at) {
                        keys.insert(self.name(first)?);
                        self.tokens[first] = Token::Name(b"_");
                    }
                }
                Some(word @ (b"do" | b"if" | b"repeat")) => depth.push(word),
                Some(b"end" | b"until") => drop(depth.pop()?),
                Some(b"KEYS") => return None,
                _ => {}
            }
        }
        for token in &mut self.tokens {
            if matches!(token, Token::Name(name) if keys.contains(*name)) {
                *token = Token::Name(b"KEYS");
            }
        }
        Some(self.tokens)
    }

    /// Where the first parameter stands of the function at `at`, if FCALL alone calls it.
    fn keys_of_callback(&self, at: usize) -> Option<usize> {
        let (open, is_callback) = match self.name(at + 1) {
            Some(name) => {
                (at + 2, self.name(at.checked_sub(1)?)? == b"local" && self.only_registered(name))
            }
            None => (at + 1, self.is_registered(at)),
        };
        let is_first = self.is_op(open, b"(") && self.name(open + 1).is_some();
        (is_callback && is_first).then_some(open + 1)
    }

    /// True if a name is defined once, as a function, and otherwise only registered.
    fn only_registered(&self, name: &[u8]) -> bool {
        let mut definitions = 0;
        (0..self.tokens.len()).filter(|at| self.name(*at) == Some(name)).all(|at| {
            let is_definition = at > 0 && self.name(at - 1) == Some(b"function");
            definitions += usize::from(is_definition);
            let is_value =
                self.is_op(at + 1, b")") || self.is_op(at + 1, b",") || self.is_op(at + 1, b"}");
            definitions <= 1 && (is_definition || is_value && self.is_registered(at))
        })
    }

    /// True if the value that begins at `at` is the callback in a call of `redis.register_function`.
    fn is_registered(&self, at: usize) -> bool {
        let Some(before) = at.checked_sub(1) else { return false };
        let registers = |call: usize| {
            call >= 2
                && self.name(call) == Some(b"register_function")
                && self.is_op(call - 1, b".")
                && matches!(self.name(call - 2), Some(b"redis" | b"server"))
        };
        // register_function('name', callback)
        if before >= 3 && self.is_op(before, b",") && self.is_op(before - 2, b"(") {
            return matches!(self.tokens[before - 1], Token::Text(_)) && registers(before - 3);
        }
        // register_function{..., callback = callback, ...}
        if before < 1 || !self.is_op(before, b"=") || self.name(before - 1) != Some(b"callback") {
            return false;
        }
        let Some(brace) = self.open_bracket(before) else { return false };
        let is_call = |call: usize| {
            registers(call) || call > 0 && self.is_op(call, b"(") && registers(call - 1)
        };
        self.is_op(brace, b"{") && brace > 0 && is_call(brace - 1)
    }

    /// The bracket that is open at `at`.
    fn open_bracket(&self, at: usize) -> Option<usize> {
        let mut depth = 0_usize;
        (0..at).rev().find(|at| match self.tokens[*at] {
            Token::Op(b")" | b"]" | b"}") => {
                depth += 1;
                false
            }
            Token::Op(b"(" | b"[" | b"{") if depth > 0 => {
                depth -= 1;
                false
            }
            Token::Op(b"(" | b"[" | b"{") => true,
            _ => false,
        })
    }

    fn name(&self, at: usize) -> Option<&'c [u8]> {
        match self.tokens.get(at) {
            Some(Token::Name(name)) => Some(name),
            _ => None,
        }
    }

    fn is_op(&self, at: usize, text: &[u8]) -> bool {
        matches!(self.tokens.get(at), Some(Token::Op(op)) if *op == text)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::All;
    use super::*;

    fn reach(code: &str) -> Reach {
        reach_of_library(&All, code.as_bytes())
    }

    #[test]
    fn keys_of_callbacks_are_declared() {
        for code in [
            "redis.register_function('f', function(keys, args) return redis.call('SET', keys[1], args[1]) end)",
            "redis.register_function{function_name='f', flags={'no-writes'}, callback=function(k) return redis.call('GET', k[1]) end}",
            "redis.register_function({callback=function(k) return redis.call('GET', k[1]) end, function_name='f'})",
            "local function get(keys) local k = keys[1] return redis.call('GET', k) end redis.register_function('f', get)",
            "local function get(keys) if #keys > 0 then return redis.call('MGET', unpack(keys)) end end \
             redis.register_function('f', get) redis.register_function{function_name='g', callback=get}",
            "redis.register_function('f', function(keys) for _, key in ipairs(keys) do redis.call('DEL', key) end end) \
             redis.register_function('g', function(names) return redis.call('GET', names[2]) end)",
        ] {
            assert_eq!(reach(code), Reach::Declared, "{code}");
        }
        let code = "redis.register_function('f', function() return 1 end)";
        assert_eq!(reach(code), Reach::Nothing);
    }

    #[test]
    fn what_is_not_understood_may_touch_everything() {
        for code in [
            "redis.register_function('f', function(keys) return redis.call('GET', 'fixed') end)",
            "redis.register_function('f', function(keys, args) return redis.call('GET', args[1]) end)",
            "local function get(keys) return redis.call('GET', keys[1]) end \
             redis.register_function('f', function(args) return get({'x'}) end)",
            "local function get(keys) return redis.call('GET', keys[1]) end \
             redis.register_function('f', get) redis.register_function('g', function() return get({'x'}) end)",
            "local t = {callback=function(keys) return redis.call('GET', keys[1]) end} \
             redis.register_function('f', function() return t.callback({'x'}) end)",
            "redis.register_function('f', function(keys) keys = {'x'} return redis.call('GET', keys[1]) end)",
            "redis.register_function('f', function(keys) keys[1] = 'x' return redis.call('GET', keys[1]) end)",
            "redis.register_function('f', function(keys) local keys = {'x'} return redis.call('GET', keys[1]) end)",
            "local saved redis.register_function('f', function(keys) saved = function() return redis.call('GET', keys[1]) end end) \
             redis.register_function('g', function() return saved() end)",
            "local function f(args, keys) return redis.call('GET', keys[1]) end redis.register_function('f', f)",
            "redis.register_function('f', function(args, keys) return redis.call('GET', keys[1]) end)",
            "redis.register_function('f', function(keys) return redis.call('GET', KEYS[1]) end)",
            "function get(keys) return redis.call('GET', keys[1]) end redis.register_function('f', get)",
            "local f = function(keys) return redis.call('GET', keys[1]) end redis.register_function('f', f)",
        ] {
            assert_eq!(reach(code), Reach::Everything, "{code}");
        }
    }
}
