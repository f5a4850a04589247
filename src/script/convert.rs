//! Values between the two worlds: a command's reply as a Lua value, a script's result as a reply.
//!
//! Invariant: nothing here raises an error; whoever calls holds a `Lenient`. A script's result may be
//! nested as deep as its stack allows: it is written with a list of open tables instead of recursion.
//! Source: "Lua API reference", data type conversion; Lua's own limits are those of a stock server.

#![allow(unsafe_code)]

use std::ffi::c_int;

use mlua::ffi::{self, lua_State};

use crate::base::number::{format_f64, parse_f64, parse_i64};
use crate::base::words::c_string;
use crate::resp::Proto;
use crate::resp::reply::{Deferred, Reply, ReplyBuffer};

/// Stack slots that one value of a reply needs, at most.
const SLOTS_PER_VALUE: c_int = 6;
/// Tables are made ready for so many elements; a longer reply lets them grow.
const ELEMENTS_RESERVED_MAX: usize = 1 << 20;

/// Pushes bytes as a string.
///
/// # Safety
/// There is room on the stack, and a `Lenient` is held.
#[inline]
pub(super) unsafe fn push_bytes(lua: *mut lua_State, bytes: &[u8]) {
    // SAFETY: Lua copies the bytes, which are valid for their length.
    unsafe { ffi::lua_pushlstring_(lua, bytes.as_ptr().cast(), bytes.len()) }
}

/// The string at a place of the stack; None at any other type but a number, which it turns into one.
///
/// # Safety
/// The place exists; the bytes are used only while the value stays where it is.
pub(super) unsafe fn bytes_at<'a>(lua: *mut lua_State, at: c_int) -> Option<&'a [u8]> {
    let mut len = 0;
    // SAFETY: `lua_tolstring` gives null or so many bytes, which live as long as the value.
    unsafe {
        let bytes = ffi::lua_tolstring(lua, at, &raw mut len);
        (!bytes.is_null()).then(|| std::slice::from_raw_parts(bytes.cast(), len))
    }
}

/// Sets a field of the table on the top, past its metatable.
///
/// # Safety
/// A table is on the top, there is room for two more, and a `Lenient` is held.
pub(super) unsafe fn set_field(lua: *mut lua_State, name: &[u8], value: &[u8]) {
    // SAFETY: as promised.
    unsafe {
        push_bytes(lua, name);
        push_bytes(lua, value);
        ffi::lua_rawset(lua, -3);
    }
}

/// Pushes `{err = text}` for an error line without its `-`. One whose first word is its code keeps it;
/// a single word is no code.
///
/// # Safety
/// There is room for three values on the stack, and a `Lenient` is held.
pub(super) unsafe fn push_error_line(lua: *mut lua_State, line: &[u8]) {
    let text = match memchr::memchr(b' ', line) {
        Some(_) => line.to_vec(),
        None => [b"ERR ", line].concat(),
    };
    // SAFETY: as promised.
    unsafe { push_error(lua, &text) }
}

/// Pushes `{err = text}`.
///
/// # Safety
/// As for `push_error_line`.
pub(super) unsafe fn push_error(lua: *mut lua_State, text: &[u8]) {
    // SAFETY: as promised.
    unsafe {
        ffi::lua_createtable(lua, 0, 4);
        set_field(lua, b"err", trim_line_ends(c_string(text)));
    }
}

/// Notes on the error on the top that it has been counted.
///
/// # Safety
/// A table is on the top, there is room for two more, and a `Lenient` is held.
pub(super) unsafe fn mark_counted(lua: *mut lua_State) {
    // SAFETY: as promised.
    unsafe {
        push_bytes(lua, b"ignore_error_stats_update");
        ffi::lua_pushboolean(lua, 1);
        ffi::lua_rawset(lua, -3);
    }
}

fn trim_line_ends(mut text: &[u8]) -> &[u8] {
    while let [b'\r' | b'\n', rest @ ..] = text {
        text = rest;
    }
    while let [rest @ .., b'\r' | b'\n'] = text {
        text = rest;
    }
    text
}

