//! The libraries of a script: those of Redis (`cjson`, `cmsgpack`, `struct`, `bit`), and the parts of
//! Lua's own `string` and `table` whose work is not bounded by the interpreter's instructions.
//!
//! Invariant: no function recurses on what a script gives it, allocates outside the interpreter's
//! limit, or loops without asking the script's hook. Everything goes through [`stack`].

#![allow(unsafe_code)]
// A number is whole, or fits a float, when it is exactly what it was before.
#![allow(clippy::float_cmp)]

pub mod bit;
pub mod cjson;
mod cjson_decode;
mod cjson_encode;
pub mod cmsgpack;
mod list;
pub mod lua_string;
pub mod lua_table;
mod number;
mod pattern;
mod stack;
pub mod structs;

/// Installs all of them into an interpreter that has Lua's own `string` and `table`.
pub fn install(lua: &mlua::Lua) -> mlua::Result<()> {
    lua_string::install(lua)?;
    lua_table::install(lua)?;
    cjson::install(lua)?;
    cmsgpack::install(lua)?;
    structs::install(lua)?;
    bit::install(lua)
}

#[cfg(test)]
mod tests;
