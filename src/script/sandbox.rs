//! What a script finds in its globals, and why nothing that it does to them stays.
//!
//! Invariant: no table that outlives a script can be changed by one. Lua 5.1 knows no read-only tables;
//! so a script holds an empty **front** of each shared table: its metatable leads reads on to the
//! **backing** table, which no script ever holds, and refuses writes. Whatever reaches past
//! metatables (rawset, next, table.insert, getmetatable ...) is ours and knows fronts.
//!
//! | front's metatable at | is |
//! |---|---|
//! | `__index` | the backing table |
//! | `__newindex` | a function that refuses |
//! | 1 | the mark of a front |
//! | 2 | the backing table, for `next` and `rawget` |
//!
//! Source: the globals, and the errors, of stock servers of version 8.0.

#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int};
use std::ptr;

use mlua::ffi::{self, lua_CFunction, lua_State};

use super::convert::push_bytes;
use super::{api, base, hook, state};

/// The version that scripts are told of, as text and as number.
pub(super) const VERSION: (&CStr, u32) = (c"8.0.6", 0x0008_0006);

/// What marks the metatable of a front: the address of this.
static MARK: u8 = 0;
/// Names a table of our own in the interpreter's registry: the string metatable that scripts see.
static STRING_META: u8 = 0;

/// Globals of Lua's base library that scripts do not get.
const REMOVED: &[&CStr] =
    &[c"print", c"dofile", c"loadfile", c"newproxy", c"setfenv", c"getfenv", c"require", c"module"];

/// The functions of the `redis` table.
const REDIS: &[(&CStr, lua_CFunction)] = &[
    (c"call", api::call),
    (c"pcall", api::pcall_command),
    (c"log", api::log),
    (c"setresp", api::setresp),
    (c"sha1hex", api::sha1hex),
    (c"error_reply", api::error_reply),
    (c"status_reply", api::status_reply),
    (c"set_repl", api::set_repl),
    (c"acl_check_cmd", api::acl_check_cmd),
    (c"breakpoint", api::breakpoint),
    (c"debug", api::debug),
    (c"replicate_commands", api::replicate_commands),
];

/// The numbers of the `redis` table.
const REDIS_NUMBERS: &[(&CStr, u32)] = &[
    (c"LOG_DEBUG", 0),
    (c"LOG_VERBOSE", 1),
    (c"LOG_NOTICE", 2),
    (c"LOG_WARNING", 3),
    (c"REPL_NONE", 0),
    (c"REPL_AOF", 1),
    (c"REPL_SLAVE", 2),
    (c"REPL_REPLICA", 2),
    (c"REPL_ALL", api::REPL_ALL as u32),
    (c"REDIS_VERSION_NUM", VERSION.1),
];

/// Functions that take the place of Lua's own.
const REPLACED: &[(&CStr, lua_CFunction)] = &[
    (c"pcall", base::pcall),
    (c"next", next),
    (c"rawget", rawget),
    (c"rawset", rawset),
    (c"getmetatable", getmetatable),
    (c"setmetatable", setmetatable),
    (c"unpack", base::unpack),
    (c"loadstring", base::loadstring),
    (c"load", base::load),
    (c"collectgarbage", base::collectgarbage),
    (c"__redis__err__handler", hook::error_handler),
];

