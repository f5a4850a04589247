//! `maxmemory-clients`: the clients that hold most go first, on whichever core they live; who is
//! spared is spared, and keys are never evicted for what clients hold.

use std::io::Write;
use std::net::TcpStream;

use super::support::client::Client;
use super::support::server::Server;
use super::{connect, number, wait_until, with_servers};

/// Bytes of an argument that never ends.
const HELD: usize = 1 << 20;

/// A client of this name that makes the server hold `HELD` bytes, or is evicted before.
fn holder(server: &Server, name: &str, commands: &str) -> TcpStream {
    let mut stream = connect(server);
    let head = format!("CLIENT SETNAME {name}\r\n{commands}*2\r\n$4\r\nECHO\r\n${}\r\n", 2 * HELD);
    stream.write_all(head.as_bytes()).expect("sent");
    // Who is evicted meanwhile can send no more.
    let _ = stream.write_all(&vec![b'x'; HELD]);
    stream
}

fn names(client: &mut Client) -> Vec<String> {
    let list = client.call(&["CLIENT", "LIST"]).expect("a reply");
    let list = String::from_utf8_lossy(&list).into_owned();
    let named = list.split_ascii_whitespace().filter_map(|word| word.strip_prefix("name="));
    named.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn set_limit(client: &mut Client, limit: &str) {
    let reply = client.call(&["CONFIG", "SET", "maxmemory-clients", limit]).expect("a reply");
    assert_eq!(reply, b"+OK\r\n");
}

#[test]
fn the_largest_clients_go_until_the_rest_fits() {
    with_servers(&[], |server| {
        let mut client = server.client();
        let mut held: Vec<TcpStream> =
            (0..6).map(|number| holder(server, &format!("large{number}"), "")).collect();
        held.extend((0..6).map(|number| {
            let mut small = connect(server);
            write!(small, "CLIENT SETNAME small{number}\r\n").expect("sent");
            small
        }));
        wait_until("all that is held", || number(server, "memory", "mem_clients_normal") > 6 << 20);
        wait_until("all names", || names(&mut client).len() == 12);
        // Room for three of them and all the small ones.
        set_limit(&mut client, "3500000");
        wait_until("the limit held", || number(server, "memory", "mem_clients_normal") < 3_500_000);
        let left = names(&mut client);
        let count = |prefix: &str| left.iter().filter(|name| name.starts_with(prefix)).count();
        assert_eq!((count("large"), count("small")), (3, 6), "{left:?}");
        assert_eq!(number(server, "stats", "evicted_clients"), 3);
        server.must_log("Evicting client: id=");
    });
}

/// A number of INFO, asked by a client that is not evicted.
fn number_for(client: &mut Client, field: &str) -> u64 {
    let info = client.call(&["INFO", "memory", "stats"]).expect("a reply");
    let info = String::from_utf8_lossy(&info).into_owned();
    let value = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value.and_then(|value| value.trim().parse().ok()).expect("a number of INFO")
}

#[test]
fn who_is_not_to_be_evicted_stays() {
    with_servers(&[("maxmemory-clients", "200kb")], |server| {
        let mut client = server.client();
        assert_eq!(client.call(&["CLIENT", "NO-EVICT", "on"]).expect("a reply"), b"+OK\r\n");
        let _spared = holder(server, "spared", "CLIENT NO-EVICT on\r\n");
        wait_until("what it holds", || number_for(&mut client, "mem_clients_normal") > 1 << 20);
        assert_eq!(names(&mut client), ["spared"]);
        // Clients are above their limit: whoever else comes goes.
        let _other = holder(server, "other", "");
        wait_until("the other one gone", || number_for(&mut client, "evicted_clients") > 0);
        assert_eq!(names(&mut client), ["spared"]);
    });
}

#[test]
fn a_share_of_maxmemory_is_a_limit_too_and_costs_no_key() {
    let options = [("maxmemory", "40mb"), ("maxmemory-policy", "allkeys-lru")];
    with_servers(&[&options[..], &[("maxmemory-clients", "2%")]].concat(), |server| {
        let mut client = server.client();
        for key in 0..100 {
            client.call(&["SET", &key.to_string(), "x"]).expect("stored");
        }
        let _large = holder(server, "large", "");
        wait_until("the large one gone", || number(server, "stats", "evicted_clients") == 1);
        assert_eq!(number(server, "stats", "evicted_keys"), 0);
        assert_eq!(client.call(&["DBSIZE"]).expect("a reply"), b":100\r\n");
    });
}
