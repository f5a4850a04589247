//! What stock servers answer to generated calls, as `tests/data/lua/record.py` recorded it; and what
//! a script may do to the libraries.

use std::fs;

use mlua::{Lua, LuaOptions, StdLib};

/// An interpreter with the libraries, and nothing else of ours.
pub(super) fn interpreter() -> Lua {
    let lua = Lua::new_with(
        StdLib::STRING | StdLib::TABLE | StdLib::MATH,
        LuaOptions::new().catch_rust_panics(false),
    )
    .unwrap();
    super::install(&lua).unwrap();
    lua
}

/// What a call returns or raises, as the recorder shows it.
pub(super) fn show(lua: &Lua, call: &str) -> String {
    let script = format!("{}{call} end))", include_str!("../../../tests/data/lua/prelude.lua"));
    lua.load(script).set_name("@user_script").eval::<String>().unwrap()
}

/// Compares every recorded call of a library.
fn check_recorded(library: &str) {
    let folder = std::env::var("LUA_CASES").unwrap_or_else(|_| "tests/data/lua".to_owned());
    let cases = fs::read_to_string(format!("{folder}/{library}.tsv")).unwrap();
    let lua = interpreter();
    let mut failures = Vec::new();
    for case in cases.lines() {
        let (call, expected) = case.split_once('\t').unwrap();
        let got = show(&lua, call);
        if got != expected {
            failures.push(format!("{call}\n  stock: {expected}\n  ours:  {got}"));
        }
    }
    let shown = &failures[..failures.len().min(10)];
    assert!(failures.is_empty(), "{} differ:\n{}", failures.len(), shown.join("\n"));
}

#[test]
fn string_answers_as_stock() {
    check_recorded("string");
}

#[test]
fn cjson_answers_as_stock() {
    check_recorded("cjson");
}

#[test]
fn cmsgpack_answers_as_stock() {
    check_recorded("cmsgpack");
}

#[test]
fn struct_answers_as_stock() {
    check_recorded("struct");
}

#[test]
fn bit_answers_as_stock() {
    check_recorded("bit");
}

#[test]
fn table_answers_as_stock() {
    check_recorded("table");
}
