//! What CLIENT LIST and CLIENT INFO print of a client: one line of `field=value` words.
//!
//! Invariant: the fields, their order and their form are those of Redis 8.0.6; `io-thread` is the
//! core that the client lives on. No value holds a space or a line end.

use std::io::Write;

use super::tracking::Tracking;
use super::{ConnectionFacts, Session};
use crate::base::time::Millis;
use crate::base::words::c_string;
use crate::pubsub::Kind;
use crate::resp::Proto;

/// The line of a client, as the log shows it.
pub fn line(session: &Session, held: &ConnectionFacts, now: Millis) -> String {
    let mut line = Vec::new();
    write_line(&mut line, session, held, now);
    String::from_utf8_lossy(line.trim_ascii_end()).into_owned()
}

/// Appends the line of a client, its end included.
pub fn write_line(out: &mut Vec<u8>, session: &Session, held: &ConnectionFacts, now: Millis) {
    let Session { facts, addr, laddr, fd, .. } = session;
    write(out, format_args!("id={} addr={addr} laddr={laddr} fd={fd} name=", facts.id));
    out.extend_from_slice(c_string(&session.name));
    let (age, idle) = (age_seconds(session, now), idle_seconds(session, now));
    let flags = flags(session, held);
    write(out, format_args!(" age={age} idle={idle} flags={flags} db={}", facts.db));
    let (multi, watch) = (held.multi.map_or(-1, |queued| queued as i64), held.watched);
    let subscribed = |kind| session.subscriptions.as_ref().map_or(0, |names| names.len(kind));
    let (sub, psub) = (subscribed(Kind::Channel), subscribed(Kind::Pattern));
    let ssub = subscribed(Kind::Shard);
    write(out, format_args!(" sub={sub} psub={psub} ssub={ssub} multi={multi} watch={watch}"));
    write_memory(out, held);
    let events = if held.output_list_len > 0 { "rw" } else { "r" };
    let command = if session.last_command.is_empty() { "NULL" } else { session.last_command };
    let resp = match facts.proto {
        Proto::Resp2 => 2,
        Proto::Resp3 => 3,
    };
    write(out, format_args!(" events={events} cmd={command} user="));
    out.extend_from_slice(session.user_name());
    let redirect = match session.redirect {
        _ if !facts.tracking.is_on() => -1,
        redirect => redirect.map_or(0, |to| i64::try_from(to.id).unwrap_or(i64::MAX)),
    };
    write(out, format_args!(" redir={redirect} resp={resp}"));
    out.extend_from_slice(b" lib-name=");
    out.extend_from_slice(c_string(&session.lib_name));
    out.extend_from_slice(b" lib-ver=");
    out.extend_from_slice(c_string(&session.lib_ver));
    write(out, format_args!(" io-thread={}\n", held.core));
}

fn write_memory(out: &mut Vec<u8>, held: &ConnectionFacts) {
    write(
        out,
        format_args!(
            " qbuf={} qbuf-free={} argv-mem={} multi-mem={} rbs={} rbp={} obl={} oll={} omem={} tot-mem={}",
            held.query_bytes,
            held.query_free,
            held.argv_bytes,
            held.multi_bytes,
            held.reply_buffer_bytes,
            held.reply_buffer_bytes,
            held.reply_buffer_used,
            held.output_list_len,
            held.output_list_bytes,
            held.total_bytes,
        ),
    );
}

/// The letters of a client's state; `N` if it is in none of them.
pub fn flags(session: &Session, held: &ConnectionFacts) -> String {
    let facts = &session.facts;
    let tracking = facts.tracking;
    let states = [
        ('O', facts.monitoring),
        ('S', session.is_replica()),
        ('M', session.is_primary),
        ('P', facts.subscribed),
        ('x', held.multi.is_some()),
        ('b', session.blocked),
        ('t', tracking.is_on()),
        ('R', tracking.has(Tracking::BROKEN)),
        ('B', tracking.has(Tracking::BCAST)),
        ('c', held.closing || session.close_after_reply),
        ('U', session.unix),
        ('e', session.no_evict),
        ('T', facts.no_touch),
        ('C', session.replica.as_ref().is_some_and(|replica| replica.is_rdb_channel)),
        ('I', facts.import_source),
    ];
    let letters: String = states.iter().filter(|(_, is)| *is).map(|(letter, _)| *letter).collect();
    if letters.is_empty() { "N".to_owned() } else { letters }
}

/// How long the client has been connected, in whole seconds of the clock.
pub fn age_seconds(session: &Session, now: Millis) -> i64 {
    now.seconds() - session.created.seconds()
}

/// How long the client has sent nothing, in whole seconds of the clock.
pub fn idle_seconds(session: &Session, now: Millis) -> i64 {
    now.seconds() - session.last_interaction.seconds()
}

fn write(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a vector takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        let mut session = Session::new(7, Millis(1_999), true);
        session.addr = "127.0.0.1:1234".to_owned();
        session.laddr = "127.0.0.1:6379".to_owned();
        session.fd = 9;
        session
    }

    fn line(session: &Session, held: &ConnectionFacts, now: Millis) -> String {
        let mut line = Vec::new();
        write_line(&mut line, session, held, now);
        String::from_utf8(line).expect("the fields are ASCII")
    }

    #[test]
    fn a_fresh_client_has_every_field_in_the_order_of_stock() {
        assert_eq!(
            line(&session(), &ConnectionFacts::default(), Millis(2_000)),
            "id=7 addr=127.0.0.1:1234 laddr=127.0.0.1:6379 fd=9 name= age=1 idle=1 flags=N db=0 \
             sub=0 psub=0 ssub=0 multi=-1 watch=0 qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 \
             rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r cmd=NULL user=default redir=-1 resp=2 \
             lib-name= lib-ver= io-thread=0\n"
        );
    }

    #[test]
    fn what_the_client_has_set_is_shown() {
        let mut session = session();
        session.name = b"worker".to_vec();
        session.lib_name = b"lib\0 hidden".to_vec();
        session.lib_ver = b"1.2".to_vec();
        session.last_command = "client|list";
        session.facts.db = 3;
        session.facts.proto = Proto::Resp3;
        (session.no_evict, session.facts.no_touch, session.unix) = (true, true, true);
        let held = ConnectionFacts {
            core: 2,
            output_list_len: 1,
            output_list_bytes: 10,
            ..ConnectionFacts::default()
        };
        let line = line(&session, &held, Millis(1_999));
        for field in [
            " name=worker ",
            " age=0 idle=0 ",
            " flags=UeT ",
            " db=3 ",
            " oll=1 omem=10 ",
            " events=rw cmd=client|list ",
            " resp=3 lib-name=lib lib-ver=1.2 io-thread=2\n",
        ] {
            assert!(line.contains(field), "{field} in {line}");
        }
    }
}
