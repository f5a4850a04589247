//! The library `bit`: operations on 32-bit integers.
//!
//! Invariant: an argument is taken modulo 2^32 by adding 2^52 + 2^51 to the double, whose low half then
//! is the integer; results are signed. Source: the documentation of Lua BitOp 1.0.2.

use std::ffi::c_int;

use super::stack::{self, Kind, Stack, functions};

/// Sets the global `bit`.
pub fn install(lua: &mlua::Lua) -> mlua::Result<()> {
    stack::install(
        lua,
        c"bit",
        functions![
            c"tobit" => tobit,
            c"bnot" => bnot,
            c"band" => band,
            c"bor" => bor,
            c"bxor" => bxor,
            c"lshift" => lshift,
            c"rshift" => rshift,
            c"arshift" => arshift,
            c"rol" => rol,
            c"ror" => ror,
            c"bswap" => bswap,
            c"tohex" => tohex,
        ],
        |_| {},
    )
}

/// The argument's low 32 bits; Lua's error where it is no number.
fn bits(stack: Stack<'_>, index: c_int) -> u32 {
    let bits = (stack.number(index) + SHIFT).to_bits() as u32;
    if bits == 0 && !stack.is_number(index) {
        stack.type_error(index, c"number");
    }
    bits
}

fn push(stack: Stack<'_>, bits: u32) -> c_int {
    stack.push_number(f64::from(bits as i32));
    1
}

/// Folds all arguments into the first.
fn fold(stack: Stack<'_>, operation: fn(u32, u32) -> u32) -> c_int {
    let first = bits(stack, 1);
    let all = (2..=stack.top()).rev().fold(first, |all, index| operation(all, bits(stack, index)));
    push(stack, all)
}

/// The first argument, shifted by the low five bits of the second.
fn shift(stack: Stack<'_>, operation: fn(u32, u32) -> u32) -> c_int {
    let value = bits(stack, 1);
    push(stack, operation(value, bits(stack, 2) & 31))
}

fn tobit(stack: Stack<'_>) -> c_int {
    push(stack, bits(stack, 1))
}

fn bnot(stack: Stack<'_>) -> c_int {
    push(stack, !bits(stack, 1))
}

fn band(stack: Stack<'_>) -> c_int {
    fold(stack, |left, right| left & right)
}

fn bor(stack: Stack<'_>) -> c_int {
    fold(stack, |left, right| left | right)
}

fn bxor(stack: Stack<'_>) -> c_int {
    fold(stack, |left, right| left ^ right)
}

fn lshift(stack: Stack<'_>) -> c_int {
    shift(stack, |value, by| value << by)
}

fn rshift(stack: Stack<'_>) -> c_int {
    shift(stack, |value, by| value >> by)
}

fn arshift(stack: Stack<'_>) -> c_int {
    shift(stack, |value, by| (value as i32 >> by) as u32)
}

fn rol(stack: Stack<'_>) -> c_int {
    shift(stack, u32::rotate_left)
}

fn ror(stack: Stack<'_>) -> c_int {
    shift(stack, u32::rotate_right)
}

fn bswap(stack: Stack<'_>) -> c_int {
    push(stack, bits(stack, 1).swap_bytes())
}

/// The last so many hexadecimal digits, 8 without a second argument; upper case where it is negative.
fn tohex(stack: Stack<'_>) -> c_int {
    let value = bits(stack, 1);
    let wanted = if stack.kind(2) == Kind::None { 8 } else { bits(stack, 2) as i32 };
    let digits = if wanted < 0 { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
    let count = wanted.unsigned_abs().min(8) as usize;
    let mut text = [0; 8];
    for (place, digit) in text.iter_mut().rev().enumerate() {
        *digit = digits[(value >> (4 * place) & 15) as usize];
    }
    stack.push_bytes(&text[8 - count..]);
    1
}

/// 2^52 + 2^51.
const SHIFT: f64 = 6755399441055744.0;
