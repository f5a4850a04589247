//! DEBUG OBJECT, LISTPACK, QUICKLIST: how values are stored; STRINGMATCH-TEST.
//!
//! Invariant: nothing changes, and what has expired is shown as long as it is there. Source: DEBUG of
//! Redis 8.0.6.

use super::wrong_form;
use crate::base::glob::stringmatch;
use crate::base::number::write_i64;
use crate::base::rng::Rng;
use crate::command::context::StringRef;
use crate::command::{Args, CommandError, Context, Outcome};
use crate::observe::log;
use crate::resp::reply::Reply;
use crate::store::access::idle_seconds;
use crate::store::entry::{EntryRef, ValueRef};
use crate::types::list::Contents;
use crate::types::{QuickList, Value};

/// Tells how a key's value is stored.
pub(super) fn object(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if args.len() != 3 {
        reply.error(wrong_form(args));
        return Ok(());
    }
    let (now, policy) = (cx.now, cx.access);
    let entry = entry_of(cx, args.get(2))?;
    let mut text = format!(
        "Value at:{:p} refcount:1 encoding:{} serializedlength:{} lru:{} lru_seconds_idle:{}",
        entry.key().as_ptr(),
        entry.encoding(),
        serialized_len(entry),
        policy.stock_clock(entry.access()),
        idle_seconds(entry.access(), now),
    );
    if let ValueRef::Boxed(Value::List(list)) = entry.value() {
        text.push_str(&quicklist_shape(list));
    }
    reply.simple(&text);
    Ok(())
}

/// Describes the bytes of a listpack in the log, which is on standard output unless it goes to a file.
pub(super) fn listpack(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if args.len() != 3 {
        reply.error(wrong_form(args));
        return Ok(());
    }
    let entry = entry_of(cx, args.get(2))?;
    match (entry.encoding(), entry.value()) {
        ("listpack" | "listpackex", ValueRef::Packed(_, bytes)) => {
            let listpack: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let listpack = listpack.concat();
            log::notice(format!("DEBUG LISTPACK: {} bytes: {listpack}", bytes.len()));
            reply.simple("Listpack structure printed on stdout");
        }
        _ => reply.error("ERR Not a listpack encoded object."),
    }
    Ok(())
}

/// Describes the nodes of a quicklist there.
pub(super) fn quicklist(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if !matches!(args.len(), 3 | 4) {
        reply.error(wrong_form(args));
        return Ok(());
    }
    match entry_of(cx, args.get(2))?.value() {
        ValueRef::Boxed(Value::List(list)) => {
            log::notice(format!("DEBUG QUICKLIST:{}", quicklist_shape(list)));
            reply.simple("Quicklist structure printed on stdout");
        }
        _ => reply.error("ERR Not a quicklist encoded object."),
    }
    Ok(())
}

/// The entry of a key. What has expired is shown as long as it is there.
fn entry_of<'c>(cx: &'c mut Context<'_>, key: &[u8]) -> Result<EntryRef<'c>, CommandError> {
    let (key, db) = (cx.key(key), cx.session.db);
    cx.db(db, &key).peek(&key).ok_or(CommandError::NoSuchKey)
}

/// Matches strings against patterns that chance has made: nothing more is asked than that it ends.
pub(super) fn match_at_random(rng: &mut Rng) {
    for _ in 0..RANDOM_MATCHES {
        let mut text = || -> Vec<u8> {
            let len = rng.next_u64() % 32;
            (0..len).map(|_| SIGNS[rng.next_u64() as usize % SIGNS.len()]).collect()
        };
        let (pattern, text) = (text(), text());
        std::hint::black_box(stringmatch(&pattern, &text, text.len().is_multiple_of(2)));
    }
}

/// What DEBUG OBJECT adds for a quicklist.
fn quicklist_shape(list: &QuickList) -> String {
    let shape = list.shape();
    format!(
        " ql_nodes:{} ql_avg_node:{:.2} ql_listpack_max:{} ql_compressed:{} ql_uncompressed_size:{}",
        shape.nodes,
        list.len() as f64 / shape.nodes as f64,
        shape.fill,
        u8::from(shape.is_compressed),
        shape.bytes,
    )
}

/// Bytes of the value in an RDB file without compression. Source: the string encodings of RDB.
fn serialized_len(entry: EntryRef<'_>) -> u64 {
    match entry.value() {
        ValueRef::Int(value) => match value {
            -0x80..=0x7f => 2,
            -0x8000..=0x7fff => 3,
            -0x8000_0000..=0x7fff_ffff => 5,
            _ => {
                let mut digits = Vec::new();
                write_i64(&mut digits, value);
                1 + digits.len() as u64
            }
        },
        ValueRef::Str(bytes) => length_len(bytes.len() as u64) + bytes.len() as u64,
        ValueRef::Packed(_, bytes) => length_len(bytes.len() as u64) + bytes.len() as u64,
        ValueRef::Boxed(Value::List(list)) => {
            let mut len = length_len(list.node_count() as u64);
            list.visit_nodes(|node| {
                let bytes = match node {
                    Contents::Packed(pack) => pack.bytes().len() as u64,
                    Contents::Plain(item) => item.len(),
                };
                len += NODE_KIND_LEN + length_len(bytes) + bytes;
            });
            len
        }
        ValueRef::Boxed(_) => match StringRef::of(entry) {
            Ok(StringRef::Big(string)) => length_len(string.len()) + string.len(),
            _ => entry.bytes_allocated() as u64,
        },
    }
}

/// Bytes of a length in front of a string.
fn length_len(len: u64) -> u64 {
    match len {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0xffff_ffff => 5,
        _ => 9,
    }
}

/// What stands in front of each node of a list in an RDB file.
const NODE_KIND_LEN: u64 = 1;
/// What patterns of STRINGMATCH-TEST are made of.
const SIGNS: &[u8] = b"ab*?[]^-\\\0\xff";
/// Matches of one STRINGMATCH-TEST: some milliseconds.
const RANDOM_MATCHES: usize = 10_000;