/// Puts the libraries into a new interpreter. `libraries` adds those that are written in Rust.
///
/// # Safety
/// The interpreter is one of ours, new, and a `Lenient` is held.
pub(super) unsafe fn open(lua: *mut lua_State, libraries: impl FnOnce()) {
    // SAFETY: a new stack has room for 20 values; each helper leaves it as it found it.
    unsafe {
        for (name, open) in [
            (c"", ffi::luaopen_base as lua_CFunction),
            (c"table", ffi::luaopen_table),
            (c"string", ffi::luaopen_string),
            (c"math", ffi::luaopen_math),
            (c"os", ffi::luaopen_os),
        ] {
            ffi::lua_pushcfunction(lua, open);
            push_bytes(lua, name.to_bytes());
            ffi::lua_call(lua, 1, 0);
        }
        for name in REMOVED {
            ffi::lua_pushnil(lua);
            ffi::lua_setglobal(lua, name.as_ptr());
        }
        only_clock(lua);
        libraries();
        replace_insert(lua);
        for (name, function) in
            [(c"random", base::random as lua_CFunction), (c"randomseed", base::randomseed)]
        {
            ffi::lua_getglobal_(lua, c"math".as_ptr());
            set_function(lua, name, function);
            ffi::lua_pop(lua, 1);
        }
        ffi::lua_pushvalue(lua, ffi::LUA_GLOBALSINDEX);
        REPLACED.iter().for_each(|(name, function)| set_function(lua, name, *function));
        ffi::lua_pushcfunction(lua, next);
        ffi::lua_pushcclosure(lua, pairs, 1);
        ffi::lua_setfield(lua, -2, c"pairs".as_ptr());
        ffi::lua_pop(lua, 1);
        add_redis(lua);
    }
}

/// Makes the globals what scripts get: fronts, in a front.
///
/// # Safety
/// As for `open`, which has run.
pub(super) unsafe fn seal(lua: *mut lua_State) {
    // SAFETY: as promised; the globals are a table, and stay one.
    unsafe {
        // Their own tables become fronts. A value is replaced while the table is walked, which `next`
        // allows.
        ffi::lua_pushvalue(lua, ffi::LUA_GLOBALSINDEX);
        ffi::lua_pushnil(lua);
        while ffi::lua_next(lua, -2) != 0 {
            let is_globals = ffi::lua_rawequal(lua, -1, -3) != 0;
            if ffi::lua_type(lua, -1) == ffi::LUA_TTABLE && !is_globals && !is_protected(lua, -1) {
                ffi::lua_pushvalue(lua, -2);
                ffi::lua_pushvalue(lua, -2);
                protect(lua);
                ffi::lua_rawset(lua, -5);
            }
            ffi::lua_pop(lua, 1);
        }
        raise_on_missing(lua);
        // The front of the globals, which is their own `_G`.
        ffi::lua_pushvalue(lua, -1);
        protect(lua);
        ffi::lua_pushvalue(lua, -1);
        ffi::lua_setfield(lua, -3, c"_G".as_ptr());
        // What strings lead to, for those who ask for their metatable.
        ffi::lua_createtable(lua, 0, 1);
        ffi::lua_getfield_(lua, -3, c"string".as_ptr());
        ffi::lua_setfield(lua, -2, c"__index".as_ptr());
        protect(lua);
        set_registry(lua, &raw const STRING_META);
        ffi::lua_replace(lua, ffi::LUA_GLOBALSINDEX);
        ffi::lua_pop(lua, 1);
    }
}

unsafe fn set_registry(lua: *mut lua_State, name: *const u8) {
    // SAFETY: a value is on the top, there is room for two more.
    unsafe {
        ffi::lua_pushlightuserdata(lua, name.cast_mut().cast());
        ffi::lua_insert(lua, -2);
        ffi::lua_rawset(lua, ffi::LUA_REGISTRYINDEX);
    }
}

unsafe fn set_function(lua: *mut lua_State, name: &CStr, function: lua_CFunction) {
    // SAFETY: a table is on the top, there is room for two more.
    unsafe {
        ffi::lua_pushcfunction(lua, function);
        ffi::lua_setfield(lua, -2, name.as_ptr());
    }
}

/// Leaves of the `os` library the clock alone.
unsafe fn only_clock(lua: *mut lua_State) {
    // SAFETY: there is room for three more.
    unsafe {
        ffi::lua_createtable(lua, 0, 1);
        ffi::lua_getglobal_(lua, c"os".as_ptr());
        ffi::lua_getfield_(lua, -1, c"clock".as_ptr());
        ffi::lua_setfield(lua, -3, c"clock".as_ptr());
        ffi::lua_pop(lua, 1);
        ffi::lua_setglobal(lua, c"os".as_ptr());
    }
}

