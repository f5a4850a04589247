//! `cjson.encode`: a Lua value as JSON.
//!
//! Invariant: tables within tables are walked with an explicit list, at most as deep as the setting
//! and Lua's stack allow; the same text as lua-cjson 2.1 writes, in the order in which the table gives
//! its keys. Source: the manual of lua-cjson 2.1, RFC 4627, and a stock server's answers.

use std::ffi::c_int;

use super::cjson::{Invalid, Settings, settings};
use super::list::{BYTES_PER_STEP, Buffer, List};
use super::number::{Text, to_i32};
use super::stack::{Kind, Stack};

/// `cjson.encode(value)`.
pub(super) fn encode(stack: Stack<'_>) -> c_int {
    let settings = *settings(stack);
    if stack.top() != 1 {
        stack.argument_error(1, format_args!("expected 1 argument"));
    }
    let mut writer = Writer { stack, settings, out: Buffer::new(stack), open: List::new(stack) };
    stack.push_value(1);
    writer.run();
    writer.out.push_result();
    1
}

struct Writer<'l> {
    stack: Stack<'l>,
    settings: Settings,
    out: Buffer<'l>,
    /// The tables around the present value, the outermost first; they lie on the stack.
    open: List<'l, Open, 16>,
}

/// A table that is being written.
#[derive(Clone, Copy)]
enum Open {
    /// So many elements are written, of so many. The table is on top.
    Array { written: i32, length: i32 },
    /// The table and its last key are on top.
    Object { empty: bool },
}

impl Writer<'_> {
    /// Writes the topmost value and pops it.
    fn run(&mut self) {
        let mut opened = self.value();
        loop {
            if !opened {
                self.stack.pop(1);
            }
            self.stack.charge(1);
            let more = match self.open.last_mut() {
                None => return,
                Some(Open::Array { written, length }) if written == length => false,
                Some(Open::Array { written, .. }) => {
                    *written += 1;
                    let position = *written;
                    if position > 1 {
                        self.out.push(b',');
                    }
                    self.stack.raw_get_at(-1, position);
                    true
                }
                Some(Open::Object { .. }) => self.next_field(),
            };
            opened = if more { self.value() } else { self.close() };
        }
    }

    /// Pushes the next value of an object, its key written; false at the end.
    fn next_field(&mut self) -> bool {
        if !self.stack.next(-2) {
            return false;
        }
        if let Some(Open::Object { empty }) = self.open.last_mut()
            && !std::mem::take(empty)
        {
            self.out.push(b',');
        }
        match self.stack.kind(-2) {
            Kind::Number => {
                self.out.push(b'"');
                self.number(-2);
                self.out.extend(b"\":");
            }
            Kind::String => {
                self.string(-2);
                self.out.push(b':');
            }
            _ => self.refuse(-2, "table key must be a number or string"),
        }
        true
    }

    /// Ends the innermost table, which is on top as the value that it is.
    fn close(&mut self) -> bool {
        match self.open.pop() {
            Some(Open::Object { .. }) => self.out.push(b'}'),
            _ => self.out.push(b']'),
        }
        false
    }

    /// Writes the topmost value; true if it is a table, which only begins.
    fn value(&mut self) -> bool {
        match self.stack.kind(-1) {
            Kind::String => self.string(-1),
            Kind::Number => self.number(-1),
            Kind::Boolean if self.stack.truth(-1) => self.out.extend(b"true"),
            Kind::Boolean => self.out.extend(b"false"),
            Kind::Nil => self.out.extend(b"null"),
            Kind::LightUserdata if self.stack.is_null(-1) => self.out.extend(b"null"),
            Kind::Table => {
                self.table();
                return true;
            }
            Kind::None | Kind::LightUserdata | Kind::Function | Kind::Other => {
                self.refuse(-1, "type not supported")
            }
        }
        false
    }

    /// Begins the topmost table.
    fn table(&mut self) {
        let depth = self.open.len() + 1;
        let deepest = usize::try_from(self.settings.encode_depth).unwrap_or(0);
        if depth > deepest || !self.stack.check_stack(SLOTS_PER_TABLE) {
            self.stack.raise(format_args!("Cannot serialise, excessive nesting ({depth})"));
        }
        let length = self.array_length();
        if length > 0 {
            self.out.push(b'[');
            self.open.push(Open::Array { written: 0, length });
        } else {
            self.out.push(b'{');
            self.open.push(Open::Object { empty: true });
            self.stack.push_nil();
        }
    }

    /// The last index of the topmost table if all its keys are whole numbers from 1 on; not above 0
    /// where it is an object. An index that an int does not hold counts as C converts it.
    fn array_length(&self) -> i32 {
        let stack = self.stack;
        let mut last = 0;
        let mut count = 0_i32;
        stack.push_nil();
        while stack.next(-2) {
            stack.charge(1);
            let key = if stack.kind(-2) == Kind::Number { stack.number(-2) } else { 0.0 };
            if key.floor() != key || key < 1.0 {
                stack.pop(2);
                return -1;
            }
            if key > f64::from(last) {
                last = to_i32(key);
            }
            count = count.wrapping_add(1);
            stack.pop(1);
        }
        let Settings { sparse_convert, sparse_ratio, sparse_safe, .. } = self.settings;
        if sparse_ratio > 0 && last > count.wrapping_mul(sparse_ratio) && last > sparse_safe {
            if !sparse_convert {
                self.refuse(-1, "excessively sparse array");
            }
            return -1;
        }
        last
    }

    fn number(&mut self, index: c_int) {
        let number = self.stack.number(index);
        if !number.is_finite() {
            match self.settings.encode_invalid {
                Invalid::Off => self.refuse(index, "must not be NaN or Inf"),
                Invalid::On if number.is_nan() => return self.out.extend(b"nan"),
                Invalid::On => {}
                Invalid::Null => return self.out.extend(b"null"),
            }
        }
        let precision = self.settings.precision.unsigned_abs();
        self.out.extend(Text::general(number, precision).as_bytes());
    }

    /// Writes a string in quotes: runs of plain bytes at once, the others escaped.
    fn string(&mut self, index: c_int) {
        let mut bytes = self.stack.bytes(index).unwrap_or_default();
        self.stack.charge(bytes.len() / BYTES_PER_STEP);
        self.out.push(b'"');
        while let Some(at) = bytes.iter().position(|byte| ESCAPED[usize::from(*byte)]) {
            self.out.extend(&bytes[..at]);
            self.escape(bytes[at]);
            bytes = &bytes[at + 1..];
        }
        self.out.extend(bytes);
        self.out.push(b'"');
    }

    fn escape(&mut self, byte: u8) {
        let short = match byte {
            8 => b'b',
            b'\t' => b't',
            b'\n' => b'n',
            12 => b'f',
            b'\r' => b'r',
            b'"' | b'\\' | b'/' => byte,
            _ => {
                self.out.extend(b"\\u00");
                self.out.push(DIGITS[usize::from(byte >> 4)]);
                self.out.push(DIGITS[usize::from(byte & 15)]);
                return;
            }
        };
        self.out.extend(&[b'\\', short]);
    }

    fn refuse(&self, index: c_int, why: &str) -> ! {
        let name = self.stack.type_name(index);
        self.stack.raise(format_args!("Cannot serialise {name}: {why}"))
    }
}

/// A table, its key and its value, or a table and a string for an error.
const SLOTS_PER_TABLE: c_int = 3;

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Bytes that are not written as they are: control characters, quotes, both slashes, DEL.
const ESCAPED: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 32 {
        table[byte] = true;
        byte += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table[b'/' as usize] = true;
    table[127] = true;
    table
};
