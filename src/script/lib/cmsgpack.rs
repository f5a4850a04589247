//! The library `cmsgpack`: Lua values as MessagePack.
//!
//! Invariant: the shortest encoding that lua-cmsgpack 0.4.0 chooses, byte for byte; 16 tables within
//! each other are written and the next is nil; what is read is walked with an explicit list, and no
//! announced size is believed. Source: the MessagePack specification, lua-cmsgpack's README, and a
//! stock server's answers.

use std::ffi::c_int;

use super::list::{BYTES_PER_STEP, Buffer, List};
use super::number::{to_i32, to_i64};
use super::stack::{self, Kind, Stack, functions};

/// Sets the global `cmsgpack`.
pub fn install(lua: &mlua::Lua) -> mlua::Result<()> {
    stack::install(
        lua,
        c"cmsgpack",
        functions![
            c"pack" => pack,
            c"unpack" => unpack,
            c"unpack_one" => unpack_one,
            c"unpack_limit" => unpack_limit,
        ],
        |stack| {
            for (name, text) in [
                (c"_NAME", &b"cmsgpack"[..]),
                (c"_VERSION", b"lua-cmsgpack 0.4.0"),
                (c"_COPYRIGHT", b"Copyright (C) 2012, Salvatore Sanfilippo"),
                (c"_DESCRIPTION", b"MessagePack C implementation for Lua"),
            ] {
                stack.push_bytes(text);
                stack.set_field(-2, name);
            }
        },
    )
}

fn pack(stack: Stack<'_>) -> c_int {
    let arguments = stack.top();
    if arguments == 0 {
        stack.argument_error(0, format_args!("MessagePack pack needs input."));
    }
    if !stack.check_stack(arguments) {
        stack.argument_error(0, format_args!("Too many arguments for MessagePack pack."));
    }
    let mut out = Buffer::new(stack);
    for index in 1..=arguments {
        stack.push_value(index);
        write(stack, &mut out, 0);
    }
    out.push_result();
    1
}

/// Writes the topmost value and pops it. `level` tables are around it, 16 at most, so that this may
/// call itself.
fn write(stack: Stack<'_>, out: &mut Buffer<'_>, level: u32) {
    stack.charge(1);
    match stack.kind(-1) {
        Kind::String => {
            let bytes = stack.bytes(-1).unwrap_or_default();
            write_head(out, bytes.len(), 0xa0, 32, Some(0xd9), 0xda);
            out.extend(bytes);
        }
        Kind::Boolean => out.push(if stack.truth(-1) { 0xc3 } else { 0xc2 }),
        Kind::Number => write_number(out, stack.number(-1)),
        Kind::Table if level < NESTING_MAX => {
            if is_array(stack) {
                write_array(stack, out, level);
            } else {
                write_map(stack, out, level);
            }
        }
        _ => out.push(0xc0),
    }
    stack.pop(1);
}

fn write_number(out: &mut Buffer<'_>, number: f64) {
    let whole = to_i64(number);
    if number.is_finite() && whole as f64 == number {
        return write_integer(out, whole);
    }
    let single = number as f32;
    if f64::from(single) == number {
        out.push(0xca);
        out.extend(&single.to_be_bytes());
    } else {
        out.push(0xcb);
        out.extend(&number.to_be_bytes());
    }
}

/// The shortest form; above 0 the unsigned ones.
fn write_integer(out: &mut Buffer<'_>, value: i64) {
    let bytes = value.to_be_bytes();
    let (head, length) = match value {
        -32..=127 => return out.push(value as u8),
        128..=0xff => (0xcc, 1),
        0x100..=0xffff => (0xcd, 2),
        0x1_0000..=0xffff_ffff => (0xce, 4),
        0x1_0000_0000.. => (0xcf, 8),
        -0x80..-32 => (0xd0, 1),
        -0x8000..-0x80 => (0xd1, 2),
        -0x8000_0000..-0x8000 => (0xd2, 4),
        _ => (0xd3, 8),
    };
    out.push(head);
    out.extend(&bytes[8 - length..]);
}