/// table.insert writes past metatables: it looks for fronts first. The others of its library change
/// only what is in a table, and a front is empty.
unsafe fn replace_insert(lua: *mut lua_State) {
    // SAFETY: there is room for three more.
    unsafe {
        ffi::lua_getglobal_(lua, c"table".as_ptr());
        ffi::lua_getfield_(lua, -1, c"insert".as_ptr());
        state::of(lua).table_insert.set(ffi::lua_tocfunction(lua, -1));
        ffi::lua_pop(lua, 1);
        set_function(lua, c"insert", insert);
        ffi::lua_pop(lua, 1);
    }
}

/// The `redis` table, and Valkey's name for it.
unsafe fn add_redis(lua: *mut lua_State) {
    // SAFETY: there is room for three more.
    unsafe {
        ffi::lua_createtable(lua, 0, 32);
        REDIS.iter().for_each(|(name, function)| set_function(lua, name, *function));
        for (name, number) in REDIS_NUMBERS {
            ffi::lua_pushnumber(lua, f64::from(*number));
            ffi::lua_setfield(lua, -2, name.as_ptr());
        }
        push_bytes(lua, VERSION.0.to_bytes());
        ffi::lua_setfield(lua, -2, c"REDIS_VERSION".as_ptr());
        protect(lua);
        ffi::lua_pushvalue(lua, -1);
        ffi::lua_setglobal(lua, c"server".as_ptr());
        ffi::lua_setglobal(lua, c"redis".as_ptr());
    }
}

/// Takes from the globals, whose backing is at a place of the stack, what scripts of EVAL alone find.
///
/// # Safety
/// As for `seal`, which has run; there is room for four more.
pub(super) unsafe fn remove_eval_only(lua: *mut lua_State, backing: c_int) {
    // SAFETY: as promised; `redis` has been a front since `open`, with its backing at 2.
    unsafe {
        ffi::lua_pushnil(lua);
        ffi::lua_setfield(lua, backing, c"__redis__err__handler".as_ptr());
        ffi::lua_getfield_(lua, backing, c"redis".as_ptr());
        assert!(ffi::lua_getmetatable(lua, -1) != 0, "a front has a metatable");
        ffi::lua_rawgeti_(lua, -1, 2);
        for name in [c"breakpoint", c"debug", c"replicate_commands"] {
            ffi::lua_pushnil(lua);
            ffi::lua_setfield(lua, -2, name.as_ptr());
        }
        ffi::lua_pop(lua, 3);
    }
}

/// Pushes the globals that a library finds while it is loaded: a `redis`, also by Valkey's name, with
/// `register`, the log and the version alone. What else it reads raises.
///
/// # Safety
/// There is room for eight more, and a `Lenient` is held.
pub(super) unsafe fn push_library_globals(lua: *mut lua_State, register: lua_CFunction) {
    // SAFETY: as promised. Stack: globals, redis.
    unsafe {
        ffi::lua_createtable(lua, 0, 2);
        ffi::lua_createtable(lua, 0, 8);
        set_function(lua, c"register_function", register);
        set_function(lua, c"log", api::log);
        for (name, number) in REDIS_NUMBERS {
            if name.to_bytes().starts_with(b"LOG_") || *name == c"REDIS_VERSION_NUM" {
                ffi::lua_pushnumber(lua, f64::from(*number));
                ffi::lua_setfield(lua, -2, name.as_ptr());
            }
        }
        push_bytes(lua, VERSION.0.to_bytes());
        ffi::lua_setfield(lua, -2, c"REDIS_VERSION".as_ptr());
        raise_on_missing(lua);
        protect(lua);
        ffi::lua_pushvalue(lua, -1);
        ffi::lua_setfield(lua, -3, c"server".as_ptr());
        ffi::lua_setfield(lua, -2, c"redis".as_ptr());
        raise_on_missing(lua);
    }
}

