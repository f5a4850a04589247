//! The library `struct`: values packed as C lays them out.
//!
//! Invariant: each result and error is that of the library as Redis 8.0 carries it (version 0.2 with
//! checks of overflow), on a 64-bit little-endian machine; positions are 64-bit and never index what
//! is not there. Source: the library's page at inf.puc-rio.br/~roberto/struct, and a stock server.

use std::ffi::c_int;

use super::list::{BYTES_PER_STEP, Buffer};
use super::number::to_u64;
use super::pattern::until_zero;
use super::stack::{self, Stack, functions};

/// Sets the global `struct`.
pub fn install(lua: &mlua::Lua) -> mlua::Result<()> {
    stack::install(
        lua,
        c"struct",
        functions![c"pack" => pack, c"unpack" => unpack, c"size" => size],
        |_| {},
    )
}

/// The way through a format string.
struct Format<'l> {
    stack: Stack<'l>,
    rest: &'l [u8],
    big: bool,
    /// No item is aligned to more; a power of two.
    align: u64,
}

/// One option of a format.
struct Item {
    option: u8,
    /// Bytes that it takes; 0 where the data decide, and for controls.
    size: u64,
    /// Bytes of padding before it.
    padding: u64,
}

impl<'l> Format<'l> {
    fn new(stack: Stack<'l>) -> Self {
        Self { stack, rest: until_zero(stack.check_bytes(1)), big: false, align: 1 }
    }

    /// The next option at an offset; none at the end.
    fn next(&mut self, offset: u64) -> Option<Item> {
        self.stack.charge(1);
        let (&option, rest) = self.rest.split_first()?;
        self.rest = rest;
        let size = match option {
            b'B' | b'b' | b'x' => 1,
            b'H' | b'h' => 2,
            b'L' | b'l' | b'T' | b'd' => 8,
            b'f' => 4,
            b'c' => self.digits(1),
            b'i' | b'I' => self.digits(4),
            _ => 0,
        };
        if matches!(option, b'i' | b'I') && size > INTEGER_MAX {
            self.stack
                .raise(format_args!("integral size {size} is larger than limit of {INTEGER_MAX}"));
        }
        let unit = if option == b'c' { 0 } else { size.min(self.align) };
        // A size that is no power of two is masked all the same, as the original does.
        let mask = unit.wrapping_sub(1);
        let padding = if unit == 0 { 0 } else { unit.wrapping_sub(offset & mask) & mask };
        Some(Item { option, size, padding })
    }

    /// The number written here, or the default.
    fn digits(&mut self, default: u64) -> u64 {
        if !self.rest.first().is_some_and(u8::is_ascii_digit) {
            return default;
        }
        let mut value = 0;
        while let Some((digit @ b'0'..=b'9', rest)) = self.rest.split_first() {
            value = value * 10 + u64::from(digit - b'0');
            if value > i32::MAX as u64 {
                self.stack.raise(format_args!("integral size overflow"));
            }
            self.rest = rest;
        }
        value
    }

    /// An option that is no item: byte order, alignment, a space.
    fn control(&mut self, option: u8) {
        match option {
            b' ' => {}
            b'>' => self.big = true,
            b'<' => self.big = false,
            b'!' => {
                let align = self.digits(8);
                if !align.is_power_of_two() {
                    self.stack.raise(format_args!("alignment {align} is not a power of 2"));
                }
                self.align = align;
            }
            _ => self.stack.argument_error_about(1, "invalid format option", option),
        }
    }
}

fn pack(stack: Stack<'_>) -> c_int {
    let mut format = Format::new(stack);
    // A missing argument reads as nil, as in the original.
    stack.push_nil();
    let mut out = Buffer::new(stack);
    let mut argument = 2;
    while let Some(item) = format.next(out.len() as u64) {
        out.extend(&[0; 32][..item.padding as usize]);
        match item.option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                let bytes = to_u64(stack.check_number(argument)).to_le_bytes();
                put(&mut out, &bytes, item.size as usize, format.big);
                argument += 1;
            }
            b'f' => {
                let bytes = (stack.check_number(argument) as f32).to_le_bytes();
                put(&mut out, &bytes, 4, format.big);
                argument += 1;
            }
            b'd' => {
                let bytes = stack.check_number(argument).to_le_bytes();
                put(&mut out, &bytes, 8, format.big);
                argument += 1;
            }
            b'x' => out.push(0),
            b'c' | b's' => {
                let bytes = stack.check_bytes(argument);
                argument += 1;
                let wanted = if item.size == 0 { bytes.len() as u64 } else { item.size };
                if (bytes.len() as u64) < wanted {
                    // The original counts on before it looks.
                    stack.argument_error(argument, format_args!("string too short"));
                }
                out.extend(&bytes[..wanted as usize]);
                if item.option == b's' {
                    out.push(0);
                }
            }
            other => format.control(other),
        }
    }
    out.push_result();
    1
}