/// A head with a length: in its low bits below `small`, else behind it in one byte (where that form
/// exists), two or four.
fn write_head(
    out: &mut Buffer<'_>,
    length: usize,
    fixed: u8,
    small: usize,
    byte: Option<u8>,
    word: u8,
) {
    let bytes = (length as u64).to_be_bytes();
    match (length, byte) {
        (0..=31, _) if length < small => out.push(fixed | length as u8),
        (0..=0xff, Some(byte)) => out.extend(&[byte, bytes[7]]),
        (0..=0xffff, _) => out.extend(&[word, bytes[6], bytes[7]]),
        _ => {
            out.push(word + 1);
            out.extend(&bytes[4..]);
        }
    }
}

fn write_array(stack: Stack<'_>, out: &mut Buffer<'_>, level: u32) {
    let length = stack.raw_length(-1);
    write_head(out, length, 0x90, 16, None, 0xdc);
    stack.need_stack(1, c"in function mp_encode_lua_table_as_array");
    for position in 1..=length {
        stack.raw_get_at(-1, position as i32);
        write(stack, out, level + 1);
    }
}

fn write_map(stack: Stack<'_>, out: &mut Buffer<'_>, level: u32) {
    stack.need_stack(3, c"in function mp_encode_lua_table_as_map");
    let mut length = 0;
    stack.push_nil();
    while stack.next(-2) {
        stack.charge(1);
        stack.pop(1);
        length += 1;
    }
    write_head(out, length, 0x80, 16, None, 0xde);
    stack.push_nil();
    while stack.next(-2) {
        stack.push_value(-2);
        write(stack, out, level + 1);
        write(stack, out, level + 1);
    }
}

/// Whether the topmost table's keys are exactly 1 to their count.
fn is_array(stack: Stack<'_>) -> bool {
    let mut count = 0;
    let mut last = 0;
    stack.need_stack(2, c"in function table_is_an_array");
    stack.push_nil();
    while stack.next(-2) {
        stack.charge(1);
        stack.pop(1);
        let key = if stack.kind(-1) == Kind::Number { stack.number(-1) } else { 0.0 };
        let whole = to_i32(key);
        if key <= 0.0 || f64::from(whole) != key {
            stack.pop(1);
            return false;
        }
        last = whole.max(last);
        count += 1;
    }
    last == count
}

fn unpack(stack: Stack<'_>) -> c_int {
    read_all(stack, 0, 0)
}

fn unpack_one(stack: Stack<'_>) -> c_int {
    let offset = stack.integer_or(2, 0);
    stack.set_top(1);
    read_all(stack, 1, offset)
}

fn unpack_limit(stack: Stack<'_>) -> c_int {
    let limit = stack.check_integer(2);
    let offset = stack.integer_or(3, 0);
    stack.set_top(1);
    read_all(stack, limit, offset)
}

/// Reads up to `limit` values from `offset` on, and pushes the offset of the next (-1 at the end) and
/// them; or, with neither, all values alone.
fn read_all(stack: Stack<'_>, limit: i64, offset: i64) -> c_int {
    let bytes = stack.check_bytes(1);
    // Lua's integers in texts are C's ints.
    let (offset_shown, length_shown) = (offset as i32, bytes.len() as i32);
    if offset < 0 || limit < 0 {
        stack.raise(format_args!(
            "Invalid request to unpack with offset of {offset_shown} and limit of {length_shown}."
        ));
    }
    let Some(rest) = bytes.get(offset as usize..) else {
        stack.raise(format_args!(
            "Start offset {offset_shown} greater than input length {length_shown}."
        ));
    };
    let all = limit == 0 && offset == 0;
    let limit = if all { i64::from(i32::MAX) } else { limit };
    let mut reader = Reader { stack, rest, open: List::new(stack) };
    let first = stack.top() + 1;
    let mut count = 0;
    while !reader.rest.is_empty() && count < limit {
        reader.value();
        count += 1;
    }
    if all {
        return count as c_int;
    }
    stack.need_stack(1, c"in function mp_unpack_full");
    let read = bytes.len() - reader.rest.len();
    stack.push_number(if reader.rest.is_empty() { -1.0 } else { read as f64 });
    stack.insert(first);
    count as c_int + 1
}

struct Reader<'l> {
    stack: Stack<'l>,
    rest: &'l [u8],
    open: List<'l, Open, 16>,
}

/// A table that is being filled.
#[derive(Clone, Copy)]
enum Open {
    Array {
        next: i32,
        left: u32,
    },
    /// A key waits on the stack while `keyed`.
    Map {
        left: u32,
        keyed: bool,
    },
}