/// A cursor over the reply of a command of ours.
struct Cursor<'a> {
    bytes: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// The kind of the next value and the rest of its line.
    #[inline]
    fn line(&mut self) -> (u8, &'a [u8]) {
        let end = memchr::memchr(b'\r', self.bytes).expect("a reply of ours is whole");
        let (line, rest) = (&self.bytes[..end], &self.bytes[end + 2..]);
        self.bytes = rest;
        (line[0], &line[1..])
    }

    #[inline]
    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.bytes.split_at(len);
        self.bytes = &rest[2..];
        taken
    }
}

/// Pushes the reply of a command. True if it is an error.
///
/// # Safety
/// A `Lenient` is held. `replies` holds one whole RESP value of ours.
pub(super) unsafe fn push_reply(lua: *mut lua_State, replies: &ReplyBuffer) -> bool {
    let flat;
    let bytes = if replies.spliced.is_empty() {
        &replies.bytes
    } else {
        flat = flatten(replies);
        &flat
    };
    // SAFETY: as promised.
    unsafe { push_value(lua, &mut Cursor { bytes }) };
    bytes.first() == Some(&b'-')
}

/// The reply in one piece.
fn flatten(replies: &ReplyBuffer) -> Vec<u8> {
    let mut flat = Vec::with_capacity(replies.len());
    let mut from = 0;
    for (position, value) in &replies.spliced {
        flat.extend_from_slice(&replies.bytes[from..*position]);
        flat.extend_from_slice(value);
        from = *position;
    }
    flat.extend_from_slice(&replies.bytes[from..]);
    flat
}

/// Pushes the next value. It is nested as deep as a command of ours writes it.
unsafe fn push_value(lua: *mut lua_State, cursor: &mut Cursor<'_>) {
    // SAFETY: room for each level is asked for first; there is far less nesting in replies than Lua
    // has room for. Keys and values are pushed in pairs, and only raw access is used.
    unsafe {
        let has_room = ffi::lua_checkstack(lua, SLOTS_PER_VALUE) != 0;
        assert!(has_room, "a reply is nested less deep than Lua's stack");
        let (kind, line) = cursor.line();
        let len = || parse_i64(line).unwrap_or(-1);
        match kind {
            b'$' => match len() {
                -1 => ffi::lua_pushboolean(lua, 0),
                len => push_bytes(lua, cursor.take(len as usize)),
            },
            b':' => ffi::lua_pushnumber(lua, len_or_integer(line) as f64),
            b'+' => {
                ffi::lua_createtable(lua, 0, 1);
                set_field(lua, b"ok", line);
            }
            b'-' => {
                push_error_line(lua, line);
                mark_counted(lua);
            }
            b'*' | b'>' => match len() {
                -1 => ffi::lua_pushboolean(lua, 0),
                len => push_array(lua, cursor, len as usize),
            },
            b'%' => push_map(lua, cursor, len() as usize),
            b'|' => {
                // Scripts do not see attributes: they are read, and dropped.
                push_map(lua, cursor, len() as usize);
                ffi::lua_settop(lua, -2);
                push_value(lua, cursor);
            }
            b'~' => push_set(lua, cursor, len() as usize),
            b'_' => ffi::lua_pushnil(lua),
            b'#' => ffi::lua_pushboolean(lua, c_int::from(line == b"t")),
            b',' => {
                ffi::lua_createtable(lua, 0, 1);
                push_bytes(lua, b"double");
                ffi::lua_pushnumber(lua, parse_f64(line).unwrap_or(f64::NAN));
                ffi::lua_rawset(lua, -3);
            }
            b'(' => {
                ffi::lua_createtable(lua, 0, 1);
                set_field(lua, b"big_number", line);
            }
            b'=' => {
                let text = cursor.take(len() as usize);
                ffi::lua_createtable(lua, 0, 1);
                push_bytes(lua, b"verbatim_string");
                ffi::lua_createtable(lua, 0, 2);
                set_field(lua, b"format", &text[..3]);
                set_field(lua, b"string", &text[4..]);
                ffi::lua_rawset(lua, -3);
            }
            _ => unreachable!("replies of ours are of known kinds"),
        }
    }
}

