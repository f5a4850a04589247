//! Scripts against a caller that answers from a list.

use super::*;
use crate::observe::log::Level;
use crate::resp::reply::ReplyBuffer;
use crate::script::{Refusal, Verdict, Words};

/// Answers every command with the same bytes.
struct Fixed {
    reply: &'static [u8],
    told: Vec<Vec<u8>>,
    turns_left: usize,
}

impl Caller for Fixed {
    fn call(
        &mut self,
        words: Words<'_>,
        _: Proto,
        replies: &mut ReplyBuffer,
    ) -> Result<(), Refusal> {
        for range in words.ranges {
            let start = range.start as usize;
            self.told.push(words.bytes[start..start + range.len as usize].to_vec());
        }
        replies.bytes.extend_from_slice(self.reply);
        Ok(())
    }

    fn may(&mut self, _: Words<'_>) -> Option<bool> {
        None
    }

    fn log(&mut self, _: Level, text: &[u8]) {
        self.told.push(text.to_vec());
    }

    fn propagate_to(&mut self, _: u8) {}

    fn interrupt(&mut self) -> Verdict {
        self.turns_left = self.turns_left.saturating_sub(1);
        if self.turns_left == 0 { Verdict::Killed } else { Verdict::GoOn }
    }
}

fn run_with(engine: &mut Engine, caller: &mut Fixed, code: &str) -> String {
    let function = match engine.compile(code.as_bytes()) {
        Ok(function) => function,
        Err(text) => return format!("-{}", String::from_utf8_lossy(&text)),
    };
    let mut buffer = ReplyBuffer::default();
    let call = Call {
        function,
        name: b"sha",
        keys: [b"k1".as_slice(), b"k2"].into_iter(),
        arguments: [b"a1".as_slice()].into_iter(),
        as_globals: true,
        limits: Limits { memory_bytes: 8 << 20 },
    };
    let mut reply = Reply::new(&mut buffer, Proto::Resp2);
    engine.run(call, caller, &mut reply);
    engine.forget(function);
    String::from_utf8_lossy(&buffer.bytes).replace("\r\n", " ").trim_end().to_string()
}

fn run(code: &str, reply: &'static [u8]) -> String {
    let mut engine = Engine::new(Limits { memory_bytes: 8 << 20 });
    let mut caller = Fixed { reply, told: Vec::new(), turns_left: 50 };
    run_with(&mut engine, &mut caller, code)
}

#[test]
fn values_become_replies() {
    for (code, reply) in [
        ("return 1", ":1"),
        ("return 3.99", ":3"),
        ("return 'x'", "$1 x"),
        ("return true", ":1"),
        ("return false", "$-1"),
        ("return nil", "$-1"),
        ("return {1,'a',{2,3},nil,4}", "*3 :1 $1 a *2 :2 :3"),
        ("return {ok='fine'}", "+fine"),
        ("return {err='BAD thing'}", "-BAD thing"),
        ("return {double=3.5}", "$3 3.5"),
        ("return {map={a=1}}", "*2 $1 a :1"),
        ("return {set={a=true}}", "*1 $1 a"),
        ("return KEYS", "*2 $2 k1 $2 k2"),
        ("return ARGV[1]", "$2 a1"),
        ("return redis.status_reply('YO')", "+YO"),
        ("return redis.error_reply('MY err')", "-MY err"),
        ("return redis.sha1hex('')", "$40 da39a3ee5e6b4b0d3255bfef95601890afd80709"),
    ] {
        assert_eq!(run(code, b""), reply, "{code}");
    }
}

#[test]
fn replies_become_values() {
    for (reply, code, result) in [
        (b"$3\r\nabc\r\n".as_slice(), "return redis.call('x')", "$3 abc"),
        (b"$-1\r\n", "return type(redis.call('x'))", "$7 boolean"),
        (b":7\r\n", "return redis.call('x') + 1", ":8"),
        (b"+OK\r\n", "return redis.call('x').ok", "$2 OK"),
        (b"-WRONG it is\r\n", "return redis.pcall('x').err", "$11 WRONG it is"),
        (
            b"-WRONG it is\r\n",
            "return redis.call('x')",
            "-WRONG it is script: sha, on @user_script:1.",
        ),
        (b"*2\r\n:1\r\n*1\r\n$0\r\n\r\n", "return redis.call('x')", "*2 :1 *1 $0"),
        (b"%1\r\n$1\r\na\r\n:1\r\n", "return redis.call('x').map.a", ":1"),
        (b"~1\r\n$1\r\na\r\n", "return redis.call('x').set.a", ":1"),
        (b",1.5\r\n", "return redis.call('x').double * 2", ":3"),
        (b"=7\r\ntxt:abc\r\n", "return redis.call('x').verbatim_string.string", "$3 abc"),
        (b"_\r\n", "return type(redis.call('x'))", "$3 nil"),
    ] {
        assert_eq!(run(code, reply), result, "{code}");
    }
}