impl<'l> Reader<'l> {
    /// Pushes one value, tables with all that is in them.
    fn value(&mut self) {
        self.item();
        while let Some(open) = self.open.last_mut() {
            match open {
                Open::Array { left: 0, .. } | Open::Map { left: 0, keyed: false } => {
                    self.open.pop();
                    self.store();
                    continue;
                }
                Open::Array { .. } | Open::Map { .. } => {}
            }
            self.item();
        }
    }

    /// Puts the topmost value, which is whole, into the table around it.
    fn store(&mut self) {
        match self.open.last_mut() {
            None => {}
            Some(Open::Array { next, left }) => {
                let position = *next;
                *next = next.wrapping_add(1);
                *left -= 1;
                self.stack.raw_set_at(-2, position);
            }
            Some(Open::Map { keyed: keyed @ false, .. }) => *keyed = true,
            Some(Open::Map { left, keyed }) => {
                *left -= 1;
                *keyed = false;
                self.stack.raw_set(-3);
            }
        }
    }

    /// Pushes a value and stores it, or begins a table.
    fn item(&mut self) {
        let stack = self.stack;
        stack.charge(1);
        let [head] = self.take();
        stack.need_stack(
            1,
            c"too many return values at once; use unpack_one or unpack_limit instead.",
        );
        match head {
            0x00..=0x7f => stack.push_number(f64::from(head)),
            0x80..=0x8f => return self.begin_map(u32::from(head & 15)),
            0x90..=0x9f => return self.begin_array(u32::from(head & 15)),
            0xa0..=0xbf => self.string(usize::from(head & 31)),
            0xc0 => stack.push_nil(),
            0xc2 => stack.push_boolean(false),
            0xc3 => stack.push_boolean(true),
            0xca => stack.push_number(f64::from(f32::from_be_bytes(self.take()))),
            0xcb => stack.push_number(f64::from_be_bytes(self.take())),
            0xcc => stack.push_number(f64::from(u8::from_be_bytes(self.take()))),
            0xcd => stack.push_number(f64::from(u16::from_be_bytes(self.take()))),
            0xce => stack.push_number(f64::from(u32::from_be_bytes(self.take()))),
            // Lua's integer is signed, so a large unsigned one reads as negative.
            0xcf | 0xd3 => stack.push_number(i64::from_be_bytes(self.take()) as f64),
            0xd0 => stack.push_number(f64::from(i8::from_be_bytes(self.take()))),
            0xd1 => stack.push_number(f64::from(i16::from_be_bytes(self.take()))),
            0xd2 => stack.push_number(f64::from(i32::from_be_bytes(self.take()))),
            0xd9 => {
                let length = u8::from_be_bytes(self.take());
                self.string(usize::from(length));
            }
            0xda => {
                let length = u16::from_be_bytes(self.take());
                self.string(usize::from(length));
            }
            0xdb => {
                let length = u32::from_be_bytes(self.take());
                self.string(length as usize);
            }
            0xdc => {
                let length = u16::from_be_bytes(self.take());
                return self.begin_array(u32::from(length));
            }
            0xdd => {
                let length = u32::from_be_bytes(self.take());
                return self.begin_array(length);
            }
            0xde => {
                let length = u16::from_be_bytes(self.take());
                return self.begin_map(u32::from(length));
            }
            0xdf => {
                let length = u32::from_be_bytes(self.take());
                return self.begin_map(length);
            }
            0xe0..=0xff => stack.push_number(f64::from(head as i8)),
            0xc1 | 0xc4..=0xc9 | 0xd4..=0xd8 => {
                stack.raise(format_args!("Bad data format in input."))
            }
        }
        self.store();
    }

    fn begin_array(&mut self, left: u32) {
        self.stack.push_table();
        self.open.push(Open::Array { next: 1, left });
    }

    fn begin_map(&mut self, left: u32) {
        self.stack.push_table();
        self.open.push(Open::Map { left, keyed: false });
    }

    fn string(&mut self, length: usize) {
        let bytes = self.bytes(length);
        self.stack.charge(length / BYTES_PER_STEP);
        self.stack.push_bytes(bytes);
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N));
        array
    }

    fn bytes(&mut self, length: usize) -> &'l [u8] {
        let Some((bytes, rest)) = self.rest.split_at_checked(length) else {
            self.stack.raise(format_args!("Missing bytes in input."));
        };
        self.rest = rest;
        bytes
    }
}

/// Deeper tables are written as nil, so that circles end.
const NESTING_MAX: u32 = 16;
