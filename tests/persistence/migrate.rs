//! MIGRATE between us and stock servers, in both directions.

use std::net::TcpListener;

use super::*;

/// Keys of every type, small and large.
const KEYS: [&str; 14] = [
    "string0",
    "int",
    "expires",
    "raw",
    "list3",
    "list700",
    "set3",
    "set700",
    "intset3",
    "intset700",
    "hash3",
    "hash700",
    "zset3",
    "zset700",
];

/// DEBUG DIGEST-VALUE of all keys, and what is left of the life of one.
fn digests(client: &mut Client) -> String {
    call(client, &format!("DEBUG DIGEST-VALUE {}", KEYS.join(" ")))
}

fn migrate(from: &Server, to: u16, rest: &str) -> String {
    call(&mut from.client(), &format!("MIGRATE 127.0.0.1 {to} {rest}"))
}

/// A request with an empty key, which no line can hold.
fn migrate_keys(from: &Server, to: u16, middle: &[&str], keys: &[&str]) -> String {
    let port = to.to_string();
    let words: Vec<&str> = ["MIGRATE", "127.0.0.1", &port, ""]
        .iter()
        .chain(middle)
        .chain(&["KEYS"])
        .chain(keys)
        .copied()
        .collect();
    let reply = from.client().call(&words).expect("a reply");
    String::from_utf8_lossy(&reply).trim_end().to_owned()
}

/// Everything that can be asked of one server about another one.
fn check(from: &Server, to: &Server) {
    let (mut here, mut there) = (from.client(), to.client());
    fill(&mut here, false);
    let port = to.port();
    let expected = digests(&mut here);
    assert_eq!(migrate(from, port, "nothing 0 1000"), "+NOKEY");
    let copied = migrate_keys(from, port, &["0", "5000", "COPY"], &KEYS);
    assert_eq!(copied, "+OK");
    assert_eq!(digests(&mut here), expected, "a copy stays");
    assert_eq!(digests(&mut there), expected, "a copy arrives");
    let left = call(&mut there, "PTTL expires");
    let left: u64 = left[1..].parse().expect("a number");
    assert!((90_000_000..=100_000_000).contains(&left), "{left}");

    let busy = "-ERR Target instance replied with error: BUSYKEY Target key name already exists.";
    assert_eq!(migrate(from, port, "int 0 1000"), busy);
    // Of those that arrive, and those that do not, only the former go.
    call(&mut here, "SET new 1");
    assert_eq!(migrate_keys(from, port, &["0", "1000"], &["int", "new", "gone"]), busy);
    assert_eq!(call(&mut here, "EXISTS int new"), ":1");
    assert_eq!(call(&mut there, "GET new"), "$1\r\n1");

    assert_eq!(migrate_keys(from, port, &["0", "5000", "REPLACE"], &KEYS), "+OK");
    assert_eq!(call(&mut here, &format!("EXISTS {}", KEYS.join(" "))), ":0");
    assert_eq!(digests(&mut there), expected);
    call(&mut here, "SET other 1");
    assert_eq!(migrate(from, port, "other 3 1000"), "+OK");
    call(&mut there, "SELECT 3");
    assert_eq!(call(&mut there, "GET other"), "$1\r\n1");

    call(&mut here, "SET stays 1");
    let refused = migrate(from, port, "stays 0 1000 AUTH2 nobody wrong");
    assert!(refused.starts_with("-ERR Target instance replied with error: WRONGPASS"), "{refused}");
    let range = migrate(from, port, "stays 999 1000");
    assert_eq!(range, "-ERR Target instance replied with error: ERR DB index is out of range");
    assert_eq!(call(&mut here, "EXISTS stays"), ":1");
    call(&mut there, "CONFIG SET requirepass secret");
    let refused = migrate(from, port, "stays 0 1000");
    assert!(refused.contains("NOAUTH Authentication required."), "{refused}");
    assert_eq!(migrate(from, port, "stays 0 1000 AUTH secret"), "+OK");
    call(&mut there, "CONFIG SET requirepass ");
}

#[test]
fn keys_move_to_stock_servers_and_back() {
    for stock in oracles() {
        for cores in CORES {
            let (one, other) = (tempfile::tempdir(), tempfile::tempdir());
            let (one, other) = (one.expect("a directory"), other.expect("a directory"));
            let ours = start(&Program::Ours { cores }, one.path(), &[]);
            let theirs = start(&Program::Stock(stock.clone()), other.path(), &[]);
            check(&ours, &theirs);
            call(&mut ours.client(), "FLUSHALL");
            call(&mut theirs.client(), "FLUSHALL");
            check(&theirs, &ours);
        }
    }
}

#[test]
fn a_target_that_does_not_answer_keeps_the_keys_here() {
    for cores in CORES {
        let dir = tempfile::tempdir().expect("a directory");
        let server = start(&Program::Ours { cores }, dir.path(), &[]);
        let mut client = server.client();
        call(&mut client, "MSET a 1 b 2 c 3");
        // It takes connections and says nothing.
        let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = silent.local_addr().expect("an address").port();
        let mut waiting = server.client();
        let words = ["MIGRATE", "127.0.0.1", &port.to_string(), "a", "0", "300"];
        waiting.send_command(&words).expect("it is sent");
        // Whoever names the key meanwhile meets it as it was before, or after.
        assert_eq!(call(&mut client, "GET a"), "$1\r\n1");
        let reply = waiting.read_reply().expect("a reply");
        assert_eq!(reply, b"-IOERR error or timeout reading to target instance\r\n");
        drop(silent);
        let closed = migrate(&server, port, "b 0 300");
        assert_eq!(closed, "-IOERR error or timeout connecting to the client");
        let wrong = migrate(&server, 1, "b 0 300 KEYS c");
        assert!(wrong.starts_with("-ERR When using MIGRATE KEYS option"), "{wrong}");
        assert_eq!(migrate(&server, 1, "b 0 300 FAST"), "-ERR syntax error");
        let number = "-ERR value is not an integer or out of range";
        assert_eq!(migrate(&server, 1, "b x 300"), number);
        assert_eq!(call(&mut client, "DBSIZE"), ":3");
    }
}