/// Has reads of what the table on the top has not raise.
unsafe fn raise_on_missing(lua: *mut lua_State) {
    // SAFETY: a table is on the top, there is room for two more.
    unsafe {
        ffi::lua_createtable(lua, 0, 1);
        ffi::lua_pushcfunction(lua, missing);
        ffi::lua_setfield(lua, -2, c"__index".as_ptr());
        ffi::lua_setmetatable(lua, -2);
    }
}

/// Has the globals' front lead to the table at a place of the stack, counted from its bottom.
///
/// # Safety
/// The place exists and holds a table; there is room for two more, and a `Lenient` is held.
pub(super) unsafe fn lead_globals_to(lua: *mut lua_State, at: c_int) {
    // SAFETY: as promised; the globals have been a front since `seal`.
    unsafe {
        assert!(ffi::lua_getmetatable(lua, ffi::LUA_GLOBALSINDEX) != 0, "a front has a metatable");
        ffi::lua_pushvalue(lua, at);
        ffi::lua_setfield(lua, -2, c"__index".as_ptr());
        ffi::lua_pushvalue(lua, at);
        ffi::lua_rawseti_(lua, -2, 2);
        ffi::lua_pop(lua, 1);
    }
}

/// Puts a front in the place of the table on the top.
///
/// # Safety
/// There is room for four more, and a `Lenient` is held.
pub(super) unsafe fn protect(lua: *mut lua_State) {
    // SAFETY: as promised. Stack: backing, front, metatable.
    unsafe {
        ffi::lua_createtable(lua, 0, 0);
        ffi::lua_createtable(lua, 2, 2);
        ffi::lua_pushvalue(lua, -3);
        ffi::lua_setfield(lua, -2, c"__index".as_ptr());
        ffi::lua_pushcfunction(lua, refuse_write);
        ffi::lua_setfield(lua, -2, c"__newindex".as_ptr());
        ffi::lua_pushlightuserdata(lua, (&raw const MARK).cast_mut().cast());
        ffi::lua_rawseti_(lua, -2, 1);
        ffi::lua_pushvalue(lua, -3);
        ffi::lua_rawseti_(lua, -2, 2);
        ffi::lua_setmetatable(lua, -2);
        ffi::lua_replace(lua, -2);
    }
}

/// True if the value at a place of the stack is a front.
///
/// # Safety
/// There is room for two more.
#[inline]
pub(super) unsafe fn is_protected(lua: *mut lua_State, at: c_int) -> bool {
    // SAFETY: as promised; the stack is as before.
    unsafe {
        if ffi::lua_type(lua, at) != ffi::LUA_TTABLE || ffi::lua_getmetatable(lua, at) == 0 {
            return false;
        }
        ffi::lua_rawgeti_(lua, -1, 1);
        let mark = ffi::lua_touserdata(lua, -1);
        let is_light = ffi::lua_type(lua, -1) == ffi::LUA_TLIGHTUSERDATA;
        ffi::lua_pop(lua, 2);
        is_light && ptr::eq(mark.cast_const().cast(), &raw const MARK)
    }
}

/// Has the backing take the place of a front at the first place of the stack.
#[inline]
unsafe fn reach_backing(lua: *mut lua_State) {
    // SAFETY: the callers have room for two more.
    unsafe {
        if is_protected(lua, 1) {
            ffi::lua_getmetatable(lua, 1);
            ffi::lua_rawgeti_(lua, -1, 2);
            ffi::lua_replace(lua, 1);
            ffi::lua_pop(lua, 1);
        }
    }
}

const READ_ONLY: &CStr = c"Attempt to modify a readonly table";

