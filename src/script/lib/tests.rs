//! What stock servers answer to generated calls, as `tests/data/lua/record.py` recorded it; and what
//! a script may do to the libraries.

use std::cell::Cell;
use std::fs;
use std::rc::Rc;

use mlua::{Error, HookTriggers, Lua, LuaOptions, StdLib, VmState};

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

/// Runs a call whose hook stops it at its `checks`th question.
fn stopped_after(checks: u32, call: &str) -> Result<mlua::Value, Error> {
    let lua = interpreter();
    let left = Rc::new(Cell::new(checks));
    let triggers = HookTriggers::new().every_nth_instruction(1_000_000);
    lua.set_hook(triggers, move |_, _| match left.get().checked_sub(1) {
        Some(rest) => {
            left.set(rest);
            Ok(VmState::Continue)
        }
        None => Err(Error::runtime("stopped")),
    })
    .unwrap();
    lua.load(call).set_name("@user_script").eval()
}

#[test]
fn every_long_loop_asks_whether_to_go_on() {
    for call in [
        "return string.find(('a'):rep(30), ('a?'):rep(30) .. ('a'):rep(30) .. 'b')",
        "return string.find(('a'):rep(5000), '.-.-.-.-b')",
        "return string.match(('a'):rep(5000), '(.*)(.*)(.*)(.*)b')",
        "return string.gsub(('a'):rep(2000), '(a*)*b', '')",
        "return string.find(('('):rep(100000), '%b()' .. '%b()')",
        "return string.find(('a'):rep(100000), '[' .. ('b'):rep(100000) .. ']')",
        "for _ in string.gmatch(('x'):rep(3000), '(.-)(.-)(.-)y') do end",
        "for i = 1, 200 do local s = ('x'):rep(2000000):upper() end",
        "local t = {} for i = 1, 100000 do t[i] = i end for i = 1, 1000 do table.insert(t, 1, 0) end",
        "local t = {} for i = 1, 100000 do t[i] = i % 7 end table.sort(t) table.sort(t)",
        "local c = cjson.new() c.encode_sparse_array(false, 0) return c.encode({[100000000] = 1})",
        "return cjson.decode('[' .. ('1,'):rep(1000000) .. '1]')",
        "return cmsgpack.unpack('\\221\\255\\255\\255\\255' .. ('\\1'):rep(1000000))",
        "local s = ('x'):rep(1000000) return struct.size(s .. s)",
    ] {
        let error = stopped_after(2, call).expect_err(call).to_string();
        assert!(error.contains("stopped"), "{call}: {error}");
    }
}

#[test]
fn a_pattern_of_any_length_is_bounded() {
    let lua = interpreter();
    let got = show(&lua, "return string.find(('a'):rep(200000), ('a?'):rep(200000))");
    assert_eq!(got, "error 'user_script:19: pattern too complex'");
    let got = show(&lua, "return string.find(('a'):rep(50000), ('a?'):rep(50000))");
    assert_eq!(got, "ok 1 50000");
}

#[test]
fn no_call_passes_the_limit_of_memory() {
    for call in [
        "return #string.rep('x', 1000000000)",
        "return #string.rep(('x'):rep(1000), 2147483647)",
        "local s = 'x' while true do s = s:rep(10) end",
        "return string.gsub(('a'):rep(100000), 'a', ('b'):rep(100000))",
        "local c = cjson.new() c.encode_sparse_array(false, 0) return c.encode({[2147483647] = 1})",
        "return cmsgpack.unpack(('\\145'):rep(30000000))",
        "local t = {} for i = 1, 20 do t[i] = ('x'):rep(1000000) end return cjson.encode(t)",
        "local s = ('x'):rep(12000000) return s:upper() .. s:lower() .. s:reverse()",
    ] {
        let lua = interpreter();
        lua.set_memory_limit(32 << 20).unwrap();
        let error = lua.load(call).eval::<mlua::Value>().expect_err(call).to_string();
        let known = ["not enough memory", "resulting string too large", "too many return values"];
        assert!(known.iter().any(|text| error.contains(text)), "{call}: {error}");
        lua.gc_collect().unwrap();
        assert!(lua.used_memory() < 1 << 20, "{call}: {} bytes remain", lua.used_memory());
    }
}

#[test]
fn the_deepest_of_everything_is_an_error() {
    let lua = interpreter();
    for call in [
        "local c = cjson.new() c.decode_max_depth(2147483647) return c.decode(('['):rep(1000000))",
        "local c = cjson.new() c.encode_max_depth(2147483647) local t = {} \
         for i = 1, 100000 do t = {t} end return c.encode(t)",
        "local t = {} t.t = t return cjson.encode(t)",
        "return cmsgpack.unpack(('\\145'):rep(100000))",
    ] {
        let got = show(&lua, call);
        assert!(got.starts_with("error"), "{call}: {got}");
    }
}