#[test]
fn shared_tables_cannot_be_changed() {
    let read_only =
        "-ERR user_script:1: Attempt to modify a readonly table script: sha, on @user_script:1.";
    let plain = "-ERR Attempt to modify a readonly table script: sha, on @user_script:1.";
    for (code, reply) in [
        ("x = 1", read_only),
        ("KEYS = 1", read_only),
        ("redis.call = 1", read_only),
        ("string.len = nil", read_only),
        ("_G.x = 1", read_only),
        ("getmetatable('').__index = nil", read_only),
        ("getmetatable('').__index.len = nil", read_only),
        ("getmetatable(_G).__index = nil", read_only),
        ("rawset(_G, 'x', 1)", plain),
        ("rawset(redis, 'x', 1)", plain),
        ("setmetatable(_G, {})", plain),
        ("table.insert(redis, 1)", plain),
        ("local f, t = pairs(redis) t.call = 1", read_only),
    ] {
        assert_eq!(run(code, b""), reply, "{code}");
    }
    assert_eq!(run("return rawget(_G, 'x')", b""), "$-1");
    assert_eq!(
        run("return x", b""),
        "-ERR user_script:1: Script attempted to access nonexistent global variable 'x' script: sha, on @user_script:1."
    );
    assert_eq!(run("local n = 0 for k in pairs(redis) do n = n + 1 end return n > 20", b""), ":1");
    assert_eq!(
        run("local a = 0 for k, v in next, string do a = a + 1 end return a > 5", b""),
        ":1"
    );
    assert_eq!(run("return ('x'):upper()", b""), "$1 X");
}

#[test]
fn nothing_dangerous_is_there() {
    for name in [
        "print", "dofile", "loadfile", "newproxy", "setfenv", "getfenv", "require", "module",
        "package", "io", "debug",
    ] {
        assert!(run(&format!("return {name}"), b"").contains("nonexistent global"), "{name}");
    }
    assert_eq!(run("return os.execute", b""), "$-1");
    assert_eq!(run("return type(os.clock())", b""), "$6 number");
    assert_eq!(run("return loadstring('return 5')()", b""), ":5");
    assert_eq!(
        run(
            "local p = {'return ', '6'} local i = 0 return load(function() i = i + 1 return p[i] end)()",
            b""
        ),
        ":6"
    );
    assert_eq!(run("return (loadstring(string.dump(function() end)))", b""), "$-1");
}

#[test]
fn endless_scripts_are_killed() {
    for code in [
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "local f f = function() return pcall(f) or f() end while true do f() end",
        "while true do coroutine.wrap(function() while true do end end)() end",
        "while true do pcall(coroutine.wrap(function() while true do end end)) end",
    ] {
        let reply = run(code, b"");
        assert!(reply.starts_with("-ERR Script killed by user"), "{code}: {reply}");
    }
}

#[test]
fn memory_is_bounded_and_the_interpreter_goes_on() {
    let mut engine = Engine::new(Limits { memory_bytes: 8 << 20 });
    let mut caller = Fixed { reply: b"+OK\r\n", told: Vec::new(), turns_left: 10_000 };
    for code in [
        "local x = 'x' while true do x = x .. x end",
        "return string.rep('x', 1000000000)",
        "local t = {} while true do t[#t + 1] = {} end",
        "local x = string.rep('x', 3000000) return {x .. 'a', x .. 'b', x .. 'c', x .. 'd'}",
    ] {
        let reply = run_with(&mut engine, &mut caller, code);
        assert!(reply.contains("script-memory-limit"), "{code}: {reply}");
        assert_eq!(run_with(&mut engine, &mut caller, "return 1"), ":1");
    }
    let caught = run_with(&mut engine, &mut caller, "return {pcall(string.rep, 'x', 1000000000)}");
    assert_eq!(caught, "*2 $-1 $17 not enough memory");
}

#[test]
fn garbage_does_not_count_for_the_limit() {
    let mut engine = Engine::new(Limits { memory_bytes: 8 << 20 });
    let mut caller = Fixed { reply: b"+OK\r\n", told: Vec::new(), turns_left: 10_000 };
    for code in [
        "local x = string.rep('x', 1000000) for i = 1, 100 do local y = x .. i end return 1",
        "local x = {} for i = 1, 3000 do x[i] = ('x'):rep(1000) .. i end for i = 1, 100000 do local y = i .. 'y' end return 1",
        "for i = 1, 300000 do local y = {i} end return 1",
    ] {
        assert_eq!(run_with(&mut engine, &mut caller, code), ":1", "{code}");
        run_with(&mut engine, &mut caller, "return 1");
    }
    for _ in 0..20_000 {
        run_with(&mut engine, &mut caller, "return {{}, {}, {}, {}, {}, {}, {}, {}}");
    }
    let held = engine.memory_bytes();
    assert!(held < 2 << 20, "{held} bytes");
}

#[test]
fn recursion_ends() {
    for code in [
        "local function f() return 1 + f() end return f()",
        "local function f() return pcall(f) end return f()",
        "local t = {} for i = 1, 100000 do t = {t} end return t",
        "local t = {} t[1] = t return t",
        "error(setmetatable({}, {__tostring = function() error('x') end}))",
        "error()",
        "error(redis)",
        "error({})",
        "error({err = {}})",
        "error(function() end)",
        "local t = {} t.map = t return t",
    ] {
        assert!(run(code, b"").len() > 1, "{code}");
    }
}