fn len_or_integer(line: &[u8]) -> i64 {
    parse_i64(line).unwrap_or_default()
}

unsafe fn push_array(lua: *mut lua_State, cursor: &mut Cursor<'_>, len: usize) {
    // SAFETY: `push_value` has asked for room.
    unsafe {
        ffi::lua_createtable(lua, len.min(ELEMENTS_RESERVED_MAX) as c_int, 0);
        for at in 1..=len {
            push_value(lua, cursor);
            ffi::lua_rawseti_(lua, -2, at as c_int);
        }
    }
}

unsafe fn push_map(lua: *mut lua_State, cursor: &mut Cursor<'_>, len: usize) {
    // SAFETY: `push_value` has asked for room; no reply of ours has a null as a key.
    unsafe {
        ffi::lua_createtable(lua, 0, 1);
        push_bytes(lua, b"map");
        ffi::lua_createtable(lua, 0, len.min(ELEMENTS_RESERVED_MAX) as c_int);
        for _ in 0..len {
            push_value(lua, cursor);
            push_value(lua, cursor);
            ffi::lua_rawset(lua, -3);
        }
        ffi::lua_rawset(lua, -3);
    }
}

unsafe fn push_set(lua: *mut lua_State, cursor: &mut Cursor<'_>, len: usize) {
    // SAFETY: as for maps.
    unsafe {
        ffi::lua_createtable(lua, 0, 1);
        push_bytes(lua, b"set");
        ffi::lua_createtable(lua, 0, len.min(ELEMENTS_RESERVED_MAX) as c_int);
        for _ in 0..len {
            push_value(lua, cursor);
            ffi::lua_pushboolean(lua, 1);
            ffi::lua_rawset(lua, -3);
        }
        ffi::lua_rawset(lua, -3);
    }
}

/// A table of a script's result that is being written; it is on the stack with what is named here.
enum Open {
    /// The table.
    Array { place: Deferred, len: usize },
    /// The table around, the map, and the key that came last; its value, too, while the key is written.
    Map { place: Deferred, len: usize, is_key: bool },
    /// The table around, the set, and the member that came last.
    Set { place: Deferred, len: usize },
}

/// The errors in what a script returned.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Errors {
    /// The lines of those that nobody has counted.
    pub fresh: Vec<Vec<u8>>,
    /// How many were counted when a command of the script ended with them.
    pub known: u64,
}

impl Errors {
    /// Adds an error with this line.
    pub(super) fn add(&mut self, line: &[u8], is_known: bool) {
        if is_known {
            self.known += 1;
        } else {
            self.fresh.push(line.to_vec());
        }
    }
}

/// Writes the value on the top of the stack and takes it off. `proto` is the script's own choice
/// (redis.setresp); the reply has the client's. Its errors are added to `errors`.
///
/// # Safety
/// A value is on the top, and a `Lenient` is held.
pub(super) unsafe fn write_result(
    lua: *mut lua_State,
    proto: Proto,
    reply: &mut Reply<'_>,
    errors: &mut Errors,
) {
    let mut open: Vec<Open> = Vec::new();
    // SAFETY: `begin_value` asks for the room of a value before it pushes anything, and takes one off;
    // `next_element` leaves the next one on the top, or takes the table that has ended off.
    unsafe {
        loop {
            if let Some(table) = begin_value(lua, proto, reply, errors) {
                open.push(table);
            }
            loop {
                let Some(table) = open.last_mut() else { return };
                if next_element(lua, table, reply) {
                    break;
                }
                open.pop();
            }
        }
    }
}

