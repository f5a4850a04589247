//! The library `cjson`: its table, its settings, and the ends of its functions.
//!
//! Invariant: results, settings and error texts are those of lua-cjson 2.1.0 as Redis 8.0 carries it;
//! a settings record is shared by the functions of one table, and `cjson.new` makes another. Source:
//! the manual of lua-cjson 2.1 and a stock server's answers.

use std::ffi::c_int;

use super::cjson_decode::decode;
use super::cjson_encode::encode;
use super::stack::{self, Entry, Kind, Stack, functions};

/// What the functions of one table share.
#[derive(Clone, Copy)]
pub(super) struct Settings {
    /// Excessively sparse arrays become objects; else they are an error.
    pub(super) sparse_convert: bool,
    /// An array is too sparse when its last index is above this many times its elements; 0: never.
    pub(super) sparse_ratio: i32,
    /// An array whose last index is at most this is never too sparse.
    pub(super) sparse_safe: i32,
    /// Most tables within each other that are written.
    pub(super) encode_depth: i32,
    /// Most tables within each other that are read.
    pub(super) decode_depth: i32,
    /// What becomes of infinities and NaN when written.
    pub(super) encode_invalid: Invalid,
    /// Whether infinities, NaN, hexadecimal numbers and leading zeros are read.
    pub(super) decode_invalid: bool,
    /// Significant digits of a written number, 1 to 14.
    pub(super) precision: i32,
    /// Kept for its answer only: a buffer lives as long as its call here.
    keep_buffer: bool,
}

/// What becomes of numbers that JSON does not have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Invalid {
    /// An error.
    Off,
    /// They are written as C prints them.
    On,
    /// They are written as null.
    Null,
}

/// Sets the global `cjson`.
pub fn install(lua: &mlua::Lua) -> mlua::Result<()> {
    stack::install(lua, c"cjson", &[], fill)
}

/// The settings of the running function's table.
pub(super) fn settings(stack: Stack<'_>) -> &mut Settings {
    // SAFETY: every function of this library is made by `fill`, whose only upvalue is this cell, and
    // each takes the reference once.
    unsafe { stack.cell(1) }
}

/// Fills the topmost table with functions that share new settings.
fn fill(stack: Stack<'_>) {
    stack.push_cell(Settings {
        sparse_convert: false,
        sparse_ratio: 2,
        sparse_safe: 10,
        encode_depth: 1000,
        decode_depth: 1000,
        encode_invalid: Invalid::Off,
        decode_invalid: true,
        precision: 14,
        keep_buffer: true,
    });
    let functions: &[(_, Entry)] = functions![
        c"encode" => encode,
        c"decode" => decode,
        c"encode_sparse_array" => encode_sparse_array,
        c"encode_max_depth" => encode_max_depth,
        c"decode_max_depth" => decode_max_depth,
        c"encode_number_precision" => encode_number_precision,
        c"encode_keep_buffer" => encode_keep_buffer,
        c"encode_invalid_numbers" => encode_invalid_numbers,
        c"decode_invalid_numbers" => decode_invalid_numbers,
        c"new" => new,
    ];
    for (name, entry) in functions {
        stack.push_value(-1);
        stack.push_closure(*entry, 1);
        stack.set_field(-3, name);
    }
    stack.pop(1);
    stack.push_null();
    stack.set_field(-2, c"null");
    stack.push_bytes(b"cjson");
    stack.set_field(-2, c"_NAME");
    stack.push_bytes(b"2.1.0");
    stack.set_field(-2, c"_VERSION");
}

fn new(stack: Stack<'_>) -> c_int {
    stack.push_table();
    fill(stack);
    1
}

fn encode_sparse_array(stack: Stack<'_>) -> c_int {
    let settings = arguments(stack, 3);
    flag_option(stack, 1, &mut settings.sparse_convert);
    integer_option(stack, 2, &mut settings.sparse_ratio, 0, i32::MAX);
    integer_option(stack, 3, &mut settings.sparse_safe, 0, i32::MAX);
    3
}

fn encode_max_depth(stack: Stack<'_>) -> c_int {
    integer_option(stack, 1, &mut arguments(stack, 1).encode_depth, 1, i32::MAX)
}

fn decode_max_depth(stack: Stack<'_>) -> c_int {
    integer_option(stack, 1, &mut arguments(stack, 1).decode_depth, 1, i32::MAX)
}

fn encode_number_precision(stack: Stack<'_>) -> c_int {
    integer_option(stack, 1, &mut arguments(stack, 1).precision, 1, 14)
}

fn encode_keep_buffer(stack: Stack<'_>) -> c_int {
    flag_option(stack, 1, &mut arguments(stack, 1).keep_buffer)
}

fn decode_invalid_numbers(stack: Stack<'_>) -> c_int {
    flag_option(stack, 1, &mut arguments(stack, 1).decode_invalid)
}

fn encode_invalid_numbers(stack: Stack<'_>) -> c_int {
    let settings = arguments(stack, 1);
    match stack.kind(1) {
        Kind::Nil => {}
        Kind::Boolean if stack.truth(1) => settings.encode_invalid = Invalid::On,
        Kind::Boolean => settings.encode_invalid = Invalid::Off,
        _ => {
            settings.encode_invalid = match stack.check_option(1, &[c"off", c"on", c"null"]) {
                0 => Invalid::Off,
                1 => Invalid::On,
                _ => Invalid::Null,
            }
        }
    }
    match settings.encode_invalid {
        Invalid::Off => stack.push_boolean(false),
        Invalid::On => stack.push_boolean(true),
        Invalid::Null => stack.push_bytes(b"null"),
    }
    1
}

/// The settings, after a look at how many arguments there are; missing ones become nil.
fn arguments(stack: Stack<'_>, most: c_int) -> &mut Settings {
    if stack.top() > most {
        stack.argument_error(most + 1, format_args!("found too many arguments"));
    }
    stack.set_top(most);
    settings(stack)
}

/// Sets the setting from the argument, unless that is nil, and pushes it.
fn integer_option(stack: Stack<'_>, index: c_int, setting: &mut i32, min: i32, max: i32) -> c_int {
    if stack.kind(index) != Kind::Nil {
        let value = stack.check_integer(index) as i32;
        if !(min..=max).contains(&value) {
            // The original names the first argument, whichever it is.
            stack.argument_error(1, format_args!("expected integer between {min} and {max}"));
        }
        *setting = value;
    }
    stack.push_number(f64::from(*setting));
    1
}

/// Sets the setting from the argument (a boolean, "on" or "off"), unless that is nil, and pushes it.
fn flag_option(stack: Stack<'_>, index: c_int, setting: &mut bool) -> c_int {
    match stack.kind(index) {
        Kind::Nil => {}
        Kind::Boolean => *setting = stack.truth(index),
        _ => *setting = stack.check_option(index, &[c"off", c"on"]) == 1,
    }
    stack.push_boolean(*setting);
    1
}
