//! What is read out of scripts of every kind.

use super::*;
use crate::command::{Command, Listed};

/// The commands of this build.
pub(super) struct All;

fn listed(number: usize, command: &'static Command) -> Listed {
    Listed { command, number, full_name: command.name }
}

impl CommandTable for All {
    fn commands(&self) -> Vec<Listed> {
        let all = crate::commands::ALL.iter().flat_map(|slice| slice.iter());
        all.enumerate().map(|(number, command)| listed(number, command)).collect()
    }

    fn parts(&self, container: Listed) -> Vec<Listed> {
        container.command.subcommands.iter().map(|command| listed(0, command)).collect()
    }

    fn command(&self, name: &[u8]) -> Option<Listed> {
        let is = |one: &Listed| one.command.name.as_bytes().eq_ignore_ascii_case(name);
        self.commands().into_iter().find(is)
    }
}

fn check(expected: Reach, codes: &[&str]) {
    for code in codes {
        assert_eq!(reach(&All, code.as_bytes()), expected, "{code}");
    }
}

#[test]
fn scripts_without_keys_touch_nothing() {
    check(
        Reach::Nothing,
        &[
            "return 1",
            "return KEYS[1]",
            "return {#KEYS, ARGV[1]}",
            "return redis.call('PING')",
            "return redis.sha1hex(ARGV[1])",
            "-- redis.call('GET', 'x')\nreturn 1",
            "return redis.call('nosuch', 'x')",
            "--[[ redis.call(x) ]] return [[redis.call(x)]]",
        ],
    );
}

#[test]
fn keys_that_are_declared_are_understood() {
    check(
        Reach::Declared,
        &[
            "return redis.call('GET', KEYS[1])",
            "return redis.call(\"get\", KEYS[1])",
            "return redis.pcall('SET', KEYS[ 1 ], ARGV[1], 'EX', 10)",
            "local k = KEYS[1] return redis.call('GET', k)",
            "local a, b = KEYS[1], KEYS[2]; redis.call('RENAME', a, b)",
            "local call = redis.call; call('INCR', KEYS[1])",
            "local rcall = redis.call\nlocal k = KEYS[1]\nrcall('INCR', k)\nreturn rcall('GET', k)",
            "for i, k in ipairs(KEYS) do redis.call('SET', k, i) end",
            "return redis.call('MGET', unpack(KEYS))",
            "return redis.call('DEL', KEYS[1], KEYS[2])",
            "for i = 1, #KEYS do redis.call('INCR', KEYS[i]) end",
            "if redis.call('get',KEYS[1]) == ARGV[1] then return redis.call('del',KEYS[1]) else return 0 end",
            "local function f() return redis.call('GET', KEYS[1]) end return f()",
            "return redis.call('ZADD', KEYS[1], unpack(ARGV))",
            "return redis.call('OBJECT', 'ENCODING', KEYS[1])",
            "local t = {} t.x = redis.call('GET', KEYS[1]) t[1] = 2 return t.x",
            "return server.call('GET', KEYS[1])",
            "local n = redis.call('INCR', KEYS[1]) if n == 1 then redis.call('EXPIRE', KEYS[1], ARGV[1]) end return n",
            "local x\nx = redis.call('GET', KEYS[1])\nlocal y = x",
            "return redis.call('SUNIONSTORE', KEYS[1], KEYS[2], KEYS[3])",
        ],
    );
}

#[test]
fn all_else_may_touch_everything() {
    check(
        Reach::Everything,
        &[
            "return redis.call('GET', 'x')",
            "return redis.call('GET', ARGV[1])",
            "return redis.call('GET', KEYS[1] .. ':x')",
            "return redis.call('GET', (KEYS[1]))",
            "return redis.call(ARGV[1], KEYS[1])",
            "return redis['call']('GET', 'x')",
            "local r = redis return r.call('GET', 'x')",
            "return redis.call('GET', k)",
            "local k = KEYS[1] k = 'x' return redis.call('GET', k)",
            "local k = KEYS[1] .. 'x' return redis.call('GET', k)",
            "local k = KEYS[1] or 'x' return redis.call('GET', k)",
            "local k = KEYS[1] local function f(k) return redis.call('GET', k) end return f('x')",
            "local a, b = KEYS[1] return redis.call('GET', b)",
            "for k in pairs({x = 1}) do redis.call('GET', k) end",
            "for i, k in ipairs({'x'}) do redis.call('GET', k) end",
            "KEYS[1] = 'x' return redis.call('GET', KEYS[1])",
            "local t = KEYS t[1] = 'x' return redis.call('GET', KEYS[1])",
            "table.insert(KEYS, 'x') return redis.call('GET', KEYS[1])",
            "local f, t = ipairs(KEYS) t[1] = 'x' return redis.call('GET', KEYS[1])",
            "local x, y y, KEYS[1] = 1, 'x' return redis.call('GET', KEYS[1])",
            "local KEYS = {'x'} return redis.call('GET', KEYS[1])",
            "return pcall(redis.call, 'GET', 'x')",
            "local c = redis.call c = nil return c('GET', 'x')",
            "local c = redis.call local d = c return d('GET', 'x')",
            "return loadstring('return redis.call(\"GET\", \"x\")')()",
            "return _G['redis'].call('GET', 'x')",
            "return redis.call('KEYS', '*')",
            "return redis.call('SCAN', 0)",
            "return redis.call('DBSIZE')",
            "return redis.call('FLUSHALL')",
            "return redis.call('SORT', KEYS[1])",
            "return redis.call('XREAD', 'STREAMS', KEYS[1], 0)",
            "return redis.call('MSET', unpack(ARGV))",
            "return redis.call('MGET', KEYS[1], unpack(ARGV))",
            "return redis.call('GET', unpack(ARGV))",
            "return redis.call(unpack(ARGV))",
            "return redis.call('ZUNION', 2, KEYS[1], KEYS[2])",
            "return redis.call 'GET'",
            "local a, k = 1, KEYS[1] a, k = 2, 'x' return redis.call('GET', k)",
            "local k = KEYS[1] local t = {} t.y, k = 1, 'x' return redis.call('GET', k)",
            "local k = KEYS[1] local t = {} k, t.y = 'x', 1 return redis.call('GET', k)",
            "local redis = {call = redis.call} redis.call('GET', 'x')",
            "return redis.call('BITOP', 'AND', 'd', KEYS[1])",
            "return 'unfinished",
        ],
    );
}
