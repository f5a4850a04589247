//! The kill-filter parser and what it matches.

use std::sync::LazyLock;

use super::*;
use crate::acl::Catalogue;
use crate::command::args::ArgRange;

/// Runs `look` on the words of `line`, which are separated by spaces.
fn with_args<T>(line: &str, look: impl FnOnce(Args<'_>) -> T) -> T {
    let mut ranges = Vec::new();
    let mut start = 0;
    for word in line.split(' ') {
        ranges.push(ArgRange { start, len: word.len() as u32 });
        start += word.len() as u32 + 1;
    }
    look(Args::new(line.as_bytes(), &ranges, &[]))
}

fn parse(line: &str) -> Result<Filter, Refusal> {
    // Users without a command that they could be allowed.
    static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| Catalogue::new(vec![], vec![]));
    let users = Users::new(&CATALOGUE);
    with_args(line, |args| Filter::parse(args, Known { databases: 16, users: &users }, true))
}

fn parsed(line: &str) -> Filter {
    parse(line).expect("a filter")
}

fn refused(line: &str) -> String {
    match parse(line).expect_err("no filter") {
        Refusal::Fixed(error) => error.text().to_owned(),
        Refusal::Text(text) => String::from_utf8(text).expect("ASCII"),
    }
}

fn client(id: u64) -> Session {
    let mut session = Session::new(id, Millis(10_000), true);
    session.addr = format!("127.0.0.1:500{id}");
    session.laddr = "127.0.0.1:6379".to_owned();
    session
}

fn matches(line: &str, session: &Session) -> bool {
    parsed(line).matches(session, &ConnectionFacts::default(), (1, Millis(20_000)))
}

#[test]
fn every_option_is_read() {
    let filter = parsed(
        "CLIENT KILL id 3 4 type replica addr a:1 laddr b:2 user default skipme no maxage 7 idle 5 \
         name n flags Ub lib-name l lib-ver v db 2 capa r ip ::1 not-id 9 not-type normal not-db 3 \
         NOT-FLAGS e",
    );
    assert_eq!((filter.skip_me, filter.age_min, filter.idle_min), (false, 7, 5));
    assert_eq!(
        filter.wanted,
        [
            Condition::Ids(vec![3, 4]),
            Condition::Type(ClientType::Replica),
            Condition::Addr(b"a:1".to_vec()),
            Condition::LocalAddr(b"b:2".to_vec()),
            Condition::User(b"default".to_vec()),
            Condition::Name(b"n".to_vec()),
            Condition::Flags(b"Ub".to_vec()),
            Condition::LibName(b"l".to_vec()),
            Condition::LibVer(b"v".to_vec()),
            Condition::Db(2),
            Condition::Capa(b"r".to_vec()),
            Condition::Ip(b"::1".to_vec()),
        ]
    );
    assert_eq!(
        filter.unwanted,
        [
            Condition::Ids(vec![9]),
            Condition::Type(ClientType::Normal),
            Condition::Db(3),
            Condition::Flags(b"e".to_vec()),
        ]
    );
}

#[test]
fn the_last_option_of_a_kind_counts() {
    assert_eq!(
        parsed("CLIENT KILL ID 1 ADDR a:1 ID 2 3").wanted,
        [Condition::Addr(b"a:1".to_vec()), Condition::Ids(vec![2, 3])]
    );
}

#[test]
fn errors_are_those_of_stock() {
    for (line, text) in [
        ("CLIENT KILL ID", "ERR syntax error"),
        ("CLIENT KILL NOT-ID", "ERR syntax error"),
        ("CLIENT KILL ID 1 foo", "ERR syntax error"),
        ("CLIENT KILL foo bar", "ERR syntax error"),
        ("CLIENT KILL NOT-SKIPME yes", "ERR syntax error"),
        ("CLIENT KILL SKIPME maybe", "ERR syntax error"),
        ("CLIENT KILL ID x", "ERR client-id should be greater than 0"),
        ("CLIENT KILL ID 4 0", "ERR client-id should be greater than 0"),
        ("CLIENT KILL MAXAGE x", "ERR maxage is not an integer or out of range"),
        ("CLIENT KILL MAXAGE -1", "ERR maxage should be greater than 0"),
        ("CLIENT KILL IDLE x", "ERR idle is not an integer or out of range"),
        ("CLIENT KILL IDLE 0", "ERR idle should be greater than 0"),
        ("CLIENT KILL TYPE x", "ERR Unknown client type 'x'"),
        ("CLIENT KILL USER Default", "ERR No such user 'Default'"),
        ("CLIENT KILL FLAGS Nz", "ERR Unknown flags found in the provided filter: Nz"),
        ("CLIENT KILL NOT-FLAGS z", "ERR Unknown flags found in the NOT-FLAGS filter: z"),
        ("CLIENT KILL CAPA x", "ERR Unknown capa found in the provided filter: x"),
        ("CLIENT KILL NOT-CAPA x", "ERR Unknown capa found in the NOT-CAPA filter: x"),
        ("CLIENT KILL DB x", "ERR DB is not an integer or out of range"),
        ("CLIENT KILL DB 16", "ERR DB number should be between 0 and 15"),
        ("CLIENT KILL NOT-DB -1", "ERR NOT-DB number should be between 0 and 15"),
    ] {
        assert_eq!(refused(line), text, "{line}");
    }
}

#[test]
fn conditions_choose_clients() {
    let mut other = client(2);
    other.name = b"n".to_vec();
    other.no_evict = true;
    for (line, expected) in [
        ("CLIENT KILL ID 1 2 3", true),
        ("CLIENT KILL ID 1 3", false),
        ("CLIENT KILL NOT-ID 2", false),
        ("CLIENT KILL TYPE normal", true),
        ("CLIENT KILL NOT-TYPE pubsub USER default", true),
        ("CLIENT KILL NOT-USER default", false),
        ("CLIENT KILL ADDR 127.0.0.1:5002", true),
        ("CLIENT KILL IP 127.0.0.1", true),
        ("CLIENT KILL IP 127.0.0", false),
        ("CLIENT KILL NAME n", true),
        ("CLIENT KILL NOT-NAME n", false),
        ("CLIENT KILL NOT-NAME m LIB-NAME m", false),
        ("CLIENT KILL FLAGS e", true),
        ("CLIENT KILL FLAGS N", false),
        ("CLIENT KILL FLAGS eU", false),
        ("CLIENT KILL CAPA r", false),
        ("CLIENT KILL DB 0 NOT-DB 1", true),
        ("CLIENT KILL MAXAGE 10 IDLE 10", true),
        ("CLIENT KILL MAXAGE 11", false),
    ] {
        assert_eq!(matches(line, &other), expected, "{line}");
    }
}

#[test]
fn whoever_asks_is_spared_unless_it_says_so() {
    assert!(!matches("CLIENT KILL TYPE normal", &client(1)));
    assert!(matches("CLIENT KILL TYPE normal SKIPME no", &client(1)));
    let old_form = Filter::of_address(b"127.0.0.1:5001");
    assert!(old_form.matches(&client(1), &ConnectionFacts::default(), (1, Millis(20_000))));
}

#[test]
fn addresses_have_ips_but_unix_sockets() {
    assert_eq!(ip_of("127.0.0.1:80"), Some(&b"127.0.0.1"[..]));
    assert_eq!(ip_of("[::1]:80"), Some(&b"::1"[..]));
    assert_eq!(ip_of("/tmp/socket:0"), None);
}
