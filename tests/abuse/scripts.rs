//! Scripts that never end, that want everything, that break every rule: a clear error each, and the
//! server goes on.

use ironring::script::Sha;

use super::support::client::Client;
use super::{start, wait_until, with_servers};

/// What a script is allowed here before others hear that it is busy.
const OPTIONS: &[(&str, &str)] = &[("busy-reply-threshold", "50"), ("script-memory-limit", "8mb")];

fn eval(client: &mut Client, script: &str) -> String {
    let reply = client.call(&["EVAL", script, "0"]).expect("a reply");
    String::from_utf8_lossy(&reply).into_owned()
}

#[test]
fn endless_scripts_are_answered_busy_and_killed() {
    with_servers(OPTIONS, |server| {
        for script in [
            "while true do end",
            "while true do pcall(function() while true do end end) end",
            "while true do redis.call('PING') end",
            "while true do redis.pcall('GET', 'x') end",
            "while true do pcall(redis.call, 'nosuch') end",
            "local f f = function() return f() end f()",
            "while true do pcall(coroutine.wrap(function() while true do end end)) end",
            "string.find(string.rep('a', 100), string.rep('a*', 50) .. 'b')",
            "while true do string.rep('x', 1000000) end",
            "table.sort({3, 2, 1}, function() while true do end end)",
            "string.gsub('x', '.', function() while true do end end)",
            "setmetatable({}, {__index = function() while true do end end}).x()",
        ] {
            let mut runs = server.client();
            runs.send_command(&["EVAL", script, "0"]).expect("a script is sent");
            let mut other = server.client();
            wait_until("it is busy", || {
                // Needs every partition, the one of the script among them.
                let reply = other.call(&["DBSIZE"]).expect("a reply");
                reply.starts_with(b"-BUSY")
            });
            assert_eq!(other.call(&["SCRIPT", "KILL"]).expect("a reply"), b"+OK\r\n");
            let reply = runs.read_reply().expect("the script has ended");
            let text = String::from_utf8_lossy(&reply);
            assert!(text.starts_with("-ERR Script killed by user with SCRIPT KILL"), "{text}");
            assert_eq!(other.call(&["DBSIZE"]).expect("a reply"), b":0\r\n", "{script}");
            assert_eq!(eval(&mut runs, "return 1"), ":1\r\n");
        }
    });
}

#[test]
fn a_script_that_has_written_is_ended_with_the_server_only() {
    for cores in [1, 4] {
        let mut server = start(cores, OPTIONS);
        let mut runs = server.client();
        let script = "redis.call('SET', 'x', 1) while true do end";
        runs.send_command(&["EVAL", script, "0"]).expect("a script is sent");
        let mut other = server.client();
        wait_until("it is busy", || {
            other.call(&["GET", "x"]).expect("a reply").starts_with(b"-BUSY")
        });
        let kill = other.call(&["SCRIPT", "KILL"]).expect("a reply");
        assert!(kill.starts_with(b"-UNKILLABLE "), "{}", String::from_utf8_lossy(&kill));
        let shutdown = other.call(&["SHUTDOWN"]).expect("a reply");
        assert!(shutdown.starts_with(b"-BUSY "), "{}", String::from_utf8_lossy(&shutdown));
        other.send_command(&["SHUTDOWN", "NOSAVE"]).expect("an order is sent");
        super::must_end(&mut server);
    }
}

#[test]
fn scripts_that_want_too_much_get_an_error() {
    with_servers(OPTIONS, |server| {
        let mut client = server.client();
        for script in [
            "local x = 'x' while true do x = x .. x end",
            "return string.rep('x', 1000000000)",
            "return string.rep(string.rep('x', 100000), 100000)",
            "local t = {} while true do t[#t + 1] = {} end",
            "local t = {} for i = 1, 1e9 do t[i] = 'x' .. i end",
            "return table.concat({string.rep('x', 5000000), string.rep('y', 5000000)})",
            "return string.gsub(string.rep('x', 1000000), '.', 'yyyyyyyyyyyyyyyyyyyy')",
        ] {
            let reply = eval(&mut client, script);
            assert!(reply.contains("script-memory-limit"), "{script}: {reply}");
            assert_eq!(eval(&mut client, "return 'well'"), "$4\r\nwell\r\n");
        }
    });
}

#[test]
fn odd_errors_and_deep_recursion_do_no_harm() {
    with_servers(OPTIONS, |server| {
        let mut client = server.client();
        for script in [
            "local function f() return 1 + f() end return f()",
            "local function f() return pcall(f) end return f()",
            "local t = {} for i = 1, 100000 do t = {t} end return t",
            "local t = {} t[1] = t return t",
            "local t = {} t.map = t return t",
            "error()",
            "error(nil)",
            "error({})",
            "error(redis)",
            "error(_G)",
            "error({err = {}})",
            "error({err = true, line = {}, source = {}})",
            "error(function() end)",
            "error(setmetatable({}, {__index = function() error('again') end}))",
            "error(setmetatable({}, {__newindex = function() error('again') end}))",
            "error(setmetatable({}, {__tostring = function() error('again') end}))",
            "return setmetatable({}, {__index = function() error('again') end})",
            "return {err = string.rep('x', 100000)}",
            "return {ok = 'a\\r\\nb'}",
            "xpcall(function() error('a') end, function() error('b') end) return 1",
            "coroutine.wrap(function() coroutine.yield() end)() return 1",
            "return coroutine.yield()",
            "return redis.call('GET', string.rep('x', 1000000))",
            "return redis.call(unpack({}, 1, 7000))",
            "local t = {} for i = 1, 7000 do t[i] = 'x' end return redis.call('MGET', unpack(t))",
        ] {
            assert!(eval(&mut client, script).ends_with("\r\n"), "{script}");
            assert_eq!(eval(&mut client, "return 'well'"), "$4\r\nwell\r\n", "{script}");
        }
    });
}

#[test]
fn a_flood_of_scripts_leaves_as_many_as_are_kept() {
    with_servers(&[], |server| {
        let mut client = server.client();
        for number in 0..1500 {
            assert_eq!(eval(&mut client, &format!("return {number}")), format!(":{number}\r\n"));
        }
        let known = server.info("memory", "number_of_cached_scripts");
        assert_eq!(known.as_deref(), Some("500"));
        assert_eq!(server.info("stats", "evicted_scripts").as_deref(), Some("1000"));
        let sha = |number: u32| {
            let text = format!("return {number}");
            String::from_utf8(Sha::of(text.as_bytes()).hex().to_vec()).expect("digits")
        };
        assert_eq!(
            client.call(&["EVALSHA", sha(1499).as_str(), "0"]).expect("a reply"),
            b":1499\r\n"
        );
        let gone = client.call(&["EVALSHA", sha(0).as_str(), "0"]).expect("a reply");
        assert!(gone.starts_with(b"-NOSCRIPT "), "{}", String::from_utf8_lossy(&gone));
    });
}

#[test]
fn a_client_that_goes_while_its_script_runs_is_missed_by_nobody() {
    with_servers(OPTIONS, |server| {
        let mut runs = server.client();
        runs.send_command(&["EVAL", "while true do end", "0"]).expect("a script is sent");
        let mut other = server.client();
        wait_until("it is busy", || {
            other.call(&["DBSIZE"]).expect("a reply").starts_with(b"-BUSY")
        });
        drop(runs);
        assert_eq!(other.call(&["SCRIPT", "KILL"]).expect("a reply"), b"+OK\r\n");
        wait_until("it has ended", || other.call(&["DBSIZE"]).expect("a reply") == b":0\r\n");
    });
}