/// Raises if the first argument is a front.
#[inline]
unsafe fn keep_fronts(lua: *mut lua_State) {
    // SAFETY: nothing to drop here, nor in the callers.
    unsafe {
        if is_protected(lua, 1) {
            ffi::lua_pushlstring_(lua, READ_ONLY.as_ptr(), READ_ONLY.count_bytes());
            ffi::lua_error(lua);
        }
    }
}

/// A write to a front.
unsafe extern "C-unwind" fn refuse_write(lua: *mut lua_State) -> c_int {
    // SAFETY: nothing to drop here.
    unsafe { ffi::luaL_error(lua, READ_ONLY.as_ptr()) }
}

/// A read of a global that is not there.
unsafe extern "C-unwind" fn missing(lua: *mut lua_State) -> c_int {
    // SAFETY: nothing to drop here; only arguments are looked at.
    unsafe {
        if ffi::lua_isstring(lua, 2) == 0 {
            let text = c"Second argument to luaProtectedTableError must be a string or number";
            return ffi::luaL_error(lua, text.as_ptr());
        }
        let name = ffi::lua_tolstring(lua, 2, ptr::null_mut());
        let text = c"Script attempted to access nonexistent global variable '%s'";
        ffi::luaL_error(lua, text.as_ptr(), name)
    }
}

unsafe extern "C-unwind" fn next(lua: *mut lua_State) -> c_int {
    // SAFETY: nothing to drop here; what is wrong raises by itself.
    unsafe {
        ffi::luaL_checktype(lua, 1, ffi::LUA_TTABLE);
        ffi::lua_settop(lua, 2);
        reach_backing(lua);
        if ffi::lua_next(lua, 1) != 0 {
            return 2;
        }
        ffi::lua_pushnil(lua);
    }
    1
}

unsafe extern "C-unwind" fn pairs(lua: *mut lua_State) -> c_int {
    // SAFETY: nothing to drop here; the upvalue is `next`.
    unsafe {
        ffi::luaL_checktype(lua, 1, ffi::LUA_TTABLE);
        ffi::lua_pushvalue(lua, ffi::lua_upvalueindex(1));
        ffi::lua_pushvalue(lua, 1);
        ffi::lua_pushnil(lua);
    }
    3
}

unsafe extern "C-unwind" fn rawget(lua: *mut lua_State) -> c_int {
    // SAFETY: nothing to drop here; what is wrong raises by itself.
    unsafe {
        ffi::luaL_checktype(lua, 1, ffi::LUA_TTABLE);
        ffi::luaL_checkany(lua, 2);
        ffi::lua_settop(lua, 2);
        reach_backing(lua);
        ffi::lua_rawget_(lua, 1);
    }
    1
}

unsafe extern "C-unwind" fn rawset(lua: *mut lua_State) -> c_int {
    // SAFETY: nothing to drop here; what is wrong raises by itself.
    unsafe {
        ffi::luaL_checktype(lua, 1, ffi::LUA_TTABLE);
        ffi::luaL_checkany(lua, 2);
        ffi::luaL_checkany(lua, 3);
        keep_fronts(lua);
        ffi::lua_settop(lua, 3);
        ffi::lua_rawset(lua, 1);
    }
    1
}

unsafe extern "C-unwind" fn getmetatable(lua: *mut lua_State) -> c_int {
    // SAFETY: nothing to drop here. A script never gets the metatable of a front, nor that of strings.
    unsafe {
        ffi::luaL_checkany(lua, 1);
        if ffi::lua_type(lua, 1) == ffi::LUA_TSTRING {
            ffi::lua_pushlightuserdata(lua, (&raw const STRING_META).cast_mut().cast());
            ffi::lua_rawget_(lua, ffi::LUA_REGISTRYINDEX);
            return 1;
        }
        if is_protected(lua, 1) {
            // The globals have one to look at, as in stock servers.
            reach_backing(lua);
            if ffi::lua_getmetatable(lua, 1) == 0 {
                ffi::lua_pushnil(lua);
            } else {
                protect(lua);
            }
            return 1;
        }
        if ffi::lua_getmetatable(lua, 1) == 0 {
            ffi::lua_pushnil(lua);
            return 1;
        }
        // Its own value in the place of the metatable, if it has one.
        ffi::luaL_getmetafield_(lua, 1, c"__metatable".as_ptr());
    }
    1
}