/// Writes a value that is no list and takes it off; a list stays, and is begun.
unsafe fn begin_value(
    lua: *mut lua_State,
    proto: Proto,
    reply: &mut Reply<'_>,
    errors: &mut Errors,
) -> Option<Open> {
    // SAFETY: the value is on the top; the room is asked for.
    unsafe {
        if ffi::lua_checkstack(lua, 4) == 0 {
            let text = b"ERR reached lua stack limit";
            reply.error(text);
            errors.add(text, false);
            ffi::lua_pop(lua, 1);
            return None;
        }
        match ffi::lua_type(lua, -1) {
            ffi::LUA_TSTRING => reply.bulk(bytes_at(lua, -1).unwrap_or_default()),
            ffi::LUA_TNUMBER => reply.integer(truncated(ffi::lua_tonumber(lua, -1))),
            ffi::LUA_TBOOLEAN => {
                let value = ffi::lua_toboolean(lua, -1) != 0;
                match (proto, value) {
                    (Proto::Resp3, value) => reply.boolean(value),
                    (Proto::Resp2, true) => reply.integer(1),
                    (Proto::Resp2, false) => reply.null(),
                }
            }
            ffi::LUA_TTABLE => return begin_table(lua, reply, errors),
            _ => reply.null(),
        }
        ffi::lua_pop(lua, 1);
    }
    None
}

/// As C makes an integer of a double on this machine: what does not fit is the smallest one.
fn truncated(value: f64) -> i64 {
    let fits = value >= i64::MIN as f64 && value < i64::MAX as f64;
    if fits { value as i64 } else { i64::MIN }
}

/// Pushes a field of the table on the top, past its metatable; its type.
unsafe fn raw_field(lua: *mut lua_State, name: &[u8]) -> c_int {
    // SAFETY: the caller has room for one more.
    unsafe {
        push_bytes(lua, name);
        ffi::lua_rawget_(lua, -2);
        ffi::lua_type(lua, -1)
    }
}

/// The table on the top: a value of its own kind, which is written and taken off, or a list.
unsafe fn begin_table(
    lua: *mut lua_State,
    reply: &mut Reply<'_>,
    errors: &mut Errors,
) -> Option<Open> {
    // SAFETY: four slots were asked for; each branch leaves the table alone on the top, or takes it
    // off together with what it pushed.
    unsafe {
        if raw_field(lua, b"err") == ffi::LUA_TSTRING {
            let text = c_string(bytes_at(lua, -1).unwrap_or_default());
            reply.error(text);
            errors.add(text, raw_flag(lua, -2, b"ignore_error_stats_update"));
            ffi::lua_pop(lua, 2);
            return None;
        }
        ffi::lua_pop(lua, 1);
        if raw_field(lua, b"ok") == ffi::LUA_TSTRING {
            let text = c_string(bytes_at(lua, -1).unwrap_or_default());
            reply.raw(b"+");
            reply.raw(&one_line(text));
            reply.raw(b"\r\n");
            ffi::lua_pop(lua, 2);
            return None;
        }
        ffi::lua_pop(lua, 1);
        if raw_field(lua, b"double") == ffi::LUA_TNUMBER {
            reply.double(format_f64(ffi::lua_tonumber(lua, -1)).as_bytes());
            ffi::lua_pop(lua, 2);
            return None;
        }
        ffi::lua_pop(lua, 1);
        if raw_field(lua, b"big_number") == ffi::LUA_TSTRING {
            let digits = one_line(bytes_at(lua, -1).unwrap_or_default());
            match reply.proto() {
                Proto::Resp2 => reply.bulk(&digits),
                Proto::Resp3 => {
                    reply.raw(b"(");
                    reply.raw(&digits);
                    reply.raw(b"\r\n");
                }
            }
            ffi::lua_pop(lua, 2);
            return None;
        }
        ffi::lua_pop(lua, 1);
        if raw_field(lua, b"verbatim_string") == ffi::LUA_TTABLE && write_verbatim(lua, reply) {
            ffi::lua_pop(lua, 2);
            return None;
        }
        ffi::lua_pop(lua, 1);
        let place = reply.defer();
        for (name, table) in [
            (b"map".as_slice(), Open::Map { place, len: 0, is_key: false }),
            (b"set", Open::Set { place, len: 0 }),
        ] {
            if raw_field(lua, name) == ffi::LUA_TTABLE {
                ffi::lua_pushnil(lua);
                return Some(table);
            }
            ffi::lua_pop(lua, 1);
        }
        Some(Open::Array { place, len: 0 })
    }
}

