//! Messages for clients of a core that stands still in a long script: they do not pile up without end,
//! and none is lost but with its client.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use super::support::client::{Client, encode};
use super::support::server::Server;
use super::{connect, expect, resident, wait_until, with_servers};

/// Nobody is cut off for what waits for it, and a script is not interrupted.
const OPTIONS: &[(&str, &str)] =
    &[("client-output-buffer-limit", "pubsub 0 0 0"), ("busy-reply-threshold", "60000")];
/// A core stands still for some seconds; it names a key, so that no other core is needed.
const STAND_STILL: &str = "local sum = 0 for i = 1, 1e8 do sum = sum + i end return 'done'";
/// Enough for some on every core.
const LISTENERS: usize = 5;
const PAYLOAD_BYTES: usize = 32 * 1024;
const MESSAGES: usize = 4_000;
/// Quoting takes its time.
const LINES: usize = 1_500;
/// What may wait for one core, what a turn adds to it, what is on its way through sockets, and what
/// the allocator keeps of all that.
const HELD_BYTES_MAX: u64 = 100 << 20;

/// Begins `flood` while one core stands still; the most bytes that the server held more than before,
/// until that core went on.
fn while_a_core_stands_still(server: &Server, flood: impl FnOnce() + Send) -> u64 {
    let before = resident(server);
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut most = 0;
            while !ended.load(Relaxed) {
                most = most.max(resident(server));
                thread::sleep(super::POLL_PAUSE);
            }
            most
        });
        let mut stands = server.client();
        stands.send_command(&["EVAL", STAND_STILL, "1", "key"]).expect("sent");
        let flood = scope.spawn(flood);
        assert_eq!(stands.read_reply().expect("its end"), b"$4\r\ndone\r\n");
        ended.store(true, Relaxed);
        flood.join().expect("all was sent");
        watch.join().expect("watched").saturating_sub(before)
    })
}

/// Sends a request again and again; every reply must begin so.
fn repeat(client: &mut Client, (request, times): (&[u8], usize), reply: &[u8]) {
    const AT_ONCE: usize = 100;
    for _ in 0..times / AT_ONCE {
        client.send(&request.repeat(AT_ONCE)).expect("taken");
        for _ in 0..AT_ONCE {
            let found = client.read_reply().expect("a reply");
            assert!(found.starts_with(reply), "{}", super::shown(&found));
        }
    }
}

#[test]
fn publishers_wait_for_a_core_that_stands_still() {
    with_servers(OPTIONS, |server| {
        let listeners: Vec<TcpStream> = (0..LISTENERS).map(|_| connect(server)).collect();
        let subscribed: Vec<AtomicBool> = listeners.iter().map(|_| false.into()).collect();
        thread::scope(|scope| {
            for (stream, subscribed) in listeners.iter().zip(&subscribed) {
                scope.spawn(move || read_messages(stream, subscribed));
            }
            wait_until("all listen", || subscribed.iter().all(|one| one.load(Relaxed)));
            let mut publisher = server.client();
            let payload = "x".repeat(PAYLOAD_BYTES);
            let held = while_a_core_stands_still(server, || {
                let request = encode(&["PUBLISH", "c", &payload]);
                repeat(
                    &mut publisher,
                    (&request, MESSAGES),
                    format!(":{LISTENERS}\r\n").as_bytes(),
                );
                publisher.call(&["PUBLISH", "c", "end"]).expect("the last one");
            });
            assert!(held < HELD_BYTES_MAX, "{held} bytes");
        });
    });
}

/// Subscribes and reads until the last message; all must come.
fn read_messages(mut stream: &TcpStream, subscribed: &AtomicBool) {
    let mut writer = stream.try_clone().expect("a handle");
    writer.write_all(&encode(&["SUBSCRIBE", "c"])).expect("sent");
    expect(&mut writer, b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n");
    subscribed.store(true, Relaxed);
    let head = b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$32768\r\n";
    let mut message = vec![0; head.len() + PAYLOAD_BYTES + 2];
    for _ in 0..MESSAGES {
        stream.read_exact(&mut message).expect("a message");
        assert!(message.starts_with(head), "{}", super::shown(&message));
    }
    expect(&mut writer, b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$3\r\nend\r\n");
}

/// More lines than may wait for one core.
#[test]
fn whoever_watches_gets_every_line_or_is_cut_off() {
    with_servers(OPTIONS, |server| {
        let mut monitors: Vec<TcpStream> = (0..LISTENERS).map(|_| connect(server)).collect();
        for stream in &mut monitors {
            stream.write_all(b"MONITOR\r\n").expect("sent");
            expect(stream, b"+OK\r\n");
        }
        thread::scope(|scope| {
            let lines: Vec<_> =
                monitors.iter().map(|stream| scope.spawn(|| count_lines(stream))).collect();
            let mut writer = server.client();
            let payload = "x".repeat(PAYLOAD_BYTES);
            while_a_core_stands_still(server, || {
                let request = encode(&["ECHO", &payload]);
                repeat(&mut writer, (&request, LINES), b"$32768\r\n");
            });
            wait_until("the last line", || {
                writer.call(&["ECHO", "end"]).expect("a reply");
                lines.iter().all(thread::ScopedJoinHandle::is_finished)
            });
            for lines in lines {
                let (count, was_cut_off) = lines.join().expect("counted");
                assert!(was_cut_off || count >= LINES, "{count} of {LINES}");
            }
        });
    });
}

/// Lines of ECHO until the last one; true if the server closed before.
fn count_lines(stream: &TcpStream) -> (usize, bool) {
    let (mut reader, mut line, mut lines) = (BufReader::new(stream), Vec::new(), 0);
    loop {
        line.clear();
        match reader.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return (lines, true),
            Ok(_) => {}
        }
        // What stands before the payload.
        let head = &line[..line.len().min(80)];
        if head.ends_with(b"\"ECHO\" \"end\"\r\n") {
            return (lines, false);
        }
        lines += usize::from(head.windows(6).any(|part| part == b"\"ECHO\""));
    }
}

#[test]
fn a_script_may_not_push_without_end() {
    let options = [OPTIONS, &[("notify-keyspace-events", "KA")]].concat();
    with_servers(&options, |server| {
        let mut listener = server.client();
        listener.call(&["PSUBSCRIBE", "*"]).expect("subscribed");
        let reader = thread::spawn(move || while listener.read_reply().is_ok() {});
        let mut client = server.client();
        for command in ["'PUBLISH', 'c', payload", "'SET', payload .. i, ''"] {
            let script = format!(
                "local payload = string.rep('x', 100000)
                 for i = 1, 1000 do redis.call({command}) end"
            );
            let reply = client.call(&["EVAL", &script, "0"]).expect("a reply");
            let text = String::from_utf8_lossy(&reply);
            assert!(text.starts_with("-ERR too many messages of one script"), "{text}");
            // The next one has room again.
            assert_eq!(client.call(&["SET", "key", "value"]).expect("a reply"), b"+OK\r\n");
        }
        client.call(&["CLIENT", "KILL", "TYPE", "pubsub"]).expect("a reply");
        reader.join().expect("closed");
    });
}