unsafe extern "C-unwind" fn setmetatable(lua: *mut lua_State) -> c_int {
    // SAFETY: nothing to drop here; what is wrong raises by itself.
    unsafe {
        let kind = ffi::lua_type(lua, 2);
        ffi::luaL_checktype(lua, 1, ffi::LUA_TTABLE);
        if kind != ffi::LUA_TNIL && kind != ffi::LUA_TTABLE {
            return ffi::luaL_argerror(lua, 2, c"nil or table expected".as_ptr());
        }
        keep_fronts(lua);
        if ffi::luaL_getmetafield_(lua, 1, c"__metatable".as_ptr()) != 0 {
            return ffi::luaL_error(lua, c"cannot change a protected metatable".as_ptr());
        }
        ffi::lua_settop(lua, 2);
        ffi::lua_setmetatable(lua, 1);
    }
    1
}

/// table.insert, unless the table is a front.
unsafe extern "C-unwind" fn insert(lua: *mut lua_State) -> c_int {
    // SAFETY: nothing to drop here; the original has no upvalues and sees the same stack.
    unsafe {
        keep_fronts(lua);
        match state::of(lua).table_insert.get() {
            Some(original) => original(lua),
            None => 0,
        }
    }
}

/// What `tostring` makes of a value, past its metatable.
///
/// # Safety
/// The place exists, there is room for two more, and a `Lenient` is held.
pub(super) unsafe fn text_of(lua: *mut lua_State, at: c_int) -> Vec<u8> {
    // SAFETY: as promised; a copy is turned into text, so that the value stays what it is.
    unsafe {
        match ffi::lua_type(lua, at) {
            ffi::LUA_TNIL => b"nil".to_vec(),
            ffi::LUA_TBOOLEAN if ffi::lua_toboolean(lua, at) != 0 => b"true".to_vec(),
            ffi::LUA_TBOOLEAN => b"false".to_vec(),
            ffi::LUA_TNUMBER | ffi::LUA_TSTRING => {
                ffi::lua_pushvalue(lua, at);
                let text = super::convert::bytes_at(lua, -1).unwrap_or_default().to_vec();
                ffi::lua_pop(lua, 1);
                text
            }
            kind => {
                let name = CStr::from_ptr(ffi::lua_typename(lua, kind)).to_string_lossy();
                format!("{name}: {:p}", ffi::lua_topointer(lua, at)).into_bytes()
            }
        }
    }
}

/// Pushes how messages name a chunk of this name. Source: luaO_chunkid.
///
/// # Safety
/// There is room for one more; nothing to drop in the callers.
pub(super) unsafe fn push_chunk_name(lua: *mut lua_State, name: *const c_char) {
    /// What is left of LUA_IDSIZE beside `[string "..."]`.
    const ROOM: usize = 60 - 17;
    // SAFETY: the name ends with NUL; only its first bytes are looked at.
    unsafe {
        match *name.cast::<u8>() {
            b'=' | b'@' => ffi::lua_pushstring_(lua, name.add(1)),
            _ => {
                let mut len = 0;
                while len < ROOM && !matches!(*name.cast::<u8>().add(len), 0 | b'\n' | b'\r') {
                    len += 1;
                }
                ffi::lua_pushlstring_(lua, c"[string \"".as_ptr(), 9);
                ffi::lua_pushlstring_(lua, name, len);
                let is_whole = *name.add(len) == 0;
                let end = if is_whole { c"\"]" } else { c"...\"]" };
                ffi::lua_pushlstring_(lua, end.as_ptr(), end.count_bytes());
                ffi::lua_concat(lua, 3);
            }
        }
    }
}