/// True if the table at `at` has a field that is `true`.
unsafe fn raw_flag(lua: *mut lua_State, at: c_int, name: &[u8]) -> bool {
    // SAFETY: the caller has room for one more.
    unsafe {
        push_bytes(lua, name);
        ffi::lua_rawget_(lua, at - 1);
        let set = ffi::lua_type(lua, -1) == ffi::LUA_TBOOLEAN && ffi::lua_toboolean(lua, -1) != 0;
        ffi::lua_pop(lua, 1);
        set
    }
}

/// Writes the verbatim string whose parts are in the table on the top. False if they are not.
unsafe fn write_verbatim(lua: *mut lua_State, reply: &mut Reply<'_>) -> bool {
    // SAFETY: there is room for two more beside the two that are in use.
    unsafe {
        let mut written = false;
        if raw_field(lua, b"format") == ffi::LUA_TSTRING {
            let format = c_string(bytes_at(lua, -1).unwrap_or_default());
            push_bytes(lua, b"string");
            ffi::lua_rawget_(lua, -3);
            if ffi::lua_type(lua, -1) == ffi::LUA_TSTRING {
                let text = bytes_at(lua, -1).unwrap_or_default();
                match reply.proto() {
                    Proto::Resp2 => reply.bulk(text),
                    Proto::Resp3 => {
                        let mut kind = [b' '; 3];
                        let len = format.len().min(3);
                        kind[..len].copy_from_slice(&format[..len]);
                        reply.raw(format!("={}\r\n", text.len() + 4).as_bytes());
                        reply.raw(&kind);
                        reply.raw(b":");
                        reply.raw(text);
                        reply.raw(b"\r\n");
                    }
                }
                written = true;
            }
            ffi::lua_pop(lua, 1);
        }
        ffi::lua_pop(lua, 1);
        written
    }
}

/// Line ends as spaces.
fn one_line(text: &[u8]) -> Vec<u8> {
    text.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }).collect()
}

/// Leaves the next element of an open table on the top. False if there is none: then the table is
/// off the stack, and its length is written.
unsafe fn next_element(lua: *mut lua_State, table: &mut Open, reply: &mut Reply<'_>) -> bool {
    // SAFETY: each open table has kept room for four; `lua_next` cannot raise, since the key is one
    // that the table has.
    unsafe {
        match table {
            Open::Array { place, len } => {
                ffi::lua_rawgeti_(lua, -1, *len as c_int + 1);
                if ffi::lua_type(lua, -1) == ffi::LUA_TNIL {
                    ffi::lua_pop(lua, 2);
                    reply.array_at(*place, *len);
                    return false;
                }
                *len += 1;
            }
            Open::Map { is_key, .. } if *is_key => *is_key = false,
            Open::Map { place, len, is_key } => {
                if ffi::lua_next(lua, -2) == 0 {
                    ffi::lua_pop(lua, 2);
                    reply.map_at(*place, *len);
                    return false;
                }
                ffi::lua_pushvalue(lua, -2);
                *len += 1;
                *is_key = true;
            }
            Open::Set { place, len } => {
                if ffi::lua_next(lua, -2) == 0 {
                    ffi::lua_pop(lua, 2);
                    reply.set_at(*place, *len);
                    return false;
                }
                ffi::lua_pop(lua, 1);
                ffi::lua_pushvalue(lua, -1);
                *len += 1;
            }
        }
    }
    true
}
