//! HOTKEYS: the keys on which commands spend most are told, whatever core they live on.

use super::support::client::Client;
use super::{CORES, call, start};

/// The lines of a reply, without the lengths of its words.
fn words(client: &mut Client, line: &str) -> Vec<String> {
    let reply = call(client, line);
    let is_word = |line: &&str| !line.starts_with('$') || *line == "$-1";
    reply.lines().filter(is_word).map(str::to_owned).collect()
}

/// The keys of a list in a reply, with their numbers.
fn listed(reply: &[String], name: &str) -> Vec<(String, u64)> {
    let at = reply.iter().position(|word| word == name).expect("a list of that name");
    let len: usize = reply[at + 1][1..].parse().expect("a length");
    let pairs = reply[at + 2..at + 2 + len].chunks(2);
    pairs.map(|pair| (pair[0].clone(), pair[1][1..].parse().expect("a number"))).collect()
}

fn number(reply: &[String], name: &str) -> u64 {
    let at = reply.iter().position(|word| word == name).expect("a field of that name");
    reply[at + 1][1..].parse().expect("a number")
}

#[test]
fn hot_keys_are_told_by_time_and_bytes() {
    for cores in CORES {
        let server = start(cores, &[]);
        let (mut operator, mut client) = (server.client(), server.client());
        assert_eq!(call(&mut operator, "HOTKEYS GET"), "$-1");
        assert_eq!(call(&mut operator, "HOTKEYS STOP"), "$-1");
        let begin = "HOTKEYS START METRICS 2 CPU NET COUNT 3";
        assert_eq!(call(&mut operator, begin), "+OK");
        let busy = "-ERR hotkey tracking session already in progress";
        assert_eq!(call(&mut operator, begin), busy);
        let stop_first = "-ERR hotkey tracking session in progress, stop tracking first";
        assert_eq!(call(&mut operator, "HOTKEYS RESET"), stop_first);
        for round in 0..200 {
            call(&mut client, &format!("SET rare{round} 1"));
            call(&mut client, &format!("MSET hot{} {} warm 1", round % 2, "v".repeat(100)));
        }
        call(&mut client, "MULTI");
        call(&mut client, "SET inside 1");
        call(&mut client, "EXEC");
        let script = "return redis.call('SET',KEYS[1],string.rep('x',9999))";
        assert_eq!(client_eval(&mut client, script, "scripted"), "+OK");
        let reply = words(&mut operator, "HOTKEYS GET");
        assert_eq!((number(&reply, "tracking-active"), number(&reply, "sample-ratio")), (1, 1));
        let by_bytes = listed(&reply, "by-net-bytes");
        assert_eq!(by_bytes.len(), 3);
        assert_eq!(by_bytes[0].0, "warm");
        assert!(by_bytes[1..].iter().all(|(key, _)| key.starts_with("hot")), "{by_bytes:?}");
        assert!(by_bytes[0].1 > 200 * 50, "{by_bytes:?}");
        assert_eq!(listed(&reply, "by-cpu-time-us").len(), 3);
        assert!(number(&reply, "all-commands-all-slots-us") > 0);
        let all = number(&reply, "net-bytes-all-commands-all-slots");
        assert!(number(&reply, "total-net-bytes").abs_diff(all) < 1000, "{reply:?}");
        assert_eq!(call(&mut operator, "HOTKEYS STOP"), "+OK");
        call(&mut client, "SET behind 1");
        let stopped = words(&mut operator, "HOTKEYS GET");
        assert_eq!(number(&stopped, "tracking-active"), 0);
        assert_eq!(number(&stopped, "net-bytes-all-commands-all-slots"), all);
        assert_eq!(call(&mut operator, "HOTKEYS RESET"), "+OK");
        assert_eq!(call(&mut operator, "HOTKEYS GET"), "$-1");
    }
}

fn client_eval(client: &mut Client, script: &str, key: &str) -> String {
    let reply = client.call(&["EVAL", script, "1", key]).expect("a reply");
    String::from_utf8_lossy(&reply).trim_end().to_owned()
}

#[test]
fn what_is_wrong_with_a_session_is_told() {
    let server = start(1, &[]);
    let mut client = server.client();
    for (line, error) in [
        ("", "METRICS parameter is required"),
        ("CPU 1 2", "METRICS parameter is required"),
        ("METRICS 0", "METRICS count must be > 0 and <= 2"),
        ("METRICS 3 CPU NET", "METRICS count must be > 0 and <= 2"),
        ("METRICS 2 CPU", "METRICS count does not match number of metric types provided"),
        ("METRICS 1 GPU", "METRICS no valid metrics passed. Supported: CPU|NET"),
        ("METRICS 2 CPU CPU", "METRICS CPU defined more than once!"),
        ("METRICS 2 NET net", "METRICS NET defined more than once!"),
        ("METRICS 1 CPU NET", "syntax error"),
        ("METRICS 1 CPU COUNT", "syntax error"),
        ("METRICS 1 CPU COUNT 65", "COUNT must be between 1 and 64"),
        ("METRICS 1 CPU DURATION 0", "DURATION must be between 1 and 1000000"),
        ("METRICS 1 CPU SAMPLE x", "SAMPLE ratio must be positive"),
        ("METRICS 1 CPU SLOTS 1 0", "SLOTS parameter cannot be used in non-cluster mode"),
    ] {
        let reply = call(&mut client, format!("HOTKEYS START {line}").trim_end());
        assert_eq!(reply, format!("-ERR {error}"), "{line}");
    }
    assert_eq!(call(&mut client, "HOTKEYS START METRICS 2 GPU NET DURATION 1 SAMPLE 5"), "+OK");
    super::wait_until("its time is over", || {
        number(&words(&mut client, "HOTKEYS GET"), "tracking-active") == 0
    });
    let reply = words(&mut client, "HOTKEYS GET");
    assert_eq!(number(&reply, "collection-duration-ms"), 1000);
    assert!(!reply.iter().any(|word| word.contains("cpu")));
}
