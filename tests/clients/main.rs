//! The running server as the `redis` crate sees it: what an application does all day.
//!
//! Invariant: nothing here knows of our internals; these tests pass against a stock server as well.
//! The clients of other languages are driven by `ci/clients.sh`.

#[path = "../support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};

use redis::{Client, Commands, Connection, ErrorKind, ServerErrorKind, TypedCommands};
use support::server::{Program, Server};

/// A server with several cores, and a connection in the protocol that the URL's query names.
fn connect(query: &str) -> (Server, Connection) {
    let server = Server::start(&Program::Ours { cores: 4 }, &[]);
    let url = format!("redis://127.0.0.1:{}/{query}", server.port());
    let connection = Client::open(url).and_then(|client| client.get_connection());
    (server, connection.expect("a connection"))
}

#[test]
fn strings_and_counters() {
    let (_server, mut connection) = connect("");
    let c = &mut connection;
    TypedCommands::set(c, "k", "v").expect("SET");
    assert_eq!(TypedCommands::get(c, "k").expect("GET"), Some("v".to_owned()));
    assert_eq!(TypedCommands::get(c, "missing").expect("GET"), None);
    assert_eq!(TypedCommands::append(c, "k", "w").expect("APPEND"), 2);
    let range: String = Commands::getrange(c, "k", 0, -1).expect("GETRANGE");
    assert_eq!(range, "vw");
    let count: i64 = Commands::incr(c, "n", 41).expect("INCRBY");
    assert_eq!(count, 41);
    let half: f64 = Commands::incr(c, "f", 0.5).expect("INCRBYFLOAT");
    assert!((half - 0.5).abs() < f64::EPSILON);
    let binary: Vec<u8> = (0..=255).collect();
    let _: () = Commands::set(c, &binary, &binary).expect("SET");
    let back: Vec<u8> = Commands::get(c, &binary).expect("GET");
    assert_eq!(back, binary);
    let _: () = Commands::mset(c, &[("a", 1), ("b", 2), ("c", 3)]).expect("MSET");
    let many: Vec<Option<i64>> = Commands::mget(c, &["a", "none", "c"]).expect("MGET");
    assert_eq!(many, [Some(1), None, Some(3)]);
}

#[test]
fn expiry() {
    let (_server, mut connection) = connect("");
    let c = &mut connection;
    let _: () = Commands::set_ex(c, "k", "v", 100).expect("SETEX");
    let left: i64 = Commands::ttl(c, "k").expect("TTL");
    assert!((99..=100).contains(&left), "{left}");
    let removed: bool = Commands::persist(c, "k").expect("PERSIST");
    assert!(removed);
    let left: i64 = Commands::ttl(c, "k").expect("TTL");
    assert_eq!(left, -1);
    let set: bool = Commands::pexpire_at(c, "k", 1).expect("PEXPIREAT");
    assert!(set);
    let there: bool = Commands::exists(c, "k").expect("EXISTS");
    assert!(!there);
}

#[test]
fn errors_keep_their_code_and_text() {
    let (_server, mut connection) = connect("");
    let _: () = Commands::set(&mut connection, "k", "text").expect("SET");
    let error = Commands::incr::<_, _, i64>(&mut connection, "k", 1).expect_err("not a number");
    assert_eq!(error.kind(), ErrorKind::Server(ServerErrorKind::ResponseError));
    assert_eq!(error.detail(), Some("value is not an integer or out of range"));
    let error = redis::cmd("NOPE").exec(&mut connection).expect_err("no such command");
    assert!(error.to_string().contains("unknown command"), "{error}");
    assert!(redis::cmd("PING").exec(&mut connection).is_ok());
}

#[test]
fn a_pipeline_answers_in_order_across_cores() {
    let (_server, mut connection) = connect("");
    let mut pipeline = redis::pipe();
    for n in 0..500 {
        pipeline.set(format!("key:{n}"), n).ignore();
        pipeline.get(format!("key:{n}"));
    }
    let values: Vec<i64> = pipeline.query(&mut connection).expect("a pipeline");
    assert_eq!(values, (0..500).collect::<Vec<i64>>());
}

#[test]
fn scan_finds_every_key_once_the_duplicates_are_gone() {
    let (_server, mut connection) = connect("");
    let wanted: BTreeSet<String> = (0..1000).map(|n| format!("key:{n}")).collect();
    let mut pipeline = redis::pipe();
    for key in &wanted {
        pipeline.set(key, 1).ignore();
    }
    let _: () = pipeline.query(&mut connection).expect("a pipeline");
    let all = Commands::scan::<String>(&mut connection).expect("SCAN");
    let found: BTreeSet<String> = all.map(|key| key.expect("a key")).collect();
    assert_eq!(found, wanted);
    let some = Commands::scan_match::<_, String>(&mut connection, "key:99*").expect("SCAN MATCH");
    assert_eq!(some.count(), 11);
}

#[test]
fn resp3_gives_maps_and_nulls() {
    let (_server, mut connection) = connect("?protocol=resp3");
    let c = &mut connection;
    let missing: redis::Value = Commands::get(c, "missing").expect("GET");
    assert_eq!(missing, redis::Value::Nil);
    let config: BTreeMap<String, String> =
        redis::cmd("CONFIG").arg("GET").arg("maxmemory").query(c).expect("CONFIG GET");
    assert_eq!(config["maxmemory"], "0");
    let raw: redis::Value =
        redis::cmd("CONFIG").arg("GET").arg("maxmemory").query(c).expect("CONFIG GET");
    assert!(matches!(raw, redis::Value::Map(_)), "{raw:?}");
}

#[test]
fn databases_are_apart() {
    let (server, mut first) = connect("0");
    let url = format!("redis://127.0.0.1:{}/5", server.port());
    let mut fifth =
        Client::open(url).and_then(|client| client.get_connection()).expect("a connection");
    let _: () = Commands::set(&mut first, "k", 0).expect("SET");
    let _: () = Commands::set(&mut fifth, "k", 5).expect("SET");
    let values: (i64, i64) = (
        Commands::get(&mut first, "k").expect("GET"),
        Commands::get(&mut fifth, "k").expect("GET"),
    );
    assert_eq!(values, (0, 5));
}