/// Adds the low `size` bytes of a little-endian number, zeros behind its end, in the order asked for.
fn put(out: &mut Buffer<'_>, bytes: &[u8], size: usize, big: bool) {
    let byte = |place: usize| bytes.get(place).copied().unwrap_or(0);
    for place in 0..size {
        out.push(byte(if big { size - 1 - place } else { place }));
    }
}

fn unpack(stack: Stack<'_>) -> c_int {
    let mut format = Format::new(stack);
    let data = stack.check_bytes(2);
    let length = data.len() as u64;
    let offset = stack.integer_or(3, 1) as u64;
    if offset == 0 {
        stack.argument_error(3, format_args!("offset must be 1 or greater"));
    }
    let mut at = offset - 1;
    let need = |at: u64, size: u64| {
        if size > length || at > length - size {
            stack.argument_error(2, format_args!("data string too short"));
        }
        &data[at as usize..(at + size) as usize]
    };
    let mut results = 0;
    while let Some(item) = format.next(at) {
        at = at.wrapping_add(item.padding);
        let mut size = item.size;
        let bytes = need(at, size);
        stack.need_stack(2, c"too many results");
        match item.option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                let signed = item.option.is_ascii_lowercase();
                stack.push_number(integer(bytes, format.big, signed));
                results += 1;
            }
            b'f' => {
                stack.push_number(f64::from(f32::from_le_bytes(ordered(bytes, format.big))));
                results += 1;
            }
            b'd' => {
                stack.push_number(f64::from_le_bytes(ordered(bytes, format.big)));
                results += 1;
            }
            b'x' => {}
            b'c' => {
                if size == 0 {
                    if results == 0 || !stack.is_number(-1) {
                        stack.raise(format_args!("format 'c0' needs a previous size"));
                    }
                    size = to_u64(stack.number(-1));
                    stack.pop(1);
                    results -= 1;
                }
                stack.push_bytes(need(at, size));
                stack.charge(size as usize / BYTES_PER_STEP);
                results += 1;
            }
            b's' => {
                let rest = need(at, length - at);
                let Some(end) = memchr::memchr(0, rest) else {
                    stack.raise(format_args!("unfinished string in data"));
                };
                stack.charge(end / BYTES_PER_STEP);
                size = end as u64 + 1;
                stack.push_bytes(&rest[..end]);
                results += 1;
            }
            other => format.control(other),
        }
        at += size;
    }
    stack.push_number(at.wrapping_add(1) as i64 as f64);
    results + 1
}

/// The number that the bytes are. Of more than eight the low eight count.
fn integer(bytes: &[u8], big: bool, signed: bool) -> f64 {
    let step = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
    let value = if big { bytes.iter().fold(0, step) } else { bytes.iter().rev().fold(0, step) };
    if !signed {
        return value as f64;
    }
    // The sign's place is taken modulo 64, as the machine shifts.
    let sign = u64::MAX << ((bytes.len() * 8).wrapping_sub(1) & 63);
    (if value & sign == 0 { value } else { value | sign }) as i64 as f64
}

/// The bytes of a float, little-endian; zeros where there are fewer than its size.
fn ordered<const N: usize>(bytes: &[u8], big: bool) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(bytes);
    if big {
        array.reverse();
    }
    array
}

fn size(stack: Stack<'_>) -> c_int {
    let mut format = Format::new(stack);
    let mut at = 0_u64;
    while let Some(item) = format.next(at) {
        match item.option {
            b's' => stack.argument_error(1, format_args!("option 's' has no fixed size")),
            b'c' if item.size == 0 => {
                stack.argument_error(1, format_args!("option 'c0' has no fixed size"))
            }
            option if option.is_ascii_alphanumeric() => {}
            option => format.control(option),
        }
        at = at.wrapping_add(item.padding).wrapping_add(item.size);
    }
    stack.push_number(at as f64);
    1
}

/// Most bytes of an integer.
const INTEGER_MAX: u64 = 32;
