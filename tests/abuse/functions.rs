//! Functions that do not end, that want all memory, that recurse; libraries that are loaded over and
//! over; what every core knows of them.

use super::support::client::Client;
use super::support::server::Server;
use super::{wait_for, with_servers};

const HOSTILE: &str = "#!lua name=hostile
redis.register_function('spin', function() while true do end end)
redis.register_function('stubborn', function()
  while true do pcall(function() while true do end end) end
end)
redis.register_function('match', function()
  return string.find(('a'):rep(40), ('a?'):rep(40) .. ('a'):rep(40) .. 'b')
end)
redis.register_function('written', function(keys)
  redis.call('SET', keys[1], 1)
  while true do end
end)
redis.register_function('memory', function()
  local t = {}
  while true do t[#t + 1] = ('x'):rep(100000) .. #t end
end)
redis.register_function('deep', function()
  local function down(n) return 1 + down(n + 1) end
  return down(1)
end)
redis.register_function('odd', function() error(setmetatable({}, {__tostring = error})) end)
";

fn call(client: &mut Client, words: &[&str]) -> String {
    let reply = client.call(words).expect("a reply");
    String::from_utf8_lossy(&reply).into_owned()
}

fn load(server: &Server, text: &str) -> String {
    call(&mut server.client(), &["FUNCTION", "LOAD", "REPLACE", text])
}

#[test]
fn a_function_that_does_not_end_is_killed() {
    const BUSY: &str = "-BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.\r\n";
    with_servers(&[("busy-reply-threshold", "50")], |server| {
        assert_eq!(load(server, HOSTILE), "$7\r\nhostile\r\n");
        for name in ["spin", "stubborn", "match"] {
            let (mut runner, mut other) = (server.client(), server.client());
            runner.send_command(&["FCALL", name, "1", "k"]).expect("sent");
            wait_for("BUSY", || (call(&mut other, &["GET", "k"]) == BUSY).then_some(()));
            assert_eq!(call(&mut other, &["SCRIPT", "KILL"]), BUSY);
            let stats = call(&mut other, &["FUNCTION", "STATS"]);
            let shown = format!("${}\r\n{name}\r\n", name.len());
            assert!(stats.contains(&shown), "{stats}");
            assert_eq!(call(&mut other, &["FUNCTION", "KILL"]), "+OK\r\n");
            let reply = runner.read_reply().expect("a reply");
            let expected = "-ERR Script killed by user with SCRIPT KILL... script: ";
            assert!(reply.starts_with(expected.as_bytes()), "{}", reply.escape_ascii());
            wait_for("the end", || (call(&mut other, &["GET", "k"]) == "$-1\r\n").then_some(()));
        }
    });
}

#[test]
fn a_function_that_has_written_is_not_killed() {
    with_servers(&[("busy-reply-threshold", "50")], |server| {
        load(server, HOSTILE);
        let (mut runner, mut other) = (server.client(), server.client());
        runner.send_command(&["FCALL", "written", "1", "k"]).expect("sent");
        let killed = wait_for("UNKILLABLE", || {
            let reply = call(&mut other, &["FUNCTION", "KILL"]);
            (!reply.starts_with("-NOTBUSY")).then_some(reply)
        });
        assert!(killed.starts_with("-UNKILLABLE "), "{killed}");
        other.send_command(&["SHUTDOWN", "NOSAVE"]).expect("sent");
        // `with_servers` sees that it ends, and how.
    });
}

#[test]
fn what_a_function_uses_up_is_an_error_of_its_own() {
    with_servers(&[("script-memory-limit", "16mb")], |server| {
        load(server, HOSTILE);
        let mut client = server.client();
        for (name, expected) in [
            ("memory", "-ERR Error running script memory, it needs more memory than "),
            ("deep", "-ERR user_function:"),
            ("odd", "-"),
        ] {
            let reply = call(&mut client, &["FCALL", name, "0"]);
            assert!(reply.starts_with(expected), "{name}: {reply}");
            assert_eq!(call(&mut client, &["PING"]), "+PONG\r\n");
        }
    });
}

#[test]
fn libraries_come_and_go_on_every_core() {
    with_servers(&[], |server| {
        let mut clients: Vec<Client> = (0..8).map(|_| server.client()).collect();
        for round in 0..50 {
            let filler = "x".repeat(50_000);
            let text = format!(
                "#!lua name=many\nlocal text = '{filler}'\n\
                 redis.register_function('length', function() return #text + {round} end)"
            );
            assert_eq!(load(server, &text), "$4\r\nmany\r\n");
            // Whoever asks after the reply, on whatever core, finds the new one.
            for client in &mut clients {
                let reply = call(client, &["FCALL", "length", "0"]);
                assert_eq!(reply, format!(":{}\r\n", 50_000 + round));
            }
        }
        let bytes = server.info("memory", "used_memory_vm_functions").expect("a field");
        let bytes: usize = bytes.parse().expect("a number");
        assert!(bytes < 8 << 20, "{bytes} bytes are held");
        let endless = load(server, "#!lua name=endless\nwhile true do end");
        assert_eq!(endless, "-ERR Error registering functions: ERR FUNCTION LOAD timeout\r\n");
        assert_eq!(call(&mut clients[0], &["FUNCTION", "DELETE", "many"]), "+OK\r\n");
        for client in &mut clients {
            assert_eq!(call(client, &["FCALL", "length", "0"]), "-ERR Function not found\r\n");
        }
    });
}
